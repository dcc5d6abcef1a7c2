//! `.narinfo`: what a binary cache says about one store path.
//!
//! Lines of `Key: value`. Nix writes them in a fixed order, which [`NarInfo`] prints too; other
//! caches use other orders and keys of their own, which are read and forgotten
//! (`libstore/nar-info.cc`).
//!
//! Invariant: everything [`NarInfo::fingerprint`] covers is here, so a signature over it can be
//! checked; nothing else of a cache's answer is to be believed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::StorePath;
use crate::hash::{Hash, HashError};
use crate::store_path::StorePathError;

/// What a binary cache says about one store path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    /// Whose content this describes.
    pub store_path: StorePath,
    /// Where the archive is, relative to the cache or absolute.
    pub url: String,
    /// How it is packed: `xz`, `zstd`, `none`, …
    pub compression: String,
    /// Of the packed file.
    pub file_hash: Option<Hash>,
    /// Of the packed file, in bytes.
    pub file_size: Option<u64>,
    /// Of the archive itself.
    pub nar_hash: Hash,
    /// Of the archive itself, in bytes.
    pub nar_size: u64,
    /// Store paths its content mentions, possibly itself.
    pub references: BTreeSet<StorePath>,
    /// What built it, if that is known.
    pub deriver: Option<StorePath>,
    /// `name:base 64`, each over the [fingerprint](Self::fingerprint).
    pub signatures: Vec<String>,
    /// How its content determines its path, as Nix writes it: `fixed:r:sha256:…`.
    pub content_address: Option<String>,
}

impl NarInfo {
    /// What a signature signs.
    pub fn fingerprint(&self) -> String {
        let references: Vec<_> = self.references.iter().map(StorePath::as_str).collect();
        format!("1;{};{};{};{}", self.store_path, self.nar_hash, self.nar_size, references.join(","))
    }
}

impl FromStr for NarInfo {
    type Err = NarInfoError;

    fn from_str(text: &str) -> Result<Self, NarInfoError> {
        let mut fields = Fields::default();
        for (index, line) in text.lines().enumerate() {
            fields.read(line).map_err(|problem| NarInfoError::Line { number: index + 1, problem })?;
        }
        fields.finish()
    }
}

impl fmt::Display for NarInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "StorePath: {}", self.store_path)?;
        writeln!(f, "URL: {}", self.url)?;
        writeln!(f, "Compression: {}", self.compression)?;
        if let Some(hash) = &self.file_hash {
            writeln!(f, "FileHash: {hash}")?;
        }
        if let Some(size) = self.file_size {
            writeln!(f, "FileSize: {size}")?;
        }
        writeln!(f, "NarHash: {}", self.nar_hash)?;
        writeln!(f, "NarSize: {}", self.nar_size)?;
        let references: Vec<_> = self.references.iter().map(StorePath::base_name).collect();
        writeln!(f, "References: {}", references.join(" "))?;
        if let Some(deriver) = &self.deriver {
            writeln!(f, "Deriver: {}", deriver.base_name())?;
        }
        for signature in &self.signatures {
            writeln!(f, "Sig: {signature}")?;
        }
        if let Some(content_address) = &self.content_address {
            writeln!(f, "CA: {content_address}")?;
        }
        Ok(())
    }
}

