//! Damaged databases: decisions are right or there is a build, and nothing panics.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::scene::{ask, inputs, is_right_reuse, record};
use super::world::*;
use crate::decide::{Decision, Why};
use crate::store::{Standing, Store, StoreError};

const SCENES: usize = 30;

/// The bytes of a database that knows all scenes, with revocations and a ledger.
fn sound(world: &World) -> Vec<u8> {
    {
        let store = world.store();
        (0..SCENES).for_each(|number| drop(record(&store, world, number)));
        let id = store.traces(1).unwrap()[0].trace;
        let path = ("out".to_owned(), format!("{}-reused", hash("reused")));
        assert!(store.note_reuse(&id, &[path], &[], moment(9)).unwrap());
        store.revoke(&digest("gone wrong"), &id, "a test", moment(9)).unwrap();
        store.prune(u64::MAX, moment(9)).unwrap();
    }
    let bytes = fs::read(database(world, 1)).unwrap();
    assert!(fs::metadata(database(world, 1).with_extension("db-wal")).is_err(), "all is in one file");
    bytes
}

fn database(world: &World, number: u32) -> std::path::PathBuf {
    world.store_dir().join(format!("traces-{number}.db"))
}

/// Opens a damaged copy, decides everything, records something; returns how many reuses there were.
fn survive(world: &World, bytes: &[u8], what: &str) -> usize {
    fs::remove_dir_all(world.store_dir()).unwrap();
    fs::create_dir(world.store_dir()).unwrap();
    fs::write(database(world, 1), bytes).unwrap();
    let store = match Store::open(&world.store_dir()) {
        Ok(store) => store,
        Err(StoreError::Newer { .. }) => return 0,
        Err(error) => panic!("{what}: {error}: {:?}", std::error::Error::source(&error)),
    };
    let mut reuses = 0;
    for number in 0..SCENES {
        let decision = ask(&store, world, number);
        if let Decision::Build { why: Why::NoStore(error) } = &decision {
            panic!("{what}: {error}: {:?}", std::error::Error::source(error));
        }
        reuses += usize::from(is_right_reuse(&decision, number));
    }
    for number in 0..SCENES {
        let inputs = inputs(world, number);
        let produced = super::scene::produced(number);
        let questions = super::scene::questions(&inputs);
        // Damage in an index may be found only now; the next attempt has a new database.
        let _ = store.record(super::scene::skeleton(number), &inputs, &questions, &produced, moment(0));
    }
    for number in 0..SCENES {
        is_right_reuse(&ask(&store, world, number), number);
    }
    let _ = (store.ledger(Standing::Stands), store.revocations(), store.stats(), store.traces(100));
    let _ = store.prune(1, moment(10));
    reuses
}

/// A repeatable sequence of numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn flipped_bits_never_lead_to_a_false_reuse() {
    let world = World::new();
    let sound = sound(&world);
    let untouched = survive(&world, &sound, "untouched");
    assert_eq!(untouched, SCENES);
    let mut dice = Dice(7);
    for round in 0..rounds(100) {
        let mut bytes = sound.clone();
        for _ in 0..=dice.below(40) {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        survive(&world, &bytes, &format!("flips, round {round}"));
    }
}

#[test]
fn a_truncated_or_overwritten_database_is_set_aside_or_survived() {
    let world = World::new();
    let sound = sound(&world);
    let mut dice = Dice(11);
    for round in 0..rounds(60) {
        let mut bytes = sound.clone();
        match round % 3 {
            0 => bytes.truncate(dice.below(sound.len())),
            1 => {
                let page = dice.below(bytes.len() / 4096) * 4096;
                bytes[page..page + 4096].fill(0);
            }
            _ => {
                let (from, to) =
                    (dice.below(bytes.len() / 4096) * 4096, dice.below(bytes.len() / 4096) * 4096);
                bytes.copy_within(from..from + 4096, to);
            }
        }
        survive(&world, &bytes, &format!("pages, round {round}"));
    }
}

#[test]
fn a_damaged_store_says_so_and_keeps_revocations_and_the_ledger() {
    let world = World::new();
    let mut bytes = sound(&world);
    // The traces' b-tree root: its type becomes nonsense.
    let root = root_of(&database(&world, 1), "traces");
    bytes[(root - 1) * 4096] = 0xee;
    fs::write(database(&world, 1), &bytes).unwrap();
    let store = world.store();
    assert!(!is_right_reuse(&ask(&store, &world, 0), 0));
    let notices = store.take_notices();
    assert!(notices.len() == 1 && notices[0].contains("traces-1.db"), "{notices:?}");
    assert!(database(&world, 2).exists());
    assert_eq!(store.revocations().unwrap().len(), 1);
    assert_eq!(store.ledger(Standing::Stands).unwrap().len(), 1);
    record(&store, &world, 0);
    assert!(is_right_reuse(&ask(&world.store(), &world, 0), 0));
    assert_eq!(store.prune(u64::MAX, moment(1)).unwrap().damaged, 1);
    assert!(!database(&world, 1).exists());
}

#[test]
fn a_process_follows_when_another_one_replaces_the_database() {
    let world = World::new();
    let store = world.store();
    record(&store, &world, 0);
    assert!(is_right_reuse(&ask(&store, &world, 0), 0));
    fs::write(database(&world, 2), b"").unwrap();
    let other = world.store();
    let id = store.traces(1).unwrap()[0].trace;
    other.revoke(&super::scene::skeleton(0), &id, "a test", moment(1)).unwrap();
    assert_eq!(short(&ask(&store, &world, 0)), "Revoked");
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Exposed { .. })));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Store::open(folder.path()).unwrap();
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let world = World::new();
    sound(&world);
    rusqlite::Connection::open(database(&world, 1)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Store::open(&world.store_dir()), Err(StoreError::Newer { .. })));
}

fn root_of(path: &Path, table: &str) -> usize {
    let db = rusqlite::Connection::open(path).unwrap();
    let root: i64 = db
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
        .unwrap();
    usize::try_from(root).unwrap()
}

#[test]
fn a_full_disk_loses_the_record_and_nothing_else() {
    let world = World::new();
    let store = world.store();
    (0..6).for_each(|number| drop(record(&store, &world, number)));
    let pages: i64 = store.with(|db| db.query_row("PRAGMA page_count", [], |row| row.get(0))).unwrap();
    store.with(|db| db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))).unwrap();
    let full = (6..60).find_map(|number| {
        let inputs = inputs(&world, number);
        let questions = super::scene::questions(&inputs);
        let produced = super::scene::produced(number);
        store.record(digest(&number.to_string()), &inputs, &questions, &produced, moment(0)).err()
    });
    assert_eq!(full.unwrap().hint(), "make room on the disk");
    assert!(store.take_notices().is_empty());
    assert!((0..6).all(|number| is_right_reuse(&ask(&store, &world, number), number)));
    assert!((0..6).all(|number| is_right_reuse(&ask(&world.store(), &world, number), number)));
}

#[test]
fn a_text_that_is_none_counts_as_damage() {
    let world = World::new();
    let store = world.store();
    record(&store, &world, 0);
    store.write(|db| db.execute("UPDATE nodes SET folded = CAST(x'ff' AS TEXT)", [])).unwrap();
    assert_eq!(short(&ask(&store, &world, 0)), "Never");
    assert_eq!(store.take_notices().len(), 1);
}
