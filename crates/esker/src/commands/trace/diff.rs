//! `esker trace diff`: in what two traces differ.

use std::collections::BTreeMap;

use esker_trace::observation::Kind;
use esker_trace::store::{Observed, Store, Summary};
use serde_json::{Value, json};

use super::{TraceError, Whole, print, words};
use crate::screen::clean;
use crate::screen::style::{count, names};

/// Compare what two builds observed
///
/// Tells the questions that only one of them asked, and those with other answers.
#[derive(clap::Args, Debug)]
pub(super) struct DiffArgs {
    /// Beginning of a trace's name, as `esker explain` prints it
    #[arg(value_name = "TRACE")]
    first: String,
    /// The other trace
    #[arg(value_name = "OTHER")]
    second: String,
    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

/// What two lists of observations do not share.
#[derive(Debug, Default, PartialEq)]
struct Difference<'a> {
    only_first: Vec<&'a Observed>,
    only_second: Vec<&'a Observed>,
    /// Other answers, or one that is no longer known.
    changed: Vec<(&'a Observed, &'a Observed)>,
    same: usize,
}

pub(super) fn run(args: &DiffArgs, store: Option<&Store>) -> Result<(), TraceError> {
    let (first, second) = (Whole::find(store, &args.first)?, Whole::find(store, &args.second)?);
    let difference = compare(observations(&first)?, observations(&second)?);
    let (first, second) = (&first.summary, &second.summary);
    print(&match args.json {
        true => format!("{}\n", value(&difference, first, second)),
        false => text(&difference, first, second),
    })
}

fn observations(whole: &Whole) -> Result<&[Observed], TraceError> {
    let known = whole.observations.as_deref();
    known.ok_or_else(|| TraceError::Forgotten { trace: whole.summary.trace.to_string() })
}

fn compare<'a>(first: &'a [Observed], second: &'a [Observed]) -> Difference<'a> {
    type Question<'a> = (&'a str, &'a [u8], Kind);
    let question =
        |observed: &'a Observed| -> Question<'a> { (&observed.key, &observed.path, observed.kind) };
    let mut rest: BTreeMap<Question<'_>, &Observed> =
        second.iter().map(|observed| (question(observed), observed)).collect();
    let mut difference = Difference::default();
    for observed in first {
        match rest.remove(&question(observed)) {
            None => difference.only_first.push(observed),
            Some(other) if other.answer.is_some() && other.answer == observed.answer => difference.same += 1,
            Some(other) => difference.changed.push((observed, other)),
        }
    }
    difference.only_second = rest.into_values().collect();
    difference
}

/// The inputs whose hashes differ, or that only one of the two has.
fn other_inputs<'a>(first: &'a Summary, second: &'a Summary) -> Vec<&'a str> {
    let of = |summary: &'a Summary, other: &'a Summary| {
        summary.inputs.iter().filter(|pair| !other.inputs.contains(pair)).map(|(key, _)| key.as_str())
    };
    let mut keys: Vec<&str> = of(first, second).chain(of(second, first)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn text(difference: &Difference<'_>, first: &Summary, second: &Summary) -> String {
    let mut text = format!(
        "{} is of {}\n{} is of {}\n",
        first.trace,
        clean::name(&first.produced.log),
        second.trace,
        clean::name(&second.produced.log)
    );
    if first.skeleton != second.skeleton {
        text += "they are of derivations that differ in more than hashes\n";
    }
    let inputs = other_inputs(first, second);
    if !inputs.is_empty() {
        text += &format!("other inputs: {}\n", names(inputs.into_iter(), 5));
    }
    for (trace, only) in [(first.trace, &difference.only_first), (second.trace, &difference.only_second)] {
        if !only.is_empty() {
            text += &format!("only {trace}: {}\n", count(only.len() as u64, "observation"));
            text += &words::list(only.iter().map(|observed| (*observed, words::answer(observed.answer))));
        }
    }
    if !difference.changed.is_empty() {
        text += &format!("other answers: {}\n", count(difference.changed.len() as u64, "observation"));
        text += &words::list(difference.changed.iter().map(|(before, after)| {
            (*before, format!("{} -> {}", words::answer(before.answer), words::answer(after.answer)))
        }));
    }
    text + &format!("the same: {}\n", count(difference.same as u64, "observation"))
}

fn value(difference: &Difference<'_>, first: &Summary, second: &Summary) -> Value {
    let only = |list: &[&Observed]| -> Vec<Value> {
        list.iter()
            .map(|observed| {
                let mut value = words::question_value(&observed.key, &observed.path, observed.kind);
                value["answer"] = words::answer_value(observed.answer);
                value
            })
            .collect()
    };
    let changed: Vec<Value> = difference
        .changed
        .iter()
        .map(|(before, after)| {
            let mut value = words::question_value(&before.key, &before.path, before.kind);
            value["first"] = words::answer_value(before.answer);
            value["second"] = words::answer_value(after.answer);
            value
        })
        .collect();
    json!({
        "v": 1,
        "first": words::hex(&first.trace.0), "second": words::hex(&second.trace.0),
        "same_skeleton": first.skeleton == second.skeleton,
        "other_inputs": other_inputs(first, second),
        "only_first": only(&difference.only_first), "only_second": only(&difference.only_second),
        "changed": changed, "same": difference.same,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, file, folder};
    use super::*;

    #[test]
    fn what_is_shared_is_counted_and_the_rest_told() {
        let first = example(&[
            ("src", "", folder()),
            ("src", "a", file(1)),
            ("src", "gone", file(9)),
            ("src", "lost", None),
        ]);
        let mut second = example(&[
            ("src", "", folder()),
            ("src", "a", file(2)),
            ("src", "lost", None),
            ("tools", "new", file(3)),
        ]);
        second.summary.inputs[0].1 = "zzzz".to_owned();
        let difference = compare(observations(&first).unwrap(), observations(&second).unwrap());
        insta::assert_snapshot!(text(&difference, &first.summary, &second.summary), @r"
        7d7d7d7d7d7d is of /nix/store/x-unit.drv
        7d7d7d7d7d7d is of /nix/store/x-unit.drv
        other inputs: src
        only 7d7d7d7d7d7d: 1 observation
          src
            stat     gone  a file of 9 bytes
        only 7d7d7d7d7d7d: 1 observation
          tools
            stat     new  a file of 3 bytes
        other answers: 2 observations
          src
            stat     a     a file of 1 byte -> a file of 2 bytes
            stat     lost  no longer known -> no longer known
        the same: 1 observation
        ");
        let value = value(&difference, &first.summary, &second.summary);
        assert_eq!((&value["same"], &value["changed"][0]["second"]["size"]), (&1.into(), &2.into()));
    }
}
