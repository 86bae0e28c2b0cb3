//! Housekeeping of a worker's partitions, a little at a time.

use super::Worker;
use crate::config::id;
use crate::state::State;
use crate::state::partition::PARTITIONS;
use crate::state::rates::Counts;
use crate::state::{evict, expiry, limits, memcache, unix_ms};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Looks at due keys per database and tick, so that a partition is held for well under a millisecond.
const LOOKS: usize = 256;

/// Entries evicted per tick while no request comes that would do it: after `maxmemory` was lowered, say.
const EVICTIONS: usize = 1000;

const TICKS_PER_SECOND: u64 = 10;

/// Runs the housekeeping of `worker`, one of `workers`, for ever.
pub async fn run(worker: Rc<Worker>, workers: usize) {
    let mut interval = tokio::time::interval(Duration::from_millis(1000 / TICKS_PER_SECOND));
    let mut ticks = 0u64;
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let (state, began) = (&worker.state, Instant::now());
        while let Some(db) = state.memcache.due_flush(unix_ms()) {
            memcache::flush(state, db);
        }
        if worker.index == 0 {
            take_figures(state);
            ticks += 1;
            let resting = state.housekeeping_paused.load(Ordering::Relaxed);
            if !resting && ticks.is_multiple_of(TICKS_PER_SECOND) {
                limits::sweep(state, worker.stats(), unix_ms());
            }
        }
        let paused = state.pause.at(unix_ms()).is_some();
        // While a script pauses nothing changes but by it.
        let busy = state.scripts.is_busy();
        let paused = paused || busy || state.housekeeping_paused.load(Ordering::Relaxed);
        if worker.index == 0 && !paused && evict::is_over(state) {
            evict::make_room(state, worker.stats(), unix_ms(), EVICTIONS);
            state.settle_tracking();
        }
        let housekeeping = &worker.stats().rounds.housekeeping_nanos;
        housekeeping.add(began.elapsed().as_nanos() as u64);
        let stays = state.config.flag(id::IMPORT_MODE) || !state.active_expire.load(Ordering::Relaxed);
        if paused || stays {
            continue;
        }
        let mut worked = Duration::ZERO;
        for partition in (worker.index..PARTITIONS).step_by(workers) {
            worked += expire(&worker, partition as u8).await;
        }
        housekeeping.add(worked.as_nanos() as u64);
        let (threshold_ms, worked_ms) =
            (state.config.int(id::LATENCY_MONITOR_THRESHOLD), worked.as_millis() as u64);
        if threshold_ms > 0 && worked_ms >= threshold_ms as u64 {
            state.latency.note("expire-cycle", unix_ms() / 1000, worked_ms);
        }
        worker.state.settle_tracking();
    }
}

/// Samples what INFO tells the growth or the peak of.
fn take_figures(state: &State) {
    let stats = &state.stats;
    let counts = Counts {
        commands: stats.commands_processed(),
        input: stats.sum(|worker| &worker.input_bytes),
        output: stats.sum(|worker| &worker.output_bytes),
        rounds: stats.sum(|worker| &worker.rounds.count),
        nanos: stats.sum(|worker| &worker.rounds.nanos),
    };
    state.rates.sample(unix_ms(), counts);
    state.used_memory();
}

/// Removes what is due in one partition, leaving it now and then so that nobody waits long. Returns how long it was at work.
async fn expire(worker: &Worker, partition: u8) -> Duration {
    let mut worked = Duration::ZERO;
    loop {
        let began = Instant::now();
        let more = expire_some(worker, partition);
        worked += began.elapsed();
        if !more {
            return worked;
        }
        tokio::task::yield_now().await;
    }
}

/// Removes some of what is due in a partition; returns whether more is.
fn expire_some(worker: &Worker, partition: u8) -> bool {
    // A partition in use is left for the next tick.
    let mut dead = Vec::new();
    let Some(mut guard) = worker.state.keyspace.try_enter(partition) else { return false };
    let (state, stats) = (&worker.state, worker.stats());
    if !guard.is_led() || guard.is_held() {
        return false;
    }
    let mut more = false;
    for db in 0..state.keyspace.databases() {
        if guard.dbs[db].awaits_expiry() {
            more |= expiry::expire_due(state, stats, &mut guard, (db, unix_ms(), LOOKS), &mut dead);
        }
    }
    guard.tell_copies(partition);
    more
}
