//! The memcached binary protocol: requests in ([`Frame`]), replies out ([`mod@write`]).
//!
//! Every request is a header of 24 bytes, then extras, key and value, whose lengths the header tells. The protocol is old, and
//! memcached itself advises against it, but clients still begin with it. What a request does is not known here, nor what a
//! quiet one keeps to itself: a frame says that it is quiet, and whoever runs it knows which answers that spares.
//!
//! Two things differ from memcached 1.6, which loses its place in the input over them: behind a request that is refused for its
//! opcode, and behind `stat` with a value, exactly the body is skipped.
//!
//! Invariant: no input, whole or cut anywhere, makes this module panic.

use super::key::MAX_KEY;
use super::parse::Limits;
use super::text::Verb;
use super::token::Tokens;
use std::fmt;

pub mod write;

/// The first byte of every request; no request in text begins with it.
pub const MAGIC: u8 = 0x80;

/// Length of every header, in bytes.
const HEADER: usize = 24;

/// Most bytes of credentials; nobody's name and password are longer.
const MAX_CREDENTIALS: usize = 1024;

/// The expiration time by which a counter asks not to be made where there is none.
const DO_NOT_CREATE: u32 = u32::MAX;

/// What an answer repeats of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The opcode, as it was sent.
    pub opcode: u8,
    /// Means nothing to the server.
    pub opaque: [u8; 4],
}

/// A request and what belongs to its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame<'a> {
    /// What the answer repeats.
    pub tag: Tag,
    /// Whether the answer that is expected is to be spared: a miss of those that read, success of the others.
    pub quiet: bool,
    /// What is asked for.
    pub request: Request<'a>,
}

