//! Proofs that are made on purpose: a builder was run again at once, with placeholders for hashes.
//!
//! A natural proof waits for a build with other inputs. This one is a build as that would be: each answer
//! it gets is that of the trace, under other hashes ([`crate::observe::rename`]).
//!
//! Invariant: a proof speaks of the trace and the bits that it was made for, and of nothing else.
//! Invariant: nothing clears a slot that a proof refuted, and no proof one that was refuted before: builds
//! that agree may do so by chance, builds that do not agree are a fact.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rusqlite::Connection;

use super::admit::{MOST_QUESTIONS, with_parents};
use super::evidence::{Evidence, Verdict, forget_proofs, load_evidence, save_evidence};
use super::ledger::Against;
use super::rows::load_head;
use super::shape::Shape;
use super::trace::{Produced, Reference, Trace, TraceId};
use super::{Entry, Store, StoreError, counters, ledger, seconds};
use crate::inputs::Inputs;
use crate::observation::Question;

/// What is to be shown of a trace: that its bits do not depend on these hashes.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Of which trace.
    pub trace: TraceId,
    /// Those whose hashes are to be others; all but what the outputs refer to.
    pub slots: BTreeSet<String>,
    /// The bits.
    produced: Produced,
}

/// What a run under placeholders has shown.
#[derive(Debug)]
pub enum Proof {
    /// The same bits: these slots' hashes are now known not to matter.
    Proven(Vec<String>),
    /// Other bits: some hash matters, of these slots or of the outputs.
    Refuted {
        /// Nothing is reused while one of these changes.
        slots: Vec<String>,
        /// What was registered by reuse, if some of it may be false.
        repair: Vec<Entry>,
    },
    /// Nothing; why.
    Nothing(&'static str),
}

impl Store {
    /// What a run under placeholders could prove of a trace that was just recorded with these inputs.
    ///
    /// `None`: it needs no proof or cannot have one, as its outputs are empty, or hold their own hashes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn claim(&self, trace: &TraceId, inputs: &Inputs) -> Result<Option<Claim>, StoreError> {
        self.with(|db| {
            let Some(trace) = Trace::load(db, trace)?.filter(|trace| !trace.unstable) else {
                return Ok(None);
            };
            let produced = trace.produced.clone();
            let referred: Vec<&Reference> =
                produced.outputs.iter().flat_map(|output| &output.references).collect();
            let holds_itself = referred.iter().any(|reference| matches!(reference, Reference::Output(_)));
            if holds_itself || produced.is_empty() || produced.outputs.is_empty() {
                return Ok(None);
            }
            let is_referred =
                |key: &String| referred.iter().any(|it| matches!(it, Reference::Slot(slot) if slot == key));
            let keys = inputs.as_slice().iter().map(|input| input.key.clone());
            let slots: BTreeSet<String> = keys.filter(|key| !is_referred(key)).collect();
            let open = open_slots(&slots, &load_evidence(db, &trace)?).next().is_some();
            Ok(open.then(|| Claim { trace: trace.id, slots, produced: produced.clone() }))
        })
    }

    /// Records what a run under placeholders asked (`inputs` as they really are) and produced.
    ///
    /// It has no effect unless the trace still has the bits of the claim.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn record_proof(
        &self,
        claim: &Claim,
        inputs: &Inputs,
        questions: &[Question],
        produced: &Produced,
        now: SystemTime,
    ) -> Result<Proof, StoreError> {
        if questions.len() > MOST_QUESTIONS {
            return Ok(Proof::Nothing("it asked too much"));
        }
        let shape = Shape::of(&with_parents(questions), inputs).map(|shape| Shape::digest(&shape.to_bytes()));
        self.write(|db| {
            let Some(trace) = Trace::load(db, &claim.trace)? else {
                return Ok(Proof::Nothing("the trace is gone"));
            };
            if trace.unstable || !trace.produced.same_bits(&claim.produced) {
                return Ok(Proof::Nothing("the trace has other bits by now"));
            }
            if shape.is_none() || load_head(db, trace.shape)?.map(|head| head.digest) != shape {
                return Ok(Proof::Nothing("it asked something else"));
            }
            match trace.produced.same_bits(produced) {
                true => agree(db, claim, &trace),
                false => disagree(db, claim, &trace, seconds(now)),
            }
        })
    }

    /// Counts a proof, of which that came.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn count_proof(&self, proof: &Proof) -> Result<(), StoreError> {
        self.write(|db| {
            counters::count(db, "proofs", 1)?;
            match proof {
                Proof::Proven(_) => counters::count(db, "proofs_held", 1),
                Proof::Refuted { .. } => counters::count(db, "proofs_refuted", 1),
                Proof::Nothing(_) => Ok(()),
            }
        })
    }
}

/// Those of which nobody knows whether they matter.
fn open_slots<'a>(slots: &'a BTreeSet<String>, evidence: &'a Evidence) -> impl Iterator<Item = &'a String> {
    slots.iter().filter(|key| !evidence.proven.contains(*key) && !evidence.refuted.contains(*key))
}

fn agree(db: &Connection, claim: &Claim, trace: &Trace) -> Result<Proof, rusqlite::Error> {
    let evidence = load_evidence(db, trace)?;
    let proven: Vec<String> = open_slots(&claim.slots, &evidence).cloned().collect();
    for key in &proven {
        save_evidence(db, trace, key, Verdict::SameBits)?;
    }
    Ok(Proof::Proven(proven))
}

fn disagree(db: &Connection, claim: &Claim, trace: &Trace, now: i64) -> Result<Proof, rusqlite::Error> {
    let evidence = load_evidence(db, trace)?;
    let mut slots: Vec<String> =
        claim.slots.iter().filter(|key| !evidence.proven.contains(*key)).cloned().collect();
    // What was proven meanwhile, and perhaps reused, may be contradicted: see `record.rs`.
    let against = if slots.is_empty() { Against::All } else { Against::Slots(slots.clone()) };
    if slots.is_empty() {
        slots.extend(claim.slots.iter().cloned());
    }
    if ledger::is_shaken(db, &trace.skeleton, &against)? {
        let reason = "a build under other names gave other bits";
        let repair = ledger::revoke(db, &trace.skeleton, &trace.id, reason, now)?;
        counters::count(db, "contradicted", 1)?;
        return Ok(Proof::Refuted { slots, repair });
    }
    forget_proofs(db, trace)?;
    for key in &slots {
        save_evidence(db, trace, key, Verdict::Disproved)?;
    }
    Ok(Proof::Refuted { slots, repair: Vec::new() })
}
