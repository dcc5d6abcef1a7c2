//! The engine's loop: evaluation, store and builds report to it, and nothing else decides.
//!
//! Invariant: all state of a run lives in [`Run`], on one thread. The other threads (a reader for
//! each evaluator, one for the store, one for each build) only ask and report.

mod builds;
mod error;
mod jobs;
mod prepare;
mod proofs;
mod store;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use esker_nix::StorePath;
use esker_nix::evaluator::Target;
use esker_nix::tool::Nix;

use crate::build::execute::{self, Executor};
use crate::build::resolve::Resolver;
use crate::build::schedule::{NodeId, Schedule};
use crate::evaluate::{self, Evaluation, Found};
use crate::event::{BuildFailure, BuildFailureKind, Conclusion, Event, Outcome, Summary};
use crate::plan::{Mode, Plan, Subject};

pub use error::{Blame, RunError};
use jobs::Jobs;
use prepare::Prepared;
use proofs::Proofs;
use store::{Request, Resolved, Store};

/// After the first interruption builds have this long to end by themselves.
const GRACE: Duration = Duration::from_secs(10);
/// How often limits and interruptions are looked at.
const TICK: Duration = Duration::from_millis(50);

/// The user's wish to stop, from another thread: once cleanly, twice at once.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicU32>);

