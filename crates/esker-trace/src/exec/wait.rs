//! Waits for the end of a run: the builder's own, a limit's, the observer's or the parent's.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::supervise::{Stage, set_up};
use super::{End, ExecError, Limits};
use crate::observe::Observer;

/// A run under way.
pub(super) struct Watched<'a> {
    limits: &'a Limits,
    began: Instant,
    /// When the builder took over.
    started: Option<Instant>,
    heard: Instant,
    logged: u64,
}

impl<'a> Watched<'a> {
    pub(super) fn new(limits: &'a Limits, began: Instant) -> Self {
        Self { limits, began, started: None, heard: began, logged: 0 }
    }

    /// When the builder took over, if it has.
    pub(super) fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Waits for the end. `None`: the builder ended by itself.
    pub(super) fn watch(
        &mut self,
        stage: &mut Stage,
        observer: &Observer,
        parent: Option<&OwnedFd>,
        log: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<End>, ExecError> {
        loop {
            let mut waited = vec![
                PollFd::from_borrowed_fd(stage.tree.ended(), PollFlags::IN),
                PollFd::from_borrowed_fd(observer.ended(), PollFlags::IN),
            ];
            let at_parent = add(&mut waited, parent);
            let at_report = add(&mut waited, self.started.is_none().then_some(&stage.report));
            let at_log = add(&mut waited, stage.terminal.open_end());
            let at_watches = add(&mut waited, stage.watches.queue());
            let (deadline, late) = self.deadline();
            let left = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
            match poll(&mut waited, left.as_ref()) {
                Ok(0) => return Ok(Some(late)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(set_up("wait")(error.into())),
            }
            let ready: Vec<bool> = waited.iter().map(|waited| !waited.revents().is_empty()).collect();
            let is_ready = |at: Option<usize>| at.is_some_and(|at| ready[at]);
            if is_ready(at_parent) {
                return Err(ExecError::Orphaned);
            }
            if is_ready(at_report) {
                if let Some(end) = stage.report()? {
                    return Ok(Some(end));
                }
                self.started = Some(Instant::now());
                self.heard = Instant::now();
            }
            if is_ready(at_log) {
                if let Some(length) = stage.terminal.pass_on(log) {
                    self.heard = Instant::now();
                    self.logged += length;
                }
                if self.limits.log.is_some_and(|limit| self.logged > limit) {
                    return Ok(Some(End::LogLimit));
                }
            }
            if is_ready(at_watches) {
                stage.watches.drain();
            }
            if is_ready(Some(1)) {
                return Ok(Some(End::ObserverDied));
            }
            if is_ready(Some(0)) && self.started.is_some() {
                return Ok(None);
            }
        }
    }

    /// When the next limit is reached, and which.
    fn deadline(&self) -> (Option<Instant>, End) {
        let wall = self.limits.wall.map(|wall| self.began + Duration::from_millis(wall));
        let silent = self.limits.silent.map(|silent| self.heard + Duration::from_millis(silent));
        match (wall, silent) {
            (wall, Some(silent)) if wall.is_none_or(|wall| silent < wall) => (Some(silent), End::Silent),
            (wall, _) => (wall, End::TimedOut),
        }
    }
}

/// Waits for this, too; says where among the others it is.
fn add<'a>(waited: &mut Vec<PollFd<'a>>, descriptor: Option<&'a OwnedFd>) -> Option<usize> {
    waited.push(PollFd::from_borrowed_fd(descriptor?.as_fd(), PollFlags::IN));
    Some(waited.len() - 1)
}

/// For the calls that wait.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
