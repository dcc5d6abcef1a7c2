//! Store paths: `/nix/store/<hash part>-<name>`.
//!
//! The rules are those of Nix 2.34 (`libstore/path.cc`), the strictest of the versions we support
//! in all but one point: Nix accepts any byte between hash part and name, we want the hyphen.
//!
//! Invariant: a [`StorePath`] has a hash part of 32 nix32 characters and a name that passes
//! [`check_name`], so it is ASCII, free of `/`, quotes, spaces and line breaks, and safe to join.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

mod compute;

pub use compute::SelfReference;
pub(crate) use compute::output_name;

/// The only store directory we support. Every path inside another one would have another hash.
pub const STORE_DIR: &str = "/nix/store";

/// Characters in a hash part: 160 bits in nix32.
pub const HASH_PART_LENGTH: usize = 32;

/// Longest name Nix permits, in bytes: file names end at 255, and temporary names need room.
pub const MAX_NAME_LENGTH: usize = 211;

/// Where the hash part begins in the full path.
const BASE: usize = STORE_DIR.len() + 1;

/// Where the name begins in the full path.
const NAME: usize = BASE + HASH_PART_LENGTH + 1;

/// A path directly inside the store. Cloning costs one reference count; the order is Nix's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Arc<str>);

impl StorePath {
    /// Reads the last component of a store path, `<hash part>-<name>`.
    ///
    /// # Errors
    /// When Nix would refuse it.
    pub fn from_base_name(base_name: &str) -> Result<Self, StorePathError> {
        check_base_name(base_name).map_err(|reason| StorePathError::new(base_name, reason))?;
        Ok(Self(format!("{STORE_DIR}/{base_name}").into()))
    }

    /// `/nix/store/<hash part>-<name>`
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as a file system path.
    pub fn as_path(&self) -> &Path {
        Path::new(self.as_str())
    }

    /// `<hash part>-<name>`
    pub fn base_name(&self) -> &str {
        &self.0[BASE..]
    }

    /// 32 characters of nix32.
    pub fn hash_part(&self) -> &str {
        &self.0[BASE..NAME - 1]
    }

    /// What follows the hash part, with the `.drv` of a derivation and the output's name.
    pub fn name(&self) -> &str {
        &self.0[NAME..]
    }

    /// Whether it is the file of a derivation, by its name.
    pub fn is_derivation(&self) -> bool {
        self.0.ends_with(".drv")
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;

    /// Reads a full path. A path *below* a store path is refused.
    fn from_str(path: &str) -> Result<Self, StorePathError> {
        path.strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(Reason::OutsideStore)
            .and_then(check_base_name)
            .map_err(|reason| StorePathError::new(path, reason))?;
        Ok(Self(path.into()))
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<Path> for StorePath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl Serialize for StorePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for StorePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Text that is not a store path, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a store path: {reason}")]
pub struct StorePathError {
    /// What was read, cut after 300 characters and without control characters.
    path: String,
    reason: Reason,
}

impl StorePathError {
    fn new(path: &str, reason: Reason) -> Self {
        let path = path.chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self { path, reason }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("it is not in `{STORE_DIR}`")]
    OutsideStore,
    #[error("it does not begin with a hash of {HASH_PART_LENGTH} characters and a hyphen")]
    NoHashPart,
    #[error("its hash contains a character that is not in Nix's base 32")]
    NotBase32,
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Why Nix would not permit a name inside the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is none.
    #[error("the name is empty")]
    Empty,
    /// It has more than [`MAX_NAME_LENGTH`] bytes.
    #[error("the name is longer than {MAX_NAME_LENGTH} characters")]
    TooLong,
    /// `.` or `..`, alone or before the first hyphen.
    #[error("the name is `.` or `..`, or begins with `.-` or `..-`")]
    Dots,
    /// The first character outside `[0-9a-zA-Z+\-._?=]`.
    #[error("the name contains {0:?}")]
    Character(char),
}

/// Checks a store path's name by Nix's rules.
///
/// # Errors
/// When Nix 2.34 would refuse it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(NameError::TooLong);
    }
    let first_component = name.split('-').next().unwrap_or(name);
    if matches!(first_component, "." | "..") {
        return Err(NameError::Dots);
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "+-._?=".contains(*c))) {
        Some(character) => Err(NameError::Character(character)),
        None => Ok(()),
    }
}

fn check_base_name(base_name: &str) -> Result<(), Reason> {
    let (hash_part, rest) = base_name.split_at_checked(HASH_PART_LENGTH).ok_or(Reason::NoHashPart)?;
    if !hash_part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z') && !b"eotu".contains(&b)) {
        return Err(Reason::NotBase32);
    }
    let name = rest.strip_prefix('-').ok_or(Reason::NoHashPart)?;
    Ok(check_name(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q";

    fn check_refused(path: &str, reason: &str) {
        let error = path.parse::<StorePath>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_store_path_has_a_hash_part_and_a_name() {
        let path: StorePath = format!("/nix/store/{HASH}-foo-1.0.drv").parse().unwrap();
        assert_eq!(path.hash_part(), HASH);
        assert_eq!(path.name(), "foo-1.0.drv");
        assert_eq!(path.base_name(), format!("{HASH}-foo-1.0.drv"));
        assert_eq!(path.to_string(), format!("/nix/store/{HASH}-foo-1.0.drv"));
        assert!(path.is_derivation());
        assert_eq!(StorePath::from_base_name(path.base_name()).unwrap(), path);
    }

    #[test]
    fn names_may_begin_with_a_dot_but_not_be_one() {
        for name in [".", "..", ".-a", "..-a", ".-", "..-", "", "a b", "a/b", "ä", "a\0", "a\n", "*", "~"] {
            assert!(format!("/nix/store/{HASH}-{name}").parse::<StorePath>().is_err(), "{name}");
        }
        for name in [".a", "...", "..a", "a-..", "-", "--", "0+-._?=zZ", &"x".repeat(211)] {
            assert!(format!("/nix/store/{HASH}-{name}").parse::<StorePath>().is_ok(), "{name}");
        }
        assert!(format!("/nix/store/{HASH}-{}", "x".repeat(212)).parse::<StorePath>().is_err());
    }

    #[test]
    fn a_refusal_says_why() {
        check_refused("/tmp/x", "it is not in `/nix/store`");
        check_refused(&format!("/nix/store{HASH}-x"), "it is not in");
        check_refused("/nix/store/short", "does not begin with a hash");
        check_refused(&format!("/nix/store/{HASH}x"), "does not begin with a hash");
        check_refused(&format!("/nix/store/{HASH}ä"), "does not begin with a hash");
        check_refused("/nix/store/aääääääääääääääää-x", "does not begin with a hash");
        check_refused(&format!("/nix/store/{}-x", HASH.to_uppercase()), "not in Nix's base 32");
        check_refused(&format!("/nix/store/{HASH}-foo/bin/foo"), "the name contains '/'");
    }

    #[test]
    fn json_holds_the_full_path() {
        let path: StorePath = format!("/nix/store/{HASH}-foo").parse().unwrap();
        let json = serde_json::to_string(&path).unwrap();
        assert_eq!(json, format!("\"/nix/store/{HASH}-foo\""));
        assert_eq!(serde_json::from_str::<StorePath>(&json).unwrap(), path);
        assert!(serde_json::from_str::<StorePath>("\"/etc/passwd\"").is_err());
    }
}
