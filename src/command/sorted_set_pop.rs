//! Taking the first or last members of a sorted set, waiting for one if need be.

use super::blocking::{self, Nothing, Timeout};
use super::error::{self, CmdError};
use super::parse::{self, is};
use super::sorted_set::members_gone;
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::store::types::zset::ZSet;
use shoal_protocol::resp::{Args, Output};

const POP: Flags = flags([flag::WRITE, flag::FAST]);
const WAIT: Flags = flags([flag::WRITE, flag::BLOCKING, flag::FAST]);

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::SortedSet, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("bzmpop", -5, bzmpop)
        .flags(flags([flag::WRITE, flag::BLOCKING]))
        .keys(spec::ACCESS_DELETE_COUNTED_SECOND)
        .doc(
            "7.0.0",
            "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
            "Removes and returns a member by score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
        ),
    row("bzpopmax", -3, bzpopmax).flags(WAIT).keys(spec::ACCESS_DELETE_BUT_LAST).doc(
        "5.0.0",
        "key [key ...] timeout",
        "Removes and returns the member with the highest score from one or more sorted sets. Blocks until a member available otherwise. Deletes the sorted set if the last element was popped.",
    ),
    row("bzpopmin", -3, bzpopmin).flags(WAIT).keys(spec::ACCESS_DELETE_BUT_LAST).doc(
        "5.0.0",
        "key [key ...] timeout",
        "Removes and returns the member with the lowest score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
    ),
    row("zmpop", -4, zmpop).flags(flag::WRITE).keys(spec::ACCESS_DELETE_COUNTED).doc(
        "7.0.0",
        "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them. Deletes the sorted set if the last member was popped.",
    ),
    row("zpopmax", -2, zpopmax).flags(POP).keys(spec::ACCESS_DELETE).doc(
        "5.0.0",
        "key [count]",
        "Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
    ),
    row("zpopmin", -2, zpopmin).flags(POP).keys(spec::ACCESS_DELETE).doc(
        "5.0.0",
        "key [count]",
        "Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
    ),
];

/// How what was taken is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Member and score.
    One,
    /// Members and scores, paired where the protocol can.
    Pairs,
    /// Key, member and score.
    KeyAndOne,
    /// The key, and an array of pairs.
    KeyAndPairs,
}

impl Shape {
    fn open(self, out: &mut Output, key: &[u8], len: usize) {
        match self {
            Shape::One => out.array(2),
            Shape::Pairs => out.pairs(len),
            Shape::KeyAndOne => {
                out.array(3);
                out.bulk(key);
            }
            Shape::KeyAndPairs => {
                out.array(2);
                out.bulk(key);
                out.array(len);
            }
        }
    }

    fn member(self, out: &mut Output, member: &[u8], score: f64) {
        match self {
            Shape::Pairs => out.pair(),
            Shape::KeyAndPairs => out.array(2),
            Shape::One | Shape::KeyAndOne => {}
        }
        out.bulk(member);
        out.double(score);
    }
}

/// What to take and how to answer.
#[derive(Clone, Copy)]
struct Pop {
    highest: bool,
    count: usize,
    shape: Shape,
}

/// Takes members from the set of `key` and answers; false if there is none.
fn pop(cx: &mut Cx, key: &[u8], pop: Pop) -> Result<bool, CmdError> {
    let found = blocking::one_of_several::<ZSet>(cx.keys, cx.client.waiting, key)?;
    let Some(zset) = found else { return Ok(false) };
    let Pop { highest, count, shape } = pop;
    let out = &mut *cx.out;
    shape.open(out, key, count.min(zset.len()));
    zset.pop(highest, count, |member, score| shape.member(out, member, score));
    let is_empty = zset.is_empty();
    members_gone(cx, key, if highest { "zpopmax" } else { "zpopmin" }, is_empty);
    Ok(true)
}

/// ZPOPMIN key [count]
fn zpopmin(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop_one_key(cx, args, false)
}

/// ZPOPMAX key [count]
fn zpopmax(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop_one_key(cx, args, true)
}

fn pop_one_key(cx: &mut Cx, args: Args, highest: bool) -> Result<(), CmdError> {
    let (count, shape) = match args.get(2) {
        _ if args.len() > 3 => return Err(error::SYNTAX),
        Some(count) => (parse::positive(count)?, Shape::Pairs),
        None => (1, Shape::One),
    };
    let found = if count == 0 {
        cx.keys.update_as::<ZSet>(&args[1])?;
        false
    } else {
        pop(cx, &args[1], Pop { highest, count, shape })?
    };
    if !found {
        cx.out.array(0);
    }
    Ok(())
}

/// ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]
fn zmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (keys, wanted) = parse_many(args, 1)?;
    for key in keys {
        if pop(cx, key, wanted)? {
            return Ok(());
        }
    }
    cx.out.null_array();
    Ok(())
}

/// BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]
fn bzmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (keys, wanted) = parse_many(args, 2)?;
    let timeout = blocking::timeout(args, 1)?;
    pop_or_wait(cx, args, keys, wanted, timeout)
}

/// BZPOPMIN key [key ...] timeout
fn bzpopmin(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop_one_or_wait(cx, args, false)
}

/// BZPOPMAX key [key ...] timeout
fn bzpopmax(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop_one_or_wait(cx, args, true)
}

fn pop_one_or_wait(cx: &mut Cx, args: Args, highest: bool) -> Result<(), CmdError> {
    let last = args.len() - 1;
    let timeout = blocking::timeout(args, last)?;
    let wanted = Pop { highest, count: 1, shape: Shape::KeyAndOne };
    pop_or_wait(cx, args, args.first(last).from(1), wanted, timeout)
}

fn pop_or_wait(cx: &mut Cx, args: Args, keys: Args, wanted: Pop, timeout: Timeout) -> Result<(), CmdError> {
    for key in keys {
        if pop(cx, key, wanted)? {
            return Ok(());
        }
    }
    blocking::wait(cx, args, keys, timeout, Nothing::Array);
    Ok(())
}

/// Reads `numkeys key [key ...] <MIN | MAX> [COUNT count]` from argument `at` on.
fn parse_many(args: Args, at: usize) -> Result<(Args, Pop), CmdError> {
    let count = parse::at_least(1, &args[at], error::BAD_NUMKEYS)?;
    let rest = args.from(at + 1);
    let highest = match rest.get(count) {
        Some(word) if is(word, "min") => false,
        Some(word) if is(word, "max") => true,
        _ => return Err(error::SYNTAX),
    };
    let taken = match (rest.len() - count - 1, rest.get(count + 1)) {
        (0, _) => 1,
        (2.., Some(word)) if is(word, "count") => {
            let taken = parse::at_least(1, &rest[count + 2], error::BAD_COUNT)?;
            // A second COUNT is as wrong as any other word, but comes after the first.
            if rest.len() > count + 3 {
                return Err(error::SYNTAX);
            }
            taken
        }
        _ => return Err(error::SYNTAX),
    };
    Ok((rest.first(count), Pop { highest, count: taken, shape: Shape::KeyAndPairs }))
}
