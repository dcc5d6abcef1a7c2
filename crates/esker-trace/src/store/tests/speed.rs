//! How fast decisions are with a million traces, how large a trace is, and how fast files are digested.
//!
//! Run with `cargo test --release -p esker-trace speed -- --ignored --nocapture --test-threads 1`.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::project::{self, MemoKey, load_memo};
use super::super::rows::{self, load_head};
use super::super::{Trace, TraceId, closure};
use super::world::*;
use crate::answer::Answers;
use crate::answer::raw::Slots;
use crate::decide::{Decision, Doubt, decide};
use crate::inputs::{Input, Inputs};
use crate::observation::{Digest, Kind, Question};
use crate::store::Store;

/// The closure of a C toolchain, of which a build observes a third of the paths.
const SLOTS: usize = 100;
const OBSERVED: usize = 35;
const SOURCES: usize = 40;

struct Bench {
    world: World,
    tools: Vec<Input>,
    sources: Vec<Input>,
}

impl Bench {
    fn new() -> Self {
        let world = World::new();
        let tool = |number: usize| {
            let files = (0..12).map(|file_number| (format!("file{file_number}"), file(format!("{number}"))));
            let node = Node::Folder([("lib".to_owned(), Node::Folder(files.collect()))].into());
            let next = format!("tool {}", (number + 1) % SLOTS);
            world.input(&format!("tool-{number}"), &format!("tool {number}"), &node, &[&next])
        };
        let tools = (0..SLOTS).map(tool).collect();
        // A source has thirty files, of which each version changes one that is read.
        let source = |version: usize| {
            let text = |number: usize| if number == version % 30 { version } else { 0 };
            let files = (0..30).map(|number| (format!("file{number}.c"), file(text(number).to_string())));
            let mut files: std::collections::BTreeMap<_, _> = files.collect();
            files.insert("README".into(), file("read me"));
            world.input("source", &format!("source {version}"), &Node::Folder(files), &[])
        };
        let sources = (0..SOURCES).map(source).collect();
        Self { world, tools, sources }
    }

    fn inputs(&self, source: &Input) -> Inputs {
        Inputs::new(self.tools.iter().chain([source]).cloned().collect())
    }

    /// About 500 questions; which tools are looked at depends on the flavour.
    fn questions(&self, inputs: &Inputs, flavour: usize) -> Vec<Question> {
        let mut questions = Vec::new();
        for number in 0..30 {
            questions.push(question(inputs, "source", &format!("file{number}.c"), Kind::Content));
        }
        for tool in (0..OBSERVED).map(|number| (number + flavour) % SLOTS) {
            let key = format!("tool-{tool}");
            for number in 0..12 {
                questions.push(question(inputs, &key, &format!("lib/file{number}"), Kind::Content));
            }
        }
        questions
    }
}

fn skeleton(number: usize) -> Digest {
    digest(&format!("skeleton {number}"))
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("median {:?}, p99 {:?}, most {:?}, n = {}", at(0.5), at(0.99), at(1.0), times.len())
}

