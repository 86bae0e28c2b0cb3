//! The building blocks of Redis's serialisation format, written.

use super::lzf;
use super::{INT8, INT16, INT32, LZF};
use crate::text::number::parse_i64;

/// Strings up to this length may be numbers.
const LONGEST_NUMBER: usize = 11;
/// Strings up to this length are not worth compressing.
const SHORTEST_COMPRESSED: usize = 20;

/// Appends pieces of a serialised value.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    compress: bool,
}

impl<'o> Writer<'o> {
    /// A writer that appends to `out`, and shortens longer strings if told to.
    pub fn new(out: &'o mut Vec<u8>, compress: bool) -> Self {
        Self { out, compress }
    }

    /// A byte.
    pub fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// A length or count, in one to nine bytes.
    pub fn length(&mut self, length: usize) {
        match length {
            0..=0x3f => self.out.push(length as u8),
            0x40..=0x3fff => self.out.extend([0x40 | (length >> 8) as u8, length as u8]),
            _ => match u32::try_from(length) {
                Ok(length) => {
                    self.out.push(0x80);
                    self.out.extend(length.to_be_bytes());
                }
                Err(_) => {
                    self.out.push(0x81);
                    self.out.extend((length as u64).to_be_bytes());
                }
            },
        }
    }

    /// A string: as a small integer if it is one, compressed if it is long and gets shorter so.
    pub fn string(&mut self, text: &[u8]) {
        if text.len() <= LONGEST_NUMBER
            && let Some(number) = parse_i64(text).and_then(|number| i32::try_from(number).ok())
        {
            return self.small_integer(number);
        }
        if self.compress
            && text.len() > SHORTEST_COMPRESSED
            && let Some(packed) = lzf::compress(text)
        {
            self.byte(LZF);
            self.length(packed.len());
            self.length(text.len());
            return self.out.extend_from_slice(&packed);
        }
        self.length(text.len());
        self.out.extend_from_slice(text);
    }

    /// A double, in full.
    pub fn double(&mut self, value: f64) {
        self.out.extend(value.to_le_bytes());
    }

    /// A Unix time in milliseconds.
    pub fn time_ms(&mut self, time_ms: i64) {
        self.out.extend(time_ms.to_le_bytes());
    }

    fn small_integer(&mut self, number: i32) {
        if let Ok(number) = i8::try_from(number) {
            self.byte(INT8);
            self.out.extend(number.to_le_bytes());
        } else if let Ok(number) = i16::try_from(number) {
            self.byte(INT16);
            self.out.extend(number.to_le_bytes());
        } else {
            self.byte(INT32);
            self.out.extend(number.to_le_bytes());
        }
    }
}
