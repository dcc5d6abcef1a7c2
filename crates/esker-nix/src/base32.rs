//! Nix's base 32, "nix32": the digits of a number, not the groups of a stream.
//!
//! The alphabet leaves out `e`, `o`, `t` and `u`; the most significant digit comes first, of the
//! bytes read as one little-endian number (`libutil/base-nix-32.cc`).
//!
//! Invariant: what [`decode`] accepts, [`encode`] prints again character for character.

const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Whether it is one of the 32.
pub const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z') && !matches!(byte, b'e' | b'o' | b't' | b'u')
}

/// Characters that `bytes` bytes need.
pub const fn encoded_length(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Prints bytes as nix32.
pub fn encode(bytes: &[u8]) -> String {
    (0..encoded_length(bytes.len())).rev().map(|place| char::from(DIGITS[digit(bytes, place)])).collect()
}

/// Reads nix32.
///
/// # Errors
/// For a character outside the alphabet, a length that no number of bytes leads to, and bits that
/// do not fit into the last byte.
pub fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    let length = text.len() / 8 * 5 + text.len() % 8 * 5 / 8;
    if encoded_length(length) != text.len() {
        return Err(DecodeError::Length(text.len()));
    }
    let mut bytes = vec![0; length];
    for (place, character) in text.bytes().rev().enumerate() {
        let digit = DIGITS.iter().position(|digit| *digit == character).ok_or(DecodeError::Character)?;
        let (byte, shift) = (place * 5 / 8, place * 5 % 8);
        let bits = digit << shift;
        bytes[byte] |= (bits & 0xff) as u8;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= (bits >> 8) as u8,
            None if bits >> 8 != 0 => return Err(DecodeError::ExcessBits),
            None => {}
        }
    }
    Ok(bytes)
}

/// Text that is not nix32.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Something outside the alphabet, for example an `e` or a capital.
    #[error("it contains a character that is not in Nix's base 32")]
    Character,
    /// No whole number of bytes has an encoding of this length.
    #[error("nothing has {0} characters in Nix's base 32")]
    Length(usize),
    /// The first digit is too large.
    #[error("its first digit is too large")]
    ExcessBits,
}

/// The five bits at `place`, counted from the least significant digit.
fn digit(bytes: &[u8], place: usize) -> usize {
    let (byte, shift) = (place * 5 / 8, place * 5 % 8);
    let pair = u16::from(bytes[byte]) | u16::from(*bytes.get(byte + 1).unwrap_or(&0)) << 8;
    usize::from(pair >> shift & 0x1f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_manuals_example_is_encoded_as_nix_does() {
        let sha256_of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let bytes = data_encoding::HEXLOWER.decode(sha256_of_nothing.as_bytes()).unwrap();
        assert_eq!(encode(&bytes), "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
    }

    #[test]
    fn a_second_spelling_is_refused() {
        assert_eq!(decode("zz"), Err(DecodeError::ExcessBits));
        assert_eq!(decode("0"), Err(DecodeError::Length(1)));
        assert_eq!(decode("0e"), Err(DecodeError::Character));
        assert_eq!(decode("0A"), Err(DecodeError::Character));
        assert_eq!(decode("ä"), Err(DecodeError::Character));
        assert_eq!(decode("7z"), Ok(vec![255]));
        assert_eq!(decode(""), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn bytes_survive_the_round_trip(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn accepted_text_is_the_only_spelling(text in "[0-9a-df-np-sv-z]{0,20}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
