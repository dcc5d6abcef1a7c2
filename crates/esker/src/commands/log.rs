//! `esker log`: what a builder printed, while it runs or afterwards.

use std::env;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use esker_engine::logs::LogReader;
use esker_engine::progress::LINE_BYTES;

use crate::commands::subject::SubjectArgs;
use crate::screen::advice::{Advice, log_command};
use crate::screen::clean;
use crate::screen::style::Color;
use crate::state::{BuildState, JobLog, KeptLog, State, StateError, Whose};

/// Show the whole log of a job
///
/// Prints what the job's builder printed when it last ran, here or in an earlier run if the result
/// was already there since. If a dependency failed, its log is shown; if the evaluation failed,
/// what Nix said.
///
/// A terminal gets text and colours only, whatever the builder printed; a file or a pipe gets
/// every byte as it was.
///
/// Examples:
///
///   esker log tests            the job `tests` of the flake one stands in
///   esker log uni --follow     the one whose name has `uni` in it, as it is being built
///   esker log fmt | less -R
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct LogArgs {
    /// Job, or a part of its name that no other job has
    #[arg(value_name = "ATTR")]
    attr: String,
    /// Keep printing for as long as it builds
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    subject: SubjectArgs,
}

/// Why there is no log to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("no log of `{job}` is kept{}", if drv.is_some() { ": it was not built by Esker here, or printed nothing" } else { "" })]
    Nothing {
        job: String,
        drv: Option<String>,
        /// The command that builds it.
        check: String,
    },
    #[error("cannot read the log of `{job}`")]
    Read {
        job: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the log of `{job}`")]
    Write {
        job: String,
        #[source]
        source: io::Error,
    },
}

impl LogError {
    /// What to try next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::State(error) => error.hint(),
            Self::Nothing { drv: Some(drv), .. } => Some(format!("Nix may have it: `nix log {drv}`")),
            Self::Nothing { drv: None, check, .. } => Some(format!("`{check}` builds it")),
            Self::Read { .. } | Self::Write { .. } => None,
        }
    }
}

