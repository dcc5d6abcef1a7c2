//! The version of Nix in whose way a builder is run.

use esker_trace::exec::{Attributes, Etc};

/// Major and minor number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32);

impl Version {
    /// From here on the variables for structured attributes name files that the builder can see.
    pub(crate) const NAMES_ATTRIBUTES_INSIDE: Self = Self(2, 15);
    /// From here on an exported graph says of each path that it is valid.
    pub(crate) const SAYS_VALID: Self = Self(2, 15);
    /// From here on an output that is hashed as one file may not even refer to itself.
    pub(crate) const REFUSES_FLAT_SELF_REFERENCES: Self = Self(2, 16);
    /// From here on the places at which an output refers to itself are no part of its content's hash.
    pub(crate) const FORGETS_SELF_REFERENCES: Self = Self(2, 17);
    /// From here on `/etc` is not writable even for its owner.
    const SEALS_ETC: Self = Self(2, 13);
    /// From here on `unsafeDiscardReferences` means something.
    pub(crate) const MAY_DISCARD_REFERENCES: Self = Self(2, 14);
    /// From here on it is no experiment.
    pub(crate) const DISCARDS_REFERENCES: Self = Self(2, 18);
    /// From here on extended attributes cannot be asked for.
    const REFUSES_ATTRIBUTES: Self = Self(2, 24);
    /// From here on a bad name in an output's checks is told with the outputs that there are.
    pub(crate) const LISTS_OUTPUTS: Self = Self(2, 28);
    /// From here on a builder that may use all cores is told how many there are, not 0.
    pub(crate) const COUNTS_CORES: Self = Self(2, 31);
    /// From here on a bad name in an output's checks is told in other words.
    pub(crate) const NAMES_BAD_OUTPUT: Self = Self(2, 33);
    /// Here at the latest the paths of a graph can be lists of lists.
    pub(crate) const FLATTENS_GRAPHS: Self = Self(2, 34);

    /// How `/etc` looks in its sandbox.
    pub(crate) fn etc(self) -> Etc {
        if self < Self::SEALS_ETC { Etc::Open } else { Etc::Sealed }
    }

    /// What asking for an extended attribute gives in its sandbox.
    pub(crate) fn attributes(self) -> Attributes {
        if self < Self::REFUSES_ATTRIBUTES { Attributes::Answered } else { Attributes::Refused }
    }

    /// Reads what a daemon says of itself, such as `2.34.8` or `2.19pre20230921_abcdef`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?;
        let end = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self(major, minor[..end].parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        assert_eq!(Version::parse("2.8.0"), Some(Version(2, 8)));
        assert_eq!(Version::parse("2.19pre20230921_abcdef"), Some(Version(2, 19)));
        assert!(Version::parse("2.8.0") < Version::parse("2.34.8"));
        assert_eq!(Version::parse("unknown"), None);
    }
}
