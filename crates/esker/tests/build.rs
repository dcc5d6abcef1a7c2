//! What a build can come to, and what is said of it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::time::Duration;

use serde_json::Value;
use story::{Nix, Project, on_each_nix, told::Told};

/// Conclusion, kind and message of a job whose own build did not pass.
fn failure<'a>(told: &'a Told, job: &str) -> (&'a str, &'a str, &'a str) {
    let outcome = told.outcome(job);
    let failure = &outcome["failure"];
    let conclusion = told.conclusions().into_iter().find(|(name, _)| *name == job).unwrap().1;
    let text = |value: &'a Value| value.as_str().unwrap_or_else(|| panic!("{job}: {outcome:#}"));
    (conclusion, text(&failure["kind"]), text(&failure["message"]))
}

fn each_way_to_fail_is_told_apart(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        exits = lib.fails "exits";
        nothing = lib.run "nothing" "echo nothing is made";
        no-builder = lib.make { builder = "/no/such/builder"; } "no-builder" "";
        feature = lib.make { requiredSystemFeatures = [ "warp-drive" ]; } "feature" "echo > $out";
        needs-feature = lib.run "needs-feature" "echo ${lib.make { requiredSystemFeatures = [ "warp-drive" ]; } "feature" "echo > $out"} > $out";
        wrong-hash = lib.make {
          outputHashMode = "flat"; outputHashAlgo = "sha256";
          outputHash = "0000000000000000000000000000000000000000000000000000000000000000";
        } "wrong-hash" "echo hello > $out";
        forbidden = lib.make { allowedReferences = [ ]; } "forbidden" "echo ${lib.passes "dep"} > $out";
        phase = lib.run "phase" ''
          echo '@nix {"action":"setPhase","phase":"buildPhase"}' >&2
          echo building
          echo '@nix {"action":"setPhase","phase":"checkPhase"}' >&2
          echo test 7 is wrong
          exit 3'';
        "#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 1, "{told}");
    let check = |job: &str, conclusion: &str, kind: &str, says: &str| {
        let (is, of_kind, message) = failure(&told, job);
        assert_eq!((is, of_kind), (conclusion, kind), "{job}: {message}");
        assert!(message.contains(says), "{job}: {message}");
    };
    check("exits", "failed", "builder", "builder failed with exit code 7");
    check("nothing", "failed", "builder", "builder failed to produce output path for output 'out'");
    check("no-builder", "failed", "builder", "exit code 1");
    check("feature", "broken", "no_machine", "warp-drive");
    check("wrong-hash", "failed", "output", "hash mismatch in fixed-output derivation");
    check("forbidden", "failed", "output", "is not allowed to refer to the following paths");
    check("phase", "failed", "builder", "exit code 3");
    assert_eq!(told.outcome("exits")["failure"]["exit_code"], 7);
    assert_eq!(told.outcome("phase")["failure"]["phase"], "checkPhase");
    assert_eq!(told.outcome("phase")["failure"]["tail"], serde_json::json!(["building", "test 7 is wrong"]));
    assert_eq!(told.outcome("needs-feature")["outcome"], "dependency_failed");
    assert_eq!(told.jobs("broken"), ["feature", "needs-feature"]);
    let screen = project.esker(&["check"]).run().screen();
    assert!(screen.contains("failed  phase"), "{screen}");
    assert!(screen.contains("exit code 3 in checkPhase"), "{screen}");
}

fn a_failing_dependency_is_built_and_told_of_once(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs(
        r#"
        checks.@system@ = let
          bad = lib.fails "bad"; left = lib.run "left" "echo ${bad} > $out"; right = lib.run "right" "echo ${bad} > $out";
        in {
        top = lib.run "top" "echo ${left} ${right} > $out";
        left-alone = left;
        the-same = bad;
        bad = bad;
        good = lib.run "good" "echo ${lib.passes "shared"} > $out";
        good2 = lib.run "good2" "echo ${lib.passes "shared"} > $out";
        };
        "#,
    );
    let told = project.check(&["-j", "4"]);
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(told.jobs("passed"), ["good", "good2"]);
    assert_eq!(told.jobs("failed"), ["bad", "left-alone", "the-same", "top"]);
    let started: Vec<&str> =
        told.events("build_started").filter_map(|event| event["name"].as_str()).collect();
    let times = |name: &str| started.iter().filter(|started| **started == name).count();
    assert_eq!((times("bad"), times("shared"), times("left"), times("right"), times("top")), (1, 1, 0, 0, 0));
    for job in ["top", "left-alone"] {
        let outcome = told.outcome(job);
        assert_eq!(outcome["outcome"], "dependency_failed", "{job}");
        assert_eq!((&outcome["name"], &outcome["drv"]), (&Value::from("bad"), &Value::from(told.drv("bad"))));
    }
    for job in ["bad", "the-same"] {
        assert_eq!(told.outcome(job)["failure"]["tail"], serde_json::json!(["bad goes wrong"]));
    }
    assert_eq!(told.summary()["built"], 3);
}

