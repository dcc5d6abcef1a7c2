//! Where in the tree a stream is, and which names may come next. Shared by reader and writer.

use super::{MAX_DEPTH, MAX_NAME_LENGTH, Problem};

/// The folders that are open, outermost first, each with the name of its latest entry.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    open: Vec<Vec<u8>>,
    has_root: bool,
}

impl Nesting {
    /// Whether the tree is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.has_root && self.open.is_empty()
    }

    /// Whether the next node is inside a folder.
    pub(super) fn is_inside(&self) -> bool {
        !self.open.is_empty()
    }

    /// Notes that a node follows. The root's name is empty.
    pub(super) fn add(&mut self, name: &[u8]) -> Result<(), Problem> {
        let Some(previous) = self.open.last_mut() else {
            let is_first = !std::mem::replace(&mut self.has_root, true);
            return if is_first && name.is_empty() { Ok(()) } else { Err(Problem::Incomplete) };
        };
        if name.len() > MAX_NAME_LENGTH {
            return Err(Problem::Length(name.len() as u64));
        }
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
            return Err(Problem::Name(name.escape_ascii().to_string()));
        }
        if name <= previous.as_slice() {
            return Err(Problem::Order(name.escape_ascii().to_string()));
        }
        *previous = name.to_vec();
        Ok(())
    }

    /// The node that was just added is a folder, and its entries follow.
    pub(super) fn open(&mut self) -> Result<(), Problem> {
        if self.open.len() == MAX_DEPTH {
            return Err(Problem::Depth);
        }
        self.open.push(Vec::new());
        Ok(())
    }

    /// The innermost folder has no more entries.
    pub(super) fn close(&mut self) -> Result<(), Problem> {
        self.open.pop().map(drop).ok_or(Problem::Incomplete)
    }
}
