//! What is read, what is refused, and that nothing is lost.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use crate::StorePath;
use crate::derivation::{ByteString, Derivation, Method, Output};
use crate::hash::{Algorithm, Hash};

const HASH: &str = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q";

/// A derivation with this text for its outputs, inputs, sources and environment.
fn text(outputs: &str, inputs: &str, sources: &str, environment: &str) -> String {
    format!(r#"Derive([{outputs}],[{inputs}],[{sources}],"s","b",["a"],[{environment}])"#)
}

fn check_output(fields: &str, output: Output) {
    let text = text(&format!(r#"("out",{fields})"#), "", "", "");
    let derivation: Derivation = text.parse().unwrap();
    assert_eq!(derivation.outputs["out"], output);
    assert_eq!(String::from_utf8(derivation.to_aterm()).unwrap(), text);
}

fn check_refused(text: &str, message: &str) {
    assert_eq!(text.parse::<Derivation>().unwrap_err().to_string(), message);
}

#[test]
fn each_kind_of_output_is_told_by_its_fields() {
    let path: StorePath = format!("/nix/store/{HASH}-x").parse().unwrap();
    let hash = Hash::sha256("");
    let (method, algorithm) = (Method::Nar, Algorithm::Sha256);
    check_output(&format!(r#""{path}","","""#), Output::InputAddressed(path.clone()));
    check_output(
        &format!(r#""{path}","r:sha256","{}""#, hash.to_base16()),
        Output::Fixed { path: path.clone(), method, hash },
    );
    check_output(r#""","r:sha256","""#, Output::Floating { method, algorithm });
    check_output(r#""","","""#, Output::Deferred);
    check_output(r#""","r:sha256","impure""#, Output::Impure { method, algorithm });
    check_output(
        r#""","text:sha256","""#,
        Output::Floating { method: Method::Text, algorithm: Algorithm::Sha256 },
    );
    check_output(r#""","md5","""#, Output::Floating { method: Method::Flat, algorithm: Algorithm::Md5 });
}

#[test]
fn a_refusal_says_what_is_wrong_and_where() {
    check_refused("", "at byte 0 of the derivation: expected `Derive(`");
    check_refused("Derive([", "at byte 8 of the derivation: expected `(`");
    check_refused(
        r#"DrvWithVersion("xp-dyn-drv",[],[],[],"","",[],[])"#,
        "at byte 0 of the derivation: dynamic derivations (`DrvWithVersion`) are not supported",
    );
    check_refused(
        &(text("", "", "", "") + "\n"),
        "at byte 33 of the derivation: something follows the derivation",
    );
    check_refused(
        &text(r#"("out","","sha3","")"#, "", "", ""),
        "at byte 15 of the derivation: `sha3` is not a hash algorithm",
    );
    check_refused(
        &text("", "", "\"/etc\"", ""),
        "at byte 14 of the derivation: `/etc` is not a store path: it is not in `/nix/store`",
    );
    check_refused(
        &text("", "", "", r#"("b","1"),("a","2")"#),
        "at byte 41 of the derivation: the list is not sorted, or names something twice",
    );
    check_refused(r#"Derive([],[],[],"\"#, "at byte 16 of the derivation: the string does not end");
}

#[test]
fn what_nix_would_not_write_is_refused() {
    let path = format!("/nix/store/{HASH}-x");
    for outputs in [
        format!(r#"("out","{path}","","00")"#),
        r#"("out","","","00")"#.into(),
        r#"("out","","sha256","00")"#.into(),
        format!(r#"("out","{path}","sha256","")"#),
        format!(r#"("out","{path}","sha256","impure")"#),
        format!(r#"("out","{path}","sha256","{}")"#, Hash::sha256("").to_nix32()),
        format!(r#"("out","{path}","sha256","{}")"#, Hash::sha256("").to_sri()),
        r#"("o\"t","","","")"#.into(),
        r#"("a","","",""),("a","","","")"#.into(),
    ] {
        assert!(text(&outputs, "", "", "").parse::<Derivation>().is_err(), "{outputs}");
    }
    for value in ["\\a", "\\", "\n", "\t", "\r", "\\0"] {
        let text = text("", "", "", &format!(r#"("a","{value}")"#));
        assert!(text.parse::<Derivation>().is_err(), "{value:?}");
    }
    assert!(text("", "", &format!(r#""{path}","{path}""#), "").parse::<Derivation>().is_err());
    assert!(text("", &format!(r#"("{path}",["b","a"])"#), "", "").parse::<Derivation>().is_err());
    assert!(text("", "", "", "").replace(',', ", ").parse::<Derivation>().is_err());
}

#[test]
fn cutting_a_derivation_anywhere_is_an_error() {
    let text = text(r#"("out","","r:sha256","")"#, "", "", r#"("a","\"\\\n\r\t")"#);
    assert!(text.parse::<Derivation>().is_ok());
    for end in 0..text.len() {
        assert!(text[..end].parse::<Derivation>().is_err());
    }
}

fn store_path() -> impl Strategy<Value = StorePath> {
    "[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9a-zA-Z+_?=][0-9a-zA-Z+._?=-]{0,20}"
        .prop_map(|base_name| StorePath::from_base_name(&base_name).unwrap())
}

fn byte_string() -> impl Strategy<Value = ByteString> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(prop::sample::select(&b"\"\\\n\r\tnrta"[..]), 0..9)]
        .prop_map(ByteString::from)
}

fn output() -> impl Strategy<Value = Output> {
    let method = prop::sample::select(vec![Method::Flat, Method::Nar, Method::Text, Method::Git]);
    let algorithm = prop::sample::select(vec![Algorithm::Md5, Algorithm::Sha512, Algorithm::Blake3]);
    (0..5, store_path(), method, algorithm).prop_map(|(kind, path, method, algorithm)| match kind {
        0 => Output::InputAddressed(path),
        1 => {
            let hash = Hash::from_bytes(algorithm, &vec![0xa5; algorithm.size()]).unwrap();
            Output::Fixed { path, method, hash }
        }
        2 => Output::Floating { method, algorithm },
        3 => Output::Deferred,
        _ => Output::Impure { method, algorithm },
    })
}

fn derivation() -> impl Strategy<Value = Derivation> {
    (
        btree_map("[a-z]{0,3}", output(), 0..4),
        btree_map(store_path(), btree_set("[a-z]{1,3}", 0..3), 0..4),
        btree_set(store_path(), 0..4),
        "[^\"\\\\]{0,9}",
        byte_string(),
        vec(byte_string(), 0..4),
        btree_map(byte_string(), byte_string(), 0..4),
    )
        .prop_map(
            |(outputs, input_derivations, input_sources, system, builder, arguments, environment)| {
                Derivation {
                    outputs,
                    input_derivations,
                    input_sources,
                    system,
                    builder,
                    arguments,
                    environment,
                }
            },
        )
}

proptest! {
    #[test]
    fn a_derivation_survives_the_round_trip(derivation in derivation()) {
        prop_assert_eq!(Derivation::from_aterm(&derivation.to_aterm()), Ok(derivation));
    }

    #[test]
    fn what_is_read_prints_as_it_was(derivation in derivation(), at: prop::sample::Index, byte: u8) {
        let mut bytes = derivation.to_aterm();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(changed) = Derivation::from_aterm(&bytes) {
            prop_assert_eq!(changed.to_aterm(), bytes);
        }
    }
}
