//! A pack: a short sequence of strings and integers in one block of memory.
//!
//! The small form of every collection, and the node of a long list. The bytes are exactly Redis's
//! *listpack*, because DUMP and RESTORE ship them as they are and because nothing smaller that can
//! still be walked both ways has turned up:
//!
//! ```text
//! total bytes u32 LE | elements u16 LE (65535: count them) | entry ... | 0xFF
//! entry = encoding and length | data | length of the two before, readable from its last byte
//! ```
//!
//! Text that is the canonical form of an `i64` is kept as an integer of 1 to 9 bytes. Elements are
//! addressed by *position* (the byte offset of an entry); a position stays good until the pack changes.
//! Memory is the block's business.
//!
//! The pack knows nothing of what its elements mean; limits on their size and number are its callers'.
//!
//! Invariant: `bytes` passes [`Pack::validate`]. Positions from another pack or from before a change
//! are a mistake of the caller: they may panic or give a wrong element, and never touch other memory.

mod block;
mod draft;
mod entry;
#[cfg(test)]
mod tests;
mod walk;

pub use draft::Draft;
pub use entry::{Element, Needle};

use block::Block;
use entry::{Encoded, backlen_size, checked_entry_len, decode, entry_end, read_backlen};
use smallvec::SmallVec;

/// Bytes of the header: the total and the count.
const HEADER: usize = 6;
/// The last byte of every pack. No entry begins with it.
const END: u8 = 0xFF;
/// The count that says "more than a `u16` can tell, walk and count".
const UNCOUNTED: u16 = u16::MAX;

/// A sequence of elements in one block of memory.
#[derive(Clone)]
pub struct Pack {
    /// Invariant: a valid listpack and nothing after it.
    bytes: Block,
}

impl Default for Pack {
    fn default() -> Self {
        Pack::new()
    }
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Pack {
    /// The most bytes a pack may take, 1 GiB as in Redis. Callers ask [`Pack::fits`] before they insert
    /// what could pass it.
    pub const MAX_BYTES: usize = Block::MAX;

    /// Bytes of a pack without elements.
    pub const EMPTY_BYTES: usize = HEADER + 1;

    /// An empty pack.
    pub fn new() -> Self {
        Pack { bytes: Block::of(&[0, 0, 0, 0, 0, 0, END]) }
    }

    /// The pack of `elements` in their order, built in one block.
    pub fn of<'a, E: Into<Element<'a>>>(elements: impl IntoIterator<Item = E>) -> Self {
        let mut draft = Draft::new(0);
        elements.into_iter().for_each(|element| draft.push(element));
        draft.finish()
    }

    /// A pack from bytes of unknown origin; `None` unless [`Pack::validate`] accepts them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Pack::validate(bytes).then(|| Pack { bytes: Block::of(bytes) })
    }

    /// Where the block is, without a look at it.
    #[inline]
    pub fn start(&self) -> *const u8 {
        self.bytes.start()
    }

    /// The pack as it travels in DUMP.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `bytes` are one well-formed pack: every entry complete, every length agreeing, the count
    /// right. Reads each entry once and trusts nothing.
    pub fn validate(bytes: &[u8]) -> bool {
        if bytes.len() < Pack::EMPTY_BYTES || bytes.len() > Pack::MAX_BYTES {
            return false;
        }
        let end = bytes.len() - 1;
        let total = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if total != bytes.len() || bytes[end] != END {
            return false;
        }
        let mut position = HEADER;
        let mut count = 0usize;
        while position < end {
            let Some(len) = checked_entry_len(&bytes[position..end]) else { return false };
            let next = position + len + backlen_size(len);
            if next > end || read_backlen(bytes, next) != Some(len) {
                return false;
            }
            position = next;
            count += 1;
        }
        let declared = u16::from_le_bytes([bytes[4], bytes[5]]);
        declared == UNCOUNTED || usize::from(declared) == count
    }

