//! Answers the kernel's questions about the inputs, and records each.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::node::{Inodes, Name, Node, ROOT, Record, number};
use super::protocol::{self, Attributes, Line, Listing, Request, Upcall};
use super::real::{Real, Seen};
use super::rename::Renaming;
use crate::exec::Spec;
use crate::inputs::Inputs;
use crate::observation::Kind;

/// Files kept open for reading.
const OPEN_FILES: usize = 256;
/// The largest answer to a read.
const LARGEST_READ: usize = 1 << 20;

/// The file system of one run.
pub(super) struct Server {
    inputs: Inputs,
    /// By slot, as the inputs are.
    real: Vec<Real>,
    /// By slot: which hashes in an input are shown as others.
    renamings: Vec<Renaming>,
    by_name: HashMap<Vec<u8>, u32>,
    inodes: Inodes,
    pub(super) record: Record,
    open: Mutex<HashMap<u64, Arc<File>>>,
}

/// Why serving ended without being told to.
pub(super) enum Ended {
    /// The file system was unmounted, or the connection cut.
    Gone,
    /// The device failed.
    Failed(io::Error),
}

type Answered = Result<Vec<u8>, Errno>;

impl Server {
    pub(super) fn new(spec: &Spec, inodes: Inodes) -> Self {
        let slots = spec.inputs.as_slice();
        let by_name = (0..).zip(slots).map(|(slot, input)| (input.base_name.clone().into_bytes(), slot));
        Self {
            real: slots.iter().map(|input| Real::new(&input.folder)).collect(),
            renamings: slots.iter().map(|input| Renaming::inside(input, &spec.renamed)).collect(),
            by_name: by_name.collect(),
            inputs: spec.inputs.clone(),
            inodes,
            record: Record::default(),
            open: Mutex::default(),
        }
    }

    /// Serves until the file system is gone. Several threads may do so at once.
    pub(super) fn serve(&self, device: BorrowedFd<'_>) -> Ended {
        let mut buffer = vec![0; protocol::REQUEST_ROOM];
        // What is read of files, without a new buffer for each.
        let mut data = vec![0; LARGEST_READ];
        loop {
            let length = match rustix::io::read(device, &mut buffer) {
                Ok(length) => length,
                // The process that asked is gone, or a signal came.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
                Err(Errno::NODEV) => return Ended::Gone,
                Err(error) => return Ended::Failed(error.into()),
            };
            let Some(upcall) = protocol::parse(buffer.get(..length).unwrap_or_default()) else {
                return Ended::Failed(io::Error::other("the kernel sent something that is not FUSE"));
            };
            let answer = match upcall.request {
                Request::Forget => continue,
                Request::Destroy => return Ended::Gone,
                Request::Read { offset, size } => {
                    let room = data.len().min(size as usize);
                    let length = self.read(upcall.node, offset, &mut data[..room]);
                    length.map(|length| Cow::Borrowed(&data[..length]))
                }
                _ => self.answer(&upcall).map(Cow::Owned),
            };
            let (error, body): (_, &[u8]) = match &answer {
                Ok(body) => (0, body),
                Err(error) => (error.raw_os_error(), &[]),
            };
            let header = protocol::header(upcall.unique, error, body.len());
            match rustix::io::writev(device, &[IoSlice::new(&header), IoSlice::new(body)]) {
                // ENOENT: nobody waits for this answer any more.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(Errno::NODEV) => return Ended::Gone,
                Err(error) => return Ended::Failed(error.into()),
            }
        }
    }

    fn answer(&self, upcall: &Upcall<'_>) -> Answered {
        match upcall.request {
            Request::Init { major: 7, minor, readahead, flags } if minor >= protocol::OLDEST_MINOR => {
                Ok(protocol::init(readahead, flags))
            }
            Request::Init { .. } => Err(Errno::PROTO),
            Request::Lookup { name } => self.look_up(upcall.node, name),
            Request::Attributes => self.attributes(upcall.node),
            Request::ReadLink => {
                let node = self.record.node(upcall.node).ok_or(Errno::STALE)?;
                self.record.ask(node.slot, &node.path, Kind::Target);
                let renaming = self.renaming_of(node.slot)?;
                self.try_real(&node, |real, path| renaming.renamed(real.target(path)?))
            }
            Request::ReadDirectory { offset, size, format } if upcall.node == ROOT => {
                self.list_root(offset, size as usize, format)
            }
            Request::ReadDirectory { offset, size, format } => {
                self.list(upcall.node, offset, size as usize, format)
            }
            Request::StatFs => Ok(protocol::statfs()),
            // As a disk says it; the kernel would say of a file system that knows none: ENOTSUP.
            Request::Extended => Err(Errno::NODATA),
            Request::ExtendedNames { size } => Ok(protocol::no_extended_names(size)),
            Request::Change => Err(Errno::ROFS),
            Request::Read { .. } | Request::Forget | Request::Destroy | Request::Other => Err(Errno::NOSYS),
        }
    }

    fn look_up(&self, parent: u64, name: &[u8]) -> Answered {
        let (slot, path) = if parent == ROOT {
            let Some(slot) = self.by_name.get(name) else { return Ok(protocol::no_entry()) };
            (*slot, Vec::new())
        } else {
            let parent = self.record.node(parent).ok_or(Errno::STALE)?;
            (parent.slot, child(&parent.path, name))
        };
        self.record.ask(slot, &path, Kind::Stat);
        let seen = match self.real_of(slot)?.look(&path) {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(protocol::no_entry()),
            Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => return Err(Errno::NAMETOOLONG),
            Err(error) => return Err(self.fault(slot, &path, &error)),
        };
        if matches!(seen, Seen::Symlink { .. }) {
            self.record.ask(slot, &path, Kind::Target);
        }
        let number = self.number(slot, &path);
        if !self.record.insert(number, Node { slot, path: path.clone(), seen }) {
            return Err(self.fault(slot, &path, &io::Error::other("two files have one number")));
        }
        Ok(protocol::entry(number, &self.attributes_of(number, seen)))
    }

