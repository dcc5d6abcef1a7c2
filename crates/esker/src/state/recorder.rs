//! Taking down a run, beside it.
//!
//! The run hands its events over and goes on; a thread of the recorder's own writes them. If that
//! fails, at whatever moment, the run is not recorded from there on, and says so once.

use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use esker_engine::Event;

use super::writer::Writer;
use super::{State, StateError};

/// How far the run may be ahead of the disk, in events.
const QUEUE: usize = 1024;

/// What is known of a run before its first event.
#[derive(Clone, Debug)]
pub(crate) struct RunStart {
    /// See [`super::subject_of`].
    pub(crate) subject: String,
    /// The flake reference, or file, as the user wrote it.
    pub(crate) reference: String,
    pub(crate) started: SystemTime,
}

/// Records one run. Dropped without a [`Event::Finished`], the run counts as stopped.
pub(crate) struct Recorder {
    /// `None`: no longer recording.
    sender: Option<SyncSender<Event>>,
    writer: Option<JoinHandle<Result<(), StateError>>>,
}

impl Recorder {
    /// Begins to record. The text is for the person at the keyboard: this run is not recorded, and why.
    ///
    /// Takes the result of opening the state, so that a state that cannot be opened is one case of that.
    pub(crate) fn begin(state: Result<&State, &StateError>, run: &RunStart) -> (Self, Option<String>) {
        let begun = state.map_err(StateError::one_line).and_then(|state| {
            let (sender, receiver) = mpsc::sync_channel(QUEUE);
            let writer = Writer::begin(state.dir(), run).map_err(|error| error.one_line())?;
            let thread = thread::Builder::new().name("recorder".into());
            let writer = thread.spawn(move || writer.run(&receiver)).map_err(|error| error.to_string())?;
            Ok(Self { sender: Some(sender), writer: Some(writer) })
        });
        match begun {
            Ok(recorder) => (recorder, None),
            Err(reason) => (Self { sender: None, writer: None }, Some(not_recorded(&reason))),
        }
    }

    /// Takes down one event. Returns a text for the person at the keyboard when recording ended early.
    ///
    /// Waits when the disk is far behind.
    pub(crate) fn record(&mut self, event: &Event) -> Option<String> {
        if !is_kept(event) {
            return None;
        }
        match self.sender.as_ref()?.send(event.clone()) {
            Ok(()) => None,
            Err(_) => self.end(),
        }
    }

    /// Writes what is left. Returns a text for the person at the keyboard when that failed.
    pub(crate) fn finish(mut self) -> Option<String> {
        self.end()
    }

    fn end(&mut self) -> Option<String> {
        self.sender = None;
        match self.writer.take()?.join() {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(not_recorded(&error.one_line())),
            Err(_) => Some(not_recorded("its recorder died, which is a mistake in Esker")),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

fn not_recorded(reason: &str) -> String {
    format!("this run is not recorded, `esker log` and `esker history` will not know it: {reason}")
}

/// Whether [`Writer`] does something with it; the others need not be copied.
fn is_kept(event: &Event) -> bool {
    match event {
        Event::Environment(_)
        | Event::Source(_)
        | Event::Discovered { .. }
        | Event::Dissolved { .. }
        | Event::Evaluated { .. }
        | Event::Explained { .. }
        | Event::BuildStarted { .. }
        | Event::Log { .. }
        | Event::BuildFinished { .. }
        | Event::JobFinished { .. }
        | Event::Finished(_) => true,
        Event::Evaluating { .. }
        | Event::EvaluationFailed { .. }
        | Event::Warning { .. }
        | Event::EvaluationFinished { .. }
        | Event::Present { .. }
        | Event::Reused { .. }
        | Event::Proving { .. }
        | Event::Proved { .. }
        | Event::Scheduled { .. }
        | Event::Phase { .. }
        | Event::Transfer { .. }
        | Event::Notice { .. } => false,
    }
}
