//! Decides what is said of each event, and what is said only once or in one line for many.
//!
//! Results stay in the scrollback, so their number must not grow with the number of jobs that needed
//! nothing, were cancelled, or all fail for one reason.

use std::collections::{HashMap, HashSet, VecDeque};

use esker_engine::event::{Action, Conclusion, Environment, Event, Outcome, Summary};
use esker_engine::progress::{Progress, RunningBuild};

use super::advice::{Advice, shell_word};
use super::clean;
use super::report::{self, Block, FullLog, Kind, Layout, Trace};
use super::style::{self, Color, Style, Tone};
use super::verdict::{Tally, verdict};

/// How many jobs that needed nothing get a line each.
const UNTOUCHED: usize = 30;
/// How many cancelled jobs get a line each.
const CANCELLED: usize = 5;
/// How many jobs that need the same failed derivation get a line each.
const DEPENDENTS: usize = 10;
/// How many different warnings are shown.
const WARNINGS: usize = 10;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loudness {
    /// Errors only.
    Quiet,
    Normal,
    /// Also what Nix is asked to do, as commands, and what is otherwise folded.
    Verbose,
}

/// What becomes of the logs of builds that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassedLogs {
    Dropped,
    /// Their ends go along with the result, for a view that can fold them.
    Kept,
}

/// What was said so far.
pub(crate) struct Results {
    layout: Layout,
    loudness: Loudness,
    passed_logs: PassedLogs,
    advice: Advice,
    tally: Tally,
    /// Derivations whose failure was shown.
    told: HashSet<String>,
    /// Logs of builds that passed, by derivation, until the job's verdict comes.
    logs: HashMap<String, VecDeque<Vec<u8>>>,
    untouched: Vec<Block>,
    cancelled: Vec<Block>,
    /// By culprit: how many were shown, how many were not.
    dependents: HashMap<String, (usize, u64)>,
    warnings_shown: usize,
}

impl Results {
    pub(crate) fn new(style: Style, loudness: Loudness, passed_logs: PassedLogs, noun: &str) -> Self {
        let (tail, full_log) = match passed_logs {
            PassedLogs::Dropped => (25, FullLog::Kept),
            PassedLogs::Kept => (50, FullLog::Gone),
        };
        let trace = if loudness == Loudness::Verbose { Trace::Shown } else { Trace::Hidden };
        Self {
            layout: Layout { style, name_width: report::name_width([].into_iter()), tail, full_log, trace },
            loudness,
            passed_logs,
            advice: Advice::default(),
            tally: Tally { noun: noun.to_owned(), ..Tally::default() },
            told: HashSet::new(),
            logs: HashMap::new(),
            untouched: Vec::new(),
            cancelled: Vec::new(),
            dependents: HashMap::new(),
            warnings_shown: 0,
        }
    }

    /// What to suggest.
    pub(crate) fn advise(&mut self, advice: Advice) {
        self.advice = advice;
    }

    /// What is to be said of an event. `progress` must not have taken it in yet.
    pub(crate) fn show(&mut self, event: &Event, progress: &Progress) -> Vec<Block> {
        let mut blocks = self.blocks(event, progress);
        match self.loudness {
            Loudness::Quiet => blocks.retain(|block| block.kind == Kind::Failed),
            Loudness::Normal | Loudness::Verbose => {}
        }
        blocks
    }

    fn blocks(&mut self, event: &Event, progress: &Progress) -> Vec<Block> {
        let verbose = self.loudness == Loudness::Verbose;
        if let Event::Environment(environment) = event {
            self.advice.set_system(&environment.system);
        }
        match event {
            Event::Environment(environment) if verbose => vec![self.environment(environment)],
            Event::Source(source) => {
                self.tally.untracked.clone_from(&source.untracked);
                vec![Block::note(report::source(source))]
            }
            Event::Discovered { jobs } => {
                self.advice.discovered(jobs);
                let width = report::name_width(jobs.iter().map(|found| found.job.as_str()));
                self.layout.name_width = self.layout.name_width.max(width);
                vec![]
            }
            Event::EvaluationFinished { .. } => self.warnings(progress, verbose),
            Event::Scheduled { name, action, .. } if verbose => {
                let detail = if *action == Action::Fetch { "would fetch" } else { "would build" };
                vec![Block::note(report::result(&self.layout, None, name, None, detail))]
            }
            Event::BuildStarted { drv, action, .. } if verbose => vec![self.command(drv, *action)],
            Event::BuildFinished { .. } => self.build_finished(event, progress),
            Event::JobFinished { job, conclusion, outcome } => {
                self.job_finished(job, *conclusion, outcome, progress)
            }
            Event::Notice { text } => {
                vec![report::said(&self.layout, Tone::Bold, "note:", text, "")]
            }
            Event::Finished(summary) => self.finished(summary, progress),
            _ => vec![],
        }
    }

