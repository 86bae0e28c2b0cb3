//! What must hold: always, once it is calm, and of what clients heard.
//!
//! - At no moment two nodes could serve a partition, paused ones included.
//! - In one epoch one node answers.
//! - Once calm, the map is as it should be, and those in sync hold the same.
//! - Of each key some order explains all answers ([`history`](crate::history)); so nothing acknowledged is lost.
//!
//! A partition is excused from the last when all that were in sync died: no promise covers that.

use crate::consensus::{self, Role};
use crate::history;
use crate::network::Known;
use crate::node;
use crate::world::{MS, World};
use shoal::cluster::metadata::{Assignment, NodeId, Standing};
use shoal::cluster::plan::plan;
use shoal::state::partition::partition_of;
use shoal::state::replication;
use shoal::store::entry::ValueRef;
use shoal::store::rdb;
use shoal::store::table::Keyed;
use std::collections::{BTreeMap, BTreeSet};

pub struct Checks {
    /// Who answered in which epoch of which partition.
    served: BTreeMap<(u8, u64), NodeId>,
    pub excused: Vec<bool>,
}

impl Checks {
    pub fn new(partitions: usize) -> Checks {
        Checks { served: BTreeMap::new(), excused: vec![false; partitions] }
    }
}

/// Whether a node would serve a partition if it was asked now.
fn serves(w: &World, at: usize, number: u8) -> bool {
    let node = &w.nodes[at];
    let serves = |own: &replication::Replication| own.role == replication::Role::Primary;
    node.alive
        && node.state.cluster.has_lease()
        && node.state.keyspace.enter(number).replication.as_deref().is_some_and(serves)
}

/// At every moment.
pub fn after_each(w: &mut World) {
    for at in 0..w.nodes.len() {
        node::set_clock(w, at);
    }
    for number in 0..w.setting.partitions as u8 {
        let serving: Vec<usize> = (0..w.nodes.len()).filter(|at| serves(w, *at, number)).collect();
        assert!(serving.len() < 2, "partition {number} is served by nodes {serving:?} at once");
    }
}

/// A node is about to answer something about `key`.
pub fn after_serving(w: &mut World, at: usize, key: &[u8]) {
    let number = partition_of(key);
    let node = &w.nodes[at];
    let Some(epoch) = node.state.keyspace.enter(number).replication.as_ref().map(|own| own.epoch) else {
        return;
    };
    let known = *w.checks.served.entry((number, epoch)).or_insert(node.id);
    assert_eq!(known, node.id, "two nodes answer in epoch {epoch} of partition {number}");
}

/// A node has run what another one passed on to it about `key`: at the time it was meant for, as a client that waits no more takes it for
/// granted.
pub fn after_serving_late(w: &World, at: usize, key: &[u8], known: Known) {
    let number = partition_of(key);
    let epoch = w.nodes[at].state.keyspace.enter(number).replication.as_ref().map_or(0, |own| own.epoch);
    assert!(
        epoch <= known.epoch,
        "what was sent to n{at} in epoch {} of partition {number} is run in epoch {epoch}",
        known.epoch
    );
}

/// After the metadata changed, or a process ended: are there partitions that nobody has any more?
pub fn after_commit(w: &mut World) {
    let map = w.group.last();
    for (number, assignment) in map.numbered() {
        let number = usize::from(number);
        if !assignment.in_sync.is_empty()
            && !w.checks.excused[number]
            && !assignment.in_sync.iter().any(|n| is_there(w, *n))
        {
            w.checks.excused[number] = true;
            w.note(|| format!("nobody has partition {number} any more"));
        }
    }
}

/// Whether the process is there that the map speaks of.
fn is_there(w: &World, id: NodeId) -> bool {
    let node = &w.nodes[consensus::place(id)];
    node.alive && w.group.last().members.get(&id).is_some_and(|member| member.incarnation == node.incarnation)
}

