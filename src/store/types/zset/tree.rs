//! The order of a large sorted set: a counted B+ tree of (score, member).
//!
//! Entries have the score beside a reference to the member, so that a search reads the bytes of a member
//! only where scores are equal. Within a node it counts the lower scores instead of halving: loads that need not
//! wait for each other take less time than a binary search, whose every probe is a cache miss that waits for the
//! last. (Measured too: scores and members in columns of their own; it was no faster.)
//! Inner nodes keep, for each child, its first entry and how many it holds. So the *rank* (position in the order, from 0) of anything is one walk down, and so is the way back.
//! Everything else is said in ranks: a range of scores is two searches and a `Range<usize>`, its
//! count a subtraction, an offset into it an addition; iterating and removing take ranks.
//!
//! Nodes below a quarter full join a neighbour if both fit in one. The lax bound on the rest keeps the
//! code short; the tree is as high as a strict one, give or take one level.
//!
//! It does not own members and knows neither limits nor commands.
//!
//! Invariant: all leaves are equally deep and none but the root is empty; entries ascend; `firsts` and
//! `counts` tell the truth about every child. Scores are never NaN. Every member outlives its entry.

use crate::store::types::member::MemberRef;
use std::mem;
use std::ops::Range;

/// Entries of a full leaf. Miri is slow, and small nodes make deep trees of few entries.
const LEAF: usize = if cfg!(miri) { 8 } else { 64 };
/// Children of a full inner node.
const FAN: usize = if cfg!(miri) { 8 } else { 64 };
/// Entries a leaf grows by. Full capacity from the start would leave a third of all leaves unused.
const STEP: usize = 8;

/// A score and its member.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub score: f64,
    pub member: MemberRef,
}

/// The entries in order.
pub(super) struct ScoreTree {
    root: Node,
    len: usize,
}

enum Node {
    Leaf(Vec<Entry>),
    Inner(Box<Inner>),
}

/// One line for each child.
#[derive(Default)]
struct Inner {
    firsts: Vec<Entry>,
    counts: Vec<usize>,
    nodes: Vec<Node>,
}

impl ScoreTree {
    pub fn new() -> Self {
        ScoreTree { root: Node::empty(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry that is not there yet.
    pub fn insert(&mut self, entry: Entry) {
        if let Some(right) = self.root.insert(entry) {
            let left = mem::replace(&mut self.root, Node::empty());
            let mut root = Inner::default();
            root.insert_child(0, left);
            root.insert_child(1, right);
            self.root = Node::Inner(Box::new(root));
        }
        self.len += 1;
    }

    /// Gives the entry (`old`, `member`) another score.
    pub fn rescore(&mut self, old: f64, member: MemberRef, score: f64) {
        let entry = Entry { score, member };
        if !self.root.rescore_within_leaf(old, entry) {
            let rank = self.rank(old, member.bytes());
            self.remove(rank..rank + 1, &mut |_| ());
            self.insert(entry);
        }
    }

    /// How many entries come before a border in the order. `search` says it for some of the entries: how many
    /// of these come before it.
    #[inline]
    pub fn border(&self, search: impl Fn(&[Entry]) -> usize) -> usize {
        let mut rank = 0;
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return rank + search(entries),
                Node::Inner(inner) => {
                    // The last child that begins before the border holds it; without one it is at the start.
                    let Some(child) = search(&inner.firsts).checked_sub(1) else { return rank };
                    rank += inner.counts[..child].iter().sum::<usize>();
                    node = &inner.nodes[child];
                }
            }
        }
    }

    /// The rank that (`score`, `member`) has, or would have.
    pub fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.border(|entries| place(entries, score, member))
    }

    /// The entry of a rank.
    pub fn get(&self, rank: usize) -> Option<&Entry> {
        if rank >= self.len {
            return None;
        }
        let (leaf, at) = self.leaf_at(rank);
        leaf.get(at)
    }

