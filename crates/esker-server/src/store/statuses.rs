//! What the forges were told, and what they have still to be told.

use super::{EvaluationId, EvaluationRow, Store, StoreError};
use crate::clock::Milliseconds;

/// A status whose last word was not said yet.
#[derive(Clone, Debug)]
pub(crate) struct Untold {
    /// Whose.
    pub(crate) evaluation: EvaluationId,
    /// As the forge shows it.
    pub(crate) name: String,
    /// What the forge was last told.
    pub(crate) told: Option<String>,
    /// How often telling has failed since it last worked.
    pub(crate) failures: i64,
}

impl Store {
    /// All statuses that may have to be told now.
    ///
    /// # Errors
    /// The database does not work.
    pub(crate) async fn untold(&self, now: Milliseconds) -> Result<Vec<Untold>, StoreError> {
        let rows: Vec<(String, i64, String, Option<String>, i64)> = sqlx::query_as(
            "SELECT project, number, name, told, failures FROM statuses
             WHERE settled = 0 AND tell_at <= $1 ORDER BY tell_at, project, number",
        )
        .bind(now)
        .fetch_all(&self.readers)
        .await?;
        let untold = rows.into_iter().map(|(project, number, name, told, failures)| Untold {
            evaluation: EvaluationId { project, number },
            name,
            told,
            failures,
        });
        Ok(untold.collect())
    }

    /// When the next status may be told that had to wait, if any has.
    ///
    /// # Errors
    /// The database does not work.
    pub(crate) async fn next_telling(&self, after: Milliseconds) -> Result<Option<Milliseconds>, StoreError> {
        let next: Option<i64> =
            sqlx::query_scalar("SELECT MIN(tell_at) FROM statuses WHERE settled = 0 AND tell_at > $1")
                .bind(after)
                .fetch_one(&self.readers)
                .await?;
        Ok(next)
    }

    /// The forge was told this.
    ///
    /// # Errors
    /// The database does not work.
    pub(crate) async fn told(&self, status: &Untold, told: &str, last_word: bool) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE statuses SET told = $1, settled = $2, failures = 0, tell_at = 0
             WHERE project = $3 AND number = $4 AND name = $5",
        )
        .bind(told)
        .bind(i64::from(last_word))
        .bind(&status.evaluation.project)
        .bind(status.evaluation.number)
        .bind(&status.name)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The forge could not be told, and shall be told from `at` on.
    ///
    /// # Errors
    /// The database does not work.
    pub(crate) async fn tell_later(&self, status: &Untold, at: Milliseconds) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE statuses SET failures = failures + 1, tell_at = $1
             WHERE project = $2 AND number = $3 AND name = $4",
        )
        .bind(at)
        .bind(&status.evaluation.project)
        .bind(status.evaluation.number)
        .bind(&status.name)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Whether this is the newest evaluation of its commit: only that one speaks to the forge.
    ///
    /// # Errors
    /// The database does not work.
    pub(crate) async fn is_newest(&self, evaluation: &EvaluationRow) -> Result<bool, StoreError> {
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT MAX(number) FROM evaluations WHERE project = $1 AND commit_id = $2")
                .bind(&evaluation.id.project)
                .bind(&evaluation.commit)
                .fetch_one(&self.readers)
                .await?;
        Ok(newest == Some(evaluation.id.number))
    }
}
