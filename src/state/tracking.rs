//! Which connections cache which keys, and what they are told (CLIENT TRACKING).
//!
//! A [`Tracker`] is one connection's tracking, from ON to OFF. Keys read are remembered in their partition, under its lock,
//! as the tracker itself; a change takes them out and tells it. Broadcast trackers name prefixes instead; what they
//! are owed is collected and sent once the command that changed the keys is done, in one message per prefix.
//!
//! Trackers switched off stay behind in partitions and are passed over.

use super::clients::{ClientShared, Mail};
use super::partition::{PARTITIONS, Partition};
use parking_lot::{Mutex, RwLock};
use shoal_protocol::resp::{Output, Proto};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The channel by which RESP2 connections hear of invalidations.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// Which reads are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// All.
    #[default]
    All,
    /// Those after CLIENT CACHING YES.
    OptIn,
    /// All but those after CLIENT CACHING NO.
    OptOut,
    /// None: changes are told by prefix.
    Broadcast,
}

/// One connection's tracking.
pub struct Tracker {
    /// Whose it is.
    pub owner: Arc<ClientShared>,
    /// Who is told instead, if anyone.
    pub redirect: Option<Arc<ClientShared>>,
    /// Which reads are remembered.
    pub mode: Mode,
    /// Whether its own changes are not told.
    pub no_loop: bool,
    /// What it listens to in broadcast mode; the empty prefix is everything.
    pub prefixes: Vec<Box<[u8]>>,
    /// Whether the connection to which it redirects is gone.
    pub broken: AtomicBool,
    on: AtomicBool,
    owed: Mutex<Vec<Box<[u8]>>>,
}

impl Tracker {
    /// Tracking that is on.
    pub fn new(
        owner: Arc<ClientShared>,
        redirect: Option<Arc<ClientShared>>,
        mode: Mode,
        no_loop: bool,
        prefixes: Vec<Box<[u8]>>,
    ) -> Arc<Tracker> {
        Arc::new(Tracker {
            owner,
            redirect,
            mode,
            no_loop,
            prefixes,
            broken: AtomicBool::new(false),
            on: AtomicBool::new(true),
            owed: Mutex::default(),
        })
    }

    /// Sends what `keys` writes, unless the receiver cannot understand it.
    fn tell(&self, keys: impl FnOnce(&mut Output)) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let target = self.redirect.as_ref().unwrap_or(&self.owner);
        if target.is_closed() {
            if self.redirect.is_some() && !self.broken.swap(true, Ordering::Relaxed) {
                self.tell_broken(target.id);
            }
            return;
        }
        let resp3 = target.resp3.load(Ordering::Relaxed);
        let subscribed = || target.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0);
        let mut out = Output::new(if resp3 { Proto::Resp3 } else { Proto::Resp2 });
        if resp3 {
            out.push(2);
            out.bulk(b"invalidate");
        } else if self.redirect.is_some() && subscribed() {
            out.push(3);
            out.bulk(b"message");
            out.bulk(CHANNEL);
        } else {
            return;
        }
        keys(&mut out);
        target.send(Mail::Push(out.take_bytes().into()));
    }

    fn tell_broken(&self, id: u64) {
        if self.owner.resp3.load(Ordering::Relaxed) {
            let mut out = Output::new(Proto::Resp3);
            out.push(2);
            out.bulk(b"tracking-redir-broken");
            out.int(id as i64);
            self.owner.send(Mail::Push(out.take_bytes().into()));
        }
    }

    fn tell_keys(&self, keys: &[Box<[u8]>]) {
        self.tell(|out| {
            out.array(keys.len());
            keys.iter().for_each(|key| out.bulk(key));
        });
    }
}

/// All tracking of a node.
#[derive(Default)]
pub struct Tracking {
    all: RwLock<Vec<Arc<Tracker>>>,
    on: AtomicUsize,
    broadcasting: AtomicUsize,
    /// Keys remembered in all partitions.
    keys: AtomicUsize,
    owing: AtomicBool,
}

