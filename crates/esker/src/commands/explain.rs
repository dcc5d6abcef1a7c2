//! `esker explain`: why a job was built, or was not, and what it really depends on.

mod narrower;
mod observed;

use std::env;
use std::io::{self, Write};

use esker_engine::event::{Explanation, Reason};
use serde_json::json;

use crate::commands::subject::SubjectArgs;
use crate::commands::trace;
use crate::screen::clean;
use crate::state::{State, StateError};
use observed::Observed;

/// Show why a job was built, or why its result was reused
///
/// Of the newest run in which builds were observed (`esker check --trace record` or `reuse`) and
/// something was decided about this job. Also tells how much of its inputs the build looked at, and
/// which part of a source would have been enough.
#[derive(clap::Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Job, or a part of its name that no other job has
    #[arg(value_name = "ATTR")]
    attr: String,
    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    subject: SubjectArgs,
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("nothing is known of why `{job}` was built")]
    Nothing {
        /// Its name.
        job: String,
    },
    #[error("cannot write the explanation")]
    Write(#[source] io::Error),
}

/// In so many of the newest runs a job's derivation is looked for.
const RUNS: usize = 20;

/// Prints the explanation to stdout.
///
/// # Errors
/// No such job, none that was observed, or stdout cannot be written.
pub(crate) fn run(args: &ExplainArgs, state: &State) -> Result<(), ExplainError> {
    let cwd = env::current_dir().unwrap_or_else(|_| ".".into());
    let subject = args.subject.key(&cwd);
    let job = state.resolve_job(&subject, &args.attr)?;
    let found = state.explanation(&subject, &job)?;
    let (drv, explanation) = match found {
        Some((drv, explanation)) => (Some(drv), Some(explanation)),
        // It was observed all the same if nothing had to be decided, or another job needed it.
        None => {
            let entries = state.history(&subject, &job, RUNS)?;
            (entries.into_iter().find_map(|entry| entry.drv), None)
        }
    };
    let observed = drv.as_deref().and_then(|drv| observed(state, drv, explanation.as_ref()));
    if explanation.is_none() && observed.is_none() {
        return Err(ExplainError::Nothing { job });
    }
    let text = if args.json {
        let observed = observed.as_ref().map(Observed::value);
        let object =
            json!({ "v": 1, "job": job, "drv": drv, "explanation": explanation, "observed": observed });
        format!("{object}\n")
    } else {
        let why = match &explanation {
            Some(explanation) => text(&job, explanation),
            None => format!("{} was built and observed at some time\n", clean::name(&job)),
        };
        let what = observed.map(|observed| observed.text() + &rest(explanation.as_ref(), &observed));
        why + &what.unwrap_or_default()
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ExplainError::Write(error)),
        _ => Ok(()),
    }
}

/// `None`, with a note where there is a reason, if nothing is known of it.
fn observed(state: &State, drv: &str, explanation: Option<&Explanation>) -> Option<Observed> {
    if explanation.is_some_and(|explanation| explanation.reason == Reason::Untraced) {
        return None;
    }
    let look = || {
        let Some(store) = trace::open(&state.dir().join(trace::FOLDER))? else { return Ok(None) };
        let observed = observed::look(&store, drv, explanation);
        trace::tell_notices(&store);
        observed
    };
    look().unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "note: what it observed cannot be told: {error}");
        None
    })
}

fn text(job: &str, explanation: &Explanation) -> String {
    let word = if explanation.reason == Reason::Holds { "reused" } else { "built" };
    let mut text = format!("{} was {word}: {}\n", clean::name(job), clean::name(&explanation.sentence()));
    if explanation.observations > 0 {
        let (differing, all) = (explanation.differing, explanation.observations);
        text += &format!("  {differing} of {all} observations have another answer\n");
    }
    if let Some(trace) = &explanation.trace {
        let how = if explanation.reason == Reason::Holds { "from" } else { "compared with" };
        text += &format!("  {how} trace {trace}\n");
    }
    text
}

/// How to see the differences that are not the first.
fn rest(explanation: Option<&Explanation>, observed: &Observed) -> String {
    let differs = |it: &&Explanation| it.reason == Reason::Differs && it.differing > 1;
    match explanation.filter(differs).and_then(|it| it.trace.as_deref()) {
        Some(then) => format!("  all differences: `esker trace diff {then} {}`\n", observed.trace),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use esker_engine::event::ObservedDifference;

    use super::*;

    #[test]
    fn the_first_difference_is_the_reason() {
        let difference = ObservedDifference {
            path: "src/a.c".to_owned(),
            before: "a file of 3 bytes".to_owned(),
            after: "a file of 4 bytes".to_owned(),
        };
        let explanation = Explanation {
            trace: Some("7de86a3e2fdf".to_owned()),
            inputs: vec!["source".to_owned()],
            difference: Some(difference),
            differing: 3,
            observations: 412,
            ..Explanation::of(Reason::Differs)
        };
        insta::assert_snapshot!(text("unit", &explanation), @r"
        unit was built: `src/a.c` in `source` was a file of 3 bytes and is a file of 4 bytes
          3 of 412 observations have another answer
          compared with trace 7de86a3e2fdf
        ");
    }

    #[test]
    fn a_reuse_says_what_changed_unseen() {
        let (trace, inputs) = (Some("7de86a3e2fdf".to_owned()), vec!["source".to_owned()]);
        let explanation = Explanation { trace, inputs, ..Explanation::of(Reason::Holds) };
        insta::assert_snapshot!(text("unit", &explanation), @r"
        unit was reused: nothing it reads of `source` has changed
          from trace 7de86a3e2fdf
        ");
    }
}