fn outputs_of_any_name_are_built_linked_and_kept(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        multi = lib.make { outputs = [ "out" "dev" ]; } "multi" "echo 1 > $out; echo 2 > $dev";
        lib-only = lib.make { outputs = [ "lib" ]; } "lib-only" "echo 1 > $lib";
        dev-first = (lib.make { outputs = [ "dev" "out" ]; } "dev-first" "echo 1 > $out; echo 2 > $dev").dev;
        uses-dev = lib.run "uses-dev" "read x < ${(lib.make { outputs = [ "out" "dev" ]; } "multi" "echo 1 > $out; echo 2 > $dev").dev}; echo $x > $out";
        taken = lib.passes "taken";
        "#,
    );
    let results = project.beside("results");
    std::fs::create_dir(&results).unwrap();
    std::fs::write(results.join("taken"), "mine").unwrap();
    let told = project.check(&["--gc-root", results.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told}");
    let mut names: Vec<String> = std::fs::read_dir(&results)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["dev-first", "dev-first-dev", "lib-only-lib", "multi", "multi-dev", "taken", "uses-dev"]
    );
    assert_eq!(std::fs::read_to_string(results.join("taken")).unwrap(), "mine");
    let notices: Vec<&str> = told.events("notice").filter_map(|event| event["text"].as_str()).collect();
    assert!(
        notices.iter().any(|text| text.contains("taken") && text.contains("something else is there")),
        "{told}"
    );
    assert_eq!(std::fs::read_to_string(results.join("multi-dev")).unwrap(), "2\n");

    let roots = project.roots();
    assert!(roots.contains(results.join("multi-dev").to_str().unwrap()), "{roots}");

    // Again, elsewhere, with everything built.
    let prefix = project.beside("again");
    let told = project.check(&["--out-link", prefix.to_str().unwrap(), "--attr", "lib-only"]);
    assert_eq!(told.outcome("lib-only")["outcome"], "in_store", "{told}");
    assert_eq!(std::fs::read_to_string(project.beside("again-lib-only-lib")).unwrap(), "1\n");
}

fn what_is_built_is_built_again_only_on_demand(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        same = lib.run "same" "echo ${lib.passes "dep"} > $out";
        random = lib.run "random" "read x < /proc/sys/kernel/random/uuid; echo $x > $out";
        "#,
    );
    let told = project.check(&["--dry-run"]);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.outcome("same")["outcome"], "would_build");
    let mut scheduled: Vec<&str> =
        told.events("scheduled").filter_map(|event| event["name"].as_str()).collect();
    scheduled.sort_unstable();
    assert_eq!(scheduled, ["dep", "random", "same"]);

    // Also what is not there yet.
    let told = project.check(&["--rebuild"]);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.summary()["built"], 3, "the dry run built something\n{told}");

    let told = project.check(&[]);
    assert_eq!(
        (told.outcome("same")["outcome"].as_str(), told.summary()["built"].as_u64()),
        (Some("in_store"), Some(0))
    );

    let told = project.check(&["--rebuild"]);
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(told.conclusions(), [("random", "failed"), ("same", "passed")]);
    let (_, kind, message) = failure(&told, "random");
    assert_eq!(kind, "not_deterministic");
    assert!(message.starts_with("may not be deterministic: output"), "{message}");
    assert_eq!(told.summary()["built"], 1, "{told}");
}

