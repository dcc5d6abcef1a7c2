//! Whole stories: runs are recorded, and asked about.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use esker_engine::event::{Action, Conclusion, Event, Outcome};
use esker_engine::logs::LogReader;

use super::example::{Example, drv, moment};
use super::*;

const HERE: &str = "/home/me/project";

fn open() -> (tempfile::TempDir, State) {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(&dir.path().join("state")).unwrap();
    assert_eq!(state.notice(), None);
    (dir, state)
}

fn kept(state: &State, job: &str) -> KeptLog {
    match state.last_log(HERE, job).unwrap() {
        JobLog::Kept(log) => log,
        other => panic!("{other:?}"),
    }
}

fn text(log: &KeptLog) -> String {
    let mut bytes = Vec::new();
    LogReader::open(&log.path).unwrap().read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Waits until `found` is something, for what another thread will do very soon.
#[track_caller]
fn soon<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "not soon enough");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn log_files(state: &State) -> Vec<String> {
    let mut names = Vec::new();
    for run in fs::read_dir(state.dir().join("logs")).unwrap() {
        for file in fs::read_dir(run.unwrap().path()).unwrap() {
            names.push(file.unwrap().file_name().into_string().unwrap());
        }
    }
    names.retain(|name| name != "lock");
    names.sort();
    names
}

#[test]
fn a_finished_run_is_remembered() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.passes("tests", 41.5, &["one", "two"]);
    run.does_not_evaluate("docs");
    run.finish();

    let log = kept(&state, "tests");
    assert_eq!((log.state, log.whose), (BuildState::Finished(Conclusion::Passed), Whose::Own));
    assert_eq!(text(&log), "one\ntwo\n");
    let history = state.history(HERE, "tests", 10).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].conclusion, Some(Conclusion::Passed));
    assert_eq!(history[0].seconds, Some(41.5));
    assert_eq!(history[0].dirty, Some(1));
    assert_eq!(history[0].started, 1_767_225_601_000);
    assert_eq!(history[0].outcome.as_ref().unwrap()["outcome"], "built");
    let runs = state.runs(10).unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].live, runs[0].nix.as_deref()), (false, Some("2.34.8")));
    assert_eq!(runs[0].summary.as_ref().unwrap()["passed"], 1);
    assert!(runs[0].finished.is_some());
    match state.last_log(HERE, "docs").unwrap() {
        JobLog::Evaluation { text } => assert_eq!(text, "error: oh no\n at flake.nix:3:5"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_can_be_read_while_the_build_runs() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.evaluated("tests");
    run.build_started("tests");
    run.log("tests", b"first");
    let log = soon(|| match state.last_log(HERE, "tests").unwrap() {
        JobLog::Kept(log) if text(&log) == "first\n" => Some(log),
        _ => None,
    });
    assert_eq!(log.state, BuildState::Running);
    assert!(state.is_in_progress(HERE, "tests").unwrap());
    assert_eq!(state.history(HERE, "tests", 1).unwrap()[0].conclusion, None);
    run.log("tests", b"second");
    soon(|| (text(&log) == "first\nsecond\n").then_some(()));
    run.build_finished("tests", Conclusion::Failed, 2.);
    run.finish();
    assert_eq!(state.build_state(&log).unwrap(), BuildState::Finished(Conclusion::Failed));
}

#[test]
fn a_killed_run_leaves_a_log_that_can_be_read() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.evaluated("tests");
    run.build_started("tests");
    for number in 0..50_000 {
        run.log("tests", format!("line {number}").as_bytes());
    }
    let log = soon(|| match state.last_log(HERE, "tests").unwrap() {
        JobLog::Kept(log) if text(&log).ends_with("line 49999\n") => Some(log),
        _ => None,
    });
    let unfinished = fs::read(&log.path).unwrap();
    run.stop();
    // What a kill leaves: no end of the frame, and perhaps half a block.
    fs::write(&log.path, &unfinished[..unfinished.len() - 5]).unwrap();
    let log = kept(&state, "tests");
    assert_eq!(log.state, BuildState::Stopped);
    assert!(text(&log).starts_with("line 0\nline 1\n"));
    assert_eq!(state.history(HERE, "tests", 1).unwrap()[0].conclusion, Some(Conclusion::Cancelled));
    let run = &state.runs(1).unwrap()[0];
    assert_eq!((run.live, run.finished), (false, None));
}

#[test]
fn a_build_that_prints_nothing_leaves_no_file() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.passes("quiet", 1., &[]);
    run.finish();
    assert!(log_files(&state).is_empty());
    match state.last_log(HERE, "quiet").unwrap() {
        JobLog::Nothing { drv: Some(found) } => assert_eq!(found, drv("quiet")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_that_was_already_there_has_the_log_of_its_build() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, "/another/checkout", 1);
    run.passes("tests", 1., &["built over there"]);
    run.finish();
    let mut run = Example::begin(&state, HERE, 2);
    run.is_there("tests");
    run.finish();
    let log = kept(&state, "tests");
    assert_eq!((log.whose, text(&log).as_str()), (Whose::Earlier, "built over there\n"));
}

