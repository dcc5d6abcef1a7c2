//! Bytes in JSON: each byte is the character of that number.
//!
//! Names, arguments and paths are bytes to Linux. Most are ASCII, and so read as what they are; the
//! others take two bytes of UTF-8 each. A list of numbers would be four times as long.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// A string of bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl<T: Into<Vec<u8>>> From<T> for Bytes {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_text(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        from_text(&text).map(Self).ok_or_else(|| D::Error::custom("a character above 255 is no byte"))
    }
}

fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn from_text(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

/// Questions in JSON, in short: `[slot, kind, path]`.
pub(super) mod questions {
    use serde::de::{Deserialize, Deserializer};
    use serde::ser::Serializer;

    use super::Bytes;
    use crate::observation::{Kind, Question};

    pub(crate) fn serialize<S: Serializer>(questions: &[Question], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(questions.iter().map(|q| (q.slot, q.kind, Bytes(q.path.clone()))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Question>, D::Error> {
        let short = Vec::<(u32, Kind, Bytes)>::deserialize(deserializer)?;
        Ok(short.into_iter().map(|(slot, kind, path)| Question { slot, path: path.0, kind }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_json() {
        let bytes = Bytes((0..=255).collect());
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
        assert!(serde_json::from_str::<Bytes>("\"\u{20ac}\"").is_err());
    }
}
