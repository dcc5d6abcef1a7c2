//! An archive: what is read can be written again, byte for byte, without surprise in a name.
#![no_main]

use std::io::{Cursor, Read};

use esker_nix::nar::{Event, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let mut writer = Writer::new(Vec::new());
    loop {
        match reader.next_event() {
            Ok(Some(Event::Directory { name })) => writer.directory(&name).unwrap(),
            Ok(Some(Event::EndDirectory)) => writer.end_directory().unwrap(),
            Ok(Some(Event::Symlink { name, target })) => writer.symlink(&name, &target).unwrap(),
            Ok(Some(Event::File { name, executable, size })) => {
                let mut content = Vec::new();
                if reader.content().read_to_end(&mut content).is_err() {
                    return;
                }
                writer.file(&name, executable, size, Cursor::new(content)).unwrap();
            }
            Ok(None) => break,
            Err(_) => return,
        }
    }
    let length = reader.offset();
    let (written, size) = writer.finish().unwrap();
    assert_eq!((written.as_slice(), size), (&bytes[..length as usize], length));
});
