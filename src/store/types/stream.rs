//! A stream: entries of fields and values in the order of their ids, what XADD builds, and the groups that read it.
//!
//! Entries lie in nodes, several to one [`Pack`], in Redis's own node format: a master entry names the fields
//! of the first entry once, and an entry with the same fields holds values only; ids are kept as differences to the node's first id. So
//! a stream of like entries costs little more than its values, and a dump ships the nodes as they are.
//!
//! ```text
//! master: count, deleted, number of fields, field ..., 0
//! entry:  flags, ms difference, sequence difference, [number of fields,] [field,] value ..., elements of the entry
//! ```
//!
//! The nodes are a plain sequence, as they come and go at its ends: a tree would take more for a short stream than its
//! entries do.
//!
//! Invariant: nodes ascend by their first ids, none is empty of living entries; `len` counts those.

mod group;
#[cfg(test)]
mod tests;

pub use group::{Consumer, Group, Pending};

use super::pack::{Element, Pack};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// An entry's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix time in ms, as a rule.
    pub ms: u64,
    /// Tells entries of one ms apart.
    pub seq: u64,
}

impl StreamId {
    /// The smallest id, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// `ms`, `ms-seq`; `seq` is what a missing sequence means. Not of more than 127 bytes.
    pub fn parse(text: &[u8], seq: u64) -> Option<StreamId> {
        let number = crate::text::number::parse_u64_as_c;
        if text.len() > 127 {
            return None;
        }
        match memchr::memchr(b'-', text) {
            None => Some(StreamId { ms: number(text)?, seq }),
            Some(at) => Some(StreamId { ms: number(&text[..at])?, seq: number(&text[at + 1..])? }),
        }
    }

    /// The id after this one.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The id before this one.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// How large nodes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// `stream-node-max-bytes`; 0 is no limit.
    pub max_bytes: usize,
    /// `stream-node-max-entries`; 0 is no limit.
    pub max_entries: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits { max_bytes: 4096, max_entries: 100 }
    }
}

/// What a trim leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// At most so many entries, the newest.
    Newest(u64),
    /// Entries from this id on.
    From(StreamId),
}

/// An entry found.
pub struct Entry<'s> {
    /// Its id.
    pub id: StreamId,
    /// Its fields, each followed by its value.
    pub pairs: Vec<(Element<'s>, Element<'s>)>,
}

/// Entries in the order of their ids.
#[derive(Clone, Default)]
pub struct Stream {
    /// Each with its first id.
    nodes: VecDeque<(StreamId, Pack)>,
    len: u64,
    /// The greatest id there ever was.
    pub last_id: StreamId,
    /// The greatest id of an entry that was deleted.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
}

/// One entry's place in a node.
struct Slot {
    id: StreamId,
    flags: i64,
    /// Position of the flags.
    at: usize,
    /// Position of the first value or field.
    body: usize,
    /// Fields it has.
    fields: usize,
    /// Position of the next entry, or the end.
    next: usize,
}

/// A node being read.
struct Node<'s> {
    first: StreamId,
    pack: &'s Pack,
    /// Position of the first master field.
    master_fields: usize,
    fields: usize,
    /// Position of the first entry.
    entries: usize,
}

fn int(pack: &Pack, at: usize) -> i64 {
    pack.at(at).int().unwrap_or(0)
}

/// The position `steps` elements behind `at`.
fn skip(pack: &Pack, mut at: usize, steps: usize) -> usize {
    for _ in 0..steps {
        at = pack.end_of(at);
    }
    at
}

impl<'s> Node<'s> {
    fn open(first: StreamId, pack: &'s Pack) -> Node<'s> {
        let start = pack.first().expect("a node has a master entry");
        let fields_at = skip(pack, start, 2);
        let fields = int(pack, fields_at) as usize;
        let master_fields = pack.end_of(fields_at);
        let entries = skip(pack, master_fields, fields + 1);
        Node { first, pack, master_fields, fields, entries }
    }

    fn slot(&self, at: usize) -> Option<Slot> {
        if self.pack.is_end(at) {
            return None;
        }
        let flags = int(self.pack, at);
        let ms_at = self.pack.end_of(at);
        let seq_at = self.pack.end_of(ms_at);
        let id = StreamId {
            ms: self.first.ms.wrapping_add(int(self.pack, ms_at) as u64),
            seq: self.first.seq.wrapping_add(int(self.pack, seq_at) as u64),
        };
        let mut body = self.pack.end_of(seq_at);
        let (fields, elements) = if flags & SAME_FIELDS != 0 {
            (self.fields, self.fields)
        } else {
            let fields = int(self.pack, body) as usize;
            body = self.pack.end_of(body);
            (fields, fields * 2)
        };
        let next = skip(self.pack, body, elements + 1);
        Some(Slot { id, flags, at, body, fields, next })
    }

    fn slots(self) -> impl Iterator<Item = Slot> + use<'s> {
        let mut at = self.entries;
        std::iter::from_fn(move || {
            let slot = self.slot(at)?;
            at = slot.next;
            Some(slot)
        })
    }

