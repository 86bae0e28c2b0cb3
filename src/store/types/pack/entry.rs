//! One entry of a pack: an element, and the bytes that stand for it.
//!
//! Everything that knows how an encoding byte is spelt is here, so that the pack itself is only about
//! where entries begin and end. Knows no pack, no header, no count.

use crate::text::number::parse_i64;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

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
            Element::Str(text) => parse_i64(text),
            Element::Int(number) => Some(number),
        }
    }

    /// Whether the text of the element is `text`. To compare many elements with one text, make a [`Needle`].
    pub fn eq_bytes(self, text: &[u8]) -> bool {
        match self {
            Element::Str(own) => own == text,
            Element::Int(number) => parse_i64(text) == Some(number),
        }
    }

    /// The order of the texts.
    pub fn cmp_text(self, other: Element<'_>) -> Ordering {
        let (mut ours, mut theirs) = (itoa::Buffer::new(), itoa::Buffer::new());
        self.as_bytes(&mut ours).cmp(other.as_bytes(&mut theirs))
    }

    /// Bytes the element takes in a pack, whichever pack it is.
    pub fn packed_len(self) -> usize {
        Encoded::new(self).packed_len()
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

impl Hash for Element<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes(&mut itoa::Buffer::new()).hash(state);
    }
}

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

/// A text to look for, prepared once for comparing with many elements.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    text: &'a [u8],
    int: Option<i64>,
    /// The entry of a short text, which is `spelled_len` bytes of it.
    spelled: [u8; SHORT_TEXT + 2],
    spelled_len: usize,
}

/// Bytes of the longest text whose length is in the entry's first byte.
const SHORT_TEXT: usize = 0x3F;

impl<'a> Needle<'a> {
    /// Prepares `text`.
    #[inline]
    pub fn new(text: &'a [u8]) -> Self {
        let mut needle = Needle { text, int: parse_i64(text), spelled: [0; SHORT_TEXT + 2], spelled_len: 0 };
        if needle.int.is_none() && (2..=SHORT_TEXT).contains(&text.len()) {
            needle.spelled_len = text.len() + 2;
            needle.spelled[0] = 0x80 | text.len() as u8;
            needle.spelled[1..=text.len()].copy_from_slice(text);
            needle.spelled[text.len() + 1] = text.len() as u8 + 1;
        }
        needle
    }

    /// The whole entry of the text, four bytes or more, if the text is short and no integer.
    #[inline]
    pub(super) fn spelled(&self) -> Option<&[u8]> {
        (self.spelled_len > 0).then(|| &self.spelled[..self.spelled_len])
    }

    /// Whether the entry of `bytes` at `position`, which ends at `end`, has this text.
    #[inline]
    pub(super) fn is_at(&self, bytes: &[u8], position: usize, end: usize) -> bool {
        match bytes[position] {
            head @ 0x80..=0xBF => {
                let text = &bytes[position + 1..end - 1];
                usize::from(head & 0x3F) == self.text.len() && self.is(text)
            }
            0xE0..=0xF0 => self.matches(decode(bytes, position).0),
            _ => self.int.is_some() && self.matches(decode(bytes, position).0),
        }
    }

    /// Whether `element` has this text.
    #[inline]
    pub fn matches(&self, element: Element<'_>) -> bool {
        match element {
            Element::Str(text) => text.len() == self.text.len() && self.is(text),
            Element::Int(number) => self.int == Some(number),
        }
    }

    /// Whether a text that is as long is the same.
    #[inline(always)]
    fn is(&self, text: &[u8]) -> bool {
        // Names that are alike mostly differ at the end: one byte saves most calls to memcmp.
        text.last() == self.text.last() && text == self.text
    }
}

