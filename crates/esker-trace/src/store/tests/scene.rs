//! Numbered builds whose right results are known: the bits are a function of the skeleton and of the one
//! file that is read.

use super::world::*;
use crate::decide::{Decision, Doubt, Why, decide};
use crate::inputs::Inputs;
use crate::observation::{Digest, Kind, Question};
use crate::store::{Produced, Recorded, Store};

pub(super) fn inputs(world: &World, number: usize) -> Inputs {
    let node =
        folder([("main.c", file(format!("main {}", number % 5))), ("README", file(number.to_string()))]);
    let source = world.input("source", &format!("s{number}"), &node, &["t"]);
    Inputs::new(vec![source, world.input("tool", "t", &folder([("bin", file("tool"))]), &[])])
}

pub(super) fn skeleton(number: usize) -> Digest {
    digest(&format!("skeleton {}", number % 3))
}

pub(super) fn questions(inputs: &Inputs) -> Vec<Question> {
    vec![
        question(inputs, "source", "main.c", Kind::Content),
        question(inputs, "source", "absent", Kind::Stat),
        question(inputs, "tool", "bin", Kind::Content),
    ]
}

pub(super) fn produced(number: usize) -> Produced {
    bits(&number.to_string(), &format!("bits {} {}", number % 3, number % 5))
}

pub(super) fn record(store: &Store, world: &World, number: usize) -> Recorded {
    let inputs = inputs(world, number);
    let now = moment(number as u64);
    store.record(skeleton(number), &inputs, &questions(&inputs), &produced(number), now).unwrap()
}

pub(super) fn ask(store: &Store, world: &World, number: usize) -> Decision {
    decide(store, &skeleton(number), &inputs(world, number), Doubt::NONE)
}

/// Panics if a decision is wrong; tells whether it is a reuse.
pub(super) fn is_right_reuse(decision: &Decision, number: usize) -> bool {
    match decision {
        Decision::Reuse { outputs, .. } => {
            assert_eq!(outputs[0].nar_hash, produced(number).outputs[0].nar_hash, "a false reuse");
            true
        }
        Decision::Build { why: Why::Unstable { .. } } => panic!("the builder is deterministic"),
        _ => false,
    }
}
