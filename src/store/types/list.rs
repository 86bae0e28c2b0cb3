//! A list of strings: what RPUSH and LPUSH build.
//!
//! Small, it is one pack ("listpack"). Larger, it is a row of packs ("quicklist"), each kept below the
//! configured size, so that a push or pop moves at most one pack's bytes and an index is found by
//! adding up counts instead of walking elements. An element too big to share a pack has one of its own.
//!
//! The two turn into each other as in Redis 7.2: a pack that would pass the limit becomes a row, and a
//! row of one pack becomes that pack again once it is no more than half the limit.
//!
//! The list knows nothing of keys, time or replies. The limits are passed in with every change, as they
//! may be changed while lists exist.

mod row;
#[cfg(test)]
mod tests;

use super::pack::{self, Element, Needle, Pack};
use row::Row;
use std::ops::Range;

/// `list-max-listpack-size` at which size limits in count mode still apply, in bytes.
const SAFE_BYTES: usize = 8192;
/// The size limits -1 to -5 stand for, in bytes.
const SIZES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];

/// How large the packs of a list may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// `list-max-listpack-size`: elements per pack if positive (0 is 1); -1 to -5 stand for 4, 8, 16, 32,
    /// 64 KiB per pack.
    pub max_listpack_size: i32,
}

impl Default for ListLimits {
    fn default() -> Self {
        ListLimits { max_listpack_size: -2 }
    }
}

impl ListLimits {
    /// The limit in bytes, or none where elements are counted.
    fn bytes(self) -> Option<usize> {
        let level = usize::try_from(-i64::from(self.max_listpack_size)).ok()?;
        level.checked_sub(1).map(|level| SIZES[level.min(SIZES.len() - 1)])
    }

    /// The limit in elements; meaningful where [`ListLimits::bytes`] is none.
    fn count(self) -> usize {
        self.max_listpack_size.clamp(1, i32::from(i16::MAX)) as usize
    }

    /// Whether a pack of this size would be too large.
    fn exceeded(self, bytes: usize, count: usize) -> bool {
        match self.bytes() {
            Some(limit) => bytes > limit,
            None => bytes > SAFE_BYTES || count > self.count(),
        }
    }

    /// Whether an element of `len` bytes has to have a pack of its own.
    fn too_big_to_share(self, len: usize) -> bool {
        len > self.bytes().unwrap_or(SAFE_BYTES)
    }

    /// Whether a row's only pack is small enough to stand alone; `halved` once elements were removed, so
    /// that a list at the limit does not turn to and fro.
    fn stands_alone(self, pack: &Pack, halved: bool) -> bool {
        let by = if halved { 2 } else { 1 };
        match self.bytes() {
            Some(limit) => pack.byte_len() <= limit / by,
            None => pack.byte_len() <= SAFE_BYTES && pack.len() <= self.count() / by,
        }
    }
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head: index 0.
    Front,
    /// The tail: index -1.
    Back,
}

impl End {
    /// The number one nearer to this end.
    fn step(self, nth: usize) -> Option<usize> {
        match self {
            End::Front => nth.checked_sub(1),
            End::Back => nth.checked_add(1),
        }
    }
}

/// A sequence of strings, cheap to change at both ends.
#[derive(Clone, Debug)]
pub struct List {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Pack(Pack),
    Row(Box<Row>),
}

impl Default for List {
    fn default() -> Self {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        List { form: Form::Pack(Pack::new()) }
    }

    /// The list made of the elements of `packs` in their order; `None` if there are none. The packs may be
    /// of any size: they are as they came out of a dump.
    pub fn from_packs(packs: impl IntoIterator<Item = Pack>, limits: ListLimits) -> Option<Self> {
        let mut row = Row::default();
        for pack in packs {
            row.append_pack(pack, limits);
        }
        (row.len() > 0).then(|| {
            let mut list = List { form: Form::Row(Box::new(row)) };
            list.stand_alone(limits, false);
            list
        })
    }

    /// The packs that make up the list, in order, for a dump.
    pub fn packs(&self) -> impl Iterator<Item = &Pack> {
        (0..).map_while(|nth| self.pack(nth))
    }

    /// The pack of a small list.
    pub fn as_pack(&self) -> Option<&Pack> {
        match &self.form {
            Form::Pack(pack) => Some(pack),
            Form::Row(_) => None,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Pack(pack) => pack.len(),
            Form::Row(row) => row.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Pack(pack) => pack.is_empty(),
            Form::Row(row) => row.len() == 0,
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Pack(_) => "listpack",
            Form::Row(_) => "quicklist",
        }
    }

    /// Bytes the list has allocated; takes no longer for a long one.
    pub fn allocated_bytes(&self) -> usize {
        match &self.form {
            Form::Pack(pack) => pack.byte_len(),
            Form::Row(row) => size_of::<Row>() + row.allocated_bytes(),
        }
    }

    /// Index of the element `index` names, where negative ones count from the end.
    pub fn resolve(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let from_front = if index < 0 { index.checked_add_unsigned(len as u64)? } else { index };
        usize::try_from(from_front).ok().filter(|&index| index < len)
    }

