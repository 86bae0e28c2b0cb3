//! Sorted sets by rank, by score and by name: reading, counting, copying and removing ranges.
//!
//! Every range becomes a range of ranks first; what is done with it is then one line.

use super::error::{self, CmdError};
use super::parse::{self, is, operand};
use super::sorted_set::{limits, members_gone, open_members, reply_member, store};
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::store::types::zset::{AddOptions, Iter, LexRange, ScoreRange, ZSet};
use shoal_protocol::resp::Args;
use std::ops::Range;

const READ: Flags = flag::READONLY;
const COUNT: Flags = flags([flag::READONLY, flag::FAST]);
const REMOVE: Flags = flag::WRITE;

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::SortedSet, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("zcount", 4, zcount).flags(COUNT).keys(spec::READ).doc(
        "2.0.0",
        "key min max",
        "Returns the count of members in a sorted set that have scores within a range.",
    ),
    row("zlexcount", 4, zlexcount).flags(COUNT).keys(spec::READ).doc(
        "2.8.9",
        "key min max",
        "Returns the number of members in a sorted set within a lexicographical range.",
    ),
    row("zrange", -4, zrange).flags(READ).keys(spec::READ).doc(
        "1.2.0",
        "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        "Returns members in a sorted set within a range of indexes.",
    ),
    row("zrangebylex", -4, zrangebylex).flags(READ).keys(spec::READ).doc(
        "2.8.9",
        "key min max [LIMIT offset count]",
        "Returns members in a sorted set within a lexicographical range.",
    ),
    row("zrangebyscore", -4, zrangebyscore).flags(READ).keys(spec::READ).doc(
        "1.0.5",
        "key min max [WITHSCORES] [LIMIT offset count]",
        "Returns members in a sorted set within a range of scores.",
    ),
    row("zrangestore", -5, zrangestore)
        .flags(flags([flag::WRITE, flag::DENYOOM]))
        .keys(spec::STORE_ONE)
        .doc(
            "6.2.0",
            "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            "Stores a range of members from sorted set in a key.",
        ),
    row("zremrangebylex", 4, zremrangebylex).flags(REMOVE).keys(spec::DELETE).doc(
        "2.8.9",
        "key min max",
        "Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all members were removed.",
    ),
    row("zremrangebyrank", 4, zremrangebyrank).flags(REMOVE).keys(spec::DELETE).doc(
        "2.0.0",
        "key start stop",
        "Removes members in a sorted set within a range of indexes. Deletes the sorted set if all members were removed.",
    ),
    row("zremrangebyscore", 4, zremrangebyscore).flags(REMOVE).keys(spec::DELETE).doc(
        "1.2.0",
        "key min max",
        "Removes members in a sorted set within a range of scores. Deletes the sorted set if all members were removed.",
    ),
    row("zrevrange", -4, zrevrange).flags(READ).keys(spec::READ).doc(
        "1.2.0",
        "key start stop [WITHSCORES]",
        "Returns members in a sorted set within a range of indexes in reverse order.",
    ),
    row("zrevrangebylex", -4, zrevrangebylex).flags(READ).keys(spec::READ).doc(
        "2.8.9",
        "key max min [LIMIT offset count]",
        "Returns members in a sorted set within a lexicographical range in reverse order.",
    ),
    row("zrevrangebyscore", -4, zrevrangebyscore).flags(READ).keys(spec::READ).doc(
        "2.2.0",
        "key max min [WITHSCORES] [LIMIT offset count]",
        "Returns members in a sorted set within a range of scores in reverse order.",
    ),
];

/// What the two bounds of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The two bounds of a range.
enum Bounds<'a> {
    Rank { start: i64, stop: i64 },
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, CmdError> {
        match by {
            By::Rank => Ok(Bounds::Rank { start: parse::int(min)?, stop: parse::int(max)? }),
            By::Score => ScoreRange::parse(min, max)
                .map(Bounds::Score)
                .ok_or(CmdError::new("ERR min or max is not a float")),
            By::Lex => LexRange::parse(min, max)
                .map(Bounds::Lex)
                .ok_or(CmdError::new("ERR min or max not valid string range item")),
        }
    }

    /// The ranks within; indexes count from the other end if this is the range of the `reverse` order.
    fn ranks(&self, zset: &ZSet, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Rank { start, stop } => zset.index_ranks(*start, *stop, reverse),
            Bounds::Score(range) => zset.score_ranks(range),
            Bounds::Lex(range) => zset.lex_ranks(range),
        }
    }
}

/// What a command's name leaves open for its arguments to say.
struct Shape {
    /// What the bounds are, unless words may say so.
    by: Option<By>,
    /// The direction, unless a word may say so.
    reverse: Option<bool>,
    /// Where the source stands; the bounds follow.
    source: usize,
    /// Whether WITHSCORES is understood.
    scores: bool,
}

/// A range as a request describes it.
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    /// How many members to leave out at the beginning; below 0, all.
    offset: i64,
    /// How many to take then; below 0, all.
    count: i64,
}

