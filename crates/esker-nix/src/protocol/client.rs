//! One connection to a Nix daemon: the handshake, and the conversation around every request.
//!
//! Source: `WorkerProto::BasicClientConnection` in `libstore/worker-protocol-connection.cc`. Each
//! request is a number and its arguments. The daemon then reports what it does, message by message,
//! until it says that it is done (the answer follows) or that it failed (no answer follows).
//!
//! Invariant: once an answer was not read to its end, no further request is sent.

use std::collections::HashSet;
use std::io::{Read, Write};

use super::plain_text::plain_text;
use super::wire::{Reader, Writer};
use super::{BuildLog, ProtocolError};
use crate::StorePath;

/// The first word we say.
pub(super) const WORKER_MAGIC_1: u64 = 0x6e69_7863;
/// The first word a daemon says.
pub(super) const WORKER_MAGIC_2: u64 = 0x6478_696f;
/// The report ends, the answer follows.
pub(super) const STDERR_LAST: u64 = 0x616c_7473;
/// The report ends with an error.
pub(super) const STDERR_ERROR: u64 = 0x6378_7470;
/// The daemon wants data from us; only for requests of protocols before 1.23.
const STDERR_READ: u64 = 0x6461_7461;
/// The daemon has data for us; only for requests we do not make.
const STDERR_WRITE: u64 = 0x6461_7416;

/// Oldest minor version we speak: Nix 2.8.
pub(super) const OLDEST_MINOR: u64 = 34;
/// Newest minor version we speak: Nix 2.34.
pub(super) const NEWEST_MINOR: u64 = 38;
/// Since when the daemon says whether it trusts us.
const TRUST_SINCE: u64 = 35;
/// Since when both sides list optional features.
const FEATURES_SINCE: u64 = 38;

/// One connection to a Nix daemon.
///
/// Requests are methods, and block. To give up on one, send SIGTERM to `nix-daemon --stdio` (or shut
/// down the socket) from another thread: the daemon kills its builders within milliseconds, and the
/// request returns [`ProtocolError::Closed`]. Dropping a client that holds both ends of its pipes
/// does the same. SIGKILL does not: with Nix 2.8 the builders go on, as nobody's.
#[derive(Debug)]
pub struct Client<R: Read = Box<dyn Read + Send>, W: Write = Box<dyn Write + Send>> {
    pub(super) reader: Reader<R>,
    pub(super) writer: Writer<W>,
    pub(super) minor: u64,
    daemon_version: String,
    trusted: Option<bool>,
    pub(super) usable: bool,
    /// What the daemon protects from garbage collection for us.
    pub(super) temp_roots: HashSet<StorePath>,
}

impl<R: Read + Send, W: Write + Send> Client<R, W> {
    /// Shakes hands with a daemon, such as `nix-daemon --stdio` or the socket of a running one.
    /// Both ends are buffered here.
    ///
    /// # Errors
    /// When there is no daemon at the other end, or one that is too old.
    pub fn connect(input: R, output: W) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(input);
        let mut writer = Writer::new(output);
        writer.u64(WORKER_MAGIC_1)?;
        writer.u64((1 << 8) | NEWEST_MINOR)?;
        writer.flush()?;

        let magic = reader.u64()?;
        if magic != WORKER_MAGIC_2 {
            return Err(ProtocolError::BadMagic { magic });
        }
        let version = reader.u64()?;
        let (major, daemon_minor) = (version >> 8, version & 0xff);
        if major != 1 || daemon_minor < OLDEST_MINOR {
            return Err(ProtocolError::UnsupportedVersion { major, minor: daemon_minor });
        }
        let minor = daemon_minor.min(NEWEST_MINOR);

        if minor >= FEATURES_SINCE {
            writer.u64(0)?; // We want no optional feature,
            writer.flush()?;
            let _: Vec<String> = reader.list(Reader::string)?; // so theirs do not matter.
        }
        writer.u64(0)?; // Obsolete: processor affinity.
        writer.u64(0)?; // Obsolete: reserve space.
        writer.flush()?;
        let daemon_version = plain_text(&reader.bytes()?);
        let trusted = match minor >= TRUST_SINCE {
            true => read_trust(&mut reader)?,
            false => None,
        };
        read_report(&mut reader, &mut to_trace)?;
        Ok(Self { reader, writer, minor, daemon_version, trusted, usable: true, temp_roots: HashSet::new() })
    }
}

