//! Tests of the trace store, and the small world that other tests share.

mod closures;
mod crash;
mod damage;
mod growth;
mod proofs;
mod scene;
mod speed;
pub(crate) mod world;
