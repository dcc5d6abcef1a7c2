//! The recorder's thread: events in, rows and log files out.
//!
//! Rows are collected and written in one transaction every [`COMMIT_EVERY`]; logs are made visible
//! to readers every [`FLUSH_EVERY`].

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use esker_engine::event::{Action, Conclusion, Event, Explanation, Outcome, Source, Summary};
use esker_engine::logs::LogFiles;
use rusqlite::{Connection, Transaction, params};

use super::{RunStart, StateError, database, folder};

const COMMIT_EVERY: Duration = Duration::from_millis(200);
const FLUSH_EVERY: Duration = Duration::from_millis(500);
const MAX_PENDING: usize = 2000;
/// How much the latest build counts in the moving average of durations.
const WEIGHT_OF_LATEST: f64 = 0.3;

/// Writes one run.
pub(super) struct Writer {
    dir: PathBuf,
    db: Connection,
    run: i64,
    logs: LogFiles,
    pending: Vec<Row>,
    /// Attribute path by job, of those that have no row yet.
    attrs: HashMap<String, String>,
    /// Number of the build that runs, by derivation.
    building: HashMap<String, u64>,
    builds: u64,
    /// Tells other processes that this run is being recorded.
    _lock: File,
}

/// One change to the database.
enum Row {
    Nix { version: String },
    Source(Source),
    Job { job: String, attr: Option<String>, drv: String },
    JobFinished { job: String, attr: Option<String>, conclusion: Conclusion, outcome: Outcome },
    Build { number: u64, drv: String, name: String, action: Action, started: i64 },
    Explanation { drv: String, explanation: Explanation },
    BuildLog { number: u64, file: String },
    BuildFinished { number: u64, conclusion: Conclusion, seconds: f64 },
    Duration { name: String, seconds: f64, at: i64 },
    Finished { at: i64, summary: Summary },
}

impl Writer {
    /// Enters the run into the state.
    pub(super) fn begin(dir: &Path, start: &RunStart) -> Result<Self, StateError> {
        let (db, _) = database::open(dir)?;
        // The lock keeps `prune` from taking the new folder for one that belongs to no run.
        let guard = folder::lock(dir)?;
        let started = milliseconds(start.started);
        let time = jiff::Timestamp::from_millisecond(started).unwrap_or_default();
        let logs = dir.join(folder::LOGS);
        let (folder, lock) = folder::create_run(dir, &time.strftime("%Y%m%dT%H%M%SZ").to_string())
            .map_err(|source| StateError::Folder { path: logs.clone(), source })?;
        db.execute(
            "INSERT INTO runs (folder, started, subject, reference) VALUES (?1, ?2, ?3, ?4)",
            params![folder, started, start.subject, start.reference],
        )
        .map_err(|source| StateError::Database { path: dir.join(folder::DATABASE), source })?;
        drop(guard);
        Ok(Self {
            dir: dir.into(),
            run: db.last_insert_rowid(),
            db,
            logs: LogFiles::new(logs.join(folder)),
            pending: Vec::new(),
            attrs: HashMap::new(),
            building: HashMap::new(),
            builds: 0,
            _lock: lock,
        })
    }

    /// Takes down events until there are no more.
    pub(super) fn run(mut self, events: &Receiver<Event>) -> Result<(), StateError> {
        let result = self.listen(events);
        if let Err(error) = &result
            && error.is_damage()
        {
            // So that the next run starts afresh. That this one is lost is told anyway.
            drop(self.db);
            let _ = database::set_aside_if_damaged(&self.dir);
        }
        result
    }

