//! The half of the loop that is about building: what the store answers, what builds report, and
//! what both mean for the jobs.

use std::collections::VecDeque;
use std::time::Instant;

use esker_nix::StorePath;

use super::store::Request;
use super::{Run, RunError, Running, jobs};
use crate::build::execute::Report;
use crate::build::outcome::Verdict;
use crate::build::resolve::{Resolution, Resolved};
use crate::build::schedule::{Lane, NodeId, NodeState};
use crate::evaluate::Evaluation;
use crate::event::{Action, BuildFailure, BuildFailureKind, Conclusion, Event, Outcome, Present};
use crate::plan::Mode;

/// How many lines of a failing build's log are kept for its end.
const TAIL_LINES: usize = 50;
/// How long a line of them may be, in bytes.
const TAIL_LINE_BYTES: usize = 2_000;

impl Run<'_> {
    pub(super) fn resolved(
        &mut self,
        resolution: Resolution,
        evaluation: &mut Evaluation<'_>,
    ) -> Result<(), RunError> {
        let dry = self.plan.mode == Mode::DryRun;
        if let Some(text) = resolution.notice {
            self.tell(&Event::Notice { text });
        }
        for path in resolution.fetched.into_iter().filter(|_| dry) {
            let (drv, name) = (path.to_string(), path.name().to_owned());
            self.tell(&Event::Scheduled { drv, name, action: Action::Fetch });
        }
        for spec in resolution.nodes {
            if dry {
                let (drv, name, action) = (spec.drv.to_string(), spec.name, spec.action);
                self.tell(&Event::Scheduled { drv, name, action });
                continue;
            }
            let estimate = self.plan.estimates.get(&spec.name).copied();
            self.schedule.add(spec, estimate);
        }
        for (drv, resolved) in resolution.wanted {
            match resolved {
                Resolved::Present { name, outputs } => {
                    self.tell(&Event::Present { drv: drv.to_string(), name, how: Present::Store });
                    self.settle(&drv, Conclusion::Passed, &Outcome::InStore, &outputs);
                    self.import(&drv, Ok(()), evaluation)?;
                }
                Resolved::Node { action } if dry => {
                    let outcome =
                        if action == Action::Fetch { Outcome::WouldFetch } else { Outcome::WouldBuild };
                    self.settle(&drv, Conclusion::Passed, &outcome, &[]);
                }
                Resolved::Node { .. } => {
                    // Its node may have come to its end before this job asked for it.
                    if let Some(node) = self.schedule.find(&drv) {
                        self.settle_node(node, evaluation)?;
                    }
                }
                Resolved::Lost { message } => {
                    for job in self.jobs.open_jobs(&drv) {
                        if self.stopping.is_none() && evaluation.again(&job, Instant::now())? {
                            self.jobs.forget(&job, &drv);
                        }
                    }
                    self.settle(&drv, Conclusion::Broken, &Outcome::Broken { message: message.clone() }, &[]);
                    self.import(&drv, Err(message), evaluation)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn start_builds(&mut self, evaluation: &mut Evaluation<'_>) -> Result<(), RunError> {
        for lane in Lane::ALL {
            while self.stopping.is_none() && self.executor.has_room(lane) {
                let Some(node) = self.schedule.take(lane) else { break };
                self.start_build(node, evaluation)?;
            }
        }
        if self.stopping.is_none() {
            self.start_proofs();
        }
        Ok(())
    }

    fn start_build(&mut self, node: NodeId, evaluation: &mut Evaluation<'_>) -> Result<(), RunError> {
        let spec = self.schedule.node(node).spec.clone();
        let running = Running { since: Instant::now(), begun: false, phase: None, tail: VecDeque::new() };
        self.running.insert(node, running);
        let refused = self.prepared.why_not_here(&spec).map(|why| (BuildFailureKind::NoMachine, why));
        let refused = refused.or_else(|| {
            let started = self.executor.start(node, spec);
            started.err().map(|error| (BuildFailureKind::Broken, error.to_string()))
        });
        match refused {
            Some((kind, why)) => self.built(node, Verdict::broken(kind, why), evaluation),
            None => Ok(()),
        }
    }

    /// Tells, once, that something is started for this node.
    fn begin(&mut self, node: NodeId) {
        let Some(running) = self.running.get_mut(&node).filter(|running| !running.begun) else { return };
        running.begun = true;
        let spec = self.schedule.node(node).spec.clone();
        let estimate = self.plan.estimates.get(&spec.name).copied();
        let jobs = self.jobs.names(&spec.drv, 3);
        let (drv, name, action) = (spec.drv.to_string(), spec.name, spec.action);
        self.tell(&Event::BuildStarted { drv, name, action, estimate, jobs });
    }

    pub(super) fn reported(
        &mut self,
        report: Report,
        evaluation: &mut Evaluation<'_>,
    ) -> Result<(), RunError> {
        match report {
            Report::Began { node } => self.begin(node),
            Report::Notice(text) => self.tell(&Event::Notice { text }),
            Report::Explained { node, explanation } => {
                let spec = &self.schedule.node(node).spec;
                let (drv, name) = (spec.drv.to_string(), spec.name.clone());
                self.tell(&Event::Explained { drv, name, explanation });
            }
            Report::Line { node, line } => {
                if let Some(running) = self.running.get_mut(&node) {
                    if running.tail.len() == TAIL_LINES {
                        running.tail.pop_front();
                    }
                    running.tail.push_back(line[..line.len().min(TAIL_LINE_BYTES)].to_vec());
                }
                let drv = self.schedule.node(node).spec.drv.to_string();
                self.tell(&Event::Log { drv, line });
            }
            Report::Phase { node, phase } => {
                if let Some(running) = self.running.get_mut(&node) {
                    running.phase = Some(phase.clone());
                }
                let drv = self.schedule.node(node).spec.drv.to_string();
                self.tell(&Event::Phase { drv, phase });
            }
            Report::Transfer { node, done, expected } => {
                let drv = self.schedule.node(node).spec.drv.to_string();
                self.tell(&Event::Transfer { drv, done, expected });
            }
            Report::Ended { node, slot, verdict, unproven } => {
                self.executor.ended(slot);
                self.built(node, verdict, evaluation)?;
                if let Some(unproven) = unproven.filter(|_| self.stopping.is_none()) {
                    self.proofs.add(node, unproven);
                }
            }
            Report::Proved { slot, proved } => self.proved(slot, proved),
        }
        Ok(())
    }

    fn built(
        &mut self,
        node: NodeId,
        verdict: Verdict,
        evaluation: &mut Evaluation<'_>,
    ) -> Result<(), RunError> {
        // What Nix was asked to build may turn out to be there.
        let is_there = verdict.is_there && self.running.get(&node).is_some_and(|running| !running.begun);
        if verdict.reuse.is_none() && !is_there {
            self.begin(node);
        }
        let Some(running) = self.running.remove(&node) else { return Ok(()) };
        let seconds = running.since.elapsed().as_secs_f64();
        let passed = verdict.conclusion == Conclusion::Passed;
        let spec = self.schedule.node(node).spec.clone();
        let failure = verdict.failure.map(|(kind, message)| BuildFailure {
            kind,
            message,
            exit_code: verdict.exit_code,
            phase: running.phase,
            tail: running.tail.iter().map(|line| crate::text::plain(line)).collect(),
        });
        match spec.action {
            _ if verdict.reuse.is_some() => self.summary.reused += 1,
            _ if is_there => {}
            Action::Fetch if passed => self.summary.fetched += 1,
            Action::Build | Action::Rebuild if passed => self.summary.built += 1,
            _ => {}
        }
        self.jobs.ended(
            &spec.drv,
            jobs::End {
                conclusion: verdict.conclusion,
                action: spec.action,
                seconds,
                failure: failure.clone(),
                outputs: verdict.outputs.clone(),
                reuse: verdict.reuse.clone(),
                is_there,
            },
        );
        let (drv, name, outputs) = (spec.drv.to_string(), spec.name, verdict.outputs);
        self.tell(&match verdict.reuse {
            Some(reuse) => Event::Reused { drv, name, reuse, outputs },
            None if is_there => Event::Present { drv, name, how: Present::Store },
            None => Event::BuildFinished {
                drv,
                name,
                action: spec.action,
                conclusion: verdict.conclusion,
                seconds,
                failure,
                outputs,
            },
        });
        for settled in self.schedule.finish(node, passed) {
            self.settle_node(settled, evaluation)?;
        }
        Ok(())
    }

    /// Tells the jobs of a node its end, if it has one.
    fn settle_node(&mut self, node: NodeId, evaluation: &mut Evaluation<'_>) -> Result<(), RunError> {
        let spec = &self.schedule.node(node).spec;
        let drv = spec.drv.clone();
        match self.schedule.node(node).state {
            NodeState::Waiting | NodeState::Running => Ok(()),
            NodeState::Blocked { culprit } => {
                let culprit = &self.schedule.node(culprit).spec;
                let (name, path) = (culprit.name.clone(), culprit.drv.clone());
                let conclusion = self.jobs.conclusion(&path).unwrap_or(Conclusion::Failed);
                let outcome = match conclusion {
                    Conclusion::Cancelled => Outcome::Cancelled,
                    _ => Outcome::DependencyFailed { drv: path.to_string(), name: name.clone() },
                };
                self.settle(&drv, conclusion, &outcome, &[]);
                self.import(&drv, Err(format!("{name} failed")), evaluation)
            }
            NodeState::Passed | NodeState::Failed => {
                let Some(end) = self.jobs.end(&drv) else { return Ok(()) };
                let outcome = end.outcome(&drv);
                let result = if end.conclusion == Conclusion::Passed { Ok(()) } else { Err(end.message()) };
                let outputs = end.outputs();
                self.settle(&drv, end.conclusion, &outcome, &outputs);
                self.import(&drv, result, evaluation)
            }
        }
    }

    /// Concludes all jobs that stand for `drv` and have no conclusion yet.
    fn settle(
        &mut self,
        drv: &StorePath,
        conclusion: Conclusion,
        outcome: &Outcome,
        outputs: &[(String, StorePath)],
    ) {
        for job in self.jobs.open_jobs(drv) {
            if conclusion == Conclusion::Passed
                && let Some(links) = &self.plan.links
            {
                self.store.ask(Request::Link { path: links.path(&job), outputs: outputs.to_vec() });
            }
            self.conclude(job, conclusion, outcome.clone());
        }
    }

    /// The evaluation goes on (or not) with what it wanted to import.
    fn import(
        &mut self,
        drv: &StorePath,
        result: Result<(), String>,
        evaluation: &mut Evaluation<'_>,
    ) -> Result<(), RunError> {
        let before = self.imports.len();
        self.imports.retain(|import| import != drv);
        if self.imports.len() == before || self.stopping.is_some() {
            return Ok(());
        }
        let found = evaluation.built(drv, result, Instant::now())?;
        self.found(found, evaluation)
    }
}
