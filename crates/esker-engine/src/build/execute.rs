//! Has Nix's daemon build, one derivation on each connection.
//!
//! Invariant: a slot is either idle or has exactly one task, and reports exactly one end for it,
//! also when the daemon dies or the run is cancelled.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use esker_nix::protocol::{
    ActivityKind, BuildLog, BuildMode, DerivedPath, Field, Options, ProtocolError, ResultKind,
};
use esker_nix::tool::Nix;

use super::connection::{Connection, Process};
use super::outcome::{Limits, Verdict, with_reason};
use super::resolve::NodeSpec;
use super::schedule::{Lane, NodeId};
use crate::event::{Action, BuildFailureKind, Explanation, Reason};
use crate::trace::{self, Attempt, Proved, Tracer, Unproven};

/// What a slot tells the engine's loop.
pub(crate) enum Report {
    /// A builder or a download is started for it. Not said of a result that is reused.
    Began {
        node: NodeId,
    },
    /// Why it is built, or reused.
    Explained {
        node: NodeId,
        explanation: Explanation,
    },
    /// What a person should know, of no build in particular.
    Notice(String),
    Line {
        node: NodeId,
        line: Vec<u8>,
    },
    Phase {
        node: NodeId,
        phase: String,
    },
    Transfer {
        node: NodeId,
        done: u64,
        expected: u64,
    },
    /// `slot` is idle now.
    Ended {
        node: NodeId,
        slot: usize,
        verdict: Verdict,
        /// What could be proven of it at once.
        unproven: Option<Box<Unproven>>,
    },
    /// `slot`, where a proof was made, is idle now.
    Proved {
        slot: usize,
        proved: Proved,
    },
}

/// Takes a report; false when nobody listens any more.
pub(crate) type Listener = Arc<dyn Fn(Report) -> bool + Send + Sync>;

enum Task {
    Build(Wanted),
    Prove(Arc<Unproven>),
}

struct Wanted {
    node: NodeId,
    spec: NodeSpec,
}

/// Connections that build. They are opened when first needed and kept until [`Executor::close`].
pub(crate) struct Executor {
    nix: Nix,
    options: Options,
    tracer: Option<Arc<Tracer>>,
    listener: Listener,
    slots: Vec<Slot>,
    idle: Vec<usize>,
    /// How many run, and may run, in each lane.
    busy: [usize; 2],
    most: [usize; 2],
    cancelled: Arc<AtomicBool>,
}

/// How many derivations are fetched at once: as many as Nix itself fetches.
const FETCHES: usize = 16;

struct Slot {
    /// What it does now, or did last.
    lane: Lane,
    tasks: Sender<Task>,
    process: Arc<Mutex<Option<Process>>>,
    /// The traced builder that runs now.
    builder: Arc<Mutex<Option<Process>>>,
    /// Its proof is to make room for a build.
    dropped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Executor {
    /// At most `most` builds at once.
    pub(crate) fn new(
        nix: &Nix,
        options: Options,
        tracer: Option<Arc<Tracer>>,
        most: usize,
        listener: Listener,
    ) -> Self {
        let cancelled = Arc::new(AtomicBool::new(false));
        Self {
            nix: nix.clone(),
            options,
            tracer,
            listener,
            slots: Vec::new(),
            idle: Vec::new(),
            busy: [0, 0],
            most: [most.max(1), FETCHES],
            cancelled,
        }
    }

    pub(crate) fn has_room(&self, lane: Lane) -> bool {
        self.busy[lane as usize] < self.most[lane as usize]
    }

    /// Starts a build. There must be room.
    pub(crate) fn start(&mut self, node: NodeId, spec: NodeSpec) -> io::Result<()> {
        self.hand_out(Lane::of(spec.action), Task::Build(Wanted { node, spec })).map(drop)
    }

    /// Starts a proof, in the lane of builds, and tells in which slot. There must be room.
    pub(crate) fn start_proof(&mut self, unproven: Arc<Unproven>) -> io::Result<usize> {
        self.hand_out(Lane::Build, Task::Prove(unproven))
    }

    /// Stops the proof in this slot; it reports its end.
    pub(crate) fn drop_proof(&self, slot: usize) {
        let Slot { dropped, builder, .. } = &self.slots[slot];
        dropped.store(true, Ordering::SeqCst);
        if let Some(process) = &*builder.lock().unwrap_or_else(PoisonError::into_inner) {
            process.terminate();
        }
    }

    fn hand_out(&mut self, lane: Lane, task: Task) -> io::Result<usize> {
        let slot = match self.idle.pop() {
            Some(slot) => slot,
            None => self.open()?,
        };
        self.slots[slot].dropped.store(false, Ordering::SeqCst);
        let sent = self.slots[slot].tasks.send(task);
        sent.map_err(|_| io::Error::other("the thread of a build connection is gone"))?;
        self.slots[slot].lane = lane;
        self.busy[lane as usize] += 1;
        Ok(slot)
    }

    /// Call it for each [`Report::Ended`] and [`Report::Proved`].
    pub(crate) fn ended(&mut self, slot: usize) {
        let busy = &mut self.busy[self.slots[slot].lane as usize];
        *busy = busy.saturating_sub(1);
        self.idle.push(slot);
    }

    /// Asks all running builds to end; each reports its end as cancelled.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.processes().iter().for_each(Process::terminate);
    }

