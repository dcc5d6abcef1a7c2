//! From arguments and configuration to a plan.
//!
//! What the command line says goes before what the configuration says.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use esker_engine::config::{self, Config, ConfigOrigin};
use esker_engine::plan::{Argument, Links, Located, Mode, Plan, Proving, SHADOW, Subject, TracePlan};
use esker_nix::flake::nix_string;
use esker_nix::tool::Nix;

pub(crate) use super::args::TraceArgs;
use super::args::{CheckArgs, ProveMode, TraceMode};
use crate::failure::{BROKEN, Failure};
use crate::state::StateError;

/// The plan, and what a person should know of how it came about.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) nix: Nix,
    pub(super) notices: Vec<String>,
    /// The file that the globs come from, unless all are of the command line.
    pub(super) globs_of: Option<&'static str>,
}

/// Reads the configuration and makes the plan.
pub(super) fn plan(args: &CheckArgs, mut nix: Nix) -> Result<Planned, Failure> {
    for pair in args.evaluation.option.chunks_exact(2) {
        nix = nix.with_option(&pair[0], &pair[1]);
    }
    if args.evaluation.offline {
        nix = nix.with_flag("--offline").with_option("substitute", "false");
    }
    if args.evaluation.refresh {
        nix = nix.with_flag("--refresh");
    }
    let (located, fragment, subject) = match &args.selection.file {
        Some(file) => {
            let path = file.canonicalize().map_err(|error| {
                Failure::usage(format!("cannot read `{}`: {error}", file.display()), None)
            })?;
            let (config, origin) = (Config::default(), ConfigOrigin::Defaults);
            let flake_arguments = flake_arguments(args);
            let located = Located { reference: String::new(), flake_arguments, config, origin };
            (located, None, Subject::File { path, arguments: arguments(args) })
        }
        None => {
            let (reference, fragment) = split_fragment(&args.flake);
            let located = find_flake(&nix, reference, flake_arguments(args))?;
            let asked = if reference.is_empty() { "." } else { reference }.to_owned();
            let subject = Subject::Flake { reference: located.reference.clone(), asked };
            (located, fragment, subject)
        }
    };
    let Located { config, origin, flake_arguments, .. } = located;
    let mut plan = Plan::configured(subject, &config);
    if let Some(attribute) = args.selection.attr.clone().or(fragment) {
        plan.attribute = attribute;
    }
    plan.systems = first(&args.selection.systems, &config.systems);
    plan.include = first(&args.selection.include, &config.include);
    plan.exclude = first(&args.selection.exclude, &config.exclude);
    let evaluation = &mut plan.evaluation;
    evaluation.workers = args.evaluation.eval_workers.map(usize::from);
    if let Some(text) = &args.evaluation.eval_memory {
        evaluation.memory = size(text)?;
    }
    if let Some(timeout) = time(args.evaluation.eval_timeout.as_deref(), "--eval-timeout")? {
        evaluation.timeout = timeout;
    }
    let build = &mut plan.build;
    build.max_jobs = max_jobs(args.build.max_jobs.as_deref())?;
    build.cores = args.build.cores;
    build.timeout = time(args.build.timeout.as_deref(), "--timeout")?.or(build.timeout);
    let silent = time(args.build.max_silent_time.as_deref(), "--max-silent-time")?;
    build.max_silent_time = silent.or(build.max_silent_time);
    build.keep_failed = args.build.keep_failed;
    plan.mode = match (args.build.dry_run, args.build.rebuild) {
        (true, _) => Mode::DryRun,
        (_, true) => Mode::Rebuild,
        _ => Mode::Build,
    };
    plan.fail_fast = args.build.fail_fast;
    plan.links = links(args)?;
    plan.flake_arguments = flake_arguments;
    plan.impure = args.evaluation.impure;
    plan.accept_flake_config = args.evaluation.accept_flake_config;
    plan.trace = trace(&args.build.tracing, &crate::state::default_dir)?;
    let globs_of = match &origin {
        ConfigOrigin::File { file, .. }
            if (args.selection.include.is_empty() && !config.include.is_empty())
                || (args.selection.exclude.is_empty() && !config.exclude.is_empty()) =>
        {
            Some(file.name())
        }
        _ => None,
    };
    Ok(Planned { plan, nix, notices: origin.notice().into_iter().collect(), globs_of })
}