fn traces() -> usize {
    std::env::var("ESKER_TRACE_BENCH").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

#[test]
#[ignore = "takes minutes"]
fn a_million_traces() {
    let bench = Bench::new();
    let store = bench.world.store();
    let wanted = traces();
    let begin = Instant::now();
    // Real records, each with a skeleton of its own or shared by forty.
    let real = wanted.min(4_000);
    for number in 0..real {
        let inputs = bench.inputs(&bench.sources[number % SOURCES]);
        let questions = bench.questions(&inputs, number / SOURCES % 20);
        let now = moment(number as u64);
        store
            .record(skeleton(number / SOURCES), &inputs, &questions, &bits("x", &number.to_string()), now)
            .unwrap();
    }
    let each = begin.elapsed() / u32::try_from(real).unwrap();
    let size = store.size().unwrap();
    eprintln!("{real} records: {each:?} and {} bytes each", size / real as u64);
    multiply(&store, real, wanted);
    let stats = store.stats().unwrap();
    eprintln!("{} traces of {} skeletons, {} MB", stats.traces, stats.skeletons, stats.bytes >> 20);

    let mut dice = 1_usize;
    let mut roll = |limit: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % limit
    };
    // A store that was just opened, but for the pages that the kernel holds.
    let store = bench.world.store();
    let many = digest("sixteen shapes");
    for flavour in 0..16 {
        let inputs = bench.inputs(&bench.sources[flavour]);
        let questions = bench.questions(&inputs, flavour);
        store.record(many, &inputs, &questions, &bits("x", "x"), moment(0)).unwrap();
    }
    let (mut hits, mut changed, mut misses, mut sixteen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..3_000 {
        let skeleton = skeleton(roll(wanted / SOURCES));
        let inputs = bench.inputs(&bench.sources[roll(SOURCES)]);
        let begin = Instant::now();
        let decision = decide(&store, &skeleton, &inputs, Doubt::NONE);
        hits.push(begin.elapsed());
        assert!(matches!(decision, Decision::Reuse { .. }), "{decision:?}");
        if number % 3 == 0 {
            // The one that holds is tried last.
            let inputs = bench.inputs(&bench.sources[0]);
            let begin = Instant::now();
            let decision = decide(&store, &many, &inputs, Doubt::NONE);
            sixteen.push(begin.elapsed());
            assert!(matches!(decision, Decision::Reuse { .. }), "{decision:?}");
            let old = &bench.sources[roll(SOURCES)];
            let base_name = format!("{}-source", hash(&format!("new {number}")));
            // The same tree under a new hash: what was never asked before.
            let inputs = bench.inputs(&Input { base_name, ..old.clone() });
            let begin = Instant::now();
            let decision = decide(&store, &skeleton, &inputs, Doubt::NONE);
            changed.push(begin.elapsed());
            assert!(matches!(decision, Decision::Prove { .. }), "{decision:?}");
            let node = folder([("file0.c", file(format!("new {number}")))]);
            let inputs = bench.inputs(&bench.world.input("source", &format!("other {number}"), &node, &[]));
            let begin = Instant::now();
            let decision = decide(&store, &skeleton, &inputs, Doubt::NONE);
            misses.push(begin.elapsed());
            assert!(matches!(decision, Decision::Build { .. }), "{decision:?}");
        }
    }
    eprintln!("nothing changed:          {}", percentiles(hits));
    eprintln!("the same, 16 shapes:      {}", percentiles(sixteen));
    eprintln!("source new, answers hold: {}", percentiles(changed));
    eprintln!("source new, differs:      {}", percentiles(misses));
}

/// Copies traces under new skeletons until there are as many as wanted; what is copied has right checks.
fn multiply(store: &Store, real: usize, wanted: usize) {
    let skeletons = real / SOURCES;
    for first in (skeletons..wanted / SOURCES).step_by(500) {
        let last = (first + 500).min(wanted / SOURCES);
        store
            .write(|db| {
                for number in first..last {
                    copy_skeleton(db, &skeleton(number % skeletons), &skeleton(number))?;
                }
                Ok(())
            })
            .unwrap();
    }
}

/// Nothing is shared but within one skeleton, and each version changes a file that is read.
#[test]
#[ignore = "measures"]
fn size_of_a_trace() {
    let bench = Bench::new();
    let store = bench.world.store();
    let mut before = 0;
    for version in 0..600 {
        let text = |number: usize| if number == version % 30 { version + 100 } else { 0 };
        let files = (0..30).map(|number| (format!("file{number}.c"), file(text(number).to_string())));
        let node = Node::Folder(files.collect());
        let inputs = bench.inputs(&bench.world.input("source", &format!("size {version}"), &node, &[]));
        let questions = bench.questions(&inputs, 0);
        let produced = bits(&version.to_string(), &version.to_string());
        store.record(digest("one"), &inputs, &questions, &produced, moment(version as u64)).unwrap();
        if version == 99 {
            before = store.size().unwrap();
            eprintln!("100 traces: {before} bytes");
        }
    }
    eprintln!("each of the next 500 traces: {} bytes", (store.size().unwrap() - before) / 500);
}

fn copy_skeleton(db: &Connection, from: &Digest, to: &Digest) -> Result<(), rusqlite::Error> {
    for mut trace in Trace::of_skeleton(db, from)? {
        let head = load_head(db, trace.shape)?.unwrap();
        let closure = closure::load(db, trace.closure)?.unwrap();
        let memo = |(slot, key): (usize, &String)| {
            let hash = closure.hash_of(key).unwrap().to_owned();
            Arc::new(load_memo(db, &MemoKey { shape: head.digest, slot, hash }, head.id).unwrap().unwrap())
        };
        let answers: Vec<_> = head.keys.iter().enumerate().map(memo).collect();
        let slots = Slots::of_pairs(closure.0.iter().map(|(key, hash)| (key.as_str(), hash.as_str())));
        let answers = project::digest(&head.keys, &answers, &slots);
        trace.id = TraceId::of(to, &head.digest, &answers);
        (trace.number, trace.skeleton) = (0, *to);
        trace.save(db)?;
    }
    rows::Node::load(db, from)?.unwrap().save(db, to)
}

#[test]
#[ignore = "measures"]
fn digesting_files() {
    let world = World::new();
    let hashes: Vec<String> = (0..20).map(|number| format!("dep {number}")).collect();
    let labels: Vec<&str> = hashes.iter().map(String::as_str).collect();
    let binary: Vec<u8> = fs::read("/proc/self/exe").unwrap().into_iter().cycle().take(256 << 20).collect();
    let mut text = String::new();
    while text.len() < 64 << 20 {
        text.push_str("#include <stdio.h>\nint main(void) { return printf(\"/nix/store/");
        text.push_str(&hash(&hashes[text.len() % 20]));
        text.push_str("-dep\\n\"); }\n");
    }
    for (name, bytes) in [("binary", binary), ("text with hashes", text.into_bytes())] {
        let megabytes = bytes.len() as f64 / 1e6;
        let input = world.input("source", name, &folder([("f", file(bytes))]), &labels);
        let inputs = Inputs::new(vec![input]);
        let question = question(&inputs, "source", "f", Kind::Content);
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let begin = Instant::now();
            Answers::new(&inputs, None).answer(&question).unwrap();
            best = best.min(begin.elapsed());
        }
        eprintln!("{name}: {:.0} MB/s", megabytes / best.as_secs_f64());
    }
}
