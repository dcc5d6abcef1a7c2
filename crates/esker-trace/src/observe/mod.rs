//! Watches what a run sees of its inputs.
//!
//! The inputs are shown through a FUSE file system of the run's own. The kernel is told that every
//! answer holds for ever, so it asks for each fact once and remembers it; what it asked for is what
//! the run can have seen. Nothing else leads to an input, so nothing can be missed.
//!
//! What a fact is: a look-up tells whether there is something, of which type, whether it may be
//! executed and how large a regular file is ([`Kind::Stat`]); reading any part of a file is reading
//! it whole ([`Kind::Content`]; an empty file needs no reading, its size settles it); a link that is
//! looked up also shows its target, whose length is the link's size. Everything else that a file
//! system could tell is made the same for all: times are 1, the owner is root, a file has one link,
//! a folder's size is 4096, an inode's number follows from slot and path, names come sorted, there
//! are no extended attributes, and `statfs` is constant. The number of the *device* differs from run to
//! run, as it does between machines without us.
//!
//! [`Kind::Stat`]: crate::observation::Kind::Stat
//! [`Kind::Content`]: crate::observation::Kind::Content

mod node;
mod protocol;
mod real;
pub(crate) mod rename;
mod serve;
pub(crate) mod watch;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::exec::Spec;
use crate::observation::Question;
pub(crate) use node::Inodes;
use serve::{Ended, Server};

/// Threads that answer the kernel: one for each processor, but few.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |number| number.get().clamp(2, 4))
}

/// A mounted view of the inputs: below `folder`, each under its base name.
pub(crate) struct Observer {
    folder: PathBuf,
    device: Arc<OwnedFd>,
    server: Arc<Server>,
    threads: Vec<JoinHandle<()>>,
    ended: OwnedFd,
    ended_writer: Arc<OwnedFd>,
}

/// What was observed.
pub(crate) struct Observed {
    /// Sorted, each once.
    pub(crate) questions: Vec<Question>,
    /// Why the observation cannot be believed; empty when it can.
    pub(crate) faults: Vec<String>,
}

impl Observer {
    /// Mounts the view. Nobody answers before [`Observer::start`]; whoever looks waits.
    pub(crate) fn mount(folder: &Path, spec: &Spec, inodes: Inodes) -> io::Result<Self> {
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let options = format!(
            "fd={},rootmode=40555,user_id=0,group_id=0,allow_other,default_permissions",
            device.as_raw_fd()
        );
        let options = std::ffi::CString::new(options).expect("has no zero byte");
        // Not MS_RDONLY: a builder that tries to write is to get EACCES, as from a store path of Nix.
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
        rustix::mount::mount("esker", folder, "fuse", flags, options.as_c_str())?;
        let (ended, ended_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(Self {
            folder: folder.to_owned(),
            device: Arc::new(device),
            server: Arc::new(Server::new(spec, inodes)),
            threads: Vec::new(),
            ended,
            ended_writer: Arc::new(ended_writer),
        })
    }

    /// Starts to answer.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        for _ in 0..threads() {
            let (server, device) = (Arc::clone(&self.server), Arc::clone(&self.device));
            let ended = Arc::clone(&self.ended_writer);
            let thread = std::thread::Builder::new().name("observer".to_owned()).spawn(move || {
                // Also said when the thread panics.
                let _notice = Notice(ended);
                if let Ended::Failed(error) = server.serve(device.as_fd()) {
                    server.record.fault(format!("the observer failed: {error}"));
                }
            })?;
            self.threads.push(thread);
        }
        Ok(())
    }

    /// Has the kernel look up every input, in a few upcalls instead of one for each.
    pub(crate) fn warm(&self) -> io::Result<()> {
        std::fs::read_dir(&self.folder)?.try_for_each(|entry| entry.map(drop))
    }

    /// Becomes readable when the observer no longer answers.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Cuts the view off: whoever waits for an answer gets an error. For when none will come.
    pub(crate) fn abort(&self) {
        // Refused because the view is in use; cutting it off comes first.
        let _ = rustix::mount::unmount(&self.folder, UnmountFlags::FORCE);
    }

    /// Unmounts the view, and says what was seen through it. To be called when nobody uses it.
    pub(crate) fn finish(mut self) -> Observed {
        let (threads, server) = (std::mem::take(&mut self.threads), Arc::clone(&self.server));
        // Unmounting ends the threads.
        drop(self);
        for thread in threads {
            if thread.join().is_err() {
                server.record.fault("the observer panicked".to_owned());
            }
        }
        let (questions, faults) = server.record.take();
        Observed { questions, faults }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // Fails only if somebody unmounted it; the threads then know already.
        let _ = rustix::mount::unmount(&self.folder, UnmountFlags::DETACH);
    }
}

/// Says that a thread has ended.
struct Notice(Arc<OwnedFd>);

impl Drop for Notice {
    fn drop(&mut self) {
        // A full pipe says the same.
        let _ = rustix::io::write(&*self.0, b"!");
    }
}

/// Whether the device is there and may be used.
pub(crate) fn available() -> io::Result<()> {
    File::options().read(true).write(true).open("/dev/fuse").map(drop)
}
