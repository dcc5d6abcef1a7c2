//! The page of an evaluation, from hostile rows.

use esker_engine::event::{BuildFailure, BuildFailureKind};

use super::*;

fn evaluation(state: &str, conclusion: Option<&str>) -> EvaluationRow {
    EvaluationRow {
        id: EvaluationId { project: "github/acme/hello".into(), number: 3 },
        commit: "0123456789012345678901234567890123456789".into(),
        reference: "refs/heads/<b>".into(),
        state: state.into(),
        queued: 1_700_000_000_000,
        started: Some(1_700_000_001_000),
        finished: conclusion.map(|_| 1_700_000_097_000),
        attempt: 1,
        evaluated: true,
        conclusion: conclusion.map(Into::into),
        error: None,
        summary: None,
    }
}

fn job(name: &str, state: &str, outcome: Option<Outcome>) -> JobRow {
    JobRow { job: name.into(), attr: format!("checks.{name}"), state: state.into(), drv: None, outcome }
}

fn html(fragments: &Fragments) -> String {
    fragments.sections.iter().chain(&fragments.table).map(|fragment| fragment.html.0.clone()).collect()
}

#[test]
fn everything_is_escaped() {
    let failure = BuildFailure {
        kind: BuildFailureKind::Builder,
        message: "<script>".into(),
        exit_code: Some(7),
        phase: Some("<script>".into()),
        tail: vec!["<script>alert(1)</script>".into(), "\"'&".into()],
    };
    let outcome = Outcome::BuildFailed { drv: "/nix/store/x.drv".into(), failure, seconds: 1.0 };
    let name = "\"><script>alert(1)</script>/..";
    let page = html(&view(
        &EvaluationRow { error: Some("<script>".into()), ..evaluation("finished", Some("failed")) },
        &[job(name, "failed", Some(outcome))],
        &[],
    ));
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(page.contains("exited with code 7"), "{page}");
}

#[test]
fn the_verdict_is_a_sentence_and_a_time() {
    let fragments = view(
        &evaluation("finished", Some("failed")),
        &[job("bad", "failed", None), job("good", "passed", Some(Outcome::InStore))],
        &[],
    );
    insta::assert_snapshot!(fragments.sections[0].html.0.replace("><", ">\n<"), @r#"
    <section id="verdict" role="status">
    <h1>
    <span class="state" data-state="failed">
    <span aria-hidden="true">✗ </span>failed</span>
    </h1>
    <p class="sentence">1 of 2 jobs failed: bad</p>
    <p class="about">
    <code title="0123456789012345678901234567890123456789">0123456</code> on <strong>&lt;b&gt;</strong> · took 1 min 36 s</p>
    </section>
    "#);
    assert!(html(&fragments).contains("was there already"));
}

#[test]
fn a_job_that_ends_is_sent_alone_and_a_new_one_with_the_table() {
    let mut seen = super::super::fragments::Seen::default();
    let running = evaluation("running", None);
    let news = |jobs: &[JobRow], seen: &mut _| -> Vec<String> {
        view(&running, jobs, &[]).news(seen).into_iter().map(str::to_owned).collect()
    };
    news(&[job("a", "building", None), job("b", "waiting", None)], &mut seen);
    let second = news(&[job("a", "passed", None), job("b", "waiting", None)], &mut seen);
    assert_eq!(second.len(), 2, "the headline and one row: {second:?}");
    assert!(second[1].starts_with("<tr id=\"job-0\">"), "{second:?}");
    let third =
        news(&[job("a", "passed", None), job("a2", "waiting", None), job("b", "waiting", None)], &mut seen);
    assert!(third[1].starts_with("<section id=\"jobs\">"), "{third:?}");
}
