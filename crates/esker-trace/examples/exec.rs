//! Runs the builder that a JSON specification on standard input describes; the log goes to standard
//! error, the result to standard output.

use std::io::{Read, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let spec = serde_json::from_str(&text)?;
    let ran = esker_trace::exec::run(&spec, &mut |bytes| {
        // A reader that is gone does not stop the run.
        let _ = std::io::stderr().write_all(bytes);
    })?;
    Ok(serde_json::to_writer(std::io::stdout(), &ran)?)
}
