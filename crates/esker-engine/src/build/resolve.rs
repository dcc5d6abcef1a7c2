//! Asks the store what there is, and turns what is missing into nodes of the schedule.
//!
//! Invariant: a derivation is protected from garbage collection before it is looked at, and its
//! outputs before they are called present. What was collected in between is reported, not built
//! upon.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read as _;
use std::path::Path;

use esker_nix::StorePath;
use esker_nix::derivation::Derivation;
use esker_nix::nar::Reader;
use esker_nix::protocol::{DerivedPath, Missing, Options, ProtocolError};
use esker_nix::tool::Nix;

use super::connection::{Connection, Processes, StoreError};
use crate::event::Action;

/// A derivation that has to be built or fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeSpec {
    pub(crate) drv: StorePath,
    pub(crate) name: String,
    pub(crate) system: String,
    /// Those of its inputs that have to be built first.
    pub(crate) inputs: Vec<StorePath>,
    pub(crate) action: Action,
    /// Whether a substituter has something that it needs. If not, none is asked again: each
    /// connection would wait for an unreachable one anew.
    pub(crate) substitutes: bool,
}

/// What is to be done about one derivation that was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    /// Nothing.
    Present { name: String, outputs: Vec<(String, StorePath)> },
    /// Run its node; the nodes before it come with this answer or an earlier one.
    Node { action: Action },
    /// It cannot be said.
    Lost { message: String },
}

/// The answer to one request.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    /// New nodes, inputs before what needs them.
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) wanted: Vec<(StorePath, Resolved)>,
    /// Outputs that nodes will fetch besides their own.
    pub(crate) fetched: Vec<StorePath>,
    /// What a person should know of the substituters.
    pub(crate) notice: Option<String>,
}

/// Remembers what it has handed out.
pub(crate) struct Resolver {
    connection: Connection,
    nix: Nix,
    /// For questions to substituters: a daemon may die of what one answers (Nix 2.8 does of a
    /// damaged narinfo), and with it the temporary roots of its connection would go.
    asker: Option<Connection>,
    processes: Processes,
    options: Options,
    nodes: HashSet<StorePath>,
    fetched: HashSet<StorePath>,
    rebuild: bool,
}

impl Resolver {
    /// `options` are those of the builds, so that the same substituters are asked.
    pub(crate) fn new(
        nix: &Nix,
        mut connection: Connection,
        options: &Options,
        rebuild: bool,
    ) -> Result<Self, StoreError> {
        connection.client.set_options(options)?;
        let (nix, options) = (nix.clone(), options.clone());
        let processes = Processes::default();
        processes.add(connection.process());
        let (nodes, fetched) = (HashSet::new(), HashSet::new());
        Ok(Self { connection, nix, asker: None, processes, options, nodes, fetched, rebuild })
    }

    /// A handle to stop it from elsewhere.
    pub(crate) fn processes(&self) -> Processes {
        self.processes.clone()
    }

    /// Registers a link as a root.
    pub(crate) fn add_root(&mut self, link: &Path) -> Result<(), ProtocolError> {
        self.connection.client.add_indirect_root(link)
    }

    pub(crate) fn close(self) {
        if let Some(asker) = self.asker {
            asker.close();
        }
        self.connection.close();
    }

