//! Each way an attribute can fail to evaluate: its own job, with its kind and its place.

mod story;

use serde_json::Value;
use story::told::Told;
use story::{Nix, Project, on_each_nix};

/// A job, its kind of error, the beginning of its message, and its place.
type Expected<'a> = (&'a str, &'a str, &'a str, &'a str);

/// `COLUMN` may be left out of a place; then only path and line count.
fn has_error(told: &Told, (job, kind, message, place): Expected<'_>) {
    let error = told.error(job);
    assert_eq!(error["kind"], kind, "{job}: {error:#}");
    let found = error["message"].as_str().unwrap_or_default();
    assert!(found.starts_with(message), "{job}: {found}");
    assert!(!found.contains(" | "), "{job}: quoted source in: {found}");
    let position = &error["position"];
    let number = |field: &str| position[field].as_u64().unwrap_or(0);
    let found =
        format!("{}:{}:{}", position["path"].as_str().unwrap_or_default(), number("line"), number("column"));
    let found = if *position == Value::Null { String::new() } else { found };
    let precise = place.is_empty() || place.matches(':').count() == 2;
    let equal = if precise { found == place } else { found.starts_with(&format!("{place}:")) };
    assert!(equal, "{job}: at `{found}` instead of `{place}`\n{error:#}");
    let trace = error["trace"].as_str().unwrap_or_default();
    assert!(!trace.contains("esker-"), "{job}: our own frames in\n{trace}");
    assert!(!trace.is_empty(), "{job}: no trace");
}

