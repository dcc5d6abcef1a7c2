//! A model of inputs, in memory, says when a trace holds; decisions must agree, for random trees, random
//! questions and random changes.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::observation::Question;
use crate::store::Recorded;
use crate::store::tests::world::*;

/// In texts it stands for the hash of the input `dep`.
const HASH: &str = "@dep@";

fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "lib", "é", "x y"]).prop_map(String::from)
}

fn text() -> impl Strategy<Value = String> {
    let piece = select(vec!["", "one", "two", HASH, "0123456789", "\n", "abcdfghijklmnpqrsvwxyz0123456789"]);
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn leaf() -> impl Strategy<Value = Node> {
    prop_oneof![
        4 => (text(), any::<bool>())
            .prop_map(|(text, executable)| Node::File { text: text.into_bytes(), executable }),
        1 => text().prop_map(|text| Node::Link(format!("to {text}"))),
    ]
}

fn tree() -> impl Strategy<Value = Node> {
    let inner =
        leaf().prop_recursive(3, 24, 4, |inner| btree_map(name(), inner, 0..4).prop_map(Node::Folder));
    btree_map(name(), inner, 0..5).prop_map(Node::Folder)
}

#[derive(Clone, Debug)]
enum Change {
    Replace(Node),
    Remove,
    Add(String, Node),
    Text(String),
    Executable,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        leaf().prop_map(Change::Replace),
        tree().prop_map(Change::Replace),
        Just(Change::Remove),
        (name(), leaf()).prop_map(|(name, node)| Change::Add(name, node)),
        text().prop_map(Change::Text),
        Just(Change::Executable),
    ]
}

/// Every path in the tree, and beside each folder's names one that is not there.
fn paths(node: &Node, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    let Node::Folder(entries) = node else { return };
    for name in entries.keys().map(String::as_str).chain(["a", "missing"]) {
        let path = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
        match entries.get(name) {
            Some(node) => paths(node, &path, all),
            None => all.push(path),
        }
    }
}

fn at<'a>(node: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('/').filter(|name| !name.is_empty()).try_fold(node, |node, name| match node {
        Node::Folder(entries) => entries.get(name),
        _ => None,
    })
}

fn apply(node: &mut Node, path: &str, change: &Change) {
    let Some((name, rest)) = path.split_once('/').or((!path.is_empty()).then_some((path, ""))) else {
        match (node, change) {
            (Node::Folder(entries), Change::Add(name, new)) => {
                drop(entries.insert(name.clone(), new.clone()))
            }
            (Node::File { text, .. }, Change::Text(new)) => *text = new.clone().into_bytes(),
            (Node::Link(target), Change::Text(new)) => *target = format!("to {new}"),
            (Node::File { executable, .. }, Change::Executable) => *executable = !*executable,
            (node, Change::Replace(new)) => *node = new.clone(),
            _ => {}
        }
        return;
    };
    let Node::Folder(entries) = node else { return };
    if rest.is_empty() && matches!(change, Change::Remove) {
        entries.remove(name);
    } else if let Some(node) = entries.get_mut(name) {
        apply(node, rest, change);
    }
}

/// What the model answers: the node itself, for the kind of question.
fn model(node: &Node, question: &(String, Kind)) -> String {
    match (at(node, &question.0), question.1) {
        (Some(Node::File { text, .. }), Kind::Content) => format!("{text:?}"),
        (Some(Node::Link(target)), Kind::Target) => target.clone(),
        (Some(Node::Folder(entries)), Kind::Names) => {
            let letter = |node: &Node| match node {
                Node::File { .. } => 'r',
                Node::Link(_) => 'l',
                Node::Folder(_) => 'd',
            };
            entries.iter().map(|(name, node)| format!("{name} {}\n", letter(node))).collect()
        }
        (None, _) => "absent".into(),
        (Some(Node::Folder(_)), _) => "folder".into(),
        (Some(Node::Link(_)), _) => "link".into(),
        (Some(Node::File { text, executable }), _) => format!("{} {executable}", text.len()),
    }
}

