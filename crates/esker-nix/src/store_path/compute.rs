//! How store paths come about: the hash part is a hash of what a path stands for.
//!
//! Nix's manual describes it under "Store path specification" (`protocols/store-path`).

use std::collections::BTreeSet;

use super::{NameError, STORE_DIR, StorePath, check_name};
use crate::base32;
use crate::derivation::Method;
use crate::hash::{Algorithm, Hash};

/// Whether content refers to the path at which it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfReference {
    /// It does.
    Present,
    /// It does not.
    Absent,
}

impl StorePath {
    /// The path of a file with this content (by its SHA-256) and these references, as `.drv` files
    /// and `builtins.toFile` have it.
    ///
    /// # Errors
    /// When the name is not one.
    pub fn for_text(name: &str, content: &Hash, references: &BTreeSet<&Self>) -> Result<Self, NameError> {
        from_fingerprint(&with_references("text", references), content, name)
    }

    /// The path of content without references whose hash was known beforehand: downloads, and
    /// sources that were copied to the store.
    ///
    /// # Errors
    /// When the name is not one.
    pub fn for_fixed_output(name: &str, method: Method, hash: &Hash) -> Result<Self, NameError> {
        match method {
            Method::Nar if hash.algorithm() == Algorithm::Sha256 => from_fingerprint("source", hash, name),
            Method::Text => Self::for_text(name, hash, &BTreeSet::new()),
            Method::Flat | Method::Nar | Method::Git => {
                let (method, algorithm, hash) = (method.prefix(), hash.algorithm(), hash.to_base16());
                let inner = Hash::sha256(format!("fixed:out:{method}{algorithm}:{hash}:"));
                from_fingerprint("output:out", &inner, name)
            }
        }
    }

    /// The path of content that was hashed after it was made: [`StorePath::for_fixed_output`] with
    /// `references` to other paths, and perhaps to `itself`. Only a SHA-256 of the NAR permits any.
    ///
    /// # Errors
    /// When the name is not one.
    pub fn for_content(
        name: &str,
        method: Method,
        hash: &Hash,
        references: &BTreeSet<&Self>,
        itself: SelfReference,
    ) -> Result<Self, NameError> {
        if method != Method::Nar || hash.algorithm() != Algorithm::Sha256 {
            return Self::for_fixed_output(name, method, hash);
        }
        let mut kind = with_references("source", references);
        if itself == SelfReference::Present {
            kind.push_str(":self");
        }
        from_fingerprint(&kind, hash, name)
    }

    /// Where the builder of `drv` makes an output whose path follows from its content: no such path
    /// is ever valid (`makeFallbackPath` in `libstore`).
    ///
    /// # Errors
    /// When the names do not make one.
    pub fn for_scratch(drv: &Self, output: &str) -> Result<Self, NameError> {
        let kind = format!("rewrite:{}:name:{output}", drv.base_name());
        let zeros = Hash::from_bytes(Algorithm::Sha256, &[0; 32]).expect("SHA-256 yields 32 bytes");
        from_fingerprint(&kind, &zeros, &Self::name_of_output(drv, output))
    }

    /// What the store path of an output of `drv` is called.
    pub fn name_of_output(drv: &Self, output: &str) -> String {
        output_name(drv.name().strip_suffix(".drv").unwrap_or(drv.name()), output)
    }

    /// The path of the output of a derivation that is called `name`, by the derivation's hash.
    ///
    /// # Errors
    /// When the names do not make one.
    pub(crate) fn for_output(name: &str, output: &str, derivation: &Hash) -> Result<Self, NameError> {
        from_fingerprint(&format!("output:{output}"), derivation, &output_name(name, output))
    }
}

/// What the store path of an output is called.
pub(crate) fn output_name(name: &str, output: &str) -> String {
    match output {
        "out" => name.to_owned(),
        _ => format!("{name}-{output}"),
    }
}

fn with_references(kind: &str, references: &BTreeSet<&StorePath>) -> String {
    references.iter().fold(kind.to_owned(), |text, path| text + ":" + path.as_str())
}

fn from_fingerprint(kind: &str, inner: &Hash, name: &str) -> Result<StorePath, NameError> {
    check_name(name)?;
    let (algorithm, hash) = (inner.algorithm(), inner.to_base16());
    let fingerprint = Hash::sha256(format!("{kind}:{algorithm}:{hash}:{STORE_DIR}:{name}"));
    let mut folded = [0; 20];
    for (index, byte) in fingerprint.as_bytes().iter().enumerate() {
        folded[index % 20] ^= byte;
    }
    Ok(StorePath(format!("{STORE_DIR}/{}-{name}", base32::encode(&folded)).into()))
}
