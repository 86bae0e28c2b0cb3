//! What a node knows of its cluster: its own name, who holds what, and until when it may serve.
//!
//! A node that is alone knows that it is ([`Cluster::is_on`] is false), and commands ask no further. In a cluster every command asks,
//! under the locks of its partitions, whether this node serves them; that, and not the map, is what decides. The
//! map tells whom to ask instead.

use super::contact::Contact;
use super::keyspace::Held;
use super::partition::PARTITIONS;
use super::replication::Role;
use crate::cluster::link::Identity;
use crate::cluster::metadata::{Change, Metadata, NodeId, Outcome};
use atomic_waker::AtomicWaker;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// The cluster as this node sees it.
pub struct Cluster {
    on: AtomicBool,
    me: AtomicU64,
    map: RwLock<Arc<Metadata>>,
    /// The version of the map, to be looked at without taking it.
    version: AtomicU64,
    /// Until when this node may serve what it is primary of, by its clock.
    lease_ns: AtomicU64,
    /// How often it has been given a lease while it had none.
    tenure: AtomicU64,
    clock: Clock,
    /// How often a partition was held no more.
    releases: AtomicU64,
    /// Those who wait for another map, or for a partition.
    waiters: Mutex<Vec<Waker>>,
    /// Whether a feed has broken off of which nobody knows yet.
    broken: AtomicBool,
    breaking: AtomicWaker,
    /// What this node proves to others.
    identity: RwLock<Option<Identity>>,
    /// Changes that clients ask for, to be proposed in their order.
    asked: Mutex<Vec<Arc<Asked>>>,
    asking: AtomicWaker,
    /// The version of the map whose settings hold here.
    settled: AtomicU64,
    /// Whether this node founded the cluster and has yet to say what its own settings are.
    founded: AtomicBool,
    /// Who leads, as far as this node knows; 0 for nobody.
    leader: AtomicU64,
    /// The databases in which writes are acknowledged before copies have them, a bit each; the last stands for all beyond.
    at_once: AtomicU64,
    /// What administrators ask for, on its way to the thread that speaks for this node.
    wishes: Mutex<VecDeque<Wish>>,
    wisher: AtomicWaker,
    /// What it notices of the others.
    pub contact: Contact,
}

/// A change of the metadata that a client asked for.
pub struct Asked {
    /// What is to be changed.
    pub change: Change,
    /// When it was asked, by the node's clock.
    pub since_ns: u64,
    /// What came of it, once that is known; nothing if it is not known to have been made.
    answer: Mutex<Option<Option<Outcome>>>,
    waker: AtomicWaker,
}

impl Asked {
    /// Says what came of it; nothing if that is not known.
    pub fn answer(&self, outcome: Option<Outcome>) {
        *self.answer.lock() = Some(outcome);
        self.waker.wake();
    }

    /// What came of it, once it is answered.
    pub fn poll(&self, task: &mut Context<'_>) -> Poll<Option<Outcome>> {
        self.waker.register(task.waker());
        self.answer.lock().map_or(Poll::Pending, Poll::Ready)
    }
}

/// A change that somebody asks for.
pub struct Wish {
    /// What is to be changed. Asked for twice it must do no harm.
    pub change: Change,
    /// Told what came of it, or why that is not known.
    pub done: Box<dyn FnOnce(Result<Outcome, String>) + Send>,
}

/// A node's clock for leases, in ns: any two readings are of one process, so it may begin anywhere.
enum Clock {
    /// It runs since then.
    Running(Instant),
    /// It is set by whoever simulates the node.
    ByHand(AtomicU64),
}

/// Where a request is to be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Here.
    Here,
    /// Here, once a transaction across nodes is done with its keys.
    Held,
    /// At another node.
    At(NodeId),
    /// Nobody serves it at this moment: ask again soon.
    Nowhere,
    /// Its keys are served by several nodes.
    Scattered,
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            on: AtomicBool::new(false),
            me: AtomicU64::new(0),
            map: RwLock::default(),
            version: AtomicU64::new(0),
            lease_ns: AtomicU64::new(0),
            tenure: AtomicU64::new(0),
            clock: Clock::Running(Instant::now()),
            releases: AtomicU64::new(0),
            waiters: Mutex::default(),
            broken: AtomicBool::new(false),
            breaking: AtomicWaker::new(),
            identity: RwLock::default(),
            asked: Mutex::default(),
            asking: AtomicWaker::new(),
            settled: AtomicU64::new(0),
            founded: AtomicBool::new(false),
            leader: AtomicU64::new(0),
            at_once: AtomicU64::new(0),
            wishes: Mutex::default(),
            wisher: AtomicWaker::new(),
            contact: Contact::default(),
        }
    }
}

