//! Decisions, as stories: record, change something, ask.

use super::*;
use crate::inputs::Input;
use crate::observation::Question;
use crate::store::Recorded;
use crate::store::tests::world::*;

/// A source of which `main.c` is read, `README` is not, and `absent` is looked for.
fn source(world: &World, label: &str, main: &str, readme: &str) -> Input {
    let node = folder([("main.c", file(main)), ("README", file(readme))]);
    world.input("source", label, &node, &[])
}

fn tool(world: &World, label: &str) -> Input {
    world.input("tool", label, &folder([("bin", file("tool")), ("doc", file(label))]), &[])
}

fn questions(inputs: &Inputs) -> Vec<Question> {
    vec![
        question(inputs, "source", "main.c", Kind::Content),
        question(inputs, "source", "absent", Kind::Stat),
        question(inputs, "tool", "bin", Kind::Content),
    ]
}

struct Story {
    world: World,
    store: Store,
}

impl Story {
    fn new() -> Self {
        let world = World::new();
        let store = world.store();
        Self { world, store }
    }

    fn inputs(&self, source: Input, tool_label: &str) -> Inputs {
        Inputs::new(vec![source, tool(&self.world, tool_label)])
    }

    fn first(&self) -> Inputs {
        self.inputs(source(&self.world, "s1", "int main", "read me"), "t1")
    }

    fn second(&self) -> Inputs {
        self.inputs(source(&self.world, "s2", "int main", "read me!"), "t1")
    }

    fn third(&self) -> Inputs {
        self.inputs(source(&self.world, "s3", "int main", "read me?"), "t1")
    }

    fn check(&self, inputs: &Inputs, expected: &str) {
        assert_eq!(short(&ask(&self.store, inputs)), expected);
    }

    fn tell(&self, inputs: &Inputs, produced: &Produced) -> Recorded {
        tell(&self.store, inputs, &questions(inputs), produced)
    }
}

#[test]
fn an_unknown_skeleton_is_built() {
    let story = Story::new();
    story.check(&story.first(), "Never");
}

#[test]
fn an_empty_result_is_reused_when_only_what_was_not_read_changed() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    story.check(&story.first(), "reuse Empty []");
    story.check(&story.second(), "reuse Empty [\"source\"]");
}

#[test]
fn a_changed_file_that_was_read_is_the_reason_for_a_build() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    let changed = story.inputs(source(&story.world, "s4", "int mainn", "read me"), "t1");
    let decision = ask(&story.store, &changed);
    assert_eq!(short(&decision), "differs source:main.c 2 of 7");
    let Decision::Build { why: Why::Differs(difference) } = decision else { panic!() };
    let question = difference.question.unwrap();
    assert_eq!(question.before, Answer::Regular { executable: false, size: 8 });
    assert_eq!(question.after, Answer::Regular { executable: false, size: 9 });
}

#[test]
fn a_file_that_was_absent_and_appears_is_the_reason_for_a_build() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    let node = folder([("main.c", file("int main")), ("absent", file("no more"))]);
    let changed = story.inputs(story.world.input("source", "s4", &node, &[]), "t1");
    story.check(&changed, "differs source:absent 1 of 7");
}

#[test]
fn a_result_with_bits_is_proven_by_the_next_build_and_reused_from_then_on() {
    let story = Story::new();
    story.tell(&story.first(), &bits("1", "bits"));
    story.check(&story.first(), "reuse R0 []");
    story.check(&story.second(), "prove [\"source\"]");
    let recorded = story.tell(&story.second(), &bits("2", "bits"));
    assert!(matches!(recorded, Recorded::Same { proven, .. } if proven == ["source"]));
    story.check(&story.third(), "reuse R0 [\"source\"]");
    story.check(&story.inputs(source(&story.world, "s3", "", ""), "t2"), "prove [\"tool\"]");
}

#[test]
fn other_bits_under_other_hashes_are_not_reused() {
    let story = Story::new();
    story.tell(&story.first(), &bits("1", "bits"));
    let recorded = story.tell(&story.second(), &bits("2", "other bits"));
    assert!(matches!(recorded, Recorded::Differs { slots, .. } if slots == ["source"]));
    story.check(&story.third(), "depends [\"source\"]");
    story.check(&story.inputs(source(&story.world, "s2", "", ""), "t2"), "prove [\"tool\"]");
}

#[test]
fn other_bits_under_the_same_hashes_end_reuse() {
    let story = Story::new();
    story.tell(&story.first(), &bits("1", "bits"));
    story.tell(&story.first(), &bits("1", "other bits"));
    story.check(&story.first(), "unstable");
}

#[test]
fn a_proven_slot_that_matters_after_all_ends_reuse() {
    let story = Story::new();
    story.tell(&story.first(), &bits("1", "bits"));
    story.tell(&story.second(), &bits("2", "bits"));
    story.tell(&story.third(), &bits("3", "other bits"));
    story.check(&story.first(), "unstable");
}

