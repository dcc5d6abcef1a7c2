//! Makes text that strangers wrote harmless: log lines, messages, names.
//!
//! A builder may print anything. Shown as it is, it could move the cursor, set the window's title,
//! answer on the keyboard's behalf, or draw lines that look like ours.
//!
//! Invariant: what comes out is one line of printable characters, whose only escape codes are
//! colours (`ESC [ … m`), and those only when asked for; colours are ended where the line ends.
//! Bytes that are not UTF-8 become U+FFFD. `\r` and backspace overwrite, as they would have.

use anstyle::{Ansi256Color, AnsiColor, Color as Paint, RgbColor, Style as Sgr};
use esker_engine::progress::LINE_BYTES;
use esker_nix::startup_error;
use vte::{Params, Parser, Perform};

use super::style::Color;

/// One line of a log. More than [`LINE_BYTES`] bytes are cut off.
pub(crate) fn line(bytes: &[u8], color: Color) -> String {
    let mut row = Row::default();
    let mut parser = Parser::new();
    match startup_error::read(bytes) {
        Some(message) => {
            parser.advance(&mut row, b"error: ");
            parser.advance(&mut row, &message[..message.len().min(LINE_BYTES)]);
        }
        None => parser.advance(&mut row, &bytes[..bytes.len().min(LINE_BYTES)]),
    }
    row.to_text(color)
}

/// A name: one line without colour.
pub(crate) fn name(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    line(text.replace('\n', " ").as_bytes(), Color::Off)
}

/// A message of several lines.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.trim_end().lines().map(|text| line(text.as_bytes(), Color::Off)).collect()
}

/// A terminal of a single row.
#[derive(Default)]
struct Row {
    cells: Vec<Cell>,
    column: usize,
    sgr: Sgr,
}

#[derive(Clone)]
struct Cell {
    text: char,
    /// Accents and other marks of no width.
    marks: Vec<char>,
    sgr: Sgr,
}

const BLANK: Cell = Cell { text: ' ', marks: Vec::new(), sgr: Sgr::new() };

impl Row {
    fn to_text(&self, color: Color) -> String {
        let end = self.cells.iter().rposition(|cell| cell.text != ' ').map_or(0, |last| last + 1);
        let mut text = String::with_capacity(end);
        let mut current = Sgr::new();
        for cell in &self.cells[..end] {
            if color == Color::On && cell.sgr != current {
                if !current.is_plain() {
                    text.push_str("\x1b[0m");
                }
                text.push_str(&cell.sgr.render().to_string());
                current = cell.sgr;
            }
            text.push(cell.text);
            text.extend(&cell.marks);
        }
        if !current.is_plain() {
            text.push_str("\x1b[0m");
        }
        text
    }
}

impl Perform for Row {
    fn print(&mut self, c: char) {
        if misleads(c) {
            return;
        }
        if unicode_width::UnicodeWidthChar::width(c) == Some(0) {
            if let Some(cell) = self.column.checked_sub(1).and_then(|last| self.cells.get_mut(last))
                && cell.marks.len() < 8
            {
                cell.marks.push(c);
            }
            return;
        }
        if self.cells.len() <= self.column {
            self.cells.resize(self.column + 1, BLANK);
        }
        self.cells[self.column] = Cell { text: c, marks: Vec::new(), sgr: self.sgr };
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            b'\t' => self.column = (self.column / 8 + 1) * 8,
            0x08 => self.column = self.column.saturating_sub(1),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if ignore || !intermediates.is_empty() {
            return;
        }
        match action {
            'm' => self.sgr = colored(self.sgr, params),
            // Erase: to the end, or all of the line.
            'K' => match params.iter().next() {
                None | Some([0]) => self.cells.truncate(self.column),
                Some([2]) => self.cells.clear(),
                _ => {}
            },
            _ => {}
        }
    }
}

/// Line ends in disguise, and marks that turn the direction of writing around.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
        // No characters at all, and not allowed in XML.
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// `SGR`, as ECMA-48 and xterm have it, without *blink* and *hidden*.
fn colored(mut sgr: Sgr, params: &Params) -> Sgr {
    if params.is_empty() {
        return Sgr::new();
    }
    let params: Vec<&[u16]> = params.iter().collect();
    let mut rest = &params[..];
    while let [param, after @ ..] = rest {
        rest = after;
        let value = param.first().copied().unwrap_or(0);
        let effect = |sgr: Sgr, effect| sgr.effects(sgr.get_effects() | effect);
        let without = |sgr: Sgr, effect| sgr.effects(sgr.get_effects().remove(effect));
        use anstyle::Effects as E;
        sgr = match value {
            0 => Sgr::new(),
            1 => effect(sgr, E::BOLD),
            2 => effect(sgr, E::DIMMED),
            3 => effect(sgr, E::ITALIC),
            4 => effect(sgr, E::UNDERLINE),
            7 => effect(sgr, E::INVERT),
            9 => effect(sgr, E::STRIKETHROUGH),
            22 => without(sgr, E::BOLD | E::DIMMED),
            23 => without(sgr, E::ITALIC),
            24 => without(sgr, E::UNDERLINE),
            27 => without(sgr, E::INVERT),
            29 => without(sgr, E::STRIKETHROUGH),
            30..=37 => sgr.fg_color(basic(value - 30)),
            38 | 48 => {
                let paint = if let [_, subparams @ ..] = param
                    && !subparams.is_empty()
                {
                    extended(subparams)
                } else {
                    let (own, after) = rest.split_at(extent(rest));
                    rest = after;
                    extended(&own.concat())
                };
                if value == 38 { sgr.fg_color(paint) } else { sgr.bg_color(paint) }
            }
            39 => sgr.fg_color(None),
            40..=47 => sgr.bg_color(basic(value - 40)),
            49 => sgr.bg_color(None),
            90..=97 => sgr.fg_color(basic(value - 90 + 8)),
            100..=107 => sgr.bg_color(basic(value - 100 + 8)),
            _ => sgr,
        };
    }
    sgr
}

