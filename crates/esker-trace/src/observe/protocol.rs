//! The part of the FUSE protocol that a read-only file system needs.
//!
//! Written from `include/uapi/linux/fuse.h`, version 7.31 and later. A crate for all of FUSE would
//! bring an eventual choice for everything that this file system refuses, and ties the number of a
//! node to the inode that a program sees; both stay apart here. All numbers are in the byte order of
//! the machine, as the kernel has them. Nothing here does I/O.

/// The kernel's oldest protocol (7.31, Linux 5.4) that has all that is relied on: `OPENDIR` that may
/// be left out, and links that are cached.
pub(super) const OLDEST_MINOR: u32 = 31;
/// What we speak. The kernel adapts to a lower number.
const OUR_MINOR: u32 = 38;

/// Bytes that a request fits into: the kernel wants room for a write of one page, which never comes.
pub(super) const REQUEST_ROOM: usize = 64 * 1024;
/// Bytes before each answer.
pub(super) const HEADER: usize = 16;

/// Asynchronous reads, listings with attributes, `OPEN` left out, parallel look-ups, big reads, cached
/// links, `OPENDIR` left out.
const FLAGS: u32 = 1 | 1 << 13 | 1 << 17 | 1 << 18 | 1 << 22 | 1 << 23 | 1 << 24;

/// For ever, in seconds: inputs never change.
const FOR_EVER: u64 = 1 << 40;

/// A question of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Init {
        major: u32,
        minor: u32,
        readahead: u32,
        flags: u32,
    },
    Lookup {
        name: &'a [u8],
    },
    Attributes,
    ReadLink,
    Read {
        offset: u64,
        size: u32,
    },
    ReadDirectory {
        offset: u64,
        size: u32,
        format: Listing,
    },
    StatFs,
    /// One extended attribute.
    Extended,
    /// The names of all, in so many bytes; 0: how many bytes they need.
    ExtendedNames {
        size: u32,
    },
    /// Has no answer.
    Forget,
    /// The file system is gone.
    Destroy,
    /// Would change something.
    Change,
    /// Optional, and left out: the kernel then does without for as long as the mount lives.
    Other,
}

/// In which form the kernel wants a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Names with types.
    Names,
    /// Each with the room for an answer to a look-up, which may be left empty.
    Entries,
}

/// A request with the numbers that say what it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upcall<'a> {
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) request: Request<'a>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Reads one message of the kernel. `None`: not a message.
pub(super) fn parse(bytes: &[u8]) -> Option<Upcall<'_>> {
    let body = bytes.get(40..)?;
    let request = match u32_at(bytes, 4)? {
        1 => Request::Lookup { name: body.split(|byte| *byte == 0).next()? },
        2 | 36 | 42 => Request::Forget,
        3 => Request::Attributes,
        5 => Request::ReadLink,
        15 => Request::Read { offset: u64_at(body, 8)?, size: u32_at(body, 16)? },
        17 => Request::StatFs,
        22 => Request::Extended,
        23 => Request::ExtendedNames { size: u32_at(body, 0)? },
        26 => Request::Init {
            major: u32_at(body, 0)?,
            minor: u32_at(body, 4)?,
            readahead: u32_at(body, 8)?,
            flags: u32_at(body, 12)?,
        },
        28 => Request::ReadDirectory {
            offset: u64_at(body, 8)?,
            size: u32_at(body, 16)?,
            format: Listing::Names,
        },
        38 => Request::Destroy,
        44 => Request::ReadDirectory {
            offset: u64_at(body, 8)?,
            size: u32_at(body, 16)?,
            format: Listing::Entries,
        },
        // Changes of attributes, nodes, data and extended attributes; files without a name.
        4 | 6 | 8..=13 | 16 | 21 | 24 | 35 | 43 | 45 | 47 | 51 => Request::Change,
        _ => Request::Other,
    };
    Some(Upcall { unique: u64_at(bytes, 8)?, node: u64_at(bytes, 16)?, request })
}

/// What a program sees of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Type and permissions.
    pub(super) mode: u32,
}

/// An answer's header; `length` is that of what follows.
pub(super) fn header(unique: u64, error: i32, length: usize) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    let total = u32::try_from(HEADER + length).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&total.to_ne_bytes());
    out[4..8].copy_from_slice(&(-error).to_ne_bytes());
    out[8..].copy_from_slice(&unique.to_ne_bytes());
    out
}

