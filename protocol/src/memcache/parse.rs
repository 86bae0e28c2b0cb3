//! Requests off the wire: lines, and the data blocks some announce.
//!
//! The parser looks at the bytes a connection has read so far. Between calls it remembers how far it searched for a line end
//! and how many bytes it is waiting for, so a value that comes in a thousand pieces is looked at once. After a store that is
//! refused it remembers how much data to skip: whatever lies in that data is never taken for a command.
//!
//! Invariant: `scanned` and `needed` are counted from the start of the request, which is the start of the buffer of every call.

use std::fmt;

use memchr::memchr;

use super::fault::Fault;
use super::key::MAX_KEY;
use super::text::{Head, Line, Request, parse_line};

/// Longest line that is not a list of keys, line end not counted.
const MAX_COMMAND_LINE: usize = 2048;

/// What memcached counts for an item besides key and value, with versions and without client flags.
const ITEM_OVERHEAD: usize = 59;

/// What client flags other than 0 add to that.
const ITEM_FLAGS: usize = 4;

/// What a request may claim before it is refused. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest item (memcached's `-I`): value, key and 59 or, with client flags, 63 bytes.
    pub max_item: usize,
    /// Longest line of `get`, `gets`, `gat` and `gats`, line end not counted. Other lines end at 2048 bytes.
    pub max_line: usize,
}

impl Default for Limits {
    /// Items of 1 MiB as in memcached, and lists of keys of 8 MiB.
    fn default() -> Self {
        Limits { max_item: 1024 * 1024, max_line: 8 * 1024 * 1024 }
    }
}

impl Limits {
    /// Whether memcached would find room for an item under its item limit. Lengths of key and value in bytes.
    #[inline]
    pub fn item_fits(&self, key_len: usize, client_flags: u32, len: usize) -> bool {
        let flags = if client_flags == 0 { 0 } else { ITEM_FLAGS };
        len + ITEM_OVERHEAD + flags + key_len <= self.max_item
    }
}

/// Why there is no going on with a client. It is not told, as memcached does not: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// The line does not end within the limit.
    LineTooLong,
    /// A web browser, or somebody who makes one send requests here.
    Http,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::LineTooLong => "command line too long",
            ParseError::Http => "HTTP request on a memcached port",
        })
    }
}

impl std::error::Error for ParseError {}

/// The (first) key of the request at the start of `buf` and the request's length, where it is a complete and plain reading or
/// writing of items; `None` for anything else, good or bad. Nothing is checked: this is for looking ahead.
#[inline]
pub fn peek(buf: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr(b'\n', buf)?;
    let mut words = buf[..end].strip_suffix(b"\r")?.split(|&byte| byte == b' ');
    // Where the length of the data stands behind the key.
    let length_at = match words.next()? {
        b"get" | b"gets" | b"mg" => None,
        b"set" => Some(2),
        b"ms" => Some(0),
        _ => return None,
    };
    let key = words.next()?;
    let data = match length_at {
        None => 0,
        Some(at) => match words.nth(at)? {
            digits @ &[b'0'..=b'9', ..] if digits.len() < 10 => {
                digits.iter().fold(0, |len, digit| 10 * len + usize::from(digit & 15)) + 2
            }
            _ => return None,
        },
    };
    (end + 1 + data <= buf.len()).then_some((key, end + 1 + data))
}

/// Finds the requests of one connection in its read buffer.
#[derive(Debug, Clone, Default)]
pub struct RequestParser {
    /// Bytes known to hold no line end.
    scanned: usize,
    /// Below so many bytes there is no use in looking.
    needed: usize,
    /// Bytes of data still to be skipped.
    skip: usize,
    missing: usize,
}

