//! Reads how Nix says a build ended.

use std::time::Duration;

use esker_nix::protocol::{BuildResult, BuildStatus, Options};

use crate::event::{BuildFailureKind, Conclusion, Reuse};

/// How a build ended, in Esker's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) conclusion: Conclusion,
    /// `None`: it passed.
    pub(crate) failure: Option<(BuildFailureKind, String)>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) outputs: Vec<(String, String)>,
    /// It was not built: the result comes from a trace.
    pub(crate) reuse: Option<Reuse>,
    /// It was not built: the outputs were there.
    pub(crate) is_there: bool,
}

impl Verdict {
    pub(crate) fn passed(outputs: Vec<(String, String)>, reuse: Option<Reuse>) -> Self {
        let (conclusion, failure, exit_code) = (Conclusion::Passed, None, None);
        Self { conclusion, failure, exit_code, outputs, reuse, is_there: false }
    }

    pub(crate) fn broken(kind: BuildFailureKind, message: String) -> Self {
        let (conclusion, failure) = (Conclusion::Broken, Some((kind, message)));
        Self { conclusion, failure, ..Self::passed(Vec::new(), None) }
    }

    pub(crate) fn cancelled() -> Self {
        let failure = Some((BuildFailureKind::Cancelled, "cancelled".to_owned()));
        Self { conclusion: Conclusion::Cancelled, failure, ..Self::passed(Vec::new(), None) }
    }

    /// Who is to blame follows from Nix's status, and where that says too little from its words.
    pub(crate) fn from_result(result: &BuildResult, limits: Limits) -> Self {
        let outputs: Vec<(String, String)> =
            result.built_outputs.iter().map(|(name, path)| (name.clone(), path.to_string())).collect();
        if result.status.is_success() {
            let there = [BuildStatus::AlreadyValid, BuildStatus::ResolvesToAlreadyValid];
            return Self { is_there: there.contains(&result.status), ..Self::passed(outputs, None) };
        }
        Self { outputs, ..Self::from_words(Some(result.status), &result.message, limits) }
    }

    /// For a request that the daemon refused in words alone: `status` is `None` then.
    pub(crate) fn from_words(status: Option<BuildStatus>, text: &str, limits: Limits) -> Self {
        use BuildFailureKind as Kind;
        let has = |part: &str| text.contains(part);
        let any = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        let (conclusion, kind) = match status {
            _ if any(&["not deterministic", "may not be deterministic"]) => {
                (Conclusion::Failed, Kind::NotDeterministic)
            }
            _ if any(&["No space left on device", "Disk quota exceeded", FULL_DISK]) => {
                (Conclusion::Broken, Kind::Broken)
            }
            _ if any(&NO_MACHINE) => (Conclusion::Broken, Kind::NoMachine),
            Some(BuildStatus::TimedOut) if has("of silence") => (Conclusion::Failed, Kind::Silent),
            // Nix 2.30 and later say of both only how long it was.
            Some(BuildStatus::TimedOut) if limits.is_silence(number_after(text, "timed out after ")) => {
                (Conclusion::Failed, Kind::Silent)
            }
            Some(BuildStatus::TimedOut) => (Conclusion::Failed, Kind::TimedOut),
            Some(BuildStatus::LogLimitExceeded) => (Conclusion::Failed, Kind::LogLimit),
            Some(BuildStatus::NotDeterministic) => (Conclusion::Failed, Kind::NotDeterministic),
            _ if any(&["failed with exit code", "failed due to signal", "failed to produce output"]) => {
                (Conclusion::Failed, Kind::Builder)
            }
            Some(BuildStatus::OutputRejected | BuildStatus::HashMismatch) => {
                (Conclusion::Failed, Kind::Output)
            }
            Some(BuildStatus::PermanentFailure | BuildStatus::CachedFailure) => {
                (Conclusion::Failed, Kind::Builder)
            }
            _ if any(&["hash mismatch in fixed-output", "hash mismatch importing"]) && !has("substitut") => {
                (Conclusion::Failed, Kind::Output)
            }
            _ => (Conclusion::Broken, Kind::Broken),
        };
        let mut message = sentence(text);
        if has(FULL_DISK) && !message.contains(FULL_DISK) {
            message.push_str(&format!("\nit may have been caused by {FULL_DISK}"));
        }
        let exit_code = number_after(text, "exit code ");
        Self { conclusion, failure: Some((kind, message)), exit_code, ..Self::passed(Vec::new(), None) }
    }

    /// Adds a line, unless it is empty, to what is said of a failure.
    pub(crate) fn also(&mut self, line: &str) {
        if let Some((_, message)) = self.failure.as_mut().filter(|_| !line.is_empty()) {
            message.push('\n');
            message.push_str(line);
        }
    }
}

