//! One key and its value in one allocation.
//!
//! ```text
//! 0      tag, flags, clock (3 bytes), key length (1), inline value length (2)
//! 8      [expiry: i64 ms] [CAS: u64] [word: an integer, a shared string or an object]
//! then   [long key length: u32] [client flags: u32] key, inline value
//! ```
//!
//! What is not there costs nothing: a 16-byte key with a 64-byte value and a time to live is 96 bytes.
//! Everything unsafe about the layout is in this file; the rest of the store sees references.
//!
//! Invariant: `tag` and `flags` say exactly which fields are present, so `size()` is what was allocated.

use super::table::Keyed;
use super::value::Object;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Strings up to this length lie in the entry; longer ones are shared, so that a reply need not copy them.
pub const INLINE_MAX: usize = 4096;

/// Redis calls a string up to this length `embstr`.
const EMBSTR_MAX: usize = 44;

const HEADER: usize = 8;
const EXPIRY: u8 = 1;
const CAS: u8 = 2;
const LONG_KEY: u8 = 4;
const CLIENT_FLAGS: u8 = 8;
/// Set on strings that were changed in place, which Redis calls `raw` whatever their length.
const RAW: u8 = 16;
/// The bits of [`Mark`].
const MARKS: u8 = 32 | 64 | 128;

/// What the meta commands of memcached remember of a value. Another value has none of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mark {
    /// It has been read.
    Fetched = 32,
    /// It is out of date, and served until there is another.
    Stale = 64,
    /// One client has been told to renew it.
    Won = 128,
}

/// A set of [`Mark`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Marks(u8);

impl Marks {
    /// As a number.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// From the number that [`Marks::bits`] gave; what is none of them is left out.
    pub fn from_bits(bits: u8) -> Marks {
        Marks(bits & MARKS)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Inline,
    Int,
    Shared,
    Object,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    tag: Tag,
    flags: u8,
    clock: [u8; 3],
    key_len: u8,
    value_len: u16,
}

const _: () = assert!(size_of::<Header>() == HEADER);
const _: () = assert!(size_of::<Arc<Vec<u8>>>() == 8 && size_of::<Box<Object>>() == 8);

/// What an entry is made of besides its key.
pub enum Payload<'a> {
    /// A string to copy into the entry.
    Inline(&'a [u8]),
    /// A string that is a canonical decimal integer.
    Int(i64),
    /// A long string.
    Shared(Arc<Vec<u8>>),
    /// Anything but a string.
    Object(Box<Object>),
}

impl<'a> Payload<'a> {
    /// How a string written by a client is held.
    #[inline]
    pub fn string(bytes: &'a [u8]) -> Self {
        if let Some(n) = integer(bytes) {
            return Payload::Int(n);
        }
        Payload::text(bytes)
    }

    /// How a string is held that must not turn into an integer.
    #[inline]
    pub fn text(bytes: &'a [u8]) -> Self {
        if bytes.len() <= INLINE_MAX {
            Payload::Inline(bytes)
        } else {
            Payload::Shared(Arc::new(bytes.to_vec()))
        }
    }

    fn word(&self) -> bool {
        !matches!(self, Payload::Inline(_))
    }
}

#[inline]
fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'0'..=b'9' | b'-', ..] if bytes.len() <= 20 => crate::text::number::parse_i64(bytes),
        _ => None,
    }
}

/// What travels with a value.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Extras {
    /// Unix time in ms at which the entry is gone.
    pub expires_at: Option<i64>,
    /// The opaque number a memcached client stored beside the value; 0 takes no room.
    pub client_flags: u32,
    /// The unique number of this version of the value; 0 while nobody has asked for one.
    pub cas: u64,
}

