//! Nix's nouns as Rust types, and the only code that talks to Nix.

pub mod base32;
pub mod derivation;
pub mod hash;
pub mod nar;
pub mod narinfo;
pub mod protocol;
pub mod references;
pub mod store_path;

pub use store_path::StorePath;
pub mod attr_path;
pub mod evaluator;
pub mod flake;
pub mod sandbox;
pub mod startup_error;
pub mod tool;
