//! One partition: 64 of the 16384 slots, all that is kept about their keys, behind one lock.
//!
//! Invariant: a key lies in the partition of its slot, whatever its database.

use super::across::Ledger;
use super::effect;
use super::fill::Fill;
use super::replication::{Feed, Head, Record, Replication, Role};
use super::tracking::Tracker;
use super::waiting::Waiter;
use crate::cluster::metadata::NodeId;
use crate::store::db::Db;
use crate::store::entry::Entry;
use crate::store::table::Keyed;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Slots of the keyspace, as Redis Cluster defines them.
pub const SLOTS: u16 = 16384;
/// Partitions of the keyspace.
pub const PARTITIONS: usize = 256;
/// Slots of a partition: those with the same high bits.
pub const SLOTS_PER_PARTITION: u16 = SLOTS / PARTITIONS as u16;

const CRC: crc::Crc<u16, crc::Table<16>> = crc::Crc::<u16, crc::Table<16>>::new(&crc::CRC_16_XMODEM);

/// The slot of `key`: CRC16 of its first non-empty `{hash tag}`, or of all of it.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    CRC.checksum(hash_tag(key)) % SLOTS
}

#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = position_of_open(key) else { return key };
    match memchr::memchr(b'}', &key[open + 1..]) {
        Some(len) if len > 0 => &key[open + 1..open + 1 + len],
        _ => key,
    }
}

/// Where the first `{` of `key` stands. Most keys have none and are short, not worth a call to memchr: looked through eight bytes
/// at a time.
#[inline]
fn position_of_open(key: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let has_open = |word: &[u8; 8]| {
        let zeros = u64::from_ne_bytes(*word) ^ (ONES * b'{' as u64);
        zeros.wrapping_sub(ONES) & !zeros & (ONES << 7) != 0
    };
    // The last word overlaps the one before it where the key is not so many words long.
    let found = match key.last_chunk::<8>() {
        Some(last) => has_open(last) || key.as_chunks::<8>().0.iter().any(has_open),
        None => key.contains(&b'{'),
    };
    if found { memchr::memchr(b'{', key) } else { None }
}

/// The partition of `key`.
#[inline]
pub fn partition_of(key: &[u8]) -> u8 {
    (slot(key) / SLOTS_PER_PARTITION) as u8
}

/// Some of the partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionSet([u64; PARTITIONS / 64]);

impl PartitionSet {
    /// Adds one.
    #[inline]
    pub fn insert(&mut self, partition: u8) {
        self.0[usize::from(partition / 64)] |= 1 << (partition % 64);
    }

    /// Adds all.
    pub fn insert_all(&mut self) {
        self.0 = [u64::MAX; PARTITIONS / 64];
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }

    /// Those that are in it, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|partition| self.0[usize::from(partition / 64)] & 1 << (partition % 64) != 0)
    }
}

/// A key of one of the databases.
pub type DbKey = (usize, Box<[u8]>);

type Watched = HashMap<DbKey, Vec<Arc<AtomicBool>>>;

/// The data of one partition.
pub struct Partition {
    /// Its share of each database.
    pub dbs: Vec<Db>,
    /// Flags of the connections that WATCH a key, raised when it changes; by database and key.
    watched: Watched,
    /// Requests that wait for a key, in the order they came.
    waiting: HashMap<DbKey, VecDeque<Arc<Waiter>>>,
    /// Who caches a key, of whatever database.
    tracked: HashMap<Box<[u8]>, Vec<Arc<Tracker>>>,
    /// Its place in the cluster, if the node is not alone.
    pub replication: Option<Box<Replication>>,
    /// Its part in transactions across nodes, if it has any.
    ledger: Option<Box<Ledger>>,
}

impl Partition {
    pub(super) fn new(databases: usize) -> Partition {
        Partition {
            dbs: (0..databases).map(|_| Db::default()).collect(),
            watched: HashMap::new(),
            waiting: HashMap::new(),
            tracked: HashMap::new(),
            replication: None,
            ledger: None,
        }
    }