    /// Ends whatever still runs, at once.
    pub(crate) fn kill(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.processes().iter().for_each(Process::kill);
    }

    /// Closes all connections, and with them their temporary roots.
    pub(crate) fn close(self) {
        for Slot { tasks, thread, .. } in self.slots {
            drop(tasks);
            let _ = thread.join();
        }
    }

    fn processes(&self) -> Vec<Process> {
        let process = |process: &Mutex<Option<Process>>| -> Option<Process> {
            process.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let of_slot = |slot: &Slot| [process(&slot.process), process(&slot.builder)];
        self.slots.iter().flat_map(of_slot).flatten().collect()
    }

    fn open(&mut self) -> io::Result<usize> {
        let slot = self.slots.len();
        let (tasks, inbox) = channel();
        let process = Arc::new(Mutex::new(None));
        let builder = Arc::new(Mutex::new(None));
        let dropped = Arc::new(AtomicBool::new(false));
        let thread = Builder {
            slot,
            nix: self.nix.clone(),
            options: self.options.clone(),
            tracer: self.tracer.clone(),
            builder: Arc::clone(&builder),
            dropped: Arc::clone(&dropped),
            listener: Arc::clone(&self.listener),
            process: Arc::clone(&process),
            cancelled: Arc::clone(&self.cancelled),
        };
        let thread =
            std::thread::Builder::new().name(format!("build {slot}")).spawn(move || thread.serve(&inbox))?;
        self.slots.push(Slot { lane: Lane::Build, tasks, process, builder, dropped, thread });
        Ok(slot)
    }
}

/// The thread of one slot.
struct Builder {
    slot: usize,
    nix: Nix,
    options: Options,
    tracer: Option<Arc<Tracer>>,
    builder: Arc<Mutex<Option<Process>>>,
    dropped: Arc<AtomicBool>,
    listener: Listener,
    process: Arc<Mutex<Option<Process>>>,
    cancelled: Arc<AtomicBool>,
}

impl Builder {
    fn serve(self, inbox: &Receiver<Task>) {
        let mut connection = None;
        while let Ok(task) = inbox.recv() {
            let task = match task {
                Task::Build(wanted) => wanted,
                Task::Prove(unproven) => {
                    let proved = self.prove(&unproven);
                    if !(self.listener)(Report::Proved { slot: self.slot, proved }) {
                        break;
                    }
                    continue;
                }
            };
            let mut unproven = None;
            let verdict = self.build(&mut connection, &task, &mut unproven);
            let verdict = match verdict {
                Ok(verdict) => verdict,
                Err(verdict) => {
                    let mut verdict = *verdict;
                    self.remember(None);
                    if let Some(lost) = connection.take() {
                        verdict.also(&lost.post_mortem());
                    }
                    verdict
                }
            };
            // Whatever a build says while it is being torn down is not its verdict.
            let cut = self.cancelled.load(Ordering::SeqCst) && verdict.failure.is_some();
            let verdict = if cut { Verdict::cancelled() } else { verdict };
            if !(self.listener)(Report::Ended { node: task.node, slot: self.slot, verdict, unproven }) {
                break;
            }
        }
        if let Some(connection) = connection {
            connection.close();
        }
    }