/// A look at an entry's value.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string in the entry.
    Inline(&'a [u8]),
    /// A string held as an integer.
    Int(i64),
    /// A long string.
    Shared(&'a Arc<Vec<u8>>),
    /// Anything but a string.
    Object(&'a Object),
}

/// A key, its value and what belongs to them.
pub struct Entry(NonNull<Header>);

// SAFETY: an entry owns its allocation and the `Arc` or `Box` in it, all of which are Send and Sync, and
// hands out access through `&self` and `&mut self` only.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Object>();
};

impl Keyed for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        let header = self.header();
        let len = if header.flags & LONG_KEY != 0 {
            // SAFETY: the flag says that the length lies there.
            unsafe { self.at::<u32>(header.words_end()).read_unaligned() as usize }
        } else {
            header.key_len as usize
        };
        // SAFETY: the key lies behind the fields the header names, `len` bytes long.
        unsafe { std::slice::from_raw_parts(self.at::<u8>(header.key_at()), len) }
    }
}

impl Header {
    #[inline]
    fn has(self, flag: u8) -> usize {
        usize::from(self.flags & flag != 0)
    }

    #[inline]
    fn cas_at(self) -> usize {
        HEADER + 8 * self.has(EXPIRY)
    }

    #[inline]
    fn word_at(self) -> usize {
        self.cas_at() + 8 * self.has(CAS)
    }

    #[inline]
    fn words_end(self) -> usize {
        self.word_at() + 8 * usize::from(self.tag != Tag::Inline)
    }

    #[inline]
    fn client_flags_at(self) -> usize {
        self.words_end() + 4 * self.has(LONG_KEY)
    }

    #[inline]
    fn key_at(self) -> usize {
        self.client_flags_at() + 4 * self.has(CLIENT_FLAGS)
    }
}

