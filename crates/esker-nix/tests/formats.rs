//! Our formats against a real Nix. Each test is empty where there is no store or no Nix.

#![expect(clippy::unwrap_used, reason = "tests, where clippy knows only the annotated functions as such")]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use esker_nix::StorePath;
use esker_nix::derivation::Derivation;
use esker_nix::hash::Hash;
use esker_nix::nar;
use esker_nix::store_path::STORE_DIR;

#[test]
fn each_derivation_in_the_store_prints_as_it_was_read() {
    for path in derivations() {
        let bytes = fs::read(&path).unwrap();
        match Derivation::from_aterm(&bytes) {
            Ok(derivation) => assert!(derivation.to_aterm() == bytes, "{path}"),
            Err(error) => panic!("{path}: {error}"),
        }
    }
}

#[test]
fn paths_are_computed_as_nix_did() {
    let mut known = HashMap::new();
    for path in derivations() {
        if let Some(derivation) = read(&path) {
            check_paths(&path, &derivation, &mut known);
        }
    }
}

#[test]
fn what_nix_instantiates_is_read_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("local?root={}", folder.path().display());
    let arguments = ["--store", &store, "--expr", EVERY_KIND_OF_DERIVATION];
    let features = ["--option", "experimental-features", "ca-derivations impure-derivations"];
    let Some(output) = nix("nix-instantiate", &[&arguments[..], &features].concat()) else { return };
    let printed = String::from_utf8(output).unwrap();
    assert_eq!(printed.lines().count(), 5);
    for entry in fs::read_dir(folder.path().join(STORE_DIR.trim_start_matches('/'))).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".drv") {
            let bytes = fs::read(entry.path()).unwrap();
            let derivation = Derivation::from_aterm(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(derivation.to_aterm() == bytes, "{name}");
            assert_eq!(derivation.store_path(&name[33..name.len() - 4]).unwrap().base_name(), name);
            derivation.options().unwrap();
        }
    }
}

const EVERY_KIND_OF_DERIVATION: &str = r#"
let
  make = attributes: derivation ({ system = "x86_64-linux"; builder = "/bin/sh"; } // attributes);
  source = builtins.toFile "source" "text";
  fixed = make {
    name = "fixed"; outputHashMode = "flat"; outputHashAlgo = "sha1";
    outputHash = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
  };
  floating = make {
    name = "floating"; __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
  };
in [
  (make {
    name = "plain"; outputs = [ "out" "dev" ]; inherit source fixed;
    args = [ "-c" "echo \"tab\t, line\n, return\r, backslash \\ and ümlaut\"" ];
  })
  floating
  (make { name = "deferred"; input = floating; })
  (make {
    name = "impure"; __impure = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
  })
  (make { name = "structured"; __structuredAttrs = true; list = [ 1 "a\"" ]; requiredSystemFeatures = [ "kvm" ]; })
]
"#;

#[test]
fn an_archive_is_what_nix_dumps() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    make_tree(&tree);
    let path = tree.to_str().unwrap();
    let Some(expected) = nix("nix-store", &["--dump", path]) else { return };
    let mut dumped = Vec::new();
    nar::dump(&tree, &mut dumped).unwrap();
    assert!(dumped == expected);

    let Some(printed) = nix("nix-hash", &["--type", "sha256", "--base32", path]) else { return };
    let (hash, size) = nar::hash(&tree).unwrap();
    assert_eq!(
        (hash.to_nix32(), size),
        (String::from_utf8(printed).unwrap().trim().to_owned(), dumped.len() as u64)
    );

    let restored = folder.path().join("restored");
    nar::restore(expected.as_slice(), &restored).unwrap();
    assert_eq!(nar::hash(&restored).unwrap(), (hash, size));
}

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("folder/empty")).unwrap();
    fs::write(root.join("folder/file"), "12345678").unwrap();
    fs::write(root.join("folder.with-dot"), vec![7; 200_001]).unwrap();
    fs::write(root.join("ünï\n"), "x").unwrap();
    fs::write(root.join("Upper"), "").unwrap();
    fs::write(root.join("run"), "#!/bin/sh").unwrap();
    fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("folder/nowhere", root.join("link")).unwrap();
}

/// What a Nix command prints; `None` where there is no Nix.
fn nix(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new(program).args(arguments).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn check_paths(path: &StorePath, derivation: &Derivation, known: &mut HashMap<StorePath, Option<Hash>>) {
    let name = path.name().strip_suffix(".drv").unwrap();
    assert_eq!(derivation.store_path(name).as_ref(), Ok(path));
    if !derivation.has_known_output_paths() {
        return;
    }
    for input in derivation.input_derivations.keys() {
        hash_modulo(input, known);
    }
    let hashes = |input: &StorePath| known[input];
    // An input was deleted from the store, or has outputs whose paths are unknown.
    let Ok(computed) = derivation.compute_output_paths(name, hashes) else { return };
    for (output, path) in computed {
        assert_eq!(derivation.outputs[&output].path(), Some(&path));
    }
}

fn hash_modulo(path: &StorePath, known: &mut HashMap<StorePath, Option<Hash>>) {
    if known.contains_key(path) {
        return;
    }
    let hash = read(path).and_then(|derivation| {
        for input in derivation.input_derivations.keys() {
            hash_modulo(input, known);
        }
        derivation.hash_modulo(|input| known[input]).ok()
    });
    known.insert(path.clone(), hash);
}

fn read(path: &StorePath) -> Option<Derivation> {
    Some(Derivation::from_aterm(&fs::read(path).ok()?).unwrap())
}

/// Those of this machine's store; of a store that has very many, some.
fn derivations() -> Vec<StorePath> {
    let Ok(entries) = fs::read_dir(STORE_DIR) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let derivations = paths.filter(|path| path.extension().is_some_and(|extension| extension == "drv"));
    let parse = |path: PathBuf| path.to_str().and_then(|path| path.parse().ok());
    derivations.filter_map(parse).take(5_000).collect()
}