impl Tracking {
    /// Whether anyone tracks anything.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.on.load(Ordering::Relaxed) > 0
    }

    /// How many connections track.
    pub fn clients(&self) -> usize {
        self.on.load(Ordering::Relaxed)
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// How many prefixes are listened to.
    pub fn prefixes(&self) -> usize {
        self.all.read().iter().map(|tracker| tracker.prefixes.len()).sum()
    }

    /// The tracking of the connection `id`.
    pub fn of(&self, id: u64) -> Option<Arc<Tracker>> {
        if !self.is_active() {
            return None;
        }
        self.all.read().iter().find(|tracker| tracker.owner.id == id).cloned()
    }

    /// Begins tracking.
    pub fn start(&self, tracker: &Arc<Tracker>) {
        self.all.write().push(Arc::clone(tracker));
        self.broadcasting.fetch_add(usize::from(tracker.mode == Mode::Broadcast), Ordering::Relaxed);
        self.on.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends tracking.
    pub fn stop(&self, tracker: &Arc<Tracker>) {
        if tracker.on.swap(false, Ordering::Relaxed) {
            self.all.write().retain(|other| !Arc::ptr_eq(other, tracker));
            self.broadcasting.fetch_sub(usize::from(tracker.mode == Mode::Broadcast), Ordering::Relaxed);
            self.on.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Remembers that `tracker` read `key`.
    pub fn remember(&self, partition: &mut Partition, key: &[u8], tracker: &Arc<Tracker>) {
        if partition.track(key, tracker) {
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells whoever caches `key` that the connection `by` (0: nobody) changed it.
    pub fn changed(&self, partition: &mut Partition, key: &[u8], by: u64) {
        if let Some(trackers) = partition.untrack(key) {
            self.keys.fetch_sub(1, Ordering::Relaxed);
            for tracker in trackers {
                if !(tracker.no_loop && tracker.owner.id == by) {
                    tracker.tell_keys(&[key.into()]);
                }
            }
        }
        if self.broadcasting.load(Ordering::Relaxed) > 0 {
            self.owe(key, by);
        }
    }

    fn owe(&self, key: &[u8], by: u64) {
        for tracker in self.all.read().iter() {
            let listens = tracker.prefixes.iter().any(|prefix| key.starts_with(prefix));
            if tracker.mode == Mode::Broadcast && listens && !(tracker.no_loop && tracker.owner.id == by) {
                let mut owed = tracker.owed.lock();
                if !owed.iter().any(|other| **other == *key) {
                    owed.push(key.into());
                    self.owing.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Sends broadcast trackers what they are owed, once a command is done.
    #[inline]
    pub fn settle(&self) {
        if self.owing.load(Ordering::Relaxed) {
            self.pay();
        }
    }

    #[cold]
    fn pay(&self) {
        self.owing.store(false, Ordering::Relaxed);
        for tracker in self.all.read().iter() {
            let owed = std::mem::take(&mut *tracker.owed.lock());
            // A message for each prefix, as these never overlap.
            for prefix in &tracker.prefixes {
                let keys: Vec<_> = owed.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
                if !keys.is_empty() {
                    tracker.tell_keys(&keys);
                }
            }
        }
    }

    /// Tells all trackers that everything is gone; the partitions have forgotten so many keys.
    pub fn flushed(&self, forgotten: usize) {
        self.keys.fetch_sub(forgotten, Ordering::Relaxed);
        for tracker in self.all.read().iter() {
            tracker.tell(Output::null_array);
        }
    }

    /// Whether more keys are remembered than `most`.
    #[inline]
    pub fn is_over(&self, most: usize) -> bool {
        most > 0 && self.keys.load(Ordering::Relaxed) > most
    }

    /// Forgets keys, telling their trackers, until `most` are left. `enter` opens a partition; none is held.
    pub fn shrink(&self, most: usize, mut enter: impl FnMut(u8, &mut dyn FnMut(&mut Partition))) {
        let start = fastrand::usize(..PARTITIONS);
        for step in 0..PARTITIONS {
            enter(((start + step) % PARTITIONS) as u8, &mut |partition| {
                while self.is_over(most)
                    && let Some(key) = partition.tracked_key()
                {
                    self.changed(partition, &key, 0);
                }
            });
            if !self.is_over(most) {
                return;
            }
        }
    }
}
