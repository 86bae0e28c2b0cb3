//! Sorted sets, member by member: adding, scoring, ranking, removing, drawing, walking.
//!
//! Ranges are in `sorted_set_range.rs`, unions and the like in `sorted_set_combine.rs`, pops in `sorted_set_pop.rs`. What
//! they share is here.

use super::error::{self, CmdError};
use super::parse::{self, is};
use super::{Command, Cx, Flags, Group, command, flag, flags, reply, scan, spec};
use crate::config::{id, notify};
use crate::state::State;
use crate::store::types::pack::Element;
use crate::store::types::zset::{AddOptions, Added, Direction, Touch, ZSet, ZSetLimits};
use crate::store::value::Stored;
use crate::text::number::{format_f64, format_g17};
use shoal_protocol::resp::{Args, Output};
use smallvec::SmallVec;

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const SLOW_READ: Flags = flag::READONLY;
const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::SortedSet, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("zadd", -4, zadd).flags(WRITE).keys(spec::UPDATE).doc(
        "1.2.0",
        "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        "Adds one or more members to a sorted set, or updates their scores. Creates the key if it doesn't exist.",
    ),
    row("zcard", 2, zcard).flags(READ).keys(spec::READ_META).doc(
        "1.2.0",
        "key",
        "Returns the number of members in a sorted set.",
    ),
    row("zincrby", 4, zincrby).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "1.2.0",
        "key increment member",
        "Increments the score of a member in a sorted set.",
    ),
    row("zmscore", -3, zmscore).flags(READ).keys(spec::READ).doc(
        "6.2.0",
        "key member [member ...]",
        "Returns the score of one or more members in a sorted set.",
    ),
    row("zrandmember", -2, zrandmember)
        .flags(SLOW_READ)
        .keys(spec::READ)
        .tips(&["nondeterministic_output"])
        .doc(
            "6.2.0",
            "key [count [WITHSCORES]]",
            "Returns one or more random members from a sorted set.",
        ),
    row("zrank", -3, zrank).flags(READ).keys(spec::READ).doc(
        "2.0.0",
        "key member [WITHSCORE]",
        "Returns the index of a member in a sorted set ordered by ascending scores.",
    ),
    row("zrem", -3, zrem).flags(flags([flag::WRITE, flag::FAST])).keys(spec::DELETE).doc(
        "1.2.0",
        "key member [member ...]",
        "Removes one or more members from a sorted set. Deletes the sorted set if all members were removed.",
    ),
    row("zrevrank", -3, zrevrank).flags(READ).keys(spec::READ).doc(
        "2.0.0",
        "key member [WITHSCORE]",
        "Returns the index of a member in a sorted set ordered by descending scores.",
    ),
    row("zscan", -3, zscan).flags(SLOW_READ).keys(spec::READ).tips(&["nondeterministic_output"]).doc(
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count] [NOSCORES]",
        "Iterates over members and scores of a sorted set.",
    ),
    row("zscore", 3, zscore).flags(READ).keys(spec::READ).doc(
        "1.2.0",
        "key member",
        "Returns the score of a member in a sorted set.",
    ),
];

/// The settings on how large a sorted set may get as a pack.
#[inline]
pub fn limits(state: &State) -> ZSetLimits {
    ZSetLimits {
        max_listpack_entries: state.config.size(id::ZSET_MAX_LISTPACK_ENTRIES),
        max_listpack_value: state.config.size(id::ZSET_MAX_LISTPACK_VALUE),
    }
}

/// Members with the scores they are to get, in the order of the request.
pub type Scored<'a> = SmallVec<[(f64, &'a [u8]); 8]>;

/// What ZADD's words before the scores say.
#[derive(Default)]
struct AddWords {
    options: AddOptions,
    /// Whether the reply counts changed members beside new ones (`CH`).
    count_changed: bool,
}

