//! Everything a run needs to know before it can begin, asked for at the same time: Nix's
//! settings, the flake, and a connection to the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use esker_nix::flake::{Flake, LoadError};
use esker_nix::protocol::Options;
use esker_nix::sandbox;
use esker_nix::tool::{Nix, Settings};

use super::Cancel;
use super::error::RunError;
use crate::build::connection::{Connection, StoreError};
use crate::build::outcome::Limits;
use crate::build::resolve::{NodeSpec, Resolver};
use crate::event::{Environment, Event, Source};
use crate::plan::{Argument, Mode, Plan, Subject};
use crate::trace::{Machine, Tracer};

pub(super) struct Prepared {
    /// With the options that evaluators need.
    pub(super) nix: Nix,
    pub(super) settings: Settings,
    pub(super) flake: Option<Flake>,
    /// For connections that build.
    pub(super) options: Options,
    /// Builds at once.
    pub(super) slots: usize,
    /// Observes builds, if they are observed.
    pub(super) tracer: Option<Arc<Tracer>>,
}

impl Prepared {
    /// Why no machine here can build this, in words.
    pub(super) fn why_not_here(&self, spec: &NodeSpec) -> Option<String> {
        let system = &spec.system;
        let here = system == &self.settings.system
            || system == "builtin"
            || self.settings.extra_platforms.contains(system)
            || !self.settings.builders.is_empty();
        (!here).then(|| {
            let ours = &self.settings.system;
            format!("it is for {system}; this machine builds for {ours} and has no remote builders")
        })
    }
}

/// Returns also the one who answers questions about the store.
pub(super) fn prepare(
    nix: &Nix,
    plan: &Plan,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(&Event),
) -> Result<(Prepared, Resolver), RunError> {
    let load = |nix: &Nix| {
        let (nix, plan) = (nix.clone(), plan.clone());
        move || load_flake(&nix, &plan)
    };
    let (for_settings, for_store) = (nix.clone(), nix.clone());
    let settings = aside(move || for_settings.load_settings());
    let connection = aside(move || Connection::open(&for_store, &Options::default()));
    let flake = wait(&aside(load(nix)), cancel)?;
    let settings = wait(&settings, cancel)??;
    let mut connection = wait(&connection, cancel)??;
    // Nix 2.8 does not say; a store of our own trusts us, and every daemon trusts root.
    let ours = || !nix.uses_daemon() || rustix::process::geteuid().is_root();
    let trusted = connection.client.trusted().unwrap_or_else(ours);
    let shell = sandbox::shell(&settings);
    let nix =
        if trusted { sandbox::configure(nix.clone(), &settings, shell.as_deref()) } else { nix.clone() };
    on_event(&Event::Environment(environment(
        &nix,
        connection.client.daemon_version(),
        plan,
        &settings,
        trusted,
        shell.as_deref(),
    )));
    let flake = protected(flake?, &mut connection, || wait(&aside(load(&nix)), cancel)?)?;
    let nix = match &flake {
        Some(flake) if plan.accept_flake_config => with_flake_config(nix, flake)?,
        Some(flake) => {
            if has_flake_config(flake) {
                let text = "flake.nix has a `nixConfig`, which is not used; --accept-flake-config accepts it";
                on_event(&Event::Notice { text: text.to_owned() });
            }
            nix
        }
        None => nix,
    };
    let rebuild = plan.mode == Mode::Rebuild;
    let options = options(&nix, plan, &settings);
    let asked = !settings.substituters.is_empty() && options.use_substitutes;
    let for_questions = Options { use_substitutes: asked, ..options.clone() };
    let resolver = Resolver::new(&nix, connection, &for_questions, rebuild)?;
    let tracer = tracer(&nix, plan, &settings, &options, trusted, shell.as_deref(), on_event);
    let prepared = Prepared { slots: slots(plan, &settings), options, settings, flake, nix, tracer };
    Ok((prepared, resolver))
}

