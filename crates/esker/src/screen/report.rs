//! The text of results: pure functions from facts to lines.
//!
//! Invariant: every line that holds a stranger's words begins with ours (a state, `warning:`, or the
//! bar), and went through [`super::clean`]; so a log cannot pass for a result.

use esker_engine::event::{
    BuildFailure, BuildFailureKind, Conclusion, EvaluationError, EvaluationErrorKind, Outcome, Position,
    Source,
};

use super::clean;
use super::style::{self, Color, Style, Tone, pad, visible_width};

/// Something to print: a line, and what belongs under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    pub(crate) title: String,
    /// Lines under the title; of a build that passed, the end of its log, which most views leave out.
    pub(crate) body: Vec<String>,
    /// For hosts that show a failure beside the code.
    pub(crate) annotation: Option<Annotation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Note,
    Passed,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    pub(crate) position: Option<Position>,
    pub(crate) title: String,
    pub(crate) message: String,
}

impl Block {
    pub(crate) fn note(title: String) -> Self {
        Self { kind: Kind::Note, title, body: Vec::new(), annotation: None }
    }
}

/// What all lines of a run have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) style: Style,
    /// Columns for a job's name.
    pub(crate) name_width: usize,
    /// Lines of a failing log.
    pub(crate) tail: usize,
    pub(crate) full_log: FullLog,
    pub(crate) trace: Trace,
}

/// Whether `esker log` will still find the log when somebody reads this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FullLog {
    Kept,
    /// On a machine that is thrown away afterwards.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    Shown,
    Hidden,
}

/// Columns before a job's name, and before the bar.
pub(crate) const INDENT: usize = 9;
/// Columns of a duration.
pub(crate) const TIME: usize = 5;

/// ` passed  fmt      0.8s  detail`. Without a conclusion: nothing was done (`--dry-run`).
pub(crate) fn result(
    layout: &Layout,
    conclusion: Option<Conclusion>,
    name: &str,
    seconds: Option<f64>,
    detail: &str,
) -> String {
    let word = match conclusion {
        Some(conclusion) => layout.style.paint(style::tone(conclusion), conclusion.word()),
        None => layout.style.paint(Tone::Dim, "-"),
    };
    let time = seconds.map(style::took).unwrap_or_default();
    let name = pad(&clean::name(name), layout.name_width);
    let line = format!(" {}  {name}  {time:>TIME$}  {detail}", pad(&word, INDENT - 3));
    line.trim_end().to_owned()
}

/// The verdict on one job. `told`: its build's log was shown before; `full_log`: the command that
/// shows all of it.
pub(crate) fn job(
    layout: &Layout,
    name: &str,
    conclusion: Conclusion,
    outcome: &Outcome,
    told: bool,
    full_log: &str,
) -> Block {
    let line = |seconds, detail: &str| result(layout, Some(conclusion), name, seconds, detail);
    let note = |title| Block { kind: kind(conclusion), title, body: Vec::new(), annotation: None };
    match outcome {
        Outcome::Built { seconds } => note(line(Some(*seconds), "")),
        Outcome::InStore => note(line(None, "already in the store")),
        Outcome::Reused { reuse } => note(line(None, &format!("reused, trace {}", reuse.trace))),
        Outcome::Fetched { seconds } => note(line(Some(*seconds), "from the binary cache")),
        Outcome::WouldBuild => note(result(layout, None, name, None, "would build")),
        Outcome::WouldFetch => note(result(layout, None, name, None, "would fetch")),
        Outcome::Cancelled => note(line(None, "")),
        Outcome::EvaluationFailed { error } => evaluation_error(layout, name, conclusion, error),
        Outcome::BuildFailed { failure, seconds, .. } if told => {
            note(line(Some(*seconds), &format!("{}, shown above", reason(failure))))
        }
        Outcome::BuildFailed { failure, seconds, .. } => {
            failed_build(layout, name, conclusion, failure, *seconds, full_log, "")
        }
        Outcome::DependencyFailed { name: culprit, .. } => {
            note(line(None, &format!("needs {}, which failed above", clean::name(culprit))))
        }
        Outcome::Broken { message } => {
            let mut block = note(line(None, ""));
            block.body = bar(layout, clean::lines(message));
            block.annotation = Some(annotation(name, conclusion, None, message));
            block
        }
    }
}

/// A build that failed: its line, what Nix said, and the end of its log.
pub(crate) fn failed_build(
    layout: &Layout,
    name: &str,
    conclusion: Conclusion,
    failure: &BuildFailure,
    seconds: f64,
    full_log: &str,
    needed_by: &str,
) -> Block {
    let reason = reason(failure);
    let detail = format!("{reason}{needed_by}");
    let mut lines = Vec::new();
    if failure.kind != BuildFailureKind::Builder || failure.exit_code.is_none() {
        lines.extend(clean::lines(&failure.message));
    }
    let skipped = failure.tail.len().saturating_sub(layout.tail);
    lines.extend(failure.tail.iter().skip(skipped).map(|line| clean::line(line.as_bytes(), Color::Off)));
    if layout.full_log == FullLog::Kept && !failure.tail.is_empty() {
        lines.push(layout.style.paint(Tone::Dim, &format!("full log: {full_log}")));
    }
    let message = failure.tail.iter().rev().find(|line| !line.trim().is_empty()).map_or("", String::as_str);
    let message = if message.is_empty() { reason.clone() } else { format!("{reason}\n{message}") };
    Block {
        kind: Kind::Failed,
        title: result(layout, Some(conclusion), name, Some(seconds), &detail),
        body: bar(layout, lines),
        annotation: Some(annotation(name, conclusion, None, &message)),
    }
}

