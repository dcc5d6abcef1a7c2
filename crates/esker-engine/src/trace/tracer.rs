//! One attempt at one derivation: reuse it, or build it and learn.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use esker_nix::StorePath;
use esker_nix::protocol::{Client, ProtocolError};
use esker_trace::decide::{Class, Decision, Doubt, decide};
use esker_trace::exec::Ran;
use esker_trace::store::{Produced, ProducedOutput, Recorded, Store, TraceId};

use super::closure::Paths;
use super::machine::{self, Machine};
use super::prove::Unproven;
use super::register::{self, Made, RegisterError};
use super::run::{self, Log, failed};
use super::subject::Subject;
use super::user::User;
use super::{earlier, explain};
use crate::build::connection::Process;
use crate::build::outcome::Verdict;
use crate::event::{BuildFailureKind, Explanation, Reason, Reuse, ReuseClass};
use crate::plan::TracePlan;

/// What came of an attempt.
pub(crate) enum Attempt {
    /// It is Nix's to build; why.
    Untraced(String),
    /// Another derivation led to the same: Nix has its outputs, and only has to find out.
    Known,
    /// It ended so.
    Ended(Verdict),
    /// It passed. Nix has to be asked for it, and finds that there is nothing to build: it knows best
    /// which paths it has then.
    Realised(Verdict),
}

/// Observes builds and reuses results. Shared by all slots of a run.
pub(crate) struct Tracer {
    pub(super) plan: TracePlan,
    pub(super) store: Store,
    paths: Paths,
    pub(super) machine: Machine,
    /// What a builder can learn without asking for an input, digested.
    surroundings: String,
    /// Whether it was told that nothing can be written down.
    told: AtomicBool,
    /// Held while a small reused output is registered. Nix's daemons all write to one database, and one that
    /// finds it busy sleeps for up to a tenth of a second: taking turns is many times faster.
    registering: Mutex<()>,
}

/// An output of more bytes takes longer to copy than its turn is worth.
const SMALL: u64 = 1 << 20;

/// What a build tells while it runs.
pub(crate) trait Listener {
    /// Why it is built, or reused.
    fn explained(&mut self, explanation: Explanation);
    /// What a person should know, whatever is built.
    fn notice(&mut self, text: String);
    /// A builder is started.
    fn began(&mut self);
    /// A line of its log.
    fn line(&mut self, line: Vec<u8>);
    /// A process that can be stopped.
    fn started(&mut self, process: Process);
    /// It was built, and its result could be proven at once.
    fn unproven(&mut self, unproven: Unproven);
}

