//! A hash table that grows a small piece at a time, packs its items tightly, and can be walked in a stable order.
//!
//! Linear hashing (Litwin, 1980): the hash's low bits choose a segment, and whenever the average segment is full one more
//! is split off, in a fixed order. An insert thus moves a few hundred items at the most, whatever the table's size.
//!
//! A segment is a sorted array. Its items lie in the order of the hash's high 16 bits, the *tag*; as tags are spread
//! evenly, the place of one is known to within a few steps (interpolation search, Peterson 1957). Nothing is left
//! empty for probing: with 8-byte items the table takes about 11 bytes each, where open addressing at powers of two takes 10 to 21.
//!
//! A walk ([`Table::scan`]) follows the *bit-reversed* hash. Splitting a segment cuts its range of
//! reversed hashes in two and keeps the order, so an item present during the whole walk is met
//! exactly once, whatever is inserted or removed meanwhile.
//!
//! Invariant: an item with hash `h` lies in segment `segment_of(h)`; within it tags never fall; `len` is the sum of all lengths.

use super::entry::prefetch;
use super::hash::hash;
use std::ops::Range;

/// Mean items per segment at which the next segment is split off. The fullest have twice as many by then.
const SPLIT_AT: usize = 192;

/// What a [`Table`] holds: something that knows the bytes it is filed under.
pub trait Keyed {
    /// The bytes this item is found by; constant while it is in a table.
    fn key(&self) -> &[u8];
}

impl Keyed for Box<[u8]> {
    fn key(&self) -> &[u8] {
        self
    }
}

/// Where an item of a [`Table`] lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    segment: u32,
    index: u32,
}

impl Place {
    /// Where no item lies.
    pub const NOWHERE: Place = Place { segment: u32::MAX, index: u32::MAX };
}

/// A set of `T`, one for each key.
pub struct Table<T> {
    segments: Vec<Segment<T>>,
    /// One less than the power of two above the number of segments.
    mask: u32,
    len: usize,
    /// The most items any segment had: the range of a fair random draw.
    widest: usize,
}

/// Items in the order of their tags.
struct Segment<T> {
    tags: Vec<u16>,
    items: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { segments: Vec::new(), mask: 0, len: 0, widest: 0 }
    }
}

impl<T> Default for Segment<T> {
    fn default() -> Self {
        Segment { tags: Vec::new(), items: Vec::new() }
    }
}

#[inline]
fn tag(h: u32) -> u16 {
    (h >> 16) as u16
}

/// Room for `len` items that the allocator's size classes, four to a doubling, hold without waste.
fn roomy(len: usize) -> usize {
    if len <= 4 {
        return len;
    }
    let step = (1usize << (len - 1).ilog2()) >> 2;
    len.next_multiple_of(step.max(1))
}

/// Whether two keys are the same. Most are so short that two loads of each, which may overlap, cost less than a call.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) if a.len() <= 16 && a.len() == b.len() => {
            a_first == b_first && a_last == b_last
        }
        _ => a == b,
    }
}

impl<T> Segment<T> {
    fn with_room(len: usize) -> Self {
        let room = roomy(len);
        Segment { tags: Vec::with_capacity(room), items: Vec::with_capacity(room) }
    }

    /// About where items of `tag` are.
    #[inline]
    fn guess(&self, tag: u16) -> usize {
        (tag as usize * self.tags.len()) >> 16
    }

    /// The first index whose tag is not below `tag`.
    #[inline]
    fn start_of(&self, tag: u16) -> usize {
        let tags = &self.tags[..];
        let mut at = self.guess(tag);
        if at < tags.len() && tags[at] < tag {
            at += 1;
            while at < tags.len() && tags[at] < tag {
                at += 1;
            }
        } else {
            while at > 0 && tags[at - 1] >= tag {
                at -= 1;
            }
        }
        at
    }

    /// The items of hash `h` and a few others whose tag is the same.
    #[inline]
    fn alike(&self, h: u32) -> Range<usize> {
        let tag = tag(h);
        let start = self.start_of(tag);
        let mut end = start;
        while self.tags.get(end) == Some(&tag) {
            end += 1;
        }
        start..end
    }

