//! The memory of a pack: bytes that begin with their own number, behind one thin pointer.
//!
//! Its allocation is as large as the allocator's size class for so many bytes, which would be spent anyway. So a pack
//! that grows asks the allocator only when it outgrows the class, a few times in its life, and a collection that is one pack takes
//! eight bytes where it is held.
//!
//! Knows no entries. Invariant: the first four bytes are the length, 4 to [`Block::MAX`], as u32 LE; the allocation has
//! the layout of that length, and all its bytes are initialised, also those behind the length.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error, realloc};
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::slice;

/// Bytes of the length at the front.
const LENGTH: usize = 4;

/// Bytes with their number in front.
pub(super) struct Block(NonNull<u8>);

// SAFETY: a block owns its memory alone, as a `Box<[u8]>` does, and changes it only through `&mut self`.
unsafe impl Send for Block {}
// SAFETY: as above; `&Block` only reads.
unsafe impl Sync for Block {}

impl Block {
    /// The most bytes a block may have.
    pub(super) const MAX: usize = 1 << 30;

    /// A block of `len` bytes, 0 behind the length.
    pub(super) fn zeroed(len: usize) -> Self {
        let layout = layout(len);
        // SAFETY: the layout's size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        let mut block = Block(start);
        block.write_len(len);
        block
    }

    /// A block as long as `bytes` and equal to them behind the length.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut block = Block::zeroed(bytes.len());
        block.part_mut(LENGTH..bytes.len()).copy_from_slice(&bytes[LENGTH..]);
        block
    }

    /// Where the bytes are, without a look at them.
    #[inline]
    pub(super) fn start(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// How many bytes there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: the allocation begins with the length.
        u32::from_le_bytes(unsafe { self.0.cast::<[u8; LENGTH]>().read() }) as usize
    }

    /// Some of the bytes, to change. The length is not among them.
    #[inline]
    pub(super) fn part_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(LENGTH <= range.start && range.start <= range.end && range.end <= self.len());
        // SAFETY: the range lies in the block, whose bytes are initialised, and `&mut self` is the only way to them.
        unsafe { slice::from_raw_parts_mut(self.0.as_ptr().add(range.start), range.len()) }
    }

    /// Makes the `old` bytes at `at` into `new` ones, moving what follows them. What the `new` ones hold is anything.
    #[inline]
    pub(super) fn resize_span(&mut self, at: usize, old: usize, new: usize) {
        if old == new {
            return;
        }
        let len = self.len();
        let total = len - old + new;
        assert!(LENGTH <= at && at + old <= len && total <= Block::MAX);
        if total > len {
            self.resize(total);
        }
        self.part_mut(at..len.max(total)).copy_within(old..len - at, new);
        if total < len {
            self.resize(total);
        }
    }

    #[inline]
    fn resize(&mut self, to: usize) {
        let from = self.len();
        if room(from) != room(to) {
            self.move_to(to);
        }
        self.write_len(to);
    }

    #[cold]
    fn move_to(&mut self, to: usize) {
        let (had, wanted) = (layout(self.len()), layout(to));
        // SAFETY: allocated with the layout of its length, and the new size is a layout's of the same alignment.
        let start = unsafe { realloc(self.0.as_ptr(), had, wanted.size()) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(wanted) };
        if let Some(more) = wanted.size().checked_sub(had.size()) {
            // SAFETY: the allocation now has so many more bytes.
            unsafe { start.as_ptr().add(had.size()).write_bytes(0, more) };
        }
        self.0 = start;
    }

    #[inline]
    fn write_len(&mut self, len: usize) {
        // SAFETY: the allocation begins with the length, and `resize` and `zeroed` have made it so long.
        unsafe { self.0.cast::<[u8; LENGTH]>().write((len as u32).to_le_bytes()) }
    }
}

impl Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are there and initialised, and this borrow keeps them.
        unsafe { slice::from_raw_parts(self.0.as_ptr(), self.len()) }
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Block::of(self)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with the layout of its length, and nobody else owns it.
        unsafe { dealloc(self.0.as_ptr(), layout(self.len())) }
    }
}

fn layout(len: usize) -> Layout {
    assert!((LENGTH..=Block::MAX).contains(&len));
    Layout::from_size_align(room(len), 1).expect("a block is smaller than isize::MAX")
}

/// Bytes allocated for `len`: multiples of 16 at first, then four sizes to a doubling.
#[inline]
fn room(len: usize) -> usize {
    match len {
        0..=8 => 8,
        9..=64 => len.next_multiple_of(16),
        _ => len.next_multiple_of(1 << ((len - 1).ilog2() - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_enough_and_little_more() {
        for len in 4..100_000 {
            assert!(room(len) >= len && room(len) <= len + (len / 4).max(15), "{len}");
            assert!(room(len) <= room(len + 1));
            assert_eq!(room(room(len)), room(len));
        }
        assert_eq!([65, 80, 81, 97, 129, 8192].map(room), [80, 80, 96, 112, 160, 8192]);
    }

    #[test]
    fn spans_grow_and_shrink_in_place() {
        let mut model: Vec<u8> = (0..40).collect();
        let mut block = Block::of(&model);
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..5_000 {
            let at = rng.usize(LENGTH..=model.len());
            let old = rng.usize(..=(model.len() - at).min(300));
            let new = rng.usize(..300.min(3_000 - model.len().min(2_999)));
            let fill = rng.u8(..);
            block.resize_span(at, old, new);
            block.part_mut(at..at + new).fill(fill);
            model.splice(at..at + old, std::iter::repeat_n(fill, new));
            assert_eq!((block.len(), &block[LENGTH..]), (model.len(), &model[LENGTH..]));
        }
        assert_eq!(block.clone()[..], block[..]);
        assert_eq!(size_of::<Option<Block>>(), 8);
    }
}
