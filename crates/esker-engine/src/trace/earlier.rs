//! The outputs of an earlier build, as outputs of another derivation.

use std::collections::BTreeSet;

use esker_nix::StorePath;
use esker_nix::protocol::{Client, ProtocolError};
use esker_trace::decide::Class;
use esker_trace::store::{ProducedOutput, Reference};

use super::address;
use super::register::{self, Made};
use super::run::hash_text;
use super::subject::Subject;

/// The outputs of `subject`, if they are these. `None`: they are gone.
pub(super) fn outputs(
    client: &mut Client,
    subject: &Subject,
    class: Class,
    earlier: &[ProducedOutput],
) -> Result<Option<Vec<Made>>, ProtocolError> {
    let mut all = Vec::new();
    for (name, path) in subject.output_paths() {
        let made = match class {
            Class::Empty => {
                let earlier = earlier.iter().find(|earlier| earlier.name == *name);
                earlier.and_then(|earlier| register::empty(name, path, earlier.nar_size))
            }
            Class::R0 => kept(client, subject, (name, path), earlier)?,
        };
        match made {
            Some(made) => all.push(made),
            None => return Ok(None),
        }
    }
    if class == Class::Empty {
        let (drv, floating) = (&subject.resolved.drv, subject.resolved.floating());
        match address::address(drv, all, &floating, subject.nix) {
            Ok(made) => all = made,
            Err(_) => return Ok(None),
        }
    }
    let path_of = |name: &str| all.iter().find(|made| made.name == name).map(|made| made.path.clone());
    let meant = |reference: &Reference| match reference {
        Reference::Slot(key) => subject.input(key),
        Reference::Output(name) => path_of(name),
    };
    let own: BTreeSet<&StorePath> =
        all.iter().filter(|made| made.content_address.is_some()).map(|made| &made.path).collect();
    let same = |made: &Made| {
        let earlier = earlier.iter().find(|earlier| earlier.name == made.name)?;
        let wanted: Option<BTreeSet<StorePath>> = earlier.references.iter().map(meant).collect();
        let found = made.references.iter().filter(|path| !own.contains(path)).cloned().collect();
        Some(hash_text(&made.nar_hash) == earlier.nar_hash && wanted? == found)
    };
    let all_same = all.iter().all(|made| same(made) == Some(true));
    Ok(all_same.then_some(all))
}

/// One of them, from the store. An output whose path follows from its content has the earlier path.
fn kept(
    client: &mut Client,
    subject: &Subject,
    (name, path): (&String, &StorePath),
    earlier: &[ProducedOutput],
) -> Result<Option<Made>, ProtocolError> {
    let method = subject.resolved.floating().get(name.as_str()).copied();
    let old_path = |earlier: &ProducedOutput| StorePath::from_base_name(&earlier.store_base_name).ok();
    let old = earlier.iter().find(|earlier| earlier.name == *name).and_then(old_path);
    let Some(old) = old else { return Ok(None) };
    client.add_temp_roots(std::slice::from_ref(&old))?;
    let Some(info) = client.query_path_info(&old)? else { return Ok(None) };
    let inputs = subject.closure.iter().cloned();
    let mut candidates: Vec<StorePath> = match method {
        Some(_) => inputs.chain(earlier.iter().filter_map(old_path)).collect(),
        None => inputs.chain([path.clone(), old.clone()]).collect(),
    };
    if subject.demands.without_references.contains(name) {
        candidates.clear();
    }
    let Some(method) = method else {
        return Ok(register::examine(name, path, old.as_path(), &candidates).ok());
    };
    let address = info.content_address.filter(|address| {
        let prefix = format!("fixed:{}sha256:", method.prefix());
        address.starts_with(&prefix) && old.name() == path.name()
    });
    let made = register::examine(name, &old, old.as_path(), &candidates).ok();
    Ok(address.zip(made).map(|(address, made)| Made { content_address: Some(address), ..made }))
}