/// What the kernel asks on the way to a path, and what was wanted of it, as far as it is of that type.
fn run(node: &Node, wanted: &[(String, Kind)]) -> Vec<(String, Kind)> {
    let mut asked = Vec::new();
    for (path, kind) in wanted {
        for (end, _) in path.match_indices('/') {
            asked.push((path[..end].to_owned(), Kind::Stat));
        }
        asked.push((path.clone(), Kind::Stat));
        let fits = matches!(
            (at(node, path), kind),
            (Some(Node::File { .. }), Kind::Content)
                | (Some(Node::Folder(_)), Kind::Names)
                | (Some(Node::Link(_)), Kind::Target)
        );
        if fits {
            asked.push((path.clone(), *kind));
        }
    }
    asked.push((String::new(), Kind::Stat));
    asked
}

fn with_hash(node: &Node, hash: &str) -> Node {
    match node {
        Node::File { text, executable } => {
            let text = String::from_utf8_lossy(text).replace(HASH, hash).into_bytes();
            Node::File { text, executable: *executable }
        }
        Node::Link(target) => Node::Link(target.replace(HASH, hash)),
        Node::Folder(entries) => {
            Node::Folder(entries.iter().map(|(name, node)| (name.clone(), with_hash(node, hash))).collect())
        }
    }
}

fn inputs(world: &World, build: &str, node: &Node, dep: &str) -> Inputs {
    let source = world.input("source", build, &with_hash(node, &hash(dep)), &[dep]);
    Inputs::new(vec![source, world.input("dep", dep, &folder([]), &[])])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rounds(400)) })]

    #[test]
    fn a_trace_holds_exactly_when_every_answer_is_the_same(
        before in tree(),
        places in vec((any::<Index>(), select(vec![Kind::Stat, Kind::Content, Kind::Names, Kind::Target])), 0..8),
        changes in vec((any::<Index>(), change()), 0..4),
        is_dep_new in any::<bool>(),
        is_store_reopened in any::<bool>(),
    ) {
        let mut all = Vec::new();
        paths(&before, "", &mut all);
        let wanted: Vec<_> =
            places.iter().map(|(index, kind)| (index.get(&all).clone(), *kind)).collect();
        let asked = run(&before, &wanted);
        let mut after = before.clone();
        for (index, change) in &changes {
            let path: &String = index.get(&all);
            apply(&mut after, path, change);
        }

        let world = World::new();
        let mut store = world.store();
        let first = inputs(&world, "one", &before, "dep one");
        let questions: Vec<Question> =
            asked.iter().map(|(path, kind)| question(&first, "source", path, *kind)).collect();
        let recorded = tell(&store, &first, &questions, &empty("one"));
        prop_assert!(matches!(recorded, Recorded::New { .. }), "{recorded:?}");
        if is_store_reopened {
            store = world.store();
        }
        let dep = if is_dep_new { "dep two" } else { "dep one" };
        let second = inputs(&world, "two", &after, dep);
        // The model knows no hashes, but lengths: texts are as long as with one.
        let differing: BTreeMap<_, _> = asked
            .iter()
            .map(|question| (question, with_hash(&before, &hash("x")), with_hash(&after, &hash("x"))))
            .filter(|(question, before, after)| model(before, question) != model(after, question))
            .map(|(question, ..)| (question.clone(), ()))
            .collect();
        let decision = ask(&store, &second);
        match decision {
            Decision::Reuse { class: Class::Empty, .. } => prop_assert!(differing.is_empty(), "{differing:?}"),
            Decision::Build { why: Why::Differs(difference) } => {
                let found = difference.question.clone().unwrap();
                let path = String::from_utf8(found.path).unwrap();
                prop_assert!(differing.contains_key(&(path, found.kind)), "{difference:?}");
                prop_assert_eq!(difference.differing, differing.len());
                prop_assert_ne!(found.before, found.after);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
