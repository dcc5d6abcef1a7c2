//! What to build: outputs of a derivation, or a path to be fetched.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::ProtocolError;
use crate::StorePath;

/// Something the daemon can make valid. On the wire `….drv!*`, `….drv!dev,out`, or a plain path.
///
/// Source: `DerivedPath::parseLegacy` in `libstore/derived-path.cc`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DerivedPath {
    /// A path to be substituted, or only to be valid.
    Opaque(StorePath),
    /// Outputs to be built or substituted.
    Built {
        /// The derivation.
        drv: StorePath,
        /// Which of its outputs.
        outputs: OutputSelection,
    },
}

/// Which outputs of a derivation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputSelection {
    /// All it has.
    All,
    /// Those named; Nix keeps them sorted, hence a set.
    Names(BTreeSet<String>),
}

impl DerivedPath {
    /// All outputs of a derivation.
    pub fn all_outputs(drv: StorePath) -> Self {
        Self::Built { drv, outputs: OutputSelection::All }
    }

    /// The outputs of a derivation that have these names.
    pub fn outputs<N: Into<String>>(drv: StorePath, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self::Built { drv, outputs: OutputSelection::Names(names) }
    }

    /// The derivation, or the path itself.
    pub fn store_path(&self) -> &StorePath {
        match self {
            Self::Opaque(path) | Self::Built { drv: path, .. } => path,
        }
    }
}

impl fmt::Display for DerivedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opaque(path) => write!(f, "{path}"),
            Self::Built { drv, outputs: OutputSelection::All } => write!(f, "{drv}!*"),
            Self::Built { drv, outputs: OutputSelection::Names(names) } => {
                write!(f, "{drv}!")?;
                names.iter().enumerate().try_for_each(|(index, name)| {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    f.write_str(name)
                })
            }
        }
    }
}

impl FromStr for DerivedPath {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let (path, outputs) = match text.split_once('!') {
            None => (text, None),
            Some((path, outputs)) => (path, Some(outputs)),
        };
        let path: StorePath =
            path.parse().map_err(|error| ProtocolError::malformed(format!("a wrong store path: {error}")))?;
        match outputs {
            None => Ok(Self::Opaque(path)),
            Some("*") => Ok(Self::all_outputs(path)),
            Some(names) if is_list_of_names(names) => Ok(Self::outputs(path, names.split(','))),
            Some(_) => Err(ProtocolError::malformed(format!("wrong names of outputs after {path}"))),
        }
    }
}

/// An output's name may hold what a store path's name may.
fn is_list_of_names(names: &str) -> bool {
    names.split(',').all(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/00000000000000000000000000000000-hello.drv";

    #[test]
    fn all_forms_survive_a_round_trip() {
        for text in [DRV.to_owned(), format!("{DRV}!*"), format!("{DRV}!out"), format!("{DRV}!dev,out")] {
            assert_eq!(text.parse::<DerivedPath>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_nix_would_not_send_is_refused() {
        for tail in ["!", "!out,", "!out!out", "!a b"] {
            assert!(format!("{DRV}{tail}").parse::<DerivedPath>().is_err(), "{tail}");
        }
    }
}
