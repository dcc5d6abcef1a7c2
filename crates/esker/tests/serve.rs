//! From push to verdict: the real server, a real push, a forge that keeps what it is told.

#![expect(clippy::unwrap_used, reason = "tests")]

mod served;
mod story;

use std::time::Duration;

use serde_json::Value;

use served::browser::Browser;
use served::forge::{Forge, REPOSITORY, SECRET, deliver, push_payload, signature};
use served::http;
use served::prism::Prism;
use served::server::Server;
use story::{Nix, Project, on_each_nix};

const CHECKS: &str = r#"good = lib.passes "good"; bad = lib.fails "bad";"#;

/// A browser that watches from the push to the verdict; what it does is in `scripts/node/browser.mjs`.
fn a_browser_sees_it_happen(nix: &Nix) {
    let Some(mut browser) = Browser::prepare() else { return };
    let checks = r#"
        waits = lib.run "waits" "echo before the gate; read x < /gate/a; echo after the gate; echo done > $out";
        bad = lib.fails "bad";
        "<b>" = throw "an <i>evil</i> message";
    "#;
    let mut project = Project::with_checks(nix, checks);
    let mut gate = project.gate(&["a"]);
    project.settings.push_str(&format!("extra-sandbox-paths = {}\n", gate.arguments[2]));
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    browser.start(&format!("http://{}", server.address), &page_of(1));
    browser.wait_for("looks at the empty home page");
    let commit = push(&project, &forge);
    browser.wait_for("sees the log before the gate");
    gate.open("a", 1);
    browser.wait_for("done");
    assert_eq!(forge.wait_for_verdict(&commit).description, "2 of 3 jobs failed: \"<b>\", bad");
    server.stop();
}

/// The promise that holds the rest together: what the server finds is what `esker check` finds.
fn a_server_and_a_check_tell_the_same(nix: &Nix) {
    let flakes: [(&str, &str); 4] = [
        ("passes", r#"checks.@system@ = { a = lib.passes "a"; b = lib.passes "b"; };"#),
        (
            "fails",
            r#"checks.@system@ = rec {
                good = builtins.trace "a remark" (lib.passes "good");
                bad = lib.run "bad" "echo one; echo two; exit 3";
                after = lib.run "after" "read x < ${lib.fails "below"}";
                twice = good;
                throws = throw "no";
                elsewhere = derivation { name = "e"; system = "riscv64-linux"; builder = "/bin/sh"; };
                nested = { recurseForDerivations = true; inner = lib.passes "inner"; };
            };"#,
        ),
        ("does not evaluate", r#"checks.@system@ = throw "not at all";"#),
        ("is configured", r#"mine.@system@ = { a = lib.passes "a"; b = lib.fails "b"; };"#),
    ];
    for (title, outputs) in flakes {
        let project = Project::new(nix);
        project.write_outputs(outputs);
        if title == "is configured" {
            project
                .write("esker.toml", "attribute = \"mine\"\nexclude = [\"b\"]\n[limits]\ntimeout = \"5m\"\n");
        }
        let forge = Forge::start(&project.beside("forge"));
        // Neither knows what the other observed.
        let state = project.beside("server-state").display().to_string();
        let server = Server::start_with(&project, &forge, &forge.address, &[("ESKER_STATE_DIR", &state)]);
        let commit = push(&project, &forge);
        forge.wait_for_verdict(&commit);
        let theirs = server.events(1);
        server.stop();
        // Nor finds it what the other has built.
        for outputs in theirs.iter().filter_map(|event| event["outputs"].as_array()) {
            for path in outputs.iter().filter_map(|output| output[1].as_str()) {
                let delete = project.nix_program("nix-store").args(["--delete", path]).output().unwrap();
                assert!(delete.status.success(), "{delete:?}");
            }
        }
        let check = project.check(&[]);
        assert_eq!(normal(&check.events), normal(&theirs), "{title}\n{check}");
        assert!(check.events.len() > 2, "{title}\n{check}");
    }
}

/// Events without what differs from one run of `esker check` to the next: times, and the order of
/// things that go on at the same time.
fn normal(events: &[Value]) -> Vec<String> {
    let first_and_last =
        [events.first(), events.last()].map(|event| event.map(|event| event["event"].clone()));
    assert_eq!(first_and_last, [Some("environment".into()), Some("finished".into())]);
    let mut lines: Vec<String> = events
        .iter()
        .map(|event| {
            let mut event = event.clone();
            forget(&mut event, &["time", "seconds", "trace"]);
            if event["event"] == "source" {
                // Where it was taken from: a working tree here, a mirror there.
                assert!(matches!(event["dirty_files"].as_u64(), None | Some(0)));
                forget(&mut event, &["reference", "url", "dirty_files"]);
            }
            event.to_string()
        })
        .collect();
    lines.sort_unstable();
    lines
}

fn forget(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !keys.contains(&key.as_str()));
            fields.values_mut().for_each(|value| forget(value, keys));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| forget(value, keys)),
        _ => {}
    }
}

