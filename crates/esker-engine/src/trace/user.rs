//! Users of our own for builders: ids that nobody else has, one for each build at a time.
//!
//! Nix kills the processes of the ids that it uses, so those are not taken.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// The first of our ids: far above those of people, containers and Nix.
const FIRST: u32 = 0x6573_0000;
const COUNT: u32 = 1024;
/// Where it is noted which are taken; goes with a restart of the machine.
const FOLDER: &str = "/run/esker-users";

/// An id for a builder, for as long as this lives. It is given back by the kernel if we are killed.
pub(crate) struct User {
    pub(crate) id: u32,
    _lock: File,
}

impl User {
    /// Takes one that is free.
    pub(crate) fn take() -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(FOLDER)?;
        for number in 0..COUNT {
            let path = Path::new(FOLDER).join(number.to_string());
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { id: FIRST + number, _lock: file }),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("all users for builders are taken"))
    }
}