    #[inline]
    fn find(&self, h: u32, mut test: impl FnMut(&T) -> bool) -> Option<usize> {
        let tag = tag(h);
        let mut at = self.start_of(tag);
        while self.tags.get(at) == Some(&tag) {
            if test(&self.items[at]) {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    fn insert(&mut self, h: u32, item: T) {
        let at = self.start_of(tag(h));
        if self.items.len() == self.items.capacity() {
            let more = roomy(self.items.len() + 1) - self.items.len();
            self.items.reserve_exact(more);
            self.tags.reserve_exact(more);
        }
        self.tags.insert(at, tag(h));
        self.items.insert(at, item);
    }

    fn remove(&mut self, at: usize) -> T {
        self.tags.remove(at);
        let item = self.items.remove(at);
        if self.items.capacity() > 16 && self.items.len() * 2 < self.items.capacity() {
            let room = roomy(self.items.len() * 5 / 4);
            self.tags.shrink_to(room);
            self.items.shrink_to(room);
        }
        item
    }

    fn allocated_bytes(&self) -> usize {
        self.tags.capacity() * size_of::<u16>() + self.items.capacity() * size_of::<T>()
    }
}

impl<T: Keyed> Table<T> {
    /// An empty table; allocates nothing.
    pub fn new() -> Self {
        Table::default()
    }

    /// How many items it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops every item and all memory.
    pub fn clear(&mut self) {
        *self = Table::default();
    }

    /// The item filed under `key`.
    pub fn find(&self, key: &[u8]) -> Option<&T> {
        self.find_hashed(hash(key), key)
    }

    /// The item filed under `key`, to change in all but its key.
    pub fn find_mut(&mut self, key: &[u8]) -> Option<&mut T> {
        self.find_hashed_mut(hash(key), key)
    }

    /// Whether an item is filed under `key`.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// [`Table::find`] where `h` is already known to be `hash(key)`.
    #[inline]
    pub fn find_hashed(&self, h: u32, key: &[u8]) -> Option<&T> {
        self.at(self.locate(h, key)?)
    }

    /// [`Table::find_mut`] where `h` is already known to be `hash(key)`.
    #[inline]
    pub fn find_hashed_mut(&mut self, h: u32, key: &[u8]) -> Option<&mut T> {
        self.at_mut(self.locate(h, key)?)
    }

    /// Where the item filed under `key` lies, to look at it again without a search; `h` is `hash(key)`.
    #[inline]
    pub fn locate(&self, h: u32, key: &[u8]) -> Option<Place> {
        let segment = self.segment_of(h);
        let index = self.segments.get(segment)?.find(h, |item| is_same(item.key(), key))?;
        Some(Place { segment: segment as u32, index: index as u32 })
    }

    /// [`Table::locate`] where `seen` is where the item seemed to be not long ago: mostly it still is, and nothing is searched.
    #[inline(always)]
    pub fn locate_near(&self, h: u32, key: &[u8], seen: Place) -> Option<Place> {
        match self.at(seen) {
            Some(item) if is_same(item.key(), key) => Some(seen),
            _ => self.locate(h, key),
        }
    }

    /// Where the first item is whose tag is that of `h`, if there is any: the one of hash `h`, but for one in some hundred times.
    #[inline]
    pub fn likely(&self, h: u32) -> Place {
        let at = self.segment_of(h);
        match self.segments.get(at) {
            Some(segment) => Place { segment: at as u32, index: segment.start_of(tag(h)) as u32 },
            None => Place::NOWHERE,
        }
    }

    /// Has the processor fetch what [`Table::likely`] is about to look at.
    #[inline]
    pub fn prefetch(&self, h: u32) {
        if let Some(segment) = self.segments.get(self.segment_of(h)) {
            let guess = segment.guess(tag(h));
            prefetch(segment.tags.as_ptr().wrapping_add(guess).cast());
            prefetch(segment.items.as_ptr().wrapping_add(guess).cast());
        }
    }

    /// The item at `place`, as long as nothing was inserted or removed since.
    #[inline]
    pub fn at(&self, place: Place) -> Option<&T> {
        self.segments.get(place.segment as usize)?.items.get(place.index as usize)
    }

    /// The item at `place`, to change in all but its key.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        self.segments.get_mut(place.segment as usize)?.items.get_mut(place.index as usize)
    }

    /// Files `item` under its key and gives back the one it replaced.
    pub fn insert(&mut self, item: T) -> Option<T> {
        let h = hash(item.key());
        match self.find_hashed_mut(h, item.key()) {
            Some(old) => Some(std::mem::replace(old, item)),
            None => {
                self.insert_new(h, item);
                None
            }
        }
    }

    /// Files an item known to be absent; `h` is `hash(item.key())`.
    pub fn insert_new(&mut self, h: u32, item: T) {
        if self.segments.is_empty() {
            self.segments.push(Segment::default());
        }
        let at = self.segment_of(h);
        let segment = &mut self.segments[at];
        segment.insert(h, item);
        self.widest = self.widest.max(segment.items.len());
        self.len += 1;
        if self.len > self.segments.len() * SPLIT_AT {
            self.split();
        }
    }

    /// Takes out the item filed under `key`.
    pub fn remove(&mut self, key: &[u8]) -> Option<T> {
        self.remove_hashed(hash(key), key)
    }

    /// [`Table::remove`] where `h` is already known to be `hash(key)`.
    pub fn remove_hashed(&mut self, h: u32, key: &[u8]) -> Option<T> {
        let place = self.locate(h, key)?;
        Some(self.remove_at(place))
    }

    /// Takes out the first item of hash `h` that `test` accepts.
    pub fn remove_if(&mut self, h: u32, mut test: impl FnMut(&T) -> bool) -> Option<T> {
        let segment = self.segment_of(h);
        let index = self.segments.get(segment)?.find(h, |item| hash(item.key()) == h && test(item))?;
        Some(self.remove_at(Place { segment: segment as u32, index: index as u32 }))
    }

    fn remove_at(&mut self, place: Place) -> T {
        let item = self.segments[place.segment as usize].remove(place.index as usize);
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        }
        item
    }

    /// Every item of hash `h`.
    pub fn with_hash(&self, h: u32) -> impl Iterator<Item = &T> {
        let segment = self.segments.get(self.segment_of(h));
        let alike = segment.map_or(&[][..], |segment| &segment.items[segment.alike(h)]);
        alike.iter().filter(move |item| hash(item.key()) == h)
    }

    /// Every item, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|segment| segment.items.iter())
    }

