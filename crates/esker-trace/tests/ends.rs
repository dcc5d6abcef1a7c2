//! How runs end: by themselves, by a limit, or because somebody who must live has died. In each case
//! nothing of them is left.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "exec/place.rs"]
#[expect(dead_code, reason = "each test file uses a part of it")]
mod place;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use esker_trace::exec::{End, ExecError, Ran, Spec, run};
use place::Place;

/// Leaves processes of all kinds behind: in the background, in a session of their own, deaf to signals.
const LEAVE_PROCESSES: &str = "sleep 1000 & setsid sleep 1000 & (trap '' TERM HUP INT; sleep 1000) &\n";

#[track_caller]
fn check_end(script: &str, limit: impl Fn(&mut Spec), expected: End) {
    let Some(place) = Place::new() else { return };
    let mut spec = place.spec(&format!("{LEAVE_PROCESSES}{script}"));
    limit(&mut spec);
    let mut log = Vec::new();
    let began = Instant::now();
    let ran = run(&spec, &mut |bytes| log.extend_from_slice(bytes)).unwrap();
    assert_eq!(ran.end, expected, "{}", String::from_utf8_lossy(&log));
    assert!(!place.has_processes());
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_builder_ends_with_its_code() {
    check_end("exit 0", |_| {}, End::Exited(0));
    check_end("exit 7", |_| {}, End::Exited(7));
}

#[test]
fn a_builder_can_be_killed_by_a_signal() {
    // The first process of a namespace is safe from its own signals; a fault is not a signal sent.
    check_end("ulimit -t 1; while :; do :; done", |_| {}, End::Signalled(9));
}

#[test]
fn a_builder_that_is_not_there_is_its_own_fault() {
    let Some(place) = Place::new() else { return };
    let mut spec = place.spec("");
    spec.builder = "/nix/store/none".into();
    let ran = run(&spec, &mut |_| {}).unwrap();
    let why = "executing '/nix/store/none': No such file or directory";
    assert_eq!(ran.end, End::NotExecuted(why.to_owned()));
}

#[test]
fn a_builder_has_only_so_much_time() {
    check_end("while :; do echo x; sleep 0.05; done", |spec| spec.limits.wall = Some(300), End::TimedOut);
}

#[test]
fn a_silent_builder_is_stopped() {
    let limit = |spec: &mut Spec| (spec.limits.silent, spec.limits.wall) = (Some(200), Some(10_000));
    check_end("sleep 1000", limit, End::Silent);
    check_end("exec > /dev/null 2>&1; sleep 1000", limit, End::Silent);
}

#[test]
fn a_log_has_an_end() {
    check_end(
        "while :; do echo xxxxxxxxxxxxxxxx; done",
        |spec| spec.limits.log = Some(10_000),
        End::LogLimit,
    );
}

#[test]
fn memory_is_limited() {
    let script = "head -c 200000000 /dev/zero | $B tail -c 190000000 > /dev/null; echo $?";
    check_end(&format!("{script}; exit 3"), |spec| spec.limits.memory = Some(64 << 20), End::OutOfMemory);
}

#[test]
fn processes_are_limited() {
    let script = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done";
    check_end(script, |spec| spec.limits.processes = Some(20), End::Exited(2));
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let Some(place) = Place::new() else { return };
    let Some(other) = Place::new() else { return };
    let script =
        "i=0; while [ $i -lt 100 ]; do cat $src/read > /dev/null; i=$((i+1)); done; ps | cat; echo $i";
    std::thread::scope(|scope| {
        for place in [&place, &other] {
            scope.spawn(move || {
                let run = place.run(script).succeeded();
                assert!(run.log.ends_with("100\n"), "{}", run.log);
                assert!(run.log.lines().count() <= 6, "{}", run.log);
                assert_eq!(run.questions(), "src Stat\nsrc Stat read\nsrc Content read");
            });
        }
    });
}

#[test]
fn a_long_log_arrives_whole() {
    let Some(place) = Place::new() else { return };
    let log = place.run("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done").succeeded().log;
    let expected: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    assert!(log == expected, "{} of {} bytes", log.len(), expected.len());
}

#[test]
fn large_files_arrive_whole() {
    let Some(mut place) = Place::new() else { return };
    let bytes: Vec<u8> = (0..5_000_001_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(place.input_path("large"), &bytes).unwrap();
    let run = place.run("cat $large > $out").succeeded();
    assert!(std::fs::read(run.ran.outputs[0].path.clone().unwrap()).unwrap() == bytes);
}

#[test]
fn a_view_that_is_cut_off_fails_the_run() {
    let Some(place) = Place::new() else { return };
    // The builder tells the number of the device, and then waits on input that never comes.
    let mut spec = place.spec("stat -c 'device %d' $src; while sleep 0.02; do cat $src/folder/one; done");
    spec.limits.wall = Some(20_000);
    let ran = run(&spec, &mut |bytes| {
        let log = String::from_utf8_lossy(bytes);
        if let Some(device) = log.lines().find_map(|line| line.strip_prefix("device ")) {
            let script = format!(
                "mount -t fusectl none /sys/fs/fuse/connections && echo 1 > /sys/fs/fuse/connections/{device}/abort"
            );
            assert!(Command::new("unshare").args(["-m", "sh", "-c", &script]).status().unwrap().success());
        }
    });
    assert_eq!(ran.unwrap().end, End::ObserverDied);
    assert!(!place.has_processes());
}

#[test]
fn a_run_dies_with_its_supervisor() {
    let Some(place) = Place::new() else { return };
    let mut child = start(&place, "echo ready; sleep 1000");
    wait_for_ready(&mut child);
    assert!(place.has_processes());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_gone(&place);
}

#[test]
fn a_run_dies_with_whoever_wanted_it() {
    let Some(place) = Place::new() else { return };
    let spec = place.folder_with("spec.json", &serde_json::to_vec(&place.spec(READY)).unwrap());
    // The shell is the parent of the supervisor, and is killed.
    let script = format!("{} < {} & wait", supervisor().display(), spec.display());
    let mut child = Command::new("sh").args(["-c", &script]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_ready(&mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_gone(&place);
}

#[test]
fn a_missing_sandbox_path_is_told() {
    let Some(place) = Place::new() else { return };
    let mut spec = place.spec("true");
    spec.shell = Some("/none/sh".into());
    let error = run(&spec, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ExecError::SetUp { .. }), "{error}");
}

const READY: &str = "sleep 1000 & echo ready; sleep 1000";

fn supervisor() -> PathBuf {
    // target/debug/deps/ends-… and target/debug/examples/exec
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("examples/exec")
}

fn start(place: &Place, script: &str) -> Child {
    let spec = serde_json::to_vec(&place.spec(&format!("{LEAVE_PROCESSES}{script}"))).unwrap();
    let mut command = Command::new(supervisor());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&spec).unwrap();
    child
}

fn wait_for_ready(child: &mut Child) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
}

fn wait_until_gone(place: &Place) {
    let began = Instant::now();
    while place.has_processes() {
        assert!(began.elapsed() < Duration::from_secs(10), "processes are left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_supervisor_answers_in_json() {
    let Some(place) = Place::new() else { return };
    let child = start(&place, "echo to the log; cat $src/read");
    let output = child.wait_with_output().unwrap();
    let ran: Ran = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ran.end, End::Exited(0));
    assert_eq!(output.stderr, b"to the log\ntext\n");
    assert!(ran.questions.iter().any(|question| question.path == b"read"));
}
