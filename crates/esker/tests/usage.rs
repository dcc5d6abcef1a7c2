//! What is wrong with what was asked for is said in the words of who asked.

mod story;

use story::project::SYSTEM;
use story::told::Told;
use story::{Nix, Project, on_each_nix};

/// The last lines, from `error:` on.
#[track_caller]
fn ends(told: &Told, code: i32, end: &str) {
    assert_eq!(told.code, code, "{told}");
    let at = told.stderr.find("error:").unwrap_or_else(|| panic!("no error in\n{told}"));
    assert_eq!(told.stderr[at..].trim_end(), end, "{told}");
}

fn outputs_that_are_no_sets_are_the_codes_fault(nix: &Nix) {
    let project = Project::new(nix);
    for (value, what) in [
        ("[ ]", "a list"),
        ("x: x", "a function"),
        (r#""x""#, "a string"),
        ("null", "null"),
        ("1", "an integer"),
    ] {
        project.write_outputs(&format!("checks.@system@ = {value};"));
        let text = format!("error: `checks.{SYSTEM}` is {what}, not a set of derivations");
        ends(&project.esker(&["check"]).run(), 1, &text);
        project.write_outputs(&format!("checks = {value};"));
        let text = format!("error: `checks` is {what}, not a set of derivations");
        ends(&project.esker(&["check"]).run(), 1, &text);
    }
    // What was asked for is another thing.
    project.write_outputs(r#"version = "1";"#);
    let told = project.esker(&["check", "--attr", "version"]).run();
    ends(&told, 2, "error: `version` is a string, not a set of derivations");
}

fn no_checks_are_not_the_codes_fault(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs("checks.riscv64-linux.a = 1;");
    let text = format!(
        "error: there is no attribute `checks.{SYSTEM}`, only `riscv64-linux`\n\
         hint: `--system riscv64-linux` checks those of that system"
    );
    ends(&project.esker(&["check"]).run(), 2, &text);
    project.write_outputs(r#"packages.@system@.a = lib.passes "a";"#);
    let told = project.esker(&["check"]).run();
    assert!(told.stderr.contains("hint: `--attr packages` checks the packages instead"), "{told}");
    assert_eq!(project.esker(&["check", "--attr", "packages"]).run().code, 0);
    // Directly in the place of the set: a job.
    project.write_outputs(r#"checks.@system@ = lib.passes "a";"#);
    assert_eq!(project.check(&[]).conclusions(), [(SYSTEM, "passed")]);
}

fn a_name_with_dots_is_suggested_with_its_quotes(nix: &Nix) {
    let project = Project::with_checks(nix, r#""a.b" = lib.passes "a";"#);
    let text = "error: there is no attribute `a.b`, only `\"a.b\"`, `checks`\nhint: did you mean `\"a.b\"`?";
    ends(&project.esker(&["check", "--attr", "a.b"]).run(), 2, text);
    assert_eq!(project.esker(&["check", "--attr", "\"a.b\""]).run().code, 0);
}

fn arguments_of_a_file_are_named(nix: &Nix) {
    let project = Project::new(nix);
    project.write("f.nix", r#"{ x, y ? 1 }: { a = (import ./lib.nix).passes "a-${toString x}"; }"#);
    let check = |more: &[&str]| project.esker(&[&["check", "--file", "f.nix"], more].concat()).run();
    let text = "error: the function in `f.nix` wants an argument `x`\n\
                hint: `--arg x EXPR` or `--argstr x STRING` gives it";
    ends(&check(&[]), 2, text);
    ends(&check(&["--arg", "y", "2"]), 2, text);
    assert_eq!(check(&["--arg", "x", "1"]).code, 0);
    let told = check(&["--arg", "y", "{ }", "--arg", "x", "("]);
    let text = "error: `--arg x '('` is no Nix expression: syntax error, unexpected ')'\n\
                hint: `--argstr x '('` passes it as a string";
    ends(&told, 2, text);
    project.write("f.nix", "{ }: throw \"no\"");
    let told = check(&[]);
    assert_eq!(told.code, 1, "{told}");
    assert!(told.stderr.contains("error: `f.nix` does not evaluate: no\n"), "{told}");
    // Nix 2.8 does not know where.
    assert!(told.stderr.contains("/f.nix:1:6") || !nix.is_at_least(2, 9), "{told}");
    assert!(!told.stderr.contains("-source/"), "{told}");
}

fn a_flake_is_no_file(nix: &Nix) {
    let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
    let told = project.esker(&["check", "--file", "flake.nix"]).run();
    let text = "error: there are no jobs in `flake.nix`\n\
                hint: it looks like a flake: `esker check` checks it as one";
    ends(&told, 2, text);
    let told = project.esker(&["check", "--file", "project/flake.nix"]).at(&project.beside("")).run();
    assert!(told.stderr.contains("`esker check ./project` checks"), "{told}");
}

fn globs_of_the_configuration_are_told_from_those_of_the_command_line(nix: &Nix) {
    let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
    let told = project.esker(&["check", "--include", "b*"]).run();
    assert!(told.stderr.contains("hint: `--dry-run` without `--include`"), "{told}");
    project.write("esker.toml", "include = ['b*']");
    let text = "error: none of the 1 attributes is selected\n\
                hint: the globs are those of esker.toml: see `include` and `exclude` there";
    ends(&project.esker(&["check"]).run(), 2, text);
    assert_eq!(project.esker(&["check", "--include", "*"]).run().code, 0);
    assert_eq!(project.esker(&["check", "--eval-workers", "0"]).run().code, 2);
}

fn a_builder_that_is_not_there_is_named(nix: &Nix) {
    let project = Project::with_checks(nix, r#"a = lib.make { builder = "/none/such"; } "a" "";"#);
    let told = project.check(&[]);
    let tail = told.outcome("a")["failure"]["tail"].to_string();
    assert!(tail.contains("error: executing '/none/such': No such file or directory\""), "{tail}");
    let log = project.esker(&["log", "a"]).run();
    assert!(log.stdout.contains("executing '"), "{log}");
}

on_each_nix! {
    outputs_that_are_no_sets_are_the_codes_fault,
    no_checks_are_not_the_codes_fault,
    a_name_with_dots_is_suggested_with_its_quotes,
    arguments_of_a_file_are_named,
    a_flake_is_no_file,
    globs_of_the_configuration_are_told_from_those_of_the_command_line,
    a_builder_that_is_not_there_is_named,
}
