//! What a repair asks of Nix's store.
//!
//! Invariant: no connection lives while something is deleted. What a connection built or looked at
//! is protected from deletion as long as it is open.

use std::path::Path;
use std::process::{Command, Stdio};

use esker_nix::StorePath;
use esker_nix::protocol::{BuildMode, BuildStatus, Client, DerivedPath, Level, Options, ProtocolError};
use esker_nix::tool::{Nix, NixError, run};

use super::super::TraceError;

/// Nix's store, of which one thing is asked at a time.
pub(super) struct NixStore(Nix);

/// With these two settings an output would be kept for its derivation's sake, or the other way round.
const DELETE: [&str; 7] =
    ["--delete", "--option", "keep-outputs", "false", "--option", "keep-derivations", "false"];

/// What came of building once more.
#[derive(Debug, PartialEq)]
pub(super) enum Again {
    Same,
    Differs,
    /// The builder itself.
    Fails,
    /// It cannot be said; perhaps another time.
    Unclear(String),
}

impl NixStore {
    pub(super) fn new(nix: Nix) -> Self {
        Self(nix)
    }

    pub(super) fn is_valid(&self, path: &StorePath) -> Result<bool, TraceError> {
        self.ask(|client| Ok(client.query_path_info(path)?.is_some()))
    }

    /// Whether its path follows from its content.
    pub(super) fn is_content_addressed(&self, path: &StorePath) -> Result<bool, TraceError> {
        self.ask(|client| {
            Ok(client.query_path_info(path)?.is_some_and(|info| info.content_address.is_some()))
        })
    }

    /// The output of a derivation that this path is; `None` if the derivation is not there.
    pub(super) fn maker(&self, path: &StorePath) -> Result<Option<DerivedPath>, TraceError> {
        self.ask(|client| {
            let Some(drv) = client.query_path_info(path)?.and_then(|info| info.deriver) else {
                return Ok(None);
            };
            if client.query_path_info(&drv)?.is_none() {
                return Ok(None);
            }
            let outputs = client.query_derivation_output_map(&drv)?;
            let output = outputs.into_iter().find(|(_, output)| output.as_ref() == Some(path));
            Ok(output.map(|(name, _)| DerivedPath::outputs(drv, [name])))
        })
    }

    /// Builds what is there once more, beside it, and compares.
    pub(super) fn build_again(&self, wanted: &DerivedPath) -> Result<Again, TraceError> {
        let results = self.ask(|client| {
            let wanted = std::slice::from_ref(wanted);
            match client.build_paths_with_results(wanted, BuildMode::Check, &mut |_| {}) {
                Ok(results) => Ok(Ok(results)),
                Err(ProtocolError::Daemon { message, .. }) => Ok(Err(message)),
                Err(error) => Err(error),
            }
        })?;
        let (status, message) = match results {
            Ok(results) => match results.into_iter().next() {
                Some((_, result)) => (Some(result.status), result.message),
                None => (None, "Nix says nothing of it".to_owned()),
            },
            Err(message) => (None, message),
        };
        // Nix 2.8 tells it in words alone.
        let differs =
            status == Some(BuildStatus::NotDeterministic) || message.contains("not be deterministic");
        Ok(match status {
            Some(status) if status.is_success() => Again::Same,
            _ if differs => Again::Differs,
            Some(BuildStatus::PermanentFailure | BuildStatus::OutputRejected) => Again::Fails,
            _ => Again::Unclear(message),
        })
    }

    /// Builds what is not there. `Err` in Nix's words.
    pub(super) fn build(&self, wanted: &[DerivedPath]) -> Result<Result<(), String>, TraceError> {
        self.ask(|client| match client.build_paths_with_results(wanted, BuildMode::Normal, &mut |_| {}) {
            Ok(results) => {
                let failed = results.into_iter().find(|(_, result)| !result.status.is_success());
                Ok(failed.map_or(Ok(()), |(_, result)| Err(result.message)))
            }
            Err(ProtocolError::Daemon { message, .. }) => Ok(Err(message)),
            Err(error) => Err(error),
        })
    }

    /// A path and all that refer to it, directly or not.
    pub(super) fn referrers(&self, path: &StorePath) -> Result<Vec<StorePath>, TraceError> {
        let text = run(self.nix_store(&["--query", "--referrers-closure"], std::slice::from_ref(path)))?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Deletes paths that nothing keeps. `Err` in Nix's words; nothing may be gone then, or a part.
    pub(super) fn delete(&self, paths: &[StorePath]) -> Result<Result<(), String>, TraceError> {
        said(run(self.nix_store(&DELETE, paths)))
    }

    /// Deletes paths whatever keeps them. They must include all that refer to them.
    pub(super) fn delete_in_use(&self, paths: &[StorePath]) -> Result<Result<(), String>, TraceError> {
        let arguments = [&DELETE[..], &["--ignore-liveness"]].concat();
        said(run(self.nix_store(&arguments, paths)))
    }

    fn nix_store(&self, arguments: &[&str], paths: &[StorePath]) -> Command {
        let nix = self.0.command([""; 0]);
        let mut command = Command::new(Path::new(nix.get_program()).with_file_name("nix-store"));
        command.args(arguments).args(paths.iter().map(StorePath::as_str));
        command
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&mut Client) -> Result<T, ProtocolError>,
    ) -> Result<T, TraceError> {
        let spawn = |source| NixError::Spawn { program: "nix-daemon".to_owned(), source };
        let mut child = self.0.store_connection().stderr(Stdio::null()).spawn().map_err(spawn)?;
        let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(spawn(std::io::Error::other("no pipes")).into());
        };
        let options = Options { verbosity: Level::Error, ..Options::default() };
        let answer = Client::connect(Box::new(output) as Box<_>, Box::new(input) as Box<_>).and_then(
            |mut client: Client| {
                client.set_options(&options)?;
                question(&mut client)
            },
        );
        // The client is closed, and with it what it protected.
        let _ = child.wait();
        answer.map_err(TraceError::NixStore)
    }
}

fn said(outcome: Result<Vec<u8>, NixError>) -> Result<Result<(), String>, TraceError> {
    match outcome {
        Ok(_) => Ok(Ok(())),
        Err(NixError::Failed { message, .. }) => {
            let last = message.lines().rev().find(|line| line.contains("error:")).unwrap_or(&message);
            Ok(Err(last.trim().trim_start_matches("error:").trim().to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}
