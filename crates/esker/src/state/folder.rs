//! The state folder: where it is, what lies in it under which name, and who holds which lock.
//!
//! Locks are `flock`s: the kernel drops them when their holder dies, however it dies.

use std::env;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::StateError;

/// File name of the database.
pub(super) const DATABASE: &str = "esker.db";
/// Folder of the folders of logs.
pub(super) const LOGS: &str = "logs";
/// In a run's folder: held as long as the run is being recorded.
pub(super) const RUN_LOCK: &str = "lock";
const STATE_LOCK: &str = "state.lock";
/// The lock is held for moments; who waits longer than this waits for a process that is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state folder of this user, from the environment. It need not exist.
///
/// # Errors
/// No variable says where.
pub(crate) fn default_dir() -> Result<PathBuf, StateError> {
    dir_from(env::var_os("ESKER_STATE_DIR"), env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))
        .ok_or(StateError::NoHome)
}

/// As the XDG base directory specification wants it: a relative `XDG_STATE_HOME` does not count.
fn dir_from(own: Option<OsString>, xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let path = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    path(own)
        .or_else(|| path(xdg).filter(|xdg| xdg.is_absolute()).map(|xdg| xdg.join("esker")))
        .or_else(|| path(home).map(|home| home.join(".local/state/esker")))
}

/// Creates the folder, for this user alone since logs may tell much, and the one for logs in it.
pub(super) fn create(dir: &Path) -> Result<(), StateError> {
    let logs = dir.join(LOGS);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&logs)
        .map_err(|source| StateError::Folder { path: dir.into(), source })
}

/// Exclusive use of the folder's structure, until it is dropped.
pub(super) struct Guard {
    _lock: File,
}

/// Waits for the folder's lock, yet not for long.
pub(super) fn lock(dir: &Path) -> Result<Guard, StateError> {
    let path = dir.join(STATE_LOCK);
    let failed = |source: io::Error| StateError::Folder { path: path.clone(), source };
    let lock = open_lock(&path).map_err(failed)?;
    let begin = Instant::now();
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Guard { _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Busy { path }),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
}

/// Creates the folder of a new run and takes its lock. Call it with the state's lock held.
///
/// Its name is `name`, with a number if that is taken.
pub(super) fn create_run(dir: &Path, name: &str) -> io::Result<(String, File)> {
    let logs = dir.join(LOGS);
    let mut folder = name.to_string();
    let mut number = 2;
    loop {
        match DirBuilder::new().mode(0o700).create(logs.join(&folder)) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                folder = format!("{name}-{number}");
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
    let lock = open_lock(&logs.join(&folder).join(RUN_LOCK))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok((folder, lock))
}

/// Whether some process records this run right now.
pub(super) fn is_live(dir: &Path, folder: &str) -> bool {
    let path = dir.join(LOGS).join(folder).join(RUN_LOCK);
    // Shared, so that two who ask at once do not take each other for the recorder.
    File::open(path).is_ok_and(|lock| {
        flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// Whether a folder's name is one that [`create_run`] gives. Nothing else is ever removed.
pub(super) fn is_run_folder(name: &str) -> bool {
    let (time, number) = name.split_once('-').unwrap_or((name, "2"));
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00000000T000000Z" && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_comes_from_the_first_variable_that_says_something() {
        let os = |text: &str| Some(OsString::from(text));
        let check = |own, xdg, home, expected: Option<&str>| {
            assert_eq!(dir_from(own, xdg, home), expected.map(PathBuf::from));
        };
        check(os("here"), os("/xdg"), os("/home/me"), Some("here"));
        check(os(""), os("/xdg"), os("/home/me"), Some("/xdg/esker"));
        check(None, os("relative"), os("/home/me"), Some("/home/me/.local/state/esker"));
        check(None, None, None, None);
    }

    #[test]
    fn only_folders_of_ours_look_like_one() {
        for name in ["20261120T101112Z", "20261120T101112Z-2", "20261120T101112Z-117"] {
            assert!(is_run_folder(name), "{name}");
        }
        for name in ["", "nginx", "20261120T101112Z-", "20261120T101112Z-x", "20261120", "..", "a-2"] {
            assert!(!is_run_folder(name), "{name}");
        }
    }
}
