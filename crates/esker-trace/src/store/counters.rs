//! Counters: how often something happened, over the store's life.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{Store, StoreError};

impl Store {
    /// Adds to a counter of the caller's, e.g. `built`.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn count(&self, name: &str, by: u64) -> Result<(), StoreError> {
        self.write(|db| count(db, name, by))
    }

    /// All counters: `recorded`, `reused`, `doubted`, `false`, `contradicted`, and the caller's own.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT name, count FROM counters")?;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.try_into().unwrap_or(0))))?;
            rows.collect()
        })
    }
}

/// Adds to a counter.
pub(crate) fn count(db: &Connection, name: &str, by: u64) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET count = count + ?2",
    )?
    .execute(params![name, i64::try_from(by).unwrap_or(i64::MAX)])?;
    Ok(())
}
