//! How runs end, and what is folded so that many jobs do not take many lines.

use super::*;

#[test]
fn dependents_of_one_failure_are_folded() {
    let jobs = numbered("job", 14);
    let mut write = run_of(&jobs).starts_to(Action::Build, "openssl", None, &["job1"]).wait(2.);
    write = write.dependency_fails("openssl", 2., exit_code(2, &["Error 2"]));
    for job in &jobs {
        write = write.needs(job, "openssl");
    }
    insta::assert_snapshot!(play(write.end()), @"
    checking . at 3f2c1ab
     failed  openssl-1.0   2.0s  exit code 2, needed by job1
             │ Error 2
             │ full log: nix-store --read-log /nix/store/00000000000000000000000000000000-openssl-1.0.drv
     failed  job1           needs openssl-1.0, which failed above
     failed  job2           needs openssl-1.0, which failed above
     failed  job3           needs openssl-1.0, which failed above
     failed  job4           needs openssl-1.0, which failed above
     failed  job5           needs openssl-1.0, which failed above
     failed  job6           needs openssl-1.0, which failed above
     failed  job7           needs openssl-1.0, which failed above
     failed  job8           needs openssl-1.0, which failed above
     failed  job9           needs openssl-1.0, which failed above
     failed  job10          needs openssl-1.0, which failed above
     failed  4 more checks         need openssl-1.0, which failed above
     14 of 14 done · 14 failed · 2.0s
    error: 14 of 14 checks failed: job1, job2, job3, job4, job5, job6, job7, job8 and 6 more
    hint: `nix-store --read-log /nix/store/00000000000000000000000000000000-openssl-1.0.drv` shows the whole log
    ");
}

#[test]
fn a_failure_shared_by_two_jobs_shows_its_log_once() {
    let failure = exit_code(1, &["boom"]);
    let outcome = Outcome::BuildFailed { drv: script::drv("a"), failure: failure.clone(), seconds: 1. };
    let script = Write::run(&["a", "b"])
        .starts("a")
        .wait(1.)
        .fails("a", 1., failure)
        .job("b", Conclusion::Failed, outcome)
        .end();
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab
     failed  a        1.0s  exit code 1
             │ boom
             │ full log: esker log a
     failed  b        1.0s  exit code 1, shown above
     2 of 2 done · 2 failed · 1.0s
    error: 2 of 2 checks failed: a, b
    hint: `esker log a` shows the whole log; `esker check --attr a` runs it alone
    ");
}

#[test]
fn interrupted() {
    let mut write = Write::run(&["fmt", "clippy", "tests", "docs"]).present("fmt").starts("tests").wait(12.);
    for job in ["clippy", "tests", "docs"] {
        write = write.job(job, Conclusion::Cancelled, Outcome::Cancelled);
    }
    insta::assert_snapshot!(play(write.interrupted()), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     cancelled  clippy
     cancelled  tests
     cancelled  docs
     1 of 4 done · 1 passed · 3 cancelled · 12s
    error: interrupted after 12s; 3 of 4 checks cancelled
    ");
}

#[test]
fn broken_alone_advises_another_try() {
    let outcome = Outcome::Broken { message: "cannot connect to the daemon".into() };
    let script = Write::run(&["tests"]).wait(0.2).job("tests", Conclusion::Broken, outcome).end();
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab
     broken  tests
             │ cannot connect to the daemon
     1 of 1 done · 1 broken · 0.2s
    error: 1 of 1 check broken: tests
    hint: broken is not the code's fault: run it again
    ");
}

#[test]
fn an_error_that_left_no_jobs_is_for_the_caller() {
    let mut script = Write::run(&[]).end();
    let summary = Summary { error: Some("there is no attribute `checks`".into()), ..Summary::default() };
    script.last_mut().unwrap().1 = Event::Finished(summary);
    insta::assert_snapshot!(play(script), @"checking . at 3f2c1ab");
}

#[test]
fn a_dry_run() {
    let scheduled =
        |name: &str, action| Event::Scheduled { drv: script::drv(name), name: format!("{name}-1.0"), action };
    let script = Write::run(&["fmt", "clippy", "tests"])
        .present("fmt")
        .job("clippy", Conclusion::Passed, Outcome::WouldFetch)
        .job("tests", Conclusion::Passed, Outcome::WouldBuild)
        .and(scheduled("clippy", Action::Fetch))
        .and(scheduled("openssl", Action::Build))
        .and(scheduled("tests", Action::Build))
        .wait(0.3)
        .end();
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     -       clippy         would fetch
     -       tests          would build
     dry run of 3 checks: 1 to build · 1 to fetch · 1 already in the store · with dependencies 2 derivations to build and 1 to fetch
    ");
}

#[test]
fn nothing_to_do() {
    insta::assert_snapshot!(play(Write::run(&[]).wait(0.1).end()), @"
    checking . at 3f2c1ab
     nothing to do: no checks found
    ");
    insta::assert_snapshot!(play(Write::run(&["fmt"]).present("fmt").wait(0.1).end()), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     1 check passed in 0.1s · nothing had to be built
    ");
}

#[test]
fn a_thousand_jobs_that_needed_nothing_take_one_line() {
    let jobs = numbered("job", 1000);
    let mut write = run_of(&jobs);
    for job in &jobs[1..] {
        write = write.present(job);
    }
    let script = write.starts("job1").wait(3.).built("job1", 3.).end();
    insta::assert_snapshot!(play(script.clone()), @"
    checking . at 3f2c1ab
     passed  job1      3.0s
     passed  999 checks         already in the store
     1,000 checks passed in 3.0s · 1 built
    ");
    let verbose = play_as(Choice { loudness: Loudness::Verbose, ..PLAIN }, UNICODE, script);
    assert!(verbose.lines().count() > 1000);
}

#[test]
fn warnings_are_folded_with_a_count() {
    let warning = |text: &str| Event::Warning { text: text.into(), job: None };
    let mut write = Write::opening(&["fmt"]);
    for _ in 0..37 {
        write.event(warning("warning: `lib.mdDoc` is deprecated\nuse nothing instead"));
    }
    for number in 1..=12 {
        write.event(warning(&format!("trace: {number}")));
    }
    let script = write.evaluation_finished().present("fmt").wait(1.).end();
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab
    warning: `lib.mdDoc` is deprecated (37 times)
             │ use nothing instead
    warning: trace: 1
    warning: trace: 2
    warning: trace: 3
    warning: trace: 4
    warning: trace: 5
    warning: trace: 6
    warning: trace: 7
    warning: trace: 8
    warning: trace: 9
    warning: 3 more warnings; -v shows them
     passed  fmt            already in the store
     1 check passed in 1.0s · nothing had to be built
    ");
}
