//! Logs and events, from files that may still grow.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use esker_engine::logs::LogReader;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::PageError;
use super::job::Shown;
use crate::server::App;
use crate::store::EvaluationId;
use crate::worker::attempt_folder;

const CHUNK: usize = 64 * 1024;
/// What of one line a page shows.
const LINE_BYTES: usize = 8 * 1024;

/// Some lines of a log, and their place in it.
#[derive(Default)]
pub(super) struct Lines {
    /// Number of the first of them, from 1.
    pub(super) first: u64,
    pub(super) lines: Vec<Vec<u8>>,
    /// Number of the line after them.
    pub(super) next: u64,
}

/// `…/log.txt`
pub(super) async fn log(app: &App, id: &EvaluationId, job: &str) -> Result<Response, PageError> {
    let shown = Shown::load(app, id, job).await?;
    let log = open_log(app, &shown)?.ok_or(PageError::NotFound)?;
    Ok(send(log, "text/plain; charset=utf-8"))
}

/// `…/events.jsonl`
pub(super) async fn events(app: &App, id: &EvaluationId) -> Result<Response, PageError> {
    let evaluation = app.worker.store.evaluation(id).await?.ok_or(PageError::NotFound)?;
    let path = attempt_folder(&app.worker.state_dir, id, evaluation.attempt).join("events.zst");
    Ok(send(open(path)?.ok_or(PageError::NotFound)?, "application/jsonl; charset=utf-8"))
}

/// The log of a job, if it has printed anything.
pub(super) fn open_log(app: &App, shown: &Shown) -> Result<Option<LogReader>, PageError> {
    let Some(file) = shown.build.as_ref().and_then(|build| build.log.as_ref()) else { return Ok(None) };
    let evaluation = &shown.evaluation;
    open(attempt_folder(&app.worker.state_dir, &evaluation.id, evaluation.attempt).join(file))
}

fn open(path: PathBuf) -> Result<Option<LogReader>, PageError> {
    match LogReader::open(&path) {
        Ok(reader) => Ok(Some(reader)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PageError::File(error)),
    }
}

/// All that is there now, piece by piece.
fn send(mut reader: LogReader, kind: &'static str) -> Response {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            let piece = match reader.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&chunk[..length])),
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

/// The end of a log.
pub(super) async fn last_lines(reader: LogReader, most: usize) -> Result<Lines, PageError> {
    Follower::new(reader).new_lines(1, most).await.map_err(PageError::File)
}

/// Reads a log on and on.
pub(super) struct Follower {
    /// `None` only while it is read on another thread.
    state: Option<Following>,
}

struct Following {
    reader: LogReader,
    /// Number of the next line.
    next: u64,
    /// Of a line whose end was not there yet.
    begun: Vec<u8>,
}

impl Follower {
    pub(super) fn new(reader: LogReader) -> Self {
        Self { state: Some(Following { reader, next: 1, begun: Vec::new() }) }
    }

    /// The last lines from number `from` on that were not read yet.
    pub(super) async fn new_lines(&mut self, from: u64, most: usize) -> io::Result<Lines> {
        let Some(mut following) = self.state.take() else {
            return Err(io::Error::other("it could not be read"));
        };
        let read = tokio::task::spawn_blocking(move || {
            let lines = following.read(from, most);
            (following, lines)
        });
        let (following, lines) = read.await.map_err(io::Error::other)?;
        self.state = Some(following);
        lines
    }
}

impl Following {
    fn read(&mut self, from: u64, most: usize) -> io::Result<Lines> {
        let mut last = VecDeque::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = self.reader.read(&mut chunk)?;
            if length == 0 {
                break;
            }
            let mut rest = &chunk[..length];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                self.add(&rest[..end]);
                rest = &rest[end + 1..];
                let line = std::mem::take(&mut self.begun);
                if self.next >= from {
                    if last.len() == most {
                        last.pop_front();
                    }
                    last.push_back(line);
                }
                self.next += 1;
            }
            self.add(rest);
        }
        let lines: Vec<Vec<u8>> = last.into();
        Ok(Lines { first: self.next - lines.len() as u64, next: self.next, lines })
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use esker_engine::logs::LogFiles;

    use super::*;

    #[tokio::test]
    async fn a_follower_gets_the_last_lines_and_then_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(folder.path().into());
        for number in 1..=5000 {
            logs.append(1, "x", format!("line {number}").as_bytes()).unwrap();
        }
        logs.append(1, "x", &vec![b'x'; 100_000]).unwrap();
        logs.flush().unwrap();
        let mut follower = Follower::new(LogReader::open(&folder.path().join("x.zst")).unwrap());
        let lines = follower.new_lines(1, 3).await.unwrap();
        assert_eq!((lines.first, lines.next, lines.lines[0].as_slice()), (4999, 5002, &b"line 4999"[..]));
        assert_eq!(lines.lines[2].len(), LINE_BYTES);
        assert!(follower.new_lines(1, 3).await.unwrap().lines.is_empty());
        logs.append(1, "x", b"more").unwrap();
        logs.flush().unwrap();
        let lines = follower.new_lines(1, 3).await.unwrap();
        assert_eq!((lines.first, lines.lines), (5002, vec![b"more".to_vec()]));
    }

    #[tokio::test]
    async fn a_page_that_has_seen_some_gets_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(folder.path().into());
        (1..=9).for_each(|number| drop(logs.append(1, "x", format!("{number}").as_bytes()).unwrap()));
        logs.close_all().unwrap();
        let mut follower = Follower::new(LogReader::open(&folder.path().join("x.zst")).unwrap());
        let lines = follower.new_lines(8, 1000).await.unwrap();
        assert_eq!((lines.first, lines.lines), (8, vec![b"8".to_vec(), b"9".to_vec()]));
    }
}
