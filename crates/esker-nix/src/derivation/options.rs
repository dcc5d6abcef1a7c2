//! Attributes of a derivation that are meant for Nix, not for the builder.
//!
//! They are variables of the environment, or, with structured attributes, members of the JSON in
//! the variable `__json` (`libstore/derivation-options.cc`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Derivation;

/// What a derivation asks of whoever builds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `pname` and version in one, as in the store path. Absent in hand-made derivations only.
    pub name: Option<String>,
    /// `kvm`, `big-parallel`, …: a machine must offer all of them.
    pub required_system_features: BTreeSet<String>,
    /// Too small to be worth sending to another machine.
    pub prefers_local_build: bool,
    /// Whether looking for it in a binary cache is worth while.
    pub allows_substitutes: bool,
    /// `__noChroot`: asks to be built outside the sandbox.
    pub no_sandbox: bool,
    /// Whether the builder gets its attributes as a JSON file.
    pub has_structured_attributes: bool,
}

/// Why the attributes could not be read. Nix would refuse to build the derivation.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// `__json` is no JSON.
    #[error("the structured attributes (`__json`) are not valid JSON")]
    Json(#[source] serde_json::Error),
    /// An attribute has another type than Nix demands.
    #[error("the attribute `{attribute}` must be {expected}")]
    Type {
        /// Its name.
        attribute: &'static str,
        /// The type Nix demands, with an article.
        expected: &'static str,
    },
}

impl Derivation {
    /// Reads what the derivation asks of whoever builds it.
    ///
    /// # Errors
    /// When structured attributes are malformed.
    pub fn options(&self) -> Result<Options, OptionsError> {
        let attributes = match self.variable("__json") {
            Some(json) => Attributes::Structured(serde_json::from_slice(json).map_err(OptionsError::Json)?),
            None => Attributes::Environment(self),
        };
        let mut required_system_features = attributes.strings("requiredSystemFeatures")?;
        if !self.has_known_output_paths() {
            required_system_features.insert("ca-derivations".into());
        }
        Ok(Options {
            name: attributes.string("name")?,
            required_system_features,
            prefers_local_build: attributes.boolean("preferLocalBuild")?.unwrap_or(false),
            allows_substitutes: attributes.boolean("allowSubstitutes")?.unwrap_or(true),
            no_sandbox: attributes.boolean("__noChroot")?.unwrap_or(false),
            has_structured_attributes: matches!(attributes, Attributes::Structured(_)),
        })
    }
}

enum Attributes<'a> {
    Environment(&'a Derivation),
    Structured(Map<String, Value>),
}

impl Attributes<'_> {
    fn string(&self, name: &'static str) -> Result<Option<String>, OptionsError> {
        match self {
            Self::Environment(derivation) => {
                Ok(derivation.variable(name).map(|value| value.to_string_lossy().into_owned()))
            }
            Self::Structured(json) => match json.get(name) {
                None => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(_) => Err(OptionsError::Type { attribute: name, expected: "a string" }),
            },
        }
    }

    fn boolean(&self, name: &'static str) -> Result<Option<bool>, OptionsError> {
        match self {
            Self::Environment(derivation) => {
                Ok(derivation.variable(name).map(|value| value.as_bytes() == b"1"))
            }
            Self::Structured(json) => match json.get(name) {
                None => Ok(None),
                Some(Value::Bool(value)) => Ok(Some(*value)),
                Some(_) => Err(OptionsError::Type { attribute: name, expected: "a Boolean" }),
            },
        }
    }

    fn strings(&self, name: &'static str) -> Result<BTreeSet<String>, OptionsError> {
        let wrong_type = || OptionsError::Type { attribute: name, expected: "a list of strings" };
        match self {
            Self::Environment(derivation) => {
                let value = derivation.variable(name).map(|value| value.to_string_lossy());
                let words = value.as_deref().unwrap_or_default().split([' ', '\t', '\n', '\r']);
                Ok(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
            }
            Self::Structured(json) => match json.get(name) {
                None => Ok(BTreeSet::new()),
                Some(Value::Array(values)) => values
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong_type))
                    .collect(),
                Some(_) => Err(wrong_type()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(environment: &[(&str, &str)]) -> Result<Options, OptionsError> {
        let mut derivation = Derivation::from_aterm(br#"Derive([],[],[],"s","b",[],[])"#).unwrap();
        derivation.environment = environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        derivation.options()
    }

    #[test]
    fn the_environment_holds_attributes_as_text() {
        let options = options(&[
            ("name", "a-1.0"),
            ("preferLocalBuild", "1"),
            ("allowSubstitutes", ""),
            ("requiredSystemFeatures", " kvm\n big-parallel"),
        ])
        .unwrap();
        assert_eq!(options.name.as_deref(), Some("a-1.0"));
        assert!(options.prefers_local_build && !options.allows_substitutes && !options.no_sandbox);
        assert_eq!(options.required_system_features, ["big-parallel".into(), "kvm".into()].into());
    }

    #[test]
    fn structured_attributes_replace_the_environment() {
        let json = r#"{"name": "b", "__noChroot": true, "requiredSystemFeatures": ["kvm"]}"#;
        let options = options(&[("__json", json), ("preferLocalBuild", "1")]).unwrap();
        assert_eq!(options.name.as_deref(), Some("b"));
        assert!(options.no_sandbox && options.allows_substitutes && !options.prefers_local_build);
        assert_eq!(options.required_system_features, ["kvm".into()].into());
    }

    #[test]
    fn malformed_structured_attributes_are_an_error() {
        for json in ["", "[]", "{", r#"{"preferLocalBuild":"1"}"#, r#"{"requiredSystemFeatures":"kvm"}"#] {
            assert!(options(&[("__json", json)]).is_err(), "{json}");
        }
        assert!(options(&[("__json", &"[".repeat(1_000_000))]).is_err());
    }
}
