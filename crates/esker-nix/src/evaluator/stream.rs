//! Reads what an evaluator says on stderr: our own lines between Nix's.
//!
//! Invariant: only a line that begins with the nonce is an answer; all else is text that belongs
//! to the attribute that was begun last.
//!
//! Invariant: of the text of one attribute its beginning and its end are kept, and no more: a flake
//! can print without end, but the error, which comes last, is there.

use serde::Deserialize;

use crate::StorePath;

/// The most text kept from the beginning of one attribute, in bytes. From its end it is as much to
/// twice as much, and the newest line besides. Lines between are dropped and counted.
const MAX_TEXT: usize = 1 << 19;
/// The most text of one warning, in bytes.
const MAX_WARNING: usize = 4 << 10;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// What a root is.
    Root(Root),
    /// Began with this attribute.
    Began {
        /// Its id in the request.
        id: String,
    },
    /// It is a derivation, and in the store.
    Derivation {
        /// Its id in the request.
        id: String,
        /// Where.
        drv: StorePath,
    },
    /// It is a set to look into.
    Set {
        /// Its id in the request.
        id: String,
        /// The names in it.
        names: Vec<String>,
    },
    /// It is a value of this type, and no derivation.
    Other {
        /// Its id in the request.
        id: String,
        /// As `builtins.typeOf` has it.
        type_name: String,
    },
    /// It failed; `text` is all that Nix said since it began.
    Failed {
        /// Its id in the request.
        id: String,
        /// Lossily decoded.
        text: String,
    },
    /// A warning or trace.
    Warning {
        /// Id of the attribute under evaluation.
        id: Option<String>,
        /// Without the word `trace:` or `warning:`.
        text: String,
    },
}

/// What one of the request's roots turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Root {
    /// Its index in the request.
    pub root: usize,
    /// None of its candidates exists; `names` are those beside the missing one.
    #[serde(default)]
    pub missing: bool,
    /// Where it is.
    #[serde(default)]
    pub path: Vec<String>,
    /// It is itself a derivation.
    #[serde(default)]
    pub single: bool,
    /// It is no set, but a value of this type.
    #[serde(default, rename = "type")]
    pub type_name: Option<String>,
    /// The names in it, sorted.
    pub names: Vec<String>,
}

/// Takes lines, gives answers.
#[derive(Debug)]
pub struct StreamReader {
    prefix: String,
    current: Option<String>,
    settled: bool,
    text: String,
    /// What came after `text` was full.
    end: String,
    dropped: usize,
}

impl StreamReader {
    /// A reader for an evaluator with this nonce.
    pub fn new(nonce: &str) -> Self {
        Self {
            prefix: format!("trace: {nonce} "),
            current: None,
            settled: true,
            text: String::new(),
            end: String::new(),
            dropped: 0,
        }
    }

    /// Takes one line, without its newline.
    pub fn line(&mut self, line: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        match line.strip_prefix(self.prefix.as_bytes()) {
            Some(answer) => self.answer(&String::from_utf8_lossy(answer), &mut said),
            None => self.keep(line),
        }
        said
    }

    /// What was said for the attribute that was begun and never answered, if there is one; else all
    /// text since the last answer.
    pub fn finish(mut self) -> (Option<String>, String) {
        let current = self.current.take().filter(|_| !self.settled);
        (current, self.text + &self.end)
    }

    /// Keeps a line that is no answer; of a long one only the start.
    fn keep(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(&line[..line.len().min(MAX_TEXT)]);
        if self.end.is_empty() && self.text.len() + line.len() < MAX_TEXT {
            self.text.push_str(&line);
            self.text.push('\n');
            return;
        }
        self.end.push_str(&line);
        self.end.push('\n');
        if self.end.len() > 2 * MAX_TEXT {
            // Whole lines, so that what is left begins with one; the newest always stays.
            let newest = self.end.len() - line.len() - 1;
            let half = self.end.as_bytes()[..newest].iter().skip(MAX_TEXT).position(|byte| *byte == b'\n');
            let gone = half.map_or(newest, |at| MAX_TEXT + at + 1);
            self.dropped += self.end[..gone].matches('\n').count();
            self.end.drain(..gone);
        }
    }

