//! Why a configuration file was refused.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{ConfigFile, MAX_FILE_BYTES};

/// A place in a configuration file; lines and columns (in characters) count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: ConfigFile,
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// Why a configuration could not be read or is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where the reader stumbled.
        place: Place,
        /// In the TOML reader's words.
        message: String,
    },
    /// A key that means nothing here.
    #[error("{place}: unknown key `{key}`")]
    UnknownKey {
        /// Where the key stands.
        place: Place,
        /// As written, tables included; shortened when long.
        key: String,
        /// The key that is probably meant.
        suggestion: Option<String>,
        /// All keys known at that place.
        known: Vec<String>,
    },
    /// A value of another type than the key has.
    #[error("{place}: `{key}` must be {expected}, not {found}")]
    WrongType {
        /// Where the value stands.
        place: Place,
        /// The key.
        key: String,
        /// With article, e.g. `a list of strings`.
        expected: &'static str,
        /// With article, e.g. `a string`.
        found: String,
    },
    /// A value of the right type that cannot be meant.
    #[error("{place}: `{key}` {problem}")]
    Value {
        /// Where the value stands.
        place: Place,
        /// The key.
        key: String,
        /// Continues the sentence, e.g. `must not be empty`.
        problem: String,
    },
    /// It has bytes that are not text.
    #[error("{place}: not UTF-8 text")]
    NotText {
        /// Of the first such byte.
        place: Place,
    },
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("`{}` is larger than {} KiB", path.display(), MAX_FILE_BYTES / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A folder, a pipe, a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// A symlink leads out of the repository.
    #[error("`{}` leads out of `{}`", path.display(), root.display())]
    Outside {
        /// The path as configured.
        path: PathBuf,
        /// The folder it must stay in.
        root: PathBuf,
    },
    /// `flake_dir` or `lock_file` names nothing.
    #[error("`{key}` is `{}`, which does not exist", path.display())]
    Missing {
        /// The key.
        key: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ConfigError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { suggestion: Some(suggestion), .. } => {
                Some(format!("did you mean `{suggestion}`?"))
            }
            Self::UnknownKey { suggestion: None, known, place, .. } if place.file == ConfigFile::Esker => {
                let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
                Some(format!("the keys are {}", known.join(", ")))
            }
            Self::UnknownKey { place, .. } => Some(format!(
                "write what Esker shall use of `{}` into `esker.toml`, which is read instead",
                place.file.name()
            )),
            Self::Outside { .. } => Some("put the file into the repository itself".into()),
            Self::Missing { path, .. } => Some(format!(
                "paths are relative to the folder of the configuration; is `{}` committed?",
                path.display()
            )),
            Self::Syntax { .. }
            | Self::WrongType { .. }
            | Self::Value { .. }
            | Self::NotText { .. }
            | Self::TooLarge { .. }
            | Self::NotAFile { .. }
            | Self::Read { .. } => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.name(), self.line, self.column)
    }
}