    /// Every item, in no order, to change in all but its key.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.segments.iter_mut().flat_map(|segment| segment.items.iter_mut())
    }

    /// Takes out all items at once.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(self).segments.into_iter().flat_map(|segment| segment.items)
    }

    /// Any item, each as likely as another.
    ///
    /// Draws a segment and an index until it meets an item; only a table that lost nearly all of its items
    /// takes the second, slightly unfair way.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..512 {
            let segment = &self.segments[rng.usize(..self.segments.len())];
            if let Some(item) = segment.items.get(rng.usize(..self.widest)) {
                return Some(item);
            }
        }
        let start = rng.usize(..self.segments.len());
        let (before, from) = self.segments.split_at(start);
        let segment = from.iter().chain(before).find(|segment| !segment.items.is_empty())?;
        segment.items.get(rng.usize(..segment.items.len()))
    }

    /// Visits at least `count` items (fewer only at the end) from `cursor` on, and returns the cursor to go on
    /// from, 0 at the end. Begin with 0. Cursors lie below 2^32.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&T)) -> u64 {
        let mut left = count.max(1);
        self.scan_until(cursor, |item| {
            visit(item);
            left = left.saturating_sub(1);
            left == 0
        })
    }

    /// As [`Table::scan`], until `visit` says that it was enough, and to the end of the items with equal hashes. Those before a cursor are
    /// the ones whose bit-reversed hash is less.
    pub fn scan_until(&self, cursor: u64, mut visit: impl FnMut(&T) -> bool) -> u64 {
        let Ok(mut at) = u32::try_from(cursor) else { return 0 };
        if self.segments.is_empty() {
            return 0;
        }
        let mut met: Vec<(u32, &T)> = Vec::new();
        let mut enough = None;
        loop {
            let index = self.segment_of(at.reverse_bits());
            met.clear();
            let items = self.segments[index].items.iter().map(|item| (hash(item.key()).reverse_bits(), item));
            met.extend(items.filter(|(reversed, _)| *reversed >= at));
            met.sort_unstable_by_key(|(reversed, _)| *reversed);
            for (reversed, item) in &met {
                match enough {
                    Some(last) if last != *reversed => return u64::from(last) + 1,
                    Some(_) => drop(visit(item)),
                    None => enough = visit(item).then_some(*reversed),
                }
            }
            match self.last_reversed(index).checked_add(1) {
                None => return 0,
                Some(next) if enough.is_some() => return u64::from(next),
                Some(next) => at = next,
            }
        }
    }

    /// How many items it has room for.
    pub fn places(&self) -> usize {
        self.segments.iter().map(|segment| segment.items.capacity()).sum()
    }

    /// Bytes allocated for the table itself, without what items own.
    pub fn allocated_bytes(&self) -> usize {
        self.segments.capacity() * size_of::<Segment<T>>()
            + self.segments.iter().map(Segment::allocated_bytes).sum::<usize>()
    }

    #[inline]
    fn segment_of(&self, h: u32) -> usize {
        let at = (h & self.mask) as usize;
        if at < self.segments.len() { at } else { at & (self.mask >> 1) as usize }
    }

    /// The greatest bit-reversed hash filed in segment `index`.
    fn last_reversed(&self, index: usize) -> u32 {
        // A segment not yet split in this round, and without a twin above, is chosen by one bit fewer.
        let half = (self.mask >> 1) + 1;
        let split = self.segments.len() == self.mask as usize + 1
            || index as u32 >= half
            || index + (half as usize) < self.segments.len();
        let mask = if split { self.mask } else { self.mask >> 1 };
        (index as u32 | !mask).reverse_bits()
    }

    fn split(&mut self) {
        let new = self.segments.len();
        if new > self.mask as usize {
            self.mask = self.mask << 1 | 1;
        }
        let old = new & (self.mask >> 1) as usize;
        let full = std::mem::take(&mut self.segments[old]);
        let bit = (self.mask >> 1) + 1;
        let goes_up = |item: &T| hash(item.key()) & bit != 0;
        let up: Vec<bool> = full.items.iter().map(goes_up).collect();
        let high = up.iter().filter(|up| **up).count();
        let mut halves = [Segment::with_room(up.len() - high), Segment::with_room(high)];
        // In order, so each half is in order.
        for ((item, tag), up) in full.items.into_iter().zip(full.tags).zip(up) {
            let half = &mut halves[usize::from(up)];
            half.tags.push(tag);
            half.items.push(item);
        }
        let [low, high] = halves;
        self.segments[old] = low;
        self.segments.push(high);
    }
}

