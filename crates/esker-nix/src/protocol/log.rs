//! What the daemon reports while it works on a request.
//!
//! Source: `libutil/logging.hh` and `TunnelLogger` in `libstore/daemon.cc`. Work is a tree of
//! *activities*, each with an id; *results* are things said about an activity.

use std::io::{Read, Write};

use super::ProtocolError;
use super::options::Level;
use super::wire::{Reader, Writer, wire_enum};

/// First word of a message line.
pub(super) const STDERR_NEXT: u64 = 0x6f6c_6d67;
/// First word of a new activity.
pub(super) const STDERR_START_ACTIVITY: u64 = 0x5354_5254;
/// First word of an activity's end.
pub(super) const STDERR_STOP_ACTIVITY: u64 = 0x5354_4f50;
/// First word of a result.
pub(super) const STDERR_RESULT: u64 = 0x5253_4c54;

wire_enum! {
    /// What an activity is about.
    ActivityKind {
        /// Anything else.
        Other = 0,
        /// A path is copied between stores. Fields: path, from, to.
        CopyPath = 100,
        /// A download. Fields: address.
        FileTransfer = 101,
        /// A request to make paths valid; the parent of the rest.
        Realise = 102,
        /// All copies together; carries progress.
        CopyPaths = 103,
        /// All builds together; carries progress.
        Builds = 104,
        /// One build. Fields: derivation, machine or empty, round, rounds.
        Build = 105,
        /// The store is searched for equal files.
        OptimiseStore = 106,
        /// Paths are checked.
        VerifyPaths = 107,
        /// A path is fetched from a substituter. Fields: path, substituter.
        Substitute = 108,
        /// A substituter is asked. Fields: path, substituter.
        QueryPathInfo = 109,
        /// The hook after a build. Fields: derivation.
        PostBuildHook = 110,
        /// A build waits for a lock or a machine. Fields: derivation, path.
        BuildWaiting = 111,
        /// A source is fetched.
        FetchTree = 112,
    }
}

wire_enum! {
    /// What a result says.
    ResultKind {
        /// A file was replaced by a hard link.
        FileLinked = 100,
        /// One line of a builder's output.
        BuildLogLine = 101,
        /// A path has no trusted signature.
        UntrustedPath = 102,
        /// A path does not have its hash.
        CorruptedPath = 103,
        /// The builder entered a phase.
        SetPhase = 104,
        /// How far it is.
        Progress = 105,
        /// How much of some kind of activity is to be expected.
        SetExpected = 106,
        /// One line from the hook after a build.
        PostBuildLogLine = 107,
        /// How a fetch is going, in words.
        FetchStatus = 108,
    }
}

/// One thing the daemon reported.
///
/// Texts are bytes: a builder may print anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildLog {
    /// A line for people, perhaps with colours and a line break at its end.
    Message {
        /// The line.
        text: Vec<u8>,
    },
    /// Something began.
    Start {
        /// The activity's name from now on. Unique within a connection.
        id: u64,
        /// The activity it belongs to; 0 for none.
        parent: u64,
        /// What it is about.
        kind: ActivityKind,
        /// How important it is.
        level: Level,
        /// A line for people; may be empty.
        text: Vec<u8>,
        /// Details; see [`ActivityKind`].
        fields: Vec<Field>,
    },
    /// An activity ended, well or not.
    Stop {
        /// Which.
        id: u64,
    },
    /// Something became known about an activity.
    Result {
        /// Which activity.
        id: u64,
        /// What it says.
        kind: ResultKind,
        /// Details; the accessors read them.
        fields: Vec<Field>,
    },
}

/// A detail of an activity or a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Number(u64),
    /// A text in no particular encoding.
    Text(Vec<u8>),
}

/// How far an activity is; the unit depends on it (builds, paths, bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Finished well.
    pub done: u64,
    /// In all.
    pub expected: u64,
    /// Now under way.
    pub running: u64,
    /// Finished badly.
    pub failed: u64,
}

impl BuildLog {
    /// A line a builder printed, without its line break, and the id of the build.
    pub fn build_log_line(&self) -> Option<(u64, &[u8])> {
        self.line_of(ResultKind::BuildLogLine)
    }

    /// A line the post-build hook printed, and the id of the hook's activity.
    pub fn post_build_log_line(&self) -> Option<(u64, &[u8])> {
        self.line_of(ResultKind::PostBuildLogLine)
    }

