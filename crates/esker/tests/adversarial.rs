//! Builders that would be reused wrongly, if they could be; and what else may go wrong around a reuse.
//! After each of Esker's decisions Nix's own build is the judge.

#![expect(clippy::unwrap_used, reason = "tests")]

mod judged;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use judged::{TIME, drvs, given, judge, reason, reuse, try_reuse};
use rustix::process::{Pid, Signal, kill_process};
use story::disk::SmallDisk;
use story::running::descendants;
use story::told::Told;
use story::{Nix, Project, on_each_nix};

/// A project with one of the sets that are about `variable/`: files that builders read, and one that none
/// does.
fn variable(nix: &Nix, set: &str) -> Option<Project> {
    let project = judged::project(nix, set)?;
    project.write("variable/read", "what is read\n");
    change_unread(&project, 0);
    Some(project)
}

fn change_unread(project: &Project, round: usize) {
    project.write("variable/unread", &format!("@salt@ {round}\n"));
}

fn outcome<'a>(told: &'a Told, job: &str) -> &'a str {
    told.outcome(job)["outcome"].as_str().unwrap_or_default()
}

/// The jobs of which Nix's own build has other bits.
fn wrong_jobs(project: &Project, told: &Told) -> BTreeSet<String> {
    let jobs = drvs(told);
    let wrong = judge(project, told, &jobs.iter().map(|(_, drv)| drv.clone()).collect::<Vec<_>>());
    jobs.into_iter().filter(|(_, drv)| wrong.contains(drv)).map(|(job, _)| job).collect()
}

fn hidden_paths_are_built_and_all_else_is_reused(nix: &Nix) {
    let Some(project) = variable(nix, "adversarial") else { return };
    for program in ["sqlite3", "xz", "mksquashfs"] {
        given::give(&project, program, &format!("/usr/bin/{program}"), &[]);
    }
    given::give(&project, "python", "/usr/bin/python3", &["/usr/lib/python3.11/encodings"]);
    let mut reuses = 0;
    for round in 0..5 {
        change_unread(&project, round);
        let told = reuse(&project);
        let unexpected: BTreeMap<String, String> = drvs(&told)
            .into_iter()
            .filter_map(|(job, drv)| {
                // The first build, and one that proves.
                let is_empty =
                    ["reused-empty", "reused-empty-folder", "reused-path-checked"].contains(&job.as_str());
                let proven = round > 1 || (round > 0 && is_empty);
                let expected = if job.starts_with("reused") && proven { "reused" } else { "built" };
                let found = outcome(&told, &job);
                reuses += usize::from(found == "reused");
                (found != expected).then(|| (job, format!("{found}: {}", reason(&told, &drv))))
            })
            .collect();
        assert_eq!(unexpected, BTreeMap::new(), "round {round}");
        // Random bits are others each time, and how inputs are mounted is our own affair; nothing else is.
        let wrong = wrong_jobs(&project, &told);
        assert_eq!(wrong.iter().collect::<Vec<_>>(), ["built-mounts", "built-random"], "round {round}");
    }
    eprintln!("{reuses} judged reuses, 0 false");
}

/// Known limits: a result that depends on a bit of a hash and on no more.
///
/// - An empty result is reused at once, on the ground that nothing can hide in it. But whether it is a
///   file or a folder, or whether there is one at all, is a bit, too.
/// - Two builds that agree are a proof. But of two that have a bit each, half agree by chance.
///
/// No observation tells the one from the other: the bit is taken from a name that the builder may know.
/// Hence the doubt about a share of reuses, and the revocation of everything from a trace that once
/// was false. This test fails when the limit is gone.
fn a_bit_of_a_hash_can_deceive_but_not_for_long(nix: &Nix) {
    let Some(project) = variable(nix, "limits") else { return };
    let mut deceived = BTreeSet::new();
    for round in 0..4 {
        change_unread(&project, round);
        let told = reuse(&project);
        let wrong = wrong_jobs(&project, &told);
        // Only what was reused is ever wrong.
        assert!(wrong.iter().all(|job| outcome(&told, job) == "reused"), "{wrong:?}\n{told}");
        deceived.extend(
            wrong.into_iter().map(|job| job.trim_end_matches(|c: char| !c.is_alphabetic()).to_owned()),
        );
    }
    assert_eq!(deceived.iter().collect::<Vec<_>>(), ["bit", "empty-bit", "sorted"]);
    // Whoever doubts finds out, and then nothing of it is reused any more.
    for round in 4..6 {
        change_unread(&project, round);
        let told = project
            .esker(&["check", "--json", "--trace", "reuse", "--shadow", "100", "--cores", "2"])
            .within(TIME)
            .run();
        let wrong = wrong_jobs(&project, &told);
        assert_eq!(wrong, BTreeSet::new(), "round {round}\n{told}");
    }
}

