//! `--prove eager`: a result is proven at once, under placeholders for hashes, and reused with the next
//! change; whatever depends on a hash is found out.

#![expect(clippy::unwrap_used, reason = "tests")]

mod judged;
mod story;

use std::collections::BTreeSet;
use std::time::Duration;

use judged::{drvs, judge};
use rustix::process::Signal;
use serde_json::Value;
use story::told::Told;
use story::{Nix, Project, on_each_nix};

const EAGER: [&str; 6] = ["--trace", "reuse", "--shadow", "0%", "--prove", "eager"];

fn eager(project: &Project) -> Told {
    let told = project.check(&EAGER);
    assert_eq!(told.code, 0, "{told}");
    told
}

/// What the proofs have shown, as `NAME OUTCOME`.
fn proofs(told: &Told) -> Vec<String> {
    let word = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
    let proofs = told.events("proved").map(|event| word(event, "name") + " " + &word(event, "outcome"));
    let mut proofs: Vec<String> = proofs.collect();
    proofs.sort_unstable();
    proofs
}

/// What became of the jobs, as `NAME OUTCOME`; what Esker left must be what Nix builds.
fn outcomes(project: &Project, told: &Told, jobs: &[&str]) -> Vec<String> {
    let again = project.check(&["--rebuild"]);
    assert_eq!(again.code, 0, "Nix's own build has other bits: {again}");
    jobs.iter().map(|job| format!("{job} {}", told.outcome(job)["outcome"].as_str().unwrap())).collect()
}

fn change(project: &Project, round: usize) {
    project.write("src/README", &format!("{round} @salt@\n"));
}

fn project(nix: &Nix, checks: &str) -> Option<Project> {
    if !story::machine::can_observe_builds() {
        return None;
    }
    let project = Project::with_checks(nix, checks);
    project.write("src/a", "a\n");
    change(&project, 0);
    Some(project)
}

/// Writes the path of the check `dep` into files: whole, and in two pieces that nobody knows to be a hash.
fn know_dep(project: &Project) {
    let attribute = format!("path:.#checks.{}.dep.outPath", story::project::SYSTEM);
    let path = project.nix(&["eval", "--raw", &attribute]);
    project.write("known/path", &format!("{path}\n"));
    let (one, two) = path.split_at(20);
    project.write("known/pieces", &format!("{one} {two}\n"));
}

fn a_result_is_reused_with_the_first_change(nix: &Nix) {
    let text = r#"text = lib.make { src = ./src; } "text" "read x < $src/a; echo $x > $out";"#;
    let Some(lazy) = project(nix, text) else { return };
    for round in 0..2 {
        change(&lazy, round);
        let told = lazy.check(&["--trace", "reuse", "--shadow", "0%"]);
        assert_eq!(told.outcome("text")["outcome"], "built", "without a proof at once\n{told}");
        assert_eq!(told.events("proving").count(), 0);
    }
    let project = project(nix, text).unwrap();
    let told = eager(&project);
    assert_eq!(
        (told.outcome("text")["outcome"].as_str(), &told.summary()["proved"]),
        (Some("built"), &1.into())
    );
    assert_eq!(proofs(&told), ["text proven"]);
    // The verdict came first, and nothing of the proof is told as a build.
    let place = |what: &str| told.events.iter().position(|event| event["event"] == what).unwrap();
    assert!(place("job_finished") < place("proving") && place("proving") < place("proved"));
    assert_eq!(told.events("build_started").count(), 1);

    change(&project, 1);
    let told = eager(&project);
    assert_eq!(outcomes(&project, &told, &["text"]), ["text reused"]);
    assert_eq!(told.outcome("text")["reuse"]["class"], "r0");
    assert_eq!(told.events("proving").count(), 0, "it is proven: {told}");
    let stats = project.esker(&["trace", "stats"]).run();
    assert!(stats.stdout.contains("proofs    1, 0 of them refuted"), "{stats}");

    project.write("src/a", "b\n");
    let told = eager(&project);
    assert_eq!(outcomes(&project, &told, &["text"]), ["text built"]);
}

