//! Which attributes are meant, and what they are called.
//!
//! A job's short name is its path below the root: `tests` for `checks.x86_64-linux.tests`. With
//! several systems it begins with the system's name.

use std::collections::HashMap;

use esker_nix::attr_path::AttrPath;
use esker_nix::evaluator::{Candidate, Entry, Root};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::failure::{EvaluateError, with_article};
use crate::event::DiscoveredJob;
use crate::plan::{Plan, Subject};

/// Outputs whose first level is always the system.
const PER_SYSTEM: [&str; 6] = ["checks", "packages", "legacyPackages", "devShells", "apps", "formatter"];
/// Outputs in which everything has to be a derivation.
const ONLY_DERIVATIONS: [&str; 4] = ["checks", "packages", "devShells", "hydraJobs"];

/// The plan's attribute, systems and globs, made ready.
pub(super) struct Selection {
    pub(super) roots: Vec<Vec<Candidate>>,
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

impl Selection {
    pub(super) fn new(plan: &Plan) -> Result<Self, EvaluateError> {
        let path: AttrPath = plan.attribute.parse()?;
        let mut roots = Vec::new();
        for (index, system) in plan.systems.iter().enumerate() {
            let mut candidates = candidates(plan, path.names(), system);
            if index > 0 {
                // What has no system in its path was found for the first system already.
                candidates.retain(|candidate| candidate.path.contains(system));
            }
            roots.push(candidates);
        }
        Ok(Self { roots, include: globs(&plan.include)?, exclude: globs(&plan.exclude)? })
    }

    /// What to call a root that is not there.
    pub(super) fn wanted(&self, plan: &Plan, root: usize) -> String {
        match self.roots.get(root).map(Vec::as_slice) {
            Some([only]) => AttrPath::new(only.path.iter()).to_string(),
            _ => plan.attribute.clone(),
        }
    }

    pub(super) fn takes_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    pub(super) fn takes(&self, job: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(job))
            && !self.exclude.as_ref().is_some_and(|globs| globs.is_match(job))
    }
}

/// Where an attribute may be, the likeliest first.
fn candidates(plan: &Plan, names: &[String], system: &str) -> Vec<Candidate> {
    let exact = |path: Vec<String>| Candidate { path, unless_systems: false, last_resort: false };
    let under = |prefix: &[&str]| -> Vec<String> {
        prefix.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned()).collect()
    };
    let last_resort = |output: &str| Candidate { last_resort: true, ..exact(under(&[output, system])) };
    if matches!(plan.subject, Subject::File { .. }) {
        return vec![exact(names.to_vec())];
    }
    let with_system = exact([names, &[system.to_owned()]].concat());
    match names {
        [output] if PER_SYSTEM.contains(&output.as_str()) => return vec![with_system],
        [output, ..] if PER_SYSTEM.contains(&output.as_str()) => {
            return vec![with_system, exact(names.to_vec())];
        }
        _ => {}
    }
    vec![
        exact(under(&["checks", system])),
        with_system,
        Candidate { unless_systems: true, ..exact(names.to_vec()) },
        last_resort("packages"),
        last_resort("legacyPackages"),
    ]
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>, EvaluateError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for glob in patterns {
        let bad = |error: globset::Error| EvaluateError::Glob {
            glob: glob.clone(),
            reason: error.kind().to_string(),
        };
        set.add(GlobBuilder::new(glob).build().map_err(bad)?);
    }
    set.build()
        .map(Some)
        .map_err(|error| EvaluateError::Glob { glob: patterns.join(" "), reason: error.to_string() })
}

/// All attributes by the id that evaluators know them by.
pub(super) struct Names {
    prefixes: Vec<String>,
    roots: Vec<(Vec<String>, usize)>,
    is_flake: bool,
    only_derivations: bool,
    entries: Vec<Entry>,
    by_id: HashMap<String, Entry>,
    children: usize,
}

