//! Questions to the memory: logs, history, how long things take.

use std::collections::HashMap;
use std::path::PathBuf;

use esker_engine::event::{Conclusion, Explanation};
use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;

use super::{State, StateError, folder};

/// What there is to read about a job.
#[derive(Debug)]
pub(crate) enum JobLog {
    /// The log of a build.
    Kept(KeptLog),
    /// It has no derivation: its evaluation failed, and this is what Nix said.
    Evaluation { text: String },
    /// No log is kept. Its derivation, if it had one.
    Nothing { drv: Option<String> },
}

/// A log that is kept.
#[derive(Debug)]
pub(crate) struct KeptLog {
    /// For [`esker_engine::logs::LogReader`]. May have vanished by then, if it is pruned at this moment.
    pub(crate) path: PathBuf,
    pub(crate) drv: String,
    pub(crate) name: String,
    pub(crate) state: BuildState,
    pub(crate) whose: Whose,
    folder: String,
    run: i64,
    number: i64,
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuildState {
    Running,
    Finished(Conclusion),
    /// Its Esker was killed; nobody knows what became of it.
    Stopped,
}

/// Why this is the log for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The job's own, from its newest run.
    Own,
    /// The job's own, from an earlier run (perhaps of another flake): since then it was already there.
    Earlier,
    /// Of a dependency whose failure failed the job.
    Dependency,
}

/// One run of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HistoryEntry {
    /// Name of the run's folder below `logs`; unique.
    pub(crate) run: String,
    /// When the run began, in milliseconds since 1970.
    pub(crate) started: i64,
    pub(crate) revision: Option<String>,
    /// Tracked files that differed from the revision.
    pub(crate) dirty: Option<u64>,
    pub(crate) drv: Option<String>,
    /// `None`: still running.
    pub(crate) conclusion: Option<Conclusion>,
    /// The engine's `Outcome`, as `--json` prints it.
    pub(crate) outcome: Option<Value>,
    /// Of the build or the download.
    pub(crate) seconds: Option<f64>,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunEntry {
    /// Name of the run's folder below `logs`; unique.
    pub(crate) run: String,
    pub(crate) subject: String,
    pub(crate) reference: String,
    pub(crate) revision: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) started: i64,
    /// `None`: still running, or killed; [`RunEntry::live`] tells.
    pub(crate) finished: Option<i64>,
    /// Whether a process records it right now.
    pub(crate) live: bool,
    pub(crate) nix: Option<String>,
    /// The engine's `Summary`, as `--json` prints it.
    pub(crate) summary: Option<Value>,
}

