//! Hashes: fields and their values. When fields expire is the business of [`hash_expire`](super::hash_expire).

use super::error::{self, CmdError};
use super::parse::{self, is};
use super::{Command, Cx, Flags, Group, command, flag, flags, reply, scan, spec};
use crate::config::{id, notify};
use crate::state::State;
use crate::store::types::hash::{Hash, HashLimits};
use crate::store::types::pack::Element;
use crate::text::long_double::LongDouble;
use shoal_protocol::resp::{Args, Output};

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const SLOW_READ: Flags = flag::READONLY;
const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);
const REMOVE: Flags = flags([flag::WRITE, flag::FAST]);

const ORDERLESS: &[&str] = &["nondeterministic_output_order"];
const RANDOM: &[&str] = &["nondeterministic_output"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("hdel", -3, Group::Hash, hdel).flags(REMOVE).keys(spec::DELETE).doc(
        "2.0.0",
        "key field [field ...]",
        "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain.",
    ),
    command("hexists", 3, Group::Hash, hexists).flags(READ).keys(spec::READ_META).doc(
        "2.0.0",
        "key field",
        "Determines whether a field exists in a hash.",
    ),
    command("hget", 3, Group::Hash, hget).flags(READ).keys(spec::READ).doc(
        "2.0.0",
        "key field",
        "Returns the value of a field in a hash.",
    ),
    command("hgetall", 2, Group::Hash, hgetall).flags(SLOW_READ).keys(spec::READ).tips(ORDERLESS).doc(
        "2.0.0",
        "key",
        "Returns all fields and values in a hash.",
    ),
    command("hincrby", 4, Group::Hash, hincrby).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "2.0.0",
        "key field increment",
        "Increments the integer value of a field in a hash by a number. Uses 0 as initial value if the field doesn't exist.",
    ),
    command("hincrbyfloat", 4, Group::Hash, hincrbyfloat).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "2.6.0",
        "key field increment",
        "Increments the floating point value of a field by a number. Uses 0 as initial value if the field doesn't exist.",
    ),
    command("hkeys", 2, Group::Hash, hkeys).flags(SLOW_READ).keys(spec::READ).tips(ORDERLESS).doc(
        "2.0.0",
        "key",
        "Returns all fields in a hash.",
    ),
    command("hlen", 2, Group::Hash, hlen).flags(READ).keys(spec::READ_META).doc(
        "2.0.0",
        "key",
        "Returns the number of fields in a hash.",
    ),
    command("hmget", -3, Group::Hash, hmget).flags(READ).keys(spec::READ).doc(
        "2.0.0",
        "key field [field ...]",
        "Returns the values of all fields in a hash.",
    ),
    command("hmset", -4, Group::Hash, hmset).flags(WRITE).keys(spec::UPDATE).doc(
        "2.0.0",
        "key field value [field value ...]",
        "Sets the values of multiple fields.",
    ),
    command("hrandfield", -2, Group::Hash, hrandfield).flags(SLOW_READ).keys(spec::READ).tips(RANDOM).doc(
        "6.2.0",
        "key [count [WITHVALUES]]",
        "Returns one or more random fields from a hash.",
    ),
    command("hscan", -3, Group::Hash, hscan).flags(SLOW_READ).keys(spec::READ).tips(RANDOM).doc(
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        "Iterates over fields and values of a hash.",
    ),
    command("hset", -4, Group::Hash, hset).flags(WRITE).keys(spec::UPDATE).doc(
        "2.0.0",
        "key field value [field value ...]",
        "Creates or modifies the value of a field in a hash.",
    ),
    command("hsetnx", 4, Group::Hash, hsetnx).flags(WRITE).keys(spec::INSERT).doc(
        "2.0.0",
        "key field value",
        "Sets the value of a field in a hash only when the field doesn't exist.",
    ),
    command("hstrlen", 3, Group::Hash, hstrlen).flags(READ).keys(spec::READ_META).doc(
        "3.2.0",
        "key field",
        "Returns the length of the value of a field.",
    ),
    command("hvals", 2, Group::Hash, hvals).flags(SLOW_READ).keys(spec::READ).tips(ORDERLESS).doc(
        "2.0.0",
        "key",
        "Returns all values in a hash.",
    ),
];

