//! Garbage collection takes nothing away from a run that is under way, nor what it was told to keep.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::geteuid;
use story::disk::OwnStore;
use story::project::Esker;
use story::{Nix, Project, on_each_nix};

/// A project with a store of its own: everybody's is not to be collected, and would take too long.
struct Own {
    project: Project,
    store: OwnStore,
}

impl Own {
    fn new(nix: &Nix) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can have a store of its own");
            return None;
        }
        let own = Self { project: Project::new(nix), store: OwnStore::new() };
        // Two of Nix 2.8 that both open a new store get into each other's way.
        let mut init = own.project.nix_program("nix-store");
        assert!(init.arg("--init").env("NIX_REMOTE", &own.store.remote).status().unwrap().success());
        Some(own)
    }

    fn check(&self, arguments: &[&str]) -> Esker {
        let arguments = [&["check", "--json"], arguments].concat();
        self.project.esker(&arguments).env("NIX_REMOTE", &self.store.remote)
    }

    fn collector(&self) -> Command {
        let mut command = self.project.nix_program("nix-store");
        command.arg("--gc").env("NIX_REMOTE", &self.store.remote);
        command
    }

    fn collect(&self) {
        let output = self.collector().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn has(&self, name: &str) -> bool {
        self.store.names().iter().any(|other| other == name)
    }
}

fn at_each_stop_of_a_run_everything_it_needs_is_kept(nix: &Nix) {
    let Some(own) = Own::new(nix) else { return };
    let project = &own.project;
    // `there` is present, `new` is built in this run; both are needed last.
    project.write_outputs(
        r#"
        checks.@system@ = let
          there = lib.passes "there";
          new = lib.passes "new";
          imported = lib.run "imported" "echo at the import; read x < /gate/import; echo > $out";
          held = lib.run "held" "echo at the build; read x < /gate/build; echo > $out";
        in {
          inherit there new;
          a = lib.make { src = ./src; } "a" "read x < $src; echo ${held} ${there} ${new} $x > $out";
          last = builtins.seq (builtins.readFile imported) (lib.passes "last");
        };
        "#,
    );
    project.write("src", "a source");
    let mut gate = project.gate(&["import", "build"]);
    let told = own.check(&["--attr", "there"]).run();
    assert_eq!(told.code, 0, "{told}");
    assert!(own.has("there"));

    let mut running = own.check(&[&["-j", "3"], &gate.arguments[..]].concat()).start();
    // While it evaluates: what is built already, and derivations whose builds wait.
    running.wait_for("an import", |event| event["line"] == "at the import");
    running.wait_for("a build", |event| event["line"] == "at the build");
    running.wait_for("`new`", |event| event["event"] == "job_finished" && event["job"] == "new");
    own.collect();
    assert!(
        ["there", "new", "held.drv", "a.drv"].iter().all(|name| own.has(name)),
        "{:?}",
        own.store.names()
    );
    gate.open("import", 1);
    // When the evaluators are gone.
    running.wait_for("the end of evaluation", |event| event["event"] == "evaluation_finished");
    running.wait_for("`last`", |event| event["event"] == "job_finished" && event["job"] == "last");
    own.collect();
    assert!(
        ["there", "new", "a.drv", "src", "last"].iter().all(|name| own.has(name)),
        "{:?}",
        own.store.names()
    );
    gate.open("build", 1);
    let told = running.finish();
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.outcome("there")["outcome"], "in_store", "{told}");
    assert_eq!(told.outcome("a")["outcome"], "built", "{told}");
    assert_eq!(told.summary()["built"], 5, "{told}");

    // And afterwards nothing is.
    own.collect();
    assert!(!own.has("there") && !own.has("a") && !own.has("a.drv"), "{:?}", own.store.names());
}

fn a_run_survives_garbage_collection_without_pause(nix: &Nix) {
    let Some(own) = Own::new(nix) else { return };
    // A chain, and jobs that need different lengths of it; each is a moment in which something
    // could be missing.
    let mut checks = String::from("checks.@system@ = let c0 = lib.passes \"c0\";\n");
    for i in 1..=4 {
        let before = format!("${{c{}}}", i - 1);
        checks += &format!("c{i} = lib.run \"c{i}\" \"read x < {before}; echo {before} > $out\";\n");
    }
    checks += "in {\n";
    for i in 0..=4 {
        checks += &format!(
            "j{i} = lib.make {{ src = ./salt; }} \"j{i}\" \"read x < ${{c{i}}}; echo $x > $out\";\n"
        );
    }
    own.project.write_outputs(&(checks + "};"));
    own.project.write("salt", "@salt@");

    let (ended, collections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let collector = std::thread::spawn({
        let mut collect = own.collector();
        let (ended, collections) = (Arc::clone(&ended), Arc::clone(&collections));
        move || {
            while !ended.load(Ordering::Relaxed) {
                collect.output().unwrap();
                collections.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut told = Vec::new();
    // At least twice, and until enough was collected meanwhile: a busy machine may be slow at it.
    while told.len() < 2 || (collections.load(Ordering::Relaxed) < 4 && told.len() < 30) {
        told.push(own.check(&["-j", "3"]).run());
    }
    assert!(collections.load(Ordering::Relaxed) >= 2, "nothing was collected meanwhile");
    ended.store(true, Ordering::Relaxed);
    collector.join().unwrap();
    for told in told {
        assert_eq!((told.code, told.jobs("passed").len()), (0, 5), "{told}");
    }
}

fn what_has_a_root_is_kept_and_nothing_else(nix: &Nix) {
    let Some(own) = Own::new(nix) else { return };
    own.project.write_outputs(
        r#"
        checks.@system@ = {
          kept = lib.make { outputs = [ "out" "dev" ]; } "kept" "echo ${lib.passes "needed"} > $out; echo dev > $dev";
        };
        packages.@system@.other = lib.passes "other";
        "#,
    );
    let results = own.project.beside("results");
    let told = own.check(&["--gc-root", results.to_str().unwrap()]).run();
    assert_eq!(told.code, 0, "{told}");
    let told = own.check(&[".#packages"]).run();
    assert_eq!(told.code, 0, "{told}");
    own.collect();
    let kept = ["kept", "kept-dev", "needed", "other"].map(|name| own.has(name));
    assert_eq!(kept, [true, true, true, false], "{:?}", own.store.names());
    std::fs::remove_dir_all(&results).unwrap();
    own.collect();
    let kept = ["kept", "kept-dev", "needed"].map(|name| own.has(name));
    assert_eq!(kept, [false; 3], "{:?}", own.store.names());
}

on_each_nix! {
    at_each_stop_of_a_run_everything_it_needs_is_kept,
    a_run_survives_garbage_collection_without_pause,
    what_has_a_root_is_kept_and_nothing_else,
}
