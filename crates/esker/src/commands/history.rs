//! `esker history`: how a job fared, run by run.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use esker_engine::event::Conclusion;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::commands::subject::SubjectArgs;
use crate::screen::clean;
use crate::screen::style::{Color, Style, Symbols, Tone, pad, tone, took};
use crate::state::{HistoryEntry, State, StateError};

/// Show how a job fared in past runs
///
/// One line for each run on this machine, the newest first: when, at which revision (with a `+` if
/// files were not committed), how it ended, and how long the build took.
#[derive(clap::Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Job, or a part of its name that no other job has
    #[arg(value_name = "ATTR")]
    attr: String,
    /// Print one JSON object per run instead
    #[arg(long)]
    json: bool,
    /// Show at most this many runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    subject: SubjectArgs,
}

/// Why there is no history to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot write the history")]
    Write(#[source] io::Error),
}

/// Prints the history to stdout.
///
/// # Errors
/// No such job, or stdout cannot be written. A reader that has seen enough is no error.
pub(crate) fn run(args: &HistoryArgs, state: &State) -> Result<(), HistoryError> {
    let cwd = env::current_dir().unwrap_or_else(|_| ".".into());
    let stdout = io::stdout();
    let color = match anstream::AutoStream::choice(&stdout) {
        anstream::ColorChoice::Never => Color::Off,
        _ if stdout.is_terminal() => Color::On,
        anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => Color::On,
        anstream::ColorChoice::Auto => Color::Off,
    };
    let style = Style { color, symbols: Symbols::Unicode };
    let text = show(args, state, &cwd, style, &TimeZone::system())?;
    match stdout.lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(HistoryError::Write(error)),
        _ => Ok(()),
    }
}

fn show(
    args: &HistoryArgs,
    state: &State,
    cwd: &Path,
    style: Style,
    zone: &TimeZone,
) -> Result<String, StateError> {
    let subject = args.subject.key(cwd);
    let job = state.resolve_job(&subject, &args.attr)?;
    let entries = state.history(&subject, &job, args.limit)?;
    Ok(if args.json {
        entries.iter().map(|entry| format!("{}\n", object(&job, entry))).collect()
    } else {
        table(&entries, style, zone)
    })
}

fn table(entries: &[HistoryEntry], style: Style, zone: &TimeZone) -> String {
    let heading = ["when", "revision", "conclusion", "took"].map(|text| style.paint(Tone::Bold, text));
    let rows = entries.iter().map(|entry| {
        let conclusion = match entry.conclusion {
            Some(conclusion) => style.paint(tone(conclusion), conclusion.word()),
            None => "building".into(),
        };
        [when(entry.started, zone), revision(entry), conclusion, how(entry)]
    });
    std::iter::once(heading).chain(rows).map(|row| line(&row)).collect()
}

fn line([when, revision, conclusion, how]: &[String; 4]) -> String {
    format!("{}  {}  {}  {how}\n", pad(when, 16), pad(revision, 8), pad(conclusion, 10))
}

fn when(milliseconds: i64, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn revision(entry: &HistoryEntry) -> String {
    let Some(revision) = &entry.revision else { return "-".into() };
    let short: String = clean::name(revision).chars().take(7).collect();
    let dirty = entry.dirty.is_some_and(|files| files > 0);
    format!("{short}{}", if dirty { "+" } else { "" })
}

/// How long it took, or why that is not the question.
fn how(entry: &HistoryEntry) -> String {
    let outcome = entry.outcome.as_ref().unwrap_or(&Value::Null);
    let took = entry.seconds.map(took);
    match (outcome["outcome"].as_str().unwrap_or_default(), took) {
        ("fetched", Some(took)) => format!("{took} to download"),
        (_, Some(took)) => took,
        ("in_store", None) => "already in the store".into(),
        ("reused", None) => "reused".into(),
        ("would_build" | "would_fetch", None) => "dry run".into(),
        ("evaluation_failed", None) => "did not evaluate".into(),
        ("dependency_failed", None) => {
            format!("`{}` failed", clean::name(outcome["name"].as_str().unwrap_or("a dependency")))
        }
        (_, None) => "-".into(),
    }
}

/// A field may be added, never renamed or removed; `v` is the version of the event stream.
fn object(job: &str, entry: &HistoryEntry) -> Value {
    json!({
        "v": 1,
        "job": job,
        "run": entry.run,
        "started": Timestamp::from_millisecond(entry.started).unwrap_or_default().to_string(),
        "revision": entry.revision,
        "dirty_files": entry.dirty,
        "drv": entry.drv,
        "conclusion": entry.conclusion.map(Conclusion::word),
        "outcome": entry.outcome,
        "seconds": entry.seconds,
    })
}

#[cfg(test)]
mod tests;