    /// The element at `index`; negative indexes count from the end, -1 being the last.
    pub fn get(&self, index: i64) -> Option<Element<'_>> {
        let (pack, position) = self.locate(self.resolve(index)?);
        Some(self.pack(pack)?.at(position))
    }

    /// The elements from the first to the last.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0, End::Back)
    }

    /// The element at `index`, counted from the front, and those after it going towards `end`. Empty if
    /// there is no such element.
    pub fn iter_from(&self, index: usize, end: End) -> Iter<'_> {
        let none = Iter { list: self, next: None, current: pack::Iter::default(), toward: end };
        if index >= self.len() {
            return none;
        }
        let (nth, position) = self.locate(index);
        let Some(pack) = self.pack(nth) else { return none };
        let current = match end {
            End::Back => pack.iter_from(position),
            End::Front => pack.iter_through(position),
        };
        Iter { next: end.step(nth), current, ..none }
    }

    /// Visits the elements of `range`, as far as there are any, in order. An iterator, which may go either way and has to ask for
    /// each element in which pack it is, took twice the instructions.
    pub fn visit(&self, range: Range<usize>, mut visit: impl FnMut(Element<'_>)) {
        let mut left = range.len();
        if range.start >= self.len() {
            return;
        }
        let (mut nth, position) = self.locate(range.start);
        let mut elements = self.pack(nth).map(|pack| pack.iter_from(position));
        while let Some(here) = elements {
            for element in here.take(left) {
                visit(element);
                left -= 1;
            }
            if left == 0 {
                return;
            }
            nth += 1;
            elements = self.pack(nth).map(Pack::iter);
        }
    }

    /// Indexes of elements equal to `value`, as LPOS finds them. `rank` 1 is the first match, 2 the second;
    /// negative ranks search from the end. No more than `most` indexes are returned, and no more than
    /// `compared` elements looked at.
    pub fn positions(&self, value: &[u8], rank: i64, most: usize, compared: usize) -> Vec<usize> {
        let needle = Needle::new(value);
        let last = self.len().saturating_sub(1);
        let (from, toward) = if rank < 0 { (last, End::Front) } else { (0, End::Back) };
        let skipped = usize::try_from(rank.unsigned_abs()).unwrap_or(usize::MAX).saturating_sub(1);
        self.iter_from(from, toward)
            .take(compared)
            .enumerate()
            .filter(|(_, element)| needle.matches(*element))
            .map(|(steps, _)| if rank < 0 { last - steps } else { steps })
            .skip(skipped)
            .take(most)
            .collect()
    }

    /// The longest element a list may be given.
    pub const MAX_ELEMENT_BYTES: usize = Pack::MAX_BYTES - 64;

    /// Adds `values` one after the other at `end`.
    pub fn push<'a, I>(&mut self, end: End, values: I, limits: ListLimits)
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: Clone,
    {
        let values = values.into_iter();
        let (bytes, count) = values.clone().fold((0, 0), |(sum, n), value| (sum + value.len(), n + 1));
        self.make_room(bytes, count, limits);
        for value in values {
            match &mut self.form {
                Form::Pack(pack) => push(pack, end, value),
                Form::Row(row) => row.push(end, value, limits),
            }
        }
    }

    /// Takes the element at `end` out and gives it to `read` before it is gone; `None` if the list is empty.
    pub fn pop<R>(&mut self, end: End, limits: ListLimits, read: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        let result = match &mut self.form {
            Form::Pack(pack) => pop(pack, end, read)?,
            Form::Row(row) => row.pop(end, read)?,
        };
        self.stand_alone(limits, true);
        Some(result)
    }

    /// Puts `value` in place of the element at `index` (negative: from the end); false if there is none.
    pub fn set(&mut self, index: i64, value: &[u8], limits: ListLimits) -> bool {
        let Some(index) = self.resolve(index) else { return false };
        self.make_room(value.len(), 1, limits);
        let (nth, position) = self.locate(index);
        match &mut self.form {
            Form::Pack(pack) => pack.replace(position, value),
            Form::Row(row) => row.replace(nth, position, value, limits),
        }
        self.stand_alone(limits, true);
        true
    }

    /// Adds `value` before the first element equal to `pivot`; false if there is none.
    pub fn insert_before(&mut self, pivot: &[u8], value: &[u8], limits: ListLimits) -> bool {
        self.insert(pivot, value, false, limits)
    }

    /// Adds `value` after the first element equal to `pivot`; false if there is none.
    pub fn insert_after(&mut self, pivot: &[u8], value: &[u8], limits: ListLimits) -> bool {
        self.insert(pivot, value, true, limits)
    }

    /// Removes elements equal to `value`: the first `count` of them, the last `-count` if negative, all of them
    /// if 0. Returns how many went.
    pub fn remove(&mut self, count: i64, value: &[u8], limits: ListLimits) -> usize {
        let needle = Needle::new(value);
        let end = if count < 0 { End::Back } else { End::Front };
        let most = match count {
            0 => usize::MAX,
            count => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
        };
        let removed = match &mut self.form {
            Form::Pack(pack) => remove(pack, end, most, &needle),
            Form::Row(row) => row.remove(end, most, &needle),
        };
        if removed > 0 {
            self.stand_alone(limits, true);
        }
        removed
    }

    /// Keeps the elements with indexes in `range`, counted from the front, and removes all others.
    pub fn trim(&mut self, range: Range<usize>, limits: ListLimits) {
        let len = self.len();
        let end = range.end.min(len);
        let start = range.start.min(end);
        match &mut self.form {
            Form::Pack(pack) => {
                pack.remove_range(end as isize, len - end);
                pack.remove_range(0, start);
            }
            Form::Row(row) => {
                row.cut(End::Back, len - end);
                row.cut(End::Front, start);
            }
        }
        self.stand_alone(limits, true);
    }

    fn insert(&mut self, pivot: &[u8], value: &[u8], after: bool, limits: ListLimits) -> bool {
        let found = (0..).map_while(|nth| self.pack(nth).map(|pack| (nth, pack))).find_map(|(nth, pack)| {
            let position = pack.find(pivot, pack.first()?, 0)?;
            Some((nth, if after { pack.end_of(position) } else { position }))
        });
        let Some((nth, position)) = found else { return false };
        self.make_room(value.len(), 1, limits);
        match &mut self.form {
            Form::Pack(pack) => pack.insert_before(position, value),
            Form::Row(row) => row.insert(nth, position, value, limits),
        }
        true
    }

    /// Turns a pack into a row if it would be too large with `count` elements of `bytes` bytes of text added.
    fn make_room(&mut self, bytes: usize, count: usize, limits: ListLimits) {
        if let Form::Pack(pack) = &mut self.form
            && limits.exceeded(pack.byte_len().saturating_add(bytes), pack.len() + count)
        {
            let row = Row::from(std::mem::take(pack));
            self.form = Form::Row(Box::new(row));
        }
    }

    /// Turns a row of one small pack into that pack.
    fn stand_alone(&mut self, limits: ListLimits, halved: bool) {
        if let Form::Row(row) = &mut self.form
            && row.only_pack().is_none_or(|pack| limits.stands_alone(pack, halved))
            && let Some(pack) = row.take_only_pack()
        {
            self.form = Form::Pack(pack);
        }
    }

    fn pack(&self, nth: usize) -> Option<&Pack> {
        match &self.form {
            Form::Pack(pack) => (nth == 0).then_some(pack),
            Form::Row(row) => row.pack(nth),
        }
    }

    /// The pack and the position in it of the element at `index`, which is below `len`.
    fn locate(&self, index: usize) -> (usize, usize) {
        let (nth, index) = match &self.form {
            Form::Pack(_) => (0, index),
            Form::Row(row) => row.locate(index),
        };
        let position = self.pack(nth).and_then(|pack| pack.seek(index as isize));
        (nth, position.expect("an index below the length"))
    }
}

