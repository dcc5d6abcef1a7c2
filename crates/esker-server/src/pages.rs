//! What people see: pages rendered here, complete without JavaScript.
//!
//! Each page is a handler that fetches and a view that is a pure function. What can change while it
//! is looked at is made of fragments ([`fragments`]), and a live page is sent those that are others
//! than it has, from the same functions.
//!
//! Invariant: everything is escaped, by maud; nothing here makes HTML out of strings.
//! Invariant: no page asks anything of another host, and none runs a script but ours.

mod ansi;
mod evaluation;
mod files;
mod fragments;
mod home;
mod job;
mod layout;
mod stream;

use axum::Router;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tracing::error;

use crate::address::{Address, Part};
use crate::server::App;
use crate::store::StoreError;
use crate::worker::in_full;

const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// All pages, and what they are made with.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/", get(home::show))
        .route("/live", get(home::live))
        .route("/p/{*path}", get(below_project))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/style.css", get(|| asset("text/css; charset=utf-8", include_str!("pages/style.css"))))
        .route("/script.js", get(|| asset("text/javascript; charset=utf-8", include_str!("pages/script.js"))))
        .fallback(|| async { PageError::NotFound })
        .layer(middleware::from_fn(protect))
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text)
}

/// The path is read still escaped: a job's name may have a slash in it.
async fn below_project(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let path = uri.path().strip_prefix("/p/").unwrap_or_default();
    let query = Query::of(uri.query().unwrap_or_default());
    match Address::parse(path).ok_or(PageError::NotFound)? {
        Address::Project(name) => home::show_project(&app, &name, query.number("before")).await,
        Address::Evaluation(id, Part::Page) => evaluation::show(&app, &id).await,
        Address::Evaluation(id, Part::Live) => evaluation::live(&app, &id, &query.seen(&headers)).await,
        Address::Evaluation(id, Part::Events) => files::events(&app, &id).await,
        Address::Job(id, job, Part::Page) => job::show(&app, &id, &job).await,
        Address::Job(id, job, Part::Live) => job::live(&app, &id, &job, &query.seen(&headers)).await,
        Address::Job(id, job, Part::Log) => files::log(&app, &id, &job).await,
        Address::Evaluation(_, Part::Log) | Address::Job(_, _, Part::Events) => Err(PageError::NotFound),
    }
}

/// `?name=value&…`, of plain words.
struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    fn of(query: &'a str) -> Self {
        Self(query.split('&').filter_map(|pair| pair.split_once('=')).collect())
    }

    fn word(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.word(name)?.parse().ok()
    }

    /// What a live page has already: after a lost connection the browser says it, before that the
    /// page itself did.
    fn seen(&self, headers: &HeaderMap) -> String {
        let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
        last.or(self.word("seen")).unwrap_or_default().to_owned()
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum PageError {
    /// There is no such thing.
    NotFound,
    /// We cannot tell.
    Store(StoreError),
    /// A file cannot be read.
    File(std::io::Error),
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (code, text) = match &self {
            Self::NotFound => (StatusCode::NOT_FOUND, "There is no such page."),
            Self::Store(problem) => {
                error!("Cannot show a page: {}", in_full(problem));
                (StatusCode::SERVICE_UNAVAILABLE, "This cannot be shown now. Try again in a moment.")
            }
            Self::File(problem) => {
                error!("Cannot show a file: {problem}");
                (StatusCode::INTERNAL_SERVER_ERROR, "This cannot be shown: its file cannot be read.")
            }
        };
        (code, layout::plain_page(text)).into_response()
    }
}

async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