    fn answer(&mut self, answer: &str, said: &mut Vec<Said>) {
        let (kind, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        let (id, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let id = id.to_owned();
        match kind {
            "N" => {
                let text = answer.get(2..).unwrap_or_default();
                said.extend(serde_json::from_str(text).ok().map(Said::Root));
                return;
            }
            "B" => {
                if let Some(id) = self.current.take().filter(|_| !self.settled) {
                    let text = self.take_text(Some(&id), said);
                    said.push(Said::Failed { id, text });
                } else {
                    self.flush(said);
                }
                (self.current, self.settled) = (Some(id.clone()), false);
                said.push(Said::Began { id });
                return;
            }
            _ => {}
        }
        self.flush(said);
        let answer = match kind {
            "D" => rest.parse().ok().map(|drv| Said::Derivation { id: id.clone(), drv }),
            "S" => serde_json::from_str(rest).ok().map(|names| Said::Set { id: id.clone(), names }),
            "X" => Some(Said::Other { id: id.clone(), type_name: rest.to_owned() }),
            _ => None,
        };
        self.settled = self.settled || (answer.is_some() && self.current.as_deref() == Some(&id));
        said.extend(answer);
    }

    fn flush(&mut self, said: &mut Vec<Said>) {
        let current = self.current.clone();
        self.take_text(current.as_deref(), said);
    }

    /// The text so far, after its warnings were told.
    fn take_text(&mut self, id: Option<&str>, said: &mut Vec<Said>) -> String {
        let mut text = std::mem::take(&mut self.text);
        text.push_str(&std::mem::take(&mut self.end));
        warnings(&text, id, said);
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let text = format!("{dropped} further lines of traces were left out");
            said.push(Said::Warning { id: id.map(str::to_owned), text });
        }
        text
    }
}

/// Finds the warnings and traces in what Nix printed around the answers.
fn warnings(text: &str, id: Option<&str>, said: &mut Vec<Said>) {
    let mut current: Option<String> = None;
    let mut push = |text: Option<String>| {
        if let Some(text) = text.filter(|text| !is_about_us(text)) {
            said.push(Said::Warning { id: id.map(str::to_owned), text: shortened(text.trim_end()) });
        }
    };
    for line in text.lines() {
        let start = [
            "trace: warning: ",
            "trace: evaluation warning: ",
            "evaluation warning: ",
            "warning: ",
            "trace: ",
        ]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix));
        if let Some(start) = start {
            push(current.replace(start.to_owned()));
        } else if line.starts_with("error") || is_progress(line) {
            push(current.take());
        } else if let Some(text) = &mut current {
            text.push('\n');
            text.push_str(line);
        }
    }
    push(current);
}

fn shortened(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= MAX_WARNING) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

