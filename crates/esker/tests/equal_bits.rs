//! A build that is observed leaves the same bits as Nix's own build in its sandbox.

#![expect(clippy::unwrap_used, reason = "tests")]

mod judged;
mod story;

use std::fs;
use std::path::Path;

use judged::{drvs, judge, reason, reuse};
use story::{Nix, Project, on_each_nix};

/// These may differ from Nix's builds, for a reason told in `docs/src/tracing-exceptions.md`.
const EXCEPTION: &str = "exception-";

/// Perl and Python of this machine, as inputs: programs, the libraries they need, and some modules.
fn give_interpreters(project: &Project) {
    const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
    let given = [
        ("perl", "/usr/bin/perl", "/usr/lib/x86_64-linux-gnu/perl-base"),
        ("python", "/usr/bin/python3", "/usr/lib/python3.11"),
    ];
    for (name, program, modules) in given {
        if !Path::new(program).exists() || !Path::new(modules).exists() {
            eprintln!("SKIPPED: no {name} here that could be an input");
            continue;
        }
        let folder = project.folder().join("interpreters").join(name);
        for part in ["bin", "lib"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        fs::copy(program, folder.join("bin").join(name)).unwrap();
        for library in ["libc.so.6", "libm.so.6", "libcrypt.so.1", "libz.so.1", "libexpat.so.1"] {
            fs::copy(Path::new(LIBRARIES).join(library), folder.join("lib").join(library)).unwrap();
        }
        fs::copy("/lib64/ld-linux-x86-64.so.2", folder.join("lib/ld.so")).unwrap();
        let tests = |name: &str| matches!(name, "test" | "__pycache__" | "lib-dynload" | "site-packages");
        copy_but(Path::new(modules), &folder.join("modules"), &tests);
    }
}

/// Copies the files of a tree, without folders and links of some names.
fn copy_but(from: &Path, to: &Path, skipped: &dyn Fn(&str) -> bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, name) = (entry.file_type().unwrap(), entry.file_name());
        if kind.is_file() {
            fs::copy(entry.path(), to.join(&name)).unwrap();
        } else if kind.is_dir() && !skipped(&name.to_string_lossy()) {
            copy_but(&entry.path(), &to.join(name), skipped);
        }
    }
}

fn every_kind_of_output_is_that_of_nix(nix: &Nix) {
    let Some(project) = judged::project(nix, "equal") else { return };
    give_interpreters(&project);
    let told = reuse(&project);
    let jobs = drvs(&told);
    assert!(jobs.len() >= 45, "{} jobs", jobs.len());
    for (job, drv) in &jobs {
        assert_eq!(
            (told.outcome(job)["outcome"].as_str(), reason(&told, drv)),
            (Some("built"), "never"),
            "{job}"
        );
    }
    let all: Vec<String> = jobs.iter().map(|(_, drv)| drv.clone()).collect();
    let wrong = judge(&project, &told, &all);
    let differing: Vec<&str> =
        jobs.iter().filter(|(_, drv)| wrong.contains(drv)).map(|(job, _)| job.as_str()).collect();
    eprintln!("{} derivations, of which {} differ: {differing:?}", jobs.len(), differing.len());
    assert!(differing.iter().all(|job| job.starts_with(EXCEPTION)), "{differing:?}");
}

on_each_nix! { every_kind_of_output_is_that_of_nix }

/// The toolchain's whole graph above its fixed-output derivations, under other names, so that it really
/// is built.
fn the_toolchain_is_that_of_nix(nix: &Nix) {
    let Some(project) = judged::project(nix, "graph") else { return };
    let toolchain = fs::read_to_string(project.folder().join("toolchain/default.nix")).unwrap();
    let salted =
        toolchain.replace(r#"{ system ? "x86_64-linux","#, r#"{ salt, system ? "x86_64-linux","#).replace(
            "SOURCE_DATE_EPOCH = \"1\";\n  } // attrs);",
            "SOURCE_DATE_EPOCH = \"1\"; inherit salt;\n  } // attrs);",
        );
    fs::write(project.folder().join("toolchain/salted.nix"), salted).unwrap();
    let told = reuse(&project);
    for (job, drv) in drvs(&told) {
        assert_eq!(
            (told.outcome(&job)["outcome"].as_str(), reason(&told, &drv)),
            (Some("built"), "never"),
            "{job}"
        );
        assert!(judge(&project, &told, &[drv]).is_empty(), "{job}");
    }
}

mod the_toolchain {
    #[test]
    #[ignore = "takes minutes: make soak"]
    fn old_nix() {
        crate::story::tell(crate::story::Which::Old, super::the_toolchain_is_that_of_nix);
    }

    #[test]
    #[ignore = "takes minutes: make soak"]
    fn new_nix() {
        crate::story::tell(crate::story::Which::New, super::the_toolchain_is_that_of_nix);
    }
}
