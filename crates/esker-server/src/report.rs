//! Telling the forges.
//!
//! Level-triggered: each pass compares what a forge was last told with what is true, and tells it
//! the difference. A call that was lost, a restart or a rate limit is mended by the next pass; states
//! that came and went in between are never told.
//!
//! Invariant: every evaluation gets a last word under the one fixed name, whatever happened to it.

use std::time::Duration;

use esker_forge::{State, Status};
use tokio::sync::watch;
use tracing::{error, warn};

use crate::address;
use crate::clock::milliseconds;
use crate::store::{EvaluationRow, StoreError, Untold};
use crate::verdict::{self, Jobs};
use crate::worker::{Worker, in_full};

/// Nothing is waited for longer than this, even if nobody wakes us.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const FIRST_REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(15 * 60);
/// Names of jobs in a sentence.
const NAMED: i64 = 10;

/// Tells until `stop` says so.
pub(crate) async fn tell(worker: Worker, url: String, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(problem) = pass(&worker, &url).await {
            error!("Cannot find out what to tell the forges: {}", in_full(&problem));
        }
        let now = worker.clock.now();
        let next = worker.store.next_telling(now).await.ok().flatten();
        let rest = next.map_or(LOOK_EVERY, |next| {
            Duration::from_millis(u64::try_from(next - now).unwrap_or(0)).min(LOOK_EVERY)
        });
        tokio::select! {
            () = worker.tell.notified() => {}
            () = tokio::time::sleep(rest) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn pass(worker: &Worker, url: &str) -> Result<(), StoreError> {
    let store = &worker.store;
    for untold in store.untold(worker.clock.now()).await? {
        let Some(evaluation) = store.evaluation(&untold.evaluation).await? else { continue };
        let jobs = Jobs {
            counts: store.counts(&evaluation.id).await?,
            not_passed: store.names(&evaluation.id, evaluation.word(), NAMED).await?,
        };
        let status = status(&untold.name, &evaluation, &jobs, url);
        let told = format!("{:?} {}", status.state, status.description);
        let settled = evaluation.is_finished();
        if untold.told.as_ref() == Some(&told) {
            if settled {
                store.told(&untold, &told, settled).await?;
            }
            continue;
        }
        // A newer evaluation of this commit speaks in its place.
        if !store.is_newest(&evaluation).await? {
            store.told(&untold, &told, true).await?;
            continue;
        }
        tell_one(worker, &untold, &evaluation, &status, &told, settled).await?;
    }
    Ok(())
}

async fn tell_one(
    worker: &Worker,
    untold: &Untold,
    evaluation: &EvaluationRow,
    status: &Status,
    told: &str,
    settled: bool,
) -> Result<(), StoreError> {
    let name = evaluation.id.project.parse::<crate::project::ProjectName>().ok();
    let forge = name.as_ref().and_then(|name| Some((name, worker.config.forges.get(name.forge())?)));
    let Some((name, forge)) = forge else {
        // Nobody to tell: it was removed from the configuration.
        return worker.store.told(untold, told, settled).await;
    };
    match forge.client.set_status(name.repository(), &evaluation.commit, status).await {
        Ok(()) => worker.store.told(untold, told, settled).await,
        Err(problem) => {
            let rest = rest_after(untold.failures, problem.wait());
            warn!(project = %name, evaluation = evaluation.id.number,
                "Cannot tell {} about evaluation {}, trying again in {} s: {}",
                name.forge(), evaluation.id.number, rest.as_secs(), in_full(&problem));
            worker.store.tell_later(untold, worker.clock.now() + milliseconds(rest)).await
        }
    }
}

/// Longer and longer, yet never shorter than the forge wants it.
fn rest_after(failures: i64, wait: Option<Duration>) -> Duration {
    let factor = 1 << failures.clamp(0, 20);
    (FIRST_REST * factor).min(LONGEST_REST).max(wait.unwrap_or_default())
}

fn status(name: &str, evaluation: &EvaluationRow, jobs: &Jobs, url: &str) -> Status {
    let state = match evaluation.word() {
        "passed" => State::Passed,
        "failed" => State::Failed,
        "broken" => State::Broken,
        "cancelled" => State::Cancelled,
        _ => State::Pending,
    };
    let description = match evaluation.word() {
        // Not each job that ends is told.
        "building" => match jobs.total() {
            1 => "building 1 job".to_owned(),
            total => format!("building {total} jobs"),
        },
        _ => verdict::sentence(evaluation, jobs),
    };
    let url = format!("{url}{}", address::evaluation(&evaluation.id));
    Status { name: name.to_owned(), state, description, url }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_a_quarter_of_an_hour_and_obey_the_forge() {
        let seconds =
            |failures, wait: Option<u64>| rest_after(failures, wait.map(Duration::from_secs)).as_secs();
        assert_eq!([0, 1, 2, 9, 60].map(|failures| seconds(failures, None)), [2, 4, 8, 900, 900]);
        assert_eq!(seconds(0, Some(60)), 60);
        assert_eq!(seconds(9, Some(3600)), 3600);
    }
}
