//! `exportReferencesGraph`: what a builder is told of the closure of some of its inputs.
//!
//! Source: `makeValidityRegistration` and `exportReferences` in `libstore/store-api.cc`, and with
//! structured attributes `pathInfoToJSON` in `libstore/parsed-derivations.cc`.
//!
//! Invariant: whatever Nix might see differently, such as a path that is no input, is left to Nix.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use esker_nix::StorePath;
use esker_nix::derivation::Derivation;
use esker_nix::hash::{Algorithm, Hash};
use esker_nix::protocol::{Client, ProtocolError};
use serde_json::{Map, Value, json};

use super::closure::{Closure, Known, Paths};
use super::version::Version;

/// The graphs that a builder gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Graphs {
    /// As files in the build folder, by name.
    Files(BTreeMap<String, Vec<u8>>),
    /// As further structured attributes.
    Attributes(BTreeMap<String, Value>),
}

/// Collects what `derivation` asks for. `inputs` is the closure of its inputs; `read` gets a
/// derivation of the store. `Ok(Err(_))`: why it is left to Nix.
pub(crate) fn graphs(
    client: &mut Client,
    paths: &Paths,
    derivation: &Derivation,
    attributes: Option<&Map<String, Value>>,
    inputs: &[StorePath],
    nix: Version,
    read: impl Fn(&StorePath) -> Option<Derivation>,
) -> Result<Result<Graphs, String>, ProtocolError> {
    let wanted = match attributes {
        Some(attributes) => wanted_as_attributes(attributes, nix),
        None => wanted_as_files(derivation),
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(why) => return Ok(Err(format!("exportReferencesGraph: {why}"))),
    };
    let (mut files, mut values) = (BTreeMap::new(), BTreeMap::new());
    for (name, roots) in wanted {
        if let Some(path) = roots.iter().find(|path| !inputs.contains(path)) {
            return Ok(Err(format!("exportReferencesGraph: {path} is not among its inputs")));
        }
        let graph = match exported(client, paths, roots, &read)? {
            Ok(graph) => graph,
            Err(why) => return Ok(Err(why)),
        };
        if attributes.is_none() {
            files.insert(name, as_file(&graph));
            continue;
        }
        let mut list = Vec::new();
        for (path, known) in &graph {
            let Ok(closure) = paths.closure(client, &BTreeSet::from([path.clone()]))? else {
                return Ok(Err(format!("{path} is not valid")));
            };
            let size = closure.iter().map(|(_, known)| known.nar_size).sum();
            list.push(as_json(path, known, size, nix));
        }
        values.insert(name, Value::Array(list));
    }
    Ok(Ok(if attributes.is_some() { Graphs::Attributes(values) } else { Graphs::Files(files) }))
}

type Wanted = Vec<(String, BTreeSet<StorePath>)>;

/// `NAME PATH NAME PATH …`
fn wanted_as_files(derivation: &Derivation) -> Result<Wanted, String> {
    let Some(text) = derivation.variable("exportReferencesGraph") else { return Ok(Vec::new()) };
    let text = text.to_str().ok_or("it is no text")?;
    let words: Vec<&str> = text.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty()).collect();
    let is_name = |name: &str| {
        let first = name.bytes().next().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    let one = |pair: &[&str]| match pair {
        [name, path] if is_name(name) => Ok(((*name).to_owned(), BTreeSet::from([inside(path)?]))),
        _ => Err("it is not a list of names and paths".to_owned()),
    };
    words.chunks(2).map(one).collect()
}

/// Lists of paths, by name.
fn wanted_as_attributes(attributes: &Map<String, Value>, nix: Version) -> Result<Wanted, String> {
    let Some(Value::Object(wanted)) = attributes.get("exportReferencesGraph") else { return Ok(Vec::new()) };
    let one = |(name, value): (&String, &Value)| {
        let mut paths = BTreeSet::new();
        flatten(value, nix, 0, &mut paths)?;
        Ok((name.clone(), paths))
    };
    wanted.iter().map(one).collect()
}

/// Older versions know neither lists of lists nor paths below a store path.
fn flatten(value: &Value, nix: Version, depth: usize, paths: &mut BTreeSet<StorePath>) -> Result<(), String> {
    match value {
        Value::Array(values) if depth == 0 || nix >= Version::FLATTENS_GRAPHS => {
            values.iter().try_for_each(|value| flatten(value, nix, depth + 1, paths))
        }
        Value::String(path) => {
            let whole = path.parse().map_err(|_| format!("{path} is not a store path"));
            paths.insert(if nix >= Version::FLATTENS_GRAPHS { inside(path)? } else { whole? });
            Ok(())
        }
        _ => Err("a value is neither a path nor a list of paths".to_owned()),
    }
}

/// The store path that this path is, or lies in.
fn inside(path: &str) -> Result<StorePath, String> {
    let base = path.strip_prefix("/nix/store/").and_then(|path| path.split('/').next());
    base.and_then(|base| StorePath::from_base_name(base).ok())
        .ok_or_else(|| format!("{path} is not in the store"))
}

/// The closure of `roots`, with the outputs of the derivations in it and their closures; sorted.
fn exported(
    client: &mut Client,
    paths: &Paths,
    roots: BTreeSet<StorePath>,
    read: impl Fn(&StorePath) -> Option<Derivation>,
) -> Result<Result<Closure, String>, ProtocolError> {
    let mut roots = roots;
    let mut closure = match paths.closure(client, &roots)? {
        Ok(closure) => closure,
        Err(path) => return Ok(Err(format!("{path} is not valid"))),
    };
    let drvs: Vec<StorePath> =
        closure.iter().map(|(path, _)| path).filter(|path| path.is_derivation()).cloned().collect();
    for drv in &drvs {
        let Some(derivation) = read(drv) else { return Ok(Err(format!("{drv} cannot be read"))) };
        for output in derivation.outputs.values() {
            let Some(path) = output.path() else {
                return Ok(Err(format!("the outputs of {drv} are not known beforehand")));
            };
            roots.insert(path.clone());
        }
    }
    if !drvs.is_empty() {
        closure = match paths.closure(client, &roots)? {
            Ok(closure) => closure,
            Err(path) => return Ok(Err(format!("{path} is not valid"))),
        };
    }
    closure.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Ok(closure))
}

/// What `nix-store --register-validity` reads, without derivers.
fn as_file(graph: &Closure) -> Vec<u8> {
    let mut text = String::new();
    for (path, known) in graph {
        let _ = write!(text, "{path}\n\n{}\n", known.references.len());
        for reference in &known.references {
            let _ = writeln!(text, "{reference}");
        }
    }
    text.into_bytes()
}

fn as_json(path: &StorePath, known: &Known, closure_size: u64, nix: Version) -> Value {
    let hash = Hash::from_bytes(Algorithm::Sha256, &known.nar_hash).map(|hash| hash.to_nix32());
    let references: Vec<&str> = known.references.iter().map(StorePath::as_str).collect();
    let mut value = json!({
        "path": path.as_str(),
        "narHash": format!("sha256:{}", hash.unwrap_or_default()),
        "narSize": known.nar_size,
        "references": references,
        "closureSize": closure_size,
    });
    if let Some(address) = &known.content_address {
        value["ca"] = address.as_str().into();
    }
    if nix >= Version::SAYS_VALID {
        value["valid"] = true.into();
    }
    value
}
