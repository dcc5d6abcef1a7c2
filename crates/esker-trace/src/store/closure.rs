//! Closures: which hash each slot had in a build.
//!
//! The closures of neighbouring builds differ in a few slots, so one is kept whole and the next ones as
//! what differs from it. Each has the digest of the whole, and is believed only with it.

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{Reader, Writer, check_of, digest_of, pack, unpack};
use crate::inputs::Inputs;
use crate::observation::Digest;

/// Pairs of slot key and hash part, sorted by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closure(pub(crate) Vec<(String, String)>);

impl Closure {
    pub(crate) fn of(inputs: &Inputs) -> Self {
        let pair = |input: &crate::inputs::Input| (input.key.clone(), input.hash_part().to_owned());
        Self(inputs.as_slice().iter().map(pair).collect())
    }

    /// The keys of all slots whose hashes differ, or that only one of the two has.
    pub(crate) fn differing(&self, inputs: &Inputs) -> Vec<String> {
        let mut then = self.0.iter().peekable();
        let mut keys = Vec::new();
        for input in inputs.as_slice() {
            while let Some((key, _)) = then.next_if(|(key, _)| *key < input.key) {
                keys.push(key.clone());
            }
            let hash = then.next_if(|(key, _)| *key == input.key).map(|(_, hash)| hash.as_str());
            if hash != Some(input.hash_part()) {
                keys.push(input.key.clone());
            }
        }
        keys.extend(then.map(|(key, _)| key.clone()));
        keys
    }

    pub(crate) fn hash_of(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        self.0.get(at).map(|(_, hash)| hash.as_str())
    }

    pub(crate) fn digest(&self) -> Digest {
        digest_of("closure", &[&write(&self.0, &[])])
    }

    /// This one as a difference: pairs to put in and keys to take out.
    fn minus(&self, base: &Self) -> Vec<u8> {
        let put: Vec<_> = self.0.iter().filter(|pair| base.0.binary_search(pair).is_err()).cloned().collect();
        let gone: Vec<_> =
            base.0.iter().map(|(key, _)| key).filter(|key| self.hash_of(key).is_none()).cloned().collect();
        write(&put, &gone)
    }

    fn plus(mut self, difference: &[u8]) -> Option<Self> {
        let (put, gone) = read(difference)?;
        self.0.retain(|(key, _)| !gone.contains(key) && put.binary_search_by(|(k, _)| k.cmp(key)).is_err());
        self.0.extend(put);
        self.0.sort_unstable();
        Some(self)
    }
}

fn write(put: &[(String, String)], gone: &[String]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(put.len() as u64);
    for (key, hash) in put {
        writer.bytes(key.as_bytes());
        writer.bytes(hash.as_bytes());
    }
    writer.number(gone.len() as u64);
    for key in gone {
        writer.bytes(key.as_bytes());
    }
    writer.0
}

/// Pairs to put in, and keys to take out.
type Difference = (Vec<(String, String)>, Vec<String>);

fn read(bytes: &[u8]) -> Option<Difference> {
    let mut reader = Reader(bytes);
    let (mut put, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..reader.length()? {
        put.push((reader.text()?, reader.text()?));
    }
    for _ in 0..reader.length()? {
        gone.push(reader.text()?);
    }
    reader.is_empty().then_some((put, gone))
}

/// The closure with this id; `None` if it is not there or damaged.
pub(super) fn load(db: &Connection, id: i64) -> Result<Option<Closure>, rusqlite::Error> {
    let Some((digest, base, body)) = row(db, id)? else { return Ok(None) };
    let whole = |body: &[u8]| unpack(body).and_then(|bytes| Closure(Vec::new()).plus(&bytes));
    let closure = match base {
        None => whole(&body),
        // A base has no base itself.
        Some(base) => row(db, base)?
            .filter(|(_, base, _)| base.is_none())
            .and_then(|(_, _, base)| whole(&base)?.plus(&unpack(&body)?)),
    };
    Ok(closure.filter(|closure| closure.digest().0[..] == digest))
}

type ClosureRow = ([u8; 32], Option<i64>, Vec<u8>);

fn row(db: &Connection, id: i64) -> Result<Option<ClosureRow>, rusqlite::Error> {
    let row = db
        .prepare_cached("SELECT digest, base, body, check_ FROM closures WHERE id = ?1")?
        .query_row([id], |row| {
            let digest = row.get(0)?;
            let sound = check(id, &digest)[..] == *row.get_ref(3)?.as_blob()?;
            Ok(sound.then_some((digest, row.get(1)?, row.get(2)?)))
        })
        .optional()?;
    Ok(row.flatten())
}

/// Ties the id, by which traces know a closure, to what it is.
fn check(id: i64, digest: &[u8; 32]) -> [u8; 8] {
    check_of("closure", &[&id.to_le_bytes(), digest])
}

/// Stores a closure if it is new, as a difference from `near` if that is shorter, and tells its id.
pub(super) fn store(db: &Connection, closure: &Closure, near: Option<i64>) -> Result<i64, rusqlite::Error> {
    let digest = closure.digest();
    let known: Option<i64> = db
        .prepare_cached("SELECT id FROM closures WHERE digest = ?1")?
        .query_row([&digest.0[..]], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        if load(db, id)?.is_some() {
            return Ok(id);
        }
        db.execute("DELETE FROM closures WHERE id = ?1", [id])?;
    }
    let mut best = (None, pack(&closure.minus(&Closure(Vec::new()))));
    let limit = best.1.len() / 2;
    for root in roots(db, near)? {
        if let Some(whole) = load(db, root)? {
            let difference = pack(&closure.minus(&whole));
            if difference.len() < limit.min(best.1.len()) {
                best = (Some(root), difference);
            }
        }
    }
    let (base, body) = best;
    db.prepare_cached("INSERT INTO closures (digest, base, body, check_) VALUES (?1, ?2, ?3, x'')")?
        .execute(params![&digest.0[..], base, body])?;
    let id = db.last_insert_rowid();
    db.prepare_cached("UPDATE closures SET check_ = ?2 WHERE id = ?1")?
        .execute(params![id, &check(id, &digest.0)[..]])?;
    Ok(id)
}

/// Closures that are kept whole and may be much alike: that of a neighbour, if there is one, and the newest.
fn roots(db: &Connection, near: Option<i64>) -> Result<Vec<i64>, rusqlite::Error> {
    if let Some(near) = near {
        let base: Option<Option<i64>> = db
            .prepare_cached("SELECT base FROM closures WHERE id = ?1")?
            .query_row([near], |row| row.get(0))
            .optional()?;
        return Ok(base.map(|base| base.unwrap_or(near)).into_iter().collect());
    }
    let mut statement =
        db.prepare_cached("SELECT id FROM closures WHERE base IS NULL ORDER BY id DESC LIMIT 4")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}
