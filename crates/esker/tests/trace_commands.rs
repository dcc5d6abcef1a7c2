//! Looking at what was observed: `esker explain`, and `esker trace` with all that it can do.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use esker_trace::store::{Standing, Store};
use serde_json::Value;
use story::{Nix, Project, on_each_nix, told::Told};

fn reuse(project: &Project) -> Told {
    let told = project.check(&["--trace", "reuse", "--shadow", "0"]);
    assert_eq!(told.code, 0, "{told}");
    told
}

/// What a command prints, which must succeed.
fn shown(project: &Project, arguments: &[&str]) -> String {
    let told = project.esker(arguments).run();
    assert_eq!(told.code, 0, "{told}");
    told.stdout
}

fn value(project: &Project, arguments: &[&str]) -> Value {
    serde_json::from_str(&shown(project, &[arguments, &["--json"]].concat())).unwrap()
}

fn fails(project: &Project, arguments: &[&str], code: i32, text: &str) {
    let told = project.esker(arguments).run();
    assert_eq!((told.code, told.stderr.trim_end()), (code, text), "{arguments:?}: {told}");
}

fn store(project: &Project) -> Store {
    Store::open(&project.state().join("traces")).unwrap()
}

/// The name of the trace that a job's result comes from, or that its build left.
fn trace_of(project: &Project, job: &str) -> String {
    value(project, &["explain", job])["observed"]["trace"].as_str().unwrap().to_owned()
}

/// The output path of a job that passed.
fn output(project: &Project, told: &Told, job: &str) -> String {
    nix_store(project, &["--query", "--outputs", told.drv(job)]).trim().to_owned()
}

