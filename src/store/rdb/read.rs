//! The building blocks of Redis's serialisation format, read.
//!
//! Invariant: nothing read is trusted. A count bounds a loop, each turn of which consumes input; it is never
//! the size of an allocation.

use std::borrow::Cow;

use super::lzf;
use super::{INT8, INT16, INT32, LZF};
use crate::text::number::parse_f64;

/// Takes a serialised value apart, front to back. Each part is `None` where the input ends or makes no sense.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// What a length can be: its first two bits may announce a string in a special form instead.
enum Length {
    Plain(u64),
    Special(u8),
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all is read.
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Bytes, as many as the caller's type says.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(taken)
    }

    /// A length or count.
    pub fn length(&mut self) -> Option<u64> {
        match self.any_length()? {
            Length::Plain(length) => Some(length),
            Length::Special(_) => None,
        }
    }

    /// A string.
    pub fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        let number = |number: i64| Some(Cow::Owned(number.to_string().into_bytes()));
        match self.any_length()? {
            Length::Plain(length) => self.bytes(usize::try_from(length).ok()?).map(Cow::Borrowed),
            Length::Special(INT8) => number(i8::from_le_bytes(self.array()?).into()),
            Length::Special(INT16) => number(i16::from_le_bytes(self.array()?).into()),
            Length::Special(INT32) => number(i32::from_le_bytes(self.array()?).into()),
            Length::Special(LZF) => {
                let packed = usize::try_from(self.length()?).ok()?;
                let length = usize::try_from(self.length()?).ok()?;
                lzf::decompress(self.bytes(packed)?, length).map(Cow::Owned)
            }
            Length::Special(_) => None,
        }
    }

    /// A double, in full; never NaN.
    pub fn double(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes).filter(|value| !value.is_nan())
    }

    /// A double as text, as it was written before Redis 4; never NaN.
    pub fn double_text(&mut self) -> Option<f64> {
        match self.byte()? {
            253 => None,
            254 => Some(f64::INFINITY),
            255 => Some(f64::NEG_INFINITY),
            length => parse_f64(self.bytes(length.into())?),
        }
    }

    /// A Unix time in milliseconds.
    pub fn time_ms(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn any_length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        let low_bits = u64::from(first & 0x3f);
        Some(match (first >> 6, first) {
            (0, _) => Length::Plain(low_bits),
            (1, _) => Length::Plain(low_bits << 8 | u64::from(self.byte()?)),
            (2, 0x80) => Length::Plain(u32::from_be_bytes(self.array()?).into()),
            (2, 0x81) => Length::Plain(u64::from_be_bytes(self.array()?)),
            (3, _) => Length::Special(first),
            _ => return None,
        })
    }
}
