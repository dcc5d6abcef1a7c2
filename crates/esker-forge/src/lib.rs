//! Understands forges: verifies and reads a delivery, sets a status. Knows nothing of Nix.
//!
//! What is common to all forges is here; what one of them does its own way is in its module, and
//! [`Kind`] leads the compiler through every place that has to know a new one.
//!
//! Invariant: a payload is read only after its signature was found right over the raw bytes.
//! Invariant: of a payload only needed fields are read, and unknown ones passed over: what forges
//! send grows with time, and differs from what they describe.

mod client;
mod delivery;
mod github;
mod signature;
mod status;

pub use client::{Client, ClientError};
pub use delivery::{Delivery, DeliveryError, Headers, Push, Received};
pub use secrecy::SecretString;
pub use status::{State, Status};

/// A kind of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// github.com, or GitHub Enterprise Server.
    GitHub,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::GitHub];

    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
        }
    }

    /// Verifies a delivery by any of the secrets (two are valid while one replaces the other), and
    /// reads it.
    ///
    /// # Errors
    /// It is not genuine, or cannot be read.
    pub fn receive(
        self,
        headers: &dyn Headers,
        body: &[u8],
        secrets: &[SecretString],
    ) -> Result<Received, DeliveryError> {
        match self {
            Self::GitHub => github::receive(headers, body, secrets),
        }
    }
}
