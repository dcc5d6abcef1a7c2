//! GitHub Actions: results that fold, annotations beside the code, and a summary on the run's page.
//!
//! The commands are those of
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>; the escaping is
//! that of the runner's own toolkit (`@actions/core`).
//!
//! Invariant: no line that is not ours can be taken for a command. The runner looks for `::` at the
//! start of a line, spaces aside, and for the older `##[` anywhere in it.

use std::fmt::Write as _;

use esker_engine::event::{Conclusion, Position, Summary};

use super::clean;
use super::places::Places;
use super::report::{Annotation, Block, Kind};
use super::style;

/// Bytes that the summary may take; GitHub refuses more than 1 MiB for a step.
const SUMMARY_BYTES: usize = 900 << 10;
/// Annotations of a kind that GitHub shows for a step.
const ANNOTATIONS: usize = 10;

/// Whether a runner reads what we print.
pub(crate) fn is_here() -> bool {
    std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true")
}

/// A block as lines for the runner.
pub(crate) fn lines(block: &Block, places: &Places, annotations: &mut usize) -> Vec<String> {
    let mut lines = Vec::new();
    let folds = block.kind == Kind::Passed && !block.body.is_empty();
    if folds {
        lines.push(format!("::group::{}", data(block.title.trim_start())));
    } else {
        lines.push(harmless(&block.title));
    }
    lines.extend(block.body.iter().map(|line| harmless(line)));
    if folds {
        lines.push("::endgroup::".into());
    }
    if let Some(annotation) = &block.annotation
        && *annotations < ANNOTATIONS
    {
        *annotations += 1;
        lines.push(error(annotation, places));
    }
    lines
}

/// `::error file=…,line=…,col=…,title=…::message`.
fn error(annotation: &Annotation, places: &Places) -> String {
    let mut properties = Vec::new();
    if let Some(position) = &annotation.position
        && let Some(file) = places.file(&position.path)
    {
        properties.push(format!("file={}", property(&file)));
        properties.push(format!("line={}", position.line));
        properties.push(format!("col={}", position.column));
    }
    properties.push(format!("title={}", property(&annotation.title)));
    format!("::error {}::{}", properties.join(","), data(&annotation.message))
}

/// The command for an error that left no jobs.
pub(crate) fn whole_error(places: &Places, position: Option<Position>, message: &str) -> String {
    let message = clean::lines(message).join("\n");
    error(&Annotation { position, title: "esker check".to_owned(), message }, places)
}