/// The answer to `INIT`.
pub(super) fn init(readahead: u32, offered: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    for number in [7, OUR_MINOR, readahead, FLAGS & offered] {
        put32(&mut out, number);
    }
    put16(&mut out, 64); // requests in the background
    put16(&mut out, 48); // of which so many count as congestion
    put32(&mut out, 4096); // bytes in a write
    put32(&mut out, 1); // times are in nanoseconds
    put16(&mut out, 256); // pages in a read
    out.resize(64, 0);
    out
}

/// The answer to a look-up that found something.
pub(super) fn entry(node: u64, attributes: &Attributes) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    for number in [node, 0, FOR_EVER, FOR_EVER, 0] {
        put64(&mut out, number);
    }
    put_attributes(&mut out, attributes);
    out
}

/// The answer to a look-up that found nothing: to be remembered, too.
pub(super) fn no_entry() -> Vec<u8> {
    let mut out = vec![0; 128];
    out[16..24].copy_from_slice(&FOR_EVER.to_ne_bytes());
    out
}

/// The answer to a question for attributes.
pub(super) fn attributes(attributes: &Attributes) -> Vec<u8> {
    let mut out = Vec::with_capacity(104);
    put64(&mut out, FOR_EVER);
    put64(&mut out, 0);
    put_attributes(&mut out, attributes);
    out
}

/// The answer to a question for the names of extended attributes: there are none.
pub(super) fn no_extended_names(size: u32) -> Vec<u8> {
    // Their size with padding, or themselves.
    vec![0; if size == 0 { 8 } else { 0 }]
}

/// What is left of a machine-dependent `statfs`: a large, half-full file system.
pub(super) fn statfs() -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    for number in [1 << 28, 1 << 27, 1 << 27, 1 << 26, 1 << 25] {
        put64(&mut out, number);
    }
    for number in [4096, 255, 4096] {
        put32(&mut out, number);
    }
    out.resize(80, 0);
    out
}

/// A line of a listing.
pub(super) struct Line<'a> {
    pub(super) inode: u64,
    /// As `readdir` has it.
    pub(super) kind: u32,
    pub(super) name: &'a [u8],
    /// The answer to a look-up, for [`Listing::Entries`]; without it, the name alone is told.
    pub(super) entry: Option<Vec<u8>>,
}

/// Appends a line to a listing, if `room` suffices; `next` is the number of the one after it.
pub(super) fn put_line(out: &mut Vec<u8>, room: usize, format: Listing, next: u64, line: &Line<'_>) -> bool {
    let before = match format {
        Listing::Names => 0,
        Listing::Entries => 128,
    };
    let end = out.len() + before + (24 + line.name.len()).next_multiple_of(8);
    if end > room {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(line.entry.as_deref().filter(|_| before > 0).unwrap_or_default());
    out.resize(start + before, 0);
    put64(out, line.inode);
    put64(out, next);
    put32(out, u32::try_from(line.name.len()).unwrap_or(0));
    put32(out, line.kind);
    out.extend_from_slice(line.name);
    out.resize(end, 0);
    true
}

/// Times are 1, owner and group the first, one link, blocks as a usual file system counts them.
fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    put64(out, attributes.inode);
    put64(out, attributes.size);
    put64(out, attributes.size.div_ceil(4096) * 8);
    for _time in 0..3 {
        put64(out, 1);
    }
    for _nanoseconds in 0..3 {
        put32(out, 0);
    }
    for number in [attributes.mode, 1, 0, 0, 0, 4096, 0] {
        put32(out, number);
    }
}

fn put16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_ne_bytes());
}

fn put32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_ne_bytes());
}

fn put64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_sizes_of_the_kernels_structures() {
        let attributes = Attributes { inode: 2, size: 1, mode: 0o100_444 };
        assert_eq!(entry(2, &attributes).len(), 128);
        assert_eq!(super::attributes(&attributes).len(), 104);
        assert_eq!(no_entry().len(), 128);
        assert_eq!(init(0, u32::MAX).len(), 64);
        assert_eq!(statfs().len(), 80);
    }

    #[test]
    fn a_short_message_is_refused() {
        for length in 0..60 {
            let mut bytes = vec![0; length];
            if length > 4 {
                bytes[4] = 15;
            }
            assert_eq!(parse(&bytes), None);
        }
    }
}
