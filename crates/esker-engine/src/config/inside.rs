//! Opening files that must lie inside a folder, whatever symlinks a stranger put there.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::decode::place_of;
use super::{ConfigError, ConfigFile, MAX_FILE_BYTES};

/// The text of `file` in `dir`; `None` if there is none.
pub(super) fn load_text(dir: &Path, file: ConfigFile) -> Result<Option<String>, ConfigError> {
    let path = dir.join(file.name());
    let refused = |source: io::Error| ConfigError::Read { path: path.clone(), source };
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
        Ok(_) => {}
    }
    let real = path.canonicalize().map_err(refused)?;
    if !real.starts_with(dir.canonicalize().map_err(refused)?) {
        return Err(ConfigError::Outside { path, root: dir.into() });
    }
    // Not to wait for the other end of a pipe, nor to gain a terminal.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(&real, flags, Mode::empty()).map_err(|error| refused(error.into()))?;
    let opened = fs::File::from(opened);
    if !opened.metadata().map_err(refused)?.is_file() {
        return Err(ConfigError::NotAFile { path });
    }
    let mut bytes = Vec::new();
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge { path });
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        ConfigError::NotText { place: place_of(&text, good, file) }
    })
}

/// Follows `relative`, the value of `key`, from `root` and makes sure that it stays inside.
pub(super) fn resolve(root: &Path, relative: &Path, key: &'static str) -> Result<PathBuf, ConfigError> {
    let refused = |path: &Path, source| ConfigError::Read { path: path.into(), source };
    let real_root = root.canonicalize().map_err(|error| refused(root, error))?;
    let path = real_root.join(relative);
    match path.canonicalize() {
        Ok(real) if real.starts_with(&real_root) => Ok(real),
        Ok(_) => Err(ConfigError::Outside { path: relative.into(), root: root.into() }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(ConfigError::Missing { key, path: relative.into() })
        }
        Err(error) => Err(refused(&path, error)),
    }
}
