//! What a binary cache says: what is read prints to something that says the same.
#![no_main]

use esker_nix::narinfo::NarInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(info) = text.parse::<NarInfo>() {
        assert_eq!(info.to_string().parse(), Ok(info));
    }
});
