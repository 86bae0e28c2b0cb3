//! A sorted set: members with scores, in the order of (score, member bytes).
//!
//! Small ones are a [`Pack`] of member, score, member, score ... in that order, as Redis keeps and ships
//! them. Past the limits a set becomes a table from member to score and a counted tree in order, both
//! pointing at one copy of the member. `OBJECT ENCODING` calls that "skiplist", and so do we.
//!
//! Commands speak of *ranks*, positions in the order from 0: [`ZSet::score_ranks`] and
//! [`ZSet::lex_ranks`] turn a range into ranks; to count, iterate (skipping an offset at no cost), or remove a
//! range are then the same for all.
//!
//! It knows no command and no reply. Limits are passed in, for they are settings.
//!
//! Invariant: scores are never NaN. In the large form table and tree hold the same members with the same
//! scores, and a tree entry goes before the table's member, whose bytes it refers to.

mod range;
mod tree;

#[cfg(test)]
mod tests;

pub use range::{LexBound, LexRange, ScoreRange};

use super::member::Member;
use super::pack::{Draft, Element, Pack};
use crate::store::hash::hash;
use crate::store::table::Table;
use crate::text::number::{format_f64, parse_f64};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use tree::{Entry, ScoreTree, count_scores};

/// The most bytes that a score takes in a pack.
const SCORE_BYTES: usize = 32;

/// How large a sorted set may get as a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZSetLimits {
    /// `zset-max-listpack-entries`: members.
    pub max_listpack_entries: usize,
    /// `zset-max-listpack-value`: bytes of the longest member.
    pub max_listpack_value: usize,
}

impl Default for ZSetLimits {
    fn default() -> Self {
        ZSetLimits { max_listpack_entries: 128, max_listpack_value: 64 }
    }
}

/// Which members [`ZSet::add`] may touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touch {
    /// Any.
    #[default]
    Any,
    /// Only those not there yet (`NX`).
    Absent,
    /// Only those already there (`XX`).
    Present,
}

/// How the score of a member that is there may change in [`ZSet::add`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Up and down.
    #[default]
    Any,
    /// Up only (`GT`).
    Up,
    /// Down only (`LT`).
    Down,
}

/// The options of [`ZSet::add`]. The default is ZADD without any.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddOptions {
    /// Which members may be touched.
    pub touch: Touch,
    /// Which way scores may go.
    pub direction: Direction,
    /// Whether the score is added to the one there is, if there is one (`INCR`).
    pub increment: bool,
}

/// What [`ZSet::add`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    /// The member is new and has this score.
    New(f64),
    /// The member was there and now has this score.
    Changed(f64),
    /// The member was there with this very score.
    Same(f64),
    /// The options ruled it out.
    Refused,
    /// The resulting score would not be a number; nothing was done.
    NotANumber,
}

impl Added {
    /// The score the member now has, unless nothing was done.
    pub fn score(self) -> Option<f64> {
        match self {
            Added::New(score) | Added::Changed(score) | Added::Same(score) => Some(score),
            Added::Refused | Added::NotANumber => None,
        }
    }
}

/// A sorted set.
pub struct ZSet {
    form: Form,
}

enum Form {
    Small(Pack),
    Large(Box<Large>),
}

struct Large {
    members: Table<Member<f64>>,
    order: ScoreTree,
    /// Sum of what the members allocate.
    member_bytes: usize,
}

impl Default for ZSet {
    fn default() -> Self {
        ZSet::new()
    }
}

impl Clone for ZSet {
    fn clone(&self) -> Self {
        let form = match &self.form {
            Form::Small(pack) => Form::Small(pack.clone()),
            Form::Large(large) => Form::Large(Box::new(large.copy())),
        };
        ZSet { form }
    }
}

impl std::fmt::Debug for ZSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl ZSet {
    /// An empty set.
    pub fn new() -> Self {
        ZSet { form: Form::Small(Pack::new()) }
    }

