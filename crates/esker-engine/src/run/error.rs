//! Why a run ended without a list of jobs.

use esker_nix::flake::{Refusal, RefusalKind};
use esker_nix::protocol::ProtocolError;
use esker_nix::tool::NixError;

use crate::build::connection::StoreError;
use crate::evaluate::EvaluateError;
use crate::event::{Conclusion, EvaluationError, EvaluationErrorKind, Position};

/// Why a run ended without a list of jobs.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nix cannot be used.
    #[error(transparent)]
    Nix(#[from] NixError),
    /// There is no such flake, or it cannot be fetched or locked.
    #[error("cannot load the flake `{reference}`: {refusal}")]
    Flake {
        /// As the user gave it.
        reference: String,
        /// Nix's reason.
        refusal: Refusal,
    },
    /// The store cannot be reached, or was lost.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No list of attributes.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The user stopped it before there was anything to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Who has to act on a [`RunError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Whoever wrote the code: a red result.
    Code,
    /// Whoever called Esker: wrong usage or configuration.
    Usage,
    /// Nobody: machine, network, Nix or Esker. Worth a retry.
    Machine,
}

impl RunError {
    /// Who has to act.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Nix(_) | Self::Store(_) | Self::Interrupted => Blame::Machine,
            Self::Flake { refusal, .. } => match refusal.kind {
                RefusalKind::Unreachable | RefusalKind::Forbidden | RefusalKind::Disk => Blame::Machine,
                RefusalKind::Code => Blame::Code,
                RefusalKind::Missing | RefusalKind::Untracked | RefusalKind::Other => Blame::Usage,
            },
            Self::Evaluate(EvaluateError::Failed(error)) => match error.conclusion() {
                Conclusion::Broken => Blame::Machine,
                _ => Blame::Code,
            },
            Self::Evaluate(EvaluateError::Start(_)) => Blame::Machine,
            Self::Evaluate(EvaluateError::OutputNotASet { .. }) => Blame::Code,
            Self::Evaluate(_) => Blame::Usage,
        }
    }

    /// The conclusion of an evaluation that ended so. Where there is nobody to call Esker wrongly,
    /// it is the repository that asks for what cannot be had.
    pub fn conclusion(&self) -> Conclusion {
        match (self, self.blame()) {
            (Self::Interrupted, _) => Conclusion::Cancelled,
            (_, Blame::Machine) => Conclusion::Broken,
            (_, Blame::Code | Blame::Usage) => Conclusion::Failed,
        }
    }

    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Nix(error) => error.hint().map(str::to_owned),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Evaluate(error) => error.hint(),
            Self::Interrupted => None,
            Self::Flake { refusal, .. } => {
                let hint = match refusal.kind {
                    RefusalKind::Unreachable => "is the network up? `--offline` uses what was fetched before",
                    RefusalKind::Forbidden => {
                        "the server refuses: are `netrc-file` and `access-tokens` in nix.conf right?"
                    }
                    RefusalKind::Disk => "make room on the disk; `nix store gc` removes what nothing needs",
                    RefusalKind::Missing => {
                        "run `nix flake init`, or pass a flake reference; `--file default.nix` works without a flake"
                    }
                    RefusalKind::Untracked => "Nix sees only what git tracks: `git add` it",
                    RefusalKind::Code | RefusalKind::Other => return None,
                };
                Some(hint.to_owned())
            }
        }
    }

    /// Where in the flake it is.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Flake { refusal, .. } => {
                let (path, line, column) = refusal.position.clone()?;
                Some(Position { path, line, column })
            }
            _ => self.evaluation_error()?.position.clone(),
        }
    }

    /// The whole of an evaluation error, for those who want it.
    pub fn evaluation_error(&self) -> Option<&EvaluationError> {
        match self {
            Self::Evaluate(EvaluateError::Failed(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<ProtocolError> for RunError {
    fn from(error: ProtocolError) -> Self {
        Self::Store(error.into())
    }
}

impl EvaluationError {
    /// Whether the code is at fault.
    pub fn conclusion(&self) -> Conclusion {
        match self.kind {
            EvaluationErrorKind::Fetch | EvaluationErrorKind::Crash => Conclusion::Broken,
            _ => Conclusion::Failed,
        }
    }
}