/// An element ready to be written: what precedes the text, and the text (none for an integer).
pub(super) struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    text: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn new(element: Element<'a>) -> Self {
        match element {
            Element::Int(number) => Encoded::int(number),
            Element::Str(text) => match parse_i64(text) {
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

    /// Bytes of the entry with its back length.
    pub(super) fn packed_len(&self) -> usize {
        self.len() + backlen_size(self.len())
    }

    /// Bytes of the entry without its back length.
    fn len(&self) -> usize {
        self.head_len + self.text.len()
    }

    /// Writes entry and back length over the whole of `out`.
    pub(super) fn write(&self, out: &mut [u8]) {
        let len = self.len();
        // A head of one byte is the rule, and a call to copy it would cost more than all the rest.
        match self.head_len {
            1 => out[0] = self.head[0],
            head_len => out[..head_len].copy_from_slice(&self.head[..head_len]),
        }
        out[self.head_len..len].copy_from_slice(self.text);
        match &mut out[len..] {
            [only] => *only = len as u8,
            back => write_backlen(back, len),
        }
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.packed_len(), 0);
        self.write(&mut out[start..]);
    }
}

/// Bytes an entry of `len` bytes spends on its back length. The bounds are a step short of what the
/// bytes could say; the format fixed them so, and a reader computes them as we do.
#[inline]
pub(super) fn backlen_size(len: usize) -> usize {
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
pub(super) fn read_backlen(bytes: &[u8], end: usize) -> Option<usize> {
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
fn entry_len(entry: &[u8]) -> usize {
    match entry[0] {
        0..=0x7F => 1,
        head @ 0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0xC0..=0xDF => 2,
        head @ 0xE0..=0xEF => 2 + text_len_12(head, entry[1]),
        0xF0 => 5 + u32::from_le_bytes([entry[1], entry[2], entry[3], entry[4]]) as usize,
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        other => unreachable!("no entry of a valid pack begins with {other:#x}"),
    }
}

/// The text length of twelve bits that `head` begins and `low` ends.
#[inline]
fn text_len_12(head: u8, low: u8) -> usize {
    usize::from(head & 0x0F) << 8 | usize::from(low)
}

/// [`entry_len`] for bytes nobody has checked; `None` if the encoding is unknown or the entry passes
/// the end of `entry`.
pub(super) fn checked_entry_len(entry: &[u8]) -> Option<usize> {
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

/// Bytes of an entry, its back length included, by its first byte; 0 where that does not tell.
///
/// A walk steps over entries of all kinds in turn, and loads from a table where branches would be mispredicted.
const LENS: [u8; 256] = {
    let mut lens = [0; 256];
    let mut head = 0;
    while head < 256 {
        lens[head] = match head {
            0..=0x7F => 2,
            0x80..=0xBF => 2 + (head - 0x80) as u8,
            0xC0..=0xDF => 3,
            0xF1..=0xF3 => 4 + (head - 0xF1) as u8,
            0xF4 => 10,
            _ => 0,
        };
        head += 1;
    }
    lens
};

/// Bytes of the entry that begins with `head`, its back length included; 0 if the first byte does not tell.
#[inline]
pub(super) fn short_len(head: u8) -> usize {
    usize::from(LENS[usize::from(head)])
}

/// Where the entry at `position` ends, its back length included.
#[inline]
pub(super) fn entry_end(bytes: &[u8], position: usize) -> usize {
    match short_len(bytes[position]) {
        0 => long_entry_end(bytes, position),
        len => position + len,
    }
}

fn long_entry_end(bytes: &[u8], position: usize) -> usize {
    let len = entry_len(&bytes[position..]);
    position + len + backlen_size(len)
}

/// The element at `position` and where the entry ends, which is where the next begins.
#[inline(always)]
pub(super) fn decode(bytes: &[u8], position: usize) -> (Element<'_>, usize) {
    match bytes[position] {
        head @ 0..=0x7F => (Element::Int(i64::from(head)), position + 2),
        head @ 0x80..=0xBF => {
            let stop = position + 1 + usize::from(head & 0x3F);
            (Element::Str(&bytes[position + 1..stop]), stop + 1)
        }
        head @ 0xE0..=0xEF => {
            let len = 2 + text_len_12(head, bytes[position + 1]);
            (Element::Str(&bytes[position + 2..position + len]), position + len + backlen_size(len))
        }
        _ => decode_other(bytes, position),
    }
}

/// [`decode`] for long texts and integers of several bytes.
fn decode_other(bytes: &[u8], position: usize) -> (Element<'_>, usize) {
    let entry = &bytes[position..];
    let number = match *entry {
        // Thirteen bits, shifted to the top and back down to bring the sign along; so 24 further down.
        [head @ 0xC0..=0xDF, low, ..] => i64::from(((u16::from_be_bytes([head, low]) << 3) as i16) >> 3),
        [0xF1, a, b, ..] => i64::from(i16::from_le_bytes([a, b])),
        [0xF2, a, b, c, ..] => i64::from(i32::from_le_bytes([0, a, b, c]) >> 8),
        [0xF3, a, b, c, d, ..] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [0xF4, a, b, c, d, e, f, g, h, ..] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => {
            let len = entry_len(entry);
            return (Element::Str(&entry[5..len]), position + len + backlen_size(len));
        }
    };
    (Element::Int(number), position + short_len(entry[0]))
}
