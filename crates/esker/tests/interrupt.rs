//! How a run ends before its time: by the user, by a kill, or because others die.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use story::machine::Gate;
use story::running::Running;
use story::{Nix, Project, on_each_nix};

/// Within this time after a run's end nothing of it may be left.
const SOON: Duration = Duration::from_secs(10);

/// One check that is built at once, and two whose builders wait until they are let through.
fn one_quick_two_slow(nix: &Nix) -> (Project, Gate) {
    let project = Project::with_checks(
        nix,
        r#"
        quick = lib.passes "quick";
        slow = lib.run "slow" "trap : INT TERM HUP; echo slow; read x < /gate/all; echo > $out";
        child = lib.run "child" "(echo child; read x < /gate/all); echo > $out";
        after = lib.run "after" "echo ${lib.run "child" "(echo child; read x < /gate/all); echo > $out"} > $out";
        "#,
    );
    let gate = project.gate(&["all"]);
    (project, gate)
}

/// Starts it, and waits until everything that can run does.
fn start(project: &Project, gate: &Gate) -> Running {
    let mut running = project.esker(&[&["check", "--json", "-j", "3"], &gate.arguments[..]].concat()).start();
    for name in ["slow", "child"] {
        running.wait_for(name, |event| event["event"] == "log" && event["line"] == name);
    }
    running.wait_for("the quick one", |event| event["event"] == "job_finished" && event["job"] == "quick");
    running
}

/// Afterwards a run goes on where the first one stopped.
fn goes_on(project: &Project, gate: &mut Gate) {
    gate.open("all", 2);
    let told = project.check(&[&["-j", "3"], &gate.arguments[..]].concat());
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.outcome("quick")["outcome"], "in_store", "{told}");
    assert_eq!(told.outcome("slow")["outcome"], "built", "{told}");
}

fn an_interrupted_run_ends_its_builds_and_says_what_is_done(nix: &Nix) {
    for (signal, times) in [(Signal::INT, 1), (Signal::INT, 2), (Signal::TERM, 1), (Signal::HUP, 1)] {
        let (project, mut gate) = one_quick_two_slow(nix);
        let running = start(&project, &gate);
        for _ in 0..times {
            running.signal(signal);
        }
        let told = running.finish();
        assert_eq!(told.code, 130, "{signal:?}\n{told}");
        let expected =
            [("after", "cancelled"), ("child", "cancelled"), ("quick", "passed"), ("slow", "cancelled")];
        assert_eq!(told.conclusions(), expected);
        assert_eq!(told.summary()["interrupted"], true);
        assert_eq!(told.events("build_started").count(), told.events("build_finished").count(), "{told}");
        project.wait_until_alone(SOON);
        if times == 1 && signal == Signal::INT {
            goes_on(&project, &mut gate);
        }
    }
}

fn an_evaluation_is_interrupted_at_once(nix: &Nix) {
    let sum = |item: &str| format!("builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: {item}) 100000)");
    let endless = sum(&sum("x"));
    for signal in [Signal::INT, Signal::KILL] {
        let project = Project::with_checks(
            nix,
            &format!(r#"a = lib.passes "a"; endless = lib.run "endless" (toString ({endless}));"#),
        );
        let mut running = project.esker(&["check", "--json"]).start();
        running
            .wait_for("the endless one", |event| event["event"] == "evaluating" && event["job"] == "endless");
        running.signal(signal);
        let told = running.finish();
        if signal == Signal::INT {
            assert_eq!(told.code, 130, "{told}");
            // The other may have been built meanwhile, or not.
            assert!(told.jobs("cancelled").contains(&"endless"), "{told}");
            assert_eq!(told.summary()["failed"], 0, "{told}");
        }
        project.wait_until_alone(SOON);
    }
}

fn a_killed_run_leaves_nothing_behind(nix: &Nix) {
    let (project, mut gate) = one_quick_two_slow(nix);
    let running = start(&project, &gate);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code, -1);
    project.wait_until_alone(SOON);
    let roots = project.roots();
    assert!(!roots.contains(&project.salt) && !roots.contains("esker-story"), "{roots}");
    goes_on(&project, &mut gate);
    // And what it remembers is what it saw.
    let told = project.esker(&["history", "quick"]).run();
    assert_eq!(told.code, 0, "{told}");
}

fn a_killed_daemon_breaks_its_build_alone(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        victim = lib.run "victim" "echo victim; read x < /gate/victim; echo > $out";
        other = lib.run "other" "echo other; read x < /gate/other; echo > $out";
        "#,
    );
    let mut gate = project.gate(&["victim", "other"]);
    let mut running = project.esker(&[&["check", "--json", "-j", "2"], &gate.arguments[..]].concat()).start();
    let drv = running.wait_for("victim", |event| event["event"] == "log" && event["line"] == "victim")["drv"]
        .clone();
    running.wait_for("other", |event| event["event"] == "log" && event["line"] == "other");
    // The daemon of the victim is the parent of its builder, in some generation.
    let processes = project.processes();
    let builder = processes.iter().find(|(_, command)| command.contains("echo victim")).unwrap();
    let mut daemon = builder.0;
    while !std::fs::read_to_string(format!("/proc/{daemon}/cmdline")).unwrap().contains("nix-daemon\0--stdio")
    {
        daemon = parent(daemon);
    }
    kill_process(Pid::from_raw(daemon.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    running.wait_for("its end", |event| event["event"] == "build_finished" && event["drv"] == drv);
    gate.open("other", 1);
    gate.open("victim", 1);
    let told = running.finish();
    assert_eq!(told.code, 3, "{told}");
    assert_eq!(told.conclusions(), [("other", "passed"), ("victim", "broken")]);
    let message = told.outcome("victim")["failure"]["message"].as_str().unwrap();
    assert_eq!(message, "the Nix daemon closed the connection\nit was ended by signal 9");
    project.wait_until_alone(SOON);
}

fn parent(process: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("PPid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn a_reader_that_goes_away_ends_the_run(nix: &Nix) {
    let (project, gate) = one_quick_two_slow(nix);
    let mut command =
        project.esker(&[&["check", "--json", "-j", "3"], &gate.arguments[..]].concat()).into_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["event"], "environment");
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    project.wait_until_alone(SOON);
}

on_each_nix! {
    an_interrupted_run_ends_its_builds_and_says_what_is_done,
    an_evaluation_is_interrupted_at_once,
    a_killed_run_leaves_nothing_behind,
    a_killed_daemon_breaks_its_build_alone,
    a_reader_that_goes_away_ends_the_run,
}