    /// Looks at `wanted`, all at once.
    pub(crate) fn resolve(&mut self, wanted: &[StorePath]) -> Result<Resolution, ProtocolError> {
        let client = &mut self.connection.client;
        client.add_temp_roots(wanted)?;
        let mut resolution = Resolution::default();
        let mut read = Vec::new();
        for drv in wanted {
            match self.read(drv)? {
                Ok(derivation) => read.push((drv.clone(), derivation)),
                Err(message) => resolution.wanted.push((drv.clone(), Resolved::Lost { message })),
            }
        }
        let present = self.present(&read)?;
        let missing: Vec<DerivedPath> = read
            .iter()
            .filter(|(drv, _)| !present.contains_key(drv))
            .map(|(drv, _)| DerivedPath::all_outputs(drv.clone()))
            .collect();
        let plan = self.missing(&missing, &mut resolution)?;
        for (drv, derivation) in read {
            let resolved = match present.get(&drv) {
                Some(outputs) if !self.rebuild => {
                    Resolved::Present { name: name_of(&drv), outputs: outputs.clone() }
                }
                Some(_) => {
                    self.push(&drv, &derivation, Vec::new(), (Action::Rebuild, false), &mut resolution);
                    Resolved::Node { action: Action::Rebuild }
                }
                None => match self.walk(&drv, derivation, &plan, &mut resolution)? {
                    Ok(action) => Resolved::Node { action },
                    Err(message) => Resolved::Lost { message },
                },
            };
            resolution.wanted.push((drv, resolved));
        }
        let new = plan.will_substitute.into_iter().filter(|path| self.fetched.insert(path.clone()));
        resolution.fetched.extend(new);
        Ok(resolution)
    }

    /// What building these would take. When a substituter's answer makes no sense to Nix, it tells
    /// nothing at all; then it is asked what building would take without substituters, and each
    /// build finds out for itself.
    fn missing(
        &mut self,
        wanted: &[DerivedPath],
        resolution: &mut Resolution,
    ) -> Result<Missing, ProtocolError> {
        if wanted.is_empty() {
            return Ok(Missing::default());
        }
        if self.options.use_substitutes {
            match self.ask_substituters(wanted) {
                Ok(missing) => return Ok(missing),
                Err(why) => {
                    resolution.notice = Some(format!("cannot ask the substituters what they have: {why}"));
                }
            }
        }
        let client = &mut self.connection.client;
        client.set_options(&Options { use_substitutes: false, ..self.options.clone() })?;
        let missing = client.query_missing(wanted);
        client.set_options(&self.options)?;
        missing
    }

    fn ask_substituters(&mut self, wanted: &[DerivedPath]) -> Result<Missing, String> {
        let mut asker = match self.asker.take() {
            Some(asker) => asker,
            None => {
                let asker = Connection::open(&self.nix, &self.options).map_err(|error| error.to_string())?;
                self.processes.add(asker.process());
                asker
            }
        };
        match asker.client.query_missing(wanted) {
            Ok(missing) => {
                self.asker = Some(asker);
                Ok(missing)
            }
            Err(error @ ProtocolError::Daemon { .. }) => {
                self.asker = Some(asker);
                Err(error.to_string())
            }
            Err(error) => {
                let end = asker.post_mortem();
                Err(if end.is_empty() { error.to_string() } else { format!("{error}; {end}") })
            }
        }
    }

    /// Those whose outputs are all valid, with them.
    fn present(
        &mut self,
        read: &[(StorePath, Derivation)],
    ) -> Result<HashMap<StorePath, Vec<(String, StorePath)>>, ProtocolError> {
        let client = &mut self.connection.client;
        let mut outputs: Vec<(&StorePath, Vec<(String, StorePath)>)> = Vec::new();
        for (drv, derivation) in read {
            let known: Option<Vec<(String, StorePath)>> = derivation
                .outputs
                .iter()
                .map(|(name, output)| Some((name.clone(), output.path()?.clone())))
                .collect();
            let known = match known {
                Some(known) => Some(known),
                // The paths of content-addressed outputs are known once they have been built.
                None => match client.query_derivation_output_map(drv) {
                    Ok(map) => {
                        let path = |name: &String| map.get(name).cloned().flatten();
                        derivation.outputs.keys().map(|name| Some((name.clone(), path(name)?))).collect()
                    }
                    Err(ProtocolError::Daemon { .. }) => None,
                    Err(error) => return Err(error),
                },
            };
            outputs.extend(known.map(|known| (drv, known)));
        }
        let paths: Vec<StorePath> =
            outputs.iter().flat_map(|(_, known)| known.iter().map(|(_, path)| path.clone())).collect();
        let valid = client.query_valid_paths(&paths)?;
        outputs.retain(|(_, known)| known.iter().all(|(_, path)| valid.contains(path)));
        let kept: Vec<StorePath> =
            outputs.iter().flat_map(|(_, known)| known.iter().map(|(_, path)| path.clone())).collect();
        client.add_temp_roots(&kept)?;
        // A collection between the two questions would have taken it.
        let still = if kept.is_empty() { BTreeSet::new() } else { client.query_valid_paths(&kept)? };
        outputs.retain(|(_, known)| known.iter().all(|(_, path)| still.contains(path)));
        Ok(outputs.into_iter().map(|(drv, known)| (drv.clone(), known)).collect())
    }

