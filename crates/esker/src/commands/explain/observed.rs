//! How much of its inputs a build looked at, and what it could have done without.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use esker_engine::event::{Explanation, Reason};
use esker_nix::StorePath;
use esker_nix::derivation::Derivation;
use esker_trace::decide::{InputUse, use_of_inputs};
use esker_trace::inputs::{Input, Inputs};
use esker_trace::observation::{Answer, Kind};
use esker_trace::store::{self, Store, StoreError, Summary, TraceId};
use serde_json::{Value, json};

use super::narrower::{self, Part};
use crate::screen::clean;
use crate::screen::style::{count, names, number};

/// How many names are told in a line.
const MOST: usize = 5;

/// What a build looked at.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) trace: TraceId,
    pub(super) uses: Vec<InputUse>,
    /// By slot: a part of a source that would have been enough.
    pub(super) narrower: BTreeMap<String, Part>,
}

/// What is known of what the build of `drv`, or that whose result it got, looked at.
///
/// # Errors
/// The traces cannot be read.
pub(super) fn look(
    store: &Store,
    drv: &str,
    explanation: Option<&Explanation>,
) -> Result<Option<Observed>, StoreError> {
    let name = explanation.and_then(|explanation| explanation.trace.as_deref());
    let named = match name.map(|name| store.traces_named(name)).transpose()?.as_deref() {
        Some([trace]) => Some(*trace),
        _ => None,
    };
    let trace = match explanation.map(|explanation| explanation.reason) {
        Some(Reason::Holds) => named,
        _ => store.trace_of_log(drv, named.as_ref())?,
    };
    let Some(trace) = trace else { return Ok(None) };
    let (Some(summary), Some(observations)) = (store.trace(&trace)?, store.observations(&trace)?) else {
        return Ok(None);
    };
    let inputs = inputs(&summary);
    let uses = use_of_inputs(&inputs, &observations);
    let narrower = narrower_sources(&inputs, &uses, &observations, &sources(drv));
    Ok(Some(Observed { trace, uses, narrower }))
}

/// The inputs of a trace's newest build, where they lie if they are still there.
fn inputs(summary: &Summary) -> Inputs {
    let input = |(key, hash): &(String, String)| {
        let path = StorePath::from_base_name(&format!("{hash}-{}", name_of(key))).ok()?;
        Some(Input {
            key: key.clone(),
            base_name: path.base_name().to_owned(),
            folder: path.as_path().to_owned(),
            references: Vec::new(),
        })
    };
    Inputs::new(summary.inputs.iter().filter_map(input).collect())
}

/// A slot is called by the name of its store path, with a number where several have one name.
fn name_of(key: &str) -> &str {
    key.split('#').next().unwrap_or(key)
}

/// The sources of a derivation, if it is still there: what nobody built.
fn sources(drv: &str) -> BTreeSet<StorePath> {
    let derivation = drv.parse::<StorePath>().ok().and_then(|drv| fs::read(drv.as_path()).ok());
    let derivation = derivation.and_then(|bytes| Derivation::from_aterm(&bytes).ok());
    derivation.map(|derivation| derivation.input_sources).unwrap_or_default()
}

fn narrower_sources(
    inputs: &Inputs,
    uses: &[InputUse],
    observations: &[store::Observed],
    sources: &BTreeSet<StorePath>,
) -> BTreeMap<String, Part> {
    let mut parts = BTreeMap::new();
    for InputUse { key, read, files, .. } in uses {
        // A reused result is of a build with other sources of the same names.
        let is_source = sources.iter().any(|source| source.name() == name_of(key));
        if !is_source || files.is_none_or(|files| 2 * read > files) {
            continue;
        }
        let Some(files) = inputs.by_key(key).and_then(|input| narrower::files_of(&input.folder).ok()) else {
            continue;
        };
        let of_input = || observations.iter().filter(|observed| observed.key == *key);
        // Of a folder that was listed, the names count.
        let listed: BTreeSet<&[u8]> =
            of_input().filter(|it| it.kind == Kind::Names).map(|it| it.path.as_slice()).collect();
        let mut wanted: BTreeSet<&[u8]> = of_input()
            .filter(|it| match it.kind {
                Kind::Content | Kind::Target => true,
                Kind::Stat => matches!(it.answer, Some(Answer::Regular { .. } | Answer::Symlink)),
                Kind::Names => false,
            })
            .map(|it| it.path.as_slice())
            .collect();
        wanted.extend(files.iter().map(Vec::as_slice).filter(|file| listed.contains(parent_of(file))));
        if let Some(part) = narrower::part(&files, &wanted, MOST).filter(|part| 2 * part.files <= files.len())
        {
            parts.insert(key.clone(), part);
        }
    }
    parts
}

