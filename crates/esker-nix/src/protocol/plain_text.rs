//! A daemon's message, made safe to print anywhere.

/// `text` without escape sequences and control characters, other than line breaks and tabs.
///
/// Nix colours its messages whoever asks, and quotes what strangers wrote.
pub(super) fn plain_text(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\x1b' => match chars.next() {
                // A control sequence ends with a byte from `@` to `~`.
                Some('[') => {
                    chars.by_ref().find(|c| ('@'..='~').contains(c));
                }
                // A command for the terminal (a title, a link) ends with BEL or ESC \.
                Some(']') => {
                    let end = chars.by_ref().find(|c| matches!(c, '\x07' | '\x1b'));
                    if end == Some('\x1b') {
                        chars.next();
                    }
                }
                _ => {}
            },
            '\n' | '\t' => plain.push(char),
            other if other.is_control() => {}
            other => plain.push(other),
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], plain: &str) {
        assert_eq!(plain_text(text), plain);
    }

    #[test]
    fn colours_titles_and_links_go_and_line_breaks_stay() {
        check(b"\x1b[31;1merror:\x1b[0m no\n\tpath\n", "error: no\n\tpath");
        check(b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\r\x08", "ab");
    }

    #[test]
    fn an_unfinished_sequence_swallows_the_rest_and_no_more() {
        check(b"a\x1b[31", "a");
        check(b"a\x1b", "a");
        check(b"a\xff", "a\u{fffd}");
    }
}
