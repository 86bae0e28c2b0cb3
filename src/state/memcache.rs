//! What a node knows only because memcached does: its counters, a flush that is to come, counts by key prefix, who may come in.

pub mod logins;

use super::State;
use super::lazyfree::Garbage;
use super::stats::Counter;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is counted of memcached requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are those of memcached's `stats`")]
pub enum Count {
    Requests,
    CmdGet,
    CmdSet,
    CmdFlush,
    CmdTouch,
    CmdMeta,
    GetHits,
    GetMisses,
    GetExpired,
    DeleteHits,
    DeleteMisses,
    IncrHits,
    IncrMisses,
    DecrHits,
    DecrMisses,
    CasHits,
    CasMisses,
    CasBadval,
    TouchHits,
    TouchMisses,
    StoreTooLarge,
    StoreNoMemory,
    AuthCmds,
    AuthErrors,
    TotalItems,
}

const COUNTS: usize = Count::TotalItems as usize + 1;

/// What one worker counts.
#[derive(Default)]
pub struct Counts([Counter; COUNTS]);

impl Counts {
    /// Adds one; only the owning worker may.
    #[inline]
    pub fn add(&self, count: Count) {
        self.of(count).add(1);
    }

    /// One of the counters.
    #[inline]
    pub fn of(&self, count: Count) -> &Counter {
        &self.0[count as usize]
    }

    /// Sets all to 0.
    pub fn reset(&self) {
        self.0.iter().for_each(Counter::reset);
    }
}

/// The node's part.
#[derive(Default)]
pub struct Memcache {
    /// Counts by prefix.
    pub prefixes: Prefixes,
    /// Who may come in.
    pub logins: logins::Logins,
    /// Databases to be emptied, and when, in Unix time in ms.
    flushes: Mutex<BTreeMap<usize, i64>>,
}

impl Memcache {
    /// Has database `db` emptied at that Unix time in ms (`None`: never), in place of what was asked for it before.
    pub fn flush_at(&self, db: usize, at_ms: Option<i64>) {
        let mut flushes = self.flushes.lock();
        match at_ms {
            Some(at_ms) => flushes.insert(db, at_ms),
            None => flushes.remove(&db),
        };
    }

    /// A database whose flush is due; each is told once.
    pub fn due_flush(&self, now_ms: i64) -> Option<usize> {
        let mut flushes = self.flushes.lock();
        let db = *flushes.iter().find(|(_, at_ms)| **at_ms <= now_ms)?.0;
        flushes.remove(&db);
        Some(db)
    }
}

/// Empties a database. No partition is held.
pub fn flush(state: &State, db: usize) {
    let (mut tables, mut forgotten) = (Vec::new(), 0);
    state.keyspace.each(|_, partition| {
        forgotten += partition.untrack_all();
        if !partition.dbs[db].is_empty() {
            tables.push(partition.clear(db));
        }
    });
    if !tables.is_empty() {
        state.lazyfree.add(Garbage::Tables(tables));
    }
    state.tracking.flushed(forgotten);
}

/// What is counted of the keys that share a prefix.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PrefixCounts {
    /// Keys asked for.
    pub get: u64,
    /// Keys found.
    pub hit: u64,
    /// Keys stored.
    pub set: u64,
    /// Keys to be deleted.
    pub del: u64,
}

/// Counts by the part of a key before its first colon, while that is switched on.
#[derive(Default)]
pub struct Prefixes {
    on: AtomicBool,
    counts: Mutex<HashMap<Box<[u8]>, PrefixCounts>>,
}

impl Prefixes {
    /// Whether counting is on.
    #[inline]
    pub fn are_counted(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Switches counting on or off.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Counts something about `key`.
    #[cold]
    pub fn count(&self, key: &[u8], count: impl FnOnce(&mut PrefixCounts)) {
        let Some(end) = memchr::memchr(b':', key) else { return };
        count(self.counts.lock().entry(key[..end].into()).or_default());
    }

    /// All counts, by prefix.
    pub fn all(&self) -> Vec<(Box<[u8]>, PrefixCounts)> {
        let counts = self.counts.lock();
        let mut all: Vec<_> = counts.iter().map(|(prefix, counts)| (prefix.clone(), *counts)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Forgets all counts.
    pub fn reset(&self) {
        self.counts.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_due_once_and_the_last_one_asked_for_counts() {
        let memcache = Memcache::default();
        assert_eq!(memcache.due_flush(1000), None);
        memcache.flush_at(0, Some(500));
        memcache.flush_at(0, Some(2000));
        memcache.flush_at(3, Some(1500));
        assert_eq!(memcache.due_flush(1000), None);
        assert_eq!(memcache.due_flush(1500), Some(3));
        assert_eq!(memcache.due_flush(2000), Some(0));
        assert_eq!(memcache.due_flush(2000), None);
        memcache.flush_at(0, Some(3000));
        memcache.flush_at(0, None);
        assert_eq!(memcache.due_flush(4000), None);
    }

    #[test]
    fn prefixes_end_at_the_first_colon() {
        let prefixes = Prefixes::default();
        prefixes.count(b"a:b:c", |counts| counts.get += 1);
        prefixes.count(b"a:", |counts| counts.set += 1);
        prefixes.count(b"plain", |counts| counts.set += 1);
        assert_eq!(
            prefixes.all(),
            [(Box::from(*b"a"), PrefixCounts { get: 1, set: 1, ..Default::default() })]
        );
    }
}
