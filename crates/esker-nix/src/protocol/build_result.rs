//! How one build ended, as the daemon tells it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use super::plain_text::plain_text;
use super::wire::{Reader, Writer, wire_enum};
use super::{ProtocolError, realisation};
use crate::StorePath;

/// From this minor version on, results carry processor times.
const CPU_TIMES_SINCE: u64 = 37;

/// How much of a message is kept, in bytes.
const MOST_WORDS: usize = 64 << 10;

wire_enum! {
    /// How a build ended. Source: `BuildResult::Status` in `libstore/build-result.hh`.
    BuildStatus {
        /// It was built.
        Built = 0,
        /// It was fetched from a substituter.
        Substituted = 1,
        /// It was there.
        AlreadyValid = 2,
        /// The builder failed.
        PermanentFailure = 3,
        /// The derivation cannot be built here.
        InputRejected = 4,
        /// The builder succeeded, but its output is not what was promised.
        OutputRejected = 5,
        /// It failed, but may succeed if tried again.
        TransientFailure = 6,
        /// It failed before. No supported daemon sends it.
        CachedFailure = 7,
        /// It took too long, or was silent for too long.
        TimedOut = 8,
        /// Anything else went wrong.
        MiscFailure = 9,
        /// Something it needs failed.
        DependencyFailed = 10,
        /// It printed too much.
        LogLimitExceeded = 11,
        /// A second build gave another output.
        NotDeterministic = 12,
        /// A content-addressed derivation turned out to be one that is already built.
        ResolvesToAlreadyValid = 13,
        /// A path without a derivation that nobody offers.
        NoSubstituters = 14,
        /// A fixed output has another hash. Newer daemons only, and only if asked for.
        HashMismatch = 15,
    }
}

impl BuildStatus {
    /// Whether the outputs are valid now.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Built | Self::Substituted | Self::AlreadyValid | Self::ResolvesToAlreadyValid)
    }
}

/// How one build ended.
///
/// Nix 2.34 leaves `times_built`, `start` and `stop` at 0 even for what it built (2.8 fills them
/// in): time a build by its [`Build`](super::ActivityKind::Build) activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildResult {
    /// How it ended.
    pub status: BuildStatus,
    /// Why it failed, in Nix's words, without colours; perhaps several lines.
    pub message: String,
    /// How often it was built.
    pub times_built: u64,
    /// Whether two builds gave different outputs. `false` proves nothing.
    pub non_deterministic: bool,
    /// When the builder began, in seconds since 1970.
    pub start: u64,
    /// When it ended, in seconds since 1970.
    pub stop: u64,
    /// Processor time in user mode: since protocol 1.37, and only if the daemon uses cgroups.
    pub cpu_user: Option<Duration>,
    /// Processor time in the kernel, likewise.
    pub cpu_system: Option<Duration>,
    /// The wanted outputs by name, if it succeeded.
    pub built_outputs: BTreeMap<String, StorePath>,
}

impl BuildResult {
    /// Reads a result as protocol 1.`minor` writes it.
    ///
    /// # Errors
    /// When the bytes are not a result, or end.
    pub fn read_from<R: Read>(reader: &mut Reader<R>, minor: u64) -> Result<Self, ProtocolError> {
        let status = BuildStatus::from_code(reader.u64()?);
        // Nix quotes the last lines of the log at its end, however long they are.
        let mut message = reader.bytes()?;
        message.truncate(MOST_WORDS);
        let message = plain_text(&message);
        let times_built = reader.u64()?;
        let non_deterministic = reader.bool()?;
        let start = reader.u64()?;
        let stop = reader.u64()?;
        let (cpu_user, cpu_system) = match minor >= CPU_TIMES_SINCE {
            true => (read_time(reader)?, read_time(reader)?),
            false => (None, None),
        };
        let built_outputs = reader.list(read_realisation)?;
        Ok(Self {
            status,
            message,
            times_built,
            non_deterministic,
            start,
            stop,
            cpu_user,
            cpu_system,
            built_outputs,
        })
    }

    /// Writes it as protocol 1.`minor` does. The ids of realisations get a hash of zeros, as in
    /// Nix since 2.35: every client looks only at the output's name.
    ///
    /// # Errors
    /// When the output fails.
    pub fn write_to<W: Write>(&self, writer: &mut Writer<W>, minor: u64) -> Result<(), ProtocolError> {
        writer.u64(self.status.code())?;
        writer.bytes(&self.message)?;
        writer.u64(self.times_built)?;
        writer.bool(self.non_deterministic)?;
        writer.u64(self.start)?;
        writer.u64(self.stop)?;
        if minor >= CPU_TIMES_SINCE {
            write_time(writer, self.cpu_user)?;
            write_time(writer, self.cpu_system)?;
        }
        writer.list(&self.built_outputs, |writer, (output, path)| {
            let id = format!("sha256:{:064}!{output}", 0);
            writer.bytes(&id)?;
            writer.bytes(realisation::print(&id, path))
        })
    }
}

/// An optional count of microseconds, signed in Nix; a negative one is none.
fn read_time<R: Read>(reader: &mut Reader<R>) -> Result<Option<Duration>, ProtocolError> {
    match reader.u64()? {
        0 => Ok(None),
        1 => Ok(i64::try_from(reader.u64()?).ok().map(|micros| Duration::from_micros(micros.unsigned_abs()))),
        other => Err(ProtocolError::malformed(format!("an optional number with the mark {other}"))),
    }
}

fn write_time<W: Write>(writer: &mut Writer<W>, time: Option<Duration>) -> Result<(), ProtocolError> {
    match time {
        None => writer.u64(0),
        Some(time) => {
            writer.u64(1)?;
            writer.u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        }
    }
}

/// `sha256:…!out`, and the realisation as JSON.
fn read_realisation<R: Read>(reader: &mut Reader<R>) -> Result<(String, StorePath), ProtocolError> {
    let id = reader.string()?;
    let (_, output) =
        id.split_once('!').ok_or_else(|| ProtocolError::malformed("a realisation without output name"))?;
    Ok((output.to_owned(), realisation::read(reader)?))
}
