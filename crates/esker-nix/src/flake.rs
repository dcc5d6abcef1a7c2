//! A flake, fetched and locked by Nix itself.
//!
//! `nix flake metadata` is asked once. What it answers pins one source and one complete lock for
//! the whole run, overrides included, and is handed to every evaluator as the lock file of a small
//! flake of our own that has this flake as its input (see [`crate::evaluator`]). So Nix, not
//! Esker, decides what `self`, `rev`, `follows` and relative inputs mean.
//!
//! Source of the formats: the Nix manual, "nix flake", section "Lock files".

mod refusal;

pub use refusal::{Refusal, RefusalKind};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::StorePath;
use crate::evaluator::OwnSource;
use crate::tool::{Nix, NixError, run};

/// A flake at one exact state.
#[derive(Clone, Debug)]
pub struct Flake {
    /// The locked reference, as Nix prints it.
    pub url: String,
    /// Commit id; absent for a dirty tree or a plain folder.
    pub revision: Option<String>,
    /// The source in the store.
    pub source: StorePath,
    /// Folder of `flake.nix` within the source; empty: the top.
    pub directory: String,
    /// The local git working tree it came from, if it did.
    pub working_tree: Option<PathBuf>,
    locked: Map<String, Value>,
    resolved: Map<String, Value>,
    locks: Value,
}

/// The name of our own root in a lock file, lengthened where a flake has a node of that name.
const ROOT: &str = "esker root";

/// Why a flake could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nix cannot be used, or its answer cannot be understood.
    #[error(transparent)]
    Nix(#[from] NixError),
    /// Nix refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Flake {
    /// Fetches and locks the flake at `reference` (without attribute). `arguments` are passed on:
    /// `--override-input`, `--no-write-lock-file`, `--refresh`, …
    ///
    /// # Errors
    /// [`LoadError::Refused`] when there is no such flake, it cannot be fetched, or its lock file
    /// needs a change that is not allowed.
    pub fn load(nix: &Nix, reference: &str, arguments: &[String]) -> Result<Self, LoadError> {
        let command = nix.command(
            ["flake", "metadata", "--json", "--show-trace", reference]
                .into_iter()
                .chain(arguments.iter().map(String::as_str)),
        );
        let text = run(command).map_err(|error| match error {
            NixError::Failed { message, .. } => LoadError::Refused(refusal::read(&message, reference)),
            other => other.into(),
        })?;
        let malformed = |what: &str| NixError::Failed {
            command: format!("nix flake metadata --json {reference}"),
            message: format!("its answer has no {what}"),
        };
        let answer: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|_| malformed("JSON object"))?;
        let mut answer = Value::Object(answer);
        let object = |value: Value| if let Value::Object(map) = value { Some(map) } else { None };
        let mut locked = object(answer["locked"].take()).ok_or_else(|| malformed("`locked`"))?;
        let resolved = object(answer["resolved"].take()).ok_or_else(|| malformed("`resolved`"))?;
        let source: StorePath =
            answer["path"].as_str().and_then(|path| path.parse().ok()).ok_or_else(|| malformed("`path`"))?;
        locked.retain(|name, _| !name.starts_with("__"));
        let mut flake = Self {
            url: whole_url(answer["url"].as_str().unwrap_or(reference), &locked),
            revision: locked.get("rev").and_then(Value::as_str).map(str::to_owned),
            source,
            directory: locked.get("dir").and_then(Value::as_str).unwrap_or_default().to_owned(),
            working_tree: working_tree(&resolved),
            locked,
            resolved,
            locks: answer["locks"].take(),
        };
        let reference_lock = arguments.iter().position(|argument| argument == "--reference-lock-file");
        let reference_lock = reference_lock.and_then(|at| arguments.get(at + 1));
        let unwritten = arguments.iter().any(|argument| argument == "--no-write-lock-file");
        if unwritten && flake.lock_differs_from(reference_lock.map(Path::new)) {
            // Nix calls such a flake dirty and hides its revision: what is evaluated is not the commit.
            // Old versions would look it up again if a branch were named.
            flake.locked.retain(|name, _| !matches!(name.as_str(), "rev" | "revCount" | "ref"));
        }
        Ok(flake)
    }

    /// The flake's own folder in the store.
    pub fn store_folder(&self) -> PathBuf {
        PathBuf::from(self.source.to_string()).join(&self.directory)
    }

    /// By which names Nix calls its files.
    pub fn own_source(&self) -> OwnSource {
        OwnSource { store_path: self.source.to_string(), url: self.url.clone() }
    }

    /// The attribute set by which another flake's `inputs` name this one, in the Nix language.
    pub fn as_input(&self) -> String {
        let attributes: Vec<String> = self
            .resolved
            .iter()
            .filter_map(|(name, value)| Some(format!("{name} = {};", nix_literal(value)?)))
            .collect();
        format!("{{ {} }}", attributes.join(" "))
    }

    /// The lock file of a flake whose only input is this one, called `input`.
    pub fn lock_file_as_input(&self, input: &str) -> Value {
        let own_root = self.locks["root"].as_str().unwrap_or("root").to_owned();
        let mut nodes = self.locks["nodes"].as_object().cloned().unwrap_or_default();
        for node in nodes.values_mut() {
            // A list is a path from the root, which is now one level up.
            let deeper = |path: &mut Value| {
                if let Value::Array(names) = path {
                    names.insert(0, input.into());
                }
            };
            if let Some(Value::Object(inputs)) = node.get_mut("inputs") {
                inputs.values_mut().for_each(deeper);
            }
            if let Some(parent) = node.get_mut("parent") {
                deeper(parent);
            }
        }
        let node = nodes.entry(own_root.clone()).or_insert(Value::Null);
        if !node.is_object() {
            *node = json!({});
        }
        node["locked"] = Value::Object(self.locked.clone());
        node["original"] = Value::Object(self.resolved.clone());
        let mut root = ROOT.to_owned();
        while nodes.contains_key(&root) {
            root.push('\'');
        }
        nodes.insert(root.clone(), json!({ "inputs": { input: own_root } }));
        json!({ "nodes": nodes, "root": root, "version": 7 })
    }

    /// Whether the lock in force is another than the one in this file, by default the one in the source.
    fn lock_differs_from(&self, file: Option<&Path>) -> bool {
        let text = match file {
            Some(file) => std::fs::read(file),
            None => std::fs::read(self.store_folder().join("flake.lock")),
        };
        let stored: Value = match text {
            Ok(text) => serde_json::from_slice(&text).unwrap_or(Value::Null),
            Err(_) => json!({ "nodes": { "root": {} }, "root": "root" }),
        };
        !same_locks(&self.locks, &stored)
    }
}

