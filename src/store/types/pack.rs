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
//! The block is kept exactly as long as its content: growth costs one `realloc`, and the slack that
//! makes this cheap is the allocator's size class, which is spent anyway.
//!
//! The pack knows nothing of what its elements mean; limits on their size and number are its callers'.
//!
//! Invariant: `bytes` passes [`Pack::validate`]. Positions from another pack or from before a change
//! are a mistake of the caller: they may panic or give a wrong element, and never touch other memory.

use std::mem;

#[cfg(test)]
mod tests;

/// Bytes of the header: the total and the count.
const HEADER: usize = 6;
/// Bytes of a pack without elements.
const EMPTY_BYTES: usize = HEADER + 1;
/// The last byte of every pack. No entry begins with it.
const END: u8 = 0xFF;
/// The count that says "more than a `u16` can tell, walk and count".
const UNCOUNTED: u16 = u16::MAX;
/// Decimal digits and sign of the longest `i64`.
const LONGEST_INT: usize = 20;

/// One element of a pack. Equality is by text: `Int(7)` equals `Str(b"7")`.
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    /// A byte string.
    Str(&'a [u8]),
    /// An integer, standing for its decimal text.
    Int(i64),
}

impl<'a> Element<'a> {
    /// The text of the element. An integer is written into `buffer` first.
    pub fn as_bytes(self, buffer: &'a mut itoa::Buffer) -> &'a [u8] {
        match self {
            Element::Str(text) => text,
            Element::Int(number) => buffer.format(number).as_bytes(),
        }
    }

    /// Appends the text of the element to `out`.
    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes(&mut itoa::Buffer::new()));
    }

    /// The text of the element, owned.
    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// Length of the text in bytes.
    pub fn text_len(self) -> usize {
        match self {
            Element::Str(text) => text.len(),
            Element::Int(number) => {
                let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(number < 0)
            }
        }
    }

    /// The element as an integer, if its text is the canonical form of one.
    pub fn int(self) -> Option<i64> {
        match self {
            Element::Str(text) => canonical_int(text),
            Element::Int(number) => Some(number),
        }
    }

    /// Whether the text of the element is `text`. To compare many elements with one text, make a [`Needle`].
    pub fn eq_bytes(self, text: &[u8]) -> bool {
        match self {
            Element::Str(own) => own == text,
            Element::Int(number) => canonical_int(text) == Some(number),
        }
    }

    /// Bytes the element takes in a pack, whichever pack it is.
    pub fn packed_len(self) -> usize {
        let entry = Encoded::new(self).len();
        entry + backlen_size(entry)
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Element::Int(a), Element::Int(b)) => a == b,
            (a, Element::Str(text)) | (Element::Str(text), a) => a.eq_bytes(text),
        }
    }
}

impl Eq for Element<'_> {}

impl<'a> From<&'a [u8]> for Element<'a> {
    fn from(text: &'a [u8]) -> Self {
        Element::Str(text)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Element<'a> {
    fn from(text: &'a [u8; N]) -> Self {
        Element::Str(text)
    }
}

impl<'a> From<&'a Vec<u8>> for Element<'a> {
    fn from(text: &'a Vec<u8>) -> Self {
        Element::Str(text)
    }
}

impl From<i64> for Element<'_> {
    fn from(number: i64) -> Self {
        Element::Int(number)
    }
}

/// A text to look for, parsed once for comparing with many elements.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    text: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Prepares `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Needle { text, int: canonical_int(text) }
    }

    /// Whether `element` has this text.
    #[inline]
    pub fn matches(&self, element: Element<'_>) -> bool {
        match element {
            Element::Str(text) => text == self.text,
            Element::Int(number) => self.int == Some(number),
        }
    }
}

/// A sequence of elements in one block of memory.
#[derive(Clone)]
pub struct Pack {
    /// Invariant: a valid listpack and nothing after it.
    bytes: Box<[u8]>,
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
    pub const MAX_BYTES: usize = 1 << 30;

