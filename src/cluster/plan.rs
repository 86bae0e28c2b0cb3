//! What the leader of a cluster wants changed: copies where they are missing, primaries and copies spread evenly.
//!
//! [`plan`] looks at the metadata alone and names the next few changes towards the wanted state; when those are made it is
//! asked again. It is right to stop, to go on under another leader, or to be late at any point, as each change is safe by
//! itself (see [`metadata`](super::metadata)).
//!
//! What was placed by hand goes to its node first, and stays; all else is spread evenly around it.

use super::metadata::{Assignment, Change, Metadata, NodeId, Outcome, Refusal, Standing};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// Copies that may be under way to one node at a time.
const JOINING_PER_NODE: usize = 8;
/// Hand-overs that one node may have before it at a time.
const HAND_OVERS_PER_NODE: usize = 4;
/// Partitions with more copies than are wanted, for the time of a move.
const MOVES: usize = 8;

/// The changes to make now. `lost` are the members that have been silent for so long that what only they hold is given up.
pub fn plan(metadata: &Metadata, lost: &BTreeSet<NodeId>) -> Vec<Change> {
    let mut planner = Planner { next: metadata.clone(), changes: Vec::new() };
    planner.restart_lost(lost);
    planner.add_copies();
    planner.copy_to_pinned();
    planner.drop_copies();
    planner.spread_copies();
    planner.hand_over();
    planner.changes
}

/// What would come of `change` if all goes well and nothing else happens: the metadata once nothing is left to do.
pub fn forecast(metadata: &Metadata, change: Change) -> Result<Metadata, Refusal> {
    /// More than any number of partitions and nodes takes.
    const ROUNDS: usize = 10_000;
    let mut next = metadata.clone();
    if let Outcome::Refused(why) = next.apply(change) {
        return Err(why);
    }
    for _ in 0..ROUNDS {
        let changes = plan(&next, &BTreeSet::new());
        let before = next.version;
        for change in changes {
            next.apply(change);
        }
        finish(&mut next);
        if next.version == before {
            break;
        }
    }
    Ok(next)
}

/// Has primaries succeed in all they are asked.
fn finish(metadata: &mut Metadata) {
    for partition in (0..=u8::MAX).take(metadata.partitions.len()) {
        let assignment = &metadata.partitions[usize::from(partition)];
        let (turn, hand_over) = (assignment.turn(), assignment.hand_over);
        let Some(primary) = assignment.primary().filter(|node| metadata.serves(*node)) else { continue };
        let caught_up = assignment.joining.iter().map(|node| (partition, turn, *node)).collect();
        metadata.apply(Change::InSync { primary, caught_up });
        if let Some(to) = hand_over {
            metadata.apply(Change::HandedOver { partition, turn, to });
        }
    }
}

struct Planner {
    /// The metadata as they will be.
    next: Metadata,
    changes: Vec<Change>,
}

/// How much each node has, of whatever is counted.
type Load = BTreeMap<NodeId, usize>;

impl Planner {
    fn change(&mut self, change: Change) {
        if self.next.apply(change.clone()) == Outcome::Changed {
            self.changes.push(change);
        }
    }

    /// The partitions' numbers.
    fn numbers(&self) -> impl Iterator<Item = u8> + use<> {
        (0..=u8::MAX).take(self.next.partitions.len())
    }

    /// The nodes that may be given something.
    fn homes(&self) -> Vec<NodeId> {
        self.next.members.keys().copied().filter(|node| self.is_home(*node)).collect()
    }

    fn is_home(&self, node: NodeId) -> bool {
        self.next.members.get(&node).is_some_and(|m| m.standing == Standing::Up && !m.witness)
    }

    /// Who is to serve `partition`, if it was placed by hand and that can be.
    fn pinned(&self, partition: u8) -> Option<NodeId> {
        self.next.pins.get(&partition).copied().filter(|node| self.is_home(*node))
    }

    fn load(&self, homes: &[NodeId], counts: impl Fn(&Assignment, NodeId) -> bool) -> Load {
        let count = |node| self.next.partitions.iter().filter(|assignment| counts(assignment, node)).count();
        homes.iter().map(|node| (*node, count(*node))).collect()
    }

    /// How many copies each node is being given. One that nobody gives, as all who have it are silent, takes no room.
    fn under_way(&self, homes: &[NodeId]) -> Load {
        self.load(homes, |assignment, node| {
            assignment.joining.contains(&node) && self.next.is_served(assignment)
        })
    }

    fn zone(&self, node: NodeId) -> &str {
        self.next.members.get(&node).map_or("", |member| member.zone.as_str())
    }

