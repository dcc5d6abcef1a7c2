//! Digests modulo hashes, and looking into inputs.

use std::io::Read;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::modulo::{HashPart, of_bytes, of_reader};
use super::*;
use crate::observation::Digest;
use crate::store::tests::world::{Node, World, file, folder, hash, question, rounds};

fn part(label: &str) -> HashPart {
    HashPart::parse(&hash(label)).unwrap()
}

/// Pieces of a text; a number stands for the hash of one of three store paths.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Hash(usize),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let text = select(vec!["e", "/nix/store/", "\0", "-name", "0123456789abcdfghijk", " "]);
    let piece =
        prop_oneof![text.prop_map(|text| Piece::Text(text.into())), (0..3_usize).prop_map(Piece::Hash)];
    vec(piece, 0..12)
}

fn write(pieces: &[Piece], hashes: &[HashPart; 3]) -> Vec<u8> {
    let write = |piece: &Piece| match piece {
        // What follows a hash does not continue it.
        Piece::Text(text) => text.clone().into_bytes(),
        Piece::Hash(which) => [b"/", hashes[*which].as_str().as_bytes(), b"-"].concat(),
    };
    pieces.iter().flat_map(write).collect()
}

/// Yields its bytes in small pieces.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(self.1).min(buffer.len());
        let (now, later) = self.0.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rounds(2000)) })]

    #[test]
    fn renaming_hashes_changes_no_digest_and_the_hashes_come_in_order(pieces in pieces()) {
        let (old, new) = ([part("a"), part("b"), part("c")], [part("x"), part("y"), part("z")]);
        let (before, found_before) = of_bytes(write(&pieces, &old), &old);
        let (after, found_after) = of_bytes(write(&pieces, &new), &new);
        prop_assert_eq!(before, after);
        let which = |found: &[HashPart], all: &[HashPart; 3]| -> Vec<usize> {
            found.iter().map(|hash| all.iter().position(|known| known == hash).unwrap()).collect()
        };
        prop_assert_eq!(which(&found_before, &old), which(&found_after, &new));
    }

    #[test]
    fn other_pieces_have_another_digest_or_other_hashes(one in pieces(), two in pieces()) {
        let old = [part("a"), part("b"), part("c")];
        let is_equal = write(&one, &old) == write(&two, &old);
        prop_assert_eq!(of_bytes(write(&one, &old), &old) == of_bytes(write(&two, &old), &old), is_equal);
    }

    #[test]
    fn reading_in_pieces_makes_no_difference(pieces in pieces(), step in 1..80_usize) {
        let hashes = [part("a"), part("b"), part("c")];
        let bytes = write(&pieces, &hashes);
        prop_assert_eq!(of_reader(Slow(&bytes, step), (step % 40) as u64, &hashes).unwrap(), of_bytes(bytes.clone(), &hashes));
    }
}

#[test]
fn a_hash_across_the_end_of_a_buffer_is_found() {
    for start in (256 * 1024 - 40)..(256 * 1024 + 40) {
        let mut bytes = vec![b'e'; start];
        bytes.extend_from_slice(&part("a").0);
        bytes.extend_from_slice(b"eee");
        let (_, found) = of_reader(&bytes[..], 1 << 30, &[part("a")]).unwrap();
        assert_eq!(found, [part("a")]);
    }
}

#[test]
fn two_hashes_that_become_one_change_the_digest() {
    let text = |one: &str, two: &str| [part(one).0, part(two).0].concat();
    let hashes = [part("a"), part("b")];
    assert_ne!(of_bytes(text("a", "b"), &hashes).0, of_bytes(text("a", "a"), &hashes).0);
    assert_ne!(of_bytes(vec![0; 32], &hashes), of_bytes(part("a").0.to_vec(), &hashes));
}

#[test]
fn a_hash_that_is_not_asked_for_is_found_where_it_stands_alone() {
    let found = |before: &str, after: &str| {
        let text = [before.as_bytes(), &part("a").0, after.as_bytes()].concat();
        of_bytes(text, &[]).1 == [part("a")]
    };
    assert!(found("", "") && found("/nix/store/", "-name") && found("E", "\0"));
    assert!(!found("a", "") && !found("", "z"), "it is part of something longer");
    assert_ne!(of_bytes(part("a").0.to_vec(), &[]), of_bytes(part("b").0.to_vec(), &[]));
}

