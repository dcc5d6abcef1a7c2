//! What the writing side writes, the reading side reads; and nothing a daemon sends breaks us.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::client::{STDERR_ERROR, STDERR_LAST, WORKER_MAGIC_2, read_report};
use super::nar_copy::copy_nar;
use super::wire::{Reader, Writer};
use super::*;
use crate::StorePath;
use crate::hash::Hash;

fn written(write: impl FnOnce(&mut Writer<Vec<u8>>) -> Result<(), ProtocolError>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    write(&mut writer).unwrap();
    writer.into_inner().unwrap()
}

fn store_path() -> impl Strategy<Value = StorePath> {
    ("[0-9a-df-np-sv-z]{32}", "[a-z][a-z0-9.+_-]{0,20}")
        .prop_map(|(hash, name)| StorePath::from_base_name(&format!("{hash}-{name}")).unwrap())
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![any::<u64>().prop_map(Field::Number), vec(any::<u8>(), 0..50).prop_map(Field::Text)]
}

fn build_log() -> impl Strategy<Value = BuildLog> {
    let fields = || vec(field(), 0..5);
    let text = || vec(any::<u8>(), 0..50);
    prop_oneof![
        text().prop_map(|text| BuildLog::Message { text }),
        (any::<u64>(), any::<u64>(), 95..115u64, 0..9u64, text(), fields()).prop_map(
            |(id, parent, kind, level, text, fields)| BuildLog::Start {
                id,
                parent,
                kind: ActivityKind::from_code(kind),
                level: Level::from_code(level),
                text,
                fields,
            }
        ),
        any::<u64>().prop_map(|id| BuildLog::Stop { id }),
        (any::<u64>(), 95..115u64, fields()).prop_map(|(id, kind, fields)| BuildLog::Result {
            id,
            kind: ResultKind::from_code(kind),
            fields
        }),
    ]
}

fn build_result() -> impl Strategy<Value = BuildResult> {
    let time = || option::of((0..i64::MAX as u64).prop_map(Duration::from_micros));
    (
        (0..20u64, "[ -~]{0,40}[!-~]", any::<u64>(), any::<bool>(), any::<u64>(), any::<u64>()),
        (time(), time(), btree_map("[a-z]{1,6}", store_path(), 0..4)),
    )
        .prop_map(|((status, message, times_built, non_deterministic, start, stop), rest)| {
            let (cpu_user, cpu_system, built_outputs) = rest;
            BuildResult {
                status: BuildStatus::from_code(status),
                message,
                times_built,
                non_deterministic,
                start,
                stop,
                cpu_user,
                cpu_system,
                built_outputs,
            }
        })
}

fn path_info() -> impl Strategy<Value = PathInfo> {
    (
        option::of(store_path()),
        any::<[u8; 32]>(),
        btree_set(store_path(), 0..4),
        (any::<u64>(), any::<u64>(), any::<bool>()),
        vec("[a-z.-]{1,9}:[A-Za-z0-9+/]{20}", 0..3),
        option::of("fixed:r:sha256:[a-z0-9]{52}"),
    )
        .prop_map(|(deriver, nar_hash, references, numbers, signatures, content_address)| PathInfo {
            deriver,
            nar_hash,
            references,
            registration_time: numbers.0,
            nar_size: numbers.1,
            ultimate: numbers.2,
            signatures,
            content_address,
        })
}

