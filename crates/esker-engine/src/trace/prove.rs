//! Proofs that are made at once: a builder runs again with placeholders for the hashes of its inputs and
//! outputs, and only the store of traces learns of it.
//!
//! Invariant: no verdict, no path of Nix's store and no log comes from such a run.

use std::time::{Duration, Instant, SystemTime};

use esker_nix::StorePath;
use esker_trace::exec::End;
use esker_trace::store::{Claim, Proof, Recorded};

use super::subject::Subject;
use super::tracer::Tracer;
use super::user::User;
use super::{process, run};
use crate::build::connection::Process;
use crate::event::ProofOutcome;
use crate::plan::Proving;

/// A build, with what is left to be shown of its result.
pub(crate) struct Unproven {
    pub(super) subject: Subject,
    pub(super) claim: Claim,
    /// How long it was built.
    pub(super) took: Duration,
}

/// What a proof has shown.
pub(crate) struct Proved {
    pub(crate) outcome: ProofOutcome,
    /// What a person should know: that earlier reuses were wrong.
    pub(crate) notice: Option<String>,
}

impl Proved {
    pub(crate) const DROPPED: Self = Self { outcome: ProofOutcome::Dropped, notice: None };
}

/// A builder may need longer under other names, e.g. because others run beside it; but it may not hang.
fn longest(took: Duration) -> Duration {
    took * 3 + Duration::from_secs(60)
}

impl Tracer {
    /// What could be proven at once of a build that was just recorded.
    pub(super) fn claim(&self, subject: &Subject, recorded: &Recorded) -> Option<Claim> {
        match recorded {
            Recorded::New { trace } | Recorded::Same { trace, .. } if self.plan.proving == Proving::Eager => {
                self.store.claim(trace, &subject.inputs).ok().flatten()
            }
            _ => None,
        }
    }

    /// Runs a builder again under placeholders. `started` gets a handle to stop it, and `is_dropped` tells
    /// whether that was done.
    pub(crate) fn prove(
        &self,
        unproven: &Unproven,
        started: impl FnOnce(Process),
        is_dropped: impl Fn() -> bool,
    ) -> Proved {
        let (drv, trace) = (&unproven.subject.drv, unproven.claim.trace);
        let proof = match self.run_again(unproven, started) {
            Ok(proof) => proof,
            Err(_) if is_dropped() => return Proved::DROPPED,
            Err(why) => {
                tracing::debug!("{drv}: no proof: {why}");
                Proof::Nothing("it came to no end")
            }
        };
        tracing::debug!("{drv}: {proof:?}");
        if let Err(error) = self.store.count_proof(&proof) {
            tracing::debug!("{drv}: a proof is not counted: {error}");
        }
        let mut notice = None;
        let outcome = match proof {
            Proof::Proven(_) => ProofOutcome::Proven,
            Proof::Nothing(_) => ProofOutcome::Nothing,
            Proof::Refuted { repair, .. } => {
                let (name, paths) = (drv.name(), repair.len());
                notice = (paths > 0).then(|| {
                    format!(
                        "earlier reuses of trace {trace} for {name} may be wrong; it is revoked with {paths} paths that \
                         came from it, and `esker trace repair` mends them"
                    )
                });
                ProofOutcome::Refuted
            }
        };
        Proved { outcome, notice }
    }

    /// `Err`: why nothing is shown, in words.
    fn run_again(&self, unproven: &Unproven, started: impl FnOnce(Process)) -> Result<Proof, String> {
        let Unproven { subject, claim, took } = unproven;
        let user = User::take().map_err(|error| error.to_string())?;
        let folder = tempfile::Builder::new().prefix("esker-build-").tempdir();
        let folder = folder.map_err(|error| error.to_string())?;
        let spec = run::spec(subject, &self.machine, folder.path(), user.id);
        let mut spec = spec.with_placeholders(&claim.slots).map_err(|error| error.to_string())?;
        let longest = u64::try_from(longest(*took).as_millis()).unwrap_or(u64::MAX);
        spec.limits.wall = Some(spec.limits.wall.map_or(longest, |wall| wall.min(longest)));
        let began = Instant::now();
        let mut ran = process::run(&self.plan.program, &spec, started, drop)?;
        if ran.end != End::Exited(0) || !ran.unrecordable.is_empty() {
            return Err(format!("{:?} {:?}", ran.end, ran.unrecordable));
        }
        // What it left is compared under the names of what was built.
        let paths: Vec<StorePath> = subject.output_paths().map(|(_, path)| path.clone()).collect();
        for (output, path) in ran.outputs.iter_mut().zip(&paths) {
            path.base_name().clone_into(&mut output.base_name);
        }
        let made = run::outputs(subject, &ran).map_err(|(_, message)| message)?;
        let produced = run::produced(subject, &made, began.elapsed());
        let proof =
            self.store.record_proof(claim, &subject.inputs, &ran.questions, &produced, SystemTime::now());
        proof.map_err(|error| error.to_string())
    }
}
