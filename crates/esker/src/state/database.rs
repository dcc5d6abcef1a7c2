//! The SQLite file: how it is opened, what is in it, and what happens to a damaged one.
//!
//! Times are milliseconds since 1970, UTC. Conclusions are [`Conclusion::word`]s.
//!
//! [`Conclusion::word`]: esker_engine::event::Conclusion::word

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{StateError, folder};

/// Each brings the database one version further; the version is `user_version`. Never edited, only added to.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE runs (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        folder    TEXT NOT NULL UNIQUE,   -- below `logs`
        started   INTEGER NOT NULL,
        finished  INTEGER,                -- NULL: still running, or killed
        subject   TEXT NOT NULL,          -- see `subject_of`
        reference TEXT NOT NULL,          -- as the user wrote it
        revision  TEXT,
        dirty     INTEGER,                -- tracked files that differ from the revision
        nix       TEXT,                   -- version
        summary   TEXT                    -- JSON of the engine's `Summary`
    ) STRICT;
    CREATE INDEX runs_of_subject ON runs (subject, id);

    CREATE TABLE jobs (
        run        INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        job        TEXT NOT NULL,
        attr       TEXT,
        drv        TEXT,
        conclusion TEXT,
        outcome    TEXT,                  -- JSON of the engine's `Outcome`
        culprit    TEXT,                  -- the derivation whose failure failed it, if another one
        seconds    REAL,
        PRIMARY KEY (run, job)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX jobs_by_name ON jobs (job, run);

    CREATE TABLE builds (
        run        INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        number     INTEGER NOT NULL,      -- within the run, in the order in which they began
        drv        TEXT NOT NULL,
        name       TEXT NOT NULL,
        action     TEXT NOT NULL,
        started    INTEGER NOT NULL,
        conclusion TEXT,
        seconds    REAL,
        log        TEXT,                  -- file in the run's folder; NULL: printed nothing
        PRIMARY KEY (run, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX builds_by_drv ON builds (drv, run);

    CREATE TABLE durations (
        name    TEXT PRIMARY KEY,         -- of a derivation
        seconds REAL NOT NULL,            -- moving average
        count   INTEGER NOT NULL,
        last    INTEGER NOT NULL          -- when it was last built
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE explanations (
        run         INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        drv         TEXT NOT NULL,
        explanation TEXT NOT NULL,        -- JSON of the engine's `Explanation`
        PRIMARY KEY (run, drv)
    ) STRICT, WITHOUT ROWID;
",
];

/// Opens the database in `dir`, which is created, and brings it up to date.
///
/// If it was damaged, also returns where the damaged one was moved to.
pub(super) fn open(dir: &Path) -> Result<(Connection, Option<PathBuf>), StateError> {
    folder::create(dir)?;
    // Also because two processes that switch one new database to WAL do not wait for each other.
    let _guard = folder::lock(dir)?;
    match connect(dir) {
        Err(error) if error.is_damage() => {
            let moved = set_aside(dir)?;
            Ok((connect(dir)?, Some(moved)))
        }
        other => Ok((other?, None)),
    }
}

/// Moves the database aside if it really is damaged, and says where to.
///
/// For damage that shows only in use. Another process may have done it already: so look again.
pub(super) fn set_aside_if_damaged(dir: &Path) -> Result<Option<PathBuf>, StateError> {
    let _guard = folder::lock(dir)?;
    let sound = connect(dir).and_then(|db| {
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
            .map_err(|error| failed(dir, error))
    });
    match sound {
        Ok(verdict) if verdict == "ok" => Ok(None),
        Err(error) if !error.is_damage() => Err(error),
        _ => set_aside(dir).map(Some),
    }
}

fn connect(dir: &Path) -> Result<Connection, StateError> {
    let prepare = || -> Result<(Connection, i64), rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(dir.join(folder::DATABASE), flags)?;
        db.busy_timeout(Duration::from_secs(10))?;
        // `auto_vacuum` only takes effect before the first table.
        db.execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;",
        )?;
        let version = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok((db, version))
    };
    let (mut db, version) = prepare().map_err(|error| failed(dir, error))?;
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(StateError::Newer { path: dir.join(folder::DATABASE) });
    };
    migrate(&mut db, version, missing).map_err(|error| failed(dir, error))?;
    Ok(db)
}

fn migrate(db: &mut Connection, mut version: i64, missing: &[&str]) -> Result<(), rusqlite::Error> {
    for migration in missing {
        version += 1;
        let transaction = db.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Renames the database and what belongs to it; call it with the state's lock held.
fn set_aside(dir: &Path) -> Result<PathBuf, StateError> {
    let stem = format!("{}.corrupt-{}", folder::DATABASE, jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let mut aside = dir.join(&stem);
    let mut number = 2;
    while aside.exists() {
        aside = dir.join(format!("{stem}-{number}"));
        number += 1;
    }
    // With these names SQLite's own tools can still make something of it.
    for suffix in ["-wal", "-shm", ""] {
        let from = dir.join(format!("{}{suffix}", folder::DATABASE));
        let mut to = aside.clone().into_os_string();
        to.push(suffix);
        match fs::rename(&from, to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StateError::Folder { path: from, source }),
            Ok(()) => {}
        }
    }
    Ok(aside)
}

fn failed(dir: &Path, source: rusqlite::Error) -> StateError {
    StateError::Database { path: dir.join(folder::DATABASE), source }
}
