//! The long form of a list: packs in a row.
//!
//! Each pack's count stands beside it, so finding an index reads a few bytes per pack, in one piece of
//! memory, and touches only the pack it ends in. Which sizes are allowed is [`ListLimits`]' business; when
//! the row gives way to a single pack again is the list's.
//!
//! Invariant: no pack is empty; `len` and `bytes` are the sums over all packs.

use super::{End, ListLimits, pop, push, remove};
use crate::store::types::pack::{Needle, Pack};
use std::collections::VecDeque;

/// What an element may cost in a pack beside its text, roughly and at least.
const ENTRY_OVERHEAD: usize = 8;

/// A list as packs in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    nodes: VecDeque<Node>,
    len: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Node {
    pack: Pack,
    /// `pack.len()`.
    count: usize,
}

impl From<Pack> for Row {
    fn from(pack: Pack) -> Self {
        let mut row = Row::default();
        if !pack.is_empty() {
            row.insert_pack(0, pack);
        }
        row
    }
}

impl Row {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.bytes + self.nodes.capacity() * size_of::<Node>()
    }

    pub(super) fn pack(&self, nth: usize) -> Option<&Pack> {
        self.nodes.get(nth).map(|node| &node.pack)
    }

    /// The pack, if there is exactly one.
    pub(super) fn only_pack(&self) -> Option<&Pack> {
        if self.nodes.len() == 1 { self.pack(0) } else { None }
    }

    /// Moves the only pack out, or an empty one if there is none; `None` if there are several.
    pub(super) fn take_only_pack(&mut self) -> Option<Pack> {
        match self.nodes.len() {
            0 => Some(Pack::new()),
            1 => Some(self.take_pack(0)),
            _ => None,
        }
    }

    /// The pack holding the element at `index`, and its index in there. `index` is below `len`.
    pub(super) fn locate(&self, index: usize) -> (usize, usize) {
        if index < self.len / 2 {
            let mut before = 0;
            for (nth, node) in self.nodes.iter().enumerate() {
                if index < before + node.count {
                    return (nth, index - before);
                }
                before += node.count;
            }
        } else {
            let mut start = self.len;
            for (nth, node) in self.nodes.iter().enumerate().rev() {
                start -= node.count;
                if index >= start {
                    return (nth, index - start);
                }
            }
        }
        unreachable!("index {index} of {} elements", self.len)
    }

    pub(super) fn push(&mut self, end: End, value: &[u8], limits: ListLimits) {
        let nth = match end {
            End::Front => 0,
            End::Back => self.nodes.len().saturating_sub(1),
        };
        if self.has_room(nth, value.len(), limits) {
            self.edit(nth, |pack| push(pack, end, value));
        } else {
            let place = if end == End::Front { 0 } else { self.nodes.len() };
            self.insert_pack(place, Pack::of([value]));
        }
    }

    pub(super) fn pop<R>(&mut self, end: End, read: impl FnOnce(super::Element<'_>) -> R) -> Option<R> {
        let nth = match end {
            End::Front => 0,
            End::Back => self.nodes.len().checked_sub(1)?,
        };
        self.nodes.get(nth)?;
        self.edit(nth, |pack| pop(pack, end, read))
    }

    /// Puts `value` in place of the element at `position` of the `nth` pack.
    pub(super) fn replace(&mut self, nth: usize, position: usize, value: &[u8], limits: ListLimits) {
        let node = &self.nodes[nth];
        let old = node.pack.at(position).packed_len();
        let new = super::Element::from(value).packed_len();
        let fits = !limits.too_big_to_share(value.len())
            && !limits.exceeded(node.pack.byte_len() - old + new, node.count);
        if fits || node.count == 1 || new <= old {
            self.edit(nth, |pack| pack.replace(position, value));
        } else {
            // The pack has one element more than this at least, so it and its place stay.
            self.edit(nth, |pack| pack.remove(position));
            self.insert(nth, position, value, limits);
        }
    }

    /// Adds `value` where the element at `position` of the `nth` pack is, or at that pack's end.
    pub(super) fn insert(&mut self, nth: usize, position: usize, value: &[u8], limits: ListLimits) {
        let pack = &self.nodes[nth].pack;
        let (at_start, at_end) = (Some(position) == pack.first(), pack.is_end(position));
        if self.has_room(nth, value.len(), limits) {
            self.edit(nth, |pack| pack.insert_before(position, value));
        } else if at_start && nth > 0 && self.has_room(nth - 1, value.len(), limits) {
            self.edit(nth - 1, |pack| pack.push_back(value));
        } else if at_end && self.has_room(nth + 1, value.len(), limits) {
            self.edit(nth + 1, |pack| pack.push_front(value));
        } else if at_start {
            self.insert_pack(nth, Pack::of([value]));
        } else if at_end {
            self.insert_pack(nth + 1, Pack::of([value]));
        } else {
            let mut tail = self.edit(nth, |pack| pack.split_off(position));
            if limits.too_big_to_share(value.len()) {
                self.insert_pack(nth + 1, Pack::of([value]));
                self.insert_pack(nth + 2, tail);
                self.merge_with_next(nth + 2, limits);
            } else {
                tail.push_front(value);
                self.insert_pack(nth + 1, tail);
                self.merge_with_next(nth + 1, limits);
            }
            if nth > 0 {
                self.merge_with_next(nth - 1, limits);
            }
        }
    }

    /// Removes the `most` elements equal to `needle` that are nearest to `end`.
    pub(super) fn remove(&mut self, end: End, most: usize, needle: &Needle<'_>) -> usize {
        let mut left = most;
        let last = self.nodes.len().saturating_sub(1);
        for step in 0..self.nodes.len() {
            if left == 0 {
                break;
            }
            let nth = if end == End::Front { step } else { last - step };
            left -= self.edit_in_place(nth, |pack| remove(pack, end, left, needle));
        }
        let before = self.nodes.len();
        self.nodes.retain(|node| node.count > 0);
        self.bytes -= (before - self.nodes.len()) * Pack::EMPTY_BYTES;
        self.shrink();
        most - left
    }

    /// Removes `count` elements, or all, from `end`.
    pub(super) fn cut(&mut self, end: End, count: usize) {
        let mut left = count.min(self.len);
        while left > 0 {
            let nth = if end == End::Front { 0 } else { self.nodes.len() - 1 };
            let own = self.nodes[nth].count;
            if own <= left {
                self.take_pack(nth);
                left -= own;
            } else {
                let index = if end == End::Front { 0 } else { -(left as isize) };
                left -= self.edit(nth, |pack| pack.remove_range(index, left));
            }
        }
    }

    /// Adds the elements of a pack of any size at the back.
    pub(super) fn append_pack(&mut self, pack: Pack, limits: ListLimits) {
        if pack.is_empty() {
            return;
        }
        // A pack that was cut by looser limits is taken apart, lest changes in it cost more than they should.
        if pack.len() > 1 && limits.exceeded(pack.byte_len() / 4, pack.len() / 4) {
            let mut buffer = itoa::Buffer::new();
            for element in &pack {
                self.push(End::Back, element.as_bytes(&mut buffer), limits);
            }
        } else {
            self.insert_pack(self.nodes.len(), pack);
        }
    }

    /// Whether an element of `len` bytes may join the `nth` pack.
    fn has_room(&self, nth: usize, len: usize, limits: ListLimits) -> bool {
        let Some(node) = self.nodes.get(nth) else { return false };
        !limits.too_big_to_share(len)
            && !limits.exceeded(node.pack.byte_len() + len + ENTRY_OVERHEAD, node.count + 1)
    }

    /// Joins the `nth` pack and the one after it if together they are small enough.
    fn merge_with_next(&mut self, nth: usize, limits: ListLimits) {
        let (Some(node), Some(next)) = (self.nodes.get(nth), self.nodes.get(nth + 1)) else { return };
        let bytes = node.pack.byte_len() + next.pack.byte_len() - Pack::EMPTY_BYTES;
        if !limits.exceeded(bytes, node.count + next.count) {
            let next = self.take_pack(nth + 1);
            self.edit(nth, |pack| pack.append(&next));
        }
    }

    /// Changes the `nth` pack and keeps the sums; the pack is gone if it has become empty.
    fn edit<R>(&mut self, nth: usize, change: impl FnOnce(&mut Pack) -> R) -> R {
        let result = self.edit_in_place(nth, change);
        if self.nodes[nth].count == 0 {
            self.take_pack(nth);
        }
        result
    }

    /// [`Row::edit`] that leaves an emptied pack for the caller to remove.
    fn edit_in_place<R>(&mut self, nth: usize, change: impl FnOnce(&mut Pack) -> R) -> R {
        let node = &mut self.nodes[nth];
        let (bytes, count) = (node.pack.byte_len(), node.count);
        let result = change(&mut node.pack);
        node.count = node.pack.len();
        self.len = self.len - count + node.count;
        self.bytes = self.bytes - bytes + node.pack.byte_len();
        result
    }

    fn insert_pack(&mut self, nth: usize, pack: Pack) {
        let count = pack.len();
        self.len += count;
        self.bytes += pack.byte_len();
        self.nodes.insert(nth, Node { pack, count });
    }

    fn take_pack(&mut self, nth: usize) -> Pack {
        let node = self.nodes.remove(nth).expect("a pack of the row");
        self.len -= node.count;
        self.bytes -= node.pack.byte_len();
        self.shrink();
        node.pack
    }

    /// Gives back the memory of places for many packs that are gone.
    fn shrink(&mut self) {
        if self.nodes.capacity() > 16 && self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
    }
}
