//! An input in memory: what it answers to a question, by a model that shares nothing with Esker, and
//! random changes of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use esker_trace::observation::Kind;

/// A file, a folder or a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    File { bytes: Vec<u8>, executable: bool },
    Link(Vec<u8>),
    Folder(BTreeMap<Vec<u8>, Node>),
}

/// What the model says of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Absent,
    Folder,
    Link,
    File { executable: bool, size: usize },
    Content(Vec<u8>),
    Target(Vec<u8>),
    Names(Vec<(Vec<u8>, u8)>),
}

/// Numbers that seem random, and are the same for the same seed (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const NAMES: [&[u8]; 9] =
    [b"a", b"b", b"c", b"lib", b"x y", b"\xff\xfe", b"caf\xc3\xa9", b".hidden", b"config"];
const TEXTS: [&str; 8] =
    ["", "one\n", "two\n", "a longer text\nwith lines\n", "one", "#!/bin/sh\n", "1", "2"];

pub(crate) fn name(dice: &mut Dice) -> Vec<u8> {
    dice.of(&NAMES).to_vec()
}

fn leaf(dice: &mut Dice) -> Node {
    match dice.below(8) {
        0 => Node::Link(dice.of(&[&b"a"[..], b"nowhere", b"../b", b"lib/a", b"/etc/passwd"]).to_vec()),
        1 => Node::Folder(BTreeMap::new()),
        2 => Node::File { bytes: vec![b'x'; dice.below(40_000)], executable: false },
        _ => Node::File { bytes: dice.of(&TEXTS).as_bytes().to_vec(), executable: dice.one_in(4) },
    }
}

/// A random folder.
pub(crate) fn folder(dice: &mut Dice, depth: usize) -> Node {
    let mut entries = BTreeMap::new();
    for _ in 0..dice.below(5) + usize::from(depth == 0) * 2 {
        let name = name(dice);
        let node = if depth < 3 && dice.one_in(3) { folder(dice, depth + 1) } else { leaf(dice) };
        entries.insert(name, node);
    }
    Node::Folder(entries)
}

impl Node {
    fn kind(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Link(_) => 1,
            Self::Folder(_) => 2,
        }
    }

    fn at(&self, path: &[u8]) -> Option<&Self> {
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).try_fold(self, |node, name| {
            match node {
                Self::Folder(entries) => entries.get(name),
                _ => None,
            }
        })
    }

    /// Answers a question.
    pub(crate) fn answer(&self, path: &[u8], kind: Kind) -> Answer {
        match (kind, self.at(path)) {
            (_, None) => Answer::Absent,
            (Kind::Content, Some(Self::File { bytes, .. })) => Answer::Content(bytes.clone()),
            (Kind::Target, Some(Self::Link(target))) => Answer::Target(target.clone()),
            (Kind::Names, Some(Self::Folder(entries))) => {
                Answer::Names(entries.iter().map(|(name, node)| (name.clone(), node.kind())).collect())
            }
            (_, Some(Self::File { bytes, executable })) => {
                Answer::File { executable: *executable, size: bytes.len() }
            }
            (_, Some(Self::Link(_))) => Answer::Link,
            (_, Some(Self::Folder(_))) => Answer::Folder,
        }
    }

    /// Every path in it.
    pub(crate) fn paths(&self) -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        if let Self::Folder(entries) = self {
            for (name, node) in entries {
                let below = node.paths().into_iter();
                all.extend(below.map(|path| match path.is_empty() {
                    true => name.clone(),
                    false => [&name[..], b"/", &path].concat(),
                }));
            }
        }
        all
    }

    fn entries_at(&mut self, path: &[u8]) -> Option<&mut BTreeMap<Vec<u8>, Self>> {
        let mut node = self;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let Self::Folder(entries) = node else { return None };
            node = entries.get_mut(name)?;
        }
        match node {
            Self::Folder(entries) => Some(entries),
            _ => None,
        }
    }

    /// Changes something at, in or beside a path. The top stays a folder.
    pub(crate) fn change(&mut self, path: &[u8], dice: &mut Dice) {
        if dice.one_in(3)
            && let Some(entries) = self.entries_at(path)
        {
            let (name, node) = (name(dice), leaf(dice));
            entries.insert(name, node);
            return;
        }
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = split.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        let Some(entries) = self.entries_at(parent).filter(|_| !name.is_empty()) else { return };
        let Some(node) = entries.get_mut(name) else {
            entries.insert(name.to_vec(), leaf(dice));
            return;
        };
        match (dice.below(6), &mut *node) {
            (0, _) => drop(entries.remove(name)),
            (1, _) => *node = leaf(dice),
            (2, Self::File { executable, .. }) => *executable = !*executable,
            (3, Self::File { bytes, .. }) => bytes.push(b'+'),
            // The size stays.
            (_, Self::File { bytes, .. }) => match bytes.first_mut() {
                Some(byte) => *byte = byte.wrapping_add(1),
                None => bytes.push(b'1'),
            },
            (2 | 3, Self::Folder(_)) => *node = folder(dice, 2),
            (_, Self::Folder(entries)) => {
                let (name, node) = (crate::mutated::tree::name(dice), leaf(dice));
                entries.insert(name, node);
            }
            (_, Self::Link(target)) => *target = dice.of(&[&b"b"[..], b"lib", b"elsewhere", b"c"]).to_vec(),
        }
    }

    /// Writes it to a place where nothing is.
    pub(crate) fn write(&self, place: &Path) {
        match self {
            Self::File { bytes, executable } => {
                fs::write(place, bytes).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
            }
            Self::Link(target) => symlink(OsStr::from_bytes(target), place).unwrap(),
            Self::Folder(entries) => {
                fs::create_dir(place).unwrap();
                for (name, node) in entries {
                    node.write(&place.join(OsStr::from_bytes(name)));
                }
            }
        }
    }
}