/// The configuration travels with the commit: for a local folder it is read where it lies, for
/// anything else from the fetched source.
fn find_flake(nix: &Nix, reference: &str, flake_arguments: Vec<String>) -> Result<Located, Failure> {
    if let Some(folder) = local_folder(reference)? {
        return Ok(Located::in_folder(&project_root(&folder), flake_arguments)?);
    }
    if let Some(folder) = reference.strip_prefix("path:").map(Path::new).filter(|folder| folder.is_dir()) {
        let (config, origin) = Config::load(folder)?;
        if config.flake_dir == Path::new(".") && config.reference_lock_file(folder)?.is_none() {
            return Ok(Located { reference: reference.to_owned(), flake_arguments, config, origin });
        }
    }
    Ok(Located::fetched(nix, reference, flake_arguments)?)
}

/// A folder of this machine, if the reference is one. What looks like a path must exist.
fn local_folder(reference: &str) -> Result<Option<PathBuf>, Failure> {
    let path = if reference.is_empty() { "." } else { reference };
    let looks_local = path.starts_with(['.', '/']);
    if path.contains('?') || (path.contains(':') && !looks_local) {
        return Ok(None);
    }
    match Path::new(path).canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(Some(folder)),
        Ok(file) if file.file_name().is_some_and(|name| name == "flake.nix") => {
            Ok(file.parent().map(Path::to_path_buf))
        }
        Ok(file) => Err(Failure::usage(
            format!("`{path}` is a file, not a flake"),
            Some(format!("`esker check --file {}` checks a Nix file", file.display())),
        )),
        Err(_) if !looks_local => Ok(None),
        Err(error) => Err(Failure::usage(format!("cannot read `{path}`: {error}"), None)),
    }
}

/// The nearest folder upwards with a flake or a configuration, within the repository.
fn project_root(folder: &Path) -> PathBuf {
    let marks = ["flake.nix", "esker.toml", "nixbot.toml", "buildbot-nix.toml"];
    for candidate in folder.ancestors() {
        if marks.iter().any(|mark| candidate.join(mark).exists()) {
            return candidate.to_path_buf();
        }
        if candidate.join(".git").exists() {
            break;
        }
    }
    folder.to_path_buf()
}

fn split_fragment(flake: &str) -> (&str, Option<String>) {
    match flake.split_once('#') {
        Some((reference, fragment)) if !fragment.is_empty() => (reference, Some(decode(fragment))),
        Some((reference, _)) => (reference, None),
        None => (flake, None),
    }
}

/// Fragments are percent-encoded.
fn decode(text: &str) -> String {
    esker_nix::flake::percent_decode(text)
}

fn flake_arguments(args: &CheckArgs) -> Vec<String> {
    let mut list = Vec::new();
    for pair in args.evaluation.override_input.chunks_exact(2) {
        // A folder that exists is meant, not an entry of the registry.
        let local = Path::new(&pair[1]).canonicalize().ok().filter(|path| path.is_dir());
        let flake = local.map_or_else(|| pair[1].clone(), |path| path.display().to_string());
        list.extend(["--override-input".to_owned(), pair[0].clone(), flake]);
    }
    if let Some(file) = &args.evaluation.reference_lock_file {
        let file = file.canonicalize().unwrap_or_else(|_| file.clone());
        list.extend(["--reference-lock-file".to_owned(), file.display().to_string()]);
    }
    let flags = [
        (args.evaluation.no_update_lock_file, "--no-update-lock-file"),
        (
            args.evaluation.no_write_lock_file || args.evaluation.reference_lock_file.is_some(),
            "--no-write-lock-file",
        ),
    ];
    list.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| (*flag).to_owned()));
    list
}

