//! The one place that starts `nix`, and what it says of itself.
//!
//! Invariant: every process is given its settings on the command line or in the environment of
//! that process alone; the user's own configuration files stay in force beneath them.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// An installed Nix, and how to call it.
#[derive(Clone, Debug)]
pub struct Nix {
    program: PathBuf,
    daemon: PathBuf,
    /// Put before each long-lived command, so that it cannot outlive us (see `esker __guard`).
    guard: Vec<String>,
    options: Vec<(String, String)>,
    flags: Vec<String>,
}

/// Why Nix cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum NixError {
    /// No program of that name.
    #[error("cannot find `nix` on PATH")]
    Missing,
    /// It is there but cannot be started.
    #[error("cannot run `{program}`")]
    Spawn {
        /// What was to be started.
        program: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// It answered something that cannot be understood.
    #[error("`{command}` failed: {message}")]
    Failed {
        /// The command, as one would type it.
        command: String,
        /// What it printed, shortened.
        message: String,
    },
}

impl NixError {
    /// What to try next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing => {
                Some("install Nix (Debian: `apt install nix-bin`; else https://nixos.org/download)")
            }
            Self::Spawn { .. } | Self::Failed { .. } => None,
        }
    }
}

/// By this variable a guard is told which signal ends what it started: `TERM`, else `KILL`.
pub const GUARD_SIGNAL: &str = "ESKER_GUARD_SIGNAL";

/// The settings of this machine's Nix that Esker looks at.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `system`.
    pub system: String,
    /// `extra-platforms`.
    pub extra_platforms: Vec<String>,
    /// `system-features`.
    pub system_features: Vec<String>,
    /// `sandbox-paths`, each `PATH`, `PATH=SOURCE` or `PATH=SOURCE?`.
    pub sandbox_paths: Vec<String>,
    /// `substituters`.
    pub substituters: Vec<String>,
    /// `trusted-public-keys`.
    pub trusted_public_keys: Vec<String>,
    /// `max-jobs`.
    pub max_jobs: u64,
    /// `cores`; 0 means all.
    pub cores: u64,
    /// `builders`, with a machines file read in; one machine a line.
    pub builders: Vec<String>,
    /// `sandbox`, as printed: `true`, `false` or `relaxed`.
    pub sandbox: String,
    /// `max-silent-time`, in seconds; 0: for ever.
    pub max_silent_time: u64,
    /// `timeout`, in seconds; 0: for ever.
    pub timeout: u64,
    /// `fallback`.
    pub fallback: bool,
    /// `keep-failed`.
    pub keep_failed: bool,
}

impl Nix {
    /// Finds `nix` on PATH. It is not started yet: each start costs as much as a small evaluation.
    ///
    /// # Errors
    /// [`NixError::Missing`]
    pub fn find() -> Result<Self, NixError> {
        let program = find_on_path("nix").ok_or(NixError::Missing)?;
        let daemon = program.with_file_name("nix-daemon");
        let daemon = if daemon.exists() { daemon } else { PathBuf::from("nix-daemon") };
        Ok(Self { program, daemon, guard: Vec::new(), options: Vec::new(), flags: Vec::new() })
    }

    /// Starts long-lived commands through `guard` (a program and its first arguments).
    #[must_use]
    pub fn with_guard(mut self, guard: Vec<String>) -> Self {
        self.guard = guard;
        self
    }

