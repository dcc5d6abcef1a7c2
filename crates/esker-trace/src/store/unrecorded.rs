//! Builds of which nothing can be reused: what stood in the way, so that a person can be told.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError, seconds};
use crate::observation::Digest;

/// More are not kept; the oldest go first.
const MOST: i64 = 100_000;

impl Store {
    /// Notes that a build of this skeleton cannot become a trace, and why. The next record of it ends that.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_unrecorded(&self, skeleton: &Digest, why: &str, now: SystemTime) -> Result<(), StoreError> {
        self.write(|db| note(db, skeleton, why, seconds(now)))
    }

    /// Why the newest build of this skeleton did not become a trace, if it did not.
    pub(crate) fn unrecorded(&self, skeleton: &Digest) -> Result<Option<String>, StoreError> {
        self.with(|db| {
            db.prepare_cached("SELECT why FROM unrecorded WHERE skeleton = ?1")?
                .query_row([&skeleton.0[..]], |row| row.get(0))
                .optional()
        })
    }
}

pub(super) fn note(db: &Connection, skeleton: &Digest, why: &str, now: i64) -> Result<(), rusqlite::Error> {
    db.prepare_cached("INSERT OR REPLACE INTO unrecorded VALUES (?1, ?2, ?3)")?.execute(params![
        &skeleton.0[..],
        why,
        now
    ])?;
    Ok(())
}

pub(super) fn forget(db: &Connection, skeleton: &Digest) -> Result<(), rusqlite::Error> {
    db.prepare_cached("DELETE FROM unrecorded WHERE skeleton = ?1")?.execute([&skeleton.0[..]])?;
    Ok(())
}

/// Keeps them bounded.
pub(super) fn prune(db: &Connection) -> Result<usize, rusqlite::Error> {
    db.execute(
        "DELETE FROM unrecorded WHERE skeleton IN
             (SELECT skeleton FROM unrecorded ORDER BY at DESC LIMIT -1 OFFSET ?1)",
        [MOST],
    )
}