#[test]
fn a_job_whose_dependency_failed_has_the_log_of_that() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.evaluated("tests");
    run.build_started("library");
    run.log("library", b"cannot compile");
    run.build_finished("library", Conclusion::Failed, 3.);
    let outcome = Outcome::DependencyFailed { drv: drv("library"), name: "library".into() };
    run.job_finished("tests", Conclusion::Failed, outcome);
    run.finish();
    let log = kept(&state, "tests");
    assert_eq!((log.whose, log.name.as_str()), (Whose::Dependency, "library"));
    assert_eq!(text(&log), "cannot compile\n");
}

#[test]
fn a_second_build_of_a_derivation_has_a_log_of_its_own() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.passes("tests", 1., &["first"]);
    let name = "tests".to_string();
    run.event(Event::BuildStarted {
        drv: drv("tests"),
        name,
        action: Action::Rebuild,
        estimate: None,
        jobs: vec![],
    });
    run.log("tests", b"second");
    run.finish();
    assert_eq!(log_files(&state).len(), 2);
    assert_eq!(text(&kept(&state, "tests")), "second\n");
}

#[test]
fn estimates_follow_the_latest_builds_that_passed() {
    let (_dir, state) = open();
    for (started, seconds) in [(1, 100.), (2, 200.)] {
        let mut run = Example::begin(&state, HERE, started);
        run.passes("tests", seconds, &[]);
        run.build_started("fmt");
        run.build_finished("fmt", Conclusion::Failed, 7.);
        run.finish();
    }
    let estimates = state.estimates().unwrap();
    assert_eq!(estimates.len(), 1);
    assert!((estimates["tests"] - 130.).abs() < 1e-9, "{estimates:?}");
}

#[test]
fn two_recorders_at_once_do_not_mix() {
    let (dir, state) = open();
    let path = dir.path().join("state");
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let path = path.clone();
            std::thread::spawn(move || {
                let state = State::open(&path).unwrap();
                let mut run = Example::begin(&state, &format!("/flake{number}"), 1);
                for job in 0..50 {
                    run.passes(&format!("job{job}"), 1., &[&format!("{number} of {job}")]);
                }
                run.finish();
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(state.runs(100).unwrap().len(), 4);
    assert_eq!(log_files(&state).len(), 200);
    for number in 0..4 {
        assert_eq!(state.jobs(&format!("/flake{number}")).unwrap().len(), 50);
    }
}

#[test]
fn a_folder_that_cannot_be_used_costs_one_notice() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let Err(error) = State::open(&file.join("state")) else { panic!("opened") };
    let start = RunStart { subject: HERE.into(), reference: ".".into(), started: moment(0) };
    let (mut recorder, notice) = Recorder::begin(Err(&error), &start);
    insta::assert_snapshot!(notice.unwrap().replace(dir.path().to_str().unwrap(), "DIR"), @"this run is not recorded, `esker log` and `esker history` will not know it: cannot use `DIR/file/state`: Not a directory (os error 20)");
    insta::assert_snapshot!(error.hint().unwrap(), @"set ESKER_STATE_DIR to a folder that you can write");
    assert_eq!(recorder.record(&Event::Log { drv: drv("x"), line: vec![] }), None);
    assert_eq!(recorder.finish(), None);
}

#[test]
fn a_folder_that_vanishes_during_the_run_costs_one_notice() {
    let (_dir, state) = open();
    let start = RunStart { subject: HERE.into(), reference: ".".into(), started: moment(0) };
    let (mut recorder, notice) = Recorder::begin(Ok(&state), &start);
    assert_eq!(notice, None);
    fs::remove_dir_all(state.dir().join("logs")).unwrap();
    let event = Event::Log { drv: drv("x"), line: b"line".to_vec() };
    let notice = soon(|| recorder.record(&event));
    assert!(notice.starts_with("this run is not recorded"), "{notice}");
    assert_eq!(recorder.record(&event), None, "once is enough");
    assert_eq!(recorder.finish(), None);
}

#[test]
fn a_damaged_database_is_moved_aside() {
    let (dir, state) = open();
    let path = state.dir().to_path_buf();
    drop(state);
    fs::write(path.join("esker.db"), "this is not a database, and has not been one for long").unwrap();
    let state = State::open(&path).unwrap();
    let notice = state.notice().unwrap().replace(dir.path().to_str().unwrap(), "DIR");
    assert!(
        notice.starts_with("the record of past runs was damaged; it is now `DIR/state/esker.db.corrupt-")
    );
    assert!(state.runs(1).unwrap().is_empty());
    let moved = |path: &Path| {
        let names =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("corrupt")).count()
    };
    assert_eq!(moved(&path), 1);
    assert_eq!(State::open(&path).unwrap().notice(), None);
}