    /// Whether another of those who have a copy stands in `node`'s zone.
    fn shares_zone(&self, assignment: &Assignment, node: NodeId) -> bool {
        let zone = self.zone(node);
        let mut others = assignment.in_sync.iter().chain(&assignment.joining);
        !zone.is_empty() && others.any(|other| *other != node && self.zone(*other) == zone)
    }

    /// Partitions whose every copy was on lost members begin anew.
    fn restart_lost(&mut self, lost: &BTreeSet<NodeId>) {
        let homes = self.homes();
        let mut load = self.load(&homes, |assignment, node| assignment.primary() == Some(node));
        for partition in self.numbers() {
            let assignment = &self.next.partitions[usize::from(partition)];
            let is_lost = assignment.in_sync.iter().all(|node| lost.contains(node));
            let Some(node) = least(&load).filter(|_| is_lost) else { continue };
            let epoch = assignment.epoch;
            self.change(Change::Restart { partition, epoch, node });
            add(&mut load, node);
        }
    }

    /// Gives copies to partitions that have too few.
    fn add_copies(&mut self) {
        let homes = self.homes();
        let wanted = self.next.copies.min(homes.len());
        let mut load = self.load(&homes, Assignment::involves);
        let mut joining = self.under_way(&homes);
        // Those with the fewest copies are in the greatest danger; what nodes have that are being emptied does not count.
        for have in 0..wanted {
            for partition in self.numbers() {
                let assignment = &self.next.partitions[usize::from(partition)];
                let copies = homes.iter().filter(|node| assignment.involves(**node)).count();
                if copies != have || !self.next.is_served(assignment) {
                    continue;
                }
                let room = |node: &NodeId| joining.get(node).is_some_and(|n| *n < JOINING_PER_NODE);
                let Some(node) = self.home_for(partition, &homes, &load, room) else { continue };
                self.change(Change::AddCopy { partition, epoch: self.epoch(partition), node });
                add(&mut load, node);
                add(&mut joining, node);
            }
        }
    }

    /// Gives copies to the nodes that are to serve what was placed by hand.
    fn copy_to_pinned(&mut self) {
        let homes = self.homes();
        let mut joining = self.under_way(&homes);
        for partition in self.numbers() {
            let Some(node) = self.pinned(partition) else { continue };
            let assignment = &self.next.partitions[usize::from(partition)];
            let is_wanted = self.next.is_served(assignment) && !assignment.involves(node);
            if is_wanted && joining[&node] < JOINING_PER_NODE {
                self.change(Change::AddCopy { partition, epoch: self.epoch(partition), node });
                add(&mut joining, node);
            }
        }
    }

    /// The best node to give a copy of `partition` to.
    fn home_for(
        &self,
        partition: u8,
        homes: &[NodeId],
        load: &Load,
        room: impl Fn(&NodeId) -> bool,
    ) -> Option<NodeId> {
        let assignment = &self.next.partitions[usize::from(partition)];
        let free = homes.iter().copied().filter(|node| !assignment.involves(*node) && room(node));
        free.min_by_key(|node| (self.shares_zone(assignment, *node), load.get(node).copied()))
    }

    fn epoch(&self, partition: u8) -> u64 {
        self.next.partitions[usize::from(partition)].epoch
    }

    /// Gives up copies beyond those wanted, once those that stay are in sync: the ones on nodes being emptied, then those on the nodes
    /// with the most.
    fn drop_copies(&mut self) {
        let homes = self.homes();
        let wanted = self.next.copies.min(homes.len()).max(1);
        let mut load = self.load(&homes, Assignment::involves);
        for partition in self.numbers() {
            let assignment = self.next.partitions[usize::from(partition)].clone();
            let staying = assignment.in_sync.iter().filter(|node| homes.contains(node)).count();
            if staying < wanted || assignment.hand_over.is_some() {
                continue;
            }
            let (epoch, primary) = (assignment.epoch, assignment.primary());
            for node in assignment.replicas().iter().filter(|node| !homes.contains(node)) {
                self.change(Change::DropCopy { partition, epoch, node: *node });
            }
            if staying == wanted {
                continue;
            }
            // Of equals a replica goes: the primary would have to hand over first.
            let pinned = self.pinned(partition);
            let own = assignment.in_sync.iter().filter(|node| homes.contains(node) && Some(**node) != pinned);
            let victim = own.copied().max_by_key(|node| {
                (self.shares_zone(&assignment, *node), load[node], primary != Some(*node))
            });
            let Some(victim) = victim else { continue };
            if primary != Some(victim) {
                self.change(Change::DropCopy { partition, epoch, node: victim });
            } else if let Some(heir) = pinned
                .filter(|node| assignment.replicas().contains(node))
                .or_else(|| self.lightest(assignment.replicas(), &load))
            {
                self.change(Change::HandOver { partition, epoch, to: Some(heir) });
            }
            if let Some(count) = load.get_mut(&victim) {
                *count -= 1;
            }
        }
    }

