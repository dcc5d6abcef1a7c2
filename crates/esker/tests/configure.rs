//! `esker.toml` beside the flake, and what it chooses.

mod story;

use story::{Nix, Project, on_each_nix};

/// A flake with enough to choose from.
fn project(nix: &Nix) -> Project {
    let project = Project::new(nix);
    project.write_outputs(
        r#"checks.@system@ = { unit-a = lib.passes "unit-a"; unit-b = lib.passes "unit-b"; unit-slow = lib.passes "slow"; other = lib.passes "other"; };
           checks.m68k-linux.unit-a = lib.passes "pretended";
           hydraJobs.deep.job = lib.passes "job";"#,
    );
    project
}

fn the_configuration_chooses_the_jobs(nix: &Nix) {
    let project = project(nix);
    let check = |config: &str, arguments: &[&str], jobs: &[&str]| {
        project.write("esker.toml", config);
        let told = project.check(arguments);
        assert_eq!(told.code, 0, "{config}: {told}");
        assert_eq!(told.jobs("passed"), jobs, "{config}: {told}");
    };
    check("include = [\"unit-*\"]\nexclude = [\"*-slow\"]\n", &[], &["unit-a", "unit-b"]);
    check("attribute = \"hydraJobs\"\n", &[], &["deep.job"]);
    check("attribute = \"hydraJobs\"\n", &["--attr", "checks", "--include", "other"], &["other"]);
    check("systems = [\"m68k-linux\"]\n", &[], &["unit-a"]);
    check(
        "systems = [\"m68k-linux\", \"@system@\"]\ninclude = [\"*.unit-a\"]\n",
        &[],
        &["m68k-linux.unit-a", &format!("{}.unit-a", story::project::SYSTEM)],
    );
    // What is not selected is not evaluated either.
    project.write_checks(r#"good = lib.passes "good"; bad = abort "never looked at";"#);
    check("exclude = [\"bad\"]\n", &[], &["good"]);
    project.write("esker.toml", "include = [\"nothing-*\"]\n");
    let told = project.check(&[]);
    assert_eq!(told.code, 2, "{told}");
    assert!(told.stderr.contains("none of the 2 attributes is selected"), "{told}");
}

fn it_is_read_where_the_flake_lies(nix: &Nix) {
    let project = Project::new(nix);
    for folder in ["", "inner/"] {
        project.write(&format!("{folder}flake.nix"), "{ outputs = { self }: { checks.@system@ = let lib = import ./lib.nix; in { a = lib.passes \"a\"; b = lib.passes \"b\"; }; }; }");
        project.write(&format!("{folder}lib.nix"), story::project::LIBRARY);
    }
    project.write("inner/esker.toml", "include = [\"a\"]\n");
    project.write("esker.toml", "include = [\"b\"]\n");
    project.commit();
    let url = format!("git+file://{}", project.folder().display());
    for (reference, job) in [(".", "b"), ("./inner", "a"), (&url, "b"), (&format!("{url}?dir=inner"), "a")] {
        let told = project.check(&[reference]);
        assert_eq!(told.jobs("passed"), [job], "{reference}: {told}");
    }
    // From a folder below, the nearest flake above is meant, as with Nix.
    project.write("inner/deep/er/file", "");
    let told = project.esker(&["check", "--json"]).at(&project.folder().join("inner/deep/er")).run();
    assert_eq!(told.jobs("passed"), ["a"], "{told}");
}

fn files_of_other_tools_are_read_for_what_means_the_same(nix: &Nix) {
    let project = project(nix);
    project.write("buildbot-nix.toml", "attribute = \"checks.@system@.other\"\n");
    let told = project.esker(&["check"]).run();
    assert_eq!(told.code, 0, "{told}");
    assert!(
        told.stderr.contains("no `esker.toml` here: `attribute` taken from `buildbot-nix.toml`"),
        "{told}"
    );
    project.write("nixbot.toml", "attribute = \"hydraJobs\"\n");
    let told = project.check(&[]);
    assert_eq!(told.jobs("passed"), ["deep.job"], "{told}");
    project.write("esker.toml", "");
    let told = project.check(&["--include", "other"]);
    assert_eq!(told.jobs("passed"), ["other"], "{told}");
    assert_eq!(told.events("notice").count(), 0, "{told}");
}

fn a_wrong_configuration_is_refused_with_its_place(nix: &Nix) {
    let project = project(nix);
    let check = |config: &str, says: &[&str]| {
        project.write("esker.toml", config);
        let told = project.esker(&["check"]).run();
        assert_eq!(told.code, 2, "{config}: {told}");
        for text in says {
            assert!(told.stderr.contains(text), "no `{text}`: {told}");
        }
    };
    check("atribute = \"checks\"\n", &["esker.toml:1:1", "atribute", "did you mean `attribute`?"]);
    check("\ninclude = 3\n", &["esker.toml:2:"]);
    check("include = [\"[\"]\n", &["esker.toml:1:"]);
    check("[limits]\ntimout = 3\n", &["esker.toml:2:1", "did you mean `limits.timeout`?"]);
    check("flake_dir = \"../..\"\n", &["esker.toml:1:"]);
    check("flake_dir = \"missing\"\n", &["flake_dir", "missing"]);
    check("lock_file = \"missing.lock\"\n", &["lock_file", "missing.lock"]);
    check("attribute = ", &["esker.toml:1:"]);
    project.write("esker.toml", "");
    for arguments in [
        ["--include", "["].as_slice(),
        &["--eval-memory", "much"],
        &["--eval-timeout", "soon"],
        &["--max-jobs", "x"],
        &["--arg", "x", "1"],
        &["--no-such-option"],
        &["--file", "missing.nix"],
    ] {
        let told = project.esker(&[&["check"], arguments].concat()).run();
        assert_eq!(told.code, 2, "{arguments:?}: {told}");
        assert!(told.stderr.contains("error: "), "{arguments:?}: {told}");
    }
}

fn a_flakes_settings_count_only_when_they_are_accepted(nix: &Nix) {
    let project = Project::new(nix);
    project.write(
        "flake.nix",
        r#"{
  nixConfig = { allow-import-from-derivation = true; bash-prompt = "x"; extra-substituters = [ "file:///nowhere/@salt@" ]; connect-timeout = 7; };
  outputs = { self }: { checks.@system@.a = (import ./lib.nix).passes "a"; }; }"#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 0, "{told}");
    let notices: Vec<_> = told.events("notice").filter_map(|event| event["text"].as_str()).collect();
    assert!(notices.iter().any(|text| text.contains("--accept-flake-config")), "{notices:?}");
    let told = project.check(&["--accept-flake-config"]);
    assert_eq!(told.code, 0, "{told}");
    assert!(!told.stderr.contains("--accept-flake-config"), "{told}");
}

on_each_nix! {
    the_configuration_chooses_the_jobs,
    it_is_read_where_the_flake_lies,
    files_of_other_tools_are_read_for_what_means_the_same,
    a_wrong_configuration_is_refused_with_its_place,
    a_flakes_settings_count_only_when_they_are_accepted,
}
