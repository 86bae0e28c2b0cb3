//! What SCAN, HSCAN, SSCAN and ZSCAN share: the cursor, the options, the shape of the reply.

use super::error::{self, CmdError};
use super::parse::{self, is, operand};
use super::reply;
use crate::store::types::pack::Element;
use crate::text::glob::glob_match;
use shoal_protocol::resp::{Args, Output};

/// Elements to visit unless COUNT says otherwise.
const COUNT: usize = 10;

/// The options.
pub struct Options<'a> {
    /// About how many elements to visit.
    pub count: usize,
    pattern: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Reads `[MATCH pattern] [COUNT count]` from argument `from` on. Any other word is given to `more` with its index,
    /// which `more` moves over operands of its own; it returns false if it does not know the word.
    pub fn parse(
        args: Args<'a>,
        from: usize,
        mut more: impl FnMut(&Args<'a>, &mut usize) -> Result<bool, CmdError>,
    ) -> Result<Self, CmdError> {
        let mut options = Options { count: COUNT, pattern: None };
        let mut at = from;
        while at < args.len() {
            if is(&args[at], "count") {
                options.count = match parse::int(operand(&args, &mut at)?)? {
                    ..1 => return Err(error::SYNTAX),
                    count => count as usize,
                };
            } else if is(&args[at], "match") {
                let pattern = operand(&args, &mut at)?;
                options.pattern = Some(pattern).filter(|pattern| *pattern != b"*");
            } else if !more(&args, &mut at)? {
                return Err(match () {
                    () if is(&args[at], "novalues") => {
                        CmdError::new("ERR NOVALUES option can only be used in HSCAN")
                    }
                    () if is(&args[at], "noscores") => {
                        CmdError::new("ERR NOSCORES option can only be used in ZSCAN")
                    }
                    () => error::SYNTAX,
                });
            }
            at += 1;
        }
        Ok(options)
    }

    /// Whether an element of this name is wanted.
    #[inline]
    pub fn accepts(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, name, false))
    }

    /// The pattern, unless it matches everything.
    pub fn pattern(&self) -> Option<&'a [u8]> {
        self.pattern
    }
}

/// About how many elements a SCAN is to visit, as far as its options can be read.
pub fn count(args: Args) -> usize {
    let given = (2..args.len().saturating_sub(1)).find(|at| is(&args[*at], "count"));
    let given = given.and_then(|at| parse::int(&args[at + 1]).ok()?.try_into().ok());
    given.unwrap_or(COUNT)
}

/// A cursor argument.
pub fn cursor(arg: &[u8]) -> Result<u64, CmdError> {
    let digits = arg.strip_prefix(b"+").unwrap_or(arg);
    if digits.is_empty() {
        return Err(error::BAD_CURSOR);
    }
    let append = |sum: u64, byte: &u8| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    };
    digits.iter().try_fold(0, append).ok_or(error::BAD_CURSOR)
}

/// A reply being put together: the cursor, which comes first, is known last.
pub struct Reply {
    elements: Output,
    len: usize,
}

impl Reply {
    /// A reply without elements in the version of the protocol that `out` speaks.
    pub fn new(out: &Output) -> Reply {
        Reply { elements: Output::new(out.proto), len: 0 }
    }

    /// Adds an element.
    pub fn push(&mut self, element: Element<'_>) {
        reply::element(&mut self.elements, element);
        self.len += 1;
    }

    /// Adds an element that is written by `write`.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Output)) {
        write(&mut self.elements);
        self.len += 1;
    }

    /// Sends it with the cursor to go on from.
    pub fn send(self, out: &mut Output, next: u64) {
        self.send_with(out, itoa::Buffer::new().format(next).as_bytes());
    }

    /// The same with a cursor that is no number.
    pub fn send_with(mut self, out: &mut Output, next: &[u8]) {
        out.array(2);
        out.bulk(next);
        out.array(self.len);
        out.append(&mut self.elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_numbers_of_64_bits() {
        for (text, number) in [("0", 0), ("+7", 7), ("007", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(cursor(text.as_bytes()), Ok(number));
        }
        for text in ["", "+", "-1", " 1", "1 ", "x", "18446744073709551616"] {
            assert_eq!(cursor(text.as_bytes()), Err(error::BAD_CURSOR), "{text}");
        }
    }
}
