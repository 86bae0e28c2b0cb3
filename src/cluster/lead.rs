//! Leading: what a leader grants its members, whom it believes to serve, and who is to vote.
//!
//! A member leads for a term. It proves again and again that it does, grants leases on the strength of that, and looks at the
//! members: who was granted nothing for longer than a lease lasts is taken out, who is heard of again is taken back, and
//! the rest is [`plan`]'s. Fed with the time and the metadata; it names changes and makes none.
//!
//! Invariants: nobody is granted anything from the moment at which it is to be taken out; and who was taken out is granted nothing
//! until it has heard of that, as it would serve what others serve in its place.

use super::lease::Leases;
use super::metadata::{Change, Member, Metadata, NodeId, Standing};
use super::plan::plan;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// How often a leader proves that it leads, in ns.
const PROOF_NS: u64 = 75_000_000;
/// Who was heard of within this is taken back, in ns.
const RECENT_NS: u64 = 200_000_000;
/// A leader that did not look at its members for so long was paused, or could do nothing, and heard nobody: in ns.
const AWAY_NS: u64 = 300_000_000;
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
    /// The term it leads in.
    term: u64,
    /// The metadata when it began to.
    since: u64,
    /// Who is to be taken out, and was not yet.
    condemned: BTreeSet<NodeId>,
    /// Who was out since.
    out: BTreeMap<NodeId, Out>,
    /// When it looked at the members last.
    looked_ns: u64,
}

/// What a leader knows of a member that was taken out.
#[derive(Clone, Copy, Default)]
struct Out {
    /// Whether it was heard of while it was out.
    heard: bool,
    /// The metadata that it must know now that it is back.
    back: Option<u64>,
}

/// Who asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The member.
    pub node: NodeId,
    /// Its process.
    pub incarnation: u64,
    /// The version of the metadata that it goes by.
    pub version: u64,
}

impl Leader {
    /// It leads no more: what it knew of leases is void.
    pub fn resign(&mut self) {
        *self = Leader::default();
    }

    /// It leads in `term`: what it knew in an earlier one is void.
    pub fn lead(&mut self, term: u64) {
        if self.term != term {
            self.resign();
            self.term = term;
        }
    }

    /// Whether it is to prove that it leads before it does anything else.
    pub fn is_to_prove(&self, now_ns: u64) -> bool {
        self.leases.is_none() || now_ns - self.confirmed_ns >= PROOF_NS
    }

    /// It has been proved that it led in `term` at some moment after `asked_ns`; `map` has all that was committed before.
    pub fn proved(&mut self, term: u64, asked_ns: u64, map: &Metadata, now_ns: u64) {
        if self.term != term {
            return;
        }
        self.confirmed_ns = asked_ns;
        if self.leases.is_none() {
            self.since = map.version;
        }
        self.leases.get_or_insert_with(|| Leases::new(now_ns)).confirm(asked_ns);
    }

