//! A model of the Raft group, as far as its promises reach: terms, leaders deposed without knowing, changes that most voters must
//! have, outcomes that nobody hears, members that lag. The real one has tests of its own.
//!
//! There is one log, of what is committed. A round of a leader is judged at one moment: who can be reached then, and has
//! promised itself to no later term, takes what it is sent. Only who has all that its voters have is elected.

use crate::network::{self, reaches};
use crate::planted::Fault;
use crate::world::{MS, World};
use shoal::cluster::metadata::{Change, Metadata, NodeId, Outcome, Standing};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// How often a leader is heard of, in ns.
const HEARTBEAT: u64 = 75 * MS;
/// Times without a leader after which an election is asked for, in ms.
const ELECTION_MS: (u64, u64) = (300, 600);
/// How long a proposal is waited for, in ns.
const PATIENCE: u64 = 5000 * MS;

/// What is put into the log.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A new leader's first.
    Noop,
    Change(Change),
    Learner(NodeId),
    Voters(BTreeSet<NodeId>),
}

type Told = Box<dyn FnOnce(&mut World, Result<Outcome, ()>)>;

struct Proposal {
    entry: Entry,
    number: u64,
    told: Option<Told>,
}

/// What is committed.
pub struct Group {
    pub term: u64,
    /// The metadata behind each entry.
    maps: Vec<Arc<Metadata>>,
    outcomes: Vec<Outcome>,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// What deposed leaders had proposed, and in which term: it may be committed yet, unless something of a later term is.
    limbo: Vec<(u64, Entry)>,
    planted: Option<Fault>,
    /// The term in which something was committed last.
    last_term: u64,
    next_proposal: u64,
}

impl Group {
    pub fn new(partitions: usize, planted: Option<Fault>) -> Group {
        let mut map = Metadata::default();
        map.partitions.truncate(partitions);
        Group {
            term: 0,
            maps: vec![Arc::new(map)],
            outcomes: vec![Outcome::Unchanged],
            voters: BTreeSet::new(),
            learners: BTreeSet::new(),
            limbo: Vec::new(),
            planted,
            last_term: 0,
            next_proposal: 0,
        }
    }

    /// The latest metadata, as nobody needs to know them yet.
    pub fn last(&self) -> &Arc<Metadata> {
        &self.maps[self.maps.len() - 1]
    }

    fn end(&self) -> usize {
        self.maps.len() - 1
    }

