//! Why there is no derivation, or no list of attributes at all.

use std::io;

use esker_nix::StorePath;
use esker_nix::attr_path::AttrPath;
use esker_nix::evaluator::ErrorText;

use crate::event::{EvaluationError, EvaluationErrorKind, Position};
use crate::plan::EvaluationLimits;

/// Why a plan could not be turned into a list of jobs.
///
/// One attribute that fails to evaluate is not an error here: it is a job that failed, and its
/// neighbours still build.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The attribute does not exist.
    #[error("{}", missing(wanted, beside))]
    NoAttribute {
        /// What was asked for.
        wanted: String,
        /// Names at the place where it should be.
        beside: Vec<String>,
    },
    /// The attribute is neither a set nor a derivation.
    #[error("{} is {type_name}, not a set of derivations", whole_or(path))]
    NotASet {
        /// Where it is.
        path: String,
        /// What it is, with its article.
        type_name: String,
    },
    /// The same where every flake has a set, whatever was asked for.
    #[error("`{path}` is {type_name}, not a set of derivations")]
    OutputNotASet {
        /// Where it is.
        path: String,
        /// What it is, with its article.
        type_name: String,
    },
    /// A glob that cannot be read.
    #[error("`{glob}` is not a valid glob: {reason}")]
    Glob {
        /// As it was given.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An attribute path that cannot be read.
    #[error(transparent)]
    AttrPath(#[from] esker_nix::attr_path::AttrPathError),
    /// Include and exclude leave nothing.
    #[error("none of the {of} attributes is selected")]
    NothingSelected {
        /// How many there are.
        of: usize,
    },
    /// The flake itself does not evaluate.
    #[error("{}", .0.message)]
    Failed(EvaluationError),
    /// No evaluator could be started.
    #[error("cannot start an evaluator")]
    Start(#[source] io::Error),
}

impl EvaluateError {
    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoAttribute { wanted, beside } => {
                let path: AttrPath = wanted.parse().unwrap_or_default();
                let systems: Vec<&str> =
                    beside.iter().map(String::as_str).filter(|name| is_system(name)).collect();
                match nearest(wanted, &path, beside) {
                    _ if path.names().last().is_some_and(|name| is_system(name)) && !systems.is_empty() => {
                        Some(format!("`--system {}` checks those of that system", systems[0]))
                    }
                    Some(candidate) => Some(format!("did you mean `{}`?", quoted(candidate))),
                    None if beside.iter().any(|name| name == "packages") => {
                        Some("`--attr packages` checks the packages instead".to_owned())
                    }
                    None => None,
                }
            }
            Self::NothingSelected { .. } => {
                Some("`--dry-run` without `--include` and `--exclude` lists them all".to_owned())
            }
            Self::Failed(error) if error.kind == EvaluationErrorKind::OutOfMemory => {
                Some("raise `limits.evaluation_memory` in esker.toml, or check fewer attributes".to_owned())
            }
            Self::Failed(error) if error.kind == EvaluationErrorKind::Impure => {
                Some("`--impure` allows it, at the price that others may get another result".to_owned())
            }
            _ => None,
        }
    }
}

/// What the path is meant to say, if a name beside it is nearly the same.
fn nearest<'a>(wanted: &str, path: &AttrPath, beside: &'a [String]) -> Option<&'a String> {
    // `a.b` may be the name `"a.b"`.
    if path.names().len() > 1
        && let Some(same) = beside.iter().find(|other| *other == wanted)
    {
        return Some(same);
    }
    let pairs = path.names().iter().flat_map(|name| beside.iter().map(move |other| (name, other)));
    pairs
        .filter(|(name, other)| name != other && other.len() > 2)
        .map(|(name, other)| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, other)| other)
}

/// As it has to be written in an attribute path.
fn quoted(name: &str) -> String {
    AttrPath::new([name]).to_string()
}

/// Whether it is the name of a system rather than of a job.
fn is_system(name: &str) -> bool {
    const KERNELS: [&str; 9] =
        ["linux", "darwin", "freebsd", "netbsd", "openbsd", "cygwin", "windows", "wasi", "none"];
    name.split_once('-')
        .is_some_and(|(_, kernel)| KERNELS.contains(&kernel.trim_end_matches(char::is_numeric)))
}

