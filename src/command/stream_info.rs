//! XINFO: what a stream and its groups are made of.

use super::error::{self, CmdError};
use super::parse::{self, is};
use super::stream::{no_group, reply_entry, reply_id};
use super::{Command, Cx, Group as Family, command, flag, flags, spec};
use crate::store::types::stream::{Group, Stream, StreamId};
use shoal_protocol::resp::{Args, Output};

/// The family's rows.
pub const COMMANDS: &[Command] =
    &[command("xinfo", -2, Family::Stream, super::server::container)
        .doc("5.0.0", "", "A container for stream introspection commands.")
        .subcommands(&[
            command("xinfo|consumers", 4, Family::Stream, consumers)
                .flags(flag::READONLY)
                .keys(spec::SUB_READ)
                .tips(&["nondeterministic_output"])
                .doc("5.0.0", "key group", "Returns a list of the consumers in a consumer group."),
            command("xinfo|groups", 3, Family::Stream, groups)
                .flags(flag::READONLY)
                .keys(spec::SUB_READ)
                .doc("5.0.0", "key", "Returns a list of the consumer groups of a stream."),
            command("xinfo|help", 2, Family::Stream, help).flags(flags([flag::LOADING, flag::STALE])).doc(
                "5.0.0",
                "",
                "Returns helpful text about the different subcommands.",
            ),
            command("xinfo|stream", -3, Family::Stream, stream)
                .flags(flag::READONLY)
                .keys(spec::SUB_READ)
                .doc("5.0.0", "key [FULL [COUNT count]]", "Returns information about a stream."),
        ])];

fn field(out: &mut Output, name: &str) {
    out.bulk(name.as_bytes());
}

fn number(out: &mut Output, name: &str, value: u64) {
    field(out, name);
    out.int(value as i64);
}

fn id(out: &mut Output, name: &str, value: StreamId) {
    field(out, name);
    reply_id(out, value);
}

/// How many entries the group has still to be given, where that can be told.
///
/// Below zero where XGROUP was told that it has read more than there ever was.
fn lag(stream: &Stream, group: &Group) -> Option<i64> {
    if stream.entries_added == 0 {
        return Some(0);
    }
    let counted = group.entries_read.filter(|_| !stream.has_tombstones(group.last_id, None));
    let read = counted.or_else(|| stream.entries_read_at(group.last_id))?;
    Some(stream.entries_added.wrapping_sub(read) as i64)
}

fn optional(out: &mut Output, name: &str, value: Option<i64>) {
    field(out, name);
    match value {
        Some(value) => out.int(value),
        None => out.null(),
    }
}

/// XINFO STREAM key [FULL [COUNT count]]
fn stream(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let stream = cx.keys.read_as::<Stream>(&args[2])?.ok_or(error::NO_SUCH_KEY)?;
    let full = args.len() > 3;
    let mut count = 10;
    if full {
        let counted = args.get(4).is_none_or(|word| is(word, "count"));
        if !is(&args[3], "full") || !counted || !matches!(args.len(), 4 | 6) {
            return Err(error::bad_subcommand("XINFO", &args[1]));
        }
        if let Some(arg) = args.get(5) {
            count = usize::try_from(parse::int(arg)?).unwrap_or(10);
        }
    }
    let out = &mut *cx.out;
    out.map(if full { 9 } else { 10 });
    number(out, "length", stream.len());
    number(out, "radix-tree-keys", stream.nodes().len() as u64);
    number(out, "radix-tree-nodes", stream.nodes().len() as u64 + 1);
    id(out, "last-generated-id", stream.last_id);
    id(out, "max-deleted-entry-id", stream.max_deleted_id);
    number(out, "entries-added", stream.entries_added);
    id(out, "recorded-first-entry-id", stream.first_id().unwrap_or_default());
    if full {
        let most = if count == 0 { usize::MAX } else { count };
        field(out, "entries");
        let shown = stream.range(StreamId::MIN, StreamId::MAX).take(most).count();
        out.array(shown);
        stream.range(StreamId::MIN, StreamId::MAX).take(most).for_each(|entry| reply_entry(out, &entry));
        field(out, "groups");
        out.array(stream.groups().len());
        for (name, group) in stream.groups() {
            full_group(out, stream, name, group, most);
        }
    } else {
        number(out, "groups", stream.groups().len() as u64);
        let ends = [
            ("first-entry", stream.range(StreamId::MIN, StreamId::MAX).next()),
            ("last-entry", stream.range_back(StreamId::MIN, StreamId::MAX).next()),
        ];
        for (name, entry) in ends {
            field(out, name);
            match entry {
                Some(entry) => reply_entry(out, &entry),
                None => out.null(),
            }
        }
    }
    Ok(())
}

fn full_group(out: &mut Output, stream: &Stream, name: &[u8], group: &Group, most: usize) {
    out.map(7);
    field(out, "name");
    out.bulk(name);
    id(out, "last-delivered-id", group.last_id);
    optional(out, "entries-read", group.entries_read.map(|read| read as i64));
    optional(out, "lag", lag(stream, group));
    number(out, "pel-count", group.pending().len() as u64);
    field(out, "pending");
    out.array(group.pending().len().min(most));
    for (id, pending) in group.pending().iter().take(most) {
        out.array(4);
        reply_id(out, *id);
        out.bulk(&pending.consumer);
        out.int(pending.delivered_ms);
        out.int(pending.deliveries as i64);
    }
    field(out, "consumers");
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        out.map(5);
        field(out, "name");
        out.bulk(name);
        field(out, "seen-time");
        out.int(consumer.seen_ms);
        field(out, "active-time");
        out.int(consumer.active_ms);
        number(out, "pel-count", consumer.pending().len() as u64);
        field(out, "pending");
        out.array(consumer.pending().len().min(most));
        for id in consumer.pending().iter().take(most) {
            let pending = &group.pending()[id];
            out.array(3);
            reply_id(out, *id);
            out.int(pending.delivered_ms);
            out.int(pending.deliveries as i64);
        }
    }
}

/// XINFO GROUPS key
fn groups(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let stream = cx.keys.read_as::<Stream>(&args[2])?.ok_or(error::NO_SUCH_KEY)?;
    let out = &mut *cx.out;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        field(out, "name");
        out.bulk(name);
        number(out, "consumers", group.consumers().len() as u64);
        number(out, "pending", group.pending().len() as u64);
        id(out, "last-delivered-id", group.last_id);
        optional(out, "entries-read", group.entries_read.map(|read| read as i64));
        optional(out, "lag", lag(stream, group));
    }
    Ok(())
}

/// XINFO CONSUMERS key group
fn consumers(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, name, now_ms) = (&args[2], &args[3], cx.keys.now_ms);
    let stream = cx.keys.read_as::<Stream>(key)?.ok_or(error::NO_SUCH_KEY)?;
    let group = stream.groups().get(name).ok_or_else(|| no_group(key, name))?;
    let out = &mut *cx.out;
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        out.map(4);
        field(out, "name");
        out.bulk(name);
        number(out, "pending", consumer.pending().len() as u64);
        field(out, "idle");
        out.int((now_ms - consumer.seen_ms).max(0));
        field(out, "inactive");
        out.int(if consumer.active_ms < 0 { -1 } else { (now_ms - consumer.active_ms).max(0) });
    }
    Ok(())
}

/// XINFO HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let lines = [
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ];
    super::reply_help(cx.out, "XINFO", &lines);
    Ok(())
}
