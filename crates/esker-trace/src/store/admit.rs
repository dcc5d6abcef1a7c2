//! What may become a trace: only observations that can be asked again, of inputs that are still there.

use std::collections::HashSet;
use std::sync::Arc;

use super::Store;
use super::project::{self, SlotAnswers};
use super::shape::Shape;
use super::trace::Produced;
use crate::answer::raw::Raw;
use crate::answer::{AnswerError, Answers, HashPart, contains_any};
use crate::inputs::{Input, Inputs};
use crate::observation::{Kind, Question};

/// More than the largest builds ask; a hostile one could ask for ever.
pub(super) const MOST_QUESTIONS: usize = 500_000;

/// Why a run may not become a trace.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// See [`Store::revocations`].
    #[error("results of this skeleton were revoked")]
    Revoked,
    /// A store cannot keep that many.
    #[error("it asked {count} questions, more than {MOST_QUESTIONS}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A question names a slot beyond the inputs.
    #[error("it asked about an input that it did not have")]
    UnknownSlot,
    /// Under other hashes it would have asked for another path, and nobody knows what lies there.
    #[error("it asked `{key}` for a path with a hash in it, `{}`", String::from_utf8_lossy(path))]
    HashInPath {
        /// The slot.
        key: String,
        /// Below the input.
        path: Vec<u8>,
    },
    /// What it observed is not what lies there now.
    #[error("`{}` in `{key}` is not what it was", String::from_utf8_lossy(path))]
    Inconsistent {
        /// The slot.
        key: String,
        /// Below the input.
        path: Vec<u8>,
    },
    /// An input cannot be looked at any more.
    #[error("`{key}` cannot be looked at")]
    Unanswered {
        /// The slot.
        key: String,
        /// Why.
        #[source]
        source: AnswerError,
    },
}

/// One slot's answers, ready to be stored.
pub(super) struct Asked {
    pub(super) answers: Arc<SlotAnswers>,
    pub(super) bytes: Vec<u8>,
    pub(super) hash: String,
}

/// Each question, and what the kernel had to ask before it: whether each folder on the way is there.
pub(super) fn with_parents(questions: &[Question]) -> Vec<Question> {
    let mut all: HashSet<Question> = questions.iter().cloned().collect();
    for question in questions {
        let slashes = question.path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in slashes.chain([0, question.path.len()]) {
            let path = question.path[..end].to_vec();
            all.insert(Question { slot: question.slot, path, kind: Kind::Stat });
        }
    }
    let mut all: Vec<Question> = all.into_iter().collect();
    all.sort_unstable();
    all
}

/// Asks all questions of a shape again, of what lies there now.
pub(super) fn ask_all(
    store: &Store,
    shape: &Shape,
    inputs: &Inputs,
    produced: &Produced,
) -> Result<Vec<Asked>, Refused> {
    let answers = Answers::new(inputs, Some(store));
    let outputs = produced.outputs.iter().filter_map(|output| output.store_base_name.get(..32));
    let hashes: HashSet<HashPart> =
        inputs.as_slice().iter().map(Input::hash_part).chain(outputs).filter_map(HashPart::parse).collect();
    let mut asked = Vec::new();
    for slot in &shape.0 {
        let key = || slot.key.clone();
        let input = inputs.by_key(&slot.key).ok_or(Refused::UnknownSlot)?;
        let hidden = slot.questions.iter().find(|(path, _)| contains_any(path, &hashes));
        if let Some((path, _)) = hidden {
            return Err(Refused::HashInPath { key: key(), path: path.clone() });
        }
        let (answers, raws) = project::ask(&answers, input, &slot.questions)
            .map_err(|source| Refused::Unanswered { key: key(), source })?;
        let odd = slot.questions.iter().zip(&raws).find(|((_, kind), raw)| !fits(*kind, raw));
        if let Some(((path, _), _)) = odd {
            return Err(Refused::Inconsistent { key: key(), path: path.clone() });
        }
        let bytes = project::to_bytes(&raws).0;
        asked.push(Asked { answers: Arc::new(answers), bytes, hash: input.hash_part().to_owned() });
    }
    Ok(asked)
}

/// Whether something can have been asked of what lies there.
fn fits(kind: Kind, raw: &Raw) -> bool {
    match kind {
        Kind::Stat => true,
        Kind::Content => matches!(raw, Raw::Content(..)),
        Kind::Names => matches!(raw, Raw::Names(..)),
        Kind::Target => matches!(raw, Raw::Target(..)),
    }
}