impl AddWords {
    /// Reads the words from argument 2 on, up to the first that is none; returns where that is.
    fn parse(args: Args, increment: bool) -> Result<(AddWords, usize), CmdError> {
        let mut words =
            AddWords { options: AddOptions { increment, ..Default::default() }, ..Default::default() };
        let (mut absent, mut present, mut up, mut down) = (false, false, false, false);
        let mut at = 2;
        while let Some(word) = args.get(at) {
            // Numbers begin otherwise, which spares most requests the comparisons.
            match word.first() {
                Some(b'0'..=b'9' | b'-' | b'+' | b'.') | None => break,
                _ if is(word, "nx") => absent = true,
                _ if is(word, "xx") => present = true,
                _ if is(word, "ch") => words.count_changed = true,
                _ if is(word, "incr") => words.options.increment = true,
                _ if is(word, "gt") => up = true,
                _ if is(word, "lt") => down = true,
                _ => break,
            }
            at += 1;
        }
        let left = args.len() - at;
        if left == 0 || !left.is_multiple_of(2) {
            return Err(error::SYNTAX);
        }
        if absent && present {
            return Err(CmdError::new("ERR XX and NX options at the same time are not compatible"));
        }
        if (absent && (up || down)) || (up && down) {
            return Err(CmdError::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if words.options.increment && left > 2 {
            return Err(CmdError::new("ERR INCR option supports a single increment-element pair"));
        }
        words.options.touch = match (absent, present) {
            (true, _) => Touch::Absent,
            (_, true) => Touch::Present,
            _ => Touch::Any,
        };
        words.options.direction = match (up, down) {
            (true, _) => Direction::Up,
            (_, true) => Direction::Down,
            _ => Direction::Any,
        };
        Ok((words, at))
    }
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
fn zadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add_words(cx, args, false)
}

/// ZINCRBY key increment member
fn zincrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add_words(cx, args, true)
}

fn add_words(cx: &mut Cx, args: Args, increment: bool) -> Result<(), CmdError> {
    let (words, at) = AddWords::parse(args, increment)?;
    // All scores are read before anything is changed.
    let mut pairs = Scored::new();
    let mut rest = args.from(at).iter();
    while let (Some(score), Some(member)) = (rest.next(), rest.next()) {
        pairs.push((parse::float(score)?, member));
    }
    add(cx, &args[1], &pairs, words.options, words.count_changed)
}

/// Gives members their scores, answers and reports as ZADD does.
pub fn add(
    cx: &mut Cx,
    key: &[u8],
    pairs: &[(f64, &[u8])],
    options: AddOptions,
    count_changed: bool,
) -> Result<(), CmdError> {
    let limits = limits(cx.state);
    let (mut new, mut changed, mut score) = (0, 0, None);
    let mut add_all = |zset: &mut ZSet| {
        for &(value, member) in pairs {
            let added = zset.add(member, value, options, limits);
            score = added.score();
            match added {
                Added::New(_) => new += 1,
                Added::Changed(_) => changed += 1,
                Added::Same(_) | Added::Refused => {}
                Added::NotANumber => return Err(CmdError::new("ERR resulting score is not a number (NaN)")),
            }
        }
        Ok(())
    };
    match cx.keys.update_as::<ZSet>(key)? {
        Some(zset) => add_all(zset)?,
        None if options.touch == Touch::Present => {}
        // The rule, in one piece; nothing that the options forbid can happen to different members of a new set.
        None if pairs.len() > 1
            && let Some(zset) = ZSet::small_of(pairs, limits) =>
        {
            (new, score) = (pairs.len() as i64, pairs.last().map(|(score, _)| *score));
            cx.keys.put_object(key, zset.into_object(), None);
        }
        None => {
            let longest = pairs.iter().map(|(_, member)| member.len()).max().unwrap_or(0);
            let mut zset = ZSet::new();
            zset.expect_members(pairs.len(), longest, limits);
            add_all(&mut zset)?;
            cx.keys.put_object(key, zset.into_object(), None);
        }
    }
    if new + changed > 0 {
        let event = if options.increment { "zincr" } else { "zadd" };
        cx.keys.modified(notify::SORTED_SET, event, key);
    }
    match score {
        _ if !options.increment => cx.out.int(if count_changed { new + changed } else { new }),
        Some(score) => cx.out.double(score),
        None => cx.out.null(),
    }
    Ok(())
}

/// Reports that members were taken from `key`, which goes if it `is_empty`.
pub fn members_gone(cx: &mut Cx, key: &[u8], event: &'static str, is_empty: bool) {
    cx.keys.modified(notify::SORTED_SET, event, key);
    if is_empty {
        cx.keys.remove_emptied(key);
    }
}

/// Gives `key` a computed sorted set in place of whatever it held, or nothing if that is empty; answers with its length.
pub fn store(cx: &mut Cx, key: &[u8], zset: ZSet, event: &'static str) {
    cx.out.int(zset.len() as i64);
    if !zset.is_empty() {
        cx.keys.put_object(key, zset.into_object(), None);
        cx.keys.modified(notify::SORTED_SET, event, key);
    } else if cx.keys.remove(key) {
        cx.keys.modified(notify::GENERIC, "del", key);
    }
}

/// Opens an answer of `len` members.
pub fn open_members(out: &mut Output, len: usize, with_scores: bool) {
    if with_scores { out.pairs(len) } else { out.array(len) }
}

/// One member of an answer opened by [`open_members`].
#[inline]
pub fn reply_member(out: &mut Output, member: Element<'_>, score: f64, with_scores: bool) {
    if with_scores {
        out.pair();
    }
    reply::element(out, member);
    if with_scores {
        out.double(score);
    }
}

/// ZREM key member [member ...]
fn zrem(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let Some(zset) = cx.keys.update_as::<ZSet>(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let removed = args.from(2).iter().filter(|member| zset.remove(member).is_some()).count();
    let is_empty = zset.is_empty();
    if removed > 0 {
        members_gone(cx, key, "zrem", is_empty);
    }
    cx.out.int(removed as i64);
    Ok(())
}

/// ZCARD key
fn zcard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.read_as::<ZSet>(&args[1])?.map_or(0, ZSet::len);
    cx.out.int(len as i64);
    Ok(())
}

/// ZSCORE key member
fn zscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let zset = cx.keys.read_as::<ZSet>(&args[1])?;
    reply_score(cx.out, zset.and_then(|zset| zset.score(&args[2])));
    Ok(())
}

