//! Digests of big files, by hash part and path.

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::codec::{Reader, Writer, check_of, digest_of};
use crate::answer::HashPart;
use crate::answer::raw::Raw;
use crate::inputs::Input;
use crate::observation::Digest;

/// A digest that the database may not have yet.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) key: Digest,
    stamp: u64,
    body: Vec<u8>,
}

impl Store {
    /// The content of a file, if it is remembered from when the input's folder had this stamp.
    pub(crate) fn known_content(&self, input: &Input, path: &[u8], stamp: u64) -> Option<Raw> {
        let key = key_of(input, path);
        let in_memory = self.memory().contents.get(&key).cloned();
        let content = match in_memory {
            Some(content) => content,
            None => self.with(|db| load(db, &key)).ok().flatten()?,
        };
        (content.stamp == stamp).then(|| from_bytes(&content.body))?
    }

    /// Remembers it.
    pub(crate) fn remember_content(
        &self,
        input: &Input,
        path: &[u8],
        stamp: u64,
        digest: &Digest,
        hashes: &[HashPart],
    ) {
        let content = Content { key: key_of(input, path), stamp, body: to_bytes(digest, hashes) };
        self.memory().learn_content(content);
    }
}

fn key_of(input: &Input, path: &[u8]) -> Digest {
    digest_of("content 2", &[input.hash_part().as_bytes(), path])
}

fn to_bytes(digest: &Digest, hashes: &[HashPart]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.raw(&digest.0);
    for hash in hashes {
        writer.raw(&hash.0);
    }
    writer.0
}

fn from_bytes(bytes: &[u8]) -> Option<Raw> {
    let mut reader = Reader(bytes);
    let digest = reader.digest()?;
    let (hashes, rest) = reader.0.as_chunks();
    rest.is_empty().then(|| Raw::Content(digest, hashes.iter().map(|hash| HashPart(*hash)).collect()))
}

fn load(db: &Connection, key: &Digest) -> Result<Option<Content>, rusqlite::Error> {
    let content = db
        .prepare_cached("SELECT stamp, body, check_ FROM contents WHERE key = ?1")?
        .query_row([&key.0[..]], |row| {
            let content =
                Content { key: *key, stamp: row.get::<_, i64>(0)?.cast_unsigned(), body: row.get(1)? };
            Ok((check(&content)[..] == *row.get_ref(2)?.as_blob()?).then_some(content))
        })
        .optional()?;
    Ok(content.flatten())
}

pub(super) fn save(db: &Connection, content: &Content, now: i64) -> Result<(), rusqlite::Error> {
    db.prepare_cached("INSERT OR REPLACE INTO contents VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        &content.key.0[..],
        content.stamp.cast_signed(),
        content.body,
        &check(content)[..],
        now
    ])?;
    Ok(())
}

fn check(content: &Content) -> [u8; 8] {
    check_of("content 2", &[&content.key.0, &content.stamp.to_le_bytes(), &content.body])
}
