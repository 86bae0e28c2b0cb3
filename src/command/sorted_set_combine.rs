//! Sorted sets combined: unions, intersections and differences, answered, counted or stored.
//!
//! Sources may be plain sets, whose members all score 1. Redis takes the sources of a union or an intersection in the
//! order of their size, and so do we: floating-point sums depend on it.

use super::error::{self, CmdError};
use super::keys::Keys;
use super::parse::{self, is, operand};
use super::sorted_set::{limits, open_members, reply_member, store};
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::store::entry::ValueRef;
use crate::store::types::pack::Element;
use crate::store::types::set::Set;
use crate::store::types::zset::{AddOptions, ZSet, ZSetLimits};
use crate::store::value::Object;
use shoal_protocol::resp::Args;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

const READ: Flags = flag::READONLY;
const STORE: Flags = flags([flag::WRITE, flag::DENYOOM]);

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::SortedSet, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("zdiff", -3, zdiff).flags(READ).keys(spec::READ_COUNTED).doc(
        "6.2.0",
        "numkeys key [key ...] [WITHSCORES]",
        "Returns the difference between multiple sorted sets.",
    ),
    row("zdiffstore", -4, zdiffstore).flags(STORE).keys(spec::STORE_COUNTED).doc(
        "6.2.0",
        "destination numkeys key [key ...]",
        "Stores the difference of multiple sorted sets in a key.",
    ),
    row("zinter", -3, zinter).flags(READ).keys(spec::READ_COUNTED).doc(
        "6.2.0",
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        "Returns the intersect of multiple sorted sets.",
    ),
    row("zintercard", -3, zintercard).flags(READ).keys(spec::READ_COUNTED).doc(
        "7.0.0",
        "numkeys key [key ...] [LIMIT limit]",
        "Returns the number of members of the intersect of multiple sorted sets.",
    ),
    row("zinterstore", -4, zinterstore).flags(STORE).keys(spec::STORE_COUNTED).doc(
        "2.0.0",
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        "Stores the intersect of multiple sorted sets in a key.",
    ),
    row("zunion", -3, zunion).flags(READ).keys(spec::READ_COUNTED).doc(
        "6.2.0",
        "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        "Returns the union of multiple sorted sets.",
    ),
    row("zunionstore", -4, zunionstore).flags(STORE).keys(spec::STORE_COUNTED).doc(
        "2.0.0",
        "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        "Stores the union of multiple sorted sets in a key.",
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of a member of several sources become one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

/// Infinities may cancel out, or be multiplied by 0: by convention that makes 0.
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// Where members and scores come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Nothing,
    Set(&'a Set),
    ZSet(&'a ZSet),
}

impl<'a> Source<'a> {
    fn len(self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::Set(set) => set.len(),
            Source::ZSet(zset) => zset.len(),
        }
    }

    fn score(self, member: Element<'_>) -> Option<f64> {
        match self {
            Source::Nothing => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::ZSet(zset) => zset.score(member.as_bytes(&mut itoa::Buffer::new())),
        }
    }

    fn iter(self) -> impl Iterator<Item = (Element<'a>, f64)> {
        let (set, zset) = match self {
            Source::Nothing => (None, None),
            Source::Set(set) => (Some(set), None),
            Source::ZSet(zset) => (None, Some(zset)),
        };
        let plain = set.into_iter().flat_map(Set::iter).map(|member| (member, 1.0));
        plain.chain(zset.into_iter().flat_map(ZSet::iter))
    }
}

/// The sources of a request, in its order.
///
/// They are looked up once to be counted as read, and once more to be held side by side.
fn sources<'k>(keys: &'k mut Keys, names: Args) -> Result<Vec<Source<'k>>, CmdError> {
    for key in names {
        if let Some(entry) = keys.read(key)
            && !matches!(entry.value(), ValueRef::Object(Object::Set(_) | Object::ZSet(_)))
        {
            return Err(error::WRONG_TYPE);
        }
    }
    let keys = &*keys;
    let source = |key| match keys.peek(key).map(|entry| entry.value()) {
        Some(ValueRef::Object(Object::Set(set))) => Source::Set(set),
        Some(ValueRef::Object(Object::ZSet(zset))) => Source::ZSet(zset),
        _ => Source::Nothing,
    };
    Ok(names.iter().map(source).collect())
}

/// What may follow the keys.
struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// ZINTERCARD's; 0 is none.
    limit: usize,
}

/// What a command's name says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Answer,
    Store,
    Count,
}

impl Options {
    /// Reads the options from argument `at` on, for so many `keys`.
    fn parse(
        args: Args,
        mut at: usize,
        keys: usize,
        operation: Operation,
        kind: Kind,
    ) -> Result<Self, CmdError> {
        let mut options =
            Options { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let scored = operation != Operation::Difference && kind != Kind::Count;
        while at < args.len() {
            let word = &args[at];
            if scored && is(word, "weights") && args.len() - at > keys {
                for weight in &mut options.weights {
                    let text = operand(&args, &mut at)?;
                    *weight =
                        parse::float(text).map_err(|_| CmdError::new("ERR weight value is not a float"))?;
                }
            } else if scored && is(word, "aggregate") {
                options.aggregate = match operand(&args, &mut at)? {
                    word if is(word, "sum") => Aggregate::Sum,
                    word if is(word, "min") => Aggregate::Min,
                    word if is(word, "max") => Aggregate::Max,
                    _ => return Err(error::SYNTAX),
                };
            } else if kind == Kind::Answer && is(word, "withscores") {
                options.with_scores = true;
            } else if kind == Kind::Count && is(word, "limit") {
                let limit = operand(&args, &mut at)?;
                options.limit = parse::at_least(0, limit, CmdError::new("ERR LIMIT can't be negative"))?;
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]
fn zunion(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Operation::Union, Kind::Answer)
}

/// ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]
fn zinter(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Operation::Intersection, Kind::Answer)
}

/// ZDIFF numkeys key [key ...] [WITHSCORES]
fn zdiff(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Operation::Difference, Kind::Answer)
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
fn zunionstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Operation::Union, Kind::Store)
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]
fn zinterstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Operation::Intersection, Kind::Store)
}

