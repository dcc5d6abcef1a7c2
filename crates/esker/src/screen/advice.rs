//! The commands that a run suggests.
//!
//! Invariant: each does what is said of it when it is pasted where the run was started: it names the
//! flake or the file, and the job by a path that cannot mean another.

use std::collections::HashMap;

use esker_engine::event::DiscoveredJob;

use super::clean;

/// Names that `--attr` takes for outputs of a flake before it takes them for jobs.
const OUTPUTS: [&str; 7] =
    ["checks", "packages", "legacyPackages", "devShells", "apps", "formatter", "hydraJobs"];

/// What the suggested commands have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Arguments of `esker check` that say what is checked.
    check: Vec<String>,
    /// Arguments of `esker log` that say the same.
    log: Vec<String>,
    system: String,
    /// Attribute paths of the jobs that their name alone is not enough for.
    attrs: HashMap<String, String>,
}

impl Advice {
    /// Both lists are empty for the flake one stands in.
    pub(crate) fn new(check: Vec<String>, log: Vec<String>) -> Self {
        Self { check, log, ..Self::default() }
    }

    /// Learns what `--attr` looks for by itself.
    pub(super) fn set_system(&mut self, system: &str) {
        system.clone_into(&mut self.system);
    }

    /// Learns where jobs are.
    pub(super) fn discovered(&mut self, jobs: &[DiscoveredJob]) {
        let unclear = jobs.iter().filter(|found| {
            let first = found.job.split('.').next().unwrap_or_default();
            let usual = found.attr == format!("checks.{}.{}", self.system, found.job);
            let is_clear = found.attr == found.job || (usual && !OUTPUTS.contains(&first));
            !is_clear
        });
        self.attrs.extend(unclear.map(|found| (found.job.clone(), found.attr.clone())));
    }

    /// `esker check --attr JOB`, with these options before it.
    pub(crate) fn check(&self, options: &[&str], job: &str) -> String {
        let attr = self.attrs.get(job).map_or(job, String::as_str);
        let attr = if attr.starts_with('-') {
            format!("--attr={}", shell_word(attr))
        } else {
            format!("--attr {}", shell_word(attr))
        };
        let words = self.check.iter().map(|word| shell_word(word));
        let options = options.iter().map(|option| (*option).to_owned());
        join(["esker", "check"], options.chain(words).chain([attr]))
    }

    /// `esker log JOB`.
    pub(super) fn log(&self, job: &str) -> String {
        log_command(&self.log, &[], job)
    }
}

/// `esker log JOB`, for what these arguments name, with these options.
pub(crate) fn log_command(subject: &[String], options: &[&str], job: &str) -> String {
    let subject = subject.iter().map(|word| shell_word(word));
    let words = options.iter().map(|option| (*option).to_owned()).chain(subject);
    // What begins with a dash goes behind the options, after the mark that ends them.
    if job.starts_with('-') {
        return join(["esker", "log"], words.chain(["--".to_owned(), shell_word(job)]));
    }
    join(["esker", "log"], [shell_word(job)].into_iter().chain(words))
}

fn join(program: [&str; 2], words: impl Iterator<Item = String>) -> String {
    program.into_iter().map(str::to_owned).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell would need it.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:+=@%^,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if clean::name(word) == word {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    // What a terminal must not see is spelt out, as bash and zsh read it.
    let spelt = word.bytes().map(|byte| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        other => format!("\\x{other:02x}"),
    });
    format!("$'{}'", spelt.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn found(job: &str, attr: &str) -> DiscoveredJob {
        DiscoveredJob { job: job.into(), attr: attr.into() }
    }

    #[test]
    fn the_flake_one_stands_in_needs_no_name() {
        let advice = Advice::default();
        assert_eq!(advice.check(&[], "tests"), "esker check --attr tests");
        assert_eq!(advice.check(&["-v"], "\"a.b\""), "esker check -v --attr '\"a.b\"'");
        assert_eq!(advice.log("tests"), "esker log tests");
    }

    #[test]
    fn any_other_is_named() {
        let advice = Advice::new(words(&["/srv/my flake"]), words(&["--flake", "/srv/my flake"]));
        assert_eq!(advice.check(&["-v"], "tests"), "esker check -v '/srv/my flake' --attr tests");
        assert_eq!(advice.log("tests"), "esker log tests --flake '/srv/my flake'");
        let file = words(&["--file", "f.nix"]);
        let advice = Advice::new([file.clone(), words(&["--arg", "x", "{ }"])].concat(), file);
        assert_eq!(advice.check(&[], "b"), "esker check --file f.nix --arg x '{ }' --attr b");
        assert_eq!(advice.log("b"), "esker log b --file f.nix");
    }

    #[test]
    fn a_name_that_looks_like_an_option_is_none() {
        let advice = Advice::new(words(&[]), words(&["--flake", "x"]));
        assert_eq!(advice.check(&[], "--help"), "esker check --attr=--help");
        assert_eq!(advice.log("--help"), "esker log --flake x -- --help");
    }

    #[test]
    fn a_job_that_attr_would_not_find_by_its_name_is_called_by_its_path() {
        let mut advice = Advice::default();
        advice.set_system("x86_64-linux");
        advice.discovered(&[
            found("fmt", "checks.x86_64-linux.fmt"),
            found("packages", "checks.x86_64-linux.packages"),
            found("hello", "packages.x86_64-linux.hello"),
            found("aarch64-linux.fmt", "checks.aarch64-linux.fmt"),
        ]);
        let attr = |job| advice.check(&[], job).replace("esker check --attr ", "");
        assert_eq!(attr("fmt"), "fmt");
        assert_eq!(attr("packages"), "checks.x86_64-linux.packages");
        assert_eq!(attr("hello"), "packages.x86_64-linux.hello");
        assert_eq!(attr("aarch64-linux.fmt"), "checks.aarch64-linux.fmt");
        assert_eq!(advice.log("hello"), "esker log hello");
    }

    #[test]
    fn a_name_cannot_play_with_the_terminal() {
        assert_eq!(shell_word("a\n\x1b[31m'b"), r"$'a\x0a\x1b[31m\'b'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = [
            "",
            "a",
            "--help",
            "a b",
            "\"a.b\"",
            "it's",
            r"a\'b\",
            "${x}`y`$(z)",
            "*?~!#&;|<>()",
            "\n\t\x1b",
            "é漢\u{202e}字🎉",
            "'\u{7f}'\\\n'",
        ];
        for word in words {
            let script = format!("printf %s {}", shell_word(word));
            let Ok(output) = std::process::Command::new("bash").arg("-c").arg(script).output() else {
                return; // no bash here
            };
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
