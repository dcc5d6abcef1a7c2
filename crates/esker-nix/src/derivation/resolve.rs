//! Resolving: a derivation whose inputs have been built, with what came of them in their place.
//!
//! A derivation with inputs whose paths follow from their content names them by placeholders. Nix
//! builds it as another one, that has the inputs' paths as sources and no input derivations
//! (`tryResolve` in `libstore/derivations.cc`), so that what is built does not depend on how its
//! inputs came about.

use std::collections::{BTreeMap, BTreeSet};

use super::{ByteString, Derivation, Output, Rewrites, aterm};
use crate::StorePath;
use crate::hash::Hash;
use crate::store_path::NameError;

/// Why a derivation cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// An input was not built, or has no such output.
    #[error("the path of the output `{output}` of its input `{input}` is not known")]
    UnknownInput {
        /// Which input.
        input: StorePath,
        /// Which of its outputs.
        output: String,
    },
    /// A name that Nix would refuse.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Derivation {
    /// Whether Nix builds it in another form, see [`Derivation::resolve`].
    pub fn is_to_be_resolved(&self) -> bool {
        let unknown = |output: &Output| matches!(output, Output::Floating { .. } | Output::Deferred);
        !self.input_derivations.is_empty() && self.outputs.values().any(unknown)
    }

    /// The derivation that Nix builds in the place of this one, which is called `name` (without
    /// `.drv`). `input` tells where an output of an input is.
    ///
    /// # Errors
    /// When `input` does not know one.
    pub fn resolve(
        &self,
        name: &str,
        input: impl Fn(&StorePath, &str) -> Option<StorePath>,
    ) -> Result<Self, ResolveError> {
        let mut rewrites = Rewrites::default();
        let mut input_sources = self.input_sources.clone();
        for (path, outputs) in &self.input_derivations {
            for output in outputs {
                let unknown = || ResolveError::UnknownInput { input: path.clone(), output: output.clone() };
                let found = input(path, output).ok_or_else(unknown)?;
                rewrites.insert(placeholder_of_input(path, output), found.as_str());
                input_sources.insert(found);
            }
        }
        let rewrite = |text: &ByteString| ByteString::from(rewrites.apply(text));
        let environment = self.environment.iter().map(|(name, value)| (rewrite(name), rewrite(value)));
        let mut resolved = Self {
            outputs: self.outputs.clone(),
            input_derivations: BTreeMap::new(),
            input_sources,
            system: self.system.clone(),
            builder: rewrite(&self.builder),
            arguments: self.arguments.iter().map(rewrite).collect(),
            environment: environment.collect(),
        };
        let hash = resolved.realisation_hash();
        for (output, kind) in &mut resolved.outputs {
            if *kind == Output::Deferred {
                let path = StorePath::for_output(name, output, &hash)?;
                resolved.environment.insert(output.as_str().into(), path.as_str().into());
                *kind = Output::InputAddressed(path);
            }
        }
        Ok(resolved)
    }

    /// What Nix knows the outputs of this derivation by, which has no input derivations.
    pub fn realisation_hash(&self) -> Hash {
        let no_inputs: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        Hash::sha256(aterm::print(self, &no_inputs, aterm::OutputPaths::Masked))
    }
}

/// What stands for the output of an input whose path is not known yet.
fn placeholder_of_input(drv: &StorePath, output: &str) -> String {
    let name = StorePath::name_of_output(drv, output);
    let text = format!("nix-upstream-output:{}:{name}", drv.hash_part());
    format!("/{}", Hash::sha256(text).to_nix32())
}
