//! One member of a large set or sorted set: a head of fixed size, a length and the bytes, in one
//! allocation behind one thin pointer.
//!
//! A table of a million members pays for every word of a slot one and a half times over, so a slot is
//! eight bytes and the length lies with the bytes:
//!
//! ```text
//! H, as in memory | length u8, or 255 and u64 LE | bytes
//! ```
//!
//! `H` is what goes with the member: nothing for a set, the score for a sorted set. A second structure
//! may hold a [`MemberRef`] to the same bytes; this file cannot know how long the owner lives, so taking one
//! is the only `unsafe` step its users have.
//!
//! Invariant: `start` is an allocation of exactly the layout that its own length tells.

use crate::store::table::Keyed;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The length byte that says "the length is in the next eight bytes".
const LONG: u8 = u8::MAX;

/// The owner of a member and its head.
pub struct Member<H: Copy> {
    start: NonNull<u8>,
    head: PhantomData<H>,
}

/// A second reference to the bytes of a [`Member`], at the length before them.
#[derive(Clone, Copy)]
pub struct MemberRef(NonNull<u8>);

// SAFETY: a member owns its allocation, as a box would.
unsafe impl<H: Copy + Send> Send for Member<H> {}
// SAFETY: changes need `&mut`, as with a box.
unsafe impl<H: Copy + Sync> Sync for Member<H> {}
// SAFETY: what it reads never changes, and whoever made it answers for its owner being alive.
unsafe impl Send for MemberRef {}
// SAFETY: as above.
unsafe impl Sync for MemberRef {}

impl<H: Copy> Member<H> {
    /// Copies `bytes` and `head` into an allocation of their own.
    pub fn new(head: H, bytes: &[u8]) -> Self {
        let layout = Self::layout(bytes.len());
        // SAFETY: the length makes the layout's size at least one.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // SAFETY: the layout is the head, aligned for it, then as many bytes as are written here.
        unsafe {
            start.cast::<H>().write(head);
            let length = start.add(size_of::<H>());
            match u8::try_from(bytes.len()) {
                Ok(short) if short < LONG => length.write(short),
                _ => {
                    length.write(LONG);
                    length.add(1).cast().write_unaligned((bytes.len() as u64).to_le_bytes());
                }
            }
            let data = length.add(length_bytes(bytes.len()));
            data.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        Member { start, head: PhantomData }
    }

    /// What goes with the member.
    #[inline]
    pub fn head(&self) -> H {
        // SAFETY: `new` wrote it.
        unsafe { self.start.cast::<H>().read() }
    }

    /// Puts another head in place of the one there is.
    pub fn set_head(&mut self, head: H) {
        // SAFETY: as `head`, and references from `bytes` and of `MemberRef` never reach into the head.
        unsafe { self.start.cast::<H>().write(head) }
    }

    /// The member itself.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: this borrow of the owner keeps the allocation alive.
        unsafe { read(self.alias().0) }
    }

    /// Bytes the allocation takes.
    pub fn allocated_bytes(&self) -> usize {
        Self::layout(self.bytes().len()).size()
    }

    /// A reference that does not borrow the owner.
    ///
    /// # Safety
    /// It must not be read after the owner is dropped.
    #[inline]
    pub unsafe fn alias(&self) -> MemberRef {
        // SAFETY: the length lies behind the head, within the allocation.
        MemberRef(unsafe { self.start.add(size_of::<H>()) })
    }

    fn layout(len: usize) -> Layout {
        let size = size_of::<H>() + length_bytes(len) + len;
        Layout::from_size_align(size, align_of::<H>()).expect("no slice passes isize::MAX")
    }
}

impl<H: Copy> Drop for Member<H> {
    fn drop(&mut self) {
        let layout = Self::layout(self.bytes().len());
        // SAFETY: allocated by `new` with the layout of this length, and nobody else frees it.
        unsafe { dealloc(self.start.as_ptr(), layout) }
    }
}

impl<H: Copy> Clone for Member<H> {
    fn clone(&self) -> Self {
        Member::new(self.head(), self.bytes())
    }
}

impl<H: Copy> Keyed for Member<H> {
    #[inline]
    fn key(&self) -> &[u8] {
        self.bytes()
    }
}

impl MemberRef {
    /// The member.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `alias` promised that the owner is alive.
        unsafe { read(self.0) }
    }
}

/// The bytes behind the length at `length`.
///
/// # Safety
/// `length` is where `Member::new` wrote it, and the member lives as long as the result.
#[inline]
unsafe fn read<'a>(length: NonNull<u8>) -> &'a [u8] {
    // SAFETY: `new` wrote length and bytes, and nothing changes them.
    unsafe {
        let short = length.read();
        let (len, data) = if short < LONG {
            (usize::from(short), length.add(1))
        } else {
            let long = length.add(1).cast::<[u8; 8]>().read_unaligned();
            (u64::from_le_bytes(long) as usize, length.add(9))
        };
        std::slice::from_raw_parts(data.as_ptr(), len)
    }
}

/// Bytes the length of `len` bytes takes.
fn length_bytes(len: usize) -> usize {
    if len < usize::from(LONG) { 1 } else { 9 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_around_the_long_form() {
        for len in [0, 1, 7, 254, 255, 256, 300, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut scored = Member::new(1.5, &bytes);
            // SAFETY: read below only, where the owner is still there.
            let alias = unsafe { scored.alias() };
            scored.set_head(-2.5);
            assert_eq!((scored.head(), scored.bytes(), alias.bytes()), (-2.5, &bytes[..], &bytes[..]));
            let copy = scored.clone();
            drop(scored);
            assert_eq!((copy.head(), copy.key()), (-2.5, &bytes[..]));
            let plain = Member::new((), &bytes);
            assert_eq!((plain.bytes(), plain.allocated_bytes() + 8), (&bytes[..], copy.allocated_bytes()));
        }
        assert_eq!(size_of::<Option<Member<f64>>>(), 8);
    }
}
