//! Looks into the real folder of an input.
//!
//! Invariant: no symbolic link is ever followed, and nothing above the folder is reached: each path
//! is resolved by the kernel with that rule (`openat2`, Linux 5.6).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Of which type a path is, with what else a look-up tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Directory,
    Regular { executable: bool, size: u64 },
    Symlink { length: u64 },
}

/// An input where it really lies. Opened when first asked.
pub(super) struct Real {
    folder: PathBuf,
    root: OnceLock<OwnedFd>,
}

impl Real {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), root: OnceLock::new() }
    }

    /// What is at `path`; `None` if nothing is.
    pub(super) fn look(&self, path: &[u8]) -> io::Result<Option<Seen>> {
        let file = match self.open_at(path, OFlags::PATH) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) if self.is_there() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Some(Seen::Directory)),
            FileType::RegularFile => Ok(Some(Seen::Regular { executable: stat.st_mode & 0o100 != 0, size })),
            FileType::Symlink => Ok(Some(Seen::Symlink { length: size })),
            other => Err(io::Error::other(format!("an input holds a file of type {other:?}"))),
        }
    }

    /// Whether the input itself is still there: without it, nothing is absent.
    fn is_there(&self) -> bool {
        let links = |root| rustix::fs::fstat(root).is_ok_and(|stat| stat.st_nlink > 0);
        self.root.get().map_or_else(|| self.folder.symlink_metadata().is_ok(), links)
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, path: &[u8]) -> io::Result<File> {
        Ok(File::from(self.open_at(path, OFlags::RDONLY)?))
    }

    /// Where a link points.
    pub(super) fn target(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let link = self.open_at(path, OFlags::PATH)?;
        Ok(rustix::fs::readlinkat(&link, c"", Vec::new())?.into_bytes())
    }

    /// The names in a folder with their types, sorted, without `.` and `..`.
    pub(super) fn names(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, FileType)>> {
        let folder = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            };
            names.push((name.to_bytes().to_vec(), kind));
        }
        names.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    fn open_at(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if path.is_empty() {
            return rustix::fs::openat(CWD, &self.folder, flags, Mode::empty());
        }
        let root = match self.root.get() {
            Some(root) => root,
            None => {
                let opened = rustix::fs::openat(
                    CWD,
                    &self.folder,
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                self.root.get_or_init(|| opened)
            }
        };
        let rule = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, flags, Mode::empty(), rule)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed_and_nothing_above_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input");
        std::fs::create_dir_all(input.join("folder")).unwrap();
        std::fs::write(input.join("folder/file"), "1").unwrap();
        std::fs::write(folder.path().join("outside"), "2").unwrap();
        symlink("folder", input.join("link")).unwrap();
        symlink("../outside", input.join("out")).unwrap();
        let real = Real::new(&input);
        assert_eq!(real.look(b"folder/file").unwrap(), Some(Seen::Regular { executable: false, size: 1 }));
        assert_eq!(real.look(b"folder/none").unwrap(), None);
        assert_eq!(real.look(b"folder/file/none").unwrap(), None);
        assert_eq!(real.look(b"link").unwrap(), Some(Seen::Symlink { length: 6 }));
        assert_eq!(real.target(b"link").unwrap(), b"folder");
        assert!(real.look(b"link/file").is_err());
        assert!(real.open(b"out").is_err());
        assert!(real.look(b"../outside").is_err());
        let names: Vec<_> = real.names(b"").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [&b"folder"[..], b"link", b"out"]);
        // In what is gone, nothing can be said to be absent.
        std::fs::remove_dir_all(&input).unwrap();
        assert!(real.look(b"folder/none").is_err());
        assert!(Real::new(&input).look(b"none").is_err() && Real::new(&input).look(b"").is_err());
    }
}
