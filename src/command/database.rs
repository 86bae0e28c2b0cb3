//! Whole databases: finding their keys, their sizes, emptying and exchanging them.
//!
//! KEYS, SCAN and RANDOMKEY visit one partition after another. A cursor of SCAN is the number of a partition above 32 bits of
//! that partition's own cursor, so a walk meets every key that stays exactly once, however the tables grow meanwhile. What a
//! pattern pins to one slot is looked for in the partition of that slot.

use super::error::{self, CmdError};
use super::keys::matches;
use super::parse::{self, is, operand};
use super::{Command, Cx, Databases, Flags, Group, category, command, flag, flags, scan};
use crate::config::id;
use crate::state::lazyfree::Garbage;
use crate::state::partition::{PARTITIONS, partition_of};
use crate::store::table::Keyed;
use crate::store::types::pack::Element;
use crate::text::glob::slot_bytes;
use shoal_protocol::resp::Args;
use std::ops::{Range, RangeInclusive};

const ALL_AT_ONCE: Flags = flags([flag::WRITE, flag::WHOLE, flag::ATOMIC]);
const EVERYWHERE: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("dbsize", 1, Group::Server, dbsize)
        .flags(flags([flag::READONLY, flag::FAST, flag::WHOLE]))
        .categories(category::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .doc("1.0.0", "", "Returns the number of keys in the database."),
    command("flushall", -1, Group::Server, flushall)
        .flags(ALL_AT_ONCE)
        .categories(category::KEYSPACE.or(category::DANGEROUS))
        .tips(EVERYWHERE)
        .databases(Databases::All)
        .doc("1.0.0", "[ASYNC | SYNC]", "Removes all keys from all databases."),
    command("flushdb", -1, Group::Server, flushdb)
        .flags(ALL_AT_ONCE)
        .categories(category::KEYSPACE.or(category::DANGEROUS))
        .tips(EVERYWHERE)
        .doc("1.0.0", "[ASYNC | SYNC]", "Removes all keys from the current database."),
    row("keys", 2, keys)
        .categories(category::KEYSPACE.or(category::DANGEROUS))
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .doc("1.0.0", "pattern", "Returns all key names that match a pattern."),
    row("randomkey", 1, randomkey)
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .doc("1.0.0", "", "Returns a random key name from the database."),
    row("scan", -2, scan_)
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .doc(
            "2.8.0",
            "cursor [MATCH pattern] [COUNT count] [TYPE type]",
            "Iterates over the key names in the database.",
        ),
    command("swapdb", 3, Group::Server, swapdb)
        .flags(flags([ALL_AT_ONCE, flag::FAST]))
        .categories(category::KEYSPACE.or(category::DANGEROUS))
        .databases(Databases::At(&[1, 2]))
        .doc("4.0.0", "index1 index2", "Swaps two databases."),
];

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Generic, run)
        .flags(flags([flag::READONLY, flag::WHOLE]))
        .categories(category::KEYSPACE)
}

/// DBSIZE
fn dbsize(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (db, mut len) = (cx.keys.db, 0);
    cx.keys.each_partition(|_, partition| len += partition.dbs[db].len());
    cx.out.int(len as i64);
    Ok(())
}

/// FLUSHALL [ASYNC | SYNC]
fn flushall(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let all = 0..cx.state.keyspace.databases();
    flush(cx, args, all)
}

/// FLUSHDB [ASYNC | SYNC]
fn flushdb(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let db = cx.keys.db;
    flush(cx, args, db..db + 1)
}

fn flush(cx: &mut Cx, args: Args, dbs: Range<usize>) -> Result<(), CmdError> {
    let in_thread = match args.len() {
        1 => cx.state.config.flag(id::LAZYFREE_LAZY_USER_FLUSH),
        2 if is(&args[1], "async") => true,
        2 if is(&args[1], "sync") => false,
        _ => return Err(error::SYNTAX),
    };
    let (mut tables, mut forgotten) = (Vec::new(), 0);
    // Keys of other nodes too, which forget them as well. What was remembered for those who are gone since is forgotten too.
    if cx.state.tracking.is_active() || cx.state.tracking.keys() > 0 {
        for number in 0..=u8::MAX {
            cx.keys.with_partition(number, |partition| forgotten += partition.untrack_all());
        }
    }
    cx.keys.each_partition(|_, partition| {
        for db in dbs.clone() {
            if !partition.dbs[db].is_empty() {
                tables.push(partition.clear(db));
            }
        }
    });
    cx.state.tracking.flushed(forgotten);
    // It counts as a change even where there was nothing.
    cx.keys.dirty += 1;
    if !tables.is_empty() {
        cx.keys.dirty += tables.iter().map(|table| table.len() as u64).sum::<u64>();
        cx.keys.dispose(Garbage::Tables(tables), in_thread);
        dbs.for_each(|db| cx.keys.appeared(db));
    }
    cx.out.ok();
    Ok(())
}

