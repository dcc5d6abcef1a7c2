//! What is happening now, as lines: the small live region, the status line, what is waited for.
//!
//! Invariant: pure, and at most a third of the screen. No line is as wide as the screen, so none wraps.

use std::time::Duration;

use esker_engine::event::Action;
use esker_engine::progress::{Progress, RunningBuild, Wait};

use super::clean;
use super::report::{INDENT, TIME, name_width};
use super::style::{self, Color, Style, Tone, pad};

/// After so long without any event, the wait is explained.
pub(crate) const EXPLAIN: Duration = Duration::from_secs(1);
/// After so long without output, a build is called silent.
const SILENT: Duration = Duration::from_secs(60);

/// The live region on a screen of `width` columns and `height` rows. Its last line is the status.
pub(crate) fn region(
    progress: &Progress,
    width: usize,
    height: usize,
    now: Duration,
    style: Style,
) -> Vec<String> {
    let budget = (height / 3).max(1) - 1;
    let spinner = style.paint(Tone::Hint, &style.spinner(now).to_string());
    let mut others = Vec::new();
    if let Some(fetching) = fetching(progress) {
        others.push(format!(" {spinner} {fetching}"));
    }
    if let Some(waiting) = explanation(progress, now) {
        others.push(format!(" {spinner} {waiting}"));
    }
    others.truncate(budget);

    let building: Vec<&RunningBuild> = progress.running.iter().filter(|build| build.builds()).collect();
    let room = budget - others.len();
    let shown = if building.len() <= room { building.len() } else { room.saturating_sub(1) };
    let mut logs = room.saturating_sub(building.len());
    let names = building[..shown].iter().map(|build| progress.title(&build.drv, &build.name));
    let wanted = name_width(progress.jobs.keys().map(|name| &**name).chain(names)) + INDENT - 3;
    let columns = wanted.min(width / 2);

    let mut lines = Vec::new();
    for build in &building[..shown] {
        let title = clean::name(progress.title(&build.drv, &build.name));
        let title = pad(&style.cut(&title, columns), columns);
        let time = format!("{:>TIME$}", style::so_far(now.saturating_sub(build.since)));
        lines.push(format!(" {spinner} {title}  {time}{}", about(progress, build, now)));
        if logs > 0
            && let Some(line) = last_line(build)
        {
            logs -= 1;
            lines.push(format!("{:INDENT$}{}", "", style.paint(Tone::Dim, &line)));
        }
    }
    if shown < building.len() && room > 0 {
        let more = (building.len() - shown) as u64;
        let (before, after) = if shown == 0 { ("building ", "") } else { ("and ", " more") };
        lines.push(format!("   {before}{}{after}", style::number(more)));
    }
    lines.extend(others);
    lines.push(status(progress, now, style));
    let columns = width.saturating_sub(1).max(1);
    lines.iter().map(|line| style.cut(line, columns).into_owned()).collect()
}

/// ` 3 of 4 done · 2 passed · 1 failed · 1 building · 53s`.
pub(crate) fn status(progress: &Progress, now: Duration, style: Style) -> String {
    let counts = progress.counts();
    let numbers = [
        (counts.passed, "passed", Some(Tone::Good)),
        (counts.failed, "failed", Some(Tone::Bad)),
        (counts.broken, "broken", Some(Tone::Odd)),
        (counts.cancelled, "cancelled", Some(Tone::Warn)),
        (counts.evaluating, "evaluating", None),
        (counts.building, "building", None),
        (counts.fetching, "fetching", None),
        (counts.waiting, "waiting", None),
        (counts.proving, "proving", None),
    ];
    let mut parts = Vec::new();
    if counts.total > 0 {
        let done = style::number(counts.done);
        parts.push(format!("{done} of {} done", style::number(counts.total)));
    }
    for (count, word, tone) in numbers {
        if count > 0 {
            let word = tone.map_or_else(|| word.to_owned(), |tone| style.paint(tone, word));
            parts.push(format!("{} {word}", style::number(count)));
        }
    }
    parts.push(style::so_far(now));
    format!(" {}", parts.join(style.dot()))
}

