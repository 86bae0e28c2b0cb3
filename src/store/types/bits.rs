//! Bit operations on strings: SETBIT, BITCOUNT, BITPOS, BITOP and BITFIELD without keys and replies.
//!
//! Bit 0 is the highest bit of the first byte; a string goes on with zeros for ever behind its end.
//!
//! The idea: every command is a loop over whole words or vectors with the ragged ends handled apart. A field of
//! any width and place fits the 16 bytes it is looked at in, so it needs no loop at all.
//!
//! This file never grows a string: functions that write ask for one long enough.

use crate::text::number::parse_i64;

/// What the numbers of a range count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Byte,
    /// Bits.
    Bit,
}

/// The bit at `offset`, zero beyond the end.
pub fn bit(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at));
    byte.is_some_and(|byte| byte & mask(offset) != 0)
}

/// Sets or clears the bit at `offset`, which must be within `bytes`, and gives what it was.
pub fn set_bit(bytes: &mut [u8], offset: u64, on: bool) -> bool {
    let byte = &mut bytes[(offset / 8) as usize];
    let before = *byte & mask(offset) != 0;
    if on {
        *byte |= mask(offset);
    } else {
        *byte &= !mask(offset);
    }
    before
}

/// The number of bits set.
pub fn count(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let words: u64 = words.iter().map(|&word| u64::from(u64::from_ne_bytes(word).count_ones())).sum();
    words + tail.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The number of bits set from `start` to `end`, both included, negative ones counted from the end.
pub fn count_range(bytes: &[u8], start: i64, end: i64, unit: Unit) -> u64 {
    // Clamping would turn such a range into the first byte.
    if start < 0 && end < 0 && start > end {
        return 0;
    }
    let Some(range) = BitRange::new(bytes, start, end, unit) else { return 0 };
    let whole = &bytes[range.first_byte()..=range.last_byte()];
    let before = bytes[range.first_byte()] & !range.first_mask();
    let behind = bytes[range.last_byte()] & !range.last_mask();
    count(whole) - u64::from(before.count_ones()) - u64::from(behind.count_ones())
}

/// The offset of the first bit that is `wanted`, from `start` on, or between `start` and `end` where there is
/// one. Both are included and count from the end where negative.
///
/// The zeros behind the string are found only where there is no `end`, and only from a start within the string.
/// A key that does not exist is for the caller: there, 0 is found at once and 1 never.
pub fn position(bytes: &[u8], wanted: bool, start: i64, end: Option<i64>, unit: Unit) -> Option<u64> {
    let range = BitRange::new(bytes, start, end.unwrap_or(-1), unit)?;
    let (first, last) = (range.first_byte(), range.last_byte());
    // Turned so that the bit looked for is a one, and bits out of range are zeros.
    let flip = if wanted { 0 } else { 0xff };
    let edge = |at: usize| {
        let mut byte = bytes[at] ^ flip;
        if at == first {
            byte &= range.first_mask();
        }
        if at == last {
            byte &= range.last_mask();
        }
        (byte != 0).then(|| at as u64 * 8 + u64::from(byte.leading_zeros()))
    };
    edge(first)
        .or_else(|| {
            let between = bytes.get(first + 1..last)?;
            first_other_byte(between, flip).map(|at| {
                let byte = between[at] ^ flip;
                (first + 1 + at) as u64 * 8 + u64::from(byte.leading_zeros())
            })
        })
        .or_else(|| edge(last))
        .or_else(|| (!wanted && end.is_none()).then_some(bytes.len() as u64 * 8))
}

/// How BITOP combines strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bits set in all.
    And,
    /// Bits set in any.
    Or,
    /// Bits set in an odd number of them.
    Xor,
    /// Bits not set in the only one.
    Not,
    /// Bits set in the first and in no other.
    Diff,
    /// Bits set in any other, but not in the first.
    Diff1,
    /// Bits set in the first and in any other.
    AndOr,
    /// Bits set in exactly one.
    One,
}

impl Operation {
    /// The operation of that name, in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        use Operation::*;
        [And, Or, Xor, Not, Diff, Diff1, AndOr, One]
            .into_iter()
            .find(|operation| operation.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Its name in capitals, as error texts have it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::And => "AND",
            Operation::Or => "OR",
            Operation::Xor => "XOR",
            Operation::Not => "NOT",
            Operation::Diff => "DIFF",
            Operation::Diff1 => "DIFF1",
            Operation::AndOr => "ANDOR",
            Operation::One => "ONE",
        }
    }
}

