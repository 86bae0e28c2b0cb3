//! Intersections, unions and differences of sets.
//!
//! All sources are checked and counted first, then looked at beside each other. What is stored has the form Redis gives it:
//! a union or difference grows member by member like any set, an intersection is made integers again if that is all it holds.

use super::error::{self, CmdError};
use super::keys::Keys;
use super::parse::{self, is, operand};
use super::set::{limits, reply_all};
use super::{Command, Cx, Group, command, flag, flags, reply, spec};
use crate::config::notify;
use crate::store::types::pack::Element;
use crate::store::types::set::{Set, SetLimits};
use crate::store::value::Stored;
use shoal_protocol::resp::Args;
use smallvec::SmallVec;

const STORE: super::Flags = flags([flag::WRITE, flag::DENYOOM]);

const ORDERLESS: &[&str] = &["nondeterministic_output_order"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("sdiff", -2, Group::Set, sdiff).flags(flag::READONLY).keys(spec::READ_ALL).tips(ORDERLESS).doc(
        "1.0.0",
        "key [key ...]",
        "Returns the difference of multiple sets.",
    ),
    command("sdiffstore", -3, Group::Set, sdiffstore).flags(STORE).keys(spec::STORE_ALL).doc(
        "1.0.0",
        "destination key [key ...]",
        "Stores the difference of multiple sets in a key.",
    ),
    command("sinter", -2, Group::Set, sinter).flags(flag::READONLY).keys(spec::READ_ALL).tips(ORDERLESS).doc(
        "1.0.0",
        "key [key ...]",
        "Returns the intersect of multiple sets.",
    ),
    command("sintercard", -3, Group::Set, sintercard)
        .flags(flags([flag::READONLY, flag::MOVABLE_KEYS]))
        .keys(spec::READ_COUNTED)
        .doc(
            "7.0.0",
            "numkeys key [key ...] [LIMIT limit]",
            "Returns the number of members of the intersect of multiple sets.",
        ),
    command("sinterstore", -3, Group::Set, sinterstore).flags(STORE).keys(spec::UPDATE_STORE_ALL).doc(
        "1.0.0",
        "destination key [key ...]",
        "Stores the intersect of multiple sets in a key.",
    ),
    command("sunion", -2, Group::Set, sunion).flags(flag::READONLY).keys(spec::READ_ALL).tips(ORDERLESS).doc(
        "1.0.0",
        "key [key ...]",
        "Returns the union of multiple sets.",
    ),
    command("sunionstore", -3, Group::Set, sunionstore).flags(STORE).keys(spec::STORE_ALL).doc(
        "1.0.0",
        "destination key [key ...]",
        "Stores the union of multiple sets in a key.",
    ),
];

/// The sets beside each other; nothing for a key that is not there.
type Sources<'a> = SmallVec<[Option<&'a Set>; 4]>;

/// The sets of `names`, each counted as a read; an error if one is no set.
fn sources<'k>(keys: &'k mut Keys<'_>, names: Args) -> Result<Sources<'k>, CmdError> {
    for name in names {
        keys.read_as::<Set>(name)?;
    }
    let keys = &*keys;
    names.iter().map(|name| keys.peek_as(name)).collect()
}

/// Gives `destination` the set a command named `event` has computed, and answers with its size.
fn store(cx: &mut Cx, destination: &[u8], set: Set, event: &'static str) {
    cx.out.int(set.len() as i64);
    if !set.is_empty() {
        cx.keys.put_object(destination, set.into_object(), None);
        cx.keys.modified(notify::SET, event, destination);
    } else if cx.keys.remove(destination) {
        cx.keys.modified(notify::GENERIC, "del", destination);
    }
}

// Intersections.

