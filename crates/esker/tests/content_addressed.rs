//! Derivations whose outputs get the paths that follow from their content (`ca-derivations`), observed:
//! the same paths as with Nix, for Nix the same as if it had built them, and reused like others.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use esker_trace::store::{Standing, Store};
use serde_json::Value;
use story::{Nix, Project, on_each_nix, told::Told};

/// A project in which `ca NAME SCRIPT` is such a derivation.
fn project(nix: &Nix) -> Project {
    let mut project = Project::new(nix);
    project.settings.push_str("extra-experimental-features = ca-derivations impure-derivations\n");
    project.write(
        "more.nix",
        r#"let lib = import ./lib.nix; in lib // rec {
          tools = ''
            echo began
            show() { while IFS= read -r line || [ -n "$line" ]; do echo "$line"; done < "$1"; }
            mkdir() { (exec -a mkdir /bin/sh "$@"); }
            ln() { (exec -a ln /bin/sh "$@"); }
          '';
          make = more: name: script: lib.make more name (tools + script);
          addressed = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
          ca = makeCa { };
          makeCa = more: make (addressed // more);
        }"#,
    );
    project
}

fn write_checks(project: &Project, checks: &str) {
    let text = format!(
        "{{ outputs = {{ self }}: let lib = import ./more.nix; in with lib; {{ checks.@system@ = {{\n{checks}\n}}; }}; }}\n"
    );
    project.write("flake.nix", &text);
}

fn observed(project: &Project) -> Told {
    let told = project.check(&["--trace", "reuse", "--shadow", "0%"]);
    assert_eq!(told.code, 0, "{told}");
    assert_eq!(untraced(&told), Vec::<String>::new(), "{told}");
    told
}

/// What all builders said, by derivation.
fn logs(told: &Told) -> BTreeSet<(&str, &str)> {
    let logs = told.events("log");
    logs.map(|event| (event["drv"].as_str().unwrap(), event["line"].as_str().unwrap())).collect()
}

/// How often each builder began, by the derivation's name.
fn began(told: &Told) -> BTreeMap<&str, usize> {
    let mut began = BTreeMap::new();
    for event in told.events("log").filter(|event| event["line"] == "began") {
        let name = event["drv"].as_str().unwrap().split_at(44).1.trim_end_matches(".drv");
        *began.entry(name).or_default() += 1;
    }
    began
}

fn is_reused(told: &Told, job: &str) -> bool {
    told.outcome(job)["outcome"] == "reused"
}

/// What was left to Nix, and why.
fn untraced(told: &Told) -> Vec<String> {
    let explained = told.events("explained").filter(|event| event["explanation"]["reason"] == "untraced");
    explained.map(|event| format!("{}: {}", event["name"], event["explanation"]["detail"])).collect()
}

/// All outputs that were built or reused, by derivation and output.
fn outputs(told: &Told) -> BTreeMap<String, String> {
    let events = told.events("build_finished").chain(told.events("reused"));
    let outputs = events.flat_map(|event| {
        let name = event["name"].as_str().unwrap();
        let outputs = event["outputs"].as_array().unwrap();
        outputs.iter().map(move |output| {
            (format!("{name} {}", output[0].as_str().unwrap()), output[1].as_str().unwrap().to_owned())
        })
    });
    outputs.collect()
}

