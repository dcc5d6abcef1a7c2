//! Doing what was asked for: one evaluation after the other, by the engine, as `esker check` does it.
//!
//! Invariant: what a worker begins it ends: with a verdict, or by handing it back. If it cannot even
//! do that, its lease lapses.

mod recorder;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use esker_engine::config::ConfigError;
use esker_engine::event::Conclusion;
use esker_engine::plan::{LocateError, Located, Plan, Subject, TracePlan};
use esker_engine::{Cancel, Event, RunError, Summary};
use esker_nix::tool::Nix;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::clock::{Clock, Milliseconds, milliseconds};
use crate::config::Config;
use crate::live::Live;
use crate::mirror::{Mirror, MirrorError};
use crate::project::ProjectName;
use crate::store::{Claimed, EvaluationId, Lease, Store, StoreError};
use recorder::Recorder;

/// A worker that has not written anything for so long is dead.
const LEASE: Duration = Duration::from_secs(60);
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// Other servers' evaluations, and those that rest, are looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What is our fault is tried so often.
const ATTEMPTS: i64 = 3;
/// After a failure of ours an evaluation rests so long, times the number of attempts.
const REST: Duration = Duration::from_secs(30);

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) store: Store,
    pub(crate) live: Live,
    pub(crate) clock: Clock,
    pub(crate) config: Arc<Config>,
    pub(crate) nix: Nix,
    pub(crate) trace: Option<TracePlan>,
    /// Where mirrors and logs are.
    pub(crate) state_dir: PathBuf,
    /// Wakes the worker: there is something to do.
    pub(crate) wake: Arc<Notify>,
    /// Wakes the reporter: there may be something to tell.
    pub(crate) tell: Arc<Notify>,
    /// This process's name in leases.
    pub(crate) owner: String,
}

/// How an attempt at an evaluation ended.
enum Ended {
    /// With a verdict.
    Verdict { conclusion: Conclusion, summary: Option<Summary>, error: Option<String> },
    /// It did not: the server stops.
    Stopped,
}

