//! Consumer groups: who reads what of a stream, and what was not acknowledged yet.

use super::blocking::{self, Nothing};
use super::error::{self, CmdError};
use super::keys::Keys;
use super::parse::{self, is, operand};
use super::spec;
use super::stream::{self, ReadArgs, interval_end, no_group, reply_entry, reply_id, stream_id};
use super::{Command, Cx, Flags, Group as Family, command, flag, flags};
use crate::config::notify;
use crate::store::types::stream::{Group, Stream, StreamId};
use shoal_protocol::resp::Args;

const WRITE: Flags = flags([flag::WRITE, flag::FAST]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("xack", -4, Family::Stream, xack).flags(WRITE).keys(spec::UPDATE).doc(
        "5.0.0",
        "key group id [id ...]",
        "Returns the number of messages that were successfully acknowledged by the consumer group member of a stream.",
    ),
    command("xautoclaim", -6, Family::Stream, xautoclaim).flags(WRITE).keys(spec::DELETE).tips(&["nondeterministic_output"]).doc(
        "6.2.0",
        "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        "Changes, or acquires, ownership of messages in a consumer group, as if the messages were delivered to as consumer group member.",
    ),
    command("xclaim", -6, Family::Stream, xclaim).flags(WRITE).keys(spec::UPDATE).tips(&["nondeterministic_output"]).doc(
        "5.0.0",
        "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        "Changes, or acquires, ownership of a message in a consumer group, as if the message was delivered a consumer group member.",
    ),
    command("xgroup", -2, Family::Stream, super::server::container)
        .doc("5.0.0", "", "A container for consumer groups commands.")
        .subcommands(&[
            command("xgroup|create", -5, Family::Stream, create)
                .flags(flags([flag::WRITE, flag::DENYOOM]))
                .keys(spec::SUB_INSERT)
                .doc(
                    "5.0.0",
                    "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
                    "Creates a consumer group.",
                ),
            command("xgroup|createconsumer", 5, Family::Stream, createconsumer)
                .flags(flags([flag::WRITE, flag::DENYOOM]))
                .keys(spec::SUB_INSERT)
                .doc("6.2.0", "key group consumer", "Creates a consumer in a consumer group."),
            command("xgroup|delconsumer", 5, Family::Stream, delconsumer)
                .flags(flag::WRITE)
                .keys(spec::SUB_DELETE)
                .doc("5.0.0", "key group consumer", "Deletes a consumer from a consumer group."),
            command("xgroup|destroy", 4, Family::Stream, destroy)
                .flags(flag::WRITE)
                .keys(spec::SUB_DELETE)
                .doc("5.0.0", "key group", "Destroys a consumer group."),
            command("xgroup|help", 2, Family::Stream, help)
                .flags(flags([flag::LOADING, flag::STALE]))
                .doc("5.0.0", "", "Returns helpful text about the different subcommands."),
            command("xgroup|setid", -5, Family::Stream, setid)
                .flags(flag::WRITE)
                .keys(spec::SUB_UPDATE)
                .doc(
                    "5.0.0",
                    "key group <id | $> [ENTRIESREAD entries-read]",
                    "Sets the last-delivered ID of a consumer group.",
                ),
        ]),
    command("xpending", -3, Family::Stream, xpending).flags(flag::READONLY).keys(spec::READ).tips(&["nondeterministic_output"]).doc(
        "5.0.0",
        "key group [[IDLE min-idle-time] start end count [consumer]]",
        "Returns the information and entries from a stream consumer group's pending entries list.",
    ),
    command("xreadgroup", -7, Family::Stream, xreadgroup)
        .flags(flags([flag::WRITE, flag::BLOCKING, flag::MOVABLE_KEYS]))
        .keys(&[stream::behind_streams(4)])
        .doc(
            "5.0.0",
            "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]",
            "Returns new or historical messages from a stream for a consumer in a group. Blocks until a message is available otherwise.",
        ),
];