    fn build_finished(&mut self, event: &Event, progress: &Progress) -> Vec<Block> {
        let Event::BuildFinished { drv, name, conclusion, seconds, failure, action, .. } = event else {
            return vec![];
        };
        let running = progress.running(drv);
        let is_job = progress.job_of(drv).is_some();
        match (conclusion, failure) {
            (Conclusion::Passed, _) if is_job => {
                if let (PassedLogs::Kept, Some(build)) = (self.passed_logs, running) {
                    self.logs.insert(drv.clone(), build.tail.clone());
                }
                vec![]
            }
            (Conclusion::Passed, _) if self.loudness == Loudness::Verbose => {
                let detail = if *action == Action::Fetch { "from the binary cache" } else { "a dependency" };
                let title = report::result(&self.layout, Some(*conclusion), name, Some(*seconds), detail);
                vec![Block { kind: Kind::Passed, title, body: vec![], annotation: None }]
            }
            (Conclusion::Failed | Conclusion::Broken, Some(failure)) if !is_job => {
                self.told.insert(drv.clone());
                let needed_by = running.map(needed_by).unwrap_or_default();
                // Not a job's, so `esker log` does not know it.
                let full_log = format!("nix-store --read-log {}", shell_word(drv));
                if !failure.tail.is_empty() {
                    self.tally.log_command.get_or_insert_with(|| full_log.clone());
                }
                let layout = &self.layout;
                vec![report::failed_build(
                    layout,
                    name,
                    *conclusion,
                    failure,
                    *seconds,
                    &full_log,
                    &needed_by,
                )]
            }
            _ => vec![],
        }
    }

    fn job_finished(
        &mut self,
        job: &str,
        conclusion: Conclusion,
        outcome: &Outcome,
        progress: &Progress,
    ) -> Vec<Block> {
        let told = match outcome {
            Outcome::BuildFailed { drv, .. } => !self.told.insert(drv.clone()),
            _ => false,
        };
        self.count(job, conclusion, outcome);
        let full_log = self.advice.log(job);
        let mut block = match outcome {
            Outcome::DependencyFailed { drv, name } => {
                let name = progress.title(drv, name).to_owned();
                let outcome = Outcome::DependencyFailed { drv: drv.clone(), name };
                report::job(&self.layout, job, conclusion, &outcome, told, &full_log)
            }
            _ => report::job(&self.layout, job, conclusion, outcome, told, &full_log),
        };
        let drv = progress.jobs.get(job).and_then(|job| job.drv.as_deref());
        if let Some(tail) = drv.and_then(|drv| self.logs.remove(drv)) {
            let lines = tail.iter().map(|line| clean::line(line, Color::Off)).collect();
            block.body = report::bar(&self.layout, lines);
        }
        if self.loudness == Loudness::Verbose {
            return vec![block];
        }
        match outcome {
            Outcome::InStore if progress.jobs.len() > UNTOUCHED => {
                self.untouched.push(block);
                return vec![];
            }
            Outcome::Cancelled => {
                self.cancelled.push(block);
                return vec![];
            }
            Outcome::DependencyFailed { drv, name } => {
                let culprit = progress.title(drv, name).to_owned();
                let (shown, hidden) = self.dependents.entry(culprit).or_default();
                if *shown == DEPENDENTS {
                    *hidden += 1;
                    return vec![];
                }
                *shown += 1;
            }
            _ => {}
        }
        vec![block]
    }

    fn count(&mut self, job: &str, conclusion: Conclusion, outcome: &Outcome) {
        let tally = &mut self.tally;
        match outcome {
            Outcome::WouldBuild => tally.would_build += 1,
            Outcome::WouldFetch => tally.would_fetch += 1,
            Outcome::BuildFailed { failure, .. } => {
                if tally.alone_command.is_none() && !failure.tail.is_empty() {
                    tally.log_command = Some(self.advice.log(job));
                }
                tally.alone_command.get_or_insert_with(|| self.advice.check(&[], job));
            }
            Outcome::EvaluationFailed { .. } => {
                tally.trace_command.get_or_insert_with(|| self.advice.check(&["-v"], job));
            }
            _ => {}
        }
        let names = match conclusion {
            Conclusion::Failed if matches!(outcome, Outcome::DependencyFailed { .. }) => {
                &mut tally.dependents
            }
            Conclusion::Failed => &mut tally.failed,
            Conclusion::Broken => &mut tally.broken,
            Conclusion::Passed | Conclusion::Cancelled => return,
        };
        names.push(job.to_owned());
    }

