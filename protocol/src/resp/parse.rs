//! Requests off the wire: arrays of bulk strings, and lines typed by hand.
//!
//! The parser looks at the bytes a connection has read so far and says where each argument of the first request lies,
//! without copying it. Between calls it remembers how far it got, so a request that comes in a thousand pieces costs
//! what it costs in one. The first byte decides: `*` opens an array, anything else is an inline line.
//!
//! Why not the `redis-protocol` crate: it allocates a frame per request and begins anew at every piece. To parse and answer a GET costs
//! 18 ns here and 107 with the crate's cheapest decoder, four to eight times as much over all (`benches/codec.rs`).
//!
//! What is accepted is what Valkey accepts: numbers without sign, blank or leading zero, and CR LF behind each line and each bulk.
//! Nothing is known of commands or connections.
//!
//! Invariant: `spans` and `pos` are offsets into the buffer of the last call and stay right as bytes are appended to it.

use std::fmt;

use super::args::{Args, Span};

/// What a request may claim before it is refused. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest bulk (`proto-max-bulk-len`).
    pub max_bulk: usize,
    /// Most arguments of one request.
    pub max_args: usize,
    /// Longest inline line, and longest line announcing a count or a length, line end not counted.
    pub max_line: usize,
    /// Whether the client has logged in or need not. Until then [`Limits::GUEST_ARGS`] and [`Limits::GUEST_BULK`] hold as well.
    pub authenticated: bool,
}

impl Limits {
    /// Most arguments before authentication.
    pub const GUEST_ARGS: usize = 10;
    /// Longest bulk before authentication.
    pub const GUEST_BULK: usize = 16 * 1024;
}

impl Default for Limits {
    /// Redis's own: bulks of 512 MiB, 2^31 - 1 arguments, lines of 64 KiB, and nobody has to log in.
    fn default() -> Self {
        Limits {
            max_bulk: 512 * 1024 * 1024,
            max_args: i32::MAX as usize,
            max_line: 64 * 1024,
            authenticated: true,
        }
    }
}

/// Why the bytes of a client are no request. The client is told once and the connection closed, as there is no telling where
/// the next request would begin. Displays as the text to send after `-ERR `.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// The count after `*` is no number or above the limit.
    InvalidMultibulkLength,
    /// More arguments than a client may send before it logs in.
    UnauthenticatedMultibulkLength,
    /// The line with the count is too long.
    TooBigMultibulkCount,
    /// An element of the array does not open with `$` but with this byte.
    ExpectedDollar(u8),
    /// The length after `$` is no number or above the limit.
    InvalidBulkLength,
    /// A longer bulk than a client may send before it logs in.
    UnauthenticatedBulkLength,
    /// The line with the length is too long.
    TooBigBulkCount,
    /// The inline line is too long.
    TooBigInline,
    /// A quote in an inline line is not closed.
    UnbalancedQuotes,
    /// No CR LF where a line or a bulk ends.
    InvalidLineEnd,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            ParseError::InvalidMultibulkLength => "invalid multibulk length",
            ParseError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ParseError::TooBigMultibulkCount => "too big mbulk count string",
            ParseError::ExpectedDollar(byte) => {
                return write!(f, "Protocol error: expected '$', got '{}'", char::from(*byte));
            }
            ParseError::InvalidBulkLength => "invalid bulk length",
            ParseError::UnauthenticatedBulkLength => "unauthenticated bulk length",
            ParseError::TooBigBulkCount => "too big bulk count string",
            ParseError::TooBigInline => "too big inline request",
            ParseError::UnbalancedQuotes => "unbalanced quotes in request",
            ParseError::InvalidLineEnd => "invalid CRLF in request",
        };
        write!(f, "Protocol error: {text}")
    }
}

impl std::error::Error for ParseError {}

/// A complete request was found at the head of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Its length in bytes: where the next request begins.
    pub consumed: usize,
    /// Whether these bytes are an array of bulks, which may be relayed to another node as they stand; an inline
    /// line may not.
    pub multibulk: bool,
}

