//! What a run can observe of an input: the questions it asks, and the answers.

use serde::{Deserialize, Serialize};

/// A BLAKE3 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

/// Something that a run asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Question {
    /// Index of the input, by key.
    pub slot: u32,
    /// Path below the input; empty: the input itself.
    pub path: Vec<u8>,
    /// What was asked of it.
    pub kind: Kind,
}

/// What can be asked of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Whether it is there, of which type, whether it is executable, and a file's size.
    Stat,
    /// A file's bytes.
    Content,
    /// The names in a folder, with their types.
    Names,
    /// Where a link points.
    Target,
}

/// An answer. Hashes of inputs are no part of it: they are replaced by their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// There is no such path.
    Absent,
    /// To [`Kind::Stat`].
    Directory,
    /// To [`Kind::Stat`].
    Regular {
        /// Whether it may be executed.
        executable: bool,
        /// In bytes.
        size: u64,
    },
    /// To [`Kind::Stat`].
    Symlink,
    /// To [`Kind::Content`], modulo hashes.
    Content(Digest),
    /// To [`Kind::Names`].
    Names(Digest),
    /// To [`Kind::Target`], modulo hashes.
    Target(Digest),
    /// This build has no input in that slot.
    NoSlot,
}