fn nix_store(project: &Project, arguments: &[&str]) -> String {
    let output = project.nix_program("nix-store").args(arguments).output().unwrap();
    assert!(output.status.success(), "nix-store {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What Nix knows of these paths that does not depend on who built them.
fn infos(project: &Project, paths: &[&str]) -> BTreeMap<String, String> {
    let text = project.nix(&[&["path-info", "--json"], paths].concat());
    let infos: Value = serde_json::from_str(&text).unwrap();
    let entries: Vec<(String, &Value)> = match &infos {
        Value::Array(list) => {
            list.iter().map(|info| (info["path"].as_str().unwrap().to_owned(), info)).collect()
        }
        infos => infos.as_object().unwrap().iter().map(|(path, info)| (path.clone(), info)).collect(),
    };
    let of = |info: &Value| {
        format!("{} {} {} {}", info["ca"], info["narHash"], info["references"], info["deriver"])
    };
    entries.into_iter().map(|(path, info)| (path, of(info))).collect()
}

/// Deletes paths, and the derivations that name them.
fn delete(project: &Project, paths: &[&str]) {
    let all = nix_store(project, &[&["--query", "--referrers-closure"], paths].concat());
    let all: BTreeSet<&str> = all.lines().collect();
    let all: Vec<&str> = all.into_iter().collect();
    nix_store(project, &[&["--delete", "--option", "keep-outputs", "false"], &all[..]].concat());
}

/// Has Nix build a job without any builder.
fn nix_finds(project: &Project, jobs: &[&str]) {
    for job in jobs {
        let target = format!(".#checks.{}.{job}", story::project::SYSTEM);
        project.nix(&["build", "--no-link", "--max-jobs", "0", &target]);
    }
}

/// All kinds of content. What is made depends on the round alone, the derivations on the variant too.
fn many(nix: &Nix, project: &Project, round: u32, variant: u32) {
    project.write("src/a", &format!("a @salt@ {round}\n"));
    let checks = r#"
        plain = ca' "plain" "echo TEXT > $out";
        itself = ca' "itself" "export -p; mkdir $out; echo TEXT $out $out > $out/a; echo x$out/a > $out/b; ln -s $out/a $out/c; mkdir $out/d; : > $out/d/\${out##*/}";
        two = make' { outputs = [ "out" "dev" "aaa" ]; } "two"
          "echo TEXT > $dev; echo $dev $out > $out; mkdir $aaa; echo $aaa $dev > $aaa/a; ln -s $out $aaa/b";
        flat = make' { outputHashMode = "flat"; } "flat" "echo TEXT > $out";
        structured = make' { __structuredAttrs = true; PATH = "/none"; input = plain; } "structured"
          "show .attrs.json; show .attrs.sh; { echo TEXT ${plain}; } > ${builtins.placeholder "out"}";
        source = make' { src = ./src; } "source" "show $src/a > $out; echo $src >> $out";
        ordinary = make { variant = VARIANT; } "ordinary" "echo TEXT > $out";
        from-ordinary = ca' "from-ordinary" "show ${ordinary} > $out";
        chain = make' { passAsFile = [ "text" ]; text = "${two.dev} ${itself}"; } "chain"
          "show $textPath > $out; echo ${two} $out >> $out";
        deferred = make { variant = VARIANT; outputs = [ "out" "dev" ]; } "deferred"
          "echo ${chain} $out TEXT > $out; echo $out > $dev";
        after = make { variant = VARIANT; exportReferencesGraph = [ "graph" deferred.dev ]; } "after" "show graph > $out";
        "#;
    let discards = r#"discards = make' { __structuredAttrs = true; unsafeDiscardReferences.out = true; } "discards"
        "echo ${plain} ${builtins.placeholder "out"} TEXT > ${builtins.placeholder "out"}";"#;
    let discards = if nix.is_at_least(2, 18) { discards } else { "" };
    let checks = (checks.to_owned() + discards)
        .replace("TEXT", &format!("@salt@ {round}"))
        .replace("VARIANT", &variant.to_string());
    let checks = format!(
        "inherit (let ca' = make' {{ }}; make' = more: makeCa ({{ variant = {variant}; }} // more); all = rec {{ {checks} }}; in all)
         plain itself two flat structured source ordinary from-ordinary chain deferred after {};",
        if discards.is_empty() { "" } else { "discards" }
    );
    write_checks(project, &checks);
}

fn paths_and_what_nix_knows_of_them_are_as_with_nix(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(nix);
    let ours = |outputs: BTreeMap<String, String>| -> BTreeMap<String, String> {
        let by_input = ["ordinary", "deferred", "after"];
        outputs.into_iter().filter(|(name, _)| !by_input.contains(&name.split(' ').next().unwrap())).collect()
    };
    // Nix first, so that there is something to agree with.
    many(nix, &project, 1, 1);
    let told = project.check(&["--trace", "off"]);
    assert_eq!(told.code, 0, "{told}");
    let expected = ours(outputs(&told));
    assert!(expected.contains_key("two aaa"), "{told}");
    many(nix, &project, 1, 2);
    let told = observed(&project);
    assert_eq!(ours(outputs(&told)), expected, "{told}");

    // And first observed, so that what is registered is ours.
    many(nix, &project, 2, 1);
    let told = observed(&project);
    // Nix, told of it, did not build anything once more.
    assert!(
        began(&told).len() == told.conclusions().len() && began(&told).values().all(|times| *times == 1),
        "{told}"
    );
    let (made, said) = (outputs(&told), logs(&told));
    let paths: Vec<&str> = made.values().map(String::as_str).collect();
    assert_eq!(nix_store(&project, &[&["--verify-path"], &paths[..]].concat()), "");
    let jobs: BTreeSet<&str> = made.keys().map(|name| name.split(' ').next().unwrap()).collect();
    nix_finds(&project, &jobs.into_iter().collect::<Vec<_>>());
    let again = project.check(&[]);
    assert!(again.events("job_finished").all(|event| event["outcome"]["outcome"] == "in_store"), "{again}");
    let before = infos(&project, &paths);
    assert!(before.values().filter(|info| info.contains("fixed")).count() >= 10, "{before:?}");
    delete(&project, &paths);
    let by_nix = project.check(&["--trace", "off"]);
    assert_eq!(by_nix.code, 0, "{by_nix}");
    assert_eq!(outputs(&by_nix), made, "{by_nix}");
    // Their builders were told the same, scratch paths too.
    assert_eq!(logs(&by_nix), said);
    assert_eq!(infos(&project, &paths), before);
}

fn a_change_that_changes_no_content_ends_there(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(nix);
    let write = |round: u32| {
        write_checks(
            &project,
            &format!(
                r#"inherit (rec {{
                  first = ca "first" "round={round}; echo @salt@ > $out";
                  second = ca "second" "show ${{first}} > $out; echo $out >> $out";
                  third = run' "third" "show ${{second}} > $out";
                  run' = make {{ }};
                }}) third;"#
            ),
        );
    };
    write(1);
    let told = observed(&project);
    assert_eq!(began(&told), [("first", 1), ("second", 1), ("third", 1)].into(), "{told}");

    write(2);
    let told = observed(&project);
    assert_eq!(began(&told), [("first", 1)].into(), "{told}");
    assert_eq!(told.outcome("third")["outcome"], "in_store", "{told}");
    assert_eq!(told.summary()["built"], 1, "{told}");
    nix_finds(&project, &["third"]);

    // What Nix has built ends there, too.
    write(3);
    let told = project.check(&["--trace", "off"]);
    assert_eq!(began(&told), [("first", 1)].into(), "{told}");
}

