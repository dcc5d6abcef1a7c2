//! Reads an archive as a stream of events.

use std::io::{self, Read};

use super::nesting::Nesting;
use super::{MAGIC, MAX_NAME_LENGTH, MAX_TARGET_LENGTH, NarError, Problem};

/// One step through the tree. The root's name is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A folder begins: its entries follow, then [`Event::EndDirectory`].
    Directory {
        /// Last component of its path.
        name: Vec<u8>,
    },
    /// A file: [`Reader::content`] has its bytes until the next event.
    File {
        /// Last component of its path.
        name: Vec<u8>,
        /// Whether it can be run.
        executable: bool,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Last component of its path.
        name: Vec<u8>,
        /// Where it points, unresolved. Not empty.
        target: Vec<u8>,
    },
    /// The innermost folder is complete.
    EndDirectory,
}

/// Reads an archive, and not one byte beyond it. Give it something buffered.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Bytes read so far.
    offset: u64,
    /// Where the latest token began.
    token_start: u64,
    nesting: Nesting,
    /// Bytes of the current file's content that nobody has read yet.
    content_left: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    /// After a folder's beginning or an entry.
    Entries,
    /// Behind a file's contents token, of this many bytes.
    Content(u64),
    End,
    /// An error was returned; there is no way to go on.
    Failed,
}

impl<R: Read> Reader<R> {
    /// Nothing is read yet.
    pub fn new(source: R) -> Self {
        Self {
            source,
            offset: 0,
            token_start: 0,
            nesting: Nesting::default(),
            content_left: 0,
            state: State::Start,
        }
    }

    /// The next step; `None` when the archive is complete, also when asked again. What is left of
    /// a file's content is skipped.
    ///
    /// # Errors
    /// When the stream fails or is no archive. Asked again after that, it says that it is cut off.
    pub fn next_event(&mut self) -> Result<Option<Event>, NarError> {
        let event = self.advance();
        if event.is_err() {
            self.state = State::Failed;
        }
        event
    }

    /// The content of the file that the latest event announced, or what is left of it.
    pub fn content(&mut self) -> impl Read + '_ {
        Content(self)
    }

    /// Bytes of the archive that were read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn advance(&mut self) -> Result<Option<Event>, NarError> {
        match self.state {
            State::Start => {
                self.expect(MAGIC)?;
                return self.node(Vec::new()).map(Some);
            }
            State::Content(size) => {
                io::copy(&mut Content(self), &mut io::sink()).map_err(content_error)?;
                self.padding(size)?;
                self.end_of_node()?;
            }
            State::Entries => {}
            State::End => return Ok(None),
            State::Failed => return Err(self.malformed(Problem::CutOff)),
        }
        if self.nesting.is_complete() {
            self.state = State::End;
            return Ok(None);
        }
        match self.token("entry` or `)")?.as_slice() {
            b"entry" => {
                self.expect("(")?;
                self.expect("name")?;
                let name = self.bytes(MAX_NAME_LENGTH)?;
                self.expect("node")?;
                self.node(name).map(Some)
            }
            b")" => {
                self.nesting.close().map_err(|problem| self.malformed(problem))?;
                self.end_of_entry()?;
                Ok(Some(Event::EndDirectory))
            }
            _ => Err(self.unexpected("entry` or `)")),
        }
    }

    fn node(&mut self, name: Vec<u8>) -> Result<Event, NarError> {
        self.nesting.add(&name).map_err(|problem| self.malformed(problem))?;
        self.expect("(")?;
        self.expect("type")?;
        match self.token("regular`, `symlink` or `directory")?.as_slice() {
            b"regular" => self.file(name),
            b"symlink" => {
                self.expect("target")?;
                let target = self.bytes(MAX_TARGET_LENGTH)?;
                if target.is_empty() || target.contains(&0) {
                    return Err(self.malformed(Problem::Target));
                }
                self.end_of_node()?;
                Ok(Event::Symlink { name, target })
            }
            b"directory" => {
                self.nesting.open().map_err(|problem| self.malformed(problem))?;
                self.state = State::Entries;
                Ok(Event::Directory { name })
            }
            _ => Err(self.unexpected("regular`, `symlink` or `directory")),
        }
    }

    fn file(&mut self, name: Vec<u8>) -> Result<Event, NarError> {
        let executable = match self.token("executable` or `contents")?.as_slice() {
            b"executable" => {
                self.expect("")?;
                self.expect("contents")?;
                true
            }
            b"contents" => false,
            _ => return Err(self.unexpected("executable` or `contents")),
        };
        let size = self.length()?;
        self.content_left = size;
        self.state = State::Content(size);
        Ok(Event::File { name, executable, size })
    }

    fn end_of_node(&mut self) -> Result<(), NarError> {
        self.expect(")")?;
        self.end_of_entry()
    }

    /// Behind a whole node: closes the entry around it, if it is not the root.
    fn end_of_entry(&mut self) -> Result<(), NarError> {
        self.state = State::Entries;
        if self.nesting.is_inside() { self.expect(")") } else { Ok(()) }
    }

    fn expect(&mut self, token: &'static str) -> Result<(), NarError> {
        match self.token(token)? == token.as_bytes() {
            true => Ok(()),
            false => Err(self.unexpected(token)),
        }
    }

    /// A word of the grammar, none of which is longer than the first.
    fn token(&mut self, expected: &'static str) -> Result<Vec<u8>, NarError> {
        self.token_start = self.offset;
        self.bytes(MAGIC.len()).map_err(|error| match error {
            NarError::Malformed { problem: Problem::Length(_), .. } => self.unexpected(expected),
            other => other,
        })
    }

    /// The latest token is not what the grammar demands.
    fn unexpected(&self, expected: &'static str) -> NarError {
        NarError::Malformed { offset: self.token_start, problem: Problem::Expected(expected) }
    }

    fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, NarError> {
        let start = self.offset;
        let length = self.length()?;
        if length > limit as u64 {
            return Err(NarError::Malformed { offset: start, problem: Problem::Length(length) });
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        self.padding(length)?;
        Ok(bytes)
    }

    fn length(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let mut bytes = [0; 8];
        let padding = &mut bytes[..super::write::padding(length)];
        self.fill(padding)?;
        match padding.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(self.malformed(Problem::Padding)),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NarError> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.malformed(Problem::CutOff),
            _ => NarError::Stream(error),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn malformed(&self, problem: Problem) -> NarError {
        NarError::Malformed { offset: self.offset, problem }
    }
}

/// An error of [`Reader::content`] that passed through `std::io`, as what it was.
pub(super) fn content_error(error: io::Error) -> NarError {
    match error.downcast::<NarError>() {
        Ok(error) => error,
        Err(error) => NarError::Stream(error),
    }
}

struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.0.content_left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.0.source.read(&mut buffer[..wanted])?;
        if count == 0 {
            let error = self.0.malformed(Problem::CutOff);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        self.0.offset += count as u64;
        self.0.content_left -= count as u64;
        Ok(count)
    }
}