fn parent_of(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

impl Observed {
    fn files(&self) -> u64 {
        self.uses.iter().filter_map(|usage| usage.files).sum::<usize>() as u64
    }

    /// Only of inputs whose files can be counted.
    fn read(&self) -> u64 {
        self.uses.iter().filter(|usage| usage.files.is_some()).map(|usage| usage.read).sum::<usize>() as u64
    }

    /// Inputs nobody looked into.
    fn unobserved(&self) -> impl Iterator<Item = &str> {
        self.uses.iter().filter(|usage| !usage.is_observed).map(|usage| usage.key.as_str())
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let (read, files) = (self.read(), self.files());
        if files > 0 {
            let (share, files) = (percent(read, files), count(files, "file"));
            text += &format!(
                "  observes {} of {files} ({share}) of its inputs, in trace {}\n",
                number(read),
                self.trace
            );
        }
        let gone: Vec<&str> =
            self.uses.iter().filter(|usage| usage.files.is_none()).map(|usage| usage.key.as_str()).collect();
        if !gone.is_empty() {
            text += &format!("  not counted, as no longer in the store: {}\n", names(gone.into_iter(), MOST));
        }
        let unobserved: Vec<&str> = self.unobserved().collect();
        if !unobserved.is_empty() {
            text += &format!("  never observed: {}\n", names(unobserved.into_iter(), MOST));
        }
        for (key, part) in &self.narrower {
            let all = self.uses.iter().find(|usage| usage.key == *key).and_then(|usage| usage.files);
            let (some, all) = (number(part.files as u64), count(all.unwrap_or(0) as u64, "file"));
            text += &format!(
                "  most of `{}` is never read; a narrower source would have {some} of its {all}:\n    {}\n",
                clean::name(key),
                clean::name(&part.to_nix())
            );
        }
        text
    }

    pub(super) fn value(&self) -> Value {
        let inputs: Vec<Value> = self
            .uses
            .iter()
            .map(|usage| {
                json!({
                    "input": usage.key, "files_read": usage.read, "files": usage.files,
                    "observed": usage.is_observed,
                })
            })
            .collect();
        let narrower: Vec<Value> = self
            .narrower
            .iter()
            .map(|(key, part)| {
                let paths: Vec<_> = part.paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
                json!({ "input": key, "files": part.files, "paths": paths, "nix": part.to_nix() })
            })
            .collect();
        json!({
            "trace": self.trace.to_string(), "files_read": self.read(), "files": self.files(),
            "inputs": inputs, "never_observed": self.unobserved().collect::<Vec<_>>(), "narrower": narrower,
        })
    }
}

fn percent(part: u64, whole: u64) -> String {
    match (part as f64 * 100.0 / whole as f64).round() {
        rounded if rounded < 1.0 && part > 0 => "under 1 %".to_owned(),
        rounded => format!("{rounded:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use esker_trace::observation::Digest;

    use super::*;

    fn usage(key: &str, read: usize, files: Option<usize>) -> InputUse {
        InputUse { key: key.to_owned(), read, files, is_observed: read > 0 }
    }

    #[test]
    fn what_is_used_and_what_is_not() {
        let part = Part { paths: vec![b"Makefile".to_vec(), b"src".to_vec()], files: 160 };
        let mut uses =
            vec![usage("source", 150, Some(5600)), usage("cc#1", 22, Some(4)), usage("gone", 1, None)];
        uses.extend(["a", "b", "c", "d", "e", "f", "g"].map(|key| usage(key, 0, Some(0))));
        let narrower = [("source".to_owned(), part)].into();
        let observed = Observed { trace: TraceId(Digest([0; 32])), uses, narrower };
        insta::assert_snapshot!(observed.text(), @r"
          observes 172 of 5,604 files (3 %) of its inputs, in trace 000000000000
          not counted, as no longer in the store: gone
          never observed: a, b, c, d, e and 2 more
          most of `source` is never read; a narrower source would have 160 of its 5,600 files:
            lib.fileset.unions [ ./Makefile ./src ]
        ");
        let value = observed.value();
        assert_eq!((&value["files_read"], &value["narrower"][0]["files"]), (&172.into(), &160.into()));
    }

    #[test]
    fn a_share_is_never_nothing_when_there_is_some() {
        let shares = [(0, 9), (1, 1000), (5, 1000), (1, 3), (3, 3)].map(|(part, whole)| percent(part, whole));
        assert_eq!(shares, ["0 %", "under 1 %", "1 %", "33 %", "100 %"]);
    }
}
