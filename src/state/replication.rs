//! Copies of a partition on other nodes: what is sent to them, and what has arrived.
//!
//! Every change to a partition is an *effect*: what a replica must do to end up the same. The effects of one command (or
//! transaction, or script) are one *entry*, numbered in the partition's order. A primary appends an entry, under the partition's
//! lock, to the [`Feed`] of each node that keeps a copy; a feed is one stream for all partitions two nodes share, so that "applied up
//! to here" is one number. Whoever was answered out of a partition waits until the entries before the answer have arrived
//! ([`Waits`]): nothing that a client was told can be lost with its primary.
//!
//! Sockets are unknown here; `server/feeder.rs` sends what a feed holds and tells what arrived.

use super::fill::Fill;
use crate::cluster::metadata::NodeId;
use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// Records under way to a copy beyond which it is waited for even where writes are acknowledged at once.
const FAR_BEHIND: u64 = 16 * 1024;

/// What a node is to a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It serves it.
    Primary,
    /// It is to serve it, and finds out first what the replicas have.
    Rising,
    /// It serves it no more, and waits until all is at the node that takes over.
    Falling,
    /// It keeps a copy.
    Replica,
    /// It has nothing of it.
    Stranger,
}

/// A partition's place in the cluster. A node that is alone has none.
pub struct Replication {
    /// What this node is to it.
    pub role: Role,
    /// Since which change of primaries.
    pub epoch: u64,
    /// The version of the map by which this node heard of that.
    pub since: u64,
    /// The number of the last entry made or applied.
    pub sequence: u64,
    /// The epoch of the primary that made it: two primaries may have made different entries of one number.
    pub made_in: u64,
    /// At a replica: whether it has all the entries up to that one.
    pub is_whole: bool,
    /// At a replica: the number of the feed that it follows, or is being filled by; 0 if there is none.
    pub feed: u64,
    /// At the primary: where entries go.
    pub sinks: Vec<Sink>,
    /// Keys changed since the last effect was noted, by database.
    changed: Vec<(usize, Box<[u8]>)>,
    /// All keys changed so far, where somebody wants to know.
    touched: Option<Vec<(usize, Vec<u8>)>>,
    /// Effects of the command that holds the partition.
    effects: Vec<u8>,
}

/// A copy on another node.
pub struct Sink {
    /// The way there.
    pub feed: Arc<Feed>,
    /// Whether answers wait for it.
    pub in_sync: bool,
    /// How many copies had been given up when this one was begun: see [`Turn`](crate::cluster::metadata::Turn).
    pub begun: u64,
    /// What of it is not there yet.
    pub(super) fill: Option<Fill>,
    /// Where in the feed the last record of this partition lies.
    pub(super) last: u64,
}

impl Replication {
    /// The place of a partition that this node is `role` to.
    pub fn new(role: Role, epoch: u64) -> Replication {
        Replication {
            role,
            epoch,
            since: 0,
            sequence: 0,
            made_in: 0,
            is_whole: false,
            feed: 0,
            sinks: Vec::new(),
            changed: Vec::new(),
            touched: None,
            effects: Vec::new(),
        }
    }

    /// The place of a partition that is a scratch copy: nothing is sent, but what changes is noted.
    pub fn scratch() -> Replication {
        let mut own = Replication::new(Role::Primary, 0);
        own.sinks.push(Sink { feed: Feed::new(0, 0), in_sync: false, begun: 0, fill: None, last: 0 });
        own.touched = Some(Vec::new());
        own
    }

    /// Of a scratch copy: the effects of all that was done to it, and the keys that were changed.
    pub fn into_effects(self) -> (Vec<u8>, Vec<(usize, Vec<u8>)>) {
        (self.effects, self.touched.unwrap_or_default())
    }

    /// Whether changes are to be told to anyone.
    #[inline]
    pub fn is_copied(&self) -> bool {
        !self.sinks.is_empty()
    }

    /// Notes that `key` changed.
    pub fn note(&mut self, db: usize, key: &[u8]) {
        if self.is_copied() && !self.changed.iter().any(|(other, known)| *other == db && **known == *key) {
            self.changed.push((db, key.into()));
            if let Some(touched) = &mut self.touched
                && !touched.iter().any(|(other, known)| *other == db && **known == *key)
            {
                touched.push((db, key.to_vec()));
            }
        }
    }

    /// Takes the keys that changed since this was last asked.
    pub fn take_changed(&mut self) -> Vec<(usize, Box<[u8]>)> {
        std::mem::take(&mut self.changed)
    }

    /// Whether any did.
    #[inline]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Where the effects of the present command are written to.
    pub fn effects(&mut self) -> &mut Vec<u8> {
        &mut self.effects
    }

