//! `--junit FILE`: the verdicts as JUnit XML, for the hosts that show test reports.
//!
//! One suite a run, one case a job: *failed* is a failure, *broken* an error, *cancelled* is skipped.
//! A run that ended before there were jobs is an error of the case `evaluation`.
//! What XML cannot hold is left out, partly here and partly by `quick-junit`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use esker_engine::Event;
use esker_engine::event::{Conclusion, Outcome};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{clean, report};

/// The report as it grows.
pub(crate) struct Junit {
    path: PathBuf,
    suite: TestSuite,
    system: Option<String>,
}

impl Junit {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, suite: TestSuite::new("esker"), system: None }
    }

    /// Takes in what belongs into the report.
    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::Environment(environment) => self.system = Some(environment.system.clone()),
            Event::Source(source) => {
                self.suite.add_property(("reference".to_owned(), text(&source.reference)));
                self.suite.add_property(("url".to_owned(), text(&source.url)));
            }
            Event::JobFinished { job, conclusion, outcome } => {
                self.suite.add_test_case(case(job, *conclusion, outcome));
            }
            Event::Finished(summary) => {
                self.suite.set_time(seconds(summary.seconds));
                if let Some(error) = &summary.error {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                    status.set_message(text(error));
                    let mut case = TestCase::new("evaluation", status);
                    case.set_classname("esker");
                    self.suite.add_test_case(case);
                }
            }
            _ => {}
        }
    }

    /// Writes the file, whole or not at all. To be called once, after the last event.
    pub(crate) fn write(mut self) -> io::Result<()> {
        if let Some(system) = &self.system {
            self.suite.add_property(("system", system.as_str()));
        }
        let path = self.path.clone();
        replace(&path, self.into_xml().as_bytes())
    }

    fn into_xml(mut self) -> String {
        self.suite.test_cases.sort_by(|a, b| a.name.cmp(&b.name));
        let mut report = Report::new("esker");
        if let Some(time) = self.suite.time {
            report.set_time(time);
        }
        report.add_test_suite(self.suite);
        report.to_string().expect("writing to memory does not fail")
    }
}

fn case(job: &str, conclusion: Conclusion, outcome: &Outcome) -> TestCase {
    let mut status = match conclusion {
        Conclusion::Passed => TestCaseStatus::success(),
        Conclusion::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Conclusion::Broken => TestCaseStatus::non_success(NonSuccessKind::Error),
        Conclusion::Cancelled => TestCaseStatus::skipped(),
    };
    let mut time = None;
    match outcome {
        Outcome::Built { seconds: took } | Outcome::Fetched { seconds: took } => time = Some(*took),
        Outcome::EvaluationFailed { error } => {
            let position = error.position.as_ref().map(|at| format!("{}: ", report::position_text(at)));
            status.set_message(format!("{}{}", position.unwrap_or_default(), text(&error.message)));
            status.set_type(report::evaluation_kind(error.kind));
            status.set_description(text(&error.trace));
        }
        Outcome::BuildFailed { failure, seconds: took, .. } => {
            time = Some(*took);
            status.set_message(report::reason(failure));
            status.set_type("build");
            status.set_description(text(&format!("{}\n{}", failure.message, failure.tail.join("\n"))));
        }
        Outcome::DependencyFailed { name, .. } => {
            status.set_message(format!("needs {}, which failed", clean::name(name)));
            status.set_type("dependency");
        }
        Outcome::Broken { message } => {
            status.set_message(text(message));
        }
        Outcome::WouldBuild => {
            status = TestCaseStatus::skipped();
            status.set_message("would build");
        }
        Outcome::WouldFetch => {
            status = TestCaseStatus::skipped();
            status.set_message("would fetch");
        }
        Outcome::InStore | Outcome::Reused { .. } | Outcome::Cancelled => {}
    }
    let mut case = TestCase::new(clean::name(job), status);
    case.set_classname("esker");
    case.set_time(seconds(time.unwrap_or(0.)));
    case
}

