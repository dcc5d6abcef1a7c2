//! The facts the engine reports while it runs a plan.
//!
//! The terminal, `--json`, JUnit, the state folder and, later, the server's database and pages
//! all live on this one stream, so they cannot disagree. `--json` prints these types as they are:
//! a field may be added, never renamed or removed.
//!
//! Invariant: [`Event::Environment`] is first and [`Event::Finished`] is last, also after a
//! failure or an interruption. Each job that was discovered gets exactly one
//! [`Event::JobFinished`] in between; each [`Event::BuildStarted`] exactly one
//! [`Event::BuildFinished`], and each [`Event::Proving`] one [`Event::Proved`].

mod explanation;
mod line;

use serde::{Deserialize, Serialize};

pub use explanation::{Explanation, ObservedDifference, Reason};
pub use line::Line;

/// How a job or a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// It evaluated and every output is in the store.
    Passed,
    /// The code is at fault: an evaluation error, or a builder that exited non-zero.
    Failed,
    /// Nix, the machine, the network or Esker is at fault. Worth a retry, never blamed on the author.
    Broken,
    /// Stopped before it could end: by the user, or by `--fail-fast`.
    Cancelled,
}

impl Conclusion {
    /// The word a person reads, the same in terminal, page, API and forge.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One fact. See the module's documentation for the order in which they come.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What cannot travel with the commit, yet can change a verdict.
    Environment(Environment),
    /// The flake (or file) that is checked, after it was fetched and locked.
    Source(Source),
    /// Attributes that will be evaluated. May come several times: nested sets are found on the way.
    Discovered {
        /// In the order of evaluation.
        jobs: Vec<DiscoveredJob>,
    },
    /// An attribute turned out to be a set of further attributes, not a job: forget it.
    Dissolved {
        /// Its short name.
        job: String,
    },
    /// A worker began with this attribute.
    Evaluating {
        /// Its short name.
        job: String,
    },
    /// An attribute is a derivation.
    Evaluated {
        /// Its short name.
        job: String,
        /// Store path of the derivation (`/nix/store/….drv`).
        drv: String,
        /// The derivation's name.
        name: String,
        /// Seconds since the worker began with it.
        seconds: f64,
    },
    /// An attribute has no derivation; its `JobFinished` follows.
    EvaluationFailed {
        /// Its short name.
        job: String,
        /// Why.
        error: EvaluationError,
    },
    /// A warning or a `builtins.trace` of the evaluation. `job` is a best guess: the one under evaluation.
    Warning {
        /// What was printed, perhaps several lines.
        text: String,
        /// Short name of the job.
        job: Option<String>,
    },
    /// No further attribute will be evaluated.
    EvaluationFinished {
        /// How many jobs there are.
        jobs: u64,
        /// How many of them have no derivation.
        failed: u64,
        /// Since the first evaluator was started.
        seconds: f64,
    },
    /// A derivation that some job needs was found in the store or with a substituter.
    Present {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// Where.
        how: Present,
    },
    /// Why the next event about this derivation is that it is built or reused. Only of traced runs.
    Explained {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// Why.
        explanation: Explanation,
    },
    /// A derivation is not built: an earlier run of it observed nothing that is different now.
    Reused {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// What it was taken from, and why that holds.
        reuse: Reuse,
        /// Names and store paths of its outputs.
        outputs: Vec<(String, String)>,
    },
    /// A builder is run again under other names, to know whether its result depends on hashes
    /// (`--prove eager`). Never before its own verdict; exactly one `Proved` follows.
    Proving {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
    },
    /// The end of what `Proving` began. It changes no verdict.
    Proved {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// What it has shown.
        outcome: ProofOutcome,
        /// Since `Proving`.
        seconds: f64,
    },
    /// `--dry-run`: a real run would do this.
    Scheduled {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// What would be done.
        action: Action,
    },
    /// A builder (or the download of its outputs) was started.
    BuildStarted {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// What Nix is asked to do.
        action: Action,
        /// How long it took last time, in seconds.
        estimate: Option<f64>,
        /// Jobs that need it, at most 3.
        jobs: Vec<String>,
    },
    /// The builder entered a phase (`buildPhase`, `checkPhase`, …).
    Phase {
        /// Store path of the derivation.
        drv: String,
        /// The phase's name.
        phase: String,
    },
    /// One line of a build's log, without its newline. Bytes: builders print what they like.
    Log {
        /// Store path of the derivation.
        drv: String,
        /// In JSON, invalid UTF-8 is replaced.
        #[serde(serialize_with = "lossy")]
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        line: Vec<u8>,
    },
    /// Nix copies something on behalf of this build: bytes so far, of how many (0: unknown).
    Transfer {
        /// Store path of the derivation.
        drv: String,
        /// Bytes copied.
        done: u64,
        /// Bytes in all, as far as is known.
        expected: u64,
    },
    /// The end of what `BuildStarted` began.
    BuildFinished {
        /// Store path of the derivation.
        drv: String,
        /// The derivation's name.
        name: String,
        /// What Nix was asked to do.
        action: Action,
        /// How it ended.
        conclusion: Conclusion,
        /// Since `BuildStarted`.
        seconds: f64,
        /// Why it did not pass.
        failure: Option<BuildFailure>,
        /// Output name and store path, when it passed.
        outputs: Vec<(String, String)>,
    },
    /// The verdict on one job.
    JobFinished {
        /// Its short name.
        job: String,
        /// The verdict.
        conclusion: Conclusion,
        /// How it came about.
        outcome: Outcome,
    },
    /// Something the person at the keyboard should know, and can act upon.
    Notice {
        /// One sentence.
        text: String,
    },
    /// Nothing comes after this.
    Finished(Summary),
}

