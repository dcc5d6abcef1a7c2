//! The rules, on hand-made events.

use super::*;
use crate::event::{DiscoveredJob, Outcome};

fn at(progress: &mut Progress, seconds: u64, event: Event) {
    progress.apply(&event, Duration::from_secs(seconds));
}

fn discovered(names: &[&str]) -> Event {
    let job = |name: &&str| DiscoveredJob { job: (*name).into(), attr: format!("checks.{name}") };
    Event::Discovered { jobs: names.iter().map(job).collect() }
}

fn evaluated(job: &str, drv: &str) -> Event {
    let (job, drv) = (job.into(), drv.into());
    Event::Evaluated { job, drv, name: "x".into(), seconds: 0.1 }
}

fn started(drv: &str, action: Action) -> Event {
    let (drv, name) = (drv.into(), "x".into());
    Event::BuildStarted { drv, name, action, estimate: None, jobs: vec![] }
}

fn built(drv: &str, action: Action) -> Event {
    let conclusion = Conclusion::Passed;
    let (drv, name) = (drv.into(), "x".into());
    Event::BuildFinished { drv, name, action, conclusion, seconds: 1., failure: None, outputs: vec![] }
}

fn finished(job: &str, conclusion: Conclusion) -> Event {
    Event::JobFinished { job: job.into(), conclusion, outcome: Outcome::InStore }
}

fn evaluating(job: &str) -> Event {
    Event::Evaluating { job: job.into() }
}