fn arguments(args: &CheckArgs) -> Vec<Argument> {
    let expressions = args.selection.arg.chunks_exact(2);
    let strings = args.selection.argstr.chunks_exact(2);
    let expressions = expressions
        .map(|pair| Argument::Expression { name: pair[0].clone(), expression: from_here(&pair[1]) });
    expressions
        .chain(strings.map(|pair| Argument::String { name: pair[0].clone(), value: pair[1].clone() }))
        .collect()
}

/// A relative path is meant from where one stands, as Nix has it.
fn from_here(expression: &str) -> String {
    let path = expression.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    match (path.starts_with("./") || path.starts_with("../")) && path.chars().all(plain) {
        true => std::path::absolute(path).map_or_else(
            |_| expression.to_owned(),
            |path| format!("/. + {}", nix_string(&path.to_string_lossy())),
        ),
        false => expression.to_owned(),
    }
}

fn links(args: &CheckArgs) -> Result<Option<Links>, Failure> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| Failure::of(BROKEN, &error, None));
    Ok(match (&args.build.gc_root, &args.build.out_link) {
        (Some(folder), _) => Some(Links::Folder(absolute(folder)?)),
        (None, Some(prefix)) => Some(Links::Prefix(absolute(prefix)?)),
        (None, None) => None,
    })
}

fn max_jobs(text: Option<&str>) -> Result<Option<u64>, Failure> {
    match text {
        None => Ok(None),
        Some("auto") => Ok(Some(std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64))),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Failure::usage(format!("`--max-jobs {text}` is neither a number nor `auto`"), None)),
    }
}

fn time(text: Option<&str>, flag: &str) -> Result<Option<Duration>, Failure> {
    let parse = |text: &str| config::parse_duration(text);
    text.map(parse).transpose().map_err(|error| Failure::usage(format!("{flag}: {error}"), None))
}

fn size(text: &str) -> Result<u64, Failure> {
    config::parse_bytes(text).map_err(|error| Failure::usage(format!("--eval-memory: {error}"), None))
}

fn first(a: &[String], b: &[String]) -> Vec<String> {
    if a.is_empty() { b.to_vec() } else { a.to_vec() }
}

/// How builds are observed; the folder is asked for only if they are.
pub(crate) fn trace(
    args: &TraceArgs,
    folder: &dyn Fn() -> Result<PathBuf, StateError>,
) -> Result<Option<TracePlan>, Failure> {
    let percent = |text: &str| {
        let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
        number
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| percent / 100.0)
            .ok_or_else(|| Failure::usage(format!("`--shadow {text}` is no percentage from 0 to 100"), None))
    };
    let shadow = args.shadow.as_deref().map(percent).transpose()?.unwrap_or(SHADOW);
    let proving = match args.prove {
        ProveMode::Natural => Proving::Natural,
        ProveMode::Eager => Proving::Eager,
    };
    if args.trace == Some(TraceMode::Off) {
        if proving == Proving::Eager {
            let hint = "with `--trace reuse` builds are observed and proven".to_owned();
            return Err(Failure::usage("`--prove eager` has nothing to prove without traces", Some(hint)));
        }
        return Ok(None);
    }
    let folder = folder()?.join("traces");
    let program = env::current_exe().map_err(|error| Failure::of(BROKEN, &error, None))?;
    let program = vec![program.display().to_string(), crate::exec_traced::NAME.to_owned()];
    let reuse = args.trace != Some(TraceMode::Record);
    let asked = args.trace.is_some() || proving == Proving::Eager;
    Ok(Some(TracePlan { reuse, asked, shadow, proving, folder, program }))
}

/// How this very program is started to watch over evaluators.
pub(crate) fn guard() -> Vec<String> {
    match env::current_exe() {
        Ok(program) => vec![program.display().to_string(), crate::guard::NAME.to_owned()],
        Err(_) => Vec::new(),
    }
}