    /// The slots of living entries.
    fn living(self) -> impl Iterator<Item = Slot> + use<'s> {
        self.slots().filter(|slot| slot.flags & DELETED == 0)
    }

    fn entry(first: StreamId, pack: &'s Pack, slot: &Slot) -> Entry<'s> {
        let node = Node::open(first, pack);
        let mut pairs = Vec::with_capacity(slot.fields);
        let (mut field, mut at) = (node.master_fields, slot.body);
        for _ in 0..slot.fields {
            let name = if slot.flags & SAME_FIELDS != 0 {
                let name = pack.at(field);
                field = pack.end_of(field);
                name
            } else {
                let name = pack.at(at);
                at = pack.end_of(at);
                name
            };
            pairs.push((name, pack.at(at)));
            at = pack.end_of(at);
        }
        Entry { id: slot.id, pairs }
    }
}

impl Stream {
    /// A stream without entries.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// A stream of nodes and groups as they came out of a dump; `None` if the nodes are not what they should be.
    pub fn from_parts(
        nodes: Vec<(StreamId, Pack)>,
        len: u64,
        last_id: StreamId,
        max_deleted_id: StreamId,
        entries_added: u64,
        groups: BTreeMap<Box<[u8]>, Group>,
    ) -> Option<Stream> {
        let mut nodes = nodes;
        let mut living = 0;
        for (first, pack) in &nodes {
            living += check_node(*first, pack)?;
        }
        nodes.sort_by_key(|(first, _)| *first);
        let ascend = nodes.is_sorted_by(|(one, _), (next, _)| one < next);
        let nodes = VecDeque::from(nodes);
        (ascend && living == len).then_some(Stream {
            nodes,
            len,
            last_id,
            max_deleted_id,
            entries_added,
            groups,
        })
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The nodes, each with its first id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Pack)> {
        self.nodes.iter().map(|(id, pack)| (*id, pack))
    }

    /// The groups by name.
    pub fn groups(&self) -> &BTreeMap<Box<[u8]>, Group> {
        &self.groups
    }

    /// The groups by name, to change.
    pub fn groups_mut(&mut self) -> &mut BTreeMap<Box<[u8]>, Group> {
        &mut self.groups
    }

    /// Bytes the stream has allocated.
    pub fn allocated_bytes(&self) -> usize {
        let packs: usize = self.nodes.iter().map(|(_, pack)| pack.byte_len()).sum();
        let nodes = packs + self.nodes.capacity() * size_of::<(StreamId, Pack)>();
        nodes + self.groups.iter().map(|(name, group)| name.len() + group.allocated_bytes()).sum::<usize>()
    }