/// Prints the log to stdout, and what should be known about it to stderr.
///
/// # Errors
/// No such job or no log of it, or it cannot be read or written. A reader that has seen enough
/// (`esker log x | head`) is no error.
pub(crate) fn run(args: &LogArgs, state: &State) -> Result<(), LogError> {
    let cwd = env::current_dir().unwrap_or_else(|_| ".".into());
    let stdout = io::stdout();
    let form = match (stdout.is_terminal(), anstream::AutoStream::choice(&stdout)) {
        (false, _) => Form::Raw,
        (true, anstream::ColorChoice::Never) => Form::Terminal(Color::Off),
        (true, _) => Form::Terminal(Color::On),
    };
    let mut output =
        Output { out: Box::new(stdout.lock()), notes: Box::new(io::stderr()), form, line: Vec::new() };
    match show(args, state, &cwd, &mut output) {
        Err(LogError::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// How often a build that runs is asked for more.
const POLL: Duration = Duration::from_millis(200);

struct Output<'o> {
    out: Box<dyn Write + 'o>,
    notes: Box<dyn Write + 'o>,
    form: Form,
    /// The line that has begun; only for terminals.
    line: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Raw,
    Terminal(Color),
}

fn show(args: &LogArgs, state: &State, cwd: &Path, output: &mut Output<'_>) -> Result<(), LogError> {
    let subject = args.subject.key(cwd);
    let job = state.resolve_job(&subject, &args.attr)?;
    if args.follow {
        await_build(state, &subject, &job, output)?;
    }
    let unwritten = |source| LogError::Write { job: job.clone(), source };
    match state.last_log(&subject, &job)? {
        JobLog::Kept(log) => show_kept(&job, &log, args, state, output),
        JobLog::Evaluation { text } => {
            output.note("its evaluation failed; this is what Nix said");
            output.write(text.as_bytes()).and_then(|()| output.write(b"\n")).map_err(unwritten)?;
            output.end().map_err(unwritten)
        }
        JobLog::Nothing { drv } => Err(LogError::Nothing { check: check_command(args, &job), job, drv }),
    }
}

fn check_command(args: &LogArgs, job: &str) -> String {
    Advice::new(args.subject.check_words(), Vec::new()).check(&[], job)
}

/// Waits while a run is at this job and has not begun to build it.
fn await_build(state: &State, subject: &str, job: &str, output: &mut Output<'_>) -> Result<(), StateError> {
    let mut told = false;
    while state.is_in_progress(subject, job)? {
        match state.last_log(subject, job)? {
            JobLog::Kept(log) if log.state == BuildState::Running => break,
            JobLog::Kept(_) | JobLog::Evaluation { .. } | JobLog::Nothing { .. } => {}
        }
        if !told {
            output.note(&format!("waiting for `{job}` to print something"));
            told = true;
        }
        sleep(POLL);
    }
    Ok(())
}

fn show_kept(
    job: &str,
    log: &KeptLog,
    args: &LogArgs,
    state: &State,
    output: &mut Output<'_>,
) -> Result<(), LogError> {
    let unread = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => {
            let drv = Some(log.drv.clone());
            LogError::Nothing { job: job.into(), drv, check: check_command(args, job) }
        }
        _ => LogError::Read { job: job.into(), source },
    };
    let unwritten = |source| LogError::Write { job: job.into(), source };
    let mut reader = LogReader::open(&log.path).map_err(unread)?;
    match log.whose {
        Whose::Own => {}
        Whose::Earlier => {
            output.note(&format!("`{job}` was already there in the last run; this is the log of its build"))
        }
        Whose::Dependency => output.note(&format!("this is the log of `{}`, which `{job}` needs", log.name)),
    }
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Asked before reading: what is printed by then is read below.
        let now = state.build_state(log)?;
        loop {
            let count = reader.read(&mut buffer).map_err(unread)?;
            if count == 0 {
                break;
            }
            output.write(&buffer[..count]).map_err(unwritten)?;
        }
        match now {
            BuildState::Running if args.follow => {
                output.out.flush().map_err(unwritten)?;
                sleep(POLL);
            }
            BuildState::Running => {
                output.end().map_err(unwritten)?;
                let command = log_command(&args.subject.words(), &["--follow"], job);
                output.note(&format!("still building; `{command}` shows the rest as it comes"));
                return Ok(());
            }
            BuildState::Stopped => {
                output.end().map_err(unwritten)?;
                output.note("Esker was stopped before this build ended");
                return Ok(());
            }
            BuildState::Finished(_) => return output.end().map_err(unwritten),
        }
    }
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Form::Terminal(color) = self.form else { return self.out.write_all(bytes) };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                self.write_line(color)?;
            }
        }
        Ok(())
    }

    /// One line may be as long as the whole log, and is cleaned in pieces.
    fn write_line(&mut self, color: Color) -> io::Result<()> {
        let mut rest = self.line.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece_length(rest));
            self.out.write_all(clean::line(piece, color).as_bytes())?;
            rest = after;
        }
        self.line.clear();
        self.out.write_all(b"\n")
    }

    fn end(&mut self) -> io::Result<()> {
        if let Form::Terminal(color) = self.form
            && !self.line.is_empty()
        {
            self.write_line(color)?;
        }
        self.out.flush()
    }

    /// For the person; nothing depends on whether it can be read.
    fn note(&mut self, text: &str) {
        let _ = writeln!(self.notes, "note: {text}");
    }
}

/// At most [`LINE_BYTES`], and no character cut in two.
fn piece_length(text: &[u8]) -> usize {
    if text.len() <= LINE_BYTES {
        return text.len();
    }
    let is_continuation = |at: usize| text[at] & 0b1100_0000 == 0b1000_0000;
    (LINE_BYTES - 3..=LINE_BYTES).rev().find(|at| !is_continuation(*at)).unwrap_or(LINE_BYTES)
}

#[cfg(test)]
mod tests;
