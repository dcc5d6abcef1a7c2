//! Answers that do not know the slots of a build: what is kept of an input from build to build.

use std::collections::HashMap;

use super::modulo::HashPart;
use crate::inputs::Inputs;
use crate::observation::{Answer, Digest};
use crate::store::codec::{Reader, Writer};

/// An answer with the hashes that it is modulo of, in the order of their first occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    Absent,
    Directory,
    Regular { executable: bool, size: u64 },
    Symlink,
    Content(Digest, Vec<HashPart>),
    Names(Digest, Vec<HashPart>),
    Target(Digest, Vec<HashPart>),
}

impl Raw {
    /// The answer in a build with these inputs.
    pub(crate) fn resolve(&self, slots: &Slots<'_>) -> Answer {
        match self {
            Self::Absent => Answer::Absent,
            Self::Directory => Answer::Directory,
            Self::Regular { executable, size } => Answer::Regular { executable: *executable, size: *size },
            Self::Symlink => Answer::Symlink,
            Self::Content(digest, hashes) => Answer::Content(with_slots(*digest, hashes, slots)),
            Self::Names(digest, hashes) => Answer::Names(with_slots(*digest, hashes, slots)),
            Self::Target(digest, hashes) => Answer::Target(with_slots(*digest, hashes, slots)),
        }
    }

    /// Appends it to a record; hashes become their places in `table`, which grows.
    pub(crate) fn write(&self, writer: &mut Writer, table: &mut Vec<HashPart>) {
        match self {
            Self::Absent => writer.byte(0),
            Self::Directory => writer.byte(1),
            Self::Regular { executable, size } => {
                writer.byte(if *executable { 3 } else { 2 });
                writer.number(*size);
            }
            Self::Symlink => writer.byte(4),
            Self::Names(digest, hashes) | Self::Content(digest, hashes) | Self::Target(digest, hashes) => {
                writer.byte(match self {
                    Self::Names(..) => 5,
                    Self::Content(..) => 6,
                    _ => 7,
                });
                writer.raw(&digest.0);
                writer.number(hashes.len() as u64);
                for hash in hashes {
                    let place = table.iter().position(|known| known == hash).unwrap_or_else(|| {
                        table.push(*hash);
                        table.len() - 1
                    });
                    writer.number(place as u64);
                }
            }
        }
    }

    /// Reads what [`Raw::write`] wrote; `None` if that is not what it is.
    pub(crate) fn read(reader: &mut Reader<'_>, table: &[HashPart]) -> Option<Self> {
        Some(match reader.byte()? {
            0 => Self::Absent,
            1 => Self::Directory,
            tag @ (2 | 3) => Self::Regular { executable: tag == 3, size: reader.number()? },
            4 => Self::Symlink,
            tag @ 5..=7 => {
                let digest = reader.digest()?;
                let count = reader.length()?;
                let mut hashes = Vec::new();
                for _ in 0..count {
                    hashes.push(*table.get(reader.length()?)?);
                }
                match tag {
                    5 => Self::Names(digest, hashes),
                    6 => Self::Content(digest, hashes),
                    _ => Self::Target(digest, hashes),
                }
            }
            _ => return None,
        })
    }
}

/// Which slot each hash has in one build.
pub(crate) struct Slots<'a>(HashMap<&'a str, &'a str>);

impl<'a> Slots<'a> {
    pub(crate) fn new(inputs: &'a Inputs) -> Self {
        Self::of_pairs(inputs.as_slice().iter().map(|input| (input.key.as_str(), input.hash_part())))
    }

    /// From pairs of key and hash, sorted by key. If two slots share a hash, it is the first's.
    pub(crate) fn of_pairs(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut slots = HashMap::new();
        for (key, hash) in pairs {
            slots.entry(hash).or_insert(key);
        }
        Self(slots)
    }

    /// Digests what a hash is in this build: its slot, or itself.
    pub(crate) fn digest(&self, hasher: &mut blake3::Hasher, hash: &HashPart) {
        let (tag, text) = match self.0.get(hash.as_str()) {
            Some(key) => (1, key.as_bytes()),
            None => (0, &hash.0[..]),
        };
        hasher.update(&[tag]);
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
}

fn with_slots(digest: Digest, hashes: &[HashPart], slots: &Slots<'_>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&digest.0);
    for hash in hashes {
        slots.digest(&mut hasher, hash);
    }
    Digest(hasher.finalize().into())
}
