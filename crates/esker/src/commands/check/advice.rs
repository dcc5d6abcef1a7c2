//! What the suggested commands repeat of this command line.

use esker_engine::plan::{Plan, Subject};

use super::args::CheckArgs;
use crate::commands::subject::flake_words;
use crate::screen::advice::Advice;

/// All arguments that say what is evaluated are repeated; those that say how it is built and shown
/// are not.
pub(super) fn advice(args: &CheckArgs, plan: &Plan) -> Advice {
    let (mut check, log) = match (&args.selection.file, &plan.subject) {
        (Some(file), _) => {
            let words = vec!["--file".to_owned(), file.display().to_string()];
            (words.clone(), words)
        }
        (None, Subject::Flake { asked, .. }) => {
            let words = flake_words(&args.flake);
            (if words.is_empty() { vec![] } else { vec![asked.clone()] }, words)
        }
        (None, Subject::File { .. }) => (vec![], vec![]),
    };
    let evaluation = &args.evaluation;
    let pairs = [
        ("--arg", &args.selection.arg),
        ("--argstr", &args.selection.argstr),
        ("--override-input", &evaluation.override_input),
        ("--option", &evaluation.option),
    ];
    for (flag, values) in pairs {
        for pair in values.chunks_exact(2) {
            check.extend([flag.to_owned(), pair[0].clone(), pair[1].clone()]);
        }
    }
    if let Some(file) = &evaluation.reference_lock_file {
        check.extend(["--reference-lock-file".to_owned(), file.display().to_string()]);
    }
    let flags = [
        (evaluation.impure, "--impure"),
        (evaluation.no_update_lock_file, "--no-update-lock-file"),
        (evaluation.no_write_lock_file, "--no-write-lock-file"),
        (evaluation.accept_flake_config, "--accept-flake-config"),
        (evaluation.offline, "--offline"),
    ];
    check.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| (*flag).to_owned()));
    Advice::new(check, log)
}
