//! Housekeeping of a worker's partitions, a little at a time.

use super::Worker;
use crate::state::partition::PARTITIONS;
use crate::state::{expiry, unix_ms};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Looks at due keys per database and tick, so that a partition is held for well under a millisecond.
const LOOKS: usize = 256;

/// Runs the housekeeping of `worker`, one of `workers`, for ever.
pub async fn run(worker: Rc<Worker>, workers: usize) {
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !worker.state.active_expire.load(Ordering::Relaxed) {
            continue;
        }
        for partition in (worker.index..PARTITIONS).step_by(workers) {
            expire(&worker, partition as u8).await;
        }
    }
}

async fn expire(worker: &Worker, partition: u8) {
    for db in 0..worker.state.keyspace.databases() {
        while expire_some(worker, partition, db) {
            tokio::task::yield_now().await;
        }
    }
}

/// Removes some of what is due in one database of a partition; returns whether more is.
fn expire_some(worker: &Worker, partition: u8, db: usize) -> bool {
    // A partition in use is left for the next tick.
    let mut dead = Vec::new();
    let Some(mut guard) = worker.state.keyspace.try_enter(partition) else { return false };
    expiry::expire_due(&worker.state, worker.stats(), &mut guard, (db, unix_ms(), LOOKS), &mut dead)
}