/// A builder asks whether a store path is there that is not among its inputs, having its name from a
/// file. Later it is an input, through a dependency that changed where nobody looked.
fn a_path_that_was_no_input_becomes_one(nix: &Nix) {
    let Some(project) = variable(nix, "late") else { return };
    assert_eq!(with_inputs(&project, &["", "", "b"]), ["built built", "built reused", "built built"]);
}

/// An input takes the place of another of its name, and the builder knows its hash from a file that does
/// not change. Names that are looked up in the store folder itself are not observed; but a hash in a
/// file counts as the input that has it, or as none.
fn a_path_that_takes_the_place_of_another_is_seen(nix: &Nix) {
    let Some(project) = variable(nix, "late") else { return };
    assert_eq!(with_inputs(&project, &["a", "a", "b"]), ["built built", "built reused", "built built"]);
}

/// Outcomes of the jobs `content` and `empty`, while the dependency refers to these.
fn with_inputs(project: &Project, rounds: &[&str]) -> Vec<String> {
    let round = |(round, referred): (usize, &&str)| {
        project.write("variable/referred", referred);
        change_unread(project, round);
        let told = reuse(project);
        let wrong = wrong_jobs(project, &told);
        ["content", "empty"]
            .map(|job| if wrong.contains(job) { "FALSE" } else { outcome(&told, job) })
            .join(" ")
    };
    rounds.iter().enumerate().map(round).collect()
}

fn random_bits_are_never_reused(nix: &Nix) {
    let Some(project) = variable(nix, "adversarial") else { return };
    project.write("chosen", "random");
    let mut reasons = Vec::new();
    for round in 0..4 {
        change_unread(&project, round);
        let told = reuse(&project);
        assert_eq!(outcome(&told, "built-random"), "built");
        reasons.push(reason(&told, told.drv("built-random")).to_owned());
    }
    assert_eq!(reasons, ["never", "unproven", "depends", "depends"]);
}

/// A check that reads `src/a` of its source, with the shell of the sandbox.
fn reads_one_file(nix: &Nix, script: &str) -> Option<Project> {
    judged::project(nix, "equal")?;
    let project =
        Project::with_checks(nix, &format!(r#"one = lib.make {{ src = ./src; }} "one" '' {script} '';"#));
    project.write("src/a", "a\n");
    change_readme(&project, 0);
    Some(project)
}

fn change_readme(project: &Project, round: usize) {
    project.write("src/README", &format!("@salt@ {round}\n"));
}

const COPIES: &str = "read x < $src/a; echo $x > $out";

fn two_runs_race_for_one_derivation(nix: &Nix) {
    let Some(project) = reads_one_file(nix, COPIES) else { return };
    let other = project.beside("other");
    for round in 0..4 {
        project.write("src/README", &format!("first {round}\n"));
        let _ = fs::remove_dir_all(&other);
        judged::copy(project.folder(), &other);
        fs::write(other.join("src/README"), format!("second {round}\n")).unwrap();
        let start = |folder: &Path| {
            project.esker(&["check", "--json", "--trace", "reuse", "--shadow", "0"]).at(folder).start()
        };
        let both = [start(project.folder()), start(&other)].map(story::running::Running::finish);
        for told in &both {
            assert_eq!(told.code, 0, "{told}");
            assert_eq!(wrong_jobs(&project, told), BTreeSet::new());
            // The two of the first round are the proof for all others, whichever came first.
            assert_eq!(outcome(told, "one") == "reused", round > 0, "round {round}: {told}");
        }
    }
}

fn what_was_collected_meanwhile_is_built(nix: &Nix) {
    let Some(project) = reads_one_file(nix, COPIES) else { return };
    let mut drvs = Vec::new();
    for (round, expected) in ["built", "built", "reused"].into_iter().enumerate() {
        change_readme(&project, round);
        let told = reuse(&project);
        assert_eq!(outcome(&told, "one"), expected, "{told}");
        drvs.push(told.drv("one").to_owned());
    }
    // Everything of the trace is deleted: the outputs, the derivations and their source.
    let texts: Vec<String> = drvs.iter().map(|drv| fs::read_to_string(drv).unwrap()).collect();
    let parts = texts.iter().flat_map(|text| text.split('"'));
    let mine = parts
        .filter(|part| part.starts_with("/nix/store/") && (part.ends_with("-src") || part.ends_with("-one")));
    let paths: BTreeSet<&str> = mine.chain(drvs.iter().map(String::as_str)).collect();
    let output = project.nix_program("nix-store").arg("--delete").args(&paths).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for (round, expected) in [("built", "collected"), ("reused", "holds")].into_iter().enumerate() {
        change_readme(&project, 10 + round);
        let told = reuse(&project);
        assert_eq!((outcome(&told, "one"), reason(&told, told.drv("one"))), expected, "{told}");
        assert_eq!(wrong_jobs(&project, &told), BTreeSet::new());
    }
}

/// The first output path of a derivation's text.
fn derivation_output(text: &str) -> String {
    let path = text.split('"').find(|part| part.starts_with("/nix/store/")).unwrap();
    path.to_owned()
}

fn damaged_traces_cost_a_build_and_no_more(nix: &Nix) {
    let damages: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.iter_mut().skip(4096).step_by(97).for_each(|byte| *byte = !*byte),
        |bytes| bytes.clear(),
    ];
    for damage in damages {
        let Some(project) = reads_one_file(nix, COPIES) else { return };
        for round in 0..2 {
            change_readme(&project, round);
            reuse(&project);
        }
        let folder = judged::folder_of_traces(&project);
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().contains(".db") {
                let mut bytes = fs::read(entry.path()).unwrap();
                damage(&mut bytes);
                fs::write(entry.path(), bytes).unwrap();
            }
        }
        for (round, expected) in ["built", "built", "reused"].into_iter().enumerate() {
            change_readme(&project, 10 + round);
            let told = reuse(&project);
            assert_eq!(outcome(&told, "one"), expected, "round {round}: {told}");
            assert_eq!(wrong_jobs(&project, &told), BTreeSet::new());
        }
    }
}