fn several_outputs_and_references_are_proven_as_far_as_they_can_be(nix: &Nix) {
    let Some(project) = project(
        nix,
        r#"
        dep = lib.make { src = ./src; } "dep" "read x < $src/a; echo $x > $out";
        many = lib.make { src = ./src; outputs = [ "out" "dev" "doc" ]; } "many"
          "read x < $src/a; echo 1 > $out; echo 2 $x > $dev; : > $doc";
        refers = lib.make { src = ./src; tool = ./tool; } "refers" "read x < $src/a; echo $x $tool > $out";
        itself = lib.make { src = ./src; } "itself" "read x < $src/a; echo $x $out > $out";
        user = lib.make { dep = lib.make { src = ./src; } "dep" "read x < $src/a; echo $x > $out"; } "user"
          "read x < $dep; echo user $x > $out";
        empty = lib.make { src = ./src; } "empty" "read x < $src/a; : > $out";
        "#,
    ) else {
        return;
    };
    project.write("tool/file", "a tool\n");
    let told = eager(&project);
    // What is empty needs none, and what holds its own hash cannot have one.
    assert_eq!(proofs(&told), ["dep proven", "many proven", "refers proven", "user proven"], "{told}");
    change(&project, 1);
    let told = eager(&project);
    let jobs = ["dep", "many", "refers", "itself", "user", "empty"];
    let expected =
        ["dep reused", "many reused", "refers reused", "itself built", "user reused", "empty reused"];
    assert_eq!(outcomes(&project, &told, &jobs), expected, "{told}");
    // What it refers to was not renamed, and may not change.
    project.write("tool/file", "another tool\n");
    let told = eager(&project);
    assert_eq!(outcomes(&project, &told, &["refers"]), ["refers built"]);
}

/// The sum of a text's characters, each times its place, as `$sum`; in a Nix string of two quotes.
const SUM: &str = r#"sum=0; i=0; while [ "$x" ]; do r=''${x#?}; c=''${x%"$r"}; i=$((i+1)); n=$(printf %d "'$c"); sum=$((sum+i*n)); x=$r; done;"#;