/// SWAPDB index1 index2
fn swapdb(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let number = |arg, error| match parse::int(arg).map(i32::try_from) {
        Ok(Ok(number)) => Ok(number),
        _ => Err(error),
    };
    let first = number(&args[1], CmdError::new("ERR invalid first DB index"))?;
    let second = number(&args[2], CmdError::new("ERR invalid second DB index"))?;
    let databases = cx.state.keyspace.databases();
    let within = |number: i32| usize::try_from(number).ok().filter(|db| *db < databases);
    let (Some(first), Some(second)) = (within(first), within(second)) else { return Err(error::BAD_DB) };
    if first != second {
        reap_watched(cx, first, second);
        cx.keys.each_partition(|_, partition| partition.swap(first, second));
        cx.keys.appeared(first);
        cx.keys.appeared(second);
    }
    cx.keys.dirty += 1;
    cx.out.ok();
    Ok(())
}

/// Removes what is watched in one of two databases and past its time in either, so that the exchange brings no watcher
/// a key that is as good as none.
fn reap_watched(cx: &mut Cx, first: usize, second: usize) {
    let mut watched: Vec<(u8, Box<[u8]>)> = Vec::new();
    cx.keys.each_partition(|number, partition| {
        let keys = partition.watched(first).chain(partition.watched(second));
        watched.extend(keys.map(|key| (number, key.into())));
    });
    let own = cx.keys.db;
    for (number, key) in watched {
        for db in [first, second] {
            cx.keys.db = db;
            cx.keys.reap(number, &key);
        }
    }
    cx.keys.db = own;
}

/// The partitions in which keys that match `pattern` can be.
fn partitions(pattern: Option<&[u8]>) -> RangeInclusive<u8> {
    match pattern.and_then(slot_bytes) {
        Some(pinned) => {
            let partition = partition_of(pinned);
            partition..=partition
        }
        None => 0..=u8::MAX,
    }
}

/// What is said of a request that is run anew with the keys it has to tell of; nobody hears it.
const AGAIN: CmdError = CmdError::new("ERR the request is run again with further keys");

/// The pattern of the keys that a request tells of, if that is all it wants of the whole keyspace: then it can be part of what runs
/// across nodes.
pub(super) fn told_of<'a>(command: &Command, args: Args<'a>) -> Option<&'a [u8]> {
    match command.name {
        "keys" => args.get(1),
        "scan" => Some(scan_pattern(args).unwrap_or(b"*")),
        _ => None,
    }
}

/// The pattern of a SCAN, as far as its options can be read.
fn scan_pattern(args: Args<'_>) -> Option<&[u8]> {
    let at = (2..args.len().saturating_sub(1)).rfind(|at| is(&args[*at], "match"))?;
    args.get(at + 1)
}

/// The partitions in which the keys of a pattern of [`told_of`] are looked for.
pub fn partitions_of(pattern: &[u8]) -> RangeInclusive<u8> {
    partitions(Some(pattern).filter(|pattern| *pattern != b"*"))
}

/// KEYS pattern
fn keys(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if !cx.keys.lists(&args[1]) {
        return Err(AGAIN);
    }
    let pattern = Some(&args[1]).filter(|pattern| *pattern != b"*");
    let (db, due_ms) = (cx.keys.db, cx.keys.due_ms);
    let Cx { keys, out, .. } = cx;
    let array = out.deferred_array();
    let mut len = 0;
    for partition in partitions(pattern) {
        keys.visit(partition, |partition| {
            for entry in partition.dbs[db].iter() {
                let is_told = pattern.is_none_or(|pattern| matches(pattern, entry.key()));
                if is_told && !entry.is_expired(due_ms) {
                    out.bulk(entry.key());
                    len += 1;
                }
            }
        });
    }
    out.set_deferred(array, len);
    Ok(())
}