/// Commits everything and pushes it.
fn push(project: &Project, forge: &Forge) -> String {
    let commit = project.commit();
    project.git(&["push", "--quiet", &forge.git_url(), "HEAD:refs/heads/main"]);
    commit
}

fn page_of(number: u64) -> String {
    format!("/p/github/{REPOSITORY}/evaluations/{number}")
}

fn a_push_with_a_failing_check_turns_the_commit_red(nix: &Nix) {
    let project = Project::with_checks(nix, CHECKS);
    let forge = Forge::start(&project.beside("forge"));
    // Prism also refuses what GitHub would.
    let prism = Prism::start(&project.beside(""), &forge.address);
    let api = prism.as_ref().map_or(&forge.address, |prism| &prism.address);
    let server = Server::start(&project, &forge, api);
    assert!(server.page("/").contains("Never evaluated"));
    let commit = push(&project, &forge);
    let verdict = forge.wait_for_verdict(&commit);
    assert_eq!((verdict.state.as_str(), verdict.context.as_str()), ("failure", "esker"));
    assert_eq!(verdict.description, "1 of 2 jobs failed: bad");
    assert_eq!(verdict.url, format!("http://{}{}", server.address, page_of(1)));
    let statuses = forge.statuses();
    assert!(
        statuses.len() > 1 && statuses.iter().rev().skip(1).all(|status| status.state == "pending"),
        "{statuses:#?}"
    );
    assert!(statuses.iter().all(|status| status.commit == commit && status.context == "esker"));

    let page = server.page(&page_of(1));
    for expected in [
        "1 of 2 jobs failed: bad",
        "exited with code 7",
        "bad goes wrong",
        "data-state=\"passed\"",
        &commit[..7],
    ] {
        assert!(page.contains(expected), "no `{expected}` in\n{page}");
    }
    assert!(!page.contains("data-live"), "it is over");
    let job = server.page(&format!("{}/jobs/bad", page_of(1)));
    assert!(job.contains("bad goes wrong") && job.contains("/nix/store/"), "{job}");
    assert_eq!(server.page(&format!("{}/jobs/bad/log.txt", page_of(1))), "bad goes wrong\n");
    assert!(server.page("/").contains("data-state=\"failed\""));
    assert!(server.page(&format!("/p/github/{REPOSITORY}")).contains("#1"));
    let answer = server.fetch("/p/github/acme/hello/evaluations/2");
    assert_eq!(answer.code, 404);
    assert!(answer.headers.contains("default-src 'none'"), "{}", answer.headers);

    // The next commit is another evaluation.
    project.write_checks(r#"good = lib.passes "good"; bad = lib.passes "bad";"#);
    let mended = push(&project, &forge);
    let verdict = forge.wait_for_verdict(&mended);
    assert_eq!((verdict.state.as_str(), verdict.description.as_str()), ("success", "all 2 jobs passed"));
    let told = server.stop();
    assert_eq!(told.code, 0, "{told}");
    assert!(!told.stderr.contains("Cannot tell"), "nothing was refused\n{told}");
}

fn what_the_forge_did_not_send_is_refused(nix: &Nix) {
    let project = Project::with_checks(nix, CHECKS);
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    let body = push_payload("refs/heads/main", &"a".repeat(40));
    let code = |id: &str, body: &[u8], signature: &str| deliver(&server.address, id, body, signature).code;
    assert_eq!(code("1", &body, &signature(&body, "another secret")), 401);
    assert_eq!(code("1", &body, "sha256="), 401);
    assert_eq!(code("1", &body[1..], &signature(&body, SECRET)), 401);
    let garbage = b"not JSON";
    assert_eq!(code("1", garbage, &signature(garbage, SECRET)), 400);
    let huge = vec![b' '; 26 << 20];
    assert_eq!(code("1", &huge, &signature(&huge, SECRET)), 413);
    let unsigned = http::send(&server.address, "POST", "/hooks/github", &[], &body).unwrap();
    assert_eq!(unsigned.code, 401);
    let nowhere = http::send(&server.address, "POST", "/hooks/gitlab", &[], &body).unwrap();
    assert_eq!(nowhere.code, 404);
    assert!(server.page("/").contains("Never evaluated"), "nothing of it counts");
    let told = server.stop();
    assert!(!told.stderr.contains(SECRET), "{told}");
}

fn a_delivery_that_comes_twice_counts_once(nix: &Nix) {
    let project = Project::with_checks(nix, r#"good = lib.passes "good";"#);
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    let commit = push(&project, &forge);
    forge.wait_for_verdict(&commit);
    let body = push_payload("refs/heads/main", &commit);
    let again = |id: &str| deliver(&server.address, id, &body, &signature(&body, SECRET)).body;
    assert_eq!(again("delivery-1"), "this delivery has been here before\n");
    assert_eq!(again("other"), "this commit is evaluation 1 of github/acme/hello\n");
    server.stop();
    let verdicts = forge.statuses().into_iter().filter(|status| status.state != "pending").count();
    assert_eq!(verdicts, 1);
}

fn a_killed_server_goes_on_where_it_was(nix: &Nix) {
    let checks = r#"waits = lib.run "waits" "read x < /gate/a; echo done > $out"; bad = lib.fails "bad";"#;
    let mut project = Project::with_checks(nix, checks);
    let mut gate = project.gate(&["a"]);
    project.settings.push_str(&format!("extra-sandbox-paths = {}\n", gate.arguments[2]));
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    let commit = push(&project, &forge);
    server.wait_for_page(&page_of(1), "data-state=\"building\"");
    server.kill();
    project.wait_until_alone(Duration::from_secs(30));
    assert!(forge.statuses().iter().all(|status| status.state == "pending"));
    // And once politely: it is handed back.
    let server = Server::start(&project, &forge, &forge.address);
    server.wait_for_page(&page_of(1), "<h2>Building</h2>");
    let told = server.stop();
    assert_eq!(told.code, 0, "{told}");
    assert!(forge.statuses().iter().all(|status| status.state == "pending"));
    let server = Server::start(&project, &forge, &forge.address);
    gate.open("a", 1);
    let verdict = forge.wait_for_verdict(&commit);
    assert_eq!(verdict.description, "1 of 2 jobs failed: bad");
    assert!(server.page(&page_of(1)).contains("attempt 3"));
    server.stop();
    let verdicts = forge.statuses().into_iter().filter(|status| status.state != "pending").count();
    assert_eq!(verdicts, 1);
}

/// At whatever moment it dies, each commit gets one verdict, and that is the true one.
fn a_server_that_is_killed_again_and_again_loses_nothing(nix: &Nix) {
    let project = Project::new(nix);
    let forge = Forge::start(&project.beside("forge"));
    let mut server = Server::start(&project, &forge, &forge.address);
    let mut expected = Vec::new();
    for round in 0..4 {
        let (good, bad) = (format!(r#"a{round} = lib.passes "a{round}";"#), r#"b = lib.fails "b";"#);
        let fails = round % 2 == 1;
        project.write_checks(&format!("{good}{}", if fails { bad } else { "" }));
        let commit = push(&project, &forge);
        expected.push((commit, if fails { "failure" } else { "success" }));
        // Another moment each time: from right after it was accepted to well within a run.
        std::thread::sleep(Duration::from_millis(230 * round));
        server.kill();
        server = Server::start(&project, &forge, &forge.address);
    }
    for (commit, state) in &expected {
        assert_eq!(forge.wait_for_verdict(commit).state, *state);
    }
    let told = server.stop();
    assert_eq!(told.code, 0, "{told}");
    for (commit, state) in &expected {
        let told: Vec<_> = forge.statuses().into_iter().filter(|status| status.commit == *commit).collect();
        assert_eq!(told.last().map(|status| status.state.as_str()), Some(*state), "{told:#?}");
        assert!(told.iter().all(|status| status.state == "pending" || status.state == *state), "{told:#?}");
    }
}

fn a_live_page_is_sent_what_it_lacks_until_the_verdict(nix: &Nix) {
    let mut project = Project::with_checks(
        nix,
        r#"waits = lib.run "waits" "echo one; read x < /gate/a; echo two; echo done > $out"; bad = lib.fails "bad";"#,
    );
    let mut gate = project.gate(&["a"]);
    project.settings.push_str(&format!("extra-sandbox-paths = {}\n", gate.arguments[2]));
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    push(&project, &forge);
    let page = server.wait_for_page(&page_of(1), "data-state=\"building\"");
    let live = page.split("data-live=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    server.wait_for_page(&format!("{}/jobs/waits", page_of(1)), ">one</li>");
    let evaluation = http::follow(&server.address, live);
    let job = http::follow(&server.address, &format!("{}/jobs/waits/live?seen=2", page_of(1)));
    gate.open("a", 1);
    // They end by themselves.
    let (evaluation, job): (Vec<String>, Vec<String>) = (evaluation.collect(), job.collect());
    assert!(evaluation.contains(&"event: end".to_owned()), "{evaluation:#?}");
    let last = evaluation.iter().rfind(|line| line.starts_with("data: [")).unwrap();
    assert!(last.contains("1 of 2 jobs failed: bad"), "{last}");
    let appended: Vec<&String> = job.iter().filter(|line| line.contains("<li")).collect();
    assert!(
        appended.len() == 1 && appended[0].contains(">two</li>") && !appended[0].contains(">one</li>"),
        "{job:#?}"
    );
    // Whoever comes back with the last word has missed nothing.
    let word = evaluation.iter().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let again: Vec<String> =
        http::follow(&server.address, &format!("{}/live?seen={word}", page_of(1))).collect();
    assert!(!again.iter().any(|line| line == "event: change"), "{again:#?}");
    // A server that stops waits for no viewer.
    let _viewer = http::follow(&server.address, "/live");
    assert_eq!(server.stop().code, 0);
}

fn a_server_that_cannot_begin_says_why(nix: &Nix) {
    let project = Project::new(nix);
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    let config = project.beside("server.toml").display().to_string();
    let second = project.esker(&["serve", "--config", &config]).run();
    assert_eq!(second.code, 3, "{second}");
    assert!(second.stderr.contains("error: another server uses"), "{second}");
    let taken = project
        .esker(&["serve", "--listen", &server.address])
        .env("ESKER_STATE_DIR", project.beside("x"))
        .run();
    assert_eq!(taken.code, 3, "{taken}");
    assert!(taken.stderr.contains("error: cannot listen on"), "{taken}");
    server.stop();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("webhook_secret_files", "webhook_secret")).unwrap();
    let wrong = project.esker(&["serve", "--config", &config]).run();
    assert_eq!(wrong.code, 2, "{wrong}");
    assert!(wrong.stderr.contains("unknown field `webhook_secret`, expected one of"), "{wrong}");
}

fn a_forge_that_refuses_is_told_again(nix: &Nix) {
    let project = Project::with_checks(nix, r#"good = lib.passes "good";"#);
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    forge.refuse(502, &[]);
    forge.refuse(403, &[("x-ratelimit-remaining", "0"), ("retry-after", "1")]);
    let commit = push(&project, &forge);
    assert_eq!(forge.wait_for_verdict(&commit).description, "the only job passed");
    let told = server.stop();
    assert!(told.stderr.contains("Cannot tell github about evaluation 1"), "{told}");
    assert!(!told.stderr.contains("a token for statuses"), "{told}");
}

fn a_commit_that_cannot_be_evaluated_still_gets_its_status(nix: &Nix) {
    let project = Project::with_checks(nix, "");
    let forge = Forge::start(&project.beside("forge"));
    let server = Server::start(&project, &forge, &forge.address);
    let verdict = |project: &Project| {
        let verdict = forge.wait_for_verdict(&push(project, &forge));
        (verdict.state, verdict.description)
    };
    let (state, text) = verdict(&project);
    assert_eq!((state.as_str(), text.as_str()), ("success", "there are no jobs"));
    project.write("flake.nix", "{ outputs = _: { checks.@system@ = throw \"no\"; }; }");
    assert_eq!(verdict(&project).0, "failure");
    project.write("flake.nix", "{ outputs = _: { ; }; }");
    assert_eq!(verdict(&project).0, "failure");
    project.write_checks(r#"good = lib.passes "good";"#);
    project.write("esker.toml", "atribute = \"checks\"");
    let (state, text) = verdict(&project);
    assert_eq!(state, "failure");
    assert!(text.contains("esker.toml:1:1: unknown key `atribute`"), "{text}");
    server.stop();
}

on_each_nix! {
    a_browser_sees_it_happen,
    a_push_with_a_failing_check_turns_the_commit_red,
    what_the_forge_did_not_send_is_refused,
    a_delivery_that_comes_twice_counts_once,
    a_server_and_a_check_tell_the_same,
    a_killed_server_goes_on_where_it_was,
    a_server_that_is_killed_again_and_again_loses_nothing,
    a_live_page_is_sent_what_it_lacks_until_the_verdict,
    a_server_that_cannot_begin_says_why,
    a_forge_that_refuses_is_told_again,
    a_commit_that_cannot_be_evaluated_still_gets_its_status,
}
