//! One trace: what it produced, and its row.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, check_of, digest_of, pack, unpack};
use crate::observation::Digest;

/// Names a trace: the digest of its skeleton, its questions and their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceId(pub Digest);

impl TraceId {
    pub(super) fn of(skeleton: &Digest, shape: &Digest, answers: &Digest) -> Self {
        Self(digest_of("trace", &[&skeleton.0, &shape.0, &answers.0]))
    }
}

/// The first twelve hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an output refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reference {
    /// The input in this slot.
    Slot(String),
    /// The output with this name of the same run, possibly itself.
    Output(String),
}

/// One output of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedOutput {
    /// `out`, `dev`, …
    pub name: String,
    /// The hash of its NAR, as the caller writes it.
    pub nar_hash: String,
    /// In bytes.
    pub nar_size: u64,
    /// Found by scanning.
    pub references: Vec<Reference>,
    /// Whether it is an empty file or an empty folder.
    pub is_empty: bool,
    /// Under which base name the bits lie in the store.
    pub store_base_name: String,
}

/// What a run produced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Produced {
    /// By name.
    pub outputs: Vec<ProducedOutput>,
    /// How long it ran.
    pub seconds: f64,
    /// Where its log is, in the caller's words. At most 4,096 bytes are kept.
    pub log: String,
}

/// The sizes of the NARs of an empty folder, an empty file, and an executable one.
const EMPTY_NARS: [u64; 3] = [96, 112, 144];

impl Produced {
    /// Whether nothing can hide in the outputs: all are empty. The claim is checked by size.
    pub(crate) fn is_empty(&self) -> bool {
        !self.outputs.is_empty()
            && self.outputs.iter().all(|output| {
                output.is_empty && output.references.is_empty() && EMPTY_NARS.contains(&output.nar_size)
            })
    }

    /// Whether both have the same outputs with the same bits.
    pub(crate) fn same_bits(&self, other: &Self) -> bool {
        let bits = |produced: &Self| {
            let mut bits: Vec<_> = produced
                .outputs
                .iter()
                .map(|output| {
                    let mut references = output.references.clone();
                    references.sort_unstable();
                    (output.name.clone(), output.nar_hash.clone(), output.nar_size, references)
                })
                .collect();
            bits.sort_unstable();
            bits
        };
        bits(self) == bits(other)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(&self.seconds.to_bits().to_le_bytes());
        let log = self.log.char_indices().take_while(|(at, _)| *at < 4096).last();
        writer.bytes(self.log.get(..log.map_or(0, |(at, c)| at + c.len_utf8())).unwrap_or("").as_bytes());
        writer.number(self.outputs.len() as u64);
        for output in &self.outputs {
            writer.bytes(output.name.as_bytes());
            writer.bytes(output.nar_hash.as_bytes());
            writer.number(output.nar_size);
            writer.byte(output.is_empty.into());
            writer.bytes(output.store_base_name.as_bytes());
            writer.number(output.references.len() as u64);
            for reference in &output.references {
                let (tag, name) = match reference {
                    Reference::Slot(key) => (0, key),
                    Reference::Output(name) => (1, name),
                };
                writer.byte(tag);
                writer.bytes(name.as_bytes());
            }
        }
        writer.0
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let seconds = f64::from_bits(u64::from_le_bytes(reader.raw(8)?.try_into().ok()?));
        let log = reader.text()?;
        let mut outputs = Vec::new();
        for _ in 0..reader.length()? {
            let mut output = ProducedOutput {
                name: reader.text()?,
                nar_hash: reader.text()?,
                nar_size: reader.number()?,
                is_empty: reader.byte()? == 1,
                store_base_name: reader.text()?,
                references: Vec::new(),
            };
            for _ in 0..reader.length()? {
                let tag = reader.byte()?;
                let name = reader.text()?;
                output.references.push(if tag == 0 {
                    Reference::Slot(name)
                } else {
                    Reference::Output(name)
                });
            }
            outputs.push(output);
        }
        reader.is_empty().then_some(Self { outputs, seconds, log })
    }
}

/// A trace as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) number: i64,
    pub(crate) id: TraceId,
    pub(crate) skeleton: Digest,
    pub(crate) shape: i64,
    pub(crate) closure: i64,
    pub(crate) produced: Produced,
    /// Seconds since 1970.
    pub(crate) recorded: i64,
    pub(crate) unstable: bool,
    /// When it was last recorded or reused; seconds since 1970.
    pub(crate) used: i64,
    pub(crate) reuses: i64,
}

