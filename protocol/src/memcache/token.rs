//! The words of a command line and the numbers in them.
//!
//! Words are separated by blanks and by nothing else; any other byte, control characters included, belongs to a word.
//! Numbers are what C's `strtol` family accepts of decimal digits, an optional sign in front, except that a number too
//! large for its field is refused where memcached would silently keep its lower 32 bits.

use std::iter::FusedIterator;

/// The words of a line, in order, borrowed from it. Never yields an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    #[inline]
    pub(super) fn new(line: &'a [u8]) -> Self {
        Tokens { rest: line }
    }

    /// Whether there is not a single word.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.iter().all(|&byte| byte == b' ')
    }

    /// What has not been taken yet, as it stands in the line.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut start = 0;
        while *self.rest.get(start)? == b' ' {
            start += 1;
        }
        let from = &self.rest[start..];
        let (token, rest) = from.split_at(blank(from));
        self.rest = rest;
        Some(token)
    }
}

/// Where the first blank of `bytes` is, or their length. Words are short, so a call of `memchr` for each would cost more
/// than it finds: eight bytes at a time do.
#[inline]
fn blank(bytes: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = LOW << 7;
    let mut at = 0;
    while let Some((eight, _)) = bytes[at..].split_first_chunk() {
        let differs = u64::from_le_bytes(*eight) ^ (LOW * b' ' as u64);
        // The lowest bit set belongs to the first byte that is zero; those above may deceive.
        let zeros = differs.wrapping_sub(LOW) & !differs & HIGH;
        if zeros != 0 {
            return at + zeros.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    bytes[at..].iter().position(|&byte| byte == b' ').map_or(bytes.len(), |last| at + last)
}

impl FusedIterator for Tokens<'_> {}

/// The last word of a line.
pub(super) fn last_token(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().rposition(|&byte| byte != b' ')? + 1;
    let start = line[..end].iter().rposition(|&byte| byte == b' ').map_or(0, |blank| blank + 1);
    Some(&line[start..end])
}

/// An unsigned decimal number of 64 bits; a `+` may precede it.
#[inline]
pub(super) fn parse_u64(token: &[u8]) -> Option<u64> {
    let digits = token.strip_prefix(b"+").unwrap_or(token);
    if digits.is_empty() {
        return None;
    }
    // 19 digits cannot overflow, so the everyday number needs no checked arithmetic.
    if digits.len() <= 19 {
        let mut value = 0_u64;
        for &byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + u64::from(digit);
        }
        return Some(value);
    }
    digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// An unsigned decimal number of 32 bits; a `+` may precede it.
#[inline]
pub(super) fn parse_u32(token: &[u8]) -> Option<u32> {
    parse_u64(token).and_then(|value| u32::try_from(value).ok())
}

/// A decimal number of 64 bits; a sign may precede it.
#[inline]
pub(super) fn parse_i64(token: &[u8]) -> Option<i64> {
    match token.strip_prefix(b"-") {
        None => parse_u64(token).and_then(|value| i64::try_from(value).ok()),
        Some(digits) if digits.first() != Some(&b'+') => {
            parse_u64(digits).and_then(|value| 0_i64.checked_sub_unsigned(value))
        }
        Some(_) => None,
    }
}

/// A decimal fraction as the tuning commands take it.
pub(super) fn parse_f64(token: &[u8]) -> Option<f64> {
    std::str::from_utf8(token).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_separated_by_blanks_alone() {
        let words = |line| Tokens::new(line).collect::<Vec<&[u8]>>();
        assert_eq!(words(b""), Vec::<&[u8]>::new());
        assert_eq!(words(b"   "), Vec::<&[u8]>::new());
        assert_eq!(words(b"a"), [b"a"]);
        assert_eq!(words(b"  get  a\tb \0 "), [&b"get"[..], b"a\tb", b"\0"]);
    }

    #[test]
    fn words_of_any_length() {
        for len in 1..40 {
            let word: Vec<u8> = (0..len).map(|at| [b'!', 0x1f, 0x21, 0xa0, 0, 0xff][at % 6]).collect();
            for (before, after) in [("", ""), ("", " "), (" ", " x"), ("   ", "  word and words")] {
                let line = [before.as_bytes(), &word, after.as_bytes()].concat();
                assert_eq!(Tokens::new(&line).next(), Some(&word[..]), "{line:?}");
                assert_eq!(Tokens::new(&line).count(), 1 + after.split_whitespace().count());
            }
        }
    }

    #[test]
    fn the_last_word() {
        assert_eq!(last_token(b""), None);
        assert_eq!(last_token(b"  "), None);
        assert_eq!(last_token(b"one"), Some(&b"one"[..]));
        assert_eq!(last_token(b" one two  "), Some(&b"two"[..]));
    }

    #[test]
    fn numbers() {
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"+7"), Some(7));
        assert_eq!(parse_u64(b"00000000000000000000000000012"), Some(12));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+", b"-1", b"1x", b"x", b" 1", b"1 ", b"++1", b"18446744073709551616"] {
            assert_eq!(parse_u64(bad), None, "{bad:?}");
        }
        assert_eq!(parse_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(parse_u32(b"4294967296"), None);
        assert_eq!(parse_i64(b"-0"), Some(0));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        for bad in [&b"-"[..], b"-+1", b"--1", b"9223372036854775808", b"-9223372036854775809"] {
            assert_eq!(parse_i64(bad), None, "{bad:?}");
        }
    }
}
