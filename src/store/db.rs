//! One database's share of a partition: its entries and when they expire.
//!
//! All changes of an expiry go through here, so that the wheel always knows of them. Time is passed in.
//!
//! Fields of hashes expire too. A hash with such fields is filed in the same wheel at the earliest of their times, so that
//! looking for due fields costs nothing where there are none.
//!
//! Invariant: `volatile` counts the entries with an expiry, `fielded` the hashes with a field that has one, and the wheel
//! holds a record for each of both.

use super::entry::{Entry, Extras, Payload, ValueRef, prefetch};
use super::expire::Wheel;
use super::hash::hash;
use super::table::{Keyed, Place, Table};
use super::value::Object;

/// What [`Db::put`] met under its key.
pub enum Met {
    /// Nothing: the key is new.
    Nothing,
    /// A string.
    String,
    /// Anything else, which is the caller's to drop.
    Object(Box<Object>),
}

/// What expired.
pub enum Gone {
    /// An entry, with all it held.
    Entry(Entry),
    /// Fields of a hash.
    Fields {
        /// The key of the hash.
        key: Box<[u8]>,
        /// How many fields.
        count: usize,
        /// The entry, taken out as no field was left in it.
        emptied: Option<Entry>,
    },
}

/// Entries filed by key.
#[derive(Default)]
pub struct Db {
    table: Table<Entry>,
    wheel: Wheel,
    volatile: usize,
    fielded: usize,
    /// Hashes of keys that have more due fields than one call removes.
    unfinished: Vec<u32>,
    /// Whether any entry may hold a version number.
    versioned: bool,
}

impl Db {
    /// How many entries it holds, expired ones not yet removed included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many entries have an expiry.
    pub fn volatile_len(&self) -> usize {
        self.volatile
    }

    /// How many hashes have a field with an expiry.
    pub fn fielded_len(&self) -> usize {
        self.fielded
    }

    /// Gives back what was taken for entries of which there are none any more.
    pub fn release_unused(&mut self) {
        if self.volatile == 0 && self.fielded == 0 && self.unfinished.is_empty() {
            self.wheel = Wheel::default();
        }
        if self.table.is_empty() {
            self.table = Table::default();
        }
    }

    /// Whether [`Db::expire_due`] may have something to do, now or later.
    pub fn awaits_expiry(&self) -> bool {
        self.wheel.records() > 0 || !self.unfinished.is_empty()
    }

    /// The entry of `key`, whose hash is `h`, expired or not.
    #[inline]
    pub fn find(&self, h: u32, key: &[u8]) -> Option<&Entry> {
        self.table.find_hashed(h, key)
    }

    /// Has the processor fetch that part of the table which [`Db::prefetch`] waits for.
    #[inline]
    pub fn prefetch_table(&self, h: u32) {
        self.table.prefetch(h);
    }

    /// Has the processor fetch the entry that is likely the one of hash `h`; returns its place.
    #[inline(always)]
    pub fn prefetch(&self, h: u32) -> Place {
        let place = self.table.likely(h);
        if let Some(entry) = self.table.at(place) {
            entry.prefetch();
        }
        place
    }

