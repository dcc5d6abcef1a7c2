//! Limits of an evaluation: memory, time, evaluators that die, and many attributes at once.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use story::running::Running;
use story::told::Told;
use story::{Nix, Project, on_each_nix};

const MIB: u64 = 1 << 20;

/// Twenty good attributes around one other.
fn among_twenty(nix: &Nix, name: &str, other: &str) -> Project {
    let good: Vec<String> =
        (0..20).map(|i| format!("good-{i:02} = lib.run \"good-{i:02}\" \"echo > $out\";")).collect();
    Project::with_checks(nix, &format!("{} {name} = {other}; {}", good[..10].join(" "), good[10..].join(" ")))
}

/// The twenty are fine, and the other one has this kind of error.
fn only_one_failed(told: &Told, name: &str, kind: &str) {
    assert_eq!(told.jobs("passed").len(), 20, "{told}");
    assert_eq!(told.error(name)["kind"], kind, "{told}");
    assert_eq!(told.events("job_finished").count(), 21, "{told}");
    assert_eq!(told.code, 1, "{told}");
}

/// Bytes that the evaluators under a process hold, sampled until it ends.
fn watch_memory(running: &Running) -> (Arc<AtomicBool>, std::thread::JoinHandle<u64>) {
    let (done, process) = (Arc::new(AtomicBool::new(false)), running.id());
    let stop = Arc::clone(&done);
    let watcher = std::thread::spawn(move || {
        let most = AtomicU64::new(0);
        while !stop.load(Ordering::Relaxed) {
            let sum = story::running::descendants(process).into_iter().map(resident).sum();
            most.fetch_max(sum, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
        }
        most.into_inner()
    });
    (done, watcher)
}

fn resident(process: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn an_attribute_that_needs_too_much_memory_is_named_and_the_rest_passes(nix: &Nix) {
    let hungry = r#"lib.run "hungry" (toString (builtins.foldl' (a: b: a + b) 0 (map (x: x + 1) (builtins.genList (x: x) 30000000))))"#;
    for workers in ["1", "2"] {
        let project = among_twenty(nix, "hungry", hungry);
        let running = project
            .esker(&["check", "--json", "--dry-run", "--eval-memory", "300MiB", "--eval-workers", workers])
            .start();
        let (done, watcher) = watch_memory(&running);
        let told = running.finish();
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap() / MIB;
        only_one_failed(&told, "hungry", "out_of_memory");
        let message = told.error("hungry")["message"].as_str().unwrap();
        assert_eq!(message, "its evaluation alone needs more than 300 MiB of memory");
        assert!(most < 450, "{most} MiB with {workers} workers");
    }
}

fn an_attribute_that_takes_too_long_is_named_and_the_rest_passes(nix: &Nix) {
    let endless = "let list = builtins.genList (x: x) 100000; in builtins.foldl' (a: i: builtins.foldl' (b: j: b) a list) 0 list";
    let project = among_twenty(nix, "endless", endless);
    let told = project.check(&["--eval-timeout", "2s", "--dry-run"]);
    only_one_failed(&told, "endless", "timed_out");
    assert_eq!(told.error("endless")["message"], "its evaluation took longer than 2 s");
}

/// The evaluators under an Esker.
fn evaluators(running: &Running) -> Vec<Pid> {
    let is_evaluator = |id: &u32| {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("flake\0check")
    };
    running
        .descendants()
        .into_iter()
        .filter(is_evaluator)
        .filter_map(|id| Pid::from_raw(id.try_into().unwrap()))
        .collect()
}

/// About a second of work.
const SLOW: &str = r#"let list = builtins.genList (x: x) 2000; in builtins.seq (builtins.foldl' (a: i: builtins.foldl' (b: j: b) a list) 0 list) (lib.passes "slow")"#;

fn an_evaluator_that_is_killed_loses_nothing(nix: &Nix) {
    let project = among_twenty(nix, "good-09-slow", SLOW);
    let mut running = project.esker(&["check", "--json", "--dry-run"]).start();
    running
        .wait_for("the slow one", |event| event["event"] == "evaluating" && event["job"] == "good-09-slow");
    for evaluator in evaluators(&running) {
        kill_process(evaluator, Signal::KILL).unwrap();
    }
    let told = running.finish();
    assert_eq!(told.jobs("passed").len(), 21, "{told}");
    assert_eq!(told.events("job_finished").count(), 21, "{told}");
    assert_eq!(told.code, 0, "{told}");
}

fn an_evaluator_that_is_killed_before_it_told_the_names_is_replaced(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs(&format!("checks.@system@ = builtins.seq ({SLOW}) {{ a = lib.passes \"a\"; }};"));
    for (times, code) in [(1, 0), (2, 3)] {
        let mut running = project.esker(&["check", "--json", "--dry-run"]).start();
        running.wait_for("the source", |event| event["event"] == "source");
        let (mut killed, begun) = (Vec::new(), Instant::now());
        while killed.len() < times {
            assert!(begun.elapsed() < Duration::from_secs(30), "only {killed:?} of {times} came");
            for evaluator in
                evaluators(&running).into_iter().filter(|id| !killed.contains(id)).collect::<Vec<_>>()
            {
                kill_process(evaluator, Signal::KILL).unwrap();
                killed.push(evaluator);
            }
        }
        let told = running.finish();
        assert_eq!(told.code, code, "{told}");
        if code == 3 {
            assert!(told.stderr.contains("its evaluator died twice"), "{told}");
        }
    }
}

fn an_evaluator_that_dies_each_time_breaks_only_the_attribute_it_died_of(nix: &Nix) {
    let project = among_twenty(nix, "good-09-slow", SLOW);
    // One: a second would be killed as often, and before it began.
    let mut running = project.esker(&["check", "--json", "--dry-run", "--eval-workers", "1"]).start();
    for seen in 0..2 {
        let count = std::cell::Cell::new(0);
        running.wait_for("the slow one", |event| {
            count.set(
                count.get() + usize::from(event["event"] == "evaluating" && event["job"] == "good-09-slow"),
            );
            count.get() > seen
        });
        for evaluator in evaluators(&running) {
            kill_process(evaluator, Signal::KILL).unwrap();
        }
    }
    let told = running.finish();
    assert_eq!(told.jobs("passed").len(), 20, "{told}");
    assert_eq!(told.jobs("broken"), ["good-09-slow"], "{told}");
    assert_eq!(told.error("good-09-slow")["kind"], "crash", "{told}");
    assert_eq!(told.code, 3, "{told}");
}

fn four_hundred_attributes_are_each_told_of_once(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"}
// builtins.listToAttrs (builtins.genList (i: { name = "n${toString i}"; value =
  if i - (i / 20) * 20 == 7 then throw "number ${toString i}" else
  builtins.seq (builtins.foldl' (a: b: a) 0 (builtins.genList (x: x) 20000)) (lib.passes "n${toString i}"); }) 400)
// {"#,
    );
    for workers in ["1", "2", "3"] {
        let told = project.check(&["--dry-run", "--eval-workers", workers]);
        assert_eq!(told.jobs("passed").len(), 380, "{workers}: {}", told.stderr);
        assert_eq!(told.jobs("failed").len(), 20, "{workers}: {}", told.stderr);
        assert_eq!(told.events("job_finished").count(), 400);
        assert_eq!(told.error("n27")["message"], "number 27");
        assert_eq!(told.events("evaluation_finished").next().unwrap()["failed"], 20);
    }
}

on_each_nix! {
    an_attribute_that_needs_too_much_memory_is_named_and_the_rest_passes,
    an_attribute_that_takes_too_long_is_named_and_the_rest_passes,
    an_evaluator_that_is_killed_loses_nothing,
    an_evaluator_that_is_killed_before_it_told_the_names_is_replaced,
    an_evaluator_that_dies_each_time_breaks_only_the_attribute_it_died_of,
    four_hundred_attributes_are_each_told_of_once,
}
