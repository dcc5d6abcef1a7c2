//! Starts `esker exec-traced`, hears the builder's log and reads the result.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use esker_trace::exec::{Ran, Spec};

use crate::build::connection::Process;

/// So much of one line is kept, in bytes.
const LONGEST_LINE: u64 = 64 << 20;

/// Runs `spec` to its end. `started` gets a handle to stop it, `line` each line of the log.
///
/// `Err` in words, when there is no result: it was stopped, or cannot run here.
pub(crate) fn run(
    program: &[String],
    spec: &Spec,
    started: impl FnOnce(Process),
    mut line: impl FnMut(Vec<u8>),
) -> Result<Ran, String> {
    let problem = |what: &str, error: io::Error| format!("cannot {what} `esker exec-traced`: {error}");
    let (name, arguments) = program.split_first().ok_or("nothing is known of `esker exec-traced`")?;
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| problem("start", error))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let process = Process::new(child);
    started(process.clone());
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err("`esker exec-traced` has no pipes".to_owned());
    };
    let request = serde_json::to_vec(spec).map_err(|error| error.to_string())?;
    stdin.write_all(&request).map_err(|error| problem("talk to", error))?;
    drop(stdin);
    // The answer comes after the log, and a pipe may be too small for it.
    let answer = std::thread::spawn(move || {
        let mut answer = Vec::new();
        stdout.read_to_end(&mut answer).map(|_| answer)
    });
    let mut log = BufReader::with_capacity(64 << 10, stderr);
    loop {
        let mut bytes = Vec::new();
        match log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                if bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                if bytes.last() == Some(&b'\r') {
                    bytes.pop();
                }
                line(bytes);
            }
        }
    }
    let answer = answer.join().unwrap_or_else(|_| Err(io::Error::other("its reader is gone")));
    let answer = answer.map_err(|error| problem("hear", error))?;
    let status = process.collect();
    serde_json::from_slice::<Result<Ran, String>>(&answer).unwrap_or_else(|_| {
        Err(match status {
            Some(status) => format!("`esker exec-traced` gave no result ({status})"),
            None => "`esker exec-traced` does not end".to_owned(),
        })
    })
}
