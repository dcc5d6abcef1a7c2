//! What a new database takes over from a damaged one: only what must not be forgotten.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::ledger::Entry;

/// Copies revocations and the ledger, as far as they can be read.
pub(super) fn take_over(db: &mut Connection, damaged: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(old) = Connection::open_with_flags(damaged, flags) else { return };
    // Each error ends one table, not the other: half of a ledger is better than none.
    let _ = revocations(db, &old);
    let _ = ledger(db, &old);
}

fn revocations(db: &Connection, old: &Connection) -> Result<(), rusqlite::Error> {
    let mut statement = old.prepare("SELECT skeleton, trace, reason, at FROM revocations")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (skeleton, trace): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let (reason, at): (String, i64) = (row.get(2)?, row.get(3)?);
        db.execute(
            "INSERT OR IGNORE INTO revocations VALUES (?1, ?2, ?3, ?4)",
            params![skeleton, trace, reason, at],
        )?;
    }
    Ok(())
}

fn ledger(db: &Connection, old: &Connection) -> Result<(), rusqlite::Error> {
    let all = |columns: &str| old.prepare(&format!("SELECT {columns} FROM ledger"));
    // A database of before had no slots.
    let mut statement = all(Entry::COLUMNS).or_else(|_| all(&Entry::COLUMNS.replace("slots", "NULL")))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(entry) = Entry::read(row)? {
            entry.save(db)?;
        }
    }
    Ok(())
}