/// Why a `.narinfo` could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NarInfoError {
    /// A line that cannot be read.
    #[error("line {number} of the narinfo: {problem}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A key without which it says nothing.
    #[error("the narinfo has no `{0}`")]
    Missing(&'static str),
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No `: `.
    #[error("expected `Key: value`")]
    NoKey,
    /// Only `Sig` may come again.
    #[error("the key comes a second time")]
    Twice,
    /// A size that is none, or zero for an archive.
    #[error("expected a size in bytes")]
    Size,
    /// A value without which it says nothing.
    #[error("the value is empty")]
    Empty,
    /// A path that is none.
    #[error(transparent)]
    StorePath(#[from] StorePathError),
    /// A hash that is none.
    #[error(transparent)]
    Hash(#[from] HashError),
}

#[derive(Default)]
struct Fields {
    store_path: Option<StorePath>,
    url: Option<String>,
    compression: Option<String>,
    file_hash: Option<Hash>,
    file_size: Option<u64>,
    nar_hash: Option<Hash>,
    nar_size: Option<u64>,
    references: Option<BTreeSet<StorePath>>,
    deriver: Option<Option<StorePath>>,
    signatures: Vec<String>,
    content_address: Option<Option<String>>,
}

impl Fields {
    fn read(&mut self, line: &str) -> Result<(), Problem> {
        // Nix prints an empty list of references as `References: `; editors cut the space.
        let (key, value) = line.split_once(':').ok_or(Problem::NoKey)?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        let is_known = |unknown| !matches!(unknown, "" | "unknown-deriver");
        match key {
            "StorePath" => once(&mut self.store_path, value.parse()?),
            "URL" => once(&mut self.url, non_empty(value)?),
            "Compression" => once(&mut self.compression, non_empty(value)?),
            "FileHash" => once(&mut self.file_hash, value.parse()?),
            "FileSize" => once(&mut self.file_size, size(value)?),
            "NarHash" => once(&mut self.nar_hash, value.parse()?),
            "NarSize" => once(&mut self.nar_size, size(value).and_then(non_zero)?),
            "References" => {
                let references = value.split(' ').filter(|name| !name.is_empty());
                once(
                    &mut self.references,
                    references.map(StorePath::from_base_name).collect::<Result<_, _>>()?,
                )
            }
            "Deriver" => {
                let deriver = is_known(value).then(|| StorePath::from_base_name(value));
                once(&mut self.deriver, deriver.transpose()?)
            }
            "Sig" => {
                self.signatures.push(non_empty(value)?);
                Ok(())
            }
            "CA" => once(&mut self.content_address, is_known(value).then(|| value.to_owned())),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<NarInfo, NarInfoError> {
        Ok(NarInfo {
            store_path: self.store_path.ok_or(NarInfoError::Missing("StorePath"))?,
            url: self.url.ok_or(NarInfoError::Missing("URL"))?,
            // Nix's default from the times when there was only one.
            compression: self.compression.unwrap_or_else(|| "bzip2".into()),
            file_hash: self.file_hash,
            file_size: self.file_size,
            nar_hash: self.nar_hash.ok_or(NarInfoError::Missing("NarHash"))?,
            nar_size: self.nar_size.ok_or(NarInfoError::Missing("NarSize"))?,
            references: self.references.unwrap_or_default(),
            deriver: self.deriver.flatten(),
            signatures: self.signatures,
            content_address: self.content_address.flatten(),
        })
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Problem> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::Twice),
    }
}

fn non_empty(value: &str) -> Result<String, Problem> {
    if value.is_empty() { Err(Problem::Empty) } else { Ok(value.to_owned()) }
}

fn non_zero(size: u64) -> Result<u64, Problem> {
    if size == 0 { Err(Problem::Size) } else { Ok(size) }
}

fn size(value: &str) -> Result<u64, Problem> {
    let is_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits { value.parse().map_err(|_| Problem::Size) } else { Err(Problem::Size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "\
StorePath: /nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a
URL: nar/1.nar
Compression: none
NarHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
NarSize: 112
References: \n";

    const FULL: &str = "\
StorePath: /nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a
URL: nar/1.nar.xz
Compression: xz
FileHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
FileSize: 70
NarHash: sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
NarSize: 112
References: 01w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-b g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a
Deriver: z1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a.drv
Sig: one:AAAA
Sig: two:BBBB
CA: fixed:r:sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73
";

    fn check_refused(text: &str, message: &str) {
        assert_eq!(text.parse::<NarInfo>().unwrap_err().to_string(), message);
    }

    #[test]
    fn a_narinfo_prints_as_it_was_read() {
        for text in [SMALLEST, FULL] {
            assert_eq!(text.parse::<NarInfo>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_fingerprint_has_full_paths() {
        assert_eq!(
            FULL.parse::<NarInfo>().unwrap().fingerprint(),
            "1;/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a;\
             sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73;112;\
             /nix/store/01w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-b,/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a"
        );
    }

    #[test]
    fn unknown_keys_and_an_unknown_deriver_are_forgotten() {
        let text = format!("{SMALLEST}Deriver: unknown-deriver\nSystem: x\n");
        assert_eq!(text.parse::<NarInfo>(), SMALLEST.parse());
    }

    #[test]
    fn a_refusal_says_which_line() {
        check_refused("", "the narinfo has no `StorePath`");
        check_refused("<html>", "line 1 of the narinfo: expected `Key: value`");
        check_refused(&format!("{FULL}URL: x"), "line 13 of the narinfo: the key comes a second time");
        check_refused(&FULL.replace(": 112", ": 0"), "line 7 of the narinfo: expected a size in bytes");
        check_refused(&FULL.replace(": 112", ": +1"), "line 7 of the narinfo: expected a size in bytes");
        check_refused(&FULL.replace("nar/1.nar.xz", ""), "line 2 of the narinfo: the value is empty");
        check_refused(
            &FULL.replace("StorePath: /nix", "StorePath: /"),
            "line 1 of the narinfo: `//store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a` is not a store path: \
             it is not in `/nix/store`",
        );
    }
}
