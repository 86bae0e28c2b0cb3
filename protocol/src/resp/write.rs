//! Replies onto the wire, in the protocol version the client asked for.
//!
//! An [`Output`] is what one connection still has to send: bytes, and between them large values that are sent from where
//! they lie in the store. Commands call the method named for what they answer and never look at the version; each
//! kind of reply is encoded here and nowhere else. The socket is unknown: whoever owns it takes [`Output::io_slices`]
//! and says with [`Output::advance`] how much the kernel took.
//!
//! Invariant: `shared` is ordered by `at`, `sent <= at <= buf.len()` for each, and `shared_left` is what they have unsent.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use super::double::{format_double, format_human_double};

/// The version of the protocol a connection speaks (HELLO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Proto {
    /// RESP2, what every connection begins with.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// A value sent from where it lies.
#[derive(Debug, Clone)]
struct Shared {
    /// It goes out before the byte of `buf` at this offset.
    at: usize,
    data: Arc<Vec<u8>>,
}

/// Replies not yet sent.
#[derive(Debug, Default)]
pub struct Output {
    /// The version replies are written in.
    pub proto: Proto,
    buf: Vec<u8>,
    shared: VecDeque<Shared>,
    /// Bytes of `buf` already sent.
    sent: usize,
    /// Bytes of the first of `shared` already sent.
    shared_sent: usize,
    shared_left: usize,
}

/// A point to which [`Output::truncate`] can return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    buf: usize,
    shared: usize,
}

/// An aggregate whose number of elements is not known yet. To be handed to [`Output::set_deferred`].
#[derive(Debug)]
#[must_use = "a reply without its header is garbage to the client"]
pub struct Deferred {
    kind: Aggregate,
    mark: Mark,
}

#[derive(Debug, Clone, Copy)]
enum Aggregate {
    Array,
    Map,
    Set,
    Push,
}

impl Output {
    /// A value at least this long (bytes) is sent from where it lies; copying a shorter one costs less than one more slice
    /// in the vectored write.
    pub const SHARE_MIN: usize = 4096;

    /// An empty output speaking `proto`.
    pub fn new(proto: Proto) -> Self {
        Output { proto, ..Self::default() }
    }

    // ---- What commands answer ----