const COLUMNS: &str =
    "number, id, skeleton, shape, closure, result, recorded, unstable, check_, used, reuses";

impl Trace {
    /// The trace with this id; `None` if there is none that can be believed.
    pub(crate) fn load(db: &Connection, id: &TraceId) -> Result<Option<Self>, rusqlite::Error> {
        let sql = format!("SELECT {COLUMNS} FROM traces WHERE id = ?1");
        let trace = db.prepare_cached(&sql)?.query_row([&id.0.0[..]], Self::read).optional()?;
        Ok(trace.flatten().filter(|trace| trace.id == *id))
    }

    /// The most recently used traces of a skeleton with this shape.
    pub(crate) fn latest(
        db: &Connection,
        skeleton: &Digest,
        shape: i64,
        count: usize,
    ) -> Result<Vec<Self>, rusqlite::Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM traces WHERE skeleton = ?1 AND shape = ?2 ORDER BY used DESC LIMIT {count}"
        );
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map(params![&skeleton.0[..], shape], Self::read)?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// All traces of a skeleton.
    pub(crate) fn of_skeleton(db: &Connection, skeleton: &Digest) -> Result<Vec<Self>, rusqlite::Error> {
        let sql = format!("SELECT {COLUMNS} FROM traces WHERE skeleton = ?1 ORDER BY used DESC");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map([&skeleton.0[..]], Self::read)?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    fn read(row: &Row<'_>) -> Result<Option<Self>, rusqlite::Error> {
        let digest = |index| -> Result<Option<Digest>, rusqlite::Error> {
            Ok(row.get_ref(index)?.as_blob()?.try_into().ok().map(Digest))
        };
        let Some((id, skeleton)) = digest(1)?.zip(digest(2)?) else { return Ok(None) };
        let result = row.get_ref(5)?.as_blob()?;
        let Some(produced) = unpack(result).and_then(|bytes| Produced::from_bytes(&bytes)) else {
            return Ok(None);
        };
        let trace = Self {
            number: row.get(0)?,
            id: TraceId(id),
            skeleton,
            shape: row.get(3)?,
            closure: row.get(4)?,
            produced,
            recorded: row.get(6)?,
            unstable: row.get::<_, i64>(7)? != 0,
            used: row.get(9)?,
            reuses: row.get(10)?,
        };
        Ok((trace.check(result)[..] == *row.get_ref(8)?.as_blob()?).then_some(trace))
    }

    fn check(&self, result: &[u8]) -> [u8; 8] {
        let numbers = [self.number, self.shape, self.closure, self.recorded, i64::from(self.unstable)];
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        check_of("trace", &[&self.id.0.0, &self.skeleton.0, &numbers, result])
    }

    /// Writes it; a trace with number 0 is new and gets one.
    pub(crate) fn save(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
        if self.number == 0 {
            db.prepare_cached(
                "INSERT INTO traces (id, skeleton, shape, closure, result, recorded, unstable, check_, seconds,
                     used, reuses)
                 VALUES (?1, ?2, ?3, 0, x'', 0, 0, x'', 0, 0, 0)",
            )?
            .execute(params![&self.id.0.0[..], &self.skeleton.0[..], self.shape])?;
            self.number = db.last_insert_rowid();
        }
        let result = pack(&self.produced.to_bytes());
        db.prepare_cached(
            "UPDATE traces SET closure = ?2, result = ?3, recorded = ?4, unstable = ?5, check_ = ?6,
                 seconds = ?7, used = ?8
             WHERE number = ?1",
        )?
        .execute(params![
            self.number,
            self.closure,
            result,
            self.recorded,
            i64::from(self.unstable),
            &self.check(&result)[..],
            self.produced.seconds,
            self.used,
        ])?;
        Ok(())
    }

    /// Removes traces' rows and their evidence.
    pub(crate) fn delete(db: &Connection, number: i64) -> Result<(), rusqlite::Error> {
        db.prepare_cached("DELETE FROM evidence WHERE trace = ?1")?.execute([number])?;
        db.prepare_cached("DELETE FROM traces WHERE number = ?1")?.execute([number])?;
        Ok(())
    }
}
