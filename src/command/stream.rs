//! Streams: adding, reading, trimming. Consumer groups are in [`stream_group`](super::stream_group).

use super::blocking::{self, Nothing};
use super::error::{self, CmdError};
use super::parse::{self, is, operand};
use super::spec::{self, Begin, Find, KeySpec};
use super::{Command, Cx, Flags, Group, command, flag, flags};
use crate::config::{id, notify};
use crate::store::types::stream::{Entry, Keep, Stream, StreamId, StreamLimits};
use crate::text::number;
use shoal_protocol::resp::{Args, Deferred, Output, OwnedArgs, Proto};

const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);

/// The keys behind STREAMS: the first half of what follows.
pub(super) const fn behind_streams(from: i32) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range { last: -1, step: 1, limit: 2 },
        usage: "RO ACCESS",
    }
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("xadd", -5, Group::Stream, xadd).flags(WRITE).keys(spec::UPDATE).tips(&["nondeterministic_output"]).doc(
        "5.0.0",
        "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
        "Appends a new message to a stream. Creates the key if it doesn't exist.",
    ),
    command("xdel", -3, Group::Stream, xdel)
        .flags(flags([flag::WRITE, flag::FAST]))
        .keys(spec::DELETE)
        .doc("5.0.0", "key id [id ...]", "Returns the number of messages after removing them from a stream."),
    command("xlen", 2, Group::Stream, xlen)
        .flags(flags([flag::READONLY, flag::FAST]))
        .keys(spec::READ_META)
        .doc("5.0.0", "key", "Return the number of messages in a stream."),
    command("xrange", -4, Group::Stream, xrange).flags(flag::READONLY).keys(spec::READ).doc(
        "5.0.0",
        "key start end [COUNT count]",
        "Returns the messages from a stream within a range of IDs.",
    ),
    command("xread", -4, Group::Stream, xread)
        .flags(flags([flag::READONLY, flag::BLOCKING, flag::MOVABLE_KEYS]))
        .keys(&[behind_streams(1)])
        .doc(
            "5.0.0",
            "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
            "Returns messages from multiple streams with IDs greater than the ones requested. Blocks until a message is available otherwise.",
        ),
    command("xrevrange", -4, Group::Stream, xrevrange).flags(flag::READONLY).keys(spec::READ).doc(
        "5.0.0",
        "key end start [COUNT count]",
        "Returns the messages from a stream within a range of IDs in reverse order.",
    ),
    command("xsetid", -3, Group::Stream, xsetid).flags(WRITE).keys(spec::UPDATE).doc(
        "5.0.0",
        "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        "An internal command for replicating stream values.",
    ),
    command("xtrim", -4, Group::Stream, xtrim).flags(flag::WRITE).keys(spec::DELETE).tips(&["nondeterministic_output"]).doc(
        "5.0.0",
        "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
        "Deletes messages from the beginning of a stream.",
    ),
];

const BAD_ID: CmdError = CmdError::new("ERR Invalid stream ID specified as stream command argument");

/// An id; a missing sequence is `seq`.
pub(super) fn stream_id(arg: &[u8], seq: u64) -> Result<StreamId, CmdError> {
    StreamId::parse(arg, seq).ok_or(BAD_ID)
}