fn what_it_did_not_read_may_change(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(nix);
    write_checks(
        &project,
        r#"empty = makeCa { src = ./src; } "empty" "show $src/a; : > $out";
        itself = makeCa { src = ./src; outputs = [ "out" "dev" ]; } "itself"
          "show $src/a > $out; echo $out > $dev; echo $dev >> $dev";
        input = makeCa { src = ./src; } "input" "show $src/a > $out; echo $src >> $out";
        structured = makeCa { __structuredAttrs = true; PATH = "/none"; src = ./src; } "structured"
          "show ${./src}/a > ${builtins.placeholder "out"}; show .attrs.json > /dev/null";
        deferred = make { itself = makeCa { src = ./src; } "dep" "show $src/a > $out"; } "deferred" "show $itself; : > $out";"#,
    );
    project.write("src/a", "a @salt@\n");
    let jobs = ["empty", "itself", "structured", "input"];
    let mut before = BTreeMap::new();
    for (round, expected) in
        [[false; 4], [true, false, false, false], [true, true, true, false]].into_iter().enumerate()
    {
        project.write("src/README", &round.to_string());
        let told = observed(&project);
        assert_eq!(jobs.map(|job| is_reused(&told, job)), expected, "round {round}\n{told}");
        let made = outputs(&told);
        for output in ["empty out", "itself out", "itself dev", "structured out"] {
            let path = before.entry(output).or_insert_with(|| made[output].clone());
            assert_eq!(*path, made[output], "round {round}\n{told}");
        }
        // Where its input is the same again, nothing is run.
        assert_eq!(began(&told).contains_key("deferred"), round == 0, "{told}");
        nix_finds(&project, &[&jobs[..], &["deferred"]].concat());
        let again = project.check(&[]);
        assert!(
            again.events("job_finished").all(|event| event["outcome"]["outcome"] == "in_store"),
            "{again}"
        );
    }
    // A reuse that is doubted is built, and was right.
    project.write("src/README", "3");
    let told = project.check(&["--trace", "reuse", "--shadow", "100%"]);
    assert_eq!(jobs.map(|job| is_reused(&told, job)), [false; 4], "{told}");
    assert_eq!(told.events("notice").count(), 0, "{told}");
    // Nix would have made the same of it.
    project.write("src/README", "4");
    let told = project.check(&["--trace", "off"]);
    for (output, path) in before {
        assert_eq!(outputs(&told)[output], path, "{told}");
    }
    project.write("src/a", "b @salt@\n");
    let told = observed(&project);
    assert_eq!(jobs.map(|job| is_reused(&told, job)), [false; 4], "{told}");
}