fn text(text: &str) -> String {
    clean::lines(text).join("\n")
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Puts `content` in the place of the file at `path`, in one step. What is no file (a pipe, a
/// device) is written to; a link stays one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(real) if !real.is_file() => {
            return fs::OpenOptions::new().write(true).open(real)?.write_all(content);
        }
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
            path.to_owned()
        }
        Err(error) => return Err(error),
    };
    let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use esker_engine::Summary;

    use super::*;
    use crate::screen::script;

    #[test]
    fn the_report_has_a_case_for_each_job() {
        let mut junit = Junit::new("unused".into());
        let events = script::one_of_each();
        events.iter().for_each(|(_, event)| junit.observe(event));
        insta::assert_snapshot!(junit.into_xml(), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="esker" tests="8" skipped="1" failures="3" errors="1" time="41.200">
            <testsuite name="esker" tests="8" skipped="1" errors="1" failures="3" time="41.200">
                <properties>
                    <property name="reference" value="."/>
                    <property name="url" value="git+file:///src/app"/>
                </properties>
                <testcase name="clippy" classname="esker" time="1.200"/>
                <testcase name="docs" classname="esker" time="42.000"/>
                <testcase name="fmt" classname="esker" time="0.000"/>
                <testcase name="lib" classname="esker" time="0.000">
                    <failure message="flake.nix:12:5: attribute &apos;foo&apos; missing" type="an attribute is missing">error: attribute &apos;foo&apos; missing
               at «flake»/flake.nix:1:1</failure>
                </testcase>
                <testcase name="slow" classname="esker" time="0.000">
                    <skipped/>
                </testcase>
                <testcase name="tests" classname="esker" time="41.200">
                    <failure message="exit code 101" type="build">builder failed with exit code 101
        ---- queue::a_lost_lease_requeues stdout ----
        assertion `left == right` failed
          left: 1 &amp; right: &lt;2&gt;</failure>
                </testcase>
                <testcase name="vm" classname="esker" time="0.000">
                    <error message="no space left on device"/>
                </testcase>
                <testcase name="web" classname="esker" time="0.000">
                    <failure message="needs openssl-1.0, which failed" type="dependency"/>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        let failure = script::exit_code(1, &["\x1b[31m\0]]>\u{fffe}</failure>"]);
        let outcome = Outcome::BuildFailed { drv: "x".into(), failure, seconds: f64::NAN };
        let mut junit = Junit::new("unused".into());
        let job = "a\x0b\"&b".into();
        junit.observe(&Event::JobFinished { job, conclusion: Conclusion::Failed, outcome });
        let xml = junit.into_xml();
        assert!(xml.contains("name=\"a&quot;&amp;b\""), "{xml}");
        assert!(xml.contains("]]&gt;&lt;/failure&gt;</failure>"), "{xml}");
        assert!(!xml.contains(['\0', '\x1b', '\x0b', '\u{fffe}']), "{xml}");
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/report.xml");
        Junit::new(path.clone()).write().unwrap();
        Junit::new(path.clone()).write().unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("<testsuites"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(Junit::new(folder.path().into()).write().is_err());
    }

    #[test]
    fn a_run_without_jobs_is_an_error() {
        let mut junit = Junit::new("unused".into());
        let summary = Summary { error: Some("no such flake".to_owned()), ..Summary::default() };
        junit.observe(&Event::Finished(summary));
        let xml = junit.into_xml();
        assert!(xml.contains("errors=\"1\"") && xml.contains("no such flake"), "{xml}");
    }

    #[test]
    fn a_link_stays_a_link_and_a_pipe_a_pipe() {
        use std::os::unix::fs::FileTypeExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (file, link, pipe) = (folder.path().join("f"), folder.path().join("l"), folder.path().join("p"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("f", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");

        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        replace(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
