//! Whether a run is needed: does an earlier result still hold, and on what proof?
//!
//! A trace holds if every question that its run asked has the same answer now. Then its result is
//! reused at once if all outputs are empty (*empty*) and no input is new, or if builds have shown that the hashes that
//! changed do not matter (*R0*). Otherwise the build is made as ever, and its result is the proof or
//! the refutation: give it to [`Store::record`].
//!
//! Invariant: whatever is unsure, unreadable or damaged leads to a build.

mod nearest;
mod observed;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use crate::answer::{AnswerError, Answers};
use crate::inputs::Inputs;
use crate::observation::{Answer, Digest, Kind};
use crate::store::project::{Head, NoProjection, Projection};
use crate::store::{Found, Produced, ProducedOutput, Reference, Store, StoreError, Trace, TraceId};

pub use observed::{InputUse, use_of_inputs};

/// What to do with a run.
#[derive(Debug)]
pub enum Decision {
    /// Not run it. Call [`Store::note_reuse`] before the outputs are registered.
    Reuse {
        /// Which trace holds.
        trace: TraceId,
        /// On what proof.
        class: Class,
        /// The outputs as the trace's newest build made them.
        outputs: Vec<ProducedOutput>,
        /// How long that build took.
        seconds: f64,
        /// The slots whose hashes are not those of that build.
        changed: Vec<String>,
        /// Also build it, compare, and call [`Store::doubt_result`].
        doubted: bool,
    },
    /// Build it; every observation holds, so this build is a proof or a refutation.
    Prove {
        /// Which trace holds.
        trace: TraceId,
        /// Changed slots of which nobody knows yet whether their hashes matter.
        unproven: Vec<String>,
    },
    /// Build it.
    Build {
        /// For a person.
        why: Why,
    },
}

/// On what proof a result is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every output is empty: nothing can hide in it.
    Empty,
    /// Builds under other hashes gave the same bits, or no hash changed.
    R0,
}

/// Why a run is needed.
#[derive(Debug)]
pub enum Why {
    /// No run of this skeleton is known.
    Never,
    /// The last run of this skeleton could not be recorded, for this reason.
    Unrecorded(String),
    /// An observation has another answer.
    Differs(Difference),
    /// A result of this skeleton was once found to be false.
    Revoked,
    /// All observations hold, but the result is known to depend on hashes that changed.
    Depends {
        /// The trace.
        trace: TraceId,
        /// The slots. Empty: on the hashes of its own outputs.
        slots: Vec<String>,
    },
    /// All observations hold, but equal inputs gave other bits: the builder is not deterministic.
    Unstable {
        /// The trace.
        trace: TraceId,
    },
    /// There was a run, but what is known of it was pruned or damaged.
    Collected,
    /// An input cannot be looked at.
    Unanswered {
        /// The slot.
        key: String,
        /// Why.
        error: AnswerError,
    },
    /// The trace store cannot be used.
    NoStore(StoreError),
}

/// What is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The trace with the fewest differences, of those that were looked at.
    pub nearest: TraceId,
    /// The slot of the first differing question, by key.
    pub key: String,
    /// Its path below the input. `None`: the answers of then are no longer known.
    pub question: Option<DifferingQuestion>,
    /// How many questions have another answer. At least one.
    pub differing: usize,
    /// Of how many.
    pub of: usize,
}

/// The first differing question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferingQuestion {
    /// Below the input.
    pub path: Vec<u8>,
    /// What was asked.
    pub kind: Kind,
    /// The trace's answer.
    pub before: Answer,
    /// The answer now.
    pub after: Answer,
}

/// Whether to build reused results after all.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    /// Of all reuses, from 0 to 1.
    pub share: f64,
    /// A random number, uniform in 0..1; a fresh one for each decision.
    pub roll: f64,
}

impl Doubt {
    /// No doubt.
    pub const NONE: Self = Self { share: 0.0, roll: 1.0 };
}

/// Decides about one run: this skeleton with these inputs.
pub fn decide(store: &Store, skeleton: &Digest, inputs: &Inputs, doubt: Doubt) -> Decision {
    match weigh(store, skeleton, inputs, doubt) {
        Ok(decision) => decision,
        Err(error) => Decision::Build { why: Why::NoStore(error) },
    }
}