impl Names {
    pub(super) fn new(plan: &Plan) -> Self {
        let several = plan.systems.len() > 1;
        let is_flake = matches!(plan.subject, Subject::Flake { .. });
        let output = plan.attribute.split('.').next().unwrap_or_default();
        Self {
            prefixes: plan
                .systems
                .iter()
                .map(|system| if several { format!("{system}.") } else { String::new() })
                .collect(),
            roots: Vec::new(),
            is_flake,
            only_derivations: is_flake && ONLY_DERIVATIONS.contains(&output),
            entries: Vec::new(),
            by_id: HashMap::new(),
            children: 0,
        }
    }

    /// How many roots the plan has.
    pub(super) fn roots(&self) -> usize {
        self.prefixes.len()
    }

    fn has_only_derivations(&self, output: &str) -> bool {
        self.is_flake && ONLY_DERIVATIONS.contains(&output)
    }

    /// Takes up a root. Roots come in order. Returns what a person should be told.
    ///
    /// # Errors
    /// When a root is no set, or the last one came and none exists.
    pub(super) fn announce(&mut self, wanted: &str, root: Root) -> Result<Option<String>, EvaluateError> {
        if root.missing {
            let none = self.roots.iter().all(|(path, _)| path.is_empty()) && self.entries.is_empty();
            if root.root + 1 == self.roots() && none {
                return Err(EvaluateError::NoAttribute { wanted: wanted.to_owned(), beside: root.names });
            }
            self.roots.push((Vec::new(), root.root));
            return Ok(Some(format!("there is no attribute `{wanted}`")));
        }
        if let Some(type_name) = root.type_name {
            let is_output = root.path.first().is_some_and(|output| self.has_only_derivations(output));
            let path = AttrPath::new(root.path).to_string();
            let type_name = with_article(&type_name);
            return Err(if is_output {
                EvaluateError::OutputNotASet { path, type_name }
            } else {
                EvaluateError::NotASet { path, type_name }
            });
        }
        let index = root.root;
        let entry = |id: String, path: Vec<String>| Entry { id, root: index, path };
        let entries: Vec<Entry> = if root.single {
            vec![entry(format!("{index}."), Vec::new())]
        } else {
            root.names
                .iter()
                .enumerate()
                .map(|(at, name)| entry(format!("{index}.{at}"), vec![name.clone()]))
                .collect()
        };
        self.roots.push((root.path, index));
        self.by_id.extend(entries.iter().map(|entry| (entry.id.clone(), entry.clone())));
        self.entries.extend(entries);
        Ok(None)
    }

    /// All direct attributes of all roots, in the order in which evaluators go through them.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The members of a nested set.
    pub(super) fn children(&mut self, id: &str, names: Vec<String>) -> Vec<Entry> {
        let Some(parent) = self.by_id.get(id).cloned() else { return Vec::new() };
        let mut entries = Vec::new();
        for name in names {
            let id = format!("c{}", self.children);
            self.children += 1;
            let path = [parent.path.as_slice(), &[name]].concat();
            let entry = Entry { id: id.clone(), root: parent.root, path };
            self.by_id.insert(id, entry.clone());
            entries.push(entry);
        }
        entries
    }

    /// The short name.
    pub(super) fn job(&self, id: &str) -> String {
        let Some(entry) = self.by_id.get(id) else { return id.to_owned() };
        let prefix = self.prefixes.get(entry.root).map_or("", String::as_str);
        if entry.path.is_empty() {
            let last = self.roots.get(entry.root).and_then(|(path, _)| path.last());
            let last = last.map_or_else(|| "default".to_owned(), |name| AttrPath::new([name]).to_string());
            return format!("{prefix}{last}");
        }
        format!("{prefix}{}", AttrPath::new(entry.path.iter()))
    }

    pub(super) fn discovered(&self, id: &str) -> DiscoveredJob {
        let path = self.by_id.get(id).map(|entry| {
            let root = self.roots.get(entry.root).map(|(path, _)| path.as_slice()).unwrap_or_default();
            AttrPath::new(root.iter().chain(&entry.path)).to_string()
        });
        DiscoveredJob { job: self.job(id), attr: path.unwrap_or_default() }
    }

    /// Whether something else at this place is the author's mistake, not just another value.
    pub(super) fn must_be_derivation(&self, id: &str) -> bool {
        self.only_derivations && self.by_id.get(id).is_some_and(|entry| entry.path.len() <= 1)
    }
}