impl Cluster {
    /// Whether there is more than this node.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Names this node and begins to ask who serves what. To be called before any partition has a [`Role`].
    pub fn turn_on(&self, me: NodeId) {
        self.me.store(me, Ordering::Release);
        self.on.store(true, Ordering::SeqCst);
    }

    /// This node's name; 0 while it is alone.
    pub fn me(&self) -> NodeId {
        self.me.load(Ordering::Acquire)
    }

    /// What this node proves to others, if it is to speak to any.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.read().clone()
    }

    /// Sets what this node proves to others.
    pub fn identify(&self, identity: Identity) {
        *self.identity.write() = Some(identity);
    }

    /// Who holds what.
    pub fn map(&self) -> Arc<Metadata> {
        Arc::clone(&self.map.read())
    }

    /// The version of the map.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Has a newer map looked at. The roles of partitions are set before.
    pub fn publish(&self, map: Arc<Metadata>) {
        let version = map.version;
        *self.map.write() = map;
        self.version.store(version, Ordering::Release);
        self.wake();
    }

    /// Asks for a change.
    pub fn wish(&self, wish: Wish) {
        self.wishes.lock().push_back(wish);
        self.wisher.wake();
    }

    /// The next change that is asked for.
    pub fn poll_wish(&self, task: &mut Context<'_>) -> Poll<Wish> {
        self.wisher.register(task.waker());
        self.wishes.lock().pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// Notes who leads.
    pub fn note_leader(&self, leader: Option<NodeId>) {
        self.leader.store(leader.unwrap_or(0), Ordering::Relaxed);
    }

    /// Says in which databases writes are acknowledged before copies have them: a bit each, the last for all from the 64th on.
    pub fn acknowledge_at_once(&self, databases: u64) {
        self.at_once.store(databases, Ordering::Relaxed);
    }

    /// Whether writes in database `db` are.
    #[inline]
    pub fn acknowledges_at_once(&self, db: usize) -> bool {
        self.at_once.load(Ordering::Relaxed) & 1 << db.min(63) != 0
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        Some(self.leader.load(Ordering::Relaxed)).filter(|leader| *leader != 0)
    }

    /// Wakes those who wait for something to change.
    pub fn wake(&self) {
        std::mem::take(&mut *self.waiters.lock()).iter().for_each(Waker::wake_by_ref);
    }

    /// Ready with a map of another version than `seen`.
    pub fn poll_newer(&self, seen: u64, task: &mut Context<'_>) -> Poll<()> {
        if self.version() != seen {
            return Poll::Ready(());
        }
        self.waiters.lock().push(task.waker().clone());
        if self.version() != seen { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Says that a feed has broken off: the node at its end is to be cut off.
    pub fn note_broken(&self) {
        self.broken.store(true, Ordering::Release);
        self.breaking.wake();
    }

    /// Ready once a feed has broken off since this was last ready.
    pub fn poll_broken(&self, task: &mut Context<'_>) -> Poll<()> {
        self.breaking.register(task.waker());
        if self.broken.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// One whose clock says what it is [set](Cluster::set_clock) to, for simulations.
    pub fn with_clock_by_hand() -> Cluster {
        Cluster { clock: Clock::ByHand(AtomicU64::new(0)), ..Cluster::default() }
    }

    /// Sets the clock, in ns, if it is one that is set by hand.
    pub fn set_clock(&self, now_ns: u64) {
        if let Clock::ByHand(clock) = &self.clock {
            clock.store(now_ns, Ordering::Relaxed);
        }
    }

    /// Asks all members to agree on a change.
    pub fn ask(&self, change: Change) -> Arc<Asked> {
        let asked = Arc::new(Asked {
            change,
            since_ns: self.now_ns(),
            answer: Mutex::default(),
            waker: AtomicWaker::new(),
        });
        self.asked.lock().push(Arc::clone(&asked));
        self.asking.wake();
        asked
    }

    /// Takes what was asked for, once there is something.
    pub fn poll_asked(&self, task: &mut Context<'_>) -> Poll<Vec<Arc<Asked>>> {
        self.asking.register(task.waker());
        let asked = std::mem::take(&mut *self.asked.lock());
        if asked.is_empty() { Poll::Pending } else { Poll::Ready(asked) }
    }

    /// Notes that the settings of the map's `version` hold at this node.
    pub fn note_settled(&self, version: u64) {
        self.settled.fetch_max(version, Ordering::AcqRel);
        self.wake();
    }

    /// Whether the settings of any map hold at this node.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) > 0
    }

    /// Ready once the settings of the map's `version` hold at this node.
    pub fn poll_settled(&self, version: u64, task: &mut Context<'_>) -> Poll<()> {
        let is_settled = || self.settled.load(Ordering::Acquire) >= version;
        if !is_settled() {
            self.waiters.lock().push(task.waker().clone());
        }
        if is_settled() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Notes that this node founded the cluster: what it knows, others are to know.
    pub fn note_founded(&self) {
        self.founded.store(true, Ordering::Release);
    }

    /// Whether [`Cluster::note_founded`] was called since this was last asked.
    pub fn take_founded(&self) -> bool {
        self.founded.swap(false, Ordering::AcqRel)
    }

    /// How often partitions were held no more.
    pub fn releases(&self) -> u64 {
        self.releases.load(Ordering::Acquire)
    }

    /// Says that a partition is held no more.
    pub fn note_release(&self) {
        self.releases.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// Ready once a partition was held no more since `seen`.
    pub fn poll_release(&self, seen: u64, task: &mut Context<'_>) -> Poll<()> {
        if self.releases() != seen {
            return Poll::Ready(());
        }
        self.waiters.lock().push(task.waker().clone());
        if self.releases() != seen { Poll::Ready(()) } else { Poll::Pending }
    }

    /// This node's clock for leases, in ns.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match &self.clock {
            Clock::Running(began) => began.elapsed().as_nanos() as u64,
            Clock::ByHand(clock) => clock.load(Ordering::Relaxed),
        }
    }

    /// Lets this node serve until `until_ns`.
    pub fn extend_lease(&self, until_ns: u64) {
        if !self.has_lease() {
            self.tenure.fetch_add(1, Ordering::AcqRel);
        }
        self.lease_ns.fetch_max(until_ns, Ordering::AcqRel);
    }

    /// Has this node serve nothing from now on, until the lease is extended.
    pub fn end_lease(&self) {
        self.lease_ns.store(0, Ordering::Release);
    }

    /// Whether this node may serve at this moment.
    #[inline]
    pub fn has_lease(&self) -> bool {
        self.now_ns() < self.lease_ns.load(Ordering::Acquire)
    }

    /// What stays the same as long as this node has its lease, to be asked for before a partition is entered: a script may run for longer
    /// than a lease lasts, and who has another one then was not alone meanwhile.
    #[inline]
    pub fn tenure(&self) -> u64 {
        self.tenure.load(Ordering::Acquire)
    }

    /// Whether this node has had its lease ever since [`Cluster::tenure`] was so. What was read in between was read in time.
    #[inline]
    pub fn has_lease_since(&self, tenure: u64) -> bool {
        self.has_lease() && self.tenure() == tenure
    }

    /// What is left of the lease, in ms.
    pub fn lease_left_ms(&self) -> u64 {
        self.lease_ns.load(Ordering::Acquire).saturating_sub(self.now_ns()) / 1_000_000
    }

    /// For how long this node has had no lease, in ms: nothing if it has one.
    pub fn unleased_ms(&self) -> Option<u64> {
        let (now_ns, until_ns) = (self.now_ns(), self.lease_ns.load(Ordering::Acquire));
        (now_ns >= until_ns).then(|| (now_ns - until_ns) / 1_000_000)
    }

    /// Where a request for the `held` partitions is to be run.
    pub fn route(&self, held: &Held<'_>) -> Route {
        let serves = |role| role == Role::Primary;
        let here = held.iter().all(|(_, p)| p.replication.as_ref().is_none_or(|r| serves(r.role)));
        if here && held.iter().any(|(_, p)| p.is_held()) {
            return Route::Held;
        }
        if here {
            return if self.has_lease() { Route::Here } else { Route::Nowhere };
        }
        let map = self.map.read();
        let mut at = None;
        for (partition, _) in held {
            let Some(primary) = map.primary(*partition) else { return Route::Nowhere };
            if *at.get_or_insert(primary) != primary {
                return Route::Scattered;
            }
        }
        match at {
            // The map says this node, the partition says not yet, or no more.
            Some(node) if node != self.me() && map.serves(node) => Route::At(node),
            _ => Route::Nowhere,
        }
    }

    /// Whether other nodes have copies of any of the `held` partitions.
    pub fn is_any_copied(&self, held: &Held<'_>) -> bool {
        let map = self.map.read();
        let copies = |partition: u8| &map.partitions[usize::from(partition)];
        held.iter()
            .any(|(partition, _)| copies(*partition).in_sync.len() + copies(*partition).joining.len() > 1)
    }

    /// Whether this node is the primary of `partition`, by its map.
    pub fn leads(&self, partition: u8) -> bool {
        !self.is_on() || self.map.read().primary(partition) == Some(self.me())
    }

    /// The nodes that serve clients.
    pub fn homes(&self) -> Vec<NodeId> {
        const { assert!(PARTITIONS == crate::cluster::metadata::PARTITIONS) };
        self.map.read().homes().collect()
    }
}