    /// The id of the first entry.
    pub fn first_id(&self) -> Option<StreamId> {
        self.range(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The id of the last living entry.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// Whether an entry of `pairs` can be added to a stream: it must fit into one node.
    pub fn can_hold<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        packed_bytes(pairs) < Pack::MAX_BYTES
    }

    /// Adds an entry whose id is above [`Stream::last_id`].
    pub fn add<'a>(
        &mut self,
        id: StreamId,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: StreamLimits,
    ) {
        debug_assert!(id > self.last_id || self.entries_added == 0);
        let size: usize = pairs.clone().map(|(field, value)| field.len() + value.len()).sum();
        let fits = self.nodes.back().is_some_and(|(_, pack)| {
            let count =
                int(pack, pack.first().unwrap_or(0)) + int(pack, skip(pack, pack.first().unwrap_or(0), 1));
            (limits.max_bytes == 0 || pack.byte_len() + size < limits.max_bytes)
                && (limits.max_entries == 0 || (count as usize) < limits.max_entries)
                && pack.fits(packed_bytes(pairs.clone()))
        });
        let fields = pairs.clone().count();
        if !fits {
            let zero = [Element::Int(0), Element::Int(0), Element::Int(fields as i64)];
            let names = pairs.clone().map(|(field, _)| Element::from(field));
            let master = Pack::of(zero.into_iter().chain(names).chain([Element::Int(0)]));
            if self.nodes.is_empty() {
                // Most streams never have a second node.
                self.nodes.reserve_exact(1);
            }
            self.nodes.push_back((id, master));
        }
        let (first, pack) = self.nodes.back_mut().expect("a node was just made");
        let node = Node::open(*first, pack);
        let same = node.fields == fields && {
            let mut at = node.master_fields;
            pairs.clone().all(|(field, _)| {
                let equal = pack.at(at).eq_bytes(field);
                at = pack.end_of(at);
                equal
            })
        };
        let differences = [id.ms.wrapping_sub(first.ms) as i64, id.seq.wrapping_sub(first.seq) as i64];
        let mut elements: SmallVec<[Element<'a>; 16]> = SmallVec::new();
        elements.push(Element::Int(if same { SAME_FIELDS } else { 0 }));
        elements.extend(differences.map(Element::Int));
        if !same {
            elements.push(Element::Int(fields as i64));
        }
        for (field, value) in pairs {
            if !same {
                elements.push(Element::from(field));
            }
            elements.push(Element::from(value));
        }
        elements.push(Element::Int(elements.len() as i64));
        pack.push_back_all(elements);
        change_counts(pack, 1, 0);
        self.len += 1;
        self.last_id = id;
        self.entries_added += 1;
    }

    /// The entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        self.nodes_between(start, end)
            .flat_map(|(first, pack)| Node::open(*first, pack).living().map(move |slot| (*first, pack, slot)))
            .skip_while(move |(.., slot)| slot.id < start)
            .take_while(move |(.., slot)| slot.id <= end)
            .map(|(first, pack, slot)| Node::entry(first, pack, &slot))
    }

    /// The entries from `end` back to `start`, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        self.nodes_between(start, end)
            .rev()
            .flat_map(move |(first, pack)| {
                let slots: Vec<Slot> = Node::open(*first, pack)
                    .living()
                    .filter(|slot| slot.id >= start && slot.id <= end)
                    .collect();
                slots.into_iter().rev().map(move |slot| (*first, pack, slot))
            })
            .map(|(first, pack, slot)| Node::entry(first, pack, &slot))
    }

    /// How many nodes begin at `id` or before it.
    fn nodes_until(&self, id: StreamId) -> usize {
        // Readers are at the end as a rule.
        match self.nodes.back() {
            Some((last, _)) if *last <= id => self.nodes.len(),
            _ => self.nodes.partition_point(|(first, _)| *first <= id),
        }
    }

    /// The nodes that may have entries from `start` to `end`, both included.
    fn nodes_between(
        &self,
        start: StreamId,
        end: StreamId,
    ) -> impl DoubleEndedIterator<Item = &(StreamId, Pack)> {
        let from = self.nodes_until(start).saturating_sub(1);
        let to = self.nodes_until(end).max(from);
        self.nodes.range(from..to)
    }

    /// Gives back room for nodes that are gone, once it is most of the room there is.
    fn give_back(&mut self) {
        if self.nodes.capacity() > 16 && self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.capacity() / 2);
        }
    }

    /// Whether there is an entry `id`.
    pub fn contains(&self, id: StreamId) -> bool {
        self.range(id, id).next().is_some()
    }

    /// Removes the entry `id`; false if there is none.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let Some(at) = self.nodes_until(id).checked_sub(1) else { return false };
        let (first, pack) = &mut self.nodes[at];
        let Some(slot) = Node::open(*first, pack).living().find(|slot| slot.id == id) else { return false };
        delete_slots(pack, &[slot]);
        if int(pack, pack.first().unwrap_or(0)) == 0 {
            self.nodes.remove(at);
            self.give_back();
        }
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        true
    }

    /// Removes entries from the front until `keep` is met; returns how many went.
    ///
    /// `approximate` removes whole nodes only, `limit` (0: none) entries at the most.
    pub fn trim(&mut self, keep: Keep, approximate: bool, limit: u64) -> u64 {
        let mut gone = 0;
        loop {
            let Some((first, pack)) = self.nodes.front_mut() else { return gone };
            let first = *first;
            let living = int(pack, pack.first().unwrap_or(0)) as u64;
            let all = match keep {
                Keep::Newest(most) if self.len <= most => return gone,
                Keep::Newest(most) => self.len - living >= most,
                Keep::From(id) => {
                    let last = Node::open(first, pack).living().last().map_or(first, |slot| slot.id);
                    last < id
                }
            };
            if limit > 0 && gone + living > limit {
                return gone;
            }
            if all {
                self.nodes.pop_front();
                self.give_back();
                self.len -= living;
                gone += living;
                continue;
            }
            if approximate {
                return gone;
            }
            let doomed: Vec<Slot> = match keep {
                Keep::Newest(most) => {
                    Node::open(first, pack).living().take((self.len - most) as usize).collect()
                }
                Keep::From(id) => Node::open(first, pack).living().take_while(|slot| slot.id < id).collect(),
            };
            delete_slots(pack, &doomed);
            self.len -= doomed.len() as u64;
            return gone + doomed.len() as u64;
        }
    }

    /// How many entries were added up to and with `id`, where that can be told (XINFO, the lag of a group).
    pub fn entries_read_at(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id < self.last_id {
            return Some(self.entries_added);
        }
        if id != StreamId::MIN && id < self.max_deleted_id {
            return None;
        }
        let newest = id.cmp(&self.last_id);
        if newest.is_eq() {
            return Some(self.entries_added);
        }
        if newest.is_gt() {
            return None;
        }
        let first = self.first_id()?;
        if self.max_deleted_id == StreamId::MIN || self.max_deleted_id < first {
            if id < first {
                return Some(self.entries_added - self.len);
            }
            if id == first {
                return Some(self.entries_added - self.len + 1);
            }
        }
        None
    }

    /// Whether an entry between `start` and `end` (default: the last) was deleted.
    pub fn has_tombstones(&self, start: StreamId, end: Option<StreamId>) -> bool {
        let any = self.len > 0 && self.max_deleted_id != StreamId::MIN;
        any && self.max_deleted_id >= start && self.max_deleted_id <= end.unwrap_or(StreamId::MAX)
    }
}

