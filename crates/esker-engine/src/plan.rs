//! What to evaluate and build, and within which limits: the engine's whole input.

mod located;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;
use crate::evaluate::DEFAULT_TIMEOUT;

pub use located::{LocateError, Located};

/// Of all reuses this share is built nonetheless, and compared, unless somebody says otherwise.
pub const SHADOW: f64 = 0.02;

/// One evaluation, from nothing to a verdict.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the jobs come from.
    pub subject: Subject,
    /// Attribute path of the jobs, e.g. `checks`; where a set has the system's name below it, that is used.
    pub attribute: String,
    /// Empty: this machine's.
    pub systems: Vec<String>,
    /// Globs over short job names; empty: all.
    pub include: Vec<String>,
    /// Globs over short job names.
    pub exclude: Vec<String>,
    /// How far evaluation may go.
    pub evaluation: EvaluationLimits,
    /// How far a build may go.
    pub build: BuildLimits,
    /// What to do with the derivations.
    pub mode: Mode,
    /// Stop at the first job that does not pass.
    pub fail_fast: bool,
    /// Links to the results that keep them from garbage collection.
    pub links: Option<Links>,
    /// More arguments for fetching and locking the flake, as `nix` takes them: `--override-input A B`, …
    pub flake_arguments: Vec<String>,
    /// Evaluate impurely, as `nix --impure` does.
    pub impure: bool,
    /// Obey the flake's `nixConfig`.
    pub accept_flake_config: bool,
    /// How builds are observed, if they are.
    pub trace: Option<TracePlan>,
    /// Seconds that derivations of these names took before.
    pub estimates: HashMap<String, f64>,
}

/// Where the jobs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A flake reference without attribute.
    Flake {
        /// As Nix takes it.
        reference: String,
        /// As the user wrote it.
        asked: String,
    },
    /// A Nix file that evaluates to a set, or a function to one (`--file`).
    File {
        /// Absolute.
        path: PathBuf,
        /// For the function.
        arguments: Vec<Argument>,
    },
}

/// `--arg NAME EXPR` or `--argstr NAME STRING`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `--arg`
    Expression {
        /// The argument's name.
        name: String,
        /// In the Nix language.
        expression: String,
    },
    /// `--argstr`
    String {
        /// The argument's name.
        name: String,
        /// As it is.
        value: String,
    },
}

/// What to do with the derivations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Build what is missing.
    Build,
    /// Tell what would be built, fetched and skipped.
    DryRun,
    /// Build what is missing, and build again what is there, and compare.
    Rebuild,
}

/// How far evaluation may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationLimits {
    /// How many evaluators may run at once; `None`: as many as cores and memory allow.
    pub workers: Option<usize>,
    /// For all evaluators together, in bytes.
    pub memory: u64,
    /// For one attribute.
    pub timeout: Duration,
}

/// How far a build may go. Zero means Nix's own limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildLimits {
    /// Builds at once on this machine; `None`: Nix's `max-jobs`.
    pub max_jobs: Option<u64>,
    /// `NIX_BUILD_CORES`; `None`: Nix's `cores`.
    pub cores: Option<u64>,
    /// How long one build may take.
    pub timeout: Option<Duration>,
    /// How long it may print nothing.
    pub max_silent_time: Option<Duration>,
    /// Keep the folder of a failed build.
    pub keep_failed: bool,
}

/// How builds are observed.
#[derive(Clone, Debug, PartialEq)]
pub struct TracePlan {
    /// Whether results of earlier builds are taken, or builds are only recorded.
    pub reuse: bool,
    /// Whether somebody asked for it: then it is told why builds cannot be observed here.
    pub asked: bool,
    /// Of all reuses this share, from 0 to 1, is built nonetheless, and compared.
    pub shadow: f64,
    /// When it is shown that a result does not depend on hashes.
    pub proving: Proving,
    /// The folder of the traces.
    pub folder: PathBuf,
    /// How `esker exec-traced` is started: program and arguments.
    pub program: Vec<String>,
}

/// When it is shown that a result does not depend on the hashes of its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proving {
    /// By the next build that has other inputs anyway.
    #[default]
    Natural,
    /// At once, by running the builder again under other names while nothing else is to be built.
    Eager,
}

impl Plan {
    /// What a repository's own configuration asks for, and defaults for the rest. Whoever calls the
    /// engine may say otherwise, field by field.
    pub fn configured(subject: Subject, config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            attribute: if matches!(subject, Subject::File { .. }) {
                String::new()
            } else {
                config.attribute.clone()
            },
            subject,
            systems: config.systems.clone(),
            include: config.include.clone(),
            exclude: config.exclude.clone(),
            evaluation: EvaluationLimits {
                workers: None,
                memory: limits.evaluation_memory.unwrap_or_else(half_of_memory),
                timeout: limits.evaluation_timeout.unwrap_or(DEFAULT_TIMEOUT),
            },
            build: BuildLimits {
                timeout: limits.timeout,
                max_silent_time: limits.max_silent_time,
                ..BuildLimits::default()
            },
            mode: Mode::Build,
            fail_fast: false,
            links: None,
            flake_arguments: Vec::new(),
            impure: false,
            accept_flake_config: false,
            trace: None,
            estimates: HashMap::new(),
        }
    }
}

/// Half of what this machine, or the container we are in, has.
fn half_of_memory() -> u64 {
    const UNKNOWN: u64 = 8 << 30;
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    });
    let container =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let total = machine.unwrap_or(UNKNOWN).min(container.unwrap_or(u64::MAX));
    (total / 2).max(512 << 20)
}

/// Where links to results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Links {
    /// `DIR/JOB`
    Folder(PathBuf),
    /// `PREFIX-JOB`
    Prefix(PathBuf),
}

impl Links {
    /// The link for the output `out` of a job.
    pub fn path(&self, job: &str) -> PathBuf {
        let job: String = job.chars().map(|c| if c == '/' || c == '\0' { '_' } else { c }).collect();
        let job = if matches!(job.as_str(), "" | "." | "..") { format!("_{job}") } else { job };
        match self {
            Self::Folder(folder) => folder.join(job),
            Self::Prefix(prefix) => {
                let mut path = prefix.as_os_str().to_owned();
                path.push("-");
                path.push(job);
                path.into()
            }
        }
    }
}
