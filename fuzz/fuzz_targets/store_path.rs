//! A store path: what is read prints as it was, and is one safe component below the store.
#![no_main]

use esker_nix::StorePath;
use esker_nix::store_path::STORE_DIR;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(path) = text.parse::<StorePath>() {
        assert_eq!(path.as_str(), text);
        assert_eq!(path.as_path().parent().and_then(|parent| parent.to_str()), Some(STORE_DIR));
        assert_eq!(path.base_name(), format!("{}-{}", path.hash_part(), path.name()));
        assert_eq!(StorePath::from_base_name(path.base_name()), Ok(path));
    }
    if let Ok(path) = StorePath::from_base_name(text) {
        assert_eq!(path.as_str().parse(), Ok(path));
    }
});
