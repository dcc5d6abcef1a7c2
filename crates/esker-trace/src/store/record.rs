//! Recording what a real build observed and produced.
//!
//! A build that asked the same and got the same answers as one before belongs to the same trace; and it
//! speaks for or against each other trace that holds for its inputs, whatever it asked itself. If other
//! hashes led to the same bits, that is evidence that those hashes do not matter; if they led to
//! other bits, that they do.
//!
//! Invariant: only pairs of real builds are evidence, and only for the observations that they share.
//! Invariant: evidence is for the bits it was found with; it goes when a build gives other bits.
//!
//! # When a build speaks against what was reused
//!
//! A reuse asserts that a build would have given the bits of an earlier one, since both observe the
//! same, and the slots K in which their hashes differ do not matter: as pairs of builds have shown, or as
//! nothing can hide in empty outputs. Now a build observes the same as an earlier one of this skeleton,
//! and has other bits. Let U be the slots in which these two differ and of which nobody has shown that they
//! do not matter.
//!
//! - U is empty: hashes that were shown not to matter do, or the builder is not deterministic. No proof
//!   of this builder is good: all that was reused of the skeleton may be false.
//! - The outputs of one of the two are empty: so what is empty can depend on more than what is observed.
//!   That is the ground of all empty results, whatever their K: as before.
//! - Else "only the slots of U matter" explains the new bits together with every earlier build. A
//!   reuse whose K shares a slot with U contradicts it and may be false. One whose K does not is right
//!   under it: its hashes are those of the earlier build wherever it matters. What was proven of K
//!   was proven by builds, and the new one says nothing of K.
//!
//! K of each reuse is in the ledger, since the proofs may be gone by the time U is known. A reuse of
//! which K is not known counts as going by any slot. If one reuse may be false, the whole skeleton is
//! revoked, not that reuse alone: the builder was trusted wrongly.
//!
//! So the most common of these builds revokes nothing: a dependency changes, whose path is in the outputs,
//! after results were reused across changes of a source.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension};

use super::admit::{self, Asked, Refused};
use super::evidence::{Verdict, forget_proofs, load_evidence, save_evidence};
use super::kept::save_answers;
use super::ledger::Against;
use super::memory::Unsaved;
use super::project::{self, Head, MemoKey, load_memo, save_memo};
use super::rows::{save_shape, shape_id};
use super::shape::Shape;
use super::trace::{Produced, Trace, TraceId};
use super::{
    Closure, Entry, Store, StoreError, closure, contents, counters, fold, ledger, seconds, unrecorded,
};
use crate::answer::raw::Slots;
use crate::inputs::Inputs;
use crate::observation::{Digest, Question};

/// What a record meant.
#[derive(Debug)]
pub enum Recorded {
    /// Nothing like it was known.
    New {
        /// Its trace.
        trace: TraceId,
    },
    /// The same bits as an earlier build with the same observations.
    Same {
        /// Its trace.
        trace: TraceId,
        /// Slots whose hashes are now known not to matter. Empty: all hashes were the same.
        proven: Vec<String>,
    },
    /// Other bits than an earlier build with the same observations.
    Differs {
        /// Its trace, of which nothing is reused while these slots change.
        trace: TraceId,
        /// The slots whose hashes may matter. Empty: nothing changed, or nothing that was not proven, and the
        /// builder is not deterministic.
        slots: Vec<String>,
    },
    /// As `Differs`, but results of this skeleton that were reused before may be false: it is revoked.
    Revoked {
        /// The trace that was found false.
        trace: TraceId,
        /// What was registered by reuse, and is to be repaired, or deleted with its referrers.
        repair: Vec<Entry>,
    },
    /// It may not become a trace.
    Refused(Refused),
}

