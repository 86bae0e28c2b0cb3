//! Which connections cache which keys, and what they are told (CLIENT TRACKING).
//!
//! A [`Tracker`] is one connection's tracking, from ON to OFF. Keys read are remembered in their partition, under its lock,
//! as the tracker itself; a change takes them out and tells it. Broadcast trackers name prefixes instead; what they
//! are owed is collected and sent once the command that changed the keys is done, in one message per prefix.
//!
//! Trackers switched off stay behind in partitions and are passed over.
//!
//! In a cluster a key may be read, and change, at another node than the one its reader is connected to. That node then remembers it for
//! the reader's node, as a tracker which that node has there ([`Tracker::of_node`]), and this one for the reader. A change passes from the
//! one to the other, a partition that moves is forgotten by both.

use super::clients::{ClientShared, Mail};
use super::ears::{Ear, Word};
use super::partition::{PARTITIONS, Partition};
use crate::cluster::metadata::NodeId;
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

/// Who changed a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Author {
    /// The node it is connected to; 0 for this one.
    pub node: NodeId,
    /// Its connection there; 0 for nobody.
    pub client: u64,
}

/// Nobody: what expires or is evicted.
pub const NOBODY: Author = Author { node: 0, client: 0 };

/// Whose a tracker is.
enum Owner {
    Client(Arc<ClientShared>),
    /// Another node's clients.
    Node(Arc<Ear>),
}