#[test]
fn an_output_that_refers_to_a_changed_input_or_to_itself_is_built() {
    let story = Story::new();
    story.tell(&story.first(), &bits_with("1", "bits", Reference::Slot("source".into())));
    story.check(&story.second(), "depends [\"source\"]");
    let story = Story::new();
    story.tell(&story.first(), &bits_with("1", "bits", Reference::Output("out".into())));
    story.check(&story.second(), "depends []");
}

#[test]
fn an_input_that_is_gone_is_not_absent() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    let mut gone = story.second().as_slice().to_vec();
    gone[0].folder = "/nowhere/at/all".into();
    story.check(&Inputs::new(gone), "unanswered source");
}

#[test]
fn an_input_that_is_no_more_in_the_closure_is_a_difference() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    story.check(&Inputs::new(vec![tool(&story.world, "t1")]), "differs source: 4 of 7");
}

#[test]
fn an_empty_result_is_built_once_more_when_an_input_is_new() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    let new = Input { key: "new".to_owned(), ..source(&story.world, "s4", "int main", "read me") };
    let inputs = Inputs::new([story.second().as_slice(), &[new]].concat());
    story.check(&inputs, "prove [\"new\"]");
    tell(&story.store, &inputs, &questions(&inputs), &empty("1"));
    story.check(&inputs, "reuse Empty []");
}

#[test]
fn doubt_takes_its_share_and_one_difference_revokes_the_skeleton() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    let skeleton = digest("skeleton");
    let roll = |roll| decide(&story.store, &skeleton, &story.second(), Doubt { share: 0.02, roll });
    assert!(matches!(roll(0.5), Decision::Reuse { doubted: false, .. }));
    let Decision::Reuse { trace, doubted: true, .. } = roll(0.01) else { panic!() };
    let path = ("out".to_owned(), format!("{}-out", hash("reused")));
    assert!(story.store.note_reuse(&trace, std::slice::from_ref(&path), &[], moment(1)).unwrap());
    assert!(story.store.doubt_result(&skeleton, &trace, true, moment(2)).unwrap().is_empty());
    let ledger = story.store.doubt_result(&skeleton, &trace, false, moment(3)).unwrap();
    assert_eq!(ledger.iter().map(|entry| &entry.path).collect::<Vec<_>>(), [&path.1]);
    story.check(&story.second(), "Revoked");
    assert!(matches!(story.tell(&story.first(), &empty("1")), Recorded::Refused(_)));
    assert!(!story.store.note_reuse(&trace, &[path], &[], moment(4)).unwrap());
    let counters = story.store.counters().unwrap();
    assert_eq!((counters["reused"], counters["doubted"], counters["false"]), (1, 2, 1));
}

#[test]
fn a_build_that_asked_other_questions_still_speaks_for_a_trace_that_holds() {
    let story = Story::new();
    story.tell(&story.first(), &bits("1", "bits"));
    story.check(&story.second(), "prove [\"source\"]");
    let second = story.second();
    let mut more = questions(&second);
    more.push(question(&second, "tool", "doc", Kind::Content));
    let recorded = tell(&story.store, &second, &more, &bits("2", "bits"));
    assert!(matches!(recorded, Recorded::Same { proven, .. } if proven == ["source"]));
    // The new trace has no evidence of its own; the old one holds as well, and has.
    story.check(&story.third(), "reuse R0 [\"source\"]");
}

#[test]
fn a_build_that_contradicts_what_was_reused_revokes_it() {
    let story = Story::new();
    story.tell(&story.first(), &empty("1"));
    let Decision::Reuse { trace, .. } = ask(&story.store, &story.second()) else { panic!() };
    let path = ("out".to_owned(), format!("{}-out", hash("reused")));
    assert!(story.store.note_reuse(&trace, std::slice::from_ref(&path), &[], moment(1)).unwrap());
    let recorded = story.tell(&story.third(), &bits("3", "bits"));
    let Recorded::Revoked { repair, .. } = recorded else { panic!("{recorded:?}") };
    assert_eq!(repair.iter().map(|entry| &entry.path).collect::<Vec<_>>(), [&path.1]);
    story.check(&story.second(), "Revoked");
}

impl Story {
    /// Reuses a result, which must be possible, and notes it.
    fn reuse(&self, inputs: &Inputs) {
        let Decision::Reuse { trace, changed, .. } = ask(&self.store, inputs) else { panic!() };
        let path = ("out".to_owned(), format!("{}-out", hash("reused")));
        assert!(self.store.note_reuse(&trace, &[path], &changed, moment(1)).unwrap());
    }

    /// One of these sources, of which nothing differs that is read, with this tool.
    fn with(&self, number: u32, tool_label: &str) -> Inputs {
        let readme = format!("read me {number}");
        self.inputs(source(&self.world, &format!("source {number}"), "int main", &readme), tool_label)
    }