/// The result with its reason. Of a derivation that it built in another form (because an input is
/// content-addressed) Nix tells that it failed, and why only among what it `said` meanwhile.
pub(crate) fn with_reason(mut result: BuildResult, said: Option<String>) -> BuildResult {
    let hidden = result.message.is_empty() || result.message.starts_with("build of resolved derivation");
    let Some(said) = said.filter(|_| hidden && !result.status.is_success()) else { return result };
    if result.status == BuildStatus::DependencyFailed {
        let any = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
        result.status = match () {
            () if any(&["timed out after"]) => BuildStatus::TimedOut,
            () if any(&["Reason: builder failed"]) => BuildStatus::PermanentFailure,
            () if any(&OUTPUT_REJECTED) => BuildStatus::OutputRejected,
            () => BuildStatus::MiscFailure,
        };
    }
    result.message = said;
    result
}

/// Words for what can be wrong with an output.
const OUTPUT_REJECTED: [&str; 6] = [
    "is not allowed to refer",
    "is too large at",
    "cycle detected",
    "rejecting this build output",
    "should be a non-executable regular file",
    "failed to produce output",
];

/// The limits that a build ran under, in seconds; `None`: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) time: Option<i64>,
    pub(crate) silence: Option<i64>,
}

impl Limits {
    /// What the daemon will hold the builds to.
    pub(crate) fn of(options: &Options) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs().max(1)).ok();
        let setting = |name: &str| options.overrides.get(name)?.parse().ok().filter(|seconds| *seconds > 0);
        Self {
            time: setting("timeout"),
            silence: setting("max-silent-time").or_else(|| options.max_silent_time.and_then(seconds)),
        }
    }

    fn is_silence(self, seconds: Option<i64>) -> bool {
        seconds.is_some() && self.silence == seconds && self.time != seconds
    }
}

/// Nix's note about a builder that failed while less than 8 MiB were left, whatever it said itself.
const FULL_DISK: &str = "lack of free disk space";

/// Words of Nix 2.8 (the first two), and of later ones.
const NO_MACHINE: [&str; 6] = [
    "is required to build",
    "unable to start any build",
    "required system or feature not available",
    "missing system features",
    "platform mismatch",
    "Failed to find a machine",
];

/// The part of Nix's message that is not said better elsewhere: no log lines, no advice.
fn sentence(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    // Nix 2.30 and later: "Cannot build '…'.", "Reason: builder failed with exit code 1.", and
    // then either "Output paths:", which nobody needs, or what explains the reason.
    if let Some(at) = lines.iter().position(|line| line.trim().starts_with("Reason: ")) {
        let reason = lines[at].trim().trim_start_matches("Reason: ").trim_end_matches('.');
        let more = lines[at + 1..].iter().map(|line| line.trim()).take_while(|line| !is_boring(line)).take(6);
        return std::iter::once(reason).chain(more).collect::<Vec<_>>().join("\n");
    }
    let end = lines.iter().position(|line| is_boring(line.trim())).unwrap_or(lines.len());
    // Nix indents all lines but the first; what is aligned stays aligned.
    let indented = lines.iter().take(end).skip(1);
    let indent = indented.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let lines = lines
        .iter()
        .take(end.min(8))
        .map(|line| line.get(indent..).filter(|_| line.starts_with(' ')).unwrap_or(line));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.trim_end_matches([';', '.', ' ']);
    // The derivation is named by whoever shows this.
    let text = match text.split_once("' ") {
        Some((of, rest)) if of.starts_with("builder for '") => format!("builder {rest}"),
        Some((of, rest)) if of.starts_with("derivation '") && rest.starts_with("may not") => rest.to_owned(),
        Some((of, rest)) if of.starts_with("building of '") => {
            rest.strip_prefix("from .drv file ").unwrap_or(rest).to_owned()
        }
        _ => text.to_owned(),
    };
    // Where it should have been is a path that is gone by now.
    match text.split_once(" at ") {
        Some((text, _)) if text.contains("failed to produce output") => text.to_owned(),
        _ if text.is_empty() => "Nix gave no reason".to_owned(),
        _ => text,
    }
}

/// Whether from this line of a message on nothing is of use.
fn is_boring(line: &str) -> bool {
    (line.starts_with(['l', 'L']) && line.contains("ast ") && line.ends_with("log lines:"))
        || line.starts_with("For full logs")
        || line == "Output paths:"
}

