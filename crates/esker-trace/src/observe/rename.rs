//! Shows inputs under other hashes: each hash of some store paths becomes its *placeholder*.
//!
//! A placeholder has another character in every place, and all its bits but one are turned around; so
//! who decides by a character, by (almost) any bit, by their parity or by the order of two hashes,
//! decides otherwise. As long as a hash, it moves nothing, and no size shows it.
//!
//! Invariant: in an input exactly those hashes are renamed that an answer about it is modulo of
//! ([`crate::answer`]): such a view is one that another build with the same answers could have.
//! Invariant: bytes that cannot be renamed without doubt (hashes that overlap or are part of something
//! longer, or a placeholder that is there already) are not shown at all.

use std::collections::{BTreeSet, HashMap};
use std::io;

use crate::answer::{ALPHABET, HashPart, candidates, is_boundary};
use crate::inputs::{HASH_LENGTH, Input};

/// A hash that touches a piece, and one that overlaps with that, begin and end less far beyond it.
const MARGIN: usize = 2 * HASH_LENGTH;

/// Why bytes cannot be shown under other hashes.
#[derive(Debug, thiserror::Error)]
#[error("the hashes in it cannot be told apart")]
pub(crate) struct Entangled;

impl HashPart {
    /// What stands in its place; the placeholder of that is this hash again.
    pub(crate) fn placeholder(&self) -> Self {
        let mut turned = *self;
        for byte in &mut turned.0 {
            *byte = digit(*byte).map_or(*byte, |digit| ALPHABET[31 - digit]);
        }
        // An even number of turned bits would leave the parity as it was. In the middle one is missed least.
        let middle = &mut turned.0[HASH_LENGTH / 2];
        *middle = digit(*middle).map_or(*middle, |digit| ALPHABET[digit ^ 1]);
        turned
    }
}

fn digit(byte: u8) -> Option<usize> {
    ALPHABET.iter().position(|letter| *letter == byte)
}

/// Where a hash is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Anywhere,
    /// Between characters that no hash has.
    Alone,
}

/// Which hashes are renamed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renaming(HashMap<HashPart, Stands>);