    /// The entries of some ranks, from either end. Ranks past the end are left out.
    pub fn iter(&self, ranks: Range<usize>) -> Iter<'_> {
        let end = ranks.end.min(self.len);
        Iter { tree: self, ranks: ranks.start.min(end)..end, front: &[], back: &[] }
    }

    /// Takes out the entries of some ranks, passing each to `gone` in order.
    pub fn remove(&mut self, ranks: Range<usize>, gone: &mut dyn FnMut(Entry)) {
        let end = ranks.end.min(self.len);
        let ranks = ranks.start.min(end)..end;
        if ranks.is_empty() {
            return;
        }
        self.len -= ranks.len();
        self.root.remove(ranks, gone);
        loop {
            match &mut self.root {
                Node::Inner(inner) if inner.nodes.len() <= 1 => {
                    self.root = inner.nodes.pop().unwrap_or(Node::empty());
                }
                _ => return,
            }
        }
    }

    /// Bytes allocated for all nodes. Visits each.
    pub fn allocated_bytes(&self) -> usize {
        self.root.allocated_bytes()
    }

    /// The leaf with the entry of a rank below `len`, and where in the leaf that is.
    fn leaf_at(&self, mut rank: usize) -> (&[Entry], usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return (entries, rank),
                Node::Inner(inner) => {
                    let mut child = 0;
                    while rank >= inner.counts[child] {
                        rank -= inner.counts[child];
                        child += 1;
                    }
                    node = &inner.nodes[child];
                }
            }
        }
    }
}

impl Entry {
    #[inline]
    fn is_before(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || (self.score == score && self.member.bytes() < member)
    }
}

impl Node {
    fn empty() -> Node {
        Node::Leaf(Vec::new())
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    /// Entries or children, whichever this node has.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(inner) => inner.nodes.len(),
        }
    }

    fn first(&self) -> Entry {
        match self {
            Node::Leaf(entries) => entries[0],
            Node::Inner(inner) => inner.firsts[0],
        }
    }

    /// Adds an entry. A node that was full keeps its first part and returns the rest.
    fn insert(&mut self, entry: Entry) -> Option<Node> {
        match self {
            Node::Leaf(entries) => insert_in_leaf(entries, entry).map(Node::Leaf),
            Node::Inner(inner) => inner.insert(entry).map(|right| Node::Inner(Box::new(right))),
        }
    }

    /// Moves an entry, which has the score `old`, to where its new score belongs, if that is between the first and
    /// the last of its leaf: most new scores are near the old ones. Whether it did.
    fn rescore_within_leaf(&mut self, old: f64, entry: Entry) -> bool {
        let member = entry.member.bytes();
        let mut node = self;
        let leaf = loop {
            match node {
                Node::Leaf(entries) => break entries,
                Node::Inner(inner) => {
                    let child = inner.child_for(old, member);
                    node = &mut inner.nodes[child];
                }
            }
        };
        let from = place(leaf, old, member);
        let to = place(leaf, entry.score, member);
        // The place was found with the entry still in its old one.
        let to = if to > from { to - 1 } else { to };
        let inside = 1..leaf.len() - 1;
        if !inside.contains(&from) || !inside.contains(&to) {
            return false;
        }
        leaf[from].score = entry.score;
        if from < to {
            leaf[from..=to].rotate_left(1);
        } else {
            leaf[to..=from].rotate_right(1);
        }
        true
    }

    fn remove(&mut self, ranks: Range<usize>, gone: &mut dyn FnMut(Entry)) {
        match self {
            Node::Leaf(entries) => {
                entries.drain(ranks).for_each(gone);
                shrink(entries);
            }
            Node::Inner(inner) => inner.remove(ranks, gone),
        }
    }

    /// Passes every entry to `visit`, in order.
    fn for_each(self, visit: &mut dyn FnMut(Entry)) {
        match self {
            Node::Leaf(entries) => entries.into_iter().for_each(visit),
            Node::Inner(inner) => inner.nodes.into_iter().for_each(|node| node.for_each(visit)),
        }
    }

    /// Adds everything of the right neighbour, which is as deep.
    fn append(&mut self, right: Node) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                left.reserve_exact(right.len());
                left.extend(right);
            }
            (Node::Inner(left), Node::Inner(mut right)) => {
                left.firsts.append(&mut right.firsts);
                left.counts.append(&mut right.counts);
                left.nodes.append(&mut right.nodes);
            }
            _ => unreachable!("neighbours are equally deep"),
        }
    }

    fn allocated_bytes(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.capacity() * size_of::<Entry>(),
            Node::Inner(inner) => {
                size_of::<Inner>()
                    + inner.firsts.capacity() * size_of::<Entry>()
                    + inner.counts.capacity() * size_of::<usize>()
                    + inner.nodes.capacity() * size_of::<Node>()
                    + inner.nodes.iter().map(Node::allocated_bytes).sum::<usize>()
            }
        }
    }
}

impl Inner {
    fn insert_child(&mut self, at: usize, node: Node) {
        self.firsts.insert(at, node.first());
        self.counts.insert(at, node.len());
        self.nodes.insert(at, node);
    }

