//! `esker trace show`: all that is known of one trace.

use esker_trace::store::{Observed, ProducedOutput, Reference, Store, Summary};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{TraceError, Whole, print, words};
use crate::screen::clean;
use crate::screen::style::{bytes, count, names, took};

/// Show what a build observed
///
/// Its inputs, each question that it asked of them with the answer, and what it left. An answer is
/// modulo hashes: where the name of an input occurs in a file, its hash does not count.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// Beginning of the trace's name, as `esker explain` prints it
    #[arg(value_name = "TRACE")]
    trace: String,
    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ShowArgs, store: Option<&Store>) -> Result<(), TraceError> {
    let whole = Whole::find(store, &args.trace)?;
    print(&if args.json { format!("{}\n", value(&whole)) } else { text(&whole, &TimeZone::system()) })
}

fn text(whole: &Whole, zone: &TimeZone) -> String {
    let summary = &whole.summary;
    let reuses = match summary.reuses {
        0 => "never reused".to_owned(),
        more => format!("reused {}", words::times(more)),
    };
    let mut lines = vec![
        ("trace", format!("{} of {}, {reuses}", summary.trace, words::when(summary.recorded, zone))),
        ("skeleton", words::short(&summary.skeleton)),
        ("built", format!("{} in {}", clean::name(&summary.produced.log), took(summary.produced.seconds))),
    ];
    lines.extend(summary.produced.outputs.iter().map(|output| ("output", output_line(output))));
    lines.extend(summary.inputs.iter().map(|(key, hash)| {
        let note = match evidence(summary, key) {
            Some(true) => "  its hash does not matter",
            Some(false) => "  the result depends on its hash",
            None => "",
        };
        ("input", format!("{}  {}{note}", clean::name(key), clean::name(hash)))
    }));
    if summary.unstable {
        lines.push(("note", "equal inputs gave other bits: it is not deterministic".to_owned()));
    }
    let mut text: String = lines.iter().map(|(name, said)| format!("{name:<9} {said}\n")).collect();
    match &whole.observations {
        Some(all) => {
            text += &format!("{}\n", count(all.len() as u64, "observation"));
            text += &words::list(all.iter().map(|observed| (observed, words::answer(observed.answer))));
        }
        None => text += "its observations are no longer known\n",
    }
    text
}

fn output_line(output: &ProducedOutput) -> String {
    let size = if output.is_empty { "empty".to_owned() } else { bytes(output.nar_size) };
    let hash: String = output.nar_hash.chars().take(12).collect();
    let (name, hash) = (clean::name(&output.name), clean::name(&hash));
    let references: Vec<&str> = output
        .references
        .iter()
        .map(|reference| match reference {
            Reference::Slot(key) => key.as_str(),
            Reference::Output(name) => name.as_str(),
        })
        .collect();
    let references = match references.is_empty() {
        true => String::new(),
        false => format!(", refers to {}", names(references.into_iter(), 5)),
    };
    format!("{name}: {size}, NAR hash {hash}{references}")
}

/// Whether builds have shown that the hash of an input matters not (`true`), or does.
fn evidence(summary: &Summary, key: &String) -> Option<bool> {
    match (summary.refuted.contains(key), summary.proven.contains(key)) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    }
}

fn value(whole: &Whole) -> Value {
    let summary = &whole.summary;
    let inputs: Vec<Value> = summary
        .inputs
        .iter()
        .map(|(key, hash)| {
            let matters = evidence(summary, key).map(|proven| !proven);
            json!({ "input": key, "hash": hash, "hash_matters": matters })
        })
        .collect();
    let outputs: Vec<Value> = summary
        .produced
        .outputs
        .iter()
        .map(|output| {
            let references: Vec<Value> = output
                .references
                .iter()
                .map(|reference| match reference {
                    Reference::Slot(key) => json!({ "input": key }),
                    Reference::Output(name) => json!({ "output": name }),
                })
                .collect();
            json!({
                "name": output.name, "nar_hash": output.nar_hash, "nar_size": output.nar_size,
                "empty": output.is_empty, "base_name": output.store_base_name, "references": references,
            })
        })
        .collect();
    let observation = |observed: &Observed| {
        let mut value = words::question_value(&observed.key, &observed.path, observed.kind);
        value["answer"] = words::answer_value(observed.answer);
        value
    };
    json!({
        "v": 1,
        "trace": words::hex(&summary.trace.0), "skeleton": words::hex(&summary.skeleton),
        "drv": summary.produced.log, "seconds": summary.produced.seconds,
        "recorded": summary.recorded, "reuses": summary.reuses, "unstable": summary.unstable,
        "inputs": inputs, "outputs": outputs,
        "observations": whole.observations.as_ref().map(|all| all.iter().map(observation).collect::<Vec<_>>()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example, file, folder};
    use super::*;

    #[test]
    fn a_trace_is_shown_whole() {
        let mut whole = example(&[("src", "", folder()), ("src", "a", file(2)), ("tools", "bin/cc", None)]);
        whole.summary.reuses = 2;
        insta::assert_snapshot!(text(&whole, &TimeZone::UTC), @r"
        trace     7d7d7d7d7d7d of 2023-11-14 22:13, reused twice
        skeleton  abababababab
        built     /nix/store/x-unit.drv in 41s
        output    out: 1.2 KiB, NAR hash 0123456789ab, refers to src, out
        input     src  s8g3  its hash does not matter
        input     tools  0p2x  the result depends on its hash
        3 observations
          src
            stat     .  a folder
            stat     a  a file of 2 bytes
          tools
            stat     bin/cc  no longer known
        ");
        let value = value(&whole);
        assert_eq!(value["observations"][1]["answer"]["size"], 2);
        assert_eq!(value["observations"][2]["answer"], Value::Null);
        assert_eq!(value["inputs"][0]["hash_matters"], false);
    }

    #[test]
    fn lost_observations_are_said_to_be_lost() {
        let mut whole = example(&[]);
        whole.observations = None;
        whole.summary.unstable = true;
        let text = text(&whole, &TimeZone::UTC);
        assert!(text.ends_with("its observations are no longer known\n"), "{text}");
        assert!(text.contains("note      equal inputs gave other bits"), "{text}");
    }
}
