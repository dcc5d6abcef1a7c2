//! All events so far, folded into what a person wants to see.
//!
//! The terminal and, later, the live page show the same fold, so they cannot disagree.
//!
//! Invariant: pure. Time comes in as the duration since the run began; nothing here reads a clock.
//! Invariant: bounded. A job costs its two names, a running build its last [`TAIL_LINES`] lines of at
//! most [`LINE_BYTES`] bytes; what a finished build printed is forgotten with it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Action, Conclusion, Environment, Event, Source, Summary};

/// How many lines of a running build's log are kept.
pub const TAIL_LINES: usize = 50;

/// How many bytes of one line of a log or a warning are kept.
pub const LINE_BYTES: usize = 4096;

/// How many different warnings are kept.
pub const WARNINGS: usize = 100;

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What the run started with.
    pub environment: Option<Environment>,
    /// What is checked, once it was fetched and locked.
    pub source: Option<Source>,
    /// Every job, by its short name.
    pub jobs: BTreeMap<Arc<str>, Job>,
    /// Builders and downloads under way, the oldest first.
    pub running: Vec<RunningBuild>,
    /// The different warnings, in the order in which they first came.
    pub warnings: Vec<Warning>,
    /// Warnings that came after there were [`WARNINGS`] different ones.
    pub warnings_dropped: u64,
    /// Builders that are run again under other names.
    pub proving: u64,
    /// Whether every attribute has been evaluated.
    pub evaluated: bool,
    /// The verdict, when there is one.
    pub summary: Option<Summary>,
    /// Derivations that a real run would build, after a dry one.
    pub to_build: u64,
    /// Derivations that a real run would download, after a dry one.
    pub to_fetch: u64,
    /// When the last event came.
    pub last_event: Duration,
    /// Jobs by their derivation: the first that has it, and how many of them are unfinished.
    jobs_by_drv: HashMap<Arc<str>, DrvJobs>,
    finished: [u64; 4],
    evaluating: u64,
    transferred: u64,
}

/// One job.
#[derive(Clone, Debug)]
pub struct Job {
    /// How far it got.
    pub state: JobState,
    /// Its derivation, once it is known.
    pub drv: Option<Arc<str>>,
}

/// How far a job got. [`Progress::state_word`] also knows about *building*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Nobody has looked at it yet.
    Waiting,
    /// An evaluator has been busy with it since then.
    Evaluating {
        /// When it began.
        since: Duration,
    },
    /// It has a derivation and waits for its outputs.
    Evaluated,
    /// It is over.
    Finished(Conclusion),
}

/// A builder or a download under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningBuild {
    /// Store path of the derivation.
    pub drv: String,
    /// The derivation's name.
    pub name: String,
    /// What Nix was asked to do.
    pub action: Action,
    /// When it began.
    pub since: Duration,
    /// The phase it is in.
    pub phase: Option<String>,
    /// How long it took last time.
    pub estimate: Option<Duration>,
    /// Jobs that need it, at most 3.
    pub jobs: Vec<String>,
    /// The end of its log, raw.
    pub tail: VecDeque<Vec<u8>>,
    /// Lines that no longer are in `tail`.
    pub lines_dropped: u64,
    /// When it last printed a line or entered a phase, else when it began.
    pub last_output: Duration,
    /// Bytes copied for it.
    pub transferred: u64,
    /// Of how many bytes; 0: unknown.
    pub to_transfer: u64,
}

impl RunningBuild {
    /// Whether this compiles something, as opposed to downloading it.
    pub fn builds(&self) -> bool {
        self.action != Action::Fetch
    }
}

/// A warning, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// As it came, cut to [`LINE_BYTES`].
    pub text: String,
    /// How often.
    pub count: u64,
    /// The job that was evaluated when it first came.
    pub job: Option<String>,
}

