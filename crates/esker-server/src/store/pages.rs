//! What pages, statuses and other readers ask for.

use std::collections::BTreeMap;

use esker_engine::Summary;
use esker_engine::event::Outcome;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{EvaluationId, Store, StoreError};
use crate::clock::Milliseconds;

/// An evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EvaluationRow {
    /// Its name.
    pub(crate) id: EvaluationId,
    /// What is checked.
    pub(crate) commit: String,
    /// Where it was seen.
    pub(crate) reference: String,
    /// `waiting`, `running` or `finished`.
    pub(crate) state: String,
    /// When it was asked for.
    pub(crate) queued: Milliseconds,
    /// When it was first begun.
    pub(crate) started: Option<Milliseconds>,
    /// When it ended.
    pub(crate) finished: Option<Milliseconds>,
    /// How often it was begun.
    pub(crate) attempt: i64,
    /// Whether all jobs are known.
    pub(crate) evaluated: bool,
    /// A [`esker_engine::event::Conclusion::word`].
    pub(crate) conclusion: Option<String>,
    /// Why there are no jobs.
    pub(crate) error: Option<String>,
    /// The engine's last word.
    pub(crate) summary: Option<Summary>,
}

impl EvaluationRow {
    /// One of the seven words.
    pub(crate) fn word(&self) -> &str {
        match (&self.conclusion, self.state.as_str(), self.evaluated) {
            (Some(conclusion), ..) => conclusion,
            (None, "running", true) => "building",
            (None, "running", false) => "evaluating",
            (None, ..) => "waiting",
        }
    }

    /// Whether nothing changes any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.state == "finished"
    }
}

/// A job of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobRow {
    /// Its short name.
    pub(crate) job: String,
    /// Its attribute path.
    pub(crate) attr: String,
    /// One of the seven words.
    pub(crate) state: String,
    /// Its derivation, once known.
    pub(crate) drv: Option<String>,
    /// What became of it.
    pub(crate) outcome: Option<Outcome>,
}

/// A build of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BuildRow {
    /// Its number.
    pub(crate) build: i64,
    /// Store path of the derivation.
    pub(crate) drv: String,
    /// The derivation's name.
    pub(crate) name: String,
    /// `build`, `fetch` or `rebuild`.
    pub(crate) action: String,
    /// When it began.
    pub(crate) started: Milliseconds,
    /// The phase it is in.
    pub(crate) phase: Option<String>,
    /// A [`esker_engine::event::Conclusion::word`].
    pub(crate) conclusion: Option<String>,
    /// When it ended.
    pub(crate) finished: Option<Milliseconds>,
    /// File in the evaluation's folder, if it printed anything.
    pub(crate) log: Option<String>,
}

const EVALUATION: &str = "project, number, commit_id, reference, state, queued, started, finished, attempt,
    evaluated, conclusion, error, summary";

impl Store {
    /// The newest evaluation of each project that has any, by the project's name.
    ///
    /// # Errors
    /// The database does not work; so with all of these.
    pub(crate) async fn newest(&self) -> Result<Vec<EvaluationRow>, StoreError> {
        let rows = sqlx::query(sql(format!(
            "SELECT {EVALUATION} FROM evaluations WHERE (project, number) IN
                 (SELECT project, MAX(number) FROM evaluations GROUP BY project)
             ORDER BY project"
        )))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(evaluation).collect()
    }

    /// The newest evaluations of a project, those below `before` if given.
    pub(crate) async fn evaluations(
        &self,
        project: &str,
        before: Option<i64>,
        most: i64,
    ) -> Result<Vec<EvaluationRow>, StoreError> {
        let rows = sqlx::query(sql(format!(
            "SELECT {EVALUATION} FROM evaluations WHERE project = $1 AND number < $2
             ORDER BY number DESC LIMIT $3"
        )))
        .bind(project)
        .bind(before.unwrap_or(i64::MAX))
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(evaluation).collect()
    }

    /// One evaluation.
    pub(crate) async fn evaluation(&self, id: &EvaluationId) -> Result<Option<EvaluationRow>, StoreError> {
        let row = sqlx::query(sql(format!(
            "SELECT {EVALUATION} FROM evaluations WHERE project = $1 AND number = $2"
        )))
        .bind(&id.project)
        .bind(id.number)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(evaluation).transpose()
    }

