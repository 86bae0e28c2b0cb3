//! Transactions across nodes, as the partitions taking part in one see them.
//!
//! The node a client is connected to coordinates. It has the partitions of all keys *held* by their primaries, which makes everybody
//! else wait, and is sent what the keys are; runs the transaction on a copy of them; and has what changed applied. One changed
//! partition is told so in one step ([`Ledger::decide`]). Of several, all but one, the *home*, are first *prepared*: they keep
//! what is to be applied, copies and all, and stay held whatever happens. What the home is told then decides, at once, about all of
//! them; they are told of it, or ask ([`Ledger::outcome`]).
//!
//! A [`Ledger`] is one partition's part in this. It is plain data: time comes in, what is to be sent to copies is its caller's
//! business (`server/participant.rs`).
//!
//! Invariants: a partition takes part in one transaction at a time. A hold is known to the primary alone and ends by itself; what is
//! prepared or decided is as lasting as the partition's keys. A home that has said of a transaction that it is aborted never decides
//! it afterwards.

use super::partition::DbKey;
use crate::cluster::metadata::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

const MS: u64 = 1_000_000;
/// How long a hold lasts that nobody ends.
pub const HOLD_NS: u64 = 1500 * MS;
/// How long a partition is prepared before it asks the home what came of it.
pub const ASK_NS: u64 = 400 * MS;
/// How old a decision is before the home itself tells the others.
pub const TELL_NS: u64 = 1000 * MS;
/// How long a decision is kept at least of which the coordinator, who may yet ask for it, says nothing.
pub const KEEP_NS: u64 = 20_000 * MS;

/// A transaction's name: who coordinates it, and a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionId {
    /// The coordinator.
    pub node: NodeId,
    /// The number.
    pub number: u64,
}

/// What a transaction does to a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What there is to do, as effects.
    pub effects: Vec<u8>,
    /// The keys that are changed by it.
    pub keys: Vec<(usize, Vec<u8>)>,
    /// The connection whose doing it is, at the coordinator.
    pub client: u64,
    /// Keyspace events to be published.
    pub events: Vec<Event>,
}

/// A keyspace event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its class, one of `config::notify`.
    pub class: i64,
    /// Its name.
    pub name: String,
    /// The database of the key.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
}

/// Keys of a partition that a transaction needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The partition.
    pub partition: u8,
    /// The keys, wanted of every database.
    pub keys: Vec<Vec<u8>>,
    /// Keys that were watched, and what was known of them then.
    pub watched: Vec<Watched>,
    /// Patterns of which all keys there are are wanted.
    pub patterns: Vec<Vec<u8>>,
}

/// A key that is watched from another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Its database.
    pub db: usize,
    /// The key.
    pub key: Vec<u8>,
    /// What it was.
    pub seen: Seen,
}

impl Watched {
    /// A key of which it is to be found out what it is.
    pub fn unseen(key: &[u8]) -> Watched {
        Watched { db: 0, key: key.to_vec(), seen: Seen::Absent }
    }
}

/// What a key is at some moment: as long as it stays this, nobody changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// There is no such key.
    Absent,
    /// It has this version, given in this epoch of its partition.
    Version {
        /// The epoch.
        epoch: u64,
        /// The version.
        version: u64,
    },
}

/// What is asked of the primaries of partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// To hold partitions and to tell what keys are.
    Hold {
        /// For whom.
        id: TransactionId,
        /// What is wanted.
        wanted: Vec<Wanted>,
        /// Whether it may need memory there.
        needs_memory: bool,
        /// Whether the keys are to be remembered, as clients of the coordinator cache them.
        tracks: bool,
    },
    /// To hold them no more; nothing was changed.
    Release {
        /// Who held them.
        id: TransactionId,
        /// The partitions.
        partitions: Vec<u8>,
    },
    /// To keep changes until it is known what becomes of them.
    Prepare {
        /// Whose.
        id: TransactionId,
        /// Who will know.
        home: u8,
        /// What is to be applied.
        changes: Vec<(u8, Change)>,
    },
    /// To decide that a transaction is committed, and apply its change of the home.
    Decide {
        /// The transaction.
        id: TransactionId,
        /// Its home.
        home: u8,
        /// What is to be applied.
        change: Change,
        /// The partitions that are prepared.
        prepared: Vec<u8>,
        /// For how long after it was held this may be done, in ns.
        within_ns: u64,
    },
    /// To apply what is prepared, or drop it.
    Finish {
        /// The transaction.
        id: TransactionId,
        /// The partitions.
        partitions: Vec<u8>,
        /// Whether it is committed.
        commit: bool,
    },
    /// To forget a decision that everybody knows of.
    Forget {
        /// The transaction.
        id: TransactionId,
        /// Its home.
        home: u8,
    },
    /// What became of a transaction.
    Outcome {
        /// The transaction.
        id: TransactionId,
        /// Its home.
        home: u8,
    },
    /// To hold partitions no more, and to say when any of the keys may have changed.
    Await {
        /// Who held them.
        id: TransactionId,
        /// The partitions.
        partitions: Vec<u8>,
        /// The database.
        db: usize,
        /// The keys.
        keys: Vec<Vec<u8>>,
        /// What names this, for who wants to hear of it no more.
        token: u64,
    },
    /// What keys of a partition are now.
    Look {
        /// The partition.
        partition: u8,
        /// The database.
        db: usize,
        /// The keys.
        keys: Vec<Vec<u8>>,
    },
}

