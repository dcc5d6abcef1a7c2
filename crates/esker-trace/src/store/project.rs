//! Projection: a build's inputs seen through the questions of a shape, as one digest.
//!
//! What one input answers to a shape's questions is remembered by the input's hash, so that an input
//! which did not change costs one look at its folder and one look-up. What is remembered knows no slots:
//! those are put in each time, as the same input may have other slots around it in another build.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::codec::{Writer, check_of, digest_of};
use super::shape::Shape;
use crate::answer::raw::{Raw, Slots};
use crate::answer::{AnswerError, Answers, HashPart};
use crate::inputs::{Input, Inputs};
use crate::observation::{Digest, Kind};

/// A shape's row without its questions.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: i64,
    pub(crate) digest: Digest,
    pub(crate) keys: Vec<String>,
}

/// What one input answers to all questions of one slot of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotAnswers {
    /// Of the input's folder when it was asked.
    pub(crate) stamp: u64,
    /// Of the answers as bytes.
    pub(crate) digest: Digest,
    /// That they are modulo of.
    pub(crate) hashes: Vec<HashPart>,
}

/// Where a remembered [`SlotAnswers`] belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemoKey {
    /// Not its id: another database may give that to another shape.
    pub(crate) shape: Digest,
    /// Index of the slot in the shape.
    pub(crate) slot: usize,
    pub(crate) hash: String,
}

/// A projection.
pub(crate) struct Projection {
    pub(crate) digest: Digest,
    /// By slot of the shape.
    pub(crate) slots: Vec<Arc<SlotAnswers>>,
}

/// Why there is no projection.
pub(crate) enum NoProjection {
    /// No input has this key: whatever was asked of it then has another answer now.
    NoSlot { slot: usize },
    /// The shape was lost or damaged.
    NoShape,
    /// An input cannot be looked at.
    Unanswered { slot: usize, error: AnswerError },
}

/// Asks all questions of one slot; the answers as bytes are what [`SlotAnswers::digest`] is of.
pub(crate) fn ask(
    answers: &Answers<'_>,
    input: &Input,
    questions: &[(Vec<u8>, Kind)],
) -> Result<(SlotAnswers, Vec<Raw>), AnswerError> {
    let stamp = answers.stamp(input)?;
    let raws = questions.iter().map(|(path, kind)| answers.raw(input, path, *kind));
    let raws = raws.collect::<Result<Vec<_>, _>>()?;
    let (bytes, hashes) = to_bytes(&raws);
    Ok((SlotAnswers { stamp, digest: digest_of("answers", &[&bytes]), hashes }, raws))
}

/// Answers as bytes, and the hashes that they are modulo of.
pub(crate) fn to_bytes(raws: &[Raw]) -> (Vec<u8>, Vec<HashPart>) {
    let (mut writer, mut hashes) = (Writer::default(), Vec::new());
    for raw in raws {
        raw.write(&mut writer, &mut hashes);
    }
    (writer.0, hashes)
}

/// The digest of what a build's inputs answer; the keys are those of the shape.
pub(crate) fn digest(keys: &[String], answers: &[Arc<SlotAnswers>], slots: &Slots<'_>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (key, answer) in keys.iter().zip(answers) {
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key.as_bytes());
        slot_digest(&mut hasher, answer, slots);
    }
    Digest(hasher.finalize().into())
}

/// One slot's share of the digest.
pub(crate) fn slot_digest(hasher: &mut blake3::Hasher, answer: &SlotAnswers, slots: &Slots<'_>) {
    hasher.update(&answer.digest.0);
    hasher.update(&(answer.hashes.len() as u64).to_le_bytes());
    for hash in &answer.hashes {
        slots.digest(hasher, hash);
    }
}

impl Store {
    /// What these inputs answer to a shape.
    pub(crate) fn project(
        &self,
        head: &Head,
        inputs: &Inputs,
        answers: &Answers<'_>,
    ) -> Result<Projection, NoProjection> {
        let mut slots = Vec::with_capacity(head.keys.len());
        for (slot, key) in head.keys.iter().enumerate() {
            let input = inputs.by_key(key).ok_or(NoProjection::NoSlot { slot })?;
            slots.push(self.slot_answers(head, slot, input, answers)?);
        }
        Ok(Projection { digest: digest(&head.keys, &slots, answers.slots()), slots })
    }

