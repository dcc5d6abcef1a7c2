//! Rows of nodes, shapes and answers.

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{check_of, digest_of, pack, unpack};
use super::project::Head;
use super::shape::Shape;
use crate::observation::Digest;

/// The most shapes that one node has.
pub(crate) const MOST_SHAPES: usize = 16;

/// A skeleton, perhaps together with the hashes of some of its slots: where traces are looked up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Ids of shapes, most recently used first, at most [`MOST_SHAPES`].
    pub(crate) shapes: Vec<i64>,
    /// A slot whose hash belongs to the key; then the traces are with the node of [`folded_key`].
    pub(crate) folded: Option<String>,
    /// The skeleton, if its own key is another one.
    pub(crate) parent: Option<Digest>,
}

impl Node {
    pub(crate) fn load(db: &Connection, key: &Digest) -> Result<Option<Self>, rusqlite::Error> {
        let node = db
            .prepare_cached("SELECT shapes, folded, check_, parent FROM nodes WHERE key = ?1")?
            .query_row([&key.0[..]], |row| {
                let shapes = row.get_ref(0)?.as_blob()?;
                let node = Self {
                    shapes: shapes
                        .as_chunks::<8>()
                        .0
                        .iter()
                        .map(|bytes| i64::from_le_bytes(*bytes))
                        .collect(),
                    folded: row.get(1)?,
                    parent: row.get::<_, Option<[u8; 32]>>(3)?.map(Digest),
                };
                Ok((node.check(key)[..] == *row.get_ref(2)?.as_blob()?).then_some(node))
            })
            .optional()?;
        Ok(node.flatten())
    }

    pub(crate) fn save(&self, db: &Connection, key: &Digest) -> Result<(), rusqlite::Error> {
        db.prepare_cached(
            "INSERT OR REPLACE INTO nodes (key, shapes, folded, parent, check_) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            &key.0[..],
            self.shape_bytes(),
            self.folded,
            self.parent.map(|parent| parent.0),
            &self.check(key)[..]
        ])?;
        Ok(())
    }

    /// Puts a shape to the front. Tells whether it was not there.
    pub(crate) fn touch(&mut self, shape: i64) -> bool {
        let before = self.shapes.len();
        self.shapes.retain(|known| *known != shape);
        let is_new = self.shapes.len() == before;
        self.shapes.insert(0, shape);
        is_new
    }

    fn shape_bytes(&self) -> Vec<u8> {
        self.shapes.iter().flat_map(|id| id.to_le_bytes()).collect()
    }

    fn check(&self, key: &Digest) -> [u8; 8] {
        let folded = self.folded.as_deref().unwrap_or("\0");
        check_of("node", &[&key.0, &self.shape_bytes(), folded.as_bytes()])
    }
}

/// The key of the node for inputs with this hash in the folded slot.
pub(crate) fn folded_key(node: &Digest, slot: &str, hash: Option<&str>) -> Digest {
    digest_of("folded", &[&node.0, slot.as_bytes(), hash.unwrap_or("").as_bytes()])
}

/// A shape without its questions; `None` if it is lost or damaged.
pub(crate) fn load_head(db: &Connection, id: i64) -> Result<Option<Head>, rusqlite::Error> {
    let head = db
        .prepare_cached("SELECT digest, keys, check_ FROM shapes WHERE id = ?1")?
        .query_row([id], |row| {
            let (digest, keys) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            let sound = check_of("shape", &[digest, keys])[..] == *row.get_ref(2)?.as_blob()?;
            let keys = Shape::keys_from_bytes(keys).filter(|_| sound);
            Ok(keys.zip(digest.try_into().ok()).map(|(keys, digest)| Head {
                id,
                digest: Digest(digest),
                keys,
            }))
        })
        .optional()?;
    Ok(head.flatten())
}

/// Under which id this database has a shape.
pub(crate) fn shape_id(db: &Connection, digest: &Digest) -> Result<Option<i64>, rusqlite::Error> {
    db.prepare_cached("SELECT id FROM shapes WHERE digest = ?1")?
        .query_row([&digest.0[..]], |row| row.get(0))
        .optional()
}

/// The questions of a shape.
pub(crate) fn load_shape(db: &Connection, head: &Head) -> Result<Option<Shape>, rusqlite::Error> {
    let body: Option<Vec<u8>> = db
        .prepare_cached("SELECT body FROM shapes WHERE id = ?1")?
        .query_row([head.id], |row| row.get(0))
        .optional()?;
    let bytes = body.and_then(|body| unpack(&body)).filter(|bytes| Shape::digest(bytes) == head.digest);
    Ok(bytes.and_then(|bytes| Shape::from_bytes(&bytes)))
}

/// Stores a shape if it is new.
pub(crate) fn save_shape(db: &Connection, shape: &Shape) -> Result<Head, rusqlite::Error> {
    let bytes = shape.to_bytes();
    let digest = Shape::digest(&bytes);
    if let Some(id) = shape_id(db, &digest)? {
        if let Some(head) = load_head(db, id)?.filter(|head| head.digest == digest)
            && load_shape(db, &head)?.is_some()
        {
            return Ok(head);
        }
        db.execute("DELETE FROM shapes WHERE id = ?1", [id])?;
    }
    let keys = shape.keys_to_bytes();
    db.prepare_cached("INSERT INTO shapes (digest, keys, check_, count, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            &digest.0[..],
            keys,
            &check_of("shape", &[&digest.0, &keys])[..],
            shape.len() as i64,
            pack(&bytes)
        ])?;
    let keys = shape.0.iter().map(|slot| slot.key.clone()).collect();
    Ok(Head { id: db.last_insert_rowid(), digest, keys })
}
