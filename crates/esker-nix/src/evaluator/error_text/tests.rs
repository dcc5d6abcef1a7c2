//! Texts of both versions, and what is read from them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const STORE: &str = "/nix/store/9zy-source";
const URL: &str = "path:/tmp/x?lastModified=1&narHash=sha256-a%2Bb%3D";

fn source() -> OwnSource {
    OwnSource { store_path: STORE.into(), url: URL.replace("%2B", "+").replace("%3D", "=") }
}

fn old(error: &str, place: &str) -> String {
    format!(
        "error (ignored): error: {error}\n\n       at {STORE}/{place}:\n\n            4|   in\n             |      ^\n\n       … while evaluating anonymous lambda\n\n       at /nix/store/ours-source/esker-evaluate.nix:3:14:\n"
    )
}

fn new(frame: &str, error: &str, place: &str) -> String {
    format!(
        "error:\n       … while checking the derivation 'packages.x86_64-linux.\"0.0\"'\n         at /nix/store/ours-source/esker-evaluate.nix:3:14:\n            2| x\n\n       … {frame}\n         at «{URL}»/{place}:\n            4|   in\n\n       error: {error}\n"
    )
}

fn check(text: &str, kind: ErrorKind, message: &str, position: Option<(&str, u64, u64)>) {
    let error = read_error(text, Some(&source()));
    assert_eq!(error.message, message);
    assert_eq!(error.kind, kind, "{message}");
    assert_eq!(error.position, position.map(|(path, line, column)| (path.to_owned(), line, column)));
    assert!(!error.trace.contains("esker-evaluate"), "{}", error.trace);
    assert!(error.trace.contains("error:"), "{}", error.trace);
}

#[test]
fn both_orders_are_understood() {
    let message = "attribute 'x' missing";
    check(&old(message, "lib/a.nix:5:54"), ErrorKind::MissingAttribute, message, Some(("lib/a.nix", 5, 54)));
    let text = new(
        "while evaluating the attribute 'd'",
        &format!("{message}\n       at «{URL}»/lib/a.nix:5:54:\n            5| x"),
        "flake.nix:1:2",
    );
    check(&text, ErrorKind::MissingAttribute, message, Some(("lib/a.nix", 5, 54)));
}

#[test]
fn a_throw_is_told_from_other_errors() {
    let text = new("while calling the 'throw' builtin", "attribute 'x' missing", "flake.nix:4:12");
    check(&text, ErrorKind::Throw, "attribute 'x' missing", Some(("flake.nix", 4, 12)));
    check(&old("on purpose", "flake.nix:4:3"), ErrorKind::Throw, "on purpose", Some(("flake.nix", 4, 3)));
    let status = format!("getting status of '{STORE}/missing.nix': No such file or directory");
    let message = "getting status of 'missing.nix': No such file or directory";
    check(&old(&status, "flake.nix:4:3"), ErrorKind::Other, message, Some(("flake.nix", 4, 3)));
}

#[test]
fn an_assertion_that_explains_itself_is_named() {
    let why = "an integer with value '1' is not equal to an integer with value '2'";
    let text = new("while evaluating the condition of the assertion '(1 == 2)'", why, "flake.nix:9:13");
    check(
        &text,
        ErrorKind::Assertion,
        &format!("assertion '(1 == 2)' failed: {why}"),
        Some(("flake.nix", 9, 13)),
    );
}

#[test]
fn quoted_source_is_no_part_of_the_message() {
    let error = format!(
        "cannot add a string to an integer\n       at «{URL}»/flake.nix:8:77:\n            7| x\n            8| y\n             |   ^\n            9|"
    );
    check(
        &new("while evaluating", &error, "flake.nix:1:1"),
        ErrorKind::Type,
        "cannot add a string to an integer",
        Some(("flake.nix", 8, 77)),
    );
}

#[test]
fn a_message_of_several_lines_stays_whole() {
    let error = "one\n       two\n\n         three";
    check(
        &new("while calling the 'throw' builtin", error, "flake.nix:7:11"),
        ErrorKind::Throw,
        "one\ntwo\n\n  three",
        Some(("flake.nix", 7, 11)),
    );
    check(&old(error, "flake.nix:7:3"), ErrorKind::Throw, "one\ntwo\n\n  three", Some(("flake.nix", 7, 3)));
}

