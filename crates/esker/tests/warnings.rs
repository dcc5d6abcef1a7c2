//! What an evaluation says besides: traces and warnings, each once, with a count.

mod story;

use story::told::Told;
use story::{Nix, Project, on_each_nix};

fn warnings(told: &Told) -> Vec<&str> {
    let mut texts: Vec<&str> = told.events("warning").filter_map(|event| event["text"].as_str()).collect();
    texts.sort_unstable();
    texts
}

fn traces_and_warnings_are_told_once_with_a_count(nix: &Nix) {
    let warn =
        if nix.is_at_least(2, 24) { "builtins.warn" } else { "text: builtins.trace \"warning: ${text}\"" };
    let project = Project::with_checks(
        nix,
        &format!(
            r#"a = builtins.trace "tracing one" (lib.passes "a");
               b = builtins.trace "warning: use the new thing" (lib.passes "b");
               c = builtins.trace "warning: use the new thing" (lib.passes "c");
               d = ({warn}) "warned by Nix" (lib.passes "d");
               e = builtins.trace "two\nlines" (throw "after a trace");
               f = builtins.trace {{ a = 1; }} (lib.passes "f");"#
        ),
    );
    let told = project.check(&[]);
    assert_eq!(told.jobs("passed"), ["a", "b", "c", "d", "f"], "{told}");
    let all = warnings(&told);
    let expected = [
        "tracing one",
        "two\nlines",
        "use the new thing",
        "use the new thing",
        "warned by Nix",
        "{ a = 1; }",
    ];
    assert_eq!(all, expected, "{told}");
    assert_eq!(told.error("e")["message"], "after a trace");
    let of = |text: &str| {
        told.events("warning").find(|event| event["text"] == text).map(|event| event["job"].clone())
    };
    assert_eq!(of("tracing one"), Some("a".into()));
    assert_eq!(of("two\nlines"), Some("e".into()));
    let screen = project.esker(&["check"]).run();
    assert_eq!(screen.stderr.matches("use the new thing").count(), 1, "{screen}");
    assert!(
        screen.stderr.contains("2 times") || screen.stderr.contains("2 ×") || screen.stderr.contains("(2"),
        "{screen}"
    );
}

fn a_quiet_flake_has_no_warnings(nix: &Nix) {
    let project = Project::with_checks(nix, r#"a = lib.passes "a"; bad = throw "x";"#);
    assert_eq!(warnings(&project.check(&[])), [""; 0]);
    project.commit();
    project.write("lib.nix", "rec { passes = name: derivation { inherit name; system = \"@system@\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > $out\" ]; salt = \"@salt@\"; }; }");
    let told = project.check(&[]);
    assert_eq!(warnings(&told), [""; 0], "{told}");
    assert_eq!(
        told.events("source").next().map(|event| event["dirty_files"].clone()),
        Some(1.into()),
        "{told}"
    );
}

fn a_hostile_flake_cannot_forge_an_answer(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"a = builtins.trace "esker-00000000000000000000000000000000 D 0.1 /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-forged.drv"
              (builtins.trace "\ntrace: esker-00000000000000000000000000000000 D 0.1 /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-forged.drv\nerror: forged\n"
              (lib.passes "a"));
           b = throw "b\nerror: not the message\n\n       at /nix/store/x/flake.nix:1:2:\ntrace: esker-0 B 0.0";
           "new\nline" = lib.passes "newline";
           "bell\t\r" = lib.passes "control";
           "" = lib.passes "empty";
           "sl/ash" = lib.passes "slash";
           "..." = lib.passes "dots";
           "${"$"}{x}" = lib.passes "dollar";"#,
    );
    let told = project.check(&[]);
    assert!(!told.events("evaluated").any(|event| event["name"] == "forged"), "{told}");
    assert_eq!(told.jobs("failed"), ["b"], "{told}");
    assert_eq!(told.jobs("passed").len(), 7, "{told}");
    let screen = project.esker(&["check"]).run();
    assert!(!screen.stderr.contains('\u{7}') && !screen.stderr.contains("new\nline"), "{screen}");
}

fn a_hundred_megabytes_of_traces_do_not_drown_the_rest(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"a = lib.passes "a";
           loud = let line = builtins.concatStringsSep "" (builtins.genList (i: "0123456789") 100); in
             builtins.foldl' (x: i: builtins.trace "${toString i} ${line}" x) (lib.passes "loud") (builtins.genList (i: i) 100000);
           wide = let double = n: text: if n == 0 then text else double (n - 1) (text + text); in builtins.trace (double 23 "ab") (lib.passes "wide");
           z = lib.passes "z";"#,
    );
    let told = project.check(&[]);
    assert_eq!(told.jobs("passed"), ["a", "loud", "wide", "z"], "{}", told.stderr.len());
    assert!(told.stdout.len() < 8 << 20, "{} bytes of events", told.stdout.len());
    let screen = project.esker(&["check"]).run();
    assert!(screen.stderr.len() < 1 << 20, "{} bytes on the screen", screen.stderr.len());
}

on_each_nix! {
    traces_and_warnings_are_told_once_with_a_count,
    a_quiet_flake_has_no_warnings,
    a_hostile_flake_cannot_forge_an_answer,
    a_hundred_megabytes_of_traces_do_not_drown_the_rest,
}
