//! Hand-made runs for the tests: scripts of events with their times.

use std::time::Duration;

use esker_engine::Event;
use esker_engine::event::{
    Action, BuildFailure, BuildFailureKind, Conclusion, DiscoveredJob, Environment, EvaluationError,
    EvaluationErrorKind, Outcome, Position, Source, Summary,
};

/// Events with the time since the beginning.
pub(crate) type Script = Vec<(Duration, Event)>;

/// Writes a script, one call an event. Methods for whole stretches keep the tests readable.
#[derive(Default)]
pub(crate) struct Write {
    script: Script,
    now: f64,
    summary: Summary,
}

impl Write {
    /// The beginning of every run, and these jobs, all of which evaluate at once.
    pub(crate) fn run(jobs: &[&str]) -> Self {
        let mut write = Self::opening(jobs);
        for job in jobs {
            write.event(Event::Evaluating { job: (*job).into() });
            write.evaluated(job);
        }
        write.evaluation_finished()
    }

    /// As [`Self::run`], with nothing evaluated yet.
    pub(crate) fn opening(jobs: &[&str]) -> Self {
        let mut write = Self::default();
        write.event(Event::Environment(Environment {
            esker: "0.1.0".into(),
            nix: "2.34.8".into(),
            system: "x86_64-linux".into(),
            store: "daemon".into(),
            trusted: true,
            sandbox: "on".into(),
            substituters: vec!["https://cache.nixos.org".into()],
            max_jobs: 4,
            ..Environment::default()
        }));
        write.event(Event::Source(source()));
        let found =
            |job: &&str| DiscoveredJob { job: (*job).into(), attr: format!("checks.x86_64-linux.{job}") };
        write.event(Event::Discovered { jobs: jobs.iter().map(found).collect() });
        write
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.script.push((Duration::from_secs_f64(self.now), event));
    }

    pub(crate) fn and(mut self, event: Event) -> Self {
        self.event(event);
        self
    }

    pub(crate) fn wait(mut self, seconds: f64) -> Self {
        self.now += seconds;
        self
    }

    pub(crate) fn evaluated(&mut self, job: &str) {
        let (job, drv, name) = (job.to_owned(), drv(job), format!("{job}-1.0"));
        self.event(Event::Evaluated { job, drv, name, seconds: 0.1 });
    }

    pub(crate) fn evaluation_finished(self) -> Self {
        self.and(Event::EvaluationFinished { jobs: 0, failed: 0, seconds: 0.1 })
    }

    pub(crate) fn starts(self, name: &str) -> Self {
        self.starts_to(Action::Build, name, None, &[])
    }

    pub(crate) fn starts_to(self, action: Action, name: &str, estimate: Option<f64>, jobs: &[&str]) -> Self {
        let jobs = jobs.iter().map(|job| (*job).into()).collect();
        let (drv, name) = (drv(name), format!("{name}-1.0"));
        self.and(Event::BuildStarted { drv, name, action, estimate, jobs })
    }

    pub(crate) fn phase(self, name: &str, phase: &str) -> Self {
        self.and(Event::Phase { drv: drv(name), phase: phase.into() })
    }

    pub(crate) fn log(self, name: &str, line: impl AsRef<[u8]>) -> Self {
        self.and(Event::Log { drv: drv(name), line: line.as_ref().into() })
    }

    /// The end of a build, and the verdict on the job of this name if there is one.
    pub(crate) fn built(self, job: &str, seconds: f64) -> Self {
        let write = self.build_ended(job, Action::Build, Conclusion::Passed, None, seconds);
        write.job(job, Conclusion::Passed, Outcome::Built { seconds })
    }

    pub(crate) fn fetched(self, job: &str, seconds: f64) -> Self {
        let write = self.build_ended(job, Action::Fetch, Conclusion::Passed, None, seconds);
        write.job(job, Conclusion::Passed, Outcome::Fetched { seconds })
    }

    pub(crate) fn fails(self, job: &str, seconds: f64, failure: BuildFailure) -> Self {
        let kept = Some(failure.clone());
        let write = self.build_ended(job, Action::Build, Conclusion::Failed, kept, seconds);
        write.job(job, Conclusion::Failed, Outcome::BuildFailed { drv: drv(job), failure, seconds })
    }

    /// A dependency that is no job fails.
    pub(crate) fn dependency_fails(self, name: &str, seconds: f64, failure: BuildFailure) -> Self {
        self.build_ended(name, Action::Build, Conclusion::Failed, Some(failure), seconds)
    }

