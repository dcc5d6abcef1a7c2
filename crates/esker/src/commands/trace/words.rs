//! Traces in words, for people and for programs.

use std::collections::BTreeMap;

use esker_trace::observation::{Answer, Digest, Kind};
use esker_trace::store::Observed;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::screen::clean;
use crate::screen::style::{count, pad};

/// All hexadecimal digits.
pub(super) fn hex(digest: &Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first twelve of them, as in the name of a trace.
pub(super) fn short(digest: &Digest) -> String {
    digest.0[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was asked, in one word.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Content => "content",
        Kind::Names => "names",
        Kind::Target => "target",
    }
}

/// A path below an input. The input itself is a dot.
pub(super) fn path(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { clean::name(&String::from_utf8_lossy(path)) }
}

/// An answer, after what was asked.
pub(super) fn answer(answer: Option<Answer>) -> String {
    match answer {
        None => "no longer known".to_owned(),
        Some(Answer::Absent) => "absent".to_owned(),
        Some(Answer::NoSlot) => "no such input".to_owned(),
        Some(Answer::Directory) => "a folder".to_owned(),
        Some(Answer::Symlink) => "a link".to_owned(),
        Some(Answer::Regular { executable: true, size }) => format!("a program of {}", count(size, "byte")),
        Some(Answer::Regular { executable: false, size }) => format!("a file of {}", count(size, "byte")),
        Some(Answer::Content(digest) | Answer::Names(digest) | Answer::Target(digest)) => short(&digest),
    }
}

/// An answer, for programs.
pub(super) fn answer_value(answer: Option<Answer>) -> Value {
    match answer {
        None => Value::Null,
        Some(Answer::Absent) => json!({ "is": "absent" }),
        Some(Answer::NoSlot) => json!({ "is": "no_input" }),
        Some(Answer::Directory) => json!({ "is": "folder" }),
        Some(Answer::Symlink) => json!({ "is": "link" }),
        Some(Answer::Regular { executable, size }) => {
            json!({ "is": "file", "executable": executable, "size": size })
        }
        Some(Answer::Content(digest)) => json!({ "is": "content", "digest": hex(&digest) }),
        Some(Answer::Names(digest)) => json!({ "is": "names", "digest": hex(&digest) }),
        Some(Answer::Target(digest)) => json!({ "is": "target", "digest": hex(&digest) }),
    }
}

/// A question, for programs.
pub(super) fn question_value(key: &str, path: &[u8], asked: Kind) -> Value {
    json!({ "input": key, "path": String::from_utf8_lossy(path), "asked": kind(asked) })
}

/// Questions and what is to be said of each, under the names of their inputs.
pub(super) fn list<'a>(lines: impl Iterator<Item = (&'a Observed, String)>) -> String {
    let mut inputs: BTreeMap<&str, Vec<(&Observed, String)>> = BTreeMap::new();
    for (observed, said) in lines {
        inputs.entry(&observed.key).or_default().push((observed, said));
    }
    let mut text = String::new();
    for (key, lines) in inputs {
        text += &format!("  {}\n", clean::name(key));
        let paths: Vec<String> = lines.iter().map(|(observed, _)| path(&observed.path)).collect();
        // One long path must not push all others aside.
        let width = paths.iter().map(|path| path.chars().count()).max().unwrap_or(0).min(40);
        for ((observed, said), path) in lines.iter().zip(paths) {
            text += &format!("    {:<7}  {}  {said}\n", kind(observed.kind), pad(&path, width));
        }
    }
    text
}

/// A moment: day and minute.
pub(super) fn when(seconds: i64, zone: &TimeZone) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `once`, `twice`, `12 times`.
pub(super) fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{} times", crate::screen::style::number(more)),
    }
}