impl RequestParser {
    /// A parser at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for the request that begins at the start of `buf`; returns it with its length in bytes.
    ///
    /// `Ok(None)`: it is not complete; call again with the same bytes and more behind them. `Ok(Some(_))`: the next
    /// call must be handed the bytes behind it. An error is final.
    #[inline]
    pub fn parse<'b>(
        &mut self,
        buf: &'b [u8],
        limits: &Limits,
    ) -> Result<Option<(Request<'b>, usize)>, ParseError> {
        if buf.len() < self.needed.max(1) {
            return Ok(self.wait(buf, self.needed.max(1)));
        }
        if self.skip > 0 {
            let len = self.skip.min(buf.len());
            self.skip -= len;
            return Ok(Some((Request::Ignored, len)));
        }
        let Some(end) = memchr(b'\n', &buf[self.scanned..]) else {
            return self.unfinished_line(buf, limits);
        };
        let end = self.scanned + end;
        if end > MAX_COMMAND_LINE {
            check_long_line(&buf[..end], limits)?;
        }
        self.scanned = 0;
        self.needed = 0;
        // A CR all by itself is not taken for a line end; either way the line is wrong.
        let line = if end > 1 && buf[end - 1] == b'\r' { &buf[..end - 1] } else { &buf[..end] };
        self.finish_line(parse_line(line), end + 1, buf, limits)
    }

    /// After `Ok(None)`: at least so many more bytes belong to the request. Worth reserving before the next read
    /// when large; never more than [`Limits`] allow.
    pub fn missing(&self) -> usize {
        self.missing
    }

    #[cold]
    fn unfinished_line<'b>(
        &mut self,
        buf: &'b [u8],
        limits: &Limits,
    ) -> Result<Option<(Request<'b>, usize)>, ParseError> {
        if buf.len() > MAX_COMMAND_LINE {
            check_long_line(buf, limits)?;
        }
        self.scanned = buf.len();
        Ok(self.wait(buf, buf.len() + 1))
    }

    fn wait<'b>(&mut self, buf: &'b [u8], needed: usize) -> Option<(Request<'b>, usize)> {
        self.needed = needed;
        self.missing = needed - buf.len();
        None
    }

    /// Makes a request of a line and, if it announced one, of the data block at `start`.
    #[inline]
    fn finish_line<'b>(
        &mut self,
        line: Line<'b>,
        start: usize,
        buf: &'b [u8],
        limits: &Limits,
    ) -> Result<Option<(Request<'b>, usize)>, ParseError> {
        let (head, len) = match line {
            Line::Request(request) => return Ok(Some((request, start))),
            Line::Store { head, len } => (head, len),
            Line::Refused { fault, noreply, block } => {
                self.skip = block.map_or(0, |len| len + 2);
                return Ok(Some((refusal(fault, noreply), start)));
            }
            Line::Http => return Err(ParseError::Http),
        };
        if !item_fits(&head, len, limits) {
            self.skip = len + 2;
            let too_large =
                Request::TooLarge { key: head.key(), evict: head.evicts(), noreply: head.noreply() };
            return Ok(Some((too_large, start)));
        }
        let end = start + len + 2;
        if buf.len() < end {
            return Ok(self.wait(buf, end));
        }
        let (data, line_end) = buf[start..end].split_at(len);
        let request = match line_end {
            b"\r\n" => head.with_data(data),
            _ => refusal(Fault::BadDataChunk, head.noreply()),
        };
        Ok(Some((request, end)))
    }
}

/// A refusal, or nothing where silence was asked for.
fn refusal(fault: Fault, noreply: bool) -> Request<'static> {
    if noreply { Request::Ignored } else { Request::Invalid(fault) }
}

/// Whether the item of a store fits.
#[inline]
fn item_fits(head: &Head<'_>, len: usize, limits: &Limits) -> bool {
    // A key is short enough for the exact sum to matter only close to the limit.
    limits.item_fits(MAX_KEY, u32::MAX, len)
        || limits.item_fits(head.key().decoded_len(), head.client_flags(), len)
}

/// Refuses a line, or the beginning of one, that is longer than it may be.
fn check_long_line(line: &[u8], limits: &Limits) -> Result<(), ParseError> {
    // As many as memcached passes over, for there must be an end to it.
    const MAX_LEADING_BLANKS: usize = 100;
    let blanks = line.iter().take(MAX_LEADING_BLANKS + 1).take_while(|&&byte| byte == b' ').count();
    let is_list =
        [&b"get "[..], b"gets ", b"gat ", b"gats "].iter().any(|name| line[blanks..].starts_with(name));
    if is_list && blanks <= MAX_LEADING_BLANKS && line.len() <= limits.max_line {
        Ok(())
    } else {
        Err(ParseError::LineTooLong)
    }
}

#[cfg(test)]
mod tests;