/// Old versions leave out of the URL that there are submodules.
fn whole_url(url: &str, locked: &Map<String, Value>) -> String {
    if locked.get("submodules") != Some(&Value::Bool(true)) || url.contains("submodules=") {
        return url.to_owned();
    }
    format!("{url}{}submodules=1", if url.contains('?') { '&' } else { '?' })
}

/// Compares what two lock files say, not how they name their nodes. Their depth is a stranger's
/// choice, so nothing recurses.
fn same_locks(a: &Value, b: &Value) -> bool {
    let root = |locks: &Value| locks["root"].as_str().unwrap_or("root").to_owned();
    let empty = Map::new();
    let (mut open, mut seen) = (vec![(root(a), root(b))], BTreeSet::new());
    while let Some(pair) = open.pop() {
        let (left, right) = (&a["nodes"][&pair.0], &b["nodes"][&pair.1]);
        if !seen.insert(pair) {
            continue;
        }
        let [left_inputs, right_inputs] =
            [left, right].map(|node| node["inputs"].as_object().unwrap_or(&empty));
        if ["locked", "original", "flake"].iter().any(|field| left[*field] != right[*field])
            || left_inputs.len() != right_inputs.len()
        {
            return false;
        }
        for (name, value) in left_inputs {
            match (value, right_inputs.get(name)) {
                (Value::String(left), Some(Value::String(right))) => {
                    open.push((left.clone(), right.clone()));
                }
                (left, Some(right)) if left == right => {}
                _ => return false,
            }
        }
    }
    true
}

fn working_tree(resolved: &Map<String, Value>) -> Option<PathBuf> {
    let text = |name: &str| resolved.get(name).and_then(Value::as_str);
    let path = match text("type")? {
        "git" => text("url")?.strip_prefix("file://")?.split('?').next()?,
        _ => return None,
    };
    (!resolved.contains_key("rev") && !resolved.contains_key("ref"))
        .then(|| PathBuf::from(percent_decode(path)))
}

/// Undoes the encoding of URLs; what is not encoded stays.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'%' && tail.len() >= 2)
            .then(|| std::str::from_utf8(&tail[..2]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A string, number or boolean in the Nix language.
pub(crate) fn nix_literal(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(nix_string(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A string literal of the Nix language, with nothing left to interpolate.
pub fn nix_string(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace("${", "\\${")
            .replace('\n', "\\n")
            .replace('\r', "\\r")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_point_one_level_deeper() {
        let flake = Flake {
            url: String::new(),
            revision: None,
            source: "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-source".parse().unwrap(),
            directory: String::new(),
            working_tree: None,
            locked: Map::new(),
            resolved: Map::new(),
            locks: json!({ "root": "root", "nodes": {
                "root": { "inputs": { "a": "a", "b": ["a", "c"] } },
                "a": { "locked": {}, "parent": [] } } }),
        };
        let lock = flake.lock_file_as_input("target");
        assert_eq!(lock["nodes"]["root"]["inputs"], json!({ "a": "a", "b": ["target", "a", "c"] }));
        assert_eq!(lock["nodes"]["a"]["parent"], json!(["target"]));
        assert_eq!(lock["nodes"][ROOT]["inputs"]["target"], "root");
    }

    #[test]
    fn lock_files_are_compared_by_meaning() {
        let one =
            json!({ "root": "root", "nodes": { "root": { "inputs": { "n": "n" } }, "n": { "locked": 1 } } });
        let two =
            json!({ "root": "r", "nodes": { "r": { "inputs": { "n": "n_2" } }, "n_2": { "locked": 1 } } });
        let three =
            json!({ "root": "r", "nodes": { "r": { "inputs": { "n": "n_2" } }, "n_2": { "locked": 2 } } });
        assert!(same_locks(&one, &two));
        assert!(!same_locks(&one, &three));
    }

    #[test]
    fn a_nix_string_holds_anything() {
        assert_eq!(nix_string("a\"b${c}\\"), r#""a\"b\${c}\\""#);
    }
}
