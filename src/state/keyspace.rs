//! The partitions and their locks.
//!
//! A command enters the partitions it needs, works, and leaves. Deadlock is avoided by one rule: whoever
//! needs several partitions tries them all and on a failure lets go of all (or does without, if it merely looks ahead);
//! whoever holds one never waits for another. The exception is the running script, of which there is one at a time: it may wait for any.

use super::lock::{Guard as LockGuard, Lock};
use super::partition::{PARTITIONS, Partition};
use super::replication::Replication;
use crossbeam::utils::CachePadded;
use smallvec::SmallVec;

/// How often, and how long each time, is waited for commands.
const NAPS: usize = 50;
const NAP: std::time::Duration = std::time::Duration::from_micros(50);
/// How often a taken lock is tried again before the caller is told: about a microsecond.
const SPINS: usize = 64;

/// A partition entered.
pub type Guard<'a> = LockGuard<'a, Partition>;
/// Partitions entered, ascending.
pub type Held<'a> = SmallVec<[(u8, Guard<'a>); 1]>;

/// Copies of a few partitions, to try something on.
pub struct Scratch(Vec<(u8, Lock<Partition>)>);

impl Scratch {
    /// Empty copies of `partitions` (ascending, no doubles).
    pub fn new(partitions: impl Iterator<Item = u8>, databases: usize) -> Scratch {
        let copy = || {
            let mut partition = Partition::new(databases);
            partition.replication = Some(Box::new(Replication::scratch()));
            Lock::new(partition)
        };
        Scratch(partitions.map(|number| (number, copy())).collect())
    }

    /// Enters all. Nobody else does.
    pub fn enter(&self) -> Held<'_> {
        self.0.iter().map(|(number, partition)| (*number, partition.lock())).collect()
    }

    /// Enters the copy of one, if there is one.
    pub fn enter_one(&self, number: u8) -> Option<Guard<'_>> {
        self.0.iter().find(|(other, _)| *other == number).map(|(_, partition)| partition.lock())
    }
}

/// All entries of a node.
pub struct Keyspace {
    partitions: Box<[CachePadded<Lock<Partition>>]>,
    databases: usize,
}

impl Keyspace {
    /// An empty keyspace of `databases` databases.
    pub fn new(databases: usize) -> Keyspace {
        let partitions =
            (0..PARTITIONS).map(|_| CachePadded::new(Lock::new(Partition::new(databases)))).collect();
        Keyspace { partitions, databases }
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Enters a partition if it is free or becomes so in a moment.
    #[inline(always)]
    pub fn try_enter(&self, partition: u8) -> Option<Guard<'_>> {
        let lock = &self.partitions[partition as usize];
        lock.try_lock().or_else(|| Self::spin(lock))
    }

    /// Enters a partition, waiting for it as long as commands may be in it (some milliseconds), but not for a script.
    pub fn enter_unless_scripted(&self, partition: u8) -> Option<Guard<'_>> {
        (0..NAPS).find_map(|_| {
            let entered = self.try_enter(partition);
            if entered.is_none() {
                std::thread::sleep(NAP);
            }
            entered
        })
    }

    #[cold]
    fn spin(lock: &Lock<Partition>) -> Option<Guard<'_>> {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if let Some(guard) = lock.try_lock() {
                return Some(guard);
            }
        }
        None
    }

    /// Enters a partition if it is free this moment: for somebody who merely looks ahead.
    #[inline(always)]
    pub fn glance(&self, partition: u8) -> Option<Guard<'_>> {
        self.partitions[partition as usize].try_lock()
    }

    /// Has the processor fetch the entry that is likely the one of hash `h`, unless somebody is in its partition.
    #[inline]
    pub fn prefetch(&self, partition: u8, db: usize, h: u32) {
        if let Some(partition) = self.glance(partition) {
            partition.dbs[db].prefetch(h);
        }
    }

    /// Enters all of `partitions` (ascending, no doubles) or none.
    pub fn try_enter_all(&self, partitions: impl Iterator<Item = u8>) -> Option<Held<'_>> {
        let mut held = Held::new();
        for partition in partitions {
            held.push((partition, self.try_enter(partition)?));
        }
        Some(held)
    }

    /// Enters a partition, waiting for it. Only for callers that hold none, and for the running script.
    pub fn enter(&self, partition: u8) -> Guard<'_> {
        self.partitions[partition as usize].lock()
    }

    /// Visits every partition, one after the other. Only for callers that hold none.
    pub fn each(&self, mut visit: impl FnMut(u8, &mut Partition)) {
        for partition in 0..=u8::MAX {
            visit(partition, &mut self.enter(partition));
        }
    }

    /// How many entries database `db` holds.
    pub fn len(&self, db: usize) -> usize {
        let mut len = 0;
        self.each(|_, partition| len += partition.dbs[db].len());
        len
    }

    /// Whether no database holds anything.
    pub fn is_empty(&self) -> bool {
        (0..self.databases).all(|db| self.len(db) == 0)
    }
}
