//! What a log file hears while results keep it waiting: without a terminal, nothing can be redrawn.
//!
//! A person (or a host that stops silent jobs) must see that something happens, yet a log should not
//! fill with it: the first wait of each kind is named after a second, then there is a heartbeat.
//!
//! Invariant: only whole lines; no escape code for movement.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use esker_engine::progress::{Progress, RunningBuild, Wait};

use super::region::{EXPLAIN, build_text, last_line, status, wait_text};
use super::report::INDENT;
use super::style::{self, Style, Tone};

/// Something is printed at least so often.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A build that prints nothing for so long is named; again when it is twice as long.
const SILENT: Duration = Duration::from_secs(300);
/// How many builds a heartbeat names.
const NAMED: usize = 3;

/// When what was said.
#[derive(Default)]
pub(crate) struct Heartbeat {
    last_printed: Duration,
    /// Kinds of waits that were named.
    named: BTreeSet<&'static str>,
    /// Silent builds, by derivation: when they are named again.
    silent: HashMap<String, Duration>,
}

impl Heartbeat {
    /// Something else was printed.
    pub(crate) fn printed(&mut self, now: Duration) {
        self.last_printed = now;
    }

    /// What is due. To be called about once a second.
    pub(crate) fn tick(&mut self, progress: &Progress, now: Duration, style: Style) -> Vec<String> {
        let mut lines = self.silent_builds(progress, now, style);
        let Some(wait) = progress.wait() else { return lines };
        let quiet = now.saturating_sub(self.last_printed);
        if !lines.is_empty() {
            // The silent builds are sign enough.
        } else if quiet >= HEARTBEAT {
            lines.extend(heartbeat(progress, now, style));
        } else if quiet > EXPLAIN && lasted(progress, &wait, now) > EXPLAIN && self.named.insert(kind(&wait))
        {
            lines.extend(wait_text(progress, now).map(|text| format!(" {text}")));
        }
        if !lines.is_empty() {
            self.last_printed = now;
        }
        lines
    }

    fn silent_builds(&mut self, progress: &Progress, now: Duration, style: Style) -> Vec<String> {
        let mut lines = Vec::new();
        self.silent.retain(|drv, _| progress.running(drv).is_some());
        for build in progress.running.iter().filter(|build| build.builds()) {
            let silent = now.saturating_sub(build.last_output);
            if silent < SILENT {
                self.silent.remove(&build.drv);
            } else if self.silent.get(&build.drv).is_none_or(|due| silent >= *due) {
                self.silent.insert(build.drv.clone(), silent * 2);
                lines.extend(silent_build(progress, build, now, style));
            }
        }
        lines
    }
}

fn heartbeat(progress: &Progress, now: Duration, style: Style) -> Vec<String> {
    let mut lines = vec![status(progress, now, style)];
    let mut building = progress.running.iter().filter(|build| build.builds());
    for build in building.by_ref().take(NAMED) {
        lines.push(format!("   building {}", build_text(progress, build, now)));
    }
    let more = building.count() as u64;
    if more > 0 {
        lines.push(format!("   and {} more", style::number(more)));
    } else if lines.len() == 1 {
        lines.extend(wait_text(progress, now).map(|text| format!("   {text}")));
    }
    lines
}

fn silent_build(progress: &Progress, build: &RunningBuild, now: Duration, style: Style) -> Vec<String> {
    let mut lines = vec![format!(" {}", build_text(progress, build, now))];
    if let Some(line) = last_line(build) {
        let bar = style.paint(Tone::Dim, style.bar());
        lines.push(format!("{:INDENT$}{bar} {line}", ""));
    }
    lines
}

fn lasted(progress: &Progress, wait: &Wait<'_>, now: Duration) -> Duration {
    now.saturating_sub(match wait {
        Wait::Evaluation { since, .. } => *since,
        Wait::Build { build, .. } => build.since,
        Wait::Nix | Wait::Source | Wait::Attributes | Wait::Evaluators | Wait::Store => progress.last_event,
    })
}

fn kind(wait: &Wait<'_>) -> &'static str {
    match wait {
        Wait::Nix => "nix",
        Wait::Source => "source",
        Wait::Attributes => "attributes",
        Wait::Evaluators => "evaluators",
        Wait::Evaluation { .. } => "evaluation",
        Wait::Build { build, .. } if build.builds() => "build",
        Wait::Build { .. } => "fetch",
        Wait::Store => "store",
    }
}
