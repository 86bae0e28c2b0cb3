//! A pack being written, before it has a block of its own.
//!
//! A pack that grows by one element after the other goes through every size of block below its last, and leaves the
//! allocator with some of each. What is known at once is written here and allocated once, in its final size.
//!
//! Knows no more of elements than the pack does. Invariant: `bytes` are a header and then entries of a pack.

use super::block::Block;
use super::entry::{Element, Encoded, Needle};
use super::{END, HEADER, Pack, walk};

/// Elements on their way into a pack.
pub struct Draft {
    bytes: Vec<u8>,
    count: usize,
}

impl Draft {
    /// A draft without elements, with room for so many bytes of entries.
    pub fn new(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + room + 1);
        bytes.resize(HEADER, 0);
        Draft { bytes, count: 0 }
    }

    /// The most bytes that an entry for `text_len` bytes of text takes in a pack.
    pub const fn most_bytes(text_len: usize) -> usize {
        text_len.saturating_add(10)
    }

    /// Adds an element at the end.
    pub fn push<'a>(&mut self, element: impl Into<Element<'a>>) {
        Encoded::new(element.into()).append_to(&mut self.bytes);
        self.count += 1;
    }

    /// Adds a name and what it stands for at the end, unless there is a pair of this name; whether it did.
    pub fn push_pair<'a>(&mut self, name: &[u8], second: impl Into<Element<'a>>) -> bool {
        let is_new = walk::find(&self.bytes, HEADER, &Needle::new(name), 1).is_none();
        if is_new {
            self.push(name);
            self.push(second);
        }
        is_new
    }

    /// The pack.
    pub fn finish(mut self) -> Pack {
        self.bytes.push(END);
        assert!(self.bytes.len() <= Pack::MAX_BYTES, "callers bound what they pack");
        let mut pack = Pack { bytes: Block::of(&self.bytes) };
        pack.set_count(self.count);
        pack
    }
}