    /// The set of these members, none of whose scores is NaN, if it is small; `None` as well if a member comes twice.
    pub fn small_of(members: &[(f64, &[u8])], limits: ZSetLimits) -> Option<Self> {
        let longest = members.iter().map(|(_, member)| member.len()).max()?;
        let room = members.len().saturating_mul(Draft::most_bytes(longest) + SCORE_BYTES);
        if members.len() > limits.max_listpack_entries
            || longest > limits.max_listpack_value
            || room >= Pack::MAX_BYTES / 2
        {
            return None;
        }
        let mut sorted: SmallVec<[(f64, &[u8]); 16]> = members.into();
        // Not the total order of numbers, in which -0 comes before 0.
        let of_scores = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or(Ordering::Equal);
        sorted.sort_unstable_by(|(a, one), (b, other)| of_scores(*a, *b).then_with(|| one.cmp(other)));
        let mut draft = Draft::new(room);
        let mut text = Vec::new();
        for (score, member) in sorted {
            if !draft.push_pair(member, score_element(score, &mut text)) {
                return None;
            }
        }
        Some(ZSet { form: Form::Small(draft.finish()) })
    }

    /// Turns large at once if `count` members, about to be added, the longest of `longest` bytes, will not fit a
    /// pack. Commands say so for new sets only.
    pub fn expect_members(&mut self, count: usize, longest: usize, limits: ZSetLimits) {
        if count > limits.max_listpack_entries || longest > limits.max_listpack_value {
            self.enlarge();
        }
    }