    /// Number of elements. Walks the pack once it has held 65535 of them, as the format cannot say more.
    pub fn len(&self) -> usize {
        match self.count() {
            UNCOUNTED => self.positions_from(HEADER).count(),
            count => usize::from(count),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == Pack::EMPTY_BYTES
    }

    /// Bytes of the block, header and end included.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether elements taking `more` bytes of text can be added within [`Pack::MAX_BYTES`].
    pub fn fits(&self, more: usize) -> bool {
        // Ten bytes are the most that encoding and back length add to one text.
        self.bytes.len().saturating_add(more).saturating_add(10) <= Pack::MAX_BYTES
    }

    // Positions.

    /// Position of the first element.
    pub fn first(&self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER)
    }

    /// Position of the last element.
    pub fn last(&self) -> Option<usize> {
        self.prev(self.end())
    }

    /// Where the element at `position` ends: the position of the next, or the end of the pack.
    #[inline]
    pub fn end_of(&self, position: usize) -> usize {
        entry_end(&self.bytes, position)
    }

    /// Whether `position` is the end of the pack, where inserting adds behind the last element.
    pub fn is_end(&self, position: usize) -> bool {
        position == self.end()
    }

    /// Position after `position`.
    pub fn next(&self, position: usize) -> Option<usize> {
        let next = self.end_of(position);
        (next < self.end()).then_some(next)
    }

    /// Position before `position`.
    pub fn prev(&self, position: usize) -> Option<usize> {
        (position > HEADER).then(|| {
            let len = read_backlen(&self.bytes, position).expect("a pack's own back length");
            position - len - backlen_size(len)
        })
    }

    /// Position of the element at `index`; negative indexes count from the end, -1 being the last.
    pub fn seek(&self, index: isize) -> Option<usize> {
        let steps = if index < 0 { -(index + 1) } else { index } as usize;
        let (mut steps, mut backward) = (steps, index < 0);
        if self.count() != UNCOUNTED {
            let len = usize::from(self.count());
            if steps >= len {
                return None;
            }
            if steps > len / 2 {
                (steps, backward) = (len - 1 - steps, !backward);
            }
        }
        if !backward {
            let position = walk::pass(self.entries(), HEADER, steps);
            return (position < self.end()).then_some(position);
        }
        let mut position = self.last()?;
        for _ in 0..steps {
            position = self.prev(position)?;
        }
        Some(position)
    }