fn whole_or(path: &str) -> String {
    if path.is_empty() { "it".to_owned() } else { format!("`{path}`") }
}

fn missing(wanted: &str, beside: &[String]) -> String {
    const SHOWN: usize = 8;
    let names: Vec<String> = beside.iter().take(SHOWN).map(|name| format!("`{}`", quoted(name))).collect();
    let more =
        if beside.len() > SHOWN { format!(" and {} more", beside.len() - SHOWN) } else { String::new() };
    if names.is_empty() {
        format!("there is no attribute `{wanted}`")
    } else {
        format!("there is no attribute `{wanted}`, only {}{more}", names.join(", "))
    }
}

pub(super) fn from_text(error: ErrorText) -> EvaluationError {
    EvaluationError {
        kind: EvaluationErrorKind::from_nix(error.kind),
        message: error.message,
        position: error.position.map(|(path, line, column)| Position { path, line, column }),
        trace: error.trace,
    }
}

pub(super) fn not_a_derivation(type_name: &str) -> EvaluationError {
    plain(EvaluationErrorKind::NotADerivation, format!("it is {}, not a derivation", with_article(type_name)))
}

pub(super) fn import_failed(drv: &StorePath, reason: &str) -> EvaluationError {
    let message = format!("it imports from {}, which was not built: {reason}", drv.name());
    plain(EvaluationErrorKind::ImportFromDerivation, message)
}

pub(super) fn limit(memory: bool, limits: &EvaluationLimits) -> EvaluationError {
    if memory {
        let mib = limits.memory >> 20;
        let message = format!("its evaluation alone needs more than {mib} MiB of memory");
        plain(EvaluationErrorKind::OutOfMemory, message)
    } else {
        let message = format!("its evaluation took longer than {} s", limits.timeout.as_secs());
        plain(EvaluationErrorKind::TimedOut, message)
    }
}

pub(super) fn crashed(how: &str) -> EvaluationError {
    plain(EvaluationErrorKind::Crash, format!("its evaluator died twice without a word ({how})"))
}

/// `set` becomes `a set`, `int` becomes `an integer`.
pub(super) fn with_article(type_name: &str) -> String {
    match type_name {
        "int" => "an integer".to_owned(),
        "bool" => "a boolean".to_owned(),
        "lambda" => "a function".to_owned(),
        "set" => "a set of other things".to_owned(),
        "null" => "null".to_owned(),
        other => format!("a {other}"),
    }
}

fn plain(kind: EvaluationErrorKind, message: String) -> EvaluationError {
    EvaluationError { kind, trace: message.clone(), message, position: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_attribute_is_recognised() {
        let error = EvaluateError::NoAttribute { wanted: "chekcs".into(), beside: vec!["checks".into()] };
        assert_eq!(error.to_string(), "there is no attribute `chekcs`, only `checks`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `checks`?"));
    }

    #[test]
    fn a_name_that_needs_quotes_is_shown_with_them() {
        let beside = vec!["a.b".into(), "say \"hi\"".into()];
        let error = EvaluateError::NoAttribute { wanted: "a.b".into(), beside };
        let text = r#"there is no attribute `a.b`, only `"a.b"`, `"say \"hi\""`"#;
        assert_eq!(error.to_string(), text);
        assert_eq!(error.hint().as_deref(), Some(r#"did you mean `"a.b"`?"#));
    }

    #[test]
    fn jobs_of_another_system_are_pointed_out() {
        let hint = |wanted: &str, beside: &[&str]| {
            let beside = beside.iter().map(|name| (*name).to_owned()).collect();
            EvaluateError::NoAttribute { wanted: wanted.into(), beside }.hint()
        };
        let expected = "`--system aarch64-linux` checks those of that system";
        assert_eq!(hint("checks.x86_64-linux", &["aarch64-linux"]).as_deref(), Some(expected));
        assert_eq!(hint("checks.x86_64-linux", &["lint-fast"]), None);
        assert_eq!(hint("checks", &["aarch64-linux"]), None);
    }
}
