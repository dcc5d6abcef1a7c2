//! `--json`: the engine's own events, one a line, on stdout.
//!
//! Invariant: a line is one JSON object with `"v"` (1 until a field would have to change its meaning),
//! `"time"` (RFC 3339, UTC) and `"event"`; fields are only ever added.

use std::io::{self, BufWriter, Write};

use esker_engine::Event;
use jiff::Timestamp;
use serde::Serialize;

/// A line of `esker check --json`. Pass over fields and events that you do not know.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "Event"))]
struct Line<'a> {
    /// Version of the format: 1.
    v: u8,
    /// When it was reported: RFC 3339, in UTC, with microseconds.
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

/// One event as one line, with its newline.
pub(crate) fn line(event: &Event, time: Timestamp) -> String {
    let line = Line { v: 1, time: format!("{time:.6}"), event };
    let mut text = serde_json::to_string(&line).expect("events have text keys and finite depth");
    text.push('\n');
    text
}

/// Where the lines go, until nobody reads them any more.
pub(crate) struct Json {
    out: Option<BufWriter<Box<dyn Write + Send>>>,
    problem: Option<io::Error>,
}

impl Json {
    pub(crate) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: Some(BufWriter::new(out)), problem: None }
    }

    pub(crate) fn write(&mut self, event: &Event, time: Timestamp) {
        let line = line(event, time);
        self.attempt(|out| out.write_all(line.as_bytes()));
    }

    /// To be called a few times a second, and at the end.
    pub(crate) fn flush(&mut self) {
        self.attempt(Write::flush);
    }

    /// Why lines are missing, unless it is that nobody reads them. To be asked after the last one.
    pub(crate) fn problem(&mut self) -> Option<io::Error> {
        self.flush();
        self.problem.take()
    }

    /// Whether whoever read the lines went away.
    #[cfg(test)]
    pub(crate) fn reader_is_gone(&self) -> bool {
        self.out.is_none()
    }

    /// A reader that leaves early, as `head` does, is no error.
    fn attempt(&mut self, write: impl FnOnce(&mut BufWriter<Box<dyn Write + Send>>) -> io::Result<()>) {
        if let Some(out) = &mut self.out
            && let Err(error) = write(out)
            && let Some(out) = self.out.take()
        {
            // Dropping it would try to write once more.
            let _ = out.into_parts();
            self.problem = Some(error).filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schemars::generate::SchemaSettings;

    use super::Line;

    /// The schema in the manual is made from the types. `ESKER_WRITE_SCHEMA=1` writes it anew.
    #[test]
    fn the_published_schema_is_that_of_the_events() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/events.schema.json");
        let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let schema = generator.into_root_schema_for::<Line<'_>>();
        let schema = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("ESKER_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, &schema).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap();
        assert!(schema == published, "run this test with ESKER_WRITE_SCHEMA=1, and look at the difference");
    }
}
