//! Digests of bytes modulo the hashes that occur in them.
//!
//! As in Nix's scanner for references, a hash is any 32 characters of Nix's base-32 alphabet, found by
//! looking at the last character first: most bytes are never looked at. It counts as one if it is among
//! those that are asked for, or if the characters around it are none of the alphabet: then it may be
//! the hash of *some* store path, and which build has that path as an input is not known here. Found
//! hashes are overwritten by zeros, and where each one stood, and which one it was, is digested after the
//! bytes.
//!
//! Two contents have one digest if and only if they are equal but for the hashes, the same hash stands
//! wherever the same hash stood, and no two have become one.

use std::collections::HashSet;
use std::io::{self, Read};

use crate::inputs::HASH_LENGTH;
use crate::observation::Digest;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// The hash that a store path begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HashPart(pub(crate) [u8; HASH_LENGTH]);

impl HashPart {
    /// A hash, if that is what the text is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; HASH_LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|&byte| IN_ALPHABET[usize::from(byte)]).then_some(Self(bytes))
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The digest of a text modulo these hashes, and the hashes found, in the order of their first occurrence.
pub(crate) fn of_bytes(mut bytes: Vec<u8>, hashes: &[HashPart]) -> (Digest, Vec<HashPart>) {
    let mut masker = Masker::new(hashes);
    masker.mask(&mut bytes, true);
    masker.finish()
}

/// The digest of everything a reader yields, which is probably so many bytes; see [`of_bytes`].
pub(crate) fn of_reader(
    mut reader: impl Read,
    size: u64,
    hashes: &[HashPart],
) -> io::Result<(Digest, Vec<HashPart>)> {
    let mut masker = Masker::new(hashes);
    let chunk = usize::try_from(size).unwrap_or(CHUNK).min(CHUNK);
    let mut buffer = vec![0; chunk + 2 * HASH_LENGTH];
    let mut kept = 0;
    loop {
        let read = match reader.read(&mut buffer[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let filled = kept + read;
        let settled = masker.mask(&mut buffer[..filled], read == 0);
        buffer.copy_within(settled..filled, 0);
        kept = filled - settled;
        if read == 0 {
            return Ok(masker.finish());
        }
    }
}

/// Whether any of these hashes stands in the bytes.
pub(crate) fn contains_any(bytes: &[u8], hashes: &HashSet<HashPart>) -> bool {
    candidates(bytes).any(|(_, part)| hashes.contains(&part))
}

/// Everything in the bytes that could be a hash, with its place; they may overlap.
pub(crate) fn candidates(bytes: &[u8]) -> impl Iterator<Item = (usize, HashPart)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let next = next_candidate(bytes, at)?;
        at = next + 1;
        Some((next, candidate(bytes, next)?))
    })
}

struct Masker {
    wanted: HashSet<HashPart>,
    stream: blake3::Hasher,
    places: blake3::Hasher,
    found: Vec<HashPart>,
    /// Of the buffer's first byte in the whole.
    offset: u64,
    /// The byte before that, masked.
    before: Option<u8>,
}

impl Masker {
    fn new(hashes: &[HashPart]) -> Self {
        Self {
            wanted: hashes.iter().copied().collect(),
            stream: blake3::Hasher::new(),
            places: blake3::Hasher::new(),
            found: Vec::new(),
            offset: 0,
            before: None,
        }
    }

    /// Digests the bytes but for the last few, masking what it finds, and tells how many it has digested: no
    /// hash can begin in them that goes beyond their end. The others come again, with more behind them.
    fn mask(&mut self, bytes: &mut [u8], is_last: bool) -> usize {
        let mut at = 0;
        while let Some(next) = next_candidate(bytes, at) {
            let end = next + HASH_LENGTH;
            if end == bytes.len() && !is_last {
                break;
            }
            let before = next.checked_sub(1).map_or(self.before, |before| Some(bytes[before]));
            let stands_alone = || [before, bytes.get(end).copied()].into_iter().flatten().all(is_boundary);
            match candidate(bytes, next).filter(|part| self.wanted.contains(part) || stands_alone()) {
                Some(part) => {
                    self.note(next, part);
                    bytes[next..end].fill(0);
                    at = end;
                }
                None => at = next + 1,
            }
        }
        let settled = if is_last { bytes.len() } else { at.max(bytes.len().saturating_sub(HASH_LENGTH)) };
        self.stream.update(&bytes[..settled]);
        self.offset += settled as u64;
        self.before = bytes[..settled].last().copied().or(self.before);
        settled
    }

    fn note(&mut self, at: usize, part: HashPart) {
        let ordinal = self.found.iter().position(|known| *known == part).unwrap_or_else(|| {
            self.found.push(part);
            self.found.len() - 1
        });
        self.places.update(&(self.offset + at as u64).to_le_bytes());
        self.places.update(&(ordinal as u64).to_le_bytes());
    }

    fn finish(self) -> (Digest, Vec<HashPart>) {
        let mut whole = blake3::Hasher::new();
        whole.update(self.stream.finalize().as_bytes());
        whole.update(self.places.finalize().as_bytes());
        (Digest(whole.finalize().into()), self.found)
    }
}

/// The next place, from `at` on, where 32 characters of the alphabet stand.
fn next_candidate(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(window) = bytes.get(at..at + HASH_LENGTH) {
        match window.iter().rposition(|&byte| !IN_ALPHABET[usize::from(byte)]) {
            None => return Some(at),
            Some(wrong) => at += wrong + 1,
        }
    }
    None
}

/// Whether a hash may end before this byte, or begin after it.
pub(crate) fn is_boundary(byte: u8) -> bool {
    !IN_ALPHABET[usize::from(byte)]
}

fn candidate(bytes: &[u8], at: usize) -> Option<HashPart> {
    bytes.get(at..at + HASH_LENGTH)?.try_into().ok().map(HashPart)
}

/// Nix's base 32: no `e`, `o`, `t`, `u`.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

const IN_ALPHABET: [bool; 256] = {
    let mut table = [false; 256];
    let mut index = 0;
    while index < ALPHABET.len() {
        table[ALPHABET[index] as usize] = true;
        index += 1;
    }
    table
};
