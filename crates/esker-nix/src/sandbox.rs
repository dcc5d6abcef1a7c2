//! The sandbox that Nix builds in, set explicitly so that it is the same with every version.
//!
//! Nix users expect `/bin/sh` to exist. Debian's Nix 2.8 provides none, its 2.34 wants a file that
//! may be missing (and then every build fails), NixOS has a busybox in the store.

use std::path::{Path, PathBuf};

use crate::tool::{Nix, Settings};

/// Programs that can be `/bin/sh` without anything else in the sandbox.
const SHELLS: [&str; 5] =
    ["/usr/lib/esker/sh", "/bin/busybox", "/usr/bin/busybox", "/usr/bin/bash-static", "/bin/bash-static"];

/// What `/bin/sh` shall be: what Nix is configured to take, if it is there, else a static shell of
/// this machine.
pub fn shell(settings: &Settings) -> Option<PathBuf> {
    let configured = settings.sandbox_paths.iter().filter_map(|path| path.strip_prefix("/bin/sh="));
    let configured =
        configured.map(|path| PathBuf::from(path.trim_end_matches('?'))).find(|path| path.exists());
    configured.or_else(|| SHELLS.iter().map(PathBuf::from).find(|path| is_static(path)))
}

/// Adds the settings to a Nix that trusts us. The user's own `--option sandbox …` stays.
#[must_use]
pub fn configure(nix: Nix, settings: &Settings, shell: Option<&Path>) -> Nix {
    let given = |name: &str| nix.options().iter().any(|(option, _)| option == name);
    let (sandbox, paths) = (given("sandbox"), given("sandbox-paths"));
    let mut nix = nix;
    if !sandbox && cfg!(target_os = "linux") {
        nix = nix.with_option("sandbox", "true").with_option("sandbox-fallback", "false");
    }
    if !paths && cfg!(target_os = "linux") {
        let others = settings.sandbox_paths.iter().filter(|path| !is_bin_sh(path)).cloned();
        let ours = shell.map(|shell| format!("/bin/sh={}", shell.display()));
        let all: Vec<String> = ours.into_iter().chain(others).collect();
        nix = nix.with_option("sandbox-paths", &all.join(" "));
    }
    nix
}

fn is_bin_sh(path: &str) -> bool {
    path == "/bin/sh" || path.starts_with("/bin/sh=")
}

/// Whether it is an ELF program without an interpreter (source: the ELF-64 specification).
fn is_static(path: &Path) -> bool {
    const PROGRAM_INTERPRETER: u32 = 3;
    let Some(header) = read_start(path, 4096) else { return false };
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = header.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let interpreter = || -> Option<bool> {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let kinds = (0..count).map(|index| number(usize::try_from(start + index * size).ok()?, 4));
        Some(kinds.collect::<Option<Vec<u64>>>()?.contains(&u64::from(PROGRAM_INTERPRETER)))
    };
    header.starts_with(b"\x7fELF\x02") && interpreter() == Some(false)
}

fn read_start(path: &Path, count: u64) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(count).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_shell_that_is_missing_is_not_taken() {
        let settings =
            Settings { sandbox_paths: vec!["/bin/sh=/does/not/exist".into()], ..Settings::default() };
        assert_ne!(shell(&settings), Some(PathBuf::from("/does/not/exist")));
    }

    #[test]
    fn a_dynamic_program_is_no_sandbox_shell() {
        assert!(!is_static(Path::new("/proc/self/exe")) || cfg!(target_env = "musl"));
        assert!(!is_static(Path::new("/etc/passwd")));
    }
}
