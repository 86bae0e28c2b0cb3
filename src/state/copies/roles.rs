//! Roles: what each partition becomes to this node under a new map.

use super::rising::Rise;
use super::{Action, Copies};
use crate::cluster::metadata::{Assignment, Metadata, NodeId};
use crate::state::partition::Partition;
use crate::state::replication::{Replication, Role};
use crate::state::{State, unix_ms};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Copies {
    /// Gives partitions the roles that `map` says, and then has everybody look at it.
    pub fn adopt(&mut self, state: &State, map: Arc<Metadata>, now_ns: u64) -> Vec<Action> {
        // Before anything that is taken over is served.
        state.versions.pass(unix_ms());
        let (mut was_deposed, mut fed) = (false, BTreeSet::new());
        let before = state.cluster.map();
        for (number, assignment) in map.numbered() {
            let old = before.partitions.get(usize::from(number));
            let leads = |a: &Assignment| a.primary() == Some(self.me) && a.epoch == assignment.epoch;
            let stays = old.is_some_and(|old| old == assignment || leads(old) && leads(assignment));
            // A script may be in it for long, and leases are asked for by who would wait here.
            let entered = if stays {
                state.keyspace.enter_unless_scripted(number)
            } else {
                Some(state.keyspace.enter(number))
            };
            let Some(mut partition) = entered else {
                fed.extend(assignment.replicas().iter().chain(&assignment.joining));
                self.deferred.insert(number);
                continue;
            };
            self.deferred.remove(&number);
            was_deposed |= self.assign(&mut partition, number, assignment, (map.version, now_ns));
            if let Some(own) = &partition.replication {
                fed.extend(own.sinks.iter().map(|sink| sink.feed.node));
            }
        }
        if was_deposed {
            self.lose_feeds(state, &map, now_ns);
        } else {
            self.keep_feeds(&map, &fed);
        }
        self.cut.clear();
        self.reported.retain(|(partition, turn, _)| map.partitions[usize::from(*partition)].turn() == *turn);
        state.cluster.publish(map);
        std::mem::take(&mut self.actions)
    }

    /// Does what [`Copies::adopt`] left undone, where a script was at work that is done by now.
    pub(super) fn catch_up(&mut self, state: &State, map: &Metadata, now_ns: u64) {
        for number in std::mem::take(&mut self.deferred) {
            match state.keyspace.enter_unless_scripted(number) {
                Some(mut partition) => {
                    let assignment = &map.partitions[usize::from(number)];
                    self.assign(&mut partition, number, assignment, (map.version, now_ns));
                }
                None => {
                    self.deferred.insert(number);
                }
            }
        }
    }

    /// Gives a partition its role; whether it was served here and may have been answered for in vain.
    fn assign(
        &mut self,
        partition: &mut Partition,
        number: u8,
        assignment: &Assignment,
        (version, now_ns): (u64, u64),
    ) -> bool {
        let mut own =
            partition.replication.take().unwrap_or_else(|| Box::new(Replication::new(Role::Stranger, 0)));
        // Of what has stopped serving, and arrived, nobody waits for anything.
        let led = own.role == Role::Primary || (own.role == Role::Falling && !own.has_all_arrived());
        let was_deposed = led && (assignment.primary() != Some(self.me) || assignment.epoch != own.epoch);
        if assignment.primary() != Some(self.me) {
            self.rising.remove(&number);
            partition.send_waiters_on();
        }
        if own.epoch != assignment.epoch {
            own.since = version;
        }
        if assignment.primary() == Some(self.me) {
            if self.lead(&mut own, number, assignment, now_ns) {
                tracing::debug!("partition {number} begins anew, empty");
                drop(partition.empty());
            }
        } else if assignment.involves(self.me) {
            if !assignment.in_sync.contains(&self.me) && own.role != Role::Replica {
                own.is_whole = false;
            }
            own.sinks.clear();
            if own.epoch != assignment.epoch {
                own.feed = 0;
            }
            (own.role, own.epoch) = (Role::Replica, assignment.epoch);
        } else {
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
            own.epoch = assignment.epoch;
            own.is_whole = true;
            if begins_anew {
                // Whoever has as many entries has others.
                (own.made_in, own.sequence) = (assignment.epoch, 0);
            }
            self.begin_rise(own, number, assignment, now_ns);
        }
        if own.role == Role::Rising && assignment.replicas().is_empty() {
            own.role = Role::Primary;
            self.rising.remove(&number);
        }
        if own.role == Role::Falling && assignment.hand_over.is_none() {
            own.role = Role::Primary;
        }
        // A copy that was given up and begun anew since is another one, and has nothing yet.
        let stays = |node: NodeId, begun: u64| {
            let is_same = begun == assignment.given_up && assignment.joining.contains(&node);
            is_same || assignment.in_sync.contains(&node)
        };
        own.sinks.retain(|sink| stays(sink.feed.node, sink.begun));
        for sink in &mut own.sinks {
            sink.in_sync |= assignment.in_sync.contains(&sink.feed.node);
        }
        begins_anew
    }

    /// Has a partition served once it is known what the replicas have.
    fn begin_rise(&mut self, own: &mut Replication, number: u8, assignment: &Assignment, now_ns: u64) {
        own.sinks.clear();
        if assignment.replicas().is_empty() {
            own.role = Role::Primary;
            self.rising.remove(&number);
        } else {
            own.role = Role::Rising;
            self.rising.insert(number, Rise::new(own.epoch, now_ns));
        }
    }

    /// Ends the feeds nobody needs any more: those to nodes without a copy, and broken ones by which nothing is sent.
    fn keep_feeds(&mut self, map: &Metadata, fed: &BTreeSet<NodeId>) {
        let me = self.me;
        self.feeds.retain(|node, watched| {
            let involved = map.partitions.iter().any(|a| a.primary() == Some(me) && a.involves(*node));
            let stays = involved && (fed.contains(node) || !watched.feed.is_broken());
            if !stays {
                watched.feed.release();
            }
            stays
        });
    }

    /// Ends all feeds, as some of what they carry was answered for in vain. What is still served here finds out anew what its replicas
    /// have.
    fn lose_feeds(&mut self, state: &State, map: &Metadata, now_ns: u64) {
        for watched in std::mem::take(&mut self.feeds).into_values() {
            watched.feed.lose();
        }
        for (number, assignment) in map.numbered() {
            let mut partition = state.keyspace.enter(number);
            // What is about to be handed over stays so: the control plane may have been told already.
            let is_done = |own: &Replication| own.role == Role::Falling && own.has_all_arrived();
            if let Some(own) = partition.replication.as_mut().filter(|own| own.is_copied() && !is_done(own)) {
                self.begin_rise(own, number, assignment, now_ns);
            }
        }
    }
}
