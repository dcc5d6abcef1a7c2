//! What a person sees of whole runs: scripts of events in, text out.

mod failures;
mod machines;
mod now;
mod verdicts;

use std::time::Duration;

use esker_engine::Event;
use esker_engine::event::{Action, BuildFailureKind, Conclusion, EvaluationErrorKind, Outcome, Summary};
use esker_engine::progress::Progress;

use super::advice::Advice;
use super::script::{self, Script, Write, exit_code};
use super::stage::{Choice, Format, Stage, Ticks};
use super::style::{Color, Style, Symbols};
use super::{ColorMode, Loudness, Options, ProgressMode, Terminal, json, region};

const UNICODE: Style = Style { color: Color::Off, symbols: Symbols::Unicode };
const PLAIN: Choice = Choice { format: Format::Text, ticks: Ticks::Nothing, loudness: Loudness::Normal };

/// The whole text of a run, as it stays in the scrollback.
fn play(script: Script) -> String {
    play_as(PLAIN, UNICODE, script)
}

/// The same with other choices; where there is a heartbeat, the clock ticks every second.
fn play_as(choice: Choice, style: Style, script: Script) -> String {
    let mut stage = Stage::new(choice, style, "check");
    let (mut lines, mut tick) = (Vec::new(), Duration::ZERO);
    for (now, event) in script {
        while tick < now {
            lines.extend(stage.tick(tick));
            tick += Duration::from_secs(1);
        }
        lines.extend(stage.event(&event, now));
    }
    lines.join("\n")
}

fn fold(script: Script) -> Progress {
    let mut progress = Progress::default();
    script.iter().for_each(|(now, event)| progress.apply(event, *now));
    progress
}

/// The live region at this second.
fn live(script: Script, width: usize, height: usize, second: f64) -> String {
    region::region(&fold(script), width, height, Duration::from_secs_f64(second), UNICODE).join("\n")
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{prefix}{number}")).collect()
}

fn run_of(jobs: &[String]) -> Write {
    Write::run(&jobs.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn the_terminal_and_the_options_choose_the_view() {
    let options = |progress, json, github| Options {
        progress,
        loudness: Loudness::Normal,
        color: ColorMode::Auto,
        json,
        github,
        noun: "check".into(),
        advice: Advice::default(),
    };
    let (both, none) = (Terminal { stdout: true, stderr: true }, Terminal::default());
    let ticks = |options: &Options, terminal| Choice::new(options, terminal).ticks;
    let auto = options(ProgressMode::Auto, false, false);
    assert_eq!((ticks(&auto, both), ticks(&auto, none)), (Ticks::Live, Ticks::Heartbeat));
    assert_eq!(ticks(&options(ProgressMode::Live, false, false), none), Ticks::Heartbeat);
    assert_eq!(ticks(&options(ProgressMode::Plain, false, false), both), Ticks::Heartbeat);
    assert_eq!(ticks(&options(ProgressMode::None, false, false), both), Ticks::Nothing);
    let json = options(ProgressMode::Auto, true, false);
    assert_eq!(Choice::new(&json, both).loudness, Loudness::Quiet);
    assert_eq!(ticks(&json, Terminal { stdout: false, stderr: true }), Ticks::Live);
    let github = options(ProgressMode::Auto, false, true);
    assert_eq!(Choice::new(&github, none).format, Format::GitHub);
    let quiet = Options { loudness: Loudness::Quiet, ..auto };
    assert_eq!(ticks(&quiet, both), Ticks::Nothing);
}
