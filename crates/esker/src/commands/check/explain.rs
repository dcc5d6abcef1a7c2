//! Why a run ended without jobs, in the words of who started it.
//!
//! The engine knows what is wrong; here it is said with the file, the arguments and the
//! configuration that were given.

use std::collections::BTreeMap;
use std::path::Path;

use esker_engine::event::EvaluationError;
use esker_engine::plan::{Argument, Subject};
use esker_engine::{EvaluateError, RunError, Summary};
use esker_nix::evaluator::read_error;
use esker_nix::flake::nix_string;
use esker_nix::tool::Nix;

use super::args::CheckArgs;
use super::plan::Planned;
use crate::failure::Failure;
use crate::screen::advice::shell_word;
use crate::screen::places::Places;

/// The error of a whole run.
pub(super) fn failure(error: &RunError, args: &CheckArgs, planned: &Planned) -> Failure {
    let position = error.position();
    let failure = match (error, &planned.plan.subject, &args.selection.file) {
        (RunError::Evaluate(EvaluateError::NothingSelected { .. }), ..) => {
            let hint = planned
                .globs_of
                .as_ref()
                .map(|file| format!("the globs are those of {file}: see `include` and `exclude` there"));
            Failure::of_run(error, "").or_hint(hint)
        }
        (
            RunError::Evaluate(EvaluateError::Failed(reason)),
            Subject::File { path, arguments },
            Some(file),
        ) => {
            let bad = arguments.iter().find_map(|argument| bad_argument(&planned.nix, argument));
            match (bad, missing_argument(&planned.nix, path, arguments, reason)) {
                (Some(bad), _) => bad,
                (None, Some(name)) => {
                    let hint = format!("`--arg {name} EXPR` or `--argstr {name} STRING` gives it");
                    let text = format!("the function in `{}` wants an argument `{name}`", file.display());
                    Failure::usage(text, Some(hint))
                }
                (None, None) => Failure::of_run(error, &format!("`{}`", file.display())),
            }
        }
        _ => Failure::of_run(error, "the flake"),
    };
    let failure = if args.output.verbose > 0 { failure.traced(error) } else { failure };
    let mut places = Places::of_this_process();
    if let Subject::Flake { reference, .. } = &planned.plan.subject {
        places.set_asked(reference);
    }
    failure.annotated(&places, position)
}

/// A file without any job that looks like a flake is meant as one.
pub(super) fn no_jobs(summary: &Summary, args: &CheckArgs) -> Option<Failure> {
    let file = args.selection.file.as_ref().filter(|_| summary.jobs() == 0 && !summary.interrupted)?;
    if file.file_name().is_none_or(|name| name != "flake.nix") {
        return None;
    }
    let folder = match file.parent().map(|folder| folder.display().to_string()) {
        None => String::new(),
        Some(folder) if folder.is_empty() => String::new(),
        Some(folder) if folder.starts_with(['.', '/']) => format!(" {}", shell_word(&folder)),
        Some(folder) => format!(" {}", shell_word(&format!("./{folder}"))),
    };
    let hint = format!("it looks like a flake: `esker check{folder}` checks it as one");
    Some(Failure::usage(format!("there are no jobs in `{}`", file.display()), Some(hint)))
}

/// An `--arg` whose expression Nix cannot read.
fn bad_argument(nix: &Nix, argument: &Argument) -> Option<Failure> {
    let Argument::Expression { name, expression } = argument else { return None };
    // Read, but not evaluated.
    let reading = format!("builtins.isFunction (_: (\n{expression}\n))");
    let output = nix.command(["eval", "--expr", &reading]).output().ok()?;
    if output.status.success() {
        return None;
    }
    let error = read_error(&String::from_utf8_lossy(&output.stderr), None);
    let (name, word) = (shell_word(name), shell_word(expression));
    let message = error.message.lines().next().unwrap_or_default();
    // The place is in the line we made of it.
    let message = message.split(" at «").next().unwrap_or(message);
    let text = format!("`--arg {name} {word}` is no Nix expression: {message}");
    Some(Failure::usage(text, Some(format!("`--argstr {name} {word}` passes it as a string"))))
}

/// The argument that the file's function wants and was not given, if that is what went wrong.
fn missing_argument(nix: &Nix, path: &Path, given: &[Argument], error: &EvaluationError) -> Option<String> {
    let (_, rest) = error.message.split_once("called without required argument '")?;
    let wanted = rest.split('\'').next()?;
    let is_given = |argument: &Argument| match argument {
        Argument::Expression { name, .. } | Argument::String { name, .. } => name == wanted,
    };
    // It may be another function, deep inside.
    let path = nix_string(&path.display().to_string());
    let asking = format!("builtins.functionArgs (import (/. + {path}))");
    let output = nix.command(["eval", "--json", "--impure", "--expr", &asking]).output().ok()?;
    let takes: BTreeMap<String, bool> = serde_json::from_slice(&output.stdout).ok()?;
    (takes.get(wanted) == Some(&false) && !given.iter().any(is_given)).then(|| wanted.to_owned())
}
