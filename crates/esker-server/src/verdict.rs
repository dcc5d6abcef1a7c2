//! How an evaluation is, in one sentence: the page and the forge show the same words.

use std::collections::BTreeMap;

use crate::store::EvaluationRow;

/// What a sentence is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs {
    /// How many are in which state.
    pub(crate) counts: BTreeMap<String, i64>,
    /// Names of some that did not pass.
    pub(crate) not_passed: Vec<String>,
}

impl Jobs {
    fn count(&self, word: &str) -> i64 {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// All of them.
    pub(crate) fn total(&self) -> i64 {
        self.counts.values().sum()
    }

    /// Those with a verdict.
    pub(crate) fn done(&self) -> i64 {
        ["passed", "failed", "broken", "cancelled"].iter().map(|word| self.count(word)).sum()
    }
}

/// One sentence, without a full stop.
pub(crate) fn sentence(evaluation: &EvaluationRow, jobs: &Jobs) -> String {
    let total = jobs.total();
    if !evaluation.is_finished() {
        return match evaluation.word() {
            "building" => format!("{} of {} done", jobs.done(), named(total)),
            word => word.to_owned(),
        };
    }
    if let Some(error) = &evaluation.error {
        return error.lines().next().unwrap_or_default().to_owned();
    }
    let word = evaluation.word();
    if total == 0 {
        return "there are no jobs".to_owned();
    }
    if word == "passed" {
        return match total {
            1 => "the only job passed".to_owned(),
            total => format!("all {total} jobs passed"),
        };
    }
    let names = jobs.not_passed.join(", ");
    let count = jobs.count(word);
    format!("{count} of {} {word}: {names}", named(total))
}

fn named(total: i64) -> String {
    if total == 1 { "1 job".to_owned() } else { format!("{total} jobs") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::EvaluationId;

    fn check(state: &str, conclusion: Option<&str>, error: Option<&str>, counts: &[(&str, i64)]) -> String {
        let evaluation = EvaluationRow {
            id: EvaluationId { project: "f/o/r".into(), number: 1 },
            commit: String::new(),
            reference: String::new(),
            state: state.into(),
            queued: 0,
            started: None,
            finished: None,
            attempt: 1,
            evaluated: state == "running" && !counts.is_empty(),
            conclusion: conclusion.map(Into::into),
            error: error.map(Into::into),
            summary: None,
        };
        let counts = counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        sentence(&evaluation, &Jobs { counts, not_passed: vec!["a".into(), "b".into()] })
    }

    #[test]
    fn each_state_has_a_sentence() {
        assert_eq!(check("waiting", None, None, &[]), "waiting");
        assert_eq!(check("running", None, None, &[]), "evaluating");
        assert_eq!(check("running", None, None, &[("passed", 1), ("building", 2)]), "1 of 3 jobs done");
        assert_eq!(check("finished", Some("passed"), None, &[("passed", 3)]), "all 3 jobs passed");
        assert_eq!(check("finished", Some("passed"), None, &[]), "there are no jobs");
        let failed = check("finished", Some("failed"), None, &[("passed", 1), ("failed", 2)]);
        assert_eq!(failed, "2 of 3 jobs failed: a, b");
        assert_eq!(check("finished", Some("broken"), Some("no disk\nhint: x"), &[]), "no disk");
    }
}
