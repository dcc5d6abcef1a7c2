//! The settings a client may send to its daemon.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use super::ProtocolError;
use super::wire::{Writer, wire_enum};

wire_enum! {
    /// How much is said, and how important a message is. Source: `libutil/error.hh`.
    Level {
        /// Only errors.
        Error = 0,
        /// Warnings.
        Warn = 1,
        /// Important messages.
        Notice = 2,
        /// What Nix says by default.
        Info = 3,
        /// More.
        Talkative = 4,
        /// Much more.
        Chatty = 5,
        /// For those who debug Nix.
        Debug = 6,
        /// Everything.
        Vomit = 7,
    }
}

/// Settings of one connection. Source: `SetOptions` in `libstore/daemon.cc`.
///
/// A daemon that does not trust us ignores most of it, and most of `overrides`, without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Keep the build directory of a failed build.
    pub keep_failed: bool,
    /// After a failure go on with what does not depend on it.
    pub keep_going: bool,
    /// Build when a substituter fails.
    pub try_fallback: bool,
    /// From which level on the daemon sends messages. Log lines of builds always come.
    pub verbosity: Level,
    /// How many derivations to build at once. 0 forbids local builds: "local builds are disabled".
    pub max_build_jobs: u64,
    /// How long a builder may be silent. `None`: for ever. Whole seconds.
    pub max_silent_time: Option<Duration>,
    /// `NIX_BUILD_CORES`; 0 means all.
    pub build_cores: u64,
    /// Whether to ask substituters.
    pub use_substitutes: bool,
    /// Any other setting of `nix.conf`, by name, such as `timeout`.
    pub overrides: BTreeMap<String, String>,
}

impl Default for Options {
    /// Nix's defaults.
    fn default() -> Self {
        Self {
            keep_failed: false,
            keep_going: false,
            try_fallback: false,
            verbosity: Level::Info,
            max_build_jobs: 1,
            max_silent_time: None,
            build_cores: 0,
            use_substitutes: true,
            overrides: BTreeMap::new(),
        }
    }
}

impl Options {
    pub(super) fn write_to<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), ProtocolError> {
        writer.bool(self.keep_failed)?;
        writer.bool(self.keep_going)?;
        writer.bool(self.try_fallback)?;
        writer.u64(self.verbosity.code())?;
        writer.u64(self.max_build_jobs)?;
        writer.u64(self.max_silent_time.map_or(0, |time| time.as_secs().max(1)))?;
        writer.bool(true)?; // Obsolete: use the build hook.
        writer.u64(Level::Error.code())?; // Builders' output is important.
        writer.u64(0)?; // Obsolete: type of log.
        writer.u64(0)?; // Obsolete: print a trace of the build.
        writer.u64(self.build_cores)?;
        writer.bool(self.use_substitutes)?;
        writer.list(&self.overrides, |writer, (name, value)| {
            writer.bytes(name)?;
            writer.bytes(value)
        })
    }
}