/// How many parameters after `38` belong to it: `5;n` or `2;r;g;b`.
fn extent(params: &[&[u16]]) -> usize {
    let wanted = match params.first() {
        Some([5]) => 2,
        Some([2]) => 4,
        _ => 0,
    };
    wanted.min(params.len())
}

fn extended(params: &[u16]) -> Option<Paint> {
    let byte = |value: u16| u8::try_from(value).ok();
    match *params {
        [5, index] => Some(Ansi256Color(byte(index)?).into()),
        [2, red, green, blue] | [2, _, red, green, blue] => {
            Some(RgbColor(byte(red)?, byte(green)?, byte(blue)?).into())
        }
        _ => None,
    }
}

fn basic(index: u16) -> Option<Paint> {
    let index = u8::try_from(index).ok()?;
    Ansi256Color(index).into_ansi().map(|color: AnsiColor| color.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8]) -> String {
        line(bytes, Color::Off)
    }

    #[test]
    fn an_error_that_nix_tells_itself_is_read() {
        let told = b"\x05\0\0\0\0\0\0\0Error\0\0\0\x11\0\0\0\0\0\0\0executing \x1b[35m'/x'\x1b[0m\0";
        assert_eq!(line(told, Color::Off), "error: executing '/x'");
    }

    #[test]
    fn movement_titles_and_queries_vanish() {
        assert_eq!(plain(b"a\x1b[2A\x1b[10Db\x1b[2Jc\x1b[Hd"), "abcd");
        assert_eq!(plain(b"\x1b]0;owned\x07shown \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\"), "shown link");
        assert_eq!(plain(b"a\x1bP1;2qsixel\x1b\\b\x1b[6nc\x1bcd\x1b[?1049he"), "abcde");
        assert_eq!(
            plain("a\u{9b}2Jb\u{9d}0;t\u{9c}c".as_bytes()).replace("2J", "").replace("0;t", ""),
            "abc"
        );
        assert_eq!(plain(b"bell\x07 nul\x00 vt\x0b ff\x0c del\x7f."), "bell nul vt ff del.");
        assert_eq!(plain(b"never \x1b]0;ended"), "never");
    }

    #[test]
    fn a_carriage_return_overwrites() {
        assert_eq!(plain(b"10%\r100%\r"), "100%");
        assert_eq!(plain(b"long line\rshort\x1b[K"), "short");
        assert_eq!(plain(b"old\x1b[2K\rnew"), "new");
        assert_eq!(plain(b"a\tb\x08c"), "a       c");
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        assert_eq!(plain(b"caf\xe9 \xff\xfe end"), "caf\u{fffd} \u{fffd}\u{fffd} end");
        assert_eq!(plain("e\u{301} \u{202e}abc\u{2066}".as_bytes()), "e\u{301} abc");
    }

    #[test]
    fn colours_stay_only_when_asked_for_and_end_with_the_line() {
        let bytes = b"\x1b[31mred \x1b[1;38;5;208mboth\x1b[0m no \x1b[8;44mhidden";
        assert_eq!(plain(bytes), "red both no hidden");
        let text = line(bytes, Color::On);
        assert!(text.starts_with("\x1b[31mred "), "{text:?}");
        assert!(text.ends_with("\x1b[44mhidden\x1b[0m"), "{text:?}");
        assert!(text.contains("38;5;208m"), "{text:?}");
        assert!(line(b"\x1b[38;2;1;2;3mx", Color::On).contains("38;2;1;2;3m"));
        assert!(line(b"\x1b[38:2::1:2:3mx", Color::On).contains("38;2;1;2;3m"));
    }

    #[test]
    fn names_are_one_line() {
        assert_eq!(name("plain"), "plain");
        assert_eq!(name("a\n passed  b\x1b[2A"), "a  passed  b");
        assert_eq!(lines("one\r\ntwo\x1b[2J\n\n"), ["one", "two"]);
    }
}
