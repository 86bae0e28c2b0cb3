//! Rising: a new primary finds out what its replicas have, and makes them alike, before it serves.

use super::{Action, Copies, Position, Reason, STUCK_NS};
use crate::cluster::metadata::{Assignment, Change, NodeId};
use crate::state::State;
use crate::state::replication::Role;
use std::collections::BTreeMap;

/// An attempt to become a primary.
pub(super) struct Rise {
    epoch: u64,
    since_ns: u64,
    /// What the replicas have that were asked, as far as they have said it.
    told: BTreeMap<NodeId, Option<Position>>,
}

impl Rise {
    pub(super) fn new(epoch: u64, since_ns: u64) -> Rise {
        Rise { epoch, since_ns, told: BTreeMap::new() }
    }

    /// Has who did not answer asked again.
    pub(super) fn forget(&mut self, node: NodeId) {
        if self.told.get(&node).is_some_and(Option::is_none) {
            self.told.remove(&node);
        }
    }
}

impl Copies {
    /// Has the replicas of a partition asked what they have, if that is to be known, and begins once it is.
    pub(super) fn rise(&mut self, state: &State, number: u8, assignment: &Assignment, now_ns: u64) {
        let epoch = assignment.epoch;
        let Some(rise) = self.rising.get_mut(&number).filter(|rise| rise.epoch == epoch) else { return };
        for node in assignment.replicas() {
            rise.told.entry(*node).or_insert_with(|| {
                self.questions.entry(*node).or_default().push((number, epoch));
                None
            });
        }
        // Who had not said it may have been given up.
        self.begin(state, (number, epoch), now_ns);
    }

    /// What a replica has of the partitions about which it was asked; nothing if it did not say.
    pub fn told_positions(
        &mut self,
        state: &State,
        (node, asked): (NodeId, &[(u8, u64)]),
        told: Option<&[Position]>,
        now_ns: u64,
    ) -> Vec<Action> {
        let mut is_silent = false;
        for (at, (number, epoch)) in asked.iter().enumerate() {
            let Some(rise) = self.rising.get_mut(number).filter(|rise| rise.epoch == *epoch) else {
                continue;
            };
            if let Some(position) = told.and_then(|told| told.get(at)) {
                rise.told.insert(node, Some(*position));
                self.begin(state, (*number, *epoch), now_ns);
            } else if now_ns - rise.since_ns > STUCK_NS {
                is_silent = true;
            } else {
                rise.forget(node);
            }
        }
        if is_silent {
            tracing::warn!("node {} does not say what it has", state.cluster.map().name(node));
            let change = Change::Cut { primary: self.me, incarnation: self.incarnation, replica: node };
            self.actions.push(Action::Propose(Reason::Rise(node), change));
        }
        std::mem::take(&mut self.actions)
    }

    /// Makes the replicas alike and begins to serve, once all of them have said what they have.
    fn begin(&mut self, state: &State, (number, epoch): (u8, u64), now_ns: u64) {
        let map = state.cluster.map();
        let assignment = &map.partitions[usize::from(number)];
        let Some(rise) = self.rising.get(&number) else { return };
        let told = |node: &NodeId| Some((*node, (*rise.told.get(node)?)?));
        let Some(positions) = assignment.replicas().iter().map(told).collect::<Option<Vec<_>>>() else {
            return;
        };
        let begun = assignment.given_up;
        let mut partition = state.keyspace.enter(number);
        let Some(own) = &partition.replication else { return };
        if own.role != Role::Rising || own.epoch != epoch {
            return;
        }
        let last = (own.made_in, own.sequence);
        for (node, has) in positions {
            let feed = self.feed(node, now_ns);
            if has == Some(last) {
                if let Some(own) = &mut partition.replication {
                    own.attach(feed, begun);
                }
            } else {
                // Answers wait for it.
                partition.fill(number, feed, begun, map.version, self.pace.part);
            }
        }
        if let Some(own) = &mut partition.replication {
            own.role = Role::Primary;
        }
        drop(partition);
        self.rising.remove(&number);
        state.cluster.wake();
    }
}

/// What this node has, as a replica, of a partition in an epoch; an error if it does not know yet what it is to it.
pub fn positions(state: &State, number: u8, epoch: u64) -> Result<Position, &'static str> {
    let partition = state.keyspace.enter(number);
    let own = partition.replication.as_ref().ok_or("not a member")?;
    // The map is on its way.
    if own.epoch < epoch {
        return Err("not yet");
    }
    let fits = own.epoch == epoch && own.role == Role::Replica && own.is_whole;
    Ok(fits.then_some((own.made_in, own.sequence)))
}
