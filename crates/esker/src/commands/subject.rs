//! The arguments that say which flake's or file's runs are meant.

use std::path::{Path, PathBuf};

use crate::state::{subject_of, subject_of_file};

#[derive(clap::Args, Debug)]
pub(crate) struct SubjectArgs {
    /// Flake it belongs to
    #[arg(long, value_name = "REF", default_value = ".")]
    pub(crate) flake: String,
    /// Nix file it belongs to, if `esker check --file` checked it
    #[arg(long, value_name = "FILE", conflicts_with = "flake")]
    pub(crate) file: Option<PathBuf>,
}

impl SubjectArgs {
    /// Under which key its runs are remembered.
    pub(crate) fn key(&self, cwd: &Path) -> String {
        match &self.file {
            Some(file) => subject_of_file(file, cwd),
            None => subject_of(&self.flake, cwd),
        }
    }

    /// These arguments again, for a command that is suggested.
    pub(crate) fn words(&self) -> Vec<String> {
        match &self.file {
            Some(file) => vec!["--file".to_owned(), file.display().to_string()],
            None => flake_words(&self.flake),
        }
    }

    /// The same for `esker check`.
    pub(crate) fn check_words(&self) -> Vec<String> {
        let words = self.words();
        if self.file.is_some() { words } else { words.into_iter().skip(1).collect() }
    }
}

/// `--flake REF`, or nothing for the flake one stands in.
pub(crate) fn flake_words(flake: &str) -> Vec<String> {
    let reference = flake.split('#').next().unwrap_or_default();
    match reference {
        "" | "." => Vec::new(),
        other => vec!["--flake".to_owned(), other.to_owned()],
    }
}
