//! On GitHub each error stands beside the code that it is about, as the repository names it.

mod story;

use std::path::Path;

use story::told::Told;
use story::{Nix, Project, on_each_nix};

/// `esker` on GitHub with this workspace, run in a folder of it.
fn on_github(project: &Project, workspace: &Path, folder: &str, arguments: &[&str]) -> Told {
    let esker = project.esker(arguments).at(&workspace.join(folder));
    esker.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", workspace).run()
}

/// The beginnings of all annotations, up to the line's number.
fn annotations(told: &Told) -> Vec<&str> {
    let commands = told.stderr.lines().filter_map(|line| line.strip_prefix("::error "));
    commands.map(|command| command.split(",col=").next().unwrap_or(command)).collect()
}

/// In `sub/flake`, with a flake above that is none of its business.
fn project_with(nix: &Nix, flake: &str) -> Project {
    let project = Project::new(nix);
    project.write("sub/flake/flake.nix", flake);
    project.write("sub/flake/other.nix", "1 + ;");
    project
}

const A_JOB: &str = "{ outputs = _: { checks.@system@ = {\na = throw \"no\"; }; }; }";
const NONE: &str = "{ outputs = _:\n{ checks.@system@ = throw \"::error::no\\n::stop-commands::x\"; }; }";
const SYNTAX: &str = "{\n outputs = _: { ; }; }";

fn a_position_is_one_of_the_repository(nix: &Nix) {
    for (flake, line) in [(A_JOB, 2), (NONE, 2), (SYNTAX, 2)] {
        let project = project_with(nix, flake);
        let expected = [format!("file=sub/flake/flake.nix,line={line}")];
        let check = |arguments: &[&str]| {
            let told = on_github(&project, project.folder(), "sub/flake", arguments);
            assert_eq!(told.code, 1, "{told}");
            assert_eq!(annotations(&told), expected, "{arguments:?}\n{told}");
            assert!(!told.stderr.lines().any(|line| line.trim_start().starts_with("::stop")), "{told}");
        };
        check(&["check"]);
        check(&["check", "path:."]);
        project.commit();
        check(&["check", "path:."]);
        check(&["check"]);
        // The repository is not the workspace.
        let workspace = project.beside("");
        let told = on_github(&project, &workspace, "project/sub/flake", &["check", "path:."]);
        assert_eq!(annotations(&told), expected, "{told}");
    }
}

fn a_file_is_one_of_the_repository(nix: &Nix) {
    let project = project_with(nix, A_JOB);
    project.write("ci/def.nix", "{\n a = throw \"no\"; }");
    project.write("ci/whole.nix", "throw\n \"no\"");
    // Nix 2.8 does not know where the last one is.
    let last = nix.is_at_least(2, 9).then_some(("whole.nix", 1));
    for (file, line) in [("def.nix", 2), ("../sub/flake/other.nix", 1)].into_iter().chain(last) {
        let told = on_github(&project, project.folder(), "ci", &["check", "--file", file]);
        assert_eq!(told.code, 1, "{told}");
        let path =
            if file.starts_with('.') { "sub/flake/other.nix".to_owned() } else { format!("ci/{file}") };
        assert_eq!(annotations(&told), [format!("file={path},line={line}")], "{told}");
    }
}

fn what_has_no_place_is_told_without(nix: &Nix) {
    let project = Project::new(nix);
    project.write_outputs("");
    let told = on_github(&project, project.folder(), "", &["check"]);
    assert_eq!(told.code, 2, "{told}");
    assert!(told.stderr.contains("\n::error title=esker check::there is no attribute"), "{told}");
    let elsewhere = project.esker(&["check"]).run();
    assert!(!elsewhere.stderr.contains("::error"), "{elsewhere}");
}

on_each_nix! {
    a_position_is_one_of_the_repository,
    a_file_is_one_of_the_repository,
    what_has_no_place_is_told_without,
}
