//! Walking over the entries of a pack without reading them, and looking for one among them.
//!
//! Where an entry ends is told by its first bytes, so a walk is a chain of loads, each waiting for the one before. Two
//! ways around it:
//!
//! - Entries of a collection tend to be alike. [`walk`] guesses that the next groups are as long as the last one and
//!   checks four guesses at once, loads that do not wait for one another.
//! - An entry is looked for by the bytes it would have, as in any text ([`find_spelled`]), many places at once. What is
//!   found in the middle of another entry is told from the real thing by a walk; where nothing is found none is needed.
//!
//! Knows no header and no count. Invariant: `bytes` are entries of a valid pack, and positions those of entries.

use super::entry::{Needle, entry_end, short_len};

/// Groups of entries that are compared with a guess at once.
const LEAP: usize = 4;

/// Bytes from which on looking at many places at once is faster than at each entry.
const WORTHWHILE: usize = 256;

/// Passes over groups of `GROUP` entries from `at` on, up to `most` groups and none that begins at or past `limit`.
/// Only the last group before the end of `bytes` may be short of entries.
///
/// Returns where it ended and how many groups it passed.
pub(super) fn walk<const GROUP: usize>(
    bytes: &[u8],
    mut at: usize,
    limit: usize,
    most: usize,
) -> (usize, usize) {
    let mut left = most;
    while at < limit && left > 0 {
        let mut lens = [0; GROUP];
        let mut next = at;
        for len in &mut lens {
            if next >= bytes.len() {
                break;
            }
            let end = entry_end(bytes, next);
            *len = end - next;
            next = end;
        }
        at = next;
        left -= 1;
        let stride: usize = lens.iter().sum();
        while left >= LEAP && limit.saturating_sub(at) >= LEAP * stride && alike(&bytes[at..], stride, &lens)
        {
            at += LEAP * stride;
            left -= LEAP;
        }
    }
    (at, most - left)
}

/// Whether the entries at the start of `bytes` have these lengths, group after group.
#[inline]
fn alike<const GROUP: usize>(bytes: &[u8], stride: usize, lens: &[usize; GROUP]) -> bool {
    let mut equal = true;
    for nth in 0..LEAP {
        let mut at = nth * stride;
        for &len in lens {
            // An entry that is not as long as thought makes those behind it meaningless, and the answer no.
            equal &= short_len(bytes[at]) == len;
            at += len;
        }
    }
    equal
}

/// Passes over `count` entries from `at` on, or to the end of `bytes`.
pub(super) fn pass(bytes: &[u8], at: usize, count: usize) -> usize {
    walk::<1>(bytes, at, bytes.len(), count).0
}

/// Where the first entry with the text of `needle` is, comparing the one at `from`, then each behind `skip` others.
pub(super) fn find(bytes: &[u8], from: usize, needle: &Needle<'_>, skip: usize) -> Option<usize> {
    let Some(entry) = needle.spelled().filter(|_| bytes.len() - from >= WORTHWHILE) else {
        return compare_each(bytes, from, needle, skip);
    };
    let mut known = from;
    let mut at = from;
    for _ in 0..3 {
        at = find_spelled(bytes, at, entry)?;
        let (reached, _) = match skip {
            0 => walk::<1>(bytes, known, at, usize::MAX),
            1 => walk::<2>(bytes, known, at, usize::MAX),
            _ => return compare_each(bytes, known, needle, skip),
        };
        if reached == at {
            return Some(at);
        }
        (known, at) = (reached, at + 1);
    }
    // Something is full of what it is not: be plain.
    compare_each(bytes, known, needle, skip)
}

fn compare_each(bytes: &[u8], from: usize, needle: &Needle<'_>, skip: usize) -> Option<usize> {
    let (mut at, end) = (from, bytes.len());
    while at < end {
        let mut next = entry_end(bytes, at);
        if needle.is_at(bytes, at, next) {
            return Some(at);
        }
        for _ in 0..skip {
            if next >= end {
                return None;
            }
            next = entry_end(bytes, next);
        }
        at = next;
    }
    None
}

/// The first place at or behind `from` where `bytes` read as `entry` does, which is of four bytes at least.
///
/// The end of an entry, two bytes of text and the length, tells most others apart: names that are alike differ at the end.
fn find_spelled(bytes: &[u8], from: usize, entry: &[u8]) -> Option<usize> {
    // Twice as many places at once take half the time: an HGET of one of 50 fields took 4,420 instructions, and takes 3,700.
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { find_spelled_avx2(bytes, from, entry) };
    }
    find_spelled_in(bytes, from, entry)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn find_spelled_avx2(bytes: &[u8], from: usize, entry: &[u8]) -> Option<usize> {
    find_spelled_in(bytes, from, entry)
}

#[inline(always)]
fn find_spelled_in(bytes: &[u8], from: usize, entry: &[u8]) -> Option<usize> {
    /// Places looked at at once.
    const LANES: usize = 32;
    let &[.., a, b, c] = entry else { return None };
    let ends = bytes.get(from + entry.len() - 3..)?;
    let places = ends.len().checked_sub(2)?;
    // The length first: it is found at the ends of entries and hardly elsewhere.
    let first = |at: usize, window: &[u8]| {
        let is_spelled =
            |at: &usize| ends[at + 1] == b && ends[*at] == a && bytes[from + at..].starts_with(entry);
        memchr::memchr_iter(c, &window[2..]).map(|lane| at + lane).find(is_spelled).map(|at| from + at)
    };
    if places < LANES {
        return first(0, ends);
    }
    let mut at = 0;
    loop {
        let window = ends[at..].first_chunk::<{ LANES + 2 }>()?;
        let mut any = false;
        for lane in 0..LANES {
            any |= (window[lane] == a) & (window[lane + 1] == b) & (window[lane + 2] == c);
        }
        if any && let Some(found) = first(at, window) {
            return Some(found);
        }
        if at + LANES >= places {
            return None;
        }
        // The last window looks at some places again.
        at = (at + LANES).min(places - LANES);
    }
}
