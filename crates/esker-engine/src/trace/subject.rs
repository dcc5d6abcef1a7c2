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
use super::skeleton::{skeleton, slots};
use super::structured;
use super::version::Version;

/// A derivation, ready to be looked up or run.
pub(super) struct Subject {
    pub(super) drv: StorePath,
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
    /// Everything that is to be known of `drv` beforehand, or why it is not traced.
    ///
    /// # Errors
    /// The connection to the store is of no further use.
    pub(super) fn read(
        client: &mut Client,
        drv: &StorePath,
        known: &Paths,
        machine: &Machine,
        surroundings: &str,
    ) -> Result<Result<Self, String>, ProtocolError> {
        let Some(derivation) = read(drv) else { return Ok(Err(format!("{drv} cannot be read"))) };
        if let Some(why) = recipe::why_not(&derivation, &machine.system, &machine.features) {
            return Ok(Err(why));
        }
        let Some(nix) = Version::parse(client.daemon_version()) else {
            return Ok(Err("the daemon does not tell its version".to_owned()));
        };
        let demanded = structured::attributes(&derivation)
            .and_then(|attributes| Ok((Demands::of(&derivation, attributes.as_ref(), nix)?, attributes)));
        let (demands, attributes) = match demanded {
            Ok(demanded) => demanded,
            Err(why) => return Ok(Err(why)),
        };
        let Some(direct) = direct_inputs(&derivation, read) else {
            return Ok(Err("an input's path follows from its content".to_owned()));
        };
        client.add_temp_roots(&direct.iter().cloned().collect::<Vec<_>>())?;
        let closure = match known.closure(client, &direct)? {
            Ok(closure) => closure,
            Err(path) => return Ok(Err(format!("{path} is not valid"))),
        };
        let paths: Vec<StorePath> = closure.iter().map(|(path, _)| path.clone()).collect();
        let slots = slots(&derivation, &paths);
        let graphs = match graphs(client, known, &derivation, attributes.as_ref(), &paths, nix, read)? {
            Ok(graphs) => graphs,
            Err(why) => return Ok(Err(why)),
        };
        let recipe = recipe::recipe(drv, &derivation, attributes, &graphs, machine.cores, nix);
        let mut more = vec![("surroundings", surroundings.as_bytes())];
        more.extend(recipe.added.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let skeleton = skeleton(&derivation, &slots, &more);
        let inputs = closure.iter().map(|(path, known)| Input {
            key: slots.get(path).cloned().unwrap_or_default(),
            base_name: path.base_name().to_owned(),
            folder: path.as_path().to_owned(),
            references: known.references.iter().map(|path| path.hash_part().to_owned()).collect(),
        });
        let inputs = Inputs::new(inputs.collect());
        let (drv, closure) = (drv.clone(), paths);
        Ok(Ok(Self { drv, derivation, closure, inputs, recipe, demands, skeleton, nix }))
    }

    pub(super) fn output_paths(&self) -> impl Iterator<Item = (&String, &StorePath)> {
        self.derivation.outputs.iter().filter_map(|(name, output)| Some((name, output.path()?)))
    }

    pub(super) fn path_of(&self, reference: &Reference) -> Option<StorePath> {
        match reference {
            Reference::Slot(key) => StorePath::from_base_name(&self.inputs.by_key(key)?.base_name).ok(),
            Reference::Output(name) => self.derivation.outputs.get(name)?.path().cloned(),
        }
    }

    pub(super) fn reference_to(&self, path: &StorePath) -> Option<Reference> {
        let output = self.output_paths().find(|(_, output)| *output == path);
        if let Some((name, _)) = output {
            return Some(Reference::Output(name.clone()));
        }
        let index = self.inputs.index_by_hash(path.hash_part())?;
        Some(Reference::Slot(self.inputs.as_slice().get(index)?.key.clone()))
    }
}

fn read(drv: &StorePath) -> Option<Derivation> {
    Derivation::from_aterm(&std::fs::read(drv.as_path()).ok()?).ok()
}