    fn has(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    fn commit(&mut self, entry: &Entry) -> usize {
        let mut map = self.last().clone();
        let outcome = match entry {
            Entry::Change(change) => Arc::make_mut(&mut map).apply(change.clone()),
            Entry::Learner(node) => {
                if !self.has(*node) {
                    self.learners.insert(*node);
                }
                Outcome::Changed
            }
            Entry::Voters(voters) => {
                let mut all = std::mem::take(&mut self.learners);
                all.append(&mut self.voters);
                self.voters = voters.clone();
                self.learners = all.difference(voters).copied().collect();
                Outcome::Changed
            }
            Entry::Noop => Outcome::Unchanged,
        };
        if self.planted == Some(Fault::PromotesAnyone) {
            promote_anyone(self.last(), &mut map);
        }
        if self.planted == Some(Fault::KeepsEpochs) {
            let before = self.last().partitions.iter().map(|a| a.epoch.max(1));
            let after = &mut Arc::make_mut(&mut map).partitions;
            after.iter_mut().zip(before).for_each(|(assignment, epoch)| assignment.epoch = epoch);
        }
        self.maps.push(map);
        self.outcomes.push(outcome);
        self.end()
    }
}

/// Where a primary died, another member than one of those in sync takes its place, if there is any.
fn promote_anyone(before: &Metadata, after: &mut Arc<Metadata>) {
    let is_up = |node: NodeId| after.members.get(&node).is_some_and(|m| m.standing == Standing::Up);
    let mut promoted = Vec::new();
    for (at, (old, new)) in before.partitions.iter().zip(&after.partitions).enumerate() {
        let died = old.primary().is_some_and(|node| new.primary() != Some(node) && !is_up(node));
        let other = after.members.keys().copied().find(|node| is_up(*node) && !new.in_sync.contains(node));
        promoted.extend(other.filter(|_| died).map(|node| (at, node)));
    }
    for (at, node) in promoted {
        let assignment = &mut Arc::make_mut(after).partitions[at];
        assignment.joining.retain(|other| *other != node);
        assignment.in_sync.insert(0, node);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Follower,
    Leader,
}

/// The group as a node sees it.
#[derive(Default)]
pub struct Raft {
    pub role: Role,
    pub term: u64,
    /// Who leads, as far as it knows.
    hint: Option<NodeId>,
    /// When it heard of a leader; of a leader, when most voters followed it last.
    heard: u64,
    patience: u64,
    /// Up to where it has the log, and knows that it is committed.
    stored: usize,
    applied: usize,
    /// A leader's proposals that are not committed, and whether its first one is.
    pending: VecDeque<Proposal>,
    is_ready: bool,
    /// Those who wait to hear that it leads.
    doubts: Vec<(u64, Told)>,
}

impl Raft {
    /// What a process begins with that finds the file of the one before.
    pub fn reopened(&self) -> Raft {
        Raft { term: self.term, stored: self.stored, applied: self.applied, ..Raft::default() }
    }
}

pub fn map_of(w: &World, at: usize) -> Arc<Metadata> {
    Arc::clone(&w.group.maps[w.nodes[at].raft.applied])
}

/// Those who vote, and those who are to vote as soon as most of them know: each time most of them have to be there.
pub fn electorates(w: &World) -> Vec<BTreeSet<NodeId>> {
    let pending = w.nodes.iter().filter(|node| node.alive).flat_map(|node| &node.raft.pending);
    let wanted = pending.filter_map(|proposal| match &proposal.entry {
        Entry::Voters(voters) => Some(voters.clone()),
        _ => None,
    });
    wanted.chain([w.group.voters.clone()]).collect()
}

/// Who leads, as far as a node knows.
pub fn leader(w: &World, at: usize) -> Option<NodeId> {
    let (node, raft) = (&w.nodes[at], &w.nodes[at].raft);
    match raft.role {
        Role::Leader => (w.now - raft.heard <= ELECTION_MS.1 * MS).then_some(node.id),
        Role::Follower => raft.hint,
    }
}

/// The first node founds the group.
pub fn found(w: &mut World, at: usize, change: Change) {
    let id = w.nodes[at].id;
    w.group.voters.insert(id);
    let end = w.group.commit(&Entry::Change(change));
    (w.nodes[at].raft.stored, w.nodes[at].raft.applied) = (end, end);
}

/// A node's process begins to take part.
pub fn begin(w: &mut World, at: usize) {
    w.nodes[at].raft.heard = w.now;
    w.nodes[at].raft.patience = w.rng.u64(ELECTION_MS.0..ELECTION_MS.1) * MS;
    w.on_node(at, 40 * MS, move |w| watch(w, at));
}

fn watch(w: &mut World, at: usize) {
    w.on_node(at, 40 * MS, move |w| watch(w, at));
    let (id, raft) = (w.nodes[at].id, &w.nodes[at].raft);
    if raft.role == Role::Leader || !w.group.voters.contains(&id) || w.now - raft.heard < raft.patience {
        return;
    }
    w.nodes[at].raft.patience = w.rng.u64(ELECTION_MS.0..ELECTION_MS.1) * MS;
    let there = network::delay(w);
    w.after(there, move |w| campaign(w, at));
}

fn campaign(w: &mut World, at: usize) {
    if !w.nodes[at].alive || w.nodes[at].raft.role == Role::Leader {
        return;
    }
    let mine = w.nodes[at].raft.stored;
    let grants = |w: &World, voter: NodeId| {
        let place = place(voter);
        let node = &w.nodes[place];
        place == at
            || (talk(w, at, place)
                && w.now - node.raft.heard > ELECTION_MS.0 * MS
                && node.raft.stored <= mine)
    };
    let voters: Vec<NodeId> = w.group.voters.iter().copied().filter(|voter| grants(w, *voter)).collect();
    if voters.len() * 2 <= w.group.voters.len() {
        return;
    }
    w.group.term += 1;
    let term = w.group.term;
    for voter in voters.iter().map(|voter| place(*voter)) {
        depose(w, voter);
        let raft = &mut w.nodes[voter].raft;
        (raft.term, raft.hint, raft.heard) = (term, None, w.now);
    }
    w.note(|| format!("n{at} leads term {term}"));
    let raft = &mut w.nodes[at].raft;
    raft.role = Role::Leader;
    raft.is_ready = false;
    propose_entry(w, at, Entry::Noop, None);
    w.on_node(at, HEARTBEAT, move |w| beat(w, at, term));
}

/// It leads no more: nobody hears what became of its proposals.
fn depose(w: &mut World, at: usize) {
    let raft = &mut w.nodes[at].raft;
    if raft.role != Role::Leader {
        return;
    }
    raft.role = Role::Follower;
    let term = raft.term;
    let pending = std::mem::take(&mut raft.pending);
    let doubts = std::mem::take(&mut raft.doubts);
    let told = pending.into_iter().filter_map(|proposal| {
        if let entry @ Entry::Change(_) = proposal.entry {
            w.group.limbo.push((term, entry));
        }
        proposal.told
    });
    let told: Vec<Told> = told.chain(doubts.into_iter().map(|(_, told)| told)).collect();
    for told in told {
        let soon = w.rng.u64(..5 * MS);
        w.on_node(at, soon, move |w| told(w, Err(())));
    }
}

/// A process is gone, and what it had proposed may have reached others.
pub fn lose_process(w: &mut World, at: usize) {
    let raft = &mut w.nodes[at].raft;
    raft.doubts.clear();
    let term = raft.term;
    for proposal in std::mem::take(&mut raft.pending) {
        if let entry @ Entry::Change(_) = proposal.entry {
            w.group.limbo.push((term, entry));
        }
    }
}

pub fn place(node: NodeId) -> usize {
    node as usize - 1
}

/// Whether two processes can ask each other something at this moment.
fn talk(w: &World, a: usize, b: usize) -> bool {
    reaches(w, a, b) && reaches(w, b, a) && w.nodes[b].paused_until <= w.now
}

fn beat(w: &mut World, at: usize, term: u64) {
    let raft = &w.nodes[at].raft;
    if raft.role == Role::Leader && raft.term == term {
        round(w, at);
        w.on_node(at, HEARTBEAT, move |w| beat(w, at, term));
    }
}

/// Sends what it has to everybody.
fn round(w: &mut World, at: usize) {
    let (term, life) = (w.nodes[at].raft.term, w.nodes[at].life);
    let asked = w.now;
    let there = network::delay(w) + w.rng.u64(MS / 10..3 * MS);
    w.after(there, move |w| judge(w, (at, life), term, asked));
}

/// The moment at which a round arrives.
fn judge(w: &mut World, (at, life): (usize, u64), term: u64, asked: u64) {
    let node = &w.nodes[at];
    if !node.alive || node.life != life || node.raft.role != Role::Leader || node.raft.term != term {
        return;
    }
    let others: Vec<usize> = (0..w.nodes.len())
        .filter(|other| *other != at && w.group.has(w.nodes[*other].id))
        .filter(|other| reaches(w, at, *other) && w.nodes[*other].paused_until <= w.now)
        .collect();
    let back = network::delay(w);
    let mut take = vec![at];
    for other in others {
        if w.nodes[other].raft.term > term {
            if reaches(w, other, at) {
                let newer = w.nodes[other].raft.term;
                w.on_node(at, back, move |w| step_down(w, at, newer));
            }
            continue;
        }
        depose(w, other);
        let raft = &mut w.nodes[other].raft;
        (raft.term, raft.hint, raft.heard) = (term, Some(at as NodeId + 1), w.now);
        take.push(other);
    }
    let heard: BTreeSet<NodeId> =
        take.iter().filter(|other| reaches(w, **other, at)).map(|other| w.nodes[*other].id).collect();
    let most = |voters: &BTreeSet<NodeId>| voters.intersection(&heard).count() * 2 > voters.len();
    let follows = most(&w.group.voters);
    if follows {
        commit(w, at, &most);
        w.nodes[at].raft.heard = w.now;
        let doubts = std::mem::take(&mut w.nodes[at].raft.doubts);
        let (sure, left) = doubts.into_iter().partition(|(since, _)| *since <= asked);
        w.nodes[at].raft.doubts = left;
        if w.nodes[at].raft.is_ready {
            let end = w.group.end();
            w.on_node(at, back, move |w| {
                learn(w, at, end);
                sure.into_iter().for_each(|(_, told)| told(w, Ok(Outcome::Unchanged)));
            });
        }
    }
    // What it knows to be committed others hear with this round or a later one.
    let end = if w.nodes[at].raft.is_ready { w.group.end() } else { 0 };
    for other in take.into_iter().filter(|other| *other != at) {
        if follows {
            w.nodes[other].raft.stored = w.nodes[other].raft.stored.max(end);
        }
        let slowly = w.chance(5);
        let wait = if slowly { w.between_ms(10, 300) } else { w.rng.u64(MS / 10..10 * MS) };
        w.on_node(other, wait, move |w| learn(w, other, end));
    }
}

fn step_down(w: &mut World, at: usize, newer: u64) {
    let raft = &mut w.nodes[at].raft;
    if raft.term < newer {
        raft.term = newer;
        raft.hint = None;
        raft.heard = w.now;
        depose(w, at);
    }
}

/// Commits what most voters have taken, in order.
fn commit(w: &mut World, at: usize, most: &impl Fn(&BTreeSet<NodeId>) -> bool) {
    while let Some(proposal) = w.nodes[at].raft.pending.front() {
        let allowed = match &proposal.entry {
            Entry::Voters(new) => most(new) && most(&w.group.voters),
            _ => most(&w.group.voters),
        };
        if !allowed {
            return;
        }
        let Some(proposal) = w.nodes[at].raft.pending.pop_front() else { return };
        if let Entry::Noop = proposal.entry {
            w.nodes[at].raft.is_ready = true;
            // Some of what those before it had proposed is in its log.
            let last_term = w.group.last_term;
            for (term, entry) in std::mem::take(&mut w.group.limbo) {
                if term >= last_term && w.rng.bool() {
                    commit_one(w, at, &entry);
                }
            }
        }
        w.group.last_term = w.nodes[at].raft.term;
        let end = commit_one(w, at, &proposal.entry);
        if let Some(told) = proposal.told {
            let outcome = w.group.outcomes[end];
            let slowly = w.chance(5);
            let wait = if slowly { w.between_ms(5, 200) } else { w.rng.u64(MS / 20..3 * MS) };
            w.on_node(at, wait, move |w| {
                learn(w, at, end);
                told(w, Ok(outcome));
            });
        }
    }
}

fn commit_one(w: &mut World, at: usize, entry: &Entry) -> usize {
    let end = w.group.commit(entry);
    w.nodes[at].raft.stored = end;
    let outcome = w.group.outcomes[end];
    w.note(|| format!("committed {end} {outcome:?}: {}", crate::node::brief(entry)));
    crate::checks::after_commit(w);
    end
}

/// A node hears that the log is committed up to `end`.
fn learn(w: &mut World, at: usize, end: usize) {
    let raft = &mut w.nodes[at].raft;
    if end > raft.applied {
        raft.applied = end;
        raft.stored = raft.stored.max(end);
        let soon = w.rng.u64(..MS / 2);
        w.on_node(at, soon, move |w| crate::node::follow(w, at));
    }
}

/// Proposes something at a node, which may not lead; an error if it does not, or nobody knows what became of it.
pub fn propose(
    w: &mut World,
    at: usize,
    entry: Entry,
    told: impl FnOnce(&mut World, Result<Outcome, ()>) + 'static,
) {
    if w.nodes[at].raft.role != Role::Leader {
        return told(w, Err(()));
    }
    let number = propose_entry(w, at, entry, Some(Box::new(told)));
    w.on_node(at, PATIENCE, move |w| {
        let late = w.nodes[at].raft.pending.iter_mut().find(|proposal| proposal.number == number);
        if let Some(told) = late.and_then(|proposal| proposal.told.take()) {
            told(w, Err(()));
        }
    });
}

fn propose_entry(w: &mut World, at: usize, entry: Entry, told: Option<Told>) -> u64 {
    w.group.next_proposal += 1;
    let number = w.group.next_proposal;
    w.nodes[at].raft.pending.push_back(Proposal { entry, number, told });
    round(w, at);
    number
}

/// Finds out whether a node leads, within 300 ms.
pub fn confirm(w: &mut World, at: usize, told: impl FnOnce(&mut World, bool) + 'static) {
    if w.nodes[at].raft.role != Role::Leader {
        return told(w, false);
    }
    let asked = w.now;
    w.nodes[at].raft.doubts.push((asked, Box::new(move |w, sure| told(w, sure.is_ok()))));
    round(w, at);
    w.on_node(at, 300 * MS, move |w| {
        let doubts = &mut w.nodes[at].raft.doubts;
        if let Some(found) = doubts.iter().position(|(since, _)| *since == asked) {
            let (_, told) = doubts.remove(found);
            told(w, Err(()));
        }
    });
}
