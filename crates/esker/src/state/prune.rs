//! Forgetting.
//!
//! Invariant: a run that some process records is never touched, and in the folder of logs nothing
//! is removed but what has the shape of a run's folder: the state folder may have been set to one
//! that holds other things too.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::writer::milliseconds;
use super::{State, StateError, folder};

/// Names of derivations not built for this long lose their estimate.
const ESTIMATES_LAST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Which runs to keep. A run goes only if every rule that is given lets it go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// The newest so many of each subject.
    pub(crate) newest: Option<usize>,
    /// Those that began less than this ago.
    pub(crate) younger_than: Option<Duration>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) runs: usize,
    /// Folders of logs that belonged to no run any more.
    pub(crate) orphans: usize,
    /// Of log files.
    pub(crate) bytes: u64,
}

struct Candidate {
    id: i64,
    folder: String,
}

impl State {
    /// Removes runs with their logs, and folders of logs that belong to no run. With no rule in
    /// `keep`, all runs stay.
    ///
    /// # Errors
    /// The database refused, or a folder could not be removed; what was removed by then is gone.
    pub(crate) fn prune(&self, keep: &Keep, now: SystemTime) -> Result<Pruned, StateError> {
        let mut pruned = Pruned::default();
        for run in self.superfluous(keep, now).map_err(|error| self.failed(error))? {
            let guard = folder::lock(&self.dir)?;
            if folder::is_live(&self.dir, &run.folder) {
                continue;
            }
            // First the row: if this is interrupted, the folder is an orphan and goes next time.
            self.db
                .execute("DELETE FROM runs WHERE id = ?1", [run.id])
                .map_err(|error| self.failed(error))?;
            drop(guard);
            pruned.runs += 1;
            pruned.bytes += self.remove_logs(&run.folder)?;
        }
        for folder in self.orphans()? {
            pruned.orphans += 1;
            pruned.bytes += self.remove_logs(&folder)?;
        }
        self.tidy(now).map_err(|error| self.failed(error))?;
        Ok(pruned)
    }

    fn superfluous(&self, keep: &Keep, now: SystemTime) -> Result<Vec<Candidate>, rusqlite::Error> {
        if *keep == Keep::default() {
            return Ok(Vec::new());
        }
        let oldest =
            keep.younger_than.map(|age| milliseconds(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)));
        let mut statement =
            self.db.prepare("SELECT id, folder, subject, started FROM runs ORDER BY id DESC")?;
        let mut rows = statement.query([])?;
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut candidates = Vec::new();
        while let Some(row) = rows.next()? {
            let newer = seen.entry(row.get(2)?).or_default();
            let among_newest = keep.newest.is_some_and(|newest| *newer < newest);
            *newer += 1;
            let young =
                oldest.map_or(Ok(false), |oldest| row.get(3).map(|started: i64| started >= oldest))?;
            if !among_newest && !young {
                candidates.push(Candidate { id: row.get(0)?, folder: row.get(1)? });
            }
        }
        Ok(candidates)
    }

    /// Folders of logs without a row, as a killed prune or a damaged database leave them.
    fn orphans(&self) -> Result<Vec<String>, StateError> {
        // With it held, no run is between its folder and its row.
        let _guard = folder::lock(&self.dir)?;
        let select = || -> Result<HashSet<String>, rusqlite::Error> {
            self.db.prepare("SELECT folder FROM runs")?.query_map([], |row| row.get(0))?.collect()
        };
        let known = select().map_err(|error| self.failed(error))?;
        let logs = self.dir.join(folder::LOGS);
        let failed = |source| StateError::Folder { path: logs.clone(), source };
        let mut orphans = Vec::new();
        for entry in fs::read_dir(&logs).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            if let Ok(name) = entry.file_name().into_string()
                && is_folder
                && folder::is_run_folder(&name)
                && !known.contains(&name)
                && !folder::is_live(&self.dir, &name)
            {
                orphans.push(name);
            }
        }
        Ok(orphans)
    }

    /// Removes a run's folder and returns how large it was. One that is gone already is fine.
    fn remove_logs(&self, folder: &str) -> Result<u64, StateError> {
        let path = self.dir.join(folder::LOGS).join(folder);
        let bytes = size_of(&path);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Folder { path, source: error })
            }
            _ => Ok(bytes),
        }
    }

    fn tidy(&self, now: SystemTime) -> Result<(), rusqlite::Error> {
        let oldest = milliseconds(now.checked_sub(ESTIMATES_LAST).unwrap_or(SystemTime::UNIX_EPOCH));
        self.db.execute("DELETE FROM durations WHERE last < ?1", [oldest])?;
        // Gives back one page a step.
        let mut statement = self.db.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
