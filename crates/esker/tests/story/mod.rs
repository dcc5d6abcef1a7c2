//! Stories: the real binary with real Nix, told by the tests beside this folder.
//!
//! A story is a plain function over a [`Nix`]; its name is a sentence. The list at the end of the
//! file makes two tests of each, `SENTENCE::old_nix` and `SENTENCE::new_nix`:
//!
//! ```ignore
//! //! What this file's stories have in common.
//!
//! mod story;
//!
//! use story::{Nix, Project, on_each_nix};
//!
//! fn a_failing_build_fails_its_job_alone(nix: &Nix) {
//!     let project = Project::with_checks(nix, r#"good = lib.passes "good"; bad = lib.fails "bad";"#);
//!     let told = project.check(&[]);
//!     assert_eq!(told.code, 1, "{told}");
//!     assert_eq!(told.conclusions(), [("bad", "failed"), ("good", "passed")]);
//! }
//!
//! on_each_nix! { a_failing_build_fails_its_job_alone }
//! ```
//!
//! - A [`Project`] is a temporary folder with a `lib.nix` (see [`project::LIBRARY`]); whatever is
//!   written into it has `@system@` and `@salt@` replaced, the salt being new each time, so that
//!   derivations really are built. `write`, `write_checks`, `git`, `commit`.
//! - `project.check(&[…])` runs `esker check --json …` in the folder; `project.esker(&[…])` is any
//!   command, still open for `.env`, `.within`, `.at`, and then `.run()` or `.start()`. Everything
//!   private: HOME, state, caches, registry; no substituters; no experimental features switched on.
//! - [`Told`] is what came of it: code, stdout, stderr, events, and questions about them.
//!   `told.screen()` is stderr with times, hashes and folders replaced, for snapshots.
//! - [`Running`] is one that still runs: `wait_for` an event, `signal` it, `finish`.
//! - `project.gate(&[…])` makes gates that hold builders until they are opened;
//!   `project.wait_until_alone` sees to it that no process was left behind.
//! - [`disk::OwnStore`] is a store that can be emptied or damaged, [`disk::SmallDisk`] one that fills up.
//! - `project.nix(&[…])` is Nix itself in the same surroundings: the judge.
//!
//! `ESKER_TEST_NIX` lists the `bin` folders of the Nixes to test, separated by colons; the oldest
//! and the newest are taken. By default: the one on PATH, and the one under `ESKER_NIX_PREFIX`
//! or `/opt/esker-nix/sid`. One that is missing is told of and skipped, but fails when `CI` is set.

#![expect(dead_code, reason = "each test file uses its own part; the last line keeps this true")]
#![expect(clippy::unwrap_used, reason = "tests")]

pub(crate) mod disk;
pub(crate) mod machine;
pub(crate) mod project;
pub(crate) mod running;
pub(crate) mod told;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use project::Project;

/// One installed Nix.
#[derive(Clone, Debug)]
pub(crate) struct Nix {
    /// The folder with `nix` and `nix-daemon`.
    pub(crate) bin: PathBuf,
    /// Major and minor version.
    pub(crate) version: (u32, u32),
}

/// Which of them a test wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Old,
    New,
}

/// Runs a story, or says loudly why not.
pub(crate) fn tell(which: Which, story: impl FnOnce(&Nix)) {
    let mut all = all();
    all.sort_by_key(|nix| nix.version);
    let nix = match which {
        Which::Old => all.first(),
        Which::New => all.last().filter(|_| all.len() > 1),
    };
    match nix {
        Some(nix) => story(nix),
        None => {
            let problem = format!(
                "SKIPPED: no {which:?} Nix here; set ESKER_TEST_NIX to the bin folders of two versions"
            );
            assert!(!env::var("CI").is_ok_and(|ci| ci == "true"), "{problem}");
            eprintln!("{problem}");
        }
    }
}

/// Makes tests of stories: `on_each_nix! { a_sentence, another }`.
macro_rules! on_each_nix {
    ($($story:ident),+ $(,)?) => { $(
        mod $story {
            #[test]
            fn old_nix() {
                crate::story::tell(crate::story::Which::Old, super::$story);
            }

            #[test]
            fn new_nix() {
                crate::story::tell(crate::story::Which::New, super::$story);
            }
        }
    )+ };
}
pub(crate) use on_each_nix;

fn all() -> Vec<Nix> {
    let folders: Vec<PathBuf> = match env::var_os("ESKER_TEST_NIX") {
        Some(list) => env::split_paths(&list).collect(),
        None => {
            let path = env::var_os("PATH").unwrap_or_default();
            let first = env::split_paths(&path).find(|folder| folder.join("nix").is_file());
            let prefix = env::var_os("ESKER_NIX_PREFIX").unwrap_or_else(|| "/opt/esker-nix/sid".into());
            first.into_iter().chain([Path::new(&prefix).join("bin-nix")]).collect()
        }
    };
    let mut all: Vec<Nix> = folders.into_iter().filter_map(Nix::at).collect();
    all.dedup_by_key(|nix| nix.version);
    all
}

impl Nix {
    fn at(bin: PathBuf) -> Option<Self> {
        let output = Command::new(bin.join("nix")).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split_whitespace().last()?.split('.').map(str::parse);
        let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { bin, version })
    }

    /// Whether it is at least this version.
    pub(crate) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        self.version >= (major, minor)
    }
}

fn never_called() {}