/// Lines by which Nix tells what it is doing.
fn is_progress(line: &str) -> bool {
    [
        "checking ",
        "evaluating ",
        "derivation evaluated to ",
        "copying ",
        "fetching ",
        "unpacking ",
        "building ",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

/// Warnings that are about the flake of our own, not the user's.
fn is_about_us(text: &str) -> bool {
    text.contains("is unlocked (e.g. lacks a Git revision)")
        || text.starts_with("Git tree '")
        // Others use the store too; Nix waits and tries again.
        || (text.contains("SQLite database '") && text.contains("' is busy"))
        || text.contains("omitted these incompatible systems")
        || text.starts_with("not writing")
        || text.starts_with("unknown setting")
        || text.starts_with("error: SQLite database '")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Vec<Said>, (Option<String>, String)) {
        let mut reader = StreamReader::new("n");
        let said = text.lines().flat_map(|line| reader.line(line.as_bytes())).collect();
        (said, reader.finish())
    }

    #[test]
    fn an_error_belongs_to_the_attribute_that_was_begun() {
        let (said, end) = read(
            "trace: n B 1\nerror: boom\n  at x\ntrace: n B 2\ntrace: n D 2 /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x.drv",
        );
        assert_eq!(said[1], Said::Failed { id: "1".into(), text: "error: boom\n  at x\n".into() });
        assert!(matches!(&said[3], Said::Derivation { id, .. } if id == "2"));
        assert_eq!(end.0, None);
    }

    #[test]
    fn a_trace_cannot_forge_an_answer() {
        let (said, end) =
            read("trace: n B 1\ntrace: x D 1 /nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x.drv\nerror: boom");
        assert_eq!(said.len(), 1);
        assert_eq!(end.0.as_deref(), Some("1"));
    }

    #[test]
    fn warnings_come_whole_and_without_what_concerns_us_only() {
        let (said, _) = read(
            "warning: Git tree '/x' is dirty\ntrace: n B 1\ntrace: warning: old\nuse new\ntrace: n X 1 int",
        );
        assert_eq!(said[1], Said::Warning { id: Some("1".into()), text: "old\nuse new".into() });
        assert_eq!(said[2], Said::Other { id: "1".into(), type_name: "int".into() });
    }

    #[test]
    fn roots_are_read() {
        let (said, _) = read(r#"trace: n N {"names":["a"],"path":["checks","x"],"root":0}"#);
        assert!(matches!(&said[0], Said::Root(root) if root.names == ["a"] && !root.missing));
    }

    #[test]
    fn a_flake_that_prints_without_end_costs_little_and_its_error_is_kept() {
        let long = [b'x', 0xff, b'\r'].map(|byte| vec![byte; 3 << 20]);
        for line in [b"trace: spam".to_vec(), vec![b'x'; 200_000], Vec::new()].into_iter().chain(long) {
            let mut reader = StreamReader::new("n");
            let mut said = reader.line(b"trace: n B 1");
            for _ in 0..(6 << 20) / (line.len() + 1) + 4 {
                said.extend(reader.line(&line));
                assert!(reader.text.len() + reader.end.len() <= 6 * MAX_TEXT);
            }
            said.extend(reader.line(b"error: boom"));
            assert_eq!(said.len(), 1);
            said.extend(reader.line(b"trace: n B 2"));
            let texts = said.iter().filter_map(|said| match said {
                Said::Failed { text, .. } => Some(text),
                _ => None,
            });
            let texts: Vec<&String> = texts.collect();
            assert!(texts.len() == 1 && texts[0].ends_with("error: boom\n"));
            assert!(texts[0].len() <= 6 * MAX_TEXT);
        }
    }

    /// Lines that are answers, that pretend to be, and any bytes.
    fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let answer = "(N|B|D|S|X|Q|) ?(0|1|2)? ?(int|\\[\"a\"\\]|/nix/store/a{32}-x.drv|\\{\"root\":0,\"names\":\\[\\]\\})?";
        let start = proptest::sample::select(vec![
            "trace: n ",
            "trace: n ",
            "trace: m ",
            "trace: ",
            " trace: n ",
            "trace: n",
            "warning: ",
            "error: ",
        ]);
        let line = prop_oneof![
            4 => (start, answer).prop_map(|(start, answer)| [start, &answer].concat().into_bytes()),
            1 => vec(any::<u8>(), 0..40),
        ];
        vec(line, 0..20)
    }

    /// What is told apart from texts.
    fn answers(lines: &[Vec<u8>], takes: impl Fn(&[u8]) -> bool) -> (Vec<Said>, Option<String>) {
        let mut reader = StreamReader::new("n");
        let mut answers = Vec::new();
        for line in lines.iter().filter(|line| takes(line)) {
            answers.extend(reader.line(line).into_iter().filter_map(|said| match said {
                Said::Warning { .. } => None,
                Said::Failed { id, .. } => Some(Said::Failed { id, text: String::new() }),
                other => Some(other),
            }));
        }
        (answers, reader.finish().0)
    }

    proptest! {
        #[test]
        fn what_a_flake_prints_changes_no_answer(lines in lines()) {
            let ours = |line: &[u8]| line.starts_with(b"trace: n ");
            prop_assert_eq!(answers(&lines, |_| true), answers(&lines, ours));
            prop_assert_eq!(answers(&lines, |line| !ours(line)), (vec![], None));
        }
    }
}
