//! Sets. What is computed of several sets is in [`set_algebra`](super::set_algebra).

use super::error::{self, CmdError};
use super::{Command, Cx, Flags, Group, command, flag, flags, parse, reply, scan, spec};
use crate::config::{id, notify};
use crate::state::State;
use crate::state::lazyfree::Garbage;
use crate::store::types::pack::Element;
use crate::store::types::set::{Set, SetLimits};
use crate::store::value::Stored;
use shoal_protocol::resp::{Args, Output};

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const SLOW_READ: Flags = flag::READONLY;
const ADD: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);
const REMOVE: Flags = flags([flag::WRITE, flag::FAST]);

const ORDERLESS: &[&str] = &["nondeterministic_output_order"];
const RANDOM: &[&str] = &["nondeterministic_output"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("sadd", -3, Group::Set, sadd).flags(ADD).keys(spec::INSERT).doc(
        "1.0.0",
        "key member [member ...]",
        "Adds one or more members to a set. Creates the key if it doesn't exist.",
    ),
    command("scard", 2, Group::Set, scard).flags(READ).keys(spec::READ_META).doc(
        "1.0.0",
        "key",
        "Returns the number of members in a set.",
    ),
    command("sismember", 3, Group::Set, sismember).flags(READ).keys(spec::READ_META).doc(
        "1.0.0",
        "key member",
        "Determines whether a member belongs to a set.",
    ),
    command("smembers", 2, Group::Set, smembers).flags(SLOW_READ).keys(spec::READ).tips(ORDERLESS).doc(
        "1.0.0",
        "key",
        "Returns all members of a set.",
    ),
    command("smismember", -3, Group::Set, smismember).flags(READ).keys(spec::READ).doc(
        "6.2.0",
        "key member [member ...]",
        "Determines whether multiple members belong to a set.",
    ),
    command("smove", 4, Group::Set, smove).flags(REMOVE).keys(spec::MOVE).doc(
        "1.0.0",
        "source destination member",
        "Moves a member from one set to another.",
    ),
    command("spop", -2, Group::Set, spop).flags(REMOVE.or(flag::BY_RESULT)).keys(spec::ACCESS_DELETE).tips(RANDOM).doc(
        "1.0.0",
        "key [count]",
        "Returns one or more random members from a set after removing them. Deletes the set if the last member was popped.",
    ),
    command("srandmember", -2, Group::Set, srandmember).flags(SLOW_READ).keys(spec::READ).tips(RANDOM).doc(
        "1.0.0",
        "key [count]",
        "Get one or multiple random members from a set.",
    ),
    command("srem", -3, Group::Set, srem).flags(REMOVE).keys(spec::DELETE).doc(
        "1.0.0",
        "key member [member ...]",
        "Removes one or more members from a set. Deletes the set if the last member was removed.",
    ),
    command("sscan", -3, Group::Set, sscan).flags(SLOW_READ).keys(spec::READ).tips(RANDOM).doc(
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count]",
        "Iterates over members of a set.",
    ),
];

/// How large sets may get in their small forms, by the settings in force.
#[inline]
pub fn limits(state: &State) -> SetLimits {
    SetLimits {
        max_intset_entries: state.config.size(id::SET_MAX_INTSET_ENTRIES),
        max_listpack_entries: state.config.size(id::SET_MAX_LISTPACK_ENTRIES),
        max_listpack_value: state.config.size(id::SET_MAX_LISTPACK_VALUE),
    }
}

/// Answers with all members.
pub fn reply_all(out: &mut Output, set: &Set) {
    out.set(set.len());
    set.iter().for_each(|member| reply::element(out, member));
}

fn remove_if(cx: &mut Cx, key: &[u8], empty: bool) {
    if empty {
        cx.keys.remove_emptied(key);
    }
}

// Members that are named.

/// SADD key member [member ...]
fn sadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, count, limits) = (&args[1], args.len() - 2, limits(cx.state));
    let set = cx.keys.create_with(key, || Set::for_members(&args[2], count, limits))?;
    set.expect_members(count, limits);
    let added = args.from(2).iter().filter(|&member| set.add(member, limits)).count();
    if added > 0 {
        cx.keys.modified(notify::SET, "sadd", key);
    }
    cx.out.int(added as i64);
    Ok(())
}

/// SREM key member [member ...]
fn srem(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let Some(set) = cx.keys.update_as::<Set>(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let removed = args.from(2).iter().filter(|&member| set.remove(member)).count();
    let empty = set.is_empty();
    if removed > 0 {
        cx.keys.modified(notify::SET, "srem", key);
        remove_if(cx, key, empty);
    }
    cx.out.int(removed as i64);
    Ok(())
}

/// SMOVE source destination member
fn smove(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (source, destination, member) = (&args[1], &args[2], &args[3]);
    let limits = limits(cx.state);
    if !cx.keys.exists(source) {
        cx.out.int(0);
        return Ok(());
    }
    let found = cx.keys.update_as::<Set>(source)?.is_some_and(|set| set.contains(member));
    cx.keys.update_as::<Set>(destination)?;
    if found && source != destination {
        let set = cx.keys.update_as::<Set>(source)?;
        let empty = set.is_some_and(|set| set.remove(member) && set.is_empty());
        cx.keys.modified(notify::SET, "srem", source);
        remove_if(cx, source, empty);
        let target = cx.keys.create_with(destination, || Set::for_members(member, 1, limits))?;
        if target.add(member, limits) {
            cx.keys.modified(notify::SET, "sadd", destination);
        }
    }
    cx.out.int(i64::from(found));
    Ok(())
}

/// SCARD key
fn scard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.read_as::<Set>(&args[1])?.map_or(0, Set::len);
    cx.out.int(len as i64);
    Ok(())
}

