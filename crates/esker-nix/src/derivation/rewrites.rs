//! Placeholders for store paths, and what they are replaced by.

use super::Derivation;
use crate::hash::Hash;

/// Texts that begin with `/`, and what takes their place.
#[derive(Clone, Debug, Default)]
pub struct Rewrites(Vec<(Vec<u8>, Vec<u8>)>);

impl Rewrites {
    /// What `builtins.placeholder` gives for each output of `derivation`, and the output's path, if
    /// it is known.
    pub fn of_outputs(derivation: &Derivation) -> Self {
        let mut rewrites = Self::default();
        for (name, output) in &derivation.outputs {
            if let Some(path) = output.path() {
                let placeholder = Hash::sha256(format!("nix-output:{name}")).to_nix32();
                rewrites.insert(format!("/{placeholder}"), path.as_str());
            }
        }
        rewrites
    }

    /// Adds one.
    pub fn insert(&mut self, placeholder: impl Into<Vec<u8>>, path: &str) {
        self.0.push((placeholder.into(), path.as_bytes().to_vec()));
    }

    /// The text with all placeholders replaced.
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        let (mut replaced, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(at) = rest.iter().position(|byte| *byte == b'/') {
            replaced.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let found = self.0.iter().find(|(placeholder, _)| rest.starts_with(placeholder));
            let (length, path) =
                found.map_or((1, &b"/"[..]), |(placeholder, path)| (placeholder.len(), path));
            replaced.extend_from_slice(path);
            rest = &rest[length..];
        }
        replaced.extend_from_slice(rest);
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_wherever_they_are() {
        let out = b"/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9".to_vec();
        let mut rewrites = Rewrites::default();
        rewrites.insert(out.clone(), "/nix/store/x");
        let text = [b"a/", &out[..], b"b", &out[..], &out[..], b"/"].concat();
        assert_eq!(rewrites.apply(&text), b"a//nix/store/xb/nix/store/x/nix/store/x/");
        assert_eq!(rewrites.apply(&out[..20]), &out[..20]);
    }
}
