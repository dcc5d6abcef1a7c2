//! `esker.toml`: what a repository says about its own check.
//!
//! Everything here can change a verdict, so it travels with the commit. Grants of power, secrets and
//! limits that protect a machine are never read from it. The file lies beside `flake.nix`, or at the
//! top of the repository if it names a `flake_dir`:
//!
//! ```toml
//! attribute = "checks"                    # attribute path of the jobs
//! systems = ["x86_64-linux"]              # default: the system of the machine that checks
//! include = ["unit-*"]                    # globs over short job names; default: all
//! exclude = ["*-slow"]
//! flake_dir = "."                         # folder of the flake, relative to this file
//! lock_file = "flake.lock"                # lock file to use, relative to this file
//!
//! [limits]
//! timeout = "3h"                          # of one build; seconds, or "90s", "20m", "3h", "1d"
//! max_silent_time = "20m"                 # of one build without a line of log
//! evaluation_timeout = 600                # of one attribute
//! evaluation_memory = "4GiB"              # of all evaluators together; bytes, or "512MiB", "4GiB"
//! ```
//!
//! Without it, `nixbot.toml` and then `buildbot-nix.toml` are read for the keys that mean the same
//! there (`attribute`, `flake_dir`, `lock_file`; these formats are documented by those projects'
//! READMEs). Their other keys steer things Esker does not do from a file, and are passed over.
//!
//! Invariant: an invalid file is an error, never the defaults: a typing error must not turn a check
//! that would fail into one that passes.
//!
//! Invariant: the file is a stranger's. No text panics, and no path in it leads out of the repository.

mod decode;
mod error;
mod inside;
mod quantity;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, Place};
pub use quantity::{QuantityError, parse_bytes, parse_duration};

/// The most bytes a configuration file may have.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What a repository asks for, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `attribute`: attribute path of the jobs, as Nix writes it. Not empty; [`esker_nix::attr_path::AttrPath`] can parse it.
    pub attribute: String,
    /// `systems`: which systems' jobs to check, e.g. `x86_64-linux`. Empty: not said.
    pub systems: Vec<String>,
    /// `include`: valid globs over short job names, of which one must match. Empty: all jobs.
    pub include: Vec<String>,
    /// `exclude`: valid globs over short job names; a job that matches one is left out.
    pub exclude: Vec<String>,
    /// `flake_dir`: the folder with `flake.nix`, relative to that of the file and without `..`.
    /// [`Config::flake_folder`] follows it safely.
    pub flake_dir: PathBuf,
    /// `lock_file`: `flake.lock` (the flake's own), or another file relative to that of the
    /// configuration and without `..`. [`Config::reference_lock_file`] follows it safely.
    pub lock_file: PathBuf,
    /// `[limits]`.
    pub limits: Limits,
}

/// The table `[limits]`. `None`: not said, the caller's default holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `timeout`: how long one build may take. From 1 second to 30 days, as all of these.
    pub timeout: Option<Duration>,
    /// `max_silent_time`: how long one build may print nothing.
    pub max_silent_time: Option<Duration>,
    /// `evaluation_timeout`: how long the evaluation of one attribute may take.
    pub evaluation_timeout: Option<Duration>,
    /// `evaluation_memory`: bytes that all evaluators together may use, from 64 MiB to 64 TiB.
    pub evaluation_memory: Option<u64>,
}

/// The files that are looked for. The order of the variants is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigFile {
    /// `esker.toml`.
    Esker,
    /// `nixbot.toml`, of the CI of that name.
    Nixbot,
    /// `buildbot-nix.toml`, of the CI of that name.
    BuildbotNix,
}

/// Where a [`Config`] came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOrigin {
    /// There is no file.
    Defaults,
    /// A file was read.
    File {
        /// Which of them.
        file: ConfigFile,
        /// The keys that were taken from it, in the order of the file, e.g. `limits.timeout`.
        keys: Vec<String>,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            attribute: "checks".into(),
            systems: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            flake_dir: PathBuf::from("."),
            lock_file: PathBuf::from(OWN_LOCK_FILE),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads the first configuration file that exists in `dir`; without one, the defaults.
    ///
    /// # Errors
    /// The file that exists first is unreadable, not a regular file inside `dir`, too large, or wrong.
    pub fn load(dir: &Path) -> Result<(Self, ConfigOrigin), ConfigError> {
        for file in ConfigFile::ALL {
            if let Some(text) = inside::load_text(dir, file)? {
                let (config, keys) = decode::config(&text, file)?;
                return Ok((config, ConfigOrigin::File { file, keys }));
            }
        }
        Ok((Self::default(), ConfigOrigin::Defaults))
    }

    /// Reads `text` as the content of `file`.
    ///
    /// # Errors
    /// `text` is not TOML, or has a key or a value that cannot be meant.
    pub fn parse(text: &str, file: ConfigFile) -> Result<Self, ConfigError> {
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge { path: file.name().into() });
        }
        decode::config(text, file).map(|(config, _)| config)
    }

    /// The folder of the flake, when the configuration lies in `root`. Absolute, symlinks resolved.
    ///
    /// # Errors
    /// It does not exist, or leads out of `root` through a symlink.
    pub fn flake_folder(&self, root: &Path) -> Result<PathBuf, ConfigError> {
        inside::resolve(root, &self.flake_dir, "flake_dir")
    }

    /// The lock file for Nix's `--reference-lock-file`, when the configuration lies in `root`.
    /// Absolute, symlinks resolved. `None`: the flake's own `flake.lock`, nothing to pass.
    ///
    /// # Errors
    /// It does not exist, or leads out of `root` through a symlink.
    pub fn reference_lock_file(&self, root: &Path) -> Result<Option<PathBuf>, ConfigError> {
        if self.lock_file == Path::new(OWN_LOCK_FILE) {
            return Ok(None);
        }
        inside::resolve(root, &self.lock_file, "lock_file").map(Some)
    }
}

impl ConfigFile {
    /// All of them, the preferred first.
    pub const ALL: [Self; 3] = [Self::Esker, Self::Nixbot, Self::BuildbotNix];

    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Esker => "esker.toml",
            Self::Nixbot => "nixbot.toml",
            Self::BuildbotNix => "buildbot-nix.toml",
        }
    }
}

impl ConfigOrigin {
    /// One line for the person at the keyboard, if it may surprise: another tool's file was used.
    pub fn notice(&self) -> Option<String> {
        let Self::File { file: file @ (ConfigFile::Nixbot | ConfigFile::BuildbotNix), keys } = self else {
            return None;
        };
        if keys.is_empty() {
            return None;
        }
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        Some(format!("no `esker.toml` here: {} taken from `{}`", keys.join(" and "), file.name()))
    }
}

/// Where Nix itself looks.
const OWN_LOCK_FILE: &str = "flake.lock";
