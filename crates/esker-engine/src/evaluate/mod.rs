//! Turns a plan's attribute into jobs: who evaluates what, and what happens when an evaluator dies.
//!
//! One process tells the names and begins at the front. If that takes longer than a helper needs to
//! start, others begin too: the list is cut into ranges of neighbours (which share thunks), and
//! each range is worked at from both ends until the two meet. So nothing has to be handed out, and
//! a set that is quickly evaluated costs one process. Whatever a process leaves undone when it
//! ends, for whatever reason, goes to a fresh one.
//!
//! Invariant: each attribute that was announced is settled exactly once (who comes second is not
//! heard), and a process that settles nothing is not started again with the same work.

mod ending;
mod failure;
mod memory;
mod naming;
mod worker;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use esker_nix::StorePath;
use esker_nix::evaluator::{
    Entry, ErrorKind, ImportFromDerivation, OwnSource, Purity, Recurse, Request, Root, Said, Target, Work,
    read_error,
};
use esker_nix::tool::Nix;

use crate::event::{DiscoveredJob, EvaluationError, EvaluationErrorKind};
use crate::plan::Plan;

pub use failure::EvaluateError;
use naming::{Names, Selection};
pub(crate) use worker::Report;
use worker::{Stopped, Worker};

/// More evaluators are started when one has been at it for so long: about five times what the start
/// of one costs.
const ALONE: Duration = Duration::from_millis(150);
/// Fewer attributes than this are left to one evaluator.
const WORTH_HELP: usize = 16;
/// From twice this many queued attributes on, two evaluators start at once.
const QUEUE_PART: usize = 100;
/// What an evaluator usually needs; decides how many run at once unless the plan says so.
const USUAL_MEMORY: u64 = 600 << 20;

/// Something the evaluation found out.
#[derive(Debug)]
pub(crate) enum Found {
    Jobs(Vec<DiscoveredJob>),
    /// It was a set, not a job; its members follow as `Jobs`.
    Dissolved(String),
    Evaluating(String),
    Derivation {
        job: String,
        drv: StorePath,
        seconds: f64,
    },
    Failed {
        job: String,
        error: EvaluationError,
    },
    /// The evaluation goes on once this is built: call [`Evaluation::built`].
    NeedsBuild {
        drv: StorePath,
    },
    Warning {
        text: String,
        job: Option<String>,
    },
    Notice(String),
}

