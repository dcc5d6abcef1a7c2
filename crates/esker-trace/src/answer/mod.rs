//! What an input answers to a question, found by looking into it where it lies.
//!
//! Two builds compare their answers, and their inputs have different hashes; so the hashes of the
//! build's inputs are no part of an answer: each occurrence counts as the slot that this store path has
//! in the build. Everything else counts literally, also the hash of a path that is no input, and one that
//! is split or encoded: such an answer then differs where it might have held, which costs a build and
//! never a wrong result.
//!
//! An answer is found in two steps, so that the costly one can be shared. A *raw* answer knows
//! hashes only by the order in which they first occur, and is kept for each input for ever; it becomes
//! an [`Answer`] with the slots of one build.
//!
//! Invariant: an input that cannot be looked at has no answer. It is never *absent*.

mod look;
mod modulo;
pub(crate) mod raw;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use crate::inputs::{Input, Inputs};
use crate::observation::{Answer, Kind, Question};
use crate::store::Store;
use look::{Found, Tree};
use raw::{Raw, Slots};

pub(crate) use modulo::{ALPHABET, HashPart, candidates, contains_any, is_boundary};

/// Contents smaller than this are read again rather than remembered, in bytes.
const WORTH_REMEMBERING: u64 = 16 * 1024;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It was collected, or never was there.
    #[error("the input `{}` is gone", folder.display())]
    Gone {
        /// Where it should lie.
        folder: PathBuf,
    },
    /// The system refused.
    #[error("cannot look at `{}` in `{}`", String::from_utf8_lossy(path), folder.display())]
    Io {
        /// The input.
        folder: PathBuf,
        /// Below it.
        path: Vec<u8>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A device, a socket or a pipe.
    #[error("`{}` in `{}` is neither a file, a folder nor a link", String::from_utf8_lossy(path), folder.display())]
    OddFile {
        /// The input.
        folder: PathBuf,
        /// Below it.
        path: Vec<u8>,
    },
    /// A path that no lookup can have had, e.g. with `..` in it.
    #[error("`{}` is no path below an input", String::from_utf8_lossy(path))]
    Malformed {
        /// The question's path.
        path: Vec<u8>,
    },
    /// The question names a slot beyond the inputs.
    #[error("there is no input number {slot}")]
    UnknownSlot {
        /// Its index.
        slot: u32,
    },
}

/// Answers questions about the inputs of one build.
///
/// Keeps what it has open; make one for each decision or record.
pub struct Answers<'a> {
    inputs: &'a Inputs,
    slots: Slots<'a>,
    cache: Option<&'a Store>,
    trees: RefCell<HashMap<PathBuf, Tree>>,
    /// By key.
    stamps: RefCell<HashMap<String, u64>>,
}

impl<'a> Answers<'a> {
    /// Answers about these inputs; digests of big files are kept in the store, if there is one.
    pub fn new(inputs: &'a Inputs, cache: Option<&'a Store>) -> Self {
        Self {
            inputs,
            slots: Slots::new(inputs),
            cache,
            trees: RefCell::default(),
            stamps: RefCell::default(),
        }
    }

    /// The answer to one question.
    ///
    /// # Errors
    /// The input is gone or cannot be read, or the question cannot have been asked.
    pub fn answer(&self, question: &Question) -> Result<Answer, AnswerError> {
        let slot = question.slot;
        let input = usize::try_from(slot).ok().and_then(|index| self.inputs.as_slice().get(index));
        let input = input.ok_or(AnswerError::UnknownSlot { slot })?;
        Ok(self.raw(input, &question.path, question.kind)?.resolve(&self.slots))
    }

    /// Which slot each hash has in this build.
    pub(crate) fn slots(&self) -> &Slots<'a> {
        &self.slots
    }

    /// Changes when an input is collected and comes back, perhaps with other bits.
    pub(crate) fn stamp(&self, input: &Input) -> Result<u64, AnswerError> {
        if let Some(known) = self.stamps.borrow().get(&input.key) {
            return Ok(*known);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&look::identity(&input.folder)?);
        // What is masked; fixed for a path that is registered, but not in this module's hands.
        for hash in &input.references {
            hasher.update(hash.as_bytes()).update(b"\n");
        }
        let stamp =
            u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("32 are more than 8"));
        self.stamps.borrow_mut().insert(input.key.clone(), stamp);
        Ok(stamp)
    }

    /// The answer of one input, without the slots of this build.
    pub(crate) fn raw(&self, input: &Input, path: &[u8], kind: Kind) -> Result<Raw, AnswerError> {
        let mut trees = self.trees.borrow_mut();
        if !trees.contains_key(&input.folder) {
            // Each holds one or two file descriptors.
            if trees.len() >= 64 {
                trees.clear();
            }
            trees.insert(input.folder.clone(), Tree::open(&input.folder)?);
        }
        let tree = trees.get_mut(&input.folder).expect("it was just put there");
        let found = tree.find(path)?;
        Ok(match (kind, found) {
            (Kind::Content, Found::Regular { size, .. }) => self.content(input, tree, path, size)?,
            (Kind::Names, Found::Directory) => {
                let (digest, hashes) = modulo::of_bytes(tree.names(path)?, &references(input));
                Raw::Names(digest, hashes)
            }
            (Kind::Target, Found::Symlink) => {
                let (digest, hashes) = modulo::of_bytes(tree.target(path)?, &references(input));
                Raw::Target(digest, hashes)
            }
            // Also when another type was asked for: that it is not of that type is the answer.
            (_, Found::Absent) => Raw::Absent,
            (_, Found::Directory) => Raw::Directory,
            (_, Found::Symlink) => Raw::Symlink,
            (_, Found::Regular { executable, size }) => Raw::Regular { executable, size },
        })
    }

    fn content(&self, input: &Input, tree: &mut Tree, path: &[u8], size: u64) -> Result<Raw, AnswerError> {
        let cache = self.cache.filter(|_| size >= WORTH_REMEMBERING);
        let stamp = self.stamp(input)?;
        if let Some(known) = cache.and_then(|store| store.known_content(input, path, stamp)) {
            return Ok(known);
        }
        let file = tree.open_file(path)?;
        let (digest, hashes) = modulo::of_reader(file, size, &references(input)).map_err(|source| {
            AnswerError::Io { folder: input.folder.clone(), path: path.to_vec(), source }
        })?;
        if let Some(store) = cache {
            store.remember_content(input, path, stamp, &digest, &hashes);
        }
        Ok(Raw::Content(digest, hashes))
    }
}

/// What is masked in the files of an input. A reference that is not a hash masks nothing.
fn references(input: &Input) -> Vec<HashPart> {
    input.references.iter().filter_map(|text| HashPart::parse(text)).collect()
}
