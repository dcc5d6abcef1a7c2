//! What one process keeps of the store in memory. It may be forgotten at any time.

use std::collections::HashMap;
use std::sync::Arc;

use super::contents::Content;
use super::project::{Head, MemoKey, SlotAnswers};
use super::shape::Shape;
use crate::observation::Digest;

/// How many answers of inputs are kept.
const MOST_ANSWERS: usize = 100_000;
const MOST_SHAPES: usize = 512;

/// What the database does not have yet. It is saved with the next record.
#[derive(Default)]
pub(crate) struct Unsaved {
    pub(super) answers: Vec<(MemoKey, Arc<SlotAnswers>)>,
    pub(super) contents: Vec<Content>,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.contents.is_empty()
    }
}

#[derive(Default)]
pub(crate) struct Memory {
    pub(super) answers: HashMap<MemoKey, Arc<SlotAnswers>>,
    pub(super) contents: HashMap<Digest, Content>,
    pub(super) unsaved: Unsaved,
    pub(super) heads: HashMap<i64, Arc<Head>>,
    pub(super) shapes: HashMap<Digest, Arc<Shape>>,
}

impl Memory {
    /// Keeps answers that were just found, and notes that they are to be saved.
    pub(super) fn learn(&mut self, key: MemoKey, answers: &Arc<SlotAnswers>) {
        self.keep(&key, answers);
        if self.unsaved.answers.len() < MOST_ANSWERS {
            self.unsaved.answers.push((key, Arc::clone(answers)));
        }
    }

    /// Keeps answers that the database has.
    pub(super) fn keep(&mut self, key: &MemoKey, answers: &Arc<SlotAnswers>) {
        if self.answers.len() >= MOST_ANSWERS {
            self.answers.clear();
        }
        self.answers.insert(key.clone(), Arc::clone(answers));
    }

    pub(super) fn learn_content(&mut self, content: Content) {
        if self.contents.len() >= MOST_ANSWERS {
            self.contents.clear();
        }
        if self.unsaved.contents.len() < MOST_ANSWERS {
            self.unsaved.contents.push(content.clone());
        }
        self.contents.insert(content.key, content);
    }

    pub(super) fn keep_shape(&mut self, digest: Digest, shape: &Arc<Shape>) {
        if self.shapes.len() >= MOST_SHAPES {
            self.shapes.clear();
        }
        self.shapes.insert(digest, Arc::clone(shape));
    }

    pub(super) fn keep_head(&mut self, head: &Arc<Head>) {
        if self.heads.len() >= MOST_SHAPES {
            self.heads.clear();
        }
        self.heads.insert(head.id, Arc::clone(head));
    }
}