/// Combines `sources` (for [`Operation::Not`], the first alone) into a string as long as the longest.
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    /// Work in pieces of this size, so that the result stays in the nearest cache while the sources pass.
    const PIECE: usize = 4096;

    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let mut result = vec![0; sources.iter().map(|source| source.len()).max().unwrap_or(0)];
    for (number, piece) in result.chunks_mut(PIECE).enumerate() {
        let len = piece.len();
        // What a source has here, without the zeros behind its end.
        let part = |source: &'_ &[u8]| {
            let start = (number * PIECE).min(source.len());
            start..(start + len).min(source.len())
        };
        let own = &first[part(first)];
        // Begin by writing: to read fresh memory first would fault every page of it in twice.
        match operation {
            Operation::Diff | Operation::Diff1 | Operation::AndOr => piece.fill(0),
            _ => join(piece, own, |_, b| b),
        }
        match operation {
            Operation::And => {
                for other in others {
                    keep_common(piece, &other[part(other)]);
                }
            }
            Operation::Xor => {
                for other in others {
                    join(piece, &other[part(other)], |a, b| a ^ b);
                }
            }
            Operation::Not => invert(piece),
            Operation::Or | Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                for other in others {
                    join(piece, &other[part(other)], |a, b| a | b);
                }
            }
            Operation::One => {
                let mut twice = [0; PIECE];
                for other in others {
                    for ((a, twice), b) in piece.iter_mut().zip(&mut twice).zip(&other[part(other)]) {
                        *twice |= *a & b;
                        *a |= b;
                    }
                }
                join(piece, &twice, |a, b| a & !b);
            }
        }
        // These want the union of the others first.
        match operation {
            Operation::Diff => {
                invert(piece);
                keep_common(piece, own);
            }
            Operation::Diff1 => join(piece, own, |a, b| a & !b),
            Operation::AndOr => keep_common(piece, own),
            _ => {}
        }
    }
    result
}

/// The type of a field of BITFIELD: 1 to 64 bits, or 1 to 63 where unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    signed: bool,
    bits: u32,
}

/// What becomes of a value too large or too small for its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its low bits are kept.
    Wrap,
    /// The nearest value that fits is taken.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl Overflow {
    /// `wrap`, `sat` or `fail`, in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        match name.to_ascii_lowercase().as_slice() {
            b"wrap" => Some(Overflow::Wrap),
            b"sat" => Some(Overflow::Saturate),
            b"fail" => Some(Overflow::Fail),
            _ => None,
        }
    }
}