impl Ask {
    /// Whether it concerns no partition.
    pub fn is_idle(&self) -> bool {
        matches!(self, Ask::Release { partitions, .. } | Ask::Finish { partitions, .. } if partitions.is_empty())
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// All are held.
    Held {
        /// What the keys are, by partition, as effects on nothing.
        states: Vec<(u8, Vec<u8>)>,
        /// Whether nothing watched has changed.
        unchanged: bool,
        /// For how long they are held and served at least, in ns from before it was asked.
        for_ns: u64,
    },
    /// Others hold them: ask again.
    Busy,
    /// They are served elsewhere, or nowhere: nothing was done.
    Elsewhere,
    /// There is no memory for it.
    NoMemory,
    /// It is done, also at all copies in sync.
    Done,
    /// It cannot be done any more; nothing was.
    Refused,
    /// It may have been done, or not.
    Unknown,
    /// It is, or was, committed.
    Committed,
    /// It is not known yet.
    Undecided,
    /// It is not committed and never will be.
    Aborted,
    /// What the keys are.
    Seen(Vec<Seen>),
    /// The keys of its patterns are more than is sent; nothing was done.
    TooMuch,
}

/// A partition's part in transactions across nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    hold: Option<Hold>,
    prepared: Option<Prepared>,
    decisions: BTreeMap<TransactionId, Decision>,
    /// Keys whose waiters are to be served when the partition is held no more.
    deferred: Vec<DbKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hold {
    id: TransactionId,
    epoch: u64,
    since_ns: u64,
}

/// What is to be applied if the home says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Whose it is.
    pub id: TransactionId,
    /// Who knows.
    pub home: u8,
    /// What it is.
    pub change: Change,
    /// Since when.
    pub since_ns: u64,
}

/// That a transaction is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Those who are to be told.
    pub prepared: Vec<u8>,
    /// Since when it is known here.
    pub since_ns: u64,
}

