//! The supervisor: sets the stage, lets the builder run, and gathers what it left.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::PidfdFlags;
use rustix::thread::UnshareFlags;

use super::terminal::Terminal;
use super::wait::Watched;
use super::{Architecture, End, ExecError, Output, Ran, Spec};
use crate::observe::watch::{self, Watches};
use crate::observe::{Inodes, Observer};
use crate::sandbox::child::Place;
use crate::sandbox::limit::Groups;
use crate::sandbox::plan::{Descriptors, Plan};
use crate::sandbox::root::{self, Folders, Top};
use crate::sandbox::tree::{Status, Tree, map_ids};
use crate::sys;

/// Whether builders can be run here.
///
/// # Errors
///
/// Says what is missing.
pub fn available() -> Result<(), ExecError> {
    let unavailable = |what| move |source| ExecError::Unavailable { what, source };
    if !rustix::process::geteuid().is_root() {
        return Err(unavailable("make a sandbox without being root")(Errno::PERM.into()));
    }
    crate::observe::available().map_err(unavailable("use `/dev/fuse`"))
}

/// Runs a builder. Its log goes to `log` as it comes.
///
/// The calling thread moves into a mount namespace of its own and drops its supplementary groups,
/// and stays so, with an umask of 0. The run ends with the thread.
///
/// # Errors
///
/// There was no run, or it ended with the parent of this process. What the builder does wrong is no
/// error but an [`End`].
pub fn run(spec: &Spec, log: &mut dyn FnMut(&[u8])) -> Result<Ran, ExecError> {
    let began = Instant::now();
    let parent = watch_parent()?;
    available()?;
    leave_host().map_err(|source| ExecError::Unavailable { what: "leave the mount namespace", source })?;
    let host_paths = root::host_paths(spec).map_err(set_up("find the sandbox paths"))?;
    let (folders, tops) = root::prepare(spec, &host_paths).map_err(set_up("make the folders"))?;
    let inodes = match spec.architecture {
        Architecture::Native => Inodes::Wide,
        Architecture::Linux32 => Inodes::Narrow,
    };
    let groups = Groups::make(&spec.limits)
        .map_err(|source| ExecError::Unavailable { what: "limit memory or processes", source })?;
    let mut observer =
        Observer::mount(&folders.view, spec, inodes).map_err(set_up("mount the view of the inputs"))?;
    let mut stage = Stage::start(spec, &folders, &tops, &host_paths)?;
    observer.start().map_err(set_up("start the observer"))?;
    let pid = stage.introduction()?;
    map_ids(pid, spec.host_uid, spec.host_gid).map_err(set_up("map the ids"))?;
    groups.admit(pid).map_err(set_up("limit memory or processes"))?;
    observer.warm().map_err(set_up("look up the inputs"))?;
    rustix::io::write(&stage.go, b"!").map_err(|error| set_up("start the builder")(error.into()))?;
    let mut watched = Watched::new(&spec.limits, began);
    let outcome = watched.watch(&mut stage, &observer, parent.as_ref(), log);
    if matches!(outcome, Ok(Some(End::ObserverDied))) {
        // Or the builder would wait for it, and cannot even be killed meanwhile.
        observer.abort();
    }
    let Stage { tree, mut watches, terminal, .. } = stage;
    let status = tree.end();
    let ended = Instant::now();
    terminal.drain(log);
    watches.drain();
    let seen = watches.finish();
    let observed = observer.finish();
    let end = match outcome? {
        Some(end) => end,
        // What it could not read may be why it failed, or why it made what it made.
        None if !observed.faults.is_empty() => End::ObserverDied,
        None if groups.ran_out_of_memory() => End::OutOfMemory,
        None => match status {
            Status::Exited(code) => End::Exited(code),
            Status::Signalled(signal) => End::Signalled(signal),
        },
    };
    let started = watched.started().unwrap_or(ended);
    Ok(Ran {
        end,
        questions: observed.questions,
        ambient: seen.ambient.into_iter().collect(),
        unrecordable: observed.faults.into_iter().chain(seen.unrecordable).collect(),
        outputs: spec.outputs.iter().map(|base_name| output(base_name, &folders)).collect(),
        set_up_ms: milliseconds(started - began),
        ran_ms: milliseconds(ended - started),
    })
}

