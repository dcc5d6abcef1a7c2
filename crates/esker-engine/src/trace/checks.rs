//! What a derivation demands of its outputs: `allowedReferences` and its kin, and, with structured
//! attributes, `outputChecks`.
//!
//! Source: `checkOutputs` in `libstore/build/derivation-check.cc`, before 2.31 in
//! `libstore/build/local-derivation-goal.cc`.

use std::collections::{BTreeMap, BTreeSet};

use esker_nix::StorePath;
use esker_nix::derivation::Derivation;
use esker_nix::protocol::{Client, ProtocolError};
use serde_json::{Map, Value};

use super::closure::Paths;
use super::register::Made;
use super::version::Version;

/// The demands of one derivation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demands {
    /// Of every output.
    all: Checks,
    /// Of these.
    by_output: BTreeMap<String, Checks>,
    /// Outputs that refer to nothing, whatever is in them.
    pub(crate) without_references: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Checks {
    max_size: Option<u64>,
    max_closure_size: Option<u64>,
    /// In the order in which they are checked.
    rules: Vec<Rule>,
    /// That an output refers to itself never matters in its closure.
    ignores_itself: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Nothing else may be referred to, or none of these.
    allowed: bool,
    /// The closure counts, or what is referred to directly.
    recursive: bool,
    /// Store paths and names of outputs.
    specifiers: Vec<String>,
}

const RULES: [(&str, bool, bool); 4] = [
    ("allowedReferences", true, false),
    ("allowedRequisites", true, true),
    ("disallowedReferences", false, false),
    ("disallowedRequisites", false, true),
];

impl Demands {
    /// Reads them. `Err`: why it is left to Nix.
    pub(crate) fn of(
        derivation: &Derivation,
        attributes: Option<&Map<String, Value>>,
        nix: Version,
    ) -> Result<Self, String> {
        let Some(attributes) = attributes else {
            let words = |name: &str| {
                let value = derivation.variable(name)?.to_string_lossy();
                let words = value.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty());
                Some(words.map(str::to_owned).collect())
            };
            let rule = |&(name, allowed, recursive): &(&str, bool, bool)| {
                Some(Rule { allowed, recursive, specifiers: words(name)? })
            };
            let rules = RULES.iter().filter_map(rule).collect();
            let all = Checks { rules, ignores_itself: true, ..Checks::default() };
            return Ok(Self { all, ..Self::default() });
        };
        let mut demands = Self::default();
        if let Some(checks) = attributes.get("outputChecks") {
            let checks = checks.as_object().ok_or("`outputChecks` is not a set")?;
            for (output, checks) in checks {
                let checks = checks.as_object().ok_or("a member of `outputChecks` is not a set")?;
                demands.by_output.insert(output.clone(), Checks::of(checks)?);
            }
        }
        if let Some(discarded) = attributes.get("unsafeDiscardReferences")
            && nix >= Version::MAY_DISCARD_REFERENCES
        {
            if nix < Version::DISCARDS_REFERENCES {
                return Err("`unsafeDiscardReferences` is an experiment in this Nix".to_owned());
            }
            let discarded = discarded.as_object().ok_or("`unsafeDiscardReferences` is not a set")?;
            for (output, value) in discarded {
                if value.as_bool().ok_or("a member of `unsafeDiscardReferences` is not a Boolean")? {
                    demands.without_references.insert(output.clone());
                }
            }
        }
        Ok(demands)
    }

    /// Checks the outputs of `drv`. `Ok(Err(_))`: what is wrong with one, in Nix's words.
    pub(crate) fn check(
        &self,
        client: &mut Client,
        paths: &Paths,
        drv: &StorePath,
        made: &[Made],
        nix: Version,
    ) -> Result<Result<(), String>, ProtocolError> {
        let scene = Scene { drv, made: made.iter().map(|made| (&made.path, made)).collect(), paths, nix };
        for output in made {
            let checks = self.by_output.get(&output.name).unwrap_or(&self.all);
            if let Err(why) = scene.apply(client, output, checks)? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }
}

