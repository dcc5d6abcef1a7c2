//! Addresses of pages: printed here, and read here.
//!
//! A job's name may hold anything, also `/`: it is one escaped part of an address.

use std::path::Path;

use crate::project::ProjectName;
use crate::store::EvaluationId;

/// What an address below `/p/` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A project.
    Project(ProjectName),
    /// An evaluation, or what belongs to it.
    Evaluation(EvaluationId, Part),
    /// A job, or what belongs to it.
    Job(EvaluationId, String, Part),
}

/// What is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The page.
    Page,
    /// Its changes, as they happen.
    Live,
    /// A job's log, as text.
    Log,
    /// An evaluation's events, as `esker check --json` prints them.
    Events,
}

impl Address {
    /// Reads the part of an address after `/p/`, still escaped.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let Some((project, rest)) = path.split_once("/evaluations/") else {
            return path.parse().ok().map(Self::Project);
        };
        let project: ProjectName = project.parse().ok()?;
        let mut parts = rest.split('/');
        let number: i64 = parts.next().filter(|number| !number.starts_with('+'))?.parse().ok()?;
        let id = EvaluationId { project: project.as_str().to_owned(), number };
        let rest: Vec<&str> = parts.collect();
        Some(match rest[..] {
            [] => Self::Evaluation(id, Part::Page),
            ["live"] => Self::Evaluation(id, Part::Live),
            ["events.jsonl"] => Self::Evaluation(id, Part::Events),
            ["jobs", job] => Self::Job(id, decode(job)?, Part::Page),
            ["jobs", job, "live"] => Self::Job(id, decode(job)?, Part::Live),
            ["jobs", job, "log.txt"] => Self::Job(id, decode(job)?, Part::Log),
            _ => return None,
        })
    }
}

/// The path of a project's page.
pub(crate) fn project(project: &str) -> String {
    format!("/p/{project}")
}

/// The path of an evaluation's page.
pub(crate) fn evaluation(id: &EvaluationId) -> String {
    format!("/p/{}/evaluations/{}", id.project, id.number)
}

/// The path of a job's page.
pub(crate) fn job(id: &EvaluationId, job: &str) -> String {
    format!("{}/jobs/{}", evaluation(id), encode(job.as_bytes(), b"-_~"))
}

/// A path of the file system within an address.
pub(crate) fn encode_path(path: &Path) -> String {
    encode(path.as_os_str().as_encoded_bytes(), b"/._-")
}

fn encode(bytes: &[u8], plain: &[u8]) -> String {
    let one = |&byte: &u8| match byte.is_ascii_alphanumeric() || plain.contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.get(..2)?;
        let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(number, 16).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_is_read(name in ".*", number in 1..i64::MAX) {
            let id = EvaluationId { project: "github/acme/hello".to_owned(), number };
            let path = job(&id, &name);
            prop_assert!(path.is_ascii() && !path.contains(['"', '<', '?', '#', ' ']));
            let read = Address::parse(path.strip_prefix("/p/").unwrap());
            prop_assert_eq!(read, Some(Address::Job(id, name, Part::Page)));
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = Address::parse(&text);
            let _ = decode(&text);
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            "a/b",
            "a/b/c/evaluations/",
            "a/b/c/evaluations/x",
            "a/b/c/evaluations/1/jobs",
            "a/b/c/evaluations/1/jobs/%zz",
            "a/b/c/evaluations/1/jobs/%+1",
            "a/../b/evaluations/1",
            "a/b/c/",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
