//! The queue: which evaluation is whose to do.
//!
//! A lease is held by one worker for a time, and renewed with each thing it writes. One that was not
//! renewed is anybody's: its evaluation begins again, from the start.

use esker_engine::Summary;
use esker_engine::event::Conclusion;

use super::{EvaluationId, Store, StoreError};
use crate::clock::Milliseconds;

/// The right to work on an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Of what.
    pub(crate) evaluation: EvaluationId,
    /// Whose.
    pub(crate) owner: String,
    /// Each time an evaluation is begun it has the next number, from 1.
    pub(crate) attempt: i64,
}

/// An evaluation to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The right to.
    pub(crate) lease: Lease,
    /// What to check.
    pub(crate) commit: String,
    /// Where it was seen.
    pub(crate) reference: String,
}

impl Store {
    /// Takes the evaluation that has waited for longest, if there is any, and forgets what earlier
    /// attempts at it found.
    ///
    /// # Errors
    /// The database does not work.
    pub(crate) async fn claim(
        &self,
        owner: &str,
        now: Milliseconds,
        until: Milliseconds,
    ) -> Result<Option<Claimed>, StoreError> {
        let mut transaction = self.begin().await?;
        // Both conditions once more: on PostgreSQL another server may be quicker in between.
        let claimed: Option<(String, i64, String, String, i64)> = sqlx::query_as(
            "UPDATE evaluations SET state = 'running', owner = $1, lease_until = $2, attempt = attempt + 1,
                 started = COALESCE(started, $3), evaluated = 0
             WHERE (project, number) = (
                 SELECT project, number FROM evaluations
                 WHERE (state = 'waiting' AND not_before <= $3) OR (state = 'running' AND lease_until < $3)
                 ORDER BY queued, project, number LIMIT 1)
             AND ((state = 'waiting' AND not_before <= $3) OR (state = 'running' AND lease_until < $3))
             RETURNING project, number, commit_id, reference, attempt",
        )
        .bind(owner)
        .bind(until)
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((project, number, commit, reference, attempt)) = claimed else { return Ok(None) };
        for forget in [
            "DELETE FROM jobs WHERE project = $1 AND number = $2",
            "DELETE FROM builds WHERE project = $1 AND number = $2",
        ] {
            sqlx::query(forget).bind(&project).bind(number).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        let lease = Lease { evaluation: EvaluationId { project, number }, owner: owner.to_owned(), attempt };
        Ok(Some(Claimed { lease, commit, reference }))
    }

    /// Keeps a lease.
    ///
    /// # Errors
    /// It is lost, or the database does not work.
    pub(crate) async fn renew(&self, lease: &Lease, until: Milliseconds) -> Result<(), StoreError> {
        let renewed = sqlx::query(
            "UPDATE evaluations SET lease_until = $1
             WHERE project = $2 AND number = $3 AND owner = $4 AND attempt = $5 AND state = 'running'",
        )
        .bind(until)
        .bind(&lease.evaluation.project)
        .bind(lease.evaluation.number)
        .bind(&lease.owner)
        .bind(lease.attempt)
        .execute(&self.writer)
        .await?;
        lost_unless(renewed.rows_affected())
    }

    /// Gives an evaluation back, for anybody to do from `not_before` on.
    ///
    /// # Errors
    /// The lease is lost, or the database does not work.
    pub(crate) async fn hand_back(&self, lease: &Lease, not_before: Milliseconds) -> Result<(), StoreError> {
        let returned = sqlx::query(
            "UPDATE evaluations SET state = 'waiting', owner = NULL, lease_until = NULL, not_before = $1
             WHERE project = $2 AND number = $3 AND owner = $4 AND attempt = $5 AND state = 'running'",
        )
        .bind(not_before)
        .bind(&lease.evaluation.project)
        .bind(lease.evaluation.number)
        .bind(&lease.owner)
        .bind(lease.attempt)
        .execute(&self.writer)
        .await?;
        lost_unless(returned.rows_affected())
    }

    /// The verdict.
    ///
    /// # Errors
    /// The lease is lost, or the database does not work.
    pub(crate) async fn finish(
        &self,
        lease: &Lease,
        conclusion: Conclusion,
        summary: Option<&Summary>,
        error: Option<&str>,
        now: Milliseconds,
    ) -> Result<(), StoreError> {
        let summary = summary.map(|summary| serde_json::to_string(summary).unwrap_or_default());
        let finished = sqlx::query(
            "UPDATE evaluations SET state = 'finished', conclusion = $1, summary = $2, error = $3,
                 finished = $4, owner = NULL, lease_until = NULL
             WHERE project = $5 AND number = $6 AND owner = $7 AND attempt = $8 AND state = 'running'",
        )
        .bind(conclusion.word())
        .bind(summary)
        .bind(error)
        .bind(now)
        .bind(&lease.evaluation.project)
        .bind(lease.evaluation.number)
        .bind(&lease.owner)
        .bind(lease.attempt)
        .execute(&self.writer)
        .await?;
        lost_unless(finished.rows_affected())
    }

    /// Takes all leases away. For a database that only this process can have open: whoever had them
    /// is dead.
    ///
    /// # Errors
    /// The database does not work.
    pub(crate) async fn end_all_leases(&self) -> Result<u64, StoreError> {
        let ended = sqlx::query(
            "UPDATE evaluations SET state = 'waiting', owner = NULL, lease_until = NULL WHERE state = 'running'",
        )
        .execute(&self.writer)
        .await?;
        Ok(ended.rows_affected())
    }
}

/// No row was there to change: somebody else has it.
pub(super) fn lost_unless(rows: u64) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::LeaseLost) } else { Ok(()) }
}
