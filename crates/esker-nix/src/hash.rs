//! Hashes as Nix writes them: in base 16, nix32 and base 64, bare, with a prefix, or as SRI.
//!
//! Invariant: a [`struct@Hash`] has exactly as many bytes as its algorithm yields.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

use crate::base32;

/// The algorithms Nix knows. We compute only SHA-256; the others come from fixed-output derivations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 16 bytes. Nix still accepts it.
    Md5,
    /// 20 bytes. Nix still accepts it.
    Sha1,
    /// 32 bytes. What store paths and NARs use.
    Sha256,
    /// 64 bytes.
    Sha512,
    /// 32 bytes. Experimental in Nix (since 2.31).
    Blake3,
}

impl Algorithm {
    /// Bytes of a hash.
    pub const fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Nix's name, e.g. `sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }
}

impl FromStr for Algorithm {
    type Err = HashError;

    fn from_str(name: &str) -> Result<Self, HashError> {
        [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512, Self::Blake3]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| HashError::Algorithm(name.chars().take(40).collect()))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A hash and what computed it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    algorithm: Algorithm,
    /// Zero beyond the algorithm's size.
    bytes: [u8; 64],
}

impl Hash {
    /// A hash that was computed elsewhere.
    ///
    /// # Errors
    /// When the number of bytes is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, HashError> {
        if bytes.len() != algorithm.size() {
            return Err(HashError::Length { algorithm });
        }
        let mut padded = [0; 64];
        padded[..bytes.len()].copy_from_slice(bytes);
        Ok(Self { algorithm, bytes: padded })
    }

    /// Hashes these bytes.
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Self {
        Self::from_sha256(Sha256::new().chain_update(bytes))
    }

    /// Reads a hash whose algorithm is known from elsewhere, in base 16, nix32 or base 64; the
    /// length tells which. With a prefix or as SRI it is read too, if it agrees.
    ///
    /// # Errors
    /// When it is not a hash of that algorithm.
    pub fn parse(text: &str, algorithm: Algorithm) -> Result<Self, HashError> {
        if text.contains([':', '-']) {
            let hash: Self = text.parse()?;
            return match hash.algorithm == algorithm {
                true => Ok(hash),
                false => Err(HashError::Mismatch { expected: algorithm, found: hash.algorithm }),
            };
        }
        let size = algorithm.size();
        let bytes = if text.len() == size * 2 {
            HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
        } else if text.len() == base32::encoded_length(size) {
            base32::decode(text).ok()
        } else if text.len() == BASE64.encode_len(size) {
            BASE64.decode(text.as_bytes()).ok()
        } else {
            return Err(HashError::Length { algorithm });
        };
        Self::from_bytes(algorithm, &bytes.ok_or(HashError::Encoding)?)
    }

    /// What computed it.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }

    /// Base 16 in lower case, without a prefix.
    pub fn to_base16(&self) -> String {
        HEXLOWER.encode(self.as_bytes())
    }

    /// Nix's base 32, without a prefix.
    pub fn to_nix32(&self) -> String {
        base32::encode(self.as_bytes())
    }

    /// As subresource integrity (W3C): `sha256-<base 64>`.
    pub fn to_sri(&self) -> String {
        format!("{}-{}", self.algorithm, BASE64.encode(self.as_bytes()))
    }

    fn from_sha256(hasher: Sha256) -> Self {
        Self::from_bytes(Algorithm::Sha256, &hasher.finalize()).expect("SHA-256 yields 32 bytes")
    }
}

impl FromStr for Hash {
    type Err = HashError;

    /// Reads `<algorithm>:<base 16, nix32 or base 64>` or SRI.
    fn from_str(text: &str) -> Result<Self, HashError> {
        if let Some((algorithm, rest)) = text.split_once(':') {
            let algorithm = algorithm.parse()?;
            return match rest.contains([':', '-']) {
                true => Err(HashError::Encoding),
                false => Self::parse(rest, algorithm),
            };
        }
        let (algorithm, rest) = text.split_once('-').ok_or(HashError::NoAlgorithm)?;
        let bytes = BASE64.decode(rest.as_bytes()).map_err(|_| HashError::Encoding)?;
        Self::from_bytes(algorithm.parse()?, &bytes)
    }
}

impl fmt::Display for Hash {
    /// `sha256:<nix32>`, as in a `.narinfo` file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.to_nix32())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A sink that keeps only the SHA-256 and the length of what is written into it.
#[derive(Clone, Debug, Default)]
pub struct HashSink {
    hasher: Sha256,
    size: u64,
}

impl HashSink {
    /// The hash of everything written so far, and its length in bytes.
    pub fn finish(self) -> (Hash, u64) {
        (Hash::from_sha256(self.hasher), self.size)
    }
}

impl Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text that is not a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It needs a prefix such as `sha256:` or `sha256-`.
    #[error("the hash does not say its algorithm")]
    NoAlgorithm,
    /// Not one of Nix's.
    #[error("`{0}` is not a hash algorithm")]
    Algorithm(String),
    /// Not what the context demands.
    #[error("expected a hash of {expected}, found one of {found}")]
    Mismatch {
        /// What the context demands.
        expected: Algorithm,
        /// What the text says.
        found: Algorithm,
    },
    /// Fits no encoding.
    #[error("the hash has the wrong length for {algorithm}")]
    Length {
        /// Whose length it should have.
        algorithm: Algorithm,
    },
    /// Characters or bits that do not belong to the encoding.
    #[error("the hash is not valid base 16, 32 or 64")]
    Encoding,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_spelling_of_a_hash_is_read() {
        let hash = Hash::sha256("");
        for text in [
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
            "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ] {
            assert_eq!(text.parse(), Ok(hash));
            assert_eq!(Hash::parse(text, Algorithm::Sha256), Ok(hash));
            assert_eq!(Hash::parse(text.split_at(7).1, Algorithm::Sha256), Ok(hash));
            assert!(Hash::parse(text, Algorithm::Sha1).is_err());
        }
    }

    #[test]
    fn what_is_not_a_hash_is_refused() {
        for text in
            ["", ":", "-", "sha256:", "sha256-", "sha3:00", "sha256-AAAA", "sha256:sha256:00", "md5:ää"]
        {
            assert!(text.parse::<Hash>().is_err(), "{text}");
        }
        assert_eq!(
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=".parse::<Hash>(),
            Err(HashError::Encoding)
        );
    }

    proptest! {
        #[test]
        fn every_spelling_survives_the_round_trip(bytes: [u8; 64], which in 0..5_usize) {
            let algorithm =
                [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake3][which];
            let hash = Hash::from_bytes(algorithm, &bytes[..algorithm.size()]).unwrap();
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert_eq!(hash.to_sri().parse(), Ok(hash));
            prop_assert_eq!(Hash::parse(&hash.to_base16(), algorithm), Ok(hash));
            prop_assert_eq!(Hash::parse(&hash.to_nix32(), algorithm), Ok(hash));
        }
    }
}
