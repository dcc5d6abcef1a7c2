//! The ledger of paths registered by reuse, doubt, and revocations.
//!
//! Invariant: a path is in the ledger before it is in any store.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, check_of};
use super::counters::count;
use super::evidence::load_evidence;
use super::trace::{Trace, TraceId};
use super::{Store, StoreError, closure, fold, seconds};
use crate::observation::Digest;

/// What became of a path that was registered by reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Nothing speaks against it.
    Stands,
    /// Its trace was revoked: it may be wrong.
    Revoked,
    /// It was built, deleted, or found to be right after all.
    Repaired,
}

/// A path that was registered by reuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Base name of the store path.
    pub path: String,
    /// Which output it is.
    pub output: String,
    /// From which trace.
    pub trace: TraceId,
    /// Of which skeleton.
    pub skeleton: Digest,
    /// Seconds since 1970.
    pub at: i64,
    /// What became of it.
    pub standing: Standing,
    /// The slots whose hashes were others than in the build that was reused, and were taken not to
    /// matter. `None`: not known, could be any.
    pub slots: Option<Vec<String>>,
}

/// What a build spoke against.
#[derive(Debug)]
pub(super) enum Against {
    /// That these slots' hashes do not matter.
    Slots(Vec<String>),
    /// All that was ever taken for granted.
    All,
}

impl Entry {
    pub(super) const COLUMNS: &str = "path, output, trace, skeleton, at, state, check_, slots";

    pub(super) fn read(row: &Row<'_>) -> Result<Option<Self>, rusqlite::Error> {
        let digest = |index| -> Result<Option<Digest>, rusqlite::Error> {
            Ok(row.get_ref(index)?.as_blob()?.try_into().ok().map(Digest))
        };
        let standing = match row.get::<_, i64>(5)? {
            0 => Standing::Stands,
            2 => Standing::Repaired,
            _ => Standing::Revoked,
        };
        let Some((trace, skeleton)) = digest(2)?.zip(digest(3)?) else { return Ok(None) };
        let (path, output, at) = (row.get(0)?, row.get(1)?, row.get(4)?);
        // Damaged, they are not as the check has them.
        let slots = row.get_ref(7)?.as_blob_or_null()?.map(|bytes| read_slots(bytes).unwrap_or_default());
        let entry = Self { path, output, trace: TraceId(trace), skeleton, at, standing, slots };
        Ok((entry.check()[..] == *row.get_ref(6)?.as_blob()?).then_some(entry))
    }

    pub(super) fn save(&self, db: &Connection) -> Result<(), rusqlite::Error> {
        db.prepare_cached("INSERT OR REPLACE INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(
            params![
                self.path,
                self.output,
                &self.trace.0.0[..],
                &self.skeleton.0[..],
                self.at,
                self.standing as i64,
                &self.check()[..],
                self.slots.as_deref().map(write_slots),
            ],
        )?;
        Ok(())
    }

    fn check(&self) -> [u8; 8] {
        let numbers = [self.at.to_le_bytes(), (self.standing as i64).to_le_bytes()].concat();
        let (path, output) = (self.path.as_bytes(), self.output.as_bytes());
        let fields = [path, output, &self.trace.0.0, &self.skeleton.0, &numbers];
        match &self.slots {
            None => check_of("ledger", &fields),
            Some(slots) => check_of("ledger", &[&fields[..], &[&write_slots(slots)]].concat()),
        }
    }

    /// Whether it can be wrong, if this is spoken against.
    fn relies_on(&self, against: &Against) -> bool {
        match (against, &self.slots) {
            (Against::All, _) | (_, None) => true,
            (Against::Slots(slots), Some(own)) => own.iter().any(|slot| slots.contains(slot)),
        }
    }
}

fn write_slots(slots: &[String]) -> Vec<u8> {
    let mut writer = Writer::default();
    slots.iter().for_each(|slot| writer.bytes(slot.as_bytes()));
    writer.0
}

fn read_slots(bytes: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader(bytes);
    let mut slots = Vec::new();
    while !reader.is_empty() {
        slots.push(reader.text()?);
    }
    Some(slots)
}

