//! Builds that are observed: reused when nothing observed has changed, and never otherwise.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use story::{Nix, Project, on_each_nix, told::Told};

fn reuse(project: &Project) -> Told {
    let told = project.check(&["--trace", "reuse", "--shadow", "0%"]);
    assert_eq!(told.code, 0, "{told}");
    told
}

fn nix_store(project: &Project, arguments: &[&str]) -> String {
    let output = project.nix_program("nix-store").args(arguments).output().unwrap();
    assert!(output.status.success(), "nix-store {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn is_reused(told: &Told, job: &str) -> bool {
    told.outcome(job)["outcome"] == "reused"
}

/// A check that reads two of three files of its source, and leaves nothing.
fn reads_two_files(nix: &Nix) -> Project {
    let project = Project::with_checks(
        nix,
        r#"two = lib.make { src = ./src; } "two" "read x < $src/a; read y < $src/b; echo $x $y; : > $out";"#,
    );
    project.write("src/README", "one\n");
    project.write("src/a", "a\n");
    project.write("src/b", "b\n");
    project
}

fn what_it_did_not_read_may_change(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = reads_two_files(nix);
    assert_eq!(reuse(&project).outcome("two")["outcome"], "built");

    project.write("src/README", "two\n");
    project.write("src/new", "new\n");
    let told = reuse(&project);
    assert!(is_reused(&told, "two"), "{told}");
    assert_eq!(told.events("build_started").count(), 0, "{told}");
    assert_eq!((&told.summary()["built"], &told.summary()["reused"]), (&0.into(), &1.into()));
    // For Nix it is as if it had been built.
    let drv = told.drv("two");
    let out = nix_store(&project, &["--query", "--outputs", drv]);
    let out = out.trim();
    assert_eq!(nix_store(&project, &["--query", "--deriver", out]).trim(), drv);
    assert_eq!(nix_store(&project, &["--verify-path", out]), "");
    assert_eq!(project.check(&[]).outcome("two")["outcome"], "in_store");

    project.write("src/b", "c\n");
    let told = reuse(&project);
    assert_eq!(told.outcome("two")["outcome"], "built", "{told}");
    let explained = project.esker(&["explain", "two"]).run();
    assert!(explained.stdout.contains("built: `b` in `src`"), "{explained}");

    // And back again: that is known, too.
    project.write("src/b", "b\n");
    project.write("src/README", "three\n");
    assert!(is_reused(&reuse(&project), "two"));
    let explained = project.esker(&["explain", "two"]).run();
    assert!(explained.stdout.contains("reused: nothing it reads of `src` has changed"), "{explained}");
}

fn a_result_with_content_is_reused_after_a_proof(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = Project::with_checks(
        nix,
        r#"text = lib.make { src = ./src; } "text" "read x < $src/a; echo $x > $out";
        itself = lib.make { src = ./src; } "itself" "read x < $src/a; echo $x $out > $out";
        input = lib.make { src = ./src; } "input" "read x < $src/a; echo $x $src > $out";"#,
    );
    let outcomes = |told: &Told| -> Vec<bool> {
        ["text", "itself", "input"].iter().map(|job| is_reused(told, job)).collect()
    };
    project.write("src/a", "a\n");
    for (round, expected) in [false, false, true, true].into_iter().enumerate() {
        project.write("src/README", &round.to_string());
        let told = reuse(&project);
        // What holds a hash that changes is never the same.
        assert_eq!(outcomes(&told), [expected, false, false], "round {round}\n{told}");
        // Nix's own build would give the same bits.
        let again = project.check(&["--rebuild"]);
        assert_eq!(again.code, 0, "{again}");
    }
}

fn a_reuse_can_be_doubted(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = reads_two_files(nix);
    reuse(&project);
    project.write("src/README", "two\n");
    let told = project.check(&["--trace", "reuse", "--shadow", "100%"]);
    assert_eq!(told.outcome("two")["outcome"], "built", "{told}");
    let explained = project.esker(&["explain", "two"]).run();
    assert!(explained.stdout.contains("checks that a reuse would have been right"), "{explained}");
    assert_eq!(told.events("notice").count(), 0, "{told}");

    // A builder whose result depends on what nobody can observe: found out, told, and not believed again.
    let project = Project::with_checks(
        nix,
        r#"branch = lib.make { src = ./src; } "branch"
          "read x < $src/a; case $src in *[a-m]-src) : > $out;; *) mkdir-is-not-there || echo x > $out;; esac";"#,
    );
    project.write("src/a", "a\n");
    let mut notices = 0;
    for round in 0..12 {
        project.write("src/README", &round.to_string());
        let told = project.check(&["--trace", "reuse", "--shadow", "100%"]);
        assert!(!is_reused(&told, "branch"), "{told}");
        let wrong = |event: &&serde_json::Value| event["text"].as_str().unwrap().contains("wrong");
        notices += told.events("notice").filter(wrong).count();
    }
    assert!(notices <= 1, "told once");
}

fn what_is_not_reused_is_told_with_its_reason(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = Project::with_checks(
        nix,
        r#"fails = lib.run "fails" "echo some words; exit 3";
        none = lib.run "none" "echo nothing is made";
        many = lib.make { outputs = [ "out" "dev" ]; } "many" "echo 1 > $out; echo $out > $dev";
        open = derivation { name = "open"; system = "@system@"; builder = "/bin/sh"; args = [ "-c" "echo @salt@ > $out" ];
          __noChroot = false; requiredSystemFeatures = [ ]; outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; };"#,
    );
    let told = project.check(&["--trace", "reuse"]);
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(
        told.conclusions(),
        [("fails", "failed"), ("many", "passed"), ("none", "failed"), ("open", "failed")]
    );
    let failure = &told.outcome("fails")["failure"];
    assert_eq!((&failure["exit_code"], &failure["tail"][0]), (&3.into(), &"some words".into()), "{told}");
    assert_eq!(told.outcome("none")["failure"]["kind"], "builder", "{told}");
    let log = project.nix_command(&["log", told.drv("fails")]).output().unwrap();
    assert!(String::from_utf8_lossy(&log.stdout).contains("some words"), "{log:?}");
    let explained: Vec<&str> = told
        .events("explained")
        .filter(|event| event["name"] == "open")
        .filter_map(|event| event["explanation"]["reason"].as_str())
        .collect();
    assert_eq!(explained, ["untraced"], "{told}");
}

on_each_nix! {
    what_it_did_not_read_may_change,
    a_result_with_content_is_reused_after_a_proof,
    a_reuse_can_be_doubted,
    what_is_not_reused_is_told_with_its_reason,
}
