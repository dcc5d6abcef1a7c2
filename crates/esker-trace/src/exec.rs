//! Runs one builder, watched, and says how it ended, what it saw and what it left.
//!
//! [`run`] is what a process of its own is for (`esker exec-traced`): it is told what to do by a
//! [`Spec`] on standard input, and answers with [`Ran`] on standard output, both JSON. The run ends
//! when that process does, whatever ends it, and that process when its parent does.

mod bytes;
mod placeholders;
mod supervise;
mod terminal;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::inputs::Inputs;
use crate::observation::Question;
pub use crate::observe::watch::AMBIENT;
pub use bytes::Bytes;
pub use placeholders::NoPlaceholders;
pub use supervise::{available, run};

/// What to run, and where.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// The program, as a path in the sandbox. Its first argument will be its base name, as with Nix.
    pub builder: Bytes,
    /// Further arguments.
    pub args: Vec<Bytes>,
    /// The whole environment.
    pub env: BTreeMap<Bytes, Bytes>,
    /// What it may see of the store. Questions are about these.
    pub inputs: Inputs,
    /// Hashes of inputs that are shown as their placeholders where an input holds them. Usually none; see
    /// [`Spec::with_placeholders`].
    pub renamed: BTreeSet<String>,
    /// Base names that it is to create in the store folder.
    pub outputs: Vec<String>,
    /// The store folder in the sandbox: `/nix/store`.
    pub store_dir: String,
    /// The build folder in the sandbox: `/build`.
    pub build_dir: String,
    /// Files to be in the build folder from the beginning.
    pub files: Vec<FileToPlace>,
    /// An empty folder on the host, owned by root. Everything of the run lies below it, and stays
    /// there: `build` is the build folder, `store` the store folder, `tmp` what was `/tmp`. Every folder
    /// above it must be open to root without capabilities, as those of the system are.
    pub work_dir: PathBuf,
    /// What is to be at `/bin/sh`, if anything.
    pub shell: Option<PathBuf>,
    /// Further host paths to be seen. What is read of them is not observed: whatever they are has to
    /// be part of the key under which a trace is kept.
    pub sandbox_paths: Vec<SandboxPath>,
    /// The user on the host that the builder runs as. Not used by anything else at the time.
    pub host_uid: u32,
    /// The group on the host that the builder runs as.
    pub host_gid: u32,
    /// Which machine programs are told that they run on.
    pub architecture: Architecture,
    /// Whether `/etc` looks as if its owner could write to it.
    pub etc: Etc,
    /// What asking for an extended attribute gives.
    pub attributes: Attributes,
    /// When to stop it.
    pub limits: Limits,
}

/// When a builder is stopped. `None`: never for this reason.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Milliseconds from the start.
    pub wall: Option<u64>,
    /// Milliseconds without a byte in the log.
    pub silent: Option<u64>,
    /// Bytes of log.
    pub log: Option<u64>,
    /// Bytes of memory of all its processes.
    pub memory: Option<u64>,
    /// Processes and threads at one time.
    pub processes: Option<u64>,
}

/// A file for the build folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileToPlace {
    /// Its name, without a folder.
    pub name: String,
    /// Its content.
    pub bytes: Bytes,
    /// Its permissions; the builder owns it.
    pub mode: u32,
}

/// A host path that is shown in the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxPath {
    /// Where it is seen.
    pub target: String,
    /// Where it lies.
    pub source: PathBuf,
    /// Whether it may be missing.
    pub optional: bool,
}

/// Which machine programs are told that they run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// This one.
    #[default]
    Native,
    /// Its 32-bit forebear.
    Linux32,
}

/// How `/etc` looks. A builder is not its owner and cannot write to it in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Etc {
    /// Mode 755.
    #[default]
    Open,
    /// Mode 555.
    Sealed,
}

/// What asking for one extended attribute of a file gives. It has none, and none can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attributes {
    /// The file system's answer.
    #[default]
    Answered,
    /// ENOTSUP, whatever the file.
    Refused,
}

/// How a run went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// What it asked of its inputs: sorted, each question once.
    #[serde(with = "bytes::questions")]
    pub questions: Vec<Question>,
    /// Facts about the machine that it read, as paths of `/proc`.
    pub ambient: Vec<String>,
    /// Why this run may not become a trace; empty when it may.
    pub unrecordable: Vec<String>,
    /// What is there of the outputs, in the order of the specification.
    pub outputs: Vec<Output>,
    /// Milliseconds from call to start of the builder.
    pub set_up_ms: f64,
    /// Milliseconds that the builder ran.
    pub ran_ms: f64,
}

/// How a builder ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It could not be started; why, in words. The builder's fault, not ours.
    NotExecuted(String),
    /// It ran longer than allowed.
    TimedOut,
    /// It wrote nothing for longer than allowed.
    Silent,
    /// It wrote more than allowed.
    LogLimit,
    /// It needed more memory than allowed.
    OutOfMemory,
    /// Its inputs could not, or no longer, be served; [`Ran::unrecordable`] may say why. Never the
    /// builder's fault.
    ObserverDied,
}

/// An output, as it lies on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// As in the specification.
    pub base_name: String,
    /// Where it is; `None` if the builder did not make it. Not yet normalised in any way.
    pub path: Option<PathBuf>,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Something that every run needs is missing on this machine.
    #[error("cannot {what}")]
    Unavailable {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The sandbox could not be made.
    #[error("cannot {what} for the sandbox")]
    SetUp {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The process that asked for the run is gone.
    #[error("the process that wanted this run has ended")]
    Orphaned,
}

impl ExecError {
    /// What to try next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable { .. } => {
                Some("traced builds need root, `/dev/fuse` and Linux 5.11 or later; build with `--trace off`")
            }
            Self::SetUp { .. } | Self::Orphaned => None,
        }
    }
}
