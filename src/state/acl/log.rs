//! ACL LOG: who was refused what of late, what happens often told once.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Refusals within this many ms of each other are told as one.
const TOGETHER_MS: i64 = 60_000;
/// How many of the latest entries may be the one a refusal belongs to.
const LOOKED_AT: usize = 10;

/// What was lacking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reason {
    Command,
    Key,
    Channel,
    Auth,
    Database,
}

impl Reason {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
            Reason::Database => "database",
        }
    }
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What was lacking.
    pub reason: Reason,
    /// Where: `toplevel`, `multi` or `lua`.
    pub context: &'static str,
    /// The command, key, channel or database that was refused.
    pub object: Vec<u8>,
    /// Who was refused, or who was to be.
    pub user: Vec<u8>,
}

/// Refusals that belong together.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What all have in common.
    pub refusal: Refusal,
    /// How many there were.
    pub count: u64,
    /// The number of the entry, growing.
    pub id: u64,
    /// When it first happened, as Unix time in ms.
    pub created_ms: i64,
    /// When it last happened, as Unix time in ms.
    pub updated_ms: i64,
    /// The connection it last happened to, as CLIENT LIST tells it.
    pub client: String,
}

/// The latest refusals, and how many there were ever.
#[derive(Default)]
pub struct Log {
    entries: Mutex<(u64, VecDeque<Entry>)>,
    counts: [AtomicU64; 5],
}

impl Log {
    /// Notes a refusal; at most `most` entries are kept.
    pub fn add(&self, refusal: Refusal, client: String, now_ms: i64, most: usize) {
        self.counts[refusal.reason as usize].fetch_add(1, Ordering::Relaxed);
        let (next_id, entries) = &mut *self.entries.lock();
        let belongs = |entry: &Entry| entry.refusal == refusal && now_ms - entry.updated_ms <= TOGETHER_MS;
        match entries.iter().take(LOOKED_AT).position(belongs) {
            Some(at) => {
                if let Some(mut entry) = entries.remove(at) {
                    entry.count += 1;
                    entry.updated_ms = now_ms;
                    entry.client = client;
                    entries.push_front(entry);
                }
            }
            None => {
                let (id, count) = (*next_id, 1);
                *next_id += 1;
                entries.push_front(Entry {
                    refusal,
                    count,
                    id,
                    created_ms: now_ms,
                    updated_ms: now_ms,
                    client,
                });
                entries.truncate(most);
            }
        }
    }

    /// The latest entries, at most `most`, the latest first.
    pub fn latest(&self, most: usize) -> Vec<Entry> {
        self.entries.lock().1.iter().take(most).cloned().collect()
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.entries.lock().1.clear();
    }

    /// How many refusals there were for `reason`.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// Counts from 0 again.
    pub fn reset_counts(&self) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(object: &str) -> Refusal {
        Refusal { reason: Reason::Key, context: "toplevel", object: object.into(), user: b"u".to_vec() }
    }

    #[test]
    fn what_happens_again_within_a_minute_is_one_entry_that_comes_first() {
        let log = Log::default();
        log.add(refusal("a"), "1".into(), 0, 10);
        log.add(refusal("b"), "1".into(), 1, 10);
        log.add(refusal("a"), "2".into(), TOGETHER_MS, 10);
        let told: Vec<_> = log.latest(10).into_iter().map(|e| (e.refusal.object, e.count, e.id)).collect();
        assert_eq!(told, [(b"a".to_vec(), 2, 0), (b"b".to_vec(), 1, 1)]);
        log.add(refusal("a"), "2".into(), 2 * TOGETHER_MS + 1, 10);
        assert_eq!(log.latest(1)[0].count, 1);
        assert_eq!(log.count(Reason::Key), 4);
    }

    #[test]
    fn the_oldest_go_first() {
        let log = Log::default();
        (0..5).for_each(|n| log.add(refusal(&n.to_string()), String::new(), 0, 3));
        let left: Vec<_> = log.latest(9).into_iter().map(|entry| entry.id).collect();
        assert_eq!(left, [4, 3, 2]);
        log.add(refusal("x"), String::new(), 0, 0);
        assert!(log.latest(9).is_empty());
    }
}
