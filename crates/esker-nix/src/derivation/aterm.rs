//! The text of a `.drv` file: `Derive(…)`, a term in the ATerm language (`libstore/derivations.cc`).
//!
//! ```text
//! Derive([(output,path,hash algorithm,hash)…],[(derivation,[output…])…],[source…],
//!        system,builder,[argument…],[(variable,value)…])
//! ```
//!
//! Everything is a string in double quotes, without white space in between. Only `"`, `\`, line
//! feed, carriage return and tab are escaped, and only in builder, arguments and environment.
//!
//! Invariant: [`parse()`] accepts exactly what [`print()`] writes. Nix reads more (other escapes, any
//! order), but never writes it.

use crate::hash::HashError;
use crate::store_path::StorePathError;

mod parse;
mod print;

pub(super) use parse::parse;
pub(super) use print::{OutputPaths, inputs_as_paths, print};

/// Why a `.drv` file could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset} of the derivation: {problem}")]
pub struct ParseError {
    /// Bytes before the part that is wrong.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a `.drv` file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The grammar demands something else.
    #[error("expected `{0}`")]
    Expected(&'static str),
    /// A quote without its partner.
    #[error("the string does not end")]
    EndlessString,
    /// An escape that Nix does not write, or a character that it would have escaped.
    #[error("the string is not written as Nix writes it")]
    Escape,
    /// A name or system that is not UTF-8.
    #[error("the string is not UTF-8")]
    NotText,
    /// Names, paths and variables come in order, each once.
    #[error("the list is not sorted, or names something twice")]
    Unsorted,
    /// Something follows the end of the term.
    #[error("something follows the derivation")]
    TrailingBytes,
    /// A path that is none.
    #[error(transparent)]
    StorePath(#[from] StorePathError),
    /// An output's hash or algorithm that is none.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Fields of an output that contradict each other.
    #[error("the output has a path, an algorithm and a hash that do not fit together")]
    Output,
    /// A form for experimental `dynamic-derivations`.
    #[error("dynamic derivations (`DrvWithVersion`) are not supported")]
    DynamicDerivations,
}

/// What stands for this byte after a backslash.
fn escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' => Some(byte),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        _ => None,
    }
}

fn unescape(byte: u8) -> Option<u8> {
    b"\"\\\n\r\t".iter().copied().find(|plain| escape(*plain) == Some(byte))
}

#[cfg(test)]
mod tests;
