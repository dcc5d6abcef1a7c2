//! Why a request to the daemon has no answer.

use std::io;

/// Why a request to the daemon has no answer.
///
/// A build that fails is not an error here: it is a [`BuildResult`](super::BuildResult).
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The daemon refused or failed the request, in its own words. The connection stays usable.
    #[error("{message}")]
    Daemon {
        /// Possibly several lines; without colours, control characters and the word `error:`.
        message: String,
        /// What the daemon was doing, innermost first. Mostly empty.
        traces: Vec<String>,
    },
    /// The daemon ended, or closed the connection, where an answer was due.
    #[error("the Nix daemon closed the connection")]
    Closed,
    /// The connection to the daemon failed.
    #[error("cannot talk to the Nix daemon")]
    Io(#[source] io::Error),
    /// The other side is no Nix daemon.
    #[error("this is not a Nix daemon: its first word is {magic:#x}")]
    BadMagic {
        /// What came in place of the magic number.
        magic: u64,
    },
    /// The daemon is older than Nix 2.8, or so new that it has another protocol.
    #[error("the Nix daemon speaks protocol {major}.{minor}, and 1.34 (Nix 2.8) or a later 1.x is needed")]
    UnsupportedVersion {
        /// The daemon's major version; ours is 1.
        major: u64,
        /// The daemon's minor version.
        minor: u64,
    },
    /// The daemon sent something that the protocol does not permit.
    #[error("the Nix daemon sent {0}")]
    Malformed(String),
    /// An earlier failure left the connection in the middle of an answer.
    #[error("the connection to the Nix daemon is unusable after an earlier failure")]
    Unusable,
    /// The caller's own source or destination of a NAR failed, not the daemon.
    #[error("cannot read or write the local end of the NAR")]
    Local(#[source] io::Error),
}

impl ProtocolError {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    /// Whether the request was answered in full, so that the next one can be sent.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        matches!(self, Self::Daemon { .. })
    }
}

impl From<io::Error> for ProtocolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::WriteZero => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