/// See [`Event::Environment`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Environment {
    /// `esker`'s version.
    pub esker: String,
    /// As Nix prints it, e.g. `2.34.8`.
    pub nix: String,
    /// This machine's system, e.g. `x86_64-linux`.
    pub system: String,
    /// How the store is reached: `daemon` or `local`.
    pub store: String,
    /// Whether the store's owner lets us decide about sandbox and settings.
    pub trusted: bool,
    /// The sandbox that really holds, in words.
    pub sandbox: String,
    /// What `/bin/sh` is inside the sandbox; `None`: there is none.
    pub shell: Option<String>,
    /// Whom Nix asks for results before it builds.
    pub substituters: Vec<String>,
    /// Whose signatures it believes.
    pub trusted_public_keys: Vec<String>,
    /// Builds at once, those on remote builders included.
    pub max_jobs: u64,
    /// Cores for each build; 0: all.
    pub cores: u64,
}

/// See [`Event::Source`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Source {
    /// What the user asked for.
    pub reference: String,
    /// What it was resolved and locked to.
    pub url: String,
    /// Commit id, if it is one.
    pub revision: Option<String>,
    /// Tracked files that differ from the commit. `None`: not a working tree.
    pub dirty_files: Option<u64>,
    /// Files in the working tree that Nix cannot see because git does not track them.
    pub untracked: Vec<String>,
    /// Where the source lies in the store.
    pub store_path: Option<String>,
}

/// One attribute that will be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiscoveredJob {
    /// Short and unique within the run, e.g. `tests` for `checks.x86_64-linux.tests`.
    pub job: String,
    /// The whole attribute path, as Nix writes it.
    pub attr: String,
}

/// Where the outputs of a derivation were found, so that it need not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Present {
    /// Already valid in the store.
    Store,
    /// A substituter has them.
    Substituter,
}

/// A result taken from a trace that still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reuse {
    /// The beginning of the trace's name, in hexadecimal.
    pub trace: String,
    /// On what proof it may be reused.
    pub class: ReuseClass,
    /// Inputs that are others than they were then; what was observed of them is the same.
    pub changed: Vec<String>,
}

/// On what proof a result may be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReuseClass {
    /// Every output is an empty file or folder: no hash can hide in it.
    Empty,
    /// Real builds under other hashes of the changed inputs gave the same bits.
    R0,
}

/// What came of running a builder under other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProofOutcome {
    /// The same bits: from now on its result is reused when hashes change.
    Proven,
    /// Other bits: it depends on a hash, or is not deterministic.
    Refuted,
    /// Nothing: it failed, or did something else under other names.
    Nothing,
    /// It was stopped, as a build needed its place or the run ended.
    Dropped,
}

/// What Nix is asked to do for a derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Run its builder.
    Build,
    /// Download its outputs from a substituter.
    Fetch,
    /// Build it a second time and compare (`--rebuild`).
    Rebuild,
}

/// Why an attribute has no derivation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EvaluationError {
    /// What kind of failure it is.
    pub kind: EvaluationErrorKind,
    /// One or a few lines, without positions.
    pub message: String,
    /// Where in the user's own files, as far as Nix tells.
    pub position: Option<Position>,
    /// All that Nix said, for those who want it.
    pub trace: String,
}

