//! Runs made of canned events, for the tests of this module and of the commands that read it.

use std::time::{Duration, SystemTime};

use esker_engine::event::*;

use super::{Recorder, RunStart, State};

/// A run that is being recorded.
pub(crate) struct Example {
    recorder: Recorder,
}

/// The derivation of a job.
pub(crate) fn drv(job: &str) -> String {
    format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{job}.drv")
}

/// A moment some seconds after the year 2026 began.
pub(crate) fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
}

impl Example {
    /// A run of `subject` that began at `moment(started)`.
    pub(crate) fn begin(state: &State, subject: &str, started: u64) -> Self {
        let start = RunStart { subject: subject.into(), reference: ".".into(), started: moment(started) };
        let (recorder, notice) = Recorder::begin(Ok(state), &start);
        assert_eq!(notice, None);
        let mut example = Self { recorder };
        example.event(Event::Environment(Environment { nix: "2.34.8".into(), ..Environment::default() }));
        example.event(Event::Source(Source {
            revision: Some("3f2c1ab9d0f1e2a3b4c5d6e7f8091a2b3c4d5e6f".into()),
            dirty_files: Some(started % 2),
            ..Source::default()
        }));
        example
    }

    pub(crate) fn event(&mut self, event: Event) {
        assert_eq!(self.recorder.record(&event), None);
    }

    pub(crate) fn evaluated(&mut self, job: &str) {
        let attr = format!("checks.x86_64-linux.{job}");
        self.event(Event::Discovered { jobs: vec![DiscoveredJob { job: job.into(), attr }] });
        self.event(Event::Evaluated { job: job.into(), drv: drv(job), name: job.into(), seconds: 0.1 });
    }

    pub(crate) fn build_started(&mut self, name: &str) {
        let (drv, name) = (drv(name), name.to_string());
        self.event(Event::BuildStarted { drv, name, action: Action::Build, estimate: None, jobs: vec![] });
    }

    pub(crate) fn log(&mut self, name: &str, line: &[u8]) {
        self.event(Event::Log { drv: drv(name), line: line.to_vec() });
    }

    pub(crate) fn build_finished(&mut self, name: &str, conclusion: Conclusion, seconds: f64) {
        self.event(Event::BuildFinished {
            drv: drv(name),
            name: name.into(),
            action: Action::Build,
            conclusion,
            seconds,
            failure: None,
            outputs: vec![],
        });
    }

    pub(crate) fn job_finished(&mut self, job: &str, conclusion: Conclusion, outcome: Outcome) {
        self.event(Event::JobFinished { job: job.into(), conclusion, outcome });
    }

    /// A job that evaluates, is built, prints `lines` and passes.
    pub(crate) fn passes(&mut self, job: &str, seconds: f64, lines: &[&str]) {
        self.evaluated(job);
        self.build_started(job);
        lines.iter().for_each(|line| self.log(job, line.as_bytes()));
        self.build_finished(job, Conclusion::Passed, seconds);
        self.job_finished(job, Conclusion::Passed, Outcome::Built { seconds });
    }

    /// A job whose result is there.
    pub(crate) fn is_there(&mut self, job: &str) {
        self.evaluated(job);
        self.job_finished(job, Conclusion::Passed, Outcome::InStore);
    }

    /// A job whose attribute throws.
    pub(crate) fn does_not_evaluate(&mut self, job: &str) {
        let error = EvaluationError {
            kind: EvaluationErrorKind::Throw,
            message: "oh no".into(),
            position: None,
            trace: "error: oh no\n at flake.nix:3:5".into(),
        };
        self.job_finished(job, Conclusion::Failed, Outcome::EvaluationFailed { error });
    }

    /// Ends the run.
    pub(crate) fn finish(mut self) {
        self.event(Event::Finished(Summary { passed: 1, ..Summary::default() }));
        assert_eq!(self.recorder.finish(), None);
    }

    /// The process dies, as far as that can be had within a test: nothing is ended.
    pub(crate) fn stop(self) {
        drop(self);
    }
}
