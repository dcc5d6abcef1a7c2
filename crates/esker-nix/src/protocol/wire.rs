//! The words of Nix's protocols: numbers, padded strings, lists, frames.
//!
//! Source: `libutil/serialise.cc`. A number is eight bytes, little-endian. A string is its length,
//! its bytes, and zeros up to a multiple of eight. A list is a count and its items. Framed data is
//! any number of (length, bytes) without padding, closed by a length of zero.
//!
//! Invariant: memory grows with the bytes that arrived, never with a length that was announced.

use std::io::{self, BufReader, BufWriter, Read, Write};

use super::ProtocolError;
use crate::StorePath;

/// Longest string accepted, in bytes. A NAR does not travel as a string, so nothing real is near it.
pub const MAX_STRING: u64 = 256 << 20;

/// How much is reserved before a string's bytes are here.
const FIRST_RESERVATION: u64 = 4096;

/// Reads words from a daemon.
#[derive(Debug)]
pub struct Reader<R> {
    input: BufReader<R>,
}

impl<R: Read> Reader<R> {
    /// Buffers `input` itself.
    pub fn new(input: R) -> Self {
        Self { input: BufReader::with_capacity(64 << 10, input) }
    }

    /// One number.
    ///
    /// # Errors
    /// When the input ends or fails; so for all that follow.
    pub fn u64(&mut self) -> Result<u64, ProtocolError> {
        let mut word = [0; 8];
        self.input.read_exact(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// A number that stands for a truth value: any but zero is true, as in Nix.
    pub fn bool(&mut self) -> Result<bool, ProtocolError> {
        Ok(self.u64()? != 0)
    }

    /// One string that need not be text, of at most [`MAX_STRING`] bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, ProtocolError> {
        self.bytes_up_to(MAX_STRING)
    }

    /// One string of at most `limit` bytes.
    pub fn bytes_up_to(&mut self, limit: u64) -> Result<Vec<u8>, ProtocolError> {
        let length = self.u64()?;
        self.bytes_of(length, limit)
    }

    /// The rest of a string whose length was read already.
    pub(super) fn bytes_of(&mut self, length: u64, limit: u64) -> Result<Vec<u8>, ProtocolError> {
        if length > limit {
            return Err(ProtocolError::malformed(format!("a string of {length} bytes, over {limit}")));
        }
        let mut bytes = Vec::with_capacity(length.min(FIRST_RESERVATION) as usize);
        self.input.by_ref().take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(ProtocolError::Closed);
        }
        self.padding(length)?;
        Ok(bytes)
    }

    /// Skips the zeros after `length` bytes, and refuses anything else.
    pub(super) fn padding(&mut self, length: u64) -> Result<(), ProtocolError> {
        let mut zeros = [0; 8];
        let zeros = &mut zeros[..(length.wrapping_neg() % 8) as usize];
        self.input.read_exact(zeros)?;
        match zeros.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(ProtocolError::malformed("a string whose padding is not zero")),
        }
    }

    /// One string that must be UTF-8.
    pub fn string(&mut self) -> Result<String, ProtocolError> {
        String::from_utf8(self.bytes()?).map_err(|_| ProtocolError::malformed("a name that is not UTF-8"))
    }

    /// A list whose items `item` reads, collected in any way.
    pub fn list<T, C: Default + Extend<T>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<C, ProtocolError> {
        let mut items = C::default();
        for _ in 0..self.u64()? {
            items.extend([item(self)?]);
        }
        Ok(items)
    }

    /// A full store path.
    pub fn store_path(&mut self) -> Result<StorePath, ProtocolError> {
        parse_store_path(&self.string()?)
    }

    /// A full store path, or the empty string for none.
    pub fn optional_store_path(&mut self) -> Result<Option<StorePath>, ProtocolError> {
        let path = self.string()?;
        if path.is_empty() { Ok(None) } else { parse_store_path(&path).map(Some) }
    }

    /// Hands `length` raw bytes to `output` as they come.
    ///
    /// # Errors
    /// [`ProtocolError::Local`] when `output` fails.
    pub fn copy(&mut self, length: u64, output: &mut dyn Write) -> Result<(), ProtocolError> {
        let mut left = length;
        let mut chunk = [0; 16 << 10];
        while left > 0 {
            let chunk = &mut chunk[..left.min(16 << 10) as usize];
            self.input.read_exact(chunk)?;
            output.write_all(chunk).map_err(ProtocolError::Local)?;
            left -= chunk.len() as u64;
        }
        Ok(())
    }

    /// Framed data, to its closing frame.
    ///
    /// # Errors
    /// [`ProtocolError::Local`] when `output` fails.
    pub fn framed(&mut self, output: &mut dyn Write) -> Result<(), ProtocolError> {
        loop {
            match self.u64()? {
                0 => return Ok(()),
                length => self.copy(length, output)?,
            }
        }
    }
}

