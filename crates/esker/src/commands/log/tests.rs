//! What `esker log` prints, and where.

use std::cell::RefCell;
use std::rc::Rc;

use esker_engine::event::Conclusion;

use super::*;
use crate::state::example::Example;

const HERE: &str = "github:acme/hello";

#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stdout and stderr of `esker log ATTR`, or the error as it is shown.
fn log(state: &State, attr: &str, follow: bool, form: Form) -> Result<(Vec<u8>, String), String> {
    let subject = SubjectArgs { flake: HERE.into(), file: None };
    let args = LogArgs { attr: attr.into(), follow, subject };
    let (out, notes) = (Sink::default(), Sink::default());
    let mut output =
        Output { out: Box::new(out.clone()), notes: Box::new(notes.clone()), form, line: Vec::new() };
    show(&args, state, Path::new("/"), &mut output)
        .map_err(|error| format!("error: {error}\nhint: {}", error.hint().unwrap_or_default()))?;
    let notes = String::from_utf8(notes.0.take()).unwrap();
    Ok((out.0.take(), notes))
}

fn open() -> (tempfile::TempDir, State) {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path()).unwrap();
    (dir, state)
}

#[test]
fn a_pipe_gets_the_bytes_and_a_terminal_text_and_colours() {
    let (_dir, state) = open();
    let line = b"\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07\xff\0 end";
    let mut run = Example::begin(&state, HERE, 1);
    run.evaluated("tests");
    run.log("tests", line);
    run.log("tests", b"");
    run.log("tests", &[b'x'; 3 * LINE_BYTES]);
    run.build_finished("tests", Conclusion::Passed, 1.);
    run.finish();
    let rest = format!("\n\n{}\n", "x".repeat(3 * LINE_BYTES));
    let (raw, notes) = log(&state, "tests", false, Form::Raw).unwrap();
    assert_eq!(raw, [line.as_slice(), rest.as_bytes()].concat());
    assert_eq!(notes, "");
    let (shown, _) = log(&state, "tests", false, Form::Terminal(Color::On)).unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), format!("\x1b[31mred\x1b[0m \u{fffd} end{rest}"));
    let (shown, _) = log(&state, "tests", false, Form::Terminal(Color::Off)).unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), format!("red \u{fffd} end{rest}"));
}

#[test]
fn follow_waits_for_the_build_and_prints_all_of_it() {
    let (dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.evaluated("tests");
    while state.resolve_job(HERE, "tests").is_err() {
        sleep(Duration::from_millis(10));
    }
    let path = dir.path().to_path_buf();
    let reader =
        std::thread::spawn(move || log(&State::open(&path).unwrap(), "tests", true, Form::Raw).unwrap());
    sleep(POLL * 2);
    run.build_started("tests");
    for number in 0..5 {
        run.log("tests", format!("line {number}").as_bytes());
        sleep(POLL);
    }
    run.build_finished("tests", Conclusion::Passed, 1.);
    run.finish();
    let (out, notes) = reader.join().unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "line 0\nline 1\nline 2\nline 3\nline 4\n");
    assert_eq!(notes, "note: waiting for `tests` to print something\n");
}

#[test]
fn follow_ends_when_esker_was_stopped() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.evaluated("tests");
    run.build_started("tests");
    run.log("tests", b"half");
    run.stop();
    let (out, notes) = log(&state, "tests", true, Form::Raw).unwrap();
    assert_eq!(out, b"half\n");
    insta::assert_snapshot!(notes, @"note: Esker was stopped before this build ended");
}

#[test]
fn what_is_shown_instead_is_said() {
    let (_dir, state) = open();
    let mut run = Example::begin(&state, HERE, 1);
    run.passes("tests", 1., &["built"]);
    run.does_not_evaluate("docs");
    run.finish();
    let mut run = Example::begin(&state, HERE, 2);
    run.is_there("tests");
    run.is_there("fmt");
    run.finish();
    let notes = |attr: &str| log(&state, attr, false, Form::Raw).unwrap().1;
    insta::assert_snapshot!(notes("tests"), @"note: `tests` was already there in the last run; this is the log of its build");
    insta::assert_snapshot!(notes("docs"), @"note: its evaluation failed; this is what Nix said");
    insta::assert_snapshot!(log(&state, "fmt", false, Form::Raw).unwrap_err(), @r"
    error: no log of `fmt` is kept: it was not built by Esker here, or printed nothing
    hint: Nix may have it: `nix log /nix/store/0123456789abcdfghijklmnpqrsvwxyz-fmt.drv`
    ");
}

#[test]
fn a_long_line_is_not_cut_within_a_character() {
    let text = format!("a{}", "é".repeat(LINE_BYTES));
    let length = piece_length(text.as_bytes());
    assert_eq!(length, LINE_BYTES - 1);
    assert!(text.is_char_boundary(length));
    assert_eq!(piece_length(&[0x80; LINE_BYTES + 1]), LINE_BYTES, "what is not text is cut anywhere");
}
