//! Replies off the wire: from peers, to an embedding program, in tests. Both versions, told apart by the type bytes.
//!
//! Most replies a node reads it only relays, for which [`FrameScanner`] finds where a reply ends without looking into it:
//! no allocation, no recursion, every byte passed once however the reply is cut. [`Reply::decode`] builds the value of
//! one that is complete. Links, requests and what a reply means are unknown.
//!
//! The `redis-protocol` crate, whose frames the tests compare with these, is not used for it: its maps and sets are hash
//! tables, so the order of a reply is lost, and it recurses as deep as the peer nests arrays.
//!
//! Invariant: nothing is allocated that was only announced; nesting beyond [`Reply::MAX_DEPTH`] is refused.

use std::fmt;

use super::parse::{parse_number, short_number};
use super::write::Output;

/// A reply. Attributes, which go before a reply and no one here asks for, are passed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A status such as `OK`.
    Simple(Vec<u8>),
    /// An error: its code, a blank and the message.
    Error(Vec<u8>),
    /// An integer.
    Int(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// No value, whichever of its three spellings.
    Null,
    /// Replies in order.
    Array(Vec<Reply>),
    /// Pairs of replies, in the order they came.
    Map(Vec<(Reply, Reply)>),
    /// Replies, in the order they came.
    Set(Vec<Reply>),
    /// A message that answers no request.
    Push(Vec<Reply>),
    /// A floating point number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// The digits of an integer of any size.
    BigNumber(Vec<u8>),
    /// A text for people and its format, `txt` or `mkd`.
    Verbatim([u8; 3], Vec<u8>),
}

/// Why the bytes of a peer are no reply. The link is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// A reply opens with this byte, which is no type.
    UnknownType(u8),
    /// A count, a length or a value is no number, or absurdly large.
    InvalidNumber,
    /// A CR without LF in a line, or no line end after a string.
    MissingLineEnd,
    /// A boolean that is neither `t` nor `f`, or a verbatim text without a format.
    InvalidValue,
    /// Nested deeper than [`Reply::MAX_DEPTH`].
    TooDeep,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::UnknownType(byte) => write!(f, "a reply of the unknown type {:?}", char::from(*byte)),
            ReplyError::InvalidNumber => f.write_str("a reply with an invalid number"),
            ReplyError::MissingLineEnd => f.write_str("a reply with a missing line end"),
            ReplyError::InvalidValue => f.write_str("a reply with an invalid value"),
            ReplyError::TooDeep => f.write_str("a reply nested too deeply"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// The length in bytes of the reply at the start of `buf`, its attributes included; `None` if it is not complete.
///
/// It is not checked that values within are well formed beyond what is needed to find the end.
pub fn frame_len(buf: &[u8]) -> Result<Option<usize>, ReplyError> {
    FrameScanner::new().scan(buf)
}

/// Finds the end of a reply that comes in pieces.
#[derive(Debug, Clone)]
pub struct FrameScanner {
    /// Next byte to be looked at, from the start of the reply.
    pos: usize,
    /// Bytes from `pos` on known to hold no line end.
    scanned: usize,
    /// Replies still to be passed, nested ones counted once their aggregate was opened.
    pending: usize,
}

impl Default for FrameScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameScanner {
    /// A scanner at the start of a reply.
    pub fn new() -> Self {
        FrameScanner { pos: 0, scanned: 0, pending: 1 }
    }

    /// The length of the reply at the start of `buf`, as [`frame_len`]. On `Ok(None)` the next call must bring the same bytes and more
    /// behind them; on `Ok(Some(_))` the scanner is ready for the reply that follows. An error is final.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, ReplyError> {
        while self.pending > 0 {
            let Some(head) = Head::read(buf, self.pos, &mut self.scanned)? else { return Ok(None) };
            let end = match head.shape {
                Shape::Line | Shape::Null => head.next,
                Shape::Bytes(len) => head.next.checked_add(len + 2).ok_or(ReplyError::InvalidNumber)?,
                Shape::Elements(count) => {
                    self.pending = self.pending.checked_add(count).ok_or(ReplyError::InvalidNumber)?;
                    head.next
                }
            };
            if end > buf.len() {
                return Ok(None);
            }
            // Attributes come before the reply they belong to and do not stand for it.
            if head.kind != b'|' {
                self.pending -= 1;
            }
            self.pos = end;
            self.scanned = 0;
        }
        let len = self.pos;
        *self = Self::new();
        Ok(Some(len))
    }
}