impl<'l> IntoIterator for &'l List {
    type Item = Element<'l>;
    type IntoIter = Iter<'l>;

    fn into_iter(self) -> Iter<'l> {
        self.iter()
    }
}

/// The elements of a list from some index on, towards one of its ends.
#[derive(Clone)]
pub struct Iter<'l> {
    list: &'l List,
    /// The pack to walk after `current`; it need not exist.
    next: Option<usize>,
    current: pack::Iter<'l>,
    toward: End,
}

impl<'l> Iterator for Iter<'l> {
    type Item = Element<'l>;

    fn next(&mut self) -> Option<Element<'l>> {
        loop {
            let element = match self.toward {
                End::Back => self.current.next(),
                End::Front => self.current.next_back(),
            };
            if element.is_some() {
                return element;
            }
            let nth = self.next?;
            self.current = self.list.pack(nth)?.iter();
            self.next = self.toward.step(nth);
        }
    }
}

fn push(pack: &mut Pack, end: End, value: &[u8]) {
    match end {
        End::Front => pack.push_front(value),
        End::Back => pack.push_back(value),
    }
}

fn pop<R>(pack: &mut Pack, end: End, read: impl FnOnce(Element<'_>) -> R) -> Option<R> {
    let position = match end {
        End::Front => pack.first()?,
        End::Back => pack.last()?,
    };
    let result = read(pack.at(position));
    pack.remove(position);
    Some(result)
}

/// Removes the `most` elements equal to `needle` that are nearest to `end`; returns how many there were.
fn remove(pack: &mut Pack, end: End, most: usize, needle: &Needle<'_>) -> usize {
    let matches = pack.iter().filter(|element| needle.matches(*element)).count();
    if matches == 0 {
        return 0;
    }
    let (mut kept, mut left) = match end {
        End::Front => (0, most),
        End::Back => (matches.saturating_sub(most), most),
    };
    pack.retain(|element| {
        if !needle.matches(element) {
            return true;
        }
        if kept > 0 {
            kept -= 1;
            return true;
        }
        if left == 0 {
            return true;
        }
        left -= 1;
        false
    })
}