    /// `Err` when the connection is of no further use.
    fn build(
        &self,
        connection: &mut Option<Connection>,
        task: &Wanted,
        unproven: &mut Option<Box<Unproven>>,
    ) -> Result<Verdict, Box<Verdict>> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Ok(Verdict::cancelled());
        }
        let broken = |message: String| Box::new(Verdict::broken(BuildFailureKind::Broken, message));
        let connection = match connection {
            Some(connection) => connection,
            None => {
                let opened = Connection::open_to_build(&self.nix, &self.options)
                    .map_err(|error| broken(error.to_string()))?;
                self.remember(Some(opened.process()));
                let opened = connection.insert(opened);
                // A cancellation before now did not find the process.
                if self.cancelled.load(Ordering::SeqCst) {
                    return Ok(Verdict::cancelled());
                }
                opened
            }
        };
        let alone = Options { use_substitutes: false, ..self.options.clone() };
        if let Some(tracer) = self.tracer.as_deref().filter(|_| task.spec.action == Action::Build) {
            let mut listener = Traced { task, builder: self, unproven };
            let attempt = tracer.attempt(&mut connection.client, &task.spec.drv, &mut listener);
            self.set_builder(None);
            match attempt.map_err(|error| broken(error.to_string()))? {
                Attempt::Ended(verdict) => return Ok(verdict),
                Attempt::Realised(passed) => {
                    let verdict = self.ask_nix(connection, task, &alone)?;
                    return Ok(match verdict.failure {
                        None => Verdict { outputs: verdict.outputs, ..passed },
                        Some(_) => verdict,
                    });
                }
                Attempt::Known => return self.ask_nix(connection, task, &alone),
                Attempt::Untraced(why) => {
                    let explanation = Explanation { detail: Some(why), ..Explanation::of(Reason::Untraced) };
                    (self.listener)(Report::Explained { node: task.node, explanation });
                }
            }
        }
        (self.listener)(Report::Began { node: task.node });
        let options = if task.spec.substitutes { &self.options } else { &alone };
        self.ask_nix(connection, task, options)
    }

    /// Has the daemon build it, or find that it does not have to. `Err` when the connection is of no
    /// further use.
    fn ask_nix(
        &self,
        connection: &mut Connection,
        task: &Wanted,
        options: &Options,
    ) -> Result<Verdict, Box<Verdict>> {
        let broken = |message: String| Box::new(Verdict::broken(BuildFailureKind::Broken, message));
        connection.client.set_options(options).map_err(|error| broken(error.to_string()))?;
        let wanted = [DerivedPath::all_outputs(task.spec.drv.clone())];
        let mode = if task.spec.action == Action::Rebuild { BuildMode::Check } else { BuildMode::Normal };
        let mut ear = Ear::new(task.node, &self.listener);
        let results = connection.client.build_paths_with_results(&wanted, mode, &mut |log| ear.hear(log));
        let limits = Limits::of(&self.options);
        let mut verdict = match results {
            Ok(results) => match results.into_iter().next() {
                Some((_, result)) => Verdict::from_result(&with_reason(result, ear.error.take()), limits),
                None => *broken("the Nix daemon gave no result".to_owned()),
            },
            Err(ProtocolError::Daemon { message, .. }) => Verdict::from_words(None, &message, limits),
            Err(error) => return Err(broken(error.to_string())),
        };
        if let Some(folder) = ear.kept {
            verdict.also(&format!("its folder was kept: {folder}"));
        }
        Ok(verdict)
    }

    fn prove(&self, unproven: &Unproven) -> Proved {
        let is_dropped = || self.dropped.load(Ordering::SeqCst) || self.cancelled.load(Ordering::SeqCst);
        let started = |process: Process| {
            self.set_builder(Some(process.clone()));
            // Whoever dropped it before now did not find it.
            if is_dropped() {
                process.terminate();
            }
        };
        let proved = match &self.tracer {
            Some(tracer) if !is_dropped() => tracer.prove(unproven, started, is_dropped),
            _ => Proved::DROPPED,
        };
        self.set_builder(None);
        proved
    }

    fn set_builder(&self, process: Option<Process>) {
        *self.builder.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }

    fn remember(&self, process: Option<Process>) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }
}

/// Hears a builder of our own.
struct Traced<'a> {
    task: &'a Wanted,
    builder: &'a Builder,
    unproven: &'a mut Option<Box<Unproven>>,
}