    fn build_ended(
        mut self,
        name: &str,
        action: Action,
        conclusion: Conclusion,
        failure: Option<BuildFailure>,
        seconds: f64,
    ) -> Self {
        if conclusion == Conclusion::Passed {
            match action {
                Action::Fetch => self.summary.fetched += 1,
                Action::Build | Action::Rebuild => self.summary.built += 1,
            }
        }
        let (drv, name) = (drv(name), format!("{name}-1.0"));
        self.and(Event::BuildFinished { drv, name, action, conclusion, seconds, failure, outputs: vec![] })
    }

    pub(crate) fn present(self, job: &str) -> Self {
        self.job(job, Conclusion::Passed, Outcome::InStore)
    }

    pub(crate) fn needs(self, job: &str, culprit: &str) -> Self {
        let outcome = Outcome::DependencyFailed { drv: drv(culprit), name: format!("{culprit}-1.0") };
        self.job(job, Conclusion::Failed, outcome)
    }

    pub(crate) fn job(mut self, job: &str, conclusion: Conclusion, outcome: Outcome) -> Self {
        let summary = &mut self.summary;
        *match conclusion {
            Conclusion::Passed => &mut summary.passed,
            Conclusion::Failed => &mut summary.failed,
            Conclusion::Broken => &mut summary.broken,
            Conclusion::Cancelled => &mut summary.cancelled,
        } += 1;
        self.and(Event::JobFinished { job: job.into(), conclusion, outcome })
    }

    /// So far, without an end.
    pub(crate) fn so_far(self) -> Script {
        self.script
    }

    pub(crate) fn end(mut self) -> Script {
        self.summary.seconds = self.now;
        let summary = self.summary.clone();
        self.and(Event::Finished(summary)).script
    }

    pub(crate) fn interrupted(mut self) -> Script {
        self.summary.interrupted = true;
        self.end()
    }
}

pub(crate) fn source() -> Source {
    Source {
        reference: ".".into(),
        url: "git+file:///src/app".into(),
        revision: Some("3f2c1ab94dd4b0d6a1a2c7b3a8a1c0a3d6f0a5e1".into()),
        dirty_files: Some(0),
        ..Source::default()
    }
}

pub(crate) fn drv(name: &str) -> String {
    format!("/nix/store/00000000000000000000000000000000-{name}-1.0.drv")
}

pub(crate) fn exit_code(code: i64, tail: &[&str]) -> BuildFailure {
    BuildFailure {
        kind: BuildFailureKind::Builder,
        message: format!("builder failed with exit code {code}"),
        exit_code: Some(code),
        phase: None,
        tail: tail.iter().map(|line| (*line).into()).collect(),
    }
}

pub(crate) fn evaluation_error(
    kind: EvaluationErrorKind,
    message: &str,
    at: Option<(&str, u64, u64)>,
) -> Outcome {
    let position = at.map(|(path, line, column)| Position { path: path.into(), line, column });
    let trace = format!("error: {message}\n       at «flake»/flake.nix:1:1");
    Outcome::EvaluationFailed { error: EvaluationError { kind, message: message.into(), position, trace } }
}

/// The tail of the sample in the specification.
pub(crate) const TAIL: &[&str] = &[
    "---- queue::a_lost_lease_requeues stdout ----",
    "assertion `left == right` failed",
    "  left: 1 & right: <2>",
];

/// A run with one job for each way to end.
pub(crate) fn one_of_each() -> Script {
    let jobs = ["fmt", "clippy", "tests", "docs", "web", "lib", "vm", "slow"];
    let missing = evaluation_error(
        EvaluationErrorKind::MissingAttribute,
        "attribute 'foo' missing",
        Some(("flake.nix", 12, 5)),
    );
    Write::run(&jobs)
        .present("fmt")
        .job("lib", Conclusion::Failed, missing)
        .starts_to(Action::Fetch, "clippy", None, &["clippy"])
        .starts("docs")
        .log("docs", "Compiling mdbook")
        .starts_to(Action::Build, "openssl", None, &["web", "vm"])
        .starts("tests")
        .phase("tests", "checkPhase")
        .wait(1.2)
        .fetched("clippy", 1.2)
        .wait(10.)
        .dependency_fails("openssl", 11.2, exit_code(2, &["make: *** [Makefile:3: all] Error 2"]))
        .needs("web", "openssl")
        .job("vm", Conclusion::Broken, Outcome::Broken { message: "no space left on device".into() })
        .wait(30.)
        .fails("tests", 41.2, exit_code(101, TAIL))
        .built("docs", 42.)
        .job("slow", Conclusion::Cancelled, Outcome::Cancelled)
        .end()
}
