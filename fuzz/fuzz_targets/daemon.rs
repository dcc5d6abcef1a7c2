//! A whole conversation with a daemon that says these bytes, whatever it is asked: it ends, and
//! after an answer that was not understood nothing is asked any more.
#![no_main]

use std::collections::BTreeSet;
use std::io;

use esker_nix::StorePath;
use esker_nix::hash::Hash;
use esker_nix::protocol::{
    BuildMode, Client, DerivedPath, Options, OutputId, PathInfo, ProtocolError, SignatureCheck,
};
use libfuzzer_sys::fuzz_target;

const REQUESTS: usize = 14;

fuzz_target!(|bytes: &[u8]| {
    // Which request comes first.
    let Some((first, mut bytes)) = bytes.split_first() else { return };
    let Ok(mut client) = Client::connect(&mut bytes, io::sink()) else { return };
    assert!((34..=38).contains(&client.protocol_version().1));
    assert!(!client.daemon_version().chars().any(|c| c.is_control() && c != '\n' && c != '\t'));

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
    let mut broken = false;
    for request in 0..2 * REQUESTS {
        let outcome = match (usize::from(*first) + request) % REQUESTS {
            0 => client.set_options(&Options::default()),
            1 => client.query_valid_paths(std::slice::from_ref(&path)).map(drop),
            2 => client.query_path_info(&path).map(drop),
            3 => client.query_missing(&wanted).map(drop),
            4 => client.query_derivation_output_map(&path).map(drop),
            5 => client.add_temp_roots(&[path.clone(), path.clone()]),
            6 => client.add_indirect_root("/a".as_ref()),
            7 => client.ensure_path(&path, &mut drop),
            8 => client.build_paths_with_results(&wanted, BuildMode::Normal, &mut drop).map(drop),
            9 => client.nar_from_path(&path, &mut io::sink()),
            10 => client.add_build_log(&path, b"log"),
            11 => client.query_realisation(&output).map(drop),
            12 => client.register_realisation(&output, &path),
            _ => client.add_to_store_nar(&path, &info, SignatureCheck::Waived, &mut &b"nar"[..]),
        };
        match outcome {
            _ if broken => assert!(matches!(outcome, Err(ProtocolError::Unusable))),
            Err(ProtocolError::Unusable) => broken = true, // After a NAR that was refused.
            Ok(()) | Err(ProtocolError::Daemon { .. }) => {}
            Err(error) => {
                assert!(!error.to_string().is_empty());
                broken = true;
            }
        }
    }
});
