//! Import from derivation: what an evaluation wants to read is built like anything else.

mod story;

use story::told::Told;
use story::{Nix, Project, on_each_nix};

/// How often a derivation of this name was built by the scheduler.
fn builds(told: &Told, name: &str) -> usize {
    told.events("build_started").filter(|event| event["name"] == name).count()
}

fn an_import_is_built_once_for_all_that_want_it(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"a = lib.passes "a";
           one = let gen = lib.run "gen" "echo '\"from-gen\"' > $out"; in lib.passes "one-${import gen}";
           two = let gen = lib.run "gen" "echo '\"from-gen\"' > $out"; in lib.passes "two-${import gen}";
           three = lib.passes (import (lib.run "gen3" "echo '\"three-${import (lib.run "gen2" "echo '\"nested\"' > $out")}\"' > $out"));"#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.jobs("passed"), ["a", "one", "three", "two"], "{told}");
    assert_eq!(builds(&told, "gen"), 1, "{told}");
    let names: Vec<&str> = told.events("evaluated").filter_map(|event| event["name"].as_str()).collect();
    assert!(
        names.contains(&"one-from-gen") && names.contains(&"three-three-nested")
            || names.contains(&"three-nested"),
        "{names:?}"
    );
    // Now that it is there, nothing is built.
    let told = project.check(&[]);
    assert_eq!((told.code, told.events("build_started").count()), (0, 0), "{told}");
}

fn an_import_that_does_not_build_fails_its_job_with_the_reason(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"a = lib.passes "a";
           bad = import (lib.fails "broken-gen");
           worse = import (lib.run "gen" "echo ${lib.fails "broken-dep"} > $out");
           nested = import (import (lib.run "gen-ok" "echo '(import ./lib.nix).fails \"x\"' > $out; echo 'derivation { name = \"inner\"; system = \"@system@\"; builder = \"/bin/sh\"; args = [ \"-c\" \"exit 4\" ]; salt = \"@salt@\"; }' > $out"));
           value = import (lib.run "gen-throw" "echo 'throw \"from inside\"' > $out");"#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(told.jobs("passed"), ["a"], "{told}");
    assert_eq!(told.jobs("failed"), ["bad", "nested", "value", "worse"], "{told}");
    for (job, culprit) in [("bad", "broken-gen"), ("worse", "broken-dep"), ("nested", "inner")] {
        let error = told.error(job);
        assert_eq!(error["kind"], "import_from_derivation", "{job}: {error:#}");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(culprit), "{job}: {message}");
    }
    assert_eq!(told.error("value")["kind"], "throw");
    assert_eq!(builds(&told, "broken-gen"), 1, "{told}");
    assert!(told.stderr.contains("broken-gen goes wrong"), "the log of what failed is shown: {told}");
}

fn the_list_of_attributes_itself_may_be_imported(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs(
        r#"checks.@system@ = builtins.mapAttrs (name: _: lib.passes name) (import (lib.run "names" "echo '{ a = 1; b = 2; }' > $out"));
           packages.@system@ = import (lib.fails "no-names");"#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.jobs("passed"), ["a", "b"], "{told}");
    let told = project.check(&["--attr", "packages"]);
    assert_eq!(told.code, 1, "{told}");
    assert!(told.summary()["error"].as_str().unwrap_or_default().contains("no-names"), "{told}");
}

fn a_dry_run_builds_only_what_it_needs_to_evaluate(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"a = lib.passes "a"; b = lib.passes (import (lib.run "gen" "echo '\"imported\"' > $out"));"#,
    );
    let told = project.check(&["--dry-run"]);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(told.jobs("passed"), ["a", "b"], "{told}");
    assert_eq!(told.summary()["built"], 0, "{told}");
}

on_each_nix! {
    an_import_is_built_once_for_all_that_want_it,
    an_import_that_does_not_build_fails_its_job_with_the_reason,
    the_list_of_attributes_itself_may_be_imported,
    a_dry_run_builds_only_what_it_needs_to_evaluate,
}
