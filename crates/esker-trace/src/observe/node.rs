//! The files that the kernel has asked for, and the questions that this amounts to.
//!
//! A node's number, and the inode that a program sees, are a function of its slot's name and its
//! path: neither the order of look-ups nor a store hash shows in them.
//!
//! Invariant: a question is recorded before its answer leaves.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::real::Seen;
use crate::observation::{Kind, Question};

/// The number of the root, given by the protocol.
pub(super) const ROOT: u64 = 1;

/// A name in a folder: its inode, its type as `readdir` has it, the name.
pub(super) type Name = (u64, u32, Vec<u8>);

/// A file, folder or link that was looked up.
pub(super) struct Node {
    /// Index of its input.
    pub(super) slot: u32,
    /// Below the input.
    pub(super) path: Vec<u8>,
    pub(super) seen: Seen,
}

/// What is known so far. Nothing is forgotten before the run ends.
#[derive(Default)]
pub(super) struct Record {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: HashMap<u64, Arc<Node>>,
    names: HashMap<u64, Arc<Vec<Name>>>,
    questions: BTreeSet<Question>,
    faults: Vec<String>,
}

/// How wide inode numbers may be: old 32-bit programs cannot take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inodes {
    /// 63 bits.
    Wide,
    /// 31 bits.
    Narrow,
}

/// The number of the node for `path` in the slot with this name.
pub(super) fn number(key: &str, path: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes()).update(path);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // Positive as a signed number, and neither 0 nor the root.
    (u64::from_le_bytes(first) >> 1).max(ROOT + 1)
}

impl Inodes {
    /// The inode that a program sees.
    pub(super) fn of(self, node: u64) -> u64 {
        match self {
            Self::Wide => node,
            Self::Narrow => ((node ^ (node >> 32)) & 0x7fff_ffff).max(2),
        }
    }
}

impl Record {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn node(&self, number: u64) -> Option<Arc<Node>> {
        self.lock().nodes.get(&number).cloned()
    }

    /// Remembers a node. `false`: another path has this number already (2^-63 for each pair).
    pub(super) fn insert(&self, number: u64, node: Node) -> bool {
        let mut state = self.lock();
        match state.nodes.get(&number) {
            Some(known) => known.slot == node.slot && known.path == node.path,
            None => {
                state.nodes.insert(number, Arc::new(node));
                true
            }
        }
    }

    pub(super) fn ask(&self, slot: u32, path: &[u8], kind: Kind) {
        self.lock().questions.insert(Question { slot, path: path.to_vec(), kind });
    }

    pub(super) fn names(&self, number: u64) -> Option<Arc<Vec<Name>>> {
        self.lock().names.get(&number).cloned()
    }

    pub(super) fn keep_names(&self, number: u64, names: Vec<Name>) -> Arc<Vec<Name>> {
        let names = Arc::new(names);
        self.lock().names.insert(number, Arc::clone(&names));
        names
    }

    /// Something that must not happen: the run cannot become a trace.
    pub(super) fn fault(&self, what: String) {
        let mut state = self.lock();
        if state.faults.len() < 16 {
            state.faults.push(what);
        }
    }

    /// All questions, sorted and each once, and the faults.
    pub(super) fn take(&self) -> (Vec<Question>, Vec<String>) {
        let mut state = self.lock();
        (std::mem::take(&mut state.questions).into_iter().collect(), std::mem::take(&mut state.faults))
    }
}
