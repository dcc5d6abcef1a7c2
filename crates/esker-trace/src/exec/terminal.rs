//! The builder's log: a raw terminal, as Nix gives its builders, so that programs write line by line.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use super::wait::timespec;

/// How long the rest of a log may take to arrive once every process is gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The reading end.
pub(super) struct Terminal {
    master: OwnedFd,
    /// Whether anybody can still write to it. Once nobody can, nobody ever will.
    open: bool,
}

impl Terminal {
    /// The reading and the writing end. The latter belongs to the builder, so that `/dev/stderr` can be
    /// opened.
    pub(super) fn open(host_uid: u32) -> io::Result<(Self, OwnedFd)> {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = rustix::termios::tcgetattr(&slave)?;
        settings.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &settings)?;
        rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o600))?;
        std::os::unix::fs::fchown(&slave, Some(host_uid), Some(0))?;
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok((Self { master, open: true }, slave))
    }

    /// What to wait for, while there is something to wait for.
    pub(super) fn open_end(&self) -> Option<&OwnedFd> {
        self.open.then_some(&self.master)
    }

    /// Passes on some of what was written, and says how many bytes.
    pub(super) fn pass_on(&mut self, log: &mut dyn FnMut(&[u8])) -> Option<u64> {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(&self.master, &mut buffer[..]) {
            Ok(length @ 1..) => {
                log(&buffer[..length]);
                Some(length as u64)
            }
            Err(Errno::INTR | Errno::AGAIN) => None,
            // EIO: nobody has the other end any more.
            Ok(_) | Err(_) => {
                self.open = false;
                None
            }
        }
    }

    /// Passes on what is left. Every writer is gone by now.
    pub(super) fn drain(mut self, log: &mut dyn FnMut(&[u8])) {
        while let Some(master) = self.open_end() {
            let mut waited = [PollFd::new(master, PollFlags::IN)];
            match poll(&mut waited, Some(&timespec(LAST_WORDS))) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            self.pass_on(log);
        }
    }
}