/// One connection's tracking, or that of another node for its connections.
pub struct Tracker {
    owner: Owner,
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
    owed: Mutex<Vec<(Box<[u8]>, u64)>>,
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
            owner: Owner::Client(owner),
            redirect,
            mode,
            no_loop,
            prefixes,
            broken: AtomicBool::new(false),
            on: AtomicBool::new(true),
            owed: Mutex::default(),
        })
    }

    /// The tracking of a node whose clients read here, or listen to `prefixes`.
    pub fn of_node(ear: &Arc<Ear>, mode: Mode, prefixes: Vec<Box<[u8]>>) -> Arc<Tracker> {
        Arc::new(Tracker {
            owner: Owner::Node(Arc::clone(ear)),
            redirect: None,
            mode,
            no_loop: false,
            prefixes,
            broken: AtomicBool::new(false),
            on: AtomicBool::new(true),
            owed: Mutex::default(),
        })
    }

    /// The connection whose it is, unless it is another node's.
    pub fn client(&self) -> Option<&Arc<ClientShared>> {
        match &self.owner {
            Owner::Client(client) => Some(client),
            Owner::Node(_) => None,
        }
    }

    /// Whether what `by` changes is not told.
    fn ignores(&self, by: Author) -> bool {
        self.no_loop && by.node == 0 && self.client().is_some_and(|client| client.id == by.client)
    }

    /// The connection `by`, as the node whose tracking this is knows it; 0 if it is not one of its own.
    fn author_there(&self, by: Author) -> u64 {
        match &self.owner {
            Owner::Node(ear) if ear.node == by.node => by.client,
            _ => 0,
        }
    }

    /// Sends what `keys` writes, unless the receiver cannot understand it.
    fn tell(&self, keys: impl FnOnce(&mut Output)) {
        let Some(owner) = self.client().filter(|_| self.on.load(Ordering::Relaxed)) else { return };
        let target = self.redirect.as_ref().unwrap_or(owner);
        if target.is_closed() {
            if self.redirect.is_some() && !self.broken.swap(true, Ordering::Relaxed) {
                tell_broken(owner, target.id);
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

    fn tell_keys(&self, keys: &[&[u8]]) {
        self.tell(|out| {
            out.array(keys.len());
            keys.iter().for_each(|key| out.bulk(key));
        });
    }

    /// Tells that `key`, which was remembered, changed.
    fn tell_changed(&self, key: &[u8], by: Author) {
        match &self.owner {
            Owner::Client(_) if self.ignores(by) => {}
            Owner::Client(_) => self.tell_keys(&[key]),
            Owner::Node(ear) => {
                if self.on.load(Ordering::Relaxed) {
                    ear.tell(Word::Changed { key: key.to_vec(), by: self.author_there(by) });
                }
            }
        }
    }

    /// Sends what a broadcast tracker is owed.
    fn pay(&self) {
        let owed = std::mem::take(&mut *self.owed.lock());
        if owed.is_empty() {
            return;
        }
        if let Owner::Node(ear) = &self.owner {
            if self.on.load(Ordering::Relaxed) {
                ear.tell(Word::Broadcast(owed.into_iter().map(|(key, by)| (key.into(), by)).collect()));
            }
            return;
        }
        // A message for each prefix, as these never overlap.
        for prefix in &self.prefixes {
            let keys = owed.iter().map(|(key, _)| &**key);
            let keys: Vec<&[u8]> = keys.filter(|key| key.starts_with(prefix)).collect();
            if !keys.is_empty() {
                self.tell_keys(&keys);
            }
        }
    }
}

fn tell_broken(owner: &ClientShared, id: u64) {
    if owner.resp3.load(Ordering::Relaxed) {
        let mut out = Output::new(Proto::Resp3);
        out.push(2);
        out.bulk(b"tracking-redir-broken");
        out.int(id as i64);
        owner.send(Mail::Push(out.take_bytes().into()));
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
        self.all.read().iter().filter(|tracker| tracker.client().is_some()).count()
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// How many prefixes are listened to.
    pub fn prefixes(&self) -> usize {
        let all = self.all.read();
        all.iter().filter(|tracker| tracker.client().is_some()).map(|tracker| tracker.prefixes.len()).sum()
    }

    /// The prefixes that connections of this node listen to.
    pub fn own_prefixes(&self) -> Vec<Vec<u8>> {
        if self.broadcasting.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let all = self.all.read();
        let own = all.iter().filter(|tracker| tracker.client().is_some());
        let mut prefixes: Vec<Vec<u8>> =
            own.flat_map(|tracker| &tracker.prefixes).map(|prefix| prefix.to_vec()).collect();
        prefixes.sort();
        prefixes.dedup();
        prefixes
    }

    /// The tracking of the connection `id`.
    pub fn of(&self, id: u64) -> Option<Arc<Tracker>> {
        if !self.is_active() {
            return None;
        }
        let all = self.all.read();
        all.iter().find(|tracker| tracker.client().is_some_and(|client| client.id == id)).cloned()
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

    /// Tells whoever caches `key` that `by` changed it.
    pub fn changed(&self, partition: &mut Partition, key: &[u8], by: Author) {
        self.forget(partition, key, by);
        if self.broadcasting.load(Ordering::Relaxed) > 0 {
            self.owe(key, by, |_| true);
        }
    }

    /// Tells whoever has read `key` that `by` changed it.
    pub fn forget(&self, partition: &mut Partition, key: &[u8], by: Author) {
        if let Some(trackers) = partition.untrack(key) {
            self.keys.fetch_sub(1, Ordering::Relaxed);
            trackers.iter().for_each(|tracker| tracker.tell_changed(key, by));
        }
    }

    /// Tells whoever has read keys of a partition that they may have changed: nobody here would know.
    pub fn forget_all(&self, partition: &mut Partition) {
        while let Some(key) = partition.tracked_key() {
            self.forget(partition, &key, NOBODY);
        }
    }

    /// Tells this node's connections that listen to prefixes of keys which changed at another node.
    pub fn changed_elsewhere<'k>(&self, keys: impl Iterator<Item = (&'k [u8], u64)>) {
        for (key, client) in keys {
            self.owe(key, Author { node: 0, client }, |tracker| tracker.client().is_some());
        }
        self.settle();
    }

    /// Tells this node's connections that listen to prefixes that something may have changed at another node unnoticed.
    pub fn missed(&self) {
        let all = self.all.read();
        all.iter().filter(|tracker| tracker.mode == Mode::Broadcast).for_each(|t| t.tell(Output::null_array));
    }

    fn owe(&self, key: &[u8], by: Author, concerns: impl Fn(&Tracker) -> bool) {
        for tracker in self.all.read().iter() {
            let listens = tracker.prefixes.iter().any(|prefix| key.starts_with(prefix));
            if tracker.mode == Mode::Broadcast && listens && !tracker.ignores(by) && concerns(tracker) {
                let mut owed = tracker.owed.lock();
                if !owed.iter().any(|(other, _)| **other == *key) {
                    owed.push((key.into(), tracker.author_there(by)));
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
        self.all.read().iter().for_each(|tracker| tracker.pay());
    }

    /// Tells all connections that everything is gone, as each node does; the partitions have forgotten so many keys.
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
                    self.changed(partition, &key, NOBODY);
                }
            });
            if !self.is_over(most) {
                return;
            }
        }
    }
}