impl<R: Read, W: Write> Client<R, W> {
    /// The daemon's version of Nix, such as `2.34.8`.
    pub fn daemon_version(&self) -> &str {
        &self.daemon_version
    }

    /// The version of the protocol both sides speak now, such as `(1, 38)`.
    pub fn protocol_version(&self) -> (u64, u64) {
        (1, self.minor)
    }

    /// Whether the daemon trusts us: only then it obeys settings and takes unsigned paths.
    /// `None` if it does not say (before 1.35).
    pub fn trusted(&self) -> Option<bool> {
        self.trusted
    }

    /// Sends a request, follows the report, reads the answer.
    pub(super) fn request<T>(
        &mut self,
        log: &mut dyn FnMut(BuildLog),
        ask: impl FnOnce(&mut Writer<W>) -> Result<(), ProtocolError>,
        answer: impl FnOnce(&mut Reader<R>) -> Result<T, ProtocolError>,
    ) -> Result<T, ProtocolError> {
        self.converse(|client| {
            ask(&mut client.writer)?;
            client.writer.flush()?;
            read_report(&mut client.reader, log)?;
            answer(&mut client.reader)
        })
    }

    /// Runs any exchange, and remembers if it broke off.
    pub(super) fn converse<T>(
        &mut self,
        exchange: impl FnOnce(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<T, ProtocolError> {
        if !self.usable {
            return Err(ProtocolError::Unusable);
        }
        self.usable = false; // Also if `exchange` panics.
        let outcome = exchange(self);
        self.usable = outcome.as_ref().err().is_none_or(ProtocolError::leaves_connection_usable);
        outcome
    }
}

/// Follows a report to its end.
///
/// # Errors
/// [`ProtocolError::Daemon`] when it ends with an error.
pub(super) fn read_report<R: Read>(
    reader: &mut Reader<R>,
    log: &mut dyn FnMut(BuildLog),
) -> Result<(), ProtocolError> {
    loop {
        match reader.u64()? {
            STDERR_LAST => return Ok(()),
            STDERR_ERROR => return Err(read_error(reader)?),
            STDERR_READ => return Err(ProtocolError::malformed("a request for data nobody offered")),
            STDERR_WRITE => return Err(ProtocolError::malformed("data nobody asked for")),
            word => match BuildLog::read_after(word, reader)? {
                Some(message) => log(message),
                None => {
                    return Err(ProtocolError::malformed(format!("a message of unknown type {word:#x}")));
                }
            },
        }
    }
}

/// For requests whose reports nobody waits for.
pub(super) fn to_trace(message: BuildLog) {
    if let BuildLog::Message { text } = message {
        tracing::debug!("The Nix daemon says: {}", plain_text(&text));
    }
}

fn read_trust<R: Read>(reader: &mut Reader<R>) -> Result<Option<bool>, ProtocolError> {
    match reader.u64()? {
        0 => Ok(None),
        1 => Ok(Some(true)),
        2 => Ok(Some(false)),
        other => Err(ProtocolError::malformed(format!("the level of trust {other}"))),
    }
}

pub(super) fn read_error<R: Read>(reader: &mut Reader<R>) -> Result<ProtocolError, ProtocolError> {
    reader.bytes()?; // Always "Error".
    reader.u64()?; // Level.
    reader.bytes()?; // Obsolete: name.
    let message = plain_text(&reader.bytes()?);
    read_no_position(reader)?;
    let traces = reader.list(|reader| {
        read_no_position(reader)?;
        Ok(plain_text(&reader.bytes()?))
    })?;
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    Ok(ProtocolError::Daemon { message, traces })
}

/// Positions in source files are announced by a number that has always been 0.
fn read_no_position<R: Read>(reader: &mut Reader<R>) -> Result<(), ProtocolError> {
    match reader.u64()? {
        0 => Ok(()),
        _ => Err(ProtocolError::malformed("an error with a position")),
    }
}