fn what_depends_on_a_hash_is_refuted_and_never_reused(nix: &Nix) {
    let checks = r#"
        of-output = lib.make { src = ./src; } "of-output" ''read x < $src/a; x=''${out#/nix/store/}; echo ''${x%"''${x#?}"} > $out'';
        of-input = lib.make { src = ./src; } "of-input" ''read x < $src/a; x=''${src#/nix/store/}; echo ''${x%"''${x#?}"} > $out'';
        last-bit = lib.make { src = ./src; } "last-bit"
          "read x < $src/a; case $src in *[02468acfhjlnqswy]-src) echo even;; *) echo odd;; esac > $out";
        sum-of-path = lib.make { src = ./src; } "sum-of-path" ''read x < $src/a; x=$src; SUM echo $sum > $out'';
        sum-of-file = lib.make { names = lib.make { src = ./src; } "names" "echo $src $out > $out"; } "sum-of-file"
          ''read x < $names; SUM echo $sum > $out'';
        "#
    .replace("SUM", SUM);
    let Some(project) = project(nix, &checks) else { return };
    let jobs = ["of-output", "of-input", "last-bit", "sum-of-path", "sum-of-file"];
    for round in 0..4 {
        change(&project, round);
        let told = eager(&project);
        let expected = jobs.map(|job| format!("{job} built"));
        assert_eq!(outcomes(&project, &told, &jobs), expected, "round {round}\n{told}");
        let proofs = proofs(&told);
        assert!(proofs.iter().all(|proof| proof.ends_with(" refuted")), "{proofs:?}");
        assert_eq!(proofs.len(), if round == 0 { 5 } else { 0 }, "{proofs:?}");
    }
    let stats = project.esker(&["trace", "stats"]).run();
    assert!(stats.stdout.contains("proofs    5, 5 of them refuted"), "{stats}");
}

/// An input with a hash in it that no view renames: the proof holds, and as soon as the hash is another,
/// what was observed is.
fn an_encoded_hash_is_observed_literally(nix: &Nix) {
    let Some(project) = project(
        nix,
        r#"user = lib.make {
          reversed = lib.make { src = ./src; } "reversed"
            ''x=$src; y=; while [ "$x" ]; do r=''${x#?}; y=''${x%"$r"}$y; x=$r; done; echo $y > $out''; } "user"
          "read x < $reversed; echo $x > $out";"#,
    ) else {
        return;
    };
    let told = eager(&project);
    assert_eq!(proofs(&told), ["reversed refuted", "user proven"]);
    for round in 1..3 {
        change(&project, round);
        let told = eager(&project);
        assert_eq!(outcomes(&project, &told, &["user"]), ["user built"], "{told}");
    }
}

/// A path in a file that is not registered as a reference: it counts as the input that has it, so it is renamed
/// with it, and is another answer when the input has another. In pieces it is neither.
fn a_path_that_is_no_reference_is_found_out(nix: &Nix) {
    let checks = r#"
        dep = lib.make { src = ./src; } "dep" "read x < $src/a; echo $x > $out";
        user = lib.make { dep = lib.make { src = ./src; } "dep" "read x < $src/a; echo $x > $out"; known = ./known; }
          "user" "read p < $known/path; if [ -e $p ]; then echo there; else echo absent; fi > $out";
        pieces = lib.make { dep = lib.make { src = ./src; } "dep" "read x < $src/a; echo $x > $out"; known = ./known; }
          "pieces" "read p q < $known/pieces; if [ -e $p$q ]; then echo there; else echo absent; fi > $out";"#;
    let Some(project) = project(nix, checks) else { return };
    know_dep(&project);
    let told = eager(&project);
    assert_eq!(proofs(&told), ["dep proven", "pieces refuted", "user proven"]);
    change(&project, 1);
    let told = eager(&project);
    let expected = ["dep reused", "user built", "pieces built"];
    assert_eq!(outcomes(&project, &told, &["dep", "user", "pieces"]), expected, "{told}");
}

/// Builders that fail or hang where their input has not the path that they know.
fn particular(name: &str, otherwise: &str) -> String {
    format!(
        r#"{name} = lib.make {{ dep = lib.make {{ src = ./src; }} "dep" "read x < $src/a; echo $x > $out"; known = ./known; }}
          "{name}" "read p q < $known/pieces; [ $p$q = $dep ] || {otherwise}; echo ok > $out";"#
    )
}

const DEP: &str = r#"dep = lib.make { src = ./src; } "dep" "read x < $src/a; echo $x > $out";"#;

fn a_proof_that_fails_proves_nothing_and_harms_nobody(nix: &Nix) {
    let Some(project) = project(nix, &format!("{DEP}\n{}", particular("fails", "exit 3"))) else { return };
    know_dep(&project);
    let told = eager(&project);
    assert_eq!(proofs(&told), ["dep proven", "fails nothing"]);
    assert_eq!((told.conclusions().len(), told.jobs("passed").len()), (2, 2));
    assert_eq!(told.events("log").count(), 0, "{told}");
    let stats = project.esker(&["trace", "stats"]).run();
    assert!(stats.stdout.contains("proofs    2, 0 of them refuted"), "{stats}");
}

fn an_interrupted_run_drops_its_proofs(nix: &Nix) {
    let hangs = particular("hangs", "while :; do :; done");
    let Some(project) = project(nix, &format!("{DEP}\n{hangs}")) else { return };
    know_dep(&project);
    let mut running = project.esker(&[&["check", "--json"], &EAGER[..]].concat()).start();
    running.wait_for("its proof", |event| event["event"] == "proving" && event["name"] == "hangs");
    running.signal(Signal::INT);
    let told = running.finish();
    assert_eq!(told.jobs("passed").len(), 2, "{told}");
    assert!(proofs(&told).contains(&"hangs dropped".to_owned()), "{told}");
    assert_eq!(told.summary()["interrupted"], true);
    project.wait_until_alone(Duration::from_secs(10));
}

fn a_proof_makes_room_for_a_build(nix: &Nix) {
    let wait = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    // Long enough for the proof to begin meanwhile, also on a busy machine.
    let long = [wait; 12].join("; ");
    let checks = format!(
        r#"{DEP}
        {hangs}
        one = lib.make {{ b = base; }} "one" "read x < $b; {wait}; echo 1 > $out";
        two = lib.make {{ b = base; }} "two" "read x < $b; echo 2 > $out";"#,
        hangs = particular("hangs", "while :; do :; done"),
    );
    let Some(project) = project(nix, "") else { return };
    project.write_outputs(&format!(
        r#"checks.@system@ = let base = lib.run "base" "{long}; echo base > $out"; in {{ {checks} }};"#
    ));
    know_dep(&project);
    let mut running = project.esker(&[&["check", "--json", "-j", "2"], &EAGER[..]].concat()).start();
    running.wait_for("its proof", |event| event["event"] == "proving" && event["name"] == "hangs");
    // Without room for both the second would have to wait for the end of the first.
    running.wait_for("its end", |event| event["event"] == "proved" && event["outcome"] == "dropped");
    for job in ["one", "two"] {
        running.wait_for("the builds", |event| event["event"] == "job_finished" && event["job"] == job);
    }
    running.wait_for("the proof again", {
        let count = std::cell::Cell::new(0);
        move |event| {
            count.set(count.get() + usize::from(event["event"] == "proving" && event["name"] == "hangs"));
            count.get() == 2
        }
    });
    running.signal(Signal::INT);
    let told = running.finish();
    assert_eq!(told.jobs("passed").len(), 4, "{told}");
}

/// Compilers know where they lie, and programs where their libraries do.
fn a_compiled_program_is_proven(nix: &Nix) {
    let Some(project) = judged::project(nix, "equal") else { return };
    project.write(
        "flake.nix",
        r#"{ outputs = { self }: let
          inherit (import ./toolchain { system = "@system@"; }) build;
          compile = name: script: build { inherit name script; tree = ./src; salt = "@salt@"; };
        in { checks.@system@ = {
          object = compile "object" "gcc -O2 -c $tree/main.c -o $out";
          program = compile "program" "gcc -O2 $tree/main.c -o $out && $out";
          debug = compile "debug" "gcc -g -c $tree/main.c -o $out";
        }; }; }"#,
    );
    project.write("src/main.c", "#include <stdio.h>\nint main(void) { puts(\"@salt@\"); return 0; }\n");
    change(&project, 0);
    let check = || {
        let told = project.esker(&[&["check", "--json"], &EAGER[..]].concat()).within(judged::TIME).run();
        assert_eq!(told.code, 0, "{told}");
        told
    };
    let told = check();
    let proofs: Vec<String> = proofs(&told);
    // Debug information names the source; that is a reference, and may not change.
    assert_eq!(proofs, ["debug proven", "object proven", "program proven"], "{told}");
    change(&project, 1);
    let told = check();
    let jobs = drvs(&told);
    let wrong = judge(&project, &told, &jobs.into_iter().map(|(_, drv)| drv).collect::<Vec<_>>());
    assert_eq!(wrong.into_iter().collect::<Vec<_>>(), Vec::<String>::new());
    let outcome = |job: &str| told.outcome(job)["outcome"].as_str().unwrap().to_owned();
    assert_eq!(["object", "program", "debug"].map(outcome), ["reused", "reused", "built"], "{told}");
}

/// The builders of `adversarial.rs`, proven at once: nothing is reused that hides a hash. Of the known limits
/// the order of hashes is none any more; a bit of a digest is, and whatever needs no proof.
fn hidden_hashes_are_found_out(nix: &Nix) {
    let never_the_same = ["built-mounts", "built-random"];
    for (set, rounds, limits) in [("adversarial", 2, never_the_same), ("limits", 4, ["bit", "empty-bit"])] {
        let Some(project) = judged::project(nix, set) else { return };
        project.write("variable/read", "what is read\n");
        let mut found = BTreeSet::new();
        for round in 0..rounds {
            project.write("variable/unread", &format!("@salt@ {round}\n"));
            let told = project.esker(&[&["check", "--json"], &EAGER[..]].concat()).within(judged::TIME).run();
            assert_eq!(told.code, 0, "{told}");
            let jobs = drvs(&told);
            let wrong = judge(&project, &told, &jobs.iter().map(|(_, drv)| drv.clone()).collect::<Vec<_>>());
            for (job, drv) in jobs {
                let reused = told.outcome(&job)["outcome"] == "reused";
                assert!(!(reused && job.starts_with("built")), "round {round}: {job}\n{told}");
                if set == "adversarial" && job.starts_with("reused") && round > 0 {
                    assert!(reused, "round {round}: {job}\n{told}");
                }
                if wrong.contains(&drv) {
                    found.insert(job.trim_end_matches(|c: char| !c.is_alphabetic()).to_owned());
                }
            }
        }
        assert!(found.iter().all(|job| limits.contains(&job.as_str())), "{set}: {found:?}");
    }
}

fn a_proof_needs_traces(nix: &Nix) {
    let project = Project::with_checks(nix, r#"good = lib.passes "good";"#);
    let told = project.check(&["--trace", "off", "--prove", "eager"]);
    assert_eq!(told.code, 2, "{told}");
    assert!(told.stderr.contains("nothing to prove without traces"), "{told}");
}

on_each_nix! {
    a_result_is_reused_with_the_first_change,
    several_outputs_and_references_are_proven_as_far_as_they_can_be,
    what_depends_on_a_hash_is_refuted_and_never_reused,
    an_encoded_hash_is_observed_literally,
    a_path_that_is_no_reference_is_found_out,
    a_proof_that_fails_proves_nothing_and_harms_nobody,
    an_interrupted_run_drops_its_proofs,
    a_proof_makes_room_for_a_build,
    a_compiled_program_is_proven,
    hidden_hashes_are_found_out,
    a_proof_needs_traces,
}
