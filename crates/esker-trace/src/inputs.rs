//! What a command gets to see: the closure of its inputs, each with the name of its slot.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Length of the hash that a store path begins with.
pub const HASH_LENGTH: usize = 32;

/// One store path of the closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The slot: how this input is called in every build of the same skeleton. Unique among the inputs.
    pub key: String,
    /// `HASH-name`.
    pub base_name: String,
    /// Where it really lies. May be a folder, a file or a symbolic link; never changes.
    pub folder: PathBuf,
    /// Hash parts of the store paths it refers to, itself included if it does.
    pub references: Vec<String>,
}

impl Input {
    /// The hash it begins with.
    pub fn hash_part(&self) -> &str {
        self.base_name.get(..HASH_LENGTH).unwrap_or(&self.base_name)
    }
}

/// The closure of a command's inputs, sorted by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs(Vec<Input>);

impl Inputs {
    /// Sorts them. Of two inputs with one key the first is kept.
    pub fn new(mut inputs: Vec<Input>) -> Self {
        inputs.sort_by(|a, b| a.key.cmp(&b.key));
        inputs.dedup_by(|later, earlier| later.key == earlier.key);
        Self(inputs)
    }

    /// All of them, by key.
    pub fn as_slice(&self) -> &[Input] {
        &self.0
    }

    /// The input in this slot.
    pub fn by_key(&self, key: &str) -> Option<&Input> {
        let at = self.0.binary_search_by(|input| input.key.as_str().cmp(key)).ok()?;
        self.0.get(at)
    }

    /// The index of the input with this hash.
    pub fn index_by_hash(&self, hash_part: &str) -> Option<usize> {
        self.0.iter().position(|input| input.hash_part() == hash_part)
    }
}
