//! What a node knows: everything that outlives a command and that any worker may reach.
//!
//! Each part guards itself; nothing here knows sockets, a runtime or what commands mean.

pub mod access;
pub mod clients;
pub mod evict;
pub mod keyspace;
pub mod partition;
pub mod stats;

use crate::config::{Config, id};
use atomic_waker::AtomicWaker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One node's state.
pub struct State {
    /// The directives in force.
    pub config: Config,
    /// All entries, by partition.
    pub keyspace: keyspace::Keyspace,
    /// What eviction has its eye on.
    pub eviction: evict::Eviction,
    /// The connections.
    pub clients: clients::Clients,
    /// Counters.
    pub stats: stats::Stats,
    /// The random name of this incarnation of the node, 40 hexadecimal digits.
    pub run_id: String,
    /// When the node started.
    pub started: Instant,
    /// When the node started, as Unix time in seconds.
    pub started_unix: u64,
    stopping: AtomicBool,
    stop_wakers: Box<[AtomicWaker]>,
}

impl State {
    /// The state of a node that starts now, with so many workers and rows in its command table.
    pub fn new(config: Config, workers: usize, commands: usize) -> State {
        let databases = config.size(id::DATABASES);
        State {
            keyspace: keyspace::Keyspace::new(databases),
            eviction: evict::Eviction::default(),
            clients: clients::Clients::default(),
            stats: stats::Stats::new(workers, commands),
            run_id: (0..40).map(|_| fastrand::char('0'..='9')).collect(),
            started: Instant::now(),
            started_unix: unix_ms() as u64 / 1000,
            stopping: AtomicBool::new(false),
            stop_wakers: (0..=workers).map(|_| AtomicWaker::new()).collect(),
            config,
        }
    }

    /// Asks all threads to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop_wakers.iter().for_each(AtomicWaker::wake);
    }

    /// Ready once the node is asked to stop; `thread` is a worker's number, or their count for the main thread.
    pub fn poll_stop(&self, thread: usize, task: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.stop_wakers[thread].register(task.waker());
        if self.stopping.load(Ordering::Acquire) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    }
}

/// Unix time in ms.
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