/// Everything that is open while a builder runs.
pub(super) struct Stage {
    pub(super) tree: Tree,
    go: OwnedFd,
    pub(super) report: OwnedFd,
    pub(super) terminal: Terminal,
    pub(super) watches: Watches,
    plan: Plan,
}

impl Stage {
    fn start(
        spec: &Spec,
        folders: &Folders,
        tops: &[Top],
        host_paths: &[(String, PathBuf)],
    ) -> Result<Self, ExecError> {
        let pipes =
            || -> io::Result<_> { Ok((pipe_with(PipeFlags::CLOEXEC)?, pipe_with(PipeFlags::CLOEXEC)?)) };
        let ((go_end, go), (report, report_end)) = pipes().map_err(set_up("open pipes"))?;
        let (terminal, log) = Terminal::open(spec.host_uid).map_err(set_up("open a terminal for the log"))?;
        let queue = watch::queue();
        let descriptors =
            Descriptors { go: &go_end, report: &report_end, log: &log, watches: queue.as_ref() };
        let bound = spec.inputs.as_slice().iter().zip(tops).filter(|(_, top)| **top == Top::Bound);
        let bound: Vec<_> = bound.map(|(input, _)| input.base_name.as_str()).collect();
        let (plan, watched) =
            Plan::new(spec, folders, &bound, host_paths, &descriptors).map_err(set_up("plan the mounts"))?;
        let tree = Tree::start(&plan).map_err(set_up("start processes"))?;
        // The child has copies of the other ends; ours would keep it from ending what it writes to.
        Ok(Self { tree, go, report, terminal, watches: Watches::new(queue, watched), plan })
    }

    /// Which process will be the builder.
    fn introduction(&self) -> Result<u32, ExecError> {
        match self.message()? {
            Some((pid, 0)) => Ok(pid),
            Some((place, error)) => Err(self.failure(place, error)),
            None => Err(self.failure(Place::Start as u32, libc::EPIPE)),
        }
    }

    /// What the child says of its way to the builder: nothing, if it went well.
    pub(super) fn report(&self) -> Result<Option<End>, ExecError> {
        match self.message()? {
            None => Ok(None),
            Some((place, error)) if place == Place::Execute as u32 => {
                let program = self.plan.program.to_string_lossy();
                let error = io::Error::from_raw_os_error(error).to_string();
                let error = error.split(" (os error").next().unwrap_or_default();
                Ok(Some(End::NotExecuted(format!("executing '{program}': {error}"))))
            }
            Some((place, error)) => Err(self.failure(place, error)),
        }
    }

    fn message(&self) -> Result<Option<(u32, i32)>, ExecError> {
        let mut message = [0; 8];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.report, &mut message[..]))
            .map_err(|error| set_up("hear from the builder")(error.into()))?;
        let [a, b, c, d, e, f, g, h] = message;
        let parts = (u32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
        Ok((length == message.len()).then_some(parts))
    }

    fn failure(&self, place: u32, error: i32) -> ExecError {
        let what = match self.plan.steps.get(place as usize) {
            Some(step) => step.describe(),
            None => Place::describe(place).to_owned(),
        };
        ExecError::SetUp { what, source: io::Error::from_raw_os_error(error) }
    }
}

fn output(base_name: &str, folders: &Folders) -> Output {
    let path = folders.store.join(base_name);
    let there = path.symlink_metadata().is_ok();
    Output { base_name: base_name.to_owned(), path: there.then_some(path) }
}

/// A handle of the parent: when it goes, so does the run.
fn watch_parent() -> Result<Option<OwnedFd>, ExecError> {
    let Some(parent) = rustix::process::getppid() else { return Ok(None) };
    match rustix::process::pidfd_open(parent, PidfdFlags::empty()) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::SRCH) => Err(ExecError::Orphaned),
        Err(error) => Err(ExecError::Unavailable { what: "watch the parent process", source: error.into() }),
    }
}

/// Mounts made from here on are not seen outside.
fn leave_host() -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWNS)?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave)?;
    // Only this thread's, since it has left.
    rustix::process::umask(Mode::empty());
    Ok(rustix::thread::set_thread_groups(&[])?)
}

pub(super) fn set_up(what: &'static str) -> impl Fn(io::Error) -> ExecError {
    move |source| ExecError::SetUp { what: what.to_owned(), source }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