/// How large hashes may get as a pack, by the settings in force.
#[inline]
pub fn limits(state: &State) -> HashLimits {
    HashLimits {
        max_listpack_entries: state.config.size(id::HASH_MAX_LISTPACK_ENTRIES),
        max_listpack_value: state.config.size(id::HASH_MAX_LISTPACK_VALUE),
    }
}

/// Answers with the value of a field, or null.
#[inline]
pub fn reply_value(out: &mut Output, value: Option<Element<'_>>) {
    match value {
        Some(value) => reply::element(out, value),
        None => out.null(),
    }
}

/// Removes the hash of `key` if nothing is left in it, with its event.
pub fn remove_if(cx: &mut Cx, key: &[u8], empty: bool) {
    if empty {
        cx.keys.remove_emptied(key);
    }
}

// Writing.

/// HSET key field value [field value ...]
fn hset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let added = set_fields(cx, args)?;
    cx.out.int(added);
    Ok(())
}

/// HMSET key field value [field value ...]
fn hmset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_fields(cx, args)?;
    cx.out.ok();
    Ok(())
}

/// Sets the fields from argument 2 on; returns how many are new.
#[inline]
fn set_fields(cx: &mut Cx, args: Args) -> Result<i64, CmdError> {
    if args.len() % 2 == 1 {
        return Err(error::wrong_arity(cx.command.name));
    }
    let (key, limits) = (&args[1], limits(cx.state));
    let added = cx.keys.create_hash(key, |hash| {
        let pairs = (2..args.len()).step_by(2).map(|at| (&args[at], &args[at + 1]));
        hash.set_all(pairs, limits)
    })?;
    cx.keys.modified(notify::HASH, "hset", key);
    Ok(added as i64)
}

/// HSETNX key field value
fn hsetnx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, limits) = (&args[1], limits(cx.state));
    let added = cx.keys.create_hash(key, |hash| hash.set_if_absent(&args[2], &args[3], limits))?;
    if added {
        cx.keys.modified(notify::HASH, "hset", key);
    }
    cx.out.int(i64::from(added));
    Ok(())
}

/// HDEL key field [field ...]
fn hdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let removed = cx.keys.change_hash(key, |hash| {
        let removed = args.from(2).iter().filter(|field| hash.remove(field)).count();
        (removed, hash.is_empty())
    })?;
    let (removed, empty) = removed.unwrap_or_default();
    if removed > 0 {
        cx.keys.modified(notify::HASH, "hdel", key);
        remove_if(cx, key, empty);
    }
    cx.out.int(removed as i64);
    Ok(())
}

/// HINCRBY key field increment
fn hincrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, field) = (&args[1], &args[2]);
    let delta = parse::int(&args[3])?;
    let limits = limits(cx.state);
    let sum = cx.keys.create_hash(key, |hash| {
        hash.change_int(field, limits, |old| {
            let old = match old {
                Some(value) => value.int().ok_or(error::HASH_VALUE_NOT_AN_INTEGER)?,
                None => 0,
            };
            old.checked_add(delta).ok_or(error::OVERFLOW)
        })
    })??;
    cx.keys.modified(notify::HASH, "hincrby", key);
    cx.out.int(sum);
    Ok(())
}

/// HINCRBYFLOAT key field increment
fn hincrbyfloat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, field) = (&args[1], &args[2]);
    let delta = LongDouble::parse(&args[3]).ok_or(error::NOT_A_FLOAT)?;
    if !delta.is_finite() {
        return Err(error::VALUE_NAN_OR_INFINITY);
    }
    let limits = limits(cx.state);
    let sum = cx.keys.create_hash(key, |hash| {
        let old = match hash.get(field) {
            Some(value) => LongDouble::parse(value.as_bytes(&mut itoa::Buffer::new()))
                .ok_or(error::HASH_VALUE_NOT_A_FLOAT)?,
            None => LongDouble::ZERO,
        };
        let sum = old + delta;
        if !sum.is_finite() {
            return Err(error::NAN_OR_INFINITY);
        }
        let mut digits = Vec::new();
        sum.format(&mut digits);
        hash.set_keeping_expiry(field, &digits, limits);
        Ok(digits)
    })??;
    cx.keys.modified(notify::HASH, "hincrbyfloat", key);
    cx.out.bulk(&sum);
    Ok(())
}

