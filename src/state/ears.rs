//! What other nodes want to hear of this one, and what this node wants to hear of them.
//!
//! Subscribers and caching clients may be connected anywhere, while a key changes where it is served. So a node tells the others what
//! its clients are interested in ([`Ears::want`]), and each keeps an [`Ear`] for it: what that node is to hear, in order, until it is sent.
//! What nobody anywhere is interested in costs one look.
//!
//! An ear lives as long as the link it belongs to. A node whose link to another ends knows that it may have missed something.

use super::tracking::{Mode, Tracker};
use crate::cluster::metadata::NodeId;
use atomic_waker::AtomicWaker;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// Bytes an ear may hold. A node that is so far behind begins anew, knowing that it missed something.
const MOST: usize = 32 << 20;

/// What the clients of a node are interested in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interest {
    /// Events of keys.
    pub events: bool,
    /// Messages published by scripts and transactions.
    pub messages: bool,
    /// Changes of keys with these prefixes (CLIENT TRACKING in broadcast mode).
    pub prefixes: Vec<Vec<u8>>,
}

/// What a node hears of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// A message, or an event of a key, for those who listen to the channel.
    Message {
        /// The channel.
        channel: Vec<u8>,
        /// The message.
        text: Vec<u8>,
        /// Whether it is a shard channel.
        is_shard: bool,
    },
    /// A key that was read on behalf of that node's clients has changed.
    Changed {
        /// The key.
        key: Vec<u8>,
        /// Which connection of that node changed it; 0 if none did.
        by: u64,
    },
    /// Keys with prefixes that were asked for have changed, by one command.
    Broadcast(Vec<(Vec<u8>, u64)>),
}

impl Word {
    /// Bytes of memory, about.
    fn size(&self) -> usize {
        64 + match self {
            Word::Message { channel, text, .. } => channel.len() + text.len(),
            Word::Changed { key, .. } => key.len(),
            Word::Broadcast(keys) => keys.iter().map(|(key, _)| key.len() + 32).sum(),
        }
    }
}

/// A node that listens to this one.
pub struct Ear {
    /// Which node.
    pub node: NodeId,
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    /// Whether it fell behind, or its link is gone.
    is_deaf: AtomicBool,
}

#[derive(Default)]
struct Queue {
    words: Vec<Word>,
    size: usize,
}

impl Ear {
    /// Leaves a word to be sent.
    pub fn tell(&self, word: Word) {
        let mut queue = self.queue.lock();
        queue.size += word.size();
        if queue.size > MOST {
            self.is_deaf.store(true, Ordering::Release);
            *queue = Queue::default();
        } else if !self.is_deaf.load(Ordering::Acquire) {
            queue.words.push(word);
        }
        drop(queue);
        self.waker.wake();
    }

    /// Takes what is to be sent, once there is something; nothing if nothing more can be.
    pub fn poll(&self, task: &mut Context<'_>) -> Poll<Option<Vec<Word>>> {
        self.waker.register(task.waker());
        if self.is_deaf.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        let mut queue = self.queue.lock();
        let Queue { words, .. } = std::mem::take(&mut *queue);
        if words.is_empty() { Poll::Pending } else { Poll::Ready(Some(words)) }
    }
}

/// An ear, with what it wants.
struct Open {
    ear: Arc<Ear>,
    events: bool,
    messages: bool,
    /// Remembers keys that the node's clients read here, from the first of them on.
    reader: Option<Arc<Tracker>>,
    /// Listens to the prefixes.
    listener: Option<Arc<Tracker>>,
}

/// The ears of other nodes at this one, and what this node has asked of others.
#[derive(Default)]
pub struct Ears {
    open: RwLock<Vec<Open>>,
    /// Ears that want events.
    for_events: AtomicUsize,
    wanted: Mutex<Interest>,
    version: AtomicU64,
    /// Which version of it each node this one listens to knows.
    told: Mutex<BTreeMap<NodeId, u64>>,
    waiters: Mutex<Vec<Waker>>,
}

impl Ears {
    // What this node wants to hear.

