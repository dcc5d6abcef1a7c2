//! A traced build is what Nix's own would be: the same files and variables for the builder, the
//! same bits, and the same things refused in the same words.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::path::Path;

use story::{Nix, Project, on_each_nix, told::Told};

/// A flake with these checks; their scripts can use a few programs, which are in the shell.
fn project(nix: &Nix, checks: &str) -> Project {
    let project = Project::new(nix);
    project.write(
        "more.nix",
        r#"let lib = import ./lib.nix; in lib // rec {
          tools = ''
            show() { while IFS= read -r line || [ -n "$line" ]; do echo "$line"; done < "$1"; }
            mkdir() { (exec -a mkdir /bin/sh "$@"); }
            chmod() { (exec -a chmod /bin/sh "$@"); }
            mkfifo() { (exec -a mkfifo /bin/sh "$@"); }
          '';
          run = make { };
          make = more: name: script: lib.make more name (tools + script);
          # Without variables for the outputs, as structured attributes have it.
          structured = more: make ({ __structuredAttrs = true; } // more);
          out = builtins.placeholder "out";
          dep0 = run "dep0" "echo dep0 > $out";
          dep = run "dep" "echo ${dep0} > $out";
        }"#,
    );
    project.write(
        "flake.nix",
        &format!(
            "{{ outputs = {{ self }}: let lib = import ./more.nix; in with lib; {{ checks.@system@ = {{\n{checks}\n}}; }}; }}\n"
        ),
    );
    project
}

/// Builds all of it observed, and has Nix build it again and compare.
fn is_as_nix_builds_it(project: &Project) -> Told {
    let told = project.check(&["--trace", "reuse"]);
    assert_eq!(told.code, 0, "{told}");
    assert!(told.events("explained").next().is_some(), "{told}");
    assert_eq!(untraced(&told), Vec::<&str>::new(), "{told}");
    let again = project.check(&["--rebuild"]);
    assert_eq!(again.code, 0, "{told}\n{again}");
    told
}

/// Why derivations were left to Nix.
fn untraced(told: &Told) -> Vec<&str> {
    told.events("explained")
        .filter(|event| event["explanation"]["reason"] == "untraced")
        .filter_map(|event| event["explanation"]["detail"].as_str())
        .collect()
}

/// Has each job fail with Nix, and observed, and compares what is said.
fn fails_as_with_nix(project: &Project, kind: &str, jobs: &[&str]) {
    let nix = project.check(&["--trace", "off"]);
    let told = project.check(&["--trace", "reuse"]);
    assert_eq!(untraced(&told), Vec::<&str>::new(), "{told}");
    for job in jobs {
        let (expected, failure) = (&nix.outcome(job)["failure"], &told.outcome(job)["failure"]);
        assert_eq!((&failure["kind"], &failure["message"]), (&kind.into(), &expected["message"]), "{job}");
        // Nix 2.8 does not say that the circle is the derivation's own fault.
        assert!(expected["kind"] == kind || job.ends_with("circle"), "{job}: {expected}");
    }
}

fn nix_store(project: &Project, arguments: &[&str]) -> String {
    let output = project.nix_program("nix-store").args(arguments).output().unwrap();
    assert!(output.status.success(), "nix-store {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn structured_attributes_are_found_as_nix_writes_them(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(
        nix,
        r#"
        files = structured {
          outputs = [ "out" "dev" ];
          text = "it's \"quoted\"\n\ttabbed é \\"; bool = true; no = false; null_ = null; "not a name" = 1;
          int = -7; big = 4294967297; huge = 9007199254740993; float = 0.1; small = 1.5e-9; whole = 3.0; large = 1.0e20;
          list = [ 1 "a b" null true ]; nested = [ [ 1 ] 2 ]; set = { "x y" = "z"; n = 1; }; deep = { a = { }; };
          empty = [ ]; none = { }; own = "${out}/bin"; input = dep; passAsFile = [ "text" ];
        } "files-@salt@" ''
          { show .attrs.json; show .attrs.sh; export -p; for file in .[a-z]* *; do echo "$file"; done; } > ${out}
          echo "$out $text" > ${builtins.placeholder "dev"}'';
        modes = structured { } "modes" "(exec -a ls /bin/sh -ln . .attrs.json .attrs.sh) | { read a b c d e f; echo $a $c; } > ${out}";
        plain = make { passAsFile = [ "text" ]; text = "${out}"; other = "x ${out}${out}"; } "plain" "{ export -p; show $textPath; } > $out";
        "#,
    );
    let told = is_as_nix_builds_it(&project);
    let out = told.outcome("files")["outputs"]["out"].as_str().map(str::to_owned);
    let out = out.unwrap_or_else(|| nix_store(&project, &["--query", "--outputs", told.drv("plain")]));
    assert!(Path::new(&out).exists(), "{told}");
}

