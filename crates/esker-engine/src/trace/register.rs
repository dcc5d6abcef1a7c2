//! Makes what a builder left behind valid in Nix's store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use esker_nix::StorePath;
use esker_nix::hash::HashSink;
use esker_nix::nar::{self, NarError};
use esker_nix::protocol::{Client, PathInfo, ProtocolError, SignatureCheck};
use esker_nix::references::Scanner;

use super::address;

/// One output, as it was left behind.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) path: StorePath,
    pub(crate) content: Content,
    pub(crate) nar_hash: [u8; 32],
    pub(crate) nar_size: u64,
    pub(crate) references: BTreeSet<StorePath>,
    /// An empty file or an empty folder.
    pub(crate) empty: bool,
    /// Hashes in it that have to be replaced by others.
    pub(crate) rewrites: BTreeMap<String, String>,
    /// How its path follows from its content, if it does.
    pub(crate) content_address: Option<String>,
}

/// What an output consists of.
pub(crate) enum Content {
    /// The tree at this place.
    Tree(PathBuf),
    /// Nothing, without a place: thousands of them are made without a look at any file system.
    Empty(Empty),
}

/// The outputs in which nothing is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    Folder,
    File,
    Program,
}

impl Content {
    /// Writes it as an archive.
    pub(crate) fn dump(&self, sink: impl Write) -> Result<(), NarError> {
        let empty = match self {
            Self::Tree(place) => return nar::dump(place, sink).map(drop),
            Self::Empty(empty) => *empty,
        };
        let mut writer = nar::Writer::new(sink);
        match empty {
            Empty::Folder => {
                writer.directory(b"")?;
                writer.end_directory()?;
            }
            Empty::File | Empty::Program => {
                writer.file(b"", empty == Empty::Program, 0, io::empty())?;
            }
        }
        writer.finish().map(drop)
    }

    /// The content of a file that is not a program; `None` if it is something else.
    pub(crate) fn open_plain_file(&self) -> Option<io::Result<Box<dyn Read>>> {
        use std::os::unix::fs::PermissionsExt as _;
        const OWNER_EXECUTES: u32 = 0o100;
        match self {
            Self::Tree(place) => {
                let metadata = place.symlink_metadata().ok()?;
                let plain = metadata.is_file() && metadata.permissions().mode() & OWNER_EXECUTES == 0;
                plain.then(|| Ok(Box::new(std::fs::File::open(place)?) as Box<dyn Read>))
            }
            Self::Empty(empty) => (*empty == Empty::File).then(|| Ok(Box::new(io::empty()) as _)),
        }
    }
}

/// Why it cannot be made valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// An output cannot be read.
    #[error("its output `{name}` cannot be read: {source}")]
    Read {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: NarError,
    },
    /// Outputs that refer to each other in a circle.
    #[error("its outputs refer to each other in a circle")]
    Circle,
    /// The store refused it, or was lost.
    #[error(transparent)]
    Store(#[from] ProtocolError),
}

/// Hashes an output and finds out what it refers to, in one pass.
pub(crate) fn examine(
    name: &str,
    path: &StorePath,
    folder: &Path,
    candidates: &[StorePath],
) -> Result<Made, RegisterError> {
    let mut sinks = Both(HashSink::default(), Scanner::new(candidates.iter().cloned()));
    let read = |source| RegisterError::Read { name: name.to_owned(), source };
    let nar_size = nar::dump(folder, &mut sinks).map_err(read)?;
    let Both(hash, scanner) = sinks;
    let nar_hash = hash.finish().0.as_bytes().try_into().unwrap_or_default();
    Ok(Made {
        name: name.to_owned(),
        path: path.clone(),
        content: Content::Tree(folder.to_owned()),
        nar_hash,
        nar_size,
        references: scanner.finish(),
        empty: is_empty(folder),
        rewrites: BTreeMap::new(),
        content_address: None,
    })
}

/// An empty output with an archive of this size, if there is one.
pub(crate) fn empty(name: &str, path: &StorePath, nar_size: u64) -> Option<Made> {
    [Empty::Folder, Empty::File, Empty::Program].into_iter().find_map(|empty| {
        let content = Content::Empty(empty);
        let mut sink = HashSink::default();
        content.dump(&mut sink).ok()?;
        let (hash, size) = sink.finish();
        (size == nar_size).then_some(())?;
        Some(Made {
            name: name.to_owned(),
            path: path.clone(),
            content,
            nar_hash: hash.as_bytes().try_into().ok()?,
            nar_size,
            references: BTreeSet::new(),
            empty: true,
            rewrites: BTreeMap::new(),
            content_address: None,
        })
    })
}