/// Whoever observes builds, if that is wished and possible.
fn tracer(
    nix: &Nix,
    plan: &Plan,
    settings: &Settings,
    options: &Options,
    trusted: bool,
    shell: Option<&Path>,
    on_event: &mut dyn FnMut(&Event),
) -> Option<Arc<Tracer>> {
    let traced = plan.trace.as_ref().filter(|_| plan.mode == Mode::Build)?;
    let option = |name: &str| options.overrides.get(name).map(String::as_str);
    let more_paths = option("sandbox-paths")
        .is_some_and(|paths| paths.split_whitespace().any(|path| !path.starts_with("/bin/sh=")));
    let seconds = |seconds: i64| u64::try_from(seconds).ok().map(Duration::from_secs);
    let limits = Limits::of(options);
    let opened = match () {
        () if !trusted => Err("the Nix daemon does not trust this user".to_owned()),
        () if nix.uses_daemon() && !rustix::process::geteuid().is_root() => {
            Err("only root can observe builds".to_owned())
        }
        () if !nix.store_is_at_its_place() => Err("the store lies elsewhere".to_owned()),
        () if option("sandbox") != Some("true") => Err("the sandbox is not on".to_owned()),
        () if more_paths => Err("`sandbox-paths` shows builders more than their inputs".to_owned()),
        () => Tracer::open(
            traced,
            Machine {
                system: settings.system.clone(),
                features: settings.system_features.clone(),
                shell: shell.map(Path::to_path_buf),
                cores: options.build_cores,
                timeout: limits.time.and_then(seconds),
                silence: limits.silence.and_then(seconds),
                keep_failed: options.keep_failed,
            },
        ),
    };
    match opened {
        Ok(tracer) => {
            for text in tracer.notices() {
                on_event(&Event::Notice { text });
            }
            Some(Arc::new(tracer))
        }
        Err(why) => {
            let text = format!("builds are not traced, Nix makes them: {why}");
            if traced.asked {
                on_event(&Event::Notice { text });
            } else {
                tracing::info!("{text}");
            }
            None
        }
    }
}

/// Keeps the source from garbage collection; loads it again if it was collected in between.
fn protected(
    flake: Option<Flake>,
    connection: &mut Connection,
    again: impl FnOnce() -> Result<Option<Flake>, RunError>,
) -> Result<Option<Flake>, RunError> {
    let mut is_there = |flake: &Flake| -> Result<bool, RunError> {
        let source = [flake.source.clone()];
        connection.client.add_temp_roots(&source)?;
        Ok(!connection.client.query_valid_paths(&source)?.is_empty())
    };
    let Some(found) = flake else { return Ok(None) };
    if is_there(&found)? {
        return Ok(Some(found));
    }
    let flake = again()?;
    if let Some(flake) = &flake {
        is_there(flake)?;
    }
    Ok(flake)
}

fn load_flake(nix: &Nix, plan: &Plan) -> Result<Option<Flake>, RunError> {
    let Subject::Flake { reference, .. } = &plan.subject else { return Ok(None) };
    match Flake::load(nix, reference, &plan.flake_arguments) {
        Ok(flake) => Ok(Some(flake)),
        Err(LoadError::Refused(refusal)) => Err(RunError::Flake { reference: reference.clone(), refusal }),
        Err(LoadError::Nix(error)) => Err(error.into()),
    }
}

fn environment(
    nix: &Nix,
    version: &str,
    plan: &Plan,
    settings: &Settings,
    trusted: bool,
    shell: Option<&Path>,
) -> Environment {
    let wanted =
        nix.options().iter().rev().find(|(name, _)| name == "sandbox").map(|(_, value)| value.as_str());
    let sandbox = match (trusted, wanted) {
        (true, Some("true")) => "on",
        (true, Some("relaxed")) => "relaxed",
        (true, _) => "off",
        (false, _) => "as the daemon is set up",
    };
    Environment {
        esker: env!("CARGO_PKG_VERSION").to_owned(),
        nix: version.to_owned(),
        system: settings.system.clone(),
        store: if nix.uses_daemon() { "daemon" } else { "local" }.to_owned(),
        trusted,
        sandbox: sandbox.to_owned(),
        shell: shell.filter(|_| trusted).map(|path| path.display().to_string()),
        substituters: settings.substituters.clone(),
        trusted_public_keys: settings.trusted_public_keys.clone(),
        max_jobs: slots(plan, settings) as u64,
        cores: plan.build.cores.unwrap_or(settings.cores),
    }
}

fn slots(plan: &Plan, settings: &Settings) -> usize {
    let local = plan.build.max_jobs.unwrap_or(settings.max_jobs);
    // Each remote machine: `URI SYSTEMS KEY MAX-JOBS …`.
    let remote: u64 = settings
        .builders
        .iter()
        .map(|machine| machine.split_whitespace().nth(3).and_then(|jobs| jobs.parse().ok()).unwrap_or(1))
        .sum();
    usize::try_from(local.saturating_add(remote)).unwrap_or(usize::MAX).clamp(1, 256)
}

