//! What happens when an evaluator ends: by itself, by our hand, or by somebody else's.
//!
//! Invariant: a process that dies without a word is an accident the first time. The attribute it
//! had at hand is tried again, alone and first; if that one dies too, it is named.

use std::time::Instant;

use esker_nix::StorePath;
use esker_nix::evaluator::{ErrorKind, ImportFromDerivation, has_error, read_error};

use super::failure::{self, EvaluateError};
use super::worker::Stopped;
use super::{Evaluation, Found};

impl Evaluation<'_> {
    /// A process is gone. What it left undone is settled with a reason, or tried again.
    pub(super) fn ended(
        &mut self,
        id: usize,
        current: Option<String>,
        text: &str,
        now: Instant,
        found: &mut Vec<Found>,
    ) -> Result<(), EvaluateError> {
        let Some(worker) = self.workers.remove(&id) else { return Ok(()) };
        let (ifd, fresh) = (worker.ifd, worker.settled() == 0);
        let (stopped, mut rest, how) = worker.finish();
        let died = stopped.is_none() && !has_error(text);
        // One that met its partner was stopped in the middle of what the partner does.
        let current = current.filter(|id| stopped != Some(Stopped::Met) && self.open.contains(id));
        // What is settled is not done again, and what another one has before it is in good hands.
        rest.retain(|entry| {
            let is_anothers = || self.workers.values().any(|worker| worker.has(&entry.id));
            current.as_ref() == Some(&entry.id) || (self.open.contains(&entry.id) && !is_anothers())
        });
        if stopped == Some(Stopped::Cancelled) {
            return Ok(());
        }
        if !self.listed {
            return match died {
                true if self.is_first_failure("") => self.list(ifd, now),
                true => Err(EvaluateError::Failed(failure::crashed(&how))),
                false => self.list_failed(stopped, text, found),
            };
        }
        let out_of_memory = matches!(stopped, Some(Stopped::MemoryAlone | Stopped::MemoryShared))
            || (stopped.is_none() && read_error(text, None).kind == ErrorKind::OutOfMemory);
        if let Some(current) = &current {
            let again = out_of_memory && !(fresh && stopped != Some(Stopped::MemoryShared));
            if again || (died && self.is_first_failure(current)) {
                // Alone and first, so that it is known whether it is the cause by itself.
                rest.sort_by_key(|entry| entry.id != *current);
            } else {
                rest.retain(|entry| entry.id != *current);
                self.open.remove(current);
                for worker in self.workers.values_mut() {
                    worker.settle(current);
                }
                if out_of_memory || stopped == Some(Stopped::TimedOut) {
                    let error = failure::limit(out_of_memory, &self.plan.evaluation);
                    found.push(Found::Failed { job: self.names.job(current), error });
                } else if died {
                    found.push(Found::Failed { job: self.names.job(current), error: failure::crashed(&how) });
                } else {
                    self.failed(current, text, found);
                }
            }
        } else if fresh && stopped.is_none() {
            // It never began: the same start would end the same way, bar an accident.
            let (retry, lost): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|entry| self.is_first_failure(&entry.id));
            for entry in lost {
                self.open.remove(&entry.id);
                let error = if died {
                    failure::crashed(&how)
                } else {
                    failure::from_text(read_error(text, self.source.as_ref()))
                };
                found.push(Found::Failed { job: self.names.job(&entry.id), error });
            }
            rest = retry;
        }
        let queue = if ifd == ImportFromDerivation::Allow { &mut self.queue_ifd } else { &mut self.queue };
        for entry in rest.into_iter().rev() {
            queue.push_front(entry);
        }
        Ok(())
    }

    /// Whether this attribute (or, empty, the list) was never before at hand when a process failed.
    fn is_first_failure(&mut self, id: &str) -> bool {
        let count = self.failures.entry(id.to_owned()).or_default();
        *count += 1;
        *count == 1
    }

    /// The first process ended before it could tell what there is.
    fn list_failed(
        &mut self,
        stopped: Option<Stopped>,
        text: &str,
        found: &mut Vec<Found>,
    ) -> Result<(), EvaluateError> {
        if let Some(stopped) = stopped {
            let error = failure::limit(stopped != Stopped::TimedOut, &self.plan.evaluation);
            return Err(EvaluateError::Failed(error));
        }
        let error = read_error(text, self.source.as_ref());
        let wanted = error.wanted_derivation.as_deref().and_then(|path| path.parse::<StorePath>().ok());
        match wanted {
            Some(drv) if error.kind == ErrorKind::ImportFromDerivation => {
                self.waiting.entry(drv.clone()).or_default().push(None);
                found.push(Found::NeedsBuild { drv });
                Ok(())
            }
            _ => Err(EvaluateError::Failed(failure::from_text(error))),
        }
    }
}