/// `docs for 12s of about 40s, buildPhase`: one build, for where there is no table.
pub(crate) fn build_text(progress: &Progress, build: &RunningBuild, now: Duration) -> String {
    let title = clean::name(progress.title(&build.drv, &build.name));
    let time = style::so_far(now.saturating_sub(build.since));
    format!("{title} for {time}{}", about(progress, build, now))
}

/// What is waited for, in words; `None`: nothing.
pub(crate) fn wait_text(progress: &Progress, now: Duration) -> Option<String> {
    let others =
        |others: u64| if others > 0 { format!(" and {} more", style::number(others)) } else { String::new() };
    let lasting = |since: Duration| format!("for {}", style::so_far(now.saturating_sub(since)));
    Some(match progress.wait()? {
        Wait::Nix => format!("starting Nix {}", lasting(progress.last_event)),
        Wait::Source => format!("fetching and locking the source {}", lasting(progress.last_event)),
        Wait::Attributes => format!("listing the attributes {}", lasting(progress.last_event)),
        Wait::Evaluators => format!("starting to evaluate {}", lasting(progress.last_event)),
        Wait::Evaluation { job, since, others: more } => {
            format!("evaluating {}{} {}", clean::name(job), others(more), lasting(since))
        }
        Wait::Build { build, others: more } if build.builds() => {
            format!("building {}{}", build_text(progress, build, now), others(more))
        }
        Wait::Build { .. } => fetching(progress)?,
        Wait::Store => format!(
            "waiting for the store {}: Nix is asked what is there, or another process holds a lock",
            lasting(progress.last_event)
        ),
    })
}

/// The line of the region for a wait that no row of a build shows.
fn explanation(progress: &Progress, now: Duration) -> Option<String> {
    match progress.wait()? {
        Wait::Build { .. } => {
            // Builders at work must not hide an evaluation that is stuck.
            let stuck = progress.jobs.iter().filter_map(|(name, job)| match job.state {
                esker_engine::progress::JobState::Evaluating { since } => Some((since, name)),
                _ => None,
            });
            let (since, name) = stuck.min().filter(|(since, _)| now.saturating_sub(*since) > 10 * EXPLAIN)?;
            let time = style::so_far(now.saturating_sub(since));
            Some(format!("evaluating {} for {time}", clean::name(name)))
        }
        Wait::Evaluation { since, .. } if now.saturating_sub(since) <= EXPLAIN => None,
        Wait::Evaluation { .. } => wait_text(progress, now),
        _ if now.saturating_sub(progress.last_event) <= EXPLAIN => None,
        _ => wait_text(progress, now),
    }
}

fn fetching(progress: &Progress) -> Option<String> {
    let fetched = progress.running.iter().filter(|build| !build.builds());
    let names = style::names(fetched.map(|build| progress.title(&build.drv, &build.name)), 2);
    if names.is_empty() {
        return None;
    }
    let download = progress.download();
    let of = match (download.done, download.expected) {
        (0, 0) => String::new(),
        (done, expected) if expected > done => {
            format!("  {} of {}", style::bytes(done), style::bytes(expected))
        }
        (done, _) => format!("  {}", style::bytes(done)),
    };
    Some(format!("fetching {names}{of}"))
}

/// ` of about 40s, buildPhase, for tests`.
fn about(progress: &Progress, build: &RunningBuild, now: Duration) -> String {
    let mut text = String::new();
    if let Some(estimate) = build.estimate {
        text = format!(" of about {}", style::so_far(estimate));
    }
    if build.action == Action::Rebuild {
        text += ", second build";
    }
    if let Some(phase) = &build.phase {
        text += &format!(", {}", clean::name(phase));
    }
    let silent = now.saturating_sub(build.last_output);
    if silent >= SILENT {
        text += &format!(", silent for {}", style::so_far(silent));
    }
    if progress.job_of(&build.drv).is_none() && !build.jobs.is_empty() {
        text += &format!(", for {}", style::names(build.jobs.iter().map(String::as_str), 1));
    }
    text
}

/// The last line that a build printed and that is not empty.
pub(crate) fn last_line(build: &RunningBuild) -> Option<String> {
    build.tail.iter().rev().map(|line| clean::line(line, Color::Off)).find(|line| !line.trim().is_empty())
}
