//! What Nix writes into a build's log when it cannot start the builder at all.
//!
//! Up to 2.18 or so it is an error as Nix's processes tell each other, meant for no person: texts with
//! their length before them and zeros behind. Newer ones print it.
//!
//! Source of the format: the Nix source, `operator << (Sink &, const Error &)` in
//! `libutil/serialise.cc`.

/// The message in such a line of log.
///
/// A line whose bytes were made UTF-8 is understood too: lengths are not relied upon, since what is
/// not UTF-8 in them was replaced.
pub fn read(line: &[u8]) -> Option<&[u8]> {
    const START: &[u8] = b"\x05\0\0\0\0\0\0\0Error\0\0\0";
    line.strip_prefix(START)?.split(|byte| *byte == 0).max_by_key(|text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Nix 2.8 writes it.
    fn told(message: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in ["Error", "", "Error", message, "", ""] {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    #[test]
    fn the_message_is_found_whatever_its_length() {
        for length in [20, 73, 128, 200, 256, 310, 1 << 16] {
            let message = format!("executing '{}'", "x".repeat(length));
            let bytes = told(&message);
            assert_eq!(read(&bytes), Some(message.as_bytes()));
            assert_eq!(read(String::from_utf8_lossy(&bytes).as_bytes()), Some(message.as_bytes()));
        }
    }

    #[test]
    fn anything_else_is_a_line() {
        assert_eq!(read(b"Error"), None);
        assert_eq!(read(b"\x05\0\0"), None);
        assert_eq!(read(b"\x05\0\0\0\0\0\0\0Error\0\0\0"), Some(&b""[..]));
    }
}
