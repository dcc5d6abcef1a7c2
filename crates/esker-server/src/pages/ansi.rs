//! A line of a log as HTML: colours become classes, what was overwritten by `\r` is left out, and
//! whatever moves a cursor is dropped.

use maud::{Markup, html};
use vte::{Params, Parser, Perform};

/// A line that others wrote.
pub(super) fn markup(line: &[u8]) -> Markup {
    let mut screen = Screen::default();
    // A `\r` at the end overwrites nothing.
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
    Parser::new().advance(&mut screen, &line[..end]);
    html! {
        @for (style, text) in &screen.runs {
            @match style.class() {
                Some(class) => span class=(class) { (text) },
                None => (text),
            }
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    /// From 1 to 8, as ANSI counts from 0; 0: none.
    color: u8,
    bold: bool,
}

impl Style {
    fn class(self) -> Option<String> {
        match (self.color, self.bold) {
            (0, false) => None,
            (0, true) => Some("b".to_owned()),
            (color, false) => Some(format!("c{}", color - 1)),
            (color, true) => Some(format!("c{} b", color - 1)),
        }
    }
}

#[derive(Default)]
struct Screen {
    runs: Vec<(Style, String)>,
    style: Style,
}

impl Perform for Screen {
    fn print(&mut self, c: char) {
        match self.runs.last_mut() {
            Some((style, text)) if *style == self.style => text.push(c),
            _ => self.runs.push((self.style, c.to_string())),
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => self.print('\t'),
            b'\r' => self.runs.clear(),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, _: &[u8], _: bool, action: char) {
        if action != 'm' {
            return;
        }
        let mut codes = params.iter().map(|param| param.first().copied().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => self.style = Style::default(),
                1 => self.style.bold = true,
                22 => self.style.bold = false,
                30..=37 => self.style.color = color(code - 30),
                90..=97 => self.style.color = color(code - 90),
                39 => self.style.color = 0,
                // Other palettes: 5;N or 2;R;G;B follow.
                38 | 48 => {
                    let skip = if codes.next() == Some(2) { 3 } else { 1 };
                    codes.by_ref().take(skip).for_each(drop);
                }
                _ => {}
            }
        }
    }
}

fn color(number: u16) -> u8 {
    u8::try_from(number).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: &str) {
        assert_eq!(markup(line.as_bytes()).0, expected);
    }

    #[test]
    fn colours_are_classes_and_the_rest_is_text() {
        check("plain <b>&amp;</b>", "plain &lt;b&gt;&amp;amp;&lt;/b&gt;");
        check(
            "\x1b[1;31mred\x1b[0m and \x1b[92mgreen",
            "<span class=\"c1 b\">red</span> and <span class=\"c2\">green</span>",
        );
        check("\x1b[38;5;1mindexed\x1b[38;2;1;31;3mtrue", "indexedtrue");
        check(" 50%\r100%\r", "100%");
        check("\x1b[2J\x1b[10;10Hhere\x1b]0;title\x07\x1b]8;;javascript:x\x1b\\link\0", "herelink");
        check("\x1b[", "");
    }

    proptest! {
        #[test]
        fn nothing_becomes_markup(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let html = markup(&bytes).0;
            let text = html.replace("</span>", "");
            for piece in text.split('<').skip(1) {
                prop_assert!(piece.starts_with("span class=\""), "{}", html);
            }
        }
    }
}
