//! Names the inputs of a derivation in a way that survives a change of their hashes, and digests
//! the derivation with those names in place of the hashes.
//!
//! Two derivations with one skeleton differ in nothing but which store paths stand in their slots.
//! A wrong name makes a reuse impossible, never wrong: all that was observed is compared slot by
//! slot, under one renaming.

use std::collections::{BTreeMap, HashMap};

use blake3::Hasher;
use esker_nix::StorePath;
use esker_nix::derivation::{Derivation, Output};
use esker_nix::references::{HASH_LENGTH, hashes_in};
use esker_trace::observation::Digest;

/// The slot of each path of `closure`, by path: its name, and a number where names repeat.
///
/// Those of one name are numbered in the order in which the derivation mentions them; those that it
/// does not mention come last, by hash.
pub(crate) fn slots(derivation: &Derivation, closure: &[StorePath]) -> HashMap<StorePath, String> {
    let by_hash: HashMap<&str, &StorePath> = closure.iter().map(|path| (path.hash_part(), path)).collect();
    let mut mentioned: HashMap<&StorePath, usize> = HashMap::new();
    for text in texts(derivation) {
        for (_, hash) in hashes_in(text, |hash| by_hash.contains_key(hash)) {
            let next = mentioned.len();
            mentioned.entry(by_hash[hash]).or_insert(next);
        }
    }
    let mut by_name: BTreeMap<&str, Vec<&StorePath>> = BTreeMap::new();
    for path in closure {
        by_name.entry(path.name()).or_default().push(path);
    }
    let mut slots = HashMap::new();
    for (name, mut paths) in by_name {
        paths.sort_by_key(|path| (mentioned.get(path).copied().unwrap_or(usize::MAX), path.hash_part()));
        let several = paths.len() > 1;
        for (index, path) in paths.into_iter().enumerate() {
            let slot = if several { format!("{name}#{}", index + 1) } else { name.to_owned() };
            slots.insert(path.clone(), slot);
        }
    }
    slots
}

/// The digest of `derivation` modulo hashes. `more` is what else goes into the run, named:
/// settings, files, the machine.
pub(crate) fn skeleton(
    derivation: &Derivation,
    slots: &HashMap<StorePath, String>,
    more: &[(&str, &[u8])],
) -> Digest {
    let mut names: HashMap<&str, (u8, &str)> = HashMap::new();
    for (path, slot) in slots {
        names.insert(path.hash_part(), (b'S', slot));
    }
    for (name, output) in &derivation.outputs {
        if let Some(path) = output.path() {
            names.insert(path.hash_part(), (b'O', name));
        }
    }
    let mut digest = Digester { hasher: Hasher::new_derive_key("esker 2026 skeleton 2"), names };
    digest.text(derivation.system.as_bytes());
    for (name, output) in &derivation.outputs {
        digest.text(name.as_bytes());
        digest.text(kind(output).as_bytes());
        digest.text(output.path().map_or("", StorePath::as_str).as_bytes());
    }
    digest.text(&derivation.builder);
    digest.count(derivation.arguments.len());
    for argument in &derivation.arguments {
        digest.text(argument);
    }
    digest.count(derivation.environment.len());
    for (name, value) in &derivation.environment {
        digest.text(name);
        digest.text(value);
    }
    for (name, value) in more {
        digest.text(name.as_bytes());
        digest.text(value);
    }
    Digest(*digest.hasher.finalize().as_bytes())
}

fn kind(output: &Output) -> String {
    match output {
        Output::InputAddressed(_) => "input-addressed".to_owned(),
        other => format!("{other:?}"),
    }
}

struct Digester<'a> {
    hasher: Hasher,
    names: HashMap<&'a str, (u8, &'a str)>,
}

