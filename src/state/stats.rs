//! Counters, one set for each worker so that counting costs no contention.
//!
//! A counter is written by its worker alone, with a plain load and store; readers add the workers' up.

use super::histogram::Histogram;
use super::memcache::{Count, Counts};
use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A number that one thread changes and any thread reads.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    pub const fn zero() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds `n`; only the owning worker may.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Raises it to `n`, unless it is more; only the owning worker may.
    pub fn raise(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).max(n), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Back to 0.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What is counted for each command.
#[derive(Default)]
pub struct CommandStats {
    /// Calls that ran.
    pub calls: Counter,
    /// Time they took, in ns.
    pub nanos: Counter,
    /// Calls refused before they ran.
    pub rejected: Counter,
    /// Calls that ran and answered an error.
    pub failed: Counter,
    /// How long they took, while `latency-tracking` is on.
    pub latency: OnceLock<Box<Histogram>>,
}

/// What one worker counts.
pub struct WorkerStats {
    /// By the command's number in the table.
    pub commands: Box<[CommandStats]>,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused for want of room.
    pub rejected_connections: Counter,
    /// Bytes read from clients.
    pub input_bytes: Counter,
    /// Bytes written to clients.
    pub output_bytes: Counter,
    /// Keys found by reads.
    pub hits: Counter,
    /// Keys not found by reads.
    pub misses: Counter,
    /// Keys that expired.
    pub expired: Counter,
    /// Fields of hashes that expired.
    pub expired_fields: Counter,
    /// Keys evicted.
    pub evicted: Counter,
    /// Error replies.
    pub errors: Counter,
    /// Connections closed as all together used too much memory.
    pub evicted_clients: Counter,
    /// Connections closed as they sent too much of a request.
    pub input_limit_disconnections: Counter,
    /// Connections closed because nothing came for too long.
    pub idle_disconnections: Counter,
    /// Connections closed as they did not read their replies.
    pub output_limit_disconnections: Counter,
    /// Reads from sockets.
    pub reads: Counter,
    /// Writes to sockets.
    pub writes: Counter,
    /// What memcached requests did.
    pub memcache: Counts,
    /// Commands run.
    pub ran: Counter,
    /// How its thread passes its time.
    pub rounds: Rounds,
    /// Changes to keys, ever: unlike the others it is not reset.
    pub changes: Counter,
}

/// A worker's rounds: it waits until there is something to do, and does all there is.
#[derive(Default)]
pub struct Rounds {
    /// Rounds done.
    pub count: Counter,
    /// Time they took, in ns, waiting left out.
    pub nanos: Counter,
    /// Time that housekeeping took, in ns.
    pub housekeeping_nanos: Counter,
    /// The longest, in ns.
    pub longest_nanos: Counter,
    /// The most commands run in one.
    pub most_commands: Counter,
    /// When the present one began.
    began: Mutex<Option<(Instant, u64)>>,
}

impl WorkerStats {
    fn processed(&self) -> u64 {
        self.ran.get() + self.memcache.of(Count::Requests).get()
    }

    /// The worker has something to do.
    pub fn begin_round(&self, now: Instant) {
        *self.rounds.began.lock() = Some((now, self.processed()));
    }

    /// The worker has nothing more to do.
    pub fn end_round(&self, now: Instant) {
        let rounds = &self.rounds;
        let Some((began, processed)) = rounds.began.lock().take() else { return };
        let nanos = now.saturating_duration_since(began).as_nanos() as u64;
        rounds.count.add(1);
        rounds.nanos.add(nanos);
        rounds.longest_nanos.raise(nanos);
        rounds.most_commands.raise(self.processed().saturating_sub(processed));
    }
}

/// All workers' counters.
pub struct Stats {
    workers: Box<[CachePadded<WorkerStats>]>,
}

impl Stats {
    /// Counters for `workers` workers and one more, the last, for all other threads; of `commands` commands.
    pub fn new(workers: usize, commands: usize) -> Stats {
        let worker = |_| {
            CachePadded::new(WorkerStats {
                commands: (0..commands).map(|_| CommandStats::default()).collect(),
                connections: Counter::default(),
                rejected_connections: Counter::default(),
                input_bytes: Counter::default(),
                output_bytes: Counter::default(),
                hits: Counter::default(),
                misses: Counter::default(),
                expired: Counter::default(),
                expired_fields: Counter::default(),
                evicted: Counter::default(),
                errors: Counter::default(),
                evicted_clients: Counter::default(),
                input_limit_disconnections: Counter::default(),
                idle_disconnections: Counter::default(),
                output_limit_disconnections: Counter::default(),
                reads: Counter::default(),
                writes: Counter::default(),
                memcache: Counts::default(),
                ran: Counter::default(),
                rounds: Rounds::default(),
                changes: Counter::default(),
            })
        };
        Stats { workers: (0..=workers).map(worker).collect() }
    }

    /// All workers' counters, one after the other.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerStats> {
        self.workers.iter().map(|worker| &**worker)
    }

    /// The counters of one worker.
    pub fn worker(&self, index: usize) -> &WorkerStats {
        &self.workers[index]
    }

    /// Commands and requests run by all workers.
    pub fn commands_processed(&self) -> u64 {
        self.workers.iter().map(|worker| worker.processed()).sum()
    }

    /// Sets all counters to 0. One that its worker changes at that moment may keep its old value.
    pub fn reset(&self) {
        for worker in &self.workers {
            for command in &worker.commands {
                for counter in [&command.calls, &command.nanos, &command.rejected, &command.failed] {
                    counter.reset();
                }
                if let Some(latency) = command.latency.get() {
                    latency.reset();
                }
            }
            let all = [
                &worker.connections,
                &worker.rejected_connections,
                &worker.input_bytes,
                &worker.output_bytes,
                &worker.hits,
                &worker.misses,
                &worker.expired,
                &worker.expired_fields,
                &worker.evicted,
                &worker.errors,
                &worker.evicted_clients,
                &worker.input_limit_disconnections,
                &worker.idle_disconnections,
                &worker.output_limit_disconnections,
                &worker.reads,
                &worker.writes,
                &worker.ran,
                &worker.rounds.count,
                &worker.rounds.nanos,
                &worker.rounds.housekeeping_nanos,
                &worker.rounds.longest_nanos,
                &worker.rounds.most_commands,
            ];
            all.into_iter().for_each(Counter::reset);
            worker.memcache.reset();
        }
    }

    /// Sets what memcached requests did to 0.
    pub fn reset_memcache(&self) {
        self.workers.iter().for_each(|worker| worker.memcache.reset());
    }

    /// A counter's greatest value of any worker.
    pub fn greatest(&self, counter: impl Fn(&WorkerStats) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| counter(worker).get()).max().unwrap_or(0)
    }

    /// A counter's sum over the workers.
    pub fn sum(&self, counter: impl Fn(&WorkerStats) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| counter(worker).get()).sum()
    }
}