/// The first line of a reply.
struct Head<'a> {
    kind: u8,
    /// The line without type and end.
    text: &'a [u8],
    shape: Shape,
    /// Offset of what follows the line.
    next: usize,
}

/// What follows the first line of a reply.
enum Shape {
    /// Nothing.
    Line,
    /// Nothing, as there is no value.
    Null,
    /// So many bytes and a line end.
    Bytes(usize),
    /// So many replies.
    Elements(usize),
}

impl<'a> Head<'a> {
    /// Reads the line at `pos`, of which `scanned` bytes are known to hold no line end.
    #[inline]
    fn read(buf: &'a [u8], pos: usize, scanned: &mut usize) -> Result<Option<Head<'a>>, ReplyError> {
        let Some(&kind) = buf.get(pos) else { return Ok(None) };
        let counted = matches!(kind, b'$' | b'*' | b'%' | b'~' | b'>' | b'=' | b'!' | b'|');
        if counted && let Some((number, next)) = short_number(buf, pos + 1) {
            let text = &buf[pos + 1..next - 2];
            return Ok(Some(Head { kind, text, shape: Shape::of(kind, number as i64)?, next }));
        }
        if !counted && !matches!(kind, b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(') {
            return Err(ReplyError::UnknownType(kind));
        }
        let line = &buf[pos + 1..];
        let Some(found) = memchr::memchr(b'\r', line.get(*scanned..).unwrap_or_default()) else {
            *scanned = line.len();
            return Ok(None);
        };
        *scanned += found;
        let end = *scanned;
        match line.get(end + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(ReplyError::MissingLineEnd),
        }
        let text = &line[..end];
        let next = pos + 1 + end + 2;
        let shape = match kind {
            _ if counted => Shape::of(kind, parse_number(text).ok_or(ReplyError::InvalidNumber)?)?,
            b'_' => Shape::Null,
            _ => Shape::Line,
        };
        Ok(Some(Head { kind, text, shape, next }))
    }
}

impl Shape {
    #[inline]
    fn of(kind: u8, number: i64) -> Result<Shape, ReplyError> {
        if number == -1 && matches!(kind, b'$' | b'*') {
            return Ok(Shape::Null);
        }
        // 32 bits are more than any reply has and leave room for the sums.
        let number = u32::try_from(number).map_err(|_| ReplyError::InvalidNumber)? as usize;
        Ok(match kind {
            b'$' | b'!' | b'=' => Shape::Bytes(number),
            b'%' | b'|' => Shape::Elements(number * 2),
            _ => Shape::Elements(number),
        })
    }
}

impl Reply {
    /// How deeply aggregates may nest in a reply that is decoded.
    pub const MAX_DEPTH: usize = 256;

    /// The reply at the start of `buf` and its length in bytes; `None` if it is not complete.
    pub fn decode(buf: &[u8]) -> Result<Option<(Reply, usize)>, ReplyError> {
        let Some(len) = frame_len(buf)? else { return Ok(None) };
        let mut pos = 0;
        let reply = decode(&buf[..len], &mut pos, 0)?;
        debug_assert_eq!(pos, len);
        Ok(Some((reply, len)))
    }

    /// Writes the reply in the version `out` speaks.
    pub fn write(&self, out: &mut Output) {
        let all = |replies: &[Reply], out: &mut Output| replies.iter().for_each(|reply| reply.write(out));
        match self {
            Reply::Simple(text) => out.simple(text),
            Reply::Error(text) => out.error(text),
            Reply::Int(value) => out.int(*value),
            Reply::Bulk(value) => out.bulk(value),
            Reply::Null => out.null(),
            Reply::Array(replies) => {
                out.array(replies.len());
                all(replies, out);
            }
            Reply::Map(pairs) => {
                out.map(pairs.len());
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
            Reply::Set(replies) => {
                out.set(replies.len());
                all(replies, out);
            }
            Reply::Push(replies) => {
                out.push(replies.len());
                all(replies, out);
            }
            Reply::Double(value) => out.double(*value),
            Reply::Bool(value) => out.bool(*value),
            Reply::BigNumber(digits) => out.big_number(digits),
            Reply::Verbatim(format, text) => out.verbatim(*format, text),
        }
    }
}

/// Decodes the reply at `pos` of `frame`, which is known to hold all of it.
fn decode(frame: &[u8], pos: &mut usize, depth: usize) -> Result<Reply, ReplyError> {
    let head = head(frame, pos)?;
    match head.shape {
        Shape::Line => line(&head),
        Shape::Null => Ok(Reply::Null),
        Shape::Bytes(len) => bytes(frame, pos, head.kind, len),
        Shape::Elements(_) if depth == Reply::MAX_DEPTH => Err(ReplyError::TooDeep),
        Shape::Elements(count) => {
            // All of them are in the frame, so what is reserved is bounded by what arrived.
            if head.kind == b'%' {
                let mut pairs = Vec::with_capacity(count / 2);
                for _ in 0..count / 2 {
                    let key = decode(frame, pos, depth + 1)?;
                    pairs.push((key, decode(frame, pos, depth + 1)?));
                }
                return Ok(Reply::Map(pairs));
            }
            let mut replies = Vec::with_capacity(count);
            for _ in 0..count {
                replies.push(decode(frame, pos, depth + 1)?);
            }
            match head.kind {
                b'*' => Ok(Reply::Array(replies)),
                b'~' => Ok(Reply::Set(replies)),
                b'>' => Ok(Reply::Push(replies)),
                other => Err(ReplyError::UnknownType(other)),
            }
        }
    }
}

/// The first line of the reply at `pos`, attributes before it passed over.
fn head<'a>(frame: &'a [u8], pos: &mut usize) -> Result<Head<'a>, ReplyError> {
    loop {
        let head = Head::read(frame, *pos, &mut 0)?.ok_or(ReplyError::InvalidValue)?;
        *pos = head.next;
        let Shape::Elements(count) = head.shape else { return Ok(head) };
        if head.kind != b'|' {
            return Ok(head);
        }
        let mut scanner = FrameScanner { pending: count, ..FrameScanner::new() };
        let rest = frame.get(*pos..).unwrap_or_default();
        *pos += scanner.scan(rest)?.ok_or(ReplyError::InvalidValue)?;
    }
}

fn line(head: &Head) -> Result<Reply, ReplyError> {
    Ok(match head.kind {
        b'+' => Reply::Simple(head.text.to_vec()),
        b'-' => Reply::Error(head.text.to_vec()),
        b':' => Reply::Int(parse_number(head.text).ok_or(ReplyError::InvalidNumber)?),
        b',' => {
            let text = std::str::from_utf8(head.text).map_err(|_| ReplyError::InvalidNumber)?;
            Reply::Double(text.parse().map_err(|_| ReplyError::InvalidNumber)?)
        }
        b'(' => Reply::BigNumber(head.text.to_vec()),
        _ => match head.text {
            b"t" => Reply::Bool(true),
            b"f" => Reply::Bool(false),
            _ => return Err(ReplyError::InvalidValue),
        },
    })
}

fn bytes(frame: &[u8], pos: &mut usize, kind: u8, len: usize) -> Result<Reply, ReplyError> {
    let rest = frame.get(*pos..).unwrap_or_default();
    let (value, rest) = rest.split_at_checked(len).ok_or(ReplyError::InvalidValue)?;
    if !rest.starts_with(b"\r\n") {
        return Err(ReplyError::MissingLineEnd);
    }
    *pos += len + 2;
    match (kind, value) {
        (b'$', value) => Ok(Reply::Bulk(value.to_vec())),
        (b'!', value) => Ok(Reply::Error(value.to_vec())),
        (_, [a, b, c, b':', text @ ..]) => Ok(Reply::Verbatim([*a, *b, *c], text.to_vec())),
        _ => Err(ReplyError::InvalidValue),
    }
}

#[cfg(test)]
mod tests;