impl Cancel {
    /// Wishes so; returns how often it was wished.
    pub fn request(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How often it was wished.
    pub fn requests(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Evaluates and builds `plan`, telling `on_event` each fact as it happens.
///
/// # Errors
/// [`RunError`] when there is no list of jobs at all. A job that fails is no error. In either case
/// [`Event::Finished`] is the last event, unless Nix itself is missing.
pub fn run(
    nix: &Nix,
    plan: &Plan,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Summary, RunError> {
    let started = Instant::now();
    let (prepared, resolver) = match prepare::prepare(nix, plan, cancel, on_event) {
        Ok(prepared) => prepared,
        Err(RunError::Interrupted) => {
            let seconds = started.elapsed().as_secs_f64();
            let summary = Summary { interrupted: true, seconds, ..Summary::default() };
            on_event(&Event::Finished(summary.clone()));
            return Ok(summary);
        }
        Err(error) => {
            let summary = Summary { error: Some(error.to_string()), ..Summary::default() };
            on_event(&Event::Finished(summary));
            return Err(error);
        }
    };
    let mut plan = plan.clone();
    if plan.systems.is_empty() {
        plan.systems.push(prepared.settings.system.clone());
    }
    let tracer = prepared.tracer.clone();
    let mut run = Run::new(&plan, prepared, resolver, started, on_event);
    let result = run.drive(cancel);
    let summary = run.finish(result);
    // The verdict is told: now there is time to tidy up.
    if let Some(tracer) = tracer {
        tracer.tidy_up();
    }
    summary
}

enum Message {
    Evaluation(evaluate::Report),
    Build(execute::Report),
    Store(Resolved),
}

struct Run<'a> {
    plan: &'a Plan,
    started: Instant,
    prepared: Prepared,
    on_event: &'a mut dyn FnMut(&Event),
    inbox: Receiver<Message>,
    sender: SyncSender<Message>,
    schedule: Schedule,
    executor: Executor,
    store: Store,
    jobs: Jobs,
    running: HashMap<NodeId, Running>,
    proofs: Proofs,
    /// Derivations that the evaluation itself waits for.
    imports: Vec<StorePath>,
    summary: Summary,
    stopping: Option<Instant>,
}

struct Running {
    since: Instant,
    /// Whether it was told of: a result that is reused never is.
    begun: bool,
    phase: Option<String>,
    tail: VecDeque<Vec<u8>>,
}

impl<'a> Run<'a> {
    fn new(
        plan: &'a Plan,
        prepared: Prepared,
        resolver: Resolver,
        started: Instant,
        on_event: &'a mut dyn FnMut(&Event),
    ) -> Self {
        let (sender, inbox) = sync_channel(4096);
        let to_loop = sender.clone();
        let listener: execute::Listener =
            Arc::new(move |report| to_loop.send(Message::Build(report)).is_ok());
        let executor = {
            let (options, tracer) = (prepared.options.clone(), prepared.tracer.clone());
            Executor::new(&prepared.nix, options, tracer, prepared.slots, listener)
        };
        let to_loop = sender.clone();
        let store = Store::start(resolver, move |answer| to_loop.send(Message::Store(answer)).is_ok());
        Self {
            plan,
            started,
            prepared,
            on_event,
            inbox,
            sender,
            schedule: Schedule::default(),
            executor,
            store,
            jobs: Jobs::default(),
            running: HashMap::new(),
            proofs: Proofs::default(),
            imports: Vec::new(),
            summary: Summary::default(),
            stopping: None,
        }
    }

    fn drive(&mut self, cancel: &Cancel) -> Result<(), RunError> {
        let nix = self.prepared.nix.clone();
        let flake = self.prepared.flake.take();
        let expression = prepare::expression(&self.plan.subject);
        let target = match &flake {
            Some(flake) => Target::Flake(flake),
            None => Target::Expression(&expression),
        };
        let to_loop = self.sender.clone();
        let spawn: Arc<dyn Fn(evaluate::Report) -> bool + Send + Sync> =
            Arc::new(move |report| to_loop.send(Message::Evaluation(report)).is_ok());
        let system = self.prepared.settings.system.clone();
        let mut evaluation = Evaluation::new(&nix, self.plan, target, &system, spawn, Instant::now())?;
        if let (Some(flake), Subject::Flake { asked, .. }) = (&flake, &self.plan.subject) {
            // While the evaluator starts: git may take a moment.
            prepare::tell_source(asked, flake, self.on_event);
        }
        let mut evaluated = false;
        let mut looked = Instant::now();
        loop {
            self.store.flush();
            if self.plan.fail_fast && self.jobs.some_not_passed() {
                self.stop(&mut evaluation);
            }
            self.start_builds(&mut evaluation)?;
            // Not before the store has answered: it may ask for an attribute once more.
            if !evaluated && evaluation.is_finished() && (self.stopping.is_some() || !self.store.is_busy()) {
                evaluated = true;
                self.jobs.close_discovery();
                let (jobs, failed) = self.jobs.evaluation_counts();
                let seconds = evaluation.seconds(Instant::now());
                self.tell(&Event::EvaluationFinished { jobs, failed, seconds });
            }
            let stopped = self.stopping.is_some() && self.running.is_empty();
            let done = evaluated && !self.store.is_busy() && self.schedule.unfinished() == 0;
            if (done || stopped) && evaluated && self.proofs.are_done() {
                return Ok(());
            }
            match self.inbox.recv_timeout(TICK) {
                Ok(message) => {
                    self.handle(message, &mut evaluation)?;
                    // What else is there already, before the next look at everything.
                    for _ in 0..1000 {
                        let Ok(message) = self.inbox.try_recv() else { break };
                        self.handle(message, &mut evaluation)?;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                evaluation.tick(looked)?;
                self.look_at(cancel, &mut evaluation);
            }
        }
    }

    /// Interruptions: the first stops cleanly, the second (or too long a wait) at once.
    fn look_at(&mut self, cancel: &Cancel, evaluation: &mut Evaluation<'_>) {
        if cancel.requests() >= 1 {
            self.summary.interrupted = true;
            self.stop(evaluation);
        }
        let overdue = self.stopping.is_some_and(|since| since.elapsed() > GRACE);
        if cancel.requests() >= 2 || overdue {
            self.executor.kill();
        }
    }

    fn stop(&mut self, evaluation: &mut Evaluation<'_>) {
        if self.stopping.is_none() {
            self.stopping = Some(Instant::now());
            self.proofs.forget_waiting();
            evaluation.stop();
            self.executor.cancel();
        }
    }

    fn handle(&mut self, message: Message, evaluation: &mut Evaluation<'_>) -> Result<(), RunError> {
        match message {
            Message::Evaluation(report) => {
                let found = evaluation.report(report, Instant::now())?;
                self.found(found, evaluation)?;
            }
            Message::Store(Resolved(resolution)) => {
                self.store.answered();
                match resolution {
                    // It was asked in vain, and stopped.
                    Err(_) if self.stopping.is_some() => {}
                    resolution => self.resolved(resolution?, evaluation)?,
                }
            }
            Message::Build(report) => self.reported(report, evaluation)?,
        }
        Ok(())
    }

    fn found(&mut self, found: Vec<Found>, evaluation: &mut Evaluation<'_>) -> Result<(), RunError> {
        for found in found {
            if self.stopping.is_some() {
                return Ok(());
            }
            match found {
                Found::Jobs(jobs) if jobs.is_empty() => {}
                Found::Jobs(jobs) => {
                    self.jobs.discovered(&jobs);
                    self.tell(&Event::Discovered { jobs });
                }
                Found::Dissolved(job) => {
                    self.jobs.dissolved(&job);
                    self.tell(&Event::Dissolved { job });
                }
                Found::Evaluating(job) => self.tell(&Event::Evaluating { job }),
                Found::Derivation { job, drv, seconds } => {
                    let name = crate::build::resolve::name_of(&drv);
                    self.store.ask(Request::Resolve(drv.clone()));
                    self.jobs.evaluated(&job, &drv);
                    self.tell(&Event::Evaluated { job, drv: drv.to_string(), name, seconds });
                }
                Found::Failed { job, error } => {
                    self.tell(&Event::EvaluationFailed { job: job.clone(), error: error.clone() });
                    let conclusion = error.conclusion();
                    self.conclude(job, conclusion, Outcome::EvaluationFailed { error });
                }
                Found::NeedsBuild { drv } if self.plan.mode == Mode::DryRun => {
                    let found = evaluation.built(&drv, Ok(()), Instant::now())?;
                    self.found(found, evaluation)?;
                }
                Found::NeedsBuild { drv } => {
                    self.imports.push(drv.clone());
                    self.store.ask(Request::Resolve(drv));
                }
                Found::Warning { text, job } => self.tell(&Event::Warning { text, job }),
                Found::Notice(text) => self.tell(&Event::Notice { text }),
            }
        }
        Ok(())
    }

    fn conclude(&mut self, job: String, conclusion: Conclusion, outcome: Outcome) {
        if self.jobs.conclude(&job, conclusion) {
            match conclusion {
                Conclusion::Passed => self.summary.passed += 1,
                Conclusion::Failed => self.summary.failed += 1,
                Conclusion::Broken => self.summary.broken += 1,
                Conclusion::Cancelled => self.summary.cancelled += 1,
            }
            self.tell(&Event::JobFinished { job, conclusion, outcome });
        }
    }

    fn tell(&mut self, event: &Event) {
        (self.on_event)(event);
    }

    /// Ends whatever is left, and says the last word.
    fn finish(mut self, result: Result<(), RunError>) -> Result<Summary, RunError> {
        if result.is_err() {
            self.executor.cancel();
        }
        let begun = self.running.iter().filter(|(_, running)| running.begun);
        for node in begun.map(|(node, _)| *node).collect::<Vec<_>>() {
            let spec = self.schedule.node(node).spec.clone();
            let failure = BuildFailure {
                kind: BuildFailureKind::Cancelled,
                message: "cancelled".to_owned(),
                exit_code: None,
                phase: None,
                tail: Vec::new(),
            };
            self.tell(&Event::BuildFinished {
                drv: spec.drv.to_string(),
                name: spec.name,
                action: spec.action,
                conclusion: Conclusion::Cancelled,
                seconds: 0.0,
                failure: Some(failure),
                outputs: Vec::new(),
            });
        }
        for job in self.jobs.all_open() {
            self.conclude(job, Conclusion::Cancelled, Outcome::Cancelled);
        }
        let Self { inbox, store, executor, on_event, mut summary, started, .. } = self;
        // Nobody reads the queue any more: let those who still report go on.
        drop(inbox);
        for problem in if self.stopping.is_some() { store.close_soon() } else { store.close() } {
            on_event(&Event::Notice { text: problem });
        }
        executor.close();
        summary.seconds = started.elapsed().as_secs_f64();
        summary.error = result.as_ref().err().map(ToString::to_string);
        on_event(&Event::Finished(summary.clone()));
        result.map(|()| summary)
    }
}
