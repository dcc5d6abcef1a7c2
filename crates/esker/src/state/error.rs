//! Why the memory of past runs could not be written or did not have what was asked for.

use std::io;
use std::path::PathBuf;

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("no folder to remember runs in: neither ESKER_STATE_DIR, XDG_STATE_HOME nor HOME is set")]
    NoHome,
    #[error("cannot use `{}`", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another Esker has held `{}` for too long", path.display())]
    Busy { path: PathBuf },
    #[error("cannot use `{}`", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("`{}` was written by a newer Esker", path.display())]
    Newer { path: PathBuf },
    #[error("nothing is remembered of `{subject}`")]
    NothingRemembered { subject: String },
    #[error("no job `{name}` is remembered of `{subject}`")]
    UnknownJob { name: String, subject: String, suggestion: Option<String> },
    #[error("`{name}` could be any of {}", listed(candidates))]
    AmbiguousJob {
        name: String,
        /// At least two.
        candidates: Vec<String>,
    },
}

impl StateError {
    /// What to try next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some("set ESKER_STATE_DIR to a folder of yours".into()),
            _ if self.is_full() => Some("make room on the disk".into()),
            Self::Folder { .. } => Some("set ESKER_STATE_DIR to a folder that you can write".into()),
            Self::Busy { .. } => Some("look for an Esker that hangs, e.g. with `ps -C esker`".into()),
            Self::Database { .. } => Some("`esker state path` shows the folder, which may be removed".into()),
            Self::Newer { .. } => Some("use that Esker, or set ESKER_STATE_DIR to another folder".into()),
            Self::NothingRemembered { .. } => Some(
                "run `esker check` there first, or name the flake or the file with `--flake` or `--file`"
                    .into(),
            ),
            Self::UnknownJob { suggestion: Some(suggestion), .. } => {
                Some(format!("did you mean `{suggestion}`?"))
            }
            Self::UnknownJob { suggestion: None, .. } => {
                Some("run `esker check` again, it may be new".into())
            }
            Self::AmbiguousJob { .. } => Some("write more of its name".into()),
        }
    }

    /// With its cause, in one line.
    pub(crate) fn one_line(&self) -> String {
        match std::error::Error::source(self) {
            // SQLite's own cause only repeats it with a number.
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Folder { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Database { source, .. } => source.sqlite_error().is_some_and(|error| {
                // The second when it is the file beside the database that cannot grow.
                error.code == rusqlite::ErrorCode::DiskFull
                    || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
            }),
            _ => false,
        }
    }

    /// Whether the database itself is damaged, rather than the way to it.
    pub(super) fn is_damage(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        matches!(
            source.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
        )
    }
}

/// At most ten of them, in words.
fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 10 {
        text.push_str(&format!(" and {} more", names.len() - 10));
    }
    text
}