    /// Whether a transaction across nodes holds it, so that everybody else has to wait.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.is_held())
    }

    /// Its part in transactions across nodes, if it has any.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_deref()
    }

    /// Works on its part in transactions across nodes.
    pub fn with_ledger<R>(&mut self, work: impl FnOnce(&mut Ledger) -> R) -> R {
        let mut ledger = self.ledger.take().unwrap_or_default();
        let result = work(&mut ledger);
        self.ledger = Some(ledger).filter(|ledger| !ledger.is_empty());
        result
    }

    /// Raises `flag` when `key` changes, until [`Partition::unwatch`].
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &Arc<AtomicBool>) {
        let flags = self.watched.entry((db, key.into())).or_default();
        if !flags.iter().any(|other| Arc::ptr_eq(other, flag)) {
            flags.push(Arc::clone(flag));
        }
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &Arc<AtomicBool>) {
        let id = (db, key.into());
        if let Some(flags) = self.watched.get_mut(&id) {
            flags.retain(|other| !Arc::ptr_eq(other, flag));
            if flags.is_empty() {
                self.watched.remove(&id);
            }
        }
    }

    /// Tells the watchers of `key` that it changed.
    #[inline(always)]
    pub fn touch(&self, db: usize, key: &[u8]) {
        if !self.watched.is_empty() {
            self.touch_watched(db, key);
        }
    }

    #[cold]
    fn touch_watched(&self, db: usize, key: &[u8]) {
        raise(&self.watched, db, key);
    }

    /// Remembers that the copies are to be told of `key`.
    #[inline(always)]
    pub fn note_change(&mut self, db: usize, key: &[u8]) {
        if let Some(replication) = &mut self.replication {
            replication.note(db, key);
        }
    }

    /// Writes down for the copies what the keys that changed are now.
    pub fn note_states(&mut self) {
        let Some(mut replication) = self.replication.take() else { return };
        for (db, key) in replication.take_changed() {
            replication.note_told(db, &key);
            match self.dbs[db].find(crate::store::hash::hash(&key), &key) {
                Some(entry) => effect::write_put(replication.effects(), db, entry),
                None => effect::write_remove(replication.effects(), db, &key),
            }
        }
        self.replication = Some(replication);
    }

    /// As [`Partition::note_states`], of these keys.
    pub fn note_states_of(&mut self, keys: &[(usize, Vec<u8>)]) {
        if let Some(own) = &mut self.replication {
            keys.iter().for_each(|(db, key)| own.note(*db, key));
        }
        self.note_states();
    }

    /// Whether a copy of it is being filled, which may lack what a command needs.
    pub fn is_filling(&self) -> bool {
        self.replication.as_ref().is_some_and(|own| own.is_filling())
    }

    /// Tells the copies of changes that nobody waits for, such as expiry. `number` is its own.
    pub fn tell_copies(&mut self, number: u8) {
        if self.replication.as_ref().is_some_and(|replication| replication.has_changed()) {
            self.note_states();
            if let Some(replication) = &mut self.replication {
                replication.commit(number);
            }
        }
    }

    /// Writes to the copies, if there are any.
    fn effect(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(replication) = self.replication.as_mut().filter(|replication| replication.is_copied()) {
            write(replication.effects());
        }
    }

    /// Whether this node decides what becomes of it.
    pub fn is_led(&self) -> bool {
        self.replication.as_ref().is_none_or(|replication| replication.role == Role::Primary)
    }

    /// Whether this node heard only by a later map than that of version `known` who is primary now: whoever asks by that one asks
    /// somebody else, though it may have been this node.
    pub fn is_newer_than(&self, known: u64) -> bool {
        self.replication.as_ref().is_some_and(|replication| replication.since > known)
    }

    /// Throws away everything in it, of which nobody is told: it is about to be filled anew, or is somebody else's.
    pub fn empty(&mut self) -> Vec<Db> {
        self.ledger = None;
        self.dbs.iter_mut().filter(|db| !db.is_empty()).map(std::mem::take).collect()
    }

    /// Begins to fill a copy by `feed`: see [`Replication::attach_empty`]. `number` is its own.
    pub fn begin_fill(&mut self, number: u8, feed: Arc<Feed>, begun: u64, version: u64) {
        let mut effects = Vec::new();
        if let Some(ledger) = &self.ledger {
            if let Some(prepared) = ledger.prepared() {
                effect::write_prepare(&mut effects, prepared.id, prepared.home, &prepared.change);
            }
            for (id, decision) in ledger.decisions() {
                effect::write_decide(&mut effects, id, &decision.prepared);
            }
        }
        if let Some(own) = &mut self.replication {
            own.attach_empty(number, feed, begun, &effects, version);
        }
    }

    /// Fills a copy at once, in parts of about `size` bytes: one that counts, so that answers wait for it from now on.
    pub fn fill(&mut self, number: u8, feed: Arc<Feed>, begun: u64, version: u64, size: usize) {
        let node = feed.node;
        self.begin_fill(number, feed, begun, version);
        while self.fill_on(number, node, size).is_some() {}
        if let Some(sink) = self.replication.as_mut().and_then(|own| own.sink(node)) {
            sink.in_sync = true;
        }
    }

    /// Sends the copy on `node`, if it is being filled, about so many further bytes; where in the feed they end, and how many they are.
    pub fn fill_on(&mut self, number: u8, node: NodeId, size: usize) -> Option<(u64, usize)> {
        let mut own = self.replication.take()?;
        let (epoch, sequence, made_in) = (own.epoch, own.sequence, own.made_in);
        let sent = own.sink(node).and_then(|sink| {
            let mut fill = sink.fill.take()?;
            let head =
                Head { partition: number, epoch, sequence, feed: sink.feed.number, version: fill.version };
            let mut part = Vec::with_capacity(size + size / 4);
            let is_all = self.next_part(&mut fill, size, &mut part);
            sink.last = sink.feed.append(&Record::Part(head), &part);
            if is_all {
                sink.last = sink.feed.append(&Record::Last(head), &made_in.to_le_bytes());
            } else {
                sink.fill = Some(fill);
            }
            Some((sink.last, part.len()))
        });
        self.replication = Some(own);
        sent
    }

    /// Writes the entries whose turn it is; whether those were the last.
    fn next_part(&self, fill: &mut Fill, size: usize, part: &mut Vec<u8>) -> bool {
        while let Some(db) = self.dbs.get(fill.db) {
            if part.len() >= size {
                return false;
            }
            let cursor = db.scan_until(fill.cursor, |entry| {
                if !fill.is_ahead(fill.db, entry.key()) {
                    effect::write_put(part, fill.db, entry);
                }
                part.len() >= size
            });
            fill.cursor = cursor;
            if cursor == 0 {
                fill.db += 1;
            }
        }
        true
    }

    /// Takes out all entries of `db`, telling the watchers of each.
    pub fn clear(&mut self, db: usize) -> Db {
        self.effect(|out| effect::write_clear(out, db));
        self.break_hold();
        self.touch_all(db, None);
        std::mem::take(&mut self.dbs[db])
    }

    /// Exchanges two databases, telling the watchers of what is there in either.
    pub fn swap(&mut self, a: usize, b: usize) {
        if let Some(own) = &mut self.replication {
            // What is there of either is another part now: copies that are being filled begin anew.
            own.sinks.retain(|sink| !sink.is_filling());
        }
        self.effect(|out| effect::write_swap(out, a, b));
        self.break_hold();
        self.touch_all(a, Some(b));
        self.touch_all(b, Some(a));
        self.dbs.swap(a, b);
    }

    /// Has a transaction across nodes that read what was there begin anew.
    fn break_hold(&mut self) {
        if self.ledger.is_some() {
            self.with_ledger(Ledger::break_hold);
        }
    }

    /// Tells the watchers of every key of `db` that exists (or, with `also`, exists in that database) that it changed.
    fn touch_all(&self, db: usize, also: Option<usize>) {
        for ((watched_db, key), flags) in &self.watched {
            let h = crate::store::hash::hash(key);
            let there = |db: usize| self.dbs[db].find(h, key).is_some();
            if *watched_db == db && (there(db) || also.is_some_and(there)) {
                flags.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
            }
        }
    }

    /// The keys watched in database `db`.
    pub fn watched(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        self.watched.keys().filter(move |(other, _)| *other == db).map(|(_, key)| &**key)
    }

    /// Puts a waiter at the end of the queue for `key`.
    pub fn enqueue(&mut self, waiter: &Arc<Waiter>, key: &[u8]) {
        self.waiting.entry((waiter.db, key.into())).or_default().push_back(Arc::clone(waiter));
    }

    /// Takes a waiter out of the queue for `key`.
    pub fn dequeue(&mut self, waiter: &Arc<Waiter>, key: &[u8]) {
        let id = (waiter.db, key.into());
        if let Some(queue) = self.waiting.get_mut(&id) {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if queue.is_empty() {
                self.waiting.remove(&id);
            }
        }
    }

    /// Whether anyone waits for `key`.
    #[inline(always)]
    pub fn is_awaited(&self, db: usize, key: &[u8]) -> bool {
        !self.waiting.is_empty() && self.has_waiters(db, key)
    }

    #[cold]
    fn has_waiters(&self, db: usize, key: &[u8]) -> bool {
        self.waiting.contains_key(&(db, key.into()))
    }

    /// Has all who wait for a key ask again, wherever it is served now.
    pub fn send_waiters_on(&mut self) {
        for (_, queue) in self.waiting.drain() {
            queue.iter().for_each(|waiter| waiter.send_on());
        }
    }

    /// Those who wait for `key`, in order.
    pub fn waiters(&self, db: usize, key: &[u8]) -> Vec<Arc<Waiter>> {
        self.waiting.get(&(db, key.into())).map_or_else(Vec::new, |queue| queue.iter().cloned().collect())
    }

    /// The keys of `db` that are waited for.
    pub fn awaited(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        self.waiting.keys().filter(move |(other, _)| *other == db).map(|(_, key)| &**key)
    }

    /// How many keys are waited for.
    pub fn awaited_len(&self) -> usize {
        self.waiting.len()
    }

    /// How many keys somebody waits for whose request is of that row.
    pub fn awaited_by(&self, row: usize) -> usize {
        self.waiting.values().filter(|queue| queue.iter().any(|waiter| waiter.row == row)).count()
    }

    /// Remembers that `tracker` caches `key`; true if nobody did yet.
    pub fn track(&mut self, key: &[u8], tracker: &Arc<Tracker>) -> bool {
        let before = self.tracked.len();
        let trackers = self.tracked.entry(key.into()).or_default();
        if !trackers.iter().any(|other| Arc::ptr_eq(other, tracker)) {
            trackers.push(Arc::clone(tracker));
        }
        self.tracked.len() > before
    }

    /// Forgets who caches `key` and returns them.
    pub fn untrack(&mut self, key: &[u8]) -> Option<Vec<Arc<Tracker>>> {
        if self.tracked.is_empty() { None } else { self.tracked.remove(key) }
    }

    /// Forgets who caches what; returns how many keys that were.
    pub fn untrack_all(&mut self) -> usize {
        std::mem::take(&mut self.tracked).len()
    }

    /// Any key that someone caches.
    pub fn tracked_key(&self) -> Option<Box<[u8]>> {
        self.tracked.keys().next().cloned()
    }

    /// How many keys are watched.
    pub fn watched_len(&self) -> usize {
        self.watched.len()
    }
}

/// Raises the flags of the watchers of `key`.
fn raise(watched: &Watched, db: usize, key: &[u8]) {
    if let Some(flags) = watched.get(&(db, Box::from(key))) {
        flags.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
    }
}

/// The slot of an entry.
pub fn slot_of(entry: &Entry) -> u16 {
    slot(entry.key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_brace_is_found_wherever_it_stands() {
        for len in 0..40 {
            for at in 0..len {
                // Neighbours of the byte looked for, which a careless search takes for it.
                let mut key: Vec<u8> = (0..len).map(|at| [b'z', b'|', 0xFB, b'}'][at % 4]).collect();
                assert_eq!(position_of_open(&key), None);
                key[at] = b'{';
                assert_eq!(position_of_open(&key), Some(at));
            }
        }
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        let known: [(&[u8], u16); 6] = [
            (b"foo", 12182),
            (b"bar", 5061),
            (b"hello", 866),
            (b"123456789", 12739),
            (b"", 0),
            (b"{}", 15257),
        ];
        for (key, expected) in known {
            assert_eq!(slot(key), expected, "{}", key.escape_ascii());
        }
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }
}
