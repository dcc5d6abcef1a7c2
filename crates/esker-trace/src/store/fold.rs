//! Folding: when a skeleton has too many shapes, the slot that tells them apart best joins the key.
//!
//! A skeleton with many shapes is one whose runs go different ways, e.g. by platform headers or by the
//! version of a tool. Under each hash of the telling slot only a few of the shapes occur, and only these are
//! tried. What is lost is reuse across changes of that slot; so a slot whose hash is new each time
//! (a source, mostly) tells nothing.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::rows::{MOST_SHAPES, Node, folded_key};
use super::trace::Trace;
use super::{Closure, closure};
use crate::observation::Digest;

/// How many slots may join one key.
const DEEPEST: usize = 4;

/// Puts a shape in front of those of the node to which a build with these hashes belongs.
pub(super) fn enter(
    db: &Connection,
    skeleton: &Digest,
    shape: i64,
    closure: &Closure,
) -> Result<(), rusqlite::Error> {
    let mut key = *skeleton;
    let mut node = Node::load(db, &key)?.unwrap_or_default();
    let mut depth = 0;
    while let Some(slot) = node.folded.take() {
        key = folded_key(&key, &slot, closure.hash_of(&slot));
        node = Node::load(db, &key)?.unwrap_or_default();
        depth += 1;
    }
    node.parent = (depth > 0).then_some(*skeleton);
    if node.shapes.first() == Some(&shape) {
        return Ok(());
    }
    node.touch(shape);
    if node.shapes.len() > MOST_SHAPES {
        let builds = builds_of(db, skeleton, &node)?;
        match telling_slot(&builds).filter(|_| depth < DEEPEST) {
            Some(slot) => {
                split(db, skeleton, &key, &node, &builds, &slot)?;
                node.folded = Some(slot);
                node.shapes.clear();
            }
            None => node.shapes.truncate(MOST_SHAPES),
        }
    }
    node.save(db, &key)
}

/// A build that belongs to a node: its shape and its hashes.
struct Build {
    shape: i64,
    closure: Closure,
}

fn builds_of(db: &Connection, skeleton: &Digest, node: &Node) -> Result<Vec<Build>, rusqlite::Error> {
    let mut builds = Vec::new();
    for shape in &node.shapes {
        for trace in Trace::latest(db, skeleton, *shape, 64)? {
            if let Some(closure) = closure::load(db, trace.closure)? {
                builds.push(Build { shape: *shape, closure });
            }
        }
    }
    Ok(builds)
}

/// Gives each hash of the slot a node of its own, with the shapes that occurred under it.
fn split(
    db: &Connection,
    skeleton: &Digest,
    key: &Digest,
    node: &Node,
    builds: &[Build],
    slot: &str,
) -> Result<(), rusqlite::Error> {
    let mut shapes: BTreeMap<Option<&str>, BTreeSet<i64>> = BTreeMap::new();
    for build in builds {
        shapes.entry(build.closure.hash_of(slot)).or_default().insert(build.shape);
    }
    for (hash, own) in shapes {
        let mut shapes = node.shapes.clone();
        shapes.retain(|shape| own.contains(shape));
        shapes.truncate(MOST_SHAPES);
        let part = Node { shapes, folded: None, parent: Some(*skeleton) };
        part.save(db, &folded_key(key, slot, hash))?;
    }
    Ok(())
}

/// The slot with the highest gain ratio: how much its hash tells of the shape, by how much it tells at all.
fn telling_slot(builds: &[Build]) -> Option<String> {
    let keys: BTreeSet<&str> =
        builds.iter().flat_map(|build| &build.closure.0).map(|(key, _)| key.as_str()).collect();
    let shapes = entropy(builds.iter().map(|build| build.shape));
    let mut best: Option<(f64, &str)> = None;
    for key in keys {
        let hashes = entropy(builds.iter().map(|build| build.closure.hash_of(key)));
        let both = entropy(builds.iter().map(|build| (build.closure.hash_of(key), build.shape)));
        let gain = shapes + hashes - both;
        // A hash that is new in nearly each build tells everything, and nothing that would come again.
        let is_fickle = hashes > 0.9 * entropy(0..builds.len());
        // One that tells a few builds from the rest would not help for long.
        let is_telling = hashes > 0.0 && gain > 0.25 * shapes;
        if is_telling && !is_fickle && best.is_none_or(|(most, _)| gain / hashes > most) {
            best = Some((gain / hashes, key));
        }
    }
    best.map(|(_, key)| key.to_owned())
}

/// In bits.
fn entropy<T: Ord>(values: impl Iterator<Item = T>) -> f64 {
    let mut counts: BTreeMap<T, f64> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1.0;
    }
    let all: f64 = counts.values().sum();
    counts.values().map(|count| -(count / all) * (count / all).log2()).sum()
}