/// Whether a node's process may end without the last copy of something, or the group's majority, ending with it.
pub fn can_lose(w: &World, at: usize, with_disk: bool) -> bool {
    let id = w.nodes[at].id;
    let mine = |a: &Assignment| a.in_sync.contains(&id);
    // Who was told to stop does so at any moment, if it is not paused.
    let stays = |other: NodeId| {
        let node = &w.nodes[consensus::place(other)];
        other != id && node.alive && !node.is_leaving
    };
    let kept = |a: &Assignment| a.in_sync.iter().any(|other| stays(*other) && is_there(w, *other));
    let can_agree = |voters: &BTreeSet<NodeId>| {
        let left = voters.iter().filter(|voter| stays(**voter)).count();
        with_disk || !voters.contains(&id) || left * 2 > voters.len()
    };
    w.group.last().partitions.iter().all(|a| !mine(a) || kept(a))
        && consensus::electorates(w).iter().all(can_agree)
}

/// What is not as it should be once it is calm.
pub fn is_unsettled(w: &World) -> Option<String> {
    let map = w.group.last();
    if !w.nodes.iter().any(|node| node.alive && node.raft.role == Role::Leader) {
        return Some("nobody leads".into());
    }
    for (at, node) in w.nodes.iter().enumerate() {
        if node.alive && node.is_leaving {
            return Some(format!("n{at} is leaving"));
        }
        // Nobody may have noticed yet.
        if node.paused_until > w.now {
            return Some(format!("n{at} is paused"));
        }
        let known = map.members.get(&node.id);
        match known.map(|member| (member.incarnation == node.incarnation, member.standing)) {
            Some((true, Standing::Up)) if node.alive => {}
            Some((_, Standing::Down)) | None if !node.alive => {}
            other => return Some(format!("n{at} is {other:?}, alive: {}", node.alive)),
        }
        if node.alive && node.state.cluster.version() != map.version {
            return Some(format!("n{at} has not heard of version {}", map.version));
        }
    }
    let homes = w.nodes.iter().filter(|node| node.alive).count();
    for (number, a) in map.numbered() {
        if a.in_sync.len() != map.copies.min(homes) || !a.joining.is_empty() || a.hand_over.is_some() {
            return Some(format!("partition {number} is {a:?}"));
        }
        let primary = consensus::place(a.in_sync[0]);
        if !serves(w, primary, number) {
            return Some(format!("partition {number} is not served: {a:?}"));
        }
    }
    let changes = plan(map, &BTreeSet::new());
    (!changes.is_empty()).then(|| format!("to be changed: {changes:?}"))
}

/// Those in sync hold the same.
pub fn copies_are_alike(w: &World) {
    for (number, a) in w.group.last().numbered() {
        let contents: Vec<_> =
            a.in_sync.iter().map(|id| contents(w, consensus::place(*id), number)).collect();
        for (id, copy) in a.in_sync.iter().zip(&contents) {
            assert_eq!(*copy, contents[0], "partition {number} at {id} and at {}", a.in_sync[0]);
        }
    }
}

fn contents(w: &World, at: usize, number: u8) -> (Option<u64>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let partition = w.nodes[at].state.keyspace.enter(number);
    let sequence = partition.replication.as_ref().map(|own| own.sequence);
    let value = |value: ValueRef| match value {
        ValueRef::Inline(text) => text.to_vec(),
        ValueRef::Shared(text) => text.to_vec(),
        ValueRef::Int(n) => n.to_string().into_bytes(),
        object @ ValueRef::Object(_) => {
            let mut bytes = Vec::new();
            rdb::append_value(object, false, &mut bytes);
            bytes
        }
    };
    (sequence, partition.dbs[0].iter().map(|entry| (entry.key().to_vec(), value(entry.value()))).collect())
}

/// What clients heard is explained.
pub fn histories(w: &World) {
    for key in &w.clients.keys {
        if w.checks.excused[usize::from(key.partition)] {
            continue;
        }
        if let Err(longest) = history::explain(&key.history) {
            let all: String = key
                .history
                .iter()
                .map(|op| {
                    let ms = |at: u64| at as f64 / MS as f64;
                    let heard = op
                        .heard
                        .as_ref()
                        .map(|(at, reply)| format!("{:.3} {}", ms(*at), reply.escape_ascii()));
                    format!("  {:.3} {:?} -> {heard:?}\n", ms(op.asked), op.call)
                })
                .collect();
            panic!(
                "no order explains more than {longest} of the answers about {} (partition {}):\n{all}",
                key.name, key.partition
            );
        }
    }
}