    /// The set that a pack of members and scores in turn stands for, as it came out of a dump; `None` if it is
    /// empty, out of order, names a member twice or has a score that is no number.
    pub fn from_pack(pack: Pack, limits: ZSetLimits) -> Option<Self> {
        if pack.is_empty() || pack.len() % 2 == 1 {
            return None;
        }
        let mut seen = HashSet::with_capacity(pack.len() / 2);
        let mut elements = pack.iter();
        let mut last: Option<(f64, Vec<u8>)> = None;
        while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
            let (member, score) = (member.to_vec(), element_score(score)?);
            let ascends = last.is_none_or(|(low, below)| low < score || (low == score && below < member));
            if !ascends || !seen.insert(member.clone()) {
                return None;
            }
            last = Some((score, member));
        }
        let mut set = ZSet { form: Form::Small(pack) };
        if !set.fits_pack(limits) {
            set.enlarge();
        }
        Some(set)
    }

    /// The pack of a small set, as DUMP ships it.
    pub fn as_pack(&self) -> Option<&Pack> {
        match &self.form {
            Form::Small(pack) => Some(pack),
            Form::Large(_) => None,
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Small(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Small(pack) => pack.len() / 2,
            Form::Large(large) => large.order.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes allocated. Takes a time proportional to a hundredth of the members.
    pub fn allocated_bytes(&self) -> usize {
        match &self.form {
            Form::Small(pack) => pack.byte_len(),
            Form::Large(large) => {
                size_of::<Large>()
                    + large.member_bytes
                    + large.members.allocated_bytes()
                    + large.order.allocated_bytes()
            }
        }
    }

    // One member.

    /// Gives `member` a score, within `options`.
    pub fn add(&mut self, member: &[u8], score: f64, options: AddOptions, limits: ZSetLimits) -> Added {
        if score.is_nan() {
            return Added::NotANumber;
        }
        let small = match &mut self.form {
            Form::Large(large) => return large.add(member, score, options),
            Form::Small(pack) => pack,
        };
        if let Some(at) = find(small, member) {
            let outcome = settle(score_behind(small, at), score, options);
            if let Added::Changed(score) = outcome {
                rescore(small, at, member, score);
            }
            return outcome;
        }
        if options.touch == Touch::Present {
            return Added::Refused;
        }
        let fits = small.len() / 2 < limits.max_listpack_entries
            && member.len() <= limits.max_listpack_value
            && small.fits(member.len());
        if fits {
            insert(small, member, score);
        } else {
            self.enlarge().insert(hash(member), member, score);
        }
        Added::New(score)
    }

    /// Removes `member`; the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Small(pack) => {
                let at = find(pack, member)?;
                let score = score_behind(pack, at);
                pack.remove_at(at, 2);
                Some(score)
            }
            Form::Large(large) => {
                let score = large.members.find(member)?.head();
                let rank = large.order.rank(score, member);
                large.order.remove(rank..rank + 1, &mut |_| ());
                large.forget(member);
                Some(score)
            }
        }
    }

    /// The score of `member`.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Small(pack) => find(pack, member).map(|at| score_behind(pack, at)),
            Form::Large(large) => large.members.find(member).map(Member::head),
        }
    }

    /// The rank and score of `member`; with `reverse`, the rank from the other end.
    pub fn rank(&self, member: &[u8], reverse: bool) -> Option<(usize, f64)> {
        let (rank, score) = match &self.form {
            Form::Small(pack) => {
                let at = find(pack, member)?;
                (pack.pairs_between(pack.first()?, at), score_behind(pack, at))
            }
            Form::Large(large) => {
                let score = large.members.find(member)?.head();
                (large.order.rank(score, member), score)
            }
        };
        Some((if reverse { self.len() - 1 - rank } else { rank }, score))
    }

    /// The member of a rank and its score.
    pub fn get(&self, rank: usize) -> Option<(Element<'_>, f64)> {
        self.iter_ranks(rank..rank.saturating_add(1), false).next()
    }

    // Ranges.

    /// The ranks of all scores in `range`.
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<usize> {
        match &self.form {
            Form::Small(pack) => {
                let scores = pairs(pack).map(|(_, at)| score_at(pack, at));
                span(scores, |score| range.is_after(*score), |score| range.is_before(*score))
            }
            Form::Large(large) => {
                let start = large.order.border(|all| count_scores(all, |score| range.is_after(score)));
                let end = large.order.border(|all| count_scores(all, |score| !range.is_before(score)));
                start..end.max(start)
            }
        }
    }

    /// The ranks of all members in `range`. As in Redis this means something only if all scores are equal.
    pub fn lex_ranks(&self, range: &LexRange<'_>) -> Range<usize> {
        match &self.form {
            Form::Small(pack) => {
                let (mut one, mut other) = (itoa::Buffer::new(), itoa::Buffer::new());
                let members = pairs(pack).map(|(at, _)| pack.at(at));
                let is_after = |member: &Element<'_>| range.is_after(member.as_bytes(&mut one));
                span(members, is_after, |member| range.is_before(member.as_bytes(&mut other)))
            }
            Form::Large(large) => {
                let order = &large.order;
                let start =
                    order.border(|all| all.partition_point(|each| range.is_after(each.member.bytes())));
                let end =
                    order.border(|all| all.partition_point(|each| !range.is_before(each.member.bytes())));
                start..end.max(start)
            }
        }
    }

    /// The ranks from `start` to `stop`, both included and counted from the end if negative, as ZRANGE has them;
    /// with `reverse`, positions are those of the reversed order.
    pub fn index_ranks(&self, start: i64, stop: i64, reverse: bool) -> Range<usize> {
        let len = self.len() as i64;
        let from_start = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
        let start = from_start(start).clamp(0, len);
        let end = from_start(stop).saturating_add(1).clamp(start, len);
        let (start, end) = if reverse { (len - end, len - start) } else { (start, end) };
        start as usize..end as usize
    }

    /// The members of some ranks in order, or with `reverse` from the last one back. Ranks past the end are left
    /// out. The length is known at once, and `skip` costs nothing in the large form.
    pub fn iter_ranks(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        let end = ranks.end.min(self.len());
        let start = ranks.start.min(end);
        let walk = match &self.form {
            Form::Small(pack) => {
                let rank = if reverse { end.wrapping_sub(1) } else { start };
                let position = if start == end { None } else { pack.seek(2 * rank as isize) };
                Walk::Small { pack, position, left: end - start }
            }
            Form::Large(large) => Walk::Large(large.order.iter(start..end)),
        };
        Iter { walk, reverse }
    }

    /// All members in order.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_ranks(0..usize::MAX, false)
    }

    /// The members from index `start` to `stop`, as [`ZSet::index_ranks`] counts them.
    pub fn range_by_rank(&self, start: i64, stop: i64, reverse: bool) -> Iter<'_> {
        self.iter_ranks(self.index_ranks(start, stop, reverse), reverse)
    }

    /// The members with scores in `range`.
    pub fn range_by_score(&self, range: &ScoreRange, reverse: bool) -> Iter<'_> {
        self.iter_ranks(self.score_ranks(range), reverse)
    }

    /// The members in `range`, where all scores are equal.
    pub fn range_by_lex(&self, range: &LexRange<'_>, reverse: bool) -> Iter<'_> {
        self.iter_ranks(self.lex_ranks(range), reverse)
    }

    /// Removes the members of some ranks; how many there were. Ranks past the end are left out.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) -> usize {
        let end = ranks.end.min(self.len());
        let ranks = ranks.start.min(end)..end;
        match &mut self.form {
            Form::Small(pack) => {
                pack.remove_range(2 * ranks.start as isize, 2 * ranks.len());
            }
            Form::Large(large) => {
                let Large { members, order, member_bytes } = &mut **large;
                order.remove(ranks.clone(), &mut |entry| {
                    let gone = members.remove(entry.member.bytes()).expect("table and tree agree");
                    *member_bytes -= gone.allocated_bytes();
                });
            }
        }
        ranks.len()
    }

    /// Removes up to `count` members from the low end, or with `highest` from the high end, passing each to
    /// `taken` from that end on; how many there were.
    pub fn pop(&mut self, highest: bool, count: usize, mut taken: impl FnMut(&[u8], f64)) -> usize {
        let len = self.len();
        let count = count.min(len);
        let ranks = if highest { len - count..len } else { 0..count };
        let mut buffer = itoa::Buffer::new();
        for (member, score) in self.iter_ranks(ranks.clone(), highest) {
            taken(member.as_bytes(&mut buffer), score);
        }
        self.remove_ranks(ranks)
    }

    // Chance, and walks across commands.

    /// Any member, each as likely as another.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(Element<'_>, f64)> {
        if self.is_empty() { None } else { self.get(rng.usize(..self.len())) }
    }

    /// Visits `count` random members, the same one possibly more than once; none if the set is empty.
    pub fn random_many(
        &self,
        count: usize,
        rng: &mut fastrand::Rng,
        mut visit: impl FnMut(Element<'_>, f64),
    ) {
        if self.is_empty() {
            return;
        }
        // A pack has to be walked for each rank; many draws do it once.
        let all: Vec<_> = match &self.form {
            Form::Small(_) if count > 1 => self.iter().collect(),
            _ => Vec::new(),
        };
        for _ in 0..count {
            let rank = rng.usize(..self.len());
            if let Some((member, score)) = all.get(rank).copied().or_else(|| self.get(rank)) {
                visit(member, score);
            }
        }
    }

    /// Visits `count` different random members, or all if there are fewer, in the order of the set.
    pub fn sample(&self, count: usize, rng: &mut fastrand::Rng, mut visit: impl FnMut(Element<'_>, f64)) {
        let len = self.len();
        let mut needed = count.min(len);
        if let Form::Large(large) = &self.form
            && needed < len / 16
        {
            for rank in choose(needed, len, rng) {
                let entry = large.order.get(rank).expect("chosen below the length");
                visit(Element::Str(entry.member.bytes()), entry.score);
            }
            return;
        }
        for (passed, (member, score)) in self.iter().enumerate() {
            if rng.usize(..len - passed) < needed {
                needed -= 1;
                visit(member, score);
            }
        }
    }

    /// Visits at least `count` members (all of a small set) from `cursor` on; returns the cursor to go on from, 0
    /// at the end. A member that stays during a whole walk is visited exactly once.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'_>, f64)) -> u64 {
        match &self.form {
            Form::Small(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            Form::Large(large) => {
                large.members.scan(cursor, count, |each| visit(Element::Str(each.bytes()), each.head()))
            }
        }
    }

    // Forms.

    /// Becomes small if the limits allow, which nothing else does: for results just computed.
    pub fn compact(&mut self, limits: ZSetLimits) {
        let Form::Large(_) = &self.form else { return };
        if !self.fits_pack(limits) {
            return;
        }
        let mut pack = Pack::new();
        let mut text = Vec::new();
        for (member, score) in self.iter() {
            pack.push_back_pair(member, score_element(score, &mut text));
        }
        self.form = Form::Small(pack);
    }

    fn fits_pack(&self, limits: ZSetLimits) -> bool {
        self.len() <= limits.max_listpack_entries
            && self.iter().all(|(member, _)| member.text_len() <= limits.max_listpack_value)
    }

    /// Becomes large.
    fn enlarge(&mut self) -> &mut Large {
        if let Form::Small(pack) = &self.form {
            let mut large = Box::new(Large::new());
            let mut buffer = itoa::Buffer::new();
            for (member, score) in pairs(pack) {
                let member = pack.at(member).as_bytes(&mut buffer);
                large.insert(hash(member), member, score_at(pack, score));
            }
            self.form = Form::Large(large);
        }
        match &mut self.form {
            Form::Large(large) => large,
            Form::Small(_) => unreachable!("enlarged just now"),
        }
    }
}

/// Members of some ranks with their scores, one way or the other.
#[derive(Clone)]
pub struct Iter<'z> {
    walk: Walk<'z>,
    reverse: bool,
}

