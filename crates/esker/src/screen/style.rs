//! How things look: colour, symbols, widths, durations, numbers.
//!
//! Invariant: colour only ever repeats what a word already says.

use std::borrow::Cow;
use std::time::Duration;

use anstyle::{AnsiColor, Effects};
use esker_engine::event::Conclusion;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) color: Color,
    pub(crate) symbols: Symbols,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbols {
    Unicode,
    /// For locales that are not UTF-8. Holds for our own symbols; names and logs stay as they are.
    Ascii,
}

impl Symbols {
    /// Decides by the values of `LC_ALL`, `LC_CTYPE` and `LANG`, of which the first that is set counts.
    pub(crate) fn for_locale(variables: [Option<&str>; 3]) -> Self {
        let locale = variables.into_iter().flatten().find(|value| !value.is_empty()).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Unicode } else { Self::Ascii }
    }
}

/// The kinds of emphasis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Odd,
    Warn,
    Hint,
    Bold,
    Dim,
}

impl Style {
    /// Neither colour nor symbols: for files and tests.
    #[cfg(test)]
    pub(crate) const BARE: Self = Self { color: Color::Off, symbols: Symbols::Ascii };

    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if self.color == Color::Off || text.is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Good => AnsiColor::Green.on_default() | Effects::BOLD,
            Tone::Bad => AnsiColor::Red.on_default() | Effects::BOLD,
            Tone::Odd => AnsiColor::Magenta.on_default() | Effects::BOLD,
            Tone::Warn => AnsiColor::Yellow.on_default() | Effects::BOLD,
            Tone::Hint => AnsiColor::Cyan.on_default() | Effects::BOLD,
            Tone::Bold => anstyle::Style::new().bold(),
            Tone::Dim => anstyle::Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }

    /// Stands before each line that is not ours: logs and messages.
    pub(crate) fn bar(self) -> &'static str {
        self.either("│", "|")
    }

    /// Stands between the numbers of a status line.
    pub(crate) fn dot(self) -> &'static str {
        self.either(" · ", ", ")
    }

    pub(crate) fn ellipsis(self) -> &'static str {
        self.either("…", "...")
    }

    pub(crate) fn spinner(self, now: Duration) -> char {
        let frames: &[char] = match self.symbols {
            Symbols::Unicode => &['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'],
            Symbols::Ascii => &['|', '/', '-', '\\'],
        };
        frames[(now.as_millis() / 100) as usize % frames.len()]
    }

    /// Cuts a line to `columns`, and says so with an ellipsis. Colours are counted as nothing and
    /// ended at the cut.
    pub(crate) fn cut<'a>(self, line: &'a str, columns: usize) -> Cow<'a, str> {
        if visible_width(line) <= columns {
            return Cow::Borrowed(line);
        }
        let ellipsis = if columns > 6 { self.ellipsis() } else { "" };
        let columns = columns - ellipsis.width();
        let (mut kept, mut used, mut colored) = (String::new(), 0, false);
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            if c == '\x1b' {
                kept.push(c);
                kept.extend(chars.by_ref().take_while(|c| *c != 'm'));
                kept.push('m');
                colored = true;
                continue;
            }
            used += c.width().unwrap_or(0);
            if used > columns {
                break;
            }
            kept.push(c);
        }
        kept.push_str(ellipsis);
        if colored {
            kept.push_str("\x1b[0m");
        }
        Cow::Owned(kept)
    }

    fn either(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        match self.symbols {
            Symbols::Unicode => unicode,
            Symbols::Ascii => ascii,
        }
    }
}

pub(crate) fn tone(conclusion: Conclusion) -> Tone {
    match conclusion {
        Conclusion::Passed => Tone::Good,
        Conclusion::Failed => Tone::Bad,
        Conclusion::Broken => Tone::Odd,
        Conclusion::Cancelled => Tone::Warn,
    }
}

/// How many columns a line takes that may hold colours (`ESC [ … m`) and no other escape codes.
pub(crate) fn visible_width(line: &str) -> usize {
    if !line.contains('\x1b') {
        return line.width();
    }
    let mut parts = line.split('\x1b');
    let first = parts.next().map_or(0, UnicodeWidthStr::width);
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| rest.width())).sum::<usize>()
}

/// Fills up with spaces to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(visible_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// How long something took: `0.8s`, `41s`, `2m05s`, `1h02m`.
pub(crate) fn took(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.) } else { 0. };
    let tenths = (seconds * 10.).round();
    if tenths < 100. { format!("{:.1}s", tenths / 10.) } else { whole(seconds.round() as u64) }
}

/// How long something has been under way: like [`took`], without tenths, which would flicker.
pub(crate) fn so_far(duration: Duration) -> String {
    whole(duration.as_secs())
}

fn whole(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// With commas: `1,000`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, with an `s` where there is not just one.
pub(crate) fn count(of: u64, noun: &str) -> String {
    let ending = if of == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", number(of))
}

/// `a, b and 3 more`, naming at most `limit`.
pub(crate) fn names<'a>(mut names: impl Iterator<Item = &'a str>, limit: usize) -> String {
    let named: Vec<String> = names.by_ref().take(limit).map(super::clean::name).collect();
    let more = names.count() as u64;
    let named = named.join(", ");
    if more == 0 { named } else { format!("{named} and {} more", number(more)) }
}

/// Bytes in the largest unit that leaves a number of at least one.
pub(crate) fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000. {
            break;
        }
        (value, unit) = (value / 1024., next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_at_every_size() {
        let texts = [0., 0.84, 9.94, 9.96, 41.3, 59.6, 125., 3599.6, 3725., -1., f64::NAN].map(took);
        let wanted =
            ["0.0s", "0.8s", "9.9s", "10s", "41s", "1m00s", "2m05s", "1h00m", "1h02m", "0.0s", "0.0s"];
        assert_eq!(texts, wanted);
        assert_eq!(so_far(Duration::from_millis(9_960)), "9s");
    }

    #[test]
    fn numbers_have_commas_and_bytes_a_unit() {
        assert_eq!([0, 999, 1000, 1234567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 1023, 5 << 20].map(bytes), ["999 B", "1.0 KiB", "5.0 MiB"]);
    }

    #[test]
    fn a_cut_line_ends_its_colour() {
        let style = Style { color: Color::On, symbols: Symbols::Unicode };
        let line = style.paint(Tone::Bad, "abcdefghij");
        assert_eq!(visible_width(&line), 10);
        assert_eq!(style.cut(&line, 10), line);
        let cut = style.cut(&line, 8);
        assert_eq!(visible_width(&cut), 8);
        assert!(cut.ends_with("g…\x1b[0m"), "{cut:?}");
        assert_eq!(Style::BARE.cut("日本語日本語", 9), "日本語...");
    }

    #[test]
    fn the_locale_decides_about_symbols() {
        let ascii = [[None, None, None], [Some("C"), None, Some("en_GB.UTF-8")], [None, None, Some("POSIX")]];
        assert!(ascii.into_iter().all(|locale| Symbols::for_locale(locale) == Symbols::Ascii));
        let unicode = [[None, None, Some("de_DE.utf8")], [Some(""), Some("C.UTF-8"), Some("C")]];
        assert!(unicode.into_iter().all(|locale| Symbols::for_locale(locale) == Symbols::Unicode));
    }
}
