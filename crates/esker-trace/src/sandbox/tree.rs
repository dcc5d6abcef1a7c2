//! The processes of one run: started together, and gone together.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::child::{GROUP, USER, guard};
use super::plan::Plan;
use crate::sys::{self, Forked};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(i32),
    Signalled(i32),
}

/// The warden and the builder.
///
/// Dropping it kills both, and everything that the builder started, and waits until they are gone.
pub(crate) struct Tree {
    warden: OwnedFd,
    /// Takes how the builder ended.
    news: OwnedFd,
    status: Option<Status>,
    /// The warden does not begin when this has ended.
    _alive: OwnedFd,
}

impl Tree {
    /// Starts both. The builder waits until its ids are mapped and it is told to go.
    pub(crate) fn start(plan: &Plan) -> io::Result<Self> {
        let (alive_end, alive) = pipe_with(PipeFlags::CLOEXEC)?;
        let (news, news_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let warden = match sys::fork(libc::CLONE_NEWPID)? {
            Forked::Child => {
                guard(sys::number(&alive_end), sys::number(&alive), sys::number(&news_end), plan)
            }
            Forked::Parent(pid) => rustix::process::pidfd_open(pid, PidfdFlags::empty())?,
        };
        Ok(Self { warden, news, status: None, _alive: alive })
    }

    /// Becomes readable when the builder has ended, and all that it started.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.warden.as_fd()
    }

    /// Kills whatever still runs, and says how the builder ended.
    pub(crate) fn end(mut self) -> Status {
        self.finish()
    }

    fn finish(&mut self) -> Status {
        if let Some(status) = self.status {
            return status;
        }
        // If it has ended by itself, this does nothing.
        let _ = rustix::process::pidfd_send_signal(&self.warden, Signal::KILL);
        // The kernel lets go of the first process of a namespace only when nothing is left below it.
        while let Err(Errno::INTR) =
            rustix::process::waitid(WaitId::PidFd(self.warden.as_fd()), WaitIdOptions::EXITED)
        {}
        let mut message = [0; 4];
        let status = match rustix::io::read(&self.news, &mut message[..]) {
            Ok(4) => Status::of(i32::from_ne_bytes(message)),
            // The warden was killed, and the builder with it.
            _ => Status::Signalled(libc::SIGKILL),
        };
        self.status = Some(status);
        status
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Status {
    fn of(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Exited(libc::WEXITSTATUS(status))
        } else {
            Self::Signalled(libc::WTERMSIG(status))
        }
    }
}

/// Gives a process in a new user namespace its ids: those of the host, under the numbers that Nix
/// gives them.
pub(crate) fn map_ids(pid: u32, host_uid: u32, host_gid: u32) -> io::Result<()> {
    let write = |name: &str, text: String| std::fs::write(format!("/proc/{pid}/{name}"), text);
    write("uid_map", format!("{USER} {host_uid} 1"))?;
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{GROUP} {host_gid} 1"))
}