// Reading.

/// HGET key field
fn hget(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let hash = cx.keys.read_hash(&args[1])?;
    reply_value(cx.out, hash.and_then(|hash| hash.get(&args[2])));
    Ok(())
}

/// HMGET key field [field ...]
fn hmget(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let hash = cx.keys.read_hash(&args[1])?;
    cx.out.array(args.len() - 2);
    for field in args.from(2) {
        reply_value(cx.out, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

/// HGETALL key
fn hgetall(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Some(hash) = cx.keys.read_hash(&args[1])? else {
        cx.out.map(0);
        return Ok(());
    };
    cx.out.map(hash.visible_len());
    for (name, value) in hash.visible() {
        reply::element(cx.out, name);
        reply::element(cx.out, value);
    }
    Ok(())
}

/// HKEYS key
fn hkeys(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    reply_each(cx, &args[1], |(name, _)| name)
}

/// HVALS key
fn hvals(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    reply_each(cx, &args[1], |(_, value)| value)
}

/// Answers with what `part` takes of each field.
fn reply_each(
    cx: &mut Cx,
    key: &[u8],
    part: for<'e> fn((Element<'e>, Element<'e>)) -> Element<'e>,
) -> Result<(), CmdError> {
    let Some(hash) = cx.keys.read_hash(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    cx.out.array(hash.visible_len());
    hash.visible().map(part).for_each(|element| reply::element(cx.out, element));
    Ok(())
}

/// HLEN key
fn hlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.read_hash(&args[1])?.map_or(0, Hash::len);
    cx.out.int(len as i64);
    Ok(())
}

/// HSTRLEN key field
fn hstrlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.read_hash(&args[1])?.map_or(0, |hash| hash.value_len(&args[2]));
    cx.out.int(len as i64);
    Ok(())
}

/// HEXISTS key field
fn hexists(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = cx.keys.read_hash(&args[1])?.is_some_and(|hash| hash.contains(&args[2]));
    cx.out.int(i64::from(found));
    Ok(())
}

/// HRANDFIELD key [count [WITHVALUES]]
fn hrandfield(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let Some(count) = args.get(2) else {
        let field = cx.keys.read_hash(key)?.and_then(|hash| hash.random(&mut fastrand::Rng::new()));
        reply_value(cx.out, field.map(|(name, _)| name));
        return Ok(());
    };
    let count = parse::symmetric(count)?;
    let with_values = match (args.len(), args.get(3)) {
        (3, _) => false,
        (4, Some(word)) if is(word, "withvalues") => true,
        _ => return Err(error::SYNTAX),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(error::VALUE_OUT_OF_RANGE);
    }
    let Some(hash) = cx.keys.read_hash(key)?.filter(|hash| count != 0 && hash.visible_len() > 0) else {
        cx.out.array(0);
        return Ok(());
    };
    let fields = parse::draws(count, hash.visible_len())?;
    let out = &mut *cx.out;
    if with_values {
        out.pairs(fields);
    } else {
        out.array(fields);
    }
    let write = |name: Element<'_>, value: Element<'_>| {
        if with_values {
            out.pair();
            reply::element(out, name);
            reply::element(out, value);
        } else {
            reply::element(out, name);
        }
    };
    let rng = &mut fastrand::Rng::new();
    if count < 0 {
        hash.random_many(fields, rng, write)
    } else {
        hash.sample(fields, rng, write)
    }
    Ok(())
}

/// HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]
fn hscan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let cursor = scan::cursor(&args[2])?;
    let mut reply = scan::Reply::new(cx.out);
    let Some(hash) = cx.keys.read_hash(&args[1])? else {
        reply.send(cx.out, 0);
        return Ok(());
    };
    let mut with_values = true;
    let options = scan::Options::parse(args, 3, |args, at| {
        let known = is(&args[*at], "novalues");
        with_values &= !known;
        Ok(known)
    })?;
    let next = hash.scan(cursor, options.count, |name, value| {
        if options.accepts(name.as_bytes(&mut itoa::Buffer::new())) {
            reply.push(name);
            if with_values {
                reply.push(value);
            }
        }
    });
    reply.send(cx.out, next);
    Ok(())
}
