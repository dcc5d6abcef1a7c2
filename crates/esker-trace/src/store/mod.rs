//! What is known of earlier runs: skeletons, shapes, traces, evidence, and what was reused.
//!
//! It lies in one folder:
//!
//! ```text
//! traces-N.db   SQLite; the highest N is in use, a lower one is a damaged one that was set aside
//! traces.lock   held while a database is opened or begun
//! ```
//!
//! Looking a trace up costs one probe for the skeleton and, for each of its shapes, one projection
//! of the inputs and one probe; so it does not depend on how many traces there are.
//!
//! Invariant: any number of processes may use one folder at the same time, and may be killed at any
//! moment: that loses at most the record being written.
//! Invariant: nothing is believed without its check. What is damaged counts as not there.

mod admit;
mod closure;
pub(crate) mod codec;
mod contents;
mod counters;
mod database;
mod error;
mod evidence;
mod fold;
mod kept;
pub(crate) mod ledger;
mod lookup;
mod memory;
pub(crate) mod project;
mod proof;
mod prune;
mod record;
mod rows;
mod salvage;
mod shape;
mod show;
#[cfg(test)]
pub(crate) mod tests;
mod trace;
mod unrecorded;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior};

pub use admit::Refused;
pub use error::StoreError;
pub use ledger::{Entry, Revocation, Standing};
pub use proof::{Claim, Proof};
pub use prune::Pruned;
pub use record::Recorded;
pub use show::{Observed, Stats, Summary};
pub use trace::{Produced, ProducedOutput, Reference, TraceId};

pub(crate) use closure::Closure;
pub(crate) use lookup::Found;
pub(crate) use memory::{Memory, Unsaved};
pub(crate) use trace::Trace;

use database::Database;

/// An open trace store. Threads may share it.
pub struct Store {
    dir: PathBuf,
    database: Mutex<Database>,
    memory: Mutex<Memory>,
    notices: Mutex<Vec<String>>,
}

impl Store {
    /// Opens the store in a folder, which is created if it is not there.
    ///
    /// A damaged database is set aside and a new one begun; [`Store::take_notices`] then says so.
    ///
    /// # Errors
    /// The folder cannot be created or written, or belongs to a newer Esker.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let (database, damaged) = database::open(dir)?;
        let store = Self {
            dir: dir.into(),
            database: Mutex::new(database),
            memory: Mutex::default(),
            notices: Mutex::default(),
        };
        store.notice_damage(damaged.as_deref());
        Ok(store)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a person should know, once: that traces were lost.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads. After damage the work is done again, on a new and empty database.
    pub(crate) fn with<T>(
        &self,
        work: impl Fn(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.mending(|db| work(db))
    }

    /// Writes, in one transaction.
    pub(crate) fn write<T>(
        &self,
        work: impl Fn(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.follow_replacement()?;
        self.mending(|db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    /// Goes over to a new database if another process has begun one: what it revoked must be known.
    pub(crate) fn follow_replacement(&self) -> Result<(), StoreError> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.is_replaced() {
            let (new, _) = database::replace(&self.dir, &database.path)?;
            *database = new;
            *self.memory() = Memory::default();
        }
        Ok(())
    }

    /// Writes down what decisions found out about inputs, so that it need not be found out again. It is
    /// also written with each record.
    ///
    /// # Errors
    /// The store cannot be written; what was to be written is lost, which costs time only.
    pub fn flush(&self, now: SystemTime) -> Result<(), StoreError> {
        let unsaved = self.take_unsaved();
        if unsaved.is_empty() {
            return Ok(());
        }
        self.write(|db| record::save_unsaved(db, &unsaved, seconds(now)))
    }

    fn mending<T>(
        &self,
        work: impl Fn(&mut Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut database.connection);
        let failed = |path: &Path, source| StoreError::Database { path: path.into(), source };
        match result.map_err(|source| failed(&database.path, source)) {
            Err(error) if error.is_damage() => {
                let (new, damaged) = database::replace(&self.dir, &database.path)?;
                *database = new;
                *self.memory() = Memory::default();
                self.notice_damage(damaged.as_deref());
                let path = database.path.clone();
                work(&mut database.connection).map_err(|source| failed(&path, source))
            }
            other => other,
        }
    }

    fn notice_damage(&self, damaged: Option<&Path>) {
        if let Some(path) = damaged {
            self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
                "the trace store was damaged; it was left as `{}` and a new one was begun",
                path.display()
            ));
        }
    }

    /// Held for single statements only, and never while waiting for the database.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_unsaved(&self) -> Unsaved {
        std::mem::take(&mut self.memory().unsaved)
    }
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|age| i64::try_from(age.as_secs()).ok()).unwrap_or(0)
}