    /// The child that holds (`score`, `member`), or would.
    fn child_for(&self, score: f64, member: &[u8]) -> usize {
        let at = place(&self.firsts, score, member);
        // That is the first child to begin there or later.
        let begins_there =
            self.firsts.get(at).is_some_and(|first| first.score == score && first.member.bytes() == member);
        if begins_there { at } else { at.saturating_sub(1) }
    }

    fn insert(&mut self, entry: Entry) -> Option<Inner> {
        let child = self.child_for(entry.score, entry.member.bytes());
        let split = self.nodes[child].insert(entry);
        self.counts[child] += 1;
        self.firsts[child] = self.nodes[child].first();
        let right = split?;
        self.counts[child] -= right.len();
        if self.nodes.len() < FAN {
            self.insert_child(child + 1, right);
            return None;
        }
        // As with leaves: a child added at the end is usually one of many to come.
        let at = if child + 1 == FAN { FAN } else { FAN / 2 };
        let mut upper = Inner {
            firsts: self.firsts.split_off(at),
            counts: self.counts.split_off(at),
            nodes: self.nodes.split_off(at),
        };
        if child + 1 < at {
            self.insert_child(child + 1, right);
        } else {
            upper.insert_child(child + 1 - at, right);
        }
        Some(upper)
    }

    fn remove(&mut self, ranks: Range<usize>, gone: &mut dyn FnMut(Entry)) {
        let mut child = 0;
        let mut start = 0;
        while start + self.counts[child] <= ranks.start {
            start += self.counts[child];
            child += 1;
        }
        let first = child;
        // From here on `left` entries go, the first of them at `from` in this child.
        let mut from = ranks.start - start;
        let mut left = ranks.len();
        let mut emptied = first..first;
        while left > 0 {
            let count = self.counts[child];
            let here = left.min(count - from);
            left -= here;
            if here == count {
                if emptied.is_empty() {
                    emptied = child..child;
                }
                emptied.end = child + 1;
                mem::replace(&mut self.nodes[child], Node::empty()).for_each(gone);
            } else {
                self.nodes[child].remove(from..from + here, gone);
                self.counts[child] -= here;
                self.firsts[child] = self.nodes[child].first();
            }
            from = 0;
            child += 1;
        }
        let last = child - emptied.len();
        self.firsts.drain(emptied.clone());
        self.counts.drain(emptied.clone());
        self.nodes.drain(emptied);
        // Only the children at the two ends of what went can have become too small.
        for child in (first..last.min(self.nodes.len())).rev() {
            self.join_if_small(child);
        }
    }

    /// Joins a child below a quarter with a neighbour, where both fit in one node with room to spare.
    fn join_if_small(&mut self, child: usize) {
        let full = match self.nodes[child] {
            Node::Leaf(_) => LEAF,
            Node::Inner(_) => FAN,
        };
        if self.nodes[child].width() >= full / 4 {
            return;
        }
        let fits = |left: &usize| {
            self.nodes
                .get(left + 1)
                .is_some_and(|right| self.nodes[*left].width() + right.width() <= full * 3 / 4)
        };
        let left = child.checked_sub(1).filter(fits).or(Some(child).filter(fits));
        if let Some(left) = left {
            let right = self.nodes.remove(left + 1);
            self.nodes[left].append(right);
            self.counts[left] += self.counts.remove(left + 1);
            self.firsts.remove(left + 1);
        }
    }
}

/// How many of `entries` come before the first whose score fails `test`; no later one may pass again.
#[inline]
pub(super) fn count_scores(entries: &[Entry], test: impl Fn(f64) -> bool) -> usize {
    entries.iter().map(|entry| usize::from(test(entry.score))).sum()
}

/// How many of `entries` come before (`score`, `member`).
#[inline]
fn place(entries: &[Entry], score: f64, member: &[u8]) -> usize {
    let lower = count_scores(entries, |each| each < score);
    match &entries[lower..] {
        [first, second, ..] if first.score == score && second.score == score => {
            lower + entries[lower..].partition_point(|each| each.is_before(score, member))
        }
        [first, ..] => lower + usize::from(first.is_before(score, member)),
        [] => lower,
    }
}

