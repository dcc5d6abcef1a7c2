//! Reads Nix's error messages: what kind, which sentence, where in the user's files.
//!
//! Nix prints for people, and differently by version: 2.8 gives the error first and then the
//! trace, newer ones the trace first and the error last. Nothing here decides whether an attribute
//! failed; a text that is not understood is shown as it is.
//!
//! Source of the format: the Nix source, `showErrorInfo` in `libutil/error.cc`.

mod classify;
mod place;
#[cfg(test)]
mod tests;

pub use classify::ErrorKind;
pub use place::OwnSource;
use place::{Place, find_place};

/// A file name that no user's flake has, so that frames in it can be told from the user's.
pub(super) const OWN_FILE: &str = "esker-evaluate.nix";
/// The same for the expression that stands for a file and its arguments.
pub(super) const OWN_EXPRESSION: &str = "esker-expression.nix";
/// So many lines of a message are kept.
const MAX_LINES: usize = 20;
/// What Nix puts before the second and further lines of a message.
const INDENTATION: &str = "       ";

/// An error, as far as it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorText {
    /// What it is about.
    pub kind: ErrorKind,
    /// The sentence, without `error:`.
    pub message: String,
    /// Path, line and column: the nearest place to the error in the user's own files, else in any.
    pub position: Option<(String, u64, u64)>,
    /// The derivation that an import needs.
    pub wanted_derivation: Option<String>,
    /// The text without the parts that concern our own flake.
    pub trace: String,
}

/// Reads the text of one error. Positions in the user's flake, if it is known, become relative.
pub fn read_error(text: &str, source: Option<&OwnSource>) -> ErrorText {
    let lines: Vec<&str> = text.lines().filter(|line| !is_noise(line)).collect();
    let starts = || lines.iter().enumerate().rev().filter(|(_, line)| is_error_line(line)).map(|(at, _)| at);
    // Newest Nix: the last `error:` is the error itself. 2.8: there is only one.
    let found = starts().find(|at| !sentence(lines[*at]).is_empty()).or_else(|| starts().next());
    let (at, end) = match found {
        Some(at) => (at, message_end(&lines, at)),
        None => {
            let at = lines.iter().rposition(|line| !line.trim().is_empty()).unwrap_or(0);
            (at, (at + 1).min(lines.len()))
        }
    };
    let message = message(&lines[at..end]);
    let frames = Frames { before: &lines[..at], message: &lines[at..end], after: &lines[end..] };
    let raw = classify::classify(&message, &frames);
    let wanted_derivation = (raw == ErrorKind::ImportFromDerivation)
        .then(|| message.split(['\'', '"', '^', '!']).find(|word| word.ends_with(".drv")).map(str::to_owned))
        .flatten();
    let message = match frames.failed_assertion(&message) {
        Some(condition) => format!("assertion '{condition}' failed: {message}"),
        None => message,
    };
    let message = match frames.suggestion() {
        Some(suggestion) => format!("{message}; {}", suggestion.trim_end_matches('?')),
        None => message,
    };
    ErrorText {
        kind: raw,
        position: frames.position(source),
        wanted_derivation,
        trace: place::relative_text(&without_our_frames(&lines), source),
        message: place::relative_text(&message, source),
    }
}

/// Whether there is an error in this text at all. If not, whoever wrote it was killed.
pub fn has_error(text: &str) -> bool {
    text.lines().any(|line| !is_noise(line) && is_error_line(line))
}

/// What stands around an error's message.
struct Frames<'a> {
    before: &'a [&'a str],
    message: &'a [&'a str],
    after: &'a [&'a str],
}

impl Frames<'_> {
    /// From the error outwards: what follows it, then what is above it, then what it says itself.
    fn position(&self, source: Option<&OwnSource>) -> Option<(String, u64, u64)> {
        let (after, before, message) = (places(self.after), places(self.before), places(self.message));
        let places: Vec<Place<'_>> =
            after.into_iter().chain(before.into_iter().rev()).chain(message).collect();
        let own = source.and_then(|source| places.iter().find_map(|place| place.inside(source)));
        own.or_else(|| places.first().map(Place::absolute))
    }

    /// The innermost frame's heading, where the trace comes before the error.
    fn innermost(&self) -> Option<&str> {
        self.before.iter().rev().find_map(|line| line.trim_start().strip_prefix("… "))
    }

    /// Nix from 2.24 on explains why two sides of an assertion differ; its condition is in a frame.
    fn failed_assertion(&self, message: &str) -> Option<&str> {
        if !classify::tells_a_difference(message) {
            return None;
        }
        let heading = "while evaluating the condition of the assertion '";
        let frame = self
            .before
            .iter()
            .rev()
            .find_map(|line| line.trim_start().strip_prefix("… ")?.strip_prefix(heading))?;
        frame.strip_suffix('\'')
    }

    fn suggestion(&self) -> Option<&str> {
        self.after.iter().map(|line| line.trim()).find(|line| line.starts_with("Did you mean "))
    }
}

