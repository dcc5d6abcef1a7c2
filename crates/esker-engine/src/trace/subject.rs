//! A derivation, ready to be looked up or run.

use esker_nix::StorePath;
use esker_nix::derivation::Derivation;
use esker_nix::protocol::{Client, ProtocolError};
use esker_trace::inputs::{Input, Inputs};
use esker_trace::observation::Digest;
use esker_trace::store::Reference;

use super::checks::Demands;
use super::closure::{Paths, direct_inputs};
use super::graph::graphs;
use super::machine::Machine;
use super::recipe::{self, Recipe};
use super::register::Made;
use super::resolved::{Present, Resolved};
use super::skeleton::{skeleton, slots};
use super::structured;
use super::tracer::Attempt;
use super::version::Version;

/// A derivation, ready to be looked up or run.
pub(super) struct Subject {
    /// What was asked for.
    pub(super) drv: StorePath,
    /// What Nix would build in its place.
    pub(super) resolved: Resolved,
    /// The same as it is run: each output has a path, if only to be made there.
    pub(super) derivation: Derivation,
    /// Its inputs' closure.
    pub(super) closure: Vec<StorePath>,
    pub(super) inputs: Inputs,
    pub(super) recipe: Recipe,
    pub(super) demands: Demands,
    pub(super) skeleton: Digest,
    /// As whose build it is run.
    pub(super) nix: Version,
}

impl Subject {
    /// Everything that is to be known of `drv` beforehand, or why there is nothing to do.
    ///
    /// # Errors
    /// The connection to the store is of no further use.
    pub(super) fn read(
        client: &mut Client,
        drv: &StorePath,
        known: &Paths,
        machine: &Machine,
        surroundings: &str,
    ) -> Result<Result<Self, Attempt>, ProtocolError> {
        let untraced = |why: String| Ok(Err(Attempt::Untraced(why)));
        let Some(derivation) = read(drv) else { return untraced(format!("{drv} cannot be read")) };
        if let Some(why) = recipe::why_not(&derivation, &machine.system, &machine.features) {
            return untraced(why);
        }
        let Some(nix) = Version::parse(client.daemon_version()) else {
            return untraced("the daemon does not tell its version".to_owned());
        };
        let resolved = match Resolved::of(client, drv, derivation)? {
            Ok(resolved) => resolved,
            Err(why) => return untraced(why),
        };
        match resolved.present(client) {
            Ok(Present::None) => {}
            Ok(Present::All) => return Ok(Err(Attempt::Known)),
            Ok(Present::Some) => return untraced("some of its outputs are there already".to_owned()),
            Err(ProtocolError::Daemon { message, .. }) => return untraced(message),
            Err(error) => return Err(error),
        }
        let derivation = match resolved.to_run() {
            Ok(derivation) => derivation,
            Err(why) => return untraced(why),
        };
        let demanded = structured::attributes(&derivation)
            .and_then(|attributes| Ok((Demands::of(&derivation, attributes.as_ref(), nix)?, attributes)));
        let (demands, attributes) = match demanded {
            Ok(demanded) => demanded,
            Err(why) => return untraced(why),
        };
        let Some(direct) = direct_inputs(&derivation, read) else {
            return untraced("the path of an input is not known".to_owned());
        };
        client.add_temp_roots(&direct.iter().cloned().collect::<Vec<_>>())?;
        let closure = match known.closure(client, &direct)? {
            Ok(closure) => closure,
            Err(path) => return untraced(format!("{path} is not valid")),
        };
        let paths: Vec<StorePath> = closure.iter().map(|(path, _)| path.clone()).collect();
        let slots = slots(&derivation, &paths);
        let graphs = match graphs(client, known, &derivation, attributes.as_ref(), &paths, nix, read)? {
            Ok(graphs) => graphs,
            Err(why) => return untraced(why),
        };
        let recipe = recipe::recipe(drv, &derivation, attributes, &graphs, machine.cores, nix);
        // What the sandbox shows of these is not observed.
        let manner = format!("{:?} {:?}", nix.etc(), nix.attributes());
        let mut more = vec![("surroundings", surroundings.as_bytes()), ("manner", manner.as_bytes())];
        more.extend(recipe.added.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let floating = resolved.floating();
        // Equal content has other paths with another way to hash it.
        let addressed = format!("{floating:?} {}", nix < Version::FORGETS_SELF_REFERENCES);
        if !floating.is_empty() {
            more.push(("addressed", addressed.as_bytes()));
        }
        let skeleton = skeleton(&derivation, &slots, &more);
        let inputs = closure.iter().map(|(path, known)| Input {
            key: slots.get(path).cloned().unwrap_or_default(),
            base_name: path.base_name().to_owned(),
            folder: path.as_path().to_owned(),
            references: known.references.iter().map(|path| path.hash_part().to_owned()).collect(),
        });
        let inputs = Inputs::new(inputs.collect());
        let (drv, closure) = (drv.clone(), paths);
        Ok(Ok(Self { drv, resolved, derivation, closure, inputs, recipe, demands, skeleton, nix }))
    }

    /// Where the outputs are made. That is where they will be, unless that follows from their content.
    pub(super) fn output_paths(&self) -> impl Iterator<Item = (&String, &StorePath)> {
        self.derivation.outputs.iter().filter_map(|(name, output)| Some((name, output.path()?)))
    }

    /// What a reference to an input means.
    pub(super) fn input(&self, key: &str) -> Option<StorePath> {
        StorePath::from_base_name(&self.inputs.by_key(key)?.base_name).ok()
    }

    /// A reference to an input, or to one of these outputs. `None` for an output whose path follows
    /// from its content: that does not change with the inputs.
    pub(super) fn reference_to(&self, path: &StorePath, made: &[Made]) -> Option<Reference> {
        if let Some(output) = made.iter().find(|made| made.path == *path) {
            let changes = output.content_address.is_none();
            return changes.then(|| Reference::Output(output.name.clone()));
        }
        let index = self.inputs.index_by_hash(path.hash_part())?;
        Some(Reference::Slot(self.inputs.as_slice().get(index)?.key.clone()))
    }
}

/// Reads a derivation of the store.
pub(super) fn read(drv: &StorePath) -> Option<Derivation> {
    Derivation::from_aterm(&std::fs::read(drv.as_path()).ok()?).ok()
}