/// ZMSCORE key member [member ...]
fn zmscore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let zset = cx.keys.read_as::<ZSet>(&args[1])?;
    cx.out.array(args.len() - 2);
    for member in args.from(2) {
        reply_score(cx.out, zset.and_then(|zset| zset.score(member)));
    }
    Ok(())
}

fn reply_score(out: &mut Output, score: Option<f64>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

/// ZRANK key member [WITHSCORE]
fn zrank(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    rank(cx, args, false)
}

/// ZREVRANK key member [WITHSCORE]
fn zrevrank(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    rank(cx, args, true)
}

fn rank(cx: &mut Cx, args: Args, reverse: bool) -> Result<(), CmdError> {
    let with_score = match args.get(3) {
        _ if args.len() > 4 => return Err(error::wrong_arity(cx.command.name)),
        Some(word) if is(word, "withscore") => true,
        Some(_) => return Err(error::SYNTAX),
        None => false,
    };
    let zset = cx.keys.read_as::<ZSet>(&args[1])?;
    match zset.and_then(|zset| zset.rank(&args[2], reverse)) {
        Some((rank, score)) if with_score => {
            cx.out.array(2);
            cx.out.int(rank as i64);
            cx.out.double(score);
        }
        Some((rank, _)) => cx.out.int(rank as i64),
        None if with_score => cx.out.null_array(),
        None => cx.out.null(),
    }
    Ok(())
}

/// ZRANDMEMBER key [count [WITHSCORES]]
fn zrandmember(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut rng = fastrand::Rng::new();
    let Some(count) = args.get(2) else {
        match cx.keys.read_as::<ZSet>(&args[1])?.and_then(|zset| zset.random(&mut rng)) {
            Some((member, _)) => reply::element(cx.out, member),
            None => cx.out.null(),
        }
        return Ok(());
    };
    let count = parse::symmetric(count)?;
    let with_scores = match args.get(3) {
        Some(word) if args.len() == 4 && is(word, "withscores") => true,
        None => false,
        Some(_) => return Err(error::SYNTAX),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(error::VALUE_OUT_OF_RANGE);
    }
    let Some(zset) = cx.keys.read_as::<ZSet>(&args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    let repeat = count < 0;
    let count = if repeat { count.unsigned_abs() as usize } else { zset.len().min(count as usize) };
    let out = &mut *cx.out;
    open_members(out, count, with_scores);
    let write = |member: Element<'_>, score: f64| reply_member(out, member, score, with_scores);
    if repeat {
        zset.random_many(count, &mut rng, write);
    } else {
        zset.sample(count, &mut rng, write);
    }
    Ok(())
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count] [NOSCORES]
fn zscan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let cursor = scan::cursor(&args[2])?;
    let mut reply = scan::Reply::new(cx.out);
    let Some(zset) = cx.keys.read_as::<ZSet>(&args[1])? else {
        reply.send(cx.out, 0);
        return Ok(());
    };
    let mut with_scores = true;
    let options = scan::Options::parse(args, 3, |args, at| {
        let known = is(&args[*at], "noscores");
        with_scores &= !known;
        Ok(known)
    })?;
    // Redis spells the scores of a large set with all digits they have.
    let format = if zset.as_pack().is_some() { format_f64 } else { format_g17 };
    let (mut name, mut text) = (itoa::Buffer::new(), Vec::new());
    let next = zset.scan(cursor, options.count, |member, score| {
        if options.accepts(member.as_bytes(&mut name)) {
            reply.push(member);
            if with_scores {
                text.clear();
                format(score, &mut text);
                reply.push_with(|out| out.bulk(&text));
            }
        }
    });
    reply.send(cx.out, next);
    Ok(())
}
