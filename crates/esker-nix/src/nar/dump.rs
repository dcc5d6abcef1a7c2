//! From the file system into an archive.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{NarError, Writer};
use crate::hash::{Hash, HashSink};

/// Writes the tree at `path` into `sink`; returns how many bytes that took. A link is not followed.
///
/// # Errors
/// When something cannot be read, is neither file, folder nor link, or changes meanwhile.
pub fn dump(path: &Path, sink: impl Write) -> Result<u64, NarError> {
    let mut writer = Writer::new(BufWriter::with_capacity(64 * 1024, sink));
    dump_node(&mut writer, path, b"")?;
    Ok(writer.finish()?.1)
}

/// The SHA-256 of the tree at `path` as an archive, and the archive's size: its NAR hash.
///
/// # Errors
/// See [`dump`].
pub fn hash(path: &Path) -> Result<(Hash, u64), NarError> {
    let mut sink = HashSink::default();
    dump(path, &mut sink)?;
    Ok(sink.finish())
}

fn dump_node<W: Write>(writer: &mut Writer<W>, path: &Path, name: &[u8]) -> Result<(), NarError> {
    let metadata = fs::symlink_metadata(path).map_err(file_error(path))?;
    if metadata.is_dir() {
        writer.directory(name)?;
        for name in sorted_names(path)? {
            dump_node(writer, &path.join(OsStr::from_bytes(&name)), &name)?;
        }
        writer.end_directory()
    } else if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(file_error(path))?;
        writer.symlink(name, target.as_os_str().as_bytes())
    } else if metadata.is_file() {
        dump_file(writer, path, name)
    } else {
        Err(NarError::UnsupportedFile(path.to_owned()))
    }
}

fn dump_file<W: Write>(writer: &mut Writer<W>, path: &Path, name: &[u8]) -> Result<(), NarError> {
    // Whoever may write here could put a link or a pipe in its place after we looked.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| file_error(path)(error.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(file_error(path))?;
    if !metadata.is_file() {
        return Err(NarError::UnsupportedFile(path.to_owned()));
    }
    let executable = metadata.permissions().mode() & 0o100 != 0;
    writer.file(name, executable, metadata.len(), &file)
}

fn sorted_names(path: &Path) -> Result<Vec<Vec<u8>>, NarError> {
    let entries = fs::read_dir(path).map_err(file_error(path))?;
    let names = entries.map(|entry| Ok(entry.map_err(file_error(path))?.file_name().into_vec()));
    let mut names = names.collect::<Result<Vec<_>, NarError>>()?;
    names.sort_unstable();
    Ok(names)
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> NarError + '_ {
    |source| NarError::File { path: path.to_owned(), source }
}
