//! Flakes that cannot be read: not allowed, no files, no text, no lock file.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use story::{Nix, Project, on_each_nix, told::Told};

/// One clear sentence, one of the codes that do not blame the machine, and nothing worse.
fn refused(told: &Told, codes: &[i32], says: &[&str]) {
    assert!(codes.contains(&told.code), "{told}");
    assert!(told.stderr.starts_with("error: "), "{told}");
    for text in says {
        assert!(told.stderr.contains(text), "`{text}` is missing\n{told}");
    }
    assert!(!told.stderr.contains("panicked") && !told.stderr.contains("-source/"), "{told}");
    assert!(told.stderr.chars().all(|c| c == '\n' || !c.is_control()), "{told}");
    assert!(told.stderr.lines().count() <= 2 && told.stderr.len() < 1000, "{told}");
}

/// In a plain folder and in a git tree.
fn in_both(nix: &Nix, spoil: impl Fn(&Project), codes: &[i32], says: &[&str]) {
    for git in [false, true] {
        let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
        if git {
            project.commit();
        }
        spoil(&project);
        if git {
            project.git(&["add", "--all"]);
        }
        refused(&project.check(&[]), codes, says);
    }
}

fn what_may_not_be_read_is_named(nix: &Nix) {
    let forbid = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
    for git in [false, true] {
        for file in ["flake.nix", "lib.nix"] {
            let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
            if git {
                project.commit();
                // So that git has to look.
                project.write(file, "{ }");
            }
            forbid(&project.folder().join(file));
            refused(
                &check_as_owner(&project, &["check", "--json"], project.folder()),
                &[2],
                &["ermission denied", file],
            );
        }
    }
    // The folder itself. One cannot stand in it; so it is named.
    let project = Project::with_checks(nix, r#"a = lib.passes "a";"#);
    let folder = project.folder();
    forbid(folder);
    let arguments = ["check", "--json", folder.to_str().unwrap()];
    refused(&check_as_owner(&project, &arguments, &project.home()), &[2], &["ermission denied", "/project"]);
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

/// Without the rights over files that root has besides those of their owner.
fn check_as_owner(project: &Project, arguments: &[&str], folder: &Path) -> Told {
    let esker = project.esker(arguments).at(folder);
    let without = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
    if rustix::process::geteuid().is_root() { esker.through(&without).run() } else { esker.run() }
}

/// Puts something in the place of a file.
type Make = dyn Fn(&Path);

fn a_flake_that_is_no_file_is_refused(nix: &Nix) {
    let folder = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::write(path.join("default.nix"), "{ }").unwrap();
    };
    let dangling = |path: &Path| symlink("nowhere.nix", path).unwrap();
    let circle = |path: &Path| symlink("flake.nix", path).unwrap();
    let outside = |path: &Path| {
        fs::copy(path.with_file_name("lib.nix"), path.with_file_name("../outside.nix")).unwrap();
        symlink("../outside.nix", path).unwrap();
    };
    let cases: [(&Make, &str); 4] = [
        (&folder, "lacks attribute 'outputs'"),
        (&dangling, "nowhere.nix"),
        (&circle, "symlink"),
        (&outside, ""),
    ];
    for (make, says) in cases {
        let spoil = |project: &Project| {
            let path = project.folder().join("flake.nix");
            fs::remove_file(&path).unwrap();
            make(&path);
        };
        // Nix 2.34 has another word.
        let says = if says == "symlink" && nix.is_at_least(2, 9) { "symbolic links" } else { says };
        in_both(nix, spoil, &[1, 2], &[says]);
    }
}

fn a_flake_that_is_no_text_is_refused(nix: &Nix) {
    let noise: Vec<u8> = (0..4096_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let texts: [&[u8]; 6] =
        [b"", b"\0\0\0", b"\xff\xfe{\0}\0", b"{ outputs = \xc3\x28; }", b"\x1b[2J\x1b]0;title\x07", &noise];
    for text in texts {
        let write = |project: &Project| fs::write(project.folder().join("flake.nix"), text).unwrap();
        in_both(nix, write, &[1], &["syntax error", "flake.nix:1:"]);
    }
}

fn a_lock_file_that_is_none_is_refused(nix: &Nix) {
    let deep = "[".repeat(100_000);
    let texts = [
        ("", "parse error"),
        ("garbage", "parse error"),
        (&deep, "parse error"),
        ("[]", "json"),
        (r#"{"version":99}"#, "unsupported version 99"),
        (
            r#"{"nodes":{"root":{"inputs":{"x":"nowhere"}}},"root":"root","version":7}"#,
            "missing node 'nowhere'",
        ),
    ];
    for (text, says) in texts {
        let write = |project: &Project| fs::write(project.folder().join("flake.lock"), text).unwrap();
        in_both(nix, write, &[1, 2], &[says]);
    }
    let folder = |project: &Project| {
        fs::create_dir(project.folder().join("flake.lock")).unwrap();
        fs::write(project.folder().join("flake.lock/x"), "").unwrap();
    };
    in_both(nix, folder, &[1, 2], &["Is a directory"]);
    let dangling = |project: &Project| symlink("nowhere", project.folder().join("flake.lock")).unwrap();
    in_both(nix, dangling, &[1, 2], &["flake.lock"]);
}

on_each_nix! {
    what_may_not_be_read_is_named,
    a_flake_that_is_no_file_is_refused,
    a_flake_that_is_no_text_is_refused,
    a_lock_file_that_is_none_is_refused,
}
