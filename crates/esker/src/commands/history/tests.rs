//! What `esker history` prints.

use esker_engine::event::Outcome;

use super::*;
use crate::state::example::{Example, drv};

const HERE: &str = "github:acme/hello";

fn history(state: &State, json: bool) -> String {
    let subject = SubjectArgs { flake: HERE.into(), file: None };
    let args = HistoryArgs { attr: "tests".into(), json, limit: 20, subject };
    show(&args, state, Path::new("/"), Style::BARE, &TimeZone::UTC).unwrap()
}

fn example() -> (tempfile::TempDir, State) {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path()).unwrap();
    let mut run = Example::begin(&state, HERE, 60);
    run.passes("tests", 125., &[]);
    run.finish();
    let mut run = Example::begin(&state, HERE, 3601);
    run.is_there("tests");
    run.finish();
    let mut run = Example::begin(&state, HERE, 7200);
    run.evaluated("tests");
    let outcome = Outcome::DependencyFailed { drv: drv("library"), name: "library".into() };
    run.job_finished("tests", Conclusion::Failed, outcome);
    run.finish();
    let mut run = Example::begin(&state, HERE, 90_000);
    run.evaluated("tests");
    run.stop();
    (dir, state)
}

#[test]
fn the_newest_run_is_on_top() {
    let (_dir, state) = example();
    insta::assert_snapshot!(history(&state, false), @r"
    when              revision  conclusion  took
    2026-01-02 01:00  3f2c1ab   cancelled   -
    2026-01-01 02:00  3f2c1ab   failed      `library` failed
    2026-01-01 01:00  3f2c1ab+  passed      already in the store
    2026-01-01 00:01  3f2c1ab   passed      2m05s
    ");
}

#[test]
fn json_is_one_object_a_line() {
    let (_dir, state) = example();
    let text = history(&state, true);
    assert_eq!(text.lines().count(), 4);
    insta::assert_snapshot!(text.lines().last().unwrap(), @r#"{"conclusion":"passed","dirty_files":0,"drv":"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-tests.drv","job":"tests","outcome":{"outcome":"built","seconds":125.0},"revision":"3f2c1ab9d0f1e2a3b4c5d6e7f8091a2b3c4d5e6f","run":"20260101T000100Z","seconds":125.0,"started":"2026-01-01T00:01:00Z","v":1}"#);
}