    /// Says what the clients of this node are interested in; returns the version of it.
    pub fn want(&self, interest: Interest) -> u64 {
        let mut wanted = self.wanted.lock();
        if *wanted != interest {
            *wanted = interest;
            self.version.fetch_add(1, Ordering::AcqRel);
            drop(wanted);
            self.wake();
        }
        self.version.load(Ordering::Acquire)
    }

    /// What the clients of this node are interested in, and the version of it.
    pub fn wanted(&self) -> (Interest, u64) {
        let wanted = self.wanted.lock();
        (wanted.clone(), self.version.load(Ordering::Acquire))
    }

    /// Ready once the clients are interested in something else than in version `seen`.
    pub fn poll_wanted(&self, seen: u64, task: &mut Context<'_>) -> Poll<()> {
        self.poll_until(task, || self.version.load(Ordering::Acquire) != seen)
    }

    /// Notes that `node` knows the interest of this version; or that nothing is heard of it any more.
    pub fn note_told(&self, node: NodeId, version: Option<u64>) {
        match version {
            Some(version) => self.told.lock().insert(node, version),
            None => self.told.lock().remove(&node),
        };
        self.wake();
    }

    /// Ready once all nodes that this one listens to know the interest of this version.
    pub fn poll_told(&self, version: u64, task: &mut Context<'_>) -> Poll<()> {
        self.poll_until(task, || self.told.lock().values().all(|told| *told >= version))
    }

