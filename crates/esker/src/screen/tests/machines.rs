//! What other programs read: GitHub Actions and `--json`.

use super::*;

#[test]
fn github_folds_and_annotates() {
    let choice = Choice { format: Format::GitHub, ticks: Ticks::Heartbeat, loudness: Loudness::Normal };
    insta::assert_snapshot!(play_as(choice, UNICODE, script::one_of_each()), @"
    checking . at 3f2c1ab
     passed  fmt            already in the store
     failed  lib            an attribute is missing
             │ flake.nix:12:5: attribute 'foo' missing
    ::error file=flake.nix,line=12,col=5,title=lib failed::attribute 'foo' missing
     passed  clippy   1.2s  from the binary cache
     building docs for 3s and 2 more
     failed  openssl-1.0    11s  exit code 2, needed by web, vm
             │ make: *** [Makefile:3: all] Error 2
    ::error title=openssl-1.0 failed::exit code 2%0Amake: *** [Makefile:3: all] Error 2
     failed  web            needs openssl-1.0, which failed above
     broken  vm
             │ no space left on device
    ::error title=vm broken::no space left on device
     failed  tests     41s  exit code 101
             │ ---- queue::a_lost_lease_requeues stdout ----
             │ assertion `left == right` failed
             │   left: 1 & right: <2>
    ::error title=tests failed::exit code 101%0A  left: 1 & right: <2>
    ::group::passed  docs      42s
             │ Compiling mdbook
    ::endgroup::
     cancelled  slow
     7 of 8 done · 3 passed · 3 failed · 1 broken · 1 cancelled · 41s
    error: 3 of 8 checks failed: lib, tests, web; 1 broken: vm; 1 cancelled
    hint: `esker check --attr tests` runs it alone
    ");
}

#[test]
fn github_gets_a_page() {
    let choice = Choice { format: Format::GitHub, ..PLAIN };
    let mut stage = Stage::new(choice, UNICODE, "check");
    for (now, event) in script::one_of_each() {
        stage.event(&event, now);
    }
    insta::assert_snapshot!(stage.markdown().unwrap(), @"
    ### Esker: failed

    8 checks in 41s

    | passed | failed | broken | cancelled | built | fetched |
    |--:|--:|--:|--:|--:|--:|
    | 3 | 3 | 1 | 1 | 1 | 1 |

    <details><summary><code>lib failed</code> <code>attribute &#39;foo&#39; missing</code></summary>

    <pre>flake.nix&#58;12&#58;5&#58; attribute &#39;foo&#39; missing
    </pre>

    </details>

    <details><summary><code>openssl-1.0 failed</code> <code>exit code 2</code></summary>

    <pre>make&#58; &#42;&#42;&#42; &#91;Makefile&#58;3&#58; all&#93; Error 2
    </pre>

    </details>

    <details><summary><code>vm broken</code> <code>no space left on device</code></summary>

    <pre>no space left on device
    </pre>

    </details>

    <details><summary><code>tests failed</code> <code>exit code 101</code></summary>

    <pre>---- queue&#58;&#58;a&#95;lost&#95;lease&#95;requeues stdout ----
    assertion &#96;left &#61;&#61; right&#96; failed
      left&#58; 1 &#38; right&#58; &#60;2&#62;
    </pre>

    </details>
    ");
}

#[test]
fn json_has_a_version_and_a_time_on_every_line() {
    let time: jiff::Timestamp = "2026-11-21T07:36:45.12Z".parse().unwrap();
    let script =
        Write::run(&["tests"]).log("tests", b"caf\xe9").fails("tests", 1.5, exit_code(1, &["a\nb"])).end();
    let text: String = script.iter().skip(2).map(|(_, event)| json::text(event, time)).collect();
    insta::assert_snapshot!(text, @r#"
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"discovered","jobs":[{"job":"tests","attr":"checks.x86_64-linux.tests"}]}
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"evaluating","job":"tests"}
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"evaluated","job":"tests","drv":"/nix/store/00000000000000000000000000000000-tests-1.0.drv","name":"tests-1.0","seconds":0.1}
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"evaluation_finished","jobs":0,"failed":0,"seconds":0.1}
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"log","drv":"/nix/store/00000000000000000000000000000000-tests-1.0.drv","line":"caf�"}
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"build_finished","drv":"/nix/store/00000000000000000000000000000000-tests-1.0.drv","name":"tests-1.0","action":"build","conclusion":"failed","seconds":1.5,"failure":{"kind":"builder","message":"builder failed with exit code 1","exit_code":1,"phase":null,"tail":["a\nb"]},"outputs":[]}
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"job_finished","job":"tests","conclusion":"failed","outcome":{"outcome":"build_failed","drv":"/nix/store/00000000000000000000000000000000-tests-1.0.drv","failure":{"kind":"builder","message":"builder failed with exit code 1","exit_code":1,"phase":null,"tail":["a\nb"]},"seconds":1.5}}
    {"v":1,"time":"2026-11-21T07:36:45.120000Z","event":"finished","passed":0,"failed":1,"broken":0,"cancelled":0,"built":0,"reused":0,"proved":0,"fetched":0,"seconds":0.0,"interrupted":false,"error":null}
    "#);
}

#[test]
fn a_reader_of_json_that_leaves_is_no_error() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut json = json::Json::new(Box::new(Closed));
    json.write(&Event::Finished(Summary::default()), jiff::Timestamp::UNIX_EPOCH);
    json.flush();
    assert!(json.reader_is_gone());
    json.write(&Event::Finished(Summary::default()), jiff::Timestamp::UNIX_EPOCH);
}