/// Visits the members that all `sources` have, until `visit` returns false.
fn intersect(sources: Sources<'_>, mut visit: impl FnMut(Element<'_>) -> bool) {
    let Some(mut sets) = sources.into_iter().collect::<Option<SmallVec<[&Set; 4]>>>() else { return };
    // From the smallest on: it has the fewest to look for in the others, and the next misses them soonest.
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        if others.iter().all(|set| set.contains(member)) && !visit(member) {
            return;
        }
    }
}

/// SINTER key [key ...]
fn sinter(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let sources = sources(cx.keys, args.from(1))?;
    let out = &mut *cx.out;
    let (reply, mut len) = (out.deferred_set(), 0);
    intersect(sources, |member| {
        reply::element(out, member);
        len += 1;
        true
    });
    out.set_deferred(reply, len);
    Ok(())
}

/// SINTERSTORE destination key [key ...]
fn sinterstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx.state);
    let mut result = None;
    intersect(sources(cx.keys, args.from(2))?, |member| {
        add(&mut result, member, limits);
        true
    });
    let mut result = result.unwrap_or_default();
    result.compact_ints(limits);
    store(cx, &args[1], result, "sinterstore");
    Ok(())
}

/// Adds a member to a set that is made for its first.
fn add(set: &mut Option<Set>, member: Element<'_>, limits: SetLimits) {
    let make = || Set::for_members(member.as_bytes(&mut itoa::Buffer::new()), 1, limits);
    set.get_or_insert_with(make).add(member, limits);
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
fn sintercard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let number = parse::at_least(1, &args[1], error::BAD_NUMKEYS)?;
    if number > args.len() - 2 {
        return Err(CmdError::new("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut at = 2 + number;
    while at < args.len() {
        if !is(&args[at], "limit") {
            return Err(error::SYNTAX);
        }
        limit = parse::at_least(0, operand(&args, &mut at)?, CmdError::new("ERR LIMIT can't be negative"))?;
        at += 1;
    }
    let mut len = 0;
    intersect(sources(cx.keys, args.from(2).first(number))?, |_| {
        len += 1;
        len != limit
    });
    cx.out.int(len as i64);
    Ok(())
}

// Unions.

fn union(sources: &Sources<'_>, limits: SetLimits) -> Set {
    let mut result = Set::new();
    for member in sources.iter().flatten().flat_map(|set| set.iter()) {
        result.add(member, limits);
    }
    result
}

/// SUNION key [key ...]
fn sunion(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx.state);
    let sources = sources(cx.keys, args.from(1))?;
    match *sources {
        [Some(only)] => reply_all(cx.out, only),
        _ => reply_all(cx.out, &union(&sources, limits)),
    }
    Ok(())
}

/// SUNIONSTORE destination key [key ...]
fn sunionstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx.state);
    let result = union(&sources(cx.keys, args.from(2))?, limits);
    store(cx, &args[1], result, "sunionstore");
    Ok(())
}

// Differences.

/// Visits the members of the first source that no other has.
fn subtract(sources: &Sources<'_>, visit: impl FnMut(Element<'_>)) {
    let Some((first, others)) = sources.split_first() else { return };
    // What has the most members is the most likely to have this one.
    let mut others: SmallVec<[&Set; 4]> = others.iter().flatten().copied().collect();
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    let members = first.iter().flat_map(|set| set.iter());
    members.filter(|&member| !others.iter().any(|set| set.contains(member))).for_each(visit);
}

/// SDIFF key [key ...]
fn sdiff(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let sources = sources(cx.keys, args.from(1))?;
    let out = &mut *cx.out;
    let (reply, mut len) = (out.deferred_set(), 0);
    subtract(&sources, |member| {
        reply::element(out, member);
        len += 1;
    });
    out.set_deferred(reply, len);
    Ok(())
}

/// SDIFFSTORE destination key [key ...]
fn sdiffstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let limits = limits(cx.state);
    let mut result = Set::new();
    subtract(&sources(cx.keys, args.from(2))?, |member| {
        result.add(member, limits);
    });
    store(cx, &args[1], result, "sdiffstore");
    Ok(())
}