impl Store {
    /// Records a real build: of this skeleton, with these inputs, which asked these questions.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn record(
        &self,
        skeleton: Digest,
        inputs: &Inputs,
        questions: &[Question],
        produced: &Produced,
        now: SystemTime,
    ) -> Result<Recorded, StoreError> {
        let refuse = |refused: Refused| {
            self.note_unrecorded(&skeleton, &refused.to_string(), now)?;
            Ok(Recorded::Refused(refused))
        };
        if questions.len() > admit::MOST_QUESTIONS {
            return refuse(Refused::TooMany { count: questions.len() });
        }
        let Some(shape) = Shape::of(&admit::with_parents(questions), inputs) else {
            return refuse(Refused::UnknownSlot);
        };
        let asked = match admit::ask_all(self, &shape, inputs, produced) {
            Ok(asked) => asked,
            Err(refused) => return refuse(refused),
        };
        let held = self.held_traces(&skeleton, inputs)?;
        let unsaved = self.take_unsaved();
        let now = seconds(now);
        self.write(|db| {
            save_unsaved(db, &unsaved, now)?;
            if ledger::is_revoked(db, &skeleton)? {
                return Ok(Recorded::Refused(Refused::Revoked));
            }
            let record =
                Record { db, skeleton, inputs, shape: &shape, asked: &asked, held: &held, produced, now };
            counters::count(db, "recorded", 1)?;
            unrecorded::forget(db, &skeleton)?;
            record.store()
        })
    }
}

struct Record<'a> {
    db: &'a Connection,
    skeleton: Digest,
    inputs: &'a Inputs,
    shape: &'a Shape,
    asked: &'a [Asked],
    /// Traces with other questions that hold for these inputs.
    held: &'a [TraceId],
    produced: &'a Produced,
    now: i64,
}