#[test]
fn the_counts_follow_a_job_through_its_life() {
    let mut progress = Progress::default();
    at(&mut progress, 0, discovered(&["a", "b", "c"]));
    assert_eq!(progress.counts().waiting, 3);
    at(&mut progress, 1, evaluating("a"));
    assert_eq!((progress.counts().waiting, progress.counts().evaluating), (2, 1));
    assert_eq!(progress.state_word("a"), Some("evaluating"));
    at(&mut progress, 2, evaluated("a", "/a.drv"));
    assert_eq!(progress.state_word("a"), Some("waiting"));
    at(&mut progress, 3, started("/a.drv", Action::Build));
    assert_eq!(progress.state_word("a"), Some("building"));
    let counts = progress.counts();
    assert_eq!((counts.waiting, counts.evaluating, counts.building), (2, 0, 1));
    at(&mut progress, 4, built("/a.drv", Action::Build));
    at(&mut progress, 4, finished("a", Conclusion::Passed));
    let counts = progress.counts();
    assert_eq!((counts.waiting, counts.building, counts.done, counts.passed), (2, 0, 1, 1));
    assert_eq!(progress.state_word("a"), Some("passed"));
    assert_eq!(progress.concluded(Conclusion::Passed).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_dissolved_job_is_forgotten() {
    let mut progress = Progress::default();
    at(&mut progress, 0, discovered(&["set"]));
    at(&mut progress, 0, evaluating("set"));
    at(&mut progress, 1, Event::Dissolved { job: "set".into() });
    at(&mut progress, 1, discovered(&["set.a"]));
    assert_eq!(progress.counts(), Counts { total: 1, waiting: 1, ..Counts::default() });
}

#[test]
fn two_jobs_of_one_derivation_are_both_building() {
    let mut progress = Progress::default();
    at(&mut progress, 0, evaluated("a", "/x.drv"));
    at(&mut progress, 0, evaluated("b", "/x.drv"));
    at(&mut progress, 0, started("/x.drv", Action::Build));
    let counts = progress.counts();
    assert_eq!((counts.total, counts.waiting, counts.building), (2, 0, 1));
    assert_eq!(progress.title("/x.drv", "x-1.0"), "a");
    assert_eq!(progress.title("/y.drv", "y-1.0"), "y-1.0");
}

#[test]
fn a_second_verdict_changes_nothing() {
    let mut progress = Progress::default();
    at(&mut progress, 0, finished("a", Conclusion::Failed));
    at(&mut progress, 0, finished("a", Conclusion::Passed));
    at(&mut progress, 0, evaluating("a"));
    assert_eq!(progress.counts(), Counts { total: 1, done: 1, failed: 1, ..Counts::default() });
}

#[test]
fn only_the_end_of_a_log_is_kept() {
    let mut progress = Progress::default();
    at(&mut progress, 0, started("/a.drv", Action::Build));
    for number in 0..60 {
        let line = format!("{number}{}", "x".repeat(2 * LINE_BYTES)).into_bytes();
        at(&mut progress, number, Event::Log { drv: "/a.drv".into(), line });
    }
    let build = progress.running("/a.drv").unwrap();
    assert_eq!((build.tail.len(), build.lines_dropped), (TAIL_LINES, 10));
    assert!(build.tail[0].starts_with(b"10x"));
    assert!(build.tail.iter().all(|line| line.len() == LINE_BYTES));
    assert_eq!(build.last_output, Duration::from_secs(59));
}

#[test]
fn equal_warnings_are_counted() {
    let mut progress = Progress::default();
    for number in 0..500 {
        at(&mut progress, 0, Event::Warning { text: format!("{}é", number % 2), job: None });
    }
    let texts: Vec<_> = progress.warnings.iter().map(|warning| (&*warning.text, warning.count)).collect();
    assert_eq!(texts, [("0é", 250), ("1é", 250)]);
    for number in 0..500 {
        at(&mut progress, 0, Event::Warning { text: format!("other {number}"), job: None });
    }
    assert_eq!((progress.warnings.len(), progress.warnings_dropped), (WARNINGS, 402));
}

#[test]
fn finished_downloads_stay_in_the_sum() {
    let mut progress = Progress::default();
    let transfer = |drv: &str, done, expected| Event::Transfer { drv: drv.into(), done, expected };
    for drv in ["/a.drv", "/b.drv"] {
        at(&mut progress, 0, started(drv, Action::Fetch));
    }
    at(&mut progress, 1, transfer("/a.drv", 10, 10));
    at(&mut progress, 1, transfer("/b.drv", 5, 0));
    at(&mut progress, 1, built("/a.drv", Action::Fetch));
    assert_eq!(progress.download(), Download { done: 15, expected: 15 });
    at(&mut progress, 2, transfer("/b.drv", 5, 90));
    assert_eq!(progress.download(), Download { done: 15, expected: 100 });
    assert_eq!((progress.counts().fetching, progress.counts().building), (1, 0));
}

#[test]
fn what_is_waited_for_has_a_name_at_every_stage() {
    let mut progress = Progress::default();
    assert_eq!(progress.wait(), Some(Wait::Nix));
    at(&mut progress, 0, Event::Environment(Environment::default()));
    assert_eq!(progress.wait(), Some(Wait::Source));
    at(&mut progress, 0, Event::Source(Source::default()));
    assert_eq!(progress.wait(), Some(Wait::Attributes));
    at(&mut progress, 1, discovered(&["a", "b"]));
    assert_eq!(progress.wait(), Some(Wait::Evaluators));
    at(&mut progress, 1, evaluating("b"));
    at(&mut progress, 2, evaluating("a"));
    let since = Duration::from_secs(1);
    assert_eq!(progress.wait(), Some(Wait::Evaluation { job: "b", since, others: 1 }));
    at(&mut progress, 3, evaluated("a", "/a.drv"));
    at(&mut progress, 3, evaluated("b", "/b.drv"));
    at(&mut progress, 3, Event::EvaluationFinished { jobs: 2, failed: 0, seconds: 2. });
    assert_eq!(progress.wait(), Some(Wait::Store));
    at(&mut progress, 4, started("/a.drv", Action::Build));
    assert!(matches!(progress.wait(), Some(Wait::Build { others: 0, .. })));
    at(&mut progress, 5, built("/a.drv", Action::Build));
    at(&mut progress, 5, finished("a", Conclusion::Passed));
    at(&mut progress, 5, finished("b", Conclusion::Passed));
    assert_eq!(progress.wait(), None);
}

#[test]
fn ten_thousand_jobs_fold_quickly() {
    let mut progress = Progress::default();
    for number in 0..10_000 {
        let (job, drv) = (format!("job{number}"), format!("/nix/store/{number}.drv"));
        at(&mut progress, 0, discovered(&[&job]));
        at(&mut progress, 0, evaluating(&job));
        at(&mut progress, 0, evaluated(&job, &drv));
        at(&mut progress, 0, started(&drv, Action::Build));
        at(&mut progress, 0, built(&drv, Action::Build));
        at(&mut progress, 0, finished(&job, Conclusion::Passed));
    }
    let counts = progress.counts();
    assert_eq!((counts.done, counts.waiting, counts.building), (10_000, 0, 0));
}
