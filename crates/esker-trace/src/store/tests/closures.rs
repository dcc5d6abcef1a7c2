//! Closures: what differs, and that a difference leads back to the whole.

use super::super::closure::{self, Closure};
use super::world::*;
use crate::inputs::{Input, Inputs};

fn inputs(slots: &[(&str, &str)]) -> Inputs {
    let input = |(key, label): &(&str, &str)| Input {
        key: (*key).into(),
        base_name: format!("{}-x", hash(label)),
        folder: "/nowhere".into(),
        references: Vec::new(),
    };
    Inputs::new(slots.iter().map(input).collect())
}

#[test]
fn slots_differ_by_hash_or_by_being_there() {
    let before = Closure::of(&inputs(&[("a", "1"), ("b", "1"), ("c", "1"), ("z", "1")]));
    let differing = |slots: &[(&str, &str)]| before.differing(&inputs(slots)).concat();
    assert_eq!(differing(&[("a", "1"), ("b", "1"), ("c", "1"), ("z", "1")]), "");
    assert_eq!(differing(&[("a", "1"), ("b", "2"), ("c", "1"), ("z", "1")]), "b");
    assert_eq!(differing(&[("b", "1"), ("bb", "1"), ("c", "1"), ("zz", "1")]), "abbzzz");
    assert_eq!(differing(&[]), "abcz");
}

#[test]
fn what_is_kept_as_a_difference_comes_back_whole() {
    let world = World::new();
    let store = world.store();
    let mut slots: Vec<(String, String)> = (0..60).map(|slot| (format!("k{slot}"), "1".to_owned())).collect();
    let mut near = None;
    for step in 0..50 {
        match step % 3 {
            0 => slots[step % 60].1 = format!("new {step}"),
            1 => drop(slots.remove(step % 50)),
            _ => slots.push((format!("added {step}"), "1".to_owned())),
        }
        let pairs: Vec<_> = slots.iter().map(|(key, label)| (key.as_str(), label.as_str())).collect();
        let closure = Closure::of(&inputs(&pairs));
        let id = store.write(|db| closure::store(db, &closure, near)).unwrap();
        assert_eq!(store.with(|db| closure::load(db, id)).unwrap(), Some(closure));
        near = Some(id);
    }
    let whole: i64 = store
        .with(|db| db.query_row("SELECT count(*) FROM closures WHERE base IS NULL", [], |row| row.get(0)))
        .unwrap();
    assert!(whole < 10, "{whole}");
}