/// A name that a builder reads may be that of a path which is no input, and so is not there for it.
#[test]
fn that_a_path_is_now_an_input_changes_what_names_it() {
    let world = World::new();
    let path = format!("/nix/store/{}-dep", hash("d1"));
    let tree = folder([
        ("file", file(&path)),
        ("link", Node::Link(path.clone())),
        ("names", folder([(path.trim_start_matches("/nix/store/"), file(""))])),
    ]);
    let answers = |dep: &str| {
        let inputs = Inputs::new(vec![
            world.input("source", "s", &tree, &[]),
            world.input("dep", dep, &folder([]), &[]),
        ]);
        [("file", Kind::Content), ("link", Kind::Target), ("names", Kind::Names)]
            .map(|(path, kind)| answer(&inputs, path, kind).unwrap())
    };
    let [is_input, is_none, other] = [answers("d1"), answers("d2"), answers("d3")];
    assert_eq!(is_none, other);
    for (one, two) in is_input.iter().zip(&is_none) {
        assert_ne!(one, two);
    }
}

fn answer(inputs: &Inputs, path: &str, kind: Kind) -> Result<Answer, AnswerError> {
    Answers::new(inputs, None).answer(&question(inputs, "source", path, kind))
}

#[test]
fn an_answer_is_the_same_under_other_hashes_but_not_under_other_slots() {
    let world = World::new();
    let build = |label: &str, dep: &str, key: &str| {
        let text = file(format!("see /nix/store/{}-dep", hash(dep)));
        let source = world.input("source", label, &folder([("f", text)]), &[dep]);
        let inputs = Inputs::new(vec![source, world.input(key, dep, &folder([]), &[])]);
        answer(&inputs, "f", Kind::Content).unwrap()
    };
    let first = build("s1", "d1", "dep");
    assert_eq!(first, build("s2", "d2", "dep"));
    assert_ne!(first, build("s3", "d3", "other"));
}

#[test]
fn nothing_is_looked_up_through_a_link_or_a_file() {
    let world = World::new();
    let node = folder([
        ("folder", folder([("file", file("text"))])),
        ("link", Node::Link("folder".into())),
        ("up", Node::Link("..".into())),
        ("file", file("text")),
    ]);
    let inputs = Inputs::new(vec![world.input("source", "s", &node, &[])]);
    let stat = |path| answer(&inputs, path, Kind::Stat).unwrap();
    assert_eq!(stat("folder/file"), Answer::Regular { executable: false, size: 4 });
    assert_eq!(stat("link"), Answer::Symlink);
    for absent in ["link/file", "up/anything", "file/file", "no/file", "no"] {
        assert_eq!(stat(absent), Answer::Absent, "{absent}");
    }
    assert_eq!(answer(&inputs, "link", Kind::Content).unwrap(), Answer::Symlink);
    for malformed in ["..", "folder/../file", "folder//file", "/file", "folder/"] {
        assert!(matches!(answer(&inputs, malformed, Kind::Stat), Err(AnswerError::Malformed { .. })));
    }
    assert_eq!(stat(&"n".repeat(300)), Answer::Absent);
}

#[test]
fn an_input_may_be_a_file_or_a_link() {
    let world = World::new();
    let of = |label: &str, node: &Node, kind| {
        answer(&Inputs::new(vec![world.input("source", label, node, &[])]), "", kind).unwrap()
    };
    assert_eq!(of("f", &file("text"), Kind::Stat), Answer::Regular { executable: false, size: 4 });
    assert!(matches!(of("f", &file("text"), Kind::Content), Answer::Content(_)));
    assert_eq!(of("l", &Node::Link("/to".into()), Kind::Stat), Answer::Symlink);
    assert!(matches!(of("l", &Node::Link("/to".into()), Kind::Target), Answer::Target(_)));
}

#[test]
fn names_are_digested_with_their_types() {
    let world = World::new();
    let of = |label: &str, node: Node| -> Digest {
        let inputs = Inputs::new(vec![world.input("source", label, &node, &[])]);
        let Answer::Names(digest) = answer(&inputs, "", Kind::Names).unwrap() else { panic!() };
        digest
    };
    let plain = of("1", folder([("a", file("x")), ("b", file("y"))]));
    assert_eq!(plain, of("2", folder([("b", file("other")), ("a", file(""))])));
    assert_ne!(plain, of("3", folder([("a", file("x"))])));
    assert_ne!(plain, of("4", folder([("a", file("x")), ("b", folder([]))])));
}

#[test]
fn a_device_or_an_unreadable_input_has_no_answer() {
    let gone =
        Input { key: "source".into(), base_name: hash("s"), folder: "/nowhere".into(), references: vec![] };
    assert!(matches!(
        answer(&Inputs::new(vec![gone.clone()]), "f", Kind::Stat),
        Err(AnswerError::Gone { .. })
    ));
    let device = Input { folder: "/dev".into(), ..gone };
    assert!(matches!(
        answer(&Inputs::new(vec![device]), "null", Kind::Stat),
        Err(AnswerError::OddFile { .. })
    ));
}
