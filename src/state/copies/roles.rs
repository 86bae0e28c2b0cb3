//! Roles: what each partition becomes to this node under a new map.

use super::rising::Rise;
use super::{Action, Copies};
use crate::cluster::metadata::{Assignment, Metadata};
use crate::state::State;
use crate::state::partition::Partition;
use crate::state::replication::{Replication, Role};
use std::sync::Arc;

impl Copies {
    /// Gives partitions the roles that `map` says, and then has everybody look at it.
    pub fn adopt(&mut self, state: &State, map: Arc<Metadata>, now_ns: u64) -> Vec<Action> {
        let mut was_deposed = false;
        for (number, assignment) in map.numbered() {
            let mut partition = state.keyspace.enter(number);
            was_deposed |= self.assign(&mut partition, number, assignment, now_ns);
        }
        self.keep_feeds(&map, was_deposed);
        state.cluster.publish(map);
        std::mem::take(&mut self.actions)
    }

    /// Gives a partition its role; whether it was served here and may have been answered for in vain.
    fn assign(
        &mut self,
        partition: &mut Partition,
        number: u8,
        assignment: &Assignment,
        now_ns: u64,
    ) -> bool {
        let mut own =
            partition.replication.take().unwrap_or_else(|| Box::new(Replication::new(Role::Stranger, 0)));
        // Of what has stopped serving, and arrived, nobody waits for anything.
        let led = own.role == Role::Primary || (own.role == Role::Falling && !own.has_all_arrived());
        let mut was_deposed = false;
        if assignment.primary() == Some(self.me) {
            if self.lead(&mut own, number, assignment, now_ns) {
                drop(partition.empty());
            }
        } else if assignment.involves(self.me) {
            let stays = assignment.in_sync.contains(&self.me);
            was_deposed = led && !stays;
            if !stays && own.role != Role::Replica {
                own.is_whole = false;
            }
            own.sinks.clear();
            if own.epoch != assignment.epoch {
                own.feed = 0;
            }
            (own.role, own.epoch) = (Role::Replica, assignment.epoch);
        } else {
            was_deposed = led;
            own.sinks.clear();
            (own.is_whole, own.feed) = (false, 0);
            (own.role, own.epoch) = (Role::Stranger, assignment.epoch);
            drop(partition.empty());
        }
        partition.replication = Some(own);
        was_deposed
    }

    /// Makes this node the primary, or lets it stay that; whether it begins anew, with nothing.
    fn lead(&mut self, own: &mut Replication, number: u8, assignment: &Assignment, now_ns: u64) -> bool {
        let mut begins_anew = false;
        if own.epoch != assignment.epoch || own.role == Role::Stranger || own.role == Role::Replica {
            begins_anew = !own.is_whole && own.epoch != 0;
            own.sinks.clear();
            own.epoch = assignment.epoch;
            own.is_whole = true;
            own.role = if assignment.replicas().is_empty() { Role::Primary } else { Role::Rising };
            if own.role == Role::Rising {
                self.rising.insert(number, Rise { epoch: own.epoch, since_ns: now_ns, asks: false });
            }
        }
        if own.role == Role::Rising && assignment.replicas().is_empty() {
            own.role = Role::Primary;
            self.rising.remove(&number);
        }
        if own.role == Role::Falling && assignment.hand_over.is_none() {
            own.role = Role::Primary;
        }
        own.sinks.retain(|sink| assignment.involves(sink.feed.node));
        begins_anew
    }

    /// Ends the feeds nobody needs any more.
    fn keep_feeds(&mut self, map: &Metadata, was_deposed: bool) {
        let me = self.me;
        self.feeds.retain(|node, watched| {
            if was_deposed {
                watched.feed.lose();
                return false;
            }
            let stays = map.partitions.iter().any(|a| a.primary() == Some(me) && a.involves(*node));
            if !stays {
                watched.feed.release();
            }
            stays
        });
    }
}
