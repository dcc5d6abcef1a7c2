//! One run of a builder: what it is told, what it says, how it ended and what it left.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use esker_nix::StorePath;
use esker_trace::exec::{Bytes, End, FileToPlace, Limits, Ran, Spec};
use esker_trace::store::{Produced, ProducedOutput};

use super::address;
use super::machine::Machine;
use super::outputs;
use super::process;
use super::recipe::BUILD_FOLDER;
use super::register::Made;
use super::subject::Subject;
use super::tracer::Listener;
use crate::build::outcome::Verdict;
use crate::event::{BuildFailureKind, Conclusion};

/// What `esker exec-traced` is told.
pub(super) fn spec(subject: &Subject, machine: &Machine, folder: &Path, user: u32) -> Spec {
    let recipe = subject.recipe.clone();
    let milliseconds = |time: Option<Duration>| time.and_then(|time| u64::try_from(time.as_millis()).ok());
    Spec {
        builder: recipe.builder.into(),
        args: recipe.arguments.into_iter().map(Bytes::from).collect(),
        env: recipe.environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        inputs: subject.inputs.clone(),
        outputs: subject.output_paths().map(|(_, path)| path.base_name().to_owned()).collect(),
        store_dir: "/nix/store".to_owned(),
        build_dir: BUILD_FOLDER.to_owned(),
        files: recipe
            .files
            .into_iter()
            .map(|(name, bytes)| FileToPlace { name, bytes: bytes.into(), mode: 0o644 })
            .collect(),
        work_dir: folder.to_owned(),
        shell: machine.shell.clone(),
        host_uid: user,
        host_gid: user,
        etc: subject.nix.etc(),
        attributes: subject.nix.attributes(),
        limits: Limits {
            wall: milliseconds(machine.timeout),
            silent: milliseconds(machine.silence),
            ..Limits::default()
        },
        ..Spec::default()
    }
}

/// The builder's log: passed on, and kept for `nix log` unless it is very long.
pub(super) struct Log<'a> {
    listener: &'a mut dyn Listener,
    pub(super) said: Option<Vec<u8>>,
}

impl<'a> Log<'a> {
    /// In bytes. Esker's own log has all of it.
    const LONGEST: usize = 16 << 20;

    pub(super) fn new(listener: &'a mut dyn Listener) -> Self {
        Self { listener, said: Some(Vec::new()) }
    }

    pub(super) fn run(&mut self, program: &[String], spec: &Spec) -> Result<Ran, String> {
        let (listener, kept) = (RefCell::new(&mut *self.listener), &mut self.said);
        let mut hear = |line: Vec<u8>| {
            if let Some(said) = kept {
                said.extend_from_slice(&line);
                said.push(b'\n');
            }
            if kept.as_ref().is_some_and(|said| said.len() > Self::LONGEST) {
                *kept = None;
            }
            listener.borrow_mut().line(line);
        };
        let ran = process::run(program, spec, |process| listener.borrow_mut().started(process), &mut hear)?;
        if let End::NotExecuted(why) = &ran.end {
            hear(format!("error: {why}").into_bytes());
        }
        Ok(ran)
    }
}

/// Every output at its final path, or why it is not taken.
pub(super) fn outputs(subject: &Subject, ran: &Ran) -> Result<Vec<Made>, outputs::Rejected> {
    let own = subject.output_paths().map(|(_, path)| path.clone());
    let candidates: Vec<StorePath> = subject.closure.iter().cloned().chain(own).collect();
    let places =
        ran.outputs.iter().filter_map(|output| Some((output.base_name.as_str(), output.path.clone()?)));
    let without = &subject.demands.without_references;
    let drv = &subject.resolved.drv;
    let made = outputs::collect(drv, subject.output_paths(), &places.collect(), &candidates, without)?;
    address::address(drv, made, &subject.resolved.floating(), subject.nix)
}

pub(super) fn produced(subject: &Subject, all: &[Made], took: Duration) -> Produced {
    let output = |made: &Made| ProducedOutput {
        name: made.name.clone(),
        nar_hash: hash_text(&made.nar_hash),
        nar_size: made.nar_size,
        references: made.references.iter().filter_map(|path| subject.reference_to(path, all)).collect(),
        is_empty: made.empty,
        store_base_name: made.path.base_name().to_owned(),
    };
    Produced {
        outputs: all.iter().map(output).collect(),
        seconds: took.as_secs_f64(),
        log: subject.drv.to_string(),
    }
}

pub(super) fn hash_text(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with the run, in Nix's words where it has some.
pub(super) fn failure(ran: &Ran, machine: &Machine) -> Option<Verdict> {
    use BuildFailureKind as Kind;
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs();
    Some(match &ran.end {
        End::Exited(0) => return None,
        End::Exited(code) => {
            failed(Kind::Builder, format!("builder failed with exit code {code}"), Some(i64::from(*code)))
        }
        End::Signalled(signal) => {
            failed(Kind::Builder, format!("builder failed due to signal {signal}"), None)
        }
        // For Nix it is the builder's process that says so, and ends.
        End::NotExecuted(_) => failed(Kind::Builder, "builder failed with exit code 1".to_owned(), Some(1)),
        End::TimedOut => {
            failed(Kind::TimedOut, format!("timed out after {} seconds", seconds(machine.timeout)), None)
        }
        End::Silent => {
            let message = format!("timed out after {} seconds of silence", seconds(machine.silence));
            failed(Kind::Silent, message, None)
        }
        End::LogLimit => failed(Kind::LogLimit, "its log is longer than allowed".to_owned(), None),
        End::OutOfMemory => {
            Verdict::broken(Kind::Broken, "it needed more memory than it may have".to_owned())
        }
        End::ObserverDied => {
            Verdict::broken(Kind::Broken, "its inputs could no longer be observed".to_owned())
        }
    })
}

pub(super) fn failed(kind: BuildFailureKind, message: String, exit_code: Option<i64>) -> Verdict {
    let failure = Some((kind, message));
    Verdict { conclusion: Conclusion::Failed, failure, exit_code, ..Verdict::passed(Vec::new(), None) }
}
