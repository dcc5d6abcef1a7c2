//! What a builder has left behind, looked at as Nix looks at it before it is believed.
//!
//! Source: `registerOutputs` in `libstore/unix/build/derivation-builder.cc`, before 2.31 in
//! `libstore/build/local-derivation-goal.cc`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use esker_nix::StorePath;
use esker_nix::nar::NarError;

use super::register::{self, Made, RegisterError};
use crate::event::BuildFailureKind;

/// What kind of failure it is, and what is said of it.
pub(crate) type Rejected = (BuildFailureKind, String);

/// Looks at all outputs, in the order of their names.
///
/// `places` has, by base name, where they lie; `candidates` is what they can refer to, themselves
/// included, except for those that are `without_references`.
pub(crate) fn collect<'a>(
    drv: &StorePath,
    outputs: impl Iterator<Item = (&'a String, &'a StorePath)>,
    places: &BTreeMap<&str, PathBuf>,
    candidates: &[StorePath],
    without_references: &BTreeSet<String>,
) -> Result<Vec<Made>, Rejected> {
    let mut made = Vec::new();
    for (name, path) in outputs {
        let missing = || {
            (BuildFailureKind::Builder, format!("builder failed to produce output path for output '{name}'"))
        };
        let place = places.get(path.base_name()).ok_or_else(missing)?;
        if is_open_to_others(place) {
            let rejecting = format!("for output '{name}'; rejecting this build output");
            let message = format!("suspicious ownership or permission on '{path}' {rejecting}");
            return Err((BuildFailureKind::Output, message));
        }
        let candidates = if without_references.contains(name) { &[] } else { candidates };
        let examined = register::examine(name, path, place, candidates);
        made.push(examined.map_err(|error| (BuildFailureKind::Output, in_words(&error, path, place)))?);
    }
    if let Err((output, from)) = register::in_order(&made) {
        let where_to = format!("in the references of output '{output}' from output '{from}'");
        return Err((BuildFailureKind::Output, format!("cycle detected in build of '{drv}' {where_to}")));
    }
    Ok(made)
}

/// Whether others than its owner may write to the output itself. What is in it is made read-only.
fn is_open_to_others(place: &Path) -> bool {
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    place
        .symlink_metadata()
        .is_ok_and(|metadata| !metadata.is_symlink() && metadata.mode() & GROUP_OR_OTHERS_WRITE != 0)
}

fn in_words(error: &RegisterError, path: &StorePath, place: &Path) -> String {
    match error {
        RegisterError::Read { source: NarError::UnsupportedFile(file), .. } => {
            let inside = file.strip_prefix(place).unwrap_or(Path::new(""));
            let file = if inside.as_os_str().is_empty() {
                path.as_path().to_owned()
            } else {
                path.as_path().join(inside)
            };
            format!("file '{}' has an unsupported type", file.display())
        }
        error => error.to_string(),
    }
}