/// Finds the requests of one connection in its read buffer.
#[derive(Debug, Default)]
pub struct RequestParser {
    spans: Vec<Span>,
    /// The words of an inline line, their quotes and escapes undone; of no meaning unless `inline`.
    scratch: Vec<u8>,
    inline: bool,
    /// Next byte to be looked at, from the start of the request.
    pos: usize,
    /// Bytes from `pos` on known to hold no line end.
    scanned: usize,
    /// Arguments still to come; 0 before the count has been read.
    remaining: usize,
    /// Length of the bulk that begins at `pos`, once read.
    bulk: Option<usize>,
    missing: usize,
}

impl RequestParser {
    /// A parser at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for the request that begins at the start of `buf`.
    ///
    /// `Ok(None)`: it is not complete; call again with the same bytes and more behind them. `Ok(Some(_))`: its
    /// arguments are at [`args`](Self::args), and the next call must be handed the bytes behind it. An error is final.
    #[inline]
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Parsed>, ParseError> {
        if self.remaining == 0 {
            self.spans.clear();
            self.inline = false;
            match buf.first() {
                Some(b'*') => {}
                Some(_) => return self.parse_inline(buf, limits),
                None => return Ok(self.need(1)),
            }
            let (count, next) = match short_number(buf, 1) {
                Some((count, next)) => (count as i64, next),
                None => match self.long_number(buf, limits, ParseError::TooBigMultibulkCount)? {
                    Some((_, next)) if !ends_line(buf, next - 2) => return Err(ParseError::InvalidLineEnd),
                    Some((count, next)) => (count.ok_or(ParseError::InvalidMultibulkLength)?, next),
                    None => return Ok(None),
                },
            };
            if count <= 0 {
                return Ok(Some(self.finish(next, true)));
            }
            self.remaining = check_count(count, limits)?;
            self.move_to(next);
            // An announced count is not to be trusted with memory; what has arrived bounds what can be in it.
            self.spans.reserve(self.remaining.min(buf.len() / 4));
        }
        self.parse_bulks(buf, limits)
    }

    /// Whether nothing of the next request was looked at yet.
    #[inline]
    pub fn is_fresh(&self) -> bool {
        self.remaining == 0 && self.scanned == 0
    }