    fn listen(&mut self, events: &Receiver<Event>) -> Result<(), StateError> {
        let mut committed = Instant::now();
        let mut flushed = Instant::now();
        loop {
            let commit_in =
                (!self.pending.is_empty()).then(|| COMMIT_EVERY.saturating_sub(committed.elapsed()));
            let flush_in = self.logs.is_dirty().then(|| FLUSH_EVERY.saturating_sub(flushed.elapsed()));
            let event = match [commit_in, flush_in].into_iter().flatten().min() {
                Some(wait) => events.recv_timeout(wait),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if committed.elapsed() >= COMMIT_EVERY || self.pending.len() >= MAX_PENDING {
                self.commit()?;
                committed = Instant::now();
            }
            if flushed.elapsed() >= FLUSH_EVERY {
                self.logs.flush().map_err(|error| self.log_failed(error))?;
                flushed = Instant::now();
            }
        }
        self.logs.close_all().map_err(|error| self.log_failed(error))?;
        self.commit()
    }

    fn take(&mut self, event: Event) -> Result<(), StateError> {
        match event {
            Event::Environment(environment) => self.pending.push(Row::Nix { version: environment.nix }),
            Event::Source(source) => self.pending.push(Row::Source(source)),
            Event::Discovered { jobs } => {
                self.attrs.extend(jobs.into_iter().map(|found| (found.job, found.attr)));
            }
            Event::Dissolved { job } => {
                self.attrs.remove(&job);
            }
            Event::Evaluated { job, drv, .. } => {
                let attr = self.attrs.remove(&job);
                self.pending.push(Row::Job { job, attr, drv });
            }
            Event::JobFinished { job, conclusion, outcome } => {
                let attr = self.attrs.remove(&job);
                self.pending.push(Row::JobFinished { job, attr, conclusion, outcome });
            }
            Event::BuildStarted { drv, name, action, .. } => {
                self.build_started(drv, name, action);
            }
            Event::Explained { drv, explanation, .. } => {
                self.pending.push(Row::Explanation { drv, explanation });
            }
            Event::Log { drv, line } => self.log(&drv, &line)?,
            Event::BuildFinished { drv, name, action, conclusion, seconds, .. } => {
                let number = self.build_of(&drv);
                self.building.remove(&drv);
                self.logs.close(number).map_err(|error| self.log_failed(error))?;
                self.pending.push(Row::BuildFinished { number, conclusion, seconds });
                if conclusion == Conclusion::Passed && action != Action::Fetch && seconds.is_finite() {
                    self.pending.push(Row::Duration { name, seconds, at: milliseconds(SystemTime::now()) });
                }
            }
            Event::Finished(summary) => {
                self.logs.close_all().map_err(|error| self.log_failed(error))?;
                self.pending.push(Row::Finished { at: milliseconds(SystemTime::now()), summary });
                self.commit()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn build_started(&mut self, drv: String, name: String, action: Action) -> u64 {
        self.builds += 1;
        let number = self.builds;
        self.building.insert(drv.clone(), number);
        let started = milliseconds(SystemTime::now());
        self.pending.push(Row::Build { number, drv, name, action, started });
        number
    }

    /// The running build of a derivation; if none was announced, it begins now.
    fn build_of(&mut self, drv: &str) -> u64 {
        match self.building.get(drv) {
            Some(number) => *number,
            None => {
                let name = drv.rsplit('/').next().unwrap_or_default();
                let name = name.split_once('-').map_or(name, |(_, name)| name);
                let name = name.strip_suffix(".drv").unwrap_or(name).to_string();
                self.build_started(drv.to_string(), name, Action::Build)
            }
        }
    }

    fn log(&mut self, drv: &str, line: &[u8]) -> Result<(), StateError> {
        let number = self.build_of(drv);
        let created = self.logs.append(number, drv, line).map_err(|error| self.log_failed(error))?;
        if let Some(file) = created {
            self.pending.push(Row::BuildLog { number, file });
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StateError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut write = |db: &mut Connection| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for row in self.pending.drain(..) {
                row.write(&transaction, self.run)?;
            }
            transaction.commit()
        };
        write(&mut self.db)
            .map_err(|source| StateError::Database { path: self.dir.join(folder::DATABASE), source })
    }

    fn log_failed(&self, source: std::io::Error) -> StateError {
        StateError::Folder { path: self.dir.join(folder::LOGS), source }
    }
}

impl Row {
    fn write(self, db: &Transaction<'_>, run: i64) -> Result<(), rusqlite::Error> {
        let execute = |sql: &str, values: &[&dyn rusqlite::ToSql]| db.prepare_cached(sql)?.execute(values);
        match self {
            Self::Nix { version } => {
                execute("UPDATE runs SET nix = ?2 WHERE id = ?1", params![run, version])
            }
            Self::Source(source) => execute(
                "UPDATE runs SET revision = ?2, dirty = ?3 WHERE id = ?1",
                params![run, source.revision, source.dirty_files.map(saturating)],
            ),
            Self::Job { job, attr, drv } => execute(
                "INSERT INTO jobs (run, job, attr, drv) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (run, job) DO UPDATE SET drv = excluded.drv",
                params![run, job, attr, drv],
            ),
            Self::JobFinished { job, attr, conclusion, outcome } => execute(
                "INSERT INTO jobs (run, job, attr, conclusion, outcome, culprit, seconds)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (run, job) DO UPDATE SET conclusion = excluded.conclusion,
                 outcome = excluded.outcome, culprit = excluded.culprit, seconds = excluded.seconds",
                params![run, job, attr, conclusion.word(), json(&outcome), culprit(&outcome), seconds(&outcome)],
            ),
            Self::Build { number, drv, name, action, started } => execute(
                "INSERT INTO builds (run, number, drv, name, action, started) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![run, saturating(number), drv, name, action_word(action), started],
            ),
            Self::Explanation { drv, explanation } => execute(
                "INSERT INTO explanations (run, drv, explanation) VALUES (?1, ?2, ?3)
                 ON CONFLICT (run, drv) DO UPDATE SET explanation = excluded.explanation",
                params![run, drv, json(&explanation)],
            ),
            Self::BuildLog { number, file } => execute(
                "UPDATE builds SET log = ?3 WHERE run = ?1 AND number = ?2",
                params![run, saturating(number), file],
            ),
            Self::BuildFinished { number, conclusion, seconds } => execute(
                "UPDATE builds SET conclusion = ?3, seconds = ?4 WHERE run = ?1 AND number = ?2",
                params![run, saturating(number), conclusion.word(), seconds],
            ),
            Self::Duration { name, seconds, at } => execute(
                "INSERT INTO durations (name, seconds, count, last) VALUES (?1, ?2, 1, ?3)
                 ON CONFLICT (name) DO UPDATE SET seconds = seconds + ?4 * (excluded.seconds - seconds),
                 count = count + 1, last = excluded.last",
                params![name, seconds, at, WEIGHT_OF_LATEST],
            ),
            Self::Finished { at, summary } => execute(
                "UPDATE runs SET finished = ?2, summary = ?3 WHERE id = ?1",
                params![run, at, json(&summary)],
            ),
        }
        .map(drop)
    }
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Build => "build",
        Action::Fetch => "fetch",
        Action::Rebuild => "rebuild",
    }
}

/// The derivation whose failure decided.
fn culprit(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::DependencyFailed { drv, .. } | Outcome::BuildFailed { drv, .. } => Some(drv),
        _ => None,
    }
}

fn seconds(outcome: &Outcome) -> Option<f64> {
    match outcome {
        Outcome::Built { seconds } | Outcome::Fetched { seconds } | Outcome::BuildFailed { seconds, .. } => {
            Some(*seconds)
        }
        _ => None,
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("events have string keys and no custom errors")
}

/// SQLite knows signed integers only.
fn saturating(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Since 1970; a clock before that counts as 1970.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
