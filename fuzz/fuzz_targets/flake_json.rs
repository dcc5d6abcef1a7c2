//! The JSON that Nix prints: a flake's metadata and lock file, grafted into ours, and its settings.
//! The first byte tells which; metadata and a lock file to compare with are parted by a NUL.
//!
//! A shell takes the place of Nix and prints the bytes. So this is far slower than the others.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use esker_nix::flake::Flake;
use esker_nix::sandbox;
use esker_nix::tool::Nix;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// One for all inputs: making it costs more than reading it.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("there is room for a folder"));

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (answer, lock) = (FOLDER.path().join("answer"), FOLDER.path().join("lock"));
    if which % 4 == 0 {
        // `builders` may name a file, and not every file ends.
        if bytes.contains(&b'@') {
            return;
        }
        fs::write(&answer, bytes).unwrap();
        if let Ok(settings) = nix(&answer).load_settings() {
            let nix = sandbox::configure(nix(&answer), &settings, None);
            assert!(nix.options().iter().any(|(name, _)| name == "sandbox"));
        }
        return;
    }
    let (metadata, reference) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    fs::write(&answer, metadata).unwrap();
    fs::write(&lock, reference).unwrap();
    let mut arguments = vec!["--no-write-lock-file".to_owned()];
    if which % 4 == 1 {
        arguments.extend(["--reference-lock-file".to_owned(), lock.to_str().unwrap().to_owned()]);
    }
    if let Ok(flake) = Flake::load(&nix(&answer), "path:/fuzz", &arguments) {
        let grafted = flake.lock_file_as_input("target");
        let root = grafted["root"].as_str().unwrap();
        let own = grafted["nodes"][root]["inputs"]["target"].as_str().unwrap();
        assert!(grafted["nodes"][own]["locked"].is_object());
        let _ = (flake.as_input(), flake.own_source(), flake.store_folder());
    }
});

/// A "Nix" that prints what is in a file.
fn nix(answer: &Path) -> Nix {
    let answer = answer.to_str().unwrap().to_owned();
    let guard = ["/bin/sh", "-c", "exec cat \"$0\""].map(str::to_owned).into_iter().chain([answer]);
    Nix::find().expect("a `nix` is on PATH, though it is not started").with_guard(guard.collect())
}
