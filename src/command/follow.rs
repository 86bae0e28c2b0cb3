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
}

impl Follower {
    /// A follower of `node` on the node whose state this is.
    pub fn new(state: &State, node: NodeId) -> Follower {
        let (replayer, stats) = (Replayer::new(state), Stats::new(0, table::len()));
        Follower { node, replayer, stats }
    }

    /// Applies a record with its effects.
    pub fn apply(&mut self, state: &State, record: Record, effects: &[u8]) -> Verdict {
        let (Record::Entry(head) | Record::Begin(head) | Record::Part(head) | Record::Last(head)) = record;
        let is_filling = !matches!(record, Record::Entry(_));
        // Under an older map this node may have a copy that is about to be given up, and what was filled into it with that.
        if is_filling && state.cluster.version() < head.version {
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
                    Record::Entry(_) => Verdict::Wrong,
                    // It was given a copy, and is not any more.
                    Record::Begin(_) | Record::Part(_) | Record::Last(_) => Verdict::Applied,
                };
            }
            Some(own) if own.role != Role::Replica => return Verdict::Wrong,
            Some(_) => {}
        }
        let map = state.cluster.map();
        if map.primary(head.partition) != Some(self.node) {
            return Verdict::Wrong;
        }
        let is_counted = || map.partitions[usize::from(head.partition)].in_sync.contains(&state.cluster.me());
        let Some(own) = &mut guard.replication else { return Verdict::Early };
        let is_filled = !own.is_whole && own.feed == head.feed;
        match record {
            Record::Entry(_) if own.is_whole && own.sequence + 1 == head.sequence => {
                (own.sequence, own.made_in, own.feed) = (head.sequence, head.epoch, head.feed);
                self.replay(state, guard, head, effects)
            }
            Record::Begin(_) => {
                (own.is_whole, own.feed) = (false, head.feed);
                drop(guard.empty());
                self.replay(state, guard, head, effects)
            }
            Record::Entry(_) | Record::Part(_) if is_filled => self.replay(state, guard, head, effects),
            Record::Last(_) if is_filled => {
                let Ok(made_in) = effects.try_into().map(u64::from_le_bytes) else { return Verdict::Wrong };
                (own.sequence, own.made_in, own.is_whole) = (head.sequence, made_in, true);
                Verdict::Applied
            }
            // Of a copy that was given up, and is to be begun anew: nobody counts on it.
            Record::Entry(_) if own.is_whole || own.feed != 0 || is_counted() => Verdict::Wrong,
            Record::Entry(_) | Record::Part(_) | Record::Last(_) => Verdict::Applied,
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