impl Ledger {
    /// Whether everybody else has to wait.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.hold.is_some() || self.prepared.is_some()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        !self.is_held() && self.decisions.is_empty() && self.deferred.is_empty()
    }

    /// Holds the partition, unless somebody does.
    pub fn hold(&mut self, id: TransactionId, epoch: u64, now_ns: u64) -> bool {
        if self.is_held() {
            return false;
        }
        self.hold = Some(Hold { id, epoch, since_ns: now_ns });
        true
    }

    /// Whether `id` holds it, and has ever since it was granted.
    pub fn is_held_by(&self, id: TransactionId, epoch: u64, now_ns: u64) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|hold| {
            hold.id == id && hold.epoch == epoch && now_ns.saturating_sub(hold.since_ns) < HOLD_NS
        })
    }

    /// Ends the hold of `id`, if that is who holds it.
    pub fn release(&mut self, id: TransactionId) {
        if self.hold.as_ref().is_some_and(|hold| hold.id == id) {
            self.hold = None;
        }
    }

    /// Ends whatever hold there is: the keys are not any more what they were.
    pub fn break_hold(&mut self) {
        self.hold = None;
    }

    /// Whether it is held by somebody who may yet change his mind.
    pub fn is_on_hold(&self) -> bool {
        self.hold.is_some()
    }

    /// Ends a hold whose time is over; says whether there was one.
    pub fn expire(&mut self, now_ns: u64) -> bool {
        let over = self.hold.as_ref().is_some_and(|hold| now_ns.saturating_sub(hold.since_ns) >= HOLD_NS);
        if over {
            self.hold = None;
        }
        over
    }

    /// Keeps a change of who holds it; false if nobody of that name does any more.
    pub fn prepare(&mut self, id: TransactionId, epoch: u64, now_ns: u64, home: u8, change: Change) -> bool {
        let may = self.is_held_by(id, epoch, now_ns) && self.prepared.is_none();
        if may {
            self.hold = None;
            self.keep(id, home, change, now_ns);
        }
        may
    }

    /// Keeps a change, as the primary did.
    pub fn keep(&mut self, id: TransactionId, home: u8, change: Change, now_ns: u64) {
        self.prepared = Some(Prepared { id, home, change, since_ns: now_ns });
    }

    /// Decides that a transaction is committed of which this is the home; false if it does not hold it any more, or since longer
    /// than `within_ns`.
    pub fn decide(
        &mut self,
        id: TransactionId,
        epoch: u64,
        now_ns: u64,
        within_ns: u64,
        prepared: &[u8],
    ) -> bool {
        let since_ns = self.hold.as_ref().map_or(0, |hold| hold.since_ns);
        let may = self.is_held_by(id, epoch, now_ns) && now_ns.saturating_sub(since_ns) < within_ns;
        if may {
            self.hold = None;
            self.note_decision(id, prepared.to_vec(), now_ns);
        }
        may
    }

    /// Remembers a decision, as the primary did.
    pub fn note_decision(&mut self, id: TransactionId, prepared: Vec<u8>, now_ns: u64) {
        if !prepared.is_empty() {
            self.decisions.insert(id, Decision { prepared, since_ns: now_ns });
        }
    }

    /// What became of a transaction whose home this is. One that is not decided by the time its hold is over, or which is unknown,
    /// is aborted from then on.
    pub fn outcome(&mut self, id: TransactionId, epoch: u64, now_ns: u64) -> Answer {
        if self.decisions.contains_key(&id) {
            return Answer::Committed;
        }
        if self.is_held_by(id, epoch, now_ns) {
            return Answer::Undecided;
        }
        self.release(id);
        Answer::Aborted
    }

    /// Takes what `id` has prepared, or ends its hold. What is taken is to be applied, or not, as was decided.
    pub fn finish(&mut self, id: TransactionId) -> Option<Prepared> {
        self.release(id);
        self.prepared.take_if(|prepared| prepared.id == id)
    }

    /// Forgets a decision; false if there is none.
    pub fn forget(&mut self, id: TransactionId) -> bool {
        self.decisions.remove(&id).is_some()
    }

    /// What is prepared.
    pub fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }

    /// What was decided and is not known everywhere.
    pub fn decisions(&self) -> impl Iterator<Item = (TransactionId, &Decision)> {
        self.decisions.iter().map(|(id, decision)| (*id, decision))
    }

    /// Has those who wait for `key` served once the partition is held no more.
    pub fn defer(&mut self, db: usize, key: &[u8]) {
        if !self.deferred.iter().any(|(other, known)| *other == db && **known == *key) {
            self.deferred.push((db, key.into()));
        }
    }

    /// The keys whose waiters are to be served, if the partition is held no more.
    pub fn take_deferred(&mut self) -> Vec<DbKey> {
        if self.is_held() { Vec::new() } else { std::mem::take(&mut self.deferred) }
    }
}

/// What a coordinator knows of the holds it was granted, by its own clock.
#[derive(Clone, Debug, Default)]
pub struct Grants(Vec<Grant>);

#[derive(Clone, Debug)]
struct Grant {
    partitions: Vec<u8>,
    received_ns: u64,
    until_ns: u64,
}

impl Grants {
    /// Notes that `partitions` are held `for_ns` from `asked_ns` on; it was heard of at `received_ns`.
    pub fn add(&mut self, partitions: Vec<u8>, asked_ns: u64, received_ns: u64, for_ns: u64) {
        // Clocks may run differently.
        let until_ns = asked_ns + for_ns - for_ns / 16;
        self.0.push(Grant { partitions, received_ns, until_ns });
    }

    /// Whether there was a moment at which all were held.
    pub fn were_held_at_once(&self) -> bool {
        let last_ns = self.0.iter().map(|grant| grant.received_ns).max().unwrap_or(0);
        self.0.iter().all(|grant| last_ns <= grant.until_ns)
    }

    /// For how long after it was held `home` may decide, so that all partitions that are not among `prepared` are held then, in ns.
    pub fn within_ns(&self, home: u8, prepared: &[u8]) -> u64 {
        let granted = self.0.iter().find(|grant| grant.partitions.contains(&home));
        let received_ns = granted.map_or(u64::MAX, |grant| grant.received_ns);
        let is_read = |partition: &u8| *partition != home && !prepared.contains(partition);
        let reads = self.0.iter().filter(|grant| grant.partitions.iter().any(is_read));
        reads.map(|grant| grant.until_ns.saturating_sub(received_ns)).min().unwrap_or(u64::MAX)
    }
}