    /// Ends the present command: its effects, if it had any, become an entry on its way to all copies.
    #[inline]
    pub fn commit(&mut self, partition: u8) {
        if !self.effects.is_empty() {
            self.send(partition);
        }
    }

    #[cold]
    fn send(&mut self, partition: u8) {
        self.sequence += 1;
        self.made_in = self.epoch;
        for sink in &mut self.sinks {
            let head = Head {
                partition,
                epoch: self.epoch,
                sequence: self.sequence,
                feed: sink.feed.number,
                version: 0,
            };
            sink.last = sink.feed.append(&Record::Entry(head), &self.effects);
        }
        self.effects.clear();
        if self.effects.capacity() > 1 << 16 {
            self.effects = Vec::new();
        }
    }

    /// Adds what an answer out of this partition, as it is now, has to wait for. One that is given `at_once` waits only for copies that
    /// are far behind: what is under way takes memory.
    #[inline]
    pub fn add_waits(&self, waits: &mut Waits, at_once: bool) {
        let allowed = if at_once { FAR_BEHIND } else { 0 };
        for sink in &self.sinks {
            if sink.in_sync && !sink.feed.has(sink.last.saturating_sub(allowed)) {
                waits.add(&sink.feed, sink.last);
            }
        }
    }

    /// Begins to send to a further node, from here on: a copy that is in sync, of when `begun` copies had been given up.
    pub fn attach(&mut self, feed: Arc<Feed>, begun: u64) {
        self.detach(feed.node);
        self.sinks.push(Sink { feed, in_sync: true, begun, fill: None, last: 0 });
    }

    /// As [`Replication::attach`], for a copy that is to be filled first, by the map of `version`, and not in sync before: `Partition::fill_on`
    /// sends it what there is. `ledger` are the effects that make the partition's part in transactions.
    pub fn attach_empty(&mut self, partition: u8, feed: Arc<Feed>, begun: u64, ledger: &[u8], version: u64) {
        self.detach(feed.node);
        let head = Head { partition, epoch: self.epoch, sequence: 0, feed: feed.number, version };
        let last = feed.append(&Record::Begin(head), ledger);
        self.sinks.push(Sink { feed, in_sync: false, begun, fill: Some(Fill::new(version)), last });
    }

    /// Whether a copy is being filled.
    pub fn is_filling(&self) -> bool {
        self.sinks.iter().any(|sink| sink.fill.is_some())
    }

    /// Whether a copy lacks what there is of `key`, as it is being filled.
    pub fn lacks(&self, db: usize, key: &[u8]) -> bool {
        self.sinks.iter().filter_map(|sink| sink.fill.as_ref()).any(|fill| !fill.has(db, key))
    }

    /// Notes that the copies are told what became of `key`.
    pub(super) fn note_told(&mut self, db: usize, key: &[u8]) {
        let fills = self.sinks.iter_mut().filter_map(|sink| sink.fill.as_mut());
        fills.for_each(|fill| fill.note_told(db, key));
    }

    /// Sends to `node` no more.
    pub fn detach(&mut self, node: NodeId) {
        self.sinks.retain(|sink| sink.feed.node != node);
    }

    /// The copy on `node`.
    pub fn sink(&mut self, node: NodeId) -> Option<&mut Sink> {
        self.sinks.iter_mut().find(|sink| sink.feed.node == node)
    }

    /// What has to arrive where before each copy in sync has all that is here now.
    pub fn goals(&self) -> Vec<(Arc<Feed>, u64)> {
        self.sinks
            .iter()
            .filter(|sink| sink.in_sync)
            .map(|sink| (Arc::clone(&sink.feed), sink.last))
            .collect()
    }

    /// Whether every copy has every entry, but for those that are being filled.
    pub fn has_all_arrived(&self) -> bool {
        self.sinks.iter().all(|sink| sink.fill.is_some() || sink.feed.has(sink.last))
    }
}

impl Sink {
    /// Whether all there is has arrived.
    pub fn has_caught_up(&self) -> bool {
        self.fill.is_none() && self.feed.has(self.last)
    }

    /// Whether the copy is being filled.
    pub fn is_filling(&self) -> bool {
        self.fill.is_some()
    }
}

/// Where a record belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The partition.
    pub partition: u8,
    /// Its primary's epoch.
    pub epoch: u64,
    /// The number of the entry; at the end of a filling, of the last one.
    pub sequence: u64,
    /// The number of the feed it comes by.
    pub feed: u64,
    /// Of a filling: the version of the map by which it was begun.
    pub version: u64,
}

/// What a feed carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The effects of a command.
    Entry(Head),
    /// A part of a partition's contents, as effects.
    Part(Head),
    /// All parts have been sent: from here on the copy is whole. Not effects come with it but the epoch in which the last entry was made, 8
    /// bytes in little-endian order.
    Last(Head),
    /// The copy is to be empty but for these effects, and to be filled.
    Begin(Head),
}