/// The kinds of failure a reader would act upon differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EvaluationErrorKind {
    /// `throw`
    Throw,
    /// `abort`
    Abort,
    /// `assert`
    Assertion,
    /// An attribute or argument that is not there.
    MissingAttribute,
    /// A value of the wrong type.
    Type,
    /// Endless recursion, or a full stack.
    InfiniteRecursion,
    /// A file that does not parse.
    Syntax,
    /// Something that a pure evaluation refuses.
    Impure,
    /// It evaluated, yet to something that cannot be built.
    NotADerivation,
    /// A build that the evaluation itself needed (import-from-derivation) failed.
    ImportFromDerivation,
    /// It alone needs more than the memory budget.
    OutOfMemory,
    /// It took longer than one attribute may.
    TimedOut,
    /// The evaluator died.
    Crash,
    /// A fetch failed.
    Fetch,
    /// None of these.
    Other,
}

/// A place in a `.nix` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Position {
    /// Relative to the flake where it lies in it, else absolute.
    pub path: String,
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
}

/// Why a build did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuildFailure {
    /// What kind of failure it is.
    pub kind: BuildFailureKind,
    /// What Nix said of it, in one line.
    pub message: String,
    /// The builder's exit code, where Nix told it.
    pub exit_code: Option<i64>,
    /// The phase that was running.
    pub phase: Option<String>,
    /// The last lines of the log, lossily decoded, ANSI removed.
    pub tail: Vec<String>,
}

/// The kinds of failing build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BuildFailureKind {
    /// The builder exited non-zero.
    Builder,
    /// `--timeout` was exceeded.
    TimedOut,
    /// `--max-silent-time` was exceeded.
    Silent,
    /// The log grew beyond Nix's `max-build-log-size`.
    LogLimit,
    /// An output broke a rule (`allowedReferences`, a fixed hash, …).
    Output,
    /// A second build gave other bits (`--rebuild`).
    NotDeterministic,
    /// No machine here builds for this system or has the feature it needs.
    NoMachine,
    /// Nix, disk, network.
    Broken,
    /// Stopped before it could end.
    Cancelled,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It was built in this run.
    Built {
        /// The last derivation alone, without what it needed.
        seconds: f64,
    },
    /// Nothing had to be done.
    InStore,
    /// An earlier run observed nothing that is different now.
    Reused {
        /// What it was taken from.
        reuse: Reuse,
    },
    /// A substituter had it.
    Fetched {
        /// How long the download took.
        seconds: f64,
    },
    /// `--dry-run`: a real run would build it.
    WouldBuild,
    /// `--dry-run`: a real run would fetch it.
    WouldFetch,
    /// There is no derivation.
    EvaluationFailed {
        /// Why.
        error: EvaluationError,
    },
    /// Its own build did not pass.
    BuildFailed {
        /// Store path of the derivation.
        drv: String,
        /// Why.
        failure: BuildFailure,
        /// How long it took.
        seconds: f64,
    },
    /// A derivation it depends on failed; that one is told of once, with its log.
    DependencyFailed {
        /// Store path of the one that failed.
        drv: String,
        /// Its name.
        name: String,
    },
    /// Evaluated, yet no longer in the store; or another state Esker cannot proceed from.
    Broken {
        /// What is the matter.
        message: String,
    },
    /// Stopped before it could end.
    Cancelled,
}

/// The last event, and what `run` returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Jobs that passed.
    pub passed: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that are broken.
    pub broken: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Derivations that were really built.
    pub built: u64,
    /// Derivations whose results were taken from traces.
    pub reused: u64,
    /// Derivations whose results were found not to depend on hashes (`--prove eager`).
    pub proved: u64,
    /// Derivations whose outputs were fetched for a job of their own.
    pub fetched: u64,
    /// How long the whole run took.
    pub seconds: f64,
    /// Stopped by the user before it was through.
    pub interrupted: bool,
    /// Why there is no list of jobs at all.
    pub error: Option<String>,
}

impl Summary {
    /// Whether the tick is earned: every job passed, and nothing was left out.
    pub fn all_passed(&self) -> bool {
        self.failed == 0
            && self.broken == 0
            && self.cancelled == 0
            && !self.interrupted
            && self.error.is_none()
    }

    /// What it comes to, in one word: the exit code, the page and the forge all have it from here.
    pub fn conclusion(&self) -> Conclusion {
        match self {
            summary if summary.interrupted => Conclusion::Cancelled,
            summary if summary.failed > 0 => Conclusion::Failed,
            summary if !summary.all_passed() => Conclusion::Broken,
            _ => Conclusion::Passed,
        }
    }

    /// How many jobs there were.
    pub fn jobs(&self) -> u64 {
        self.passed + self.failed + self.broken + self.cancelled
    }
}

fn lossy<S: serde::Serializer>(line: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(line))
}
