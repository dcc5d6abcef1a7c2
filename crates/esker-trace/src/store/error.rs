//! Why the trace store could not be used.

use std::io;
use std::path::PathBuf;

/// See the variants. None of them is a reason not to build.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be created, read or locked.
    #[error("cannot use `{}`", path.display())]
    Folder {
        /// The trace store.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Whoever can write there could make any result up.
    #[error("others can write to `{}`", path.display())]
    Exposed {
        /// The trace store.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("cannot use `{}`", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It has a version that this program does not know.
    #[error("`{}` was written by a newer Esker", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the database itself is damaged, rather than the way to it.
    pub(super) fn is_damage(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        match source {
            // Our own statements fit our own tables: a table must have been lost, or a value be of a wrong type.
            rusqlite::Error::SqlInputError { .. }
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
            | rusqlite::Error::FromSqlConversionFailure(..) => true,
            other => matches!(
                other.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            ),
        }
    }

    /// What to try next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => "take away that right (`chmod go-w`), or use another folder for traces",
            Self::Folder { .. } => "check that the folder can be written",
            Self::Database { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                "make room on the disk"
            }
            Self::Database { .. } => "remove the trace store; results are then built again",
            Self::Newer { .. } => "use that Esker, or another folder for traces",
        }
    }
}
