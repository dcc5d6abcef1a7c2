//! How a command ends when it cannot do what it was asked to.

use std::error::Error;

use anstream::eprintln;
use anstyle::{AnsiColor, Style};
use esker_engine::config::ConfigError;
use esker_engine::event::Position;
use esker_engine::plan::LocateError;
use esker_engine::{Blame, RunError};
use esker_nix::tool::NixError;
use esker_server::ServeError;

use crate::commands::explain::ExplainError;
use crate::commands::history::HistoryError;
use crate::commands::log::LogError;
use crate::commands::state::StateCommandError;
use crate::commands::trace::TraceError;
use crate::screen::places::Places;
use crate::screen::{clean, github, report};
use crate::state::StateError;

/// Exit code: a job failed.
pub(crate) const FAILED: u8 = 1;
/// Exit code: wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;
/// Exit code: broken, worth a retry.
pub(crate) const BROKEN: u8 = 3;
/// Exit code: interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// What is printed, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    error: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// How an evaluation came to where it failed, for those who want it.
    trace: Option<Box<str>>,
    /// The command that shows it on GitHub, beside the code if its place is known.
    annotation: Option<Box<str>>,
}

impl Failure {
    pub(crate) fn usage(error: impl Into<String>, hint: Option<String>) -> Self {
        Self { code: USAGE, error: error.into(), causes: Vec::new(), hint, trace: None, annotation: None }
    }

    pub(crate) fn of(code: u8, error: &dyn Error, hint: Option<String>) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(next) = cause {
            causes.push(next.to_string());
            cause = next.source();
        }
        Self { code, error: error.to_string(), causes, hint, trace: None, annotation: None }
    }

    /// The error of a run, of which `what` does not evaluate if that is the reason.
    pub(crate) fn of_run(error: &RunError, what: &str) -> Self {
        let code = match error.blame() {
            Blame::Code => FAILED,
            Blame::Usage => USAGE,
            Blame::Machine => BROKEN,
        };
        let mut failure = Self::of(code, error, error.hint());
        if let Some(error) = error.evaluation_error() {
            let place = error.position.as_ref().map(report::position_text);
            let place = place.map(|place| format!("\nat {place}")).unwrap_or_default();
            failure.error = format!("{what} does not evaluate: {}{place}", failure.error);
        }
        failure
    }

    /// The same with another hint, if there is a better one.
    pub(crate) fn or_hint(self, hint: Option<String>) -> Self {
        Self { hint: hint.or(self.hint), ..self }
    }

    /// The same with the trace of the evaluation.
    pub(crate) fn traced(self, error: &RunError) -> Self {
        Self { trace: error.evaluation_error().map(|error| error.trace.as_str().into()), ..self }
    }

    /// The same for GitHub too.
    pub(crate) fn annotated(self, places: &Places, position: Option<Position>) -> Self {
        let annotation = github::whole_error(places, position, &self.error);
        Self { annotation: Some(annotation.into()), ..self }
    }

    /// Writes `error:`, `cause:` and `hint:` lines to stderr.
    pub(crate) fn print(&self) {
        let on_github = github::is_here();
        let line = |word: &str, color: AnsiColor, text: &str| {
            let style = Style::new().bold().fg_color(Some(color.into()));
            let text = text.replace('\n', "\n       ");
            let mut text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
            if on_github {
                text = text.split('\n').map(github::harmless).collect::<Vec<_>>().join("\n");
            }
            eprintln!("{style}{word}:{style:#} {text}");
        };
        line("error", AnsiColor::Red, &self.error);
        for cause in &self.causes {
            line("cause", AnsiColor::Red, cause);
        }
        if let Some(trace) = &self.trace {
            line("trace", AnsiColor::Red, &clean::lines(trace).join("\n"));
        }
        if let Some(hint) = &self.hint {
            line("hint", AnsiColor::Cyan, hint);
        }
        if let Some(annotation) = self.annotation.as_ref().filter(|_| on_github) {
            eprintln!("{annotation}");
        }
    }
}

impl From<NixError> for Failure {
    fn from(error: NixError) -> Self {
        Self::of(BROKEN, &error, error.hint().map(str::to_owned))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of(USAGE, &error, error.hint())
    }
}

impl From<LocateError> for Failure {
    fn from(error: LocateError) -> Self {
        match error {
            LocateError::Config(error) => error.into(),
            LocateError::Nix(error) => error.into(),
        }
    }
}

impl From<esker_server::config::ConfigError> for Failure {
    fn from(error: esker_server::config::ConfigError) -> Self {
        Self::of(USAGE, &error, error.hint())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::of(BROKEN, &error, error.hint().map(str::to_owned))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let usage = matches!(
            error,
            StateError::UnknownJob { .. }
                | StateError::AmbiguousJob { .. }
                | StateError::NothingRemembered { .. }
        );
        let code = if usage { USAGE } else { BROKEN };
        Self::of(code, &error, error.hint())
    }
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::State(error) => error.into(),
            ExplainError::Nothing { .. } => {
                let hint = "`esker check --trace reuse` observes builds and can tell afterwards";
                Self::of(USAGE, &error, Some(hint.to_owned()))
            }
            ExplainError::Write(_) => Self::of(BROKEN, &error, None),
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::State(error) => error.into(),
            LogError::Nothing { .. } => Self::of(USAGE, &error, error.hint()),
            _ => Self::of(BROKEN, &error, error.hint()),
        }
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::State(error) => error.into(),
            other => Self::of(BROKEN, &other, None),
        }
    }
}

impl From<StateCommandError> for Failure {
    fn from(error: StateCommandError) -> Self {
        match error {
            StateCommandError::State(error) => error.into(),
            other => Self::of(BROKEN, &other, None),
        }
    }
}

impl From<TraceError> for Failure {
    fn from(error: TraceError) -> Self {
        Self::of(if error.is_usage() { USAGE } else { BROKEN }, &error, error.hint())
    }
}
