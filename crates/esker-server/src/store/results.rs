//! What a worker finds out, as it finds it out.

use esker_engine::event::{Action, Conclusion, Environment, Outcome};
use sqlx::{Any, Transaction};

use super::queue::lost_unless;
use super::{EvaluationId, Lease, Store, StoreError};
use crate::clock::Milliseconds;

/// One thing that is different now.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// What the evaluation runs on.
    Environment(Environment),
    /// A job is there, or is another than it was.
    Job {
        /// Its short name.
        job: String,
        /// Its attribute path.
        attr: String,
        /// One of the seven words.
        state: &'static str,
        /// Its derivation, once known.
        drv: Option<String>,
    },
    /// What became of a job.
    Outcome {
        /// Its short name.
        job: String,
        /// What.
        outcome: Outcome,
    },
    /// An attribute was a set, and no job.
    NoJob {
        /// Its short name.
        job: String,
    },
    /// All jobs are known.
    Evaluated,
    /// A build has begun.
    BuildStarted(BuildStart),
    /// A build is in another phase.
    Phase {
        /// Its number.
        build: i64,
        /// The phase's name.
        phase: String,
    },
    /// A build has printed something.
    Log {
        /// Its number.
        build: i64,
        /// In the evaluation's folder.
        file: String,
    },
    /// A build has ended.
    BuildFinished(BuildEnd),
}

/// See [`Change::BuildStarted`].
#[derive(Clone, Debug)]
pub(crate) struct BuildStart {
    /// Its number.
    pub(crate) build: i64,
    /// Store path of the derivation.
    pub(crate) drv: String,
    /// The derivation's name.
    pub(crate) name: String,
    /// What Nix was asked to do.
    pub(crate) action: Action,
    /// When.
    pub(crate) at: Milliseconds,
}

/// See [`Change::BuildFinished`].
#[derive(Clone, Debug)]
pub(crate) struct BuildEnd {
    /// Its number.
    pub(crate) build: i64,
    /// How.
    pub(crate) conclusion: Conclusion,
    /// When.
    pub(crate) at: Milliseconds,
}

impl Store {
    /// Writes changes in one transaction, and renews the lease.
    ///
    /// # Errors
    /// The lease is lost, or the database does not work; then nothing is written.
    pub(crate) async fn write(
        &self,
        lease: &Lease,
        until: Milliseconds,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let renewed = sqlx::query(
            "UPDATE evaluations SET lease_until = $1
             WHERE project = $2 AND number = $3 AND owner = $4 AND attempt = $5 AND state = 'running'",
        )
        .bind(until)
        .bind(&lease.evaluation.project)
        .bind(lease.evaluation.number)
        .bind(&lease.owner)
        .bind(lease.attempt)
        .execute(&mut *transaction)
        .await?;
        lost_unless(renewed.rows_affected())?;
        for change in changes {
            write_one(&mut transaction, &lease.evaluation, change).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn write_one(
    db: &mut Transaction<'static, Any>,
    evaluation: &EvaluationId,
    change: &Change,
) -> Result<(), StoreError> {
    let query = |sql: &'static str| sqlx::query(sql).bind(&evaluation.project).bind(evaluation.number);
    match change {
        Change::Environment(environment) => {
            query("UPDATE evaluations SET environment = $3 WHERE project = $1 AND number = $2")
                .bind(json(environment))
        }
        Change::Job { job, attr, state, drv } => query(
            "INSERT INTO jobs (project, number, job, attr, state, drv) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (project, number, job) DO UPDATE SET state = excluded.state, drv = excluded.drv",
        )
        .bind(job)
        .bind(attr)
        .bind(*state)
        .bind(drv),
        Change::Outcome { job, outcome } => {
            query("UPDATE jobs SET outcome = $4 WHERE project = $1 AND number = $2 AND job = $3")
                .bind(job)
                .bind(json(outcome))
        }
        Change::NoJob { job } => {
            query("DELETE FROM jobs WHERE project = $1 AND number = $2 AND job = $3").bind(job)
        }
        Change::Evaluated => query("UPDATE evaluations SET evaluated = 1 WHERE project = $1 AND number = $2"),
        Change::BuildStarted(start) => query(
            "INSERT INTO builds (project, number, build, drv, name, action, started)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(start.build)
        .bind(&start.drv)
        .bind(&start.name)
        .bind(action_word(start.action))
        .bind(start.at),
        Change::Phase { build, phase } => {
            query("UPDATE builds SET phase = $4 WHERE project = $1 AND number = $2 AND build = $3")
                .bind(*build)
                .bind(phase)
        }
        Change::Log { build, file } => {
            query("UPDATE builds SET log = $4 WHERE project = $1 AND number = $2 AND build = $3")
                .bind(*build)
                .bind(file)
        }
        Change::BuildFinished(end) => query(
            "UPDATE builds SET conclusion = $4, finished = $5
             WHERE project = $1 AND number = $2 AND build = $3",
        )
        .bind(end.build)
        .bind(end.conclusion.word())
        .bind(end.at),
    }
    .execute(&mut **db)
    .await?;
    Ok(())
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Build => "build",
        Action::Fetch => "fetch",
        Action::Rebuild => "rebuild",
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("events have text keys and finite depth")
}
