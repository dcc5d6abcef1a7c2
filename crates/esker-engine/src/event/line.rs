//! Events for other programs: one JSON object a line.
//!
//! Invariant: a line has `"v"` (1 until a field would have to change its meaning), `"time"` (RFC
//! 3339, UTC) and `"event"`; fields are only ever added.

use serde::Serialize;

use super::Event;

/// A line of `esker check --json`. Pass over fields and events that you do not know.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "Event"))]
pub struct Line<'a> {
    /// Version of the format: 1.
    v: u8,
    /// When it was reported: RFC 3339, in UTC, with microseconds.
    time: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> Line<'a> {
    /// An event that was reported at this time.
    pub fn new(event: &'a Event, time: &'a str) -> Self {
        Self { v: 1, time, event }
    }

    /// As it is printed, with its newline.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string(self).expect("events have text keys and finite depth");
        text.push('\n');
        text
    }
}