    fn lightest(&self, nodes: &[NodeId], load: &Load) -> Option<NodeId> {
        nodes.iter().copied().filter(|node| load.contains_key(node)).min_by_key(|node| load[node])
    }

    /// Begins to move copies from nodes with many to nodes with few.
    fn spread_copies(&mut self) {
        let homes = self.homes();
        let wanted = self.next.copies.min(homes.len());
        let mut load = self.load(&homes, Assignment::involves);
        let mut joining = self.under_way(&homes);
        let moving = |a: &Assignment| a.in_sync.len() + a.joining.len() > wanted;
        let mut moves = self.next.partitions.iter().filter(|assignment| moving(assignment)).count();
        // Of a copy that is to go, the node it goes from still has it.
        while moves < MOVES * homes.len() {
            let Some(to) = least(&load).filter(|to| joining[to] < JOINING_PER_NODE) else { return };
            // Of a node with too much all may have been placed by hand: then the next one.
            let mut from: Vec<NodeId> = homes.iter().copied().filter(|n| load[n] >= load[&to] + 2).collect();
            from.sort_by_key(|node| std::cmp::Reverse(load[node]));
            let found = from.into_iter().find_map(|from| {
                let fits = |(number, a): &(u8, &Assignment)| {
                    a.in_sync.contains(&from)
                        && !a.involves(to)
                        && !moving(a)
                        && a.hand_over.is_none()
                        && self.pinned(*number) != Some(from)
                };
                let zone_free = |(_, a): &(u8, &Assignment)| !self.shares_zone(a, to);
                let candidates: Vec<(u8, &Assignment)> = self.next.numbered().filter(fits).collect();
                let found = candidates.iter().find(|found| zone_free(found)).or(candidates.first());
                found.map(|found| (from, *found))
            });
            let Some((from, (partition, assignment))) = found else { return };
            let epoch = assignment.epoch;
            self.change(Change::AddCopy { partition, epoch, node: to });
            add(&mut load, to);
            add(&mut joining, to);
            if let Some(count) = load.get_mut(&from) {
                *count -= 1;
            }
            moves += 1;
        }
    }

    /// Has primaries handed over by nodes that are being emptied, and by those that have many.
    fn hand_over(&mut self) {
        let homes = self.homes();
        let will_lead = |assignment: &Assignment, node: NodeId| {
            assignment.hand_over.or(assignment.primary()) == Some(node)
        };
        let mut load = self.load(&homes, will_lead);
        let mut pending = Load::new();
        for assignment in &self.next.partitions {
            if let (Some(_), Some(primary)) = (assignment.hand_over, assignment.primary()) {
                *pending.entry(primary).or_default() += 1;
            }
        }
        for partition in self.numbers() {
            let assignment = &self.next.partitions[usize::from(partition)];
            let Some(primary) = assignment.primary().filter(|primary| self.next.serves(*primary)) else {
                continue;
            };
            if assignment.hand_over.is_some()
                || pending.get(&primary).is_some_and(|count| *count >= HAND_OVERS_PER_NODE)
            {
                continue;
            }
            let pinned = self.pinned(partition);
            if pinned == Some(primary) {
                continue;
            }
            let mut heirs = assignment.replicas().iter().copied().filter(|node| homes.contains(node));
            let heir = match pinned {
                Some(pinned) => heirs.find(|node| *node == pinned),
                None => heirs.min_by_key(|node| load[node]),
            };
            let Some(heir) = heir else { continue };
            let too_many = load.get(&primary).is_none_or(|count| *count >= load[&heir] + 2);
            if too_many || pinned.is_some() {
                let epoch = assignment.epoch;
                self.change(Change::HandOver { partition, epoch, to: Some(heir) });
                add(&mut load, heir);
                if let Some(count) = load.get_mut(&primary) {
                    *count -= 1;
                }
                *pending.entry(primary).or_default() += 1;
            }
        }
    }
}

fn add(load: &mut Load, node: NodeId) {
    *load.entry(node).or_default() += 1;
}

fn least(load: &Load) -> Option<NodeId> {
    load.iter().min_by_key(|(_, count)| **count).map(|(node, _)| *node)
}