impl Entry {
    /// An entry for `key` (shorter than 4 GiB) holding `payload`.
    pub fn new(key: &[u8], payload: Payload<'_>, extras: Extras) -> Self {
        let header = Self::shape(key, &payload, extras);
        let size = header.key_at() + key.len() + header.value_len as usize;
        let layout = Self::layout(size);
        // SAFETY: the size is at least that of the header.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else {
            handle_alloc_error(layout)
        };
        let mut entry = Entry(at);
        // SAFETY: fresh memory of `size` bytes; `shape` laid out all that is written here within it.
        unsafe {
            at.write(header);
            if header.flags & LONG_KEY != 0 {
                entry.at_mut::<u32>(header.words_end()).write_unaligned(key.len() as u32);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), entry.at_mut(header.key_at()), key.len());
        }
        entry.fill(header, key.len(), payload, extras);
        entry
    }

    /// Gives the entry another value, in the same memory where the shape allows.
    pub fn assign(&mut self, payload: Payload<'_>, extras: Extras) {
        let old = *self.header();
        let mut header = Self::shape(self.key(), &payload, extras);
        header.clock = old.clock;
        let kept = old.key_at() == header.key_at()
            && old.value_len == header.value_len
            && old.flags & !(RAW | MARKS) == header.flags;
        if !kept {
            let mut new = Entry::new(self.key(), payload, extras);
            new.set_clock(self.clock());
            *self = new;
            return;
        }
        let key_len = self.key().len();
        self.drop_word();
        // SAFETY: same size and same key position, so this changes no bounds; the old word was dropped and
        // `fill` writes the new one before anyone looks.
        unsafe { self.0.write(header) };
        self.fill(header, key_len, payload, extras);
    }

    fn shape(key: &[u8], payload: &Payload<'_>, extras: Extras) -> Header {
        let (tag, value_len) = match payload {
            Payload::Inline(bytes) => {
                (Tag::Inline, u16::try_from(bytes.len()).expect("inline values are short"))
            }
            Payload::Int(_) => (Tag::Int, 0),
            Payload::Shared(_) => (Tag::Shared, 0),
            Payload::Object(_) => (Tag::Object, 0),
        };
        let key_len = u8::try_from(key.len());
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let flags = flag(extras.expires_at.is_some(), EXPIRY)
            | flag(extras.cas != 0, CAS)
            | flag(key_len.is_err(), LONG_KEY)
            | flag(extras.client_flags != 0, CLIENT_FLAGS);
        debug_assert_eq!(payload.word(), tag != Tag::Inline);
        Header { tag, flags, clock: [0; 3], key_len: key_len.unwrap_or(0), value_len }
    }

    /// Writes what travels with the value; all of it that is there is named by `header`, already in place.
    #[inline]
    fn write_extras(&mut self, header: Header, extras: Extras) {
        // SAFETY: each field is written where `header` puts it, within the allocation; the words are aligned
        // to 8 as the allocation is.
        unsafe {
            if let Some(at_ms) = extras.expires_at {
                self.at_mut::<i64>(HEADER).write(at_ms);
            }
            if extras.cas != 0 {
                self.at_mut::<u64>(header.cas_at()).write(extras.cas);
            }
            if extras.client_flags != 0 {
                self.at_mut::<u32>(header.client_flags_at()).write_unaligned(extras.client_flags);
            }
        }
    }

    /// Writes the fields and the value that `header`, already in place, says are there.
    fn fill(&mut self, header: Header, key_len: usize, payload: Payload<'_>, extras: Extras) {
        self.write_extras(header, extras);
        // SAFETY: as for the extras.
        unsafe {
            match payload {
                Payload::Inline(bytes) => {
                    let to = self.at_mut::<u8>(header.key_at() + key_len);
                    ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                }
                Payload::Int(n) => self.at_mut::<i64>(header.word_at()).write(n),
                Payload::Shared(bytes) => self.at_mut::<Arc<Vec<u8>>>(header.word_at()).write(bytes),
                Payload::Object(object) => self.at_mut::<Box<Object>>(header.word_at()).write(object),
            }
        }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        let header = *self.header();
        // SAFETY: the tag says what lies at the word, or that the value follows the key.
        unsafe {
            match header.tag {
                Tag::Inline => {
                    let at = self.at::<u8>(header.key_at() + self.key().len());
                    ValueRef::Inline(std::slice::from_raw_parts(at, header.value_len as usize))
                }
                Tag::Int => ValueRef::Int(self.at::<i64>(header.word_at()).read()),
                Tag::Shared => ValueRef::Shared(&*self.at::<Arc<Vec<u8>>>(header.word_at())),
                Tag::Object => ValueRef::Object(&*self.at::<Box<Object>>(header.word_at())),
            }
        }
    }

    /// The object, to change; nothing for a string.
    #[inline]
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        let header = *self.header();
        // SAFETY: the tag says that a `Box<Object>` lies there.
        (header.tag == Tag::Object).then(|| unsafe { &mut **self.at_mut::<Box<Object>>(header.word_at()) })
    }

    /// The bytes of a long string, to change; copied first where a reply still holds them.
    pub fn shared_mut(&mut self) -> Option<&mut Vec<u8>> {
        let header = *self.header();
        // SAFETY: the tag says that an `Arc` lies there.
        (header.tag == Tag::Shared)
            .then(|| Arc::make_mut(unsafe { &mut *self.at_mut::<Arc<Vec<u8>>>(header.word_at()) }))
    }

    /// The bytes of a short string that is not an integer, to change without a change of length.
    pub fn inline_mut(&mut self) -> Option<&mut [u8]> {
        let header = *self.header();
        let key_len = self.key().len();
        // SAFETY: the tag says that the value follows the key, `value_len` bytes long.
        (header.tag == Tag::Inline).then(|| unsafe {
            let at = self.at_mut::<u8>(header.key_at() + key_len);
            std::slice::from_raw_parts_mut(at, header.value_len as usize)
        })
    }

    /// Overwrites the integer of an entry that holds one.
    #[inline]
    pub fn set_int(&mut self, n: i64) -> bool {
        let header = *self.header();
        if header.tag == Tag::Int {
            // SAFETY: the tag says that an integer lies there.
            unsafe { self.at_mut::<i64>(header.word_at()).write(n) };
        }
        header.tag == Tag::Int
    }

    /// What travels with the value.
    pub fn extras(&self) -> Extras {
        Extras { expires_at: self.expires_at(), client_flags: self.client_flags(), cas: self.cas() }
    }

    /// Unix time in ms at which the entry is gone.
    #[inline]
    pub fn expires_at(&self) -> Option<i64> {
        // SAFETY: the flag says that an expiry lies there.
        (self.header().flags & EXPIRY != 0).then(|| unsafe { self.at::<i64>(HEADER).read() })
    }

    /// Whether the entry is gone by `now_ms`.
    #[inline]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at().is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// The earliest Unix time in ms at which a part of the value is gone: see [`Object::field_expiry`].
    pub fn field_expiry(&self) -> Option<i64> {
        match self.value() {
            ValueRef::Object(object) => object.field_expiry(),
            _ => None,
        }
    }

    /// The earliest Unix time in ms at which the entry or a part of its value is gone.
    pub fn next_expiry(&self) -> Option<i64> {
        self.expires_at().into_iter().chain(self.field_expiry()).min()
    }

    /// The memcached client's number beside the value.
    pub fn client_flags(&self) -> u32 {
        let header = self.header();
        if header.flags & CLIENT_FLAGS == 0 {
            return 0;
        }
        // SAFETY: the flag says that the number lies there.
        unsafe { self.at::<u32>(header.client_flags_at()).read_unaligned() }
    }

    /// The unique number of this version of the value, 0 if it was never asked for.
    pub fn cas(&self) -> u64 {
        let header = self.header();
        // SAFETY: the flag says that the number lies there.
        if header.flags & CAS == 0 { 0 } else { unsafe { self.at::<u64>(header.cas_at()).read() } }
    }

    /// Sets what travels with the value. Only [`Db`](super::db::Db) may change the expiry, which it indexes.
    pub(super) fn set_extras(&mut self, extras: Extras) {
        let header = *self.header();
        let same_shape = extras.expires_at.is_some() == (header.flags & EXPIRY != 0)
            && (extras.cas != 0) == (header.flags & CAS != 0)
            && (extras.client_flags != 0) == (header.flags & CLIENT_FLAGS != 0);
        if same_shape {
            return self.write_extras(header, extras);
        }
        let kept = self.header().flags & (RAW | MARKS);
        let shared;
        let payload = match self.value() {
            ValueRef::Inline(bytes) => {
                let mut new = Entry::new(self.key(), Payload::Inline(bytes), extras);
                new.set_clock(self.clock());
                new.header_mut().flags |= kept;
                *self = new;
                return;
            }
            ValueRef::Int(n) => Payload::Int(n),
            ValueRef::Shared(bytes) => {
                shared = Arc::clone(bytes);
                Payload::Shared(shared)
            }
            ValueRef::Object(_) => Payload::Object(self.take_object()),
        };
        self.assign(payload, extras);
        self.header_mut().flags |= kept;
    }

    /// Forgets the version number, as the value has changed.
    pub(super) fn drop_cas(&mut self) {
        if self.header().flags & CAS != 0 {
            self.set_extras(Extras { cas: 0, ..self.extras() });
        }
    }

    /// Moves the object out and leaves an integer in its place.
    fn take_object(&mut self) -> Box<Object> {
        let header = *self.header();
        assert!(header.tag == Tag::Object, "only an object can be taken");
        let word = self.at_mut::<Box<Object>>(header.word_at());
        // SAFETY: the tag says that a box lies there; the tag is changed before anyone can read it again.
        let object = unsafe { word.read() };
        self.header_mut().tag = Tag::Int;
        // SAFETY: an integer takes the same aligned eight bytes.
        unsafe { word.cast::<i64>().write(0) };
        object
    }

    /// Takes out the object of an entry that is given another value next; nothing for a string.
    #[inline]
    pub(super) fn displace(&mut self) -> Option<Box<Object>> {
        (self.header().tag == Tag::Object).then(|| self.take_object())
    }

    /// The value as an owned object, for an entry that is being dropped.
    pub fn into_object(mut self) -> Option<Box<Object>> {
        (self.header().tag == Tag::Object).then(|| self.take_object())
    }

    /// Whether the value bears a mark.
    #[inline]
    pub fn is_marked(&self, mark: Mark) -> bool {
        self.header().flags & mark as u8 != 0
    }

    /// Puts a mark on the value, or takes it off.
    #[inline]
    pub fn mark(&mut self, mark: Mark, on: bool) {
        if self.is_marked(mark) != on {
            self.header_mut().flags ^= mark as u8;
        }
    }

    /// All marks the value bears.
    pub fn marks(&self) -> Marks {
        Marks(self.header().flags & MARKS)
    }

    /// Replaces all marks.
    pub fn set_marks(&mut self, marks: Marks) {
        let header = self.header_mut();
        header.flags = header.flags & !MARKS | marks.0;
    }

    /// Marks a string as changed in place.
    pub fn set_raw(&mut self) {
        self.header_mut().flags |= RAW;
    }

    /// Redis's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self.value() {
            ValueRef::Object(object) => object.type_name(),
            ValueRef::Inline(_) | ValueRef::Int(_) | ValueRef::Shared(_) => "string",
        }
    }

    /// Redis's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self.value() {
            ValueRef::Int(_) => "int",
            ValueRef::Inline(bytes) if bytes.len() <= EMBSTR_MAX && self.header().flags & RAW == 0 => {
                "embstr"
            }
            ValueRef::Inline(_) | ValueRef::Shared(_) => "raw",
            ValueRef::Object(object) => object.encoding(),
        }
    }

    /// Has the processor fetch the entry, as far as a small one reaches, without waiting for it.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(self.at(0));
        prefetch(self.at(64));
    }

    /// The 24 bits of access history the eviction policy keeps.
    #[inline]
    pub fn clock(&self) -> u32 {
        let [a, b, c] = self.header().clock;
        u32::from_le_bytes([a, b, c, 0])
    }

    /// Replaces the access history; only the low 24 bits are kept.
    #[inline]
    pub fn set_clock(&mut self, clock: u32) {
        let [a, b, c, _] = clock.to_le_bytes();
        self.header_mut().clock = [a, b, c];
    }

    /// A copy under another key.
    pub fn copy_as(&self, key: &[u8]) -> Entry {
        let payload = match self.value() {
            ValueRef::Inline(bytes) => Payload::Inline(bytes),
            ValueRef::Int(n) => Payload::Int(n),
            ValueRef::Shared(bytes) => Payload::Shared(Arc::clone(bytes)),
            ValueRef::Object(object) => Payload::Object(Box::new(object.clone())),
        };
        let mut copy = Entry::new(key, payload, Extras { cas: 0, ..self.extras() });
        copy.header_mut().flags |= self.header().flags & RAW;
        copy.set_clock(self.clock());
        copy
    }

    /// The same entry under another key; an object is moved, not copied.
    pub fn renamed(mut self, key: &[u8]) -> Entry {
        if self.header().tag != Tag::Object {
            return self.copy_as(key);
        }
        let (extras, clock) = (self.extras(), self.clock());
        let mut entry = Entry::new(key, Payload::Object(self.take_object()), extras);
        entry.set_clock(clock);
        entry
    }

    /// Bytes of the entry itself, without what a shared string or an object owns.
    pub fn size(&self) -> usize {
        let header = self.header();
        header.key_at() + self.key().len() + header.value_len as usize
    }

    /// Bytes of the entry and all it owns.
    pub fn memory_bytes(&self) -> usize {
        self.size()
            + match self.value() {
                ValueRef::Shared(bytes) => bytes.capacity() + 40,
                ValueRef::Object(object) => object.memory_bytes(),
                ValueRef::Inline(_) | ValueRef::Int(_) => 0,
            }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the allocation begins with a header for as long as the entry lives.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `header`, and `&mut self` is exclusive.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    fn at<T>(&self, offset: usize) -> *const T {
        self.0.as_ptr().cast::<u8>().cast_const().wrapping_add(offset).cast()
    }

    #[inline]
    fn at_mut<T>(&mut self, offset: usize) -> *mut T {
        self.0.as_ptr().cast::<u8>().wrapping_add(offset).cast()
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("an entry is smaller than the address space")
    }

    fn drop_word(&mut self) {
        let header = *self.header();
        // SAFETY: the tag says what lies at the word; the caller overwrites or frees it next.
        unsafe {
            match header.tag {
                Tag::Inline | Tag::Int => {}
                Tag::Shared => ptr::drop_in_place(self.at_mut::<Arc<Vec<u8>>>(header.word_at())),
                Tag::Object => ptr::drop_in_place(self.at_mut::<Box<Object>>(header.word_at())),
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let layout = Self::layout(self.size());
        self.drop_word();
        // SAFETY: allocated with this layout, as the invariant says, and never used again.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) };
    }
}

/// Has the processor fetch the cache line at `address`, without waiting for it.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing; any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(entry: &Entry) -> Vec<u8> {
        match entry.value() {
            ValueRef::Inline(bytes) => bytes.to_vec(),
            ValueRef::Int(n) => n.to_string().into_bytes(),
            ValueRef::Shared(bytes) => bytes.to_vec(),
            ValueRef::Object(_) => panic!("not a string"),
        }
    }

    #[test]
    fn every_shape_keeps_its_parts_through_every_change() {
        let values = [&b""[..], b"7", b"-12345", b"007", b"hello", &[b'x'; 64], &[b'y'; 5000]];
        let keys = [&b""[..], b"k", &[b'k'; 255], &[b'k'; 256], &[b'k'; 70_000]];
        let extras = [
            Extras::default(),
            Extras { expires_at: Some(5), ..Extras::default() },
            Extras { client_flags: 9, ..Extras::default() },
            Extras { expires_at: Some(-1), client_flags: u32::MAX, cas: 77 },
        ];
        for key in keys {
            for first in values {
                for before in extras {
                    for second in values {
                        for after in extras {
                            let mut entry = Entry::new(key, Payload::string(first), before);
                            entry.set_clock(0xAB_CDEF);
                            entry.mark(Mark::Won, true);
                            entry.set_extras(after);
                            assert!(entry.is_marked(Mark::Won) && !entry.is_marked(Mark::Stale));
                            assert_eq!((bytes(&entry), entry.extras()), (first.to_vec(), after));
                            entry.assign(Payload::string(second), before);
                            assert_eq!((bytes(&entry), entry.extras()), (second.to_vec(), before));
                            assert!(!entry.is_marked(Mark::Won));
                            assert_eq!((entry.key(), entry.clock()), (key, 0xAB_CDEF));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_small_item_is_as_small_as_promised() {
        let plain = Entry::new(&[b'k'; 16], Payload::string(&[b'v'; 64]), Extras::default());
        assert_eq!(plain.size(), 88);
        let extras = Extras { expires_at: Some(1), ..Extras::default() };
        assert_eq!(Entry::new(&[b'k'; 16], Payload::string(&[b'v'; 64]), extras).size(), 96);
    }

    #[test]
    fn a_change_of_a_long_string_leaves_a_reply_alone() {
        let mut entry = Entry::new(b"k", Payload::string(&[b'a'; 5000]), Extras::default());
        let ValueRef::Shared(reply) = entry.value() else { panic!("long strings are shared") };
        let reply = Arc::clone(reply);
        entry.shared_mut().expect("shared").push(b'!');
        assert_eq!((reply.len(), bytes(&entry).len()), (5000, 5001));
    }
}