    fn attributes(&self, number: u64) -> Answered {
        let seen =
            if number == ROOT { Seen::Directory } else { self.record.node(number).ok_or(Errno::STALE)?.seen };
        Ok(protocol::attributes(&self.attributes_of(number, seen)))
    }

    /// Fills `data` from `offset` on, as far as the file goes.
    fn read(&self, number: u64, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        let node = self.record.node(number).ok_or(Errno::STALE)?;
        self.record.ask(node.slot, &node.path, Kind::Content);
        let file = self.open_file(number, &node)?;
        let renaming = self.renaming_of(node.slot)?;
        let filled = renaming.read(offset, data, |offset, data| fill(&file, offset, data));
        filled.map_err(|error| self.fault(node.slot, &node.path, &error))
    }

    fn open_file(&self, number: u64, node: &Node) -> Result<Arc<File>, Errno> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.try_real(node, Real::open)?);
        let mut open = lock();
        if open.len() >= OPEN_FILES {
            open.clear();
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Names alone: what they are would be one question more for each.
    fn list(&self, number: u64, offset: u64, room: usize, format: Listing) -> Answered {
        let node = self.record.node(number).ok_or(Errno::STALE)?;
        self.record.ask(node.slot, &node.path, Kind::Names);
        let names = match self.record.names(number) {
            Some(names) => names,
            None => self.record.keep_names(number, self.names(number, &node)?),
        };
        let mut out = Vec::new();
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((inode, kind, name), next) in names.iter().skip(first).zip(offset + 1..) {
            let line = Line { inode: *inode, kind: *kind, name, entry: None };
            if !protocol::put_line(&mut out, room, format, next, &line) {
                break;
            }
        }
        Ok(out)
    }

    /// The inputs, looked up all at once: only the supervisor sees this folder, to warm the kernel's
    /// cache before each input is bound.
    fn list_root(&self, offset: u64, room: usize, format: Listing) -> Answered {
        let mut out = Vec::new();
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        for (input, next) in self.inputs.as_slice().iter().skip(first).zip(offset + 1..) {
            let name = input.base_name.as_bytes();
            let entry = Some(self.look_up(ROOT, name)?);
            let line = Line { inode: next, kind: u32::from(libc::DT_UNKNOWN), name, entry };
            if !protocol::put_line(&mut out, room, format, next, &line) {
                break;
            }
        }
        Ok(out)
    }

    /// The listing of a folder: sorted, and with the inodes that look-ups would show.
    fn names(&self, number: u64, node: &Node) -> Result<Vec<Name>, Errno> {
        let own = self.inodes.of(number);
        let mut names = vec![(own, u32::from(libc::DT_DIR), b".".to_vec())];
        names.push((own, u32::from(libc::DT_DIR), b"..".to_vec()));
        let renaming = self.renaming_of(node.slot)?;
        for (name, kind) in self.try_real(node, Real::names)? {
            if renaming.renamed(name.clone()).ok().as_ref() != Some(&name) {
                let error = io::Error::other("a name with a hash in it is not shown under another");
                return Err(self.fault(node.slot, &node.path, &error));
            }
            let kind = match kind {
                FileType::Directory => libc::DT_DIR,
                FileType::Symlink => libc::DT_LNK,
                _ => libc::DT_REG,
            };
            let inode = self.inodes.of(self.number(node.slot, &child(&node.path, &name)));
            names.push((inode, u32::from(kind), name));
        }
        Ok(names)
    }

    fn attributes_of(&self, number: u64, seen: Seen) -> Attributes {
        let (mode, size) = match seen {
            Seen::Directory => (0o040_555, 4096),
            Seen::Regular { executable: true, size } => (0o100_555, size),
            Seen::Regular { executable: false, size } => (0o100_444, size),
            Seen::Symlink { length } => (0o120_777, length),
        };
        Attributes { inode: self.inodes.of(number), size, mode }
    }

    fn number(&self, slot: u32, path: &[u8]) -> u64 {
        let key = self.inputs.as_slice().get(slot as usize).map_or("", |input| input.key.as_str());
        number(key, path)
    }

    fn renaming_of(&self, slot: u32) -> Result<&Renaming, Errno> {
        self.renamings.get(slot as usize).ok_or(Errno::STALE)
    }

    fn real_of(&self, slot: u32) -> Result<&Real, Errno> {
        self.real.get(slot as usize).ok_or(Errno::STALE)
    }

    /// Does something with the real file; a failure is a fault of ours.
    fn try_real<T>(&self, node: &Node, what: impl Fn(&Real, &[u8]) -> io::Result<T>) -> Result<T, Errno> {
        what(self.real_of(node.slot)?, &node.path).map_err(|error| self.fault(node.slot, &node.path, &error))
    }

    fn fault(&self, slot: u32, path: &[u8], error: &io::Error) -> Errno {
        let input = self.inputs.as_slice().get(slot as usize).map_or("", |input| input.base_name.as_str());
        let path = String::from_utf8_lossy(path);
        self.record.fault(format!("cannot serve `{path}` of input `{input}`: {error}"));
        Errno::IO
    }
}

/// Fills `data` from `offset` on, as far as the file goes.
fn fill(file: &File, offset: u64, data: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn child(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}
