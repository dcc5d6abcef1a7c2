//! Deliveries in: what a push leaves behind before it is answered.

use super::{EvaluationId, Store, StoreError};
use crate::clock::Milliseconds;
use crate::project::ProjectName;

/// The one status that is always there.
pub(super) const STATUS: &str = "esker";

/// A verified delivery.
#[derive(Clone, Debug)]
pub(crate) struct NewDelivery {
    /// The forge's name in the configuration.
    pub(crate) forge: String,
    /// The forge's name for it.
    pub(crate) id: String,
    /// The forge's word for the kind of event.
    pub(crate) event: String,
    /// What to do about it.
    pub(crate) wish: Wish,
}

/// What a delivery wants of us.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// That a commit is checked.
    Check {
        /// A project that is switched on.
        project: ProjectName,
        /// Its id.
        commit: String,
        /// Where it was seen.
        reference: String,
    },
    /// Nothing, and why.
    Nothing(String),
}

/// What came of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// A new evaluation waits.
    Queued(EvaluationId),
    /// There is one of this commit already, which has a verdict on the code or will have one.
    Known(EvaluationId),
    /// The delivery itself has been here before.
    Duplicate,
    /// There is nothing to do.
    Nothing,
}

impl Store {
    /// Takes a delivery in, with all that it causes, in one transaction.
    ///
    /// # Errors
    /// The database does not work; then nothing of it is stored, and the forge may send it again.
    pub(crate) async fn accept(
        &self,
        delivery: &NewDelivery,
        now: Milliseconds,
    ) -> Result<Accepted, StoreError> {
        let mut transaction = self.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO deliveries (forge, id, received, event, caused) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (forge, id) DO NOTHING",
        )
        .bind(&delivery.forge)
        .bind(&delivery.id)
        .bind(now)
        .bind(&delivery.event)
        .bind(match &delivery.wish {
            Wish::Nothing(why) => why.clone(),
            Wish::Check { project, commit, .. } => format!("{commit} of {project}"),
        })
        .execute(&mut *transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Accepted::Duplicate);
        }
        let Wish::Check { project, commit, reference } = &delivery.wish else {
            transaction.commit().await?;
            return Ok(Accepted::Nothing);
        };
        sqlx::query(
            "INSERT INTO revisions (project, commit_id, reference, seen) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project, commit_id, reference) DO UPDATE SET seen = excluded.seen",
        )
        .bind(project.as_str())
        .bind(commit)
        .bind(reference)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        let known: Option<i64> = sqlx::query_scalar(
            "SELECT number FROM evaluations WHERE project = $1 AND commit_id = $2
                 AND COALESCE(conclusion, '') NOT IN ('broken', 'cancelled')
             ORDER BY number DESC LIMIT 1",
        )
        .bind(project.as_str())
        .bind(commit)
        .fetch_optional(&mut *transaction)
        .await?;
        let id = |number| EvaluationId { project: project.as_str().to_owned(), number };
        if let Some(number) = known {
            transaction.commit().await?;
            return Ok(Accepted::Known(id(number)));
        }
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO evaluations
                 (project, number, commit_id, reference, state, queued, not_before, attempt, evaluated)
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, 'waiting', $4, 0, 0, 0
             FROM evaluations WHERE project = $5
             RETURNING number",
        )
        .bind(project.as_str())
        .bind(commit)
        .bind(reference)
        .bind(now)
        .bind(project.as_str())
        .fetch_one(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO statuses (project, number, name, settled, failures, tell_at)
             VALUES ($1, $2, $3, 0, 0, 0)",
        )
        .bind(project.as_str())
        .bind(number)
        .bind(STATUS)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Accepted::Queued(id(number)))
    }
}
