//! One evaluator process and the thread that reads it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use esker_nix::evaluator::{Entry, Evaluator, ImportFromDerivation, Said, StreamReader};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// Takes a report to the engine's loop; false when nobody listens any more.
pub(crate) type Spawn = Arc<dyn Fn(Report) -> bool + Send + Sync>;

/// What a reader thread saw.
#[derive(Debug)]
pub(crate) enum Report {
    Said {
        worker: usize,
        said: Vec<Said>,
    },
    /// Its stderr is closed. `current` was begun and not answered; `text` is what Nix said last.
    Ended {
        worker: usize,
        current: Option<String>,
        text: String,
    },
}

/// Why we killed a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Cancelled,
    /// Nothing is left for it: it met its partner.
    Met,
    /// Over the budget with no other evaluator running.
    MemoryAlone,
    /// Over the budget together with others.
    MemoryShared,
    TimedOut,
}

pub(crate) struct Worker {
    pub(crate) ifd: ImportFromDerivation,
    child: Child,
    _folder: TempDir,
    /// What it has before it, by id, with its place in the order.
    rest: HashMap<String, (usize, Entry)>,
    settled: usize,
    started: Instant,
    current: Option<Instant>,
    stopped: Option<Stopped>,
}

impl Worker {
    pub(crate) fn start(
        id: usize,
        evaluator: Evaluator,
        nonce: &str,
        ifd: ImportFromDerivation,
        spawn: &Spawn,
        now: Instant,
    ) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let Evaluator { mut command, folder } = evaluator;
        tracing::debug!("{}", esker_nix::tool::describe(&command));
        let mut child = command.process_group(0).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no stderr"))?;
        let (reader, spawn) = (StreamReader::new(nonce), Arc::clone(spawn));
        std::thread::Builder::new()
            .name("evaluator".into())
            .spawn(move || read(id, stderr, reader, &spawn))?;
        Ok(Self {
            ifd,
            child,
            _folder: folder,
            rest: HashMap::new(),
            settled: 0,
            started: now,
            current: Some(now),
            stopped: None,
        })
    }

    /// Sets what it has to do (it was told so at its start).
    pub(crate) fn assign(&mut self, part: Vec<Entry>) {
        self.rest = part.into_iter().enumerate().map(|(at, entry)| (entry.id.clone(), (at, entry))).collect();
    }

    /// What it has before it, in order.
    pub(crate) fn rest(&self) -> Vec<Entry> {
        let mut rest: Vec<&(usize, Entry)> = self.rest.values().collect();
        rest.sort_by_key(|(at, _)| *at);
        rest.into_iter().map(|(_, entry)| entry.clone()).collect()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.rest.contains_key(id)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// It begins with an attribute. Where another's part begins, its own has ended.
    pub(crate) fn began(&mut self, id: &str, now: Instant) {
        self.current = Some(now);
        if !self.has(id) {
            self.stop(Stopped::Met);
        }
    }

    /// It answered; returns how long that took.
    pub(crate) fn ended(&mut self, now: Instant) -> Duration {
        self.settled += 1;
        self.current.take().map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// One attribute less to do, whoever did it. With none left it is stopped where it stands, if
    /// it was its partner that did the last.
    pub(crate) fn settle(&mut self, id: &str) {
        if self.rest.remove(id).is_some() && self.rest.is_empty() && self.current.is_some() {
            self.stop(Stopped::Met);
        }
    }

    /// How many attributes this very process has settled.
    pub(crate) fn settled(&self) -> usize {
        self.settled
    }

    pub(crate) fn busy_for(&self, now: Instant) -> Duration {
        self.current.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Kills it; its end is reported by its reader as always.
    pub(crate) fn stop(&mut self, why: Stopped) {
        if self.stopped.is_none() {
            self.stopped = Some(why);
            self.kill();
        }
    }

    /// Collects the process; returns why it was stopped, what it left undone in order, and how it
    /// ended, in words.
    pub(crate) fn finish(mut self) -> (Option<Stopped>, Vec<Entry>, String) {
        let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        (self.stopped, self.rest(), how)
    }

    fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// 128 random bits, in hexadecimal.
pub(crate) fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("esker-{:032x}", u128::from_le_bytes(bytes)))
}

fn read(worker: usize, stderr: impl io::Read, mut reader: StreamReader, spawn: &Spawn) {
    let mut stderr = BufReader::with_capacity(1 << 16, stderr);
    let (mut line, mut said) = (Vec::new(), Vec::new());
    loop {
        // Hand over what there is before waiting for more.
        let waits = stderr.buffer().is_empty() || said.len() >= 256;
        if waits && !said.is_empty() && !spawn(Report::Said { worker, said: std::mem::take(&mut said) }) {
            return;
        }
        line.clear();
        match read_line(&mut stderr, &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    line.pop();
                }
                said.extend(reader.line(&line));
            }
        }
    }
    let (current, text) = reader.finish();
    if !said.is_empty() {
        spawn(Report::Said { worker, said });
    }
    spawn(Report::Ended { worker, current, text });
}

/// Like `read_until`, but gives a line of more than 64 MiB (a hostile `trace`) in pieces.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    const MAX_LINE: usize = 64 << 20;
    loop {
        let buffer = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let (end, found) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty() || line.len() > MAX_LINE),
        };
        line.extend_from_slice(&buffer[..end]);
        input.consume(end);
        if found {
            return Ok(line.len());
        }
    }
}
