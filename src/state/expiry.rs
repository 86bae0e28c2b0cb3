//! What happens to a key whose time has come, whoever finds out: a command that meets it or the housekeeping.
//!
//! It is removed, its watchers are told, the `expired` event is published, and it is counted. Fields of a hash go the same
//! way, with the event `hexpired`, and `del` when none is left.

use super::State;
use super::lazyfree::Garbage;
use super::partition::Partition;
use super::stats::WorkerStats;
use super::tracking::NOBODY;
use crate::config::{id, notify};
use crate::store::db::Gone;
use crate::store::entry::Entry;
use crate::store::table::Keyed;

/// Removes `key` of database `db`, which is past its time; `h` is its hash. Drop `dead` when the partition is left.
#[cold]
pub fn expire(
    state: &State,
    stats: &WorkerStats,
    partition: &mut Partition,
    (db, h, key): (usize, u32, &[u8]),
    dead: &mut Vec<Garbage>,
) {
    if let Some(entry) = partition.dbs[db].remove(h, key) {
        state.key_changed(partition, db, key, NOBODY);
        bury(state, stats, db, entry, dead);
    }
}

/// Removes the due fields of the hash of `key` in database `db`; `h` is the key's hash. Drop `dead` when the partition is left.
#[cold]
pub fn expire_fields(
    state: &State,
    stats: &WorkerStats,
    partition: &mut Partition,
    (db, h, key, now_ms): (usize, u32, &[u8], i64),
    dead: &mut Vec<Garbage>,
) {
    if let Some(gone) = partition.dbs[db].expire_fields(h, key, now_ms, usize::MAX) {
        settle(state, stats, partition, db, gone, dead);
    }
}

/// Removes keys and fields of database `db` that are due, about `looks` looks at a time; returns whether more are due.
pub fn expire_due(
    state: &State,
    stats: &WorkerStats,
    partition: &mut Partition,
    (db, now_ms, looks): (usize, i64, usize),
    dead: &mut Vec<Garbage>,
) -> bool {
    let mut all = Vec::new();
    let more = partition.dbs[db].expire_due(now_ms, looks, |gone| all.push(gone));
    for gone in all {
        settle(state, stats, partition, db, gone, dead);
    }
    more
}

/// Does what is due to what the table has lost.
fn settle(
    state: &State,
    stats: &WorkerStats,
    partition: &mut Partition,
    db: usize,
    gone: Gone,
    dead: &mut Vec<Garbage>,
) {
    match gone {
        Gone::Entry(entry) => {
            state.key_changed(partition, db, entry.key(), NOBODY);
            bury(state, stats, db, entry, dead);
        }
        Gone::Fields { key, count, emptied } => {
            state.key_changed(partition, db, &key, NOBODY);
            stats.expired_fields.add(count as u64);
            state.notify(notify::HASH, "hexpired", db, &key);
            if let Some(entry) = emptied {
                state.notify(notify::GENERIC, "del", db, &key);
                let in_thread = state.config.flag(id::LAZYFREE_LAZY_EXPIRE);
                dead.extend(state.lazyfree.dispose_entry(entry, in_thread));
            }
        }
    }
}

fn bury(state: &State, stats: &WorkerStats, db: usize, entry: Entry, dead: &mut Vec<Garbage>) {
    stats.expired.add(1);
    state.notify(notify::EXPIRED, "expired", db, entry.key());
    let in_thread = state.config.flag(id::LAZYFREE_LAZY_EXPIRE);
    dead.extend(state.lazyfree.dispose_entry(entry, in_thread));
}
