//! What a substituter has is fetched; one that is broken or away is no excuse for much.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use story::{Nix, Project, on_each_nix};

/// Builds a flake, copies its results into a binary cache and deletes them here.
fn with_a_cache(nix: &Nix) -> (Project, String) {
    let project = Project::with_checks(
        nix,
        r#"
        a = lib.run "a" "read x < ${lib.passes "dep"}; echo ${lib.passes "dep"} > $out";
        b = lib.make { outputs = [ "out" "dev" ]; } "b" "echo b > $out; echo dev > $dev";
        "#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 0, "{told}");
    let cache = format!("file://{}", project.beside("cache-of-binaries").display());
    let paths: Vec<String> = told
        .events("build_finished")
        .flat_map(|event| event["outputs"].as_array().unwrap().clone())
        .map(|output| output[1].as_str().unwrap().to_owned())
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    project.nix(&[&["copy", "--to", &cache], &paths[..]].concat());
    delete(&project, &paths);
    (project, cache)
}

fn delete(project: &Project, paths: &[&str]) {
    let output = project.nix_program("nix-store").arg("--delete").args(paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn what_a_substituter_has_is_fetched_and_not_built(nix: &Nix) {
    let (project, cache) = with_a_cache(nix);
    let flake = fs::read_to_string(project.folder().join("flake.nix")).unwrap();
    let arguments = ["--option", "substituters", &cache, "--option", "require-sigs", "false"];

    let told = project.check(&[&arguments[..], &["--dry-run"]].concat());
    assert_eq!(told.outcome("a")["outcome"], "would_fetch", "{told}");

    // Something new that needs what is in the cache.
    project.write(
        "flake.nix",
        &flake.replace(
            "a = lib.run",
            r#"c = lib.run "c" "read x < ${lib.passes "dep"}; echo $x > $out"; a = lib.run"#,
        ),
    );
    let told = project.check(&[&arguments[..], &["--dry-run", "--include", "c"]].concat());
    assert_eq!(told.outcome("c")["outcome"], "would_build", "{told}");
    let scheduled: Vec<_> = told
        .events("scheduled")
        .map(|event| (event["name"].as_str().unwrap(), event["action"].as_str().unwrap()))
        .collect();
    assert_eq!(scheduled, [("dep", "fetch"), ("c", "build")], "{told}");

    let told = project.check(&arguments);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.outcome("a")["outcome"], "fetched", "{told}");
    assert_eq!(told.outcome("b")["outcome"], "fetched", "{told}");
    assert_eq!(told.outcome("c")["outcome"], "built", "{told}");
    assert_eq!(told.summary()["built"], 1, "{told}");
    assert_eq!(told.summary()["fetched"], 2, "{told}");
}

fn a_damaged_cache_breaks_only_what_comes_from_it(nix: &Nix) {
    let (project, cache) = with_a_cache(nix);
    let folder = project.beside("cache-of-binaries");
    let nars = fs::read_dir(folder.join("nar")).unwrap();
    for nar in nars {
        fs::write(nar.unwrap().path(), "this is no NAR").unwrap();
    }
    let flake = fs::read_to_string(project.folder().join("flake.nix")).unwrap();
    project.write("flake.nix", &flake.replace("a = lib.run", r#"good = lib.passes "good"; a = lib.run"#));
    let arguments = ["--option", "substituters", &cache, "--option", "require-sigs", "false"];
    let told = project.check(&arguments);
    assert_eq!(told.code, 3, "{told}");
    assert_eq!(told.conclusions(), [("a", "broken"), ("b", "broken"), ("good", "passed")], "{told}");
    // As Nix does with `--fallback`.
    let told = project.check(&[&arguments[..], &["--option", "fallback", "true"]].concat());
    assert_eq!(told.code, 0, "{told}");

    // An index that is damaged as a whole.
    project.write("flake.nix", &flake.replace("a = lib.run", r#"new = lib.passes "new"; a = lib.run"#));
    fs::write(folder.join("nix-cache-info"), "\0\u{1}garbage").unwrap();
    let told = project.check(&arguments);
    assert_eq!(told.jobs("passed"), ["a", "b", "new"], "{told}");
}

fn a_damaged_narinfo_is_no_end_of_the_run(nix: &Nix) {
    let (project, cache) = with_a_cache(nix);
    for entry in fs::read_dir(project.beside("cache-of-binaries")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "narinfo") {
            fs::write(path, "StorePath: nowhere\n").unwrap();
        }
    }
    let told = project.check(&["--option", "substituters", &cache, "--option", "require-sigs", "false"]);
    assert_eq!(told.events("job_finished").count(), 2, "{told}");
    assert!(matches!(told.code, 0 | 3), "{told}");
    assert!(told.summary()["error"].is_null(), "{told}");
}

fn without_its_substituter_a_run_builds(nix: &Nix) {
    let checks: Vec<String> = (0..20).map(|i| format!(r#"j{i} = lib.passes "j{i}";"#)).collect();
    let project = Project::with_checks(nix, &checks.join("\n"));
    let started = Instant::now();
    let told = project.check(&["--offline", "--option", "substituters", "http://127.0.0.1:1"]);
    assert_eq!(told.code, 0, "{told}");
    assert!(started.elapsed() < Duration::from_secs(30), "{told}");
    project.write("lib.nix", &story::project::LIBRARY.replace("@salt@", "@salt@-2"));
    let told = project.check(&["--option", "substituters", "http://127.0.0.1:1"]);
    assert_eq!(told.code, 0, "{told}");
    // It is waited for once, not for each build.
    let seconds: f64 = told.events("build_finished").map(|event| event["seconds"].as_f64().unwrap()).sum();
    assert!(seconds < 20.0, "{seconds} s for 20 builds\n{told}");
}

fn a_substituter_that_does_not_answer_can_be_interrupted(nix: &Nix) {
    let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let running = project.esker(&["check", "--json", "--option", "substituters", &url]).start();
    // Some Nix asks, and waits: the one that evaluates, or the one that looks for what is missing.
    let connection = silent.accept().unwrap();
    running.signal(Signal::INT);
    let told = running.finish();
    drop(connection);
    assert_eq!(told.code, 130, "{told}");
    project.wait_until_alone(Duration::from_secs(5));
}

fn an_input_that_never_comes_can_be_interrupted(nix: &Nix) {
    let project = Project::new(nix);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/input.tar.gz", silent.local_addr().unwrap());
    project.write(
        "flake.nix",
        &format!("{{ inputs.never.url = \"{url}\"; outputs = {{ self, never }}: {{ checks = {{ }}; }}; }}"),
    );
    for signal in [Signal::INT, Signal::TERM] {
        let running = project.esker(&["check", "--json"]).start();
        let connection = silent.accept().unwrap();
        running.signal(signal);
        let told = running.finish();
        drop(connection);
        assert_eq!(told.code, 130, "{told}");
        assert_eq!(told.summary()["interrupted"], true, "{told}");
        project.wait_until_alone(Duration::from_secs(5));
    }
}

on_each_nix! {
    an_input_that_never_comes_can_be_interrupted,
    what_a_substituter_has_is_fetched_and_not_built,
    a_damaged_cache_breaks_only_what_comes_from_it,
    a_damaged_narinfo_is_no_end_of_the_run,
    without_its_substituter_a_run_builds,
    a_substituter_that_does_not_answer_can_be_interrupted,
}
