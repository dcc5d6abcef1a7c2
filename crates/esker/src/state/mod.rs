//! What Esker remembers on this machine: past runs, their logs, and how long things took.
//!
//! It lies in one folder (`$ESKER_STATE_DIR`, else `$XDG_STATE_HOME/esker`, else
//! `~/.local/state/esker`):
//!
//! ```text
//! esker.db               SQLite: runs, jobs, builds, durations
//! state.lock             held for the moments in which runs are begun or removed
//! logs/RUN/lock          held by the process that records this run, as long as it lives
//! logs/RUN/HASH-NAME.zst what a builder printed, one file a build
//! ```
//!
//! Nothing here can change a verdict: a folder that is full, read-only or damaged costs the memory
//! of a run and one notice, never the run.
//!
//! Invariant: any number of Eskers may use one folder at the same time.

mod database;
mod error;
#[cfg(test)]
pub(crate) mod example;
mod folder;
mod names;
mod prune;
mod recall;
mod recorder;
mod subject;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub(crate) use error::StateError;
pub(crate) use folder::default_dir;
pub(crate) use prune::{Keep, Pruned};
pub(crate) use recall::{BuildState, HistoryEntry, JobLog, KeptLog, Whose};
pub(crate) use recorder::{Recorder, RunStart};
pub(crate) use subject::{subject_of, subject_of_file};

/// An open state folder.
pub(crate) struct State {
    dir: PathBuf,
    db: Connection,
    notice: Option<String>,
}

impl State {
    /// Opens the folder, and creates it if it is not there.
    ///
    /// A damaged database is moved aside and a new one begun; [`State::notice`] then says so.
    ///
    /// # Errors
    /// The folder cannot be created or written, or belongs to a newer Esker.
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        let (db, moved) = database::open(dir)?;
        let notice = moved.map(|path| {
            format!(
                "the record of past runs was damaged; it is now `{}` and a new one was begun",
                path.display()
            )
        });
        Ok(Self { dir: dir.into(), db, notice })
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the person at the keyboard should know about the opening.
    pub(crate) fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Adds the folder's name to an SQLite error.
    fn failed(&self, source: rusqlite::Error) -> StateError {
        StateError::Database { path: self.dir.join(folder::DATABASE), source }
    }
}