fn what_fails_fails_as_with_nix(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(nix);
    write_checks(
        &project,
        r#"fails = ca "fails" "echo some words; exit 4";
        fails-later = ca "fails-later" "show ${ca "good" "echo @salt@ > $out"}; exit 6";
        needs-it = ca "needs-it" "show ${ca "dep" "exit 5"} > $out";
        none = ca "none" "echo nothing is made";
        folder = makeCa { outputHashMode = "flat"; } "folder" "mkdir $out";
        circle = makeCa { outputs = [ "out" "dev" ]; } "circle" "echo $dev > $out; echo $out > $dev";
        refers = makeCa { allowedReferences = [ ]; } "refers" "echo $out > $out";
        after-good = make { allowedReferences = [ ]; } "after-good" "echo ${ca "good" "echo @salt@ > $out"} > $out; exit 0";"#,
    );
    let nix_said = project.check(&["--trace", "off"]);
    let told = project.check(&["--trace", "reuse"]);
    assert_eq!(untraced(&told), Vec::<String>::new(), "{told}");
    assert!(told.events("job_finished").all(|event| event["conclusion"] == "failed"), "{told}");
    assert_eq!(told.outcome("needs-it")["name"], "dep", "{told}");
    for job in ["fails", "fails-later", "none", "folder", "circle", "refers", "after-good"] {
        let kinds = [&told, &nix_said].map(|told| told.outcome(job)["failure"]["kind"].clone());
        // Nix 2.8 does not say that the circle is the derivation's own fault.
        assert!(kinds[0] == kinds[1] || job == "circle", "{job}: {kinds:?}");
    }
    for told in [&told, &nix_said] {
        let failure = &told.outcome("fails-later")["failure"];
        assert_eq!(
            (&failure["exit_code"], &failure["message"]),
            (&6.into(), &"builder failed with exit code 6".into()),
            "{told}"
        );
    }
    let failure = &told.outcome("fails")["failure"];
    assert_eq!((&failure["exit_code"], &failure["kind"]), (&4.into(), &"builder".into()), "{told}");
    let log = project.nix_command(&["log", told.drv("fails")]).output().unwrap();
    assert!(String::from_utf8_lossy(&log.stdout).contains("some words"), "{log:?}");
}

