//! What all members of a cluster agree on: who they are, and who holds which partition.
//!
//! [`Metadata`] changes by [`Metadata::apply`] alone, with changes that the control plane has put into one order for all
//! members; so all members that have seen the same changes hold the same metadata. It never holds cached data.
//!
//! The rules are those of PacificA (Lin et al., 2008): a partition has a primary and in-sync replicas; who is in sync changes
//! only here, under the epoch the asker knew; and only an in-sync replica may become primary, under a new epoch. A change that
//! asks for something else is refused and changes nothing, so one that comes twice, or late, does no harm.
//!
//! Invariants of an [`Assignment`]: the primary, if there is one, is first of `in_sync`; nobody is in `in_sync` or `joining`
//! twice or in both; all of them are members; `epoch` never falls, and two primaries never share one.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
pub(crate) mod tests;

/// Partitions of the keyspace.
pub const PARTITIONS: usize = 256;

/// A member's name: random, given once, never used again. Zero is nobody.
pub type NodeId = u64;

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// The random name of its present process. A new one means that its memory is empty.
    pub incarnation: u64,
    /// Where clients and members reach it: a host name or an address.
    pub host: String,
    /// The port it speaks RESP at.
    pub port: u16,
    /// The port it speaks the memcached protocol at; 0 for none.
    pub memcached_port: u16,
    /// The port it speaks to other members at.
    pub cluster_port: u16,
    /// The rack, room or zone it stands in; copies are kept in different ones where that is possible. Empty: not told.
    pub zone: String,
    /// Whether it only votes and holds no data.
    pub witness: bool,
    /// Whether it serves.
    pub standing: Standing,
}

impl Member {
    /// What people know it by.
    pub fn name(&self) -> String {
        format!("{:016x} ({}:{})", self.id, self.host, self.port)
    }

    /// Where it listens for other members.
    pub fn cluster_address(&self) -> String {
        format!("{}:{}", self.host, self.cluster_port)
    }
}

/// Whether a member serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It is believed to serve.
    Up,
    /// It was silent for too long: it holds no lease.
    Down,
    /// It serves, and is being emptied.
    Draining,
}

/// Who holds a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Grows with each primary.
    pub epoch: u64,
    /// Those who have every acknowledged write, the primary first. Empty: nobody ever held it.
    pub in_sync: Vec<NodeId>,
    /// Those being given a copy.
    pub joining: Vec<NodeId>,
    /// The in-sync replica that the primary is to make primary in its place.
    pub hand_over: Option<NodeId>,
    /// Grows with each copy that is given up.
    pub given_up: u64,
}

/// A time in which a partition has one primary and no copy of it is given up. What a primary reports of its copies is about one such
/// time: a copy that was given up and begun anew since is another one, though it is at the same node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Turn {
    /// See [`Assignment::epoch`].
    pub epoch: u64,
    /// See [`Assignment::given_up`].
    pub given_up: u64,
}

impl Assignment {
    /// Who serves it.
    pub fn primary(&self) -> Option<NodeId> {
        self.in_sync.first().copied()
    }

    /// Those in sync besides the primary.
    pub fn replicas(&self) -> &[NodeId] {
        self.in_sync.get(1..).unwrap_or_default()
    }

    /// Whether `node` holds all of it, or is being given it.
    pub fn involves(&self, node: NodeId) -> bool {
        self.in_sync.contains(&node) || self.joining.contains(&node)
    }

    /// Whether it is being copied or handed over.
    pub fn is_moving(&self) -> bool {
        !self.joining.is_empty() || self.hand_over.is_some()
    }

    /// The present time, to be named in reports.
    pub fn turn(&self) -> Turn {
        Turn { epoch: self.epoch, given_up: self.given_up }
    }

    fn forget(&mut self, node: NodeId) {
        self.given_up += u64::from(self.involves(node));
        self.in_sync.retain(|other| *other != node);
        self.joining.retain(|other| *other != node);
        if self.hand_over == Some(node) {
            self.hand_over = None;
        }
    }