fn a_graph_of_references_is_found_as_nix_writes_it(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let mut checks = r#"
        file = make { exportReferencesGraph = [ "graph" dep "other.graph" "${dep0}" "inside" "${./src}/a" ]; } "file"
          "{ show graph; show other.graph; show inside; } > $out";
        drvs = make { exportReferencesGraph = [ "graph" dep.drvPath ]; } "drvs" "show graph > $out";
        json = structured { exportReferencesGraph = { graph = [ dep ./src ]; single = dep0; }; } "json"
          "{ show .attrs.json; show .attrs.sh; } > ${out}";
        "#
    .to_owned();
    if nix.is_at_least(2, 34) {
        checks.push_str(
            r#"lists = structured { exportReferencesGraph.graph = [ [ dep [ ] ] [ [ "${./src}/a" ] ] ]; } "lists"
              "show .attrs.json > ${out}";"#,
        );
    }
    let project = project(nix, &checks);
    project.write("src/a", "a");
    is_as_nix_builds_it(&project);
}

fn what_a_graph_tells_is_part_of_the_question(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let checks = |dep: &str| {
        format!(
            r#"file = make {{ exportReferencesGraph = [ "graph" {dep} ]; }} "file" ": > $out";
            json = structured {{ exportReferencesGraph.graph = [ {dep} ]; }} "json" ": > ${{out}}";"#
        )
    };
    let one = project(nix, &checks(r#"(run "x" "mkdir $out; echo one > $out/a")"#));
    let flake = |dep: &str| {
        format!(
            "{{ outputs = {{ self }}: let lib = import ./more.nix; in with lib; {{ checks.@system@ = {{\n{}\n}}; }}; }}\n",
            checks(dep)
        )
    };
    let told = is_as_nix_builds_it(&one);
    assert_eq!(told.outcome("file")["outcome"], "built", "{told}");
    // Another name for the same: the graphs differ in the hash alone, and for JSON in nothing more.
    one.write("flake.nix", &flake(r#"(make { other = 1; } "x" "mkdir $out; echo one > $out/a")"#));
    let told = is_as_nix_builds_it(&one);
    assert_eq!(told.outcome("file")["outcome"], "reused", "{told}");
    assert_eq!(told.outcome("json")["outcome"], "reused", "{told}");
    // Another size shows in JSON only, another reference everywhere.
    one.write("flake.nix", &flake(r#"(run "x" "mkdir $out; echo longer > $out/a")"#));
    let told = is_as_nix_builds_it(&one);
    assert_eq!(told.outcome("file")["outcome"], "reused", "{told}");
    assert_eq!(told.outcome("json")["outcome"], "built", "{told}");
    one.write("flake.nix", &flake(r#"(run "x" "mkdir $out; echo ${dep0} > $out/a")"#));
    let told = is_as_nix_builds_it(&one);
    assert_eq!(told.outcome("file")["outcome"], "built", "{told}");
}

fn references_and_sizes_are_checked(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let mut checks = r#"
        none = make { allowedReferences = [ ]; } "none" "echo ${dep} > $out";
        itself = make { allowedReferences = [ ]; } "itself" "echo $out > $out";
        closure = make { allowedRequisites = [ dep ]; } "closure" "echo ${dep} > $out";
        not = make { disallowedReferences = [ dep0 dep ]; } "not" "echo ${dep} > $out";
        not-in-closure = make { disallowedRequisites = [ dep0 ]; } "not-in-closure" "echo ${dep} > $out";
        other-output = make { outputs = [ "out" "dev" ]; disallowedReferences = [ "dev" ]; } "other-output" "echo > $dev; echo $dev > $out";
        size = structured { outputChecks.out.maxSize = 200; } "size" "while [ $((n += 1)) -lt 99 ]; do echo long; done > ${out}";
        closure-size = structured { outputChecks.out.maxClosureSize = 300; } "closure-size" "echo ${dep} > ${out}";
        each = structured { outputs = [ "out" "dev" ]; outputChecks.dev.allowedReferences = [ ]; } "each"
          "echo ${dep} > ${out}; echo ${dep} > ${builtins.placeholder "dev"}";
        "#
    .to_owned();
    let mut jobs = vec![
        "none",
        "itself",
        "closure",
        "not",
        "not-in-closure",
        "other-output",
        "size",
        "closure-size",
        "each",
    ];
    if nix.is_at_least(2, 33) || !nix.is_at_least(2, 28) {
        checks.push_str(r#"illegal = make { allowedReferences = [ "lib" ]; } "illegal" "echo > $out";"#);
        jobs.push("illegal");
    }
    fails_as_with_nix(&project(nix, &checks), "output", &jobs);

    let project = project(
        nix,
        r#"
        none = make { allowedReferences = [ ]; src = ./src; } "none" ": > $out";
        itself = make { allowedReferences = [ "out" dep ]; allowedRequisites = [ dep dep0 ]; } "itself" "echo $out ${dep} > $out";
        size = structured { outputChecks.out = { maxSize = 1000; maxClosureSize = 2000; disallowedReferences = [ dep0 ]; }; } "size" "echo ${dep} > ${out}";
        top-level = structured { allowedReferences = [ ]; } "top-level" "echo ${dep} > ${out}";
        "#,
    );
    project.write("src/README", "one");
    is_as_nix_builds_it(&project);
    project.write("src/README", "two");
    let told = is_as_nix_builds_it(&project);
    assert_eq!(told.outcome("none")["outcome"], "reused", "{told}");
}

fn references_can_be_discarded(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(
        nix,
        r#"discards = structured { unsafeDiscardReferences.out = true; } "discards" "echo ${dep} ${out} > ${out}";"#,
    );
    let told = is_as_nix_builds_it(&project);
    let out = nix_store(&project, &["--query", "--outputs", told.drv("discards")]);
    let references = nix_store(&project, &["--query", "--references", &out]);
    // Nix 2.8 knows nothing of it.
    assert_eq!(references.is_empty(), nix.is_at_least(2, 18), "{references}");
    nix_store(&project, &["--delete", &out]);
    let by_nix = project.check(&["--trace", "off"]);
    assert_eq!(by_nix.code, 0, "{by_nix}");
    assert_eq!(nix_store(&project, &["--query", "--references", &out]), references);
}

fn a_feature_that_is_not_here_is_looked_for_elsewhere(nix: &Nix) {
    let project = project(
        nix,
        r#"warp = make { requiredSystemFeatures = [ "warp-drive" ]; } "warp" "echo > $out";
        here = make { requiredSystemFeatures = [ "big-parallel" ]; } "here" "echo > $out";"#,
    );
    let told = project.check(&["--trace", "reuse"]);
    assert_eq!(told.conclusions(), [("here", "passed"), ("warp", "broken")], "{told}");
    assert_eq!(told.outcome("warp")["failure"]["kind"], "no_machine", "{told}");
    let by_nix = project.check(&["--trace", "off"]);
    assert_eq!(told.outcome("warp")["failure"], by_nix.outcome("warp")["failure"]);
}

fn outputs_are_refused_as_nix_refuses_them(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let checks = r#"
        one-of-two = make { outputs = [ "out" "dev" ]; } "one-of-two" "echo > $out";
        nothing = run "nothing" "echo nothing is made";
        "#;
    fails_as_with_nix(&project(nix, checks), "builder", &["one-of-two", "nothing"]);
    let checks = r#"
        circle = make { outputs = [ "out" "dev" ]; } "circle" "echo $dev > $out; echo $out > $dev";
        large-circle = make { outputs = [ "out" "a" "b" ]; } "large-circle" "echo $a > $out; echo $b > $a; echo $out > $b";
        "#;
    fails_as_with_nix(&project(nix, checks), "output", &["circle", "large-circle"]);

    let project = project(
        nix,
        r#"
        open = run "open" "umask 0; echo > $out";
        open-folder = run "open-folder" "mkdir $out; chmod 0777 $out";
        pipe = run "pipe" "mkfifo $out";
        pipe-inside = run "pipe-inside" "mkdir $out; mkfifo $out/pipe";
        "#,
    );
    let told = project.check(&["--trace", "reuse"]);
    let by_nix = project.check(&["--trace", "off"]);
    for (job, says) in [
        ("open", "suspicious ownership or permission on"),
        ("open-folder", "suspicious ownership or permission on"),
        ("pipe", "has an unsupported type"),
        ("pipe-inside", "/pipe' has an unsupported type"),
    ] {
        let failure = &told.outcome(job)["failure"];
        assert_eq!(failure["kind"], "output", "{job}\n{told}");
        assert!(failure["message"].as_str().unwrap().contains(says), "{job}\n{told}");
        let theirs = by_nix.outcome(job)["failure"]["message"].as_str().unwrap();
        assert!(theirs.contains(says.trim_start_matches("/pipe' ")), "{job}: {theirs}");
    }
}

/// A Nix of 2026 takes no tree with more than 64 things inside each other, neither from its own builder
/// nor from us; an older one takes any.
fn deep_outputs_end_as_with_nix(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(
        nix,
        r#"
        deepest = run "deepest" "mkdir $out; cd $out; while [ $((n += 1)) -lt 64 ]; do mkdir d; cd d; done";
        deeper = run "deeper" "mkdir $out; cd $out; while [ $((n += 1)) -lt 64 ]; do mkdir d; cd d; done; : > file";
        abyss = run "abyss" "mkdir $out; cd $out; while [ $((n += 1)) -lt 300 ]; do mkdir d; cd d; done; : > file";
        "#,
    );
    let told = project.check(&["--trace", "reuse"]);
    assert_eq!(untraced(&told), Vec::<&str>::new(), "{told}");
    let by_nix = project.check(&["--trace", "off"]);
    assert_eq!(told.conclusions(), by_nix.conclusions(), "{told}\n{by_nix}");
    assert!(told.conclusions().contains(&("deepest", "passed")), "{told}");
    for job in ["deeper", "abyss"] {
        let (failure, theirs) = (&told.outcome(job)["failure"], &by_nix.outcome(job)["failure"]);
        assert_eq!(failure["kind"], theirs["kind"], "{job}: {failure}\n{theirs}");
        if failure["kind"] != serde_json::Value::Null {
            assert!(failure["message"].as_str().unwrap().contains("maximum depth of 64"), "{failure}");
        }
    }
    if !nix.is_at_least(2, 28) {
        let again = project.check(&["--rebuild"]);
        assert_eq!(again.code, 0, "{told}\n{again}");
    }
}

fn permissions_are_made_the_same(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(
        nix,
        r#"
        modes = run "modes" ''
          mkdir $out; umask 0
          for mode in 0777 0666 0000 0100 0070 0007 0444 0755; do echo $mode > $out/$mode; chmod $mode $out/$mode; done
          mkdir $out/folder $out/closed; chmod 0777 $out/folder; chmod 0000 $out/closed'';
        set-id = run "set-id" ''
          mkdir $out; for mode in 4755 2755 6755; do
            : > $out/$mode; chmod $mode $out/$mode && echo changed > $out/$mode.said || echo refused > $out/$mode.said
          done'';
        sticky = run "sticky" "mkdir $out $out/a; chmod 1755 $out/a; echo $? > $out/said";
        links = run "links" ''
          mkdir $out; echo one > $out/a; (exec -a ln /bin/sh $out/a $out/b); (exec -a ln /bin/sh -s /nowhere $out/c)'';
        "#,
    );
    is_as_nix_builds_it(&project);
}

fn an_output_that_is_there_already_does_no_harm(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(
        nix,
        r#"two = make { outputs = [ "out" "dev" ]; } "two" "echo dev > $dev; echo $dev > $out";
        invalid = run "invalid" "echo right > $out";"#,
    );
    let drv =
        project.nix(&["eval", "--raw", &format!(".#checks.{}.invalid.drvPath", story::project::SYSTEM)]);
    let out = nix_store(&project, &["--query", "--outputs", &drv]);
    std::fs::write(&out, "wrong\n").unwrap();
    let told = is_as_nix_builds_it(&project);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "right\n", "{told}");

    let outputs = nix_store(&project, &["--query", "--outputs", told.drv("two")]);
    let out = outputs.lines().find(|path| !path.ends_with("-dev")).unwrap();
    nix_store(&project, &["--delete", out]);
    let told = is_as_nix_builds_it(&project);
    assert_eq!(told.conclusions()[1], ("two", "passed"), "{told}");
    assert_eq!(nix_store(&project, &["--verify-path", out]), "");
}

fn the_folder_of_a_failed_build_can_be_kept(nix: &Nix) {
    if !story::machine::can_observe_builds() {
        return;
    }
    let project = project(
        nix,
        r#"exits = run "exits" "echo here > it; exit 3";
        rejected = make { allowedReferences = [ ]; } "rejected" "echo here > it; echo ${dep} > $out";"#,
    );
    let told = project.check(&["--trace", "reuse", "--keep-failed"]);
    for job in ["exits", "rejected"] {
        let message = told.outcome(job)["failure"]["message"].as_str().unwrap();
        let (_, folder) =
            message.split_once("its folder was kept: ").unwrap_or_else(|| panic!("{job}\n{told}"));
        let folder = Path::new(folder);
        assert_eq!(std::fs::read_to_string(folder.join("it")).unwrap(), "here\n", "{job}");
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}

on_each_nix! {
    structured_attributes_are_found_as_nix_writes_them,
    a_graph_of_references_is_found_as_nix_writes_it,
    what_a_graph_tells_is_part_of_the_question,
    references_and_sizes_are_checked,
    references_can_be_discarded,
    a_feature_that_is_not_here_is_looked_for_elsewhere,
    outputs_are_refused_as_nix_refuses_them,
    deep_outputs_end_as_with_nix,
    permissions_are_made_the_same,
    an_output_that_is_there_already_does_no_harm,
    the_folder_of_a_failed_build_can_be_kept,
}
