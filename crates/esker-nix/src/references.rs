//! Finds store paths in any bytes, as Nix does: by the hash they begin with, alone.
//!
//! Source: the Nix manual, "Store object", references; `RefScanSink` in `libstore`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::StorePath;
use crate::base32;

/// Length of the hash in a store path, in characters.
pub const HASH_LENGTH: usize = 32;

/// The places in `text` of the hashes that are `known`, from left to right, none inside another.
pub fn hashes_in(text: &[u8], known: impl Fn(&str) -> bool) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(window) = text.get(at..at + HASH_LENGTH) {
            // The last character that cannot be in a hash tells how far to go on.
            if let Some(wrong) = window.iter().rposition(|byte| !base32::is_digit(*byte)) {
                at += wrong + 1;
                continue;
            }
            let hash = std::str::from_utf8(window).unwrap_or_default();
            if known(hash) {
                at += HASH_LENGTH;
                return Some((at - HASH_LENGTH, hash));
            }
            at += 1;
        }
        None
    })
}

/// Which of some store paths occur in what is written to it.
pub struct Scanner {
    /// Sorted by hash.
    candidates: Vec<StorePath>,
    found: BTreeSet<usize>,
    /// The end of what was written, too short for a hash.
    tail: Vec<u8>,
}

impl Scanner {
    /// Looks for these.
    pub fn new(candidates: impl IntoIterator<Item = StorePath>) -> Self {
        let mut candidates: Vec<StorePath> = candidates.into_iter().collect();
        candidates.sort_unstable_by(|a, b| a.hash_part().cmp(b.hash_part()));
        Self { candidates, found: BTreeSet::new(), tail: Vec::new() }
    }

    /// Those that were found.
    pub fn finish(self) -> BTreeSet<StorePath> {
        let Self { candidates, found, .. } = self;
        found.into_iter().map(|index| candidates[index].clone()).collect()
    }

    fn scan(&mut self, bytes: &[u8]) {
        let index = |hash: &str| self.candidates.binary_search_by(|path| path.hash_part().cmp(hash)).ok();
        let found: Vec<usize> =
            hashes_in(bytes, |hash| index(hash).is_some()).filter_map(|(_, hash)| index(hash)).collect();
        self.found.extend(found);
    }
}

impl Write for Scanner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What spans the seam.
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&bytes[..bytes.len().min(HASH_LENGTH - 1)]);
        self.scan(&seam);
        self.scan(bytes);
        let all = if bytes.len() >= HASH_LENGTH - 1 { bytes } else { &seam };
        self.tail = all[all.len().saturating_sub(HASH_LENGTH - 1)..].to_vec();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on what is written to it with some hashes replaced by others, of equal length.
///
/// Source: `RewritingSink` in `libstore`. Call [`Rewriter::finish`] at the end.
pub struct Rewriter<W> {
    sink: W,
    rewrites: BTreeMap<String, String>,
    /// What was not passed on yet, too short for a hash.
    tail: Vec<u8>,
    /// Bytes that were passed on.
    offset: u64,
    places: BTreeMap<String, Vec<u64>>,
}

impl<W: Write> Rewriter<W> {
    /// Replaces these hashes, each by a text that is as long.
    pub fn new(rewrites: BTreeMap<String, String>, sink: W) -> Self {
        Self { sink, rewrites, tail: Vec::new(), offset: 0, places: BTreeMap::new() }
    }

    /// Passes on the rest. Gives back the sink, and the offsets at which each hash was found.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> io::Result<(W, BTreeMap<String, Vec<u64>>)> {
        self.sink.write_all(&self.tail)?;
        Ok((self.sink, self.places))
    }
}

impl<W: Write> Write for Rewriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = std::mem::take(&mut self.tail);
        text.extend_from_slice(bytes);
        let found: Vec<(usize, String)> = hashes_in(&text, |hash| self.rewrites.contains_key(hash))
            .map(|(at, hash)| (at, hash.to_owned()))
            .collect();
        for (at, hash) in found {
            text[at..at + HASH_LENGTH].copy_from_slice(self.rewrites[&hash].as_bytes());
            self.places.entry(hash).or_default().push(self.offset + at as u64);
        }
        self.tail = text.split_off(text.len().saturating_sub(HASH_LENGTH - 1));
        self.sink.write_all(&text)?;
        self.offset += text.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(hash: &str) -> StorePath {
        format!("/nix/store/{hash}-x").parse().unwrap()
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            before in "[a-z0-9/. -]{0,70}", after in "[a-z0-9/. -]{0,70}",
            hash in "[0-9a-df-np-sv-z]{32}", cuts in prop::collection::vec(1usize..50, 0..9),
        ) {
            let text = format!("{before}{hash}{after}");
            let mut scanner = Scanner::new([path(&hash), path(&"z".repeat(32))]);
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                scanner.write_all(piece).unwrap();
                rest = more;
            }
            scanner.write_all(rest).unwrap();
            let found = scanner.finish();
            prop_assert!(found.contains(&path(&hash)));
            prop_assert_eq!(found.len(), 1 + usize::from(text.contains(&"z".repeat(32)) && hash != "z".repeat(32)));
        }
    }

    proptest! {
        #[test]
        fn a_hash_is_replaced_wherever_the_pieces_end(
            before in "[a-z0-9/. -]{0,70}", after in "[/. -]{0,70}",
            hash in "[0-9a-df-np-sv-z]{32}", cuts in prop::collection::vec(1usize..50, 0..9),
        ) {
            let zeros = "\0".repeat(32);
            let before = before.replace(&hash, "");
            let text = format!("{before}/{hash}{after}{hash}");
            let mut rewriter = Rewriter::new([(hash.clone(), zeros.clone())].into(), Vec::new());
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                rewriter.write_all(piece).unwrap();
                rest = more;
            }
            rewriter.write_all(rest).unwrap();
            let (written, places) = rewriter.finish().unwrap();
            prop_assert_eq!(String::from_utf8(written).unwrap(), text.replace(&hash, &zeros));
            let second = before.len() + 1 + 32 + after.len();
            prop_assert_eq!(&places[&hash], &[before.len() as u64 + 1, second as u64]);
        }
    }

    #[test]
    fn other_hashes_are_not_found() {
        let mut scanner = Scanner::new([path(&"a".repeat(32))]);
        scanner.write_all("b".repeat(40).as_bytes()).unwrap();
        scanner.write_all("a".repeat(31).as_bytes()).unwrap();
        assert!(scanner.finish().is_empty());
    }
}
