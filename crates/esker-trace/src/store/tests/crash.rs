//! Processes that are killed while they record, and processes that record at the same time.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::scene::{ask, inputs, is_right_reuse, record};
use super::world::*;

const VARIABLE: &str = "ESKER_TRACE_TEST_CHILD";
const SCENES: usize = 60;

/// Not a test: what the children run. They record until they are killed, or once round.
#[test]
fn child() {
    let Some(text) = std::env::var_os(VARIABLE) else { return };
    let text = text.into_string().unwrap();
    let (mode, dir) = text.split_once(':').unwrap();
    let world = World::at(Path::new(dir));
    let store = world.store();
    match mode {
        "forever" => loop {
            (0..SCENES).for_each(|number| drop(record(&store, &world, number)));
        },
        from => {
            let from: usize = from.parse().unwrap();
            for number in (0..SCENES).map(|number| (from + number) % SCENES) {
                record(&store, &world, number);
                is_right_reuse(&ask(&store, &world, number), number);
            }
            assert!(store.take_notices().is_empty());
        }
    }
}

fn spawn(mode: &str, world: &World) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child", "--nocapture"])
        .env(VARIABLE, format!("{mode}:{}", world.dir.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// All inputs are there beforehand: a killed child must not leave half of one.
fn world() -> World {
    let world = World::new();
    (0..SCENES).for_each(|number| drop(inputs(&world, number)));
    world
}

#[test]
fn a_kill_at_any_moment_leaves_a_sound_store() {
    let world = world();
    let mut reuses = 0;
    for round in 0..u64::from(rounds(20)) {
        let mut child = spawn("forever", &world);
        // Until it records, and then a little longer each time.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !world.store_dir().join("traces-1.db").exists() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(round % 40 * 4_300));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = world.store();
        assert!(store.take_notices().is_empty(), "it was set aside as damaged");
        for trace in store.traces(usize::MAX).unwrap() {
            assert!(store.observations(&trace.trace).unwrap().unwrap().iter().all(|it| it.answer.is_some()));
            assert_eq!(trace.inputs.len(), 2);
        }
        reuses += (0..SCENES).filter(|number| is_right_reuse(&ask(&store, &world, *number), *number)).count();
    }
    assert!(reuses > 0, "no child ever came to recording");
}

#[test]
fn several_processes_record_and_decide_at_once() {
    let world = world();
    let children: Vec<Child> = ["0", "20", "40"].iter().map(|from| spawn(from, &world)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = world.store();
    for number in 0..SCENES {
        assert!(is_right_reuse(&ask(&store, &world, number), number), "{number}");
    }
    assert_eq!(store.stats().unwrap().traces, 15);
    assert_eq!(store.counters().unwrap()["recorded"], 3 * SCENES as u64);
}

#[test]
fn threads_share_a_store() {
    let world = world();
    let store = world.store();
    thread::scope(|scope| {
        for from in 0..4 {
            let (store, world) = (&store, &world);
            scope.spawn(move || {
                for number in (0..SCENES).map(|number| (from * 15 + number) % SCENES) {
                    record(store, world, number);
                    is_right_reuse(&ask(store, world, number), number);
                }
            });
        }
    });
    assert!((0..SCENES).all(|number| is_right_reuse(&ask(&store, &world, number), number)));
}