impl Tracer {
    /// Why builds cannot be observed here, in words.
    pub(crate) fn open(plan: &TracePlan, machine: Machine) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can observe builds".to_owned());
        }
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".to_owned());
        }
        let surroundings =
            machine::surroundings(&machine).map_err(|error| format!("the sandbox's shell: {error}"))?;
        let store = Store::open(&plan.folder).map_err(|error| error.to_string())?;
        Ok(Self {
            plan: plan.clone(),
            store,
            paths: Paths::default(),
            machine,
            surroundings,
            told: AtomicBool::new(false),
            registering: Mutex::default(),
        })
    }

    /// What a person should know of the store of traces.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.store.take_notices()
    }

    /// Writes down what is only in memory yet, and keeps the store of traces within its usual size. Failing is
    /// no loss: the next run tries again.
    pub(crate) fn tidy_up(&self) {
        let now = SystemTime::now();
        let pruned = self.store.flush(now).and_then(|()| match self.store.size()? > Store::USUAL_BYTES {
            // Some room, so that not each run has to.
            true => self.store.prune(Store::USUAL_BYTES / 4 * 3, now).map(Some),
            false => Ok(None),
        });
        tracing::debug!("traces: {pruned:?}");
    }

    /// Reuses a result for `drv`, or builds it. Its inputs must be valid.
    ///
    /// # Errors
    /// The connection to the store is of no further use.
    pub(crate) fn attempt(
        &self,
        client: &mut Client,
        drv: &StorePath,
        listener: &mut dyn Listener,
    ) -> Result<Attempt, ProtocolError> {
        let subject = match Subject::read(client, drv, &self.paths, &self.machine, &self.surroundings)? {
            Ok(subject) => subject,
            Err(attempt) => return Ok(attempt),
        };
        let mut doubted = None;
        if self.plan.reuse {
            let doubt = Doubt { share: self.plan.shadow, roll: roll() };
            let decision = decide(&self.store, &subject.skeleton, &subject.inputs, doubt);
            let mut explanation = explain::of(&decision);
            match decision {
                Decision::Reuse { trace, outputs, doubted: true, .. } => {
                    explanation.reason = Reason::Doubted;
                    doubted = Some(Doubted { trace, outputs });
                }
                Decision::Reuse { trace, class, outputs, changed, .. } => {
                    let class_word = match class {
                        Class::Empty => ReuseClass::Empty,
                        Class::R0 => ReuseClass::R0,
                    };
                    let reuse = Reuse { trace: trace.to_string(), class: class_word, changed };
                    explanation.reason = Reason::Collected;
                    if let Some(made) = earlier::outputs(client, &subject, class, &outputs)? {
                        let drv = &subject.resolved.drv;
                        let checked = subject.demands.check(client, &self.paths, drv, &made, subject.nix)?;
                        if let Err(why) = checked {
                            // A failure is told after a build, with its log.
                            explanation.reason = Reason::Refused;
                            explanation.detail = Some(why);
                        } else if self.note(&trace, &made, &reuse.changed)
                            && self.registered(client, &subject, &made)?
                        {
                            explanation.reason = Reason::Holds;
                            listener.explained(explanation);
                            return Ok(passed(&subject, &made, Some(reuse)));
                        }
                    }
                }
                Decision::Prove { .. } | Decision::Build { .. } => {}
            }
            listener.explained(explanation);
        }
        listener.began();
        self.build(client, subject, doubted.as_ref(), listener)
    }

    /// False: the store does not want them.
    fn registered(
        &self,
        client: &mut Client,
        subject: &Subject,
        made: &[Made],
    ) -> Result<bool, ProtocolError> {
        let small = made.iter().all(|made| made.nar_size <= SMALL);
        let turn = small.then(|| self.registering.lock().unwrap_or_else(PoisonError::into_inner));
        let registered = register(client, subject, made);
        drop(turn);
        match registered {
            Ok(()) => Ok(true),
            Err(RegisterError::Store(error)) if !matches!(error, ProtocolError::Daemon { .. }) => Err(error),
            Err(error) => {
                tracing::debug!("{}: {error}", subject.drv);
                Ok(false)
            }
        }
    }

    fn note(&self, trace: &TraceId, made: &[Made], changed: &[String]) -> bool {
        let paths: Vec<(String, String)> =
            made.iter().map(|made| (made.name.clone(), made.path.base_name().to_owned())).collect();
        self.store.note_reuse(trace, &paths, changed, SystemTime::now()).unwrap_or(false)
    }

    fn build(
        &self,
        client: &mut Client,
        subject: Subject,
        doubted: Option<&Doubted>,
        listener: &mut dyn Listener,
    ) -> Result<Attempt, ProtocolError> {
        let broken = |message: String| Ok(Attempt::Ended(Verdict::broken(BuildFailureKind::Broken, message)));
        let user = match User::take() {
            Ok(user) => user,
            Err(error) => return broken(format!("there is no user for the builder: {error}")),
        };
        let folder = match tempfile::Builder::new().prefix("esker-build-").tempdir() {
            Ok(folder) => folder,
            Err(error) => return broken(format!("there is no folder for the build: {error}")),
        };
        let spec = run::spec(&subject, &self.machine, folder.path(), user.id);
        let began = Instant::now();
        let mut log = Log::new(listener);
        let ran = log.run(&self.plan.program, &spec);
        let said = log.said;
        if let Some(said) = &said {
            // Whoever asks `nix log` gets it; a daemon that does not take it is no reason to fail.
            match client.add_build_log(&subject.resolved.drv, said) {
                Err(error) if !matches!(error, ProtocolError::Daemon { .. }) => return Err(error),
                _ => {}
            }
        }
        let ran = match ran {
            Ok(ran) => ran,
            Err(why) => return broken(why),
        };
        let made = match self.believe(client, &subject, &ran)? {
            Ok(made) => made,
            Err(mut verdict) => {
                if self.machine.keep_failed {
                    let kept = folder.keep().join("build");
                    verdict.also(&format!("its folder was kept: {}", kept.display()));
                }
                return Ok(Attempt::Ended(*verdict));
            }
        };
        let produced = run::produced(&subject, &made, began.elapsed());
        if let Some(doubted) = doubted {
            self.settle_doubt(&subject, doubted, &produced, listener);
        }
        let recorded = self.record(&subject, &ran, &produced, listener);
        let passed = passed(&subject, &made, None);
        // Under placeholders a content-addressed output that names itself would be another.
        let provable = recorded.filter(|_| !names_itself(&made));
        if let Some(claim) = provable.and_then(|recorded| self.claim(&subject, &recorded)) {
            listener.unproven(Unproven { subject, claim, took: began.elapsed() });
        }
        Ok(passed)
    }

    /// Makes what was left behind valid, unless something is wrong with it.
    fn believe(
        &self,
        client: &mut Client,
        subject: &Subject,
        ran: &Ran,
    ) -> Result<Result<Vec<Made>, Box<Verdict>>, ProtocolError> {
        if let Some(verdict) = run::failure(ran, &self.machine) {
            return Ok(Err(Box::new(verdict)));
        }
        let rejected = |kind, message| Ok(Err(Box::new(failed(kind, message, None))));
        let made = match run::outputs(subject, ran) {
            Ok(made) => made,
            Err((kind, message)) => return rejected(kind, message),
        };
        if let Err(why) =
            subject.demands.check(client, &self.paths, &subject.resolved.drv, &made, subject.nix)?
        {
            return rejected(BuildFailureKind::Output, why);
        }
        match register(client, subject, &made) {
            Ok(()) => Ok(Ok(made)),
            Err(RegisterError::Store(error @ ProtocolError::Daemon { .. })) => {
                Ok(Err(Box::new(Verdict::broken(BuildFailureKind::Broken, error.to_string()))))
            }
            Err(RegisterError::Store(error)) => Err(error),
            Err(error) => rejected(BuildFailureKind::Output, error.to_string()),
        }
    }

    /// Compares what would have been reused with what was built.
    fn settle_doubt(
        &self,
        subject: &Subject,
        doubted: &Doubted,
        produced: &Produced,
        listener: &mut dyn Listener,
    ) {
        let bits = |outputs: &[ProducedOutput]| -> BTreeMap<String, String> {
            outputs.iter().map(|output| (output.name.clone(), output.nar_hash.clone())).collect()
        };
        let same = bits(&doubted.outputs) == bits(&produced.outputs);
        let (skeleton, trace, now) = (&subject.skeleton, &doubted.trace, SystemTime::now());
        let ledger = self.store.doubt_result(skeleton, trace, same, now);
        let name = subject.drv.name();
        if !same {
            let paths = ledger.as_ref().map_or(0, Vec::len);
            listener.notice(format!(
                "a reuse of trace {trace} for {name} would have been wrong; it is revoked with {paths} paths that \
                 came from it, and `esker trace repair` mends them"
            ));
        }
        if let Err(error) = ledger {
            listener.notice(format!("what came of checking trace {trace} cannot be written down: {error}"));
        }
    }

    fn record(
        &self,
        subject: &Subject,
        ran: &Ran,
        produced: &Produced,
        listener: &mut dyn Listener,
    ) -> Option<Recorded> {
        let (skeleton, now) = (subject.skeleton, SystemTime::now());
        let recorded = match ran.unrecordable.as_slice() {
            [] => self.store.record(skeleton, &subject.inputs, &ran.questions, produced, now).map(Some),
            why => self.store.note_unrecorded(&skeleton, &why.join("; "), now).map(|()| None),
        };
        tracing::debug!("{}: {:?} {recorded:?}", subject.drv, ran.unrecordable);
        match &recorded {
            Ok(Some(Recorded::Revoked { trace, repair })) => {
                let (name, paths) = (subject.drv.name(), repair.len());
                listener.notice(format!(
                    "earlier reuses of trace {trace} for {name} were wrong; it is revoked with {paths} paths that came \
                     from it, and `esker trace repair` mends them"
                ));
            }
            Err(error) if !self.told.swap(true, Ordering::Relaxed) => {
                listener.notice(format!("builds of this run are not remembered as traces: {error}"));
            }
            _ => {}
        }
        recorded.ok().flatten()
    }
}

