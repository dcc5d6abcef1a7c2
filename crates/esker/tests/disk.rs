//! Disks that are full or may not be written: what was asked for is answered all the same, or it is
//! said why not.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use story::disk::SmallDisk;
use story::project::LIBRARY;
use story::{Nix, Project, on_each_nix, told::Told};

/// A check that passes and prints something, and one that fails.
fn good_and_bad(nix: &Nix) -> Project {
    Project::with_checks(
        nix,
        r#"good = lib.run "good" "echo works; echo > $out"; bad = lib.run "bad" "echo goes wrong; exit 7";"#,
    )
}

/// Both verdicts as ever; once it is said that nothing is remembered, and not after the end.
fn verdicts_without_memory(told: &Told) {
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(told.conclusions(), [("bad", "failed"), ("good", "passed")], "{told}");
    let tail = told.outcome("bad")["failure"]["tail"].as_array().unwrap();
    assert_eq!(tail.last().unwrap(), "goes wrong", "{told}");
    assert_eq!(told.stderr.matches("note: this run is not recorded").count(), 1, "{told}");
    let notices = told.events("notice").filter(|event| {
        event["text"].as_str().is_some_and(|text| text.starts_with("this run is not recorded"))
    });
    assert_eq!(notices.count(), 1, "{told}");
    assert_eq!(told.events.last().unwrap()["event"], "finished", "{told}");
    assert!(!told.stderr.contains("panicked"), "{told}");
}

fn a_full_state_folder_costs_the_memory_of_the_run_and_no_verdict(nix: &Nix) {
    let project = good_and_bad(nix);
    let Some(disk) = SmallDisk::new(&project, "512k") else { return };
    let esker = |arguments: &[&str]| {
        disk.send(project.esker(arguments).env("ESKER_STATE_DIR", disk.path.join("state")))
    };
    // Full before anything was ever remembered.
    disk.fill(0);
    verdicts_without_memory(&esker(&["check", "--json"]).run());
    disk.free();
    project.write("lib.nix", &LIBRARY.replace("@salt@", "@salt@-2"));
    let told = esker(&["check", "--json"]).run();
    assert!(!told.stdout.contains("not recorded"), "{told}");
    // Full with something remembered, which stays.
    disk.fill(0);
    verdicts_without_memory(&esker(&["check", "--json"]).run());
    // Nor can it be read then: SQLite wants to write beside it.
    let told = esker(&["history", "good"]).run();
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stderr.contains("hint: make room on the disk"), "{told}");
    disk.free();
    let told = esker(&["history", "good"]).run();
    assert_eq!((told.code, told.stdout.matches("passed").count()), (0, 1), "{told}");
    let told = esker(&["log", "good"]).run();
    assert_eq!((told.code, told.stdout.as_str()), (0, "works\n"), "{told}");
}

fn a_state_folder_that_fills_up_during_the_run_costs_no_verdict(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"good = lib.run "good" "echo begins; read x < /gate/all; echo works; echo > $out";
           bad = lib.run "bad" "echo begins; read x < /gate/all; echo goes wrong; exit 7";"#,
    );
    let Some(disk) = SmallDisk::new(&project, "512k") else { return };
    let mut gate = project.gate(&["all"]);
    let arguments = [&["check", "--json", "-j", "2"], &gate.arguments[..]].concat();
    let esker = project.esker(&arguments).env("ESKER_STATE_DIR", disk.path.join("state"));
    let mut running = disk.send(esker).start();
    let count = std::cell::Cell::new(0);
    running.wait_for("both", |event| {
        count.set(count.get() + usize::from(event["event"] == "log"));
        count.get() == 2
    });
    disk.fill(0);
    gate.open("all", 2);
    let told = running.finish();
    assert_eq!(told.code, 1, "{told}");
    verdicts_without_memory(&told);
}

fn a_state_folder_that_may_not_be_written_costs_no_verdict(nix: &Nix) {
    let project = good_and_bad(nix);
    let Some(disk) = SmallDisk::new(&project, "4m") else { return };
    let esker = |arguments: &[&str]| {
        disk.send(project.esker(arguments).env("ESKER_STATE_DIR", disk.path.join("state")))
    };
    let told = esker(&["check", "--json"]).run();
    assert!(!told.stderr.contains("not recorded"), "{told}");
    disk.make_read_only();
    let told = esker(&["check", "--json"]).run();
    verdicts_without_memory(&told);
    assert!(told.stderr.contains("Read-only file system"), "{told}");
    for arguments in [["history", "good"], ["log", "good"]] {
        let told = esker(&arguments).run();
        assert_eq!((told.code, told.stdout.as_str()), (3, ""), "{told}");
        assert!(told.stderr.contains("cause: Read-only file system"), "{told}");
        assert!(told.stderr.contains("hint: set ESKER_STATE_DIR"), "{told}");
    }
}

fn a_store_without_space_breaks_builds_and_blames_nobody(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        small = lib.passes "small";
        # Doubles a word 20 times: 16 MiB.
        large = lib.run "large" "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10; do x=$x$x; done; for i in 1 2 3 4 5 6 7 8 9 10; do x=$x$x; done; echo $x > $out";
        # Whatever may have gone wrong in it.
        bad = lib.fails "bad";
        "#,
    );
    let Some(disk) = SmallDisk::new(&project, "12m") else { return };
    let store = format!("local?root={}", disk.path.join("store").display());
    let check = |arguments: &[&str]| {
        let arguments = [&["check", "--json", "-j", "1"], arguments].concat();
        disk.send(project.esker(&arguments).env("NIX_REMOTE", &store)).run()
    };
    let told = check(&["--exclude", "bad"]);
    assert_eq!(told.conclusions(), [("large", "broken"), ("small", "passed")], "{told}");
    assert_eq!(told.code, 3, "{told}");
    // Nix's own words, or its note on a builder that failed.
    let message = told.outcome("large")["failure"]["message"].as_str().unwrap();
    let says = ["No space left on device", "lack of free disk space"];
    assert!(says.iter().any(|words| message.contains(words)), "{told}");

    // Nix takes less than 8 MiB for what may be the reason.
    disk.fill(3 << 20);
    let told = check(&["--include", "bad"]);
    assert_eq!((told.code, told.conclusions()), (3, vec![("bad", "broken")]), "{told}");
}

fn a_store_that_is_full_is_the_machines_fault(nix: &Nix) {
    let project = good_and_bad(nix);
    let Some(disk) = SmallDisk::new(&project, "12m") else { return };
    let store = format!("local?root={}", disk.path.join("store").display());
    let check =
        || disk.send(project.esker(&["check", "--json", "--dry-run"]).env("NIX_REMOTE", &store)).run();
    let told = check();
    assert_eq!(told.code, 0, "{told}");
    project.write("lib.nix", &LIBRARY.replace("@salt@", "@salt@-2"));
    disk.fill(0);
    let told = check();
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stderr.starts_with("error: ") && told.stderr.contains("hint: "), "{told}");
    assert!(!told.stderr.contains("panicked"), "{told}");
    assert_eq!(told.events.last().unwrap()["event"], "finished", "{told}");
}

on_each_nix! {
    a_full_state_folder_costs_the_memory_of_the_run_and_no_verdict,
    a_state_folder_that_fills_up_during_the_run_costs_no_verdict,
    a_state_folder_that_may_not_be_written_costs_no_verdict,
    a_store_without_space_breaks_builds_and_blames_nobody,
    a_store_that_is_full_is_the_machines_fault,
}
