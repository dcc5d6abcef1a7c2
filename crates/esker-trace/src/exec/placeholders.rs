//! The same run under other hashes.

use std::collections::{BTreeSet, HashSet};

use super::{Bytes, Spec};
use crate::answer::HashPart;
use crate::inputs::{HASH_LENGTH, Input, Inputs};
use crate::observe::rename::Renaming;

/// Why a run cannot be made under other hashes.
#[derive(Debug, thiserror::Error)]
pub enum NoPlaceholders {
    /// What is given to the builder is not what it would get of a derivation with these hashes.
    #[error("a hash stands in a name, or is no plain hash")]
    Names,
    /// Hashes that overlap, or a placeholder that is there already.
    #[error("the hashes in what the builder is given cannot be told apart")]
    Entangled,
}

impl Spec {
    /// The run with placeholders in place of its outputs' hashes and of those of the inputs in these slots,
    /// in everything that the builder is given and sees. The outputs keep their order.
    ///
    /// # Errors
    /// Says why there is no such run.
    pub fn with_placeholders(mut self, slots: &BTreeSet<String>) -> Result<Self, NoPlaceholders> {
        let hash = |base_name: &str| HashPart::parse(base_name.get(..HASH_LENGTH)?);
        let inputs = self.inputs.as_slice();
        let chosen = inputs.iter().filter(|input| slots.contains(&input.key));
        let given = chosen.map(|input| &input.base_name).chain(&self.outputs);
        let renamed: HashSet<HashPart> =
            given.map(|name| hash(name)).collect::<Option<_>>().ok_or(NoPlaceholders::Names)?;
        let mut names = inputs.iter().map(|input| &input.base_name).chain(&self.outputs);
        if names.any(|name| hash(name).is_some_and(|hash| renamed.contains(&hash.placeholder()))) {
            return Err(NoPlaceholders::Entangled);
        }
        let base_name = |name: &str| {
            let hash = hash(name).filter(|hash| renamed.contains(hash));
            hash.map_or(name.to_owned(), |hash| {
                format!("{}{}", hash.placeholder().as_str(), &name[HASH_LENGTH..])
            })
        };
        let hashes: BTreeSet<String> = renamed.iter().map(|hash| hash.as_str().to_owned()).collect();
        let renaming = Renaming::new(&hashes);
        let rename = |bytes: &mut Vec<u8>| renaming.apply(bytes).map_err(|_| NoPlaceholders::Entangled);
        // Names of files can follow from those of variables.
        let variables = self.env.keys().map(|name| &name.0[..]);
        for name in variables.chain(self.files.iter().map(|file| file.name.as_bytes())) {
            let mut after = name.to_vec();
            rename(&mut after)?;
            if after != name {
                return Err(NoPlaceholders::Names);
            }
        }
        let values = self.env.values_mut().chain(&mut self.args).chain([&mut self.builder]);
        values
            .chain(self.files.iter_mut().map(|file| &mut file.bytes))
            .try_for_each(|Bytes(it)| rename(it))?;
        // What an input holds of an output's hash is no output's.
        let of_inputs =
            inputs.iter().filter_map(|input| hash(&input.base_name)).filter(|hash| renamed.contains(hash));
        let of_inputs = of_inputs.map(|hash| hash.as_str().to_owned()).collect();
        let inputs =
            inputs.iter().map(|input| Input { base_name: base_name(&input.base_name), ..input.clone() });
        let inputs = Inputs::new(inputs.collect());
        for output in &mut self.outputs {
            *output = base_name(output);
        }
        Ok(Self { inputs, renamed: of_inputs, ..self })
    }
}