fn no_key_or_group(key: &[u8], group: &[u8]) -> CmdError {
    CmdError::quoting(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"])
}

/// The stream that an XGROUP subcommand works on.
fn existing<'k>(keys: &'k mut Keys, key: &[u8]) -> Result<&'k mut Stream, CmdError> {
    keys.update_as::<Stream>(key)?.ok_or(CmdError::new(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
    ))
}

fn existing_group<'k>(keys: &'k mut Keys, key: &[u8], group: &[u8]) -> Result<&'k mut Group, CmdError> {
    existing(keys, key)?.groups_mut().get_mut(group).ok_or_else(|| no_group(key, group))
}

/// Where a group begins: `$` is the end of the stream.
fn group_start(arg: &[u8], stream: Option<&Stream>) -> Result<StreamId, CmdError> {
    match arg {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.last_id)),
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        arg => stream_id(arg, 0),
    }
}

/// The options of XGROUP CREATE and SETID: whether to make the stream, and how much was read.
fn group_options(args: Args, may_make: bool) -> Result<(bool, Option<u64>), CmdError> {
    let (mut make, mut read) = (false, None);
    let mut at = 5;
    while at < args.len() {
        if may_make && is(&args[at], "mkstream") {
            make = true;
        } else if is(&args[at], "entriesread") && at + 1 < args.len() {
            read = match parse::int(operand(&args, &mut at)?)? {
                -1 => None,
                n => Some(
                    u64::try_from(n)
                        .map_err(|_| CmdError::new("ERR value for ENTRIESREAD must be positive or -1"))?,
                ),
            };
        } else {
            return Err(error::bad_subcommand("XGROUP", &args[1]));
        }
        at += 1;
    }
    Ok((make, read))
}

/// XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]
fn create(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name) = (&args[2], &args[3]);
    let (make, read) = group_options(args, true)?;
    let found = cx.keys.update_as::<Stream>(key)?.map(|stream| &*stream);
    let missing = found.is_none();
    let start = group_start(&args[4], found);
    if missing && !make {
        existing(cx.keys, key)?;
    }
    let start = start?;
    let stream = cx.keys.create_as::<Stream>(key)?;
    if stream.groups().contains_key(name) {
        return Err(CmdError::new("BUSYGROUP Consumer Group name already exists"));
    }
    stream.groups_mut().insert(name.into(), Group::new(start, read));
    cx.keys.modified(notify::STREAM, "xgroup-create", key);
    cx.out.ok();
    Ok(())
}

/// XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]
fn setid(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name) = (&args[2], &args[3]);
    let (_, read) = group_options(args, false)?;
    let start = group_start(&args[4], Some(existing(cx.keys, key)?));
    let group = existing_group(cx.keys, key, name)?;
    group.last_id = start?;
    group.entries_read = read;
    cx.keys.noted(1, key);
    cx.keys.event(notify::STREAM, "xgroup-setid", key);
    cx.out.ok();
    Ok(())
}

/// XGROUP DESTROY key group
fn destroy(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let gone = existing(cx.keys, &args[2])?.groups_mut().remove(&args[3]).is_some();
    if gone {
        cx.keys.modified(notify::STREAM, "xgroup-destroy", &args[2]);
    }
    cx.out.int(i64::from(gone));
    Ok(())
}

/// XGROUP CREATECONSUMER key group consumer
fn createconsumer(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now_ms = cx.keys.now_ms;
    let (_, new) = existing_group(cx.keys, &args[2], &args[3])?.consumer(&args[4], now_ms);
    if new {
        cx.keys.modified(notify::STREAM, "xgroup-createconsumer", &args[2]);
    }
    cx.out.int(i64::from(new));
    Ok(())
}

/// XGROUP DELCONSUMER key group consumer
fn delconsumer(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let pending = existing_group(cx.keys, &args[2], &args[3])?.remove_consumer(&args[4]);
    if pending.is_some() {
        cx.keys.modified(notify::STREAM, "xgroup-delconsumer", &args[2]);
    }
    cx.out.int(pending.unwrap_or(0) as i64);
    Ok(())
}