fn data(text: &str) -> String {
    harmless(&text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A"))
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Takes from a line of log what makes it a command.
pub(crate) fn harmless(line: &str) -> String {
    let line = line.replace("##[", "## [");
    if line.trim_start().starts_with("::") { format!("| {line}") } else { line }
}

/// The page's part of the story, gathered while the run goes on.
#[derive(Default)]
pub(crate) struct Page {
    failures: String,
    omitted: u64,
}

impl Page {
    /// Takes in a failure. Everything else is in the numbers.
    pub(crate) fn add(&mut self, block: &Block) {
        let Some(annotation) = &block.annotation else { return };
        let mut text = format!("<details><summary><code>{}</code>", html(&annotation.title));
        let first = annotation.message.lines().next().unwrap_or_default();
        let _ = write!(text, " <code>{}</code></summary>\n\n<pre>", html(first));
        for line in &block.body {
            let line = anstream::adapter::strip_str(line).to_string();
            let line = line.trim_start();
            let line = line.strip_prefix(['│', '|']).unwrap_or(line);
            let _ = writeln!(text, "{}", html(line.strip_prefix(' ').unwrap_or(line)));
        }
        text += "</pre>\n\n</details>\n\n";
        if self.failures.len() + text.len() > SUMMARY_BYTES {
            self.omitted += 1;
        } else {
            self.failures += &text;
        }
    }

    /// The whole text, in Markdown.
    pub(crate) fn markdown(&self, summary: &Summary, noun: &str) -> String {
        let state = match summary {
            _ if summary.error.is_some() => "error",
            _ if summary.interrupted => "interrupted",
            _ if summary.failed > 0 => Conclusion::Failed.word(),
            _ if summary.broken > 0 => Conclusion::Broken.word(),
            _ if summary.cancelled > 0 => Conclusion::Cancelled.word(),
            _ => Conclusion::Passed.word(),
        };
        let jobs = style::count(summary.jobs(), noun);
        let mut text = format!("### Esker: {state}\n\n");
        if let Some(error) = &summary.error {
            let error: Vec<_> = clean::lines(error).iter().map(|line| html(line)).collect();
            let _ = write!(text, "<pre>{}</pre>\n\n", error.join("\n"));
        }
        let _ = write!(text, "{jobs} in {}\n\n", style::took(summary.seconds));
        text += "| passed | failed | broken | cancelled | built | fetched |\n|--:|--:|--:|--:|--:|--:|\n";
        let numbers = [
            summary.passed,
            summary.failed,
            summary.broken,
            summary.cancelled,
            summary.built,
            summary.fetched,
        ];
        let numbers = numbers.map(style::number).join(" | ");
        let _ = write!(text, "| {numbers} |\n\n");
        text += &self.failures;
        if self.omitted > 0 {
            let _ = write!(text, "{} left out: see the log.\n\n", style::count(self.omitted, "more failure"));
        }
        text
    }
}

/// Text that is neither HTML nor Markdown, whatever is in it.
fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in clean::name(text).chars() {
        if c.is_ascii_punctuation() && !matches!(c, '-' | '.' | ',' | '/') {
            let _ = write!(safe, "&#{};", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use esker_engine::event::Position;

    #[test]
    fn annotations_are_escaped_as_the_runner_expects() {
        let position = Some(Position { path: "a,b:c%.nix".into(), line: 3, column: 7 });
        let annotation =
            Annotation { position, title: "x: failed, badly".into(), message: "100%\r\n::error::no".into() };
        let wanted = "::error file=a%2Cb%3Ac%25.nix,line=3,col=7,title=x%3A failed%2C badly\
                      ::100%25%0D%0A::error::no";
        assert_eq!(error(&annotation, &Places::default()), wanted);
    }

    #[test]
    fn a_position_outside_of_the_repository_is_no_annotation() {
        let position = Some(Position { path: "/nix/store/x/lib.nix".into(), line: 3, column: 7 });
        let annotation = Annotation { position, title: "x".into(), message: "m".into() };
        assert_eq!(error(&annotation, &Places::default()), "::error title=x::m");
    }

    #[test]
    fn logs_cannot_give_commands() {
        assert_eq!(harmless("  ::set-output name=a::b"), "|   ::set-output name=a::b");
        assert_eq!(harmless("x ##[add-path]/tmp"), "x ## [add-path]/tmp");
    }

    #[test]
    fn the_page_shows_markup_as_text() {
        let annotation = Annotation { position: None, title: "a|b".into(), message: "<b>*x*</b>".into() };
        let body = vec!["         | </pre><script>`@someone`".into()];
        let block = Block { kind: Kind::Failed, title: String::new(), body, annotation: Some(annotation) };
        let mut page = Page::default();
        page.add(&block);
        let summary = Summary { failed: 1, passed: 1200, seconds: 61., ..Summary::default() };
        insta::assert_snapshot!(page.markdown(&summary, "check"), @"
        ### Esker: failed

        1,201 checks in 1m01s

        | passed | failed | broken | cancelled | built | fetched |
        |--:|--:|--:|--:|--:|--:|
        | 1,200 | 1 | 0 | 0 | 0 | 0 |

        <details><summary><code>a&#124;b</code> <code>&#60;b&#62;&#42;x&#42;&#60;/b&#62;</code></summary>

        <pre>&#60;/pre&#62;&#60;script&#62;&#96;&#64;someone&#96;
        </pre>

        </details>
        ");
    }
}