/// Numbers for a status line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs.
    pub total: u64,
    /// Jobs with a verdict: the sum of the next four.
    pub done: u64,
    /// Jobs.
    pub passed: u64,
    /// Jobs.
    pub failed: u64,
    /// Jobs.
    pub broken: u64,
    /// Jobs.
    pub cancelled: u64,
    /// Jobs under evaluation.
    pub evaluating: u64,
    /// Jobs without a verdict that are neither under evaluation nor being built themselves.
    pub waiting: u64,
    /// Builders at work, for a job or for something it depends on.
    pub building: u64,
    /// Downloads under way.
    pub fetching: u64,
    /// Builders at work for no job: what they do again is only compared.
    pub proving: u64,
}

/// Bytes copied from substituters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Download {
    /// So far, finished downloads included.
    pub done: u64,
    /// Altogether, as far as known.
    pub expected: u64,
}

/// What the run is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait<'a> {
    /// Nix has not said yet what it is.
    Nix,
    /// The flake is fetched and locked.
    Source,
    /// The flake's outputs are listed.
    Attributes,
    /// No evaluator has begun with any of the attributes that are left.
    Evaluators,
    /// Evaluators are at work.
    Evaluation {
        /// The job that has been evaluated for longest.
        job: &'a str,
        /// When it began.
        since: Duration,
        /// How many more are under evaluation.
        others: u64,
    },
    /// Builders, or at least downloads, are at work.
    Build {
        /// The oldest.
        build: &'a RunningBuild,
        /// How many more there are.
        others: u64,
    },
    /// Jobs are left, yet nothing runs: Nix is asked what the store and the substituters have, or
    /// another process holds a lock.
    Store,
}

#[derive(Clone, Debug)]
struct DrvJobs {
    first: Arc<str>,
    unfinished: u64,
}

impl Progress {
    /// Takes in one event that came `now` after the run began.
    pub fn apply(&mut self, event: &Event, now: Duration) {
        self.last_event = now;
        match event {
            Event::Environment(environment) => self.environment = Some(environment.clone()),
            Event::Source(source) => self.source = Some(source.clone()),
            Event::Discovered { jobs } => {
                for found in jobs {
                    let job = Job { state: JobState::Waiting, drv: None };
                    self.jobs.entry(found.job.as_str().into()).or_insert(job);
                }
            }
            Event::Dissolved { job } => {
                self.enter(job, JobState::Waiting);
                self.jobs.remove(job.as_str());
            }
            Event::Evaluating { job } => self.enter(job, JobState::Evaluating { since: now }),
            Event::Evaluated { job, drv, .. } => self.evaluated(job, drv),
            Event::EvaluationFailed { job, .. } => self.enter(job, JobState::Waiting),
            Event::Warning { text, job } => self.warn(text, job.as_deref()),
            Event::EvaluationFinished { .. } => self.evaluated = true,
            Event::Present { .. } | Event::Explained { .. } | Event::Reused { .. } | Event::Notice { .. } => {
            }
            Event::Proving { .. } => self.proving += 1,
            Event::Proved { .. } => self.proving = self.proving.saturating_sub(1),
            Event::Scheduled { action: Action::Fetch, .. } => self.to_fetch += 1,
            Event::Scheduled { .. } => self.to_build += 1,
            Event::BuildStarted { drv, name, action, estimate, jobs } => {
                self.running.push(RunningBuild {
                    drv: drv.clone(),
                    name: name.clone(),
                    action: *action,
                    since: now,
                    phase: None,
                    estimate: estimate.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
                    jobs: jobs.clone(),
                    tail: VecDeque::new(),
                    lines_dropped: 0,
                    last_output: now,
                    transferred: 0,
                    to_transfer: 0,
                });
            }
            Event::Phase { drv, phase } => {
                if let Some(build) = self.running_mut(drv) {
                    build.phase = Some(phase.clone());
                    build.last_output = now;
                }
            }
            Event::Log { drv, line } => {
                if let Some(build) = self.running_mut(drv) {
                    build.last_output = now;
                    build.push(line);
                }
            }
            Event::Transfer { drv, done, expected } => {
                if let Some(build) = self.running_mut(drv) {
                    build.transferred = *done;
                    build.to_transfer = *expected;
                    build.last_output = now;
                }
            }
            Event::BuildFinished { drv, .. } => {
                if let Some(index) = self.running.iter().position(|build| build.drv == *drv) {
                    self.transferred += self.running.remove(index).transferred;
                }
            }
            Event::JobFinished { job, conclusion, .. } => self.enter(job, JobState::Finished(*conclusion)),
            Event::Finished(summary) => self.summary = Some(summary.clone()),
        }
    }