    /// What was reused by changes of the source, after one proof: as most results are.
    fn reused_across_sources() -> Self {
        let story = Self::new();
        story.tell(&story.with(1, "t1"), &bits("1", "bits"));
        story.tell(&story.with(2, "t1"), &bits("2", "bits"));
        story.reuse(&story.with(3, "t1"));
        story
    }

    fn standing(&self) -> usize {
        self.store.ledger(crate::store::Standing::Stands).unwrap().len()
    }
}

#[test]
fn a_slot_that_no_reuse_went_by_may_matter() {
    let story = Story::reused_across_sources();
    story.check(&story.with(4, "t2"), "prove [\"tool\"]");
    let recorded = story.tell(&story.with(4, "t2"), &bits("4", "other bits"));
    assert!(matches!(&recorded, Recorded::Differs { slots, .. } if slots == &["tool"]), "{recorded:?}");
    assert_eq!(story.standing(), 1);
    // For these bits the source is to be proven anew, and is.
    story.check(&story.with(5, "t2"), "prove [\"source\"]");
    story.tell(&story.with(5, "t2"), &bits("5", "other bits"));
    story.check(&story.with(6, "t2"), "reuse R0 [\"source\"]");
}

#[test]
fn a_slot_that_a_reuse_went_by_may_not_matter_though_its_proof_is_forgotten() {
    let story = Story::reused_across_sources();
    story.tell(&story.with(4, "t2"), &bits("4", "other bits"));
    let recorded = story.tell(&story.with(5, "t2"), &bits("5", "third bits"));
    assert!(matches!(&recorded, Recorded::Revoked { repair, .. } if repair.len() == 1), "{recorded:?}");
    story.check(&story.with(3, "t1"), "Revoked");
}

#[test]
fn a_difference_that_no_unproven_slot_explains_revokes() {
    let story = Story::reused_across_sources();
    let recorded = story.tell(&story.with(4, "t1"), &bits("4", "other bits"));
    assert!(matches!(recorded, Recorded::Revoked { .. }), "{recorded:?}");
    let story = Story::reused_across_sources();
    // The build that was reused, once more.
    let recorded = story.tell(&story.with(2, "t1"), &bits("2", "other bits"));
    assert!(matches!(recorded, Recorded::Revoked { .. }), "{recorded:?}");
}

#[test]
fn what_is_empty_or_not_by_an_unseen_hash_revokes_whatever_slot_it_is() {
    for (before, after) in [(empty("1"), bits("4", "bits")), (bits("1", "bits"), empty("4"))] {
        let story = Story::new();
        story.tell(&story.with(1, "t1"), &before);
        story.tell(&story.with(2, "t1"), &before);
        story.reuse(&story.with(3, "t1"));
        let recorded = story.tell(&story.with(4, "t2"), &after);
        assert!(matches!(recorded, Recorded::Revoked { .. }), "{recorded:?}");
    }
}

#[test]
fn a_reuse_that_was_refuted_since_it_was_decided_is_not_made() {
    let story = Story::reused_across_sources();
    let decision = ask(&story.store, &story.with(4, "t1"));
    let Decision::Reuse { trace, changed, .. } = decision else { panic!("{decision:?}") };
    story.tell(&story.with(5, "t2"), &bits("5", "other bits"));
    let path = ("out".to_owned(), format!("{}-out", hash("late")));
    assert!(!story.store.note_reuse(&trace, &[path], &changed, moment(2)).unwrap());
}

#[test]
fn a_path_of_several_reuses_went_by_the_slots_of_all() {
    let story = Story::new();
    story.tell(&story.with(1, "t1"), &bits("1", "bits"));
    story.tell(&story.with(2, "t2"), &bits("2", "bits"));
    story.reuse(&story.with(3, "t2"));
    story.reuse(&story.with(2, "t3"));
    let entry = story.store.ledger(crate::store::Standing::Stands).unwrap().remove(0);
    assert_eq!(entry.slots.unwrap(), ["source", "tool"]);
}

#[test]
fn a_reuse_of_before_the_ledger_knew_slots_may_have_gone_by_any() {
    let story = Story::reused_across_sources();
    let mut entry = story.store.ledger(crate::store::Standing::Stands).unwrap().remove(0);
    assert_eq!(entry.slots.as_deref(), Some(&["source".to_owned()][..]));
    entry.slots = None;
    story.store.enter(&entry).unwrap();
    let recorded = story.tell(&story.with(4, "t2"), &bits("4", "other bits"));
    assert!(matches!(recorded, Recorded::Revoked { .. }), "{recorded:?}");
}

#[test]
fn two_traces_that_hold_and_contradict_each_other_are_both_not_reused() {
    let story = Story::new();
    story.tell(&story.first(), &bits("1", "bits"));
    let second = story.second();
    let mut more = questions(&second);
    more.push(question(&second, "tool", "doc", Kind::Content));
    let recorded = tell(&story.store, &second, &more, &empty("2"));
    assert!(matches!(recorded, Recorded::Differs { slots, .. } if slots == ["source"]));
    story.check(&story.third(), "depends [\"source\"]");
}