    /// Makes `node` the primary, under a new epoch.
    fn promote(&mut self, node: NodeId) {
        self.in_sync.retain(|other| *other != node);
        self.in_sync.insert(0, node);
        self.joining.retain(|other| *other != node);
        self.hand_over = None;
        self.epoch += 1;
    }
}

/// What all members agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Grows with each change that changed something.
    pub version: u64,
    /// The cluster's random name; 0 before there is one.
    pub cluster: u64,
    /// The members.
    pub members: BTreeMap<NodeId, Member>,
    /// Who holds what, by partition.
    pub partitions: Vec<Assignment>,
    /// How many nodes hold each partition, the primary included.
    pub copies: usize,
    /// What all nodes are to know besides keys. Nothing stands for what is to be there no more, whatever a node's own
    /// configuration says.
    pub settings: BTreeMap<Setting, Option<Vec<u8>>>,
    /// Partitions placed by hand: who is to serve them whenever it can.
    pub pins: BTreeMap<u8, NodeId>,
    /// Members being emptied, also while they are silent.
    pub draining: BTreeSet<NodeId>,
}

/// What a setting is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Setting {
    /// The user of this name; its rules as an ACL file has them.
    User(Vec<u8>),
    /// The library of functions of this name; its code.
    Library(String),
    /// The directive of this name; its value.
    Directive(String),
}

/// Settings with their values.
pub type Settings = Vec<(Setting, Option<Vec<u8>>)>;

impl Default for Metadata {
    fn default() -> Self {
        Metadata {
            version: 0,
            cluster: 0,
            members: BTreeMap::new(),
            partitions: vec![Assignment::default(); PARTITIONS],
            copies: 2,
            settings: BTreeMap::new(),
            pins: BTreeMap::new(),
            draining: BTreeSet::new(),
        }
    }
}

/// What may be asked of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The first member founds the cluster and holds all partitions.
    Found {
        /// The cluster's name.
        cluster: u64,
        /// The founder.
        member: Member,
        /// See [`Metadata::copies`].
        copies: usize,
    },
    /// A member joins, or tells of its new process or address, whatever was known of it.
    Join(Member),
    /// A member is silent: it serves no more.
    Down(NodeId),
    /// A member that was silent, and whose process is the same, is back.
    Up {
        /// The member.
        node: NodeId,
        /// Its process.
        incarnation: u64,
    },
    /// A member is to be emptied, or no more.
    Drain {
        /// The member.
        node: NodeId,
        /// False takes it back.
        drain: bool,
    },
    /// A member is gone for good.
    Leave(NodeId),
    /// A node is to be given a copy.
    AddCopy {
        /// Which partition.
        partition: u8,
        /// In which epoch.
        epoch: u64,
        /// To whom.
        node: NodeId,
    },
    /// A copy is given up.
    DropCopy {
        /// Which partition.
        partition: u8,
        /// In which epoch.
        epoch: u64,
        /// Whose; never the primary's.
        node: NodeId,
    },
    /// Joining nodes have caught up: asked for by the primary.
    InSync {
        /// The primary.
        primary: NodeId,
        /// Which partition, when, and who.
        caught_up: Vec<(u8, Turn, NodeId)>,
    },
    /// A primary goes on without a replica that does not keep up, in all its partitions.
    Cut {
        /// The primary.
        primary: NodeId,
        /// Its process.
        incarnation: u64,
        /// The replica.
        replica: NodeId,
    },
    /// A primary is to hand a partition over.
    HandOver {
        /// Which partition.
        partition: u8,
        /// In which epoch.
        epoch: u64,
        /// To which in-sync replica; nobody takes it back.
        to: Option<NodeId>,
    },
    /// A primary has stopped serving a partition and everything is at the one who takes over: asked for by the primary.
    HandedOver {
        /// Which partition.
        partition: u8,
        /// When.
        turn: Turn,
        /// Who takes over.
        to: NodeId,
    },
    /// A partition whose every copy is lost begins anew, empty.
    Restart {
        /// Which partition.
        partition: u8,
        /// In which epoch.
        epoch: u64,
        /// Who serves it from now on.
        node: NodeId,
    },
    /// How many nodes are to hold each partition.
    Copies(usize),
    /// All of these in their order, as far as each can be made.
    Several(Vec<Change>),
    /// All nodes are to know these.
    Set(Settings),
    /// Partitions are placed by hand.
    Pin {
        /// Which ones.
        partitions: Vec<u8>,
        /// Who is to serve them whenever it can; nobody leaves them to the plan again.
        node: Option<NodeId>,
    },
    /// A member joins, or tells of its new process or address. What a process asked for that has ended since, and comes late, is refused: the
    /// one after it would be taken out, and others take its place while it serves.
    Admit {
        /// The member.
        member: Member,
        /// The process that was known of it, as far as it knows.
        replaces: u64,
    },
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Something changed.
    Changed,
    /// It was so already.
    Unchanged,
    /// It cannot be done; nothing changed.
    Refused(Refusal),
    /// The settings are as asked for in this version of the metadata.
    Set(u64),
}

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is a cluster already.
    Founded,
    /// It names nobody known.
    Unknown,
    /// It comes from a process that is no more.
    OldIncarnation,
    /// It was asked in an epoch that is over.
    OldEpoch,
    /// It names somebody who is not what the change needs him to be.
    WrongRole,
    /// It would leave a partition without its last copy.
    LastCopy,
}