/// A skeleton of which nothing is reused any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Of the derivation.
    pub skeleton: Digest,
    /// The trace that was found false.
    pub trace: TraceId,
    /// For a person.
    pub reason: String,
    /// Seconds since 1970.
    pub at: i64,
}

impl Store {
    /// Enters paths (output name, base name) that are about to be registered from a trace, although these
    /// slots have other hashes.
    ///
    /// # Errors
    /// The store cannot be written, or the trace was revoked, refuted or pruned since the decision (then
    /// `Ok(false)`): the paths must not be registered.
    pub fn note_reuse(
        &self,
        trace: &TraceId,
        paths: &[(String, String)],
        changed: &[String],
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let now = seconds(now);
        let unsaved = self.take_unsaved();
        self.write(|db| {
            super::record::save_unsaved(db, &unsaved, now)?;
            let Some(found) = Trace::load(db, trace)? else { return Ok(false) };
            if is_revoked(db, &found.skeleton)? || !still_holds(db, &found, changed)? {
                return Ok(false);
            }
            for (output, path) in paths {
                let standing = Standing::Stands;
                let (output, path, skeleton) = (output.clone(), path.clone(), found.skeleton);
                let slots = with_earlier(db, &path, &skeleton, changed)?;
                Entry { path, output, trace: *trace, skeleton, at: now, standing, slots }.save(db)?;
            }
            db.prepare_cached("UPDATE traces SET used = ?2, reuses = reuses + 1 WHERE number = ?1")?
                .execute([found.number, now])?;
            if let Some(closure) = closure::load(db, found.closure)? {
                fold::enter(db, &found.skeleton, found.shape, &closure)?;
            }
            count(db, "reused", 1)?;
            Ok(true)
        })
    }

    /// Enters what is to be in the ledger.
    #[cfg(test)]
    pub(crate) fn enter(&self, entry: &Entry) -> Result<(), StoreError> {
        self.write(|db| entry.save(db))
    }

    /// What came of building a reused result after all.
    ///
    /// If the bits were not the same, the skeleton is revoked with all its traces, and the paths that
    /// ever came from it are returned: they are to be repaired, or deleted with their referrers.
    ///
    /// # Errors
    /// The store cannot be written. A difference then must be reported to a person.
    pub fn doubt_result(
        &self,
        skeleton: &Digest,
        trace: &TraceId,
        same: bool,
        now: SystemTime,
    ) -> Result<Vec<Entry>, StoreError> {
        let now = seconds(now);
        self.write(|db| {
            count(db, "doubted", 1)?;
            if same {
                return Ok(Vec::new());
            }
            count(db, "false", 1)?;
            revoke(db, skeleton, trace, "a build gave other bits", now)
        })
    }

    /// Revokes a skeleton for another reason than a doubted reuse; returns the paths that came from it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn revoke(
        &self,
        skeleton: &Digest,
        trace: &TraceId,
        reason: &str,
        now: SystemTime,
    ) -> Result<Vec<Entry>, StoreError> {
        self.write(|db| revoke(db, skeleton, trace, reason, seconds(now)))
    }

    /// Lets a revoked skeleton begin anew, unless a path that came from it is yet to be repaired. Its old
    /// traces are gone, and with them all that was proven. Tells whether it begins anew.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn pardon(&self, skeleton: &Digest) -> Result<bool, StoreError> {
        self.write(|db| {
            let came = entries(db, "skeleton = ?1", &skeleton.0[..])?;
            if came.iter().any(|entry| entry.standing == Standing::Revoked) {
                return Ok(false);
            }
            Ok(db.execute("DELETE FROM revocations WHERE skeleton = ?1", [&skeleton.0[..]])? > 0)
        })
    }

    /// All revocations, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        self.with(|db| {
            let mut statement =
                db.prepare("SELECT skeleton, trace, reason, at FROM revocations ORDER BY at DESC")?;
            let rows = statement.query_map([], |row| {
                Ok(Revocation {
                    skeleton: Digest(row.get(0)?),
                    trace: TraceId(Digest(row.get(1)?)),
                    reason: row.get(2)?,
                    at: row.get(3)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The ledger's entries with this standing, by path.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ledger(&self, standing: Standing) -> Result<Vec<Entry>, StoreError> {
        self.with(|db| entries(db, "state = ?1", standing as i64))
    }

    /// What the ledger says of one path.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ledger_entry(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        self.with(|db| Ok(entries(db, "path = ?1", path)?.pop()))
    }

    /// Notes that a path was repaired: it was built and replaced, or is deleted.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn mark_repaired(&self, path: &str) -> Result<(), StoreError> {
        self.write(|db| {
            for mut entry in entries(db, "path = ?1", path)? {
                entry.standing = Standing::Repaired;
                entry.save(db)?;
            }
            Ok(())
        })
    }

    /// Strikes paths that no store has any more.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_paths(&self, paths: &[String]) -> Result<(), StoreError> {
        self.write(|db| {
            for path in paths {
                db.prepare_cached("DELETE FROM ledger WHERE path = ?1")?.execute([path])?;
            }
            Ok(())
        })
    }
}