#[test]
fn an_error_in_our_own_file_keeps_its_message() {
    let text = "error (ignored): error: attribute 'drvPath' missing\n\n       at /nix/store/ours-source/esker-evaluate.nix:83:1:\n\n           83| x\n";
    check(text, ErrorKind::MissingAttribute, "attribute 'drvPath' missing", None);
}

#[test]
fn a_suggestion_is_kept() {
    let text = old("attribute 'bra' missing", "a.nix:1:2") + "       Did you mean bar?\n";
    let message = "attribute 'bra' missing; Did you mean bar";
    check(&text, ErrorKind::MissingAttribute, message, Some(("a.nix", 1, 2)));
}

#[test]
fn another_state_of_the_same_source_is_not_ours() {
    let text = "error: x\n       at «path:/tmp/x?narHash=sha256-other»/a.nix:1:2:\n";
    let error = read_error(text, Some(&source()));
    assert_eq!(error.position, Some(("«path:/tmp/x»/a.nix".to_owned(), 1, 2)));
}

#[test]
fn the_derivation_that_an_import_needs_is_named() {
    for suffix in ["", "^out"] {
        let text = format!(
            "error: cannot build '/nix/store/aaa-x.drv{suffix}' during evaluation because the option 'allow-import-from-derivation' is disabled"
        );
        let error = read_error(&text, None);
        assert_eq!(error.wanted_derivation.as_deref(), Some("/nix/store/aaa-x.drv"));
    }
}

#[test]
fn a_text_without_an_error_is_shown_as_it_is() {
    let error = read_error("evaluating flake...\nKilled\n", None);
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Other, "Killed"));
    for nothing in ["", " \n", "error:", "error: error (ignored):\n       \n"] {
        assert_eq!(read_error(nothing, None).message, "Nix gave no reason");
    }
}

#[test]
fn a_long_text_takes_time_with_its_length_and_not_its_square() {
    for part in
        ["«", "«path:/tmp/x", "/", "/nix/store/9zy-source/", "at /a:1:1:", "error:", "error:\n", "… \n"]
    {
        for end in ["", "»", "»/a:1:1:"] {
            let text = format!("error: {}{end}\n", part.repeat((1 << 17) / part.len()));
            assert!(read_error(&text, Some(&source())).trace.len() <= text.len());
        }
    }
}

/// Pieces of real texts in any order, and whatever else.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec![
            "error: ",
            "error (ignored): ",
            "error:\n",
            "\n",
            "\n       ",
            "       … while calling the 'throw' builtin\n",
            "       … while evaluating the condition of the assertion '(1 == 2)'\n",
            " is not equal to ",
            "         at /nix/store/9zy-source/flake.nix:8:42:\n",
            "at «path:/tmp/x?lastModified=1&narHash=sha256-a%2Bb%3D»/a.nix:1:2:",
            "«path:/tmp/x»/",
            "/nix/store/9zy-source/",
            "/esker-evaluate.nix:3:14:\n",
            "            2| x\n",
            "       Did you mean bar?\n",
            "allow-import-from-derivation",
            "'/nix/store/aaa-x.drv^out'",
            "trace: ",
            "«",
            "»",
            ":18446744073709551616:1:",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_has_a_reading(text in nearly()) {
        for source in [None, Some(&source())] {
            let error = read_error(&text, source);
            prop_assert!(!error.message.is_empty());
            prop_assert!(error.trace.len() <= text.len());
            prop_assert!(error.message.len() <= 2 * text.len() + 50);
            if let Some((path, _, _)) = error.position {
                prop_assert!(!path.is_empty());
            }
        }
        let _ = has_error(&text);
    }
}

#[test]
fn a_frame_in_the_flake_of_our_own_is_known_by_its_text() {
    // Nix 2.8, where it is `flake.nix` of a source like any other.
    let ours = "       at /nix/store/dqb-source/flake.nix:1:52:\n\n            \
                1| { packages = import ./esker-evaluate.nix { };\n             |            ^\n";
    let error = read_error(&format!("error: no\n\n       … from call site\n\n{ours}"), None);
    assert_eq!((error.position, error.trace.as_str()), (None, "error: no"));
    let user = "       at /tmp/f.nix:1:8:\n\n            1| throw \"no\"\n             |       ^\n\n";
    let error = read_error(&format!("error: no\n\n{user}       … from call site\n\n{ours}"), None);
    assert_eq!(error.position, Some(("/tmp/f.nix".to_owned(), 1, 8)));
    assert!(error.trace.ends_with("      ^"), "{}", error.trace);
}
