//! A hash table that grows a small piece at a time and can be walked in a stable order.
//!
//! Linear hashing (Litwin, 1980) over hashbrown tables: the hash's low bits choose a segment, and
//! whenever the average segment is full one more segment is split off, in a fixed order. An insert
//! thus moves a few hundred items at the most, whatever the table's size, where one big hashbrown
//! table would stop to move them all.
//!
//! A walk ([`Table::scan`]) follows the *bit-reversed* hash. Splitting a segment cuts its range of
//! reversed hashes in two and keeps the order, so an item present during the whole walk is met
//! exactly once, whatever is inserted or removed meanwhile.
//!
//! Invariant: an item with hash `h` lives in segment `segment_of(h)`; `len` is the sum of all lengths.

use super::hash::hash;
use hashbrown::HashTable;

/// Mean items per segment at which the next segment is split off. Twice this, the fullest a
/// segment gets on average before its own turn, still fits 512 buckets.
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
    segment: usize,
    bucket: usize,
}

/// A set of `T`, one for each key.
pub struct Table<T> {
    segments: Vec<HashTable<T>>,
    /// One less than the power of two above the number of segments.
    mask: u32,
    len: usize,
    /// The most buckets any segment had: the range of a fair random draw.
    widest: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { segments: Vec::new(), mask: 0, len: 0, widest: 0 }
    }
}

/// hashbrown takes the bucket from the low bits and a tag from the top seven; the segment has used up
/// the low bits of `h`, so both are taken from a product that mixes all of it.
#[inline]
fn spread(h: u32) -> u64 {
    u64::from(h).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}

#[inline]
fn spread_of<T: Keyed>(item: &T) -> u64 {
    spread(hash(item.key()))
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
        self.segments.get(self.segment_of(h))?.find(spread(h), |item| item.key() == key)
    }

    /// [`Table::find_mut`] where `h` is already known to be `hash(key)`.
    #[inline]
    pub fn find_hashed_mut(&mut self, h: u32, key: &[u8]) -> Option<&mut T> {
        let at = self.segment_of(h);
        self.segments.get_mut(at)?.find_mut(spread(h), |item| item.key() == key)
    }

    /// Where the item filed under `key` lies, to look at it again without a search; `h` is `hash(key)`.
    #[inline]
    pub fn locate(&self, h: u32, key: &[u8]) -> Option<Place> {
        let segment = self.segment_of(h);
        let bucket = self.segments.get(segment)?.find_bucket_index(spread(h), |item| item.key() == key)?;
        Some(Place { segment, bucket })
    }

    /// The item at `place`, as long as nothing was inserted or removed since.
    #[inline]
    pub fn at(&self, place: Place) -> Option<&T> {
        self.segments.get(place.segment)?.get_bucket(place.bucket)
    }

    /// The item at `place`, to change in all but its key.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        self.segments.get_mut(place.segment)?.get_bucket_mut(place.bucket)
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
            self.segments.push(HashTable::new());
        }
        let at = self.segment_of(h);
        let segment = &mut self.segments[at];
        segment.insert_unique(spread(h), item, spread_of);
        self.widest = self.widest.max(segment.num_buckets());
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
        self.remove_if(h, |item| item.key() == key)
    }

    /// Takes out the first item of hash `h` that `test` accepts.
    pub fn remove_if(&mut self, h: u32, test: impl FnMut(&T) -> bool) -> Option<T> {
        let at = self.segment_of(h);
        let segment = self.segments.get_mut(at)?;
        let (item, _) = segment.find_entry(spread(h), test).ok()?.remove();
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        } else if segment.num_buckets() > 16 && segment.len() * 8 < segment.num_buckets() {
            segment.shrink_to(segment.len() * 2, spread_of);
        }
        Some(item)
    }

    /// Every item of hash `h`.
    pub fn with_hash(&self, h: u32) -> impl Iterator<Item = &T> {
        let segment = self.segments.get(self.segment_of(h));
        segment
            .into_iter()
            .flat_map(move |s| s.iter_hash(spread(h)))
            .filter(move |item| hash(item.key()) == h)
    }

    /// Every item, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|segment| segment.iter())
    }

    /// Every item, in no order, to change in all but its key.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.segments.iter_mut().flat_map(|segment| segment.iter_mut())
    }

    /// Takes out all items at once.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(self).segments.into_iter().flatten()
    }

    /// Any item, each as likely as another.
    ///
    /// Draws a segment and a bucket until it meets an item; only a table that lost nearly all of its items
    /// takes the second, slightly unfair way.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..512 {
            let segment = &self.segments[rng.usize(..self.segments.len())];
            let bucket = rng.usize(..self.widest);
            if bucket < segment.num_buckets()
                && let Some(item) = segment.get_bucket(bucket)
            {
                return Some(item);
            }
        }
        let start = rng.usize(..self.segments.len());
        let (before, from) = self.segments.split_at(start);
        let segment = from.iter().chain(before).find(|segment| !segment.is_empty())?;
        segment.iter().nth(rng.usize(..segment.len()))
    }

    /// Visits at least `count` items (fewer only at the end) from `cursor` on, and returns the cursor to go on
    /// from, 0 at the end. Begin with 0. Cursors lie below 2^32.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&T)) -> u64 {
        let Ok(mut at) = u32::try_from(cursor) else { return 0 };
        if self.segments.is_empty() {
            return 0;
        }
        let mut left = count.max(1);
        let mut met: Vec<(u32, &T)> = Vec::new();
        loop {
            let index = self.segment_of(at.reverse_bits());
            let last = self.last_reversed(index);
            met.clear();
            let items = self.segments[index].iter().map(|item| (hash(item.key()).reverse_bits(), item));
            met.extend(items.filter(|(reversed, _)| *reversed >= at));
            if met.len() > left {
                met.sort_unstable_by_key(|(reversed, _)| *reversed);
                let cut = met[left - 1].0;
                met.iter().take_while(|(reversed, _)| *reversed <= cut).for_each(|(_, item)| visit(item));
                return u64::from(cut.wrapping_add(1));
            }
            met.iter().for_each(|(_, item)| visit(item));
            left -= met.len();
            match last.checked_add(1) {
                None => return 0,
                Some(next) if left == 0 => return u64::from(next),
                Some(next) => at = next,
            }
        }
    }

    /// Bytes allocated for the table itself, without what items own.
    pub fn allocated_bytes(&self) -> usize {
        self.segments.capacity() * size_of::<HashTable<T>>()
            + self.segments.iter().map(HashTable::allocation_size).sum::<usize>()
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
        let mut halves = [(); 2].map(|()| HashTable::with_capacity(full.len() / 2));
        for item in full {
            let h = hash(item.key());
            halves[usize::from(h & bit != 0)].insert_unique(spread(h), item, spread_of);
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
