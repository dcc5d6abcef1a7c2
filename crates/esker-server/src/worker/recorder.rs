//! Events into the database and the log files, on a thread of their own.
//!
//! Rows are collected and written in one transaction every [`COMMIT_EVERY`]; the same beat makes logs
//! visible and wakes live pages.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use esker_engine::Event;
use esker_engine::event::{Action, Line};
use esker_engine::logs::LogFiles;
use esker_engine::progress::Progress;
use tokio::runtime::Handle;

use super::{AttemptError, Worker, attempt_folder, lease_from};
use crate::live::Topic;
use crate::store::{BuildEnd, BuildStart, Change, Lease};

const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How far the run may be ahead of the disk, in events.
const QUEUE: usize = 1024;
/// The log that holds the events themselves: `events.zst`.
const EVENTS: u64 = 0;

/// Records one attempt at an evaluation.
pub(super) struct Recorder {
    /// `None`: its thread has ended.
    sender: Option<SyncSender<Event>>,
    thread: Option<JoinHandle<Result<(), AttemptError>>>,
}

impl Recorder {
    /// Begins to record, from within the runtime.
    pub(super) fn begin(worker: &Worker, lease: &Lease) -> Result<Self, AttemptError> {
        let folder = attempt_folder(&worker.state_dir, &lease.evaluation, lease.attempt);
        let failed = |source| AttemptError::Folder { path: folder.clone(), source };
        // What an attempt before a crash of the machine left of this very number.
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => std::fs::create_dir_all(&folder).map_err(failed)?,
        }
        let (sender, events) = sync_channel(QUEUE);
        let writer = Writer {
            worker: worker.clone(),
            lease: lease.clone(),
            runtime: Handle::current(),
            logs: LogFiles::new(folder.clone()),
            folder: folder.clone(),
            progress: Progress::default(),
            began: Instant::now(),
            attrs: HashMap::new(),
            written: HashMap::new(),
            building: HashMap::new(),
            builds: 0,
            pending: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("recorder".into());
        let thread = thread.spawn(move || writer.run(&events)).map_err(failed)?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Takes down one event. Waits when the disk is far behind.
    pub(super) fn record(&mut self, event: &Event) {
        if let Some(sender) = &self.sender
            && sender.send(event.clone()).is_err()
        {
            self.sender = None;
        }
    }

    /// Whether nothing can be recorded any more: then the run is in vain.
    pub(super) fn is_lost(&self) -> bool {
        self.sender.is_none()
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<(), AttemptError> {
        self.sender = None;
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or(Err(AttemptError::Died)),
            None => Ok(()),
        }
    }
}

struct Writer {
    worker: Worker,
    lease: Lease,
    runtime: Handle,
    folder: PathBuf,
    logs: LogFiles,
    progress: Progress,
    began: Instant,
    attrs: HashMap<String, String>,
    /// The state of each job as the database has it.
    written: HashMap<Arc<str>, (&'static str, bool)>,
    /// Number of the build that runs, by derivation.
    building: HashMap<String, i64>,
    builds: i64,
    pending: Vec<Change>,
}

impl Writer {
    fn run(mut self, events: &Receiver<Event>) -> Result<(), AttemptError> {
        let mut written = Instant::now();
        let mut fresh = false;
        loop {
            let event = match fresh {
                true => events.recv_timeout(COMMIT_EVERY.saturating_sub(written.elapsed())),
                false => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let over = matches!(event, Err(RecvTimeoutError::Disconnected));
            if let Ok(event) = event {
                self.take(&event)?;
                fresh = true;
            }
            if over {
                self.logs.close_all().map_err(|source| self.folder_failed(source))?;
            }
            if over || (fresh && written.elapsed() >= COMMIT_EVERY) {
                self.commit()?;
                (written, fresh) = (Instant::now(), false);
            }
            if over {
                return Ok(());
            }
        }
    }

    fn take(&mut self, event: &Event) -> Result<(), AttemptError> {
        let now = self.worker.clock.now();
        let time = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
        let line = Line::new(event, &format!("{time:.6}")).to_text();
        self.append(EVENTS, "events", line.trim_end().as_bytes())?;
        self.progress.apply(event, self.began.elapsed());
        match event {
            Event::Environment(environment) => self.pending.push(Change::Environment(environment.clone())),
            Event::Discovered { jobs } => {
                self.attrs.extend(jobs.iter().map(|found| (found.job.clone(), found.attr.clone())));
            }
            Event::Dissolved { job } => {
                self.written.remove(job.as_str());
                self.pending.push(Change::NoJob { job: job.clone() });
            }
            Event::EvaluationFinished { .. } => self.pending.push(Change::Evaluated),
            Event::BuildStarted { drv, name, action, .. } => {
                self.builds += 1;
                self.building.insert(drv.clone(), self.builds);
                let (drv, name, action) = (drv.clone(), name.clone(), *action);
                self.pending.push(Change::BuildStarted(BuildStart {
                    build: self.builds,
                    drv,
                    name,
                    action,
                    at: now,
                }));
            }
            Event::Phase { drv, phase } => {
                if let Some(build) = self.building.get(drv) {
                    self.pending.push(Change::Phase { build: *build, phase: phase.clone() });
                }
            }
            Event::Log { drv, line } => self.log(drv, line)?,
            Event::BuildFinished { drv, conclusion, action, .. } => {
                if let Some(build) = self.building.remove(drv) {
                    self.close(build)?;
                    let end = BuildEnd { build, conclusion: *conclusion, at: now };
                    self.pending.push(Change::BuildFinished(end));
                } else if *action != Action::Fetch {
                    tracing::warn!("A build ended that never began: {drv}");
                }
            }
            Event::JobFinished { job, outcome, .. } => {
                self.pending.push(Change::Outcome { job: job.clone(), outcome: outcome.clone() });
            }
            _ => {}
        }
        Ok(())
    }

    fn log(&mut self, drv: &str, line: &[u8]) -> Result<(), AttemptError> {
        let Some(build) = self.building.get(drv).copied() else { return Ok(()) };
        if let Some(file) = self.append(u64::try_from(build).unwrap_or(u64::MAX), drv, line)? {
            self.pending.push(Change::Log { build, file });
        }
        Ok(())
    }

    fn append(&mut self, log: u64, name: &str, line: &[u8]) -> Result<Option<String>, AttemptError> {
        self.logs.append(log, name, line).map_err(|source| self.folder_failed(source))
    }

    fn close(&mut self, build: i64) -> Result<(), AttemptError> {
        let build = u64::try_from(build).unwrap_or(u64::MAX);
        self.logs.close(build).map_err(|source| self.folder_failed(source))
    }

    /// Jobs whose word is another than the database has.
    fn changed_jobs(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (job, known) in &self.progress.jobs {
            let word = self.progress.state_word(job).unwrap_or("waiting");
            let state = (word, known.drv.is_some());
            if self.written.get(job) != Some(&state) {
                self.written.insert(Arc::clone(job), state);
                let attr = self.attrs.get(&**job).cloned().unwrap_or_default();
                let drv = known.drv.as_deref().map(str::to_owned);
                changes.push(Change::Job { job: job.to_string(), attr, state: word, drv });
            }
        }
        changes
    }

    fn commit(&mut self) -> Result<(), AttemptError> {
        self.logs.flush().map_err(|source| self.folder_failed(source))?;
        // First, since the others may be about them.
        let mut changes = self.changed_jobs();
        changes.append(&mut self.pending);
        let until = lease_from(self.worker.clock.now());
        self.runtime.block_on(self.worker.store.write(&self.lease, until, &changes))?;
        let id = &self.lease.evaluation;
        if changes.iter().any(|change| matches!(change, Change::Evaluated)) {
            self.worker.changed(id);
        } else {
            self.worker.live.changed(&Topic::Evaluation(id.clone()));
        }
        Ok(())
    }

    fn folder_failed(&self, source: std::io::Error) -> AttemptError {
        AttemptError::Folder { path: self.folder.clone(), source }
    }
}
