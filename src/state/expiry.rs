//! What happens to a key whose time has come, whoever finds out: a command that meets it or the housekeeping.
//!
//! It is removed, its watchers are told, the `expired` event is published, and it is counted.

use super::State;
use super::lazyfree::Garbage;
use super::partition::Partition;
use super::stats::WorkerStats;
use crate::config::{id, notify};
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
        state.key_changed(partition, db, key, 0);
        bury(state, stats, db, entry, dead);
    }
}

/// Removes keys of database `db` that are due, about `looks` looks at a time; returns whether more are due.
pub fn expire_due(
    state: &State,
    stats: &WorkerStats,
    partition: &mut Partition,
    (db, now_ms, looks): (usize, i64, usize),
    dead: &mut Vec<Garbage>,
) -> bool {
    let mut gone = Vec::new();
    let more = partition.dbs[db].expire_due(now_ms, looks, |entry| gone.push(entry));
    for entry in gone {
        state.key_changed(partition, db, entry.key(), 0);
        bury(state, stats, db, entry, dead);
    }
    more
}

fn bury(state: &State, stats: &WorkerStats, db: usize, entry: Entry, dead: &mut Vec<Garbage>) {
    stats.expired.add(1);
    state.notify(notify::EXPIRED, "expired", db, entry.key());
    state.lazyfree.dispose_entry(entry, state.config.flag(id::LAZYFREE_LAZY_EXPIRE), dead);
}
