//! Everything a person (or a program) sees of a run, made from the engine's events alone.
//!
//! [`Screen`] is the one entry: made from the options and the terminal, it is given every event and
//! writes to stderr; only `--json` goes to stdout. What it writes is decided by pure functions over
//! the fold of the events (`results`, `region`, `plain`, `github`); this module owns the clock, the
//! streams and the thread that redraws.

pub(crate) mod advice;
pub(crate) mod clean;
pub(crate) mod github;
mod json;
pub(crate) mod junit;
mod live;
pub(crate) mod places;
mod plain;
mod region;
pub(crate) mod report;
mod results;
#[cfg(test)]
mod script;
mod stage;
pub(crate) mod style;
#[cfg(test)]
mod tests;
mod verdict;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use esker_engine::Event;

use advice::Advice;
use json::Json;
use live::Live;
use places::Places;
pub(crate) use results::Loudness;
use stage::{Choice, Stage, Ticks};
use style::{Color, Style, Symbols};

/// `--progress`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressMode {
    /// `live` on a terminal, else `plain`
    Auto,
    /// Show what is happening at the bottom of the terminal
    Live,
    /// Print whole lines only, and a sign of life every 30 seconds
    Plain,
    /// Print results only
    None,
}

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorMode {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

/// What the command line says about looks.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) progress: ProgressMode,
    pub(crate) loudness: Loudness,
    pub(crate) color: ColorMode,
    /// Print the events to stdout.
    pub(crate) json: bool,
    /// Whether this is GitHub Actions (`GITHUB_ACTIONS=true`).
    pub(crate) github: bool,
    /// What one job is called: `check`.
    pub(crate) noun: String,
    /// The commands to suggest.
    pub(crate) advice: Advice,
}

/// What the streams are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Terminal {
    stdout: bool,
    /// Whether stderr is a terminal that understands escape codes.
    stderr: bool,
}

/// The rim: see the module's documentation. After the last event, drop it.
///
/// All that is to be said about jobs is said here. [`Summary::error`](esker_engine::Summary::error) is
/// not: the engine returns the same with its causes, and the caller prints it after dropping this.
pub(crate) struct Screen {
    shared: Arc<Mutex<Shared>>,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    started: Instant,
    stage: Stage,
    stderr: Output,
    json: Option<Json>,
    summary_path: Option<PathBuf>,
    /// A panic is being told of: the region stays away until there is something new to print.
    panicking: bool,
}

enum Output {
    Live(Live),
    Lines(Box<dyn Write + Send>),
}

impl Screen {
    /// Starts the clock and the thread that keeps what is shown up to date.
    pub(crate) fn new(options: &Options) -> Self {
        let able = std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
        let terminal =
            Terminal { stdout: io::stdout().is_terminal(), stderr: io::stderr().is_terminal() && able };
        let choice = Choice::new(options, terminal);
        let stderr: Box<dyn Write + Send> = Box::new(io::stderr());
        let live = choice.ticks == Ticks::Live;
        let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
        let shared = Arc::new(Mutex::new(Shared {
            started: Instant::now(),
            stage: Stage::new(choice, style(options.color), &options.noun)
                .at(Places::of_this_process(), options.advice.clone()),
            stderr: if live { Output::Live(Live::new(stderr)) } else { Output::Lines(stderr) },
            json: options.json.then(|| Json::new(Box::new(io::stdout()))),
            summary_path: summary.filter(|_| options.github).map(PathBuf::from),
            panicking: false,
        }));
        if live {
            clear_before_panic_messages(&shared);
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let period = Duration::from_millis(if live { 100 } else { 250 });
        let ticking = Arc::clone(&shared);
        let ticker = std::thread::Builder::new().name("screen".into()).spawn(move || {
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                lock(&ticking).tick();
            }
        });
        // Without the thread, results are still shown as they come.
        Self { shared, stop: Some(stop), ticker: ticker.ok() }
    }

    /// Takes in an event. Cheap, unless there is something to print.
    pub(crate) fn show(&self, event: &Event) {
        lock(&self.shared).show(event);
    }

    /// Why some of the events did not get to stdout. To be asked after the last one.
    pub(crate) fn lost_events(&self) -> Option<io::Error> {
        lock(&self.shared).json.as_mut()?.problem()
    }

    /// Prints lines of our own, such as those of `tracing`, without disturbing the live region. Of
    /// escape codes only colours get through.
    pub(crate) fn above(&self, text: &str) {
        let lines: Vec<String> = text.lines().map(|line| clean::line(line.as_bytes(), Color::On)).collect();
        lock(&self.shared).print(&lines);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
        let mut shared = lock(&self.shared);
        shared.clear();
        if let Some(json) = &mut shared.json {
            json.flush();
        }
    }
}

impl Shared {
    fn show(&mut self, event: &Event) {
        if let Some(json) = &mut self.json {
            json.write(event, jiff::Timestamp::now());
        }
        let lines = self.stage.event(event, self.started.elapsed());
        let last = matches!(event, Event::Finished(_));
        if last || !lines.is_empty() {
            self.print(&lines);
        }
        if last {
            self.write_summary();
            if let Some(json) = &mut self.json {
                json.flush();
            }
        }
    }

    fn tick(&mut self) {
        let lines = self.stage.tick(self.started.elapsed());
        if !lines.is_empty() || (matches!(self.stderr, Output::Live(_)) && !self.panicking) {
            self.print(&lines);
        }
        if let Some(json) = &mut self.json {
            json.flush();
        }
    }

    fn print(&mut self, lines: &[String]) {
        self.panicking = false;
        match &mut self.stderr {
            Output::Live(live) => {
                let (width, height) = size();
                let region = self.stage.region(width, height, self.started.elapsed());
                live.draw(lines, region, (width, height));
            }
            Output::Lines(_) if lines.is_empty() => {}
            Output::Lines(stderr) => {
                let mut text = lines.join("\n");
                text.push('\n');
                // Nobody is left to be told that stderr is closed.
                let _ = stderr.write_all(text.as_bytes());
            }
        }
    }

    fn clear(&mut self) {
        if let Output::Live(live) = &mut self.stderr {
            live.clear(size());
        }
    }

    fn write_summary(&mut self) {
        let Some(markdown) = self.stage.markdown() else { return };
        let Some(path) = self.summary_path.take() else { return };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(markdown.as_bytes())) {
            self.print(&[format!("warning: cannot write the summary to `{}`: {error}", path.display())]);
        }
    }
}

/// A panic elsewhere must neither leave the region behind nor keep the others from printing.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The region would otherwise stand above the message, and the next frame overwrite its end.
fn clear_before_panic_messages(shared: &Arc<Mutex<Shared>>) {
    let shared = Arc::downgrade(shared);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(shared) = shared.upgrade() {
            let shared = match shared.try_lock() {
                Ok(shared) => Some(shared),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut shared) = shared {
                shared.panicking = true;
                shared.clear();
            }
        }
        before(panic);
    }));
}

fn style(mode: ColorMode) -> Style {
    let color = match mode {
        ColorMode::Always => Color::On,
        ColorMode::Never => Color::Off,
        // Knows NO_COLOR, CLICOLOR, CLICOLOR_FORCE and TERM.
        ColorMode::Auto => match anstream::AutoStream::choice(&io::stderr()) {
            anstream::ColorChoice::Never => Color::Off,
            _ => Color::On,
        },
    };
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).ok());
    let symbols = Symbols::for_locale(variables.each_ref().map(Option::as_deref));
    Style { color, symbols }
}

/// Columns and rows of the terminal, asked anew for each frame: it may have been resized.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}
