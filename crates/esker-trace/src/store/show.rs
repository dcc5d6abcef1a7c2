//! Traces as a person may see them.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::codec::Reader;
use super::evidence::load_evidence;
use super::kept::load_answers;
use super::project::{MemoKey, load_memo};
use super::rows::{load_head, load_shape};
use super::trace::{Produced, Trace, TraceId};
use super::{Store, StoreError, closure};
use crate::answer::raw::{Raw, Slots};
use crate::observation::{Answer, Digest, Kind};

/// Among how many traces a log is looked for.
const NEWEST: i64 = 20_000;

/// A trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub trace: TraceId,
    /// Of the derivation.
    pub skeleton: Digest,
    /// What its newest build produced.
    pub produced: Produced,
    /// When that was; seconds since 1970.
    pub recorded: i64,
    /// How often it was reused.
    pub reuses: u64,
    /// Equal inputs gave other bits.
    pub unstable: bool,
    /// The hash of each slot in its newest build, by key.
    pub inputs: Vec<(String, String)>,
    /// Slots whose hashes do not matter.
    pub proven: Vec<String>,
    /// Slots whose hashes may matter.
    pub refuted: Vec<String>,
}

/// One question of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The slot.
    pub key: String,
    /// Below the input.
    pub path: Vec<u8>,
    /// What was asked.
    pub kind: Kind,
    /// `None` if it is no longer known.
    pub answer: Option<Answer>,
}

/// The whole store in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Derivations of which something is known.
    pub skeletons: u64,
    /// Traces.
    pub traces: u64,
    /// Sets of questions.
    pub shapes: u64,
    /// Skeletons of which nothing is reused any more.
    pub revoked: u64,
    /// Paths that were registered by reuse.
    pub ledger: u64,
    /// Size of the database.
    pub bytes: u64,
    /// See [`Store::counters`].
    pub counters: BTreeMap<String, u64>,
}

impl Store {
    /// A trace; `None` if there is none that can be believed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn trace(&self, trace: &TraceId) -> Result<Option<Summary>, StoreError> {
        self.with(|db| Trace::load(db, trace)?.map(|trace| summary(db, trace)).transpose())
    }

    /// The newest traces, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn traces(&self, most: usize) -> Result<Vec<Summary>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare("SELECT id FROM traces ORDER BY number DESC LIMIT ?1")?;
            let ids = statement.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| row.get(0))?;
            let mut traces = Vec::new();
            for id in ids {
                if let Some(trace) = Trace::load(db, &TraceId(Digest(id?)))? {
                    traces.push(summary(db, trace)?);
                }
            }
            Ok(traces)
        })
    }

    /// The traces whose names begin with these hexadecimal digits, at most ten.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn traces_named(&self, start: &str) -> Result<Vec<TraceId>, StoreError> {
        let start = start.to_ascii_lowercase();
        if start.len() > 64 || !start.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let bound = |filler: u8| -> Vec<u8> {
            let digits: Vec<u8> = start.bytes().chain(std::iter::repeat(filler)).take(64).collect();
            let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
            digits.as_chunks::<2>().0.iter().map(|[a, b]| value(*a) << 4 | value(*b)).collect()
        };
        self.with(|db| {
            let mut statement = db.prepare("SELECT id FROM traces WHERE id BETWEEN ?1 AND ?2 LIMIT 10")?;
            let rows =
                statement.query_map([bound(b'0'), bound(b'f')], |row| Ok(TraceId(Digest(row.get(0)?))))?;
            rows.collect()
        })
    }

    /// A trace whose newest build has this [`Produced::log`]: of the skeleton of `near`, if there is one, else
    /// among the newest traces.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn trace_of_log(&self, log: &str, near: Option<&TraceId>) -> Result<Option<TraceId>, StoreError> {
        self.with(|db| {
            if let Some(near) = near
                && let Some(near) = Trace::load(db, near)?
            {
                let akin = Trace::of_skeleton(db, &near.skeleton)?;
                if let Some(trace) = akin.iter().find(|trace| trace.produced.log == log) {
                    return Ok(Some(trace.id));
                }
            }
            let mut statement = db.prepare("SELECT id FROM traces ORDER BY number DESC LIMIT ?1")?;
            let ids = statement.query_map([NEWEST], |row| row.get(0))?;
            for id in ids {
                let trace = Trace::load(db, &TraceId(Digest(id?)))?;
                if let Some(trace) = trace.filter(|trace| trace.produced.log == log) {
                    return Ok(Some(trace.id));
                }
            }
            Ok(None)
        })
    }

    /// All questions of a trace, with the answers of its newest build. `None` if the trace is not known.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn observations(&self, trace: &TraceId) -> Result<Option<Vec<Observed>>, StoreError> {
        self.with(|db| match Trace::load(db, trace)? {
            Some(trace) => observations(db, &trace),
            None => Ok(None),
        })
    }

    /// The whole store in numbers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let (bytes, counters) = (self.size()?, self.counters()?);
        self.with(|db| {
            let count = |what: &str| {
                db.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get::<_, i64>(0))
                    .map(i64::cast_unsigned)
            };
            Ok(Stats {
                skeletons: count("nodes WHERE parent IS NULL")?,
                traces: count("traces")?,
                shapes: count("shapes")?,
                revoked: count("revocations")?,
                ledger: count("ledger")?,
                bytes,
                counters: counters.clone(),
            })
        })
    }
}

fn summary(db: &Connection, trace: Trace) -> Result<Summary, rusqlite::Error> {
    let evidence = load_evidence(db, &trace)?;
    let sorted = |set: std::collections::HashSet<String>| {
        let mut keys: Vec<String> = set.into_iter().collect();
        keys.sort_unstable();
        keys
    };
    Ok(Summary {
        trace: trace.id,
        skeleton: trace.skeleton,
        recorded: trace.recorded,
        reuses: trace.reuses.try_into().unwrap_or(0),
        unstable: trace.unstable,
        inputs: closure::load(db, trace.closure)?.map(|closure| closure.0).unwrap_or_default(),
        proven: sorted(evidence.proven),
        refuted: sorted(evidence.refuted),
        produced: trace.produced,
    })
}

fn observations(db: &Connection, trace: &Trace) -> Result<Option<Vec<Observed>>, rusqlite::Error> {
    let (Some(head), Some(closure)) = (load_head(db, trace.shape)?, closure::load(db, trace.closure)?) else {
        return Ok(None);
    };
    let Some(shape) = load_shape(db, &head)? else { return Ok(None) };
    let slots = Slots::of_pairs(closure.0.iter().map(|(key, hash)| (key.as_str(), hash.as_str())));
    let mut all = Vec::with_capacity(shape.len());
    for (index, slot) in shape.0.into_iter().enumerate() {
        let hash = closure.hash_of(&slot.key).unwrap_or_default().to_owned();
        let memo = load_memo(db, &MemoKey { shape: head.digest, slot: index, hash }, head.id)?;
        let bytes = match &memo {
            Some(memo) => load_answers(db, &memo.digest)?,
            None => None,
        };
        let hashes = memo.map(|memo| memo.hashes).unwrap_or_default();
        let mut reader = Reader(bytes.as_deref().unwrap_or_default());
        for (path, kind) in slot.questions {
            let answer = Raw::read(&mut reader, &hashes).map(|raw| raw.resolve(&slots));
            all.push(Observed { key: slot.key.clone(), path, kind, answer });
        }
    }
    Ok(Some(all))
}
