//! What Nix prints as JSON may be anything: a shell takes its place and prints what a test says.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use esker_nix::flake::Flake;
use esker_nix::tool::{Nix, Settings};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const SOURCE: &str = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-source";

struct Answers {
    folder: TempDir,
}

impl Answers {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The flake that a Nix with this answer has locked, compared with this lock file.
    fn flake(&self, answer: &[u8], lock: &[u8]) -> Option<Flake> {
        let nix = nix(&self.write("answer", answer));
        let lock = self.write("lock", lock).to_str().unwrap().to_owned();
        let arguments = ["--no-write-lock-file".to_owned(), "--reference-lock-file".to_owned(), lock];
        Flake::load(&nix, "path:/test", &arguments).ok()
    }

    fn settings(&self, answer: &[u8]) -> Option<Settings> {
        nix(&self.write("answer", answer)).load_settings().ok()
    }
}

/// A "Nix" that prints what is in a file.
fn nix(answer: &Path) -> Nix {
    let answer = answer.to_str().unwrap().to_owned();
    let guard = ["/bin/sh", "-c", "exec cat \"$0\""].map(str::to_owned).into_iter().chain([answer]);
    Nix::find().expect("a `nix` is on PATH").with_guard(guard.collect())
}

fn metadata(locks: &Value) -> Vec<u8> {
    json!({ "locked": {}, "resolved": {}, "path": SOURCE, "locks": locks }).to_string().into_bytes()
}

/// The flake is the only input of the root of this lock file, under the name `target`.
fn check_grafted(flake: &Flake) {
    let lock = flake.lock_file_as_input("target");
    let root = &lock["nodes"][lock["root"].as_str().unwrap()];
    let own = root["inputs"]["target"].as_str().unwrap();
    assert!(lock["nodes"][own]["locked"].is_object(), "{lock}");
    assert!(lock["nodes"][own]["original"].is_object(), "{lock}");
}

#[test]
fn a_lock_file_that_is_none_harms_nothing() {
    for node in [json!([]), json!("x"), json!(1), json!(null), json!({ "inputs": 1, "parent": {} })] {
        for root in [json!("root"), json!(1)] {
            let locks = json!({ "root": root, "nodes": { "root": node } });
            let flake = Answers::new().flake(&metadata(&locks), locks.to_string().as_bytes());
            check_grafted(&flake.unwrap());
        }
    }
}

#[test]
fn an_answer_that_is_no_object_is_refused() {
    for answer in ["[]", "\"x\"", "1", "null", "", "{}", "{\"locked\":1}"] {
        assert!(Answers::new().flake(answer.as_bytes(), b"").is_none(), "{answer}");
    }
}

#[test]
fn a_flake_cannot_take_the_place_of_our_root() {
    let locks = json!({ "root": "esker root", "nodes": { "esker root": { "inputs": {} } } });
    check_grafted(&Answers::new().flake(&metadata(&locks), b"").unwrap());
}

#[test]
fn inputs_of_inputs_may_be_as_deep_as_they_like() {
    const DEPTH: usize = 50_000;
    let node = |at: usize| (at.to_string(), json!({ "inputs": { "n": (at + 1).to_string() } }));
    let mut nodes: Map<String, Value> = (0..DEPTH).map(node).collect();
    nodes.insert(DEPTH.to_string(), json!({}));
    let locks = json!({ "root": "0", "nodes": nodes });
    check_grafted(&Answers::new().flake(&metadata(&locks), locks.to_string().as_bytes()).unwrap());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c]|root|esker root|git|path|file:///x%20y\\?z".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = "[a-c]|root|esker root|inputs|parent|locked|original|nodes|type|url|dir|value|source|optional";
    leaf.prop_recursive(5, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn locks() -> impl Strategy<Value = Value> {
    let name = "[a-c]|root|esker root";
    let input =
        prop_oneof![name.prop_map(Value::from), proptest::collection::vec(name, 0..3).prop_map(Value::from)];
    let node = prop_oneof![
        4 => (proptest::collection::btree_map("[a-c]", input, 0..3), value())
            .prop_map(|(inputs, locked)| json!({ "inputs": inputs, "locked": locked })),
        1 => value(),
    ];
    (
        prop_oneof![4 => name.prop_map(Value::from), 1 => value()],
        proptest::collection::btree_map(name, node, 0..5),
    )
        .prop_map(|(root, nodes)| json!({ "root": root, "nodes": nodes, "version": 7 }))
}

proptest! {
    // Each case starts a process.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_metadata_and_any_lock_are_grafted_or_refused(
        locks in prop_oneof![4 => locks(), 1 => value()],
        stored in locks(),
        locked in value(),
        resolved in value(),
        nonsense in any::<Vec<u8>>(),
        cut: u8,
    ) {
        let answers = Answers::new();
        let whole = json!({ "locked": locked, "resolved": resolved, "path": SOURCE, "locks": locks });
        let (whole, stored) = (whole.to_string().into_bytes(), stored.to_string().into_bytes());
        if let Some(flake) = answers.flake(&whole, &stored) {
            check_grafted(&flake);
            let _ = (flake.as_input(), flake.store_folder());
        }
        check_grafted(&answers.flake(&metadata(&locks), &nonsense).unwrap());
        let half = &whole[..whole.len() * usize::from(cut) / 256];
        prop_assert!(answers.flake(half, &stored).is_none());
        prop_assert!(answers.flake(&nonsense, &stored).is_none());
    }

    #[test]
    fn any_settings_are_read(values in proptest::collection::vec(value(), 6), nonsense in any::<Vec<u8>>()) {
        const NAMES: [&str; 6] =
            ["system", "sandbox-paths", "max-jobs", "substituters", "sandbox", "extra-platforms"];
        let settings = NAMES.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!({ "value": value })));
        let answers = Answers::new();
        let text = Value::Object(settings.collect()).to_string();
        prop_assert!(answers.settings(text.as_bytes()).is_some());
        let _ = answers.settings(&nonsense);
    }
}