/// XGROUP HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ];
    super::reply_help(cx.out, "XGROUP", &lines);
    Ok(())
}

/// XACK key group id [id ...]
fn xack(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let stream = cx.keys.update_as::<Stream>(&args[1])?;
    let Some(group) = stream.and_then(|stream| stream.groups_mut().get_mut(&args[2])) else {
        cx.out.int(0);
        return Ok(());
    };
    let ids = args.from(3).iter().map(|arg| stream_id(arg, 0)).collect::<Result<Vec<_>, _>>()?;
    let done = ids.into_iter().filter(|id| group.forget(*id)).count();
    if done > 0 {
        cx.keys.noted(1, &args[1]);
    }
    cx.out.int(done as i64);
    Ok(())
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]
fn xreadgroup(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let read = ReadArgs::parse(args, true)?;
    let (group, consumer) = read.group.ok_or(error::SYNTAX)?;
    let mut starts = Vec::with_capacity(read.ids.len());
    for (key, arg) in read.keys.iter().zip(read.ids) {
        let stream = cx.keys.update_as::<Stream>(key)?;
        if !stream.is_some_and(|stream| stream.groups().contains_key(group)) {
            return Err(CmdError::quoting(&[
                b"NOGROUP No such key '",
                key,
                b"' or consumer group '",
                group,
                b"' in XREADGROUP with GROUP option",
            ]));
        }
        starts.push(match arg {
            b"$" => {
                return Err(CmdError::new(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
                ));
            }
            b">" => None,
            arg => Some(stream_id(arg, 0)?),
        });
    }
    let reply = cx.out.mark();
    let map = stream::open_streams(cx.out);
    let mut streams = 0;
    for (key, start) in read.keys.iter().zip(&starts) {
        let told = match start {
            Some(after) => tell_history(cx, key, group, consumer, *after, read.count)?,
            None => tell_new(cx, key, group, consumer, read.count, read.no_ack)?,
        };
        streams += usize::from(told);
    }
    cx.out.set_deferred(map, streams);
    if streams > 0 {
        return Ok(());
    }
    cx.out.truncate(reply);
    match read.block {
        None => cx.out.null_array(),
        Some(timeout) => blocking::wait(cx, args, read.keys.iter(), timeout, Nothing::Array),
    }
    Ok(())
}

/// Notes that `consumer` asked, and makes it if it is new.
fn see_consumer(cx: &mut Cx, key: &[u8], group: &[u8], consumer: &[u8]) -> Result<(), CmdError> {
    let now_ms = cx.keys.now_ms;
    let (_, new) = existing_group(cx.keys, key, group)?.consumer(consumer, now_ms);
    if new {
        cx.keys.modified(notify::STREAM, "xgroup-createconsumer", key);
    }
    Ok(())
}

/// Tells entries nobody of the group was given yet; false if there are none.
fn tell_new(
    cx: &mut Cx,
    key: &[u8],
    group_name: &[u8],
    consumer: &[u8],
    count: usize,
    no_ack: bool,
) -> Result<bool, CmdError> {
    see_consumer(cx, key, group_name, consumer)?;
    let now_ms = cx.keys.now_ms;
    let stream = existing(cx.keys, key)?;
    let last = stream.groups()[group_name].last_id;
    let Some(start) = last.next().filter(|_| stream.last_id > last) else { return Ok(false) };
    let mark = cx.out.mark();
    stream::reply_stream_key(cx.out, key);
    let list = cx.out.deferred_array();
    let mut ids = Vec::new();
    for entry in stream.range(start, StreamId::MAX).take(count) {
        reply_entry(cx.out, &entry);
        ids.push(entry.id);
    }
    if ids.is_empty() {
        cx.out.truncate(mark);
        return Ok(false);
    }
    cx.out.set_deferred(list, ids.len());
    let mut read = stream.groups()[group_name].entries_read;
    let mut before = last;
    for id in &ids {
        // What was counted goes on to count where nothing is missing from there on.
        let goes_on =
            stream.first_id().is_some_and(|first| before >= first) && !stream.has_tombstones(before, None);
        read = match read {
            Some(read) if goes_on => Some(read + 1),
            read if stream.entries_added == 0 => read,
            _ => stream.entries_read_at(*id),
        };
        before = *id;
    }
    let group = stream.groups_mut().get_mut(group_name).expect("looked up above");
    group.last_id = *ids.last().expect("not empty");
    group.entries_read = read;
    group.consumer(consumer, now_ms).0.active_ms = now_ms;
    if !no_ack {
        ids.iter().for_each(|id| group.deliver(*id, consumer, now_ms, 1));
    }
    cx.keys.noted(1, key);
    Ok(true)
}