impl<'a> Query<'a> {
    fn parse(args: Args<'a>, shape: Shape) -> Result<Self, CmdError> {
        let Shape { mut by, mut reverse, source, scores } = shape;
        let (mut with_scores, mut offset, mut count) = (false, 0, -1);
        let mut at = source + 3;
        while at < args.len() {
            let word = &args[at];
            if scores && is(word, "withscores") {
                with_scores = true;
            } else if is(word, "limit") && at + 2 < args.len() {
                offset = parse::int(operand(&args, &mut at)?)?;
                count = parse::int(operand(&args, &mut at)?)?;
            } else if reverse.is_none() && is(word, "rev") {
                reverse = Some(true);
            } else if by.is_none() && is(word, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && is(word, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(CmdError::new(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CmdError::new(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // Reversed, the greater bound comes first.
        let (min, max) = if reverse && by != By::Rank { (2, 1) } else { (1, 2) };
        let bound = |at: usize| args.get(source + at).ok_or(error::SYNTAX);
        let bounds = Bounds::parse(by, bound(min)?, bound(max)?)?;
        Ok(Query { bounds, reverse, with_scores, offset, count })
    }

    /// The members asked for, in the direction asked for.
    fn select<'z>(&self, zset: &'z ZSet) -> Iter<'z> {
        let ranks = self.bounds.ranks(zset, self.reverse);
        let ranks = match self.bounds {
            Bounds::Rank { .. } => ranks,
            _ => window(ranks, self.reverse, self.offset, self.count),
        };
        zset.iter_ranks(ranks, self.reverse)
    }
}

/// The part of `ranks` that LIMIT leaves.
fn window(ranks: Range<usize>, reverse: bool, offset: i64, count: i64) -> Range<usize> {
    let len = ranks.len();
    let skip = usize::try_from(offset).unwrap_or(len).min(len);
    let take = usize::try_from(count).unwrap_or(len).min(len - skip);
    if reverse {
        let end = ranks.end - skip;
        end - take..end
    } else {
        let start = ranks.start + skip;
        start..start + take
    }
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
fn zrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, None, None)
}

/// ZREVRANGE key start stop [WITHSCORES]
fn zrevrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, Some(By::Rank), Some(true))
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
fn zrangebyscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, Some(By::Score), Some(false))
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
fn zrevrangebyscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, Some(By::Score), Some(true))
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
fn zrangebylex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, Some(By::Lex), Some(false))
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
fn zrevrangebylex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    range(cx, args, Some(By::Lex), Some(true))
}

fn range(cx: &mut Cx, args: Args, by: Option<By>, reverse: Option<bool>) -> Result<(), CmdError> {
    let query = Query::parse(args, Shape { by, reverse, source: 1, scores: true })?;
    let Some(zset) = cx.keys.read_as::<ZSet>(&args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    let members = query.select(zset);
    open_members(cx.out, members.len(), query.with_scores);
    for (member, score) in members {
        reply_member(cx.out, member, score, query.with_scores);
    }
    Ok(())
}

/// ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
fn zrangestore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let query = Query::parse(args, Shape { by: None, reverse: None, source: 2, scores: false })?;
    let limits = limits(cx.state);
    let mut result = ZSet::new();
    if let Some(zset) = cx.keys.read_as::<ZSet>(&args[2])? {
        let members = query.select(zset);
        result.expect_members(members.len(), 0, limits);
        let mut buffer = itoa::Buffer::new();
        for (member, score) in members {
            result.add(member.as_bytes(&mut buffer), score, AddOptions::default(), limits);
        }
    }
    store(cx, &args[1], result, "zrangestore");
    Ok(())
}

/// ZCOUNT key min max
fn zcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    count(cx, args, By::Score)
}

/// ZLEXCOUNT key min max
fn zlexcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    count(cx, args, By::Lex)
}

fn count(cx: &mut Cx, args: Args, by: By) -> Result<(), CmdError> {
    let bounds = Bounds::parse(by, &args[2], &args[3])?;
    let zset = cx.keys.read_as::<ZSet>(&args[1])?;
    let count = zset.map_or(0, |zset| bounds.ranks(zset, false).len());
    cx.out.int(count as i64);
    Ok(())
}

/// ZREMRANGEBYRANK key start stop
fn zremrangebyrank(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    remove(cx, args, By::Rank)
}

/// ZREMRANGEBYSCORE key min max
fn zremrangebyscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    remove(cx, args, By::Score)
}

/// ZREMRANGEBYLEX key min max
fn zremrangebylex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    remove(cx, args, By::Lex)
}

fn remove(cx: &mut Cx, args: Args, by: By) -> Result<(), CmdError> {
    let bounds = Bounds::parse(by, &args[2], &args[3])?;
    let mut removed = 0;
    if let Some(zset) = cx.keys.update_as::<ZSet>(&args[1])? {
        removed = zset.remove_ranks(bounds.ranks(zset, false));
        let is_empty = zset.is_empty();
        if removed > 0 {
            members_gone(cx, &args[1], cx.command.name, is_empty);
        }
    }
    cx.out.int(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::window;

    #[test]
    fn limits_count_from_where_the_direction_begins() {
        for (reverse, offset, count, expected) in [
            (false, 0, -1, 10..20),
            (false, 3, 4, 13..17),
            (true, 3, 4, 13..17),
            (true, 0, 4, 16..20),
            (true, 7, 100, 10..13),
            (false, 7, i64::MAX, 17..20),
            (false, i64::MAX, i64::MAX, 20..20),
            (true, 10, 1, 10..10),
            (false, -1, 5, 20..20),
            (true, -1, -1, 10..10),
            (false, 0, 0, 10..10),
        ] {
            assert_eq!(window(10..20, reverse, offset, count), expected, "{reverse} {offset} {count}");
        }
    }
}
