//! Makes text that others wrote fit to be shown.

use std::borrow::Cow;

use esker_nix::startup_error;

/// A line of a build's log as plain text: no escape sequences, no control characters, what was
/// overwritten by `\r` left out.
pub(crate) fn plain(line: &[u8]) -> String {
    let text = match startup_error::read(line) {
        Some(message) => Cow::Owned(format!("error: {}", String::from_utf8_lossy(message))),
        None => String::from_utf8_lossy(line),
    };
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: ends with a byte from @ to ~.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // OSC: ends with BEL or ST.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\r' => plain.clear(),
            '\t' => plain.push('\t'),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_is_left() {
        assert_eq!(plain(b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07 50%\r100%\x00\xff"), "100%\u{fffd}");
        assert_eq!(plain(b"\x1b]0;title\x1b\\a\tb\r"), "a\tb");
    }

    #[test]
    fn an_error_that_nix_tells_itself_is_a_sentence() {
        let told = b"\x05\0\0\0\0\0\0\0Error\0\0\0\x11\0\0\0\0\0\0\0executing \x1b[35m'/x'\x1b[0m\0";
        assert_eq!(plain(told), "error: executing '/x'");
    }
}
