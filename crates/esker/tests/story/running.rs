//! An `esker` that runs: what it says is read at once, and it never outlives its time or its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::project::Esker;
use super::told::Told;

/// See the module.
pub(crate) struct Running {
    process: Pid,
    heard: Receiver<Heard>,
    deadline: Instant,
    hidden: Vec<(String, String)>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    events: Vec<Value>,
    status: Option<ExitStatus>,
}

enum Heard {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ended(ExitStatus),
}

impl Running {
    pub(super) fn start(esker: Esker) -> Self {
        let Esker { mut command, time, hidden } = esker;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, heard) = channel();
        listen(child.stdout.take().unwrap(), Heard::Stdout, sender.clone());
        listen(child.stderr.take().unwrap(), Heard::Stderr, sender.clone());
        let process = Pid::from_child(&child);
        thread::spawn(move || sender.send(Heard::Ended(child.wait().unwrap())));
        Self {
            process,
            heard,
            deadline: Instant::now() + time,
            hidden,
            stdout: Vec::new(),
            stderr: Vec::new(),
            events: Vec::new(),
            status: None,
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_raw_nonzero().get().try_into().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process, signal).unwrap();
    }

    /// Waits for an event (`--json`), of those too that came before. Panics when it ends without.
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut looked = 0;
        loop {
            if let Some(event) = self.events[looked..].iter().find(|event| wanted(event)) {
                return event.clone();
            }
            looked = self.events.len();
            assert!(self.listen(), "it ended without {what}\n{}", String::from_utf8_lossy(&self.stderr));
        }
    }

    /// Waits for some text on stderr. Panics when it ends without.
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stderr).contains(text) {
            assert!(self.listen(), "it ended without `{text}`\n{}", String::from_utf8_lossy(&self.stderr));
        }
    }

    /// The same for stdout.
    pub(crate) fn wait_for_output(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            assert!(self.listen(), "it ended without `{text}`\n{}", String::from_utf8_lossy(&self.stderr));
        }
    }

    /// What it has printed to stdout so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its direct children and theirs, now.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        descendants(self.id())
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Told {
        while self.listen() {}
        let text = |bytes: &mut Vec<u8>| String::from_utf8_lossy(&std::mem::take(bytes)).into_owned();
        Told {
            code: self.status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: text(&mut self.stdout),
            stderr: text(&mut self.stderr),
            events: std::mem::take(&mut self.events),
            hidden: std::mem::take(&mut self.hidden),
        }
    }

    /// Takes one thing it says; false when nothing more can come.
    fn listen(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.heard.recv_timeout(left) {
            Ok(Heard::Stdout(line)) => {
                self.events.extend(serde_json::from_slice(&line).ok().filter(Value::is_object));
                self.stdout.extend(line);
            }
            Ok(Heard::Stderr(line)) => self.stderr.extend(line),
            Ok(Heard::Ended(status)) => self.status = Some(status),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return false,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!(
                "esker took too long (ended: {:?}; still there: {:?})\n--- stdout\n{}\n--- stderr\n{}",
                self.status,
                self.descendants(),
                String::from_utf8_lossy(&self.stdout),
                String::from_utf8_lossy(&self.stderr)
            ),
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = kill_process(self.process, Signal::KILL);
        }
    }
}

fn listen(stream: impl Read + Send + 'static, heard: fn(Vec<u8>) -> Heard, sender: Sender<Heard>) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            match stream.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let _ = sender.send(heard(line));
                }
            }
        }
    });
}

pub(crate) fn descendants(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}