/// The first line after the message that begins at `at`.
fn message_end(lines: &[&str], at: usize) -> usize {
    let goes_on = |line: &&&str| {
        let indented = line.trim().is_empty() || line.starts_with(INDENTATION);
        indented && !is_frame(line) && !is_error_line(line)
    };
    at + 1 + lines[at + 1..].iter().take_while(goes_on).count()
}

fn message(lines: &[&str]) -> String {
    let (first, rest) = lines.split_first().map_or(("", lines), |(first, rest)| (sentence(first), rest));
    let rest = rest.iter().take(MAX_LINES).map(|line| line.strip_prefix(INDENTATION).unwrap_or(line));
    let text: Vec<&str> = [first].into_iter().chain(rest).collect();
    match text.join("\n").trim() {
        "" => "Nix gave no reason".to_owned(),
        message => message.to_owned(),
    }
}

fn is_error_line(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("error:") || line.starts_with("error (ignored):")
}

fn sentence(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(next) = rest.strip_prefix("error:").or_else(|| rest.strip_prefix("error (ignored):")) {
        rest = next.trim_start();
    }
    rest
}

/// The heading of a frame, a place, a line of quoted source, or a remark of Nix on its trace.
fn is_frame(line: &str) -> bool {
    let text = line.trim();
    let remark = text.starts_with('(')
        && (text.contains("duplicate frames omitted") || text.contains("stack trace truncated"));
    find_place(line).is_some_and(|place| place.is_whole_line)
        || text.starts_with('…')
        || is_quoted(line)
        || remark
        || text.starts_with("Did you mean ")
}

/// All places in the files of others.
fn places<'a>(lines: &[&'a str]) -> Vec<Place<'a>> {
    let all = lines.iter().enumerate().filter_map(|(at, line)| Some((at, find_place(line)?)));
    // Nix 2.8 does not say whose `flake.nix` it is, but shows the line; in ours is the other file's name.
    let shows_ours = |at: usize| {
        let shown = lines[at + 1..].iter().skip_while(|line| line.trim().is_empty());
        shown.take_while(|line| is_quoted(line)).any(|line| line.contains(OWN_FILE))
    };
    all.filter(|(at, place)| !is_ours(place) && !shows_ours(*at)).map(|(_, place)| place).collect()
}

/// `  12| text`
fn is_quoted(line: &str) -> bool {
    let number = line.trim().split_once('|').map(|(number, _)| number);
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_ours(place: &Place<'_>) -> bool {
    [OWN_FILE, OWN_EXPRESSION].iter().any(|file| place.path.ends_with(file))
        || place.path.contains("/esker-evaluate-")
}

fn is_noise(line: &str) -> bool {
    line.starts_with("trace: ")
        || line.starts_with("warning: ")
        || line.starts_with("evaluation warning: ")
        || line.starts_with("checking ")
        || line.starts_with("evaluating ")
        || line.starts_with("derivation evaluated to ")
        || line.starts_with("error: some errors were encountered during the evaluation")
}

/// Leaves out each frame (`… while`, `at`, quoted lines) that lies in our own flake.
fn without_our_frames(lines: &[&str]) -> String {
    let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
    for line in lines {
        if line.trim_start().starts_with('…') || is_error_line(line) {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push(line);
        }
    }
    let about_us = |line: &str| {
        find_place(line).is_some_and(|place| is_ours(&place))
            || line.contains("while checking the derivation 'packages.")
            || line.contains("while checking flake output 'packages'")
            // Nix 2.8 shows the line of our flake.nix, but not whose it is.
            || (is_quoted(line) && line.contains(OWN_FILE))
    };
    let kept = blocks.into_iter().flat_map(|block| {
        if !block.iter().any(|line| about_us(line)) {
            return block;
        }
        // The error itself stays, without its place.
        let is_error = block.first().is_some_and(|line| is_error_line(line));
        let end = if is_error { message_end(&block, 0) } else { 0 };
        block[..end].to_vec()
    });
    let text = kept.collect::<Vec<_>>().join("\n");
    text.trim_matches('\n').to_owned()
}
