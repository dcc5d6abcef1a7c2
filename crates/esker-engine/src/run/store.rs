//! The thread that asks the store, so that the loop never waits for it.
//!
//! Whatever is asked for while it is busy is asked in one go afterwards: a thousand derivations
//! cost a handful of round trips.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use esker_nix::StorePath;
use esker_nix::protocol::ProtocolError;

use crate::build::connection::Processes;
use crate::build::resolve::{Resolution, Resolver};

/// A question, or a wish.
pub(super) enum Request {
    /// What is to be done about this derivation?
    Resolve(StorePath),
    /// Make links to the outputs, and roots of the links.
    Link { path: PathBuf, outputs: Vec<(String, StorePath)> },
}

/// What came of the derivations in one batch of requests.
pub(super) struct Resolved(pub(super) Result<Resolution, ProtocolError>);

/// How long a question to the store may go on once nobody needs the answer.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Store {
    requests: Sender<Vec<Request>>,
    waiting: Vec<Request>,
    /// Batches under way, each of which will be answered once.
    busy: usize,
    processes: Processes,
    /// Nothing is ever sent; it ends with the thread.
    ended: Receiver<()>,
    thread: JoinHandle<Vec<String>>,
}

impl Store {
    pub(super) fn start(mut resolver: Resolver, tell: impl Fn(Resolved) -> bool + Send + 'static) -> Self {
        let (requests, inbox) = channel();
        let (end, ended) = channel();
        let processes = resolver.processes();
        let thread = std::thread::spawn(move || {
            let problems = serve(&mut resolver, &inbox, &tell);
            resolver.close();
            drop(end);
            problems
        });
        Self { requests, waiting: Vec::new(), busy: 0, processes, ended, thread }
    }

    pub(super) fn ask(&mut self, request: Request) {
        self.waiting.push(request);
    }

    /// Hands over what waits, if nothing is under way.
    pub(super) fn flush(&mut self) {
        if self.busy == 0
            && !self.waiting.is_empty()
            && self.requests.send(std::mem::take(&mut self.waiting)).is_ok()
        {
            self.busy += 1;
        }
    }

    /// Call it for each [`Resolved`].
    pub(super) fn answered(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    /// Whether an answer is due.
    pub(super) fn is_busy(&self) -> bool {
        self.busy > 0 || !self.waiting.is_empty()
    }

    /// Waits for what is under way and closes the connection. Returns what went wrong with links.
    pub(super) fn close(mut self) -> Vec<String> {
        let _ = self.requests.send(std::mem::take(&mut self.waiting));
        drop(self.requests);
        self.thread.join().unwrap_or_default()
    }

    /// The same, without waiting for a substituter that does not answer.
    pub(super) fn close_soon(mut self) -> Vec<String> {
        self.waiting.retain(|request| matches!(request, Request::Link { .. }));
        let _ = self.requests.send(std::mem::take(&mut self.waiting));
        drop(self.requests);
        if matches!(self.ended.recv_timeout(PATIENCE), Err(RecvTimeoutError::Timeout)) {
            self.processes.kill();
        }
        self.thread.join().unwrap_or_default()
    }
}

fn serve(
    resolver: &mut Resolver,
    inbox: &Receiver<Vec<Request>>,
    tell: &dyn Fn(Resolved) -> bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    while let Ok(requests) = inbox.recv() {
        let (mut wanted, mut links) = (Vec::new(), Vec::new());
        for request in requests {
            match request {
                Request::Resolve(drv) => wanted.push(drv),
                Request::Link { path, outputs } => links.push((path, outputs)),
            }
        }
        let resolution =
            if wanted.is_empty() { Ok(Resolution::default()) } else { resolver.resolve(&wanted) };
        for (path, outputs) in links {
            problems.extend(link(resolver, &path, &outputs).err());
        }
        // Heard or not: at the end of a run only links are left to be made.
        tell(Resolved(resolution));
    }
    problems
}

/// `path` for the output `out`, `path-NAME` for others, as `nix build --out-link` has it.
fn link(
    resolver: &mut Resolver,
    path: &std::path::Path,
    outputs: &[(String, StorePath)],
) -> Result<(), String> {
    for (name, target) in outputs {
        let mut link = path.as_os_str().to_owned();
        if name != "out" {
            link.push(format!("-{name}"));
        }
        let link = PathBuf::from(link);
        let problem = |why: String| format!("cannot link {} to {target}: {why}", link.display());
        replace_link(&link, target).map_err(|error| problem(error.to_string()))?;
        resolver.add_root(&link).map_err(|error| problem(error.to_string()))?;
    }
    Ok(())
}

/// Never replaces anything but a symlink.
fn replace_link(link: &std::path::Path, target: &StorePath) -> std::io::Result<()> {
    if let Some(folder) = link.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::symlink_metadata(link) {
        Ok(there) if there.file_type().is_symlink() => std::fs::remove_file(link)?,
        Ok(_) => return Err(std::io::Error::other("something else is there")),
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target.to_string(), link)
}
