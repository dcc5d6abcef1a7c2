//! `/p/…/evaluations/N/jobs/JOB`: one job, with its log.

use axum::response::{IntoResponse as _, Response};
use esker_engine::event::Outcome;
use maud::{Markup, html};

use super::fragments::{Fragment, Fragments};
use super::layout::{self, Page};
use super::{PageError, ansi, evaluation, files, stream};
use crate::address;
use crate::live::Topic;
use crate::server::App;
use crate::store::{BuildRow, EvaluationId, EvaluationRow, JobRow};

/// Lines of a log that a page begins with.
const LINES: usize = 1000;

/// A job, and the build whose log is its own.
pub(super) struct Shown {
    pub(super) evaluation: EvaluationRow,
    pub(super) job: JobRow,
    pub(super) build: Option<BuildRow>,
}

impl Shown {
    pub(super) async fn load(app: &App, id: &EvaluationId, name: &str) -> Result<Self, PageError> {
        let store = &app.worker.store;
        let evaluation = store.evaluation(id).await?.ok_or(PageError::NotFound)?;
        let job = store.job(id, name).await?.ok_or(PageError::NotFound)?;
        let drv = match &job.outcome {
            Some(Outcome::DependencyFailed { drv, .. } | Outcome::BuildFailed { drv, .. }) => Some(drv),
            _ => job.drv.as_ref(),
        };
        let build = match drv {
            Some(drv) => store.build_of(id, drv).await?,
            None => None,
        };
        Ok(Self { evaluation, job, build })
    }

    /// Whether nothing changes any more.
    fn is_finished(&self) -> bool {
        self.evaluation.is_finished()
            || (self.job.outcome.is_some()
                && self.build.as_ref().is_none_or(|build| build.conclusion.is_some()))
    }

    fn fragments(&self) -> Fragments {
        let html = about(self);
        Fragments { sections: vec![Fragment { id: "job".to_owned(), html }], ..Fragments::default() }
    }
}

/// The page.
pub(super) async fn show(app: &App, id: &EvaluationId, name: &str) -> Result<Response, PageError> {
    let shown = Shown::load(app, id, name).await?;
    let path = address::job(id, name);
    let log = match files::open_log(app, &shown)? {
        Some(log) => Some(files::last_lines(log, LINES).await?),
        None => None,
    };
    let next = log.as_ref().map_or(1, |log| log.next);
    let live = (!shown.is_finished()).then(|| format!("{path}/live?seen={next}"));
    let content = html! {
        @for section in &shown.fragments().sections { (section.html) }
        section {
            h2 #log-title { "Log" }
            @match (&log, shown.is_finished()) {
                (None, true) => p { "Nothing was printed here." },
                _ => p { a href={ (path) "/log.txt" } { "The whole log as text" } },
            }
            @if let Some(skipped) = log.as_ref().map(|log| log.first - 1).filter(|skipped| *skipped > 0) {
                p { (skipped) " earlier lines are not shown" }
            }
            ol #log .log role="log" aria-live="off" aria-labelledby="log-title" tabindex="0" {
                @if let Some(log) = &log { (lines(&log.lines, log.first)) }
            }
        }
    };
    let within = evaluation::within(id);
    Ok(Page { title: name, within: &within, live }.with(&content).into_response())
}

/// What has changed, and new lines of the log. Pages have seen the lines before number `seen`.
pub(super) async fn live(
    app: &App,
    id: &EvaluationId,
    name: &str,
    seen: &str,
) -> Result<Response, PageError> {
    Shown::load(app, id, name).await?;
    let mut next: u64 = seen.parse().unwrap_or(1);
    let (for_feed, id, name) = (app.clone(), id.clone(), name.to_owned());
    Ok(stream::connect(app, "", async move |mut connection| {
        let mut listener = for_feed.worker.live.listen(Topic::Evaluation(id.clone()));
        let mut follower = None;
        loop {
            if let Ok(shown) = Shown::load(&for_feed, &id, &name).await {
                connection.send(&shown.fragments()).await?;
                if follower.is_none() {
                    let log = files::open_log(&for_feed, &shown).ok().flatten();
                    follower = log.map(files::Follower::new);
                }
                if let Some(follower) = &mut follower {
                    let new = follower.new_lines(next, LINES).await.unwrap_or_default();
                    if !new.lines.is_empty() {
                        connection.append("log", &lines(&new.lines, new.first).0).await?;
                    }
                    next = new.next.max(next);
                }
                if shown.is_finished() {
                    return connection.end().await;
                }
            }
            stream::change(&mut listener).await;
        }
    }))
}

fn about(shown: &Shown) -> Markup {
    let Shown { evaluation, job, build } = shown;
    html! {
        section #job role="status" {
            h1 { (layout::state(&job.state)) " " (job.job) }
            p.about {
                code { (job.attr) } " at " code { (layout::short(&evaluation.commit)) }
                @if let Some(outcome) = &job.outcome { " · " (evaluation::how(outcome)) }
                @else if let Some(build) = build {
                    @if let Some(phase) = &build.phase { " · " (phase) }
                    @if build.conclusion.is_none() { " · " (layout::duration(build.started, None)) }
                }
            }
            @if let Some(outcome @ (Outcome::EvaluationFailed { .. } | Outcome::DependencyFailed { .. }
                | Outcome::Broken { .. })) = &job.outcome { (evaluation::why(outcome)) }
            dl {
                @if let Some(drv) = &job.drv { dt { "Derivation" } dd { code { (drv) } } }
                dt { "The same here" }
                dd { code { "esker check --attr " (shell_word(&job.job)) } " in a checkout of this commit" }
            }
        }
    }
}

fn lines(lines: &[Vec<u8>], first: u64) -> Markup {
    html! {
        @for (number, line) in (first..).zip(lines) {
            li id={ "L" (number) } value=(number) { (ansi::markup(line)) }
        }
    }
}

/// A word as a shell would need it. A name may be made so that pasting it does harm.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:+=@%^,".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    if word.chars().all(|c| !c.is_control() && c.is_ascii()) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    // What cannot be seen, or looks like something else, is spelt out, as bash and zsh read it.
    let spelt = word.bytes().map(|byte| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        other => format!("\\x{other:02x}"),
    });
    format!("$'{}'", spelt.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn a_pasted_name_does_nothing_by_itself() {
        assert_eq!(shell_word("unit.a-b"), "unit.a-b");
        assert_eq!(shell_word("\"$(reboot)\""), "'\"$(reboot)\"'");
        assert_eq!(shell_word("a'; reboot"), r"'a'\''; reboot'");
        assert_eq!(shell_word("a\nreboot"), r"$'a\x0areboot'");
        assert_eq!(shell_word("\u{202e}"), r"$'\xe2\x80\xae'");
    }
}