fn content_addressed_derivations_are_built(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs(
        r#"
        checks.@system@ = let
          ca = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
          dep = name: lib.make ca name "echo @salt@ > $out";
        in {
        a = lib.run "a" "read x < ${dep "dep"}; echo $x > $out";
        b = lib.make (ca // { outputs = [ "out" "dev" ]; }) "b" "read x < ${dep "dep2"}; echo $x > $out; echo 2 > $dev";
        dep = dep "dep";
        fails = lib.make ca "fails" "exit 4";
        needs-it = lib.make ca "needs-it" "echo ${lib.make ca "fails" "exit 4"} > $out";
        };
        "#,
    );
    let results = project.beside("results");
    let arguments =
        ["--option", "extra-experimental-features", "ca-derivations", "--gc-root", results.to_str().unwrap()];
    for run in ["first", "second"] {
        let told = project.check(&arguments);
        assert_eq!(told.code, 1, "{run}\n{told}");
        assert_eq!(told.jobs("passed"), ["a", "b", "dep"]);
        assert_eq!(told.jobs("failed"), ["fails", "needs-it"]);
        assert_eq!(told.outcome("needs-it")["name"], "fails");
        let expected = if run == "first" { "built" } else { "in_store" };
        assert_eq!(told.outcome("b")["outcome"], expected, "{told}");
    }
    assert_eq!(std::fs::read_to_string(results.join("b-dev")).unwrap(), "2\n");
    let told = project.check(&[&arguments[..3], &["--rebuild", "--attr", "a"]].concat());
    assert_eq!(told.code, 0, "{told}");
}

fn unusual_derivations_are_built(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        graph = lib.make { exportReferencesGraph = [ "graph" (lib.passes "dep") ]; } "graph" "read x < graph; echo $x > $out";
        structured = lib.make { __structuredAttrs = true; PATH = "/nowhere"; list = [ "a" "b" ]; }
          "structured" "read x < .attrs.json; echo x > ${builtins.placeholder "out"}";
        in-file = lib.make { passAsFile = [ "text" ]; text = "long"; } "in-file" "read x < $textPath || [ $x = long ]; echo $x > $out";
        "#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 0, "{told}");
}

fn limits_end_a_build_and_all_its_processes(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        sleeps = lib.run "sleeps" "echo begins; (while read x < /dev/zero; do :; done) & while read x < /dev/zero; do :; done";
        "#,
    );
    for (flag, kind, says) in [
        ("--timeout", "timed_out", "timed out after 1 seconds"),
        ("--max-silent-time", "silent", "timed out after 1 seconds"),
    ] {
        let told = project.check(&[flag, "1s", "--keep-failed"]);
        assert_eq!(told.code, 1, "{told}");
        let (conclusion, is, message) = failure(&told, "sleeps");
        assert_eq!((conclusion, is), ("failed", kind), "{message}");
        assert!(message.starts_with(says), "{message}");
        assert_eq!(told.outcome("sleeps")["failure"]["tail"], serde_json::json!(["begins"]));
        if let Some((_, folder)) = message.split_once("its folder was kept: ") {
            assert!(std::path::Path::new(folder).is_dir(), "{folder}");
            std::fs::remove_dir_all(folder).unwrap();
        }
        project.wait_until_alone(Duration::from_secs(5));
    }
}

fn after_the_first_failure_nothing_begins_if_so_wished(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        a = lib.fails "a";
        b = lib.run "b" "echo ${lib.run "c" "read x < /gate/never"} > $out";
        d = lib.run "d" "read x < /gate/never";
        "#,
    );
    let gate = project.gate(&["never"]);
    let told = project.check(&[&gate.arguments[..], &["-j", "2", "--fail-fast"]].concat());
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(told.conclusions(), [("a", "failed"), ("b", "cancelled"), ("d", "cancelled")]);
    project.wait_until_alone(Duration::from_secs(5));
}

on_each_nix! {
    each_way_to_fail_is_told_apart,
    a_failing_dependency_is_built_and_told_of_once,
    outputs_of_any_name_are_built_linked_and_kept,
    what_is_built_is_built_again_only_on_demand,
    content_addressed_derivations_are_built,
    unusual_derivations_are_built,
    limits_end_a_build_and_all_its_processes,
    after_the_first_failure_nothing_begins_if_so_wished,
}
