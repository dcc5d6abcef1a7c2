//! Which build runs when: how many at once, in which order, and shared with whom.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::time::Duration;

use serde_json::Value;
use story::{Nix, Project, on_each_nix};

fn logged(name: &str) -> impl Fn(&Value) -> bool {
    let name = name.to_owned();
    move |event| event["event"] == "log" && event["line"] == name.as_str()
}

fn as_many_builds_run_as_wished_and_never_more(nix: &Nix) {
    let checks: Vec<String> = ["a", "b", "c", "d", "e", "f", "g"]
        .iter()
        .map(|name| format!(r#"{name} = lib.run "{name}" "echo {name}; read x < /gate/all; echo > $out";"#))
        .collect();
    let project = Project::with_checks(nix, &checks.join("\n"));
    let mut gate = project.gate(&["all"]);
    let esker = project.esker(&[&["check", "--json", "-j", "3"], &gate.arguments[..]].concat());
    let mut running = esker.start();
    // Nobody gets on before three are there.
    running.wait_for("a third build", {
        let count = std::cell::Cell::new(0);
        move |event| {
            count.set(count.get() + usize::from(event["event"] == "log"));
            count.get() == 3
        }
    });
    gate.open("all", 7);
    let told = running.finish();
    assert_eq!(told.code, 0, "{told}");
    let (mut now, mut most) = (0_i32, 0);
    for event in &told.events {
        match event["event"].as_str() {
            Some("build_started") => now += 1,
            Some("build_finished") => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    assert_eq!((now, most), (0, 3));
    assert_eq!(told.events("environment").next().unwrap()["max_jobs"], 3);
}

fn sixty_four_builds_run_at_once(nix: &Nix) {
    let checks: Vec<String> = (0..64)
        .map(|i| format!(r#"j{i} = lib.run "j{i}" "echo j{i}; read x < /gate/all; echo > $out";"#))
        .collect();
    let project = Project::with_checks(nix, &checks.join("\n"));
    let mut gate = project.gate(&["all"]);
    // Without the users of a group, of which there may be fewer.
    let arguments = ["check", "--json", "-j", "64", "--option", "build-users-group", ""];
    let mut running = project.esker(&[&arguments[..], &gate.arguments[..]].concat()).start();
    for i in 0..64 {
        running.wait_for("its builder", logged(&format!("j{i}")));
    }
    gate.open("all", 64);
    let told = running.finish();
    assert_eq!((told.code, told.jobs("passed").len()), (0, 64), "{told}");
}

fn the_longest_path_goes_first(nix: &Nix) {
    let project = Project::with_checks(nix, r#"short = lib.passes "short";"#);
    assert_eq!(project.check(&[]).code, 0);
    // Of `short` it is known now how short it is, of the others nothing.
    project.write_outputs(
        r#"
        checks.@system@ = let gate = lib.run "gate" "echo gate; read x < /gate/all; echo > $out"; in {
          short = lib.run "short" "echo ${gate} > $out";
          unknown = lib.run "unknown" "echo ${gate} > $out";
          z = lib.run "z" "echo ${lib.run "y" "echo ${gate} > $out"} > $out";
        };
        "#,
    );
    let mut gate = project.gate(&["all"]);
    let mut running = project.esker(&[&["check", "--json", "-j", "1"], &gate.arguments[..]].concat()).start();
    running.wait_for("the end of evaluation", |event| event["event"] == "evaluation_finished");
    running.wait_for("the gate", logged("gate"));
    gate.open("all", 1);
    let told = running.finish();
    let order: Vec<&str> =
        told.events("build_started").map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(order, ["gate", "y", "unknown", "z", "short"], "{told}");
}

fn builders_are_told_how_many_cores_they_have(nix: &Nix) {
    let project =
        Project::with_checks(nix, r#"cores = lib.run "cores" "echo cores: $NIX_BUILD_CORES; echo > $out";"#);
    let told = project.check(&["--cores", "7"]);
    assert_eq!(told.events("log").next().unwrap()["line"], "cores: 7", "{told}");
}

fn two_eskers_share_what_both_build(nix: &Nix) {
    let project = Project::new(nix);
    // Whoever builds `shared` takes one of what is in the gate.
    project.write_outputs(
        r#"
        checks.@system@ = let shared = lib.run "shared" "echo begins; read x < /gate/all; echo $x > $out"; in {
          a = lib.run "a" "read x < ${shared}; echo $x > $out";
          b = lib.run "b" "read x < ${shared}; echo $x > $out";
        };
        "#,
    );
    let mut gate = project.gate(&["all"]);
    let arguments = [&["check", "--json", "-j", "2"], &gate.arguments[..]].concat();
    let mut first = project.esker(&arguments).start();
    first.wait_for("the shared build", logged("begins"));
    let mut second = project.esker(&arguments).start();
    second
        .wait_for("the shared build", |event| event["event"] == "build_started" && event["name"] == "shared");
    gate.open("all", 1);
    for running in [first, second] {
        let told = running.finish();
        assert_eq!(told.conclusions(), [("a", "passed"), ("b", "passed")], "{told}");
        assert_eq!(told.code, 0, "{told}");
    }
    project.wait_until_alone(Duration::from_secs(5));
}

on_each_nix! {
    as_many_builds_run_as_wished_and_never_more,
    sixty_four_builds_run_at_once,
    the_longest_path_goes_first,
    builders_are_told_how_many_cores_they_have,
    two_eskers_share_what_both_build,
}