fn number_after(text: &str, mark: &str) -> Option<i64> {
    let rest = &text[text.find(mark)? + mark.len()..];
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(status: BuildStatus, message: &str) -> BuildResult {
        BuildResult {
            status,
            message: message.to_owned(),
            times_built: 0,
            non_deterministic: false,
            start: 0,
            stop: 0,
            cpu_user: None,
            cpu_system: None,
            built_outputs: std::collections::BTreeMap::new(),
        }
    }

    fn check(status: BuildStatus, message: &str, kind: BuildFailureKind, sentence: &str) {
        let verdict = Verdict::from_result(&result(status, message), Limits::default());
        assert_eq!(verdict.failure, Some((kind, sentence.to_owned())));
    }

    #[test]
    fn old_and_new_words_for_a_failing_builder() {
        let old = "builder for '/nix/store/x-a.drv' failed with exit code 3;\n       last 2 log lines:\n       > one\n       > two\n       For full logs, run 'nix log x'.";
        let new = "Cannot build '/nix/store/x-a.drv'.\n       Reason: builder failed with exit code 3.\n       Output paths:\n         /nix/store/x-a\n       Last 1 log lines:\n       > one";
        check(
            BuildStatus::PermanentFailure,
            old,
            BuildFailureKind::Builder,
            "builder failed with exit code 3",
        );
        check(
            BuildStatus::PermanentFailure,
            new,
            BuildFailureKind::Builder,
            "builder failed with exit code 3",
        );
    }

    #[test]
    fn an_output_that_was_not_made_is_the_builders_fault() {
        let text = "builder for '/nix/store/x-a.drv' failed to produce output path for output 'out' at '/nix/store/x-a.drv.chroot/nix/store/x-a'";
        let sentence = "builder failed to produce output path for output 'out'";
        check(BuildStatus::OutputRejected, text, BuildFailureKind::Builder, sentence);
        check(BuildStatus::MiscFailure, text, BuildFailureKind::Builder, sentence);
    }

    #[test]
    fn what_failed_in_another_form_failed_for_its_reason() {
        let hidden = "build of resolved derivation '/nix/store/y-a.drv' failed";
        let said = "Cannot build '/nix/store/y-a.drv'.\n       Reason: builder failed with exit code 3.";
        let result = |status, message| with_reason(result(status, message), Some(said.to_owned()));
        for result in
            [result(BuildStatus::DependencyFailed, hidden), result(BuildStatus::PermanentFailure, "")]
        {
            assert_eq!(result.status, BuildStatus::PermanentFailure);
            let verdict = Verdict::from_result(&result, Limits::default());
            let failure = (BuildFailureKind::Builder, "builder failed with exit code 3".to_owned());
            assert_eq!((verdict.failure, verdict.exit_code), (Some(failure), Some(3)));
        }
        let other = result(BuildStatus::DependencyFailed, "2 dependencies failed");
        assert_eq!(other.message, "2 dependencies failed");
    }

    #[test]
    fn hashes_stay_one_above_the_other() {
        let text = "hash mismatch in fixed-output derivation '/nix/store/x-a.drv':\n         specified: sha256-A\n            got:    sha256-B";
        let sentence = "hash mismatch in fixed-output derivation '/nix/store/x-a.drv':\nspecified: sha256-A\n   got:    sha256-B";
        check(BuildStatus::OutputRejected, text, BuildFailureKind::Output, sentence);
    }

    #[test]
    fn a_feature_that_nobody_has_is_no_fault_of_the_code() {
        let new = "Cannot build '/nix/store/x-a.drv'.\nReason: missing system features\nRequired features: {warp}\nAvailable features: {kvm}";
        let sentence = "missing system features\nRequired features: {warp}\nAvailable features: {kvm}";
        check(BuildStatus::InputRejected, new, BuildFailureKind::NoMachine, sentence);
        let old = "a 'x' with features {warp} is required to build '/nix/store/x-a.drv', but I am a 'x' with features {}";
        let verdict = Verdict::from_words(None, old, Limits::default());
        assert_eq!(verdict.failure, Some((BuildFailureKind::NoMachine, old.to_owned())));
    }

    #[test]
    fn a_full_disk_is_no_fault_of_the_code() {
        let text = "builder for '/nix/store/x-a.drv' failed with exit code 1;\n       note: build failure may have been caused by lack of free disk space";
        let verdict = Verdict::from_words(Some(BuildStatus::TransientFailure), text, Limits::default());
        assert_eq!(verdict.conclusion, Conclusion::Broken);
    }

    #[test]
    fn silence_is_another_time_out() {
        let old = "building of '/nix/store/x-a.drv!*' from .drv file timed out after 2 seconds of silence";
        check(BuildStatus::TimedOut, old, BuildFailureKind::Silent, "timed out after 2 seconds of silence");
        let new = "Cannot build '/nix/store/x-a.drv'.\nReason: timed out after 2 seconds";
        check(BuildStatus::TimedOut, new, BuildFailureKind::TimedOut, "timed out after 2 seconds");
        let kind =
            |limits| Verdict::from_result(&result(BuildStatus::TimedOut, new), limits).failure.unwrap().0;
        assert_eq!(kind(Limits { time: None, silence: Some(2) }), BuildFailureKind::Silent);
        assert_eq!(kind(Limits { time: Some(2), silence: Some(60) }), BuildFailureKind::TimedOut);
    }
}