impl<T: Keyed> FromIterator<T> for Table<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut table = Table::new();
        for item in items {
            table.insert(item);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashMap};

    fn item(n: usize) -> Box<[u8]> {
        n.to_string().into_bytes().into()
    }

    #[test]
    fn behaves_as_a_map_under_random_operations() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut table = Table::new();
        let mut model = BTreeSet::new();
        for step in 0..200_000 {
            let n = rng.usize(..if step < 100_000 { 20_000 } else { 500 });
            if rng.u8(..3) < 2 {
                assert_eq!(table.insert(item(n)).is_none(), model.insert(n));
            } else {
                assert_eq!(table.remove(&item(n)).is_some(), model.remove(&n));
            }
            assert_eq!(table.len(), model.len());
        }
        assert!(model.iter().all(|&n| table.contains(&item(n))));
        assert_eq!(table.iter().count(), model.len());
        for n in model {
            table.remove(&item(n)).expect("in the model");
        }
        assert_eq!(table.allocated_bytes(), 0);
    }

    #[test]
    fn a_walk_meets_what_stays_exactly_once_while_the_table_grows() {
        for (size, count) in [(0, 10), (1, 1), (10, 3), (5_000, 10), (5_000, 1), (40_000, 100)] {
            let mut table: Table<Box<[u8]>> = (0..size).map(item).collect();
            let mut met: HashMap<Vec<u8>, usize> = HashMap::new();
            let (mut cursor, mut extra) = (0, size);
            loop {
                cursor = table.scan(cursor, count, |found| *met.entry(found.to_vec()).or_default() += 1);
                if cursor == 0 {
                    break;
                }
                if extra < size * 4 {
                    (0..40).for_each(|n| drop(table.insert(item(extra + n))));
                    extra += 40;
                    table.remove(&item(extra - 20));
                }
            }
            assert!((0..size).all(|n| met.get(&*item(n)) == Some(&1)), "size {size}, count {count}");
        }
    }

    #[test]
    fn draws_are_fair() {
        let table: Table<Box<[u8]>> = (0..1000).map(item).collect();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut drawn = vec![0u32; 1000];
        for _ in 0..1_000_000 {
            let found = table.random(&mut rng).expect("not empty");
            drawn[std::str::from_utf8(found).unwrap().parse::<usize>().unwrap()] += 1;
        }
        // 1,000 expected of each; 160 is five standard deviations.
        assert!(drawn.iter().all(|&n| n.abs_diff(1000) < 160));
    }

    #[test]
    fn a_random_draw_survives_a_nearly_empty_table() {
        let mut table: Table<Box<[u8]>> = (0..100_000).map(item).collect();
        (1..100_000).for_each(|n| drop(table.remove(&item(n))));
        assert_eq!(table.random(&mut fastrand::Rng::new()).map(|found| &**found), Some(&b"0"[..]));
    }
}
