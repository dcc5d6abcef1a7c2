//! A hash in any spelling, and nix32, which has only one.
#![no_main]

use esker_nix::base32;
use esker_nix::hash::{Algorithm, Hash};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(hash) = text.parse::<Hash>() {
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_sri().parse(), Ok(hash));
        assert_eq!(Hash::parse(&hash.to_base16(), hash.algorithm()), Ok(hash));
    }
    for algorithm in [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        if let Ok(hash) = Hash::parse(text, algorithm) {
            assert_eq!(hash.algorithm(), algorithm);
        }
    }
    if let Ok(bytes) = base32::decode(text) {
        assert_eq!(base32::encode(&bytes), text);
    }
});