fn what_is_impure_or_fixed_is_left_to_nix(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(nix);
    write_checks(
        &project,
        r#"impure = make { __impure = true; } "impure" "echo @salt@ > $out";
        fixed = make { outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "@salt@\n"; }
          "fixed" "echo ${ca "dep" "echo @salt@ > $out"} > /dev/null; echo @salt@ > $out";
        unusual = makeCa { outputHashAlgo = "sha512"; } "unusual" "echo @salt@ > $out";"#,
    );
    let told = project.check(&["--trace", "reuse"]);
    assert_eq!(told.code, 0, "{told}");
    let untraced = untraced(&told);
    for expected in [
        "\"impure\": \"it is impure\"",
        "\"fixed\": \"its output is fixed\"",
        "\"unusual\": \"its outputs are hashed",
    ] {
        assert!(untraced.iter().any(|text| text.starts_with(expected)), "{expected}: {untraced:?}\n{told}");
    }
    assert_eq!(untraced.len(), 3, "{untraced:?}");
}

fn what_can_be_proven_at_once_is(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(nix);
    write_checks(
        &project,
        r#"text = makeCa { src = ./src; } "text" "show $src/a > $out";
        itself = makeCa { src = ./src; } "itself" "show $src/a > $out; echo $out >> $out";"#,
    );
    project.write("src/a", "a @salt@\n");
    for (round, expected) in [[false, false], [true, false], [true, true]].into_iter().enumerate() {
        project.write("src/README", &round.to_string());
        let told = project.check(&["--trace", "reuse", "--shadow", "0%", "--prove", "eager"]);
        assert_eq!(told.code, 0, "{told}");
        let reused = ["text", "itself"].map(|job| is_reused(&told, job));
        // What names itself would be another under placeholders: that is no reason to distrust it.
        assert_eq!(reused, expected, "round {round}\n{told}");
    }
}

fn what_was_reused_wrongly_is_forgotten(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(nix);
    write_checks(
        &project,
        r#"empty = makeCa { src = ./src; } "empty-@salt@" "show $src/a; : > $out";
        after = ca "after" "echo ${makeCa { src = ./src; } "empty-@salt@" "show $src/a; : > $out"}; echo @salt@ > $out";"#,
    );
    let empty = format!("empty-{}", project.salt);
    for rooted in [false, true] {
        project.write("src/a", &format!("a {rooted}\n"));
        project.write("src/README", &format!("one {rooted}\n"));
        observed(&project);
        project.write("src/README", &format!("two {rooted}\n"));
        let root = project.beside("root");
        let told = project.check(&["--trace", "reuse", "--shadow", "0", "--gc-root", root.to_str().unwrap()]);
        assert!(is_reused(&told, "empty"), "{told}");
        let path = outputs(&told)[&format!("{empty} out")].clone();
        if !rooted {
            std::fs::remove_dir_all(&root).unwrap();
        }
        let store = Store::open(&project.state().join("traces")).unwrap();
        let entry = store.ledger(Standing::Stands).unwrap().remove(0);
        store.revoke(&entry.skeleton, &entry.trace, "a build gave other bits", SystemTime::now()).unwrap();
        drop(store);

        let dry = project.esker(&["trace", "repair", "--dry-run"]).run();
        assert!(dry.stderr.contains(&format!("delete    {path}: its path follows")), "{dry}");
        let mended = project.esker(&["trace", "repair"]).run();
        assert_eq!(mended.code, 0, "{mended}");
        let expected = if rooted { format!("replaced  {path}") } else { format!("deleted   {path}") };
        assert!(mended.stderr.contains(&expected), "{mended}");
        assert_eq!(std::path::Path::new(&path).exists(), rooted);
        // That it is the output of this derivation is not believed any more.
        let told = observed(&project);
        assert_eq!(told.outcome("empty")["outcome"], "built", "{told}");
        assert_eq!(began(&told), [(empty.as_str(), 1)].into(), "{told}");
        std::fs::remove_dir_all(project.state().join("traces")).unwrap();
    }
}

on_each_nix! {
    what_can_be_proven_at_once_is,
    what_was_reused_wrongly_is_forgotten,
    paths_and_what_nix_knows_of_them_are_as_with_nix,
    a_change_that_changes_no_content_ends_there,
    what_it_did_not_read_may_change,
    what_fails_fails_as_with_nix,
    what_is_impure_or_fixed_is_left_to_nix,
}
