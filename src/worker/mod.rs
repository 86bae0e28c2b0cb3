//! A core: one thread with its own runtime, its connections, and the housekeeping of its partitions.

pub mod ahead;
pub mod tick;

use crate::cluster::link::Sender;
use crate::cluster::metadata::NodeId;
use crate::command::clock::Clock;
use crate::state::State;
use crate::state::clients::ClientShared;
use crate::state::stats::WorkerStats;
use ahead::Ahead;
use corosensei::stack::DefaultStack;
use shoal_protocol::resp::Output;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
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
    /// Links to the nodes that answer what this one does not.
    pub links: RefCell<HashMap<NodeId, Sender>>,
    /// Held by whoever makes a link, so that there is one to each node.
    pub connecting: tokio::sync::Mutex<()>,
    /// What waits here for keys on behalf of requests that other workers or nodes run, by token.
    pub guests: RefCell<HashMap<u64, Arc<ClientShared>>>,
    /// What the next turn that runs scripts works with, if there was one before.
    own_stack: Cell<Option<OwnStack>>,
}

/// Bytes of a stack of its own, of which only what is used is ever memory. A script may return tables that are nested some two
/// thousand deep, which took one megabyte and more where the program was not optimised.
const OWN_STACK: usize = 16 << 20;

/// A stack for a turn that can be paused, and its buffers.
pub struct OwnStack {
    /// The stack.
    pub stack: DefaultStack,
    /// The buffers, none of them for input.
    pub scratch: Box<Scratch>,
}

/// Buffers for one turn. Never borrowed across an await.
pub struct Scratch {
    /// Where input is read to.
    pub input: Box<[u8]>,
    /// Where replies are written to.
    pub output: Output,
    /// The clock.
    pub clock: Clock,
    /// The requests found in the input.
    pub ahead: Ahead,
}

impl Scratch {
    /// Buffers with room for so many bytes of input.
    fn new(input: usize) -> Scratch {
        Scratch {
            input: vec![0; input].into(),
            output: Output::default(),
            clock: Clock::new(),
            ahead: Ahead::default(),
        }
    }
}

impl Worker {
    /// The worker numbered `index`.
    pub fn new(state: Arc<State>, index: usize) -> Rc<Worker> {
        let scratch = Scratch::new(READ_SIZE);
        Rc::new(Worker {
            state,
            index,
            scratch: RefCell::new(scratch),
            links: RefCell::default(),
            connecting: tokio::sync::Mutex::default(),
            guests: RefCell::default(),
            own_stack: Cell::new(None),
        })
    }

    /// A stack for a turn that can be paused.
    pub fn take_stack(&self) -> OwnStack {
        self.own_stack.take().unwrap_or_else(|| OwnStack {
            stack: DefaultStack::new(OWN_STACK).expect("there is room for a stack"),
            scratch: Box::new(Scratch::new(0)),
        })
    }

    /// Keeps a stack for the next such turn.
    pub fn give_back(&self, stack: OwnStack) {
        self.own_stack.set(Some(stack));
    }

    /// This worker's counters.
    pub fn stats(&self) -> &WorkerStats {
        self.state.stats.worker(self.index)
    }
}