    fn slot_answers(
        &self,
        head: &Head,
        slot: usize,
        input: &Input,
        answers: &Answers<'_>,
    ) -> Result<Arc<SlotAnswers>, NoProjection> {
        let unanswered = |error| NoProjection::Unanswered { slot, error };
        let stamp = answers.stamp(input).map_err(unanswered)?;
        let key = MemoKey { shape: head.digest, slot, hash: input.hash_part().to_owned() };
        if let Some(known) = self.recall(&key, head.id).filter(|known| known.stamp == stamp) {
            return Ok(known);
        }
        let shape = self.shape(head).ok_or(NoProjection::NoShape)?;
        let questions = shape.0.get(slot).ok_or(NoProjection::NoShape)?;
        let (fresh, _) = ask(answers, input, &questions.questions).map_err(unanswered)?;
        let fresh = Arc::new(fresh);
        self.memory().learn(key, &fresh);
        Ok(fresh)
    }

    /// What the input with this hash answered when it was last asked.
    pub(crate) fn remembered(&self, head: &Head, slot: usize, hash: &str) -> Option<Arc<SlotAnswers>> {
        self.recall(&MemoKey { shape: head.digest, slot, hash: hash.to_owned() }, head.id)
    }

    fn recall(&self, key: &MemoKey, shape: i64) -> Option<Arc<SlotAnswers>> {
        if let Some(known) = self.memory().answers.get(key) {
            return Some(Arc::clone(known));
        }
        let known = Arc::new(self.with(|db| load_memo(db, key, shape)).ok().flatten()?);
        self.memory().keep(key, &known);
        Some(known)
    }

    /// A shape with its questions; `None` if it is lost or damaged.
    pub(crate) fn shape(&self, head: &Head) -> Option<Arc<Shape>> {
        if let Some(shape) = self.memory().shapes.get(&head.digest) {
            return Some(Arc::clone(shape));
        }
        let shape = Arc::new(self.with(|db| super::rows::load_shape(db, head)).ok().flatten()?);
        self.memory().keep_shape(head.digest, &shape);
        Some(shape)
    }
}

fn memo_check(key: &MemoKey, answers: &SlotAnswers, hashes: &[u8]) -> [u8; 8] {
    let slot = (key.slot as u64).to_le_bytes();
    let stamp = answers.stamp.to_le_bytes();
    check_of("memo 2", &[&key.shape.0, &slot, key.hash.as_bytes(), &stamp, &answers.digest.0, hashes])
}

/// What an input answered, if that is remembered and sound.
pub(super) fn load_memo(
    db: &Connection,
    key: &MemoKey,
    shape: i64,
) -> Result<Option<SlotAnswers>, rusqlite::Error> {
    let row = db
        .prepare_cached(
            "SELECT stamp, answers, hashes, check_ FROM memo WHERE shape = ?1 AND slot = ?2 AND hash = ?3",
        )?
        .query_row(params![shape, key.slot as i64, key.hash.as_bytes()], |row| {
            let hashes = row.get_ref(2)?.as_blob()?;
            let Ok(digest) = row.get_ref(1)?.as_blob()?.try_into().map(Digest) else { return Ok(None) };
            let (parts, rest) = hashes.as_chunks::<32>();
            let parts = parts.iter().map(|part| HashPart(*part)).collect();
            let known = SlotAnswers { stamp: row.get::<_, i64>(0)?.cast_unsigned(), digest, hashes: parts };
            let sound =
                rest.is_empty() && memo_check(key, &known, hashes)[..] == *row.get_ref(3)?.as_blob()?;
            Ok(sound.then_some(known))
        })
        .optional()?;
    Ok(row.flatten())
}

/// Remembers what an input answers.
pub(super) fn save_memo(
    db: &Connection,
    key: &MemoKey,
    shape: i64,
    answers: &SlotAnswers,
    now: i64,
) -> Result<(), rusqlite::Error> {
    let hashes: Vec<u8> = answers.hashes.iter().flat_map(|hash| hash.0).collect();
    db.prepare_cached("INSERT OR REPLACE INTO memo VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(
        params![
            shape,
            key.slot as i64,
            key.hash.as_bytes(),
            answers.stamp.cast_signed(),
            &answers.digest.0[..],
            hashes,
            &memo_check(key, answers, &hashes)[..],
            now
        ],
    )?;
    Ok(())
}