fn nix_store(project: &Project, arguments: &[&str]) -> String {
    let output = project.nix_program("nix-store").args(arguments).output().unwrap();
    assert!(output.status.success(), "nix-store {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Replaces what is different each time: digests and hashes, by their length.
fn masked(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_hash = |word: &str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_date = |word: &str| word.len() == 10 && word.starts_with("20") && word.matches('-').count() == 2;
    let is_time = |word: &str| word.len() == 5 && word.as_bytes()[2] == b':';
    let is_duration = |word: &str| word.strip_suffix('s').is_some_and(|it| it.parse::<f64>().is_ok());
    let mask = |word: &str| match word {
        word if word.ends_with(".drv") => {
            word.get(44..).map_or("DRV".to_owned(), |name| format!("DRV-{name}"))
        }
        word if is_digest(word.trim_end_matches(':')) => format!("DIGEST{}", word.get(12..).unwrap_or("")),
        word if is_hash(word) => "HASH".to_owned(),
        word if is_date(word) => "DATE".to_owned(),
        word if is_time(word.trim_end_matches(',')) => "TIME".to_owned(),
        word if is_duration(word) => "SECONDS".to_owned(),
        word => word.to_owned(),
    };
    let line = |line: &str| line.split(' ').map(mask).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A check that reads two files of a source with many.
fn reads_two_files(nix: &Nix) -> Project {
    let project = Project::with_checks(
        nix,
        r#"two = lib.make { src = ./src; other = ./other; } "two"
          "read x < $src/a; read y < $src/deep/b; echo $x $y; test -e $src/none; : > $out";"#,
    );
    for name in ["README", "a", "deep/b", "docs/1", "docs/2", "docs/3", "docs/4"] {
        project.write(&format!("src/{name}"), "some text\n");
    }
    project.write("other/file", "never read\n");
    project
}

fn what_a_build_observed_is_explained_shown_and_compared(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = reads_two_files(nix);
    reuse(&project);
    let first = trace_of(&project, "two");
    insta::allow_duplicates! {
        insta::assert_snapshot!(masked(&shown(&project, &["explain", "two"])), @r"
        two was built: it was never built and observed here
          observes 2 of 8 files (25 %) of its inputs, in trace DIGEST
          never observed: other
          most of `src` is never read; a narrower source would have 2 of its 7 files:
            lib.fileset.unions [ ./a ./deep ]
        ");
        insta::assert_snapshot!(masked(&shown(&project, &["trace", "show", &first])), @r"
        trace     DIGEST of DATE TIME never reused
        skeleton  DIGEST
        built     DRV-two.drv in SECONDS
        output    out: empty, NAR hash DIGEST
        input     other  HASH
        input     src  HASH
        8 observations
          other
            stat     .  a folder
          src
            stat     .       a folder
            stat     a       a file of 10 bytes
            content  a       DIGEST
            stat     deep    a folder
            stat     deep/b  a file of 10 bytes
            content  deep/b  DIGEST
            stat     none    absent
        ");
    }
    let explained = value(&project, &["explain", "two"]);
    assert_eq!(explained["explanation"]["reason"], "never");
    assert_eq!(
        (&explained["observed"]["files_read"], &explained["observed"]["files"]),
        (&2.into(), &8.into())
    );
    let shown_value = value(&project, &["trace", "show", &first]);
    assert!(shown_value["trace"].as_str().unwrap().starts_with(&first));
    assert!(shown_value["observations"].as_array().unwrap().len() > 5);

    // Reused: of the same trace.
    project.write("src/README", "another text\n");
    reuse(&project);
    assert_eq!(trace_of(&project, "two"), first);
    let stats = value(&project, &["trace", "stats"]);
    let number = |name: &str| stats[name].as_u64().unwrap();
    assert_eq!((number("traces"), number("recorded"), number("reused")), (1, 1, 1), "{stats}");

    // Built: another trace, which says what is different.
    project.write("src/a", "a longer text\n");
    reuse(&project);
    let second = trace_of(&project, "two");
    assert_ne!(first, second);
    let explained = shown(&project, &["explain", "two"]);
    let hint = format!("  all differences: `esker trace diff {first} {second}`\n");
    assert!(
        explained.contains("`a` in `src` was a file of 10 bytes") && explained.ends_with(&hint),
        "{explained}"
    );
    let difference = shown(&project, &["trace", "diff", &first[..6], &second[..6]]);
    insta::allow_duplicates! { insta::assert_snapshot!(masked(&difference), @r"
        DIGEST is of DRV-two.drv
        DIGEST is of DRV-two.drv
        other inputs: src
        other answers: 2 observations
          src
            stat     a  a file of 10 bytes -> a file of 14 bytes
            content  a  DIGEST -> DIGEST
        the same: 6 observations
        "); }
    assert_eq!(value(&project, &["trace", "diff", &first, &second])["changed"].as_array().unwrap().len(), 2);

    let told = project.esker(&["trace", "prune"]).run();
    assert!(told.stderr.starts_with("removed 0 traces; 2 traces left"), "{told}");
    let told = project.esker(&["trace", "prune", "--max-size", "0"]).run();
    assert!(told.stderr.starts_with("removed 2 traces; 0 traces left"), "{told}");
    fails(
        &project,
        &["trace", "show", &first],
        2,
        &format!(
            "error: there is no trace `{first}`\n\
             hint: it may have been pruned, or replaced by a newer one: `esker explain ATTR` tells"
        ),
    );
    // The reason is still remembered.
    assert_eq!(value(&project, &["explain", "two"])["observed"], Value::Null);
}

fn what_was_only_observed_is_told_without_a_reason(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = Project::with_checks(
        nix,
        r#"a = lib.make { b = lib.run "b" "echo b > $out"; } "a" "read x < $b; echo $x > $out";
        b = lib.run "b" "echo b > $out";"#,
    );
    assert_eq!(project.check(&["--trace", "record"]).code, 0);
    for job in ["a", "b"] {
        let explained = shown(&project, &["explain", job]);
        assert!(
            explained.starts_with(&format!("{job} was built and observed at some time\n")),
            "{explained}"
        );
    }
    let explained = value(&project, &["explain", "a"]);
    assert_eq!((&explained["explanation"], &explained["observed"]["files_read"]), (&Value::Null, &1.into()));
}

fn what_is_not_observed_says_why(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project =
        Project::with_checks(nix, r#"open = lib.make { __noChroot = true; } "open" "echo > $out";"#);
    project.check(&["--trace", "reuse"]);
    let explained = shown(&project, &["explain", "open"]);
    assert_eq!(explained, "open was built: it is built by Nix, unobserved (it asks for no sandbox)\n");
}

fn without_traces_there_is_nothing_to_look_at(nix: &Nix) {
    let project = Project::new(nix);
    let unknown = "error: there is no trace `7de86a`\n\
                   hint: it may have been pruned, or replaced by a newer one: `esker explain ATTR` tells";
    fails(&project, &["trace", "show", "7de86a"], 2, unknown);
    let name = "error: `two` cannot be the beginning of a trace's name\n\
                hint: `esker explain ATTR` prints the name of the trace of a job, such as 7de86a3e2fdf";
    fails(&project, &["trace", "diff", "two", "7de86a"], 2, name);
    let size = "error: `--max-size much` is no amount like `512MiB` or `4GiB`, nor a number of bytes";
    fails(&project, &["trace", "prune", "--max-size", "much"], 2, size);
    fails(&project, &["trace", "repair"], 0, "nothing to repair: no path came from a revoked trace");
    assert_eq!(value(&project, &["trace", "stats"])["traces"], 0);
    // To look has left nothing behind.
    assert!(!project.state().join("traces").exists());
}

fn damaged_traces_are_told_of_and_stop_nothing(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = reads_two_files(nix);
    reuse(&project);
    let trace = trace_of(&project, "two");
    let database = project.state().join("traces/traces-1.db");
    let size = fs::metadata(&database).unwrap().len().max(8192);
    for junk in [vec![0xff; usize::try_from(size).unwrap()], b"SQLite format 3\0 and then nothing".to_vec()] {
        for entry in fs::read_dir(project.state().join("traces")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::write(&database, junk).unwrap();
        let told = project.esker(&["explain", "two"]).run();
        assert_eq!(told.code, 0, "{told}");
        assert!(told.stdout.starts_with("two was built: "), "{told}");
        assert!(told.stderr.starts_with("note: the trace store was damaged"), "{told}");
        assert_eq!(project.esker(&["trace", "show", &trace]).run().code, 2);
        for command in ["stats", "prune", "repair"] {
            assert_eq!(project.esker(&["trace", command]).run().code, 0, "{command}");
        }
    }
    // A folder that is none.
    fs::remove_dir_all(project.state().join("traces")).unwrap();
    fs::write(project.state().join("traces"), "").unwrap();
    assert_eq!(project.esker(&["trace", "stats"]).run().code, 0);
    assert_eq!(project.esker(&["explain", "two"]).run().code, 0);
}

/// Notes outputs of jobs as reused from the trace of the job `two`, and revokes that.
fn revoke(project: &Project, paths: &[&str]) {
    let store = store(project);
    let trace = store.traces_named(&trace_of(project, "two")).unwrap()[0];
    let name = |path: &&str| ("out".to_owned(), path.trim_start_matches("/nix/store/").to_owned());
    let paths: Vec<_> = paths.iter().map(name).collect();
    let now = SystemTime::now();
    assert!(store.note_reuse(&trace, &paths, &[], now).unwrap());
    let skeleton = store.trace(&trace).unwrap().unwrap().skeleton;
    assert_eq!(store.revoke(&skeleton, &trace, "a build gave other bits", now).unwrap().len(), paths.len());
}

fn what_was_reused_wrongly_is_mended(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let random = "read x < /proc/sys/kernel/random/uuid; echo $x > $out";
    let project = Project::with_checks(
        nix,
        &format!(
            r#"two = lib.run "two" "echo two > $out";
            right = lib.run "right" "echo right > $out";
            wrong = lib.run "wrong" "{random}";
            kept = lib.run "kept" "{random}";
            above = lib.make {{ below = lib.run "wrong" "{random}"; }} "above" "echo $below > $out";"#
        ),
    );
    reuse(&project);
    let told = project.check(&["--gc-root", project.beside("roots").to_str().unwrap()]);
    let path = |job: &str| output(&project, &told, job);
    let [right, wrong, kept, above] = ["right", "wrong", "kept", "above"].map(path);
    // `above` is not to keep what is below it.
    for job in ["right", "wrong", "above"] {
        fs::remove_file(project.beside("roots").join(job)).unwrap();
    }
    let gone = format!("/nix/store/{}-gone", "a".repeat(32));
    revoke(&project, &[&right, &wrong, &kept, &gone]);

    let lines = |told: &Told| -> String {
        let known =
            [(&right, "RIGHT"), (&wrong, "WRONG"), (&kept, "KEPT"), (&above, "ABOVE"), (&gone, "GONE")];
        let text = known.iter().fold(told.stderr.clone(), |text, (path, name)| text.replace(*path, name));
        let mut lines: Vec<String> = masked(&text).lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    };
    let dry = project.esker(&["trace", "repair", "--dry-run"]).run();
    assert_eq!(dry.code, 0, "{dry}");
    let before = fs::read(&kept).unwrap();
    let told = project.esker(&["trace", "repair"]).run();
    assert_eq!(told.code, 0, "{told}");
    insta::allow_duplicates! {
        insta::assert_snapshot!(lines(&dry), @r"
        3 paths to repair
        build     KEPT: DRV-kept.drv would be built again, to compare
        build     RIGHT: DRV-right.drv would be built again, to compare
        build     WRONG: DRV-wrong.drv would be built again, to compare
        gone      GONE: it is in the store no more
        ");
        insta::assert_snapshot!(lines(&told), @r"
        4 paths repaired
        building DRV-kept.drv again, to compare its output out
        building DRV-right.drv again, to compare its output out
        building DRV-wrong.drv again, to compare its output out
        deleted   WRONG: a build gives other bits; with 1 path that refers to it
        gone      GONE: it is in the store no more
        nothing of 1 derivation is reused any more; `--pardon` lets proofs begin anew
        replaced  KEPT: a build gives other bits
        right     RIGHT: a build gives the same bits
        ");
    }
    assert!(Path::new(&right).exists() && !Path::new(&wrong).exists() && !Path::new(&above).exists());
    assert_ne!(fs::read(&kept).unwrap(), before);
    assert_eq!(nix_store(&project, &["--verify-path", &kept]), "");
    assert_eq!(store(&project).ledger(Standing::Revoked).unwrap(), []);
    let again = project.esker(&["trace", "repair"]).run();
    assert_eq!(
        again.stderr,
        "nothing to repair: no path came from a revoked trace\n\
         nothing of 1 derivation is reused any more; `--pardon` lets proofs begin anew\n",
        "{again}"
    );
    let stats = shown(&project, &["trace", "stats"]);
    assert!(stats.contains("revoked   1 skeleton\n") && !stats.contains("unsure"), "{stats}");
}

fn what_cannot_be_mended_at_once_is_deleted_or_told(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let random = "read x < /proc/sys/kernel/random/uuid; echo $x > $out";
    let mut project = Project::with_checks(
        nix,
        &format!(
            r#"two = lib.run "two" "echo two > $out";
            under = lib.run "under" "{random}";
            over = lib.make {{ under = lib.run "under" "{random}"; }} "over" "echo $under > $out";
            below = lib.run "below" "{random}";
            above = lib.make {{ below = lib.run "below" "{random}"; }} "above" "echo $below > $out";
            orphan = lib.run "orphan" "echo orphan > $out";
            fails = lib.run "fails" "read x < /thing/file || exit 7; echo $x > $out";"#
        ),
    );
    fs::create_dir(project.beside("thing")).unwrap();
    fs::write(project.beside("thing/file"), "some text\n").unwrap();
    let told = project.check(&["--trace", "reuse", "--attr", "two"]);
    assert_eq!(told.code, 0, "{told}");
    let roots = project.beside("roots");
    let thing = format!("/thing={}", project.beside("thing").display());
    let arguments = ["--gc-root", roots.to_str().unwrap(), "--option", "extra-sandbox-paths", &thing];
    let told = project.check(&arguments);
    assert_eq!(told.code, 0, "{told}");
    let path = |job: &str| output(&project, &told, job);
    let [under, over, below, above, orphan, fails] =
        ["under", "over", "below", "above", "orphan", "fails"].map(path);
    for job in ["under", "below", "orphan", "fails"] {
        fs::remove_file(roots.join(job)).unwrap();
    }
    // Without their derivations nobody can make them again.
    for job in ["above", "orphan"] {
        nix_store(&project, &["--delete", "--option", "keep-derivations", "false", told.drv(job)]);
    }
    revoke(&project, &[&under, &below, &orphan, &fails]);
    let before = fs::read(&over).unwrap();
    let below_before = fs::read(&below).unwrap();
    let repaired = project.esker(&["trace", "repair"]).run();
    assert_eq!(repaired.code, 3, "{repaired}");
    let said = |text: &str| assert!(repaired.stderr.contains(text), "{text}: {repaired}");
    said(&format!("\nreplaced  {under}: a build gives other bits; with 1 path that refers to it\n"));
    said(&format!("\nkept      {below}: a build gives other bits, but "));
    said(&format!("deleted   {orphan}: its derivation is gone\n"));
    said(&format!("\ndeleted   {fails}: its builder fails\n"));
    said("error: 1 of 4 paths could not be repaired\nhint: `esker trace repair` tries again");
    // What refers to a path by its name alone is the same, and there.
    assert_eq!(fs::read(&over).unwrap(), before);
    assert!(!Path::new(&orphan).exists() && !Path::new(&fails).exists());
    assert_eq!(fs::read(&below).unwrap(), below_before);
    assert_eq!(nix_store(&project, &["--verify-path", &under, &over, &below, &above]), "");

    // Nothing keeps it any more.
    fs::remove_file(roots.join("above")).unwrap();
    project.settings.push_str("keep-outputs = true\n");
    let repaired = project.esker(&["trace", "repair"]).run();
    assert_eq!(repaired.code, 0, "{repaired}");
    assert!(repaired.stderr.contains("with 1 path that refers to it\n1 path repaired\n"), "{repaired}");
    assert!(!Path::new(&below).exists() && !Path::new(&above).exists(), "{repaired}");
}

/// What was once false is built from then on, repaired or not, until somebody says otherwise.
fn a_derivation_begins_anew_when_it_is_pardoned(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = Project::with_checks(
        nix,
        r#"one = lib.make { src = ./src; } "one" "read x < $src/a; echo $x > $out";"#,
    );
    project.write("src/a", "a\n");
    let mut round = 0;
    let mut next = || {
        round += 1;
        project.write("src/README", &format!("@salt@ {round}\n"));
        let told = project.check(&["--trace", "reuse", "--shadow", "0"]);
        let explained = told.events("explained").next().unwrap()["explanation"]["reason"].clone();
        (told.outcome("one")["outcome"].as_str().unwrap().to_owned(), explained.as_str().unwrap().to_owned())
    };
    let mut expect = |outcome: &str, reason: &str| {
        assert_eq!(next(), (outcome.to_owned(), reason.to_owned()));
    };
    expect("built", "never");
    expect("built", "unproven");
    expect("reused", "holds");
    let traces = store(&project);
    let trace = traces.traces(1).unwrap().remove(0);
    traces.doubt_result(&trace.skeleton, &trace.trace, false, SystemTime::now()).unwrap();
    expect("built", "revoked");
    // Not before its paths are repaired.
    assert!(!traces.pardon(&trace.skeleton).unwrap());
    let told = project.esker(&["trace", "repair", "--json"]).run();
    assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{told}");
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["paths"].as_array().unwrap().len(), 1, "{told}");
    let path = &told["paths"][0];
    assert_eq!((&path["outcome"], &path["output"]), (&"right".into(), &"out".into()), "{told}");
    assert_eq!(path["trace"], trace.trace.to_string(), "{told}");
    assert_eq!((&told["left"], &told["revoked"]), (&0.into(), &1.into()), "{told}");
    assert_eq!(told["pardoned"], serde_json::json!([]));
    expect("built", "revoked");
    let told = value(&project, &["trace", "repair", "--pardon"]);
    assert_eq!((&told["paths"], &told["revoked"]), (&serde_json::json!([]), &0.into()), "{told}");
    assert_eq!(told["pardoned"].as_array().unwrap().len(), 1, "{told}");
    expect("built", "never");
    expect("built", "unproven");
    expect("reused", "holds");
}

on_each_nix! {
    what_a_build_observed_is_explained_shown_and_compared,
    what_was_only_observed_is_told_without_a_reason,
    what_is_not_observed_says_why,
    without_traces_there_is_nothing_to_look_at,
    damaged_traces_are_told_of_and_stop_nothing,
    what_was_reused_wrongly_is_mended,
    what_cannot_be_mended_at_once_is_deleted_or_told,
    a_derivation_begins_anew_when_it_is_pardoned,
}
