//! What every build of a run has in common, and what a builder can learn of it unobserved.

use std::path::PathBuf;
use std::time::Duration;

use esker_nix::hash::Hash;
use esker_trace::exec::AMBIENT;

/// What every build of this run has in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) system: String,
    /// The system features that it offers.
    pub(crate) features: Vec<String>,
    /// What is at `/bin/sh`.
    pub(crate) shell: Option<PathBuf>,
    pub(crate) cores: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) silence: Option<Duration>,
    pub(crate) keep_failed: bool,
}

/// What programs can learn without asking for an input: the shell, settings, kernel and processor.
pub(super) fn surroundings(machine: &Machine) -> std::io::Result<String> {
    let shell = machine.shell.as_deref().map(std::fs::read).transpose()?;
    let kernel = rustix::system::uname();
    let mut text = format!(
        "{}\n{}\n{}\n{}\n",
        Hash::sha256(shell.unwrap_or_default()).to_base16(),
        machine.cores,
        // Told by sockets and `/proc/net`.
        std::path::Path::new("/proc/net/if_inet6").exists(),
        kernel.release().to_string_lossy()
    );
    for path in AMBIENT {
        let content = std::fs::read(path).unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        let lasting = content.lines().filter(|line| !line.starts_with("cpu MHz"));
        text += &format!("{path}\n{}\n", lasting.collect::<Vec<_>>().join("\n"));
    }
    Ok(Hash::sha256(text).to_base16())
}
