//! Server-sent events: the one thing that makes a page live.
//!
//! Messages: `change`, a JSON list of fragments that replace those of their ids; `append`, a JSON
//! list of an id and HTML to be added to it; `end`, after which nothing comes any more.
//!
//! Invariant: a connection gets at most four messages a second.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::watch::Receiver;
use tokio_stream::wrappers::ReceiverStream;

use super::fragments::{Fragments, Seen};
use crate::server::App;

const BETWEEN: Duration = Duration::from_millis(250);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One end of a connection to a page.
pub(super) struct Connection {
    sender: Sender<Result<Event, Infallible>>,
    seen: Seen,
    /// What the page had when it connected.
    word: Option<String>,
}

/// The page has gone away.
pub(super) struct Gone;

impl Connection {
    /// Sends what the page lacks.
    pub(super) async fn send(&mut self, fragments: &Fragments) -> Result<(), Gone> {
        let word = fragments.word();
        let news = fragments.news(&mut self.seen);
        let has_all = self.word.take().is_some_and(|had| had == word);
        if has_all || news.is_empty() {
            return Ok(());
        }
        let data = serde_json::to_string(&news).unwrap_or_default();
        self.give(Event::default().event("change").id(word).data(data)).await
    }

    /// Adds to an element.
    pub(super) async fn append(&mut self, id: &str, html: &str) -> Result<(), Gone> {
        let data = serde_json::to_string(&[id, html]).unwrap_or_default();
        self.give(Event::default().event("append").data(data)).await
    }

    /// Nothing comes any more.
    pub(super) async fn end(&mut self) -> Result<(), Gone> {
        self.give(Event::default().event("end").data("end")).await
    }

    async fn give(&self, event: Event) -> Result<(), Gone> {
        self.sender.send(Ok(event)).await.map_err(|_| Gone)
    }
}

/// A connection to a page that `feed` sends to, as long as it likes, and until the server stops.
pub(super) fn connect<F, Fut>(app: &App, seen: &str, feed: F) -> Response
where
    F: FnOnce(Connection) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Gone>> + Send,
{
    let (sender, receiver) = mpsc::channel(1);
    let word = Some(seen.to_owned()).filter(|word| !word.is_empty());
    let connection = Connection { sender: sender.clone(), seen: Seen::default(), word };
    let mut stop = app.stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = feed(connection) => {}
            () = sender.closed() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    });
    let stream = ReceiverStream::new(receiver);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// Waits until something has changed, and not less than is due between two messages.
pub(super) async fn change(listener: &mut Receiver<u64>) {
    tokio::time::sleep(BETWEEN).await;
    if listener.changed().await.is_err() {
        // Nobody can tell us any more.
        std::future::pending::<()>().await;
    }
}