fn each_kind_of_error_fails_its_own_job_and_no_other(nix: &Nix) {
    let project = Project::new(nix);
    project.write("nested/wrong.nix", "{\n  a = ;\n}\n");
    project.write("nested/deep.nix", "x:\n  if x then throw \"deep down\" else 1\n");
    project.write_checks(
        r#"a-first = lib.passes "a-first";
throws = throw "on purpose";
throws-deep = import ./nested/deep.nix true;
throws-lines = throw "one\ntwo\n\n  three";
aborts = abort "at once";
misses = { }.x;
undefined = lib.nothing;
adds = 1 + "a";
calls = 3 4;
lacks = ({ a }: a) { };
loops = let x = x; in x;
asserts = assert 1 == 2; lib.passes "z";
asserts-plainly = assert false; lib.passes "z";
parses = import ./nested/wrong.nix;
impure-system = lib.passes builtins.currentSystem;
impure-path = import /etc/hostname;
impure-lookup = <nixpkgs>;
no-file = import ./missing.nix;
number = 3;
set = { a = 1; };
function = x: x;
"dotted.name" = throw "dots";
empty-drv = { type = "derivation"; name = "x"; };
m-middle = lib.passes "m-middle";
stack = let f = x: f x + 1; in f 1;
z-last = lib.passes "z-last";"#,
    );
    let told = project.check(&[]);
    assert_eq!(told.code, 1, "{told}");
    assert_eq!(told.jobs("passed"), ["a-first", "m-middle", "z-last"], "{told}");
    assert_eq!(told.jobs("failed").len(), 23, "{told}");
    let new = nix.is_at_least(2, 20);
    let expected: [Expected<'_>; 23] = [
        ("throws", "throw", "on purpose", "flake.nix:4"),
        ("throws-deep", "throw", "deep down", if new { "nested/deep.nix:2:13" } else { "nested/deep.nix:1" }),
        ("throws-lines", "throw", "one\ntwo\n\n  three", "flake.nix:6"),
        ("aborts", "abort", "evaluation aborted with the following error message: 'at once'", "flake.nix:7"),
        ("misses", "missing_attribute", "attribute 'x' missing", "flake.nix:8:10"),
        ("undefined", "missing_attribute", "attribute 'nothing' missing", "flake.nix:9:13"),
        ("adds", "type", "cannot add a string to an integer", "flake.nix:10:12"),
        ("calls", "type", "attempt to call something which is not a function", "flake.nix:11:9"),
        ("lacks", "type", "", "flake.nix:12"),
        ("loops", "infinite_recursion", "infinite recursion encountered", "flake.nix:13:17"),
        ("asserts", "assertion", "assertion '(1 == 2)' failed", "flake.nix:14:11"),
        ("asserts-plainly", "assertion", "assertion 'false' failed", "flake.nix:15:19"),
        ("parses", "syntax", "syntax error, unexpected ';'", "nested/wrong.nix:2:7"),
        ("impure-system", "impure", "attribute 'currentSystem' missing", "flake.nix:17:28"),
        ("impure-path", "impure", "access to absolute path '/etc/hostname' is forbidden", "flake.nix:18:15"),
        ("impure-lookup", "impure", "cannot look up '<nixpkgs>' in pure evaluation mode", "flake.nix:19:17"),
        ("no-file", "other", "", "flake.nix:20:11"),
        ("number", "not_a_derivation", "it is an integer, not a derivation", ""),
        ("set", "not_a_derivation", "it is a set of other things, not a derivation", ""),
        ("function", "not_a_derivation", "it is a function, not a derivation", ""),
        (r#""dotted.name""#, "throw", "dots", "flake.nix:24"),
        ("empty-drv", "missing_attribute", "attribute 'drvPath' missing", ""),
        ("stack", "infinite_recursion", "stack overflow", if new { "flake.nix:27" } else { "" }),
    ];
    for expected in expected {
        has_error(&told, expected);
    }
    let message = told.error("no-file")["message"].as_str().unwrap_or_default();
    assert!(message.contains("'missing.nix'"), "{message}");
}

fn a_derivation_for_another_system_is_broken_and_not_failed(nix: &Nix) {
    let other = if story::project::SYSTEM == "x86_64-linux" { "riscv64-linux" } else { "x86_64-linux" };
    let project = Project::with_checks(
        nix,
        &format!(
            r#"a = lib.passes "a"; other = derivation {{ name = "other"; system = "{other}"; builder = "/bin/sh"; salt = "@salt@"; }};"#
        ),
    );
    let told = project.check(&[]);
    assert_eq!(told.conclusions(), [("a", "passed"), ("other", "broken")]);
    assert_eq!(told.code, 3, "{told}");
    let message = told.outcome("other")["failure"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with(&format!("it is for {other}; this machine builds for")), "{message}");
}

fn a_flake_of_which_all_evaluate_and_none_exists_passes(nix: &Nix) {
    let project = Project::with_checks(nix, "");
    let told = project.check(&[]);
    assert_eq!(told.code, 0, "{told}");
    assert!(told.conclusions().is_empty(), "{told}");
    let told = project.esker(&["check"]).run();
    assert_eq!(told.code, 0, "{told}");
    assert!(told.screen().contains("no checks") || told.screen().contains("0 of 0"), "{told}");
}

/// What a flake that has no list of attributes at all comes to.
fn ends(project: &Project, arguments: &[&str], code: i32, says: &[&str]) {
    let told = project.esker(&[&["check"], arguments].concat()).run();
    let screen = told.screen();
    for text in says {
        assert!(screen.contains(text), "no `{text}` in:\n{told}");
    }
    assert!(screen.contains("error: "), "{told}");
    assert!(!screen.contains("panicked") && !screen.contains("esker-evaluate"), "{told}");
    assert_eq!(told.code, code, "{told}");
    assert_eq!(told.stdout, "", "{told}");
    let told = project.check(arguments);
    assert_eq!(told.code, code, "{told}");
    assert!(told.events.is_empty() || told.summary()["error"].is_string(), "{told}");
}

fn a_syntax_error_in_the_flake_itself_ends_the_run(nix: &Nix) {
    let project = Project::new(nix);
    project.write("flake.nix", "{ outputs = { self }: {\n  checks = ;\n}; }\n");
    ends(&project, &[], 1, &["syntax error, unexpected ';'", "flake.nix:2:12"]);
}

fn outputs_that_throw_end_the_run(nix: &Nix) {
    let project = Project::new(nix);
    project.write("flake.nix", "{ outputs = { self }:\n  throw \"no outputs today\"; }\n");
    ends(&project, &[], 1, &["no outputs today", "flake.nix:"]);
    project
        .write("flake.nix", "{ outputs = { self }: {\n checks.@system@ = throw \"no checks today\"; }; }\n");
    ends(&project, &[], 1, &["no checks today", "flake.nix:2:"]);
    project.write("flake.nix", "{ inputs = 3; outputs = { self }: { }; }\n");
    ends(&project, &[], 1, &["expected a set but got an integer", "flake.nix:1:3"]);
    project.write("flake.nix", "3\n");
    ends(&project, &[], 1, &["flake.nix"]);
}

fn a_folder_without_a_flake_is_told_of(nix: &Nix) {
    let mut project = Project::new(nix);
    project.set_registry("");
    ends(&project, &[], 2, &["flake.nix", "hint: "]);
    ends(&project, &["./nowhere"], 2, &["./nowhere"]);
    ends(&project, &["./lib.nix"], 2, &["is a file, not a flake", "esker check --file"]);
    ends(&project, &["nowhere-in-the-registry"], 2, &["nowhere-in-the-registry"]);
    ends(&project, &["no such reference"], 2, &["no such reference"]);
    ends(&project, &["git+file:///no/such/folder"], 2, &["/no/such/folder"]);
    ends(&project, &["path:/no/such/folder"], 2, &["/no/such/folder"]);
}

fn an_input_that_cannot_be_found_is_named(nix: &Nix) {
    let mut project = Project::new(nix);
    project.set_registry("");
    project.write("flake.nix", "{ outputs = { self, nothing }: { }; }\n");
    ends(&project, &[], 2, &["input `nothing`: cannot find flake 'flake:nothing'"]);
    project.write(
        "flake.nix",
        "{ inputs.wrong.url = \"path:@folder@/wrong\"; outputs = { self, wrong }: { }; }\n"
            .replace("@folder@", &project.folder().display().to_string())
            .as_str(),
    );
    project.write("wrong/flake.nix", "{\n  x = ;\n}\n");
    ends(&project, &[], 1, &["input `wrong`: syntax error, unexpected ';' at ", "flake.nix:2:7"]);
}

fn a_flake_that_git_does_not_track_is_told_of(nix: &Nix) {
    let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
    project.git(&["init", "--quiet"]);
    ends(&project, &[], 2, &["flake.nix", "git add"]);
    project.git(&["add", "flake.nix"]);
    let told = project.esker(&["check"]).run();
    assert!(told.stderr.contains("lib.nix") && told.stderr.contains("git add"), "{told}");
    assert_eq!(told.code, 1, "{told}");
}

fn an_attribute_that_is_not_there_is_told_of_with_its_neighbours(nix: &Nix) {
    let project = Project::with_checks(nix, r#"tests = lib.passes "tests"; docs = lib.passes "docs";"#);
    ends(&project, &["--attr", "test"], 2, &["there is no attribute `test`", "did you mean `tests`?"]);
    ends(&project, &[".#hydraJob"], 2, &["there is no attribute `hydraJob`"]);
    ends(&project, &["--attr", "check"], 2, &["`check`", "did you mean `checks`?"]);
    ends(&project, &["--attr", "a..b"], 2, &["a..b"]);
    ends(&project, &["--attr", "a.\"b"], 2, &["closing quote"]);
}

fn an_attribute_that_is_no_set_is_told_of(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs("checks.@system@ = 3; hydraJobs = x: x; packages.@system@ = [ ];");
    ends(&project, &[], 1, &["`checks.", "is an integer, not a set of derivations"]);
    ends(&project, &["--attr", "hydraJobs"], 1, &["`hydraJobs` is a function"]);
    ends(&project, &["--attr", "packages"], 1, &["is a list"]);
}

fn a_system_that_is_not_there_is_told_of(nix: &Nix) {
    let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
    ends(&project, &["--system", "m68k-linux"], 2, &["m68k-linux"]);
}

on_each_nix! {
    each_kind_of_error_fails_its_own_job_and_no_other,
    a_derivation_for_another_system_is_broken_and_not_failed,
    a_flake_of_which_all_evaluate_and_none_exists_passes,
    a_syntax_error_in_the_flake_itself_ends_the_run,
    outputs_that_throw_end_the_run,
    a_folder_without_a_flake_is_told_of,
    an_input_that_cannot_be_found_is_named,
    a_flake_that_git_does_not_track_is_told_of,
    an_attribute_that_is_not_there_is_told_of_with_its_neighbours,
    an_attribute_that_is_no_set_is_told_of,
    a_system_that_is_not_there_is_told_of,
}