proptest! {
    #[test]
    fn strings_and_lists_survive(strings in vec(vec(any::<u8>(), 0..40), 0..6), number: u64) {
        let bytes = written(|writer| {
            writer.list(&strings, Writer::bytes)?;
            writer.u64(number)
        });
        prop_assert_eq!(bytes.len() % 8, 0);
        let mut reader = Reader::new(&bytes[..]);
        prop_assert_eq!(reader.list::<_, Vec<_>>(Reader::bytes).unwrap(), strings);
        prop_assert_eq!(reader.u64().unwrap(), number);
        prop_assert!(matches!(reader.u64(), Err(ProtocolError::Closed)));
    }

    #[test]
    fn frames_survive(frames in vec(vec(any::<u8>(), 0..40), 0..6)) {
        let bytes = written(|writer| {
            frames.iter().try_for_each(|frame| writer.frame(frame))?;
            writer.end_of_frames()
        });
        let mut data = Vec::new();
        Reader::new(&bytes[..]).framed(&mut data).unwrap();
        prop_assert_eq!(data, frames.concat());
    }

    #[test]
    fn build_results_survive_in_every_version(result in build_result(), minor in 34..39u64) {
        let bytes = written(|writer| result.write_to(writer, minor));
        let read = BuildResult::read_from(&mut Reader::new(&bytes[..]), minor).unwrap();
        let expected = match minor {
            37.. => result,
            _ => BuildResult { cpu_user: None, cpu_system: None, ..result },
        };
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn path_infos_survive(info in path_info()) {
        let bytes = written(|writer| info.write_to(writer));
        prop_assert_eq!(PathInfo::read_from(&mut Reader::new(&bytes[..])).unwrap(), info);
    }

    #[test]
    fn reports_survive(messages in vec(build_log(), 0..8)) {
        let bytes = written(|writer| {
            messages.iter().try_for_each(|message| message.write_to(writer))?;
            writer.u64(STDERR_LAST)
        });
        let mut read = Vec::new();
        read_report(&mut Reader::new(&bytes[..]), &mut |message| read.push(message)).unwrap();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn a_daemon_that_talks_nonsense_gets_an_error(
        nonsense in vec(prop_oneof![
            vec(any::<u8>(), 0..40),
            (0..50u64).prop_map(|number| number.to_le_bytes().to_vec()),
            any::<u64>().prop_map(|number| number.to_le_bytes().to_vec()),
            build_log().prop_map(|message| written(|writer| message.write_to(writer))),
            Just(STDERR_LAST.to_le_bytes().to_vec()),
            Just(STDERR_ERROR.to_le_bytes().to_vec()),
            path_info().prop_map(|info| written(|writer| info.write_to(writer))),
            build_result().prop_map(|result| written(|writer| result.write_to(writer, 38))),
        ], 0..30),
        minor in 30..40u64,
    ) {
        let bytes = [greeting(minor), nonsense.concat()].concat();
        converse(&bytes);
    }

    #[test]
    fn a_daemon_that_errs_somewhere_gets_an_error(
        (path, info, result) in (store_path(), path_info(), build_result()),
        log in vec(build_log(), 0..3),
        minor in 34..39u64,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end: prop::sample::Index,
    ) {
        let answers = written(|writer| {
            writer.u64(STDERR_LAST)?;
            writer.u64(STDERR_LAST)?;
            writer.list([&path], Writer::store_path)?;
            writer.u64(STDERR_LAST)?;
            writer.bool(true)?;
            info.write_to(writer)?;
            writer.u64(STDERR_LAST)?;
            (0..3).try_for_each(|_| writer.list([&path], Writer::store_path))?;
            writer.u64(1)?;
            writer.u64(2)?;
            writer.u64(STDERR_LAST)?;
            writer.list(["out"], |writer, name| writer.bytes(name).and_then(|()| writer.store_path(&path)))?;
            (0..4).try_for_each(|word| writer.u64(if word % 2 == 0 { STDERR_LAST } else { 1 }))?;
            log.iter().try_for_each(|message| message.write_to(writer))?;
            writer.u64(STDERR_LAST)?;
            writer.u64(1)?;
            log.iter().try_for_each(|message| message.write_to(writer))?;
            writer.u64(STDERR_LAST)?;
            writer.list([&path], |writer, path| {
                writer.bytes(format!("{path}!*"))?;
                result.write_to(writer, minor)
            })?;
            writer.u64(STDERR_LAST)?;
            "nix-archive-1 ( type regular contents x )".split(' ').try_for_each(|word| writer.bytes(word))?;
            writer.u64(STDERR_LAST)
        });
        let mut bytes = [greeting(minor), answers].concat();
        converse(&bytes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        converse(&bytes);
        converse(&bytes[..end.index(bytes.len())]);
    }
}

/// A daemon's side of the handshake.
fn greeting(minor: u64) -> Vec<u8> {
    written(|writer| {
        writer.u64(WORKER_MAGIC_2)?;
        writer.u64(0x100 | minor)?;
        if minor >= 38 {
            writer.list(["some-feature"], Writer::bytes)?;
        }
        writer.bytes("2.99.9")?;
        if minor >= 35 {
            writer.u64(1)?;
        }
        writer.u64(STDERR_LAST)
    })
}

/// Every request to a daemon that says `bytes` whatever it is asked.
fn converse(bytes: &[u8]) {
    let path: StorePath = "/nix/store/00000000000000000000000000000000-a.drv".parse().unwrap();
    let wanted = [DerivedPath::all_outputs(path.clone())];
    let info = PathInfo {
        deriver: None,
        nar_hash: [0; 32],
        references: BTreeSet::new(),
        registration_time: 0,
        nar_size: 0,
        ultimate: false,
        signatures: Vec::new(),
        content_address: None,
    };
    let output = OutputId { derivation: Hash::sha256(""), output: "out".to_owned() };
    let large = vec![0; 40 << 10];
    for first in 0..14 {
        let Ok(mut client) = Client::connect(bytes, io::sink()) else { return };
        for op in (0..14).map(|op| (op + first) % 14) {
            let _ = match op {
                0 => client.set_options(&Options::default()),
                1 => client.query_valid_paths(std::slice::from_ref(&path)).map(drop),
                2 => client.query_path_info(&path).map(drop),
                3 => client.query_missing(&wanted).map(drop),
                4 => client.query_derivation_output_map(&path).map(drop),
                5 => client.add_temp_roots(&[path.clone(), path.clone()]),
                6 => client.ensure_path(&path, &mut drop),
                7 => client.build_paths_with_results(&wanted, BuildMode::Normal, &mut drop).map(drop),
                8 => client.nar_from_path(&path, &mut io::sink()),
                9 => client.add_build_log(&path, b"log"),
                10 => client.query_realisation(&output).map(drop),
                11 => client.register_realisation(&output, &path),
                12 => client.add_to_store_nar(&path, &info, SignatureCheck::Waived, &mut &b"nar"[..]),
                _ => client.add_to_store_nar(&path, &info, SignatureCheck::Waived, &mut &large[..]),
            };
        }
    }
}

#[test]
fn the_handshake_tells_version_and_trust() {
    let client = Client::connect(io::Cursor::new(greeting(38)), io::sink()).unwrap();
    assert_eq!(client.daemon_version(), "2.99.9");
    assert_eq!((client.protocol_version(), client.trusted()), ((1, 38), Some(true)));
    let client = Client::connect(io::Cursor::new(greeting(34)), io::sink()).unwrap();
    assert_eq!((client.protocol_version(), client.trusted()), ((1, 34), None));
}

#[test]
fn too_old_and_foreign_daemons_are_named() {
    let too_old = Client::connect(&greeting(33)[..], io::sink()).unwrap_err();
    assert!(matches!(too_old, ProtocolError::UnsupportedVersion { major: 1, minor: 33 }), "{too_old}");
    let foreign = Client::connect(&b"HTTP/1.1 400 Bad Request"[..], io::sink()).unwrap_err();
    assert!(matches!(foreign, ProtocolError::BadMagic { .. }), "{foreign}");
    let nobody = Client::connect(io::empty(), io::sink()).unwrap_err();
    assert!(matches!(nobody, ProtocolError::Closed), "{nobody}");
}

#[test]
fn an_error_of_the_daemon_ends_one_request_and_not_the_connection() {
    let path: StorePath = "/nix/store/00000000000000000000000000000000-a".parse().unwrap();
    let answers = written(|writer| {
        writer.u64(STDERR_ERROR)?;
        writer.bytes("Error")?;
        writer.u64(0)?;
        writer.bytes("Error")?;
        writer.bytes("\x1b[31;1merror:\x1b[0m no \x1b[35;1mspace\x1b[0m")?;
        writer.u64(0)?;
        writer.list(["while writing"], |writer, trace| {
            writer.u64(0)?;
            writer.bytes(trace)
        })?;
        writer.u64(STDERR_LAST)?;
        writer.bool(false)
    });
    let bytes = [greeting(38), answers].concat();
    let mut client = Client::connect(&bytes[..], io::sink()).unwrap();
    match client.query_path_info(&path) {
        Err(ProtocolError::Daemon { message, traces }) => {
            assert_eq!(
                (message.as_str(), traces.as_slice()),
                ("no space", &["while writing".to_owned()][..])
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.query_path_info(&path).unwrap(), None);
    assert!(matches!(client.query_path_info(&path), Err(ProtocolError::Closed)));
    assert!(matches!(client.query_path_info(&path), Err(ProtocolError::Unusable)));
}

#[test]
fn a_path_is_protected_once() {
    let path: StorePath = "/nix/store/00000000000000000000000000000000-a".parse().unwrap();
    let answer = written(|writer| {
        writer.u64(STDERR_LAST)?;
        writer.u64(1)
    });
    let bytes = [greeting(38), answer].concat();
    let mut client = Client::connect(&bytes[..], io::sink()).unwrap();
    client.add_temp_roots(std::slice::from_ref(&path)).unwrap();
    // The daemon has nothing to say to that.
    client.add_temp_roots(std::slice::from_ref(&path)).unwrap();
    let other: StorePath = "/nix/store/00000000000000000000000000000000-b".parse().unwrap();
    assert!(matches!(client.add_temp_roots(&[path, other]), Err(ProtocolError::Closed)));
}

#[test]
fn an_announced_length_allocates_nothing() {
    let huge = [u64::MAX.to_le_bytes(), [0; 8]].concat();
    assert!(matches!(Reader::new(&huge[..]).bytes(), Err(ProtocolError::Malformed(_))));
    let large = [(wire::MAX_STRING).to_le_bytes(), [0; 8]].concat();
    assert!(matches!(Reader::new(&large[..]).bytes(), Err(ProtocolError::Closed)));
    assert!(matches!(Reader::new(&huge[..]).list::<_, Vec<_>>(Reader::u64), Err(ProtocolError::Closed)));
}

#[test]
fn padding_must_be_zero() {
    let bytes = [&1u64.to_le_bytes()[..], b"a\0\0\0\0\0\0x"].concat();
    assert!(matches!(Reader::new(&bytes[..]).bytes(), Err(ProtocolError::Malformed(_))));
}

#[test]
fn the_end_of_a_nar_is_found_from_its_structure() {
    let words = [
        "nix-archive-1 ( type directory",
        "entry ( name a node ( type directory ) )",
        "entry ( name b node ( type directory",
        "entry ( name c node ( type regular executable  contents text ) ) ) )",
        "entry ( name d node ( type symlink target c ) )",
        "entry ( name e node ( type regular contents longer-than-8 ) ) )",
    ];
    let nar = written(|writer| {
        let words = words.join(" ");
        // Two spaces make the empty word after `executable`.
        words.split(' ').try_for_each(|word| writer.bytes(word))
    });
    let bytes = [nar.clone(), b"the next".to_vec()].concat();
    let mut copy = Vec::new();
    let mut reader = Reader::new(&bytes[..]);
    copy_nar(&mut reader, &mut copy).unwrap();
    assert_eq!(copy, nar);
    assert_eq!(reader.u64().unwrap().to_le_bytes(), *b"the next");
    for end in 0..nar.len() {
        assert!(matches!(
            copy_nar(&mut Reader::new(&nar[..end]), &mut io::sink()),
            Err(ProtocolError::Closed)
        ));
    }
}