#[derive(Clone)]
enum Walk<'z> {
    /// `position` is that of the next member, if any are left.
    Small {
        pack: &'z Pack,
        position: Option<usize>,
        left: usize,
    },
    Large(tree::Iter<'z>),
}

impl<'z> Iterator for Iter<'z> {
    type Item = (Element<'z>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = match &mut self.walk {
            Walk::Small { pack, position, left } => {
                let at = (*position)?;
                let pair = (pack.at(at), score_behind(pack, at));
                *left -= 1;
                *position = step(pack, at, *left, self.reverse);
                return Some(pair);
            }
            Walk::Large(entries) if self.reverse => entries.next_back()?,
            Walk::Large(entries) => entries.next()?,
        };
        Some((Element::Str(entry.member.bytes()), entry.score))
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let entry = match &mut self.walk {
            Walk::Small { pack, position, left } => {
                for _ in 0..n {
                    let at = (*position)?;
                    *left -= 1;
                    *position = step(pack, at, *left, self.reverse);
                }
                return self.next();
            }
            Walk::Large(entries) if self.reverse => entries.nth_back(n)?,
            Walk::Large(entries) => entries.nth(n)?,
        };
        Some((Element::Str(entry.member.bytes()), entry.score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.walk {
            Walk::Small { left, .. } => *left,
            Walk::Large(entries) => entries.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl Large {
    fn new() -> Self {
        Large { members: Table::new(), order: ScoreTree::new(), member_bytes: 0 }
    }

    fn copy(&self) -> Self {
        let mut copy = Large::new();
        for entry in self.order.iter(0..self.order.len()) {
            let member = entry.member.bytes();
            copy.insert(hash(member), member, entry.score);
        }
        copy
    }

    fn add(&mut self, member: &[u8], score: f64, options: AddOptions) -> Added {
        let h = hash(member);
        let Some(found) = self.members.find_hashed_mut(h, member) else {
            if options.touch == Touch::Present {
                return Added::Refused;
            }
            self.insert(h, member, score);
            return Added::New(score);
        };
        let old = found.head();
        let outcome = settle(old, score, options);
        if let Added::Changed(score) = outcome {
            found.set_head(score);
            // SAFETY: read only here, where nothing is dropped, and in the tree, which holds it already.
            self.order.rescore(old, unsafe { found.alias() }, score);
        }
        outcome
    }

    /// Adds a member that is not there yet; `h` is its hash.
    fn insert(&mut self, h: u32, member: &[u8], score: f64) {
        let member = Member::new(score, member);
        self.member_bytes += member.allocated_bytes();
        // SAFETY: the table owns the member. Whatever takes it out takes its entry out of the tree first, and
        // reads the entry no more once the member is dropped.
        let alias = unsafe { member.alias() };
        self.members.insert_new(h, member);
        self.order.insert(Entry { score, member: alias });
    }

    /// Takes a member whose entry has left the tree out of the table.
    fn forget(&mut self, member: &[u8]) {
        let gone = self.members.remove(member).expect("table and tree agree");
        self.member_bytes -= gone.allocated_bytes();
    }
}

/// What becomes of a member with the score `old` that is to get `score`.
fn settle(old: f64, score: f64, options: AddOptions) -> Added {
    if options.touch == Touch::Absent {
        return Added::Refused;
    }
    let score = if options.increment { old + score } else { score };
    if score.is_nan() {
        return Added::NotANumber;
    }
    match options.direction {
        Direction::Up if score <= old => Added::Refused,
        Direction::Down if score >= old => Added::Refused,
        _ if score == old => Added::Same(score),
        _ => Added::Changed(score),
    }
}

/// `count` different numbers below `len`, ascending; each choice as likely as another (Floyd's way).
fn choose(count: usize, len: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    for top in len - count..len {
        if !chosen.insert(rng.usize(..=top)) {
            chosen.insert(top);
        }
    }
    chosen.into_iter().collect()
}

// The small form.

/// Positions of members and their scores, in order.
fn pairs(pack: &Pack) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut next = pack.first();
    std::iter::from_fn(move || {
        let member = next?;
        let score = pack.end_of(member);
        let end = pack.end_of(score);
        next = (!pack.is_end(end)).then_some(end);
        Some((member, score))
    })
}

/// The indexes of what follows the first items, those that come before the span, and is not behind it.
fn span<T>(
    items: impl Iterator<Item = T>,
    mut comes_before: impl FnMut(&T) -> bool,
    mut comes_after: impl FnMut(&T) -> bool,
) -> Range<usize> {
    let mut items = items.peekable();
    let mut start = 0;
    while items.next_if(&mut comes_before).is_some() {
        start += 1;
    }
    start..start + items.take_while(|item| !comes_after(item)).count()
}

/// The position of the member after the one at `at`, or before it; none if none are `left`.
fn step(pack: &Pack, at: usize, left: usize, reverse: bool) -> Option<usize> {
    if left == 0 {
        None
    } else if reverse {
        pack.prev(pack.prev(at)?)
    } else {
        pack.next(pack.next(at)?)
    }
}

/// Position of `member`.
fn find(pack: &Pack, member: &[u8]) -> Option<usize> {
    pack.find(member, pack.first()?, 1)
}

/// The score at `at`.
fn score_at(pack: &Pack, at: usize) -> f64 {
    element_score(pack.at(at)).expect("a score behind every member")
}

/// The score of the member at `at`.
fn score_behind(pack: &Pack, at: usize) -> f64 {
    score_at(pack, pack.end_of(at))
}

/// Whether the member at `at` comes before `member` with `score`.
fn comes_before(pack: &Pack, at: usize, member: &[u8], score: f64) -> bool {
    let other = score_behind(pack, at);
    other < score || (other == score && pack.at(at).as_bytes(&mut itoa::Buffer::new()) < member)
}

/// Where `member`, which is not there, belongs with `score`.
fn place(pack: &Pack, member: &[u8], score: f64) -> usize {
    /// Pairs passed in one stride, of which only the last is read.
    const STRIDE: usize = 9;
    let Some(mut at) = pack.first() else { return pack.end_position() };
    // What is added often belongs at the end: times do.
    if last_member(pack).is_some_and(|last| comes_before(pack, last, member, score)) {
        return pack.end_position();
    }
    loop {
        let ahead = pack.pass_pairs(at, STRIDE);
        if pack.is_end(ahead) || !comes_before(pack, ahead, member, score) {
            break;
        }
        at = ahead;
    }
    while !pack.is_end(at) && comes_before(pack, at, member, score) {
        at = pack.end_of(pack.end_of(at));
    }
    at
}

/// Position of the last member.
fn last_member(pack: &Pack) -> Option<usize> {
    pack.prev(pack.last()?)
}

/// Adds a member that is not there, in its place.
fn insert(pack: &mut Pack, member: &[u8], score: f64) {
    let position = place(pack, member, score);
    let mut text = Vec::new();
    pack.insert_pair_before(position, member, score_element(score, &mut text));
}

/// Gives `member`, which is at `at`, another score.
fn rescore(pack: &mut Pack, at: usize, member: &[u8], score: f64) {
    let before = pack.prev(at).and_then(|score_at| pack.prev(score_at));
    let after = pack.end_of(pack.end_of(at));
    let stays = before.is_none_or(|before| comes_before(pack, before, member, score))
        && (pack.is_end(after) || !comes_before(pack, after, member, score));
    if stays {
        let mut text = Vec::new();
        let score_at = pack.end_of(at);
        pack.replace(score_at, score_element(score, &mut text));
    } else {
        pack.remove_at(at, 2);
        insert(pack, member, score);
    }
}

/// A score as Redis packs it: an integer if it is one and not huge (-0 loses its sign), else its text.
fn score_element(score: f64, text: &mut Vec<u8>) -> Element<'_> {
    const HUGE: f64 = (1u64 << 62) as f64;
    if score.trunc() == score && score.abs() <= HUGE {
        return Element::Int(score as i64);
    }
    text.clear();
    format_f64(score, text);
    Element::Str(text)
}

/// The score that an element of a pack spells.
fn element_score(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Int(score) => Some(score as f64),
        Element::Str(text) => parse_f64(text),
    }
}
