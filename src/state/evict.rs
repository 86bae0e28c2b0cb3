//! Making room: which entries go when memory is used up.
//!
//! As Redis's: a few entries are sampled, the best candidates are kept in a small pool over the calls, and the best of the
//! pool goes. Sampling touches one partition at a time, chosen at random, so it works with memory in few or many keys.
//!
//! The caller holds no partition.

use super::State;
use super::access::AccessClock;
use super::stats::WorkerStats;
use super::tracking::NOBODY;
use crate::config::{id, notify};
use crate::store::db::Db;
use crate::store::entry::Entry;
use crate::store::hash::hash;
use crate::store::table::Keyed;
use parking_lot::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicUsize};

/// Candidates kept.
const POOL: usize = 16;
/// How long it is borne that what clients are told of evicted keys takes more than the keys did; in ms.
const BORNE_MS: i64 = 1000;
/// How often what is told of a key is held on its way: the key itself, the message, the buffer it is sent from.
const ON_ITS_WAY: usize = 3;
/// Partitions looked at for candidates before it is clear that there are none.
const LOOKS: usize = 4;

/// A key that may go. It is known by its hash: long keys would take what eviction is to bring, and one of the same hash may go as well.
struct Candidate {
    /// The greater the sooner it goes.
    score: u64,
    partition: u8,
    db: usize,
    hash: u32,
}

/// The candidates, worst first.
#[derive(Default)]
pub struct Eviction {
    pool: Mutex<Vec<Candidate>>,
    /// By how many bytes memory is over its limit though enough was evicted.
    excess: AtomicUsize,
    /// Until when that is borne, as Unix time in ms.
    borne_until_ms: AtomicI64,
}

/// What the policy prefers to lose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Lru,
    Lfu,
    Ttl,
    Random,
}

/// A policy taken apart; nothing for `noeviction`.
fn policy(name: &str) -> Option<(bool, Order)> {
    let (scope, order) = name.split_once('-')?;
    let order = match order {
        "lru" => Order::Lru,
        "lfu" => Order::Lfu,
        "ttl" => Order::Ttl,
        _ => Order::Random,
    };
    Some((scope == "volatile", order))
}

/// Whether more memory is used than `maxmemory` allows.
#[inline]
pub fn is_over(state: &State) -> bool {
    let max = state.config.size(id::MAXMEMORY);
    max != 0 && crate::memory::used_and_unreported() > max
}

/// Whether so much memory is used that whatever needs more is refused. What clients are told of evicted keys takes memory too, until it
/// is sent: that alone is no reason.
#[inline]
pub fn is_full(state: &State) -> bool {
    let max = state.config.size(id::MAXMEMORY);
    max != 0 && crate::memory::used() > max.saturating_add(state.eviction.excess.load(Relaxed))
}