/// The most bytes an entry takes in a node, the node's own and the names of its fields included.
fn packed_bytes<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> usize {
    // An element takes up to ten bytes beside its text.
    pairs.map(|(field, value)| field.len() + value.len() + 30).sum::<usize>() + 128
}

/// Marks entries as deleted.
fn delete_slots(pack: &mut Pack, slots: &[Slot]) {
    // Flags stay as long as they are and move nothing; the counts at the front may not, so they come last.
    slots.iter().for_each(|slot| pack.replace(slot.at, Element::Int(slot.flags | DELETED)));
    change_counts(pack, -(slots.len() as i64), slots.len() as i64);
}

/// Changes the counts in a node's master entry.
fn change_counts(pack: &mut Pack, living: i64, deleted: i64) {
    let at = pack.first().expect("a node has a master entry");
    let count = int(pack, at) + living;
    pack.replace(at, Element::Int(count));
    if deleted != 0 {
        let at = skip(pack, at, 1);
        let count = int(pack, at) + deleted;
        pack.replace(at, Element::Int(count));
    }
}

/// Counts the living entries of a node of unknown origin; `None` if it is malformed.
fn check_node(first: StreamId, pack: &Pack) -> Option<u64> {
    let elements: Vec<Element<'_>> = pack.iter().collect();
    let number = |at: usize| elements.get(at).and_then(|element| element.int());
    let size = |at: usize| number(at).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= elements.len());
    let (count, deleted, fields) = (size(0)?, size(1)?, size(2)?);
    let mut at = 3 + fields;
    number(at).filter(|zero| *zero == 0)?;
    at += 1;
    let (mut living, mut dead) = (0, 0);
    let mut last = None;
    while at < elements.len() {
        let flags = number(at)?;
        let id = StreamId {
            ms: first.ms.wrapping_add(number(at + 1)? as u64),
            seq: first.seq.wrapping_add(number(at + 2)? as u64),
        };
        if last.is_some_and(|last| id <= last) {
            return None;
        }
        last = Some(id);
        let body = if flags & SAME_FIELDS != 0 {
            3 + fields
        } else {
            size(at + 3)?.checked_mul(2)?.checked_add(4)?
        };
        let end = at.checked_add(body)?;
        number(end).filter(|n| *n == body as i64)?;
        if flags & DELETED != 0 {
            dead += 1
        } else {
            living += 1
        }
        at = end + 1;
    }
    (living == count && dead == deleted && living > 0).then_some(living as u64)
}