fn options(nix: &Nix, plan: &Plan, settings: &Settings) -> Options {
    let mut overrides: BTreeMap<String, String> = nix.options().iter().cloned().collect();
    let seconds = |seconds: u64| Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero());
    if let Some(timeout) = plan.build.timeout.or(seconds(settings.timeout)) {
        overrides.insert("timeout".to_owned(), timeout.as_secs().max(1).to_string());
    }
    // The last lines of a log come as lines of the log.
    overrides.entry("log-lines".to_owned()).or_insert_with(|| "0".to_owned());
    let forbidden =
        plan.build.max_jobs == Some(0) || (plan.build.max_jobs.is_none() && settings.max_jobs == 0);
    Options {
        keep_failed: plan.build.keep_failed || settings.keep_failed,
        try_fallback: settings.fallback,
        max_build_jobs: u64::from(!forbidden),
        max_silent_time: plan.build.max_silent_time.or(seconds(settings.max_silent_time)),
        build_cores: plan.build.cores.unwrap_or(settings.cores),
        use_substitutes: overrides.get("substitute").is_none_or(|value| value != "false"),
        overrides,
        ..Options::default()
    }
}

/// The expression that stands for a plan without a flake.
pub(super) fn expression(subject: &Subject) -> String {
    let Subject::File { path, arguments } = subject else { return String::new() };
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Expression { name, expression } => format!("{name} = ({expression}\n);"),
            Argument::String { name, value } => format!("{name} = {};", esker_nix::flake::nix_string(value)),
        })
        .collect();
    let path = esker_nix::flake::nix_string(&path.display().to_string());
    let arguments = arguments.join(" ");
    // As `nix-build` does: a function gets those arguments that it asks for.
    format!(
        "let value = import (/. + {path}); given = {{ {arguments} }}; in\
         \n if !builtins.isFunction value then value\
         \n else value (builtins.intersectAttrs (builtins.functionArgs value) given)"
    )
}

/// Says what is checked, and what of the working tree Nix cannot see.
pub(super) fn tell_source(reference: &str, flake: &Flake, on_event: &mut dyn FnMut(&Event)) {
    let tree = flake.working_tree.as_deref().and_then(tree_state);
    let (dirty_files, untracked, head) =
        tree.map_or((None, Vec::new(), None), |tree| (Some(tree.0), tree.1, tree.2));
    on_event(&Event::Source(Source {
        reference: reference.to_owned(),
        url: flake.url.clone(),
        revision: flake.revision.clone().or(head),
        dirty_files,
        untracked,
        store_path: Some(flake.source.to_string()),
    }));
}

/// Changed tracked files, names of untracked ones, and the commit they are compared with.
fn tree_state(folder: &Path) -> Option<(u64, Vec<String>, Option<String>)> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(["-c", "core.fsmonitor=false"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let status = git(&["status", "--porcelain=v1", "-z", "--untracked-files=normal"])?;
    let (mut changed, mut untracked) = (0, Vec::new());
    let mut entries = status.split('\0').filter(|entry| !entry.is_empty());
    while let Some(entry) = entries.next() {
        match entry.get(..2) {
            Some("??") => untracked.push(entry.get(3..).unwrap_or_default().to_owned()),
            Some(kind) => {
                changed += 1;
                if kind.contains(['R', 'C']) {
                    entries.next(); // the name before
                }
            }
            None => {}
        }
    }
    let head = git(&["rev-parse", "--verify", "--quiet", "HEAD"]).map(|head| head.trim().to_owned());
    Some((changed, untracked, head))
}

fn has_flake_config(flake: &Flake) -> bool {
    let text = std::fs::read_to_string(flake.store_folder().join("flake.nix")).unwrap_or_default();
    text.lines().any(|line| line.trim_start().starts_with("nixConfig"))
}

/// The settings in the flake's `nixConfig`, which the user accepted, for every process and build.
fn with_flake_config(mut nix: Nix, flake: &Flake) -> Result<Nix, RunError> {
    let file = flake.store_folder().join("flake.nix");
    let expression = format!("(import {}).nixConfig or {{}}", file.display());
    let text = esker_nix::tool::run(nix.command(["eval", "--json", "--impure", "--expr", &expression]))?;
    let settings: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&text).unwrap_or_default();
    for (name, value) in settings {
        let word = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let value = match &value {
            serde_json::Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(" "),
            other => word(other),
        };
        nix = nix.with_option(&name, &value);
    }
    Ok(nix)
}

/// Does something that may take long, such as a download, on another thread.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || sender.send(work()));
    receiver
}

/// Waits for it, or for an interruption. What is still under way then ends with this process.
fn wait<T>(receiver: &Receiver<T>, cancel: &Cancel) -> Result<T, RunError> {
    loop {
        match receiver.recv_timeout(super::TICK) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) if cancel.requests() > 0 => return Err(RunError::Interrupted),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let gone = std::io::Error::other("a thread that prepares the run is gone");
                return Err(RunError::Store(StoreError::Spawn(gone)));
            }
        }
    }
}