/// Adds an entry to a leaf. A full one keeps its first part and returns the rest.
fn insert_in_leaf(leaf: &mut Vec<Entry>, entry: Entry) -> Option<Vec<Entry>> {
    let at = place(leaf, entry.score, entry.member.bytes());
    if leaf.len() < LEAF {
        insert_at(leaf, at, entry);
        return None;
    }
    // Added at an end, it is usually one of many that come in order: the full leaf then stays full.
    let half = match at {
        0 => 0,
        LEAF => LEAF,
        _ => LEAF / 2,
    };
    let mut right = leaf.split_off(half);
    if at <= half && half < LEAF {
        insert_at(leaf, at, entry);
    } else {
        insert_at(&mut right, at - half, entry);
    }
    shrink(leaf);
    Some(right)
}

fn insert_at(leaf: &mut Vec<Entry>, at: usize, entry: Entry) {
    if leaf.len() == leaf.capacity() {
        leaf.reserve_exact(STEP);
    }
    leaf.insert(at, entry);
}

/// Gives back capacity beyond two steps.
fn shrink(leaf: &mut Vec<Entry>) {
    if leaf.capacity() - leaf.len() > 2 * STEP {
        leaf.shrink_to(leaf.len() + STEP);
    }
}

/// The entries of some ranks. Each end holds what is left of one leaf; the two may overlap, and `ranks`
/// alone says when they have met.
#[derive(Clone)]
pub(super) struct Iter<'t> {
    tree: &'t ScoreTree,
    ranks: Range<usize>,
    front: &'t [Entry],
    back: &'t [Entry],
}

impl<'t> Iterator for Iter<'t> {
    type Item = &'t Entry;