fn evaluation_error(layout: &Layout, name: &str, conclusion: Conclusion, error: &EvaluationError) -> Block {
    let mut lines = clean::lines(&error.message);
    if let Some(position) = &error.position {
        let position = position_text(position);
        match lines.first_mut() {
            Some(first) => first.insert_str(0, &format!("{position}: ")),
            None => lines.push(position),
        }
    }
    let hidden = lines.len().saturating_sub(layout.tail);
    if hidden > 0 {
        lines.truncate(layout.tail);
        lines.push(format!("{} {} more", layout.style.ellipsis(), style::count(hidden as u64, "line")));
    }
    if layout.trace == Trace::Shown {
        lines.extend(clean::lines(&error.trace));
    }
    Block {
        kind: Kind::Failed,
        title: result(layout, Some(conclusion), name, None, evaluation_kind(error.kind)),
        body: bar(layout, lines),
        annotation: Some(annotation(name, conclusion, error.position.clone(), &error.message)),
    }
}

/// `path:line:column`.
pub(crate) fn position_text(position: &Position) -> String {
    format!("{}:{}:{}", clean::name(&position.path), position.line, position.column)
}

/// Why an attribute has no derivation, in a few words.
pub(crate) fn evaluation_kind(kind: EvaluationErrorKind) -> &'static str {
    use EvaluationErrorKind as K;
    match kind {
        K::Throw => "evaluation throws",
        K::Abort => "evaluation aborts",
        K::Assertion => "an assertion failed",
        K::MissingAttribute => "an attribute is missing",
        K::Type => "a value has the wrong type",
        K::InfiniteRecursion => "infinite recursion",
        K::Syntax => "syntax error",
        K::Impure => "not allowed in pure evaluation",
        K::NotADerivation => "not a derivation",
        K::ImportFromDerivation => "a build that evaluation needs failed",
        K::OutOfMemory => "evaluation needs too much memory",
        K::TimedOut => "evaluation timed out",
        K::Crash => "the evaluator crashed",
        K::Fetch => "a fetch failed",
        K::Other => "evaluation failed",
    }
}

/// Why a build did not pass, in a few words.
pub(crate) fn reason(failure: &BuildFailure) -> String {
    let what = match (failure.kind, failure.exit_code) {
        (BuildFailureKind::Builder, Some(code)) => &*format!("exit code {code}"),
        (BuildFailureKind::Builder, None) => "the builder failed",
        (BuildFailureKind::TimedOut, _) => "timed out",
        (BuildFailureKind::Silent, _) => "silent for too long",
        (BuildFailureKind::LogLimit, _) => "the log grew too large",
        (BuildFailureKind::Output, _) => "an output breaks a rule",
        (BuildFailureKind::NotDeterministic, _) => "not deterministic",
        (BuildFailureKind::NoMachine, _) => "no machine here can build it",
        (BuildFailureKind::Broken, _) => "not the builder's fault",
        (BuildFailureKind::Cancelled, _) => "stopped",
    };
    match &failure.phase {
        Some(phase) => format!("{what} in {}", clean::name(phase)),
        None => what.to_owned(),
    }
}

/// `checking . at 3f2c1ab and 2 uncommitted files; the server will see only 3f2c1ab`.
pub(crate) fn source(source: &Source) -> String {
    let reference = clean::name(&source.reference);
    let Some(revision) = &source.revision else { return format!("checking {reference}") };
    let revision: String = clean::name(revision).chars().take(7).collect();
    match source.dirty_files {
        Some(files @ 1..) => {
            let files = style::count(files, "uncommitted file");
            format!("checking {reference} at {revision} and {files}; the server will see only {revision}")
        }
        _ => format!("checking {reference} at {revision}"),
    }
}

/// `warning: first line`, the rest under it.
pub(crate) fn said(layout: &Layout, tone: Tone, label: &str, text: &str, suffix: &str) -> Block {
    let label = layout.style.paint(tone, label);
    let mut lines = clean::lines(text).into_iter();
    let first = lines.next().unwrap_or_default();
    let mut block = Block::note(format!("{label} {first}{suffix}"));
    block.body = bar(layout, lines.collect());
    block
}

/// Puts the bar before each line.
pub(crate) fn bar(layout: &Layout, lines: Vec<String>) -> Vec<String> {
    let bar = layout.style.paint(Tone::Dim, layout.style.bar());
    lines.into_iter().map(|line| format!("{:INDENT$}{bar} {line}", "").trim_end().to_owned()).collect()
}

/// The columns that the names of these jobs need, within reason.
pub(crate) fn name_width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(visible_width).max().unwrap_or(0).clamp(6, 28)
}

fn kind(conclusion: Conclusion) -> Kind {
    match conclusion {
        Conclusion::Passed => Kind::Passed,
        Conclusion::Failed | Conclusion::Broken => Kind::Failed,
        Conclusion::Cancelled => Kind::Note,
    }
}

fn annotation(name: &str, conclusion: Conclusion, position: Option<Position>, message: &str) -> Annotation {
    let title = format!("{} {}", clean::name(name), conclusion.word());
    Annotation { position, title, message: clean::lines(message).join("\n") }
}
