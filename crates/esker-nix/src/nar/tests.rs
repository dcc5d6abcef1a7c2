//! Trees through archives and back, and archives that nobody should have written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tree {
    File { executable: bool, content: Vec<u8> },
    Symlink(Vec<u8>),
    Directory(Entries),
}

type Entries = BTreeMap<Vec<u8>, Tree>;

fn write(tree: &Tree) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    write_node(&mut writer, b"", tree);
    writer.finish().unwrap().0
}

fn write_node(writer: &mut Writer<Vec<u8>>, name: &[u8], tree: &Tree) {
    match tree {
        Tree::File { executable, content } => {
            writer.file(name, *executable, content.len() as u64, content.as_slice()).unwrap();
        }
        Tree::Symlink(target) => writer.symlink(name, target).unwrap(),
        Tree::Directory(entries) => {
            writer.directory(name).unwrap();
            entries.iter().for_each(|(name, entry)| write_node(writer, name, entry));
            writer.end_directory().unwrap();
        }
    }
}

fn read(bytes: &[u8]) -> Result<Tree, NarError> {
    let mut reader = Reader::new(bytes);
    let mut open: Vec<(Vec<u8>, Entries)> = vec![Default::default()];
    while let Some(event) = reader.next_event()? {
        let (name, tree) = match event {
            Event::Directory { name } => {
                open.push((name, BTreeMap::new()));
                continue;
            }
            Event::File { name, executable, .. } => {
                let mut content = Vec::new();
                reader.content().read_to_end(&mut content).map_err(super::read::content_error)?;
                (name, Tree::File { executable, content })
            }
            Event::Symlink { name, target } => (name, Tree::Symlink(target)),
            Event::EndDirectory => {
                let (name, entries) = open.pop().unwrap();
                (name, Tree::Directory(entries))
            }
        };
        open.last_mut().unwrap().1.insert(name, tree);
    }
    Ok(open.pop().unwrap().1.remove(&b""[..]).unwrap())
}

