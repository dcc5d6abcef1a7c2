//! Runs a command in a sandbox, records what it observed of its inputs, and knows when an earlier
//! result still holds.
//!
//! Store paths are opaque here: an input is a [`inputs::Input`] with a name that two builds share
//! (its *slot*), a folder, and the hashes that may occur in it. What a derivation is, and how its
//! results get into a store, is the caller's business.

pub mod answer;
pub mod decide;
pub mod exec;
pub mod inputs;
pub mod observation;
mod observe;
mod sandbox;
pub mod store;
mod sys;