    /// Adds a setting for every command (`--option NAME VALUE`).
    #[must_use]
    pub fn with_option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a flag that every evaluating command understands, e.g. `--offline`.
    #[must_use]
    pub fn with_flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// The settings added with [`Nix::with_option`].
    pub fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// A `nix` command with all settings and flags, not started yet; stdin is closed.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.guarded(&self.program);
        command.args(["--extra-experimental-features", "nix-command flakes"]).args(arguments);
        for (name, value) in &self.options {
            command.args(["--option", name, value]);
        }
        command.args(&self.flags).stdin(Stdio::null()).env("TERM", "dumb").env_remove("NIX_SHOW_STATS");
        command
    }

    /// A connection to the store: speaks the worker protocol on stdin and stdout. With a daemon it
    /// forwards to that; as root without one it opens the store itself.
    pub fn store_connection(&self) -> Command {
        let mut command = Command::new(&self.daemon);
        command.arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped());
        // Settings that it does not take from a client, such as `experimental-features`.
        for (name, value) in &self.options {
            command.args(["--option", name, value]);
        }
        command
    }

    /// The same, told to end when the thread that starts it does. Of itself it ends with its
    /// stdin, but Nix 2.34 can miss that while it builds, and killed outright, Nix 2.8 would leave its
    /// builder behind.
    pub fn guarded_store_connection(&self) -> Command {
        let plain = self.store_connection();
        let mut command = self.guarded(&self.daemon);
        command.args(plain.get_args()).env(GUARD_SIGNAL, "TERM");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Whether store paths lie on this machine where they say.
    pub fn store_is_at_its_place(&self) -> bool {
        let elsewhere = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let usual = matches!(
            std::env::var("NIX_REMOTE").as_deref(),
            Err(std::env::VarError::NotPresent) | Ok("" | "auto" | "daemon" | "local")
        );
        usual && !elsewhere("NIX_STORE_DIR") && !elsewhere("NIX_STORE")
    }

    /// Whether the store belongs to a daemon, or is opened by our own processes.
    pub fn uses_daemon(&self) -> bool {
        match std::env::var("NIX_REMOTE").as_deref() {
            Ok("daemon") => true,
            Ok("local") => false,
            Ok(remote) if !remote.is_empty() && remote != "auto" => remote.starts_with("unix:"),
            _ => !rustix::process::geteuid().is_root(),
        }
    }

    /// Reads the settings in force.
    ///
    /// # Errors
    /// [`NixError`] when Nix cannot be started or its configuration is broken.
    pub fn load_settings(&self) -> Result<Settings, NixError> {
        // The old name is the one that every version knows; it is to be removed some day.
        let text = run(self.command(["show-config", "--json"]))
            .or_else(|_| run(self.command(["config", "show", "--json"])))?;
        let value: Value = serde_json::from_slice(&text).map_err(|error| NixError::Failed {
            command: "nix show-config --json".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Settings::from_json(&value))
    }

    fn guarded(&self, program: &Path) -> Command {
        match self.guard.split_first() {
            Some((guard, arguments)) => {
                let mut command = Command::new(guard);
                command.args(arguments).arg(program);
                command
            }
            None => Command::new(program),
        }
    }
}

impl Settings {
    fn from_json(value: &Value) -> Self {
        let field = |name: &str| &value[name]["value"];
        let list = |name: &str| -> Vec<String> {
            match field(name) {
                Value::Array(items) => {
                    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
                }
                Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
                _ => Vec::new(),
            }
        };
        let number = |name: &str| field(name).as_u64().unwrap_or(0);
        Self {
            system: field("system").as_str().unwrap_or_default().to_owned(),
            extra_platforms: list("extra-platforms"),
            system_features: list("system-features"),
            sandbox_paths: read_sandbox_paths(field("sandbox-paths"))
                .unwrap_or_else(|| list("sandbox-paths")),
            substituters: list("substituters"),
            trusted_public_keys: list("trusted-public-keys"),
            max_jobs: number("max-jobs"),
            cores: number("cores"),
            builders: read_builders(field("builders").as_str().unwrap_or_default()),
            sandbox: match field("sandbox") {
                Value::Bool(on) => on.to_string(),
                other => other.as_str().unwrap_or_default().to_owned(),
            },
            max_silent_time: number("max-silent-time"),
            timeout: number("timeout"),
            fallback: field("fallback").as_bool().unwrap_or(false),
            keep_failed: field("keep-failed").as_bool().unwrap_or(false),
        }
    }
}

/// Newer versions have an object of `{ source, optional }`; older ones a list, as in `nix.conf`.
fn read_sandbox_paths(value: &Value) -> Option<Vec<String>> {
    let paths = value.as_object()?.iter().map(|(path, details)| {
        let source = details["source"].as_str().unwrap_or(path);
        let mark = if details["optional"].as_bool() == Some(true) { "?" } else { "" };
        format!("{path}={source}{mark}")
    });
    Some(paths.collect())
}

/// `builders` is a list of machines, separated by newlines or `;`; `@FILE` includes a file.
fn read_builders(text: &str) -> Vec<String> {
    let mut machines = Vec::new();
    for entry in text.split(['\n', ';']).map(str::trim) {
        match entry.strip_prefix('@') {
            Some(file) => {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                machines.extend(text.lines().map(|line| line.trim().to_owned()));
            }
            None => machines.push(entry.to_owned()),
        }
    }
    machines.retain(|machine| !machine.is_empty() && !machine.starts_with('#'));
    machines
}

/// More than this, in bytes, is no answer of Nix.
const LONGEST_ANSWER: u64 = 512 << 20;
/// So much, in bytes, is kept of the beginning of what is printed on stderr, and so much of its end.
const WORDS: usize = 1 << 20;

/// Runs a short command to its end and returns what it printed on stdout.
///
/// # Errors
/// [`NixError::Failed`] with what it printed on stderr when it does not exit with 0, or when it
/// prints without end.
pub fn run(mut command: Command) -> Result<Vec<u8>, NixError> {
    let program = command.get_program().to_string_lossy().into_owned();
    tracing::debug!("{}", describe(&command));
    let described = describe(&command);
    let failed = |message: String| NixError::Failed { command: described.clone(), message };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| NixError::Spawn { program, source })?;
    let stderr = child.stderr.take();
    let words = std::thread::spawn(move || stderr.map(first_and_last).unwrap_or_default());
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(LONGEST_ANSWER + 1).read_to_end(&mut answer);
        if answer.len() as u64 > LONGEST_ANSWER || read.is_err() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed("its answer cannot be read, or never ends".to_owned()));
        }
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    let words = words.join().unwrap_or_default();
    if status.success() {
        return Ok(answer);
    }
    Err(failed(String::from_utf8_lossy(&words).trim().to_owned()))
}

