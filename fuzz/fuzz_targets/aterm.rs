//! A `.drv` file: what is read prints as it was, and its attributes never panic.
#![no_main]

use esker_nix::derivation::Derivation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Derivation::from_aterm(bytes) {
        Ok(derivation) => {
            assert_eq!(derivation.to_aterm(), bytes);
            let _ = derivation.options();
            let _ = derivation.store_path("name");
            let _ = derivation.compute_output_paths("name", |_| None);
        }
        Err(error) => assert!(error.offset <= bytes.len()),
    }
});
