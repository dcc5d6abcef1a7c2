//! Gives outputs the paths that follow from their content.
//!
//! A builder makes such an output at a scratch path. Its content is hashed with the scratch path's
//! hash blotted out, that gives the path, and then the one hash is replaced by the other. Outputs that
//! others refer to come first: their paths are a part of the others' content.
//!
//! Source: `newInfoFromCA` in `libstore/unix/build/derivation-builder.cc`, `HashModuloSink`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use esker_nix::StorePath;
use esker_nix::derivation::Method;
use esker_nix::hash::{Hash, HashSink};
use esker_nix::nar::NarError;
use esker_nix::references::{HASH_LENGTH, Rewriter};
use esker_nix::store_path::SelfReference;

use super::outputs::Rejected;
use super::register::{self, Content, Made, RegisterError};
use super::version::Version;
use crate::event::BuildFailureKind;

/// Outputs as they were left at scratch paths, with the paths that they get. `methods` has how each
/// is addressed; those without keep their paths.
pub(crate) fn address(
    drv: &StorePath,
    made: Vec<Made>,
    methods: &BTreeMap<&str, Method>,
    nix: Version,
) -> Result<Vec<Made>, Rejected> {
    if methods.is_empty() {
        return Ok(made);
    }
    let order = register::in_order(&made).map_err(|_| reject(RegisterError::Circle.to_string()))?;
    let order: Vec<String> = order.into_iter().map(|made| made.name.clone()).collect();
    let mut left: BTreeMap<String, Made> = made.into_iter().map(|made| (made.name.clone(), made)).collect();
    // By the hashes of the scratch paths.
    let mut finals: BTreeMap<String, StorePath> = BTreeMap::new();
    let mut addressed = BTreeMap::new();
    for made in order.iter().filter_map(|name| left.remove(name)) {
        let scratch = made.path.hash_part().to_owned();
        let method = methods.get(made.name.as_str()).copied().unwrap_or(Method::Nar);
        let made = one(drv, made, method, &finals, nix)?;
        finals.insert(scratch, made.path.clone());
        addressed.insert(made.name.clone(), made);
    }
    Ok(addressed.into_values().collect())
}

fn one(
    drv: &StorePath,
    made: Made,
    method: Method,
    finals: &BTreeMap<String, StorePath>,
    nix: Version,
) -> Result<Made, Rejected> {
    let unreadable =
        |error: NarError| reject(RegisterError::Read { name: made.name.clone(), source: error }.to_string());
    let (scratch, refers_to_itself) = (made.path.hash_part(), made.references.contains(&made.path));
    let others = made.references.iter().filter(|path| **path != made.path);
    let mut references: BTreeSet<StorePath> =
        others.map(|path| finals.get(path.hash_part()).unwrap_or(path).clone()).collect();
    if method == Method::Flat {
        if made.content.open_plain_file().is_none() {
            let should = "should be a non-executable regular file since recursive hashing is not enabled";
            return Err(reject(format!("output path '{}' {should}", made.path)));
        }
        if !references.is_empty() || (refers_to_itself && nix >= Version::REFUSES_FLAT_SELF_REFERENCES) {
            let may_not = "is hashed as one file, and may not refer to store paths";
            return Err(reject(format!("its output `{}` {may_not}", made.name)));
        }
    }
    let mut rewrites: BTreeMap<String, String> =
        finals.iter().map(|(from, to)| (from.clone(), to.hash_part().to_owned())).collect();
    rewrites.insert(scratch.to_owned(), "\0".repeat(HASH_LENGTH));
    let hash = hash_modulo(&made.content, method, &rewrites, scratch, nix).map_err(unreadable)?;
    let itself = if refers_to_itself { SelfReference::Present } else { SelfReference::Absent };
    let name = StorePath::name_of_output(drv, &made.name);
    let path = StorePath::for_content(&name, method, &hash, &references.iter().collect(), itself)
        .map_err(|error| reject(error.to_string()))?;
    rewrites.insert(scratch.to_owned(), path.hash_part().to_owned());
    if refers_to_itself {
        references.insert(path.clone());
    }
    let (nar_hash, nar_size) =
        dump(&made.content, &rewrites, HashSink::default()).map_err(unreadable)?.finish();
    Ok(Made {
        path,
        nar_hash: nar_hash.as_bytes().try_into().unwrap_or_default(),
        nar_size,
        references,
        rewrites,
        content_address: Some(format!("fixed:{}{hash}", method.prefix())),
        ..made
    })
}

/// The hash of content in which `scratch` is blotted out. Older versions of Nix add where it was.
fn hash_modulo(
    content: &Content,
    method: Method,
    rewrites: &BTreeMap<String, String>,
    scratch: &str,
    nix: Version,
) -> Result<Hash, NarError> {
    let mut rewriter = Rewriter::new(rewrites.clone(), HashSink::default());
    match method {
        Method::Flat => {
            let opened = content.open_plain_file().unwrap_or_else(|| Err(io::ErrorKind::InvalidInput.into()));
            let copied = opened.and_then(|mut content| io::copy(&mut content, &mut rewriter));
            copied.map_err(NarError::Stream)?;
        }
        _ => content.dump(&mut rewriter)?,
    }
    let (mut sink, places) = rewriter.finish().map_err(NarError::Stream)?;
    if nix < Version::FORGETS_SELF_REFERENCES {
        for at in places.get(scratch).into_iter().flatten() {
            write!(sink, "|{at}").map_err(NarError::Stream)?;
        }
    }
    Ok(sink.finish().0)
}

/// Writes the archive of an output with these hashes replaced.
pub(crate) fn dump<W: Write>(
    content: &Content,
    rewrites: &BTreeMap<String, String>,
    sink: W,
) -> Result<W, NarError> {
    let mut rewriter = Rewriter::new(rewrites.clone(), sink);
    content.dump(&mut rewriter)?;
    Ok(rewriter.finish().map_err(NarError::Stream)?.0)
}

fn reject(message: String) -> Rejected {
    (BuildFailureKind::Output, message)
}
