//! Derivations: what a `.drv` file says, as a value.
//!
//! Builder, arguments and environment are bytes, as Nix has them: a flake can put any byte except
//! NUL there. Names, systems and store paths are text.
//!
//! Invariant: a derivation that was read prints as exactly the bytes it was read from, because
//! [`Derivation::from_aterm`] refuses every spelling that Nix would not write.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::StorePath;
use crate::hash::{Algorithm, Hash, HashError};

mod aterm;
mod byte_string;
mod modulo;
mod options;
mod resolve;
mod rewrites;

pub use aterm::{ParseError, Problem};
pub use byte_string::ByteString;
pub use modulo::ModuloError;
pub use options::{Options, OptionsError};
pub use resolve::ResolveError;
pub use rewrites::Rewrites;

/// One step of building: run `builder` on these inputs, and expect these outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// By name: `out`, `dev`, …
    pub outputs: BTreeMap<String, Output>,
    /// Derivations that have to be built first, and which of their outputs are used.
    pub input_derivations: BTreeMap<StorePath, BTreeSet<String>>,
    /// Paths that are used as they are.
    pub input_sources: BTreeSet<StorePath>,
    /// Where it can be built, e.g. `x86_64-linux`, or `builtin`.
    pub system: String,
    /// The program to run, or `builtin:fetchurl` and the like.
    pub builder: ByteString,
    /// Without the program's name.
    pub arguments: Vec<ByteString>,
    /// Holds the attributes too, or, as JSON in `__json`, the structured ones.
    pub environment: BTreeMap<ByteString, ByteString>,
}

/// What is known about an output before it is built.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Its path follows from how it is made: almost all outputs.
    InputAddressed(StorePath),
    /// Its content is known beforehand: a download. Must be the only output, `out`.
    Fixed {
        /// Where it will be.
        path: StorePath,
        /// What is hashed.
        method: Method,
        /// What the content must hash to.
        hash: Hash,
    },
    /// Its path will follow from its content (experimental `ca-derivations`).
    Floating {
        /// What will be hashed.
        method: Method,
        /// With what.
        algorithm: Algorithm,
    },
    /// Its path depends on a floating output of an input.
    Deferred,
    /// Built each time, with network access (experimental `impure-derivations`).
    Impure {
        /// What will be hashed.
        method: Method,
        /// With what.
        algorithm: Algorithm,
    },
}

impl Output {
    /// The store path, if it is known before the build.
    pub fn path(&self) -> Option<&StorePath> {
        match self {
            Self::InputAddressed(path) | Self::Fixed { path, .. } => Some(path),
            Self::Floating { .. } | Self::Deferred | Self::Impure { .. } => None,
        }
    }
}

/// What is hashed to address content: Nix's "content address method".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The bytes of one file.
    Flat,
    /// The NAR, called "recursive" elsewhere.
    Nar,
    /// The bytes of one file with references, as `.drv` files are.
    Text,
    /// A tree or blob as Git hashes it (experimental).
    Git,
}

impl Method {
    /// How it is written before an algorithm, e.g. `r:`.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Flat => "",
            Self::Nar => "r:",
            Self::Text => "text:",
            Self::Git => "git:",
        }
    }

    /// Reads method and algorithm, e.g. `r:sha256`.
    fn parse_with_algorithm(text: &str) -> Result<(Self, Algorithm), HashError> {
        let (method, rest) = [Self::Nar, Self::Text, Self::Git]
            .into_iter()
            .find_map(|method| Some((method, text.strip_prefix(method.prefix())?)))
            .unwrap_or((Self::Flat, text));
        Ok((method, rest.parse()?))
    }
}

impl Derivation {
    /// Reads the content of a `.drv` file.
    ///
    /// # Errors
    /// For anything that Nix would not have written, with the offset where it begins.
    pub fn from_aterm(bytes: &[u8]) -> Result<Self, ParseError> {
        aterm::parse(bytes)
    }

    /// Prints the content of a `.drv` file, as Nix does.
    ///
    /// Names of outputs and the system are written as they are: a `"` in one makes a file that
    /// nobody can read. Evaluation never leads there.
    pub fn to_aterm(&self) -> Vec<u8> {
        aterm::print(self, &aterm::inputs_as_paths(self), aterm::OutputPaths::Shown)
    }

    /// Whether its content is known beforehand. Nix then gives it network access, and does not
    /// change its path when a way to fetch it changes.
    pub fn is_fixed_output(&self) -> bool {
        matches!(self.outputs.get("out"), Some(Output::Fixed { .. }) if self.outputs.len() == 1)
    }

    /// Whether the path of every output is known before the build.
    pub fn has_known_output_paths(&self) -> bool {
        self.outputs.values().all(|output| output.path().is_some())
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<&ByteString> {
        self.environment.get(name.as_bytes())
    }
}

impl FromStr for Derivation {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::from_aterm(text.as_bytes())
    }
}