impl Metadata {
    /// Whether there is a cluster.
    pub fn is_founded(&self) -> bool {
        self.cluster != 0
    }

    /// Makes `change` if it can be made.
    pub fn apply(&mut self, change: Change) -> Outcome {
        let outcome = match change {
            Change::Several(changes) => return self.several(changes),
            Change::Set(settings) => return self.set(settings),
            Change::Found { cluster, member, copies } => self.found(cluster, member, copies),
            Change::Join(member) => self.join(member),
            Change::Admit { member, replaces } => self.admit(member, replaces),
            Change::Down(node) => self.down(node),
            Change::Up { node, incarnation } => self.up(node, incarnation),
            Change::Drain { node, drain } => self.drain(node, drain),
            Change::Leave(node) => self.leave(node),
            Change::AddCopy { partition, epoch, node } => self.add_copy(partition, epoch, node),
            Change::DropCopy { partition, epoch, node } => self.drop_copy(partition, epoch, node),
            Change::InSync { primary, caught_up } => self.in_sync(primary, &caught_up),
            Change::Cut { primary, incarnation, replica } => self.cut(primary, incarnation, replica),
            Change::HandOver { partition, epoch, to } => self.hand_over(partition, epoch, to),
            Change::HandedOver { partition, turn, to } => self.handed_over(partition, turn, to),
            Change::Restart { partition, epoch, node } => self.restart(partition, epoch, node),
            Change::Copies(copies) => self.set_copies(copies),
            Change::Pin { partitions, node } => self.pin(&partitions, node),
        };
        self.version += u64::from(outcome == Outcome::Changed);
        outcome
    }