impl State {
    /// How many seconds derivations took, by their names: a moving average over builds that passed.
    pub(crate) fn estimates(&self) -> Result<HashMap<String, f64>, StateError> {
        let select = || -> Result<HashMap<String, f64>, rusqlite::Error> {
            let mut statement = self.db.prepare_cached("SELECT name, seconds FROM durations")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        select().map_err(|error| self.failed(error))
    }

    /// The derivation of `job` and why it was built or reused, in the newest run that knows.
    pub(crate) fn explanation(
        &self,
        subject: &str,
        job: &str,
    ) -> Result<Option<(String, Explanation)>, StateError> {
        let select = || {
            let mut statement = self.db.prepare_cached(
                "SELECT jobs.drv, explanation FROM jobs JOIN runs ON runs.id = jobs.run
                 JOIN explanations ON explanations.run = jobs.run AND explanations.drv = jobs.drv
                 WHERE subject = ?1 AND job = ?2 ORDER BY jobs.run DESC LIMIT 1",
            )?;
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            statement.query_row(params![subject, job], row).optional()
        };
        let found = select().map_err(|error| self.failed(error))?;
        Ok(found.and_then(|(drv, text)| Some((drv, serde_json::from_str(&text).ok()?))))
    }

    /// What to read about `job`, the whole name of one that [`State::resolve_job`] found.
    pub(crate) fn last_log(&self, subject: &str, job: &str) -> Result<JobLog, StateError> {
        self.find_log(subject, job).map_err(|error| self.failed(error))
    }

    fn find_log(&self, subject: &str, job: &str) -> Result<JobLog, rusqlite::Error> {
        // A run that was stopped before it came to this job has nothing to tell of it.
        let mut statement = self.db.prepare_cached(
            "SELECT run, drv, culprit, outcome FROM jobs JOIN runs ON runs.id = jobs.run
             WHERE subject = ?1 AND job = ?2 AND (drv IS NOT NULL OR outcome ->> 'outcome' = 'evaluation_failed')
             ORDER BY run DESC LIMIT 1",
        )?;
        let newest = statement
            .query_row(params![subject, job], |row| {
                Ok((row.get::<_, i64>(0)?, text(row, 1)?, text(row, 2)?, json(row, 3)?))
            })
            .optional()?;
        let Some((run, drv, culprit, outcome)) = newest else { return Ok(JobLog::Nothing { drv: None }) };
        if let Some(text) = outcome.as_ref().and_then(evaluation_error) {
            return Ok(JobLog::Evaluation { text });
        }
        let Some(of) = culprit.as_ref().or(drv.as_ref()) else { return Ok(JobLog::Nothing { drv }) };
        let kept = self.newest_log(of)?.map(|mut log| {
            log.whose = match (drv.as_ref() == Some(of), log.run == run) {
                (false, _) => Whose::Dependency,
                (true, true) => Whose::Own,
                (true, false) => Whose::Earlier,
            };
            log
        });
        Ok(kept.map_or(JobLog::Nothing { drv: Some(of.clone()) }, JobLog::Kept))
    }

    fn newest_log(&self, drv: &str) -> Result<Option<KeptLog>, rusqlite::Error> {
        let mut statement = self.db.prepare_cached(
            "SELECT run, number, folder, log, name
             FROM builds JOIN runs ON runs.id = builds.run
             WHERE drv = ?1 AND log IS NOT NULL ORDER BY run DESC, number DESC LIMIT 1",
        )?;
        let found = statement.query_row([drv], |row| {
            let folder: String = row.get(2)?;
            Ok(KeptLog {
                path: self.dir.join(folder::LOGS).join(&folder).join(row.get::<_, String>(3)?),
                drv: drv.into(),
                name: row.get(4)?,
                state: BuildState::Stopped,
                whose: Whose::Own,
                folder,
                run: row.get(0)?,
                number: row.get(1)?,
            })
        });
        found.optional()?.map(|log| Ok(KeptLog { state: self.find_build_state(&log)?, ..log })).transpose()
    }

    /// Looks again how far the build of a log is.
    pub(crate) fn build_state(&self, log: &KeptLog) -> Result<BuildState, StateError> {
        self.find_build_state(log).map_err(|error| self.failed(error))
    }

    fn find_build_state(&self, log: &KeptLog) -> Result<BuildState, rusqlite::Error> {
        // Asked before the row is read: who records no more has written all that he will.
        let live = folder::is_live(&self.dir, &log.folder);
        let mut statement =
            self.db.prepare_cached("SELECT conclusion FROM builds WHERE run = ?1 AND number = ?2")?;
        let word: Option<Option<String>> =
            statement.query_row(params![log.run, log.number], |row| row.get(0)).optional()?;
        Ok(match word.flatten().as_deref().and_then(conclusion) {
            Some(conclusion) => BuildState::Finished(conclusion),
            None if live => BuildState::Running,
            None => BuildState::Stopped,
        })
    }

    /// Whether the newest run that knows `job` is still at it.
    pub(crate) fn is_in_progress(&self, subject: &str, job: &str) -> Result<bool, StateError> {
        let newest = self.history(subject, job, 1)?;
        Ok(newest.first().is_some_and(|entry| entry.conclusion.is_none()))
    }

    /// The newest runs of `job`, the newest first.
    pub(crate) fn history(
        &self,
        subject: &str,
        job: &str,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StateError> {
        let find = || self.find_history(subject, job, limit).map_err(|error| self.failed(error));
        let is_stopped =
            |entry: &HistoryEntry| entry.conclusion.is_none() && !folder::is_live(&self.dir, &entry.run);
        let mut entries = find()?;
        if entries.iter().any(is_stopped) {
            // Or did it end between the two questions? Who records no more has written all that he will.
            entries = find()?;
            for entry in entries.iter_mut().filter(|entry| is_stopped(entry)) {
                entry.conclusion = Some(Conclusion::Cancelled);
            }
        }
        Ok(entries)
    }

    fn find_history(
        &self,
        subject: &str,
        job: &str,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, rusqlite::Error> {
        let mut statement = self.db.prepare_cached(
            "SELECT folder, started, revision, dirty, drv, conclusion, outcome, seconds
             FROM jobs JOIN runs ON runs.id = jobs.run
             WHERE subject = ?1 AND job = ?2 ORDER BY run DESC LIMIT ?3",
        )?;
        let rows = statement.query_map(params![subject, job, limited(limit)], |row| {
            Ok(HistoryEntry {
                run: row.get(0)?,
                started: row.get(1)?,
                revision: row.get(2)?,
                dirty: row.get::<_, Option<i64>>(3)?.and_then(|count| u64::try_from(count).ok()),
                drv: row.get(4)?,
                conclusion: text(row, 5)?.as_deref().and_then(conclusion),
                outcome: json(row, 6)?,
                seconds: row.get(7)?,
            })
        })?;
        rows.collect()
    }

    /// The newest runs of all subjects, the newest first.
    #[cfg_attr(not(test), expect(dead_code, reason = "no command lists runs yet"))]
    pub(crate) fn runs(&self, limit: usize) -> Result<Vec<RunEntry>, StateError> {
        let select = || -> Result<Vec<RunEntry>, rusqlite::Error> {
            let mut statement = self.db.prepare_cached(
                "SELECT folder, subject, reference, revision, started, finished, nix, summary
                 FROM runs ORDER BY id DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([limited(limit)], |row| {
                let run: String = row.get(0)?;
                Ok(RunEntry {
                    live: folder::is_live(&self.dir, &run),
                    run,
                    subject: row.get(1)?,
                    reference: row.get(2)?,
                    revision: row.get(3)?,
                    started: row.get(4)?,
                    finished: row.get(5)?,
                    nix: row.get(6)?,
                    summary: json(row, 7)?,
                })
            })?;
            rows.collect()
        };
        select().map_err(|error| self.failed(error))
    }
}

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn text(row: &Row<'_>, column: usize) -> Result<Option<String>, rusqlite::Error> {
    row.get(column)
}

/// What is not JSON, which only someone else can have put there, counts as nothing.
fn json(row: &Row<'_>, column: usize) -> Result<Option<Value>, rusqlite::Error> {
    Ok(text(row, column)?.and_then(|text| serde_json::from_str(&text).ok()))
}

fn conclusion(word: &str) -> Option<Conclusion> {
    [Conclusion::Passed, Conclusion::Failed, Conclusion::Broken, Conclusion::Cancelled]
        .into_iter()
        .find(|conclusion| conclusion.word() == word)
}

/// All that Nix said, of an outcome that is a failed evaluation.
fn evaluation_error(outcome: &Value) -> Option<String> {
    let error = outcome.get("error").filter(|_| outcome["outcome"] == "evaluation_failed")?;
    let said = |key: &str| error[key].as_str().filter(|text| !text.trim().is_empty()).map(str::to_string);
    said("trace").or_else(|| said("message"))
}
