//! What a client may ask for, and the classic commands among it.
//!
//! A command line is read word by word, left to right, into a [`Request`] that borrows from it. Stores come in two parts:
//! the line says how long the data block behind it is, and the caller waits for that.
//!
//! `noreply` counts only as the last word of a line that has the right number of words; it silences errors as well.

use super::admin;
use super::fault::Fault;
use super::key::{MAX_KEY, WireKey};
use super::meta::{self, Meta};
use super::token::{Tokens, last_token, parse_i64, parse_u32, parse_u64};

/// One request of a client, borrowing from its read buffer.
///
/// `noreply`: the answer must not be sent, errors included. Expiration times are as the client wrote them; see [`expires_at`].
#[derive(Debug, Clone, PartialEq)]
pub enum Request<'a> {
    /// `get`, `gets`: the values of these keys, in this order, then `END`.
    Get {
        /// One key or more, each at most [`MAX_KEY`] bytes.
        keys: Tokens<'a>,
        /// Whether each value is to come with its version.
        with_cas: bool,
    },
    /// `gat`, `gats`: as `Get`, and the items found expire anew.
    Gat {
        /// When they are to expire.
        exptime: i64,
        /// The keys; there may be none.
        keys: Tokens<'a>,
        /// Whether each value is to come with its version.
        with_cas: bool,
    },
    /// `set` and its kin.
    Store {
        /// Where and how.
        store: Store<'a>,
        /// The value, without its line end.
        data: &'a [u8],
    },
    /// `incr`, `decr`.
    Arith {
        /// The item to count with.
        key: &'a [u8],
        /// By how much.
        delta: u64,
        /// Whether to count down, which stops at 0; counting up wraps.
        decr: bool,
        /// Send no answer.
        noreply: bool,
    },
    /// `touch`: the item expires anew.
    Touch {
        /// Which item.
        key: &'a [u8],
        /// When it is to expire.
        exptime: i64,
        /// Send no answer.
        noreply: bool,
    },
    /// `delete`.
    Delete {
        /// Which item.
        key: &'a [u8],
        /// Send no answer.
        noreply: bool,
    },
    /// `mg`.
    MetaGet(Meta<'a>),
    /// `ms`. The version that must be current, if any, is [`Meta::cas`].
    MetaSet {
        /// Key and flags.
        meta: Meta<'a>,
        /// How to store.
        verb: Verb,
        /// The value, without its line end.
        data: &'a [u8],
    },
    /// `md`.
    MetaDelete(Meta<'a>),
    /// `ma`.
    MetaArith {
        /// Key and flags.
        meta: Meta<'a>,
        /// Whether to count down.
        decr: bool,
    },
    /// `mn`: answer `MN`, and send what is waiting to be sent.
    MetaNoop,
    /// `me`: what the server knows of an item, for people.
    MetaDebug(WireKey<'a>),
    /// `flush_all`.
    FlushAll {
        /// When it takes effect; not positive: at once.
        delay: i64,
        /// Send no answer.
        noreply: bool,
    },
    /// `stats`, with its arguments.
    Stats(Tokens<'a>),
    /// `version`.
    Version,
    /// `verbosity`.
    Verbosity {
        /// 0 is quiet.
        level: u32,
        /// Send no answer.
        noreply: bool,
    },
    /// `quit`: close once what is waiting has been sent.
    Quit,
    /// `cache_memlimit`.
    CacheMemlimit {
        /// The memory to use from now on, in MB; at least 8.
        megabytes: u32,
        /// Send no answer.
        noreply: bool,
    },
    /// `lru_crawler metadump` and `mgdump`: a line for every item.
    Dump(DumpFormat),
    /// `watch`, with the events to be watched.
    Watch(Tokens<'a>),
    /// `shutdown`: end the node.
    Shutdown {
        /// Whether its arguments are such as there can be; told only where the command is allowed.
        valid: bool,
    },
    /// `debugtime`: move the node's clock. memcached has it where it is built to be tested.
    MoveTime {
        /// By how much; negative: back.
        seconds: i64,
    },
    /// `refresh_certs`: read the TLS certificate again.
    RefreshCerts {
        /// Send no answer.
        noreply: bool,
    },
    /// A well-formed setting of machinery that memcached has and Shoal has no use for (slabs, segments, crawler).
    /// The answer is `OK`.
    Tuning {
        /// Send no answer.
        noreply: bool,
    },
    /// A store of more than fits: answer [`Fault::TooLarge`]. Its data follows and comes back as `Ignored`.
    TooLarge {
        /// Which item.
        key: WireKey<'a>,
        /// Whether the item of that key must go, lest the client reads the old value for the new one.
        evict: bool,
        /// Send no answer; the item goes all the same.
        noreply: bool,
    },
    /// Not to be run: answer [`Fault::line`].
    Invalid(Fault),
    /// Neither to be run nor answered: skipped data, or something wrong with `noreply`.
    Ignored,
}

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// In any case.
    Set,
    /// Only if there is no such item.
    Add,
    /// Only if there is such an item.
    Replace,
    /// Behind the value there is.
    Append,
    /// Before the value there is.
    Prepend,
}

/// The line of a classic storage command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store<'a> {
    /// What to do; the command `cas` is `Set` with a version.
    pub verb: Verb,
    /// At most [`MAX_KEY`] bytes.
    pub key: &'a [u8],
    /// Handed back to clients with the value; means nothing to the server.
    pub flags: u32,
    /// When the item is to expire.
    pub exptime: i64,
    /// The version the item must have now.
    pub cas: Option<u64>,
    /// Send no answer.
    pub noreply: bool,
}

/// How keys are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DumpFormat {
    /// `key=<uri-encoded> exp=.. la=.. cas=.. fetch=..`, ended by `END`.
    Metadump,
    /// `mg <key>`, ended by `EN`.
    Mgdump,
}

/// When an item with this expiration time expires, in Unix seconds, if it is now `now_s`. `None`: never. A result that is
/// not after `now_s` means that it has expired already.
///
/// 0 is never, a negative number is the past, up to 30 days count from now, and anything larger is Unix time.
pub fn expires_at(exptime: i64, now_s: i64) -> Option<i64> {
    const LONGEST_RELATIVE_S: i64 = 30 * 24 * 60 * 60;
    match exptime {
        0 => None,
        ..0 => Some(0),
        1..=LONGEST_RELATIVE_S => Some(now_s.saturating_add(exptime)),
        _ => Some(exptime),
    }
}

/// What a command line turned out to be.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// All there is to it.
    Request(Request<'a>),
    /// A store; `len` bytes of data and a line end follow.
    Store { head: Head<'a>, len: usize },
    /// Wrong. A `block` of that many bytes of data follows and is to be skipped; where there is none, memcached takes whatever
    /// follows for the next request, even behind a store.
    Refused { fault: Fault, noreply: bool, block: Option<usize> },
    /// Somebody takes this for a web server.
    Http,
}

/// The line of a store, which lacks nothing but its data.
#[derive(Debug)]
pub(super) enum Head<'a> {
    Classic(Store<'a>),
    Meta { meta: Meta<'a>, verb: Verb },
}

impl<'a> Head<'a> {
    #[inline]
    pub(super) fn key(&self) -> WireKey<'a> {
        match self {
            Head::Classic(store) => WireKey::plain(store.key),
            Head::Meta { meta, .. } => meta.key(),
        }
    }

    #[inline]
    pub(super) fn client_flags(&self) -> u32 {
        match self {
            Head::Classic(store) => store.flags,
            Head::Meta { meta, .. } => meta.client_flags(),
        }
    }

    /// Errors of `ms` are always said.
    #[inline]
    pub(super) fn noreply(&self) -> bool {
        match self {
            Head::Classic(store) => store.noreply,
            Head::Meta { .. } => false,
        }
    }

    /// Whether the item there is must go if this one cannot be stored.
    pub(super) fn evicts(&self) -> bool {
        match self {
            Head::Classic(store) => store.verb == Verb::Set && store.cas.is_none(),
            Head::Meta { .. } => true,
        }
    }

    #[inline]
    pub(super) fn with_data(self, data: &'a [u8]) -> Request<'a> {
        match self {
            Head::Classic(store) => Request::Store { store, data },
            Head::Meta { meta, verb } => Request::MetaSet { meta, verb, data },
        }
    }
}

impl Line<'_> {
    /// A line that is wrong and has nothing behind it.
    pub(super) fn refused(fault: Fault) -> Self {
        Line::Refused { fault, noreply: false, block: None }
    }

    /// The same, where the client may have asked for silence.
    pub(super) fn refused_unless(noreply: bool, fault: Fault) -> Self {
        Line::Refused { fault, noreply, block: None }
    }
}

/// Reads a command line, its line end taken off.
#[inline]
pub(super) fn parse_line(line: &[u8]) -> Line<'_> {
    let mut tokens = Tokens::new(line);
    let Some(command) = tokens.next() else {
        return Line::refused(Fault::Unknown);
    };
    match command {
        b"get" | b"bget" => get(tokens, false),
        b"set" => store(tokens, Verb::Set, false),
        b"mg" => meta::get(tokens),
        b"ms" => meta::set(tokens),
        b"gets" => get(tokens, true),
        b"gat" => gat(tokens, false),
        b"gats" => gat(tokens, true),
        b"md" => meta::delete(tokens),
        b"ma" => meta::arith(tokens),
        b"add" => store(tokens, Verb::Add, false),
        b"cas" => store(tokens, Verb::Set, true),
        b"incr" => arith(tokens, false),
        b"decr" => arith(tokens, true),
        b"touch" => touch(tokens),
        b"delete" => delete(tokens),
        b"append" => store(tokens, Verb::Append, false),
        b"replace" => store(tokens, Verb::Replace, false),
        b"prepend" => store(tokens, Verb::Prepend, false),
        b"mn" => Line::Request(Request::MetaNoop),
        b"me" => meta::debug(tokens),
        b"stats" => Line::Request(Request::Stats(tokens)),
        b"version" => Line::Request(Request::Version),
        b"quit" => Line::Request(Request::Quit),
        b"flush_all" => flush_all(tokens),
        b"verbosity" => verbosity(tokens),
        b"watch" => Line::Request(Request::Watch(tokens)),
        b"shutdown" => shutdown(tokens),
        b"debugtime" => match tokens.next().and_then(parse_i64) {
            Some(seconds) => Line::Request(Request::MoveTime { seconds }),
            None => Line::refused(Fault::Unknown),
        },
        b"cache_memlimit" => admin::cache_memlimit(tokens),
        b"slabs" => admin::slabs(tokens),
        b"lru" => admin::lru(tokens),
        b"lru_crawler" => admin::lru_crawler(tokens),
        b"refresh_certs" => {
            Line::Request(Request::RefreshCerts { noreply: tokens.last().is_some_and(is_noreply) })
        }
        _ if last_token(line).is_some_and(|word| word.starts_with(b"HTTP/")) => Line::Http,
        _ => Line::refused(Fault::Unknown),
    }
}

/// The length of a data block, in bytes, where it can be one.
#[inline]
pub(super) fn block_len(token: &[u8]) -> Option<usize> {
    // Length and line end together must fit 31 bits.
    const LONGEST: i64 = i32::MAX as i64 - 2;
    let len = parse_i64(token)?;
    if (0..=LONGEST).contains(&len) { usize::try_from(len).ok() } else { None }
}

/// Whether a word asks for silence.
#[inline]
pub(super) fn is_noreply(token: &[u8]) -> bool {
    token == b"noreply"
}

/// `get <key>+`
#[inline]
fn get(keys: Tokens<'_>, with_cas: bool) -> Line<'_> {
    if keys.is_empty() {
        return Line::refused(Fault::Unknown);
    }
    if !keys_fit(keys) {
        return Line::refused(Fault::BadFormat);
    }
    Line::Request(Request::Get { keys, with_cas })
}

/// `gat <exptime> <key>*`
fn gat(mut tokens: Tokens<'_>, with_cas: bool) -> Line<'_> {
    let Some(exptime) = tokens.next() else {
        return Line::refused(Fault::Unknown);
    };
    let Some(exptime) = parse_i64(exptime) else {
        return Line::refused(Fault::InvalidExptime);
    };
    if !keys_fit(tokens) {
        return Line::refused(Fault::BadFormat);
    }
    Line::Request(Request::Gat { exptime, keys: tokens, with_cas })
}

/// Whether no key is too long: known without looking when all of them together are not.
#[inline]
fn keys_fit(mut keys: Tokens<'_>) -> bool {
    keys.rest().len() <= MAX_KEY || keys.all(|key| key.len() <= MAX_KEY)
}

/// `<verb> <key> <flags> <exptime> <bytes> [<cas unique>] [noreply]`; any word will do for `noreply` without being it.
#[inline]
fn store(mut tokens: Tokens<'_>, verb: Verb, with_cas: bool) -> Line<'_> {
    let (Some(key), Some(flags), Some(exptime), Some(bytes)) =
        (tokens.next(), tokens.next(), tokens.next(), tokens.next())
    else {
        return Line::refused(Fault::Unknown);
    };
    let unique = if with_cas { tokens.next() } else { None };
    let extra = tokens.next();
    if with_cas && unique.is_none() || tokens.next().is_some() {
        return Line::refused(Fault::Unknown);
    }
    let noreply = is_noreply(extra.or(unique).unwrap_or(bytes));
    let refused = Line::refused_unless(noreply, Fault::BadFormat);

    let (Some(flags), Some(exptime), Some(len)) = (parse_u32(flags), parse_i64(exptime), block_len(bytes))
    else {
        return refused;
    };
    let cas = unique.and_then(parse_u64);
    if key.len() > MAX_KEY || cas.is_some() != with_cas {
        return refused;
    }
    let head = Head::Classic(Store { verb, key, flags, exptime, cas, noreply });
    Line::Store { head, len }
}

/// `incr|decr <key> <delta> [noreply]`
fn arith(tokens: Tokens<'_>, decr: bool) -> Line<'_> {
    let Some((key, delta, noreply)) = key_and_number(tokens) else {
        return Line::refused(Fault::Unknown);
    };
    if key.len() > MAX_KEY {
        return Line::refused_unless(noreply, Fault::BadFormat);
    }
    match parse_u64(delta) {
        Some(delta) => Line::Request(Request::Arith { key, delta, decr, noreply }),
        None => Line::refused_unless(noreply, Fault::InvalidDelta),
    }
}

/// `touch <key> <exptime> [noreply]`
fn touch(tokens: Tokens<'_>) -> Line<'_> {
    let Some((key, exptime, noreply)) = key_and_number(tokens) else {
        return Line::refused(Fault::Unknown);
    };
    if key.len() > MAX_KEY {
        return Line::refused_unless(noreply, Fault::BadFormat);
    }
    match parse_i64(exptime) {
        Some(exptime) => Line::Request(Request::Touch { key, exptime, noreply }),
        None => Line::refused_unless(noreply, Fault::InvalidExptime),
    }
}

/// `<key> <number> [noreply]`: two or three words, and whether the last asks for silence.
fn key_and_number(mut tokens: Tokens<'_>) -> Option<(&[u8], &[u8], bool)> {
    let (key, number, extra) = (tokens.next()?, tokens.next()?, tokens.next());
    if tokens.next().is_some() {
        return None;
    }
    Some((key, number, is_noreply(extra.unwrap_or(number))))
}

/// `delete <key> [0] [noreply]`; the 0 is what is left of a delay some clients still send.
fn delete(mut tokens: Tokens<'_>) -> Line<'_> {
    let Some(key) = tokens.next() else {
        return Line::refused(Fault::Unknown);
    };
    let (first, second) = (tokens.next(), tokens.next());
    if tokens.next().is_some() {
        return Line::refused(Fault::Unknown);
    }
    let noreply = second.or(first).is_some_and(is_noreply);
    let usage = match (first, second) {
        (None, _) => true,
        (Some(word), None) => word == b"0" || noreply,
        (Some(word), Some(_)) => word == b"0" && noreply,
    };
    if !usage {
        return Line::refused_unless(noreply, Fault::DeleteUsage);
    }
    if key.len() > MAX_KEY {
        return Line::refused_unless(noreply, Fault::BadFormat);
    }
    Line::Request(Request::Delete { key, noreply })
}

/// `shutdown [graceful]`
fn shutdown(mut tokens: Tokens<'_>) -> Line<'_> {
    let valid = match (tokens.next(), tokens.next()) {
        (mode, None) => mode.is_none_or(|mode| mode == b"graceful"),
        _ => false,
    };
    Line::Request(Request::Shutdown { valid })
}

/// `flush_all [delay] [noreply]`
fn flush_all(mut tokens: Tokens<'_>) -> Line<'_> {
    let (first, second) = (tokens.next(), tokens.next());
    if tokens.next().is_some() {
        return Line::refused(Fault::Unknown);
    }
    let noreply = second.or(first).is_some_and(is_noreply);
    let delay = match (first, second) {
        (None, _) => Some(0),
        (Some(_), None) if noreply => Some(0),
        (Some(delay), _) => parse_i64(delay),
    };
    match delay {
        Some(delay) => Line::Request(Request::FlushAll { delay, noreply }),
        None => Line::refused_unless(noreply, Fault::InvalidExptime),
    }
}

/// `verbosity <level> [noreply]`
fn verbosity(mut tokens: Tokens<'_>) -> Line<'_> {
    let (level, extra) = (tokens.next(), tokens.next());
    let (Some(level), None) = (level, tokens.next()) else {
        return Line::refused(Fault::Unknown);
    };
    let noreply = is_noreply(extra.unwrap_or(level));
    match parse_u32(level) {
        Some(level) => Line::Request(Request::Verbosity { level, noreply }),
        None => Line::refused_unless(noreply, Fault::BadFormat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiration_times() {
        let now = 1_700_000_000;
        assert_eq!(expires_at(0, now), None);
        assert_eq!(expires_at(-1, now), Some(0));
        assert_eq!(expires_at(i64::MIN, now), Some(0));
        assert_eq!(expires_at(60, now), Some(now + 60));
        assert_eq!(expires_at(2_592_000, now), Some(now + 2_592_000));
        assert_eq!(expires_at(2_592_001, now), Some(2_592_001));
        assert_eq!(expires_at(i64::MAX, now), Some(i64::MAX));
        assert_eq!(expires_at(5, i64::MAX), Some(i64::MAX));
    }
}
