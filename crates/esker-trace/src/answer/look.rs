//! Looking into an input's folder, never through a link.
//!
//! The observer's file system resolves paths one name at a time, and a question's path is what is left
//! of that: all but its last name were folders. So a path with a link or a file on its way is absent
//! here, as it was (or would be) there.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::AnswerError;

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    Directory,
    Regular { executable: bool, size: u64 },
    Symlink,
}

/// An input, opened.
pub(super) struct Tree {
    folder: PathBuf,
    /// Names the input itself, whatever it is; cannot be read from.
    root: OwnedFd,
    /// The folder that was last looked into. `None`: it is no folder.
    last: Option<(Vec<u8>, Option<OwnedFd>)>,
}

/// What tells a folder from one that later takes its place: device, inode, and when it was last changed.
pub(super) fn identity(folder: &Path) -> Result<[u8; 32], AnswerError> {
    let stat = fs::lstat(folder).map_err(|error| failed_root(folder, error))?;
    let values = [stat.st_dev, stat.st_ino, stat.st_ctime.cast_unsigned(), stat.st_ctime_nsec];
    let mut bytes = [0; 32];
    for (place, value) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
    Ok(bytes)
}

fn failed_root(folder: &Path, error: Errno) -> AnswerError {
    match error {
        Errno::NOENT => AnswerError::Gone { folder: folder.into() },
        other => AnswerError::Io { folder: folder.into(), path: Vec::new(), source: other.into() },
    }
}

impl Tree {
    pub(super) fn open(folder: &Path) -> Result<Self, AnswerError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = fs::open(folder, flags, Mode::empty()).map_err(|error| failed_root(folder, error))?;
        Ok(Self { folder: folder.into(), root, last: None })
    }

    pub(super) fn find(&mut self, path: &[u8]) -> Result<Found, AnswerError> {
        let stat = if path.is_empty() {
            fs::fstat(&self.root).map_err(|error| self.failed(path, error))?
        } else {
            let (parent, name) = split(path)?;
            let Some(parent) = self.parent(parent)? else { return Ok(Found::Absent) };
            match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Also below an input that is no folder itself; and a name that is too long for any file
                // system of Linux is in no folder.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => return Ok(Found::Absent),
                Err(error) => return Err(self.failed(path, error)),
            }
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Found::Directory),
            FileType::Symlink => Ok(Found::Symlink),
            FileType::RegularFile => Ok(Found::Regular {
                executable: stat.st_mode & 0o100 != 0,
                size: u64::try_from(stat.st_size).unwrap_or_default(),
            }),
            _ => Err(AnswerError::OddFile { folder: self.folder.clone(), path: path.to_vec() }),
        }
    }

    /// A file's bytes; only after [`Tree::find`] has said that it is one.
    pub(super) fn open_file(&mut self, path: &[u8]) -> Result<File, AnswerError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.open_at(path, flags).map(File::from)
    }

    /// A folder's names with their types, sorted, as one text.
    pub(super) fn names(&mut self, path: &[u8]) -> Result<Vec<u8>, AnswerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = self.open_at(path, flags)?;
        let mut entries = Vec::new();
        for entry in fs::Dir::read_from(&folder).map_err(|error| self.failed(path, error))? {
            let entry = entry.map_err(|error| self.failed(path, error))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let mut file_type = entry.file_type();
            if file_type == FileType::Unknown {
                let stat = fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| self.failed(path, error))?;
                file_type = FileType::from_raw_mode(stat.st_mode);
            }
            let letter = match file_type {
                FileType::Directory => b'd',
                FileType::Symlink => b'l',
                FileType::RegularFile => b'r',
                _ => return Err(AnswerError::OddFile { folder: self.folder.clone(), path: path.to_vec() }),
            };
            entries.push((name.to_vec(), letter));
        }
        entries.sort_unstable();
        // No name has these two bytes; so the text can be read in one way only, and a hash stands alone.
        let lines = entries.into_iter().flat_map(|(name, letter)| [vec![letter, b'/'], name, vec![0]]);
        Ok(lines.flatten().collect())
    }

    /// Where a link points.
    pub(super) fn target(&mut self, path: &[u8]) -> Result<Vec<u8>, AnswerError> {
        let target = if path.is_empty() {
            fs::readlink(&self.folder, Vec::new())
        } else {
            let (parent, name) = split(path)?;
            let parent = self.parent(parent)?.ok_or(Errno::NOENT);
            parent.and_then(|parent| fs::readlinkat(parent, name, Vec::new()))
        };
        target.map(|text| text.into_bytes()).map_err(|error| self.failed(path, error))
    }

    fn open_at(&mut self, path: &[u8], flags: OFlags) -> Result<OwnedFd, AnswerError> {
        let opened = if path.is_empty() {
            fs::open(&self.folder, flags, Mode::empty())
        } else {
            let (parent, name) = split(path)?;
            let parent = self.parent(parent)?.ok_or(Errno::NOENT);
            parent.and_then(|parent| fs::openat(parent, name, flags, Mode::empty()))
        };
        opened.map_err(|error| self.failed(path, error))
    }

    /// The folder at this path; `None` if there is none. Questions come sorted, so the last is kept.
    fn parent(&mut self, path: &[u8]) -> Result<Option<&OwnedFd>, AnswerError> {
        if path.is_empty() {
            return Ok(Some(&self.root));
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let opened = match fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Ok(folder) => Some(folder),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
                Err(error) => return Err(self.failed(path, error)),
            };
            self.last = Some((path.to_vec(), opened));
        }
        Ok(self.last.as_ref().and_then(|(_, folder)| folder.as_ref()))
    }

    fn failed(&self, path: &[u8], error: Errno) -> AnswerError {
        AnswerError::Io { folder: self.folder.clone(), path: path.to_vec(), source: error.into() }
    }
}

/// A path's folder and last name.
fn split(path: &[u8]) -> Result<(&[u8], &[u8]), AnswerError> {
    if !is_below(path) {
        return Err(AnswerError::Malformed { path: path.to_vec() });
    }
    Ok(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

fn is_below(path: &[u8]) -> bool {
    !path.contains(&0)
        && path.split(|&byte| byte == b'/').all(|name| !name.is_empty() && name != b"." && name != b"..")
}