    #[inline]
    fn next(&mut self) -> Option<&'t Entry> {
        if self.ranks.is_empty() {
            return None;
        }
        if self.front.is_empty() {
            let (leaf, at) = self.tree.leaf_at(self.ranks.start);
            self.front = &leaf[at..];
        }
        self.ranks.start += 1;
        self.front.split_off_first()
    }

    fn nth(&mut self, n: usize) -> Option<&'t Entry> {
        self.front = self.front.get(n..).unwrap_or_default();
        self.ranks.start = self.ranks.end.min(self.ranks.start.saturating_add(n));
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ranks.len(), Some(self.ranks.len()))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.ranks.is_empty() {
            return None;
        }
        if self.back.is_empty() {
            let (leaf, at) = self.tree.leaf_at(self.ranks.end - 1);
            self.back = &leaf[..=at];
        }
        self.ranks.end -= 1;
        self.back.split_off_last()
    }

    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        self.back = &self.back[..self.back.len().saturating_sub(n)];
        self.ranks.end = self.ranks.start.max(self.ranks.end.saturating_sub(n));
        self.next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::types::member::Member;
    use std::collections::BTreeSet;

    /// Checks every part of the invariant; returns depth and entries.
    fn check(node: &Node, is_root: bool) -> (usize, usize) {
        assert!(is_root || node.width() > 0, "an empty node");
        match node {
            Node::Leaf(entries) => {
                assert!(entries.len() <= LEAF && entries.capacity() <= entries.len() + 2 * STEP);
                (0, entries.len())
            }
            Node::Inner(inner) => {
                assert!(inner.nodes.len() <= FAN && (!is_root || inner.nodes.len() > 1));
                assert!(inner.counts.len() == inner.nodes.len() && inner.firsts.len() == inner.nodes.len());
                let (mut depth, mut total) = (None, 0);
                for (at, (node, &count)) in inner.nodes.iter().zip(&inner.counts).enumerate() {
                    let (first, there) = (inner.firsts[at], node.first());
                    let (below, len) = check(node, false);
                    assert!(*depth.get_or_insert(below) == below && len == count);
                    assert!(first.score == there.score && first.member.bytes() == there.member.bytes());
                    total += len;
                }
                (depth.expect("at least one child") + 1, total)
            }
        }
    }

    /// Members are the eight bytes of a number; all scores are that number divided by 7.
    struct Fixture {
        tree: ScoreTree,
        /// Owns the members and gives the expected order.
        model: Vec<Member<f64>>,
        present: BTreeSet<u64>,
    }

    impl Fixture {
        fn new() -> Self {
            Fixture { tree: ScoreTree::new(), model: Vec::new(), present: BTreeSet::new() }
        }

        fn insert(&mut self, n: u64) {
            if self.present.insert(n) {
                let score = (n / 7) as f64;
                self.model.push(Member::new(score, &n.to_be_bytes()));
                // SAFETY: the model never drops a member before the tree.
                let member = unsafe { self.model[self.model.len() - 1].alias() };
                self.tree.insert(Entry { score, member });
            }
        }

        fn remove(&mut self, ranks: Range<usize>) {
            let mut gone = Vec::new();
            self.tree.remove(ranks.clone(), &mut |entry| gone.push(number(&entry)));
            let end = ranks.end.min(self.present.len());
            let expected: Vec<u64> =
                self.present.iter().copied().take(end).skip(ranks.start.min(end)).collect();
            assert_eq!(gone, expected);
            gone.iter().for_each(|n| assert!(self.present.remove(n)));
        }

        fn check(&self) {
            let (_, len) = check(&self.tree.root, true);
            assert_eq!((len, self.tree.len()), (self.present.len(), self.present.len()));
            assert!(self.tree.iter(0..len).map(number).eq(self.present.iter().copied()));
            assert!(self.tree.iter(0..len).rev().map(number).eq(self.present.iter().rev().copied()));
        }
    }

    fn number(entry: &Entry) -> u64 {
        u64::from_be_bytes(entry.member.bytes().try_into().expect("eight bytes"))
    }

    const MANY: u64 = if cfg!(miri) { 120 } else { 30_000 };

    #[test]
    fn in_order_growth_fills_the_leaves_and_empties_again() {
        for descending in [false, true] {
            let mut fixture = Fixture::new();
            (0..MANY).for_each(|n| fixture.insert(if descending { MANY - n } else { n }));
            fixture.check();
            let least = MANY as usize * size_of::<Entry>();
            let tree = &fixture.tree;
            assert!(
                cfg!(miri) || tree.allocated_bytes() < least * 6 / 5,
                "{} for {least}",
                tree.allocated_bytes()
            );
            while fixture.tree.len() > 0 {
                let (len, from) = (fixture.tree.len(), if descending { fixture.tree.len() - 1 } else { 0 });
                fixture.remove(from..from + 1);
                if len % 1_000 == 0 || (len < 100 && len % 7 == 0) {
                    fixture.check();
                }
            }
            assert!(matches!(&fixture.tree.root, Node::Leaf(entries) if entries.is_empty()));
        }
    }

    #[test]
    fn random_growth_and_removal() {
        for (seed, widest) in [(1, 1), (2, 3), (3, 200), (4, MANY as usize / 2)] {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut fixture = Fixture::new();
            for round in 0..MANY * 2 {
                // Grow, then shrink, and again.
                if rng.u64(..10) < [8, 3][(round / (MANY / 4) % 2) as usize] {
                    (0..widest.min(200)).for_each(|_| fixture.insert(rng.u64(..MANY * 4)));
                } else {
                    let start = rng.usize(..=fixture.tree.len());
                    fixture.remove(start..start + rng.usize(..=widest));
                }
                if round % (MANY / 10) == 0 {
                    fixture.check();
                }
                if widest > 3 && round > MANY / 10 {
                    break;
                }
            }
            fixture.check();
        }
    }

    #[test]
    fn ranks_and_skips() {
        let mut fixture = Fixture::new();
        let mut rng = fastrand::Rng::with_seed(9);
        (0..MANY / 3).for_each(|_| fixture.insert(rng.u64(..MANY)));
        let tree = &fixture.tree;
        let order: Vec<u64> = fixture.present.iter().copied().collect();
        for _ in 0..if cfg!(miri) { 30 } else { 2_000 } {
            let n = rng.u64(..MANY);
            let (score, member) = ((n / 7) as f64, n.to_be_bytes());
            let rank = tree.rank(score, &member);
            assert_eq!(rank, order.partition_point(|&each| each < n));
            assert_eq!(tree.get(rank).map(number), order.get(rank).copied());
            let end = rng.usize(..=order.len() + 5);
            let (mut ours, mut theirs) =
                (tree.iter(rank..end), order.get(rank..end.min(order.len())).unwrap_or(&[]).iter());
            for _ in 0..20 {
                let skip = rng.usize(..40);
                assert_eq!(ours.len(), theirs.len());
                let (one, other) = match rng.u8(..4) {
                    0 => (ours.next(), theirs.next()),
                    1 => (ours.next_back(), theirs.next_back()),
                    2 => (ours.nth(skip), theirs.nth(skip)),
                    _ => (ours.nth_back(skip), theirs.nth_back(skip)),
                };
                assert_eq!(one.map(number), other.copied());
            }
        }
        assert_eq!(tree.iter(0..usize::MAX).nth(usize::MAX).map(number), None);
        assert_eq!(tree.iter(order.len() + 1..order.len() + 2).len(), 0);
    }
}
