//! What is shown, without the showing: events and the time in, lines out.
//!
//! Invariant: pure. Everything that depends on a clock, a stream or the environment comes in.

use std::time::Duration;

use esker_engine::Event;
use esker_engine::event::Summary;
use esker_engine::progress::Progress;

use super::advice::Advice;
use super::github;
use super::places::Places;
use super::plain::Heartbeat;
use super::region;
use super::report::{Block, Kind};
use super::results::{Loudness, PassedLogs, Results};
use super::style::Style;
use super::{Options, ProgressMode, Terminal};

/// What the options come to on this terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) format: Format,
    pub(super) ticks: Ticks,
    pub(super) loudness: Loudness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    GitHub,
}

/// What happens between results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticks {
    Live,
    Heartbeat,
    Nothing,
}

impl Choice {
    pub(super) fn new(options: &Options, terminal: Terminal) -> Self {
        let auto = options.progress == ProgressMode::Auto;
        // Events and results on one terminal would be a muddle.
        let muddle = options.json && auto && terminal.stdout && terminal.stderr;
        let loudness = if muddle { Loudness::Quiet } else { options.loudness };
        let ticks = match options.progress {
            _ if loudness == Loudness::Quiet => Ticks::Nothing,
            ProgressMode::None => Ticks::Nothing,
            ProgressMode::Auto | ProgressMode::Live if terminal.stderr => Ticks::Live,
            ProgressMode::Auto | ProgressMode::Live | ProgressMode::Plain => Ticks::Heartbeat,
        };
        let format = if options.github && ticks != Ticks::Live { Format::GitHub } else { Format::Text };
        Self { format, ticks, loudness }
    }
}

/// The state of what is shown.
pub(super) struct Stage {
    choice: Choice,
    style: Style,
    noun: String,
    progress: Progress,
    results: Results,
    heartbeat: Heartbeat,
    annotations: usize,
    places: Places,
    page: github::Page,
}

impl Stage {
    pub(super) fn new(choice: Choice, style: Style, noun: &str) -> Self {
        let logs = match choice.format {
            Format::GitHub => PassedLogs::Kept,
            Format::Text => PassedLogs::Dropped,
        };
        Self {
            choice,
            style,
            noun: noun.to_owned(),
            progress: Progress::default(),
            results: Results::new(style, choice.loudness, logs, noun),
            heartbeat: Heartbeat::default(),
            annotations: 0,
            places: Places::default(),
            page: github::Page::default(),
        }
    }

    /// Where it runs, and what to suggest there.
    pub(super) fn at(mut self, places: Places, advice: Advice) -> Self {
        self.places = places;
        self.results.advise(advice);
        self
    }

    /// Takes in an event; gives what is to be printed for good.
    pub(super) fn event(&mut self, event: &Event, now: Duration) -> Vec<String> {
        if let Event::Source(source) = event {
            self.places.set_source(&source.url);
        }
        let blocks = self.results.show(event, &self.progress);
        self.progress.apply(event, now);
        let lines: Vec<String> = blocks.iter().flat_map(|block| self.lines(block)).collect();
        if !lines.is_empty() {
            self.heartbeat.printed(now);
        }
        lines
    }

    /// What is to be printed for good because of the time alone.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<String> {
        match self.choice.ticks {
            Ticks::Heartbeat => {
                let lines = self.heartbeat.tick(&self.progress, now, self.style);
                match self.choice.format {
                    Format::GitHub => lines.iter().map(|line| github::harmless(line)).collect(),
                    Format::Text => lines,
                }
            }
            Ticks::Live | Ticks::Nothing => Vec::new(),
        }
    }

    /// What is to be seen below everything else, now.
    pub(super) fn region(&self, width: usize, height: usize, now: Duration) -> Vec<String> {
        if self.progress.summary.is_some() {
            return Vec::new();
        }
        region::region(&self.progress, width, height, now, self.style)
    }

    /// The step summary for GitHub, after the last event.
    pub(super) fn markdown(&self) -> Option<String> {
        let summary: &Summary = self.progress.summary.as_ref()?;
        Some(self.page.markdown(summary, &self.noun))
    }

    fn lines(&mut self, block: &Block) -> Vec<String> {
        match self.choice.format {
            Format::GitHub => {
                self.page.add(block);
                github::lines(block, &self.places, &mut self.annotations)
            }
            // The logs of builds that passed are for hosts that fold them.
            Format::Text if block.kind == Kind::Passed => vec![block.title.clone()],
            Format::Text => {
                let title = [block.title.clone()].into_iter();
                title.chain(block.body.iter().cloned()).collect()
            }
        }
    }
}