/// What a client may ask for. Keys are 1 to [`MAX_KEY`] bytes; expiration times are to be read as those of the text protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Request<'a> {
    /// `get`, `getk`, and quiet.
    Get {
        /// Which item.
        key: &'a [u8],
        /// Whether the key is wanted back.
        with_key: bool,
    },
    /// `touch`, `gat`, `gatk`, and quiet: the item expires anew.
    Touch {
        /// Which item.
        key: &'a [u8],
        /// When it is to expire.
        exptime: u32,
        /// Whether the value is wanted: all but `touch`.
        with_value: bool,
        /// Whether the key is wanted back.
        with_key: bool,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`, and quiet.
    Store {
        /// How to store. With a version to compare, `add` and `replace` are no different from `set`.
        verb: Verb,
        /// Which item.
        key: &'a [u8],
        /// Handed back with the value; 0 of `append` and `prepend`.
        flags: u32,
        /// When the item is to expire; 0 of `append` and `prepend`.
        exptime: u32,
        /// The version the item must have now.
        compare: Option<u64>,
        /// The value.
        data: &'a [u8],
    },
    /// `delete`, and quiet.
    Delete {
        /// Which item.
        key: &'a [u8],
        /// The version the item must have now.
        compare: Option<u64>,
    },
    /// `increment`, `decrement`, and quiet.
    Arith {
        /// The item to count with.
        key: &'a [u8],
        /// By how much.
        delta: u64,
        /// Whether to count down.
        decr: bool,
        /// The number to begin with, and when that item is to expire, should there be none.
        create: Option<(u64, u32)>,
        /// The version the item must have now.
        compare: Option<u64>,
    },
    /// `flush`, and quiet.
    FlushAll {
        /// When it takes effect; 0: at once.
        exptime: u32,
    },
    /// `noop`.
    Noop,
    /// `version`.
    Version,
    /// `quit`, and quiet.
    Quit,
    /// `stat`, with its arguments.
    Stats(Tokens<'a>),
    /// `sasl list mechs`.
    ListMechanisms,
    /// `sasl auth`.
    Authenticate {
        /// The name of a mechanism.
        mechanism: &'a [u8],
        /// What the mechanism makes of name and password.
        credentials: &'a [u8],
    },
    /// `sasl step`.
    AuthenticateOn,
    /// A store of more than fits: answer [`Status::TooLarge`]. Its value follows and comes back as `Ignored`.
    TooLarge {
        /// Which item.
        key: &'a [u8],
        /// Whether the item of that key must go, lest the client reads the old value for the new one.
        evict: bool,
    },
    /// No such opcode: answer [`Status::UnknownCommand`].
    Unknown,
    /// Lengths that do not go together: answer this and close.
    Broken(Status),
    /// Neither to be run nor answered.
    Ignored,
}

impl<'a> Request<'a> {
    /// The item it is about, if it is about one.
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Request::Get { key, .. }
            | Request::Touch { key, .. }
            | Request::Store { key, .. }
            | Request::Delete { key, .. }
            | Request::Arith { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// Why a request failed, as the header of its answer says it; the body says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// There is no such item.
    NotFound,
    /// There is such an item, or it has another version.
    Exists,
    /// The item exceeds what the server stores.
    TooLarge,
    /// The request contradicts itself.
    InvalidArguments,
    /// There was nothing to append to, or it became too large.
    NotStored,
    /// The value to be counted up or down is no number.
    NonNumeric,
    /// Who the client is was not said, or not right.
    AuthFailure,
    /// No such opcode, or one that is switched off.
    UnknownCommand,
    /// There is no memory for a value.
    OutOfMemory,
    /// There is no memory for a counter.
    OutOfMemoryForNumber,
    /// The key holds a value of another protocol that is no string.
    WrongType,
    /// Nothing can be done at the moment.
    Busy,
}

impl Status {
    /// The number in the header.
    pub fn code(self) -> u16 {
        match self {
            Status::NotFound => 0x01,
            Status::Exists => 0x02,
            Status::TooLarge => 0x03,
            Status::InvalidArguments => 0x04,
            Status::NotStored => 0x05,
            Status::NonNumeric => 0x06,
            Status::AuthFailure => 0x20,
            Status::UnknownCommand => 0x81,
            Status::OutOfMemory | Status::OutOfMemoryForNumber => 0x82,
            Status::WrongType => 0x84,
            Status::Busy => 0x85,
        }
    }

    /// The words in the body.
    pub fn text(self) -> &'static str {
        match self {
            Status::NotFound => "Not found",
            Status::Exists => "Data exists for key.",
            Status::TooLarge => "Too large.",
            Status::InvalidArguments => "Invalid arguments",
            Status::NotStored => "Not stored.",
            Status::NonNumeric => "Non-numeric server-side value for incr or decr",
            Status::AuthFailure => "Auth failure.",
            Status::UnknownCommand => "Unknown command",
            Status::OutOfMemory => "Out of memory allocating item",
            Status::OutOfMemoryForNumber => "Out of memory allocating new item",
            Status::WrongType => "The key holds a value that is not a string",
            Status::Busy => "Busy running a script",
        }
    }
}

/// Something that is no request of this protocol. The connection is closed without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMagic;

impl fmt::Display for NoMagic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no request of the memcached binary protocol")
    }
}

impl std::error::Error for NoMagic {}

/// What every header says.
struct Header {
    tag: Tag,
    key: usize,
    extras: usize,
    /// Extras, key and value together.
    body: usize,
    cas: Option<u64>,
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Header {
        let [_, opcode, k0, k1, extras, _, _, _, b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = *bytes;
        let cas = u64::from_be_bytes(cas);
        Header {
            tag: Tag { opcode, opaque: [o0, o1, o2, o3] },
            key: u16::from_be_bytes([k0, k1]).into(),
            extras: extras.into(),
            body: u32::from_be_bytes([b0, b1, b2, b3]) as usize,
            cas: (cas != 0).then_some(cas),
        }
    }

    /// Length of the value, in bytes. Only of a header whose lengths go together.
    fn value(&self) -> usize {
        self.body - self.extras - self.key
    }
}

/// Finds the requests of one connection in its read buffer.
#[derive(Debug, Clone, Default)]
pub struct RequestParser {
    /// Bytes still to be skipped.
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
    pub fn parse<'b>(
        &mut self,
        buf: &'b [u8],
        limits: &Limits,
    ) -> Result<Option<(Frame<'b>, usize)>, NoMagic> {
        if buf.is_empty() {
            return Ok(self.wait(1));
        }
        if self.skip > 0 {
            let len = self.skip.min(buf.len());
            self.skip -= len;
            return Ok(Some((IGNORED, len)));
        }
        if buf[0] != MAGIC {
            return Err(NoMagic);
        }
        let Some((bytes, rest)) = buf.split_first_chunk() else {
            return Ok(self.wait(HEADER - buf.len()));
        };
        let header = Header::read(bytes);
        let head = header.extras + header.key;
        let Some((extras, behind)) = rest.get(..head).map(|_| rest.split_at(header.extras)) else {
            return Ok(self.wait(head - rest.len()));
        };
        let (key, value) = behind.split_at(header.key);
        let plan = if head > header.body {
            Plan::Answer(Request::Broken(Status::UnknownCommand))
        } else if key.len() > MAX_KEY {
            Plan::BROKEN
        } else {
            plan(&header, extras, key, limits)
        };
        let (request, len) = match plan {
            Plan::Answer(request) => {
                self.skip = header.body.saturating_sub(head);
                (request, HEADER + head)
            }
            Plan::WithValue(make) => match value.get(..header.value()) {
                Some(value) => (make.request(&header, extras, key, value), HEADER + header.body),
                None => return Ok(self.wait(header.value() - value.len())),
            },
        };
        let quiet = is_quiet(header.tag.opcode);
        Ok(Some((Frame { tag: header.tag, quiet, request }, len)))
    }

    /// After `Ok(None)`: at least so many more bytes belong to the request. Never more than [`Limits`] allow.
    pub fn missing(&self) -> usize {
        self.missing
    }

    fn wait<T>(&mut self, missing: usize) -> Option<T> {
        self.missing = missing;
        None
    }
}

const IGNORED: Frame<'static> =
    Frame { tag: Tag { opcode: 0, opaque: [0; 4] }, quiet: true, request: Request::Ignored };

/// What is to be made of a header.
enum Plan<'a> {
    /// This; what else there is of the body is skipped.
    Answer(Request<'a>),
    /// A request with a value, which is worth waiting for.
    WithValue(Make),
}

impl Plan<'_> {
    const BROKEN: Plan<'static> = Plan::Answer(Request::Broken(Status::InvalidArguments));
}

/// Requests that have a value.
#[derive(Clone, Copy)]
enum Make {
    Store(Verb),
    Authenticate,
}

impl Make {
    fn request<'a>(self, header: &Header, extras: &[u8], key: &'a [u8], data: &'a [u8]) -> Request<'a> {
        match self {
            Make::Authenticate => Request::Authenticate { mechanism: key, credentials: data },
            Make::Store(verb) => {
                let verb = match (verb, header.cas) {
                    (Verb::Add | Verb::Replace, Some(_)) => Verb::Set,
                    _ => verb,
                };
                let (flags, exptime) = (u32_at(extras, 0), u32_at(extras, 4));
                Request::Store { verb, key, flags, exptime, compare: header.cas, data }
            }
        }
    }
}

/// Reads an opcode, and checks that the lengths are those it wants.
fn plan<'a>(header: &Header, extras: &[u8], key: &'a [u8], limits: &Limits) -> Plan<'a> {
    let (has_key, value, compare) = (!key.is_empty(), header.value(), header.cas);
    let (is_right, request) = match header.tag.opcode {
        0x00 | 0x09 | 0x0c | 0x0d => {
            let with_key = matches!(header.tag.opcode, 0x0c | 0x0d);
            (extras.is_empty() && has_key && value == 0, Request::Get { key, with_key })
        }
        0x01 | 0x11 => return store(Verb::Set, header, extras, key, limits),
        0x02 | 0x12 => return store(Verb::Add, header, extras, key, limits),
        0x03 | 0x13 => return store(Verb::Replace, header, extras, key, limits),
        0x0e | 0x19 => return store(Verb::Append, header, extras, key, limits),
        0x0f | 0x1a => return store(Verb::Prepend, header, extras, key, limits),
        0x04 | 0x14 => (extras.is_empty() && has_key && value == 0, Request::Delete { key, compare }),
        0x05 | 0x06 | 0x15 | 0x16 => {
            let decr = matches!(header.tag.opcode, 0x06 | 0x16);
            let (delta, initial) = (u64_at(extras, 0), u64_at(extras, 8));
            let exptime = u32_at(extras, 16);
            let create = (exptime != DO_NOT_CREATE).then_some((initial, exptime));
            (
                extras.len() == 20 && has_key && value == 0,
                Request::Arith { key, delta, decr, create, compare },
            )
        }
        0x07 | 0x17 => (header.body == 0, Request::Quit),
        0x08 | 0x18 => {
            let is_right = header.body == extras.len() && matches!(extras.len(), 0 | 4);
            (is_right, Request::FlushAll { exptime: u32_at(extras, 0) })
        }
        0x0a => (header.body == 0, Request::Noop),
        0x0b => (header.body == 0, Request::Version),
        0x10 => (extras.is_empty(), Request::Stats(Tokens::new(key))),
        0x1c..=0x1e | 0x23 | 0x24 => {
            let opcode = header.tag.opcode;
            let (with_value, with_key) = (opcode != 0x1c, matches!(opcode, 0x23 | 0x24));
            let exptime = u32_at(extras, 0);
            (extras.len() == 4 && has_key, Request::Touch { key, exptime, with_value, with_key })
        }
        0x20 => (header.body == 0, Request::ListMechanisms),
        0x21 if extras.is_empty() && has_key && value <= MAX_CREDENTIALS => {
            return Plan::WithValue(Make::Authenticate);
        }
        0x21 => return Plan::BROKEN,
        0x22 => (extras.is_empty() && has_key, Request::AuthenticateOn),
        _ => (true, Request::Unknown),
    };
    if is_right { Plan::Answer(request) } else { Plan::BROKEN }
}

fn store<'a>(verb: Verb, header: &Header, extras: &[u8], key: &'a [u8], limits: &Limits) -> Plan<'a> {
    let wanted = if matches!(verb, Verb::Append | Verb::Prepend) { 0 } else { 8 };
    if extras.len() != wanted || key.is_empty() {
        return Plan::BROKEN;
    }
    if !limits.item_fits(key.len(), u32_at(extras, 0), header.value()) {
        return Plan::Answer(Request::TooLarge { key, evict: verb == Verb::Set });
    }
    Plan::WithValue(Make::Store(verb))
}

/// Whether an opcode is that of a quiet request.
fn is_quiet(opcode: u8) -> bool {
    matches!(opcode, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24)
}

/// The number at some place of the extras; 0 where they are too short for it.
fn u32_at(extras: &[u8], at: usize) -> u32 {
    extras.get(at..).and_then(|from| from.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn u64_at(extras: &[u8], at: usize) -> u64 {
    extras.get(at..).and_then(|from| from.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