impl FieldType {
    /// `i` or `u` and the number of bits: `i64`, `u8`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (signed, bits) = match text {
            [b'i', bits @ ..] => (true, bits),
            [b'u', bits @ ..] => (false, bits),
            _ => return None,
        };
        let bits = parse_i64(bits)?;
        let most = if signed { 64 } else { 63 };
        (1..=most).contains(&bits).then_some(Self { signed, bits: bits as u32 })
    }

    /// The offset of a field in bits: a number, or `#` and the index of a field among fields of this type.
    /// `None` where it is none, or its byte is not among the first `max_bytes`.
    pub fn parse_offset(self, text: &[u8], max_bytes: u64) -> Option<u64> {
        let offset = match text {
            [b'#', index @ ..] => parse_i64(index)?.checked_mul(self.bits.into())?,
            _ => parse_i64(text)?,
        };
        u64::try_from(offset).ok().filter(|offset| offset / 8 < max_bytes)
    }

    /// How long a string must be to hold such a field at `offset`.
    pub fn bytes_needed(self, offset: u64) -> u64 {
        (offset + u64::from(self.bits)).div_ceil(8)
    }

    /// The field at `offset`.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        self.extend((self.window(bytes, offset) >> self.shift(offset)) as u64)
    }

    /// Sets the field at `offset`, which must be within `bytes`; gives the value before. `None`, with nothing
    /// changed, where `value` does not fit and `overflow` says to fail.
    ///
    /// To an unsigned field a negative value is one too large.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64, overflow: Overflow) -> Option<i64> {
        let wanted = if self.signed { i128::from(value) } else { i128::from(value as u64) };
        let before = self.get(bytes, offset);
        let value = self.fit(wanted, overflow)?;
        self.put(bytes, offset, value);
        Some(before)
    }

    /// Adds to the field at `offset`, which must be within `bytes`; gives the value after. `None`, with nothing
    /// changed, where that does not fit and `overflow` says to fail.
    pub fn increment(self, bytes: &mut [u8], offset: u64, by: i64, overflow: Overflow) -> Option<i64> {
        let value = self.fit(i128::from(self.get(bytes, offset)) + i128::from(by), overflow)?;
        self.put(bytes, offset, value);
        Some(value)
    }

    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = if self.signed {
            (-1i128 << (self.bits - 1), (1i128 << (self.bits - 1)) - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        };
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.extend(value as u64)),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }

    /// The value of the low bits of `raw`.
    fn extend(self, raw: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { (raw << unused) as i64 >> unused } else { (raw << unused >> unused) as i64 }
    }

    /// How far the field is from the low end of its window.
    fn shift(self, offset: u64) -> u32 {
        128 - (offset % 8) as u32 - self.bits
    }

    /// The 16 bytes that begin with the field's first byte, zeros behind the end.
    fn window(self, bytes: &[u8], offset: u64) -> u128 {
        let start = usize::try_from(offset / 8).unwrap_or(usize::MAX);
        let rest = bytes.get(start..).unwrap_or(&[]);
        let mut window = [0; 16];
        let len = rest.len().min(window.len());
        window[..len].copy_from_slice(&rest[..len]);
        u128::from_be_bytes(window)
    }

    fn put(self, bytes: &mut [u8], offset: u64, value: i64) {
        let mask = ((1u128 << self.bits) - 1) << self.shift(offset);
        let value = (value as u128) << self.shift(offset) & mask;
        let window = self.window(bytes, offset) & !mask | value;
        let range = (offset / 8) as usize..self.bytes_needed(offset) as usize;
        let len = range.len();
        bytes[range].copy_from_slice(&window.to_be_bytes()[..len]);
    }
}

/// The bits from `first` to `last`, both included and within the string.
struct BitRange {
    first: u64,
    last: u64,
}

impl BitRange {
    /// `None` for a range that is empty once cut to the string.
    fn new(bytes: &[u8], start: i64, end: i64, unit: Unit) -> Option<Self> {
        let bits_per_unit = if unit == Unit::Bit { 1 } else { 8 };
        let total = (bytes.len() * 8) as i64 / bits_per_unit;
        let from_end = |at: i64| if at < 0 { (total + at).max(0) } else { at };
        let (start, end) = (from_end(start), from_end(end).min(total - 1));
        (start <= end).then(|| Self {
            first: (start * bits_per_unit) as u64,
            last: (end * bits_per_unit + bits_per_unit - 1) as u64,
        })
    }

    fn first_byte(&self) -> usize {
        (self.first / 8) as usize
    }

    fn last_byte(&self) -> usize {
        (self.last / 8) as usize
    }

    /// The bits of the first byte that are not before the range.
    fn first_mask(&self) -> u8 {
        0xff >> (self.first % 8)
    }

    /// The bits of the last byte that are not behind the range.
    fn last_mask(&self) -> u8 {
        0xff << (7 - self.last % 8)
    }
}

/// The bit of its byte an offset stands for.
fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// Where the first byte other than `skipped` is.
fn first_other_byte(bytes: &[u8], skipped: u8) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let words = words.iter().take_while(|&&word| word == [skipped; 8]).count();
    let rest = &bytes[words * 8..];
    rest.iter().position(|&byte| byte != skipped).map(|at| words * 8 + at)
}

/// Replaces each byte of `piece` that has a partner in `part`.
fn join(piece: &mut [u8], part: &[u8], with: impl Fn(u8, u8) -> u8) {
    for (a, &b) in piece.iter_mut().zip(part) {
        *a = with(*a, b);
    }
}

/// Clears what is not set in `part` too, zeros behind its end included.
fn keep_common(piece: &mut [u8], part: &[u8]) {
    join(piece, part, |a, b| a & b);
    piece[part.len()..].fill(0);
}

fn invert(piece: &mut [u8]) {
    for byte in piece {
        *byte = !*byte;
    }
}

#[cfg(test)]
mod tests;
