//! Commands that are suggested do what is said of them when they are pasted where the run was
//! started.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::path::Path;
use std::process::Command;

use story::told::Told;
use story::{Nix, Project, on_each_nix};

/// All commands between backticks that begin with `esker`, and those after `full log:`.
fn suggested(told: &Told) -> Vec<String> {
    let quoted =
        told.stderr.lines().filter(|line| line.starts_with("hint:")).flat_map(|line| line.split('`'));
    let logs =
        told.stderr.lines().filter_map(|line| line.split_once("full log: ")).map(|(_, command)| command);
    quoted.chain(logs).filter(|text| text.starts_with("esker ")).map(str::to_owned).collect()
}

/// The words that a shell makes of a command, without the first.
fn words(command: &str) -> Vec<String> {
    let output = Command::new("bash").arg("-c").arg(format!("printf '%s\\0' {command}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').skip(1).map(str::to_owned).collect()
}

fn paste(project: &Project, command: &str, folder: &Path) -> Told {
    let words = words(command);
    project.esker(&words.iter().map(String::as_str).collect::<Vec<_>>()).at(folder).run()
}

/// Runs `esker` in this folder, and then all it suggests: logs that hold `goes wrong`, and checks of
/// the job that did not pass, which fail again.
#[track_caller]
fn all_work(project: &Project, arguments: &[&str], folder: &Path, count: usize) {
    let told = project.esker(arguments).at(folder).run();
    assert_eq!(told.code, 1, "{told}");
    let commands = suggested(&told);
    assert_eq!(commands.len(), count, "{commands:?}\n{told}");
    for command in commands {
        let again = paste(project, &command, folder);
        if command.starts_with("esker log") {
            assert!(again.code == 0 && again.stdout.contains("goes wrong"), "{command}\n{again}");
        } else {
            assert_eq!(again.code, 1, "{command}\n{again}");
            assert!(again.stderr.contains("goes wrong"), "{command}\n{again}");
        }
    }
}

fn a_flake_elsewhere_is_named(nix: &Nix) {
    let project = Project::with_checks(nix, r#"bad = lib.fails "bad";"#);
    let folder = project.folder().display().to_string();
    all_work(&project, &["check", &folder], &project.home(), 3);
    all_work(&project, &["check", &format!("path:{folder}")], &project.home(), 3);
    all_work(&project, &["check", "../project"], &project.home(), 3);
    let told = project.esker(&["check"]).run();
    assert!(told.stderr.contains("`esker log bad` shows"), "{told}");
    assert!(told.stderr.contains("`esker check --attr bad` runs"), "{told}");
}

fn a_file_and_its_arguments_are_named(nix: &Nix) {
    let project = Project::new(nix);
    project.write(
        "my ci.nix",
        r#"{ word, n }: { bad = (import ./lib.nix).fails "bad-${word}-${toString n}"; }"#,
    );
    let arguments = ["check", "--file", "my ci.nix", "--argstr", "word", "it-s", "--arg", "n", "1 + 1"];
    all_work(&project, &arguments, project.folder(), 3);
    project.write("thrown.nix", r#"{ a = throw "it goes wrong"; }"#);
    all_work(&project, &["check", "--file", "thrown.nix"], project.folder(), 1);
    let history = project.esker(&["history", "bad", "--file", "my ci.nix"]).run();
    assert!(history.code == 0 && history.stdout.contains("failed"), "{history}");
}

fn any_name_is_understood(nix: &Nix) {
    for name in ["a.b", r#"a\"b"#, "--help", "a b", r"a\\", "${x}", "", "*", "a\\nb", "packages", "it's"] {
        let name = name.replace('$', "\\$");
        let project =
            Project::with_checks(nix, &format!(r#""{name}" = lib.fails "x"; other = lib.passes "y";"#));
        all_work(&project, &["check"], project.folder(), 3);
    }
}

fn jobs_of_another_output_are_named_by_their_path(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs(
        r#"checks.@system@.a = lib.passes "a"; packages.@system@.a = lib.fails "a";
           hydraJobs.set.a = lib.fails "set";"#,
    );
    all_work(&project, &["check", ".#packages"], project.folder(), 3);
    all_work(&project, &["check", "--attr", "hydraJobs"], project.folder(), 3);
}

fn a_trace_is_shown_where_it_is_promised(nix: &Nix) {
    let project = Project::with_checks(nix, r#"thrown = throw "it goes wrong";"#);
    let told = project.esker(&["check"]).run();
    let [command] = suggested(&told).try_into().unwrap();
    assert_eq!(command, "esker check -v --attr thrown");
    let again = paste(&project, &command, project.folder());
    assert!(
        again.stderr.contains("while evaluating the attribute 'thrown'") || again.stderr.contains("throw")
    );
    assert!(again.stderr.contains("\ntrace: "), "{again}");
    assert!(!again.stderr.contains("esker-evaluate.nix"), "{again}");
}

on_each_nix! {
    a_flake_elsewhere_is_named,
    a_file_and_its_arguments_are_named,
    any_name_is_understood,
    jobs_of_another_output_are_named_by_their_path,
    a_trace_is_shown_where_it_is_promised,
}
