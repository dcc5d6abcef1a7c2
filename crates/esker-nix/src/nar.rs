//! NAR, Nix's archive: one file, link or folder, without owner, time or any other detail.
//!
//! ```text
//! archive   = "nix-archive-1" node
//! node      = "(" "type" ( regular | symlink | directory ) ")"
//! regular   = "regular" [ "executable" "" ] "contents" bytes
//! symlink   = "symlink" "target" bytes
//! directory = "directory" { "entry" "(" "name" bytes "node" node ")" }
//! ```
//!
//! Each token is a string: its length as 64 bits in little endian, its bytes, and zeros up to a
//! multiple of eight. Entries come in the order of their names as bytes. Nix's manual has the same
//! under "Nix Archive (NAR) format".
//!
//! Everything here is one pass over a stream; no content is held in memory.
//!
//! Invariant: a name that [`Reader`] yields or [`Writer`] writes is not empty, `.` or `..`, has no
//! `/` and no NUL, and is greater than its predecessor in the same folder. So two entries never
//! meet, and nothing that is restored can leave its folder.

use std::io;
use std::path::PathBuf;

mod dump;
mod nesting;
mod read;
mod restore;
mod write;

pub use dump::{dump, hash};
pub use read::{Event, Reader};
pub use restore::restore;
pub use write::Writer;

/// First token of each archive.
const MAGIC: &str = "nix-archive-1";

/// Folders inside each other before an archive is refused. Linux's longest path has 2048.
pub const MAX_DEPTH: usize = 2048;

/// Longest name of an entry, in bytes: no file system of ours has longer ones.
pub const MAX_NAME_LENGTH: usize = 255;

/// Longest target of a link, in bytes: Linux's `PATH_MAX` without its NUL.
pub const MAX_TARGET_LENGTH: usize = 4095;

/// Why an archive could not be read, written, dumped or restored.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The archive is malformed or hostile.
    #[error("at byte {offset} of the archive: {problem}")]
    Malformed {
        /// Bytes before the part that is wrong.
        offset: u64,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The stream that the archive comes from or goes to failed.
    #[error("cannot read or write the archive")]
    Stream(#[source] io::Error),
    /// A file that is dumped or restored.
    #[error("cannot read or write `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither file nor folder nor link: an archive has no place for it.
    #[error("`{}` is neither a file, a folder nor a link", .0.display())]
    UnsupportedFile(PathBuf),
}

/// What can be wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The grammar demands something else.
    #[error("expected `{0}`")]
    Expected(&'static str),
    /// The stream ended.
    #[error("the archive is cut off")]
    CutOff,
    /// Something else than zeros up to the multiple of eight.
    #[error("the padding is not zero")]
    Padding,
    /// It would be somewhere else than in its folder.
    #[error("`{0}` is not a name for a file")]
    Name(String),
    /// Longer than [`MAX_NAME_LENGTH`] or [`MAX_TARGET_LENGTH`].
    #[error("a name or link target has {0} bytes")]
    Length(u64),
    /// A link to nothing, or one with a NUL.
    #[error("the target of the link is not a path")]
    Target,
    /// Not in order, or twice.
    #[error("`{0}` is not in order, or a second entry of that name")]
    Order(String),
    /// More than [`MAX_DEPTH`] folders.
    #[error("more than {MAX_DEPTH} folders inside each other")]
    Depth,
    /// Only for a [`Writer`]: its caller's calls do not make one tree.
    #[error("not one whole tree")]
    Incomplete,
}

#[cfg(test)]
mod tests;
