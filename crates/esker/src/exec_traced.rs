//! `esker exec-traced`: runs one builder in a sandbox and observes it, in a process of its own.
//!
//! What to run comes as JSON on stdin, the result goes as JSON to stdout, the builder's log to
//! stderr. See [`esker_trace::exec`].

use std::io::{self, Read, Write};
use std::process::ExitCode;

use esker_trace::exec::{ExecError, Ran, run as run_traced};

/// The name of the subcommand.
pub(crate) const NAME: &str = "exec-traced";

/// Never interprets arguments: there are none.
pub(crate) fn run() -> ExitCode {
    let result = answer();
    let text = serde_json::to_vec(&result).unwrap_or_default();
    match io::stdout().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(crate::failure::BROKEN),
    }
}

fn answer() -> Result<Ran, String> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).map_err(|error| error.to_string())?;
    let spec = serde_json::from_slice(&text).map_err(|error| format!("this is no specification: {error}"))?;
    let mut log = |bytes: &[u8]| {
        // Whoever reads may be gone; then this process ends soon, too.
        let _ = io::stderr().write_all(bytes);
    };
    run_traced(&spec, &mut log).map_err(|error| words(&error))
}

fn words(error: &ExecError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    match error.hint() {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}