    /// The numbers as they are.
    pub fn counts(&self) -> Counts {
        let [passed, failed, broken, cancelled] = self.finished;
        let done = passed + failed + broken + cancelled;
        let total = self.jobs.len() as u64;
        let (building, fetching): (Vec<_>, Vec<_>) = self.running.iter().partition(|build| build.builds());
        let jobs_building: u64 = building.iter().map(|build| self.unfinished_jobs_of(&build.drv)).sum();
        Counts {
            total,
            done,
            passed,
            failed,
            broken,
            cancelled,
            evaluating: self.evaluating,
            waiting: total.saturating_sub(done + self.evaluating + jobs_building),
            building: building.len() as u64,
            fetching: fetching.len() as u64,
            proving: self.proving,
        }
    }

    /// Bytes downloaded and to download.
    pub fn download(&self) -> Download {
        let mut download = Download { done: self.transferred, expected: self.transferred };
        for build in &self.running {
            download.done += build.transferred;
            download.expected += build.to_transfer.max(build.transferred);
        }
        download
    }

    /// One of the seven words for a job's state; `None`: there is no such job.
    pub fn state_word(&self, job: &str) -> Option<&'static str> {
        let job = self.jobs.get(job)?;
        Some(match job.state {
            JobState::Finished(conclusion) => conclusion.word(),
            JobState::Evaluating { .. } => "evaluating",
            JobState::Waiting | JobState::Evaluated => match &job.drv {
                Some(drv) if self.running(drv).is_some_and(RunningBuild::builds) => "building",
                _ => "waiting",
            },
        })
    }

    /// The running build of this derivation.
    pub fn running(&self, drv: &str) -> Option<&RunningBuild> {
        self.running.iter().find(|build| build.drv == drv)
    }

    /// A job whose derivation this is; the first one, if there are several.
    pub fn job_of(&self, drv: &str) -> Option<&str> {
        self.jobs_by_drv.get(drv).map(|jobs| &*jobs.first)
    }

    /// What to call a derivation: the job's name if it is a job's, else its own.
    pub fn title<'a>(&'a self, drv: &str, name: &'a str) -> &'a str {
        self.job_of(drv).unwrap_or(name)
    }

    /// Jobs with this conclusion, sorted by name.
    pub fn concluded(&self, conclusion: Conclusion) -> impl Iterator<Item = &str> {
        let wanted = JobState::Finished(conclusion);
        self.jobs.iter().filter(move |(_, job)| job.state == wanted).map(|(name, _)| &**name)
    }

    /// What it is that takes so long. `None`: every job has its verdict.
    pub fn wait(&self) -> Option<Wait<'_>> {
        if self.summary.is_some() {
            return None;
        }
        if let Some(build) = self.running.iter().find(|build| build.builds()).or(self.running.first()) {
            let others = self.running.iter().filter(|other| other.builds() == build.builds()).count() - 1;
            return Some(Wait::Build { build, others: others as u64 });
        }
        let evaluating = self.jobs.iter().filter_map(|(name, job)| match job.state {
            JobState::Evaluating { since } => Some((since, &**name)),
            _ => None,
        });
        if self.evaluating > 0
            && let Some((since, job)) = evaluating.min()
        {
            return Some(Wait::Evaluation { job, since, others: self.evaluating - 1 });
        }
        match (&self.environment, &self.source) {
            (None, _) => Some(Wait::Nix),
            (_, None) => Some(Wait::Source),
            _ if self.jobs.is_empty() && !self.evaluated => Some(Wait::Attributes),
            _ if !self.evaluated => Some(Wait::Evaluators),
            _ if self.finished.iter().sum::<u64>() < self.jobs.len() as u64 => Some(Wait::Store),
            _ => None,
        }
    }

    fn unfinished_jobs_of(&self, drv: &str) -> u64 {
        self.jobs_by_drv.get(drv).map_or(0, |jobs| jobs.unfinished)
    }

    fn running_mut(&mut self, drv: &str) -> Option<&mut RunningBuild> {
        self.running.iter_mut().find(|build| build.drv == drv)
    }

    /// Moves a job to another state and keeps the sums right. An unknown job is taken in; a
    /// finished one stays as it is.
    fn enter(&mut self, name: &str, state: JobState) {
        if !self.jobs.contains_key(name) {
            self.jobs.insert(name.into(), Job { state: JobState::Waiting, drv: None });
        }
        let Some(job) = self.jobs.get_mut(name) else { return };
        match job.state {
            JobState::Finished(_) => return,
            JobState::Evaluating { .. } => self.evaluating -= 1,
            JobState::Waiting | JobState::Evaluated => {}
        }
        job.state = state;
        match state {
            JobState::Evaluating { .. } => self.evaluating += 1,
            JobState::Finished(conclusion) => {
                self.finished[slot(conclusion)] += 1;
                if let Some(jobs) = job.drv.as_ref().and_then(|drv| self.jobs_by_drv.get_mut(drv)) {
                    jobs.unfinished -= 1;
                }
            }
            JobState::Waiting | JobState::Evaluated => {}
        }
    }

    fn evaluated(&mut self, name: &str, drv: &str) {
        self.enter(name, JobState::Evaluated);
        let Some((name, job)) = self.jobs.get_key_value(name) else { return };
        if job.drv.is_some() || matches!(job.state, JobState::Finished(_)) {
            return;
        }
        let name = Arc::clone(name);
        let drv: Arc<str> = match self.jobs_by_drv.get_key_value(drv) {
            Some((known, _)) => Arc::clone(known),
            None => drv.into(),
        };
        let jobs = self
            .jobs_by_drv
            .entry(Arc::clone(&drv))
            .or_insert_with(|| DrvJobs { first: Arc::clone(&name), unfinished: 0 });
        jobs.unfinished += 1;
        if let Some(job) = self.jobs.get_mut(&name) {
            job.drv = Some(drv);
        }
    }

    fn warn(&mut self, text: &str, job: Option<&str>) {
        let text = cut(text);
        if let Some(warning) = self.warnings.iter_mut().find(|warning| warning.text == text) {
            warning.count += 1;
        } else if self.warnings.len() < WARNINGS {
            self.warnings.push(Warning { text: text.into(), count: 1, job: job.map(Into::into) });
        } else {
            self.warnings_dropped += 1;
        }
    }
}

impl RunningBuild {
    fn push(&mut self, line: &[u8]) {
        let mut kept = Vec::new();
        if self.tail.len() == TAIL_LINES {
            kept = self.tail.pop_front().unwrap_or_default();
            kept.clear();
            self.lines_dropped += 1;
        }
        kept.extend_from_slice(&line[..line.len().min(LINE_BYTES)]);
        self.tail.push_back(kept);
    }
}

fn slot(conclusion: Conclusion) -> usize {
    match conclusion {
        Conclusion::Passed => 0,
        Conclusion::Failed => 1,
        Conclusion::Broken => 2,
        Conclusion::Cancelled => 3,
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(LINE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
