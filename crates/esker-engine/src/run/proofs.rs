//! Proofs on idle capacity: which wait, and which are under way.
//!
//! Invariant: a build that could run never waits for a proof, and no verdict does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Run;
use crate::build::schedule::{Lane, NodeId};
use crate::event::{Event, ProofOutcome};
use crate::trace::{Proved, Unproven};

/// The proofs of a run.
#[derive(Default)]
pub(super) struct Proofs {
    waiting: VecDeque<(NodeId, Arc<Unproven>)>,
    /// By slot.
    running: BTreeMap<usize, Proof>,
}

struct Proof {
    node: NodeId,
    unproven: Arc<Unproven>,
    since: Instant,
    /// It was told to make room.
    dropped: bool,
}

impl Proofs {
    pub(super) fn add(&mut self, node: NodeId, unproven: Box<Unproven>) {
        self.waiting.push_back((node, Arc::from(unproven)));
    }

    /// Nothing more is to be proven.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn are_done(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// The slot of a proof that shall make room; `None` while another one does.
    fn drop_one(&mut self) -> Option<usize> {
        if self.running.values().any(|proof| proof.dropped) {
            return None;
        }
        let (slot, youngest) = self.running.iter_mut().max_by_key(|(_, proof)| proof.since)?;
        youngest.dropped = true;
        Some(*slot)
    }
}

impl Run<'_> {
    /// To be called when all builds that have room are started.
    pub(super) fn start_proofs(&mut self) {
        if self.schedule.is_ready(Lane::Build) {
            if let Some(slot) = self.proofs.drop_one() {
                self.executor.drop_proof(slot);
            }
            return;
        }
        while self.executor.has_room(Lane::Build) {
            let Some((node, unproven)) = self.proofs.waiting.pop_front() else { break };
            let Ok(slot) = self.executor.start_proof(Arc::clone(&unproven)) else { continue };
            let proof = Proof { node, unproven, since: Instant::now(), dropped: false };
            self.proofs.running.insert(slot, proof);
            let (drv, name) = self.drv_and_name(node);
            self.tell(&Event::Proving { drv, name });
        }
    }

    pub(super) fn proved(&mut self, slot: usize, proved: Proved) {
        self.executor.ended(slot);
        let Some(proof) = self.proofs.running.remove(&slot) else { return };
        if let Some(text) = proved.notice {
            self.tell(&Event::Notice { text });
        }
        let outcome = proved.outcome;
        let seconds = proof.since.elapsed().as_secs_f64();
        let (drv, name) = self.drv_and_name(proof.node);
        self.tell(&Event::Proved { drv, name, outcome, seconds });
        match outcome {
            ProofOutcome::Proven => self.summary.proved += 1,
            ProofOutcome::Dropped if self.stopping.is_none() => {
                self.proofs.waiting.push_back((proof.node, proof.unproven));
            }
            _ => {}
        }
    }

    fn drv_and_name(&self, node: NodeId) -> (String, String) {
        let spec = &self.schedule.node(node).spec;
        (spec.drv.to_string(), spec.name.clone())
    }
}