    /// A status such as `OK`. Line ends in it become blanks.
    #[inline]
    pub fn simple(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'+', text.as_ref());
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// An error: its code, a blank and the message. Line ends in it become blanks, those at its end are dropped.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        let mut text = text.as_ref();
        while let [head @ .., b'\r' | b'\n'] = text {
            text = head;
        }
        self.line(b'-', text);
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A string of bytes, copied.
    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        let room = self.buf.capacity() - self.buf.len();
        let Some((line, len)) = short_line(b'$', value.len()).filter(|_| room >= LINE_MAX + value.len() + 2)
        else {
            return self.any_bulk(value);
        };
        // SAFETY: there is room for a whole line (of which only `len` bytes count), the value and its line end behind what is
        // there; all bytes up to the new length are written. Done in safe steps, each of which looks at the room again, this took
        // half the instructions of an LRANGE.
        unsafe {
            let at = self.buf.as_mut_ptr().add(self.buf.len());
            at.cast::<[u8; LINE_MAX]>().write(line);
            copy(value, at.add(len));
            at.add(len + value.len()).cast::<[u8; 2]>().write(*b"\r\n");
            self.buf.set_len(self.buf.len() + len + value.len() + 2);
        }
    }

    /// A string of bytes, of whatever length and whether there is room for it or not.
    #[cold]
    fn any_bulk(&mut self, value: &[u8]) {
        self.buf.reserve(value.len() + 2 * LINE_MAX);
        self.count(b'$', value.len());
        self.buf.extend_from_slice(value);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// A string of bytes, sent from where it lies when it is long.
    pub fn bulk_shared(&mut self, value: &Arc<Vec<u8>>) {
        self.count(b'$', value.len());
        self.raw_shared(value);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// An integer spelled as a string.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// No value, where a value would be an array.
    #[inline]
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// Opens an array: `len` replies follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.count(b'*', len);
    }

    /// Opens a map: `len` pairs of replies follow.
    #[inline]
    pub fn map(&mut self, len: usize) {
        self.aggregate(Aggregate::Map, len);
    }

    /// Opens a set: `len` replies follow.
    #[inline]
    pub fn set(&mut self, len: usize) {
        self.aggregate(Aggregate::Set, len);
    }

    /// Opens an array of `len` pairs, each to be opened by [`pair`](Self::pair); in RESP2 all their parts follow in one array.
    #[inline]
    pub fn pairs(&mut self, len: usize) {
        self.count(b'*', if self.proto == Proto::Resp2 { len * 2 } else { len });
    }

    /// Opens one of [`pairs`](Self::pairs): two replies follow.
    #[inline]
    pub fn pair(&mut self) {
        if self.proto == Proto::Resp3 {
            self.array(2);
        }
    }

    /// Opens a message that answers no request: `len` replies follow, the first a string that says of what kind it is.
    #[inline]
    pub fn push(&mut self, len: usize) {
        self.aggregate(Aggregate::Push, len);
    }

    /// Opens the attributes of the reply that comes after them: `len` pairs of replies follow. RESP2 has none: then nothing is
    /// written and the answer is false, and the pairs must not be written either.
    #[must_use]
    pub fn attribute(&mut self, len: usize) -> bool {
        if self.proto == Proto::Resp3 {
            self.count(b'|', len);
        }
        self.proto == Proto::Resp3
    }

    /// A floating point number, shortest spelling.
    pub fn double(&mut self, value: f64) {
        self.number(value, format_double);
    }

    /// A floating point number, up to 17 decimals and no exponent.
    pub fn human_double(&mut self, value: f64) {
        self.number(value, format_human_double);
    }

    /// Yes or no; 1 or 0 in RESP2.
    pub fn bool(&mut self, value: bool) {
        match self.proto {
            Proto::Resp2 => self.int(value.into()),
            Proto::Resp3 => self.buf.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// An integer of any size, given its digits; a string in RESP2.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits),
            Proto::Resp3 => self.line(b'(', digits),
        }
    }

    /// A text for people, `format` being `txt` or `mkd`; a plain string in RESP2.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.count(b'=', text.len() + 4);
                self.buf.extend_from_slice(&format);
                self.buf.push(b':');
                self.buf.extend_from_slice(text);
                self.buf.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Bytes that are encoded already, whole replies or not.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Bytes that are encoded already, sent from where they lie when they are many: one message for many connections.
    pub fn raw_shared(&mut self, bytes: &Arc<Vec<u8>>) {
        if bytes.len() < Self::SHARE_MIN {
            self.buf.extend_from_slice(bytes);
        } else {
            self.shared_left += bytes.len();
            self.shared.push_back(Shared { at: self.buf.len(), data: Arc::clone(bytes) });
        }
    }

    // ---- Aggregates counted afterwards ----

    /// Opens an array of a length to be told to [`set_deferred`](Self::set_deferred).
    ///
    /// Deferred aggregates nest: the one opened last is set first, and nothing is sent before all are. Setting one moves what was
    /// written since, so where the count can be had beforehand it is better had.
    pub fn deferred_array(&mut self) -> Deferred {
        self.deferred(Aggregate::Array)
    }

    /// Opens a map, as [`deferred_array`](Self::deferred_array) does an array.
    pub fn deferred_map(&mut self) -> Deferred {
        self.deferred(Aggregate::Map)
    }

    /// Opens a set, as [`deferred_array`](Self::deferred_array) does an array.
    pub fn deferred_set(&mut self) -> Deferred {
        self.deferred(Aggregate::Set)
    }

    /// Opens a push message, as [`deferred_array`](Self::deferred_array) does an array.
    pub fn deferred_push(&mut self) -> Deferred {
        self.deferred(Aggregate::Push)
    }

    /// Puts the header of `deferred` in front of what was written since it was opened: `len` elements, or pairs if it is a map.
    pub fn set_deferred(&mut self, deferred: Deferred, len: usize) {
        let Deferred { kind, mark } = deferred;
        let end = self.buf.len();
        self.aggregate(kind, len);
        let header = self.buf.len() - end;
        self.buf[mark.buf..].rotate_right(header);
        for shared in self.shared.range_mut(mark.shared.min(self.shared.len())..) {
            shared.at += header;
        }
    }

    // ---- Undoing, moving, counting ----

    /// The present end. Good until the next [`advance`](Self::advance) or [`clear`](Self::clear).
    pub fn mark(&self) -> Mark {
        Mark { buf: self.buf.len(), shared: self.shared.len() }
    }

    /// Bytes written since `mark`.
    #[inline]
    pub fn len_since(&self, mark: Mark) -> usize {
        let own = self.buf.len() - mark.buf;
        if self.shared.len() <= mark.shared {
            return own;
        }
        own + self.shared.range(mark.shared..).map(|shared| shared.data.len()).sum::<usize>()
    }

    /// Forgets what was written since `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.buf.truncate(mark.buf);
        let kept = mark.shared.min(self.shared.len());
        self.shared_left -= self.shared.range(kept..).map(|shared| shared.data.len()).sum::<usize>();
        self.shared.truncate(kept);
    }

    /// Moves all that `other` has unsent behind what is here, leaving it empty. Its bytes stay in the version they were written in.
    pub fn append(&mut self, other: &mut Output) {
        if self.is_empty() {
            let proto = self.proto;
            self.clear();
            std::mem::swap(self, other);
            other.proto = std::mem::replace(&mut self.proto, proto);
            return;
        }
        if other.shared_sent > 0 {
            // Half a shared value cannot be named in our list; it is rare enough to be copied.
            let bytes = other.take_bytes();
            return self.raw(&bytes);
        }
        let base = self.buf.len();
        self.buf.extend_from_slice(&other.buf[other.sent..]);
        self.shared_left += other.shared_left;
        let sent = other.sent;
        self.shared.extend(
            other.shared.drain(..).map(|shared| Shared { at: shared.at - sent + base, data: shared.data }),
        );
        other.clear();
    }

    /// Puts bytes where marks are, which ascend. They were made since the last [`advance`](Self::advance).
    pub fn splice(&mut self, inserts: impl IntoIterator<Item = (Mark, impl AsRef<[u8]>)>) {
        let old = std::mem::take(&mut self.buf);
        let (mut done, mut shared_done, mut shift) = (0, 0, 0);
        for (mark, bytes) in inserts {
            self.buf.extend_from_slice(&old[done..mark.buf]);
            self.shared.range_mut(shared_done..mark.shared).for_each(|shared| shared.at += shift);
            self.buf.extend_from_slice(bytes.as_ref());
            (done, shared_done, shift) = (mark.buf, mark.shared, shift + bytes.as_ref().len());
        }
        self.buf.extend_from_slice(&old[done..]);
        self.shared.range_mut(shared_done..).for_each(|shared| shared.at += shift);
    }

    /// Bytes not yet sent.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() - self.sent + self.shared_left
    }

    /// Whether all is sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory this holds by itself, used or spare; shared values are the store's.
    pub fn memory(&self) -> usize {
        self.buf.capacity() + self.shared.capacity() * size_of::<Shared>()
    }

    /// Forgets all and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.buf.clear();
        self.shared.clear();
        self.sent = 0;
        self.shared_sent = 0;
        self.shared_left = 0;
    }

    /// Gives back spare memory beyond `capacity` bytes.
    pub fn shrink_to(&mut self, capacity: usize) {
        self.buf.shrink_to(capacity);
        self.shared.shrink_to(capacity / size_of::<Shared>());
    }

    // ---- Sending ----

    /// All that is unsent if it lies in one piece, as it does unless large values were shared.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.shared.is_empty().then(|| &self.buf[self.sent..])
    }

    /// What is unsent, piece by piece, none of them empty.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks { output: self, at: self.sent, next: 0, skip: self.shared_sent }
    }

    /// Fills `slices` from its start with what is to be sent next, for one vectored write, and returns how many it filled.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, chunk) in slices.iter_mut().zip(self.chunks()) {
            *slot = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Takes note that the next `count` bytes were sent.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "more bytes sent than there were");
        if count == self.len() {
            return self.clear();
        }
        let mut left = count;
        while let Some(first) = self.shared.front() {
            let before = first.at - self.sent;
            if left < before {
                break;
            }
            left -= before;
            self.sent = first.at;
            let rest = first.data.len() - self.shared_sent;
            if left < rest {
                self.shared_sent += left;
                self.shared_left -= left;
                left = 0;
                break;
            }
            left -= rest;
            self.shared_left -= rest;
            self.shared_sent = 0;
            self.shared.pop_front();
        }
        self.sent += left;
        self.compact();
    }

    /// Takes out all that is unsent as one run of bytes.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let bytes = if self.sent == 0 && self.shared.is_empty() {
            std::mem::take(&mut self.buf)
        } else {
            let mut bytes = Vec::with_capacity(self.len());
            self.chunks().for_each(|chunk| bytes.extend_from_slice(chunk));
            bytes
        };
        self.clear();
        bytes
    }

    /// Drops the sent part of the buffer once it is the larger one, so that a client that never quite catches up
    /// does not make it grow forever.
    fn compact(&mut self) {
        const WORTHWHILE: usize = 64 * 1024;
        if self.sent >= WORTHWHILE && self.sent >= self.buf.len() / 2 {
            self.buf.drain(..self.sent);
            for shared in &mut self.shared {
                shared.at -= self.sent;
            }
            self.sent = 0;
        }
    }

    // ---- Encoding ----

    fn deferred(&mut self, kind: Aggregate) -> Deferred {
        Deferred { kind, mark: self.mark() }
    }

    #[inline]
    fn aggregate(&mut self, kind: Aggregate, len: usize) {
        match (self.proto, kind) {
            (Proto::Resp2, Aggregate::Map) => self.count(b'*', len * 2),
            (Proto::Resp2, _) | (_, Aggregate::Array) => self.count(b'*', len),
            (Proto::Resp3, Aggregate::Map) => self.count(b'%', len),
            (Proto::Resp3, Aggregate::Set) => self.count(b'~', len),
            (Proto::Resp3, Aggregate::Push) => self.count(b'>', len),
        }
    }

    #[inline]
    fn count(&mut self, kind: u8, count: usize) {
        self.header(kind, count as i64);
    }

    /// A type byte, a number and a line end.
    #[inline]
    fn header(&mut self, kind: u8, number: i64) {
        match usize::try_from(number).ok().and_then(|number| short_line(kind, number)) {
            Some((line, len)) if self.buf.capacity() - self.buf.len() >= LINE_MAX => {
                // SAFETY: there is room for the whole line, of which only the first `len` bytes count. A store of fixed size is
                // much cheaper than a copy of five bytes.
                unsafe {
                    self.buf.as_mut_ptr().add(self.buf.len()).cast::<[u8; LINE_MAX]>().write(line);
                    self.buf.set_len(self.buf.len() + len);
                }
            }
            _ => self.long_header(kind, number),
        }
    }

    #[cold]
    fn long_header(&mut self, kind: u8, number: i64) {
        self.buf.push(kind);
        self.buf.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.buf.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buf.reserve(text.len() + 3);
        self.buf.push(kind);
        let start = self.buf.len();
        self.buf.extend_from_slice(text);
        if memchr::memchr2(b'\r', b'\n', text).is_some() {
            for byte in &mut self.buf[start..] {
                if matches!(byte, b'\r' | b'\n') {
                    *byte = b' ';
                }
            }
        }
        self.buf.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, value: f64, format: fn(f64, &mut Vec<u8>)) {
        match self.proto {
            Proto::Resp3 => {
                self.buf.push(b',');
                format(value, &mut self.buf);
                self.buf.extend_from_slice(b"\r\n");
            }
            Proto::Resp2 => {
                let start = self.buf.len();
                format(value, &mut self.buf);
                let len = self.buf.len() - start;
                self.count(b'$', len);
                self.buf[start..].rotate_left(len);
                self.buf.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Room for a type byte, eight digits and a line end.
const LINE_MAX: usize = 16;

/// A type byte, a number below 10^8 and a line end, and how long that is; `None` for any other number.
#[inline(always)]
fn short_line(kind: u8, number: usize) -> Option<([u8; LINE_MAX], usize)> {
    let small = |word: u64, len| Some((u128::from(word).to_le_bytes(), len));
    let word = number as u64;
    match number {
        ..10 => small(u64::from(kind) | (word + 0x30) << 8 | 0x0a0d << 16, 4),
        10..100 => {
            let tens = (word * 103) >> 10;
            let digits = tens | (word - tens * 10) << 8 | 0x3030;
            small(u64::from(kind) | digits << 8 | 0x0a0d << 24, 5)
        }
        100..100_000_000 => {
            let (digits, len) = ascii_digits(number as u32);
            let line = u128::from(kind) | u128::from(digits) << 8 | 0x0a0d << (8 * len + 8);
            Some((line.to_le_bytes(), len + 3))
        }
        _ => None,
    }
}

/// Copies `from` to `to`: the few bytes that most values are by two loads that overlap, without a call to the system's library.
///
/// # Safety
///
/// `to` is valid for writing as many bytes, and does not overlap `from`.
#[inline(always)]
unsafe fn copy(from: &[u8], to: *mut u8) {
    /// Copies the first and the last `N` bytes; false unless these are all.
    ///
    /// # Safety
    ///
    /// As [`copy`]'s.
    #[inline(always)]
    unsafe fn ends<const N: usize>(from: &[u8], to: *mut u8) -> bool {
        let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
            return false;
        };
        if from.len() > 2 * N {
            return false;
        }
        // SAFETY: `to` has room for all of `from`, which is `N` bytes long at least.
        unsafe {
            to.cast::<[u8; N]>().write(*first);
            to.add(from.len() - N).cast::<[u8; N]>().write(*last);
        }
        true
    }
    // SAFETY: the caller's promises.
    unsafe {
        if !(ends::<8>(from, to) || ends::<16>(from, to) || ends::<32>(from, to)) {
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
    }
}

/// The decimal digits of a number below 10^8 that is not 0, as the low bytes of a word, first digit lowest, and how many they are.
///
/// The number is halved by 10^4, its halves by 100 and their quarters by 10, each step on all parts at once.
#[inline]
fn ascii_digits(number: u32) -> (u64, usize) {
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | (twos - tens * 10) << 8;
    let zeros = ones.trailing_zeros() as usize / 8;
    ((ones | 0x3030_3030_3030_3030) >> (8 * zeros), 8 - zeros)
}

/// Iterator over the pieces of an [`Output`].
pub struct Chunks<'a> {
    output: &'a Output,
    /// Next byte of the buffer.
    at: usize,
    /// Next shared value.
    next: usize,
    /// Bytes of it to pass over.
    skip: usize,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let output = self.output;
        let upto = match output.shared.get(self.next) {
            Some(shared) if shared.at == self.at => {
                self.next += 1;
                return Some(&shared.data[std::mem::take(&mut self.skip)..]);
            }
            Some(shared) => shared.at,
            None => output.buf.len(),
        };
        let chunk = &output.buf[std::mem::replace(&mut self.at, upto)..upto];
        (!chunk.is_empty()).then_some(chunk)
    }
}

#[cfg(test)]
mod tests;