fn a_full_disk_for_traces_costs_a_build_and_no_more(nix: &Nix) {
    let Some(project) = reads_one_file(nix, COPIES) else { return };
    let Some(disk) = SmallDisk::new(&project, "8m") else { return };
    let check = || {
        let esker = project.esker(&["check", "--json", "--trace", "reuse", "--shadow", "0"]);
        disk.send(esker.env("ESKER_STATE_DIR", &disk.path)).run()
    };
    let told = check();
    assert_eq!((told.code, outcome(&told, "one")), (0, "built"), "{told}");
    disk.fill(0);
    for round in 1..4 {
        change_readme(&project, round);
        let told = check();
        // Nothing can be noted, so nothing is proven, and nothing is reused without being noted.
        assert_eq!((told.code, outcome(&told, "one")), (0, "built"), "{told}");
        assert_eq!(wrong_jobs(&project, &told), BTreeSet::new());
    }
    disk.free();
    for (round, expected) in ["built", "reused"].into_iter().enumerate() {
        change_readme(&project, 10 + round);
        let told = check();
        assert_eq!((told.code, outcome(&told, "one")), (0, expected), "{told}");
        assert_eq!(wrong_jobs(&project, &told), BTreeSet::new());
    }
}

fn an_executor_that_is_killed_breaks_the_job_and_leaves_nothing(nix: &Nix) {
    let Some(project) = reads_one_file(
        nix,
        "read x < $src/a; echo started; while [ $x = wait ]; do read x < $src/a; done; echo $x > $out",
    ) else {
        return;
    };
    project.write("src/a", "wait\n");
    let mut running = project.esker(&["check", "--json", "--trace", "reuse"]).start();
    running.wait_for("a line of the log", |event| {
        event["event"] == "log" && event["line"].as_str().is_some_and(|line| line.contains("started"))
    });
    let executor = descendants(running.id()).into_iter().find(|id| {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("exec-traced")
    });
    let executor = Pid::from_raw(executor.unwrap().try_into().unwrap()).unwrap();
    kill_process(executor, Signal::KILL).unwrap();
    let told = running.finish();
    assert_eq!(told.conclusions(), [("one", "broken")], "{told}");
    assert_ne!(told.code, 0);
    project.wait_until_alone(Duration::from_secs(10));
    assert_eq!(judged::traces(&project).stats().unwrap().traces, 0);
    project.write("src/a", "go\n");
    let told = reuse(&project);
    assert_eq!((outcome(&told, "one"), reason(&told, told.drv("one"))), ("built", "never"), "{told}");
}

