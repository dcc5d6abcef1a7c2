//! What an `esker` said, and questions about it.

use std::fmt;

use serde_json::Value;

/// See the module.
pub(crate) struct Told {
    /// Exit code; -1 if a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The lines of stdout that are JSON objects (`--json`).
    pub(crate) events: Vec<Value>,
    pub(super) hidden: Vec<(String, String)>,
}

impl Told {
    /// All events of a kind, e.g. `job_finished`.
    pub(crate) fn events(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["event"] == kind)
    }

    /// The names and conclusions of all jobs, by name.
    pub(crate) fn conclusions(&self) -> Vec<(&str, &str)> {
        let jobs = self.events("job_finished");
        let mut jobs: Vec<(&str, &str)> =
            jobs.filter_map(|event| Some((event["job"].as_str()?, event["conclusion"].as_str()?))).collect();
        jobs.sort_unstable();
        jobs
    }

    /// The names of the jobs with this conclusion.
    pub(crate) fn jobs(&self, conclusion: &str) -> Vec<&str> {
        self.conclusions().into_iter().filter(|(_, other)| *other == conclusion).map(|(job, _)| job).collect()
    }

    /// The `outcome` of a job.
    pub(crate) fn outcome(&self, job: &str) -> &Value {
        let found = self.events("job_finished").find(|event| event["job"] == job);
        &found.unwrap_or_else(|| panic!("no verdict on `{job}` in\n{self}"))["outcome"]
    }

    /// The evaluation error of a job.
    pub(crate) fn error(&self, job: &str) -> &Value {
        let outcome = self.outcome(job);
        assert_eq!(outcome["outcome"], "evaluation_failed", "{job}: {outcome:#}");
        &outcome["error"]
    }

    /// The derivation of a job.
    pub(crate) fn drv(&self, job: &str) -> &str {
        let found = self.events("evaluated").find(|event| event["job"] == job);
        found
            .and_then(|event| event["drv"].as_str())
            .unwrap_or_else(|| panic!("no derivation for `{job}` in\n{self}"))
    }

    /// The last event: counts, and the error if there is one.
    pub(crate) fn summary(&self) -> &Value {
        self.events("finished").last().unwrap_or_else(|| panic!("no end in\n{self}"))
    }

    /// stderr with what differs from run to run replaced: folders, salt, store hashes, times.
    pub(crate) fn screen(&self) -> String {
        let mut text = self.stderr.clone();
        for (from, to) in &self.hidden {
            text = text.replace(from, to);
        }
        let text = replace(&text, "/nix/store/", |rest| {
            let hash = rest.get(..32).filter(|hash| hash.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            hash.map(|hash| (hash.len(), "HASH".to_owned()))
        });
        times(&text)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "--- exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Replaces what follows each `mark`, as `by` has it: length and replacement.
fn replace(text: &str, mark: &str, by: impl Fn(&str) -> Option<(usize, String)>) -> String {
    let (mut result, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(mark) {
        result.push_str(before);
        result.push_str(mark);
        rest = after;
        if let Some((length, replacement)) = by(after) {
            result.push_str(&replacement);
            rest = &after[length..];
        }
    }
    result + rest
}

/// `0.8s`, `41s` and `1 min 36 s` become `TIME`, with the blanks that padded them.
fn times(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let words = line.split(' ').collect::<Vec<_>>();
        let mut result: Vec<&str> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let number = |word: &str| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            };
            let next = words.get(at + 1).copied().unwrap_or_default();
            if word.strip_suffix('s').is_some_and(number) {
                while result.last().is_some_and(|word| word.is_empty()) {
                    result.pop();
                }
                result.push("TIME");
            } else if number(word) && matches!(next, "min" | "s" | "h") {
                if result.last() != Some(&"TIME") {
                    result.push("TIME");
                }
            } else if matches!(*word, "min" | "s" | "h") && at > 0 && number(words[at - 1]) {
            } else {
                result.push(word);
            }
        }
        result.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}
