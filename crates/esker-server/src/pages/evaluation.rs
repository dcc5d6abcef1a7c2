//! `/p/…/evaluations/N`: the verdict, what went wrong, what goes on, and all jobs.

use axum::response::{IntoResponse as _, Response};
use esker_engine::event::{EvaluationError, Outcome};
use maud::{Markup, html};

use super::fragments::{Fragment, Fragments};
use super::layout::{self, Page};
use super::{PageError, stream};
use crate::address;
use crate::live::Topic;
use crate::server::App;
use crate::store::{BuildRow, EvaluationId, EvaluationRow, JobRow};
use crate::verdict::{self, Jobs};

/// Failures that are shown with the end of their logs.
const UNFOLDED: usize = 50;

/// The page.
pub(super) async fn show(app: &App, id: &EvaluationId) -> Result<Response, PageError> {
    let (evaluation, fragments) = load(app, id).await?;
    let path = address::evaluation(id);
    let live = (!evaluation.is_finished()).then(|| format!("{path}/live?seen={}", fragments.word()));
    let content = html! {
        @for section in &fragments.sections { (section.html) }
        @if let Some(table) = &fragments.table { (table.html) }
        p { a href={ (path) "/events.jsonl" } { "All events" } ", as " code { "esker check --json" } " prints them" }
    };
    let title = format!("#{} {}", id.number, evaluation.word());
    let within = within(id);
    Ok(Page { title: &title, within: &within, live }.with(&content).into_response())
}

/// What has changed, as it changes.
pub(super) async fn live(app: &App, id: &EvaluationId, seen: &str) -> Result<Response, PageError> {
    app.worker.store.evaluation(id).await?.ok_or(PageError::NotFound)?;
    let (for_feed, id) = (app.clone(), id.clone());
    Ok(stream::connect(app, seen, async move |mut connection| {
        let mut listener = for_feed.worker.live.listen(Topic::Evaluation(id.clone()));
        loop {
            if let Ok((evaluation, fragments)) = load(&for_feed, &id).await {
                connection.send(&fragments).await?;
                if evaluation.is_finished() {
                    return connection.end().await;
                }
            }
            stream::change(&mut listener).await;
        }
    }))
}

/// Where an evaluation is.
pub(super) fn within(id: &EvaluationId) -> [(String, String); 2] {
    [
        (id.project.clone(), address::project(&id.project)),
        (format!("#{}", id.number), address::evaluation(id)),
    ]
}

async fn load(app: &App, id: &EvaluationId) -> Result<(EvaluationRow, Fragments), PageError> {
    let store = &app.worker.store;
    let evaluation = store.evaluation(id).await?.ok_or(PageError::NotFound)?;
    let jobs = store.jobs(id).await?;
    let running = store.running_builds(id).await?;
    let fragments = view(&evaluation, &jobs, &running);
    Ok((evaluation, fragments))
}

fn view(evaluation: &EvaluationRow, jobs: &[JobRow], running: &[BuildRow]) -> Fragments {
    let fragment = |id: &str, html: Markup| Fragment { id: id.to_owned(), html };
    let rows: Vec<Fragment> = jobs
        .iter()
        .enumerate()
        .map(|(index, job)| {
            let id = format!("job-{index}");
            Fragment { html: row(&evaluation.id, &id, job), id }
        })
        .collect();
    // A row's id says its place: if one is new, those below are others, and the table is sent.
    let table = table(&rows);
    let named: Vec<Fragment> = rows
        .into_iter()
        .zip(jobs)
        .map(|(row, job)| Fragment { id: format!("{} {}", row.id, job.job), html: row.html })
        .collect();
    Fragments {
        sections: vec![
            fragment("verdict", headline(evaluation, jobs)),
            fragment("failures", failures(evaluation, jobs)),
            fragment("running", at_work(evaluation, running)),
        ],
        table: Some(fragment("jobs", table)),
        rows: named,
    }
}

fn headline(evaluation: &EvaluationRow, jobs: &[JobRow]) -> Markup {
    let mut counts = Jobs::default();
    for job in jobs {
        *counts.counts.entry(job.state.clone()).or_default() += 1;
    }
    let not_passed = jobs.iter().filter(|job| job.state == evaluation.word()).map(|job| job.job.clone());
    counts.not_passed = not_passed.take(10).collect();
    let sentence = verdict::sentence(evaluation, &counts);
    html! {
        section #verdict role="status" {
            h1 { (layout::state(evaluation.word())) }
            @if sentence != evaluation.word() { p.sentence { (sentence) } }
            p.about {
                code title=(evaluation.commit) { (layout::short(&evaluation.commit)) }
                " on " strong { (layout::branch(&evaluation.reference)) } " · "
                @match evaluation.started {
                    Some(started) => (layout::duration(started, evaluation.finished)),
                    None => { "waiting " (layout::duration(evaluation.queued, None)) }
                }
                @if evaluation.attempt > 1 { " · attempt " (evaluation.attempt) }
            }
        }
    }
}

