//! Builds that are observed, and results that are reused because nothing observed has changed.
//!
//! [`Tracer::attempt`] stands in for Nix's daemon wherever it can: it names the inputs of a
//! derivation by slots, asks the store of traces, and else runs the builder in a sandbox of our own
//! that is watched. Results become valid paths of Nix's store either way.
//!
//! Invariant: what cannot be observed completely is left to Nix, and nothing is reused of it.

mod address;
mod checks;
mod closure;
mod earlier;
mod explain;
mod graph;
mod machine;
mod outputs;
mod process;
mod prove;
mod recipe;
mod register;
mod resolved;
mod run;
mod skeleton;
mod structured;
mod subject;
mod tracer;
mod user;
mod version;

pub(crate) use machine::Machine;
pub(crate) use prove::{Proved, Unproven};
pub(crate) use tracer::{Attempt, Listener, Tracer};
