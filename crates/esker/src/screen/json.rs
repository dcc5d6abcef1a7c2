//! `--json`: the engine's own events, one a line ([`Line`]), on stdout.

use std::io::{self, BufWriter, Write};

use esker_engine::Event;
use esker_engine::event::Line;
use jiff::Timestamp;

/// One event as one line.
pub(super) fn text(event: &Event, time: Timestamp) -> String {
    Line::new(event, &format!("{time:.6}")).to_text()
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
        let line = text(event, time);
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

    use esker_engine::event::Line;
    use schemars::generate::SchemaSettings;

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
