//! From an archive into the file system.
//!
//! Invariant: nothing outside `destination` is touched, whatever the archive says. Each file,
//! folder and link is created where nothing was, names cannot leave their folder, and no name comes
//! twice; so no link of the archive is ever followed.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::dump::file_error;
use super::read::content_error;
use super::{Event, NarError, Reader};

/// Unpacks an archive at `destination`, where nothing may be yet; its parent must exist. Reads
/// not one byte beyond the archive.
///
/// Files get the modes 0666 or 0777, less the process's umask. After an error a part is left
/// behind, for the caller to remove.
///
/// # Errors
/// When the archive is malformed or its stream fails, and when something cannot be created.
pub fn restore(source: impl Read, destination: &Path) -> Result<(), NarError> {
    let mut reader = Reader::new(source);
    let mut folder: Option<PathBuf> = None;
    let place = |folder: &Option<PathBuf>, name: &[u8]| match folder {
        Some(folder) => folder.join(OsStr::from_bytes(name)),
        None => destination.to_owned(),
    };
    while let Some(event) = reader.next_event()? {
        match event {
            Event::Directory { name } => {
                let path = place(&folder, &name);
                fs::create_dir(&path).map_err(file_error(&path))?;
                folder = Some(path);
            }
            Event::EndDirectory => {
                folder.as_mut().expect("a folder that ends has begun").pop();
            }
            Event::Symlink { name, target } => {
                let path = place(&folder, &name);
                symlink(OsStr::from_bytes(&target), &path).map_err(file_error(&path))?;
            }
            Event::File { name, executable, .. } => {
                let path = place(&folder, &name);
                let mode = if executable { 0o777 } else { 0o666 };
                let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
                copy(reader.content(), file.map_err(file_error(&path))?, &path)?;
            }
        }
    }
    Ok(())
}

/// Like `io::copy`, which cannot tell whose error it was.
fn copy(mut content: impl Read, mut file: File, path: &Path) -> Result<(), NarError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => file.write_all(&buffer[..count]).map_err(file_error(path))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(content_error(error)),
        }
    }
}
