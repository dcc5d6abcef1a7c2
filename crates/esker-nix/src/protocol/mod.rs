//! The worker protocol: how a client talks to a Nix daemon, without starting a `nix` per question.
//!
//! Versions 1.34 (Nix 2.8) to 1.38 (Nix 2.34), without optional features. The format has no
//! specification apart from Nix's sources: `libstore/worker-protocol.cc`, `remote-store.cc` and
//! `daemon.cc`. Everything here blocks; [`Client`] says how to cancel.
//!
//! - [`wire`]: numbers, strings, lists and frames.
//! - [`Client`]: the handshake, the conversation around each request, and the requests.
//! - [`BuildLog`]: what the daemon reports while it works.
//! - [`BuildResult`], [`DerivedPath`], [`PathInfo`], [`OutputId`], …: what is asked and answered.
//!
//! Invariant: no byte a daemon sends makes us panic or allocate more than a small multiple of
//! what has arrived. A declared length alone never does.

mod build_result;
mod client;
mod derived_path;
mod error;
mod log;
mod nar_copy;
mod ops;
mod options;
mod path_info;
mod plain_text;
mod realisation;
#[cfg(test)]
mod tests;
pub mod wire;

pub use build_result::{BuildResult, BuildStatus};
pub use client::Client;
pub use derived_path::{DerivedPath, OutputSelection};
pub use error::ProtocolError;
pub use log::{ActivityKind, BuildLog, Field, Progress, ResultKind};
pub use ops::{BuildMode, Missing, SignatureCheck};
pub use options::{Level, Options};
pub use path_info::PathInfo;
pub use realisation::OutputId;
