//! Realisations: which path came of an output whose path was not known before it was built.
//!
//! Source: `Realisation` and `DrvOutput` in `libstore/realisation.cc`. They travel as JSON.

use std::io::Read;

use serde::{Deserialize, Serialize};

use super::ProtocolError;
use super::wire::Reader;
use crate::StorePath;
use crate::hash::Hash;

/// Names an output of a derivation by what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputId {
    /// See [`Derivation::realisation_hash`](crate::derivation::Derivation::realisation_hash).
    pub derivation: Hash,
    /// `out`, `dev`, …
    pub output: String,
}

impl OutputId {
    pub(super) fn to_text(&self) -> String {
        let Self { derivation, output } = self;
        format!("{}:{}!{output}", derivation.algorithm(), derivation.to_base16())
    }
}

/// The whole of it. Nix 2.8 wants each field; what a path depends on is for its own to say.
#[derive(Serialize)]
struct Written<'a> {
    id: String,
    #[serde(rename = "outPath")]
    out_path: &'a str,
    signatures: [String; 0],
    #[serde(rename = "dependentRealisations")]
    dependent_realisations: serde_json::Map<String, serde_json::Value>,
}

/// The part of it that matters here. Nix writes a base name.
#[derive(Deserialize)]
struct Realisation {
    #[serde(rename = "outPath")]
    out_path: String,
}

/// The realisation of `output` by `path`, unsigned.
pub(super) fn print(id: &str, path: &StorePath) -> String {
    let written = Written {
        id: id.to_owned(),
        out_path: path.base_name(),
        signatures: [],
        dependent_realisations: serde_json::Map::new(),
    };
    serde_json::to_string(&written).unwrap_or_default()
}

/// The path of a realisation.
pub(super) fn read<R: Read>(reader: &mut Reader<R>) -> Result<StorePath, ProtocolError> {
    let wrong =
        |error: &dyn std::fmt::Display| ProtocolError::malformed(format!("a wrong realisation: {error}"));
    let Realisation { out_path } = serde_json::from_slice(&reader.bytes()?).map_err(|error| wrong(&error))?;
    StorePath::from_base_name(&out_path).map_err(|error| wrong(&error))
}