impl Digester<'_> {
    fn count(&mut self, count: usize) {
        self.hasher.update(&(count as u64).to_le_bytes());
    }

    /// Each piece has a kind and a length, so that no two texts look the same.
    fn piece(&mut self, kind: u8, bytes: &[u8]) {
        self.hasher.update(&[kind]);
        self.count(bytes.len());
        self.hasher.update(bytes);
    }

    fn text(&mut self, text: &[u8]) {
        let found: Vec<(usize, (u8, String))> = hashes_in(text, |hash| self.names.contains_key(hash))
            .map(|(at, hash)| (at, (self.names[hash].0, self.names[hash].1.to_owned())))
            .collect();
        let mut from = 0;
        for (at, (kind, name)) in found {
            self.piece(b'L', &text[from..at]);
            self.piece(kind, name.as_bytes());
            from = at + HASH_LENGTH;
        }
        self.piece(b'L', &text[from..]);
        self.piece(b'.', b"");
    }
}

/// Everything of a derivation in which its builder can find a store path, in a fixed order.
fn texts(derivation: &Derivation) -> impl Iterator<Item = &[u8]> {
    let environment = derivation.environment.iter().flat_map(|(name, value)| [name, value]);
    let all = std::iter::once(&derivation.builder).chain(&derivation.arguments).chain(environment);
    all.map(|text| text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(hash: char, name: &str) -> StorePath {
        format!("/nix/store/{}-{name}", String::from(hash).repeat(HASH_LENGTH)).parse().unwrap()
    }

    fn derivation(out: &StorePath, environment: &[(&str, String)]) -> Derivation {
        let mut derivation = Derivation::from_aterm(br#"Derive([],[],[],"s","b",[],[])"#).unwrap();
        derivation.outputs.insert("out".to_owned(), Output::InputAddressed(out.clone()));
        derivation.environment = environment.iter().map(|(k, v)| ((*k).into(), v.as_str().into())).collect();
        derivation
    }

    fn digest(out: char, environment: &[(&str, String)], closure: &[StorePath]) -> Digest {
        let derivation = derivation(&path(out, "x"), environment);
        skeleton(&derivation, &slots(&derivation, closure), &[])
    }

    #[test]
    fn hashes_do_not_matter_and_anything_else_does() {
        let source = path('a', "source");
        let other = path('b', "source");
        let one = digest(
            'x',
            &[("src", source.to_string()), ("out", path('x', "x").to_string())],
            std::slice::from_ref(&source),
        );
        let two = digest(
            'y',
            &[("src", other.to_string()), ("out", path('y', "x").to_string())],
            std::slice::from_ref(&other),
        );
        assert_eq!(one, two);
        for environment in [
            vec![("src", format!("{other}/a")), ("out", path('y', "x").to_string())],
            vec![("src", other.to_string()), ("out", other.to_string())],
            vec![("srd", other.to_string()), ("out", path('y', "x").to_string())],
            vec![("src", path('c', "source").to_string()), ("out", path('y', "x").to_string())],
        ] {
            assert_ne!(one, digest('y', &environment, std::slice::from_ref(&other)), "{environment:?}");
        }
    }

    #[test]
    fn which_of_two_alike_is_mentioned_first_decides() {
        let closure = [path('a', "source"), path('b', "source")];
        let one = digest('x', &[("p", closure[0].to_string()), ("q", closure[1].to_string())], &closure);
        let two = digest('x', &[("p", closure[1].to_string()), ("q", closure[0].to_string())], &closure);
        assert_eq!(one, two, "the slots are named by their order");
        let same = digest('x', &[("p", closure[0].to_string()), ("q", closure[0].to_string())], &closure);
        assert_ne!(one, same);
    }

    #[test]
    fn a_boundary_cannot_be_moved() {
        let none: [StorePath; 0] = [];
        let one = digest('x', &[("a", "bc".to_owned()), ("d", String::new())], &none);
        let two = digest('x', &[("a", "b".to_owned()), ("cd", String::new())], &none);
        assert_ne!(one, two);
    }
}
