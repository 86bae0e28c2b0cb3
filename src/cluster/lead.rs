//! Leading: what a leader grants its members, whom it believes to serve, and who is to vote.
//!
//! A member leads for a term. It proves again and again that it does, grants leases on the strength of that, and looks at the
//! members: who was granted nothing for longer than a lease lasts is taken out, who is heard of again is taken back, and
//! the rest is [`plan`]'s. Fed with the time and the metadata; it names changes and makes none.

use super::lease::Leases;
use super::metadata::{Change, Member, Metadata, NodeId, Standing};
use super::plan::plan;
use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// How often a leader proves that it leads, in ns.
const PROOF_NS: u64 = 75_000_000;
/// Who was heard of within this is taken back, in ns.
const RECENT_NS: u64 = 200_000_000;
/// How long a member is silent before what only it had is given up, in ns.
const LOST_NS: u64 = 30_000_000_000;
/// Voters a cluster has at most.
const VOTERS: usize = 5;

/// A member that may lead.
#[derive(Default)]
pub struct Leader {
    /// What it granted, once it has proved that it leads.
    leases: Option<Leases>,
    confirmed_ns: u64,
}

impl Leader {
    /// It leads no more: what it knew of leases is void.
    pub fn resign(&mut self) {
        self.leases = None;
    }

    /// Whether it is to prove that it leads before it does anything else.
    pub fn is_to_prove(&self, now_ns: u64) -> bool {
        self.leases.is_none() || now_ns - self.confirmed_ns >= PROOF_NS
    }

    /// It has been proved that it led at some moment after `asked_ns`.
    pub fn proved(&mut self, asked_ns: u64, now_ns: u64) {
        self.confirmed_ns = asked_ns;
        self.leases.get_or_insert_with(|| Leases::new(now_ns)).confirm(asked_ns);
    }

    /// Grants the process `incarnation` of `node` a lease of so many ns from when it asked, or says why not.
    pub fn grant(
        &mut self,
        map: &Metadata,
        (node, incarnation): (NodeId, u64),
        now_ns: u64,
    ) -> Result<u64, &'static str> {
        let leases = self.leases.as_mut().ok_or("not the leader")?;
        match map.members.get(&node) {
            None => Err("not a member"),
            Some(member) if member.incarnation != incarnation => Err("another process"),
            // Heard of, so that it is taken back; but what it had is not its any more.
            Some(Member { standing: Standing::Down, .. }) => {
                leases.grant(node, now_ns);
                Err("down")
            }
            Some(_) => leases.grant(node, now_ns).ok_or("not the leader any more"),
        }
    }

    /// The changes to make now.
    pub fn wants(&self, map: &Metadata, now_ns: u64) -> Vec<Change> {
        if !map.is_founded() {
            return Vec::new();
        }
        let (mut changes, mut lost) = (Vec::new(), BTreeSet::new());
        if let Some(leases) = &self.leases {
            for (node, member) in &map.members {
                let (over, silent_ns) = (leases.is_over(*node, now_ns), leases.silent_ns(*node, now_ns));
                match member.standing {
                    Standing::Up | Standing::Draining if over => changes.push(Change::Down(*node)),
                    Standing::Down if !over && silent_ns < RECENT_NS => {
                        changes.push(Change::Up { node: *node, incarnation: member.incarnation });
                    }
                    Standing::Down if silent_ns > LOST_NS => {
                        lost.insert(*node);
                    }
                    _ => {}
                }
            }
        }
        if changes.is_empty() { plan(map, &lost) } else { changes }
    }
}

/// Who is to vote, if not those who do: an odd number of members, living ones first. `voters` do, `learners` could.
pub fn choose_voters(
    map: &Metadata,
    voters: &BTreeSet<NodeId>,
    learners: &BTreeSet<NodeId>,
) -> Option<BTreeSet<NodeId>> {
    let living = |node: &NodeId| map.members.get(node).is_some_and(|m| m.standing != Standing::Down);
    let most = map.members.len().min(VOTERS);
    let wanted = if most.is_multiple_of(2) { most - 1 } else { most }.max(1);
    if voters.len() == wanted && voters.iter().all(living) {
        return None;
    }
    let known = |node: &NodeId| voters.contains(node) || learners.contains(node);
    let mut order: Vec<NodeId> = map.members.keys().copied().filter(known).collect();
    order.sort_by_key(|node| (!living(node), !voters.contains(node), *node));
    let chosen: BTreeSet<NodeId> = order.into_iter().take(wanted).collect();
    (chosen.len() == wanted && chosen.iter().all(living) && chosen != *voters).then_some(chosen)
}
