//! Freeing large values where nobody waits for it: in a thread of its own.
//!
//! Dropping a value of a million elements takes tens of milliseconds. Whoever takes one out of a partition hands it on
//! here, where it is queued for the thread that runs [`Lazyfree::run`], or, where the settings ask for memory to be free
//! at once, kept by the caller until the partitions are left.

use crate::store::db::Db;
use crate::store::entry::Entry;
use crate::store::value::Object;
use crossbeam::channel::{Receiver, Sender, unbounded};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A value of no more elements is dropped where it is: handing it on would cost as much.
const LIGHT: usize = 64;

/// Something large to be dropped.
pub enum Garbage {
    /// A value.
    Object(Box<Object>),
    /// Tables with all their entries.
    Tables(Vec<Db>),
}

impl Garbage {
    /// How many keys it was the value of.
    fn len(&self) -> usize {
        match self {
            Garbage::Object(_) => 1,
            Garbage::Tables(tables) => tables.iter().map(Db::len).sum(),
        }
    }
}

enum Job {
    Drop(Garbage),
    Stop,
}

/// The queue of what is to be dropped, and counts of it.
pub struct Lazyfree {
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    pending: AtomicUsize,
    freed: AtomicU64,
}

impl Default for Lazyfree {
    fn default() -> Self {
        let (jobs, queue) = unbounded();
        Lazyfree { jobs, queue, pending: AtomicUsize::new(0), freed: AtomicU64::new(0) }
    }
}

impl Lazyfree {
    /// Has `garbage` dropped by the thread.
    pub fn add(&self, garbage: Garbage) {
        self.pending.fetch_add(garbage.len(), Ordering::Relaxed);
        self.send(Job::Drop(garbage));
    }

    /// Disposes of a value: a small one at once, a large one by the thread if that is wanted, else by giving it back to the caller,
    /// who drops it once it has left all partitions.
    #[inline]
    pub fn dispose(&self, object: Box<Object>, in_thread: bool) -> Option<Garbage> {
        if !is_large(&object) {
            return None;
        }
        let garbage = Garbage::Object(object);
        if in_thread {
            self.add(garbage);
            return None;
        }
        Some(garbage)
    }

    /// [`Lazyfree::dispose`] of an entry's value; the rest of it goes at once.
    #[inline]
    pub fn dispose_entry(&self, entry: Entry, in_thread: bool) -> Option<Garbage> {
        self.dispose(entry.into_object()?, in_thread)
    }

    /// Drops what is queued, and what comes, until [`Lazyfree::stop`].
    pub fn run(&self) {
        while let Ok(Job::Drop(garbage)) = self.queue.recv() {
            let len = garbage.len();
            drop(garbage);
            crate::memory::report();
            self.pending.fetch_sub(len, Ordering::Relaxed);
            self.freed.fetch_add(len as u64, Ordering::Relaxed);
        }
    }

    /// Ends the thread once it has dropped what is queued now.
    pub fn stop(&self) {
        self.send(Job::Stop);
    }

    /// Values queued and not yet dropped.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Values dropped by the thread since the start or the last reset.
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    /// Counts anew.
    pub fn reset_freed(&self) {
        self.freed.store(0, Ordering::Relaxed);
    }

    fn send(&self, job: Job) {
        self.jobs.send(job).expect("the receiver is held beside the sender");
    }
}

/// Whether dropping `object` takes many calls of the allocator: packed collections lie in one block.
fn is_large(object: &Object) -> bool {
    object.len() > LIGHT && !matches!(object.encoding(), "listpack" | "intset")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::types::list::{End, List, ListLimits};
    use crate::store::value::Stored;

    fn list(len: usize) -> Box<Object> {
        let mut list = List::new();
        let values = vec![&b"0123456789"[..]; len];
        list.push(End::Back, values, ListLimits { max_listpack_size: 10 });
        Box::new(list.into_object())
    }

    #[test]
    fn large_values_go_where_they_are_wanted() {
        let lazyfree = Lazyfree::default();
        assert!(lazyfree.dispose(list(5), true).is_none());
        assert_eq!(lazyfree.pending(), 0);
        assert!(lazyfree.dispose(list(1000), false).is_some());
        assert_eq!(lazyfree.pending(), 0);
        assert!(lazyfree.dispose(list(1000), true).is_none());
        assert_eq!(lazyfree.pending(), 1);
        lazyfree.stop();
        lazyfree.run();
        assert_eq!((lazyfree.pending(), lazyfree.freed()), (0, 1));
    }
}
