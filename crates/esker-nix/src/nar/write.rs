//! Writes an archive from one call per step through the tree.

use std::io::{self, Read, Write};

use super::nesting::Nesting;
use super::{MAGIC, MAX_TARGET_LENGTH, NarError, Problem};

/// Writes an archive. Names are checked as a reader would: what it writes can be read.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    /// Bytes written so far.
    offset: u64,
    nesting: Nesting,
}

impl<W: Write> Writer<W> {
    /// Nothing is written yet.
    pub fn new(sink: W) -> Self {
        Self { sink, offset: 0, nesting: Nesting::default() }
    }

    /// Begins a folder: its entries follow, sorted by name, then [`Writer::end_directory`].
    ///
    /// # Errors
    /// For a name that may not be here, too many folders inside each other, and the sink's.
    pub fn directory(&mut self, name: &[u8]) -> Result<(), NarError> {
        self.begin(name)?;
        self.nesting.open().map_err(|problem| self.malformed(problem))?;
        self.tokens(&[b"directory"])
    }

    /// Ends the innermost folder.
    ///
    /// # Errors
    /// When there is none, and the sink's.
    pub fn end_directory(&mut self) -> Result<(), NarError> {
        self.nesting.close().map_err(|problem| self.malformed(problem))?;
        self.end()
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// For a name or target that may not be here, and the sink's.
    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), NarError> {
        if target.is_empty() || target.len() > MAX_TARGET_LENGTH || target.contains(&0) {
            return Err(self.malformed(Problem::Target));
        }
        self.begin(name)?;
        self.tokens(&[b"symlink", b"target", target])?;
        self.end()
    }

    /// A file of `size` bytes, read from `content`.
    ///
    /// # Errors
    /// For a name that may not be here, content that is shorter, and those of content and sink.
    pub fn file(
        &mut self,
        name: &[u8],
        executable: bool,
        size: u64,
        content: impl Read,
    ) -> Result<(), NarError> {
        self.begin(name)?;
        self.tokens(&[b"regular"])?;
        if executable {
            self.tokens(&[b"executable", b""])?;
        }
        self.tokens(&[b"contents"])?;
        self.raw(&size.to_le_bytes())?;
        let copied = io::copy(&mut content.take(size), &mut self.sink).map_err(NarError::Stream)?;
        self.offset += copied;
        if copied < size {
            return Err(self.malformed(Problem::CutOff));
        }
        self.pad(size)?;
        self.end()
    }

    /// Flushes, and gives back the sink and how many bytes were written.
    ///
    /// # Errors
    /// When the tree is not complete, and the sink's.
    pub fn finish(mut self) -> Result<(W, u64), NarError> {
        if !self.nesting.is_complete() {
            return Err(self.malformed(Problem::Incomplete));
        }
        self.sink.flush().map_err(NarError::Stream)?;
        Ok((self.sink, self.offset))
    }

    fn begin(&mut self, name: &[u8]) -> Result<(), NarError> {
        self.nesting.add(name).map_err(|problem| self.malformed(problem))?;
        match self.nesting.is_inside() {
            true => self.tokens(&[b"entry", b"(", b"name", name, b"node"])?,
            false => self.tokens(&[MAGIC.as_bytes()])?,
        }
        self.tokens(&[b"(", b"type"])
    }

    fn end(&mut self) -> Result<(), NarError> {
        self.tokens(if self.nesting.is_inside() { &[b")", b")"] } else { &[b")"] })
    }

    fn tokens(&mut self, tokens: &[&[u8]]) -> Result<(), NarError> {
        for token in tokens {
            self.raw(&(token.len() as u64).to_le_bytes())?;
            self.raw(token)?;
            self.pad(token.len() as u64)?;
        }
        Ok(())
    }

    fn pad(&mut self, length: u64) -> Result<(), NarError> {
        self.raw(&[0; 8][..padding(length)])
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), NarError> {
        self.sink.write_all(bytes).map_err(NarError::Stream)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn malformed(&self, problem: Problem) -> NarError {
        NarError::Malformed { offset: self.offset, problem }
    }
}

/// Zeros behind a string of this length.
pub(super) fn padding(length: u64) -> usize {
    (length.wrapping_neg() % 8) as usize
}
