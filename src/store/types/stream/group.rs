//! A consumer group: what it has been given, to whom, and what was not acknowledged yet.
//!
//! Invariant: an id is in `pending` exactly if it is in the `pending` of the consumer it names.

use super::StreamId;
use std::collections::{BTreeMap, BTreeSet};

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// To whom.
    pub consumer: Box<[u8]>,
    /// When, as Unix time in ms.
    pub delivered_ms: i64,
    /// How often.
    pub deliveries: u64,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// When it last asked, as Unix time in ms.
    pub seen_ms: i64,
    /// When it last was given something; -1 for never.
    pub active_ms: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// What it has not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The last entry given to anyone.
    pub last_id: StreamId,
    /// How many entries were given out by then, where that is known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: BTreeMap<Box<[u8]>, Consumer>,
}

impl Group {
    /// A group that begins behind `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        Group { last_id, entries_read, ..Group::default() }
    }

    /// What was not acknowledged, in the order of ids.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// The members by name.
    pub fn consumers(&self) -> &BTreeMap<Box<[u8]>, Consumer> {
        &self.consumers
    }

    /// The member `name`, who is seen now; made if it is new, which is told.
    pub fn consumer(&mut self, name: &[u8], now_ms: i64) -> (&mut Consumer, bool) {
        let new = !self.consumers.contains_key(name);
        if new {
            let consumer = Consumer { seen_ms: now_ms, active_ms: -1, pending: BTreeSet::new() };
            self.consumers.insert(name.into(), consumer);
        }
        let consumer = self.consumers.get_mut(name).expect("just made");
        consumer.seen_ms = now_ms;
        (consumer, new)
    }

    /// Notes that `id` was delivered to `consumer`, which exists; taken from another if need be.
    pub fn deliver(&mut self, id: StreamId, consumer: &[u8], delivered_ms: i64, deliveries: u64) {
        self.forget(id);
        if let Some(owner) = self.consumers.get_mut(consumer) {
            owner.pending.insert(id);
            self.pending.insert(id, Pending { consumer: consumer.into(), delivered_ms, deliveries });
        }
    }

    /// Notes one more delivery of a pending `id` to its owner.
    pub fn redeliver(&mut self, id: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_ms = now_ms;
            pending.deliveries += 1;
        }
    }

    /// Strikes `id` off what is pending; false if it was not.
    pub fn forget(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(owner) = self.consumers.get_mut(&pending.consumer) {
            owner.pending.remove(&id);
        }
        true
    }

    /// Removes a member with all it has pending; returns how much that was, or nothing if there is no such member.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Bytes it has allocated, nearly.
    pub fn allocated_bytes(&self) -> usize {
        let pending: usize = self.pending.values().map(|pending| pending.consumer.len() + 72).sum();
        let consumers = self.consumers.iter();
        pending
            + consumers.map(|(name, consumer)| name.len() + 96 + consumer.pending.len() * 24).sum::<usize>()
    }
}