fn parse_store_path(path: &str) -> Result<StorePath, ProtocolError> {
    path.parse().map_err(|error| ProtocolError::malformed(format!("a wrong store path: {error}")))
}

/// Writes words to a daemon. Nothing is sent before [`Writer::flush`] or a full buffer.
#[derive(Debug)]
pub struct Writer<W: Write> {
    output: BufWriter<W>,
}

impl<W: Write> Writer<W> {
    /// Buffers `output` itself.
    pub fn new(output: W) -> Self {
        Self { output: BufWriter::with_capacity(64 << 10, output) }
    }

    /// One number.
    ///
    /// # Errors
    /// When the output fails; so for all that follow.
    pub fn u64(&mut self, number: u64) -> Result<(), ProtocolError> {
        Ok(self.output.write_all(&number.to_le_bytes())?)
    }

    /// A truth value, as 1 or 0.
    pub fn bool(&mut self, value: bool) -> Result<(), ProtocolError> {
        self.u64(value.into())
    }

    /// One string.
    pub fn bytes(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), ProtocolError> {
        let bytes = bytes.as_ref();
        self.u64(bytes.len() as u64)?;
        self.output.write_all(bytes)?;
        Ok(self.output.write_all(&[0; 8][..bytes.len().wrapping_neg() % 8])?)
    }

    /// A list whose items `item` writes.
    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut item: impl FnMut(&mut Self, T) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let items = items.into_iter();
        self.u64(items.len() as u64)?;
        items.into_iter().try_for_each(|value| item(self, value))
    }

    /// A full store path.
    pub fn store_path(&mut self, path: &StorePath) -> Result<(), ProtocolError> {
        self.bytes(path.as_str())
    }

    /// A full store path, or the empty string for none.
    pub fn optional_store_path(&mut self, path: Option<&StorePath>) -> Result<(), ProtocolError> {
        self.bytes(path.map_or("", StorePath::as_str))
    }

    /// One frame. An empty one would end the data, so it is left out.
    pub fn frame(&mut self, data: &[u8]) -> Result<(), ProtocolError> {
        if data.is_empty() {
            return Ok(());
        }
        self.u64(data.len() as u64)?;
        Ok(self.output.write_all(data)?)
    }

    /// The frame that ends framed data.
    pub fn end_of_frames(&mut self) -> Result<(), ProtocolError> {
        self.u64(0)
    }

    /// Sends what is still buffered.
    pub fn flush(&mut self) -> Result<(), ProtocolError> {
        Ok(self.output.flush()?)
    }

    /// The output, with everything written.
    ///
    /// # Errors
    /// When the rest cannot be written.
    pub fn into_inner(self) -> io::Result<W> {
        self.output.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// An enum whose variants are numbers on the wire, with room for those a later Nix adds.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A number this version of Esker has no name for.
            Unknown(u64),
        }

        impl $name {
            /// Every named variant.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The meaning of a number.
            pub fn from_code(code: u64) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    other => Self::Unknown(other),
                }
            }

            /// The number on the wire.
            pub fn code(self) -> u64 {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Unknown(code) => code,
                }
            }
        }
    };
}
pub(super) use wire_enum;
