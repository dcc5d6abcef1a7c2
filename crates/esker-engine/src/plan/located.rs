//! Finding the flake that is meant, and the configuration that travels with it.
//!
//! `esker check` and the server ask the same questions in the same way here, so they cannot come to
//! different plans for one commit.

use std::path::Path;

use esker_nix::flake::{Flake, LoadError};
use esker_nix::tool::{Nix, NixError};

use crate::config::{Config, ConfigError, ConfigOrigin};

/// A flake that was found.
#[derive(Clone, Debug)]
pub struct Located {
    /// As Nix takes it.
    pub reference: String,
    /// More arguments for Nix: those that were given, and what the configuration adds to them.
    pub flake_arguments: Vec<String>,
    /// What the repository asks for.
    pub config: Config,
    /// Where that comes from.
    pub origin: ConfigOrigin,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nix cannot be used.
    #[error(transparent)]
    Nix(#[from] NixError),
}

impl Located {
    /// The flake of a working tree whose configuration lies in `root`.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn in_folder(root: &Path, flake_arguments: Vec<String>) -> Result<Self, LocateError> {
        let (config, origin) = Config::load(root)?;
        let reference = config.flake_folder(root)?.display().to_string();
        Self { reference, flake_arguments, config, origin }.with_lock_file(root)
    }

    /// A flake that Nix fetches; its configuration is read from the fetched source.
    ///
    /// # Errors
    /// The configuration is wrong, or Nix cannot be used. A flake that cannot be fetched is no error
    /// yet: the engine says it better, with what it knows of flakes.
    pub fn fetched(nix: &Nix, reference: &str, flake_arguments: Vec<String>) -> Result<Self, LocateError> {
        let flake = match Flake::load(nix, reference, &flake_arguments) {
            Ok(flake) => flake,
            Err(LoadError::Refused(_)) => {
                let (config, origin) = (Config::default(), ConfigOrigin::Defaults);
                return Ok(Self { reference: reference.to_owned(), flake_arguments, config, origin });
            }
            Err(LoadError::Nix(error)) => return Err(error.into()),
        };
        let root = flake.store_folder();
        let (config, origin) = Config::load(&root)?;
        config.flake_folder(&root)?;
        let mut reference = flake.url;
        if config.flake_dir != Path::new(".") && flake.directory.is_empty() {
            let separator = if reference.contains('?') { '&' } else { '?' };
            reference = format!("{reference}{separator}dir={}", config.flake_dir.display());
        }
        Self { reference, flake_arguments, config, origin }.with_lock_file(&root)
    }

    fn with_lock_file(mut self, root: &Path) -> Result<Self, LocateError> {
        let lock = self.config.reference_lock_file(root)?;
        let given = self.flake_arguments.iter().any(|argument| argument == "--reference-lock-file");
        if let Some(lock) = lock.filter(|_| !given) {
            self.flake_arguments.extend([
                "--reference-lock-file".to_owned(),
                lock.display().to_string(),
                "--no-write-lock-file".to_owned(),
            ]);
        }
        Ok(self)
    }
}
