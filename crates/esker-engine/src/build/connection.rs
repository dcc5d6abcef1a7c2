//! One connection to the store: a `nix-daemon --stdio` process of our own, and the client that
//! speaks to it.
//!
//! Invariant: temporary roots live as long as the connection, so a run keeps its connections to
//! its very end.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use esker_nix::protocol::{Client, Options, ProtocolError};
use esker_nix::tool::Nix;
use rustix::process::{Pid, Signal, kill_process_group};

/// Why the store cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The process that reaches it cannot be started.
    #[error("cannot run `nix-daemon`")]
    Spawn(#[source] io::Error),
    /// It was started and then refused, or died.
    #[error("cannot open the Nix store{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Open {
        /// What it printed last.
        said: String,
        /// What was seen of it on the connection.
        #[source]
        source: ProtocolError,
    },
    /// The store is a daemon's, and none is there.
    #[error("no Nix daemon listens at `{}`", socket.display())]
    NoDaemon {
        /// Where it should.
        socket: PathBuf,
    },
    /// A request was refused, or the connection was lost.
    #[error(transparent)]
    Request(#[from] ProtocolError),
}

impl StoreError {
    /// What to try next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Spawn(_) => Some("is Nix installed completely? `nix-daemon` belongs beside `nix`"),
            Self::Open { .. } => {
                Some("`nix store ping` (or `nix store info`) tells whether Nix itself can reach its store")
            }
            Self::NoDaemon { .. } => Some(
                "start it (`systemctl start nix-daemon`; on Debian it comes with `nix-setup-systemd`), or run Esker as root",
            ),
            Self::Request(_) => None,
        }
    }
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    process: Process,
    said: Arc<Mutex<Vec<u8>>>,
}

/// The process behind a connection; can be stopped from another thread.
#[derive(Clone)]
pub(crate) struct Process(Arc<Shared>);

/// Processes that are stopped together, from another thread.
#[derive(Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<Vec<Process>>>);

impl Processes {
    pub(crate) fn add(&self, process: Process) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    /// See [`Process::kill`].
    pub(crate) fn kill(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Process::kill);
    }
}

struct Shared {
    child: Mutex<Child>,
    doomed: AtomicBool,
}

/// How long a process that was asked to end may take before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long it may take when its connection is closed and it has nothing to do.
const FAREWELL: Duration = Duration::from_secs(10);

impl Process {
    pub(crate) fn new(child: Child) -> Self {
        Self(Arc::new(Shared { child: Mutex::new(child), doomed: AtomicBool::new(false) }))
    }

    /// Asks it to end, and to end its builders.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it: asks, and kills it if it is still there a moment later. Does not wait for either.
    /// Killed outright, it could not end its builders, and those of Nix 2.8 would live on.
    pub(crate) fn kill(&self) {
        if self.0.doomed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.terminate();
        let process = self.clone();
        std::thread::spawn(move || {
            if process.wait_until(Instant::now() + LAST_WORDS).is_none() {
                process.signal(Signal::KILL);
            }
        });
    }

    /// Waits for its end, and enforces it when that takes too long.
    pub(crate) fn collect(&self) -> Option<ExitStatus> {
        self.wait_until(Instant::now() + FAREWELL).or_else(|| {
            self.kill();
            self.wait_until(Instant::now() + 2 * LAST_WORDS)
        })
    }

    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None))
            && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Looks ever less often, and never holds the lock meanwhile: others may have to signal.
    fn wait_until(&self, deadline: Instant) -> Option<ExitStatus> {
        let mut pause = Duration::from_micros(500);
        loop {
            if let Ok(Some(status)) = self.child().try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(50));
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.0.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Starts the process, shakes hands and sends the settings.
    pub(crate) fn open(nix: &Nix, options: &Options) -> Result<Self, StoreError> {
        Self::start(nix, nix.store_connection(), options)
    }

    /// The same for the thread that builds on it: the process ends with the thread at the latest.
    pub(crate) fn open_to_build(nix: &Nix, options: &Options) -> Result<Self, StoreError> {
        Self::start(nix, nix.guarded_store_connection(), options)
    }

    fn start(nix: &Nix, mut command: Command, options: &Options) -> Result<Self, StoreError> {
        use std::os::unix::process::CommandExt as _;
        let mut child = command.stderr(Stdio::piped()).process_group(0).spawn().map_err(StoreError::Spawn)?;
        let (Some(output), Some(input), Some(stderr)) =
            (child.stdout.take(), child.stdin.take(), child.stderr.take())
        else {
            return Err(StoreError::Spawn(io::Error::other("no pipes")));
        };
        let process = Process::new(child);
        let said = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&said);
        let listener = std::thread::spawn(move || listen(stderr, &ear));
        let opened = Client::connect(Box::new(output) as Box<dyn Read + Send>, Box::new(input) as _)
            .and_then(|mut client| client.set_options(options).map(|()| client));
        match opened {
            Ok(client) => Ok(Self { client, process, said }),
            Err(source) => {
                process.kill();
                process.collect();
                let _ = listener.join();
                // Nix 2.34 ends without a word.
                let socket = daemon_socket();
                if nix.uses_daemon() && UnixStream::connect(&socket).is_err() {
                    return Err(StoreError::NoDaemon { socket });
                }
                Err(StoreError::Open { said: last_words(&said), source })
            }
        }
    }

    /// A handle to stop it from elsewhere.
    pub(crate) fn process(&self) -> Process {
        self.process.clone()
    }

    /// Closes the connection and waits for the process; it ends when its stdin does.
    pub(crate) fn close(self) {
        let Self { client, process, .. } = self;
        drop(client);
        process.collect();
    }

    /// Closes a connection that broke, and tells what became of the process.
    pub(crate) fn post_mortem(self) -> String {
        use std::os::unix::process::ExitStatusExt as _;
        let Self { client, process, said } = self;
        drop(client);
        let end = match process.collect() {
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("it was ended by signal {signal}"),
                (None, Some(code)) if code != 0 => format!("it ended with exit code {code}"),
                _ => String::new(),
            },
            None => "it does not end".to_owned(),
        };
        let said = last_words(&said);
        if end.is_empty() || said.is_empty() { end + &said } else { format!("{end}: {said}") }
    }
}

fn daemon_socket() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = || named("NIX_STATE_DIR").unwrap_or_else(|| "/nix/var/nix".into());
    named("NIX_DAEMON_SOCKET_PATH").unwrap_or_else(|| state().join("daemon-socket/socket"))
}

/// What a process printed last, for a sentence.
fn last_words(said: &Mutex<Vec<u8>>) -> String {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<String> = said.split(|byte| *byte == b'\n').map(crate::text::plain).collect();
    lines.join("\n").trim().trim_start_matches("error:").trim().to_owned()
}

/// Keeps the last of what the process prints.
fn listen(mut stderr: impl Read, said: &Mutex<Vec<u8>>) {
    const KEPT: usize = 4 << 10;
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&buffer[..count]);
        let excess = said.len().saturating_sub(KEPT);
        said.drain(..excess);
    }
}
