//! The probes of a decision.

use std::sync::Arc;

use super::evidence::{Evidence, load_evidence};
use super::kept::load_answers;
use super::project::Head;
use super::rows::{Node, folded_key, load_head};
use super::trace::{Trace, TraceId};
use super::{Closure, Store, StoreError, closure, ledger};
use crate::answer::Answers;
use crate::inputs::{Input, Inputs};
use crate::observation::Digest;

/// What is known of a skeleton.
pub(crate) enum Found {
    Nothing,
    Revoked,
    /// Most recently used first; those that are lost are left out.
    Shapes(Vec<Arc<Head>>),
    /// The skeleton's shapes depend on the hash of this slot, which has a new one.
    Folded(String),
}

impl Store {
    /// The shapes that a trace of this skeleton with these inputs may have.
    pub(crate) fn find(&self, skeleton: &Digest, inputs: &Inputs) -> Result<Found, StoreError> {
        self.follow_replacement()?;
        let node = self.with(|db| {
            if ledger::is_revoked(db, skeleton)? {
                return Ok(Err(Found::Revoked));
            }
            let mut key = *skeleton;
            let Some(mut node) = Node::load(db, &key)? else { return Ok(Err(Found::Nothing)) };
            while let Some(slot) = node.folded.take() {
                key = folded_key(&key, &slot, inputs.by_key(&slot).map(Input::hash_part));
                let Some(part) = Node::load(db, &key)? else { return Ok(Err(Found::Folded(slot))) };
                node = part;
            }
            Ok(Ok(node))
        })?;
        let node = match node {
            Ok(found) => found,
            Err(other) => return Ok(other),
        };
        let mut shapes = Vec::with_capacity(node.shapes.len());
        for id in node.shapes {
            let known = self.memory().heads.get(&id).cloned();
            let head = match known {
                Some(head) => Some(head),
                None => self.with(|db| load_head(db, id))?.map(Arc::new),
            };
            if let Some(head) = head {
                self.memory().keep_head(&head);
                shapes.push(head);
            }
        }
        Ok(Found::Shapes(shapes))
    }

    /// All traces of this skeleton that hold for these inputs.
    pub(crate) fn held_traces(&self, skeleton: &Digest, inputs: &Inputs) -> Result<Vec<TraceId>, StoreError> {
        let Found::Shapes(shapes) = self.find(skeleton, inputs)? else { return Ok(Vec::new()) };
        let answers = Answers::new(inputs, Some(self));
        let mut held = Vec::new();
        for head in shapes {
            if let Ok(projection) = self.project(&head, inputs, &answers)
                && let Some(trace) = self.trace_of(skeleton, &head, &projection.digest)?
            {
                held.push(trace.id);
            }
        }
        Ok(held)
    }

    /// The trace that was given these answers, if there is one.
    pub(crate) fn trace_of(
        &self,
        skeleton: &Digest,
        head: &Head,
        answers: &Digest,
    ) -> Result<Option<Trace>, StoreError> {
        let id = TraceId::of(skeleton, &head.digest, answers);
        self.with(|db| Trace::load(db, &id))
    }

    /// The slots with other hashes than in a trace's newest build, and what is known of its slots. `None` if
    /// that build's hashes were lost.
    pub(crate) fn changed_since(
        &self,
        trace: &Trace,
        inputs: &Inputs,
    ) -> Result<Option<(Vec<String>, Evidence)>, StoreError> {
        self.with(|db| {
            let Some(before) = closure::load(db, trace.closure)? else { return Ok(None) };
            Ok(Some((before.differing(inputs), load_evidence(db, trace)?)))
        })
    }

    /// The most recently used traces of a skeleton with this shape.
    pub(crate) fn latest(
        &self,
        skeleton: &Digest,
        head: &Head,
        count: usize,
    ) -> Result<Vec<Trace>, StoreError> {
        self.with(|db| Trace::latest(db, skeleton, head.id, count))
    }

    /// All traces of a skeleton, most recently used first.
    pub(crate) fn traces_of(&self, skeleton: &Digest) -> Result<Vec<Trace>, StoreError> {
        self.with(|db| Trace::of_skeleton(db, skeleton))
    }

    /// Which hash each slot had in a trace's newest build.
    pub(crate) fn closure_of(&self, trace: &Trace) -> Result<Option<Closure>, StoreError> {
        self.with(|db| closure::load(db, trace.closure))
    }

    /// Answers as bytes, by digest.
    pub(crate) fn answers(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|db| load_answers(db, digest))
    }
}
