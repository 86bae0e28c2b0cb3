//! One field of a large hash: name, value and perhaps an expiry time, in one allocation behind one pointer.
//!
//! ```text
//! tag u8 | name length | value length | expiry u64, if the tag says so | name | value
//! ```
//!
//! The tag's two low bits give the width of the name length as a power of two, the next two that of the value
//! length. All numbers are little-endian, and nothing is aligned: a field of 10 + 20 bytes takes 33.
//! A table holds the bare pointer: 8 bytes where a boxed slice would take 16.
//!
//! Knows nothing of tables or time. Invariant: the pointer owns a block of exactly `total` bytes laid out so.

use crate::store::table::Keyed;
use std::ptr::{self, NonNull};
use std::slice;

/// Set in the tag where an expiry time follows the lengths.
const HAS_EXPIRY: u8 = 1 << 4;

/// A field of a hash.
pub(super) struct Field(NonNull<u8>);

// SAFETY: a field owns its block alone, as a `Box<[u8]>` does, and changes it only through `&mut self`.
unsafe impl Send for Field {}
// SAFETY: as above; `&Field` only reads.
unsafe impl Sync for Field {}

/// Where the parts of a block are.
struct Parts {
    head_len: usize,
    name_len: usize,
    value_len: usize,
    expiry_ms: Option<u64>,
}

impl Parts {
    fn value_at(&self) -> usize {
        self.head_len + self.name_len
    }

    fn total(&self) -> usize {
        self.value_at() + self.value_len
    }
}

impl Field {
    pub(super) fn new(name: &[u8], value: &[u8], expiry_ms: Option<u64>) -> Self {
        let (name_log, value_log) = (width_log(name.len()), width_log(value.len()));
        let tag = name_log | value_log << 2 | if expiry_ms.is_some() { HAS_EXPIRY } else { 0 };
        let mut block = Vec::with_capacity(head_len(tag) + name.len() + value.len());
        block.push(tag);
        block.extend_from_slice(&(name.len() as u64).to_le_bytes()[..1 << name_log]);
        block.extend_from_slice(&(value.len() as u64).to_le_bytes()[..1 << value_log]);
        if let Some(expiry_ms) = expiry_ms {
            block.extend_from_slice(&expiry_ms.to_le_bytes());
        }
        block.extend_from_slice(name);
        block.extend_from_slice(value);
        let block = Box::into_raw(block.into_boxed_slice());
        Field(NonNull::new(block.cast()).expect("a box is never null"))
    }

    pub(super) fn name(&self) -> &[u8] {
        let parts = self.parts();
        &self.block(&parts)[parts.head_len..parts.value_at()]
    }

    pub(super) fn value(&self) -> &[u8] {
        let parts = self.parts();
        &self.block(&parts)[parts.value_at()..]
    }

    /// When the field expires, in milliseconds since 1970.
    pub(super) fn expiry_ms(&self) -> Option<u64> {
        self.parts().expiry_ms
    }

    /// Bytes of the block.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.parts().total()
    }

    /// Changes value and expiry; in place where the lengths stay.
    pub(super) fn update(&mut self, value: &[u8], expiry_ms: Option<u64>) {
        let parts = self.parts();
        if value.len() == parts.value_len && expiry_ms == parts.expiry_ms {
            // SAFETY: the block is `total` bytes long, and `&mut self` is the only way to it.
            let block = unsafe { slice::from_raw_parts_mut(self.0.as_ptr(), parts.total()) };
            block[parts.value_at()..].copy_from_slice(value);
        } else {
            *self = Field::new(self.name(), value, expiry_ms);
        }
    }

    fn parts(&self) -> Parts {
        // SAFETY: a block is never empty; its first byte is the tag.
        let tag = unsafe { *self.0.as_ptr() };
        // SAFETY: the block begins with the whole head its tag announces.
        let head = unsafe { slice::from_raw_parts(self.0.as_ptr(), head_len(tag)) };
        let name_width = 1 << (tag & 3);
        let value_width = 1 << (tag >> 2 & 3);
        let (lengths, expiry) = head[1..].split_at(name_width + value_width);
        Parts {
            head_len: head.len(),
            name_len: number(&lengths[..name_width]) as usize,
            value_len: number(&lengths[name_width..]) as usize,
            expiry_ms: (tag & HAS_EXPIRY != 0).then(|| number(expiry)),
        }
    }

    fn block(&self, parts: &Parts) -> &[u8] {
        // SAFETY: the block is `total` bytes long.
        unsafe { slice::from_raw_parts(self.0.as_ptr(), parts.total()) }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let block = ptr::slice_from_raw_parts_mut(self.0.as_ptr(), self.parts().total());
        // SAFETY: `new` made the block from a boxed slice of just this length, and nobody else owns it.
        drop(unsafe { Box::from_raw(block) });
    }
}

impl Clone for Field {
    fn clone(&self) -> Self {
        Field::new(self.name(), self.value(), self.expiry_ms())
    }
}

impl Keyed for Field {
    fn key(&self) -> &[u8] {
        self.name()
    }
}

/// The power of two whose bytes hold `len`: 0 for one byte, 1 for two, 2 for four, 3 for eight.
fn width_log(len: usize) -> u8 {
    match len {
        0..=0xFF => 0,
        0x100..=0xFFFF => 1,
        0x1_0000..=0xFFFF_FFFF => 2,
        _ => 3,
    }
}

fn head_len(tag: u8) -> usize {
    let expiry = if tag & HAS_EXPIRY != 0 { 8 } else { 0 };
    1 + (1 << (tag & 3)) + (1 << (tag >> 2 & 3)) + expiry
}

/// The little-endian number of one to eight bytes.
#[inline]
fn number(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        _ => bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_comes_back() {
        for name_len in [0, 1, 255, 256, 65_535, 65_536] {
            for value_len in [0, 255, 256, 65_536] {
                for expiry in [None, Some(0), Some(u64::MAX)] {
                    let (name, value) = (vec![b'n'; name_len], vec![b'v'; value_len]);
                    let mut field = Field::new(&name, &value, expiry);
                    assert_eq!((field.name(), field.value()), (&name[..], &value[..]));
                    assert_eq!(field.expiry_ms(), expiry);
                    field.update(&vec![b'w'; value_len], expiry);
                    assert_eq!(field.value(), vec![b'w'; value_len]);
                    field.update(b"other", Some(7));
                    assert_eq!((field.name(), field.value()), (&name[..], &b"other"[..]));
                    assert_eq!(field.clone().expiry_ms(), Some(7));
                }
            }
        }
        assert_eq!(Field::new(&[0; 10], &[0; 20], None).allocated_bytes(), 33);
    }
}
