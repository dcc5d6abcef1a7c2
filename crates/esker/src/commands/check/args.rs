//! The arguments of `esker check`, which are its help and its manual page.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::screen::{ColorMode, ProgressMode};

/// Run a flake's checks exactly as the server would
///
/// Evaluates every attribute under `checks` for this system, builds what is missing, and exits 1
/// when any of them fails. An `esker.toml` beside the flake can choose other attributes.
///
/// Examples:
///
///   esker check                          the flake one stands in
///   esker check .#packages               another output
///   esker check --attr tests             one check alone
///   esker check github:NixOS/patchelf    somebody else's flake
///   esker check --file default.nix       no flake at all
///   esker check --dry-run                tell what would be done
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct CheckArgs {
    /// Flake to check, with or without an attribute
    #[arg(value_name = "FLAKE[#ATTR]", default_value = ".")]
    pub(super) flake: String,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) evaluation: EvaluationArgs,
    #[command(flatten)]
    pub(super) build: BuildArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "What is checked")]
pub(crate) struct SelectionArgs {
    /// Attribute to check: `packages`, `hydraJobs`, or a check's name
    #[arg(long, short = 'A', value_name = "ATTR")]
    pub(super) attr: Option<String>,
    /// Check a Nix file instead of a flake
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "flake")]
    pub(super) file: Option<PathBuf>,
    /// Argument for the file's function, an expression
    #[arg(long, num_args = 2, value_names = ["NAME", "EXPR"], requires = "file")]
    pub(super) arg: Vec<String>,
    /// Argument for the file's function, a string
    #[arg(long, num_args = 2, value_names = ["NAME", "STRING"], requires = "file")]
    pub(super) argstr: Vec<String>,
    /// System to check for; may be repeated [default: this machine's]
    #[arg(long = "system", value_name = "SYSTEM")]
    pub(super) systems: Vec<String>,
    /// Only jobs whose name matches; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(super) include: Vec<String>,
    /// Not jobs whose name matches; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(super) exclude: Vec<String>,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Evaluation")]
pub(crate) struct EvaluationArgs {
    /// Evaluators at once [default: as many as cores and memory allow]
    #[arg(long, value_name = "N")]
    pub(super) eval_workers: Option<NonZeroUsize>,
    /// Memory for all evaluators together, e.g. 4GiB [default: half of this machine's]
    #[arg(long, value_name = "SIZE")]
    pub(super) eval_memory: Option<String>,
    /// Time for one attribute, e.g. 10m [default: 30m]
    #[arg(long, value_name = "TIME")]
    pub(super) eval_timeout: Option<String>,
    /// Allow the evaluation to look at its environment
    #[arg(long)]
    pub(super) impure: bool,
    /// Use another flake in place of an input
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"])]
    pub(super) override_input: Vec<String>,
    /// Use this lock file instead of the flake's
    #[arg(long, value_name = "FILE")]
    pub(super) reference_lock_file: Option<PathBuf>,
    /// Fail if the lock file needs a change
    #[arg(long)]
    pub(super) no_update_lock_file: bool,
    /// Do not write the lock file, even if it needs a change
    #[arg(long)]
    pub(super) no_write_lock_file: bool,
    /// Obey the flake's `nixConfig`
    #[arg(long)]
    pub(super) accept_flake_config: bool,
    /// Fetch again what was fetched before
    #[arg(long)]
    pub(super) refresh: bool,
    /// Use no network: no substituters, and only what was fetched before
    #[arg(long)]
    pub(super) offline: bool,
    /// Set a Nix setting
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"])]
    pub(super) option: Vec<String>,
}

/// What is done with observations.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TraceMode {
    /// Builds are not observed
    Off,
    /// Builds are observed, and all of them made
    Record,
    /// Results are reused when nothing observed has changed
    Reuse,
}

/// When results are proven.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProveMode {
    /// By the next build that is made anyway
    Natural,
    /// At once, by a second run under other hashes while nothing else is to be built
    Eager,
}

/// How builds are observed; of the server, too.
#[derive(clap::Args, Debug)]
pub(crate) struct TraceArgs {
    /// Observe builds (as root), and do not build again when nothing observed has changed [default: reuse,
    /// where it can be]
    #[arg(long, value_enum, env = "ESKER_TRACE", hide_env_values = true, value_name = "HOW")]
    pub(super) trace: Option<TraceMode>,
    /// Share of reuses that is built nonetheless, and compared [default: 2%]
    #[arg(long, env = "ESKER_SHADOW", hide_env_values = true, value_name = "PERCENT")]
    pub(super) shadow: Option<String>,
    /// When to show that a result does not depend on hashes, and may be reused
    #[arg(long, value_enum, default_value = "natural", value_name = "WHEN")]
    pub(super) prove: ProveMode,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Building")]
pub(crate) struct BuildArgs {
    /// Tell what would be built, fetched and skipped
    #[arg(long, conflicts_with = "rebuild")]
    pub(super) dry_run: bool,
    /// Build again what is already there, and compare
    #[arg(long)]
    pub(super) rebuild: bool,
    #[command(flatten)]
    pub(super) tracing: TraceArgs,
    /// Stop at the first job that does not pass
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Builds at once, or `auto` [default: Nix's max-jobs]
    #[arg(long, short = 'j', value_name = "N")]
    pub(super) max_jobs: Option<String>,
    /// Cores for each build; 0: all [default: Nix's cores]
    #[arg(long, value_name = "N")]
    pub(super) cores: Option<u64>,
    /// Time for one build, e.g. 20m
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<String>,
    /// Time a build may be silent
    #[arg(long, value_name = "TIME")]
    pub(super) max_silent_time: Option<String>,
    /// Keep the folder of a failed build
    #[arg(long, short = 'K')]
    pub(super) keep_failed: bool,
    /// Link the results to DIR/JOB, and keep them from garbage collection
    #[arg(long, value_name = "DIR", conflicts_with = "out_link")]
    pub(super) gc_root: Option<PathBuf>,
    /// Link the results to PREFIX-JOB, and keep them from garbage collection
    #[arg(long, short = 'o', value_name = "PREFIX")]
    pub(super) out_link: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print one JSON event per line to stdout
    #[arg(long)]
    pub(super) json: bool,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// What is shown while it runs
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(super) progress: ProgressMode,
    /// Whether to use colour
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(super) color: ColorMode,
    /// Errors only
    #[arg(long, short, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Also what Nix is asked to do
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}