    fn poll_until(&self, task: &mut Context<'_>, is_so: impl Fn() -> bool) -> Poll<()> {
        if !is_so() {
            self.waiters.lock().push(task.waker().clone());
        }
        if is_so() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake(&self) {
        std::mem::take(&mut *self.waiters.lock()).iter().for_each(Waker::wake_by_ref);
    }

    // What others want to hear of this one.

    /// Opens an ear for `node`.
    pub fn open(&self, node: NodeId) -> Arc<Ear> {
        let ear = Arc::new(Ear {
            node,
            queue: Mutex::default(),
            waker: AtomicWaker::new(),
            is_deaf: AtomicBool::new(false),
        });
        let open =
            Open { ear: Arc::clone(&ear), events: false, messages: false, reader: None, listener: None };
        self.open.write().push(open);
        ear
    }

    /// Sets what an ear wants to hear. The trackers returned are to be stopped and started, in this order.
    pub fn set(&self, ear: &Arc<Ear>, interest: &Interest) -> (Option<Arc<Tracker>>, Option<Arc<Tracker>>) {
        let mut all = self.open.write();
        let Some(open) = all.iter_mut().find(|open| Arc::ptr_eq(&open.ear, ear)) else { return (None, None) };
        self.count(open.events, interest.events);
        (open.events, open.messages) = (interest.events, interest.messages);
        let prefixes: Vec<Box<[u8]>> =
            interest.prefixes.iter().map(|prefix| prefix.as_slice().into()).collect();
        if open.listener.as_ref().map_or(&[][..], |listener| &listener.prefixes) == prefixes {
            return (None, None);
        }
        let fresh = (!prefixes.is_empty()).then(|| Tracker::of_node(ear, Mode::Broadcast, prefixes));
        (std::mem::replace(&mut open.listener, fresh.clone()), fresh)
    }

    /// Closes an ear. The trackers returned are to be stopped.
    pub fn close(&self, ear: &Arc<Ear>) -> Vec<Arc<Tracker>> {
        let mut all = self.open.write();
        let Some(at) = all.iter().position(|open| Arc::ptr_eq(&open.ear, ear)) else { return Vec::new() };
        let open = all.swap_remove(at);
        self.count(open.events, false);
        ear.is_deaf.store(true, Ordering::Release);
        open.reader.into_iter().chain(open.listener).collect()
    }

    fn count(&self, before: bool, now: bool) {
        match (before, now) {
            (false, true) => self.for_events.fetch_add(1, Ordering::AcqRel),
            (true, false) => self.for_events.fetch_sub(1, Ordering::AcqRel),
            _ => 0,
        };
    }

    /// What remembers the keys read here on behalf of the clients of `node`, if that node listens; and whether it was just made, so that
    /// it has to be started.
    pub fn reader(&self, node: NodeId) -> Option<(Arc<Tracker>, bool)> {
        if let Some(open) = self.open.read().iter().rfind(|open| open.ear.node == node)
            && let Some(reader) = &open.reader
        {
            return Some((Arc::clone(reader), false));
        }
        let mut all = self.open.write();
        let open = all.iter_mut().rfind(|open| open.ear.node == node)?;
        let is_new = open.reader.is_none();
        let ear = &open.ear;
        let reader = open.reader.get_or_insert_with(|| Tracker::of_node(ear, Mode::All, Vec::new()));
        Some((Arc::clone(reader), is_new))
    }

    /// Whether any node wants events.
    #[inline]
    pub fn want_events(&self) -> bool {
        self.for_events.load(Ordering::Relaxed) > 0
    }

    /// Tells an event to the nodes that want any.
    pub fn tell_event(&self, channel: &[u8], text: &[u8]) {
        self.tell(|open| open.events, channel, text, false);
    }

    /// Tells a message to the nodes at which anybody listens to anything.
    pub fn tell_message(&self, channel: &[u8], text: &[u8], is_shard: bool) {
        self.tell(|open| open.messages, channel, text, is_shard);
    }

    fn tell(&self, wants: impl Fn(&Open) -> bool, channel: &[u8], text: &[u8], is_shard: bool) {
        for open in self.open.read().iter().filter(|open| wants(open)) {
            let (channel, text) = (channel.to_vec(), text.to_vec());
            open.ear.tell(Word::Message { channel, text, is_shard });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(ear: &Ear) -> Vec<Word> {
        let mut task = Context::from_waker(Waker::noop());
        match ear.poll(&mut task) {
            Poll::Ready(Some(words)) => words,
            _ => Vec::new(),
        }
    }

    #[test]
    fn an_ear_hears_what_it_wants_until_it_is_closed() {
        let ears = Ears::default();
        let ear = ears.open(7);
        ears.tell_event(b"c", b"1");
        assert!(!ears.want_events() && words(&ear).is_empty());
        let (stop, start) = ears.set(&ear, &Interest { events: true, ..Interest::default() });
        assert!(stop.is_none() && start.is_none() && ears.want_events());
        ears.tell_event(b"c", b"2");
        ears.tell_message(b"c", b"3", false);
        let (channel, text) = (b"c".to_vec(), b"2".to_vec());
        assert_eq!(words(&ear), [Word::Message { channel, text, is_shard: false }]);
        assert!(ears.close(&ear).is_empty() && !ears.want_events());
        ears.tell_event(b"c", b"4");
        assert!(words(&ear).is_empty());
    }

    #[test]
    fn a_change_of_interest_is_waited_for_where_anybody_is_listened_to() {
        let ears = Ears::default();
        let mut task = Context::from_waker(Waker::noop());
        ears.note_told(3, Some(0));
        let version = ears.want(Interest { messages: true, ..Interest::default() });
        assert!(ears.poll_told(version, &mut task).is_pending());
        ears.note_told(3, Some(version));
        assert!(ears.poll_told(version, &mut task).is_ready());
        // The same once more is nothing new.
        assert_eq!(ears.want(Interest { messages: true, ..Interest::default() }), version);
        let version = ears.want(Interest::default());
        assert!(ears.poll_told(version, &mut task).is_pending());
        // Who is gone is not waited for.
        ears.note_told(3, None);
        assert!(ears.poll_told(version, &mut task).is_ready());
    }

    #[test]
    fn an_ear_that_falls_behind_is_deaf() {
        let ears = Ears::default();
        let ear = ears.open(7);
        let key = vec![b'k'; MOST];
        ear.tell(Word::Changed { key, by: 0 });
        let mut task = Context::from_waker(Waker::noop());
        assert_eq!(ear.poll(&mut task), Poll::Ready(None));
    }
}