/// The first partition that may have anything a SCAN asks for, as far as its options can be read.
pub(super) fn scan_begins(args: Args) -> u8 {
    *partitions(scan_pattern(args)).start()
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
fn scan_(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let cursor = scan::cursor(&args[1])?;
    let mut wanted_type = None;
    let options = scan::Options::parse(args, 2, |args, at| {
        let known = is(&args[*at], "type");
        if known {
            wanted_type = Some(type_name(operand(args, at)?)?);
        }
        Ok(known)
    })?;
    if !cx.keys.lists(options.pattern().unwrap_or(b"*")) {
        return Err(AGAIN);
    }
    let range = partitions(options.pattern());
    let (mut partition, mut cursor) = ((cursor >> 32) as usize, cursor & u64::from(u32::MAX));
    if partition < usize::from(*range.start()) {
        (partition, cursor) = (usize::from(*range.start()), 0);
    }
    let (db, due_ms) = (cx.keys.db, cx.keys.due_ms);
    // Who is told of redirections asks every node for what it has.
    let is_alone = super::forward::redirects(cx.state) && !cx.client.is_peer;
    let mut reply = scan::Reply::new(cx.out);
    let (mut left, mut went_on) = (options.count, false);
    let mut expired: Vec<Box<[u8]>> = Vec::new();
    while left > 0 && partition <= usize::from(*range.end()) {
        let number = partition as u8;
        if !cx.keys.with_partition(number, |partition| partition.is_led()) {
            if is_alone {
                (partition, cursor) = (partition + 1, 0);
                continue;
            }
            // The rest is another node's, which goes on from this cursor. Whoever sent a client here asks again where it begins.
            cx.client.refused = cx.client.is_peer && !went_on;
            break;
        }
        went_on = true;
        cursor = cx.keys.with_partition(number, |partition| {
            partition.dbs[db].scan(cursor, left, |entry| {
                left = left.saturating_sub(1);
                let wanted = wanted_type.is_none_or(|name| name == entry.type_name());
                if !wanted || !options.accepts(entry.key()) {
                } else if entry.is_expired(due_ms) {
                    expired.push(entry.key().into());
                } else {
                    reply.push(Element::Str(entry.key()));
                }
            })
        });
        expired.drain(..).for_each(|key| cx.keys.reap(number, &key));
        partition += usize::from(cursor == 0);
    }
    let done = partition > usize::from(*range.end());
    reply.send(cx.out, if done { 0 } else { (partition as u64) << 32 | cursor });
    Ok(())
}

/// A type as TYPE names it.
pub(super) fn type_name(arg: &[u8]) -> Result<&'static str, CmdError> {
    let known = ["string", "list", "set", "zset", "hash", "stream"].into_iter().find(|name| is(arg, name));
    known.ok_or_else(|| CmdError::quoting(&[b"ERR unknown type name '", arg, b"'"]))
}

const _: () = assert!(PARTITIONS == u8::MAX as usize + 1);

/// RANDOMKEY
fn randomkey(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (db, due_ms) = (cx.keys.db, cx.keys.due_ms);
    let mut rng = fastrand::Rng::new();
    loop {
        // Each partition's candidate takes the place of the last with the chance of its share so far: all keys are
        // equally likely in the end.
        let (mut seen, mut chosen) = (0, None);
        cx.keys.each_partition(|number, partition| {
            let table = &partition.dbs[db];
            seen += table.len();
            if table.is_empty() || rng.usize(..seen) >= table.len() {
                return;
            }
            if let Some(entry) = table.random(&mut rng) {
                chosen = Some((number, entry.key().to_vec(), entry.is_expired(due_ms)));
            }
        });
        match chosen {
            Some((number, key, true)) if cx.keys.may_expire() => cx.keys.reap(number, &key),
            // One past its time that must stay is better than to look for another for as long as it stays.
            Some((_, key, _)) => {
                cx.out.bulk(&key);
                return Ok(());
            }
            None => {
                cx.out.null();
                return Ok(());
            }
        }
    }
}