#[test]
fn damage_that_shows_later_is_found_too() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    (0..500).for_each(|number| run.passes(&format!("job{number}"), 1., &[]));
    run.finish();
    let path = state.dir().to_path_buf();
    assert_eq!(database::set_aside_if_damaged(&path).unwrap(), None);
    drop(state);
    let mut bytes = fs::read(path.join("esker.db")).unwrap();
    let length = bytes.len();
    bytes[8192..length].fill(0xa5);
    fs::write(path.join("esker.db"), bytes).unwrap();
    assert!(database::set_aside_if_damaged(&path).unwrap().is_some());
    assert_eq!(database::set_aside_if_damaged(&path).unwrap(), None);
}

#[test]
fn the_database_of_a_newer_esker_is_left_alone() {
    let (_dir, state) = open();
    state.db.pragma_update(None, "user_version", 99).unwrap();
    let Err(error) = State::open(state.dir()) else { panic!("opened") };
    assert!(matches!(error, StateError::Newer { .. }), "{error}");
}

#[test]
fn names_are_resolved_among_the_jobs_of_the_flake() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    ["tests", "tests-slow", "clippy"].into_iter().for_each(|job| run.is_there(job));
    run.finish();
    let resolve = |name: &str| state.resolve_job(HERE, name);
    assert_eq!(resolve("tests").unwrap(), "tests");
    assert_eq!(resolve("checks.x86_64-linux.clippy").unwrap(), "clippy");
    assert_eq!(resolve("slow").unwrap(), "tests-slow");
    let shown = |error: StateError| format!("error: {error}\nhint: {}", error.hint().unwrap());
    insta::assert_snapshot!(shown(resolve("test").unwrap_err()), @r"
    error: `test` could be any of `tests`, `tests-slow`
    hint: write more of its name
    ");
    insta::assert_snapshot!(shown(resolve("cilppy").unwrap_err()), @r"
    error: no job `cilppy` is remembered of `/home/me/project`
    hint: did you mean `clippy`?
    ");
    insta::assert_snapshot!(shown(resolve("quux").unwrap_err()), @r"
    error: no job `quux` is remembered of `/home/me/project`
    hint: run `esker check` again, it may be new
    ");
    insta::assert_snapshot!(shown(state.resolve_job("/else", "x").unwrap_err()), @r"
    error: nothing is remembered of `/else`
    hint: run `esker check` there first, or name the flake or the file with `--flake` or `--file`
    ");
}

#[test]
fn prune_removes_old_runs_with_their_logs() {
    let (_dir, state) = open();
    for day in 0..5 {
        let mut run = Example::begin(&state, HERE, day * 86_400);
        run.passes("tests", 1., &["printed"]);
        run.finish();
    }
    let mut run = Example::begin(&state, "/else", 0);
    run.passes("other", 1., &["printed"]);
    run.finish();
    let days = |number: u64| Some(Duration::from_secs(number * 86_400));
    let now = moment(5 * 86_400);
    let prune = |newest, younger_than| state.prune(&Keep { newest, younger_than }, now).unwrap();
    assert_eq!(prune(None, None), Pruned::default());
    assert_eq!(prune(Some(10), None), Pruned::default());
    assert_eq!(prune(Some(4), days(3)).runs, 1, "the oldest here is beyond both");
    assert_eq!(prune(None, days(3)).runs, 2, "of /else too");
    assert_eq!(log_files(&state).len(), 3);
    let pruned = prune(Some(1), None);
    assert_eq!(pruned.runs, 2);
    assert!(pruned.bytes > 0);
    assert_eq!(state.history(HERE, "tests", 10).unwrap().len(), 1);
    assert_eq!(prune(Some(0), None).runs, 1);
    assert!(state.runs(10).unwrap().is_empty());
    assert_eq!(fs::read_dir(state.dir().join("logs")).unwrap().count(), 0);
    assert_eq!(state.estimates().unwrap().len(), 2, "they stay");
}

#[test]
fn prune_leaves_alone_what_lives_and_what_is_not_ours() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.evaluated("tests");
    run.build_started("tests");
    run.log("tests", b"printed");
    let logs = state.dir().join("logs");
    fs::create_dir(logs.join("nginx")).unwrap();
    fs::write(logs.join("20260101T000000Z"), "a file").unwrap();
    fs::create_dir(logs.join("20250101T000000Z")).unwrap();
    let pruned = state.prune(&Keep { newest: Some(0), younger_than: None }, moment(10)).unwrap();
    assert_eq!((pruned.runs, pruned.orphans), (0, 1));
    assert!(logs.join("nginx").exists() && logs.join("20260101T000000Z").exists());
    assert!(!logs.join("20250101T000000Z").exists());
    run.finish();
    assert_eq!(text(&kept(&state, "tests")), "printed\n");
}
