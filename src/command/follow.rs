//! Following: what a replica does with the records that a primary's feed brings, one after another.
//!
//! A record is applied if it comes from the partition's primary, in its epoch, and follows what is here. One that the map here does
//! not explain yet is to be brought again under a newer one. No socket is known here; `server/peer.rs` brings the records.

use super::replay::Replayer;
use super::table;
use crate::cluster::metadata::NodeId;
use crate::state::State;
use crate::state::keyspace::Guard;
use crate::state::replication::{Head, Record, Role};
use crate::state::stats::Stats;
use std::collections::HashMap;

/// What comes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the copy now, or nobody counts on it.
    Applied,
    /// The map that explains it is not here yet.
    Early,
    /// It comes from somebody who is not this partition's primary, or does not follow what is here.
    Wrong,
}

/// Applies what one feed carries.
pub struct Follower {
    /// Whose feed it is.
    node: NodeId,
    replayer: Replayer,
    /// Counters of nobody.
    stats: Stats,
    /// Parts of snapshots that are not whole yet, by partition.
    parts: HashMap<u8, Vec<u8>>,
}

impl Follower {
    /// A follower of `node` on the node whose state this is.
    pub fn new(state: &State, node: NodeId) -> Follower {
        let (replayer, stats) = (Replayer::new(state), Stats::new(0, table::len()));
        Follower { node, replayer, stats, parts: HashMap::new() }
    }

    /// Applies a record with its effects.
    pub fn apply(&mut self, state: &State, record: Record, effects: &[u8]) -> Verdict {
        let (Record::Entry(head) | Record::Part(head) | Record::Last(head)) = record;
        let is_snapshot = !matches!(record, Record::Entry(_));
        // Under an older map this node may have a copy that is about to be given up, and what was filled into it with that.
        if is_snapshot && state.cluster.version() < head.version {
            return Verdict::Early;
        }
        let mut guard = state.keyspace.enter(head.partition);
        match guard.replication.as_deref() {
            None => return Verdict::Early,
            Some(own) if own.epoch < head.epoch => return Verdict::Early,
            Some(own) if own.epoch > head.epoch || own.feed > head.feed || own.role == Role::Stranger => {
                return match record {
                    // What was sent before the sender heard that this copy was given up. It is not counted on any more.
                    Record::Entry(_) if own.epoch == head.epoch && own.role == Role::Stranger => {
                        Verdict::Applied
                    }
                    // It was given a copy, and is not any more.
                    Record::Part(_) | Record::Last(_) => {
                        self.parts.remove(&head.partition);
                        Verdict::Applied
                    }
                    Record::Entry(_) => Verdict::Wrong,
                };
            }
            Some(own) if own.role != Role::Replica => return Verdict::Wrong,
            Some(_) => {}
        }
        if state.cluster.map().primary(head.partition) != Some(self.node) {
            return Verdict::Wrong;
        }
        match record {
            Record::Entry(head) => match &mut guard.replication {
                Some(own) if own.is_whole && own.sequence + 1 == head.sequence => {
                    (own.sequence, own.made_in, own.feed) = (head.sequence, head.epoch, head.feed);
                    self.replay(state, guard, head, effects)
                }
                _ => Verdict::Wrong,
            },
            Record::Part(head) => {
                self.parts.entry(head.partition).or_default().extend_from_slice(effects);
                Verdict::Applied
            }
            Record::Last(head) => {
                let mut all = self.parts.remove(&head.partition).unwrap_or_default();
                all.extend_from_slice(effects);
                drop(guard.empty());
                if let Some(own) = &mut guard.replication {
                    (own.sequence, own.made_in, own.feed) = (head.sequence, head.epoch, head.feed);
                    own.is_whole = true;
                }
                self.replay(state, guard, head, &all)
            }
        }
    }

    fn replay(&mut self, state: &State, guard: Guard<'_>, head: Head, effects: &[u8]) -> Verdict {
        let stats = self.stats.worker(0);
        match self.replayer.apply(state, stats, head.partition, guard, effects) {
            Ok(()) => Verdict::Applied,
            Err(_) => Verdict::Wrong,
        }
    }
}
