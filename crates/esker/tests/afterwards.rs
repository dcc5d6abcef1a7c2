//! What one can look at while a run goes on and afterwards: logs, and the record that many Eskers share.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use story::{Nix, Project, on_each_nix, told::Told};

/// Waits until the log that is remembered of a job has this in it.
fn wait_for_log(project: &Project, job: &str, text: &str) -> Told {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let told = project.esker(&["log", job]).run();
        if told.stdout.contains(text) {
            return told;
        }
        assert!(Instant::now() < deadline, "no `{text}` in\n{told}");
    }
}

fn nix_knows_the_logs_of_what_esker_built(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        good = lib.run "good" "echo works; echo and ends; echo > $out";
        bad = lib.run "bad" "echo goes wrong; exit 7";
        "#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(project.nix(&["log", told.drv("good")]), "works\nand ends\n");
    assert_eq!(project.nix(&["log", told.drv("bad")]), "goes wrong\n");
    // And Esker's own are the same.
    assert_eq!(project.esker(&["log", "good"]).run().stdout, "works\nand ends\n");
}

fn a_log_can_be_followed_from_elsewhere_while_it_grows(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"slow = lib.run "slow" "echo first line; read x < /gate/all; echo last line; echo > $out";"#,
    );
    let mut gate = project.gate(&["all"]);
    let mut running = project.esker(&[&["check", "--json"], &gate.arguments[..]].concat()).start();
    running.wait_for("its log", |event| event["line"] == "first line");
    // Without following, one is told that it is not all.
    let told = wait_for_log(&project, "slow", "first line\n");
    assert_eq!((told.code, told.stdout.as_str()), (0, "first line\n"), "{told}");
    assert!(told.stderr.contains("note: still building"), "{told}");
    let mut follower = project.esker(&["log", "slow", "--follow"]).start();
    follower.wait_for_output("first line\n");
    gate.open("all", 1);
    assert_eq!(running.finish().code, 0);
    let told = follower.finish();
    assert_eq!((told.code, told.stdout.as_str()), (0, "first line\nlast line\n"), "{told}");
}

fn a_killed_esker_costs_another_with_the_same_record_nothing(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        endless = lib.run "endless" "while true; do echo endless; done";
        other = lib.run "other" "echo begins; read x < /gate/all; echo ends; echo > $out";
        "#,
    );
    let mut gate = project.gate(&["all"]);
    let start = |attr| {
        let arguments = [&["check", "--json", "--attr", attr], &gate.arguments[..]].concat();
        project.esker(&arguments).start()
    };
    let mut other = start("other");
    other.wait_for("its log", |event| event["line"] == "begins");
    // It is killed while it writes as much as it can.
    let killed = start("endless");
    wait_for_log(&project, "endless", "endless\n");
    killed.signal(Signal::KILL);
    assert_eq!(killed.finish().code, -1);
    gate.open("all", 1);
    let told = other.finish();
    assert_eq!((told.code, told.conclusions()), (0, vec![("other", "passed")]), "{told}");
    assert!(!told.stderr.contains("not recorded"), "{told}");
    project.wait_until_alone(Duration::from_secs(10));

    let db = rusqlite::Connection::open(project.state().join("esker.db")).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    drop(db);
    assert_eq!(project.esker(&["log", "other"]).run().stdout, "begins\nends\n");
    let told = project.esker(&["history", "other"]).run();
    assert_eq!((told.code, told.stdout.matches("passed").count()), (0, 1), "{told}");
    let told = project.esker(&["log", "endless"]).run();
    assert_eq!(told.code, 0, "{told}");
    assert!(told.stderr.contains("note: Esker was stopped before this build ended"), "{told}");
    assert!(told.stdout.lines().all(|line| "endless".starts_with(line)), "{told}");
    let told = project.esker(&["history", "endless"]).run();
    assert_eq!((told.code, told.stdout.matches("cancelled").count()), (0, 1), "{told}");

    // And the next run goes on with it.
    let told = project.check(&["--attr", "other"]);
    assert_eq!(told.outcome("other")["outcome"], "in_store", "{told}");
    let told = project.esker(&["history", "other"]).run();
    assert_eq!((told.code, told.stdout.matches("passed").count()), (0, 2), "{told}");
}

on_each_nix! {
    nix_knows_the_logs_of_what_esker_built,
    a_log_can_be_followed_from_elsewhere_while_it_grows,
    a_killed_esker_costs_another_with_the_same_record_nothing,
}