    /// The element at a position.
    #[inline]
    pub fn at(&self, position: usize) -> Element<'_> {
        decode(&self.bytes, position).0
    }

    /// The element at `index`; negative indexes count from the end.
    pub fn get(&self, index: isize) -> Option<Element<'_>> {
        self.seek(index).map(|position| self.at(position))
    }

    /// The elements in order, from either end.
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, front: HEADER, back: self.end() }
    }

    /// The elements from `position` on, from either end.
    pub fn iter_from(&self, position: usize) -> Iter<'_> {
        Iter { bytes: &self.bytes, front: position, back: self.end() }
    }

    /// The elements up to and with the one at `position`, from either end.
    pub fn iter_through(&self, position: usize) -> Iter<'_> {
        Iter { bytes: &self.bytes, front: HEADER, back: self.end_of(position) }
    }

    /// Position of the first element equal to `text` at or after `from`, looking at that element, then
    /// passing over `skip` elements after each one compared: 1 for the fields of a hash.
    pub fn find(&self, text: &[u8], from: usize, skip: usize) -> Option<usize> {
        walk::find(self.entries(), from, &Needle::new(text), skip)
    }

    /// How many pairs of elements lie from `from` up to and without the one at `position`.
    pub fn pairs_between(&self, from: usize, position: usize) -> usize {
        // Pairs, as it is they that are alike: a walk that cannot guess goes from element to element.
        walk::walk::<2>(self.entries(), from, position, usize::MAX).1
    }

    /// The position `count` pairs of elements behind `from`; the end of the pack if there are not as many.
    pub fn pass_pairs(&self, from: usize, count: usize) -> usize {
        walk::walk::<2>(self.entries(), from, self.end(), count).0
    }

    /// The end of the pack, where inserting adds behind the last element.
    pub fn end_position(&self) -> usize {
        self.end()
    }

    // Changes.

    /// Adds an element at the end.
    pub fn push_back<'a>(&mut self, element: impl Into<Element<'a>>) {
        self.splice(self.end(), 0, Encoded::new(element.into()));
        self.count_changed(1);
    }

    /// Adds two elements at the end, for the price of one.
    pub fn push_back_pair<'a>(&mut self, first: impl Into<Element<'a>>, second: impl Into<Element<'a>>) {
        self.insert_pair_before(self.end(), first, second);
    }

    /// Adds two elements before the one at `position` (behind all at the end), for the price of one.
    pub fn insert_pair_before<'a>(
        &mut self,
        position: usize,
        first: impl Into<Element<'a>>,
        second: impl Into<Element<'a>>,
    ) {
        let (first, second) = (Encoded::new(first.into()), Encoded::new(second.into()));
        let middle = position + first.packed_len();
        let stop = middle + second.packed_len();
        self.resize_span(position, 0, stop - position);
        first.write(self.bytes.part_mut(position..middle));
        second.write(self.bytes.part_mut(middle..stop));
        self.count_changed(2);
    }

    /// Adds elements at the end, for the price of one.
    pub fn push_back_all<'a>(&mut self, elements: impl IntoIterator<Item = Element<'a>>) {
        let encoded: SmallVec<[Encoded<'a>; 16]> = elements.into_iter().map(Encoded::new).collect();
        let mut at = self.end();
        self.resize_span(at, 0, encoded.iter().map(Encoded::packed_len).sum());
        for entry in &encoded {
            let next = at + entry.packed_len();
            entry.write(self.bytes.part_mut(at..next));
            at = next;
        }
        self.count_changed(encoded.len() as isize);
    }

    /// Adds an element at the beginning.
    pub fn push_front<'a>(&mut self, element: impl Into<Element<'a>>) {
        self.splice(HEADER, 0, Encoded::new(element.into()));
        self.count_changed(1);
    }

    /// Adds an element before the one at `position` (behind all at the end), which is where it is then found.
    pub fn insert_before<'a>(&mut self, position: usize, element: impl Into<Element<'a>>) {
        self.splice(position, 0, Encoded::new(element.into()));
        self.count_changed(1);
    }

    /// Adds an element after the one at `position`; returns the position of the new one.
    pub fn insert_after<'a>(&mut self, position: usize, element: impl Into<Element<'a>>) -> usize {
        let after = self.end_of(position);
        self.insert_before(after, element);
        after
    }

    /// Puts another element in place of the one at `position`, which stays its position.
    pub fn replace<'a>(&mut self, position: usize, element: impl Into<Element<'a>>) {
        let old = self.end_of(position) - position;
        self.splice(position, old, Encoded::new(element.into()));
    }

    /// Removes the element at `position`; returns the position of the one that followed it.
    pub fn remove(&mut self, position: usize) -> Option<usize> {
        self.remove_at(position, 1);
        (position < self.end()).then_some(position)
    }

    /// Removes up to `count` elements from `position` on; returns how many there were.
    pub fn remove_at(&mut self, position: usize, count: usize) -> usize {
        let (mut stop, mut removed) = (position, 0);
        while removed < count && stop < self.end() {
            stop = self.end_of(stop);
            removed += 1;
        }
        self.resize_span(position, stop - position, 0);
        self.count_changed(-(removed as isize));
        removed
    }

    /// Removes up to `count` elements from `index` on (negative: from the end); returns how many there were.
    pub fn remove_range(&mut self, index: isize, count: usize) -> usize {
        match self.seek(index) {
            Some(position) => self.remove_at(position, count),
            None => 0,
        }
    }

    /// Keeps the elements that `keep` accepts, in one pass; returns how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(Element<'_>) -> bool) -> usize {
        let (mut read, mut write, mut removed) = (HEADER, HEADER, 0);
        while read < self.end() {
            let (element, next) = decode(&self.bytes, read);
            if !keep(element) {
                removed += 1;
            } else if removed == 0 {
                write = next;
            } else {
                self.bytes.part_mut(write..next).copy_within(read - write.., 0);
                write += next - read;
            }
            read = next;
        }
        if removed > 0 {
            self.resize_span(write, self.end() - write, 0);
            self.count_changed(-(removed as isize));
        }
        removed
    }

    /// Removes and returns everything from the element at `position` on.
    pub fn split_off(&mut self, position: usize) -> Pack {
        let moved = self.positions_from(position).count();
        let len = HEADER + self.bytes.len() - position;
        let mut tail = Pack { bytes: Block::zeroed(len) };
        tail.bytes.part_mut(HEADER..len).copy_from_slice(&self.bytes[position..]);
        tail.set_count(moved);
        self.resize_span(position, self.end() - position, 0);
        self.count_changed(-(moved as isize));
        tail
    }

    /// Adds the elements of `other` at the end.
    pub fn append(&mut self, other: &Pack) {
        let entries = &other.bytes[HEADER..other.end()];
        let at = self.end();
        self.resize_span(at, 0, entries.len());
        self.bytes.part_mut(at..at + entries.len()).copy_from_slice(entries);
        match other.count() {
            UNCOUNTED => self.write_count(UNCOUNTED),
            count => self.count_changed(count as isize),
        }
    }

    // The block.

    /// Offset of the end byte, which is where the next element would begin.
    fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    /// The block without its end byte, so that positions in it are those of elements.
    fn entries(&self) -> &[u8] {
        &self.bytes[..self.end()]
    }

    fn positions_from(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        let from = (position < self.end()).then_some(position);
        std::iter::successors(from, |&position| self.next(position))
    }

    fn count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }

    fn write_count(&mut self, count: u16) {
        self.bytes.part_mut(4..HEADER).copy_from_slice(&count.to_le_bytes());
    }

    fn set_count(&mut self, count: usize) {
        self.write_count(u16::try_from(count).unwrap_or(UNCOUNTED));
    }

    /// Adds to the count, unless it is one of those the header has given up on.
    fn count_changed(&mut self, by: isize) {
        if self.is_empty() {
            self.write_count(0);
        } else if self.count() != UNCOUNTED {
            self.set_count((self.count() as isize + by) as usize);
        }
    }

    /// Puts an entry in place of the `old` bytes at `position`.
    fn splice(&mut self, position: usize, old: usize, entry: Encoded<'_>) {
        let new = entry.packed_len();
        self.resize_span(position, old, new);
        entry.write(self.bytes.part_mut(position..position + new));
    }

    /// Makes the `old` bytes at `position` into `new` ones, moving what follows; what the `new` ones hold
    /// is for the caller to write.
    fn resize_span(&mut self, position: usize, old: usize, new: usize) {
        if old == new {
            return;
        }
        assert!(self.bytes.len() - old + new <= Pack::MAX_BYTES, "callers ask whether an element fits");
        self.bytes.resize_span(position, old, new);
    }
}

impl<'p> IntoIterator for &'p Pack {
    type Item = Element<'p>;
    type IntoIter = Iter<'p>;

    fn into_iter(self) -> Iter<'p> {
        self.iter()
    }
}

/// The elements of a pack, from either end.
#[derive(Clone, Default)]
pub struct Iter<'p> {
    bytes: &'p [u8],
    /// Where the next element begins.
    front: usize,
    /// Where the last one ends.
    back: usize,
}

impl<'p> Iterator for Iter<'p> {
    type Item = Element<'p>;

    #[inline]
    fn next(&mut self) -> Option<Element<'p>> {
        if self.front >= self.back {
            return None;
        }
        let (element, next) = decode(self.bytes, self.front);
        self.front = next;
        Some(element)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let len = read_backlen(self.bytes, self.back).expect("a pack's own back length");
        self.back -= len + backlen_size(len);
        Some(decode(self.bytes, self.back).0)
    }
}
