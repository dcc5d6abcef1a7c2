//! The SQLite file: how it is opened, what is in it, and what happens to a damaged one.
//!
//! A damaged database is never renamed or removed while another process may have it open: it stays
//! where it is, and a file with the next higher number takes its place. What a new one must not
//! forget (revocations, and which paths were registered by reuse) is taken over row by row.
//!
//! Times are seconds since 1970, UTC. Digests are BLOBs of 32 bytes. Each row that is believed ends with
//! a `check` over its other columns, except those that only steer what is kept (`used`, `reuses`).

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::StoreError;

/// Each brings the database one version further; the version is `user_version`. Never edited, only added to.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE nodes (               -- a skeleton, or a skeleton and the hashes of its folded slots
        key    BLOB PRIMARY KEY,
        shapes BLOB NOT NULL,          -- ids, most recently used first
        folded TEXT,                   -- slot that is part of the key from here on
        parent BLOB,                   -- the skeleton, if this is not one
        check_ BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE shapes (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        digest BLOB NOT NULL UNIQUE,
        keys   BLOB NOT NULL,
        check_ BLOB NOT NULL,          -- over digest and keys
        count  INTEGER NOT NULL,       -- questions
        body   BLOB NOT NULL           -- has the digest
    ) STRICT;

    CREATE TABLE closures (            -- which hash each slot had
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        digest BLOB NOT NULL UNIQUE,   -- of the whole, unpacked
        base   INTEGER,                -- closure from which it differs by body
        body   BLOB NOT NULL,
        check_ BLOB NOT NULL           -- over id and digest
    ) STRICT;
    CREATE INDEX closure_bases ON closures (id) WHERE base IS NULL;

    CREATE TABLE traces (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,
        id       BLOB NOT NULL UNIQUE, -- over skeleton, shape and answers
        skeleton BLOB NOT NULL,
        shape    INTEGER NOT NULL,
        closure  INTEGER NOT NULL,     -- of the newest build
        result   BLOB NOT NULL,        -- outputs, seconds, log
        recorded INTEGER NOT NULL,
        unstable INTEGER NOT NULL,     -- 1: equal inputs gave other bits
        check_   BLOB NOT NULL,
        seconds  REAL NOT NULL,
        used     INTEGER NOT NULL,
        reuses   INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX traces_by_shape ON traces (skeleton, shape, used);

    CREATE TABLE evidence (            -- from pairs of real builds
        trace   INTEGER NOT NULL,
        slot    TEXT NOT NULL,
        verdict INTEGER NOT NULL,      -- 1: other hash, same bits; 0: other hash, other bits
        check_  BLOB NOT NULL,
        PRIMARY KEY (trace, slot)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE memo (                -- what an input answers to a shape's questions to its slot
        shape   INTEGER NOT NULL,
        slot    INTEGER NOT NULL,      -- index in the shape
        hash    BLOB NOT NULL,
        stamp   INTEGER NOT NULL,      -- of the input's folder
        answers BLOB NOT NULL,         -- digest
        hashes  BLOB NOT NULL,         -- that the answers are modulo of
        check_  BLOB NOT NULL,
        used    INTEGER NOT NULL,
        PRIMARY KEY (shape, slot, hash)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE answers (             -- of real builds, for explaining
        digest BLOB PRIMARY KEY,       -- of the whole, unpacked
        base   BLOB,                   -- answers that the body was packed with
        body   BLOB NOT NULL,
        used   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE contents (            -- digests of big files
        key    BLOB PRIMARY KEY,       -- over hash part and path
        stamp  INTEGER NOT NULL,
        body   BLOB NOT NULL,
        check_ BLOB NOT NULL,
        used   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE ledger (              -- every path that was ever registered by reuse
        path     TEXT PRIMARY KEY,     -- base name
        output   TEXT NOT NULL,
        trace    BLOB NOT NULL,
        skeleton BLOB NOT NULL,
        at       INTEGER NOT NULL,
        state    INTEGER NOT NULL,     -- 0: stands, 1: revoked, 2: repaired
        check_   BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ledger_by_skeleton ON ledger (skeleton);

    CREATE TABLE revocations (
        skeleton BLOB PRIMARY KEY,
        trace    BLOB NOT NULL,
        reason   TEXT NOT NULL,
        at       INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE counters (
        name  TEXT PRIMARY KEY,
        count INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE unrecorded (          -- skeletons whose newest build could not become a trace
        skeleton BLOB PRIMARY KEY,
        why      TEXT NOT NULL,
        at       INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE ledger ADD COLUMN slots BLOB; -- whose hashes were taken not to matter; NULL: any
",
];

/// An open database.
pub(super) struct Database {
    pub(super) connection: Connection,
    /// In use by this process.
    pub(super) path: PathBuf,
    /// What takes its place when it is damaged.
    next: PathBuf,
}

impl Database {
    /// Whether another process found it damaged and began a new one.
    pub(super) fn is_replaced(&self) -> bool {
        self.next.exists()
    }
}

/// Opens the newest database in `dir`, which is created, and brings it up to date.
///
/// If it was damaged, a new one is begun, and the damaged one's path returned.
pub(super) fn open(dir: &Path) -> Result<(Database, Option<PathBuf>), StoreError> {
    let _guard = lock(dir)?;
    let number = newest(dir)?;
    match connect(dir, number) {
        Err(error) if error.is_damage() => {
            let damaged = numbered(dir, number);
            Ok((begin_after(dir, number)?, Some(damaged)))
        }
        other => Ok((other?, None)),
    }
}

/// After an error that looks like damage: begins a new database, unless another process did.
pub(super) fn replace(dir: &Path, current: &Path) -> Result<(Database, Option<PathBuf>), StoreError> {
    let _guard = lock(dir)?;
    let number = newest(dir)?;
    let path = numbered(dir, number);
    if path == current {
        return Ok((begin_after(dir, number)?, Some(path)));
    }
    Ok((connect(dir, number)?, None))
}

/// All databases but the newest: damaged ones.
pub(super) fn set_aside(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    Ok((1..newest(dir)?).map(|number| numbered(dir, number)).filter(|path| path.exists()).collect())
}

fn begin_after(dir: &Path, number: u32) -> Result<Database, StoreError> {
    let mut database = connect(dir, number + 1)?;
    super::salvage::take_over(&mut database.connection, &numbered(dir, number));
    Ok(database)
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Folder { path: dir.into(), source };
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
    let metadata = fs::metadata(dir).map_err(failed)?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    if !ours || metadata.mode() & 0o022 != 0 {
        return Err(StoreError::Exposed { path: dir.into() });
    }
    let file = File::create(dir.join("traces.lock")).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn numbered(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("traces-{number}.db"))
}

/// The highest number that a database in `dir` has; 1 if there is none.
fn newest(dir: &Path) -> Result<u32, StoreError> {
    let failed = |source| StoreError::Folder { path: dir.into(), source };
    let mut newest = 1;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("traces-")?.strip_suffix(".db"));
        newest = newest.max(number.and_then(|number| number.parse().ok()).unwrap_or(1));
    }
    Ok(newest)
}

fn connect(dir: &Path, number: u32) -> Result<Database, StoreError> {
    let path = numbered(dir, number);
    let failed = |source| StoreError::Database { path: path.clone(), source };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
    let prepare = |db: &Connection| -> Result<i64, rusqlite::Error> {
        db.busy_timeout(Duration::from_secs(10))?;
        // `auto_vacuum` only takes effect before the first table. Not mapped into memory: a file that
        // another process truncates would end this one.
        db.execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL; PRAGMA cell_size_check = ON;
             PRAGMA cache_size = -65536;",
        )?;
        db.set_prepared_statement_cache_capacity(64);
        db.query_row("PRAGMA user_version", [], |row| row.get(0))
    };
    let version = prepare(&connection).map_err(failed)?;
    let missing = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..));
    let missing = missing.ok_or_else(|| StoreError::Newer { path: path.clone() })?;
    for (migration, number) in missing.iter().zip(version + 1..) {
        let mut migrate = || {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", number)?;
            transaction.commit()
        };
        migrate().map_err(failed)?;
    }
    Ok(Database { connection, path, next: numbered(dir, number + 1) })
}
