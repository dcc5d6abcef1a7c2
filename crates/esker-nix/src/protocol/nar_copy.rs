//! Finds the end of a NAR that travels without a length.
//!
//! Source: `libutil/archive.cc`. A NAR is made of the protocol's own strings, and only reading its
//! structure tells where it stops. This checks no more than it needs for that, and copies every
//! byte unchanged; whoever unpacks the NAR must check names and order.

use std::io::{Read, Write};

use super::ProtocolError;
use super::client::{STDERR_ERROR, read_error};
use super::wire::Reader;

/// No word, file name or link target is longer on any system Nix knows.
const MAX_WORD: u64 = 64 << 10;

/// Deeper than any path can be.
const MAX_DEPTH: usize = 4096;

/// Copies exactly one NAR from `reader` to `output`.
///
/// A daemon says that the answer follows before it looks at the path. What it then cannot read it
/// reports where the next word should be, and hangs up: [`ProtocolError::Daemon`].
pub(super) fn copy_nar<R: Read>(reader: &mut Reader<R>, output: &mut dyn Write) -> Result<(), ProtocolError> {
    let mut nar = NarCopy { reader, output };
    nar.expect(b"nix-archive-1")?;
    // How many folders are open. Each round reads one node's head, and then closes what it can.
    let mut depth = 0;
    loop {
        nar.expect(b"(")?;
        nar.expect(b"type")?;
        match nar.word()?.as_slice() {
            b"regular" => nar.file()?,
            b"symlink" => {
                nar.expect(b"target")?;
                nar.word()?;
                nar.expect(b")")?;
            }
            b"directory" if depth < MAX_DEPTH => {
                depth += 1;
                if nar.next_entry()? {
                    continue;
                }
                depth -= 1;
            }
            _ => return Err(wrong()),
        }
        // A node is complete: close its entry, and every folder that ends with it.
        loop {
            if depth == 0 {
                return Ok(());
            }
            nar.expect(b")")?;
            if nar.next_entry()? {
                break;
            }
            depth -= 1;
        }
    }
}

struct NarCopy<'a, R> {
    reader: &'a mut Reader<R>,
    output: &'a mut dyn Write,
}

impl<R: Read> NarCopy<'_, R> {
    fn word(&mut self) -> Result<Vec<u8>, ProtocolError> {
        let word = match self.reader.u64()? {
            STDERR_ERROR => return Err(read_error(self.reader)?), // No word is that long.
            length => self.reader.bytes_of(length, MAX_WORD)?,
        };
        self.write(&(word.len() as u64).to_le_bytes())?;
        self.write(&word)?;
        self.write(&[0; 8][..word.len().wrapping_neg() % 8])?;
        Ok(word)
    }

    fn expect(&mut self, expected: &[u8]) -> Result<(), ProtocolError> {
        if self.word()? == expected { Ok(()) } else { Err(wrong()) }
    }

    /// From after `regular` to the closing bracket.
    fn file(&mut self) -> Result<(), ProtocolError> {
        let mut word = self.word()?;
        if word == b"executable" {
            self.expect(b"")?;
            word = self.word()?;
        }
        if word == b"contents" {
            let length = self.reader.u64()?;
            self.write(&length.to_le_bytes())?;
            self.reader.copy(length, self.output)?;
            self.reader.padding(length)?;
            self.write(&[0; 8][..(length.wrapping_neg() % 8) as usize])?;
            word = self.word()?;
        }
        if word == b")" { Ok(()) } else { Err(wrong()) }
    }

    /// Whether the folder goes on with another entry, whose node is next; else it was closed.
    fn next_entry(&mut self) -> Result<bool, ProtocolError> {
        match self.word()?.as_slice() {
            b")" => Ok(false),
            b"entry" => {
                self.expect(b"(")?;
                self.expect(b"name")?;
                self.word()?;
                self.expect(b"node")?;
                Ok(true)
            }
            _ => Err(wrong()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.output.write_all(bytes).map_err(ProtocolError::Local)
    }
}

fn wrong() -> ProtocolError {
    ProtocolError::malformed("something that is not a NAR")
}
