//! The trace that comes nearest to a build, and the first question in which they differ.

use super::{Difference, DifferingQuestion, Tried, Why};
use crate::answer::Answers;
use crate::answer::raw::{Raw, Slots};
use crate::inputs::{Input, Inputs};
use crate::observation::{Answer, Digest, Kind};
use crate::store::codec::Reader;
use crate::store::project::{Head, NoProjection, Projection, SlotAnswers, ask, slot_digest};
use crate::store::{Store, StoreError, Trace};

/// How many shapes and how many traces of each are compared.
const SHAPES: usize = 4;
const TRACES: usize = 2;

/// Why none of these shapes has a trace that holds.
pub(super) fn why(
    store: &Store,
    skeleton: &Digest,
    tried: Tried,
    inputs: &Inputs,
    answers: &Answers<'_>,
) -> Result<Why, StoreError> {
    let mut nearest: Option<Difference> = None;
    let mut unanswered = None;
    for (head, projection) in tried.into_iter().take(SHAPES) {
        let now = match projection {
            Ok(projection) => Now::Answers(projection),
            Err(NoProjection::NoSlot { slot }) => Now::NoSlot(slot),
            Err(NoProjection::NoShape) => continue,
            Err(NoProjection::Unanswered { slot, error }) => {
                unanswered = unanswered.or_else(|| Some((head.keys.get(slot)?.clone(), error)));
                continue;
            }
        };
        for trace in store.latest(skeleton, &head, TRACES)? {
            let Some(difference) = compare(store, &head, &trace, &now, inputs, answers)? else { continue };
            if nearest.as_ref().is_none_or(|best| difference.differing < best.differing) {
                nearest = Some(difference);
            }
        }
    }
    Ok(match (nearest, unanswered) {
        (Some(difference), _) => Why::Differs(difference),
        (None, Some((key, error))) => Why::Unanswered { key, error },
        (None, None) => Why::Collected,
    })
}

/// Why there is no trace when the runs of a skeleton depend on the hash of a slot, and it is a new one.
pub(super) fn folded(store: &Store, skeleton: &Digest, key: String) -> Result<Why, StoreError> {
    let nearest = store.traces_of(skeleton)?.into_iter().next();
    Ok(match nearest {
        Some(trace) => {
            Why::Differs(Difference { nearest: trace.id, key, question: None, differing: 1, of: 1 })
        }
        None => Why::Collected,
    })
}

enum Now {
    Answers(Projection),
    /// This slot of the shape has no input.
    NoSlot(usize),
}

/// How a trace's answers differ from those now. `None` if that cannot be found out.
fn compare(
    store: &Store,
    head: &Head,
    trace: &Trace,
    now: &Now,
    inputs: &Inputs,
    answers: &Answers<'_>,
) -> Result<Option<Difference>, StoreError> {
    let (Some(closure), Some(shape)) = (store.closure_of(trace)?, store.shape(head)) else { return Ok(None) };
    let slots_then = Slots::of_pairs(closure.0.iter().map(|(key, hash)| (key.as_str(), hash.as_str())));
    let mut differing = 0;
    let mut first = None;
    for (index, slot) in shape.0.iter().enumerate() {
        let then = store.remembered(head, index, closure.hash_of(&slot.key).unwrap_or_default());
        let then = then.as_deref();
        let after = match now {
            Now::NoSlot(missing) if *missing == index => None,
            Now::NoSlot(_) => continue,
            Now::Answers(projection) => projection.slots.get(index).map(|slot| &**slot),
        };
        if let (Some(then), Some(after)) = (then, after)
            && share(then, &slots_then) == share(after, answers.slots())
        {
            continue;
        }
        let found = Slot { store, then, questions: &slot.questions, slots_then: &slots_then };
        let (count, question) = found.differing(inputs.by_key(&slot.key), answers)?;
        differing += count;
        if first.is_none() {
            first = Some((slot.key.clone(), question));
        }
    }
    Ok(first.map(|(key, question)| Difference {
        nearest: trace.id,
        key,
        question,
        differing: differing.max(1),
        of: shape.len(),
    }))
}

fn share(answer: &SlotAnswers, slots: &Slots<'_>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    slot_digest(&mut hasher, answer, slots);
    hasher.finalize()
}

/// One slot whose answers differ.
struct Slot<'a> {
    store: &'a Store,
    then: Option<&'a SlotAnswers>,
    questions: &'a [(Vec<u8>, Kind)],
    slots_then: &'a Slots<'a>,
}

impl Slot<'_> {
    /// How many questions differ, and the first of them.
    fn differing(
        &self,
        input: Option<&Input>,
        answers: &Answers<'_>,
    ) -> Result<(usize, Option<DifferingQuestion>), StoreError> {
        let Some(before) = self.before()? else { return Ok((1, None)) };
        let after: Vec<Answer> = match input.map(|input| ask(answers, input, self.questions)) {
            None => vec![Answer::NoSlot; before.len()],
            Some(Ok((_, raws))) => raws.iter().map(|raw| raw.resolve(answers.slots())).collect(),
            Some(Err(_)) => return Ok((1, None)),
        };
        let differs = |at: &usize| before[*at] != after[*at];
        let mut places = (0..before.len().min(after.len())).filter(differs);
        let first = places.next();
        let count = places.count() + 1;
        Ok((
            count,
            first.and_then(|at| {
                let (path, kind) = self.questions.get(at)?.clone();
                Some(DifferingQuestion { path, kind, before: before[at], after: after[at] })
            }),
        ))
    }

    /// The trace's answers, if they are still known.
    fn before(&self) -> Result<Option<Vec<Answer>>, StoreError> {
        let Some(then) = self.then else { return Ok(None) };
        let Some(bytes) = self.store.answers(&then.digest)? else { return Ok(None) };
        let mut reader = Reader(&bytes);
        let answers: Option<Vec<Answer>> = (0..self.questions.len())
            .map(|_| Raw::read(&mut reader, &then.hashes).map(|raw| raw.resolve(self.slots_then)))
            .collect();
        Ok(answers)
    }
}
