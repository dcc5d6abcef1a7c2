//! Which jobs there are, which derivation each stands for, and which have a verdict.

use std::collections::{BTreeMap, HashMap};

use esker_nix::StorePath;

use crate::event::{Action, BuildFailure, Conclusion, DiscoveredJob, Outcome, Reuse};

/// The jobs of one run.
#[derive(Default)]
pub(super) struct Jobs {
    /// By short name; `None`: no verdict yet.
    jobs: BTreeMap<String, Option<Conclusion>>,
    by_drv: HashMap<StorePath, Vec<String>>,
    ends: HashMap<StorePath, End>,
    not_evaluated: u64,
    not_passed: bool,
}

/// How the build of a derivation ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) conclusion: Conclusion,
    pub(super) action: Action,
    pub(super) seconds: f64,
    pub(super) failure: Option<BuildFailure>,
    pub(super) outputs: Vec<(String, String)>,
    pub(super) reuse: Option<Reuse>,
    /// Nothing was built: the outputs were there.
    pub(super) is_there: bool,
}

impl End {
    pub(super) fn outcome(&self, drv: &StorePath) -> Outcome {
        if let Some(reuse) = &self.reuse {
            return Outcome::Reused { reuse: reuse.clone() };
        }
        if self.is_there {
            return Outcome::InStore;
        }
        match (self.conclusion, self.action, &self.failure) {
            (Conclusion::Passed, Action::Fetch, _) => Outcome::Fetched { seconds: self.seconds },
            (Conclusion::Passed, _, _) => Outcome::Built { seconds: self.seconds },
            (Conclusion::Cancelled, _, _) => Outcome::Cancelled,
            (_, _, Some(failure)) => {
                Outcome::BuildFailed { drv: drv.to_string(), failure: failure.clone(), seconds: self.seconds }
            }
            (_, _, None) => Outcome::Broken { message: self.message() },
        }
    }

    pub(super) fn message(&self) -> String {
        self.failure.as_ref().map_or_else(|| "it was not built".to_owned(), |failure| failure.message.clone())
    }

    pub(super) fn outputs(&self) -> Vec<(String, StorePath)> {
        self.outputs.iter().filter_map(|(name, path)| Some((name.clone(), path.parse().ok()?))).collect()
    }
}

impl Jobs {
    pub(super) fn discovered(&mut self, jobs: &[DiscoveredJob]) {
        for job in jobs {
            self.jobs.entry(job.job.clone()).or_insert(None);
        }
    }

    pub(super) fn dissolved(&mut self, job: &str) {
        self.jobs.remove(job);
    }

    pub(super) fn evaluated(&mut self, job: &str, drv: &StorePath) {
        self.by_drv.entry(drv.clone()).or_default().push(job.to_owned());
    }

    /// The derivation of a job is gone; it will get one again.
    pub(super) fn forget(&mut self, job: &str, drv: &StorePath) {
        if let Some(jobs) = self.by_drv.get_mut(drv) {
            jobs.retain(|other| other != job);
        }
    }

    /// No further job will be discovered: those that have no derivation by now never will.
    pub(super) fn close_discovery(&mut self) {
        let evaluated: u64 = self.by_drv.values().map(|jobs| jobs.len() as u64).sum();
        self.not_evaluated = (self.jobs.len() as u64).saturating_sub(evaluated);
    }

    /// All jobs, and those that failed to evaluate.
    pub(super) fn evaluation_counts(&self) -> (u64, u64) {
        (self.jobs.len() as u64, self.not_evaluated)
    }

    /// Up to `most` jobs that stand for `drv` itself.
    pub(super) fn names(&self, drv: &StorePath, most: usize) -> Vec<String> {
        self.by_drv.get(drv).into_iter().flatten().take(most).cloned().collect()
    }

    pub(super) fn ended(&mut self, drv: &StorePath, end: End) {
        self.ends.insert(drv.clone(), end);
    }

    pub(super) fn end(&self, drv: &StorePath) -> Option<End> {
        self.ends.get(drv).cloned()
    }

    /// How the build of `drv` ended.
    pub(super) fn conclusion(&self, drv: &StorePath) -> Option<Conclusion> {
        self.ends.get(drv).map(|end| end.conclusion)
    }

    /// Jobs that stand for `drv` and have no verdict.
    pub(super) fn open_jobs(&self, drv: &StorePath) -> Vec<String> {
        let open = |job: &&String| self.jobs.get(*job) == Some(&None);
        self.by_drv.get(drv).into_iter().flatten().filter(open).cloned().collect()
    }

    pub(super) fn all_open(&self) -> Vec<String> {
        self.jobs.iter().filter(|(_, conclusion)| conclusion.is_none()).map(|(job, _)| job.clone()).collect()
    }

    /// Sets a verdict; false when there is one already.
    pub(super) fn conclude(&mut self, job: &str, conclusion: Conclusion) -> bool {
        let slot = self.jobs.entry(job.to_owned()).or_insert(None);
        if slot.is_some() {
            return false;
        }
        *slot = Some(conclusion);
        self.not_passed |= conclusion != Conclusion::Passed;
        true
    }

    /// Whether some job has a verdict other than passed.
    pub(super) fn some_not_passed(&self) -> bool {
        self.not_passed
    }
}
