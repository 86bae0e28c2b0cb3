//! A core: one thread with its own runtime, its connections, and the housekeeping of its partitions.

pub mod tick;

use crate::command::clock::Clock;
use crate::state::State;
use crate::state::stats::WorkerStats;
use shoal_protocol::resp::Output;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes a worker reads from a connection at a time.
const READ_SIZE: usize = 64 * 1024;

/// What the connections of one worker share.
pub struct Worker {
    /// The node.
    pub state: Arc<State>,
    /// This worker's number.
    pub index: usize,
    /// Buffers lent to the connection whose turn it is, so that idle connections own none.
    pub scratch: RefCell<Scratch>,
}

/// Buffers for one turn. Never borrowed across an await.
pub struct Scratch {
    /// Where input is read to.
    pub input: Box<[u8]>,
    /// Where replies are written to.
    pub output: Output,
    /// The clock.
    pub clock: Clock,
}

impl Worker {
    /// The worker numbered `index`.
    pub fn new(state: Arc<State>, index: usize) -> Rc<Worker> {
        let scratch =
            Scratch { input: vec![0; READ_SIZE].into(), output: Output::default(), clock: Clock::new() };
        Rc::new(Worker { state, index, scratch: RefCell::new(scratch) })
    }

    /// This worker's counters.
    pub fn stats(&self) -> &WorkerStats {
        self.state.stats.worker(self.index)
    }
}