    /// An empty pack.
    pub fn new() -> Self {
        Pack { bytes: Box::new([EMPTY_BYTES as u8, 0, 0, 0, 0, 0, END]) }
    }

    /// The pack of `elements` in their order, built in one block.
    pub fn of<'a, E: Into<Element<'a>>>(elements: impl IntoIterator<Item = E>) -> Self {
        let mut bytes = vec![0; HEADER];
        let mut count = 0;
        for element in elements {
            Encoded::new(element.into()).append_to(&mut bytes);
            count += 1;
        }
        bytes.push(END);
        assert!(bytes.len() <= Pack::MAX_BYTES, "callers bound what they pack");
        let mut pack = Pack { bytes: bytes.into_boxed_slice() };
        pack.write_total();
        pack.set_count(count);
        pack
    }

    /// A pack from bytes of unknown origin; `None` unless [`Pack::validate`] accepts them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Pack::validate(bytes).then(|| Pack { bytes: bytes.into() })
    }

    /// The pack as it travels in DUMP.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `bytes` are one well-formed pack: every entry complete, every length agreeing, the count
    /// right. Reads each entry once and trusts nothing.
    pub fn validate(bytes: &[u8]) -> bool {
        if bytes.len() < EMPTY_BYTES || bytes.len() > Pack::MAX_BYTES {
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
        self.bytes.len() == EMPTY_BYTES
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

    /// Position after `position`.
    pub fn next(&self, position: usize) -> Option<usize> {
        let next = self.after(position);
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
        let mut position = if backward { self.last()? } else { self.first()? };
        for _ in 0..steps {
            position = if backward { self.prev(position)? } else { self.next(position)? };
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

    /// Position of the first element equal to `text` at or after `from`, looking at that element, then
    /// passing over `skip` elements after each one compared: 1 for the fields of a hash.
    pub fn find(&self, text: &[u8], from: usize, skip: usize) -> Option<usize> {
        let needle = Needle::new(text);
        let (mut position, end) = (from, self.end());
        while position < end {
            let (element, mut next) = decode(&self.bytes, position);
            if needle.matches(element) {
                return Some(position);
            }
            for _ in 0..skip {
                if next >= end {
                    return None;
                }
                next = self.after(next);
            }
            position = next;
        }
        None
    }

    // Changes.

    /// Adds an element at the end.
    pub fn push_back<'a>(&mut self, element: impl Into<Element<'a>>) {
        self.splice(self.end(), 0, Encoded::new(element.into()));
        self.count_changed(1);
    }

    /// Adds an element at the beginning.
    pub fn push_front<'a>(&mut self, element: impl Into<Element<'a>>) {
        self.splice(HEADER, 0, Encoded::new(element.into()));
        self.count_changed(1);
    }

    /// Adds an element before the one at `position`, which becomes the position of the new one.
    pub fn insert_before<'a>(&mut self, position: usize, element: impl Into<Element<'a>>) {
        self.splice(position, 0, Encoded::new(element.into()));
        self.count_changed(1);
    }

    /// Adds an element after the one at `position`; returns the position of the new one.
    pub fn insert_after<'a>(&mut self, position: usize, element: impl Into<Element<'a>>) -> usize {
        let after = self.after(position);
        self.insert_before(after, element);
        after
    }

    /// Puts another element in place of the one at `position`, which stays its position.
    pub fn replace<'a>(&mut self, position: usize, element: impl Into<Element<'a>>) {
        let old = self.after(position) - position;
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
            stop = self.after(stop);
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

    /// Removes and returns everything from the element at `position` on.
    pub fn split_off(&mut self, position: usize) -> Pack {
        let moved = self.positions_from(position).count();
        let mut bytes = Vec::with_capacity(HEADER + self.bytes.len() - position);
        bytes.extend_from_slice(&[0; HEADER]);
        bytes.extend_from_slice(&self.bytes[position..]);
        let mut tail = Pack { bytes: bytes.into_boxed_slice() };
        tail.write_total();
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
        self.bytes[at..at + entries.len()].copy_from_slice(entries);
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

    /// Where the entry at `position` ends.
    #[inline]
    fn after(&self, position: usize) -> usize {
        let len = entry_len(&self.bytes[position..]);
        position + len + backlen_size(len)
    }

    fn positions_from(&self, position: usize) -> impl Iterator<Item = usize> + '_ {
        let from = (position < self.end()).then_some(position);
        std::iter::successors(from, |&position| self.next(position))
    }

    fn count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }

    fn write_count(&mut self, count: u16) {
        self.bytes[4..HEADER].copy_from_slice(&count.to_le_bytes());
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

    fn write_total(&mut self) {
        let total = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
    }

    /// Puts an entry in place of the `old` bytes at `position`.
    fn splice(&mut self, position: usize, old: usize, entry: Encoded<'_>) {
        let len = entry.len();
        let new = len + backlen_size(len);
        self.resize_span(position, old, new);
        entry.write(&mut self.bytes[position..position + new]);
    }

    /// Makes the `old` bytes at `position` into `new` ones, moving what follows; what the `new` ones hold
    /// is for the caller to write.
    fn resize_span(&mut self, position: usize, old: usize, new: usize) {
        if old == new {
            return;
        }
        let len = self.bytes.len();
        let total = len - old + new;
        assert!(total <= Pack::MAX_BYTES, "callers ask whether an element fits");
        let mut bytes = mem::take(&mut self.bytes).into_vec();
        if new > old {
            bytes.reserve_exact(new - old);
            bytes.resize(total, 0);
            bytes.copy_within(position + old..len, position + new);
        } else {
            bytes.copy_within(position + old..len, position + new);
            bytes.truncate(total);
        }
        self.bytes = bytes.into_boxed_slice();
        self.write_total();
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
#[derive(Clone)]
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

/// The integer whose decimal text is exactly `text`: no sign but a minus, no leading zero, within `i64`.
pub fn canonical_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let first = *digits.first()?;
    if text.len() > LONGEST_INT || !(b'1'..=b'9').contains(&first) {
        return (text == b"0").then_some(0);
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// An element ready to be written: what precedes the text, and the text (none for an integer).
struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    text: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn new(element: Element<'a>) -> Self {
        match element {
            Element::Int(number) => Encoded::int(number),
            Element::Str(text) => match canonical_int(text) {
                Some(number) => Encoded::int(number),
                None => Encoded::text(text),
            },
        }
    }

    fn int(number: i64) -> Self {
        let raw = number.to_le_bytes();
        match number {
            0..=0x7F => Encoded::with_head(&[number as u8], b""),
            -0x1000..=0xFFF => Encoded::with_head(&[0xC0 | (raw[1] & 0x1F), raw[0]], b""),
            -0x8000..=0x7FFF => Encoded::with_head(&[0xF1, raw[0], raw[1]], b""),
            -0x80_0000..=0x7F_FFFF => Encoded::with_head(&[0xF2, raw[0], raw[1], raw[2]], b""),
            -0x8000_0000..=0x7FFF_FFFF => Encoded::with_head(&[0xF3, raw[0], raw[1], raw[2], raw[3]], b""),
            _ => {
                let mut head = [0xF4; 9];
                head[1..].copy_from_slice(&raw);
                Encoded { head, head_len: 9, text: b"" }
            }
        }
    }

    fn text(text: &'a [u8]) -> Self {
        let len = (text.len() as u32).to_le_bytes();
        match text.len() {
            0..=0x3F => Encoded::with_head(&[0x80 | len[0]], text),
            0x40..=0xFFF => Encoded::with_head(&[0xE0 | len[1], len[0]], text),
            _ => Encoded::with_head(&[0xF0, len[0], len[1], len[2], len[3]], text),
        }
    }

    fn with_head(start: &[u8], text: &'a [u8]) -> Self {
        let mut head = [0; 9];
        head[..start.len()].copy_from_slice(start);
        Encoded { head, head_len: start.len(), text }
    }

    /// Bytes of the entry without its back length.
    fn len(&self) -> usize {
        self.head_len + self.text.len()
    }

    /// Writes entry and back length over the whole of `out`.
    fn write(&self, out: &mut [u8]) {
        let len = self.len();
        out[..self.head_len].copy_from_slice(&self.head[..self.head_len]);
        out[self.head_len..len].copy_from_slice(self.text);
        write_backlen(&mut out[len..], len);
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        let (start, len) = (out.len(), self.len());
        out.resize(start + len + backlen_size(len), 0);
        self.write(&mut out[start..]);
    }
}

/// Bytes an entry of `len` bytes spends on its back length. The bounds are a step short of what the
/// bytes could say; the format fixed them so, and a reader computes them as we do.
#[inline]
fn backlen_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// Writes `len` over the whole of `out`: seven bits to a byte, the lowest last, and every byte but the
/// first marked with its top bit, so that a reader coming from behind knows where to stop.
fn write_backlen(out: &mut [u8], len: usize) {
    let mut rest = len;
    for byte in out.iter_mut().rev() {
        *byte = (rest & 0x7F) as u8 | 0x80;
        rest >>= 7;
    }
    out[0] &= 0x7F;
}

/// Reads the back length that ends just before `end`; `None` if it is longer than five bytes.
#[inline]
fn read_backlen(bytes: &[u8], end: usize) -> Option<usize> {
    let mut len = 0usize;
    for (nth, &byte) in bytes[..end].iter().rev().take(5).enumerate() {
        len |= usize::from(byte & 0x7F) << (7 * nth);
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

/// Bytes of the entry at the start of `entry`, without its back length.
#[inline]
fn entry_len(entry: &[u8]) -> usize {
    match entry[0] {
        0..=0x7F => 1,
        head @ 0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0xC0..=0xDF => 2,
        head @ 0xE0..=0xEF => 2 + (usize::from(head & 0x0F) << 8 | usize::from(entry[1])),
        0xF0 => 5 + u32::from_le_bytes([entry[1], entry[2], entry[3], entry[4]]) as usize,
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        other => unreachable!("no entry of a valid pack begins with {other:#x}"),
    }
}

/// [`entry_len`] for bytes nobody has checked; `None` if the encoding is unknown or the entry passes
/// the end of `entry`.
fn checked_entry_len(entry: &[u8]) -> Option<usize> {
    let head_len = match entry.first()? {
        0xE0..=0xEF => 2,
        0xF0 => 5,
        0xF5..=0xFF => return None,
        _ => 1,
    };
    if entry.len() < head_len {
        return None;
    }
    let len = entry_len(entry);
    (len <= entry.len()).then_some(len)
}

/// The element at `position` and where the entry ends, which is where the next begins.
#[inline]
fn decode(bytes: &[u8], position: usize) -> (Element<'_>, usize) {
    let entry = &bytes[position..];
    let len = entry_len(entry);
    let entry = &entry[..len];
    let element = match entry[0] {
        head @ 0..=0x7F => Element::Int(i64::from(head)),
        0x80..=0xBF => Element::Str(&entry[1..]),
        0xE0..=0xEF => Element::Str(&entry[2..]),
        0xF0 => Element::Str(&entry[5..]),
        // Thirteen bits, shifted to the top and back down to bring the sign along.
        head @ 0xC0..=0xDF => {
            let bits = u16::from_be_bytes([head, entry[1]]) << 3;
            Element::Int(i64::from((bits as i16) >> 3))
        }
        _ => {
            let mut raw = if entry[len - 1] & 0x80 == 0 { [0; 8] } else { [0xFF; 8] };
            raw[..len - 1].copy_from_slice(&entry[1..]);
            Element::Int(i64::from_le_bytes(raw))
        }
    };
    (element, position + len + backlen_size(len))
}