    /// The same for the object of the entry at `place`, which has been fetched, if there is any; false if it is a string.
    #[inline]
    pub fn prefetch_object(&self, place: Place) -> bool {
        match self.table.at(place).map(Entry::value) {
            Some(ValueRef::Object(object)) => {
                prefetch(std::ptr::from_ref(object).cast());
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// The same for what that object, which has been fetched, begins with.
    #[inline]
    pub fn prefetch_contents(&self, place: Place) {
        if let Some(ValueRef::Object(object)) = self.table.at(place).map(Entry::value)
            && let Some(start) = object.contents()
        {
            // The processor sees by itself that a longer pack is walked.
            (0..8).for_each(|line| prefetch(start.wrapping_add(64 * line)));
        }
    }

    /// Where the entry of `key` lies: see [`Table::locate`].
    #[inline]
    pub fn locate(&self, h: u32, key: &[u8]) -> Option<Place> {
        self.table.locate(h, key)
    }

    /// The same where it was `seen` not long ago: see [`Table::locate_near`].
    #[inline(always)]
    pub fn locate_near(&self, h: u32, key: &[u8], seen: Place) -> Option<Place> {
        self.table.locate_near(h, key, seen)
    }

    /// The entry at `place`.
    #[inline]
    pub fn at(&self, place: Place) -> Option<&Entry> {
        self.table.at(place)
    }

    /// The entry at `place`, to change its value.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.table.at_mut(place)
    }

    /// The entry of `key`, to change its value (the expiry cannot be changed through it).
    #[inline]
    pub fn find_mut(&mut self, h: u32, key: &[u8]) -> Option<&mut Entry> {
        self.table.find_hashed_mut(h, key)
    }

    /// Gives `key` a value, new or in place of its old one; `clock` makes its access history of the one it had.
    #[inline]
    pub fn put(
        &mut self,
        h: u32,
        key: &[u8],
        payload: Payload<'_>,
        extras: Extras,
        clock: impl FnOnce(Option<u32>) -> u32,
        now_ms: i64,
    ) -> Met {
        let fields = match &payload {
            Payload::Object(object) => object.field_expiry(),
            _ => None,
        };
        self.versioned |= extras.cas != 0;
        let (before, met) = match self.table.find_hashed_mut(h, key) {
            Some(entry) => {
                let before = entry.expires_at();
                let met = entry.displace().map_or(Met::String, Met::Object);
                let clock = clock(Some(entry.clock()));
                entry.assign(payload, extras);
                entry.set_clock(clock);
                (before, met)
            }
            None => {
                let mut entry = Entry::new(key, payload, extras);
                entry.set_clock(clock(None));
                self.table.insert_new(h, entry);
                (None, Met::Nothing)
            }
        };
        self.index_expiry(h, before, extras.expires_at, now_ms);
        if let Met::Object(old) = &met {
            self.fielded -= usize::from(old.field_expiry().is_some());
        }
        self.index_fields(h, None, fields, now_ms);
        met
    }

    /// Files an entry made elsewhere under its own key and gives back the one it replaced.
    pub fn insert(&mut self, entry: Entry, now_ms: i64) -> Option<Entry> {
        self.versioned |= entry.cas() != 0;
        let (h, expires_at, fields) = (hash(entry.key()), entry.expires_at(), entry.field_expiry());
        let old = self.table.insert(entry);
        self.index_expiry(h, old.as_ref().and_then(Entry::expires_at), expires_at, now_ms);
        self.fielded -= usize::from(old.as_ref().is_some_and(|old| old.field_expiry().is_some()));
        self.index_fields(h, None, fields, now_ms);
        old
    }

    /// Takes out the entry of `key`.
    pub fn remove(&mut self, h: u32, key: &[u8]) -> Option<Entry> {
        let entry = self.table.remove_hashed(h, key)?;
        self.forget(&entry);
        Some(entry)
    }

    /// Changes what travels with the value of `key`; false if there is no such key.
    pub fn set_extras(&mut self, h: u32, key: &[u8], extras: Extras, now_ms: i64) -> bool {
        let Some(entry) = self.table.find_hashed_mut(h, key) else { return false };
        let before = entry.expires_at();
        entry.set_extras(extras);
        self.versioned |= extras.cas != 0;
        self.index_expiry(h, before, extras.expires_at, now_ms);
        true
    }

    /// Says that the value of `key` was changed in place: its version number is void.
    #[inline]
    pub fn changed(&mut self, h: u32, key: &[u8]) {
        if self.versioned
            && let Some(entry) = self.table.find_hashed_mut(h, key)
        {
            entry.drop_cas();
        }
    }

    /// Removes entries and fields that are due, about `limit` looks at a time, handing each to `gone`.
    ///
    /// Returns whether more are due.
    pub fn expire_due(&mut self, now_ms: i64, limit: usize, mut gone: impl FnMut(Gone)) -> bool {
        let mut looks = 0;
        while looks < limit {
            let records = match self.unfinished.pop() {
                Some(h) => vec![h],
                None => match self.wheel.due(now_ms) {
                    Some(records) => records,
                    None => {
                        self.prune_wheel(now_ms);
                        return false;
                    }
                },
            };
            looks += records.len();
            for h in records {
                looks += self.expire_hash(h, now_ms, limit, &mut gone);
            }
        }
        true
    }

    /// Removes what is due under hash `h`, of each hash up to `limit` fields; returns how many fields.
    fn expire_hash(&mut self, h: u32, now_ms: i64, limit: usize, gone: &mut impl FnMut(Gone)) -> usize {
        while let Some(entry) = self.table.remove_if(h, |entry| entry.is_expired(now_ms)) {
            self.forget(&entry);
            gone(Gone::Entry(entry));
        }
        let mut removed = 0;
        if self.fielded > 0 {
            let is_due = |entry: &&Entry| entry.field_expiry().is_some_and(|at_ms| at_ms <= now_ms);
            let due: Vec<Box<[u8]>> =
                self.table.with_hash(h).filter(is_due).map(|entry| entry.key().into()).collect();
            for key in due {
                if let Some(Gone::Fields { key, count, emptied }) = self.expire_fields(h, &key, now_ms, limit)
                {
                    removed += count;
                    gone(Gone::Fields { key, count, emptied });
                }
            }
        }
        match self.table.with_hash(h).filter_map(Entry::next_expiry).min() {
            // A tick of the wheel has to pass before it hands out a record again: too long where much is to be done.
            Some(at_ms) if at_ms <= now_ms => self.unfinished.push(h),
            Some(at_ms) => self.wheel.add(h, at_ms, now_ms),
            None => {}
        }
        removed
    }

    /// Removes up to `limit` due fields of the hash of `key`, and the hash if none is left; nothing if none is due.
    pub fn expire_fields(&mut self, h: u32, key: &[u8], now_ms: i64, limit: usize) -> Option<Gone> {
        let entry = self.table.find_hashed_mut(h, key)?;
        let Some(Object::Hash(fields)) = entry.object_mut() else { return None };
        let count = fields.expire_due(now_ms.max(0) as u64, limit, |_| ());
        if count == 0 {
            return None;
        }
        let (is_empty, is_fielded) = (fields.is_empty(), fields.next_expiry().is_some());
        self.fielded -= usize::from(!is_fielded);
        let emptied = if is_empty { self.remove(h, key) } else { None };
        Some(Gone::Fields { key: key.into(), count, emptied })
    }

    /// Takes note that the earliest expiry of the fields of a key with hash `h` has changed.
    pub fn index_fields(&mut self, h: u32, before: Option<i64>, after: Option<i64>, now_ms: i64) {
        if before == after {
            return;
        }
        self.fielded = self.fielded + usize::from(after.is_some()) - usize::from(before.is_some());
        self.file(h, before, after, now_ms);
    }

    /// The entries whose keys have the hash `h`.
    pub fn with_hash(&self, h: u32) -> impl Iterator<Item = &Entry> {
        self.table.with_hash(h)
    }

    /// Any entry, each as likely as another.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<&Entry> {
        self.table.random(rng)
    }

    /// Some entry with an expiry; not quite fair.
    pub fn random_volatile(&self, rng: &mut fastrand::Rng) -> Option<&Entry> {
        if self.volatile == 0 {
            return None;
        }
        // Records may be stale; with most of them so, the wheel is soon rebuilt.
        let draw =
            |_| self.table.with_hash(self.wheel.sample(rng)?).find(|entry| entry.expires_at().is_some());
        (0..16).find_map(draw).or_else(|| self.table.iter().find(|entry| entry.expires_at().is_some()))
    }

    /// Visits entries from `cursor` on: see [`Table::scan`].
    pub fn scan(&self, cursor: u64, count: usize, visit: impl FnMut(&Entry)) -> u64 {
        self.table.scan(cursor, count, visit)
    }

    /// Visits entries from `cursor` on, until it is enough: see [`Table::scan_until`].
    pub fn scan_until(&self, cursor: u64, visit: impl FnMut(&Entry) -> bool) -> u64 {
        self.table.scan_until(cursor, visit)
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// Bytes allocated for the table, without the entries.
    pub fn table_bytes(&self) -> usize {
        self.table.allocated_bytes() + self.wheel.records() * 4
    }

    /// How many entries the table has room for.
    pub fn places(&self) -> usize {
        self.table.places()
    }

    /// How many records of the times at which something expires there are.
    pub fn expiry_records(&self) -> usize {
        self.wheel.records()
    }

    /// The version number of the value of `key`, which is given the number `next` makes if it has none.
    pub fn version(&mut self, h: u32, key: &[u8], next: impl FnOnce() -> u64) -> Option<u64> {
        let entry = self.table.find_hashed_mut(h, key)?;
        if entry.cas() == 0 {
            self.versioned = true;
            entry.set_extras(Extras { cas: next(), ..entry.extras() });
        }
        Some(entry.cas())
    }

    #[inline]
    fn index_expiry(&mut self, h: u32, before: Option<i64>, after: Option<i64>, now_ms: i64) {
        if before == after {
            return;
        }
        self.volatile = self.volatile + usize::from(after.is_some()) - usize::from(before.is_some());
        self.file(h, before, after, now_ms);
    }

    /// Puts a record into the wheel unless there is one early enough.
    fn file(&mut self, h: u32, before: Option<i64>, after: Option<i64>, now_ms: i64) {
        if let Some(at_ms) = after
            && before.is_none_or(|before| at_ms < before)
        {
            self.wheel.add(h, at_ms, now_ms);
        }
    }

    /// Counts an entry out that has left the table.
    fn forget(&mut self, entry: &Entry) {
        self.volatile -= usize::from(entry.expires_at().is_some());
        if self.fielded > 0 {
            self.fielded -= usize::from(entry.field_expiry().is_some());
        }
    }

    /// Rebuilds the wheel when most of its records belong to keys that are gone.
    fn prune_wheel(&mut self, now_ms: i64) {
        if self.wheel.records() <= (self.volatile + self.fielded) * 2 + 1024 {
            return;
        }
        self.wheel.clear();
        for entry in self.table.iter() {
            if let Some(at_ms) = entry.next_expiry() {
                self.wheel.add(hash(entry.key()), at_ms, now_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::types::hash::{Hash, HashLimits};
    use crate::store::value::Stored;
    use std::collections::HashMap;

    #[test]
    fn keys_expire_once_their_time_has_come_whatever_was_done_to_them() {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut db = Db::default();
        let mut model: HashMap<Vec<u8>, Option<i64>> = HashMap::new();
        let mut now = 1_700_000_000_000i64;
        for _ in 0..200_000 {
            let key = rng.u32(..3000).to_string().into_bytes();
            let h = hash(&key);
            let expires_at = rng.bool().then(|| now + rng.i64(1..60_000));
            match rng.u8(..6) {
                0..3 => {
                    db.put(
                        h,
                        &key,
                        Payload::string(b"v"),
                        Extras { expires_at, ..Extras::default() },
                        |_| 0,
                        now,
                    );
                    model.insert(key, expires_at);
                }
                3 => assert_eq!(db.remove(h, &key).is_some(), model.remove(&key).is_some()),
                4 => {
                    let found = db.set_extras(h, &key, Extras { expires_at, ..Extras::default() }, now);
                    assert_eq!(found, model.get_mut(&key).map(|at_ms| *at_ms = expires_at).is_some());
                }
                _ => {
                    now += rng.i64(0..20);
                    while db.expire_due(now, 100, |gone| {
                        let Gone::Entry(entry) = gone else { panic!("there are no hashes") };
                        let at_ms = model.remove(entry.key()).expect("was there").expect("had an expiry");
                        assert!(at_ms <= now);
                    }) {}
                    assert!(model.values().flatten().all(|&at_ms| at_ms + 256 > now));
                }
            }
            assert_eq!(db.len(), model.len());
            assert_eq!(db.volatile_len(), model.values().flatten().count());
            assert!(db.wheel.records() <= db.volatile * 2 + 20_000);
        }
    }

    #[test]
    fn fields_expire_once_their_time_has_come_whatever_was_done_to_their_hash() {
        let mut rng = fastrand::Rng::with_seed(12);
        let mut db = Db::default();
        let mut model: HashMap<Vec<u8>, HashMap<Vec<u8>, i64>> = HashMap::new();
        let mut now = 1_700_000_000_000i64;
        for _ in 0..100_000 {
            let key = rng.u32(..200).to_string().into_bytes();
            let h = hash(&key);
            match rng.u8(..8) {
                0 => {
                    assert_eq!(db.remove(h, &key).is_some(), model.remove(&key).is_some());
                }
                1 => {
                    db.put(h, &key, Payload::string(b"v"), Extras::default(), |_| 0, now);
                    model.remove(&key);
                    db.remove(h, &key);
                }
                2..5 => {
                    let field = rng.u32(..20).to_string().into_bytes();
                    let at_ms = now + rng.i64(1..60_000);
                    if db.find(h, &key).is_none() {
                        let mut hash = Hash::new();
                        hash.set(b"kept", b"", HashLimits::default());
                        db.put(
                            h,
                            &key,
                            Payload::Object(Box::new(hash.into_object())),
                            Extras::default(),
                            |_| 0,
                            now,
                        );
                    }
                    let entry = db.find_mut(h, &key).expect("made above");
                    let before = entry.field_expiry();
                    let hash = Hash::of_mut(entry.object_mut().expect("a hash")).expect("a hash");
                    hash.set(&field, b"v", HashLimits::default());
                    hash.set_expiry(&field, Some(at_ms as u64));
                    if rng.u8(..4) == 0 {
                        hash.remove(b"kept");
                    }
                    let after = entry.field_expiry();
                    db.index_fields(h, before, after, now);
                    model.entry(key).or_default().insert(field, at_ms);
                }
                _ => {
                    now += rng.i64(0..30);
                    while db.expire_due(now, 3, |gone| {
                        let Gone::Fields { key, count, .. } = gone else { panic!("no key expires") };
                        let fields = model.get_mut(&*key).expect("was there");
                        let before = fields.len();
                        let mut left = count;
                        let mut times: Vec<_> = fields.iter().map(|(name, at)| (*at, name.clone())).collect();
                        times.sort();
                        for (at_ms, name) in times {
                            if left > 0 && at_ms <= now {
                                fields.remove(&name);
                                left -= 1;
                            }
                        }
                        assert_eq!(before - count, fields.len());
                    }) {}
                    assert!(model.values().flat_map(HashMap::values).all(|&at_ms| at_ms + 256 > now));
                }
            }
            model.retain(|key, fields| !fields.is_empty() || db.find(hash(key), key).is_some());
            assert_eq!(db.len(), model.len());
            assert_eq!(db.fielded_len(), model.values().filter(|fields| !fields.is_empty()).count());
        }
    }
}
