//! A decision, as a person is told of it.

use esker_trace::decide::{Decision, Difference, Why};
use esker_trace::observation::Answer;

use crate::event::{Explanation, ObservedDifference, Reason};

/// Why a derivation is built or reused.
pub(crate) fn of(decision: &Decision) -> Explanation {
    match decision {
        Decision::Reuse { trace, changed, .. } => {
            let (trace, inputs) = (Some(trace.to_string()), changed.clone());
            Explanation { trace, inputs, ..Explanation::of(Reason::Holds) }
        }
        Decision::Prove { trace, unproven } => {
            let (trace, inputs) = (Some(trace.to_string()), unproven.clone());
            Explanation { trace, inputs, ..Explanation::of(Reason::Unproven) }
        }
        Decision::Build { why } => why_built(why),
    }
}

fn why_built(why: &Why) -> Explanation {
    match why {
        Why::Never => Explanation::of(Reason::Never),
        Why::Unrecorded(why) => {
            Explanation { detail: Some(why.clone()), ..Explanation::of(Reason::Unrecorded) }
        }
        Why::Differs(difference) => differs(difference),
        Why::Revoked => Explanation::of(Reason::Revoked),
        Why::Depends { trace, slots } => {
            let (trace, inputs) = (Some(trace.to_string()), slots.clone());
            Explanation { trace, inputs, ..Explanation::of(Reason::Depends) }
        }
        Why::Unstable { trace } => {
            Explanation { trace: Some(trace.to_string()), ..Explanation::of(Reason::Unstable) }
        }
        Why::Collected => Explanation::of(Reason::Collected),
        Why::Unanswered { key, error } => Explanation {
            inputs: vec![key.clone()],
            detail: Some(error.to_string()),
            ..Explanation::of(Reason::Unknown)
        },
        Why::NoStore(error) => {
            Explanation { detail: Some(error.to_string()), ..Explanation::of(Reason::Unknown) }
        }
    }
}

fn differs(difference: &Difference) -> Explanation {
    let observed = difference.question.as_ref().map(|question| {
        let (before, after) = in_words(question.before, question.after);
        ObservedDifference { path: String::from_utf8_lossy(&question.path).into_owned(), before, after }
    });
    Explanation {
        trace: Some(difference.nearest.to_string()),
        inputs: vec![difference.key.clone()],
        difference: observed,
        differing: difference.differing as u64,
        observations: difference.of as u64,
        ..Explanation::of(Reason::Differs)
    }
}

/// Two answers, each after "was" or "is".
fn in_words(before: Answer, after: Answer) -> (String, String) {
    let one = |answer: Answer| match answer {
        Answer::Absent => "absent".to_owned(),
        Answer::NoSlot => "no input".to_owned(),
        Answer::Directory => "a folder".to_owned(),
        Answer::Symlink => "a link".to_owned(),
        Answer::Regular { executable: true, size } => format!("a program of {size} bytes"),
        Answer::Regular { executable: false, size } => format!("a file of {size} bytes"),
        Answer::Content(_) | Answer::Names(_) | Answer::Target(_) => "something else".to_owned(),
    };
    match (before, after) {
        (Answer::Content(_), Answer::Content(_)) => ("one file".to_owned(), "another".to_owned()),
        (Answer::Names(_), Answer::Names(_)) => ("one list of names".to_owned(), "another".to_owned()),
        (Answer::Target(_), Answer::Target(_)) => {
            ("a link to one place".to_owned(), "one to another".to_owned())
        }
        (before, after) => (one(before), one(after)),
    }
}