fn is_empty(folder: &Path) -> bool {
    match folder.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len() == 0,
        Ok(metadata) if metadata.is_dir() => {
            std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
        }
        _ => false,
    }
}

/// Makes all outputs valid, those that others refer to first.
pub(crate) fn register(client: &mut Client, deriver: &StorePath, made: &[Made]) -> Result<(), RegisterError> {
    for made in in_order(made).map_err(|_| RegisterError::Circle)? {
        if made.content_address.is_some() {
            // Another derivation may have given the same.
            client.add_temp_roots(std::slice::from_ref(&made.path))?;
            if client.query_path_info(&made.path)?.is_some() {
                continue;
            }
        }
        let info = PathInfo {
            deriver: Some(deriver.clone()),
            nar_hash: made.nar_hash,
            references: made.references.clone(),
            registration_time: 0,
            nar_size: made.nar_size,
            ultimate: true,
            signatures: Vec::new(),
            content_address: made.content_address.clone(),
        };
        let mut nar =
            as_stream(made).map_err(|source| RegisterError::Read { name: made.name.clone(), source })?;
        client.add_to_store_nar(&made.path, &info, SignatureCheck::Waived, &mut nar)?;
    }
    Ok(())
}

/// Those that others refer to first. `Err` when they refer to each other in a circle: one that is
/// referred to by another, in Nix's order.
pub(crate) fn in_order(made: &[Made]) -> Result<Vec<&Made>, (String, String)> {
    let mut search = Search {
        by_path: made.iter().map(|made| (&made.path, made)).collect(),
        entered: BTreeSet::new(),
        open: BTreeSet::new(),
        order: Vec::new(),
    };
    let mut by_name: Vec<&Made> = made.iter().collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    for made in by_name {
        search.visit(made, None)?;
    }
    Ok(search.order)
}

/// As deep as there are outputs.
struct Search<'a> {
    by_path: BTreeMap<&'a StorePath, &'a Made>,
    entered: BTreeSet<&'a str>,
    open: BTreeSet<&'a str>,
    order: Vec<&'a Made>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, made: &'a Made, from: Option<&'a Made>) -> Result<(), (String, String)> {
        if self.open.contains(made.name.as_str()) {
            let from = from.map(|from| from.name.clone()).unwrap_or_default();
            return Err((made.name.clone(), from));
        }
        if !self.entered.insert(&made.name) {
            return Ok(());
        }
        self.open.insert(&made.name);
        let referred = made.references.iter().filter(|path| **path != made.path);
        let mut referred: Vec<&Made> = referred.filter_map(|path| self.by_path.get(path).copied()).collect();
        referred.sort_by(|a, b| a.name.cmp(&b.name));
        for other in referred {
            self.visit(other, Some(made))?;
        }
        self.open.remove(made.name.as_str());
        self.order.push(made);
        Ok(())
    }
}

/// The archive of an output, to be read.
fn as_stream(made: &Made) -> Result<Box<dyn Read>, NarError> {
    const IN_MEMORY: u64 = 4 << 20;
    let spool = tempfile::SpooledTempFile::new(IN_MEMORY as usize);
    let mut spool = address::dump(&made.content, &made.rewrites, spool)?;
    io::Seek::rewind(&mut spool).map_err(NarError::Stream)?;
    Ok(Box::new(spool))
}

struct Both<A, B>(A, B);

impl<A: Write, B: Write> Write for Both<A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_output_is_what_an_empty_tree_would_be() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let [tree, file, program] = ["tree", "file", "program"].map(|name| folder.path().join(name));
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(&file, "").unwrap();
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = StorePath::from_base_name("0123456789abcdfghijklmnpqrsvwxyz-empty").unwrap();
        for place in [tree, file, program] {
            let real = examine("out", &path, &place, &[]).unwrap();
            let made = empty("out", &path, real.nar_size).unwrap();
            assert_eq!((made.nar_hash, made.nar_size, made.empty), (real.nar_hash, real.nar_size, true));
            let plain = |made: &Made| made.content.open_plain_file().is_some();
            assert_eq!(plain(&made), plain(&real));
        }
        assert!(empty("out", &path, 7).is_none());
    }
}
