//! What Nix prints for people: any text has a reading, no longer than itself. Before the text come
//! the two names of the flake's source, each a line.
#![no_main]

use esker_nix::evaluator::{OwnSource, has_error, read_error};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let source = OwnSource { store_path: next().to_owned(), url: next().to_owned() };
    let text = next();
    for source in [None, Some(&source)] {
        let error = read_error(text, source);
        assert!(!error.message.is_empty());
        assert!(error.message.len() <= 2 * text.len() + 50);
        assert!(error.trace.len() <= text.len());
        assert!(error.position.is_none_or(|(path, ..)| !path.is_empty()));
        assert!(error.wanted_derivation.is_none_or(|path| path.ends_with(".drv")));
    }
    let _ = has_error(text);
});