impl Record<'_> {
    fn store(&self) -> Result<Recorded, rusqlite::Error> {
        let (db, now) = (self.db, self.now);
        let head = save_shape(db, self.shape)?;
        let latest = Trace::latest(db, &self.skeleton, head.id, 1)?.pop();
        let near = match &latest {
            Some(latest) => closure::load(db, latest.closure)?,
            None => None,
        };
        self.save_asked(&head, near.as_ref())?;

        let answers: Vec<_> = self.asked.iter().map(|asked| Arc::clone(&asked.answers)).collect();
        let answers = project::digest(&head.keys, &answers, &Slots::new(self.inputs));
        let id = TraceId::of(&self.skeleton, &head.digest, &answers);
        let closure = Closure::of(self.inputs);
        let closure_id = closure::store(db, &closure, latest.map(|latest| latest.closure))?;
        let mut against = Vec::new();
        let recorded = match known(db, &id)? {
            Some((trace, before)) => self.compare(trace, &before, closure_id, &mut against)?,
            None => {
                let mut trace = Trace {
                    number: 0,
                    id,
                    skeleton: self.skeleton,
                    shape: head.id,
                    closure: closure_id,
                    produced: self.produced.clone(),
                    recorded: now,
                    unstable: false,
                    used: now,
                    reuses: 0,
                };
                trace.save(db)?;
                Recorded::New { trace: id }
            }
        };
        fold::enter(db, &self.skeleton, head.id, &closure)?;
        let mut all = vec![recorded];
        for other in self.held.iter().filter(|other| **other != id) {
            if let Some((trace, before)) = known(db, other)? {
                let recorded = self.compare(trace, &before, closure_id, &mut against)?;
                if let Recorded::Differs { slots, .. } = &recorded {
                    self.doubt_own(&id, slots)?;
                }
                all.push(recorded);
            }
        }
        self.conclude(all, &against)
    }

    /// Of two traces that hold for the same inputs and have other bits, neither is to be believed.
    fn doubt_own(&self, id: &TraceId, slots: &[String]) -> Result<(), rusqlite::Error> {
        let Some(mut own) = Trace::load(self.db, id)? else { return Ok(()) };
        for slot in slots {
            save_evidence(self.db, &own, slot, Verdict::OtherBits)?;
        }
        own.unstable |= slots.is_empty();
        own.save(self.db)
    }

    /// If a result that was reused may be false, that is as bad as a failed doubt. See above.
    fn conclude(
        &self,
        all: Vec<Recorded>,
        against: &[(TraceId, Against)],
    ) -> Result<Recorded, rusqlite::Error> {
        for (trace, against) in against {
            if ledger::is_shaken(self.db, &self.skeleton, against)? {
                let reason = "a build with the same observations gave other bits";
                let repair = ledger::revoke(self.db, &self.skeleton, trace, reason, self.now)?;
                counters::count(self.db, "contradicted", 1)?;
                return Ok(Recorded::Revoked { trace: *trace, repair });
            }
        }
        // What concerns an earlier trace tells more than that there is a new one.
        let of_earlier = |recorded: &Recorded| !matches!(recorded, Recorded::New { .. });
        let (mut earlier, mut new): (Vec<_>, Vec<_>) = all.into_iter().partition(of_earlier);
        Ok(earlier.drain(..).next().or(new.pop()).unwrap_or(Recorded::Refused(Refused::UnknownSlot)))
    }

    /// Keeps the answers; `near` are the hashes of a build whose answers are probably much alike.
    fn save_asked(&self, head: &Head, near: Option<&Closure>) -> Result<(), rusqlite::Error> {
        for (slot, asked) in self.asked.iter().enumerate() {
            let near = near.and_then(|closure| closure.hash_of(head.keys.get(slot)?));
            let near = near.map(|hash| MemoKey { shape: head.digest, slot, hash: hash.to_owned() });
            let near = near.map(|key| load_memo(self.db, &key, head.id)).transpose()?.flatten();
            let near = near.map(|near| near.digest);
            save_answers(self.db, &asked.answers.digest, &asked.bytes, near.as_ref(), self.now)?;
            let key = MemoKey { shape: head.digest, slot, hash: asked.hash.clone() };
            save_memo(self.db, &key, head.id, &asked.answers, self.now)?;
        }
        Ok(())
    }

    /// A pair of real builds with the same observations. What the new one speaks against goes to `against`.
    fn compare(
        &self,
        mut trace: Trace,
        before: &Closure,
        after: i64,
        against: &mut Vec<(TraceId, Against)>,
    ) -> Result<Recorded, rusqlite::Error> {
        let differing = before.differing(self.inputs);
        let same = trace.produced.same_bits(self.produced);
        let evidence = load_evidence(self.db, &trace)?;
        let mut unproven: Vec<String> =
            differing.iter().filter(|key| !evidence.proven.contains(*key)).cloned().collect();
        if same {
            // A slot that was refuted together with others may be cleared, but only alone.
            let is_cleared = |key: &String| differing.len() == 1 && !evidence.disproved.contains(key);
            unproven.retain(|key| !evidence.refuted.contains(key) || is_cleared(key));
            for key in &unproven {
                save_evidence(self.db, &trace, key, Verdict::SameBits)?;
            }
        } else {
            let is_of_all = unproven.is_empty() || trace.produced.is_empty() || self.produced.is_empty();
            let shaken = if is_of_all { Against::All } else { Against::Slots(unproven.clone()) };
            against.push((trace.id, shaken));
            forget_proofs(self.db, &trace)?;
            for key in unproven.iter().filter(|key| !evidence.disproved.contains(*key)) {
                save_evidence(self.db, &trace, key, Verdict::OtherBits)?;
            }
            trace.unstable |= unproven.is_empty();
        }
        trace.closure = after;
        trace.produced = self.produced.clone();
        (trace.recorded, trace.used) = (self.now, self.now);
        trace.save(self.db)?;
        Ok(match same {
            true => Recorded::Same { trace: trace.id, proven: unproven },
            false => Recorded::Differs { trace: trace.id, slots: unproven },
        })
    }
}

/// The trace with this id and the hashes of its newest build. One that cannot be believed is removed.
fn known(db: &Connection, id: &TraceId) -> Result<Option<(Trace, Closure)>, rusqlite::Error> {
    if let Some(trace) = Trace::load(db, id)?
        && let Some(before) = closure::load(db, trace.closure)?
    {
        return Ok(Some((trace, before)));
    }
    let number = db
        .prepare_cached("SELECT number FROM traces WHERE id = ?1")?
        .query_row([&id.0.0[..]], |row| row.get(0))
        .optional()?;
    number.map(|number| Trace::delete(db, number)).transpose()?;
    Ok(None)
}

/// Writes what earlier decisions found out.
pub(super) fn save_unsaved(db: &Connection, unsaved: &Unsaved, now: i64) -> Result<(), rusqlite::Error> {
    for content in &unsaved.contents {
        contents::save(db, content, now)?;
    }
    for (key, answers) in &unsaved.answers {
        if let Some(id) = shape_id(db, &key.shape)? {
            save_memo(db, key, id, answers, now)?;
        }
    }
    Ok(())
}
