//! Sees what does not pass the file system of the inputs: listings of the store folder, and what is
//! read of `/proc`.
//!
//! Watches are placed by the builder's process before it becomes the builder, on an inotify queue
//! that stays outside its reach.
//!
//! What can *not* be seen: system calls that tell of the machine (`uname`, `sysinfo`,
//! `sched_getaffinity`, clocks, `getrandom`), instructions that do (`cpuid`, `rdtsc`), the vDSO,
//! `/proc/PID` (it tells of the builder's own processes, and of how the sandbox is mounted), whether an
//! *absent* store path was looked up in the store folder itself, that folder's times and number of
//! links, and a second `/proc` that a builder mounts in namespaces of its own.
//!
//! `/proc/net` is in `/proc/PID`, so neither can it be watched: it would take a watch for each process,
//! before its first step. It shows the network of the builder's own namespace, new and empty at its
//! start, and beside it a few counters of the whole machine (`softnet_stat`, `sockstat`), which last as
//! little as `/proc/loadavg`. Whether there is IPv6 at all, which it tells as a socket does, belongs
//! into the key.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::sys::{self, Forked};

/// What every run may open: it says nothing lasting, nothing but what this process is, or what every
/// new network is given by the kernel.
const ALLOWED: [&str; 15] = [
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/random/entropy_avail",
    "/proc/sys/kernel/random/poolsize",
    "/proc/sys/kernel/random/uuid",
    "/proc/sys/net/core/somaxconn",
    "/proc/thread-self",
    "/proc/uptime",
];

/// What tells of the machine, and is the same on it from build to build (but for the clock rates in
/// `cpuinfo`). Whoever keys a trace puts it into the key.
pub const AMBIENT: [&str; 12] = [
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/pipe-max-size",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/version",
    "/proc/sys/vm/overcommit_memory",
    "/proc/version",
];

/// What is asked of a folder in `/proc`, and of the store folder.
pub(crate) const OPENED: WatchFlags = WatchFlags::OPEN;
/// See [`OPENED`].
pub(crate) const LISTED: WatchFlags = WatchFlags::ACCESS;

/// What the watches saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Machine-wide facts that were read, as paths.
    pub(crate) ambient: BTreeSet<String>,
    /// Why the run cannot become a trace.
    pub(crate) unrecordable: BTreeSet<String>,
}

/// The watched folders: index and number of the watch agree but for one.
pub(crate) struct Watches {
    queue: Option<OwnedFd>,
    folders: Vec<String>,
    seen: Seen,
}

/// More than any kernel has of what is worth watching; the rest would be devices, one by one.
const MOST_FOLDERS: usize = 256;

/// The folders of `/proc` to be watched, as far as this machine has them: all but those of processes.
pub(crate) fn proc_folders() -> Vec<String> {
    let mut folders = vec!["/proc".to_owned()];
    let mut at = 0;
    // Those near the top come first.
    while let Some(folder) = folders.get(at).cloned() {
        at += 1;
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if folders.len() < MOST_FOLDERS && is_of_any_sandbox(&folder, &name) {
                folders.push(format!("{folder}/{name}"));
            }
        }
    }
    folders
}

/// Whether a folder of the host's `/proc` can be in that of a sandbox, and tells of the machine.
fn is_of_any_sandbox(parent: &str, name: &str) -> bool {
    match Path::new(parent).file_name().and_then(|name| name.to_str()) {
        Some("proc") => !name.bytes().all(|byte| byte.is_ascii_digit()),
        // Of the network's devices a new one has but this.
        Some("conf" | "neigh") => ["all", "default", "lo"].contains(&name),
        _ => true,
    }
}

/// A queue for watches; `None` if the user has too many of them.
pub(crate) fn queue() -> Option<OwnedFd> {
    rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()
}

impl Watches {
    /// `folders` in the order in which they will be added to the queue; the first is the store folder.
    pub(crate) fn new(queue: Option<OwnedFd>, folders: Vec<String>) -> Self {
        let mut seen = Seen::default();
        if queue.is_none() {
            let why = "the store folder and `/proc` could not be watched (`fs.inotify.max_user_instances`)";
            seen.unrecordable.insert(why.to_owned());
        }
        Self { queue, folders, seen }
    }

    /// The queue, if there is one.
    pub(crate) fn queue(&self) -> Option<&OwnedFd> {
        self.queue.as_ref()
    }

    /// What was seen until now; the queue is given up.
    ///
    /// The kernel lets go of a queue only after a grace period (15 ms and more). Nobody needs to wait
    /// for that: a process that does nothing else is the last to have it, and the system's first process
    /// collects it.
    pub(crate) fn finish(self) -> Seen {
        let Some(queue) = self.queue else { return self.seen };
        if let Ok(Forked::Child) = sys::fork(0) {
            let _ = sys::duplicate_to(sys::number(&queue), 0);
            let _ = sys::close_from(1);
            sys::exit(0);
        }
        self.seen
    }

    /// Takes all that has been seen so far.
    pub(crate) fn drain(&mut self) {
        let Some(queue) = &self.queue else { return };
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(queue, &mut buffer);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                self.seen.unrecordable.insert("too much was read of `/proc` to be recorded".to_owned());
                continue;
            }
            let place = usize::try_from(event.wd() - 1).unwrap_or(usize::MAX);
            let Some(folder) = self.folders.get(place) else { continue };
            let of_folder = event.events().contains(ReadFlags::ISDIR);
            match event.file_name() {
                None if place == 0 && event.events().contains(ReadFlags::ACCESS) => {
                    self.seen.unrecordable.insert(format!("the builder listed `{folder}`"));
                }
                Some(name) if place > 0 && event.events().contains(ReadFlags::OPEN) => {
                    let path = format!("{folder}/{}", name.to_string_lossy());
                    note(&mut self.seen, path, of_folder);
                }
                _ => {}
            }
        }
    }
}

/// Sorts an opened path of `/proc` into what may be, what tells of the machine, and what is too much.
fn note(seen: &mut Seen, path: String, folder: bool) {
    let is_process = path.strip_prefix("/proc/").is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
    if folder || is_process || ALLOWED.contains(&path.as_str()) {
        return;
    }
    if AMBIENT.contains(&path.as_str()) {
        seen.ambient.insert(path);
    } else {
        seen.unrecordable.insert(format!("the builder opened `{path}`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_in_proc_is_sorted() {
        let mut seen = Seen::default();
        for path in ["/proc/cpuinfo", "/proc/meminfo", "/proc/17", "/proc/kcore"] {
            note(&mut seen, path.to_owned(), false);
        }
        assert_eq!(seen.ambient.into_iter().collect::<Vec<_>>(), ["/proc/cpuinfo"]);
        assert_eq!(seen.unrecordable.into_iter().collect::<Vec<_>>(), ["the builder opened `/proc/kcore`"]);
    }
}