fn failures(evaluation: &EvaluationRow, jobs: &[JobRow]) -> Markup {
    let failed: Vec<&JobRow> =
        jobs.iter().filter(|job| matches!(job.state.as_str(), "failed" | "broken")).collect();
    html! {
        section #failures {
            @if let Some(error) = &evaluation.error {
                h2 { "Why there are no jobs" }
                pre { (error) }
            }
            @if !failed.is_empty() {
                h2 { "What went wrong" }
                @for job in failed.iter().take(UNFOLDED) {
                    article {
                        h3 {
                            (layout::state(&job.state)) " "
                            a href=(address::job(&evaluation.id, &job.job)) { (job.job) }
                        }
                        @if let Some(outcome) = &job.outcome { (why(outcome)) }
                    }
                }
                @if failed.len() > UNFOLDED {
                    p { "and " (failed.len() - UNFOLDED) " more, see below" }
                }
            }
        }
    }
}

/// Why a job did not pass.
pub(super) fn why(outcome: &Outcome) -> Markup {
    html! {
        @match outcome {
            Outcome::EvaluationFailed { error } => (evaluation_error(error)),
            Outcome::BuildFailed { failure, .. } => {
                p {
                    @match failure.exit_code {
                        Some(code) => { "its builder exited with code " (code) }
                        None => (failure.message),
                    }
                    @if let Some(phase) = &failure.phase { " in " (phase) }
                }
                @if !failure.tail.is_empty() { pre { (failure.tail.join("\n")) } }
            }
            Outcome::DependencyFailed { name, .. } => { p { "it needs " code { (name) } ", which failed" } }
            Outcome::Broken { message } => { p { (message) } }
            _ => {}
        }
    }
}

fn evaluation_error(error: &EvaluationError) -> Markup {
    html! {
        pre { (error.message) }
        @if let Some(at) = &error.position {
            p { "at " code { (at.path) ":" (at.line) ":" (at.column) } }
        }
        @if !error.trace.is_empty() {
            details {
                summary { "All that Nix said" }
                pre { (error.trace) }
            }
        }
    }
}

fn at_work(evaluation: &EvaluationRow, running: &[BuildRow]) -> Markup {
    html! {
        section #running {
            @if !running.is_empty() && !evaluation.is_finished() {
                h2 { "Building" }
                ul {
                    @for build in running {
                        li {
                            code { (build.name) } " "
                            @if build.action == "fetch" { "downloading " }
                            @if let Some(phase) = &build.phase { (phase) " " }
                            (layout::duration(build.started, None))
                        }
                    }
                }
            }
        }
    }
}

fn table(rows: &[Fragment]) -> Markup {
    html! {
        section #jobs {
            h2 { "Jobs" }
            @if rows.is_empty() {
                p { "none yet" }
            } @else {
                table {
                    thead {
                        tr {
                            th scope="col" { "State" }
                            th scope="col" { "Job" }
                            th scope="col" { "Attribute" }
                            th scope="col" { "How" }
                        }
                    }
                    tbody {
                        @for row in rows { (row.html) }
                    }
                }
            }
        }
    }
}

fn row(evaluation: &EvaluationId, id: &str, job: &JobRow) -> Markup {
    html! {
        tr id=(id) {
            td { (layout::state(&job.state)) }
            td { a href=(address::job(evaluation, &job.job)) { (job.job) } }
            td { code { (job.attr) } }
            td { @if let Some(outcome) = &job.outcome { (how(outcome)) } }
        }
    }
}

/// How a job came to its verdict, in a few words.
pub(super) fn how(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Built { seconds } => format!("built in {seconds:.1} s"),
        Outcome::InStore => "was there already".to_owned(),
        Outcome::Reused { .. } => "nothing it reads has changed".to_owned(),
        Outcome::Fetched { seconds } => format!("downloaded in {seconds:.1} s"),
        Outcome::WouldBuild => "would be built".to_owned(),
        Outcome::WouldFetch => "would be downloaded".to_owned(),
        Outcome::EvaluationFailed { .. } => "does not evaluate".to_owned(),
        Outcome::BuildFailed { seconds, .. } => format!("after {seconds:.1} s"),
        Outcome::DependencyFailed { name, .. } => format!("needs {name}"),
        Outcome::Broken { .. } => "not the code's fault".to_owned(),
        Outcome::Cancelled => "stopped".to_owned(),
    }
}

#[cfg(test)]
mod tests;