    /// Whether `node` is a member that holds data and is believed to serve.
    pub fn serves(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.standing != Standing::Down && !member.witness)
    }

    /// Those that hold data and are believed to serve.
    pub fn homes(&self) -> impl Iterator<Item = NodeId> + Clone {
        self.members.keys().copied().filter(|node| self.serves(*node))
    }

    /// Whether there is somebody to serve what is assigned so.
    pub fn is_served(&self, assignment: &Assignment) -> bool {
        assignment.primary().is_some_and(|primary| self.serves(primary))
    }

    /// Whether there is nobody to serve `partition`: all who have it are silent.
    pub fn is_unserved(&self, partition: u8) -> bool {
        !self.is_served(&self.partitions[usize::from(partition)])
    }

    /// Partitions that are being copied, or handed over, by somebody who serves them.
    pub fn moving(&self) -> usize {
        self.partitions
            .iter()
            .filter(|assignment| assignment.is_moving() && self.is_served(assignment))
            .count()
    }

    /// What people know a node by: its name, and where clients reach it.
    pub fn name(&self, node: NodeId) -> String {
        match self.members.get(&node) {
            Some(member) => member.name(),
            None => format!("{node:016x}"),
        }
    }

    /// The primary of `partition`.
    pub fn primary(&self, partition: u8) -> Option<NodeId> {
        self.partitions[usize::from(partition)].primary()
    }

    /// The partitions with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u8, &Assignment)> {
        (0..=u8::MAX).zip(&self.partitions)
    }

    fn found(&mut self, cluster: u64, mut member: Member, copies: usize) -> Outcome {
        if self.is_founded() {
            return Outcome::Refused(Refusal::Founded);
        }
        member.standing = Standing::Up;
        for assignment in &mut self.partitions {
            assignment.promote(member.id);
        }
        self.cluster = cluster;
        self.copies = copies.max(1);
        self.members.insert(member.id, member);
        Outcome::Changed
    }

    fn admit(&mut self, member: Member, replaces: u64) -> Outcome {
        match self.members.get(&member.id).map(|known| known.incarnation) {
            Some(known) if known != replaces && known != member.incarnation => {
                Outcome::Refused(Refusal::OldIncarnation)
            }
            _ => self.join(member),
        }
    }

    fn join(&mut self, mut member: Member) -> Outcome {
        if let Some(known) = self.members.get(&member.id) {
            // Who is being emptied stays so.
            let is_draining = known.incarnation == member.incarnation && self.draining.contains(&member.id);
            member.standing = if is_draining { Standing::Draining } else { Standing::Up };
            if *known == member {
                return Outcome::Unchanged;
            }
            if known.incarnation != member.incarnation {
                self.draining.remove(&member.id);
                self.lose(member.id);
            }
        } else {
            member.standing = Standing::Up;
        }
        self.members.insert(member.id, member);
        Outcome::Changed
    }

    /// What `node` held is gone: others take over where they can. A partition of which it held the only copy stays with it, empty,
    /// under a new epoch.
    fn lose(&mut self, node: NodeId) {
        let members = &self.members;
        let serves = |other: &NodeId| {
            members.get(other).is_some_and(|member| member.standing != Standing::Down && !member.witness)
        };
        for assignment in &mut self.partitions {
            let (was_primary, was_there) = (assignment.primary() == Some(node), assignment.involves(node));
            if !was_there {
                continue;
            }
            let alone = assignment.in_sync == [node];
            assignment.forget(node);
            if alone {
                assignment.promote(node);
            } else if was_primary {
                let next = assignment.in_sync.iter().copied().find(|other| serves(other));
                let next = next.or_else(|| assignment.primary());
                if let Some(next) = next {
                    assignment.promote(next);
                }
            }
        }
    }

    fn down(&mut self, node: NodeId) -> Outcome {
        let Some(member) = self.members.get_mut(&node) else { return Outcome::Refused(Refusal::Unknown) };
        if member.standing == Standing::Down {
            return Outcome::Unchanged;
        }
        member.standing = Standing::Down;
        let members = &self.members;
        let serves = |other: NodeId| {
            members.get(&other).is_some_and(|member| member.standing != Standing::Down && !member.witness)
        };
        for assignment in &mut self.partitions {
            let next = assignment.in_sync.iter().copied().find(|other| serves(*other));
            match next {
                // The last who has it all: nobody may serve in his place.
                None => {
                    assignment.joining.retain(|other| *other != node);
                    assignment.hand_over = None;
                }
                Some(next) if assignment.primary() == Some(node) => {
                    assignment.forget(node);
                    assignment.promote(next);
                }
                Some(_) => assignment.forget(node),
            }
        }
        Outcome::Changed
    }

    fn up(&mut self, node: NodeId, incarnation: u64) -> Outcome {
        let Some(member) = self.members.get_mut(&node) else { return Outcome::Refused(Refusal::Unknown) };
        if member.incarnation != incarnation {
            return Outcome::Refused(Refusal::OldIncarnation);
        }
        if member.standing != Standing::Down {
            return Outcome::Unchanged;
        }
        let is_draining = self.draining.contains(&node);
        member.standing = if is_draining { Standing::Draining } else { Standing::Up };
        Outcome::Changed
    }

    fn drain(&mut self, node: NodeId, drain: bool) -> Outcome {
        let Some(member) = self.members.get_mut(&node) else { return Outcome::Refused(Refusal::Unknown) };
        let is_new = if drain { self.draining.insert(node) } else { self.draining.remove(&node) };
        member.standing = match (drain, member.standing) {
            (true, Standing::Up) => Standing::Draining,
            (false, Standing::Draining) => Standing::Up,
            (_, standing) => standing,
        };
        if is_new { Outcome::Changed } else { Outcome::Unchanged }
    }

    fn leave(&mut self, node: NodeId) -> Outcome {
        if !self.members.contains_key(&node) {
            return Outcome::Unchanged;
        }
        let holds_last = |assignment: &Assignment| assignment.in_sync == [node];
        if self.partitions.iter().any(holds_last) {
            return Outcome::Refused(Refusal::LastCopy);
        }
        self.down(node);
        // Where all who are in sync are silent, they stay so without it.
        for assignment in &mut self.partitions {
            let was_primary = assignment.primary() == Some(node);
            assignment.forget(node);
            if let Some(next) = assignment.primary().filter(|_| was_primary) {
                assignment.promote(next);
            }
        }
        self.members.remove(&node);
        self.pins.retain(|_, pinned| *pinned != node);
        self.draining.remove(&node);
        Outcome::Changed
    }

    /// The assignment of `partition`, if the asker's epoch is the present one.
    fn present(&mut self, partition: u8, epoch: u64) -> Result<&mut Assignment, Outcome> {
        let assignment = &mut self.partitions[usize::from(partition)];
        if assignment.epoch == epoch { Ok(assignment) } else { Err(Outcome::Refused(Refusal::OldEpoch)) }
    }

    fn add_copy(&mut self, partition: u8, epoch: u64, node: NodeId) -> Outcome {
        if !self.serves(node) {
            return Outcome::Refused(Refusal::WrongRole);
        }
        match self.present(partition, epoch) {
            Err(refused) => refused,
            Ok(assignment) if assignment.involves(node) => Outcome::Unchanged,
            Ok(assignment) => {
                assignment.joining.push(node);
                Outcome::Changed
            }
        }
    }

    fn drop_copy(&mut self, partition: u8, epoch: u64, node: NodeId) -> Outcome {
        match self.present(partition, epoch) {
            Err(refused) => refused,
            Ok(assignment) if assignment.primary() == Some(node) => Outcome::Refused(Refusal::WrongRole),
            Ok(assignment) if !assignment.involves(node) => Outcome::Unchanged,
            Ok(assignment) => {
                assignment.forget(node);
                Outcome::Changed
            }
        }
    }

    fn in_sync(&mut self, primary: NodeId, caught_up: &[(u8, Turn, NodeId)]) -> Outcome {
        let mut outcome = Outcome::Unchanged;
        for (partition, turn, node) in caught_up {
            let Ok(assignment) = self.present(*partition, turn.epoch) else { continue };
            if assignment.primary() != Some(primary)
                || assignment.turn() != *turn
                || !assignment.joining.contains(node)
            {
                continue;
            }
            assignment.joining.retain(|other| other != node);
            assignment.in_sync.push(*node);
            outcome = Outcome::Changed;
        }
        outcome
    }

    fn cut(&mut self, primary: NodeId, incarnation: u64, replica: NodeId) -> Outcome {
        match self.members.get(&primary) {
            None => return Outcome::Refused(Refusal::Unknown),
            Some(member) if member.incarnation != incarnation => {
                return Outcome::Refused(Refusal::OldIncarnation);
            }
            Some(member) if member.standing == Standing::Down => {
                return Outcome::Refused(Refusal::WrongRole);
            }
            Some(_) => {}
        }
        if primary == replica {
            return Outcome::Refused(Refusal::WrongRole);
        }
        let mut outcome = Outcome::Unchanged;
        for assignment in &mut self.partitions {
            if assignment.primary() == Some(primary) && assignment.involves(replica) {
                assignment.forget(replica);
                outcome = Outcome::Changed;
            }
        }
        outcome
    }

    fn hand_over(&mut self, partition: u8, epoch: u64, to: Option<NodeId>) -> Outcome {
        if to.is_some_and(|to| !self.serves(to)) {
            return Outcome::Refused(Refusal::WrongRole);
        }
        match self.present(partition, epoch) {
            Err(refused) => refused,
            Ok(assignment) if assignment.hand_over == to => Outcome::Unchanged,
            Ok(assignment) if to.is_some_and(|to| !assignment.replicas().contains(&to)) => {
                Outcome::Refused(Refusal::WrongRole)
            }
            Ok(assignment) => {
                assignment.hand_over = to;
                Outcome::Changed
            }
        }
    }

    fn handed_over(&mut self, partition: u8, turn: Turn, to: NodeId) -> Outcome {
        match self.present(partition, turn.epoch) {
            Err(refused) => refused,
            // The primary may have gone on serving, as it was not to hand over any more.
            Ok(assignment) if assignment.turn() != turn || assignment.hand_over != Some(to) => {
                Outcome::Refused(Refusal::WrongRole)
            }
            Ok(assignment) => {
                assignment.promote(to);
                Outcome::Changed
            }
        }
    }

    fn restart(&mut self, partition: u8, epoch: u64, node: NodeId) -> Outcome {
        let down: BTreeSet<NodeId> = self.members.keys().copied().filter(|id| !self.serves(*id)).collect();
        if down.contains(&node) || !self.members.contains_key(&node) {
            return Outcome::Refused(Refusal::WrongRole);
        }
        match self.present(partition, epoch) {
            Err(refused) => refused,
            Ok(assignment) if assignment.in_sync.iter().any(|other| !down.contains(other)) => {
                Outcome::Refused(Refusal::WrongRole)
            }
            Ok(assignment) => {
                assignment.in_sync.clear();
                assignment.joining.clear();
                assignment.promote(node);
                Outcome::Changed
            }
        }
    }

    /// Changed if any did, else what the last one came to.
    fn several(&mut self, changes: Vec<Change>) -> Outcome {
        let mut outcome = Outcome::Unchanged;
        for change in changes {
            let next = self.apply(change);
            if outcome != Outcome::Changed {
                outcome = next;
            }
        }
        outcome
    }

    fn set(&mut self, settings: Settings) -> Outcome {
        let mut changed = false;
        for (setting, value) in settings {
            // A node has no libraries of its own that would have to be kept away.
            changed |= match (&setting, &value) {
                (Setting::Library(_), None) => self.settings.remove(&setting).is_some(),
                _ if self.settings.get(&setting) == Some(&value) => false,
                _ => {
                    self.settings.insert(setting, value);
                    true
                }
            };
        }
        self.version += u64::from(changed);
        Outcome::Set(self.version)
    }

    fn set_copies(&mut self, copies: usize) -> Outcome {
        let copies = copies.max(1);
        if self.copies == copies {
            return Outcome::Unchanged;
        }
        self.copies = copies;
        Outcome::Changed
    }

    fn pin(&mut self, partitions: &[u8], node: Option<NodeId>) -> Outcome {
        match node.map(|node| self.members.get(&node)) {
            Some(None) => return Outcome::Refused(Refusal::Unknown),
            Some(Some(member)) if member.witness => return Outcome::Refused(Refusal::WrongRole),
            _ => {}
        }
        let mut outcome = Outcome::Unchanged;
        for partition in partitions {
            let before = match node {
                Some(node) => self.pins.insert(*partition, node),
                None => self.pins.remove(partition),
            };
            if before != node {
                outcome = Outcome::Changed;
            }
        }
        outcome
    }
}