/// Evicts entries, `most` at the most, until memory is back under `maxmemory`, or would be if nobody had to be told of it: what is told
/// of an entry may well take more than the entry, and whoever evicted on for that would end with nothing. So that is borne for a while.
///
/// Returns false if it cannot be brought there.
pub fn make_room(state: &State, stats: &WorkerStats, now_ms: i64, most: usize) -> bool {
    let eviction = &state.eviction;
    let over = || exactly_used().saturating_sub(state.config.size(id::MAXMEMORY));
    let policy = policy(state.config.choice(id::MAXMEMORY_POLICY));
    let Some((volatile, order)) = policy.filter(|_| !state.config.flag(id::IMPORT_MODE)) else {
        eviction.excess.store(0, Relaxed);
        return !is_over(state);
    };
    // Who was at it before may have left it so that it is borne.
    let mut pool = eviction.pool.lock();
    let is_borne = now_ms < eviction.borne_until_ms.load(Relaxed);
    let borne = if is_borne { eviction.excess.load(Relaxed) } else { 0 };
    let wanted = over().saturating_sub(borne);
    if wanted == 0 {
        return true;
    }
    let mut rng = fastrand::Rng::new();
    let mut left = most;
    // All there is less of by what was done here, but for what was told of it.
    let mut freed = 0;
    while over() > borne && freed < wanted as i64 {
        if left == 0 {
            return false;
        }
        left -= 1;
        let before = crate::memory::of_thread();
        let mut told = 0;
        if order == Order::Random {
            pool.clear();
        }
        fill(state, &mut pool, &mut rng, volatile, order, now_ms);
        let Some(best) = pool.pop() else {
            eviction.excess.store(0, Relaxed);
            return false;
        };
        let mut partition = state.keyspace.enter(best.partition);
        let is_held = partition.is_held();
        let db = &mut partition.dbs[best.db];
        let fits = |entry: &&Entry| !is_held && (!volatile || entry.expires_at().is_some());
        let key = db.with_hash(best.hash).find(fits).map(|entry| entry.key().to_vec());
        let evicted = key.and_then(|key| db.remove(best.hash, &key));
        if let Some(entry) = &evicted {
            // With little memory for all partitions, what they keep for entries to come may be most of it.
            db.release_unused();
            let untold = crate::memory::of_thread();
            state.key_changed(&mut partition, best.db, entry.key(), NOBODY);
            partition.tell_copies(best.partition);
            told += crate::memory::of_thread() - untold;
        }
        drop(partition);
        if let Some(entry) = evicted {
            stats.evicted.add(1);
            let untold = crate::memory::of_thread();
            state.notify(notify::EVICTED, "evicted", best.db, entry.key());
            told += crate::memory::of_thread() - untold;
            std::mem::drop(entry);
        }
        freed += before + told - crate::memory::of_thread();
    }
    if is_borne {
        eviction.excess.fetch_max(over(), Relaxed);
    } else {
        eviction.excess.store(over() * ON_ITS_WAY, Relaxed);
        eviction.borne_until_ms.store(now_ms + BORNE_MS, Relaxed);
    }
    true
}

fn exactly_used() -> usize {
    crate::memory::report();
    crate::memory::used()
}

/// Samples until the pool has something.
fn fill(
    state: &State,
    pool: &mut Vec<Candidate>,
    rng: &mut fastrand::Rng,
    volatile: bool,
    order: Order,
    now_ms: i64,
) {
    let samples = state.config.size(id::MAXMEMORY_SAMPLES).max(1);
    let clock = AccessClock::of(&state.config);
    let start = rng.u8(..);
    let mut looks = 0;
    for step in 0..=u8::MAX {
        let number = start.wrapping_add(step);
        let partition = state.keyspace.enter(number);
        let count = |db: &Db| if volatile { db.volatile_len() } else { db.len() };
        let total: usize = partition.dbs.iter().map(count).sum();
        if total == 0 || !partition.is_led() || partition.is_held() {
            continue;
        }
        for _ in 0..samples {
            // A database by its share of the entries.
            let mut at = rng.usize(..total);
            let Some(index) = partition.dbs.iter().position(|db| {
                let inside = at < count(db);
                at = at.wrapping_sub(count(db));
                inside
            }) else {
                continue;
            };
            let db = &partition.dbs[index];
            let entry = if volatile { db.random_volatile(rng) } else { db.random(rng) };
            if let Some(entry) = entry {
                offer(pool, score(entry, order, clock, now_ms), number, index, hash(entry.key()));
            }
        }
        looks += 1;
        if looks >= LOOKS || order == Order::Random {
            break;
        }
    }
}

fn score(entry: &Entry, order: Order, clock: AccessClock, now_ms: i64) -> u64 {
    match order {
        Order::Lru => u64::from(AccessClock::idle_seconds(entry.clock(), now_ms)),
        Order::Lfu => u64::from(255 - clock.frequency(entry.clock(), now_ms)),
        Order::Ttl => entry.expires_at().map_or(0, |at_ms| u64::MAX - at_ms.max(0) as u64),
        Order::Random => 0,
    }
}

/// Puts a key into the pool if it is a better candidate than what is there.
fn offer(pool: &mut Vec<Candidate>, score: u64, partition: u8, db: usize, hash: u32) {
    let at = pool.partition_point(|other| other.score < score);
    let is_it = |other: &Candidate| (other.partition, other.db, other.hash) == (partition, db, hash);
    if (at == 0 && pool.len() == POOL) || pool.iter().any(is_it) {
        return;
    }
    pool.insert(at, Candidate { score, partition, db, hash });
    if pool.len() > POOL {
        pool.remove(0);
    }
}
