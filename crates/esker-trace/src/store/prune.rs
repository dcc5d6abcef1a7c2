//! Keeping the store small: what is worth least goes first.
//!
//! A trace is worth the seconds that it saves, more if it was reused before, and less the longer it was
//! not used. What no trace needs any more (shapes, closures, answers) goes with it. The ledger,
//! revocations and counters stay.

use std::fs;
use std::time::SystemTime;

use rusqlite::{Connection, params};

use super::{Store, StoreError, database, seconds, unrecorded};

/// What pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many traces went.
    pub traces: u64,
    /// How many are left.
    pub left: u64,
    /// Size of the database before, in bytes.
    pub before: u64,
    /// And after.
    pub after: u64,
    /// How many databases went that had been set aside as damaged.
    pub damaged: u64,
}

impl Store {
    /// How much is kept if nothing else is said, in bytes.
    pub const USUAL_BYTES: u64 = 1 << 30;

    /// Removes what is worth least until the database has at most so many bytes, if what must be kept allows it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn prune(&self, max_bytes: u64, now: SystemTime) -> Result<Pruned, StoreError> {
        let now = seconds(now);
        let mut pruned = Pruned { before: self.with(size)?, ..Pruned::default() };
        for _ in 0..32 {
            let size = self.with(size)?;
            if size <= max_bytes {
                break;
            }
            // A little more than is needed on average, as rows differ in size.
            let share = ((size - max_bytes) as f64 / size as f64 * 1.1).clamp(0.05, 1.0);
            let (traces, others) = self.write(|db| remove(db, share, now))?;
            pruned.traces += traces;
            if traces + others == 0 {
                break;
            }
        }
        for path in database::set_aside(&self.dir)? {
            let with_suffix = |suffix: &str| {
                let mut file = path.clone().into_os_string();
                file.push(suffix);
                fs::remove_file(file).is_ok()
            };
            pruned.damaged += u64::from(with_suffix(""));
            with_suffix("-wal");
            with_suffix("-shm");
        }
        *self.memory() = super::Memory::default();
        pruned.left = self.with(|db| count(db, "traces"))?;
        self.with(|db| {
            drain(db, "PRAGMA incremental_vacuum")?;
            drain(db, "PRAGMA wal_checkpoint(TRUNCATE)")
        })?;
        pruned.after = self.with(size)?;
        Ok(pruned)
    }

    /// Size of the database, in bytes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        self.with(size)
    }
}

/// Removes this share of the traces and of what is only a cache.
fn remove(db: &Connection, share: f64, now: i64) -> Result<(u64, u64), rusqlite::Error> {
    let some = |table| Ok::<_, rusqlite::Error>((count(db, table)? as f64 * share).ceil() as i64);
    let traces = db.execute(
        "DELETE FROM traces WHERE number IN (
             SELECT number FROM traces
             ORDER BY (seconds + 0.1) * (1 + reuses) / (1209600.0 + max(0, ?1 - used)), number LIMIT ?2)",
        params![now, some("traces")?],
    )?;
    let mut others = 0;
    for (table, key) in [("contents", "key"), ("memo", "shape, slot, hash")] {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY used, {key} LIMIT ?1)"
        );
        others += db.execute(&sql, [some(table)?])?;
    }
    for sql in [
        "DELETE FROM evidence WHERE trace NOT IN (SELECT number FROM traces)",
        "DELETE FROM nodes WHERE coalesce(parent, key) NOT IN (SELECT skeleton FROM traces)",
        "DELETE FROM shapes WHERE id NOT IN (SELECT shape FROM traces)",
        "DELETE FROM memo WHERE shape NOT IN (SELECT id FROM shapes)",
        "DELETE FROM closures WHERE base IS NOT NULL AND id NOT IN (SELECT closure FROM traces)",
        "DELETE FROM closures WHERE base IS NULL AND id NOT IN (SELECT closure FROM traces)
             AND id NOT IN (SELECT base FROM closures WHERE base IS NOT NULL)",
        "DELETE FROM answers WHERE base IS NOT NULL AND digest NOT IN (SELECT answers FROM memo)",
        "DELETE FROM answers WHERE base IS NULL AND digest NOT IN (SELECT answers FROM memo)
             AND digest NOT IN (SELECT base FROM answers WHERE base IS NOT NULL)",
    ] {
        others += db.execute(sql, [])?;
    }
    others += unrecorded::prune(db)?;
    Ok((traces as u64, others as u64))
}

fn count(db: &Connection, table: &str) -> Result<u64, rusqlite::Error> {
    let sql = format!("SELECT count(*) FROM {table}");
    db.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Of the pages that hold something, in bytes.
fn size(db: &Connection) -> Result<u64, rusqlite::Error> {
    let pragma = |name: &str| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).cast_unsigned())
}

fn drain(db: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