fn entries(
    db: &Connection,
    condition: &str,
    value: impl rusqlite::ToSql,
) -> Result<Vec<Entry>, rusqlite::Error> {
    let sql = format!("SELECT {} FROM ledger WHERE {condition} ORDER BY path", Entry::COLUMNS);
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([value], Entry::read)?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// These slots, and those by which the same path was reused before: one that follows from its content is
/// that of several reuses.
fn with_earlier(
    db: &Connection,
    path: &str,
    skeleton: &Digest,
    changed: &[String],
) -> Result<Option<Vec<String>>, rusqlite::Error> {
    let mut all: BTreeSet<String> = changed.iter().cloned().collect();
    for entry in entries(db, "path = ?1", path)? {
        if entry.standing == Standing::Stands && entry.skeleton == *skeleton {
            let Some(slots) = entry.slots else { return Ok(None) };
            all.extend(slots);
        }
    }
    Ok(Some(all.into_iter().collect()))
}

/// Whether the proofs are still there that a trace may be reused by. Another run's build can have taken them.
fn still_holds(db: &Connection, trace: &Trace, changed: &[String]) -> Result<bool, rusqlite::Error> {
    let evidence = load_evidence(db, trace)?;
    let needs_none = |slot: &String| trace.produced.is_empty() && !evidence.refuted.contains(slot);
    Ok(!trace.unstable && changed.iter().all(|slot| evidence.proven.contains(slot) || needs_none(slot)))
}

/// Whether a path that was registered by reuse of this skeleton, and still counts as right, can be wrong.
pub(super) fn is_shaken(
    db: &Connection,
    skeleton: &Digest,
    against: &Against,
) -> Result<bool, rusqlite::Error> {
    let entries = entries(db, "skeleton = ?1", &skeleton.0[..])?;
    Ok(entries.iter().any(|entry| entry.standing == Standing::Stands && entry.relies_on(against)))
}

/// Revokes a skeleton, and returns the paths that came from it.
pub(super) fn revoke(
    db: &Connection,
    skeleton: &Digest,
    trace: &TraceId,
    reason: &str,
    now: i64,
) -> Result<Vec<Entry>, rusqlite::Error> {
    db.execute(
        "INSERT OR IGNORE INTO revocations VALUES (?1, ?2, ?3, ?4)",
        params![&skeleton.0[..], &trace.0.0[..], reason, now],
    )?;
    for trace in Trace::of_skeleton(db, skeleton)? {
        Trace::delete(db, trace.number)?;
    }
    db.execute("DELETE FROM nodes WHERE key = ?1", [&skeleton.0[..]])?;
    let mut entries = entries(db, "skeleton = ?1", &skeleton.0[..])?;
    for entry in &mut entries {
        if entry.standing == Standing::Stands {
            entry.standing = Standing::Revoked;
            entry.save(db)?;
        }
    }
    entries.retain(|entry| entry.standing == Standing::Revoked);
    Ok(entries)
}

/// Whether nothing of this skeleton may be reused.
pub(crate) fn is_revoked(db: &Connection, skeleton: &Digest) -> Result<bool, rusqlite::Error> {
    let found = db
        .prepare_cached("SELECT 1 FROM revocations WHERE skeleton = ?1")?
        .query_row([&skeleton.0[..]], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
