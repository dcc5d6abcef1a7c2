//! Many shapes, and pruning.

use super::scene;
use super::world::*;
use crate::decide::{Decision, decide};
use crate::inputs::Inputs;
use crate::observation::{Kind, Question};
use crate::store::{Recorded, Refused, Store, TraceId};

/// A builder that reads the file that the tool names: one shape for each tool.
fn build(world: &World, tool: usize, source: &str) -> (Inputs, Vec<Question>) {
    let tool_node = folder([("name", file(format!("file{tool}")))]);
    let text = if source == "two" { "other" } else { "text" };
    let files = (0..40).map(|number| (format!("file{number}"), file(text)));
    let mut files: std::collections::BTreeMap<String, Node> = files.collect();
    files.insert("README".into(), file(source));
    let inputs = Inputs::new(vec![
        world.input("tool", &format!("t{tool}"), &tool_node, &[]),
        world.input("source", source, &Node::Folder(files), &[]),
        world.input("other", "other", &folder([]), &[]),
    ]);
    let questions = vec![
        question(&inputs, "tool", "name", Kind::Content),
        question(&inputs, "source", &format!("file{tool}"), Kind::Content),
    ];
    (inputs, questions)
}

#[test]
fn more_than_sixteen_shapes_are_told_apart_by_the_slot_that_decides() {
    let world = World::new();
    let store = world.store();
    for tool in 0..40 {
        for source in ["one", "two"] {
            let (inputs, questions) = build(&world, tool, source);
            tell(&store, &inputs, &questions, &empty("x"));
        }
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.skeletons, stats.traces, stats.shapes), (1, 80, 40));
    for tool in 0..40 {
        let (inputs, _) = build(&world, tool, "three");
        assert_eq!(short(&ask(&store, &inputs)), "reuse Empty [\"source\"]", "tool {tool}");
    }
    let (inputs, _) = build(&world, 41, "three");
    assert_eq!(short(&ask(&store, &inputs)), "differs tool:? 1 of 1");
}

#[test]
fn shapes_that_nothing_tells_apart_are_dropped_and_never_more_than_sixteen() {
    let world = World::new();
    let store = world.store();
    for number in 0..40 {
        let (inputs, _) = build(&world, 0, "one");
        let questions = vec![question(&inputs, "source", &format!("file{number}"), Kind::Content)];
        tell(&store, &inputs, &questions, &empty("x"));
    }
    let (inputs, _) = build(&world, 0, "three");
    assert_eq!(short(&ask(&store, &inputs)), "reuse Empty [\"source\"]");
}

#[test]
fn pruning_keeps_what_is_worth_most_and_what_is_left_is_right() {
    let world = World::new();
    let store = world.store();
    for number in 0..300 {
        scene::record(&store, &world, number);
        // One skeleton for each: nothing is shared.
        let inputs = scene::inputs(&world, number);
        let mut produced = scene::produced(number);
        produced.seconds = number as f64;
        let questions = scene::questions(&inputs);
        store.record(digest(&number.to_string()), &inputs, &questions, &produced, moment(0)).unwrap();
    }
    let before = store.size().unwrap();
    let pruned = store.prune(before / 2, moment(400)).unwrap();
    assert!(pruned.after <= before / 2 && pruned.traces > 0 && pruned.left > 20, "{pruned:?}");
    let holds = |store: &Store, number: usize| {
        let inputs = scene::inputs(&world, number);
        let decision = decide(store, &digest(&number.to_string()), &inputs, crate::decide::Doubt::NONE);
        matches!(decision, Decision::Reuse { .. })
    };
    assert!(holds(&store, 299) && !holds(&store, 1));
    assert!(holds(&world.store(), 299));
    for number in 0..300 {
        scene::is_right_reuse(&scene::ask(&store, &world, number), number);
    }
    let pruned = store.prune(0, moment(400)).unwrap();
    assert_eq!(pruned.left, 0);
    assert_eq!(short(&scene::ask(&store, &world, 1)), "Never");
    scene::record(&store, &world, 1);
    assert!(scene::is_right_reuse(&scene::ask(&store, &world, 1), 1));
}

#[test]
fn what_may_not_become_a_trace_is_refused() {
    let world = World::new();
    let store = world.store();
    let inputs = scene::inputs(&world, 0);
    let refused = |question: Question| match tell(&store, &inputs, &[question], &empty("x")) {
        Recorded::Refused(refused) => refused,
        other => panic!("{other:?}"),
    };
    let with_hash = format!("lib/{}-tool", hash("t"));
    assert!(matches!(
        refused(question(&inputs, "source", &with_hash, Kind::Stat)),
        Refused::HashInPath { .. }
    ));
    let of_output = hash("out x");
    assert!(matches!(
        refused(question(&inputs, "source", &of_output, Kind::Stat)),
        Refused::HashInPath { .. }
    ));
    let gone = question(&inputs, "source", "absent", Kind::Content);
    assert!(matches!(refused(gone), Refused::Inconsistent { .. }));
    let malformed = question(&inputs, "source", "../x", Kind::Stat);
    assert!(matches!(refused(malformed), Refused::Unanswered { .. }));
    let unknown = Question { slot: 7, path: Vec::new(), kind: Kind::Stat };
    assert!(matches!(refused(unknown), Refused::UnknownSlot));
    assert_eq!(store.stats().unwrap().traces, 0);
}

#[test]
fn traces_can_be_shown_and_found_by_the_start_of_their_names() {
    let world = World::new();
    let store = world.store();
    scene::record(&store, &world, 0);
    scene::record(&store, &world, 15);
    let summary = store.traces(10).unwrap().pop().unwrap();
    assert_eq!(summary.proven, ["source"]);
    assert_eq!(store.traces_named(&summary.trace.to_string()[..5]).unwrap(), [summary.trace]);
    assert!(store.traces_named("zz").unwrap().is_empty());
    let log = &summary.produced.log;
    for near in [None, Some(summary.trace), Some(TraceId(digest("none")))] {
        assert!(store.trace_of_log(log, near.as_ref()).unwrap().is_some(), "{near:?}");
        assert_eq!(store.trace_of_log("none", near.as_ref()).unwrap(), None);
    }
    let observations = store.observations(&summary.trace).unwrap().unwrap();
    assert_eq!(observations.len(), 7);
    assert!(observations.iter().all(|observation| observation.answer.is_some()));
    let inputs = scene::inputs(&world, 15);
    let usage = crate::decide::use_of_inputs(&inputs, &observations);
    let shown: Vec<_> = usage.iter().map(|it| (it.key.as_str(), it.read, it.files, it.is_observed)).collect();
    assert_eq!(shown, [("source", 1, Some(2), true), ("tool", 1, Some(1), true)]);
}