impl trace::Listener for Traced<'_> {
    fn explained(&mut self, explanation: Explanation) {
        (self.builder.listener)(Report::Explained { node: self.task.node, explanation });
    }

    fn notice(&mut self, text: String) {
        (self.builder.listener)(Report::Notice(text));
    }

    fn began(&mut self) {
        (self.builder.listener)(Report::Began { node: self.task.node });
    }

    fn line(&mut self, line: Vec<u8>) {
        let node = self.task.node;
        match phase(&line) {
            Some(phase) => (self.builder.listener)(Report::Phase { node, phase }),
            None => (self.builder.listener)(Report::Line { node, line }),
        };
    }

    fn started(&mut self, process: Process) {
        self.builder.set_builder(Some(process.clone()));
        // A cancellation before now did not find it.
        if self.builder.cancelled.load(Ordering::SeqCst) {
            process.terminate();
        }
    }

    fn unproven(&mut self, unproven: Unproven) {
        *self.unproven = Some(Box::new(unproven));
    }
}

/// `@nix {"action":"setPhase","phase":"checkPhase"}`, as stdenv prints it.
fn phase(line: &[u8]) -> Option<String> {
    let message: serde_json::Value = serde_json::from_slice(line.strip_prefix(b"@nix ")?).ok()?;
    (message["action"] == "setPhase").then(|| message["phase"].as_str().map(str::to_owned)).flatten()
}

/// Hears what the daemon says during one build, and passes on what matters.
struct Ear<'a> {
    node: NodeId,
    listener: &'a Listener,
    transfers: HashMap<u64, (u64, u64)>,
    told: Option<Instant>,
    /// Where a failed build can be looked at (`--keep-failed`).
    kept: Option<String>,
    /// The last thing that it said went wrong.
    error: Option<String>,
}

impl<'a> Ear<'a> {
    fn new(node: NodeId, listener: &'a Listener) -> Self {
        Self { node, listener, transfers: HashMap::new(), told: None, kept: None, error: None }
    }

    /// Takes the lines as they are: one may be all the memory that should be spent on it.
    fn hear(&mut self, log: BuildLog) {
        let node = self.node;
        match log {
            BuildLog::Result {
                kind: ResultKind::BuildLogLine | ResultKind::PostBuildLogLine,
                mut fields,
                ..
            } => {
                if let Some(Field::Text(line)) = fields.first_mut() {
                    (self.listener)(Report::Line { node, line: std::mem::take(line) });
                }
            }
            BuildLog::Start { id, kind: ActivityKind::CopyPath, .. } => {
                self.transfers.insert(id, (0, 0));
            }
            BuildLog::Message { text } => {
                self.kept = self.kept.take().or_else(|| kept_folder(&text));
                self.error = error(&text).or_else(|| self.error.take());
            }
            log => {
                if let Some((_, phase)) = log.phase() {
                    (self.listener)(Report::Phase {
                        node,
                        phase: String::from_utf8_lossy(phase).into_owned(),
                    });
                } else if let Some((id, progress)) = log.progress()
                    && let Some(transfer) = self.transfers.get_mut(&id)
                {
                    *transfer = (progress.done, progress.expected);
                    self.tell();
                }
            }
        }
    }

    /// Ten times a second is often enough.
    fn tell(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < Duration::from_millis(100)) {
            return;
        }
        self.told = Some(Instant::now());
        let sum = |part: fn(&(u64, u64)) -> u64| self.transfers.values().map(part).sum();
        let (done, expected) = (sum(|transfer| transfer.0), sum(|transfer| transfer.1));
        (self.listener)(Report::Transfer { node: self.node, done, expected });
    }
}

/// `error: …`, on one line or several.
fn error(text: &[u8]) -> Option<String> {
    let lines: Vec<String> = text.split(|byte| *byte == b'\n').map(crate::text::plain).collect();
    Some(lines.join("\n").strip_prefix("error:")?.trim().to_owned())
}

/// `note: keeping build directory '/tmp/nix-build-x.drv-0'`, or with double quotes.
fn kept_folder(text: &[u8]) -> Option<String> {
    let text = crate::text::plain(text);
    let (_, folder) = text.split_once("keeping build directory ")?;
    Some(folder.trim().trim_matches(['\'', '"']).to_owned())
}