/// SISMEMBER key member
fn sismember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = cx.keys.read_as::<Set>(&args[1])?.is_some_and(|set| set.contains(&args[2]));
    cx.out.int(i64::from(found));
    Ok(())
}

/// SMISMEMBER key member [member ...]
fn smismember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let set = cx.keys.read_as::<Set>(&args[1])?;
    cx.out.array(args.len() - 2);
    for member in args.from(2) {
        cx.out.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

// All members.

/// SMEMBERS key
fn smembers(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.read_as::<Set>(&args[1])? {
        Some(set) => reply_all(cx.out, set),
        None => cx.out.set(0),
    }
    Ok(())
}

/// SSCAN key cursor [MATCH pattern] [COUNT count]
fn sscan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let cursor = scan::cursor(&args[2])?;
    let mut reply = scan::Reply::new(cx.out);
    let Some(set) = cx.keys.read_as::<Set>(&args[1])? else {
        reply.send(cx.out, 0);
        return Ok(());
    };
    let options = scan::Options::parse(args, 3, |_, _| Ok(false))?;
    let next = set.scan(cursor, options.count, |member| {
        if options.accepts(member.as_bytes(&mut itoa::Buffer::new())) {
            reply.push(member);
        }
    });
    reply.send(cx.out, next);
    Ok(())
}

// Members chosen by chance.

/// SRANDMEMBER key [count]
fn srandmember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let rng = &mut fastrand::Rng::new();
    let count = match args.len() {
        2 => {
            match cx.keys.read_as::<Set>(key)?.and_then(|set| set.random(rng)) {
                Some(member) => reply::element(cx.out, member),
                None => cx.out.null(),
            }
            return Ok(());
        }
        3 => parse::symmetric(&args[2])?,
        _ => return Err(error::SYNTAX),
    };
    let Some(set) = cx.keys.read_as::<Set>(key)?.filter(|_| count != 0) else {
        cx.out.array(0);
        return Ok(());
    };
    let members = parse::draws(count, set.len())?;
    cx.out.array(members);
    let write = |member: Element<'_>| reply::element(cx.out, member);
    if count < 0 {
        set.random_many(members, rng, write)
    } else {
        set.sample(members, rng, write)
    }
    Ok(())
}

/// SPOP key [count]
fn spop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let count = match args.len() {
        2 => None,
        3 => Some(parse::positive(&args[2])?),
        _ => return Err(error::SYNTAX),
    };
    let Some(set) = cx.keys.update_as::<Set>(key)? else {
        if count.is_some() {
            cx.out.set(0);
        } else {
            cx.out.null();
        }
        return Ok(());
    };
    let rng = &mut fastrand::Rng::new();
    let mut garbage = None;
    let empty = match count {
        Some(0) => {
            cx.out.set(0);
            return Ok(());
        }
        Some(count) if count >= set.len() => {
            reply_all(cx.out, set);
            true
        }
        Some(count) => {
            garbage = pop_some(cx.out, set, count, rng, limits(cx.state));
            false
        }
        None => {
            if let Some(member) = set.pop_random(rng) {
                cx.out.bulk(&member);
            }
            set.is_empty()
        }
    };
    if let Some(old) = garbage {
        let in_thread = cx.state.config.flag(id::LAZYFREE_LAZY_SERVER_DEL);
        cx.keys.dispose(Garbage::Object(Box::new(old.into_object())), in_thread);
    }
    cx.keys.modified(notify::SET, "spop", key);
    remove_if(cx, key, empty);
    Ok(())
}

/// How many times those that stay those that go must be, for these to be taken out one by one.
const STAY_BY_GO: usize = 5;

/// Takes `count` members, fewer than there are, out of a set and answers with them. Where few are to stay, these are put
/// into a new set, as in Redis, which may so be of a smaller form; the old one is returned, to be dropped.
fn pop_some(
    out: &mut Output,
    set: &mut Set,
    count: usize,
    rng: &mut fastrand::Rng,
    limits: SetLimits,
) -> Option<Set> {
    out.set(count);
    let stay = set.len() - count;
    if stay.saturating_mul(STAY_BY_GO) > count {
        set.pop_many(count, rng, |member| out.bulk(member));
        return None;
    }
    let mut kept: Option<Set> = None;
    set.sample(stay, rng, |member| {
        let first = member.as_bytes(&mut itoa::Buffer::new()).to_vec();
        kept.get_or_insert_with(|| Set::for_members(&first, 1, limits)).add(member, limits);
    });
    let kept = kept.unwrap_or_default();
    set.iter().filter(|&member| !kept.contains(member)).for_each(|member| reply::element(out, member));
    Some(std::mem::replace(set, kept))
}