/// Bytes before the effects of a record: kind, partition, epoch, sequence, feed, version, length.
const RECORD_HEAD: usize = 1 + 1 + 8 + 8 + 8 + 8 + 4;

impl Record {
    fn write(&self, effects: &[u8], out: &mut Vec<u8>) {
        let (kind, head) = match self {
            Record::Entry(head) => (0, head),
            Record::Part(head) => (1, head),
            Record::Last(head) => (2, head),
            Record::Begin(head) => (3, head),
        };
        out.reserve(RECORD_HEAD + effects.len());
        out.extend_from_slice(&[kind, head.partition]);
        out.extend_from_slice(&head.epoch.to_le_bytes());
        out.extend_from_slice(&head.sequence.to_le_bytes());
        out.extend_from_slice(&head.feed.to_le_bytes());
        out.extend_from_slice(&head.version.to_le_bytes());
        out.extend_from_slice(&(effects.len() as u32).to_le_bytes());
        out.extend_from_slice(effects);
    }

    /// Takes the first record off `bytes`; nothing if that is none.
    pub fn read<'a>(bytes: &mut &'a [u8]) -> Option<(Record, &'a [u8])> {
        let (fixed, rest) = bytes.split_first_chunk::<RECORD_HEAD>()?;
        let number = |at: usize| fixed[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let head = Head {
            partition: fixed[1],
            epoch: number(2)?,
            sequence: number(10)?,
            feed: number(18)?,
            version: number(26)?,
        };
        let len = fixed[34..38].try_into().map(u32::from_le_bytes).ok()? as usize;
        let record = match fixed[0] {
            0 => Record::Entry(head),
            1 => Record::Part(head),
            2 => Record::Last(head),
            3 => Record::Begin(head),
            _ => return None,
        };
        let (effects, rest) = rest.split_at_checked(len)?;
        *bytes = rest;
        Some((record, effects))
    }
}

/// The stream of records to one node.
///
/// Invariant: positions count the records ever appended; `acked` of them have been applied there.
pub struct Feed {
    /// Where it leads.
    pub node: NodeId,
    /// Tells it from others to the same node: a later one has a greater number.
    pub number: u64,
    queue: Mutex<Queue>,
    acked: AtomicU64,
    lost: AtomicBool,
    broken: AtomicBool,
    waiters: Mutex<Vec<(u64, Waker)>>,
    sender: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    appended: u64,
}

impl Feed {
    /// An empty feed.
    pub fn new(node: NodeId, number: u64) -> Arc<Feed> {
        Arc::new(Feed {
            node,
            number,
            queue: Mutex::default(),
            acked: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            waiters: Mutex::default(),
            sender: AtomicWaker::new(),
        })
    }

    /// Appends a record; returns its position.
    pub fn append(&self, record: &Record, effects: &[u8]) -> u64 {
        let mut queue = self.queue.lock();
        let was_empty = queue.bytes.is_empty();
        record.write(effects, &mut queue.bytes);
        queue.appended += 1;
        let position = queue.appended;
        drop(queue);
        if was_empty {
            self.sender.wake();
        }
        position
    }

    /// Takes what has not been sent, if there is anything.
    pub fn poll_unsent(&self, task: &mut Context<'_>) -> Poll<Vec<u8>> {
        self.sender.register(task.waker());
        let bytes = std::mem::take(&mut self.queue.lock().bytes);
        if bytes.is_empty() { Poll::Pending } else { Poll::Ready(bytes) }
    }

    /// Bytes that have not been sent.
    pub fn unsent_bytes(&self) -> usize {
        self.queue.lock().bytes.len()
    }

    /// The position of the last record.
    pub fn end(&self) -> u64 {
        self.queue.lock().appended
    }

