//! The closure of what a derivation's builder may read, and what the store says of each path.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use esker_nix::StorePath;
use esker_nix::derivation::Derivation;
use esker_nix::protocol::{Client, ProtocolError};

/// What the builds of a run have learned of store paths. A valid path never changes.
#[derive(Default)]
pub(crate) struct Paths(Mutex<HashMap<StorePath, Arc<Known>>>);

/// What the store says of one valid path.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) references: BTreeSet<StorePath>,
    pub(crate) nar_hash: [u8; 32],
    pub(crate) nar_size: u64,
    pub(crate) content_address: Option<String>,
}

/// Store paths, and what is known of each.
pub(crate) type Closure = Vec<(StorePath, Arc<Known>)>;

impl Paths {
    /// The closure of `direct`, in no order. `Ok(Err(_))`: this path is not valid.
    ///
    /// They must be protected from garbage collection.
    pub(crate) fn closure(
        &self,
        client: &mut Client,
        direct: &BTreeSet<StorePath>,
    ) -> Result<Result<Closure, StorePath>, ProtocolError> {
        let mut seen: BTreeSet<StorePath> = direct.clone();
        let mut stack: Vec<StorePath> = direct.iter().cloned().collect();
        let mut closure = Vec::new();
        while let Some(path) = stack.pop() {
            let Some(known) = self.known(client, &path)? else { return Ok(Err(path)) };
            stack.extend(known.references.iter().filter(|path| seen.insert((*path).clone())).cloned());
            closure.push((path, known));
        }
        Ok(Ok(closure))
    }

    /// What the store says of `path`, if it is valid.
    pub(crate) fn known(
        &self,
        client: &mut Client,
        path: &StorePath,
    ) -> Result<Option<Arc<Known>>, ProtocolError> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(info) = client.query_path_info(path)? else { return Ok(None) };
        let known = Arc::new(Known {
            references: info.references,
            nar_hash: info.nar_hash,
            nar_size: info.nar_size,
            content_address: info.content_address,
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), Arc::clone(&known));
        Ok(Some(known))
    }
}

/// The store paths that `derivation` names as its inputs: sources, and outputs of other derivations.
///
/// `read` gets a derivation of the store. `None`: some path is known only after a build.
pub(crate) fn direct_inputs(
    derivation: &Derivation,
    mut read: impl FnMut(&StorePath) -> Option<Derivation>,
) -> Option<BTreeSet<StorePath>> {
    let mut paths = derivation.input_sources.clone();
    for (input, outputs) in &derivation.input_derivations {
        let input = read(input)?;
        for output in outputs {
            paths.insert(input.outputs.get(output)?.path()?.clone());
        }
    }
    Some(paths)
}
