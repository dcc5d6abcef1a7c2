//! Results with all their details: logs, errors, colours.

use super::*;

#[test]
fn all_passed() {
    let script = Write::run(&["fmt", "clippy", "tests"])
        .present("fmt")
        .starts_to(Action::Fetch, "clippy", None, &["clippy"])
        .starts("tests")
        .wait(0.8)
        .fetched("clippy", 0.8)
        .wait(124.)
        .built("tests", 124.8)
        .end();
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     passed  clippy   0.8s  from the binary cache
     passed  tests   2m05s
     3 checks passed in 2m05s · 1 built · 1 fetched
    ");
}

#[test]
fn one_of_each_way_to_end() {
    insta::assert_snapshot!(play(script::one_of_each()), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     failed  lib            an attribute is missing
             │ flake.nix:12:5: attribute 'foo' missing
     passed  clippy   1.2s  from the binary cache
     failed  openssl-1.0    11s  exit code 2, needed by web, vm
             │ make: *** [Makefile:3: all] Error 2
             │ full log: nix-store --read-log /nix/store/00000000000000000000000000000000-openssl-1.0.drv
     failed  web            needs openssl-1.0, which failed above
     broken  vm
             │ no space left on device
     failed  tests     41s  exit code 101
             │ ---- queue::a_lost_lease_requeues stdout ----
             │ assertion `left == right` failed
             │   left: 1 & right: <2>
             │ full log: esker log tests
     passed  docs      42s
     cancelled  slow
     7 of 8 done · 3 passed · 3 failed · 1 broken · 1 cancelled · 41s
    error: 3 of 8 checks failed: lib, tests, web; 1 broken: vm; 1 cancelled
    hint: `esker log tests` shows the whole log; `esker check --attr tests` runs it alone
    ");
}

#[test]
fn the_same_in_ascii() {
    insta::assert_snapshot!(play_as(PLAIN, Style::BARE, script::one_of_each()), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     failed  lib            an attribute is missing
             | flake.nix:12:5: attribute 'foo' missing
     passed  clippy   1.2s  from the binary cache
     failed  openssl-1.0    11s  exit code 2, needed by web, vm
             | make: *** [Makefile:3: all] Error 2
             | full log: nix-store --read-log /nix/store/00000000000000000000000000000000-openssl-1.0.drv
     failed  web            needs openssl-1.0, which failed above
     broken  vm
             | no space left on device
     failed  tests     41s  exit code 101
             | ---- queue::a_lost_lease_requeues stdout ----
             | assertion `left == right` failed
             |   left: 1 & right: <2>
             | full log: esker log tests
     passed  docs      42s
     cancelled  slow
     7 of 8 done, 3 passed, 3 failed, 1 broken, 1 cancelled, 41s
    error: 3 of 8 checks failed: lib, tests, web; 1 broken: vm; 1 cancelled
    hint: `esker log tests` shows the whole log; `esker check --attr tests` runs it alone
    ");
}

#[test]
fn the_same_verbosely() {
    let choice = Choice { loudness: Loudness::Verbose, ..PLAIN };
    insta::assert_snapshot!(play_as(choice, UNICODE, script::one_of_each()), @"
    with nix 2.34.8 (daemon, trusted) on x86_64-linux, sandbox: on
             │ max-jobs 4, cores 0, substituters: https://cache.nixos.org
    checking . at 3f2c1ab
     passed  fmt            already in the store
     failed  lib            an attribute is missing
             │ flake.nix:12:5: attribute 'foo' missing
             │ error: attribute 'foo' missing
             │        at «flake»/flake.nix:1:1
     $ nix-store --realise /nix/store/00000000000000000000000000000000-clippy-1.0.drv
     $ nix-store --realise /nix/store/00000000000000000000000000000000-docs-1.0.drv
     $ nix-store --realise /nix/store/00000000000000000000000000000000-openssl-1.0.drv
     $ nix-store --realise /nix/store/00000000000000000000000000000000-tests-1.0.drv
     passed  clippy   1.2s  from the binary cache
     failed  openssl-1.0    11s  exit code 2, needed by web, vm
             │ make: *** [Makefile:3: all] Error 2
             │ full log: nix-store --read-log /nix/store/00000000000000000000000000000000-openssl-1.0.drv
     failed  web            needs openssl-1.0, which failed above
     broken  vm
             │ no space left on device
     failed  tests     41s  exit code 101
             │ ---- queue::a_lost_lease_requeues stdout ----
             │ assertion `left == right` failed
             │   left: 1 & right: <2>
             │ full log: esker log tests
     passed  docs      42s
     cancelled  slow
     7 of 8 done · 3 passed · 3 failed · 1 broken · 1 cancelled · 41s
    error: 3 of 8 checks failed: lib, tests, web; 1 broken: vm; 1 cancelled
    hint: `esker log tests` shows the whole log; `esker check --attr tests` runs it alone
    ");
}

#[test]
fn the_same_quietly() {
    let choice = Choice { loudness: Loudness::Quiet, ..PLAIN };
    insta::assert_snapshot!(play_as(choice, UNICODE, script::one_of_each()), @"
     failed  lib            an attribute is missing
             │ flake.nix:12:5: attribute 'foo' missing
     failed  openssl-1.0    11s  exit code 2, needed by web, vm
             │ make: *** [Makefile:3: all] Error 2
             │ full log: nix-store --read-log /nix/store/00000000000000000000000000000000-openssl-1.0.drv
     failed  web            needs openssl-1.0, which failed above
     broken  vm
             │ no space left on device
     failed  tests     41s  exit code 101
             │ ---- queue::a_lost_lease_requeues stdout ----
             │ assertion `left == right` failed
             │   left: 1 & right: <2>
             │ full log: esker log tests
     7 of 8 done · 3 passed · 3 failed · 1 broken · 1 cancelled · 41s
    error: 3 of 8 checks failed: lib, tests, web; 1 broken: vm; 1 cancelled
    hint: `esker log tests` shows the whole log; `esker check --attr tests` runs it alone
    ");
}

#[test]
fn one_failed_with_a_tail() {
    let mut tail = numbered("line ", 30);
    tail.push("\x1b[31merror\x1b[0m\x1b[2A".into());
    let mut failure = exit_code(101, &tail.iter().map(String::as_str).collect::<Vec<_>>());
    failure.phase = Some("checkPhase".into());
    let script = Write::run(&["fmt", "tests"])
        .present("fmt")
        .starts("tests")
        .wait(41.)
        .fails("tests", 41., failure)
        .end();
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     failed  tests     41s  exit code 101 in checkPhase
             │ line 7
             │ line 8
             │ line 9
             │ line 10
             │ line 11
             │ line 12
             │ line 13
             │ line 14
             │ line 15
             │ line 16
             │ line 17
             │ line 18
             │ line 19
             │ line 20
             │ line 21
             │ line 22
             │ line 23
             │ line 24
             │ line 25
             │ line 26
             │ line 27
             │ line 28
             │ line 29
             │ line 30
             │ error
             │ full log: esker log tests
     2 of 2 done · 1 passed · 1 failed · 41s
    error: 1 of 2 checks failed: tests
    hint: `esker log tests` shows the whole log; `esker check --attr tests` runs it alone
    ");
}

#[test]
fn colours_repeat_what_words_say() {
    let style = Style { color: Color::On, symbols: Symbols::Unicode };
    let script =
        Write::run(&["tests"]).starts("tests").wait(1.).fails("tests", 1., exit_code(1, &["no"])).end();
    insta::assert_snapshot!(play_as(PLAIN, style, script).escape_debug().to_string().replace("\\n", "\n"), @r"
    checking . at 3f2c1ab
     \u{1b}[1m\u{1b}[31mfailed\u{1b}[0m  tests    1.0s  exit code 1
             \u{1b}[2m│\u{1b}[0m no
             \u{1b}[2m│\u{1b}[0m \u{1b}[2mfull log: esker log tests\u{1b}[0m
     1 of 1 done · 1 failed · 1.0s
    \u{1b}[1m\u{1b}[31merror:\u{1b}[0m 1 of 1 check failed: tests
    \u{1b}[1m\u{1b}[36mhint:\u{1b}[0m `esker log tests` shows the whole log; `esker check --attr tests` runs it alone
    ");
}

#[test]
fn a_log_cannot_pass_for_a_result() {
    let tail =
        ["\x1b[1A\r passed  tests  0.1s", "\x1b]0;title\x07ok\rerror: all fine", "::error::x", "\u{9b}2J"];
    let script =
        Write::run(&["tests"]).starts("tests").wait(1.).fails("tests", 1., exit_code(1, &tail)).end();
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab
     failed  tests    1.0s  exit code 1
             │  passed  tests  0.1s
             │ error: all fine
             │ ::error::x
             │ 2J
             │ full log: esker log tests
     1 of 1 done · 1 failed · 1.0s
    error: 1 of 1 check failed: tests
    hint: `esker log tests` shows the whole log; `esker check --attr tests` runs it alone
    ");
}

#[test]
fn evaluation_errors_of_several_kinds() {
    use EvaluationErrorKind as K;
    let errors = [
        ("throws", K::Throw, "set `pkgs.config.allowUnfree`\nor do not use this", Some(("flake.nix", 12, 5))),
        ("recursion", K::InfiniteRecursion, "infinite recursion encountered", Some(("lib/a.nix", 3, 11))),
        ("memory", K::OutOfMemory, "evaluation needed more than 4.0 GiB", None),
        ("ifd", K::ImportFromDerivation, "building 'generated-1.0' failed", None),
        ("list", K::NotADerivation, "a list, where a derivation is needed", Some(("flake.nix", 20, 7))),
    ];
    let mut write = Write::opening(&errors.map(|(job, ..)| job)).wait(0.5);
    for (job, kind, message, at) in errors {
        let outcome = script::evaluation_error(kind, message, at);
        write = write.job(job, Conclusion::Failed, outcome);
    }
    insta::assert_snapshot!(play(write.evaluation_finished().end()), @"
    checking . at 3f2c1ab
     failed  throws            evaluation throws
             │ flake.nix:12:5: set `pkgs.config.allowUnfree`
             │ or do not use this
     failed  recursion         infinite recursion
             │ lib/a.nix:3:11: infinite recursion encountered
     failed  memory            evaluation needs too much memory
             │ evaluation needed more than 4.0 GiB
     failed  ifd               a build that evaluation needs failed
             │ building 'generated-1.0' failed
     failed  list              not a derivation
             │ flake.nix:20:7: a list, where a derivation is needed
     5 of 5 done · 5 failed · 0.5s
    error: 5 of 5 checks failed: throws, recursion, memory, ifd, list
    hint: `esker check -v --attr throws` evaluates it alone and shows the whole trace
    ");
}

#[test]
fn a_file_that_git_does_not_track_is_hinted_at() {
    let mut source = script::source();
    source.dirty_files = Some(2);
    source.untracked = vec!["lib/new.nix".into()];
    let mut script = Write::opening(&["lib"]).so_far();
    script[1].1 = Event::Source(source);
    let outcome =
        script::evaluation_error(EvaluationErrorKind::Other, "path 'lib/new.nix' does not exist", None);
    script.extend(Write::default().job("lib", Conclusion::Failed, outcome).end());
    insta::assert_snapshot!(play(script), @"
    checking . at 3f2c1ab and 2 uncommitted files; the server will see only 3f2c1ab
     failed  lib            evaluation failed
             │ path 'lib/new.nix' does not exist
     1 of 1 done · 1 failed · 0.0s
    error: 1 of 1 check failed: lib
    hint: `esker check -v --attr lib` evaluates it alone and shows the whole trace
    hint: Nix sees only what git tracks, so not lib/new.nix: `git add --intent-to-add` shows it
    ");
}

#[test]
fn builds_fail_for_different_reasons() {
    use BuildFailureKind as K;
    let mut write = Write::run(&["a", "b", "c", "d"]);
    for (job, kind, message) in [
        ("a", K::TimedOut, "timed out after 60 seconds"),
        ("b", K::Output, "output 'out' is not allowed to refer to 'gcc'"),
        ("c", K::NotDeterministic, "output 'out' differs: 1 file"),
        ("d", K::NoMachine, "needs 'aarch64-linux'"),
    ] {
        let mut failure = exit_code(1, &[]);
        (failure.kind, failure.message, failure.exit_code) = (kind, message.into(), None);
        write = write.wait(1.).fails(job, 1., failure);
    }
    insta::assert_snapshot!(play(write.end()), @"
    checking . at 3f2c1ab
     failed  a        1.0s  timed out
             │ timed out after 60 seconds
     failed  b        1.0s  an output breaks a rule
             │ output 'out' is not allowed to refer to 'gcc'
     failed  c        1.0s  not deterministic
             │ output 'out' differs: 1 file
     failed  d        1.0s  no machine here can build it
             │ needs 'aarch64-linux'
     4 of 4 done · 4 failed · 4.0s
    error: 4 of 4 checks failed: a, b, c, d
    hint: `esker check --attr a` runs it alone
    ");
}