/// Tells what the consumer was given behind `after` and has not acknowledged.
fn tell_history(
    cx: &mut Cx,
    key: &[u8],
    group_name: &[u8],
    consumer: &[u8],
    after: StreamId,
    count: usize,
) -> Result<bool, CmdError> {
    see_consumer(cx, key, group_name, consumer)?;
    let now_ms = cx.keys.now_ms;
    let stream = existing(cx.keys, key)?;
    let pending = stream.groups()[group_name].consumers()[consumer].pending();
    let ids: Vec<StreamId> = match after.next() {
        Some(start) => pending.range(start..).take(count).copied().collect(),
        None => Vec::new(),
    };
    stream::reply_stream_key(cx.out, key);
    cx.out.array(ids.len());
    for id in &ids {
        match stream.range(*id, *id).next() {
            Some(entry) => reply_entry(cx.out, &entry),
            None => {
                // Deleted since it was given out.
                cx.out.array(2);
                reply_id(cx.out, *id);
                cx.out.null_array();
            }
        }
    }
    let group = stream.groups_mut().get_mut(group_name).expect("looked up above");
    ids.iter().for_each(|id| group.redeliver(*id, now_ms));
    if !ids.is_empty() {
        group.consumer(consumer, now_ms).0.active_ms = now_ms;
    }
    Ok(true)
}

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
fn xpending(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name) = (&args[1], &args[2]);
    let mut range = None;
    if args.len() > 3 {
        if !(6..=9).contains(&args.len()) {
            return Err(error::SYNTAX);
        }
        let (mut min_idle, mut at) = (0, 3);
        if is(&args[3], "idle") {
            min_idle = parse::int(&args[4])?;
            at = 5;
        }
        if args.len() < at + 3 {
            return Err(error::SYNTAX);
        }
        let count = parse::int(&args[at + 2])?.max(0) as usize;
        let (start, end) = (interval_end(&args[at], true)?, interval_end(&args[at + 1], false)?);
        range = Some((min_idle, start, end, count, args.get(at + 3)));
    }
    let now_ms = cx.keys.now_ms;
    let stream = cx.keys.read_as::<Stream>(key)?;
    let group = stream.and_then(|stream| stream.groups().get(name));
    let group = group.ok_or_else(|| no_key_or_group(key, name))?;
    let Some((min_idle, start, end, count, consumer)) = range else {
        reply_pending_summary(cx.out, group);
        return Ok(());
    };
    let list = cx.out.deferred_array();
    let mut len = 0;
    let pending = (start <= end).then(|| group.pending().range(start..=end)).into_iter().flatten();
    for (id, pending) in pending {
        if len == count {
            break;
        }
        let idle = now_ms - pending.delivered_ms;
        if (min_idle != 0 && idle < min_idle) || consumer.is_some_and(|name| *name != *pending.consumer) {
            continue;
        }
        cx.out.array(4);
        reply_id(cx.out, *id);
        cx.out.bulk(&pending.consumer);
        cx.out.int(idle.max(0));
        cx.out.int(pending.deliveries as i64);
        len += 1;
    }
    cx.out.set_deferred(list, len);
    Ok(())
}

