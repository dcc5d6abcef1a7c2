//! What is happening now: the live region, and the signs of life without a terminal.

use super::*;

#[test]
fn without_a_terminal_there_are_signs_of_life() {
    let script = Write::opening(&["tests"]).wait(3.).and(Event::Evaluating { job: "tests".into() }).wait(4.);
    let mut script = script;
    script.evaluated("tests");
    let script = script
        .evaluation_finished()
        .starts_to(Action::Build, "tests", Some(40.), &["tests"])
        .wait(2.)
        .phase("tests", "buildPhase")
        .log("tests", "Compiling \x1b[2Jserde")
        .wait(370.)
        .log("tests", "done")
        .built("tests", 372.)
        .end();
    let choice = Choice { ticks: Ticks::Heartbeat, ..PLAIN };
    let text = play_as(choice, UNICODE, script);
    assert!(!text.contains('\x1b'));
    insta::assert_snapshot!(text, @"
    checking . at 3f2c1ab
     starting to evaluate for 2s
     evaluating tests for 2s
     building tests for 2s of about 40s, buildPhase
     0 of 1 done · 1 building · 39s
       building tests for 32s of about 40s, buildPhase
     0 of 1 done · 1 building · 1m09s
       building tests for 1m02s of about 40s, buildPhase, silent for 1m00s
     0 of 1 done · 1 building · 1m39s
       building tests for 1m32s of about 40s, buildPhase, silent for 1m30s
     0 of 1 done · 1 building · 2m09s
       building tests for 2m02s of about 40s, buildPhase, silent for 2m00s
     0 of 1 done · 1 building · 2m39s
       building tests for 2m32s of about 40s, buildPhase, silent for 2m30s
     0 of 1 done · 1 building · 3m09s
       building tests for 3m02s of about 40s, buildPhase, silent for 3m00s
     0 of 1 done · 1 building · 3m39s
       building tests for 3m32s of about 40s, buildPhase, silent for 3m30s
     0 of 1 done · 1 building · 4m09s
       building tests for 4m02s of about 40s, buildPhase, silent for 4m00s
     0 of 1 done · 1 building · 4m39s
       building tests for 4m32s of about 40s, buildPhase, silent for 4m30s
     tests for 5m02s of about 40s, buildPhase, silent for 5m00s
             │ Compiling serde
     0 of 1 done · 1 building · 5m39s
       building tests for 5m32s of about 40s, buildPhase, silent for 5m30s
     0 of 1 done · 1 building · 6m09s
       building tests for 6m02s of about 40s, buildPhase, silent for 6m00s
     passed  tests   6m12s
     1 check passed in 6m19s · 1 built
    ");
}

fn busy() -> Write {
    Write::run(&["fmt", "clippy", "tests", "docs", "a-job-with-a-rather-long-name-indeed"])
        .present("fmt")
        .starts_to(Action::Build, "docs", Some(40.), &["docs"])
        .phase("docs", "buildPhase")
        .log("docs", "   Compiling mdbook\x1b[2J\r   Compiling \x1b[1mregex-syntax")
        .starts_to(Action::Build, "openssl", None, &["tests"])
        .wait(5.)
        .starts("a-job-with-a-rather-long-name-indeed")
        .starts_to(Action::Fetch, "clippy", None, &["clippy"])
        .and(Event::Transfer { drv: script::drv("clippy"), done: 3 << 20, expected: 120 << 20 })
}

#[test]
fn the_region_before_anything_happens() {
    assert_eq!(live(vec![], 80, 24, 0.5), " 0s");
    insta::assert_snapshot!(live(vec![], 80, 24, 1.5), @"
    ⠴ starting Nix for 1s
    1s
    ");
    insta::assert_snapshot!(live(Write::opening(&["a"]).so_far().into_iter().take(2).collect(), 80, 24, 12.), @"
    ⠋ listing the attributes for 12s
    12s
    ");
}

#[test]
fn the_region_while_nothing_is_built() {
    let waiting = Write::run(&["fmt", "docs"]).so_far();
    insta::assert_snapshot!(live(waiting, 120, 24, 4.), @"
    ⠋ waiting for the store for 4s: Nix is asked what is there, or another process holds a lock
    0 of 2 done · 2 waiting · 4s
    ");
    let evaluating = Write::opening(&["fmt", "docs"])
        .and(Event::Evaluating { job: "fmt".into() })
        .and(Event::Evaluating { job: "docs".into() })
        .so_far();
    insta::assert_snapshot!(live(evaluating, 80, 24, 4.), @"
    ⠋ evaluating docs and 1 more for 4s
    0 of 2 done · 2 evaluating · 4s
    ");
}

#[test]
fn the_region_with_three_builds() {
    insta::assert_snapshot!(live(busy().so_far(), 100, 24, 12.), @"
    ⠋ docs                                  12s of about 40s, buildPhase
               Compiling regex-syntax
    ⠋ openssl-1.0                           12s, for tests
    ⠋ a-job-with-a-rather-long-name-ind…     7s
    ⠋ fetching clippy  3.0 MiB of 120.0 MiB
    1 of 5 done · 1 passed · 3 building · 1 fetching · 2 waiting · 12s
    ");
}

#[test]
fn the_region_on_a_narrow_terminal() {
    let text = live(busy().so_far(), 40, 24, 12.);
    assert!(text.lines().all(|line| crate::screen::style::visible_width(line) < 40));
    insta::assert_snapshot!(text, @"
    ⠋ docs                    12s of abou…
               Compiling regex-syntax
    ⠋ openssl-1.0             12s, for te…
    ⠋ a-job-with-a-rather…     7s
    ⠋ fetching clippy  3.0 MiB of 120.0 M…
    1 of 5 done · 1 passed · 3 building ·…
    ");
}

#[test]
fn the_region_with_fifty_builds_takes_a_third_of_the_screen() {
    let jobs = numbered("job", 50);
    let write = jobs.iter().fold(run_of(&jobs), |write, job| write.starts(job));
    let script = write.so_far();
    for height in [1, 3, 6, 24, 100] {
        assert!(live(script.clone(), 80, height, 90.).lines().count() <= (height / 3).max(1));
    }
    insta::assert_snapshot!(live(script, 80, 24, 90.), @"
    ⠋ job1          1m30s, silent for 1m30s
    ⠋ job2          1m30s, silent for 1m30s
    ⠋ job3          1m30s, silent for 1m30s
    ⠋ job4          1m30s, silent for 1m30s
    ⠋ job5          1m30s, silent for 1m30s
    ⠋ job6          1m30s, silent for 1m30s
      and 44 more
    0 of 50 done · 50 building · 1m30s
    ");
}

#[test]
fn the_region_goes_with_the_last_event() {
    let mut stage = Stage::new(PLAIN, UNICODE, "check");
    for (now, event) in script::one_of_each() {
        stage.event(&event, now);
    }
    assert!(stage.region(80, 24, Duration::from_secs(60)).is_empty());
}
