//! The last words of a run: what it came to, and what to do next.

use esker_engine::event::Summary;

use super::report::{Block, Kind};
use super::style::{self, Style, Tone};

/// What the last words are made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// One job in words, e.g. `check`.
    pub(crate) noun: String,
    /// Those with a failure of their own.
    pub(crate) failed: Vec<String>,
    /// Those that failed because something they need did.
    pub(crate) dependents: Vec<String>,
    pub(crate) broken: Vec<String>,
    /// The command that shows the log of the first build that failed and printed something.
    pub(crate) log_command: Option<String>,
    /// The command that builds the first job whose own build failed.
    pub(crate) alone_command: Option<String>,
    /// The command that evaluates the first job that did not evaluate.
    pub(crate) trace_command: Option<String>,
    /// Jobs that a dry run found not to be there.
    pub(crate) would_build: u64,
    pub(crate) would_fetch: u64,
    /// Derivations that a real run would build and fetch, dependencies included.
    pub(crate) to_build: u64,
    pub(crate) to_fetch: u64,
    /// Files that Nix cannot see.
    pub(crate) untracked: Vec<String>,
}

/// How many jobs the last line names.
const NAMED: usize = 8;

/// One line when all is well, else `error:` and `hint:` lines under it.
pub(crate) fn verdict(style: Style, tally: &Tally, summary: &Summary) -> Block {
    let line = if tally.would_build + tally.would_fetch > 0 {
        dry_run(style, tally, summary)
    } else if summary.jobs() == 0 && !summary.interrupted {
        format!(" nothing to do: no {}s found", tally.noun)
    } else if summary.all_passed() {
        all_passed(style, tally, summary)
    } else {
        counts(style, summary)
    };
    if summary.all_passed() {
        return Block::note(line);
    }
    let error = |text: &str| format!("{} {text}", style.paint(Tone::Bad, "error:"));
    let hint = |text: &str| format!("{} {text}", style.paint(Tone::Hint, "hint:"));
    let mut body = vec![error(&sentence(tally, summary))];
    body.extend(hints(tally, summary).iter().map(|text| hint(text)));
    Block { kind: Kind::Failed, title: line, body, annotation: None }
}

fn all_passed(style: Style, tally: &Tally, summary: &Summary) -> String {
    let passed = style.paint(Tone::Good, "passed");
    let mut parts = vec![format!(
        " {} {passed} in {}",
        style::count(summary.passed, &tally.noun),
        style::took(summary.seconds)
    )];
    let counts = [
        (summary.built, "built"),
        (summary.reused, "reused"),
        (summary.fetched, "fetched"),
        (summary.proved, "proved"),
    ];
    let some = counts.iter().filter(|(count, _)| *count > 0);
    parts.extend(some.map(|(count, what)| format!("{} {what}", style::number(*count))));
    if parts.len() == 1 {
        parts.push("nothing had to be built".into());
    }
    parts.join(style.dot())
}

fn dry_run(style: Style, tally: &Tally, summary: &Summary) -> String {
    let there = summary.passed.saturating_sub(tally.would_build + tally.would_fetch);
    let parts =
        [(tally.would_build, "to build"), (tally.would_fetch, "to fetch"), (there, "already in the store")];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let mut parts: Vec<_> = parts.map(|(count, what)| format!("{} {what}", style::number(*count))).collect();
    if tally.to_build + tally.to_fetch > 0 {
        let (build, fetch) = (style::count(tally.to_build, "derivation"), style::number(tally.to_fetch));
        parts.push(format!("with dependencies {build} to build and {fetch} to fetch"));
    }
    let jobs = style::count(summary.jobs(), &tally.noun);
    format!(" dry run of {jobs}: {}", parts.join(style.dot()))
}

/// ` 4 of 4 done · 3 passed · 1 failed · 53s`.
fn counts(style: Style, summary: &Summary) -> String {
    let done = style::number(summary.jobs() - summary.cancelled);
    let mut parts = vec![format!(" {done} of {} done", style::number(summary.jobs()))];
    parts.extend(numbers(summary));
    parts.push(style::took(summary.seconds));
    parts.join(style.dot())
}

fn numbers(summary: &Summary) -> Vec<String> {
    let numbers = [
        (summary.passed, "passed"),
        (summary.failed, "failed"),
        (summary.broken, "broken"),
        (summary.cancelled, "cancelled"),
    ];
    let told = numbers.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, word)| format!("{} {word}", style::number(count))).collect()
}

/// `1 of 4 checks failed: tests`.
fn sentence(tally: &Tally, summary: &Summary) -> String {
    // The whole is named once.
    let mut of = format!(" of {}", style::count(summary.jobs(), &tally.noun));
    let mut parts = Vec::new();
    if summary.interrupted {
        let left = summary.cancelled;
        parts.push(format!("interrupted after {}", style::took(summary.seconds)));
        parts.extend(
            (left > 0).then(|| format!("{}{} cancelled", style::number(left), std::mem::take(&mut of))),
        );
    }
    let failed = tally.failed.iter().chain(&tally.dependents);
    for (count, word, names) in [
        (summary.failed, "failed", failed.collect::<Vec<_>>()),
        (summary.broken, "broken", tally.broken.iter().collect()),
    ] {
        if count > 0 {
            let names = style::names(names.into_iter().map(String::as_str), NAMED);
            parts.push(format!("{}{} {word}: {names}", style::number(count), std::mem::take(&mut of)));
        }
    }
    if summary.cancelled > 0 && !summary.interrupted {
        parts.push(format!("{}{of} cancelled", style::number(summary.cancelled)));
    }
    parts.join("; ")
}

fn hints(tally: &Tally, summary: &Summary) -> Vec<String> {
    let mut hints = Vec::new();
    let log = tally.log_command.as_deref().map(|command| format!("`{command}` shows the whole log"));
    let alone = tally.alone_command.as_deref().map(|command| format!("`{command}` runs it alone"));
    let next: Vec<String> = log.into_iter().chain(alone).collect();
    if !next.is_empty() {
        hints.push(next.join("; "));
    } else if let Some(command) = &tally.trace_command {
        hints.push(format!("`{command}` evaluates it alone and shows the whole trace"));
    } else if summary.broken > 0 && !summary.interrupted {
        hints.push("broken is not the code's fault: run it again".into());
    }
    if tally.trace_command.is_some() && !tally.untracked.is_empty() {
        let files = style::names(tally.untracked.iter().map(String::as_str), 3);
        hints.push(format!(
            "Nix sees only what git tracks, so not {files}: `git add --intent-to-add` shows it"
        ));
    }
    hints
}
