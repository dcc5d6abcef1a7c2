//! How records are written as bytes, and how a damaged one is told from a good one.
//!
//! Numbers are LEB128, byte strings have their length before them. Reading never panics and never
//! asks for more memory than [`LARGEST`].

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::observation::Digest;

/// Builds a record.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }
}

/// Takes a record apart; everything is `None` where the record is not what is asked for.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn raw(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A number of bytes or of things in memory.
    pub(crate) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.raw(length)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub(crate) fn digest(&mut self) -> Option<Digest> {
        self.raw(32)?.try_into().ok().map(Digest)
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The digest of several fields, of which each has its length before it.
pub(crate) fn digest_of(table: &str, fields: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for field in std::iter::once(&table.as_bytes()).chain(fields) {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    Digest(hasher.finalize().into())
}

/// What each row of a table ends with: SQLite does not notice a flipped bit in a value.
pub(crate) fn check_of(table: &str, fields: &[&[u8]]) -> [u8; 8] {
    let digest = digest_of(table, fields);
    digest.0[..8].try_into().expect("a digest has 32 bytes")
}

/// Compresses a record.
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    pack_like(bytes, &[])
}

/// Undoes [`pack`].
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    unpack_like(packed, &[])
}

/// Compresses a record that is much like another one.
pub(crate) fn pack_like(bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let packed = if other.is_empty() {
        PLAIN.with_borrow_mut(|(compressor, _)| compressor.as_mut().map(|it| it.compress(bytes)))
    } else {
        Some(Compressor::with_dictionary(LEVEL, other).and_then(|mut it| it.compress(bytes)))
    };
    let packed = packed.and_then(Result::ok).filter(|packed| packed.len() < bytes.len());
    let mut writer = Writer::default();
    writer.number(bytes.len() as u64);
    writer.byte(packed.is_some().into());
    writer.raw(packed.as_deref().unwrap_or(bytes));
    writer.0
}

/// Undoes [`pack_like`]; with another dictionary it fails or yields something else.
pub(crate) fn unpack_like(packed: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(packed);
    let length = reader.length().filter(|length| *length <= LARGEST)?;
    let bytes = match reader.byte()? {
        0 => reader.0.to_vec(),
        1 if other.is_empty() => PLAIN
            .with_borrow_mut(|(_, decompressor)| decompressor.as_mut()?.decompress(reader.0, length).ok())?,
        1 => Decompressor::with_dictionary(other).ok()?.decompress(reader.0, length).ok()?,
        _ => return None,
    };
    (bytes.len() == length).then_some(bytes)
}

const LEVEL: i32 = 9;

/// The most that a record may become, in bytes.
const LARGEST: usize = 1 << 28;

thread_local! {
    /// Making these costs more than most records do.
    static PLAIN: RefCell<(Option<Compressor<'static>>, Option<Decompressor<'static>>)> =
        RefCell::new((Compressor::new(LEVEL).ok(), Decompressor::new().ok()));
}