    fn finished(&mut self, summary: &Summary, progress: &Progress) -> Vec<Block> {
        let mut blocks = self.folded();
        blocks.extend(self.warnings(progress, self.loudness == Loudness::Verbose));
        if self.layout.full_log == FullLog::Gone {
            self.tally.log_command = None;
        }
        (self.tally.to_build, self.tally.to_fetch) = (progress.to_build, progress.to_fetch);
        // An error that left no jobs is for the caller, who also knows its causes and a hint.
        if summary.error.is_none() {
            blocks.push(verdict(self.layout.style, &self.tally, summary));
        }
        blocks
    }

    /// What was held back: as it is when it is little, else a line for all of it.
    fn folded(&mut self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let line = |conclusion, count: u64, what: &str, detail: &str| {
            let name = style::count(count, what);
            Block::note(report::result(&self.layout, Some(conclusion), &name, None, detail))
        };
        let noun = &self.tally.noun;
        let untouched = std::mem::take(&mut self.untouched);
        if untouched.len() > UNTOUCHED {
            let count = untouched.len() as u64;
            blocks.push(line(Conclusion::Passed, count, noun, "already in the store"));
        } else {
            blocks.extend(untouched);
        }
        let mut dependents: Vec<_> = self.dependents.drain().filter(|(_, (_, hidden))| *hidden > 0).collect();
        dependents.sort();
        for (culprit, (_, hidden)) in dependents {
            let detail = format!("need {}, which failed above", clean::name(&culprit));
            blocks.push(line(Conclusion::Failed, hidden, &format!("more {noun}"), &detail));
        }
        let cancelled = std::mem::take(&mut self.cancelled);
        if cancelled.len() > CANCELLED {
            blocks.push(line(Conclusion::Cancelled, cancelled.len() as u64, noun, ""));
        } else {
            blocks.extend(cancelled);
        }
        blocks
    }

    /// The warnings that came since this was last asked for.
    fn warnings(&mut self, progress: &Progress, all: bool) -> Vec<Block> {
        let shown = self.warnings_shown;
        let limit = if all { usize::MAX } else { WARNINGS.saturating_sub(shown) };
        let new = &progress.warnings[shown.min(progress.warnings.len())..];
        self.warnings_shown += new.len();
        let mut blocks: Vec<Block> = new
            .iter()
            .take(limit)
            .map(|warning| {
                let count = warning.count;
                let times =
                    if count > 1 { format!(" ({} times)", style::number(count)) } else { String::new() };
                let text = warning.text.strip_prefix("warning: ").unwrap_or(&warning.text);
                report::said(&self.layout, Tone::Warn, "warning:", text, &times)
            })
            .collect();
        let more = new.len().saturating_sub(limit) as u64;
        if more > 0 {
            let text = format!("{}; -v shows them", style::count(more, "more warning"));
            blocks.push(report::said(&self.layout, Tone::Warn, "warning:", &text, ""));
        }
        blocks
    }

    fn environment(&self, environment: &Environment) -> Block {
        let Environment { nix, store, system, sandbox, max_jobs, cores, .. } = environment;
        let trusted = if environment.trusted { "trusted" } else { "not trusted" };
        let first = format!("nix {nix} ({store}, {trusted}) on {system}, sandbox: {sandbox}");
        let rest = format!(
            "max-jobs {max_jobs}, cores {cores}, substituters: {}",
            environment.substituters.join(" ")
        );
        report::said(&self.layout, Tone::Dim, "with", &format!("{first}\n{rest}"), "")
    }

    /// What Nix is asked to do, as a command that every version of Nix has.
    fn command(&self, drv: &str, action: Action) -> Block {
        let check = if action == Action::Rebuild { " --check" } else { "" };
        let command = format!("$ nix-store --realise{check} {}", shell_word(drv));
        Block::note(format!(" {}", self.layout.style.paint(Tone::Dim, &command)))
    }
}

fn needed_by(build: &RunningBuild) -> String {
    if build.jobs.is_empty() {
        return String::new();
    }
    format!(", needed by {}", style::names(build.jobs.iter().map(String::as_str), 3))
}