/// Reads to the end, and keeps so much of it as may be worth reading.
fn first_and_last(mut source: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 3 * WORDS {
            let end = kept.len() - WORDS;
            kept.drain(WORDS..end);
        }
    }
    kept
}

/// A command as a person could paste it, without what Esker adds to each.
pub fn describe(command: &Command) -> String {
    let mut words: Vec<String> = vec!["nix".to_owned()];
    let arguments: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let start =
        arguments.iter().position(|word| word == "--extra-experimental-features").map_or(0, |at| at + 2);
    for word in &arguments[start.min(arguments.len())..] {
        let plain =
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=+,@".contains(c));
        words.push(if plain { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) });
    }
    words.join(" ")
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_paths_of_old_and_new_versions_read_the_same() {
        let read = |value| {
            Settings::from_json(&serde_json::json!({ "sandbox-paths": { "value": value } })).sandbox_paths
        };
        let new = serde_json::json!({ "/a": { "optional": false, "source": "/b" }, "/c": { "optional": true, "source": "/c" } });
        assert_eq!(read(new), ["/a=/b", "/c=/c?"]);
        assert_eq!(read(serde_json::json!(["/a=/b", "/c?"])), ["/a=/b", "/c?"]);
    }

    #[test]
    fn machines_are_one_a_line_or_separated_by_semicolons() {
        assert_eq!(read_builders("ssh://a ; ssh://b\n# no\n@/does/not/exist"), ["ssh://a", "ssh://b"]);
    }
}