/// What of an attempt is nobody's fault but ours.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("cannot fetch the commit")]
    Mirror(#[from] MirrorError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write to `{}`", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Nix(#[from] esker_nix::tool::NixError),
    #[error(transparent)]
    Source(#[from] ConfigError),
    #[error("the project `{0}` is no longer configured")]
    NoProject(String),
    #[error("a thread of the evaluation died, which is a mistake in Esker")]
    Died,
}

impl Worker {
    /// Works until `stop` says so; what is under way then is handed back.
    pub(crate) async fn work(&self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let now = self.clock.now();
            match self.store.claim(&self.owner, now, now + milliseconds(LEASE)).await {
                Ok(Some(claimed)) => self.attempt(&claimed, &stop).await,
                Ok(None) => self.rest(&mut stop).await,
                Err(error) => {
                    error!("Cannot look for work: {}", in_full(&error));
                    self.rest(&mut stop).await;
                }
            }
        }
    }

    async fn rest(&self, stop: &mut watch::Receiver<bool>) {
        tokio::select! {
            () = self.wake.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.changed() => {}
        }
    }

    async fn attempt(&self, claimed: &Claimed, stop: &watch::Receiver<bool>) {
        let (lease, id) = (&claimed.lease, &claimed.lease.evaluation);
        info!(project = %id.project, evaluation = id.number, attempt = lease.attempt,
            "Started evaluation {} of {}", id.number, id.project);
        self.changed(id);
        let ended = {
            let work = self.evaluate(claimed, stop.clone());
            tokio::pin!(work);
            loop {
                tokio::select! {
                    ended = &mut work => break ended,
                    () = tokio::time::sleep(RENEW_EVERY) => self.renew(lease).await,
                }
            }
        };
        let written = match ended {
            Ok(Ended::Verdict { conclusion, summary, error }) => {
                info!(project = %id.project, evaluation = id.number, conclusion = conclusion.word(),
                    "Evaluation {} of {} {}", id.number, id.project, conclusion.word());
                let now = self.clock.now();
                self.store.finish(lease, conclusion, summary.as_ref(), error.as_deref(), now).await
            }
            Ok(Ended::Stopped) => self.store.hand_back(lease, 0).await,
            Err(AttemptError::Store(StoreError::LeaseLost)) => Err(StoreError::LeaseLost),
            Err(problem) => self.our_fault(lease, &problem).await,
        };
        if let Err(problem) = written {
            error!(project = %id.project, evaluation = id.number,
                "Cannot say how evaluation {} of {} ended: {}", id.number, id.project, in_full(&problem));
        }
        self.changed(id);
    }

    /// Tries again later, a few times.
    async fn our_fault(&self, lease: &Lease, problem: &AttemptError) -> Result<(), StoreError> {
        let (id, now) = (&lease.evaluation, self.clock.now());
        let text = in_full(problem);
        warn!(project = %id.project, evaluation = id.number,
            "Evaluation {} of {} did not work: {text}", id.number, id.project);
        if lease.attempt < ATTEMPTS {
            return self.store.hand_back(lease, now + milliseconds(REST) * lease.attempt).await;
        }
        self.store.finish(lease, Conclusion::Broken, None, Some(&text), now).await
    }

    async fn renew(&self, lease: &Lease) {
        let until = self.clock.now() + milliseconds(LEASE);
        if let Err(problem) = self.store.renew(lease, until).await {
            warn!("Cannot renew a lease: {}", in_full(&problem));
        }
    }

    fn changed(&self, id: &EvaluationId) {
        self.live.evaluation_changed(id);
        self.tell.notify_one();
    }

    async fn evaluate(
        &self,
        claimed: &Claimed,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Ended, AttemptError> {
        let id = &claimed.lease.evaluation;
        let no_project = || AttemptError::NoProject(id.project.clone());
        let name: ProjectName = id.project.parse().map_err(|_| no_project())?;
        let project = self.config.projects.get(&name).ok_or_else(no_project)?;
        let mirror = Mirror::new(&self.state_dir.join("mirrors"), &name, &project.git);
        tokio::select! {
            fetched = mirror.fetch(&claimed.commit, &claimed.reference) => fetched?,
            () = stopped(&mut stop) => return Ok(Ended::Stopped),
        }
        let cancel = Cancel::default();
        let recorder = Recorder::begin(self, &claimed.lease)?;
        let run = {
            let (worker, cancel) = (self.clone(), cancel.clone());
            let subject = Checked {
                reference: mirror.flake_reference(&claimed.commit),
                asked: format!("{}@{}", project.git, claimed.commit),
            };
            tokio::task::spawn_blocking(move || worker.run(subject, &cancel, recorder))
        };
        tokio::pin!(run);
        tokio::select! {
            ended = &mut run => ended.map_err(|_| AttemptError::Died)?,
            () = stopped(&mut stop) => {
                cancel.request();
                // Whatever it still found out is of no use: it begins afresh elsewhere.
                let _ = run.await;
                Ok(Ended::Stopped)
            }
        }
    }

    /// On a thread of its own: the engine is synchronous.
    fn run(&self, subject: Checked, cancel: &Cancel, mut recorder: Recorder) -> Result<Ended, AttemptError> {
        let located = match Located::fetched(&self.nix, &subject.reference, Vec::new()) {
            Ok(located) => located,
            Err(LocateError::Nix(error)) => return Err(error.into()),
            // It was collected as soon as it was fetched, or there is no room for it.
            Err(LocateError::Config(error @ ConfigError::Read { .. })) => return Err(error.into()),
            Err(LocateError::Config(error)) => {
                let text = with_hint(&error, error.hint());
                return Ok(Ended::Verdict {
                    conclusion: Conclusion::Failed,
                    summary: None,
                    error: Some(text),
                });
            }
        };
        let Located { reference, flake_arguments, config, origin } = located;
        let mut plan = Plan::configured(Subject::Flake { reference, asked: subject.asked }, &config);
        plan.flake_arguments = flake_arguments;
        plan.trace = self.trace.clone();
        let mut notice = origin.notice();
        let mut on_event = |event: &Event| {
            recorder.record(event);
            if let (Event::Environment(_), Some(text)) = (event, notice.take()) {
                recorder.record(&Event::Notice { text });
            }
            if recorder.is_lost() {
                cancel.request();
            }
        };
        let result = esker_engine::run(&self.nix, &plan, cancel, &mut on_event);
        recorder.finish()?;
        Ok(match result {
            Ok(summary) => Ended::Verdict {
                conclusion: summary.conclusion(),
                error: summary.error.clone(),
                summary: Some(summary),
            },
            Err(error) => verdict_without_jobs(&error),
        })
    }
}

/// What is checked.
struct Checked {
    /// As Nix takes it.
    reference: String,
    /// As people call it.
    asked: String,
}

fn verdict_without_jobs(error: &RunError) -> Ended {
    let text = with_hint(error, error.hint());
    Ended::Verdict { conclusion: error.conclusion(), summary: None, error: Some(text) }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could say so is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// An error with its causes, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

fn with_hint(error: &dyn std::error::Error, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{}\nhint: {hint}", in_full(error)),
        None => in_full(error),
    }
}

/// Where the logs and events of an attempt are.
pub(crate) fn attempt_folder(state_dir: &std::path::Path, id: &EvaluationId, attempt: i64) -> PathBuf {
    state_dir
        .join("logs")
        .join(id.project.replace('/', "+"))
        .join(id.number.to_string())
        .join(attempt.to_string())
}

/// Until when a lease that is renewed now is held.
pub(crate) fn lease_from(now: Milliseconds) -> Milliseconds {
    now + milliseconds(LEASE)
}
