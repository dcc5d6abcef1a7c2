//! The live region at the bottom of a terminal: results scroll above it, the region is drawn over.
//!
//! Invariant: between two frames the cursor is visible and stands at the start of the line below the
//! region, and a frame is a single write; so whatever ends the process, the terminal is usable.

use std::io::Write;

use super::style::visible_width;

/// Begin and end of a synchronized update: <https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036>.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?2026l";

/// The region as it stands on the terminal.
pub(crate) struct Live {
    out: Box<dyn Write + Send>,
    drawn: Vec<String>,
}

impl Live {
    pub(crate) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, drawn: Vec::new() }
    }

    /// Prints `above` into the scrollback and draws `region` below it, on a terminal of this size now.
    pub(crate) fn draw(&mut self, above: &[String], region: Vec<String>, (width, height): (usize, usize)) {
        if above.is_empty() && region == self.drawn {
            return;
        }
        let frame = frame(&self.drawn, above, &region, width, height);
        self.drawn = region;
        // A terminal that went away is not worth a word: there is nobody to read it.
        let _ = self.out.write_all(frame.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Takes the region away.
    pub(crate) fn clear(&mut self, size: (usize, usize)) {
        self.draw(&[], Vec::new(), size);
    }
}

/// The bytes that turn what was drawn into what is to be seen.
fn frame(drawn: &[String], above: &[String], region: &[String], width: usize, height: usize) -> String {
    let mut frame = String::from(BEGIN);
    // A narrower terminal has wrapped the old lines.
    let rows: usize = drawn.iter().map(|line| visible_width(line).div_ceil(width.max(1)).max(1)).sum();
    let rows = rows.min(height.saturating_sub(1));
    if rows > 0 {
        frame += &format!("\x1b[{rows}A");
    }
    frame.push('\r');
    if !above.is_empty() {
        frame += "\x1b[J";
    }
    for line in above {
        frame += line;
        frame.push('\n');
    }
    for line in region {
        // The line is narrower than the screen, so this cannot take its last character.
        frame += line;
        frame += "\x1b[K\n";
    }
    frame += "\x1b[J";
    frame += END;
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_frame_overwrites_the_one_before_and_shows_the_cursor_again() {
        let frame = frame(&text(&["old 1", "old 2"]), &text(&[" passed  a"]), &text(&["new"]), 80, 24);
        insta::assert_snapshot!(frame.escape_debug(), @r"\u{1b}[?2026h\u{1b}[?25l\u{1b}[2A\r\u{1b}[J passed  a\nnew\u{1b}[K\n\u{1b}[J\u{1b}[?25h\u{1b}[?2026l");
    }

    #[test]
    fn a_narrower_terminal_wrapped_the_old_lines() {
        let drawn = text(&["twenty columns wide.", "short"]);
        assert!(frame(&drawn, &[], &[], 7, 24).contains("\x1b[4A"));
        assert!(frame(&drawn, &[], &[], 7, 3).contains("\x1b[2A"));
    }

    #[test]
    fn a_frame_that_would_change_nothing_is_not_written() {
        struct Refuses;
        impl Write for Refuses {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                panic!("nothing is to be written");
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut live = Live { out: Box::new(Refuses), drawn: text(&["same"]) };
        live.draw(&[], text(&["same"]), (80, 24));
    }
}