fn weigh(store: &Store, skeleton: &Digest, inputs: &Inputs, doubt: Doubt) -> Result<Decision, StoreError> {
    let build = |why| Ok(Decision::Build { why });
    let shapes = match store.find(skeleton, inputs)? {
        Found::Nothing => return build(store.unrecorded(skeleton)?.map_or(Why::Never, Why::Unrecorded)),
        Found::Revoked => return build(Why::Revoked),
        Found::Folded(key) => return build(nearest::folded(store, skeleton, key)?),
        Found::Shapes(shapes) => shapes,
    };
    let answers = Answers::new(inputs, Some(store));
    let mut prove = None;
    let mut held = None;
    let mut tried = Vec::new();
    for head in shapes {
        let projection = store.project(&head, inputs, &answers);
        if let Ok(projection) = &projection
            && let Some(trace) = store.trace_of(skeleton, &head, &projection.digest)?
        {
            match judge(store, &trace, inputs)? {
                Verdict::Reuse { class, changed } => {
                    let Produced { outputs, seconds, .. } = trace.produced;
                    let doubted = doubt.roll < doubt.share;
                    return Ok(Decision::Reuse {
                        trace: trace.id,
                        class,
                        outputs,
                        seconds,
                        changed,
                        doubted,
                    });
                }
                Verdict::Prove(decision) => prove = prove.or(Some(decision)),
                Verdict::Build(why) => held = held.or(Some(why)),
            }
        }
        tried.push((head, projection));
    }
    if let Some(unproven) = prove {
        return Ok(unproven);
    }
    if let Some(why) = held {
        return build(why);
    }
    build(nearest::why(store, skeleton, tried, inputs, &answers)?)
}

type Tried = Vec<(std::sync::Arc<Head>, Result<Projection, NoProjection>)>;

enum Verdict {
    Reuse { class: Class, changed: Vec<String> },
    Prove(Decision),
    Build(Why),
}

/// A trace whose observations hold.
fn judge(store: &Store, trace: &Trace, inputs: &Inputs) -> Result<Verdict, StoreError> {
    if trace.unstable {
        return Ok(Verdict::Build(Why::Unstable { trace: trace.id }));
    }
    let Some((changed, evidence)) = store.changed_since(trace, inputs)? else {
        return Ok(Verdict::Build(Why::Collected));
    };
    let depends = |slots| Ok(Verdict::Build(Why::Depends { trace: trace.id, slots }));
    let refuted: Vec<String> =
        changed.iter().filter(|key| evidence.refuted.contains(*key)).cloned().collect();
    if !refuted.is_empty() {
        return depends(refuted);
    }
    let prove = |unproven| Ok(Verdict::Prove(Decision::Prove { trace: trace.id, unproven }));
    if trace.produced.is_empty() {
        // A path that was no input then may have been asked for, and found absent: nobody saw that.
        let before = store.closure_of(trace)?;
        let is_known = |key: &String| before.as_ref().is_some_and(|before| before.hash_of(key).is_some());
        let added: Vec<String> =
            changed.iter().filter(|key| !is_known(key) && !evidence.proven.contains(*key)).cloned().collect();
        return match added.is_empty() {
            true => Ok(Verdict::Reuse { class: Class::Empty, changed }),
            false => prove(added),
        };
    }
    let referred = || trace.produced.outputs.iter().flat_map(|output| &output.references);
    // Its own hash is another one as soon as any input changes.
    if referred().any(|reference| matches!(reference, Reference::Output(_))) {
        return depends(Vec::new());
    }
    let is_referred =
        |key: &&String| referred().any(|it| matches!(it, Reference::Slot(slot) if slot == *key));
    let kept: Vec<String> = changed.iter().filter(is_referred).cloned().collect();
    if !kept.is_empty() {
        return depends(kept);
    }
    let unproven: Vec<String> =
        changed.iter().filter(|key| !evidence.proven.contains(*key)).cloned().collect();
    match unproven.is_empty() {
        true => Ok(Verdict::Reuse { class: Class::R0, changed }),
        false => prove(unproven),
    }
}