    /// Its jobs, by name.
    pub(crate) async fn jobs(&self, id: &EvaluationId) -> Result<Vec<JobRow>, StoreError> {
        let rows: Vec<JobColumns> = sqlx::query_as(
            "SELECT job, attr, state, drv, outcome FROM jobs WHERE project = $1 AND number = $2 ORDER BY job",
        )
        .bind(&id.project)
        .bind(id.number)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().map(job).collect())
    }

    /// One of its jobs.
    pub(crate) async fn job(&self, id: &EvaluationId, name: &str) -> Result<Option<JobRow>, StoreError> {
        let row: Option<JobColumns> = sqlx::query_as(
            "SELECT job, attr, state, drv, outcome FROM jobs WHERE project = $1 AND number = $2 AND job = $3",
        )
        .bind(&id.project)
        .bind(id.number)
        .bind(name)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(job))
    }

    /// How many of its jobs are in which state.
    pub(crate) async fn counts(&self, id: &EvaluationId) -> Result<BTreeMap<String, i64>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT state, COUNT(*) FROM jobs WHERE project = $1 AND number = $2 GROUP BY state",
        )
        .bind(&id.project)
        .bind(id.number)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().collect())
    }

    /// The names of its jobs in this state.
    pub(crate) async fn names(
        &self,
        id: &EvaluationId,
        state: &str,
        most: i64,
    ) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT job FROM jobs WHERE project = $1 AND number = $2 AND state = $3 ORDER BY job LIMIT $4",
        )
        .bind(&id.project)
        .bind(id.number)
        .bind(state)
        .bind(most)
        .fetch_all(&self.readers)
        .await?)
    }

    /// Its builds that run now, the oldest first.
    pub(crate) async fn running_builds(&self, id: &EvaluationId) -> Result<Vec<BuildRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT build, drv, name, action, started, phase, conclusion, finished, log FROM builds
             WHERE project = $1 AND number = $2 AND conclusion IS NULL ORDER BY build",
        )
        .bind(&id.project)
        .bind(id.number)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(build).collect()
    }

    /// The last build of a derivation in it.
    pub(crate) async fn build_of(
        &self,
        id: &EvaluationId,
        drv: &str,
    ) -> Result<Option<BuildRow>, StoreError> {
        let row = sqlx::query(
            "SELECT build, drv, name, action, started, phase, conclusion, finished, log FROM builds
             WHERE project = $1 AND number = $2 AND drv = $3 ORDER BY build DESC LIMIT 1",
        )
        .bind(&id.project)
        .bind(id.number)
        .bind(drv)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(build).transpose()
    }
}

type JobColumns = (String, String, String, Option<String>, Option<String>);

fn job((job, attr, state, drv, outcome): JobColumns) -> JobRow {
    JobRow { job, attr, state, drv, outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()) }
}

fn evaluation(row: &AnyRow) -> Result<EvaluationRow, StoreError> {
    let summary: Option<String> = row.try_get(12)?;
    Ok(EvaluationRow {
        id: EvaluationId { project: row.try_get(0)?, number: row.try_get(1)? },
        commit: row.try_get(2)?,
        reference: row.try_get(3)?,
        state: row.try_get(4)?,
        queued: row.try_get(5)?,
        started: row.try_get(6)?,
        finished: row.try_get(7)?,
        attempt: row.try_get(8)?,
        evaluated: row.try_get::<i64, _>(9)? != 0,
        conclusion: row.try_get(10)?,
        error: row.try_get(11)?,
        summary: summary.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

fn build(row: &AnyRow) -> Result<BuildRow, StoreError> {
    Ok(BuildRow {
        build: row.try_get(0)?,
        drv: row.try_get(1)?,
        name: row.try_get(2)?,
        action: row.try_get(3)?,
        started: row.try_get(4)?,
        phase: row.try_get(5)?,
        conclusion: row.try_get(6)?,
        finished: row.try_get(7)?,
        log: row.try_get(8)?,
    })
}

/// Put together of constants only.
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}
