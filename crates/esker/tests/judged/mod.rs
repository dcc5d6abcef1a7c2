//! Derivations of `flakes/trace-set`, built or reused by Esker, with Nix's own builds as the judge.
//!
//! [`judge`] has Nix build derivations again, in its own sandbox, and compare: what Esker built, and
//! what it reused, must be what Nix would have built.

#![expect(dead_code, reason = "each test file uses its own part; the last line keeps this true")]

pub(crate) mod given;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use esker_trace::store::Store;

use crate::story::told::Told;
use crate::story::{Nix, Project};

/// Time for one `esker`: a first one may have to build the toolchain.
pub(crate) const TIME: Duration = Duration::from_secs(600);

/// A project with a set of `flakes/trace-set`; `None`, loudly, where builds cannot be observed or the
/// toolchain's files are not in the store.
pub(crate) fn project(nix: &Nix, set: &str) -> Option<Project> {
    if !crate::story::machine::can_observe_builds() {
        return None;
    }
    if !is_seeded() {
        let problem = "SKIPPED: flakes/demo/toolchain/seed.sh was not run";
        assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{problem}");
        eprintln!("{problem}");
        return None;
    }
    let project = Project::new(nix);
    let flakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../flakes");
    copy(&flakes.join("trace-set"), project.folder());
    copy(&flakes.join("demo/toolchain"), &project.folder().join("toolchain"));
    project.write("salt", "@salt@");
    project.write("chosen", set);
    Some(project)
}

fn is_seeded() -> bool {
    let entries = fs::read_dir("/nix/store").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().ends_with("-busybox-seed"))
}

/// Copies a tree; links stay links.
pub(crate) fn copy(from: &Path, to: &Path) {
    let metadata = from.symlink_metadata().unwrap();
    if metadata.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if metadata.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// `esker check --trace reuse`, which must pass. No reuse is doubted: the judge comes afterwards.
pub(crate) fn reuse(project: &Project) -> Told {
    let told = try_reuse(project);
    assert_eq!(told.code, 0, "{told}");
    told
}

/// The same, whatever comes of it.
pub(crate) fn try_reuse(project: &Project) -> Told {
    project
        .esker(&["check", "--json", "--trace", "reuse", "--shadow", "0", "--cores", "2"])
        .within(TIME)
        .run()
}

/// Has Nix build these again, and tells for which of them it gets other bits. They must be valid.
/// `told` says what Esker gave the builders as `/bin/sh`.
pub(crate) fn judge(project: &Project, told: &Told, drvs: &[String]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    let shell = told.events("environment").find_map(|event| event["shell"].as_str());
    let paths = shell.map(|shell| format!("/bin/sh={shell}")).unwrap_or_default();
    for some in drvs.chunks(200) {
        let mut command = project.nix_program("nix-store");
        command.args(["--realise", "--check", "--keep-going", "-j", "2", "--cores", "2"]);
        command
            .args(["--option", "sandbox", "true", "--option", "sandbox-paths", &paths, "--quiet"])
            .args(some);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let found = some.iter().filter(|drv| said.contains(&format!("'{drv}' may not be deterministic")));
        let before = wrong.len();
        wrong.extend(found.cloned());
        assert!(output.status.success() || wrong.len() > before, "Nix cannot build again: {said}");
        for sign in ["failed with exit code", "rejecting this build output", "failed to produce output"] {
            assert!(!said.contains(sign), "Nix would not have built it: {said}");
        }
    }
    wrong
}

/// The derivations of all jobs, by name.
pub(crate) fn drvs(told: &Told) -> Vec<(String, String)> {
    let jobs = told
        .events("evaluated")
        .filter_map(|event| Some((event["job"].as_str()?.to_owned(), event["drv"].as_str()?.to_owned())));
    let mut jobs: Vec<_> = jobs.collect();
    jobs.sort_unstable();
    jobs
}

/// Why a derivation was built or reused, in one word; empty if nothing was said.
pub(crate) fn reason<'a>(told: &'a Told, drv: &str) -> &'a str {
    let explained = told.events("explained").find(|event| event["drv"] == drv);
    explained.and_then(|event| event["explanation"]["reason"].as_str()).unwrap_or_default()
}

/// The project's traces.
pub(crate) fn traces(project: &Project) -> Store {
    Store::open(&folder_of_traces(project)).unwrap()
}

/// Where they are.
pub(crate) fn folder_of_traces(project: &Project) -> PathBuf {
    project.state().join("traces")
}

fn never_called() {}
