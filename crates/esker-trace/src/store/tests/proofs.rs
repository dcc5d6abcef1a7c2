//! Proofs under placeholders: what they prove, and what they leave alone.

use super::world::*;
use crate::inputs::Inputs;
use crate::observation::{Kind, Question};
use crate::store::{Claim, Produced, Proof, Recorded, Reference, Store, TraceId};

/// Two inputs; of the source one file is read.
fn inputs(world: &World, readme: &str) -> Inputs {
    let node = folder([("main.c", file("main")), ("README", file(readme))]);
    let source = world.input("source", readme, &node, &[]);
    Inputs::new(vec![source, world.input("tool", "t", &folder([("bin", file("tool"))]), &[])])
}

fn questions(inputs: &Inputs) -> Vec<Question> {
    vec![question(inputs, "source", "main.c", Kind::Content), question(inputs, "tool", "bin", Kind::Content)]
}

fn recorded(store: &Store, inputs: &Inputs, produced: &Produced) -> TraceId {
    match tell(store, inputs, &questions(inputs), produced) {
        Recorded::New { trace } | Recorded::Same { trace, .. } | Recorded::Differs { trace, .. } => trace,
        other => panic!("{other:?}"),
    }
}

fn claim(store: &Store, inputs: &Inputs, produced: &Produced) -> Option<Claim> {
    store.claim(&recorded(store, inputs, produced), inputs).unwrap()
}

fn prove(store: &Store, claim: &Claim, inputs: &Inputs, questions: &[Question], text: &str) -> String {
    match store.record_proof(claim, inputs, questions, &bits("p", text), moment(1)).unwrap() {
        Proof::Proven(slots) => format!("proven {slots:?}"),
        Proof::Refuted { slots, repair } => format!("refuted {slots:?} {}", repair.len()),
        Proof::Nothing(why) => why.to_owned(),
    }
}

#[test]
fn the_same_bits_under_placeholders_are_a_proof_of_every_slot() {
    let world = World::new();
    let (store, one, two) = (world.store(), inputs(&world, "1"), inputs(&world, "2"));
    let claim = claim(&store, &one, &bits("1", "x")).unwrap();
    assert_eq!(short(&ask(&store, &two)), r#"prove ["source"]"#);
    assert_eq!(prove(&store, &claim, &one, &questions(&one), "x"), r#"proven ["source", "tool"]"#);
    assert_eq!(short(&ask(&store, &two)), r#"reuse R0 ["source"]"#);
    assert_eq!(store.claim(&claim.trace, &one).unwrap(), None, "nothing is left to prove");
}

#[test]
fn other_bits_refute_every_slot() {
    let world = World::new();
    let (store, one, two) = (world.store(), inputs(&world, "1"), inputs(&world, "2"));
    let claim = claim(&store, &one, &bits("1", "x")).unwrap();
    assert_eq!(prove(&store, &claim, &one, &questions(&one), "y"), r#"refuted ["source", "tool"] 0"#);
    assert_eq!(short(&ask(&store, &two)), r#"depends ["source"]"#);
    // Nothing that agrees later clears them.
    assert_eq!(prove(&store, &claim, &one, &questions(&one), "x"), "proven []");
    assert_eq!(short(&ask(&store, &two)), r#"depends ["source"]"#);
    recorded(&store, &two, &bits("2", "x"));
    assert_eq!(short(&ask(&store, &one)), r#"depends ["source"]"#);
    recorded(&store, &one, &bits("1", "z"));
    recorded(&store, &two, &bits("2", "z"));
    assert_eq!(short(&ask(&store, &one)), r#"depends ["source"]"#);
}

#[test]
fn other_questions_prove_nothing() {
    let world = World::new();
    let (store, one, two) = (world.store(), inputs(&world, "1"), inputs(&world, "2"));
    let claim = claim(&store, &one, &bits("1", "x")).unwrap();
    let fewer = &questions(&one)[..1];
    assert_eq!(prove(&store, &claim, &one, fewer, "x"), "it asked something else");
    let mut more = questions(&one);
    more.push(question(&one, "source", "README", Kind::Content));
    assert_eq!(prove(&store, &claim, &one, &more, "y"), "it asked something else");
    assert_eq!(short(&ask(&store, &two)), r#"prove ["source"]"#);
}

#[test]
fn a_proof_is_of_the_bits_that_it_was_made_for() {
    let world = World::new();
    let (store, one, two) = (world.store(), inputs(&world, "1"), inputs(&world, "2"));
    let claim = claim(&store, &one, &bits("1", "x")).unwrap();
    recorded(&store, &two, &bits("2", "y"));
    for text in ["x", "y"] {
        let said = prove(&store, &claim, &one, &questions(&one), text);
        assert_eq!(said, "the trace has other bits by now");
    }
    assert_eq!(short(&ask(&store, &one)), r#"depends ["source"]"#);
    store.revoke(&digest("skeleton"), &claim.trace, "a test", moment(2)).unwrap();
    assert_eq!(prove(&store, &claim, &one, &questions(&one), "x"), "the trace is gone");
}

#[test]
fn a_proof_that_contradicts_reuses_revokes_them() {
    let world = World::new();
    let (store, one, two) = (world.store(), inputs(&world, "1"), inputs(&world, "2"));
    let claim = claim(&store, &one, &bits("1", "x")).unwrap();
    prove(&store, &claim, &one, &questions(&one), "x");
    let path = ("out".to_owned(), format!("{}-out", hash("reused")));
    assert!(store.note_reuse(&claim.trace, &[path], &["source".to_owned()], moment(2)).unwrap());
    // Another process made the same claim, and came to another end.
    assert_eq!(prove(&store, &claim, &one, &questions(&one), "y"), r#"refuted ["source", "tool"] 1"#);
    assert_eq!(short(&ask(&store, &two)), "Revoked");
}

#[test]
fn only_what_could_be_reused_is_proven() {
    let world = World::new();
    let (store, one) = (world.store(), inputs(&world, "1"));
    assert_eq!(claim(&store, &one, &empty("1")), None);
    let world = World::new();
    let (store, one) = (world.store(), inputs(&world, "1"));
    assert_eq!(claim(&store, &one, &bits_with("1", "x", Reference::Output("out".into()))), None);
    let world = World::new();
    let (store, one) = (world.store(), inputs(&world, "1"));
    // What it refers to keeps its name.
    let claim = claim(&store, &one, &bits_with("1", "x", Reference::Slot("tool".into()))).unwrap();
    assert_eq!(claim.slots.iter().collect::<Vec<_>>(), ["source"]);
}