    /// Grants a member a lease of so many ns from when it asked, or says why not.
    pub fn grant(&mut self, map: &Metadata, asker: Asker, now_ns: u64) -> Result<u64, &'static str> {
        let Asker { node, incarnation, version } = asker;
        let leases = self.leases.as_mut().ok_or("not the leader")?;
        match map.members.get(&node) {
            None => Err("not a member"),
            Some(member) if member.incarnation != incarnation => Err("another process"),
            // Heard of, so that it is taken back; but what it had is not its any more.
            Some(Member { standing: Standing::Down, .. }) => {
                self.condemned.remove(&node);
                self.out.insert(node, Out { heard: true, back: None });
                leases.grant(node, now_ns);
                Err("down")
            }
            Some(_) if self.condemned.contains(&node) => Err("about to be taken out"),
            Some(_) => {
                let back = self.out.get_mut(&node).map(|out| *out.back.get_or_insert(map.version));
                // It is there, and will hear of it soon.
                let granted = leases.grant(node, now_ns).ok_or("not the leader any more");
                if version < back.unwrap_or(self.since) {
                    Err("it has not heard of what has changed")
                } else {
                    granted
                }
            }
        }
    }

    /// Whether a member is there, as far as this node can know at this moment.
    pub fn has_heard_of(&self, node: NodeId, now_ns: u64) -> bool {
        self.leases.as_ref().is_some_and(|leases| leases.heard_within(node, RECENT_NS, now_ns))
    }

    /// The changes to make now.
    pub fn wants(&mut self, map: &Metadata, now_ns: u64) -> Vec<Change> {
        if !map.is_founded() {
            return Vec::new();
        }
        let (mut changes, mut lost, mut is_clear) = (Vec::new(), BTreeSet::new(), true);
        let was_away = now_ns - self.looked_ns > AWAY_NS;
        self.looked_ns = now_ns;
        if let Some(leases) = &mut self.leases {
            if was_away {
                leases.excuse(now_ns);
            }
            for (node, member) in &map.members {
                leases.meet(*node, member.incarnation, now_ns);
                let (over, silent_ns) = (leases.is_over(*node, now_ns), leases.silent_ns(*node, now_ns));
                let mut is_heard = false;
                if member.standing == Standing::Down {
                    self.condemned.remove(node);
                    let out = self.out.entry(*node).or_default();
                    // It may have been back in between.
                    *out = Out { heard: out.heard && out.back.is_none(), back: None };
                    is_heard = out.heard;
                }
                match member.standing {
                    Standing::Up | Standing::Draining if over || self.condemned.contains(node) => {
                        self.condemned.insert(*node);
                        changes.push(Change::Down(*node));
                    }
                    Standing::Down if is_heard && silent_ns < RECENT_NS => {
                        changes.push(Change::Up { node: *node, incarnation: member.incarnation });
                    }
                    Standing::Down if silent_ns > LOST_NS => {
                        lost.insert(*node);
                    }
                    // It may be about to be taken out, and would be given copies until then.
                    Standing::Up | Standing::Draining => {
                        is_clear &= leases.heard_within(*node, RECENT_NS, now_ns);
                    }
                    Standing::Down => {}
                }
            }
        }
        if !changes.is_empty() || !is_clear {
            return changes;
        }
        match lost.iter().find(|node| is_replaced(map, **node)) {
            Some(node) => vec![Change::Leave(*node)],
            None => plan(map, &lost),
        }
    }
}

/// Whether another member listens in the place of `node`, whose copies are not the last of anything: a process was started there
/// without what this one had on its disk.
fn is_replaced(map: &Metadata, node: NodeId) -> bool {
    let Some(place) = map.members.get(&node).map(Member::cluster_address) else { return false };
    let mut living = map.members.values().filter(|other| other.standing != Standing::Down);
    living.any(|other| other.cluster_address() == place)
        && !map.partitions.iter().any(|a| a.in_sync == [node])
}

/// Who is to vote, if not those who do: an odd number of members, living ones first. `voters` do, `learners` could, if they are there this
/// moment: those who vote from now on have to agree to it, and if most of them have just died nothing is agreed on any more.
pub fn choose_voters(
    map: &Metadata,
    voters: &BTreeSet<NodeId>,
    learners: &BTreeSet<NodeId>,
    is_there: impl Fn(NodeId) -> bool,
) -> Option<BTreeSet<NodeId>> {
    let living = |node: &NodeId| map.members.get(node).is_some_and(|m| m.standing != Standing::Down);
    let most = map.members.len().min(VOTERS);
    let wanted = if most.is_multiple_of(2) { most - 1 } else { most }.max(1);
    if voters.len() == wanted && voters.iter().all(living) {
        return None;
    }
    let known = |node: &NodeId| voters.contains(node) || learners.contains(node) && is_there(*node);
    let mut order: Vec<NodeId> = map.members.keys().copied().filter(known).collect();
    order.sort_by_key(|node| (!living(node), !voters.contains(node), *node));
    let chosen: BTreeSet<NodeId> = order.into_iter().take(wanted).collect();
    (chosen.len() == wanted && chosen.iter().all(living) && chosen != *voters).then_some(chosen)
}
