//! The paths of a derivation: its own, and those of its outputs.
//!
//! An output's path follows from the derivation with each input replaced by *its* hash "modulo":
//! a download counts as its content only, so that a new mirror does not rebuild the world
//! (`hashDerivationModulo` in `libstore/derivations.cc`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Derivation, Output, aterm};
use crate::StorePath;
use crate::hash::Hash;
use crate::store_path::{self, NameError};

/// Why a path could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuloError {
    /// Its own outputs, or those of an input, have paths that only a build can tell.
    #[error("the paths of its outputs are known only after a build")]
    UnknownOutputPaths,
    /// The caller has no hash for this input.
    #[error("the hash of its input `{0}` is not known")]
    UnknownInput(StorePath),
    /// A name that Nix would refuse.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Derivation {
    /// The store path of the `.drv` file of a derivation that is called `name` (without `.drv`).
    ///
    /// # Errors
    /// When the name is not one.
    pub fn store_path(&self, name: &str) -> Result<StorePath, NameError> {
        let references = self.input_sources.iter().chain(self.input_derivations.keys());
        let content = Hash::sha256(self.to_aterm());
        StorePath::for_text(&format!("{name}.drv"), &content, &references.collect())
    }

    /// The hash that stands for this derivation where it is an input. `input` tells the same of
    /// its inputs; a caller that walks a graph should remember the answers.
    ///
    /// # Errors
    /// When `input` knows none, or for outputs whose paths only a build can tell.
    pub fn hash_modulo(&self, input: impl FnMut(&StorePath) -> Option<Hash>) -> Result<Hash, ModuloError> {
        self.hash(input, aterm::OutputPaths::Shown)
    }

    /// Computes the paths that the outputs must have, of a derivation called `name` (without
    /// `.drv`). What [`Derivation::outputs`] says of input-addressed outputs is not looked at.
    ///
    /// # Errors
    /// See [`Derivation::hash_modulo`]; and when a name is not one.
    pub fn compute_output_paths(
        &self,
        name: &str,
        input: impl FnMut(&StorePath) -> Option<Hash>,
    ) -> Result<BTreeMap<String, StorePath>, ModuloError> {
        if let [(output, Output::Fixed { method, hash, .. })] = self.outputs.iter().collect::<Vec<_>>()[..] {
            let name = store_path::output_name(name, output);
            return Ok([(output.clone(), StorePath::for_fixed_output(&name, *method, hash)?)].into());
        }
        let hash = self.hash(input, aterm::OutputPaths::Masked)?;
        let path = |output: &String| StorePath::for_output(name, output, &hash);
        self.outputs.keys().map(|output| Ok((output.clone(), path(output)?))).collect()
    }

    fn hash(
        &self,
        mut input: impl FnMut(&StorePath) -> Option<Hash>,
        output_paths: aterm::OutputPaths,
    ) -> Result<Hash, ModuloError> {
        if let [Output::Fixed { path, method, hash }] = self.outputs.values().collect::<Vec<_>>()[..] {
            let (method, algorithm, hash) = (method.prefix(), hash.algorithm(), hash.to_base16());
            return Ok(Hash::sha256(format!("fixed:out:{method}{algorithm}:{hash}:{path}")));
        }
        if !self.has_known_output_paths() {
            return Err(ModuloError::UnknownOutputPaths);
        }
        let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, outputs) in &self.input_derivations {
            let hash = input(path).ok_or_else(|| ModuloError::UnknownInput(path.clone()))?;
            inputs.entry(hash.to_base16()).or_default().extend(outputs.iter().cloned());
        }
        Ok(Hash::sha256(aterm::print(self, &inputs, output_paths)))
    }
}
