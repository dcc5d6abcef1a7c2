//! Bare mirrors of projects' repositories, from which Nix takes each commit.
//!
//! A commit that was fetched has a reference of its own, `refs/esker/COMMIT`, so that it stays when
//! its branch is rewritten.
//!
//! Invariant: git runs nothing that comes from a repository: only objects are fetched, there is no
//! working tree, and submodules are left alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::project::ProjectName;

/// A fetch that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Why a commit could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    /// git is not there, or a folder cannot be made.
    #[error("cannot run `git`")]
    Spawn(#[source] std::io::Error),
    /// It took too long.
    #[error("`git {command}` took longer than {} minutes", TIMEOUT.as_secs() / 60)]
    Slow {
        /// Its first word.
        command: String,
    },
    /// It refused.
    #[error("`git {command}` failed: {message}")]
    Failed {
        /// Its first word.
        command: String,
        /// The end of what it said.
        message: String,
    },
}

/// The mirror of one project.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    folder: PathBuf,
    remote: String,
}

impl Mirror {
    /// The mirror below `folder` of a project that is fetched from `remote`.
    pub(crate) fn new(folder: &Path, project: &ProjectName, remote: &str) -> Self {
        // A name's parts have no `+`, so no two projects share a folder.
        let name = format!("{}.git", project.as_str().replace('/', "+"));
        Self { folder: folder.join(name), remote: remote.to_owned() }
    }

    /// Fetches a commit, unless it is there.
    ///
    /// # Errors
    /// It is not there afterwards.
    pub(crate) async fn fetch(&self, commit: &str, reference: &str) -> Result<(), MirrorError> {
        if !self.folder.join("HEAD").exists() {
            tokio::fs::create_dir_all(&self.folder).await.map_err(MirrorError::Spawn)?;
            self.git(&["init", "--bare", "--quiet", "."]).await?;
        }
        let own = format!("refs/esker/{commit}");
        let present = format!("{own}^{{commit}}");
        if self.git(&["cat-file", "-e", &present]).await.is_ok() {
            return Ok(());
        }
        let fetch = async |what: &str| {
            let refspec = format!("+{what}:{own}");
            let options =
                ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"];
            self.git(&[&options[..], &["--end-of-options", &self.remote, &refspec]].concat()).await
        };
        if fetch(commit).await.is_err() {
            // Not every server gives a commit by its id; the branch may be further by now.
            fetch(reference).await?;
            self.git(&["update-ref", &own, commit]).await?;
        }
        self.git(&["cat-file", "-e", &present]).await.map(drop)
    }

    /// A fetched commit as a flake reference.
    pub(crate) fn flake_reference(&self, commit: &str) -> String {
        let folder = crate::address::encode_path(&self.folder);
        format!("git+file://{folder}?ref=refs/esker/{commit}&rev={commit}")
    }

    async fn git<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Vec<u8>, MirrorError> {
        let word =
            arguments.first().map(|word| word.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.folder)
            .args(["-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"])
            .args(arguments)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_DIR", &self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(TIMEOUT, command.output())
            .await
            .map_err(|_| MirrorError::Slow { command: word.clone() })?
            .map_err(MirrorError::Spawn)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        let message = last.into_iter().rev().collect::<Vec<_>>().join("; ");
        Err(MirrorError::Failed { command: word, message })
    }
}