impl Renaming {
    /// For what is given to a builder.
    pub(crate) fn new<'a>(hashes: impl IntoIterator<Item = &'a String>) -> Self {
        let hashes = hashes.into_iter().filter_map(|hash| HashPart::parse(hash));
        Self(hashes.map(|hash| (hash, Stands::Anywhere)).collect())
    }

    /// For what lies in an input, when these hashes of inputs are renamed.
    pub(crate) fn inside(input: &Input, renamed: &BTreeSet<String>) -> Self {
        let stands = |hash| if input.references.contains(hash) { Stands::Anywhere } else { Stands::Alone };
        Self(renamed.iter().filter_map(|hash| Some((HashPart::parse(hash)?, stands(hash)))).collect())
    }

    /// Replaces each hash in place.
    pub(crate) fn apply(&self, bytes: &mut [u8]) -> Result<(), Entangled> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut free = 0;
        let stands = |part: &HashPart| self.0.get(part).or_else(|| self.0.get(&part.placeholder()));
        let found = candidates(bytes).filter_map(|(at, part)| Some((at, part, *stands(&part)?)));
        for (at, part, stands) in found.collect::<Vec<_>>() {
            let end = at + HASH_LENGTH;
            let around = [at.checked_sub(1).and_then(|at| bytes.get(at)), bytes.get(end)];
            let is_alone = around.into_iter().flatten().all(|byte| is_boundary(*byte));
            let is_placeholder = !self.0.contains_key(&part);
            if at < free || is_placeholder || (stands == Stands::Alone && !is_alone) {
                return Err(Entangled);
            }
            free = end;
            bytes[at..free].copy_from_slice(&part.placeholder().0);
        }
        Ok(())
    }

    /// The same for bytes that are handed over.
    pub(crate) fn renamed(&self, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.apply(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }

    /// Fills `data` with what is at `offset` of the whole, renamed; tells how much there is. `read` fills
    /// a buffer as far as the whole goes.
    pub(crate) fn read(
        &self,
        offset: u64,
        data: &mut [u8],
        read: impl FnOnce(u64, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.0.is_empty() {
            return read(offset, data);
        }
        let before = usize::try_from(offset).unwrap_or(MARGIN).min(MARGIN);
        let mut piece = vec![0; before + data.len() + MARGIN];
        let filled = read(offset - before as u64, &mut piece)?;
        self.apply(&mut piece[..filled]).map_err(io::Error::other)?;
        let length = filled.saturating_sub(before).min(data.len());
        data[..length].copy_from_slice(&piece[before..before + length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash() -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(&ALPHABET[..]), HASH_LENGTH)
            .prop_map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn part(hash: &str) -> HashPart {
        HashPart::parse(hash).unwrap()
    }

    fn read(renaming: &Renaming, whole: &[u8], offset: usize, length: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; length];
        let filled = renaming.read(offset as u64, &mut data, |offset, data| {
            let rest = whole.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let length = rest.len().min(data.len());
            data[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        })?;
        data.truncate(filled);
        Ok(data)
    }

    /// Bytes with hashes in them, some of them cut off and some not renamed.
    fn whole() -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
        proptest::collection::vec(hash(), 3).prop_flat_map(|hashes| {
            let known = hashes.clone();
            let piece = prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                proptest::collection::vec(proptest::sample::select(&ALPHABET[..]), 0..40),
                proptest::sample::select(known.clone()).prop_map(String::into_bytes),
                (proptest::sample::select(known), 0..HASH_LENGTH)
                    .prop_map(|(hash, cut)| hash.as_bytes()[cut..].to_vec()),
            ];
            (Just(hashes), proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()))
        })
    }

    proptest! {
        #[test]
        fn a_placeholder_is_another_everywhere(a in hash(), b in hash()) {
            let (one, other) = (part(&a).placeholder(), part(&b).placeholder());
            prop_assert!(HashPart::parse(one.as_str()).is_some());
            prop_assert!(one.0.iter().zip(a.bytes()).all(|(after, before)| *after != before));
            prop_assert_eq!(one.placeholder(), part(&a));
            if a[..16] != b[..16] {
                prop_assert_eq!(a < b, one > other, "the order is turned around");
            }
            let parity = |hash: &HashPart| hash.0.iter().map(|b| digit(*b).unwrap().count_ones()).sum::<u32>() % 2;
            prop_assert_ne!(parity(&part(&a)), parity(&one));
        }

        #[test]
        fn pieces_are_pieces_of_the_whole(
            (hashes, whole) in whole(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let renaming = Renaming::new(&hashes[..2]);
            let text = String::from_utf8_lossy(&whole).into_owned();
            let renamed = renaming.renamed(whole.clone()).unwrap();
            if std::str::from_utf8(&whole).is_ok() {
                let replaced = hashes[..2].iter().fold(text, |text, hash| {
                    text.replace(hash.as_str(), part(hash).placeholder().as_str())
                });
                prop_assert_eq!(&renamed, replaced.as_bytes());
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            for pair in cuts.windows(2) {
                pieces.extend(read(&renaming, &whole, pair[0], pair[1] - pair[0]).unwrap());
            }
            prop_assert_eq!(&pieces, &renamed);
            prop_assert_eq!(read(&renaming, &whole, whole.len(), 9).unwrap(), b"");
            prop_assert_eq!(read(&renaming, &whole, whole.len() + 99, 9).unwrap(), b"");
        }

        #[test]
        fn what_is_entangled_is_not_shown(a in hash(), shift in 1..HASH_LENGTH, at in 0..100usize, room in 1..40usize) {
            // Two hashes, the second of which begins within the first.
            let b = format!("{}{}", &a[shift..], &"0123456789abcdfghijklmnpqrsvwxyz"[..shift]);
            prop_assume!(a != b && part(&a).placeholder() != part(&b));
            let whole = format!("{}{}{}{}", "-".repeat(40), &a[..shift], b, "-".repeat(40));
            let renaming = Renaming::new(&[a, b]);
            prop_assert!(renaming.renamed(whole.clone().into_bytes()).is_err());
            // Each piece that any of it touches, too.
            let touches = at < 40 + shift + HASH_LENGTH && at + room > 40;
            if touches {
                prop_assert!(read(&renaming, whole.as_bytes(), at, room).is_err());
            }
        }

        #[test]
        fn a_hash_that_is_not_registered_is_renamed_where_it_stands_alone(a in hash(), b in hash()) {
            let references = vec![b.clone()];
            let input = Input { key: "k".into(), base_name: format!("{b}-k"), folder: "/".into(), references };
            let renaming = Renaming::inside(&input, &BTreeSet::from([a.clone(), b.clone()]));
            let renamed = |text: String| {
                renaming.renamed(text.into_bytes()).ok().map(|bytes| String::from_utf8(bytes).unwrap())
            };
            let (one, two) = (part(&a).placeholder(), part(&b).placeholder());
            let (one, two) = (one.as_str(), two.as_str());
            prop_assert_eq!(renamed(format!("{a} /{a}-x{b}x")), Some(format!("{one} /{one}-x{two}x")));
            prop_assert_eq!(renamed(format!("{a}x")), None);
            prop_assert_eq!(renamed(format!("x{a}")), None);
        }

        #[test]
        fn a_placeholder_that_is_there_already_is_not_shown(a in hash()) {
            let text = format!("{a} {}", part(&a).placeholder().as_str());
            prop_assert!(Renaming::new(&[a]).renamed(text.into_bytes()).is_err());
        }
    }
}