fn reply_pending_summary(out: &mut shoal_protocol::resp::Output, group: &Group) {
    out.array(4);
    out.int(group.pending().len() as i64);
    let (Some((first, _)), Some((last, _))) =
        (group.pending().first_key_value(), group.pending().last_key_value())
    else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    reply_id(out, *first);
    reply_id(out, *last);
    let busy = || group.consumers().iter().filter(|(_, consumer)| !consumer.pending().is_empty());
    out.array(busy().count());
    for (name, consumer) in busy() {
        out.array(2);
        out.bulk(name);
        out.bulk_int(consumer.pending().len() as i64);
    }
}

/// How XCLAIM marks what it claims.
struct Claim {
    idle_ms: Option<i64>,
    at_ms: Option<i64>,
    retries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Option<StreamId>,
}

fn claim_options(args: Args, from: usize) -> Result<Claim, CmdError> {
    let mut claim =
        Claim { idle_ms: None, at_ms: None, retries: None, force: false, just_id: false, last_id: None };
    let number = |arg: &[u8], option: &str| {
        parse::int(arg)
            .map_err(|_| CmdError::with(format!("ERR Invalid {option} option argument for XCLAIM")))
    };
    let mut at = from;
    while at < args.len() {
        let word = &args[at];
        let more = at + 1 < args.len();
        if is(word, "force") {
            claim.force = true;
        } else if is(word, "justid") {
            claim.just_id = true;
        } else if is(word, "idle") && more {
            claim.idle_ms = Some(number(operand(&args, &mut at)?, "IDLE")?);
        } else if is(word, "time") && more {
            claim.at_ms = Some(number(operand(&args, &mut at)?, "TIME")?);
        } else if is(word, "retrycount") && more {
            let n = number(operand(&args, &mut at)?, "RETRYCOUNT")?;
            claim.retries = Some(n.max(0) as u64);
        } else if is(word, "lastid") && more {
            claim.last_id = Some(stream_id(operand(&args, &mut at)?, 0)?);
        } else {
            return Err(CmdError::quoting(&[b"ERR Unrecognized XCLAIM option '", word, b"'"]));
        }
        at += 1;
    }
    Ok(claim)
}

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]
fn xclaim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name, consumer) = (&args[1], &args[2], &args[3]);
    let now_ms = cx.keys.now_ms;
    let stream = cx.keys.update_as::<Stream>(key)?;
    if !stream.is_some_and(|stream| stream.groups().contains_key(name)) {
        return Err(no_key_or_group(key, name));
    }
    let min_idle = parse::int(&args[4])
        .map_err(|_| CmdError::new("ERR Invalid min-idle-time argument for XCLAIM"))?
        .max(0);
    let options_at =
        (5..args.len()).find(|&at| StreamId::parse(&args[at], 0).is_none()).unwrap_or(args.len());
    let ids: Vec<StreamId> =
        (5..options_at).map(|at| stream_id(&args[at], 0)).collect::<Result<Vec<_>, _>>()?;
    let claim = claim_options(args, options_at)?;
    let delivered_ms = match (claim.idle_ms, claim.at_ms) {
        (Some(idle), _) => now_ms.wrapping_sub(idle),
        (None, Some(at_ms)) => at_ms,
        (None, None) => now_ms,
    };
    // A time in the future would never become idle.
    let delivered_ms = if delivered_ms < 0 || delivered_ms > now_ms { now_ms } else { delivered_ms };
    see_consumer(cx, key, name, consumer)?;
    let stream = existing(cx.keys, key)?;
    if let Some(last_id) = claim.last_id {
        let group = stream.groups_mut().get_mut(name).expect("looked up above");
        group.last_id = group.last_id.max(last_id);
    }
    let list = cx.out.deferred_array();
    let mut len = 0;
    for id in ids {
        let known = stream.groups()[name].pending().get(&id).cloned();
        if !stream.contains(id) {
            if known.is_some() {
                stream.groups_mut().get_mut(name).expect("looked up above").forget(id);
            }
            continue;
        }
        let (idle, before) = match &known {
            None if !claim.force => continue,
            None => (i64::MAX, 0),
            Some(pending) => (now_ms - pending.delivered_ms, pending.deliveries),
        };
        if idle < min_idle {
            continue;
        }
        let deliveries = claim.retries.unwrap_or(before + u64::from(!claim.just_id));
        if claim.just_id {
            reply_id(cx.out, id);
        } else if let Some(entry) = stream.range(id, id).next() {
            reply_entry(cx.out, &entry);
        }
        let group = stream.groups_mut().get_mut(name).expect("looked up above");
        group.deliver(id, consumer, delivered_ms, deliveries);
        group.consumer(consumer, now_ms).0.active_ms = now_ms;
        len += 1;
    }
    cx.out.set_deferred(list, len);
    if len > 0 {
        cx.keys.noted(len as u64, key);
    }
    Ok(())
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
fn xautoclaim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name, consumer) = (&args[1], &args[2], &args[3]);
    let min_idle = parse::int(&args[4])
        .map_err(|_| CmdError::new("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?
        .max(0);
    let start = interval_end(&args[5], true)?;
    let (mut count, mut just_id) = (100, false);
    let mut at = 6;
    while at < args.len() {
        if is(&args[at], "count") && at + 1 < args.len() {
            let n = parse::int(operand(&args, &mut at)?).ok().and_then(|n| usize::try_from(n).ok());
            count = n
                .filter(|n| *n > 0 && *n <= i64::MAX as usize / 32)
                .ok_or(CmdError::new("ERR COUNT must be > 0"))?;
        } else if is(&args[at], "justid") {
            just_id = true;
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    let now_ms = cx.keys.now_ms;
    let stream = cx.keys.update_as::<Stream>(key)?;
    if !stream.is_some_and(|stream| stream.groups().contains_key(name)) {
        return Err(no_key_or_group(key, name));
    }
    see_consumer(cx, key, name, consumer)?;
    let stream = existing(cx.keys, key)?;
    // Looks at ten entries for each one wanted, so that a long list of fresh ones takes no long time.
    let looked: Vec<(StreamId, i64, u64)> = {
        let pending = stream.groups()[name].pending().range(start..);
        pending.take(count * 10 + 1).map(|(id, found)| (*id, found.delivered_ms, found.deliveries)).collect()
    };
    let (mut claimed, mut deleted, mut next) = (Vec::new(), Vec::new(), StreamId::MIN);
    for (step, (id, delivered_ms, deliveries)) in looked.into_iter().enumerate() {
        if claimed.len() + deleted.len() == count || step == count * 10 {
            next = id;
            break;
        }
        if !stream.contains(id) {
            deleted.push(id);
        } else if now_ms - delivered_ms >= min_idle {
            claimed.push((id, deliveries + u64::from(!just_id)));
        }
    }
    cx.out.array(3);
    reply_id(cx.out, next);
    cx.out.array(claimed.len());
    for (id, _) in &claimed {
        if just_id {
            reply_id(cx.out, *id);
        } else if let Some(entry) = stream.range(*id, *id).next() {
            reply_entry(cx.out, &entry);
        }
    }
    cx.out.array(deleted.len());
    deleted.iter().for_each(|id| reply_id(cx.out, *id));
    let group = stream.groups_mut().get_mut(name).expect("looked up above");
    for id in &deleted {
        group.forget(*id);
    }
    claimed.iter().for_each(|(id, deliveries)| group.deliver(*id, consumer, now_ms, *deliveries));
    if !claimed.is_empty() {
        group.consumer(consumer, now_ms).0.active_ms = now_ms;
    }
    if !claimed.is_empty() || !deleted.is_empty() {
        cx.keys.noted(claimed.len() as u64, key);
    }
    Ok(())
}