/// A running evaluation. Drive it with [`Evaluation::report`] and [`Evaluation::tick`].
pub(crate) struct Evaluation<'a> {
    nix: &'a Nix,
    plan: &'a Plan,
    target: Target<'a>,
    /// The user's flake, to make positions relative.
    source: Option<OwnSource>,
    system: String,
    selection: Selection,
    names: Names,
    spawn: worker::Spawn,
    workers: BTreeMap<usize, Worker>,
    next_worker: usize,
    /// Work that no process has, by whether it may import from derivations.
    queue: VecDeque<Entry>,
    queue_ifd: VecDeque<Entry>,
    /// Attributes that wait for a build, by derivation. `None`: the list itself does.
    waiting: HashMap<StorePath, Vec<Option<Entry>>>,
    entries: HashMap<String, Entry>,
    limit: usize,
    listed: bool,
    /// Attributes without an answer yet.
    open: HashSet<String>,
    /// Attributes that were evaluated a second time.
    repeated: HashSet<String>,
    /// Whether the first evaluator was given help.
    helped: bool,
    started: Instant,
    failures: HashMap<String, u32>,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(
        nix: &'a Nix,
        plan: &'a Plan,
        target: Target<'a>,
        system: &str,
        spawn: worker::Spawn,
        now: Instant,
    ) -> Result<Self, EvaluateError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let fitting = usize::try_from(plan.evaluation.memory / USUAL_MEMORY).unwrap_or(usize::MAX).max(1);
        let source = if let Target::Flake(flake) = &target { Some(flake.own_source()) } else { None };
        let mut evaluation = Self {
            nix,
            plan,
            target,
            source,
            system: system.to_owned(),
            selection: Selection::new(plan)?,
            names: Names::new(plan),
            spawn,
            workers: BTreeMap::new(),
            next_worker: 0,
            queue: VecDeque::new(),
            queue_ifd: VecDeque::new(),
            waiting: HashMap::new(),
            entries: HashMap::new(),
            limit: plan.evaluation.workers.unwrap_or(cores.min(fitting)).max(1),
            listed: false,
            open: HashSet::new(),
            repeated: HashSet::new(),
            helped: false,
            started: now,
            failures: HashMap::new(),
        };
        evaluation.list(ImportFromDerivation::Refuse, now)?;
        Ok(evaluation)
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self, now: Instant) -> f64 {
        now.duration_since(self.started).as_secs_f64()
    }

    /// Nothing is running, queued or waiting for a build.
    pub(crate) fn is_finished(&self) -> bool {
        self.workers.is_empty()
            && self.queue.is_empty()
            && self.queue_ifd.is_empty()
            && self.waiting.is_empty()
    }

    /// Takes what an evaluator's reader saw.
    pub(crate) fn report(&mut self, report: Report, now: Instant) -> Result<Vec<Found>, EvaluateError> {
        let mut found = Vec::new();
        match report {
            Report::Said { worker, said } => {
                for said in said {
                    self.said(worker, said, now, &mut found)?;
                }
            }
            Report::Ended { worker, current, text } => self.ended(worker, current, &text, now, &mut found)?,
        }
        self.start_workers(now)?;
        Ok(found)
    }

    /// Holds memory and time limits; call it about twenty times a second.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), EvaluateError> {
        let budget = self.plan.evaluation.memory;
        let sizes: Vec<(usize, u64)> =
            self.workers.iter().map(|(id, worker)| (*id, memory::resident(worker.process()))).collect();
        let total: u64 = sizes.iter().map(|(_, size)| size).sum();
        if total > budget
            && let Some((largest, _)) = sizes.iter().max_by_key(|(_, size)| *size)
        {
            let alone = self.workers.len() == 1;
            self.limit = self.workers.len().saturating_sub(1).max(1);
            if let Some(worker) = self.workers.get_mut(largest) {
                worker.stop(if alone { Stopped::MemoryAlone } else { Stopped::MemoryShared });
            }
        }
        let timeout = self.plan.evaluation.timeout;
        for worker in self.workers.values_mut().filter(|worker| worker.busy_for(now) > timeout) {
            worker.stop(Stopped::TimedOut);
        }
        self.help(now)
    }

    /// Stops everything; what was not settled stays so.
    pub(crate) fn stop(&mut self) {
        self.queue.clear();
        self.queue_ifd.clear();
        self.waiting.clear();
        self.open.clear();
        for worker in self.workers.values_mut() {
            worker.stop(Stopped::Cancelled);
        }
    }

    /// A derivation that the evaluation asked for was built, or was not.
    pub(crate) fn built(
        &mut self,
        drv: &StorePath,
        result: Result<(), String>,
        now: Instant,
    ) -> Result<Vec<Found>, EvaluateError> {
        let mut found = Vec::new();
        for entry in self.waiting.remove(drv).unwrap_or_default() {
            match (entry, &result) {
                (Some(entry), Ok(())) => {
                    self.open.insert(entry.id.clone());
                    self.queue_ifd.push_back(entry);
                }
                (Some(entry), Err(reason)) => {
                    let error = failure::import_failed(drv, reason);
                    found.push(Found::Failed { job: self.names.job(&entry.id), error });
                }
                (None, Ok(())) => self.list(ImportFromDerivation::Allow, now)?,
                (None, Err(reason)) => {
                    return Err(EvaluateError::Failed(failure::import_failed(drv, reason)));
                }
            }
        }
        self.start_workers(now)?;
        Ok(found)
    }

    /// Evaluates a job once more, since its derivation was collected before it could be protected.
    /// False when that was done already.
    pub(crate) fn again(&mut self, job: &str, now: Instant) -> Result<bool, EvaluateError> {
        let Some(entry) = self.entries.values().find(|entry| self.names.job(&entry.id) == job).cloned()
        else {
            return Ok(false);
        };
        if !self.repeated.insert(entry.id.clone()) {
            return Ok(false);
        }
        self.open.insert(entry.id.clone());
        self.queue_ifd.push_back(entry);
        self.start_workers(now)?;
        Ok(true)
    }

    fn list(&mut self, ifd: ImportFromDerivation, now: Instant) -> Result<(), EvaluateError> {
        let work = if self.selection.takes_all() { Work::All(true) } else { Work::Names(true) };
        self.start(work, Vec::new(), ifd, now)
    }

    fn said(
        &mut self,
        worker: usize,
        said: Said,
        now: Instant,
        found: &mut Vec<Found>,
    ) -> Result<(), EvaluateError> {
        match said {
            Said::Root(root) => self.root(worker, root, found)?,
            Said::Began { id } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.began(&id, now);
                }
                if !self.open.contains(&id) {
                    return Ok(());
                }
                found.push(Found::Evaluating(self.names.job(&id)));
            }
            Said::Derivation { id, drv } => {
                let Some(seconds) = self.settle(worker, &id, now) else { return Ok(()) };
                found.push(Found::Derivation { job: self.names.job(&id), drv, seconds });
            }
            Said::Set { id, names } => {
                if self.settle(worker, &id, now).is_none() {
                    return Ok(());
                }
                self.descend(&id, names, found);
            }
            Said::Other { id, type_name } => {
                if self.settle(worker, &id, now).is_none() {
                    return Ok(());
                }
                let job = self.names.job(&id);
                if self.names.must_be_derivation(&id) {
                    found.push(Found::Failed { job, error: failure::not_a_derivation(&type_name) });
                } else {
                    found.push(Found::Dissolved(job));
                }
            }
            Said::Failed { id, text } => {
                if self.settle(worker, &id, now).is_none() {
                    return Ok(());
                }
                self.failed(&id, &text, found);
            }
            Said::Warning { id, text } => {
                found.push(Found::Warning { text, job: id.map(|id| self.names.job(&id)) });
            }
        }
        Ok(())
    }

    /// A root was announced: its attributes become jobs, and further workers get their parts.
    fn root(&mut self, worker: usize, root: Root, found: &mut Vec<Found>) -> Result<(), EvaluateError> {
        if self.listed {
            return Ok(()); // another worker of the same list
        }
        let last = root.root + 1 == self.names.roots();
        if let Some(notice) = self.names.announce(&self.selection.wanted(self.plan, root.root), root)? {
            found.push(Found::Notice(notice));
        }
        if !last {
            return Ok(());
        }
        self.listed = true;
        let all = self.names.entries().to_vec();
        let chosen: Vec<Entry> =
            all.iter().filter(|entry| self.selection.takes(&self.names.job(&entry.id))).cloned().collect();
        if chosen.is_empty() && !all.is_empty() {
            return Err(EvaluateError::NothingSelected { of: all.len() });
        }
        self.announce(&chosen, found);
        match self.workers.get_mut(&worker) {
            Some(first) if self.selection.takes_all() => first.assign(chosen),
            _ => self.queue.extend(chosen),
        }
        Ok(())
    }

    fn announce(&mut self, entries: &[Entry], found: &mut Vec<Found>) {
        for entry in entries {
            self.entries.insert(entry.id.clone(), entry.clone());
            self.open.insert(entry.id.clone());
        }
        found.push(Found::Jobs(entries.iter().map(|entry| self.names.discovered(&entry.id)).collect()));
    }

    /// Cuts what the first evaluator has left into ranges with two workers each, one at either end.
    fn help(&mut self, now: Instant) -> Result<(), EvaluateError> {
        let Some((&first, worker)) = self.workers.iter().next() else { return Ok(()) };
        if self.helped || self.workers.len() > 1 || self.limit < 2 || worker.age(now) < ALONE {
            return Ok(());
        }
        let (rest, ifd) = (worker.rest(), worker.ifd);
        if rest.len() < WORTH_HELP {
            return Ok(());
        }
        self.helped = true;
        let ranges = self.limit.div_ceil(2).min(rest.len() / WORTH_HELP).max(1);
        let range =
            |index: usize| rest[index * rest.len() / ranges..(index + 1) * rest.len() / ranges].to_vec();
        let mut backwards = Vec::new();
        for index in 0..ranges {
            let part = range(index);
            match self.workers.get_mut(&first) {
                // It was told to do all of it, in order, and will be stopped where the next range begins.
                Some(first) if index == 0 => first.assign(part.clone()),
                _ => self.start(Work::List(part.clone()), part.clone(), ifd, now)?,
            }
            backwards.push(part.into_iter().rev().collect::<Vec<_>>());
        }
        for part in backwards.into_iter().take(self.limit - ranges) {
            self.start(Work::List(part.clone()), part, ifd, now)?;
        }
        Ok(())
    }

    fn descend(&mut self, id: &str, names: Vec<String>, found: &mut Vec<Found>) {
        found.push(Found::Dissolved(self.names.job(id)));
        let children = self.names.children(id, names);
        let chosen: Vec<Entry> =
            children.into_iter().filter(|entry| self.selection.takes(&self.names.job(&entry.id))).collect();
        self.announce(&chosen, found);
        self.queue.extend(chosen);
    }

    fn failed(&mut self, id: &str, text: &str, found: &mut Vec<Found>) {
        let error = read_error(text, self.source.as_ref());
        let wanted = error.wanted_derivation.as_deref().and_then(|path| path.parse::<StorePath>().ok());
        if let (ErrorKind::ImportFromDerivation, Some(drv), Some(entry)) =
            (error.kind, wanted, self.entries.get(id))
        {
            self.waiting.entry(drv.clone()).or_default().push(Some(entry.clone()));
            found.push(Found::NeedsBuild { drv });
            return;
        }
        found.push(Found::Failed { job: self.names.job(id), error: failure::from_text(error) });
    }

    /// Marks an attribute as done. Returns how many seconds it took; `None` when it was done before.
    fn settle(&mut self, worker: usize, id: &str, now: Instant) -> Option<f64> {
        let took = self.workers.get_mut(&worker).map_or(Duration::ZERO, |worker| worker.ended(now));
        if !self.open.remove(id) {
            return None;
        }
        for worker in self.workers.values_mut() {
            worker.settle(id);
        }
        Some(took.as_secs_f64())
    }

    fn start_workers(&mut self, now: Instant) -> Result<(), EvaluateError> {
        self.help(now)?;
        if self.workers.len() < self.limit {
            // Of two that had the same at hand, one may have settled it after the other gave it back.
            self.queue.retain(|entry| self.open.contains(&entry.id));
            self.queue_ifd.retain(|entry| self.open.contains(&entry.id));
        }
        while self.workers.len() < self.limit {
            let free = self.limit - self.workers.len();
            let (queue, ifd) = if self.queue.is_empty() {
                (&mut self.queue_ifd, ImportFromDerivation::Allow)
            } else {
                (&mut self.queue, ImportFromDerivation::Refuse)
            };
            if queue.is_empty() {
                break;
            }
            let parts = free.min(queue.len() / QUEUE_PART).max(1);
            let part: Vec<Entry> = queue.drain(..queue.len().div_ceil(parts)).collect();
            self.start(Work::List(part.clone()), part, ifd, now)?;
        }
        Ok(())
    }

    fn start(
        &mut self,
        work: Work,
        part: Vec<Entry>,
        ifd: ImportFromDerivation,
        now: Instant,
    ) -> Result<(), EvaluateError> {
        let request = Request {
            nonce: worker::nonce().map_err(EvaluateError::Start)?,
            roots: self.selection.roots.clone(),
            recurse: if self.plan.attribute == "hydraJobs" { Recurse::Always } else { Recurse::Marked },
            work,
        };
        let id = self.next_worker;
        self.next_worker += 1;
        let purity = if self.plan.impure { Purity::Impure } else { Purity::Pure };
        let evaluator =
            esker_nix::evaluator::prepare(self.nix, &self.system, &self.target, &request, ifd, purity);
        let mut evaluator = evaluator.map_err(EvaluateError::Start)?;
        evaluator
            .command
            .env(memory::LIMIT_VARIABLE, memory::hard_limit(self.plan.evaluation.memory).to_string());
        let mut worker = Worker::start(id, evaluator, &request.nonce, ifd, &self.spawn, now)
            .map_err(EvaluateError::Start)?;
        worker.assign(part);
        self.workers.insert(id, worker);
        Ok(())
    }
}

/// How long an attribute may take when nothing else is said.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl EvaluationErrorKind {
    pub(crate) fn from_nix(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Throw => Self::Throw,
            ErrorKind::Abort => Self::Abort,
            ErrorKind::Assertion => Self::Assertion,
            ErrorKind::MissingAttribute => Self::MissingAttribute,
            ErrorKind::Type => Self::Type,
            ErrorKind::InfiniteRecursion => Self::InfiniteRecursion,
            ErrorKind::Syntax => Self::Syntax,
            ErrorKind::Impure => Self::Impure,
            ErrorKind::ImportFromDerivation | ErrorKind::Build => Self::ImportFromDerivation,
            ErrorKind::OutOfMemory => Self::OutOfMemory,
            ErrorKind::Fetch => Self::Fetch,
            ErrorKind::Other => Self::Other,
        }
    }
}
