//! A small world: inputs in a temporary folder, and a trace store.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::decide::{Decision, Doubt, decide};
use crate::inputs::{Input, Inputs};
use crate::observation::{Digest, Kind, Question};
use crate::store::{Produced, ProducedOutput, Recorded, Reference, Store};

/// What lies in an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File { text: Vec<u8>, executable: bool },
    Link(String),
    Folder(BTreeMap<String, Node>),
}

/// A file that is not executable.
pub(crate) fn file(text: impl AsRef<[u8]>) -> Node {
    Node::File { text: text.as_ref().to_vec(), executable: false }
}

/// A folder.
pub(crate) fn folder<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Folder(entries.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
}

impl Node {
    /// Puts it on the disk.
    pub(crate) fn write(&self, path: &Path) {
        match self {
            Self::File { text, executable } => {
                fs::write(path, text).unwrap();
                let mode = if *executable { 0o555 } else { 0o444 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            Self::Link(target) => symlink(target, path).unwrap(),
            Self::Folder(entries) => {
                fs::create_dir(path).unwrap();
                for (name, node) in entries {
                    node.write(&path.join(name));
                }
            }
        }
    }
}

/// How often a random test is done: so often, times `ESKER_TRACE_SOAK` if that is set.
pub(crate) fn rounds(usual: u32) -> u32 {
    let factor = std::env::var("ESKER_TRACE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    usual * factor
}

/// Some hash, always the same for one label.
pub(crate) fn hash(label: &str) -> String {
    let digest = blake3::hash(label.as_bytes());
    let letters = b"0123456789abcdfghijklmnpqrsvwxyz";
    digest.as_bytes().iter().map(|byte| char::from(letters[usize::from(byte % 32)])).collect()
}

pub(crate) fn digest(label: &str) -> Digest {
    Digest(blake3::hash(label.as_bytes()).into())
}

pub(crate) fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

pub(crate) struct World {
    pub(crate) dir: PathBuf,
    /// Removes the folder.
    _guard: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) fn new() -> Self {
        let guard = tempfile::tempdir().unwrap();
        Self { dir: guard.path().into(), _guard: Some(guard) }
    }

    /// One that another process has made.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.into(), _guard: None }
    }

    pub(crate) fn store_dir(&self) -> PathBuf {
        self.dir.join("traces")
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.store_dir()).unwrap()
    }

    /// An input; two with one label are the same store path.
    pub(crate) fn input(&self, key: &str, label: &str, node: &Node, references: &[&str]) -> Input {
        let base_name = format!("{}-{key}", hash(label));
        let folder = self.dir.join(&base_name);
        if fs::symlink_metadata(&folder).is_err() {
            node.write(&folder);
        }
        let references = references.iter().map(|label| hash(label)).collect();
        Input { key: key.into(), base_name, folder, references }
    }
}

/// A question; the slot is found by key.
pub(crate) fn question(inputs: &Inputs, key: &str, path: &str, kind: Kind) -> Question {
    let slot = inputs.as_slice().iter().position(|input| input.key == key).unwrap();
    Question { slot: slot.try_into().unwrap(), path: path.into(), kind }
}

/// One output that is an empty file.
pub(crate) fn empty(label: &str) -> Produced {
    let mut produced = bits(label, "nothing");
    produced.outputs[0].nar_size = 112;
    produced.outputs[0].is_empty = true;
    produced
}

/// One output with some bits, built under some hash.
pub(crate) fn bits(label: &str, text: &str) -> Produced {
    let output = ProducedOutput {
        name: "out".into(),
        nar_hash: hash(text),
        nar_size: 1000,
        references: Vec::new(),
        is_empty: false,
        store_base_name: format!("{}-out", hash(&format!("out {label}"))),
    };
    Produced { outputs: vec![output], seconds: 10.0, log: String::new() }
}

/// As [`bits`], with a reference.
pub(crate) fn bits_with(label: &str, text: &str, reference: Reference) -> Produced {
    let mut produced = bits(label, text);
    produced.outputs[0].references.push(reference);
    produced
}

pub(crate) fn ask(store: &Store, inputs: &Inputs) -> Decision {
    decide(store, &digest("skeleton"), inputs, Doubt::NONE)
}

pub(crate) fn tell(store: &Store, inputs: &Inputs, questions: &[Question], produced: &Produced) -> Recorded {
    store.record(digest("skeleton"), inputs, questions, produced, moment(0)).unwrap()
}

/// A decision in one line.
pub(crate) fn short(decision: &Decision) -> String {
    use crate::decide::Why;
    match decision {
        Decision::Reuse { class, changed, .. } => format!("reuse {class:?} {changed:?}"),
        Decision::Prove { unproven, .. } => format!("prove {unproven:?}"),
        Decision::Build { why: Why::Differs(difference) } => {
            let path = difference.question.as_ref().map(|it| String::from_utf8_lossy(&it.path).into_owned());
            let (key, path) = (&difference.key, path.unwrap_or_else(|| "?".into()));
            format!("differs {key}:{path} {} of {}", difference.differing, difference.of)
        }
        Decision::Build { why: Why::Depends { slots, .. } } => format!("depends {slots:?}"),
        Decision::Build { why: Why::Unstable { .. } } => "unstable".into(),
        Decision::Build { why: Why::Unanswered { key, .. } } => format!("unanswered {key}"),
        Decision::Build { why } => format!("{why:?}"),
    }
}
