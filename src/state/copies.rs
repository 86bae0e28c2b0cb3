//! What a member does about the partitions it serves and the copies of them: it takes the roles that the map gives it, and does
//! what a primary owes its replicas.
//!
//! Idea: a state machine. It is fed with maps ([`Copies::adopt`]), looks at acknowledgements and the time given to it
//! ([`Copies::look`]), with answers to what it asked, and yields [`Action`]s for others to carry out. It knows neither sockets nor a
//! clock; `server/member.rs` drives it for real, `tests/sim` in a simulation.
//!
//! Invariants: of changes that are asked for in turn, one is under way at a time; a replica counts as in sync here before the control
//! plane is asked to count it, and until the control plane counts it no more.

mod care;
mod leaving;
mod rising;
mod roles;
#[cfg(test)]
mod tests;

pub use rising::positions;

use super::replication::Feed;
use crate::cluster::metadata::{Assignment, Change, Metadata, NodeId, Outcome, Turn};
use rising::Rise;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A replica that acknowledges nothing for so long, while something is under way, is cut off; in ns.
const STUCK_NS: u64 = 1_500_000_000;
/// How gently copies are filled.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Bytes of a partition, about, that are sent in one record: requests wait while it is made, and while it is applied.
    pub part: usize,
    /// No more are sent to a node while so many have not arrived there: changes that clients wait for come behind them.
    pub window: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { part: 8 << 10, window: 16 << 10 }
    }
}

/// What a replica has of a partition, if it is whole: the epoch in which its last entry was made, and the number of that.
pub type Position = Option<(u64, u64)>;

/// What is to be done.
pub enum Action {
    /// A feed is to be sent.
    Send(Arc<Feed>),
    /// The control plane is to be asked for a change. What came of it goes to [`Copies::proposed`].
    Propose(Reason, Change),
    /// A replica is to be asked what it has ([`positions`]). What it says goes to [`Copies::told_positions`].
    AskPositions {
        /// Who.
        node: NodeId,
        /// Of which partitions, and in which epochs.
        partitions: Vec<(u8, u64)>,
    },
}

/// Why a change is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is one of those asked for in turn.
    Care,
    /// What this node has a copy of cannot be served while it does not say what it has.
    Rise(NodeId),
}

/// The copies of a member's partitions.
pub struct Copies {
    me: NodeId,
    incarnation: u64,
    pace: Pace,
    feeds: BTreeMap<NodeId, Watched>,
    /// The partition whose copy on a node is being filled: one at a time.
    filling: BTreeMap<NodeId, u8>,
    /// Partitions that this node is to serve, and has to find out first what the replicas have.
    rising: BTreeMap<u8, Rise>,
    /// What replicas are to be asked about next.
    questions: BTreeMap<NodeId, Vec<(u8, u64)>>,
    /// Who has been reported to have caught up, and may be counted at any moment: answers wait for him even if he is fed anew.
    reported: BTreeSet<(u8, Turn, NodeId)>,
    /// Partitions that this node leads on as before, of which the map says something that was not looked at yet.
    deferred: BTreeSet<u8>,
    /// Who is cut off, though the map does not say so yet.
    cut: BTreeSet<NodeId>,
    /// Changes to be asked for, the first of them under way.
    wishes: VecDeque<Change>,
    actions: Vec<Action>,
}

/// A feed and when something arrived through it last.
struct Watched {
    feed: Arc<Feed>,
    acked: u64,
    since_ns: u64,
    /// Where the parts under way of copies that are filled end, and how many bytes they have.
    parts: Vec<(u64, usize)>,
}

impl Watched {
    /// How many bytes of copies that are filled are under way.
    fn under_way(&mut self) -> usize {
        self.parts.retain(|(end, _)| !self.feed.has(*end));
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Copies {
    /// Those of `me`, in its process `incarnation`.
    pub fn new(me: NodeId, incarnation: u64, pace: Pace) -> Copies {
        Copies {
            me,
            incarnation,
            pace,
            feeds: BTreeMap::new(),
            filling: BTreeMap::new(),
            rising: BTreeMap::new(),
            questions: BTreeMap::new(),
            reported: BTreeSet::new(),
            deferred: BTreeSet::new(),
            cut: BTreeSet::new(),
            wishes: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// Whether copies or partitions are under way, so that [`Copies::look`] should be called often.
    pub fn is_busy(&self, map: &Metadata) -> bool {
        let moves = |a: &Assignment| a.primary() == Some(self.me) && a.is_moving();
        !self.rising.is_empty() || map.partitions.iter().any(moves)
    }

    /// What came of a change that was asked for; `None` if nobody knows.
    pub fn proposed(&mut self, reason: Reason, change: &Change, outcome: Option<Outcome>) -> Vec<Action> {
        match reason {
            Reason::Rise(node) => self.rising.values_mut().for_each(|rise| rise.forget(node)),
            Reason::Care => {
                if let Change::Cut { replica, .. } = change {
                    self.note_cut(*replica, outcome);
                }
                self.wishes.pop_front();
                self.propose_next();
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Asks for the next change, if there is any.
    fn propose_next(&mut self) {
        if let Some(change) = self.wishes.front() {
            self.actions.push(Action::Propose(Reason::Care, change.clone()));
        }
    }

    /// The feed to `node`.
    fn feed(&mut self, node: NodeId, now_ns: u64) -> Arc<Feed> {
        let actions = &mut self.actions;
        let watched = self.feeds.entry(node).or_insert_with(|| {
            let feed = Feed::new(node, now_ns);
            actions.push(Action::Send(Arc::clone(&feed)));
            Watched { feed, acked: 0, since_ns: now_ns, parts: Vec::new() }
        });
        Arc::clone(&watched.feed)
    }
}
