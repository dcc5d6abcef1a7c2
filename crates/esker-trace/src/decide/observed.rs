//! How much of its inputs a run really looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::inputs::Inputs;
use crate::observation::Kind;
use crate::store::Observed;

/// One input, and how much of it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputUse {
    /// Its slot.
    pub key: String,
    /// Files and links that were read.
    pub read: usize,
    /// All files and links that it has. `None`: they cannot be counted, as it is gone.
    pub files: Option<usize>,
    /// Whether anything but its own existence was asked.
    pub is_observed: bool,
}

/// How much of each input was looked at; the questions are those of [`Store::observations`].
///
/// [`Store::observations`]: crate::store::Store::observations
pub fn use_of_inputs(inputs: &Inputs, observations: &[Observed]) -> Vec<InputUse> {
    let mut read: BTreeMap<&str, BTreeSet<&[u8]>> = BTreeMap::new();
    let mut observed = BTreeSet::new();
    for observation in observations {
        if matches!(observation.kind, Kind::Content | Kind::Target) {
            read.entry(&observation.key).or_default().insert(&observation.path);
        }
        if observation.kind != Kind::Stat || !observation.path.is_empty() {
            observed.insert(observation.key.as_str());
        }
    }
    let usage = |input: &crate::inputs::Input| InputUse {
        key: input.key.clone(),
        read: read.get(input.key.as_str()).map_or(0, BTreeSet::len),
        files: count_files(&input.folder).ok(),
        is_observed: observed.contains(input.key.as_str()),
    };
    inputs.as_slice().iter().map(usage).collect()
}

/// Everything below a path that is no folder.
fn count_files(path: &Path) -> std::io::Result<usize> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(1);
    }
    let mut folders = vec![path.to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => count += 1,
            }
        }
    }
    Ok(count)
}
