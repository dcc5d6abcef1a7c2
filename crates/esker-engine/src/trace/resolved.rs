//! The form in which Nix builds a derivation, and what it knows of its outputs.
//!
//! For almost all derivations that is the derivation itself. Where the path of an input or an output
//! follows from its content (`ca-derivations`), inputs are replaced by what came of them, and outputs
//! are made at scratch paths; what they became is told to Nix as realisations.

use std::collections::BTreeMap;

use esker_nix::StorePath;
use esker_nix::derivation::{Derivation, Method, Output};
use esker_nix::hash::Hash;
use esker_nix::nar;
use esker_nix::protocol::{Client, OutputId, PathInfo, ProtocolError, SignatureCheck};

use super::register::{Made, RegisterError};
use super::subject::read;

/// A derivation in the form in which it is built.
pub(crate) struct Resolved {
    /// Which has this path, whether it is in the store or not.
    pub(crate) drv: StorePath,
    pub(crate) derivation: Derivation,
    /// Whether another one was asked for.
    stands_for_another: bool,
}

/// Which of the outputs are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    All,
    Some,
    None,
}

impl Resolved {
    /// Resolves `drv`, the inputs of which must have been built. `Ok(Err(_))`: why it is left to Nix.
    pub(crate) fn of(
        client: &mut Client,
        drv: &StorePath,
        derivation: Derivation,
    ) -> Result<Result<Self, String>, ProtocolError> {
        if !derivation.is_to_be_resolved() {
            return Ok(Ok(Self { drv: drv.clone(), derivation, stands_for_another: false }));
        }
        let mut paths = BTreeMap::new();
        for input in derivation.input_derivations.keys() {
            match built(client, input)? {
                Ok(outputs) => paths.insert(input.clone(), outputs),
                Err(why) => return Ok(Err(why)),
            };
        }
        let name = drv.name().strip_suffix(".drv").unwrap_or(drv.name());
        let path = |input: &StorePath, output: &str| paths.get(input)?.get(output).cloned();
        let resolved = match derivation.resolve(name, path) {
            Ok(resolved) => resolved,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(match resolved.store_path(name) {
            Ok(drv) => Ok(Self { drv, derivation: resolved, stands_for_another: true }),
            Err(error) => Err(error.to_string()),
        })
    }

    /// What is run: outputs without a path get a scratch path.
    pub(crate) fn to_run(&self) -> Result<Derivation, String> {
        let mut derivation = self.derivation.clone();
        for (name, output) in &mut derivation.outputs {
            if matches!(output, Output::Floating { .. }) {
                let scratch = StorePath::for_scratch(&self.drv, name).map_err(|error| error.to_string())?;
                *output = Output::InputAddressed(scratch);
            }
        }
        Ok(derivation)
    }

    /// How the outputs are addressed whose paths follow from their content.
    pub(crate) fn floating(&self) -> BTreeMap<&str, Method> {
        let outputs = self.derivation.outputs.iter();
        let floating = outputs.filter_map(|(name, output)| match output {
            Output::Floating { method, .. } => Some((name.as_str(), *method)),
            _ => None,
        });
        floating.collect()
    }

    /// Whether Nix finds the outputs of what was asked for by way of realisations.
    pub(crate) fn is_for_nix_to_find(&self) -> bool {
        self.stands_for_another || !self.floating().is_empty()
    }

    /// Whether Nix has outputs already, because another derivation was resolved to this one.
    pub(crate) fn present(&self, client: &mut Client) -> Result<Present, ProtocolError> {
        if !self.is_for_nix_to_find() {
            return Ok(Present::None);
        }
        let mut paths = Vec::new();
        for (name, output) in &self.derivation.outputs {
            match output.path() {
                Some(path) => paths.push(path.clone()),
                None => paths.extend(client.query_realisation(&self.id(name))?),
            }
        }
        let valid = client.query_valid_paths(&paths)?.len();
        Ok(match valid {
            0 => Present::None,
            _ if valid == self.derivation.outputs.len() => Present::All,
            _ => Present::Some,
        })
    }

    /// Adds the derivation itself to the store, as Nix does with what it builds.
    pub(crate) fn add(&self, client: &mut Client) -> Result<(), RegisterError> {
        if !self.stands_for_another {
            return Ok(());
        }
        let text = self.derivation.to_aterm();
        let read = |source| RegisterError::Read { name: self.drv.name().to_owned(), source };
        let mut writer = nar::Writer::new(Vec::new());
        writer.file(b"", false, text.len() as u64, text.as_slice()).map_err(read)?;
        let (nar, nar_size) = writer.finish().map_err(read)?;
        let info = PathInfo {
            deriver: None,
            nar_hash: Hash::sha256(&nar).as_bytes().try_into().unwrap_or_default(),
            references: self.derivation.input_sources.clone(),
            registration_time: 0,
            nar_size,
            ultimate: false,
            signatures: Vec::new(),
            content_address: Some(format!("text:{}", Hash::sha256(text))),
        };
        client.add_to_store_nar(&self.drv, &info, SignatureCheck::Waived, &mut nar.as_slice())?;
        Ok(())
    }

    /// Tells Nix what became of the outputs. What it knows of them already stands.
    pub(crate) fn realise(&self, client: &mut Client, made: &[Made]) -> Result<(), ProtocolError> {
        let floating = self.floating();
        for made in made.iter().filter(|made| floating.contains_key(made.name.as_str())) {
            let id = self.id(&made.name);
            if client.query_realisation(&id)?.is_none() {
                client.register_realisation(&id, &made.path)?;
            }
        }
        Ok(())
    }

    fn id(&self, output: &str) -> OutputId {
        OutputId { derivation: self.derivation.realisation_hash(), output: output.to_owned() }
    }
}

/// Where the outputs of a derivation are that has been built.
fn built(
    client: &mut Client,
    drv: &StorePath,
) -> Result<Result<BTreeMap<String, StorePath>, String>, ProtocolError> {
    let Some(derivation) = read(drv) else { return Ok(Err(format!("{drv} cannot be read"))) };
    if derivation.outputs.values().any(|output| matches!(output, Output::Impure { .. })) {
        return Ok(Err(format!("its input {drv} is impure")));
    }
    let known = derivation.outputs.iter();
    let known = known.map(|(name, output)| Some((name.clone(), output.path()?.clone())));
    if let Some(known) = known.collect() {
        return Ok(Ok(known));
    }
    Ok(match client.query_derivation_output_map(drv) {
        Ok(map) => Ok(map.into_iter().filter_map(|(name, path)| Some((name, path?))).collect()),
        Err(ProtocolError::Daemon { message, .. }) => Err(message),
        Err(error) => return Err(error),
    })
}