/// The stream of `key` has no such group.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> CmdError {
    CmdError::quoting(&[b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"])
}

pub(super) fn limits(cx: &Cx) -> StreamLimits {
    let config = &cx.state.config;
    StreamLimits {
        max_bytes: config.size(id::STREAM_NODE_MAX_BYTES),
        max_entries: config.size(id::STREAM_NODE_MAX_ENTRIES),
    }
}

pub(super) fn reply_id(out: &mut Output, id: StreamId) {
    out.bulk(id.to_string().as_bytes());
}

pub(super) fn reply_entry(out: &mut Output, entry: &Entry) {
    out.array(2);
    reply_id(out, entry.id);
    out.array(entry.pairs.len() * 2);
    let mut buffer = itoa::Buffer::new();
    for (field, value) in &entry.pairs {
        out.bulk(field.as_bytes(&mut buffer));
        out.bulk(value.as_bytes(&mut buffer));
    }
}

/// A trimming strategy as XADD and XTRIM take it.
struct Trim {
    keep: Keep,
    approximate: bool,
    limit: u64,
}

/// What stands before the fields of XADD, or behind the key of XTRIM.
struct TrimArgs {
    trim: Option<Trim>,
    no_make: bool,
    id: Option<NewId>,
    /// Where the id stands, or the end.
    at: usize,
}

fn trim_args(cx: &Cx, args: Args, is_add: bool) -> Result<TrimArgs, CmdError> {
    let (mut keep, mut approximate, mut limit, mut no_make, mut id) = (None, false, None, false, None);
    let mut at = 2;
    while at < args.len() {
        let word = &args[at];
        let more = at + 1 < args.len();
        if is_add && word == b"*" {
            id = Some(NewId::Auto);
            break;
        } else if (is(word, "maxlen") || is(word, "minid")) && more {
            if keep.is_some() {
                return Err(CmdError::new(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            let by_len = is(word, "maxlen");
            approximate = false;
            if at + 2 < args.len() && matches!(&args[at + 1], b"~" | b"=") {
                approximate = &args[at + 1] == b"~";
                at += 1;
            }
            let threshold = operand(&args, &mut at)?;
            keep = Some(if by_len {
                let most = u64::try_from(parse::int(threshold)?);
                Keep::Newest(most.map_err(|_| CmdError::new("ERR The MAXLEN argument must be >= 0."))?)
            } else {
                Keep::From(stream_id(threshold, 0)?)
            });
        } else if is(word, "limit") && more {
            let count = u64::try_from(parse::int(operand(&args, &mut at)?)?);
            limit = Some(count.map_err(|_| CmdError::new("ERR The LIMIT argument must be >= 0."))?);
        } else if is_add && is(word, "nomkstream") {
            no_make = true;
        } else if is_add {
            id = Some(NewId::parse(word)?);
            break;
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    if limit.is_some_and(|limit| limit > 0) && keep.is_none() {
        return Err(CmdError::new(
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ));
    }
    if !is_add && keep.is_none() {
        return Err(CmdError::new("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if limit.is_some() && !approximate {
        return Err(CmdError::new("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
    // Without a word on it, an approximate trim is kept from taking long.
    let usual = match limits(cx).max_entries as u64 {
        0 => 10_000,
        entries => (entries * 100).min(1_000_000),
    };
    let limit = if approximate { limit.unwrap_or(usual) } else { 0 };
    Ok(TrimArgs { trim: keep.map(|keep| Trim { keep, approximate, limit }), no_make, id, at })
}

/// The id an XADD asks for.
#[derive(Clone, Copy)]
enum NewId {
    Auto,
    AutoSeq(u64),
    Given(StreamId),
}

impl NewId {
    fn parse(arg: &[u8]) -> Result<NewId, CmdError> {
        if arg == b"*" {
            return Ok(NewId::Auto);
        }
        if let Some(ms) = arg.strip_suffix(b"-*") {
            return Ok(NewId::AutoSeq(number::parse_u64_as_c(ms).ok_or(BAD_ID)?));
        }
        Ok(NewId::Given(stream_id(arg, 0)?))
    }

    /// The id of an entry added now behind `last`.
    fn resolve(self, last: StreamId, now_ms: i64) -> Option<StreamId> {
        let id = match self {
            NewId::Auto if now_ms as u64 > last.ms => StreamId { ms: now_ms as u64, seq: 0 },
            NewId::Auto => last.next()?,
            NewId::AutoSeq(ms) if ms == last.ms => StreamId { ms, seq: last.seq.checked_add(1)? },
            NewId::AutoSeq(ms) => StreamId { ms, seq: 0 },
            NewId::Given(id) => id,
        };
        (id > last).then_some(id)
    }
}

/// XADD key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]
fn xadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let options = trim_args(cx, args, true)?;
    let pairs = args.from((options.at + 1).min(args.len()));
    let Some(id) = options.id.filter(|_| !pairs.is_empty() && pairs.len().is_multiple_of(2)) else {
        return Err(error::wrong_arity("xadd"));
    };
    if matches!(id, NewId::Given(StreamId::MIN)) {
        return Err(CmdError::new("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let (limits, now_ms) = (limits(cx), cx.keys.now_ms);
    let last = cx.keys.update_as::<Stream>(key)?.map(|stream| stream.last_id);
    if last.is_none() && options.no_make {
        cx.out.null();
        return Ok(());
    }
    if last == Some(StreamId::MAX) {
        return Err(CmdError::new(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = id.resolve(last.unwrap_or_default(), now_ms).ok_or(CmdError::new(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    ))?;
    let pairs = (0..pairs.len()).step_by(2).map(|at| (&pairs[at], &pairs[at + 1]));
    if !Stream::can_hold(pairs.clone()) {
        return Err(CmdError::new("ERR Elements are too large to be stored"));
    }
    let stream = cx.keys.create_as::<Stream>(key)?;
    stream.add(id, pairs, limits);
    let trimmed = options.trim.map_or(0, |trim| stream.trim(trim.keep, trim.approximate, trim.limit));
    cx.keys.modified(notify::STREAM, "xadd", key);
    if trimmed > 0 {
        cx.keys.event(notify::STREAM, "xtrim", key);
    }
    reply_id(cx.out, id);
    Ok(())
}

/// XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]
fn xtrim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let trim = trim_args(cx, args, false)?.trim.ok_or(error::SYNTAX)?;
    let stream = cx.keys.update_as::<Stream>(key)?;
    let gone = stream.map_or(0, |stream| stream.trim(trim.keep, trim.approximate, trim.limit));
    if gone > 0 {
        cx.keys.modified(notify::STREAM, "xtrim", key);
    }
    cx.out.int(gone as i64);
    Ok(())
}

/// XLEN key
fn xlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.read_as::<Stream>(&args[1])?.map_or(0, Stream::len);
    cx.out.int(len as i64);
    Ok(())
}

/// XDEL key id [id ...]
fn xdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let Some(stream) = cx.keys.update_as::<Stream>(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let ids = args.from(2).iter().map(|arg| stream_id(arg, 0)).collect::<Result<Vec<_>, _>>()?;
    let gone = ids.into_iter().filter(|id| stream.remove(*id)).count();
    if gone > 0 {
        cx.keys.modified(notify::STREAM, "xdel", key);
    }
    cx.out.int(gone as i64);
    Ok(())
}

/// One end of an interval: `-`, `+`, an id, or `(` and an id that is left out.
pub(super) fn interval_end(arg: &[u8], is_start: bool) -> Result<StreamId, CmdError> {
    match arg {
        b"-" => return Ok(StreamId::MIN),
        b"+" => return Ok(StreamId::MAX),
        _ => {}
    }
    let seq = if is_start { 0 } else { u64::MAX };
    let Some(excluded) = arg.strip_prefix(b"(") else { return stream_id(arg, seq) };
    let id = stream_id(excluded, seq)?;
    if is_start {
        id.next().ok_or(CmdError::new("ERR invalid start ID for the interval"))
    } else {
        id.prev().ok_or(CmdError::new("ERR invalid end ID for the interval"))
    }
}

/// XRANGE key start end [COUNT count]
fn xrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (start, end) = (interval_end(&args[2], true)?, interval_end(&args[3], false)?);
    reply_range(cx, args, start, end, false)
}

/// XREVRANGE key end start [COUNT count]
fn xrevrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (end, start) = (interval_end(&args[2], false)?, interval_end(&args[3], true)?);
    reply_range(cx, args, start, end, true)
}

fn reply_range(cx: &mut Cx, args: Args, start: StreamId, end: StreamId, back: bool) -> Result<(), CmdError> {
    let mut count = usize::MAX;
    let mut at = 4;
    while at < args.len() {
        if !is(&args[at], "count") || at + 1 >= args.len() {
            return Err(error::SYNTAX);
        }
        count = usize::try_from(parse::int(operand(&args, &mut at)?)?).unwrap_or(0);
        at += 1;
    }
    let Some(stream) = cx.keys.read_as::<Stream>(&args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    if count == 0 {
        cx.out.null_array();
        return Ok(());
    }
    let reply = cx.out.deferred_array();
    let mut len = 0;
    let mut each = |entry: Entry| {
        reply_entry(cx.out, &entry);
        len += 1;
    };
    if back {
        stream.range_back(start, end).take(count).for_each(&mut each);
    } else {
        stream.range(start, end).take(count).for_each(&mut each);
    }
    cx.out.set_deferred(reply, len);
    Ok(())
}

/// Opens the reply of several streams: a map of their keys, or in RESP2 an array of pairs.
pub(super) fn open_streams(out: &mut Output) -> Deferred {
    if out.proto == Proto::Resp3 { out.deferred_map() } else { out.deferred_array() }
}

/// Begins one stream in the reply of several.
pub(super) fn reply_stream_key(out: &mut Output, key: &[u8]) {
    if out.proto == Proto::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

/// The options before STREAMS, and what follows it.
pub(super) struct ReadArgs<'a> {
    pub count: usize,
    pub block: Option<blocking::Timeout>,
    pub group: Option<(&'a [u8], &'a [u8])>,
    pub no_ack: bool,
    pub keys: Args<'a>,
    pub ids: Args<'a>,
    /// Where the first id stands among the arguments.
    pub ids_at: usize,
}

impl<'a> ReadArgs<'a> {
    /// Reads the arguments of XREAD or, `with_group`, XREADGROUP.
    pub fn parse(args: Args<'a>, with_group: bool) -> Result<ReadArgs<'a>, CmdError> {
        let (mut count, mut block, mut group, mut no_ack) = (usize::MAX, None, None, false);
        let mut at = 1;
        while at < args.len() {
            let word = &args[at];
            let more = args.len() - at - 1;
            if is(word, "block") && more >= 1 {
                block = Some({
                    operand(&args, &mut at)?;
                    blocking::timeout_ms(args, at)?
                });
            } else if is(word, "count") && more >= 1 {
                let n = parse::int(operand(&args, &mut at)?)?;
                count = usize::try_from(n).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
            } else if is(word, "group") && more >= 2 {
                if !with_group {
                    return Err(CmdError::new(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                group = Some((operand(&args, &mut at)?, operand(&args, &mut at)?));
            } else if is(word, "noack") {
                if !with_group {
                    return Err(CmdError::new(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                no_ack = true;
            } else if is(word, "streams") && more >= 1 {
                if !more.is_multiple_of(2) {
                    let name = if with_group { "xreadgroup" } else { "xread" };
                    let sign = if with_group { ">" } else { "$" };
                    return Err(CmdError::with(format!(
                        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{sign}' must be specified."
                    )));
                }
                if with_group && group.is_none() {
                    return Err(CmdError::new("ERR Missing GROUP option for XREADGROUP"));
                }
                let ids_at = at + 1 + more / 2;
                let keys = args.first(ids_at).from(at + 1);
                return Ok(ReadArgs { count, block, group, no_ack, keys, ids: args.from(ids_at), ids_at });
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        Err(error::SYNTAX)
    }

    /// The request with its ids made definite, to be run again when something has been added.
    pub fn definite(&self, args: Args, ids: &[Vec<u8>]) -> OwnedArgs {
        let mut request = OwnedArgs::new();
        args.first(self.ids_at).iter().for_each(|arg| request.push(arg));
        ids.iter().for_each(|id| request.push(id));
        request
    }
}

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]
fn xread(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let read = ReadArgs::parse(args, false)?;
    let mut after = Vec::with_capacity(read.ids.len());
    for (key, arg) in read.keys.iter().zip(read.ids) {
        let stream = cx.keys.read_as::<Stream>(key)?;
        after.push(match arg {
            b"$" => stream.map_or(StreamId::MIN, |stream| stream.last_id),
            // The last entry itself.
            b"+" => {
                let last = stream.and_then(Stream::last_entry_id).and_then(StreamId::prev);
                last.or_else(|| stream.map(|stream| stream.last_id)).unwrap_or_default()
            }
            b">" => {
                return Err(CmdError::new(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                ));
            }
            arg => stream_id(arg, 0)?,
        });
    }
    let reply = cx.out.mark();
    let map = open_streams(cx.out);
    let mut streams = 0;
    for (key, after) in read.keys.iter().zip(&after) {
        let (Some(stream), Some(start)) = (cx.keys.peek_as::<Stream>(key)?, after.next()) else { continue };
        if stream.is_empty() || stream.last_id <= *after {
            continue;
        }
        let mut entries = stream.range(start, StreamId::MAX).take(read.count).peekable();
        if entries.peek().is_none() {
            continue;
        }
        streams += 1;
        reply_stream_key(cx.out, key);
        let list = cx.out.deferred_array();
        let mut len = 0;
        entries.for_each(|entry| {
            reply_entry(cx.out, &entry);
            len += 1;
        });
        cx.out.set_deferred(list, len);
    }
    cx.out.set_deferred(map, streams);
    if streams > 0 {
        return Ok(());
    }
    cx.out.truncate(reply);
    match read.block {
        None => cx.out.null_array(),
        Some(timeout) => {
            let ids: Vec<Vec<u8>> = after.iter().map(|id| id.to_string().into_bytes()).collect();
            let request = read.definite(args, &ids);
            blocking::wait(cx, request.as_args(), read.keys.iter(), timeout, Nothing::Array);
        }
    }
    Ok(())
}

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
fn xsetid(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let id = stream_id(&args[2], 0)?;
    let (mut added, mut max_deleted) = (None, None);
    let mut at = 3;
    while at < args.len() {
        let more = at + 1 < args.len();
        if is(&args[at], "entriesadded") && more {
            let n = u64::try_from(parse::int(operand(&args, &mut at)?)?);
            added = Some(n.map_err(|_| CmdError::new("ERR entries_added must be positive"))?);
        } else if is(&args[at], "maxdeletedid") && more {
            let deleted = stream_id(operand(&args, &mut at)?, 0)?;
            if id < deleted {
                return Err(CmdError::new(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted = Some(deleted);
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    let stream = cx.keys.update_as::<Stream>(key)?.ok_or(error::NO_SUCH_KEY)?;
    if !stream.is_empty() {
        if stream.last_entry_id().is_some_and(|last| id < last) {
            return Err(CmdError::new(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if added.is_some_and(|added| added < stream.len()) {
            return Err(CmdError::new(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    if id < stream.max_deleted_id && max_deleted.is_none() {
        return Err(CmdError::new(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    stream.last_id = id;
    stream.entries_added = added.unwrap_or(stream.entries_added);
    stream.max_deleted_id = max_deleted.unwrap_or(stream.max_deleted_id);
    cx.keys.modified(notify::STREAM, "xsetid", key);
    cx.out.ok();
    Ok(())
}