/// An archive of these tokens.
fn archive(tokens: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for token in tokens {
        bytes.extend((token.len() as u64).to_le_bytes());
        bytes.extend(token.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// An archive of a folder with two links of these names.
fn two_entries(first: &str, second: &str) -> Vec<u8> {
    let mut tokens = vec!["nix-archive-1", "(", "type", "directory"];
    for name in [first, second] {
        tokens.extend(["entry", "(", "name", name, "node", "(", "type", "symlink", "target", "/", ")", ")"]);
    }
    tokens.push(")");
    archive(&tokens)
}

fn check_refused(bytes: &[u8], message: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.ends_with(message), "{error}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(restore(bytes, &folder.path().join("out")).unwrap_err().to_string(), error);
}

#[test]
fn names_that_would_leave_their_folder_are_refused() {
    assert!(read(&two_entries("a", "b")).is_ok());
    for name in ["", ".", "..", "/", "a/b", "../x", "x\0"] {
        check_refused(&two_entries(name, "z"), "is not a name for a file");
    }
    check_refused(&two_entries(&"x".repeat(256), "z"), "a name or link target has 256 bytes");
}

#[test]
fn entries_that_are_not_in_order_are_refused() {
    check_refused(&two_entries("b", "a"), "`a` is not in order, or a second entry of that name");
    check_refused(&two_entries("a", "a"), "`a` is not in order, or a second entry of that name");
}

#[test]
fn a_link_is_never_followed_while_restoring() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("out");
    symlink(folder.path().join("elsewhere"), &destination).unwrap();
    let file = archive(&["nix-archive-1", "(", "type", "regular", "contents", "x", ")"]);
    assert!(restore(file.as_slice(), &destination).is_err());
    let directory = archive(&["nix-archive-1", "(", "type", "directory", ")"]);
    assert!(restore(directory.as_slice(), &destination).is_err());
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn malformed_archives_are_refused() {
    check_refused(b"", "at byte 0 of the archive: the archive is cut off");
    check_refused(&[0xff; 64], "at byte 0 of the archive: expected `nix-archive-1`");
    check_refused(
        &archive(&["nix-archive-1", "(", "type", "x"]),
        "expected `regular`, `symlink` or `directory`",
    );
    check_refused(
        &archive(&["nix-archive-1", "(", "type", "regular", ")"]),
        "expected `executable` or `contents`",
    );
    check_refused(&archive(&["nix-archive-1", "(", "type", "directory", "x"]), "expected `entry` or `)`");
    for target in ["", "a\0b"] {
        let link = archive(&["nix-archive-1", "(", "type", "symlink", "target", target, ")"]);
        check_refused(&link, "the target of the link is not a path");
    }
    let mut file = archive(&["nix-archive-1", "(", "type", "regular", "contents", "x", ")"]);
    assert!(read(&file).is_ok());
    file[97] = 1;
    check_refused(&file, "the padding is not zero");
}

#[test]
fn folders_nest_only_so_deep() {
    let mut tokens = vec!["nix-archive-1"];
    for _ in 0..=MAX_DEPTH {
        tokens.extend(["(", "type", "directory", "entry", "(", "name", "a", "node"]);
    }
    let error = read(&archive(&tokens)).unwrap_err().to_string();
    assert!(error.ends_with("more than 2048 folders inside each other"), "{error}");
}

#[test]
fn what_follows_an_archive_stays_in_the_stream() {
    let mut bytes = two_entries("a", "b");
    let length = bytes.len();
    bytes.extend(b"rest");
    let mut source = bytes.as_slice();
    let mut reader = Reader::new(&mut source);
    while reader.next_event().unwrap().is_some() {}
    assert_eq!(reader.offset(), length as u64);
    assert_eq!(source, b"rest");
}

#[test]
fn a_writer_refuses_what_a_reader_would() {
    let mut writer = Writer::new(Vec::new());
    writer.directory(b"").unwrap();
    writer.symlink(b"b", b"x").unwrap();
    assert!(writer.symlink(b"a", b"x").is_err());
    assert!(writer.symlink(b"..", b"x").is_err());
    assert!(writer.symlink(b"c", b"").is_err());
    assert!(writer.file(b"d", false, 2, &b"x"[..]).is_err());
    assert!(writer.finish().is_err());
    assert!(Writer::new(Vec::new()).finish().is_err());
    assert!(Writer::new(Vec::new()).end_directory().is_err());
}

#[test]
fn sockets_have_no_place_in_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
    assert!(matches!(hash(folder.path()), Err(NarError::UnsupportedFile(_))));
}

#[test]
fn the_hash_of_an_empty_file_is_nixs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (hash, size) = hash(&path).unwrap();
    assert_eq!(
        (hash.to_nix32().as_str(), size),
        ("0ip26j2h11n1kgkz36rl4akv694yz65hr72q4kv4b3lxcbi65b3p", 112)
    );
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(executable, content)| Tree::File { executable, content }),
        prop::collection::vec(1..=255_u8, 1..20).prop_map(Tree::Symlink),
    ];
    leaf.prop_recursive(4, 24, 5, |entry| {
        let name =
            prop::collection::vec(any::<u8>().prop_filter("separator", |b| !b"/\0.".contains(b)), 1..12);
        prop::collection::btree_map(name, entry, 0..5).prop_map(Tree::Directory)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_tree_survives_the_archive(tree in tree()) {
        prop_assert_eq!(read(&write(&tree)).unwrap(), tree);
    }

    #[test]
    fn a_tree_survives_the_file_system(tree in tree()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let bytes = write(&tree);
        restore(bytes.as_slice(), &path).unwrap();
        let mut dumped = Vec::new();
        prop_assert_eq!(dump(&path, &mut dumped).unwrap(), bytes.len() as u64);
        prop_assert_eq!(dumped, bytes);
    }

    #[test]
    fn what_is_read_has_one_spelling(tree in tree(), at: prop::sample::Index, byte: u8) {
        let mut bytes = write(&tree);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(changed) = read(&bytes) {
            prop_assert_eq!(write(&changed), bytes);
        }
    }
}