    /// The position up to which all has been applied.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Acquire)
    }

    /// How many records are under way.
    pub fn behind(&self) -> u64 {
        self.end().saturating_sub(self.acked())
    }

    /// Whether the record at `position` has arrived.
    #[inline]
    pub fn has(&self, position: u64) -> bool {
        self.acked.load(Ordering::Acquire) >= position
    }

    /// Notes that all up to `position` has been applied.
    pub fn ack(&self, position: u64) {
        self.acked.fetch_max(position, Ordering::AcqRel);
        self.wake(|at| at <= position);
    }

    /// Nobody needs to wait for this node any more: the control plane has taken it out of what is in sync.
    pub fn release(&self) {
        self.ack(u64::MAX);
    }

    /// What is under way may never arrive, nor is it certain that it will not: this node is primary no more.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.wake(|_| true);
    }

    /// Notes that what it carries does not arrive: the node at its end is to be cut off.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether what it carries does not arrive.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Whether it is of no more use.
    pub fn is_over(&self) -> bool {
        self.lost.load(Ordering::Acquire) || self.acked() == u64::MAX
    }

    fn wake(&self, concerns: impl Fn(u64) -> bool) {
        let mut waiters = self.waiters.lock();
        waiters.retain(|(position, waker)| {
            let concerned = concerns(*position);
            if concerned {
                waker.wake_by_ref();
            }
            !concerned
        });
    }

    /// Ready once the record at `position` has arrived; false if it may not have and this node cannot know any more.
    fn poll_has(&self, position: u64, task: &mut Context<'_>) -> Poll<bool> {
        let look = || {
            if self.has(position) {
                return Some(true);
            }
            self.lost.load(Ordering::Acquire).then_some(false)
        };
        if let Some(outcome) = look() {
            return Poll::Ready(outcome);
        }
        let mut waiters = self.waiters.lock();
        if !waiters.iter().any(|(at, waker)| *at == position && waker.will_wake(task.waker())) {
            waiters.push((position, task.waker().clone()));
        }
        drop(waiters);
        // It may have come in between.
        look().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What has to arrive elsewhere before a client may be answered.
#[derive(Default)]
pub struct Waits(SmallVec<[(Arc<Feed>, u64); 2]>);

impl Waits {
    /// Whether there is nothing to wait for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, feed: &Arc<Feed>, position: u64) {
        match self.0.iter_mut().find(|(other, _)| Arc::ptr_eq(other, feed)) {
            Some((_, at)) => *at = position.max(*at),
            None => self.0.push((Arc::clone(feed), position)),
        }
    }

    /// Adds what another has to wait for.
    pub fn append(&mut self, other: Waits) {
        other.0.iter().for_each(|(feed, position)| self.add(feed, *position));
    }

    /// Ready once all has arrived; false if that cannot be known any more.
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<bool> {
        while let Some((feed, position)) = self.0.last() {
            match feed.poll_has(*position, task) {
                Poll::Ready(true) => drop(self.0.pop()),
                other => return other,
            }
        }
        Poll::Ready(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(waits: &mut Waits) -> Poll<bool> {
        waits.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn copied() -> (Replication, Arc<Feed>) {
        let feed = Feed::new(2, 1);
        let mut replication = Replication::new(Role::Primary, 1);
        replication.attach(Arc::clone(&feed), 0);
        (replication, feed)
    }

    #[test]
    fn an_answer_waits_for_what_was_before_it() {
        let (mut replication, feed) = copied();
        let mut waits = Waits::default();
        replication.add_waits(&mut waits, false);
        assert!(waits.is_empty());
        replication.effects().extend(b"one");
        replication.commit(3);
        replication.add_waits(&mut waits, true);
        assert!(waits.is_empty());
        replication.add_waits(&mut waits, false);
        assert_eq!(poll(&mut waits), Poll::Pending);
        feed.ack(1);
        assert_eq!(poll(&mut waits), Poll::Ready(true));
    }

    #[test]
    fn a_lost_feed_fails_what_waits_and_a_released_one_does_not() {
        let (mut replication, feed) = copied();
        replication.effects().extend(b"one");
        replication.commit(0);
        let mut waits = Waits::default();
        replication.add_waits(&mut waits, false);
        feed.lose();
        assert_eq!(poll(&mut waits), Poll::Ready(false));
        feed.release();
        assert_eq!(poll(&mut waits), Poll::Ready(true));
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let head = Head { partition: 200, epoch: 7, sequence: 1 << 40, feed: 3, version: 9 };
        let mut bytes = Vec::new();
        for (record, effects) in
            [(Record::Entry(head), &b"abc"[..]), (Record::Part(head), b""), (Record::Last(head), b"z")]
        {
            record.write(effects, &mut bytes);
        }
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            while Record::read(&mut rest).is_some() {}
        }
        let mut rest = &bytes[..];
        assert_eq!(Record::read(&mut rest), Some((Record::Entry(head), &b"abc"[..])));
        assert_eq!(Record::read(&mut rest), Some((Record::Part(head), &b""[..])));
        assert_eq!(Record::read(&mut rest), Some((Record::Last(head), &b"z"[..])));
        assert_eq!(Record::read(&mut rest), None);
    }

    #[test]
    fn a_key_is_noted_once_and_only_for_copies() {
        let (mut replication, _feed) = copied();
        replication.note(0, b"k");
        replication.note(0, b"k");
        replication.note(1, b"k");
        assert_eq!(replication.take_changed().len(), 2);
        replication.detach(2);
        replication.note(0, b"k");
        assert!(!replication.has_changed());
    }
}
