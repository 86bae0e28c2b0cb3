//! Rising: a new primary finds out what its replicas have, and makes them alike, before it serves.

use super::{Action, Copies, Position, Reason, STUCK_NS};
use crate::cluster::metadata::{Assignment, Change, NodeId};
use crate::state::State;
use crate::state::replication::Role;

/// An attempt to become a primary.
pub(super) struct Rise {
    pub(super) epoch: u64,
    pub(super) since_ns: u64,
    /// Whether the replicas are being asked.
    pub(super) asks: bool,
}

impl Copies {
    /// Has the replicas of a partition asked what they have, if that is to be known.
    pub(super) fn rise(&mut self, number: u8, assignment: &Assignment) {
        let Some(rise) = self.rising.get_mut(&number) else { return };
        if rise.epoch != assignment.epoch || rise.asks {
            return;
        }
        rise.asks = true;
        let (epoch, nodes) = (assignment.epoch, assignment.replicas().to_vec());
        self.actions.push(Action::AskPositions { partition: number, epoch, nodes });
    }

    /// What the replicas of a partition have, all of those who were asked; or one that did not say.
    pub fn told_positions(
        &mut self,
        state: &State,
        (number, epoch): (u8, u64),
        told: Result<Vec<(NodeId, Position)>, NodeId>,
        now_ns: u64,
    ) -> Vec<Action> {
        let silent = match told {
            Ok(positions) => {
                self.begin(state, (number, epoch), &positions, now_ns);
                None
            }
            Err(node) => Some(node),
        };
        if let Some(rise) = self.rising.get_mut(&number) {
            rise.asks = false;
            if let Some(node) = silent.filter(|_| now_ns - rise.since_ns > STUCK_NS) {
                tracing::warn!("node {} does not say what it has", state.cluster.map().name(node));
                rise.asks = true;
                let change = Change::Cut { primary: self.me, incarnation: self.incarnation, replica: node };
                self.actions.push(Action::Propose(Reason::Rise(number), change));
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Makes the replicas alike and begins to serve, unless those who told what they have are not those that count any more.
    fn begin(
        &mut self,
        state: &State,
        (number, epoch): (u8, u64),
        positions: &[(NodeId, Position)],
        now_ns: u64,
    ) {
        let map = state.cluster.map();
        let assignment = &map.partitions[usize::from(number)];
        let (replicas, begun) = (assignment.replicas(), assignment.given_up);
        if replicas.len() != positions.len() || positions.iter().any(|(node, _)| !replicas.contains(node)) {
            return;
        }
        let mut partition = state.keyspace.enter(number);
        let Some(own) = &partition.replication else { return };
        if own.role != Role::Rising || own.epoch != epoch {
            return;
        }
        let last = (own.made_in, own.sequence);
        for (node, has) in positions {
            let feed = self.feed(*node, now_ns);
            if *has == Some(last) {
                if let Some(own) = &mut partition.replication {
                    own.attach(feed, begun);
                }
            } else {
                // Answers wait for it.
                partition.begin_fill(number, feed, (true, begun), map.version);
                while partition.fill_on(number, *node, self.pace.part).is_some() {}
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