    /// The arguments of the request that [`parse`](Self::parse) last found, given the buffer it found it in.
    #[inline]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::new(if self.inline { &self.scratch } else { buf }, &self.spans)
    }

    /// After `Ok(None)`: at least so many more bytes belong to the request. Worth reserving before the next read
    /// when large, bearing in mind that it is only what the client announced.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// After `Ok(None)`: so many bytes of the request have been found to be whole arguments, and what announces the next.
    pub fn parsed(&self) -> usize {
        if self.remaining > 0 { self.pos } else { 0 }
    }

    /// Bytes held on the heap, used or spare.
    pub fn memory(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.scratch.capacity()
    }

    /// Gives back memory beyond what an ordinary request needs, forgetting the arguments of the last one. Does nothing amid a request.
    pub fn shrink(&mut self) {
        if self.remaining > 0 {
            return;
        }
        self.spans.clear();
        self.spans.shrink_to(64);
        self.scratch.clear();
        self.scratch.shrink_to(1024);
    }

    fn parse_bulks(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Parsed>, ParseError> {
        let max =
            if limits.authenticated { limits.max_bulk } else { limits.max_bulk.min(Limits::GUEST_BULK) };
        while self.remaining > 0 {
            if self.bulk.is_none() {
                self.plain_bulks(buf, max);
            }
            if self.remaining > 0 && !self.any_bulk(buf, limits)? {
                return Ok(None);
            }
        }
        Ok(Some(self.finish(self.pos, true)))
    }

    /// Passes bulks as long as they are complete and nothing about them is unusual.
    #[inline(always)]
    fn plain_bulks(&mut self, buf: &[u8], max: usize) {
        // Kept in registers: this loop is where the server spends its parsing time.
        let (mut pos, mut remaining) = (self.pos, self.remaining);
        while remaining > 0 && buf.get(pos) == Some(&b'$') {
            let Some((len, start)) = short_number(buf, pos + 1) else { break };
            if len > max || !ends_line(buf, start + len) {
                break;
            }
            self.spans.push(Span { start, len });
            pos = start + len + 2;
            remaining -= 1;
        }
        self.remaining = remaining;
        self.move_to(pos);
    }

    /// Passes one bulk, whatever it looks like; false if it is not complete.
    #[cold]
    fn any_bulk(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ParseError> {
        let len = match self.bulk {
            Some(len) => len,
            None => {
                let Some((len, next)) = self.long_number(buf, limits, ParseError::TooBigBulkCount)? else {
                    return Ok(false);
                };
                if buf[self.pos] != b'$' {
                    return Err(ParseError::ExpectedDollar(buf[self.pos]));
                }
                if !ends_line(buf, next - 2) {
                    return Err(ParseError::InvalidLineEnd);
                }
                let len = check_len(len.ok_or(ParseError::InvalidBulkLength)?, limits)?;
                self.bulk = Some(len);
                self.move_to(next);
                len
            }
        };
        let have = buf.len().saturating_sub(self.pos);
        let want = len.saturating_add(2);
        if have < want {
            self.missing = want - have;
            return Ok(false);
        }
        if !ends_line(buf, self.pos + len) {
            return Err(ParseError::InvalidLineEnd);
        }
        self.spans.push(Span { start: self.pos, len });
        self.bulk = None;
        self.move_to(self.pos + want);
        self.remaining -= 1;
        Ok(true)
    }

    /// The line at `pos` from its second byte on, whatever it looks like: `None` when its end has not arrived, else its number
    /// if it is one and the offset behind the line, which may end with another byte than LF. A line beyond the limit is `too_long`.
    #[cold]
    fn long_number(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        too_long: ParseError,
    ) -> Result<Option<(Option<i64>, usize)>, ParseError> {
        match self.find(b'\r', buf, limits.max_line) {
            Found::At(cr) if cr + 1 < buf.len() => {
                let number = buf.get(self.pos + 1..cr).and_then(parse_number);
                Ok(Some((number, cr + 2)))
            }
            Found::At(_) | Found::NotYet => Ok(self.need(1)),
            Found::TooLong => Err(too_long),
        }
    }

    fn parse_inline(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Parsed>, ParseError> {
        let newline = match self.find(b'\n', buf, limits.max_line) {
            Found::At(newline) => newline,
            Found::NotYet => return Ok(self.need(1)),
            Found::TooLong => return Err(ParseError::TooBigInline),
        };
        let line = &buf[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.inline = true;
        self.scratch.clear();
        split_words(line, &mut self.scratch, &mut self.spans)?;
        Ok(Some(self.finish(newline + 1, false)))
    }

    /// Looks for `end` from `pos` on, at most `max` bytes in, each byte once over all calls.
    fn find(&mut self, end: u8, buf: &[u8], max: usize) -> Found {
        let line = buf.get(self.pos..).unwrap_or_default();
        let within = &line[..line.len().min(max.saturating_add(1))];
        let fresh = within.get(self.scanned..).unwrap_or_default();
        match memchr::memchr(end, fresh) {
            Some(at) => {
                self.scanned += at;
                Found::At(self.pos + self.scanned)
            }
            None if line.len() > max => Found::TooLong,
            None => {
                self.scanned = within.len();
                Found::NotYet
            }
        }
    }

    #[inline(always)]
    fn move_to(&mut self, pos: usize) {
        self.pos = pos;
        self.scanned = 0;
    }

    fn finish(&mut self, consumed: usize, multibulk: bool) -> Parsed {
        self.move_to(0);
        self.missing = 0;
        Parsed { consumed, multibulk }
    }

    fn need<T>(&mut self, missing: usize) -> Option<T> {
        self.missing = missing;
        None
    }
}

/// Passes the request that begins at `at` in `bytes` if it is complete and plain: an array of few bulks of less than 10,000
/// bytes each. Its arguments go to the front of `spans`; returned are how many they are and the offset behind the request.
///
/// `None` for anything else, good or bad, and for more arguments than `spans` has room for: [`RequestParser::parse`] knows
/// better. No limit is checked; of [`Limits`], none but those for guests can be below what is passed here.
#[inline]
pub fn plain(bytes: &[u8], at: usize, spans: &mut [Span]) -> Option<(usize, usize)> {
    let (count, mut at) = header(bytes, at, b'*')?;
    for span in spans.get_mut(..count)? {
        let (len, start) = header(bytes, at, b'$')?;
        if !ends_line(bytes, start + len) {
            return None;
        }
        *span = Span { start, len };
        at = start + len + 2;
    }
    (count > 0).then_some((count, at))
}

/// A line of `kind` and a [`short_number`] at `at`: the number, and the offset behind the line.
#[inline(always)]
fn header(bytes: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    if *bytes.get(at)? == kind { short_number(bytes, at + 1) } else { None }
}

/// Whether CR LF stands at `at`.
#[inline(always)]
fn ends_line(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 2) == Some(b"\r\n")
}

enum Found {
    At(usize),
    NotYet,
    TooLong,
}

fn check_count(count: i64, limits: &Limits) -> Result<usize, ParseError> {
    let count = usize::try_from(count).map_err(|_| ParseError::InvalidMultibulkLength)?;
    if count > limits.max_args {
        return Err(ParseError::InvalidMultibulkLength);
    }
    if !limits.authenticated && count > Limits::GUEST_ARGS {
        return Err(ParseError::UnauthenticatedMultibulkLength);
    }
    Ok(count)
}

fn check_len(len: i64, limits: &Limits) -> Result<usize, ParseError> {
    let len = usize::try_from(len).map_err(|_| ParseError::InvalidBulkLength)?;
    if len > limits.max_bulk {
        return Err(ParseError::InvalidBulkLength);
    }
    if !limits.authenticated && len > Limits::GUEST_BULK {
        return Err(ParseError::UnauthenticatedBulkLength);
    }
    Ok(len)
}

/// The common case of a line that is a number: one to four digits at `at`, then CR LF. Gives the number and the
/// offset behind the line; `None` for anything else, good or bad, complete or not.
#[inline(always)]
pub(super) fn short_number(buf: &[u8], at: usize) -> Option<(usize, usize)> {
    let line: &[u8; 6] = buf.get(at..)?.first_chunk()?;
    let digit = |index: usize| usize::from(line[index].wrapping_sub(b'0'));
    let first = digit(0);
    if first > 9 {
        return None;
    }
    if line[1..3] == *b"\r\n" {
        return Some((first, at + 3));
    }
    let second = digit(1);
    if first == 0 || second > 9 {
        return None;
    }
    let value = first * 10 + second;
    if line[2..4] == *b"\r\n" {
        return Some((value, at + 4));
    }
    let third = digit(2);
    if third > 9 {
        return None;
    }
    let value = value * 10 + third;
    if line[3..5] == *b"\r\n" {
        return Some((value, at + 5));
    }
    let fourth = digit(3);
    (fourth <= 9 && line[4..6] == *b"\r\n").then_some((value * 10 + fourth, at + 6))
}

/// A decimal number as Redis reads one: an optional minus, no plus, no blanks, no leading zero, no `-0`, within 64 bits.
pub(super) fn parse_number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        // Counted downwards, as there is one more number below zero than above.
        value = value.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Splits an inline line into words: blanks part them; `"..."` may hold `\n \r \t \b \a \xHH` and any other escaped byte; `'...'`
/// only `\'`. Both may be parts of a word.
fn split_words(line: &[u8], bytes: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), ParseError> {
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().take_while(|&&byte| is_space(byte)).count()..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = bytes.len();
        rest = split_word(rest, bytes)?;
        spans.push(Span { start, len: bytes.len() - start });
    }
}

/// Appends the word that opens `rest` to `bytes` and returns what follows it.
fn split_word<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], ParseError> {
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                rest = if *quote == b'"' { double_quoted(tail, bytes)? } else { single_quoted(tail, bytes)? };
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], ParseError> {
    loop {
        let (byte, tail) = match rest {
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_value(*high) * 16 + hex_value(*low), tail)
            }
            [b'\\', escaped, tail @ ..] => (unescape(*escaped), tail),
            [byte, tail @ ..] => (*byte, tail),
            [] => return Err(ParseError::UnbalancedQuotes),
        };
        bytes.push(byte);
        rest = tail;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], ParseError> {
    loop {
        let (byte, tail) = match rest {
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [byte, tail @ ..] => (*byte, tail),
            [] => return Err(ParseError::UnbalancedQuotes),
        };
        bytes.push(byte);
        rest = tail;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// C's `isspace`, which takes vertical tab and form feed for blanks as `u8::is_ascii_whitespace` does not.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests;
