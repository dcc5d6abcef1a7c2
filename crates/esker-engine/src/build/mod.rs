//! From derivations to verdicts: what is missing, in which order, and who builds it.
//!
//! `resolve` asks the store what there is, `schedule` decides (purely) what comes next, `execute`
//! has Nix's daemon do it, each derivation on a connection of its own, so that its log, its end
//! and its cancellation are its own too.

pub(crate) mod connection;
pub(crate) mod execute;
pub(crate) mod outcome;
pub(crate) mod resolve;
pub(crate) mod schedule;
