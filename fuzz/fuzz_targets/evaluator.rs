//! The stderr of an evaluator, cut anywhere: what a flake prints changes no answer, and costs no
//! more than it is long.
#![no_main]

use esker_nix::evaluator::{Said, StreamReader};
use libfuzzer_sys::fuzz_target;

/// Short, so that it is found; a real one is 128 random bits.
const NONCE: &str = "n";
const PREFIX: &[u8] = b"trace: n ";

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let cut = usize::from(*cut) + 1;
    let lines = || stream.split(|byte| *byte == b'\n').flat_map(|line| line.chunks(cut));
    let ours = |line: &&[u8]| line.starts_with(PREFIX);

    let answered = read(lines());
    assert_eq!(answered, read(lines().filter(ours)));
    assert_eq!(read(lines().filter(|line| !ours(line))), (Vec::new(), None));
});

/// The answers, without what is only text, and the attribute that was never answered.
fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> (Vec<Said>, Option<String>) {
    let mut reader = StreamReader::new(NONCE);
    let (mut answers, mut given, mut texts) = (Vec::new(), 0, 0);
    for line in lines {
        given += line.len() + 1;
        for said in reader.line(line) {
            match said {
                // One of them only counts what was left out.
                Said::Warning { text, .. } => assert!(text.len() <= 3 * given + 50),
                Said::Failed { id, text } => {
                    texts += text.len();
                    answers.push(Said::Failed { id, text: String::new() });
                }
                other => answers.push(other),
            }
        }
    }
    let (current, text) = reader.finish();
    // A byte that is no text becomes a character of three.
    assert!(texts + text.len() <= 3 * given);
    (answers, current)
}
