//! A forge and a server, for stories from push to verdict.
//!
//! [`forge::Forge`] is a small forge that keeps what it is told: it serves a bare repository over
//! HTTP, sends a signed delivery for each push, and takes statuses. [`server::Server`] is the real
//! `esker serve`. Where Prism is installed, it stands between the two and refuses what is not in
//! GitHub's own description of its API.

#![expect(clippy::unwrap_used, reason = "tests")]

pub(crate) mod browser;
pub(crate) mod forge;
pub(crate) mod http;
pub(crate) mod prism;
pub(crate) mod server;
