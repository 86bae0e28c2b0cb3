//! The engine: a virtual clock, a queue of what is to happen, one random source, a trace.
//!
//! Whatever happens is a task at a moment. A task may belong to a node's process: it then waits while the process is paused, and is
//! forgotten once the process is gone. Tasks of one moment run in the order in which they were put down, so one seed gives one run.

use crate::checks::Checks;
use crate::clients::Clients;
use crate::consensus::Group;
use crate::network::Network;
use crate::node::Node;
use crate::planted::Fault;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

/// A millisecond in ns.
pub const MS: u64 = 1_000_000;

/// Something to be done.
pub type Task = Box<dyn FnOnce(&mut World)>;

/// What a run is about.
#[derive(Clone, Debug)]
pub struct Setting {
    pub seed: u64,
    pub nodes: usize,
    pub copies: usize,
    /// Partitions of the keyspace that are in use: fewer than there are make a run cheap.
    pub partitions: usize,
    pub clients: usize,
    pub keys: usize,
    /// For how long things go wrong, in ms.
    pub trouble_ms: u64,
    /// How long nothing goes wrong after something did, at most, in ms.
    pub pause_ms: u64,
    /// What is done wrong on purpose.
    pub planted: Option<Fault>,
}

impl Setting {
    pub fn of(seed: u64) -> Setting {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        Setting {
            seed,
            nodes: rng.usize(2..=5),
            copies: rng.usize(2..=3),
            partitions: [2, 4, 4, 8, 8, 16][rng.usize(..6)],
            clients: rng.usize(3..=6),
            keys: rng.usize(4..=12),
            trouble_ms: rng.u64(3000..9000),
            pause_ms: rng.u64(200..2000),
            planted: None,
        }
    }
}

/// What has happened: a digest of all of it, and the last part in words.
#[derive(Default)]
pub struct Trace {
    pub digest: u64,
    pub lines: u64,
    tail: VecDeque<String>,
}

impl Trace {
    fn note(&mut self, line: String) {
        // FNV-1a.
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        let keep = std::env::var("SHOAL_SIM_TRACE").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
        if self.tail.len() >= keep {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    pub fn tail(&self) -> String {
        self.tail.iter().map(|line| format!("{line}\n")).collect()
    }
}

struct Scheduled {
    at: u64,
    seq: u64,
    /// The process it belongs to: the node's place and which of its lives.
    owner: Option<(usize, u64)>,
    task: Task,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// The whole simulated cluster.
pub struct World {
    /// The true time, in ns, which no node knows.
    pub now: u64,
    seq: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub rng: fastrand::Rng,
    pub setting: Setting,
    pub trace: Rc<RefCell<Trace>>,
    pub nodes: Vec<Node>,
    pub net: Network,
    pub group: Group,
    pub clients: Clients,
    pub checks: Checks,
    /// Things go wrong until this is cleared.
    pub trouble: bool,
}

impl World {
    pub fn new(setting: Setting, trace: Rc<RefCell<Trace>>) -> World {
        fastrand::seed(setting.seed);
        World {
            now: 1000 * MS,
            seq: 0,
            queue: BinaryHeap::new(),
            rng: fastrand::Rng::with_seed(setting.seed),
            trace,
            nodes: Vec::new(),
            net: Network::default(),
            group: Group::new(setting.partitions, setting.planted),
            clients: Clients::new(&setting),
            checks: Checks::new(setting.partitions),
            trouble: true,
            setting,
        }
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        let line = format!("{:>10.3} {}", self.now as f64 / MS as f64, line());
        self.trace.borrow_mut().note(line);
    }

    /// Has something done in `delay` ns that belongs to nobody.
    pub fn after(&mut self, delay: u64, task: impl FnOnce(&mut World) + 'static) {
        self.put(self.now + delay, None, Box::new(task));
    }

    /// Has something done by the present process of node `at` in `delay` ns.
    pub fn on_node(&mut self, at: usize, delay: u64, task: impl FnOnce(&mut World) + 'static) {
        let owner = (at, self.nodes[at].life);
        self.put(self.now + delay, Some(owner), Box::new(task));
    }

    /// The same for the process which the node had in that life.
    pub fn on_life(&mut self, owner: (usize, u64), delay: u64, task: impl FnOnce(&mut World) + 'static) {
        self.put(self.now + delay, Some(owner), Box::new(task));
    }

    fn put(&mut self, at: u64, owner: Option<(usize, u64)>, task: Task) {
        self.seq += 1;
        self.queue.push(Reverse(Scheduled { at, seq: self.seq, owner, task }));
    }

    /// Lets `ms` pass.
    pub fn run_ms(&mut self, ms: u64) {
        let until = self.now + ms * MS;
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= until) {
            let Some(Reverse(Scheduled { at, owner, task, .. })) = self.queue.pop() else { return };
            self.now = at;
            let Some((place, life)) = owner else {
                task(self);
                crate::checks::after_each(self);
                continue;
            };
            let node = &self.nodes[place];
            if node.life != life || !node.alive {
                continue;
            }
            if node.paused_until > at {
                let later = node.paused_until;
                self.put(later, owner, task);
                continue;
            }
            crate::node::set_clock(self, place);
            task(self);
            crate::data::settle(self, place);
            crate::checks::after_each(self);
        }
        self.now = until;
    }

    /// A time between two bounds in ms, in ns.
    pub fn between_ms(&mut self, low: u64, high: u64) -> u64 {
        self.rng.u64(low * MS..=high * MS)
    }

    /// Whether a fault that is planted happens now.
    pub fn errs(&mut self, fault: Fault, percent: u32) -> bool {
        self.setting.planted == Some(fault) && self.chance(percent)
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }
}