    /// The phase a build entered, and the id of the build.
    pub fn phase(&self) -> Option<(u64, &[u8])> {
        self.line_of(ResultKind::SetPhase)
    }

    /// How far an activity is, and its id.
    pub fn progress(&self) -> Option<(u64, Progress)> {
        match self {
            Self::Result { id, kind: ResultKind::Progress, fields } => match fields.as_slice() {
                [
                    Field::Number(done),
                    Field::Number(expected),
                    Field::Number(running),
                    Field::Number(failed),
                    ..,
                ] => Some((
                    *id,
                    Progress { done: *done, expected: *expected, running: *running, failed: *failed },
                )),
                _ => None,
            },
            _ => None,
        }
    }

    /// How many activities of a kind are expected in all, and the id of the activity that says so.
    pub fn expected(&self) -> Option<(u64, ActivityKind, u64)> {
        match self {
            Self::Result { id, kind: ResultKind::SetExpected, fields } => match fields.as_slice() {
                [Field::Number(kind), Field::Number(count), ..] => {
                    Some((*id, ActivityKind::from_code(*kind), *count))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// For the start of a build, a substitution or a copy: the derivation or path it is about.
    pub fn subject(&self) -> Option<&[u8]> {
        match self {
            Self::Start { fields, .. } => match fields.first() {
                Some(Field::Text(text)) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    fn line_of(&self, wanted: ResultKind) -> Option<(u64, &[u8])> {
        match self {
            Self::Result { id, kind, fields } if *kind == wanted => match fields.first() {
                Some(Field::Text(line)) => Some((*id, line)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads what follows `first_word`, or `None` if that word does not begin a report.
    pub(super) fn read_after<R: Read>(
        first_word: u64,
        reader: &mut Reader<R>,
    ) -> Result<Option<Self>, ProtocolError> {
        Ok(Some(match first_word {
            STDERR_NEXT => Self::Message { text: reader.bytes()? },
            STDERR_START_ACTIVITY => {
                let id = reader.u64()?;
                let level = Level::from_code(reader.u64()?);
                let kind = ActivityKind::from_code(reader.u64()?);
                let text = reader.bytes()?;
                let fields = reader.list(Field::read_from)?;
                let parent = reader.u64()?;
                Self::Start { id, parent, kind, level, text, fields }
            }
            STDERR_STOP_ACTIVITY => Self::Stop { id: reader.u64()? },
            STDERR_RESULT => Self::Result {
                id: reader.u64()?,
                kind: ResultKind::from_code(reader.u64()?),
                fields: reader.list(Field::read_from)?,
            },
            _ => return Ok(None),
        }))
    }

    /// Writes it as a daemon does.
    ///
    /// # Errors
    /// When the output fails.
    pub fn write_to<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), ProtocolError> {
        match self {
            Self::Message { text } => {
                writer.u64(STDERR_NEXT)?;
                writer.bytes(text)
            }
            Self::Start { id, parent, kind, level, text, fields } => {
                writer.u64(STDERR_START_ACTIVITY)?;
                writer.u64(*id)?;
                writer.u64(level.code())?;
                writer.u64(kind.code())?;
                writer.bytes(text)?;
                writer.list(fields, Field::write_to)?;
                writer.u64(*parent)
            }
            Self::Stop { id } => {
                writer.u64(STDERR_STOP_ACTIVITY)?;
                writer.u64(*id)
            }
            Self::Result { id, kind, fields } => {
                writer.u64(STDERR_RESULT)?;
                writer.u64(*id)?;
                writer.u64(kind.code())?;
                writer.list(fields, Field::write_to)
            }
        }
    }
}

impl Field {
    fn read_from<R: Read>(reader: &mut Reader<R>) -> Result<Self, ProtocolError> {
        match reader.u64()? {
            0 => Ok(Self::Number(reader.u64()?)),
            1 => Ok(Self::Text(reader.bytes()?)),
            other => Err(ProtocolError::malformed(format!("a log field of unknown type {other}"))),
        }
    }

    fn write_to<W: Write>(writer: &mut Writer<W>, field: &Self) -> Result<(), ProtocolError> {
        match field {
            Self::Number(number) => {
                writer.u64(0)?;
                writer.u64(*number)
            }
            Self::Text(text) => {
                writer.u64(1)?;
                writer.bytes(text)
            }
        }
    }
}
