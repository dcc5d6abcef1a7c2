//! What all pages have in common.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::address;
use crate::clock::Milliseconds;
use crate::store::EvaluationRow;

/// A page.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// Names and addresses of what it lies in, the outermost first.
    pub(super) within: &'a [(String, String)],
    /// Where its changes come from, if it still changes.
    pub(super) live: Option<String>,
}

impl Page<'_> {
    pub(super) fn with(&self, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Esker" }
                    link rel="stylesheet" href="/style.css";
                    link rel="icon" href="data:,";
                    @if self.live.is_some() {
                        noscript { meta http-equiv="refresh" content="5"; }
                    }
                    script src="/script.js" defer {}
                }
                body data-live=[&self.live] {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        nav aria-label="Where this is" {
                            a href="/" { "Esker" }
                            @for (name, address) in self.within {
                                span aria-hidden="true" { " / " }
                                a href=(address) { (name) }
                            }
                        }
                    }
                    main #content { (content) }
                }
            }
        }
    }
}

/// A page with one sentence.
pub(super) fn plain_page(text: &str) -> Markup {
    Page { title: text, within: &[], live: None }.with(&html! { p { (text) } })
}

/// The word for a state, with its shape before its colour.
pub(super) fn state(word: &str) -> Markup {
    let shape = match word {
        "passed" => "✓",
        "failed" => "✗",
        "broken" => "!",
        "cancelled" => "–",
        "building" | "evaluating" => "●",
        _ => "○",
    };
    html! {
        span.state data-state=(word) { span aria-hidden="true" { (shape) " " } (word) }
    }
}

/// A moment. While something runs, a script keeps the time since then beside it.
pub(super) fn time(at: Milliseconds) -> Markup {
    let moment = Timestamp::from_millisecond(at).unwrap_or_default();
    html! { time datetime=(moment) { (moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) } }
}

/// How long something has been going on, or how long it took.
pub(super) fn duration(from: Milliseconds, to: Option<Milliseconds>) -> Markup {
    html! {
        @match to {
            Some(to) => { "took " (in_words((to - from).max(0) / 1000)) }
            None => { span data-since=(from) { "since " (time(from)) } }
        }
    }
}

fn in_words(seconds: i64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// The first digits of a commit.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// A branch's or tag's name, without what all have.
pub(super) fn branch(reference: &str) -> &str {
    let branch = reference.strip_prefix("refs/heads/").or(reference.strip_prefix("refs/tags/"));
    branch.unwrap_or(reference)
}

/// Which columns a table of evaluations has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// They are of different projects.
    WithProject,
    /// They are all of one.
    OfOneProject,
}

/// A row for each evaluation.
pub(super) fn evaluations(rows: &[EvaluationRow], shown: Shown) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "State" }
                    @if shown == Shown::WithProject { th scope="col" { "Project" } }
                    th scope="col" { "Evaluation" }
                    th scope="col" { "Branch" }
                    th scope="col" { "Commit" }
                    th scope="col" { "Asked for" }
                }
            }
            tbody {
                @for row in rows {
                    tr {
                        td { (state(row.word())) }
                        @if shown == Shown::WithProject {
                            td { a href=(address::project(&row.id.project)) { (row.id.project) } }
                        }
                        td { a href=(address::evaluation(&row.id)) { "#" (row.id.number) } }
                        td { (branch(&row.reference)) }
                        td { code { (short(&row.commit)) } }
                        td { (time(row.queued)) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_words() {
        assert_eq!([0, 59, 96, 3725].map(in_words), ["0 s", "59 s", "1 min 36 s", "1 h 2 min"]);
    }
}