impl Checks {
    fn of(attributes: &Map<String, Value>) -> Result<Self, String> {
        let limit = |name: &str| match attributes.get(name) {
            None => Ok(None),
            Some(limit) => limit.as_u64().map(Some).ok_or_else(|| format!("`{name}` is not a size")),
        };
        let mut rules = Vec::new();
        for (name, allowed, recursive) in RULES {
            let Some(value) = attributes.get(name) else { continue };
            let specifiers = value.as_array().and_then(|values| {
                values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            });
            let specifiers = specifiers.ok_or_else(|| format!("`{name}` is not a list of strings"))?;
            rules.push(Rule { allowed, recursive, specifiers });
        }
        let (max_size, max_closure_size) = (limit("maxSize")?, limit("maxClosureSize")?);
        Ok(Self { max_size, max_closure_size, rules, ignores_itself: false })
    }
}

/// What one check looks at.
struct Scene<'a> {
    drv: &'a StorePath,
    /// Not valid yet, or no longer as they were.
    made: BTreeMap<&'a StorePath, &'a Made>,
    paths: &'a Paths,
    nix: Version,
}

type Checked<T> = Result<Result<T, String>, ProtocolError>;

impl Scene<'_> {
    fn apply(&self, client: &mut Client, output: &Made, checks: &Checks) -> Checked<()> {
        let path = &output.path;
        if let Some(limit) = checks.max_size.filter(|limit| output.nar_size > *limit) {
            let size = output.nar_size;
            return Ok(Err(format!("path '{path}' is too large at {size} bytes; limit is {limit} bytes")));
        }
        let recursive = checks.max_closure_size.is_some() || checks.rules.iter().any(|rule| rule.recursive);
        let (mut closure, mut size) = (BTreeSet::new(), 0);
        if recursive {
            (closure, size) = match self.closure(client, path)? {
                Ok(closure) => closure,
                Err(why) => return Ok(Err(why)),
            };
        }
        if let Some(limit) = checks.max_closure_size.filter(|limit| size > *limit) {
            return Ok(Err(format!(
                "closure of path '{path}' is too large at {size} bytes; limit is {limit} bytes"
            )));
        }
        if checks.ignores_itself {
            closure.remove(path);
        }
        let check = |rule: &Rule| {
            let meant: BTreeSet<StorePath> = rule
                .specifiers
                .iter()
                .map(|specifier| self.path_of(specifier, &output.name))
                .collect::<Result<_, String>>()?;
            let used = if rule.recursive { &closure } else { &output.references };
            let bad: String = used
                .iter()
                .filter(|path| meant.contains(*path) != rule.allowed)
                .map(|path| format!("\n{path}"))
                .collect();
            if bad.is_empty() {
                return Ok(());
            }
            Err(format!("output '{path}' is not allowed to refer to the following paths:{bad}"))
        };
        Ok(checks.rules.iter().try_for_each(check))
    }

    /// The closure of an output, and its size.
    fn closure(&self, client: &mut Client, path: &StorePath) -> Checked<(BTreeSet<StorePath>, u64)> {
        let (mut seen, mut size) = (BTreeSet::new(), 0);
        let mut stack = vec![path.clone()];
        while let Some(path) = stack.pop() {
            if !seen.insert(path.clone()) {
                continue;
            }
            if let Some(made) = self.made.get(&path) {
                size += made.nar_size;
                stack.extend(made.references.iter().cloned());
            } else if let Some(known) = self.paths.known(client, &path)? {
                size += known.nar_size;
                stack.extend(known.references.iter().cloned());
            } else {
                return Ok(Err(format!("path '{path}' is not valid")));
            }
        }
        Ok(Ok((seen, size)))
    }

    /// Which path is meant by a specifier in a check of `output`.
    fn path_of(&self, specifier: &str, output: &str) -> Result<StorePath, String> {
        if let Ok(path) = specifier.parse() {
            return Ok(path);
        }
        if let Some(made) = self.made.values().find(|made| made.name == specifier) {
            return Ok(made.path.clone());
        }
        if self.nix < Version::LISTS_OUTPUTS {
            return Err(format!("derivation contains an illegal reference specifier '{specifier}'"));
        }
        let names: BTreeSet<&str> = self.made.values().map(|made| made.name.as_str()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let check = format!("derivation '{}' output check for '{output}' contains", self.drv);
        Err(if self.nix < Version::NAMES_BAD_OUTPUT {
            let expected = format!("expected store path or output name (one of [{names}])");
            format!("{check} an illegal reference specifier '{specifier}', {expected}")
        } else {
            let but = "but this is not a valid output of this derivation.";
            format!("{check} output name '{specifier}', {but} (Valid outputs are [{names}].)")
        })
    }
}