/// ZDIFFSTORE destination numkeys key [key ...]
fn zdiffstore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Operation::Difference, Kind::Store)
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
fn zintercard(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, Operation::Intersection, Kind::Count)
}

fn run(cx: &mut Cx, args: Args, operation: Operation, kind: Kind) -> Result<(), CmdError> {
    let count_at = if kind == Kind::Store { 2 } else { 1 };
    let first = count_at + 1;
    let count = match parse::int(&args[count_at])? {
        ..=0 => {
            let command = cx.command.name;
            return Err(CmdError::with(format!(
                "ERR at least 1 input key is needed for '{command}' command"
            )));
        }
        count => usize::try_from(count).ok().filter(|count| *count <= args.len() - first),
    };
    let count = count.ok_or(error::SYNTAX)?;
    // Redis looks at the types of the sources before the options.
    let mut sources = sources(cx.keys, args.from(first).first(count))?;
    let options = Options::parse(args, first + count, count, operation, kind)?;
    let mut weights = options.weights;
    if operation != Operation::Difference {
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|&at| sources[at].len());
        sources = order.iter().map(|&at| sources[at]).collect();
        weights = order.iter().map(|&at| weights[at]).collect();
    }
    if kind == Kind::Count {
        cx.out.int(count_common(&sources, options.limit) as i64);
        return Ok(());
    }
    let mut members = match operation {
        Operation::Union => union(&sources, &weights, options.aggregate),
        Operation::Intersection => intersection(&sources, &weights, options.aggregate),
        Operation::Difference => difference(&sources),
    };
    members.sort_unstable_by(|a, b| {
        let by_score = a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal);
        by_score.then_with(|| a.0.cmp_text(b.0))
    });
    if kind == Kind::Store {
        let result = build(&members, limits(cx.state));
        let event = match operation {
            Operation::Union => "zunionstore",
            Operation::Intersection => "zinterstore",
            Operation::Difference => "zdiffstore",
        };
        store(cx, &args[1], result, event);
    } else {
        open_members(cx.out, members.len(), options.with_scores);
        for (member, score) in members {
            reply_member(cx.out, member, score, options.with_scores);
        }
    }
    Ok(())
}

type Members<'a> = Vec<(Element<'a>, f64)>;

/// A sorted set of `members`, which are in its order.
fn build(members: &[(Element<'_>, f64)], limits: ZSetLimits) -> ZSet {
    let mut zset = ZSet::new();
    let longest = members.iter().map(|(member, _)| member.text_len()).max().unwrap_or(0);
    zset.expect_members(members.len(), longest, limits);
    let mut buffer = itoa::Buffer::new();
    for (member, score) in members {
        zset.add(member.as_bytes(&mut buffer), *score, AddOptions::default(), limits);
    }
    zset
}

fn union<'a>(sources: &[Source<'a>], weights: &[f64], aggregate: Aggregate) -> Members<'a> {
    let most = sources.last().map_or(0, |source| source.len());
    let mut scores: HashMap<Element<'a>, f64, ahash::RandomState> = HashMap::default();
    scores.reserve(most);
    for (source, weight) in sources.iter().zip(weights) {
        for (member, score) in source.iter() {
            let score = number_or_zero(score * weight);
            let joined = scores.entry(member);
            joined.and_modify(|before| *before = aggregate.join(*before, score)).or_insert(score);
        }
    }
    scores.into_iter().collect()
}

fn intersection<'a>(sources: &[Source<'a>], weights: &[f64], aggregate: Aggregate) -> Members<'a> {
    let (Some((smallest, others)), Some((first, weights))) = (sources.split_first(), weights.split_first())
    else {
        return Vec::new();
    };
    let joined = |(member, score): (Element<'a>, f64)| {
        let mut sum = number_or_zero(score * first);
        for (source, weight) in others.iter().zip(weights) {
            sum = aggregate.join(sum, source.score(member)? * weight);
        }
        Some((member, sum))
    };
    smallest.iter().filter_map(joined).collect()
}

/// How many members all have in common, counted up to `limit` unless that is 0.
fn count_common(sources: &[Source<'_>], limit: usize) -> usize {
    let Some((smallest, others)) = sources.split_first() else { return 0 };
    let limit = if limit == 0 { usize::MAX } else { limit };
    let common =
        smallest.iter().filter(|(member, _)| others.iter().all(|other| other.score(*member).is_some()));
    common.take(limit).count()
}

fn difference<'a>(sources: &[Source<'a>]) -> Members<'a> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    // What is small is walked, what is large looked into.
    let others_len: usize = others.iter().map(|other| other.len()).sum();
    if others_len < first.len() {
        let gone: HashSet<Element<'a>, ahash::RandomState> =
            others.iter().flat_map(|other| other.iter()).map(|(member, _)| member).collect();
        return first.iter().filter(|(member, _)| !gone.contains(member)).collect();
    }
    first.iter().filter(|(member, _)| others.iter().all(|other| other.score(*member).is_none())).collect()
}
