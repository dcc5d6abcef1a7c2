//! From what a person types to the one job that is meant.

use rusqlite::params;

use super::{State, StateError};

impl State {
    /// The job of `subject` that `name` means: the one called so, else the only one that begins
    /// with it, else the only one that contains it.
    ///
    /// A whole attribute path is understood too.
    ///
    /// # Errors
    /// None or several could be meant; the error names the likely ones.
    pub(crate) fn resolve_job(&self, subject: &str, name: &str) -> Result<String, StateError> {
        if let Some(job) = self.exact(subject, name)? {
            return Ok(job);
        }
        let jobs = self.jobs(subject)?;
        if jobs.is_empty() {
            return Err(StateError::NothingRemembered { subject: subject.into() });
        }
        match choose(&jobs, name) {
            Choice::One(job) => Ok(job),
            Choice::Several(candidates) => Err(StateError::AmbiguousJob { name: name.into(), candidates }),
            Choice::None { suggestion } => {
                Err(StateError::UnknownJob { name: name.into(), subject: subject.into(), suggestion })
            }
        }
    }

    fn exact(&self, subject: &str, name: &str) -> Result<Option<String>, StateError> {
        let find = |column: &str| -> Result<Option<String>, rusqlite::Error> {
            let sql = format!(
                "SELECT job FROM jobs JOIN runs ON runs.id = jobs.run
                 WHERE subject = ?1 AND jobs.{column} = ?2 ORDER BY run DESC LIMIT 1"
            );
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut rows = statement.query(params![subject, name])?;
            rows.next()?.map(|row| row.get(0)).transpose()
        };
        // The path has dots, so that a job's name is hardly ever also another job's path.
        match find("job") {
            Ok(None) if name.contains('.') => find("attr"),
            other => other,
        }
        .map_err(|error| self.failed(error))
    }

    /// All jobs of `subject` that are remembered, sorted.
    pub(crate) fn jobs(&self, subject: &str) -> Result<Vec<String>, StateError> {
        let select = || -> Result<Vec<String>, rusqlite::Error> {
            let mut statement = self.db.prepare_cached(
                "SELECT DISTINCT job FROM jobs JOIN runs ON runs.id = jobs.run
                 WHERE subject = ?1 ORDER BY job",
            )?;
            let rows = statement.query_map([subject], |row| row.get(0))?;
            rows.collect()
        };
        select().map_err(|error| self.failed(error))
    }
}

#[derive(Debug, PartialEq)]
enum Choice {
    One(String),
    /// Those that begin with the name come first.
    Several(Vec<String>),
    None {
        suggestion: Option<String>,
    },
}

fn choose(jobs: &[String], name: &str) -> Choice {
    let (begin, contain): (Vec<&String>, Vec<&String>) = jobs
        .iter()
        .filter(|job| !name.is_empty() && job.contains(name))
        .partition(|job| job.starts_with(name));
    match (begin.as_slice(), contain.as_slice()) {
        ([], []) => Choice::None { suggestion: closest(jobs, name) },
        ([one], _) | ([], [one]) => Choice::One(one.to_string()),
        _ => Choice::Several(begin.into_iter().chain(contain).cloned().collect()),
    }
}

fn closest(jobs: &[String], name: &str) -> Option<String> {
    let near = |job: &&String| job.chars().count().abs_diff(name.chars().count()) <= 3;
    jobs.iter()
        .filter(near)
        .map(|job| (strsim::damerau_levenshtein(job, name), job))
        .filter(|(distance, job)| *distance <= 1 + job.chars().count() / 4)
        .min()
        .map(|(_, job)| job.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Choice) {
        let jobs = ["clippy", "docs", "fmt", "integration-tests", "tests-slow", "tests-unit"];
        assert_eq!(choose(&jobs.map(String::from), name), expected);
    }

    #[test]
    fn a_unique_beginning_or_middle_is_enough() {
        check("cli", Choice::One("clippy".into()));
        check("unit", Choice::One("tests-unit".into()));
        check("int", Choice::One("integration-tests".into()));
    }

    #[test]
    fn a_beginning_goes_before_a_middle() {
        check("tests-u", Choice::One("tests-unit".into()));
        check("i", Choice::One("integration-tests".into()));
    }

    #[test]
    fn several_candidates_are_listed() {
        let all = ["tests-slow", "tests-unit", "integration-tests"];
        check("tests", Choice::Several(all.map(String::from).to_vec()));
    }

    #[test]
    fn a_misspelt_name_gets_a_suggestion() {
        check("clipy", Choice::None { suggestion: Some("clippy".into()) });
        check("test-unit", Choice::None { suggestion: Some("tests-unit".into()) });
        check("quux", Choice::None { suggestion: None });
        check("", Choice::None { suggestion: None });
    }
}