/// Nix does not delete the input of a build: it is protected. If somebody does so by hand, the build is
/// broken, whatever the builder makes of it.
fn an_input_that_is_deleted_meanwhile_leaves_no_trace(nix: &Nix) {
    let script = "echo started; n=0; while [ $((n += 1)) -lt 1000000 ]; do :; done
                  if read x < $src/a; then echo $x; else echo none; fi > $out";
    let Some(project) = reads_one_file(nix, script) else { return };
    project.write("src/a", "a\n");
    let mut running = project.esker(&["check", "--json", "--trace", "reuse"]).start();
    running.wait_for("a line of the log", |event| {
        event["event"] == "log" && event["line"].as_str().is_some_and(|line| line.contains("started"))
    });
    let drv = running.wait_for("a build", |event| event["event"] == "build_started");
    let text = fs::read_to_string(drv["drv"].as_str().unwrap()).unwrap();
    let source = text.split('"').find(|part| part.starts_with("/nix/store/") && part.ends_with("-src"));
    let source = source.unwrap();
    let deleted = project.nix_program("nix-store").args(["--delete", source]).output().unwrap();
    assert!(!deleted.status.success(), "{deleted:?}");
    let aside = project.beside("aside");
    judged::copy(Path::new(source), &aside);
    fs::remove_dir_all(source).unwrap();
    let told = running.finish();
    // Put back before anything can fail: for Nix it was there all the time.
    judged::copy(&aside, Path::new(source));
    assert_eq!(told.conclusions(), [("one", "broken")], "{told}");
    assert_eq!(judged::traces(&project).stats().unwrap().traces, 0, "{told}");
    let told = reuse(&project);
    assert_eq!((outcome(&told, "one"), reason(&told, told.drv("one"))), ("built", "never"), "{told}");
}

/// A dependency changes whose path is in the outputs, after a reuse across changes of a source: that
/// speaks against no reuse.
fn a_changed_dependency_revokes_no_reuse_of_a_changed_source(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = Project::with_checks(
        nix,
        r#"one = lib.make { src = ./src; dep = ./dep; } "one" "read x < $src/a; read y < $dep/a; echo $x $dep > $out";"#,
    );
    let salted = |path: &str, round: usize| project.write(path, &format!("@salt@ {round}\n"));
    project.write("src/a", "a\n");
    project.write("dep/a", "a\n");
    let rounds = [
        ("src", "built never"),
        ("src", "built unproven"),
        ("src", "reused holds"),
        ("dep", "built depends"),
        ("src", "built unproven"),
        ("src", "reused holds"),
    ];
    salted("dep/unread", 0);
    for (round, (changed, expected)) in rounds.into_iter().enumerate() {
        salted(&format!("{changed}/unread"), round + 1);
        let told = reuse(&project);
        let found = format!("{} {}", outcome(&told, "one"), reason(&told, told.drv("one")));
        assert_eq!(found, expected, "round {round}: {told}");
        assert_eq!(wrong_jobs(&project, &told), BTreeSet::new());
    }
    assert_eq!(judged::traces(&project).revocations().unwrap(), []);
}

/// A builder looks for a way out, by which it would know more than its inputs: the host's files, a store
/// path that is not listed, a server on this machine. It finds none, like in Nix's sandbox.
fn a_builder_does_not_get_out(nix: &Nix) {
    let Some(project) = variable(nix, "escape") else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let secret = project.beside("secret");
    fs::write(&secret, "of the host\n").unwrap();
    let unlisted = project.nix(&["store", "add-path", &secret.display().to_string()]);
    let place = format!("{} {} {}", secret.display(), unlisted.trim(), server.local_addr().unwrap().port());
    project.write("variable/read", &place);
    let told = reuse(&project);
    assert_eq!(outcome(&told, "escape"), "built");
    assert_eq!(wrong_jobs(&project, &told), BTreeSet::new());
    let drv = fs::read_to_string(told.drv("escape")).unwrap();
    let found = fs::read_to_string(derivation_output(&drv)).unwrap();
    assert_eq!(found, "secret no\nunlisted no\nserver no\nroot no\nprocesses 1\n");
}

fn a_failing_builder_leaves_no_trace(nix: &Nix) {
    let Some(project) = reads_one_file(nix, "read x < $src/a; echo $x > $out; exit 3") else { return };
    for round in 0..2 {
        change_readme(&project, round);
        let told = try_reuse(&project);
        assert_eq!(told.conclusions(), [("one", "failed")], "{told}");
    }
    assert_eq!(judged::traces(&project).stats().unwrap().traces, 0);
}

on_each_nix! {
    hidden_paths_are_built_and_all_else_is_reused,
    a_bit_of_a_hash_can_deceive_but_not_for_long,
    a_path_that_was_no_input_becomes_one,
    a_path_that_takes_the_place_of_another_is_seen,
    random_bits_are_never_reused,
    two_runs_race_for_one_derivation,
    what_was_collected_meanwhile_is_built,
    damaged_traces_cost_a_build_and_no_more,
    a_full_disk_for_traces_costs_a_build_and_no_more,
    an_executor_that_is_killed_breaks_the_job_and_leaves_nothing,
    an_input_that_is_deleted_meanwhile_leaves_no_trace,
    a_changed_dependency_revokes_no_reuse_of_a_changed_source,
    a_builder_does_not_get_out,
    a_failing_builder_leaves_no_trace,
}
