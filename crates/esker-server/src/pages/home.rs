//! `/` and `/p/FORGE/OWNER/REPOSITORY`: projects, and the evaluations of one.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::fragments::{Fragment, Fragments};
use super::layout::{self, Page, Shown};
use super::{PageError, Query, stream};
use crate::address;
use crate::live::Topic;
use crate::project::ProjectName;
use crate::server::App;
use crate::store::EvaluationRow;

/// Evaluations on one page.
const PAGE: usize = 50;

/// `/`
pub(super) async fn show(State(app): State<App>) -> Result<Markup, PageError> {
    let fragments = load(&app).await?;
    let live = Some(format!("/live?seen={}", fragments.word()));
    let content = html! {
        h1 { "Projects" }
        @for section in &fragments.sections { (section.html) }
    };
    Ok(Page { title: "Projects", within: &[], live }.with(&content))
}

/// `/live`
pub(super) async fn live(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Response {
    let seen = Query::of(uri.query().unwrap_or_default()).seen(&headers);
    let for_feed = app.clone();
    stream::connect(&app, &seen, async move |mut connection| {
        let mut listener = for_feed.worker.live.listen(Topic::Evaluations);
        loop {
            if let Ok(fragments) = load(&for_feed).await {
                connection.send(&fragments).await?;
            }
            stream::change(&mut listener).await;
        }
    })
}

async fn load(app: &App) -> Result<Fragments, PageError> {
    let mut newest = app.worker.store.newest().await?;
    // What is not well comes first.
    newest.sort_by_key(|row| !matches!(row.word(), "failed" | "broken"));
    let never = app.worker.config.projects.keys();
    let never: Vec<&ProjectName> =
        never.filter(|name| newest.iter().all(|row| row.id.project != name.as_str())).collect();
    let html = projects(&newest, &never);
    Ok(Fragments { sections: vec![Fragment { id: "projects".to_owned(), html }], ..Fragments::default() })
}

fn projects(newest: &[EvaluationRow], never: &[&ProjectName]) -> Markup {
    html! {
        div #projects {
            @if newest.is_empty() && never.is_empty() {
                p { "No project is switched on. The configuration names them: see " code { "esker serve --help" } "." }
            }
            @if !newest.is_empty() { (layout::evaluations(newest, Shown::WithProject)) }
            @if !never.is_empty() {
                h2 { "Never evaluated" }
                ul {
                    @for name in never { li { (name) } }
                }
            }
        }
    }
}

/// `/p/…`
pub(super) async fn show_project(
    app: &App,
    name: &ProjectName,
    before: Option<i64>,
) -> Result<Response, PageError> {
    let most = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let rows = app.worker.store.evaluations(name.as_str(), before, most).await?;
    if rows.is_empty() && !app.worker.config.projects.contains_key(name) {
        return Err(PageError::NotFound);
    }
    let content = html! {
        h1 { (name.repository()) }
        @if rows.is_empty() {
            p { "Nothing was evaluated yet: the next push will be." }
        } @else {
            (layout::evaluations(&rows, Shown::OfOneProject))
        }
        @if let (PAGE, Some(last)) = (rows.len(), rows.last()) {
            p { a href={ "?before=" (last.id.number) } { "Older ones" } }
        }
    };
    let within = [(name.to_string(), address::project(name.as_str()))];
    Ok(Page { title: name.repository(), within: &within, live: None }.with(&content).into_response())
}
