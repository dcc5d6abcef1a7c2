//! Keeps the tree tidy: the rules that neither the compiler nor clippy knows.
//!
//! Each rule collects everything that breaks it, so that one run shows all there is to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which crate of ours may use which. A new arrow is a decision: it belongs into
/// `ARCHITECTURE.md`, with its reason, and then here.
const ARROWS: &[(&str, &[&str])] = &[
    ("esker-nix", &[]),
    ("esker-trace", &[]),
    ("esker-forge", &[]),
    ("esker-engine", &["esker-nix", "esker-trace"]),
    ("esker-server", &["esker-engine", "esker-forge", "esker-nix"]),
    ("esker", &["esker-engine", "esker-forge", "esker-nix", "esker-server", "esker-trace"]),
];

/// Licences of dependencies that may be shipped inside a program under Apache-2.0 or MIT.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const LONGEST_FILE: usize = 600;

#[test]
fn crates_use_only_what_the_design_draws() {
    let mut problems = Vec::new();
    for krate in our_crates() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == krate.name) else {
            problems.push(format!("`{}` is not in this test's table of crates", krate.name));
            continue;
        };
        for dependency in &krate.dependencies {
            if dependency.ours && !allowed.contains(&dependency.name.as_str()) {
                problems.push(format!("`{}` must not use `{}`", krate.name, dependency.name));
            }
        }
    }
    none(problems, "draw the arrow in ARCHITECTURE.md with its reason, or do without it");
}

#[test]
fn licences_of_dependencies_let_us_ship_them() {
    let mut problems = Vec::new();
    for package in array(&metadata()["packages"]) {
        let name = text(&package["name"]);
        match package["license"].as_str() {
            Some(licence) if licence_allowed(licence) => {}
            Some(licence) => problems.push(format!("`{name}` is under `{licence}`")),
            None => problems.push(format!("`{name}` names no licence")),
        }
    }
    none(problems, "use another crate; or, when the licence fits Apache-2.0 OR MIT, allow it here");
}

#[test]
fn licence_expressions_are_understood() {
    for allowed in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(licence_allowed(allowed), "{allowed}");
    }
    for refused in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR GPL-3.0) AND MIT", "MIT MIT", ""] {
        assert!(!licence_allowed(refused), "{refused}");
    }
}

#[test]
fn every_declared_dependency_is_used() {
    let mut problems = Vec::new();
    for krate in our_crates() {
        let sources: String = rust_files(&krate.folder).iter().map(|file| read(file)).collect();
        let words: BTreeSet<&str> = sources
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .collect();
        for dependency in krate.dependencies {
            if !words.contains(dependency.name.replace('-', "_").as_str()) {
                problems.push(format!("`{}` declares `{}` and never uses it", krate.name, dependency.name));
            }
        }
    }
    none(problems, "remove it from that crate's Cargo.toml");
}

#[test]
fn every_workspace_dependency_has_a_crate_that_wants_it() {
    let crates = our_crates();
    let used: BTreeSet<&str> = crates
        .iter()
        .flat_map(|krate| &krate.dependencies)
        .map(|dependency| dependency.name.as_str())
        .collect();
    let problems = read(&root().join("Cargo.toml"))
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()))
        .filter(|name| !name.starts_with('#') && !used.contains(name))
        .map(|name| format!("no crate uses `{name}` of [workspace.dependencies]"))
        .collect();
    none(problems, "remove it from Cargo.toml");
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let problems = all_rust_files()
        .into_iter()
        .filter(|file| !read(file).starts_with("//!"))
        .map(|file| format!("{} does not start with `//!`", shown(&file)))
        .collect();
    none(problems, "its first line says what the file is for");
}

#[test]
fn no_file_is_too_long_to_read_in_one_sitting() {
    let problems = all_rust_files()
        .into_iter()
        .filter(|file| {
            !file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
        })
        .map(|file| (lines_before_tests(&read(&file)), file))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, file)| format!("{} has {lines} lines, without its tests", shown(&file)))
        .collect();
    none(problems, "look for the seam: a file holds one idea, in 100 to 300 lines");
}

#[test]
fn nothing_is_left_for_later_in_a_comment() {
    // In two parts, since this file is read as well.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut problems = Vec::new();
    for file in files(&root(), &["rs", "nix", "sh", "py", "toml"]) {
        for (number, line) in read(&file).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                problems.push(format!("{}:{}: {}", shown(&file), number + 1, line.trim()));
            }
        }
    }
    none(problems, "do it now, or write an issue");
}

/// A crate of this workspace.
struct Crate {
    name: String,
    folder: PathBuf,
    dependencies: Vec<Dependency>,
}

/// A line of a crate's `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
struct Dependency {
    name: String,
    ours: bool,
}

fn our_crates() -> Vec<Crate> {
    let metadata = metadata();
    let members = array(&metadata["workspace_members"]);
    array(&metadata["packages"])
        .iter()
        .filter(|package| members.contains(&package["id"]))
        .map(|package| Crate {
            name: text(&package["name"]).to_owned(),
            folder: Path::new(text(&package["manifest_path"]))
                .parent()
                .expect("a file has a folder")
                .to_owned(),
            dependencies: array(&package["dependencies"])
                .iter()
                .map(|dependency| Dependency {
                    name: text(&dependency["name"]).to_owned(),
                    ours: !dependency["path"].is_null(),
                })
                .collect(),
        })
        .collect()
}

/// What cargo knows of this workspace and of everything that it is built from on Linux.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// Whether an SPDX expression can be met with allowed licences. `/` is an old way to write `OR`.
fn licence_allowed(expression: &str) -> bool {
    let spaced =
        expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "\0");
    let mut tokens = spaced.split_whitespace().peekable();
    let allowed = any_of(&mut tokens);
    allowed && tokens.next().is_none()
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(tokens: &mut Tokens<'_>) -> bool {
    let mut allowed = all_of(tokens);
    while tokens.next_if_eq(&"OR").is_some() {
        let other = all_of(tokens);
        allowed |= other;
    }
    allowed
}

fn all_of(tokens: &mut Tokens<'_>) -> bool {
    let mut allowed = one(tokens);
    while tokens.next_if_eq(&"AND").is_some() {
        allowed &= one(tokens);
    }
    allowed
}

fn one(tokens: &mut Tokens<'_>) -> bool {
    match tokens.next() {
        Some("(") => {
            let allowed = any_of(tokens);
            allowed && tokens.next() == Some(")")
        }
        Some(name) => LICENCES.contains(&name.replace('\0', " WITH ").as_str()),
        None => false,
    }
}

/// Lines of a file up to its module of tests.
fn lines_before_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "))
        .unwrap_or(lines.len())
}

fn all_rust_files() -> Vec<PathBuf> {
    rust_files(&root())
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files(folder, &["rs"])
}

/// Files below a folder whose name ends in one of `extensions`, hidden and generated ones aside.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the source can be read") {
        let entry = entry.expect("a folder of the source can be read");
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let kind = entry.file_type().expect("a file has a type");
        if name.starts_with('.') || name == "target" || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            found.extend(files(&path, extensions));
        } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn none(problems: Vec<String>, hint: &str) {
    assert!(problems.is_empty(), "\n  {}\nhint: {hint}\n", problems.join("\n  "));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace exists")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has the documented form")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has the documented form")
}