    /// Adds nodes for `drv` and all it needs that has to be built.
    fn walk(
        &mut self,
        drv: &StorePath,
        derivation: Derivation,
        plan: &Missing,
        resolution: &mut Resolution,
    ) -> Result<Result<Action, String>, ProtocolError> {
        let fetch = !plan.will_build.contains(drv)
            && derivation
                .outputs
                .values()
                .any(|output| output.path().is_some_and(|path| plan.will_substitute.contains(path)));
        if fetch {
            self.fetched.extend(derivation.outputs.values().filter_map(|output| output.path().cloned()));
            self.push(drv, &derivation, Vec::new(), (Action::Fetch, true), resolution);
            return Ok(Ok(Action::Fetch));
        }
        // Depth first with a stack of our own: chains of derivations are longer than stacks.
        let mut stack = vec![(drv.clone(), derivation, false)];
        while let Some((drv, derivation, entered)) = stack.pop() {
            if self.nodes.contains(&drv) {
                continue;
            }
            let inputs: Vec<StorePath> = derivation
                .input_derivations
                .keys()
                .filter(|input| plan.will_build.contains(*input) || self.nodes.contains(*input))
                .cloned()
                .collect();
            let unseen: Vec<StorePath> =
                inputs.iter().filter(|input| !self.nodes.contains(*input)).cloned().collect();
            if entered || unseen.is_empty() {
                let substitutes = !plan.will_substitute.is_empty() || resolution.notice.is_some();
                self.push(&drv, &derivation, inputs, (Action::Build, substitutes), resolution);
                continue;
            }
            stack.push((drv, derivation, true));
            for input in unseen {
                match self.read(&input)? {
                    Ok(derivation) => stack.push((input, derivation, false)),
                    Err(message) => return Ok(Err(message)),
                }
            }
        }
        Ok(Ok(Action::Build))
    }

    fn push(
        &mut self,
        drv: &StorePath,
        derivation: &Derivation,
        inputs: Vec<StorePath>,
        (action, substitutes): (Action, bool),
        resolution: &mut Resolution,
    ) {
        if self.nodes.insert(drv.clone()) {
            resolution.nodes.push(NodeSpec {
                drv: drv.clone(),
                name: name_of(drv),
                system: derivation.system.clone(),
                inputs,
                action,
                substitutes,
            });
        }
    }

    /// Reads a derivation; `Ok(Err(_))` when there is none that can be understood.
    fn read(&mut self, drv: &StorePath) -> Result<Result<Derivation, String>, ProtocolError> {
        let bytes = match std::fs::read(drv.to_string()) {
            Ok(bytes) => bytes,
            // A store with another root: ask its owner.
            Err(_) => {
                if self.connection.client.query_path_info(drv)?.is_none() {
                    return Ok(Err(format!("{drv} is not in the store any more")));
                }
                let mut nar = Vec::new();
                self.connection.client.nar_from_path(drv, &mut nar)?;
                match content_of_file(&nar) {
                    Some(bytes) => bytes,
                    None => return Ok(Err(format!("{drv} is not a file"))),
                }
            }
        };
        Ok(Derivation::from_aterm(&bytes).map_err(|error| format!("{drv} cannot be read: {error}")))
    }
}

/// The derivation's name: the store path's, without `.drv`.
pub(crate) fn name_of(drv: &StorePath) -> String {
    drv.name().trim_end_matches(".drv").to_owned()
}

fn content_of_file(nar: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(nar);
    reader.next_event().ok()??;
    let mut bytes = Vec::new();
    reader.content().read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
