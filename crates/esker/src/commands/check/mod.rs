//! `esker check`: the engine on one side, terminal, files and exit code on the other.

mod advice;
mod args;
mod explain;
pub(crate) mod plan;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use esker_engine::event::Conclusion;
use esker_engine::plan::{Plan, Subject};
use esker_engine::{Cancel, Event, Summary};
use esker_nix::tool::Nix;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub(crate) use args::CheckArgs;

use crate::failure::{BROKEN, FAILED, Failure, INTERRUPTED};
use crate::screen::github;
use crate::screen::junit::Junit;
use crate::screen::{Loudness, Options, Screen};
use crate::state::{Keep, Recorder, RunStart, State, default_dir, subject_of};

/// How many runs of each flake are remembered.
const KEPT_RUNS: usize = 50;

pub(crate) fn run(args: CheckArgs) -> Result<ExitCode, Failure> {
    let nix = Nix::find()?.with_guard(plan::guard());
    let mut planned = plan::plan(&args, nix)?;
    let cancel = Cancel::default();
    listen_for_signals(&cancel)?;
    if args.output.json {
        watch_reader(&cancel);
    }

    let state = default_dir().and_then(|folder| State::open(&folder));
    if let Ok(state) = &state {
        planned.plan.estimates = state.estimates().unwrap_or_default();
    }
    let (recorder, not_recorded) = Recorder::begin(state.as_ref(), &run_start(&args, &planned.plan.subject));
    let kept_aside = state.as_ref().ok().and_then(|state| state.notice().map(str::to_owned));

    let screen = Arc::new(Screen::new(&options(&args, &planned.plan)));
    start_tracing(&args, &screen);
    let mut notices = std::mem::take(&mut planned.notices);
    notices.extend(kept_aside.into_iter().chain(not_recorded));
    let mut junit = args.output.junit.clone().map(Junit::new);
    let mut recorder = Some(recorder);
    let mut on_event = |event: &Event| {
        // What is to be said of the record is said before the last event.
        let at_the_end = match event {
            Event::Finished(_) => {
                recorder.take().and_then(|mut recorder| recorder.record(event).or_else(|| recorder.finish()))
            }
            _ => None,
        };
        if let Some(text) = at_the_end {
            screen.show(&Event::Notice { text });
        }
        screen.show(event);
        if matches!(event, Event::Environment(_)) {
            for text in notices.drain(..) {
                screen.show(&Event::Notice { text });
            }
        }
        if let Some(text) = recorder.as_mut().and_then(|recorder| recorder.record(event)) {
            screen.show(&Event::Notice { text });
        }
        if let Some(junit) = &mut junit {
            junit.observe(event);
        }
    };
    let result = esker_engine::run(&planned.nix, &planned.plan, &cancel, &mut on_event);
    if let Ok(state) = &state {
        // Old runs go by themselves; if that fails, the next run tries again.
        let _ = state.prune(&Keep { newest: Some(KEPT_RUNS), younger_than: None }, SystemTime::now());
    }
    let lost_events = screen.lost_events();
    drop(screen);
    if let Some(junit) = junit {
        let path = args.output.junit.clone().unwrap_or_default();
        junit.write().map_err(|error| {
            let error = io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()));
            Failure::of(BROKEN, &error, None)
        })?;
    }
    let summary = result.map_err(|error| explain::failure(&error, &args, &planned))?;
    if let Some(error) = lost_events {
        let error = io::Error::new(error.kind(), format!("cannot write the events to stdout: {error}"));
        return Err(Failure::of(BROKEN, &error, None));
    }
    match explain::no_jobs(&summary, &args) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::from(exit_code(&summary))),
    }
}

/// The promise of the manual.
fn exit_code(summary: &Summary) -> u8 {
    match summary.conclusion() {
        Conclusion::Cancelled => INTERRUPTED,
        Conclusion::Failed => FAILED,
        Conclusion::Broken => BROKEN,
        Conclusion::Passed => 0,
    }
}

fn run_start(args: &CheckArgs, subject: &Subject) -> RunStart {
    let cwd = std::env::current_dir().unwrap_or_else(|_| ".".into());
    let (key, reference) = match subject {
        Subject::Flake { .. } => (subject_of(&args.flake, &cwd), args.flake.clone()),
        Subject::File { path, .. } => (path.display().to_string(), path.display().to_string()),
    };
    RunStart { subject: key, reference, started: SystemTime::now() }
}

fn options(args: &CheckArgs, plan: &Plan) -> Options {
    Options {
        progress: args.output.progress,
        loudness: match (args.output.quiet, args.output.verbose) {
            (true, _) => Loudness::Quiet,
            (false, 0) => Loudness::Normal,
            (false, _) => Loudness::Verbose,
        },
        color: args.output.color,
        json: args.output.json,
        github: github::is_here(),
        noun: "check".to_owned(),
        advice: advice::advice(args, plan),
    }
}

/// The first signal asks the run to stop, the second to stop at once, the third does not ask.
fn listen_for_signals(cancel: &Cancel) -> Result<(), Failure> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| Failure::of(BROKEN, &error, None))?;
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if cancel.request() > 2 {
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    });
    Ok(())
}

/// Whoever reads the events may go away (`| head -1`) while there is nothing to write for a long
/// time; then nobody wants the rest.
fn watch_reader(cancel: &Cancel) {
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        let stdout = io::stdout();
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        while poll(&mut watched, None) == Err(Errno::INTR) {}
        if watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            cancel.request();
        }
    });
}

/// `-v` shows what Nix is asked to do; `ESKER_LOG` anything else.
fn start_tracing(args: &CheckArgs, screen: &Arc<Screen>) {
    let filter = match std::env::var("ESKER_LOG") {
        Ok(filter) => EnvFilter::new(filter),
        Err(_) if args.output.verbose > 0 => EnvFilter::new("esker_engine=debug,esker_nix=debug"),
        Err(_) => return,
    };
    let writer = AboveRegion(Arc::downgrade(screen));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time();
    let _ = subscriber.with_target(false).with_writer(writer).try_init();
}

/// Writes log lines through the screen, so that they do not disturb its live region.
struct AboveRegion(std::sync::Weak<Screen>);

impl<'a> MakeWriter<'a> for AboveRegion {
    type Writer = Above;

    fn make_writer(&'a self) -> Above {
        Above { screen: self.0.clone(), text: Vec::new() }
    }
}

struct Above {
    screen: std::sync::Weak<Screen>,
    text: Vec<u8>,
}

impl io::Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        if let Some(screen) = self.screen.upgrade() {
            screen.above(&String::from_utf8_lossy(&self.text));
        }
    }
}
