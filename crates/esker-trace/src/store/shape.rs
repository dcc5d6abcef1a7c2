//! Shapes: the set of questions that a run asked, by slot.
//!
//! Shapes are addressed by their content and shared by all traces that asked the same. The questions
//! of a slot are sorted by path, so that each path can be written as what differs from the one before.
//!
//! Invariant: slots are named by key here; the index in a [`Question`] holds within one build only.

use std::collections::BTreeMap;

use super::codec::{Reader, Writer, digest_of};
use crate::inputs::Inputs;
use crate::observation::{Digest, Kind, Question};

/// What one slot is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShapeSlot {
    pub(crate) key: String,
    /// Sorted, unique, at least one.
    pub(crate) questions: Vec<(Vec<u8>, Kind)>,
}

/// A set of questions, sorted by slot key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape(pub(crate) Vec<ShapeSlot>);

impl Shape {
    /// The shape of a run's questions. `None` if one of them names a slot that is not there.
    pub(crate) fn of(questions: &[Question], inputs: &Inputs) -> Option<Self> {
        let mut slots: BTreeMap<&str, Vec<(Vec<u8>, Kind)>> = BTreeMap::new();
        for question in questions {
            let input = inputs.as_slice().get(usize::try_from(question.slot).ok()?)?;
            slots.entry(&input.key).or_default().push((question.path.clone(), question.kind));
        }
        let slots = slots.into_iter().map(|(key, mut questions)| {
            questions.sort_unstable();
            questions.dedup();
            ShapeSlot { key: key.to_owned(), questions }
        });
        Some(Self(slots.collect()))
    }

    /// How many questions it has.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|slot| slot.questions.len()).sum()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.0.len() as u64);
        for slot in &self.0 {
            writer.bytes(slot.key.as_bytes());
            writer.number(slot.questions.len() as u64);
            let mut before: &[u8] = &[];
            for (path, kind) in &slot.questions {
                let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
                writer.number(shared as u64);
                writer.bytes(&path[shared..]);
                writer.byte(*kind as u8);
                before = path;
            }
        }
        writer.0
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let mut slots = Vec::new();
        for _ in 0..reader.length()? {
            let key = reader.text()?;
            let mut questions: Vec<(Vec<u8>, Kind)> = Vec::new();
            for _ in 0..reader.length()? {
                let shared = reader.length()?;
                let before = questions.last().map_or(&[][..], |(path, _)| path);
                let mut path = before.get(..shared)?.to_vec();
                path.extend_from_slice(reader.bytes()?);
                let kind = match reader.byte()? {
                    0 => Kind::Stat,
                    1 => Kind::Content,
                    2 => Kind::Names,
                    3 => Kind::Target,
                    _ => return None,
                };
                questions.push((path, kind));
            }
            slots.push(ShapeSlot { key, questions });
        }
        reader.is_empty().then_some(Self(slots))
    }

    /// What its bytes are addressed by.
    pub(crate) fn digest(bytes: &[u8]) -> Digest {
        digest_of("shape", &[bytes])
    }

    /// The slots' keys alone: enough to look up a trace when all answers are remembered.
    pub(crate) fn keys_to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.0.len() as u64);
        for slot in &self.0 {
            writer.bytes(slot.key.as_bytes());
        }
        writer.0
    }

    pub(crate) fn keys_from_bytes(bytes: &[u8]) -> Option<Vec<String>> {
        let mut reader = Reader(bytes);
        let mut keys = Vec::new();
        for _ in 0..reader.length()? {
            keys.push(reader.text()?);
        }
        reader.is_empty().then_some(keys)
    }
}