/// A reuse that is checked by a build.
struct Doubted {
    trace: TraceId,
    outputs: Vec<ProducedOutput>,
}

/// A random number in 0..1.
fn roll() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness every reuse is doubted.
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.0,
    }
}

fn passed(subject: &Subject, made: &[Made], reuse: Option<Reuse>) -> Attempt {
    let outputs = made.iter().map(|made| (made.name.clone(), made.path.to_string())).collect();
    let verdict = Verdict::passed(outputs, reuse);
    match subject.resolved.is_for_nix_to_find() {
        true => Attempt::Realised(verdict),
        false => Attempt::Ended(verdict),
    }
}

/// Whether a content-addressed output refers to itself, or to another output.
fn names_itself(made: &[Made]) -> bool {
    let addressed = made.iter().filter(|made| made.content_address.is_some());
    let mut referred = addressed.flat_map(|made| &made.references);
    referred.any(|path| made.iter().any(|made| made.path == *path))
}

/// Makes the outputs valid, and Nix know whose they are.
fn register(client: &mut Client, subject: &Subject, made: &[Made]) -> Result<(), RegisterError> {
    subject.resolved.add(client)?;
    register::register(client, &subject.resolved.drv, made)?;
    Ok(subject.resolved.realise(client, made)?)
}
