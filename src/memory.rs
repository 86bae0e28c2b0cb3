//! How much memory the process has allocated: an allocator that counts.
//!
//! The binary installs [`Counting`] around mimalloc, so that `used_memory` and `maxmemory` mean what was really
//! taken, size-class rounding included. Each thread counts by itself and adds to the common sum in steps, so the count
//! costs no contention and is exact to [`STEP`] bytes a thread.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// A thread reports once it is off by this many bytes.
const STEP: i64 = 8 * 1024;

static USED: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static UNREPORTED: Cell<i64> = const { Cell::new(0) };
    static REPORTED: Cell<i64> = const { Cell::new(0) };
}

/// Bytes allocated by the process; 0 where [`Counting`] is not the global allocator.
#[inline]
pub fn used() -> usize {
    usize::try_from(USED.load(Ordering::Relaxed)).unwrap_or(0)
}

/// The same, with what this thread has not reported yet.
#[inline]
pub fn used_and_unreported() -> usize {
    let unreported = UNREPORTED.try_with(Cell::get).unwrap_or(0);
    usize::try_from(USED.load(Ordering::Relaxed) + unreported).unwrap_or(0)
}

/// Adds what this thread has not reported yet, for a caller that needs an exact figure now.
pub fn report() {
    let unreported = UNREPORTED.try_with(|unreported| unreported.replace(0)).unwrap_or(0);
    add(unreported);
}

fn add(bytes: i64) {
    USED.fetch_add(bytes, Ordering::Relaxed);
    let _ = REPORTED.try_with(|reported| reported.set(reported.get().wrapping_add(bytes)));
}

/// Bytes that this thread has allocated, less those it has freed, whoever allocated them: how that changes tells what was done in between.
pub fn of_thread() -> i64 {
    let reported = REPORTED.try_with(Cell::get).unwrap_or(0);
    reported.wrapping_add(UNREPORTED.try_with(Cell::get).unwrap_or(0))
}

/// An allocator that counts what `A` hands out.
pub struct Counting<A>(pub A);

#[inline]
fn count(bytes: i64) {
    // A thread that is ending has no counter any more; what it frees then is not missed.
    let _ = UNREPORTED.try_with(|unreported| {
        let sum = unreported.get() + bytes;
        if sum.abs() < STEP {
            unreported.set(sum);
        } else {
            unreported.set(0);
            add(sum);
        }
    });
}

/// What an allocation of `size` bytes takes: mimalloc's size classes, four to a doubling above 64 bytes.
#[inline]
pub const fn taken(size: usize) -> usize {
    if size <= 64 {
        return (size + 7) & !7;
    }
    let step = 1usize << (size - 1).ilog2() >> 2;
    (size + step - 1) & !(step - 1)
}

// SAFETY: every call is passed on to `A` unchanged; counting neither allocates nor panics.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(taken(layout.size()) as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(taken(layout.size()) as i64));
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(taken(layout.size()) as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(taken(size) as i64 - taken(layout.size()) as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.realloc(at, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_their_class() {
        for (size, class) in
            [(0, 0), (1, 8), (8, 8), (64, 64), (65, 80), (88, 96), (96, 96), (97, 112), (129, 160)]
        {
            assert_eq!(taken(size), class, "{size}");
        }
        assert_eq!(taken(1024), 1024);
        assert_eq!(taken(1025), 1280);
    }
}
