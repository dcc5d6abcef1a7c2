//! Who wants to know when something has changed.
//!
//! Only that it has, never what: whoever is woken reads the database, so a page that was loaded and
//! one that was kept up to date cannot differ, and nothing is lost by not listening for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch::{self, Receiver, Sender};

use crate::store::EvaluationId;

/// Wakes those who listen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    topics: Arc<Mutex<HashMap<Topic, Sender<u64>>>>,
}

/// What one can listen to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// One evaluation.
    Evaluation(EvaluationId),
    /// All evaluations: that one is new, is begun or has ended.
    Evaluations,
}

impl Live {
    /// Says that something has changed.
    pub(crate) fn changed(&self, topic: &Topic) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = topics.get(topic) {
            sender.send_modify(|version| *version += 1);
            if sender.receiver_count() == 0 {
                topics.remove(topic);
            }
        }
    }

    /// Says that an evaluation is new, is begun or has ended.
    pub(crate) fn evaluation_changed(&self, id: &EvaluationId) {
        self.changed(&Topic::Evaluation(id.clone()));
        self.changed(&Topic::Evaluations);
    }

    /// Listens from now on.
    pub(crate) fn listen(&self, topic: Topic) -> Receiver<u64> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic).or_insert_with(|| watch::channel(0).0).subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_hears_of_its_own_topic_and_none_is_kept_without() {
        let live = Live::default();
        let one = Topic::Evaluation(EvaluationId { project: "a".into(), number: 1 });
        let mut listener = live.listen(one.clone());
        live.changed(&Topic::Evaluations);
        assert!(!listener.has_changed().unwrap());
        live.changed(&one);
        listener.changed().await.unwrap();
        drop(listener);
        live.changed(&one);
        assert!(live.topics.lock().unwrap().is_empty());
    }
}
