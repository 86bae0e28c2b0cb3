//! When to ask for an election: in place of the library's own timer.
//!
//! The library starts an election whenever it has heard of no leader for long enough. A member that was cut off or stood
//! still would so raise the term and depose, when it is back, a leader whom all others follow; and its wait, drawn once
//! for a process, begins only when the leader's lease has ended. Here a member first asks the others whether
//! they miss the leader, too ([`PreVote`]); only if a quorum does, and its log is good enough for them, an election begins. The wait
//! is drawn anew each time.
//!
//! A leader whose process has ended its links is missed at once. The library gives no vote for as long after it heard of a leader as it
//! waits for votes, which slow disks want to be long; but it does once it has stood for election itself. So who is asked for its vote, and
//! misses the leader, stands first.
//!
//! Invariant: who has heard of a leader lately, unless its links have ended since, leads, or has stopped, approves of no election.

use super::network::Transport;
use super::wire::{PRE_VOTE, PreVote, Types, decode, encode};
use super::{Config, Role, Status, log::Log};
use crate::cluster::metadata::NodeId;
use openraft::error::Fatal;
use openraft::{BasicNode, Raft, RaftMetrics, ServerState};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// How long votes are waited for: they have to be written to disks. In ms.
pub(super) const VOTES_MS: u64 = 2000;
/// How long one that may be about to be elected is waited for, before it is clear that disks are slow. In ms.
const ELECTION_MS: u64 = 75;
/// How soon after a leader's process is gone the first asks for an election: the others may hear of it a little later. In ms.
const SOON_MS: u64 = 5;
/// By how much the others come after it, one after the other. In ms.
const TURN_MS: u64 = 25;

/// When a leader was heard of last.
#[derive(Clone)]
pub(super) struct Pulse {
    last: Arc<Mutex<Last>>,
    gone: Arc<Notify>,
}

struct Last {
    leader: Option<NodeId>,
    heard: Instant,
    /// Whether its process has ended its links since.
    is_gone: bool,
    /// How often this member has stood for election since. Once it has, the library gives its vote to others.
    stood: u32,
    /// When a vote was given in its place.
    voted: Option<Instant>,
    /// When an election in its place was approved of.
    approved: Option<Instant>,
}

impl Last {
    fn now(leader: Option<NodeId>) -> Last {
        Last { leader, heard: Instant::now(), is_gone: false, stood: 0, voted: None, approved: None }
    }
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse { last: Arc::new(Mutex::new(Last::now(None))), gone: Arc::default() }
    }

    /// A message of `leader` has come.
    pub(super) fn beat(&self, leader: Option<NodeId>) {
        *self.last.lock() = Last::now(leader);
    }

    /// What a leader had sent has been dealt with. One that is gone stays so: its process may have ended while its message was written to
    /// the disk.
    pub(super) fn refresh(&self) {
        self.last.lock().heard = Instant::now();
    }

    /// A vote was given, so that there may soon be a leader. It may also arrive too late.
    pub(super) fn vote(&self) {
        let mut last = self.last.lock();
        last.heard = Instant::now();
        last.voted = Some(last.heard);
    }

    /// An election was approved of, so that there may soon be a leader.
    fn approve(&self) {
        self.last.lock().approved = Some(Instant::now());
    }

    /// The process of `node` has ended its links: to be known if it leads.
    pub(super) fn end(&self, node: NodeId) {
        let leads = self.last.lock().leader == Some(node);
        if leads {
            self.stop();
        }
    }

    /// There is no leader any more.
    fn stop(&self) {
        self.last.lock().is_gone = true;
        self.gone.notify_one();
    }

    /// Whether the leader's process has ended its links.
    fn is_gone(&self) -> bool {
        self.last.lock().is_gone
    }

    /// Whether this member is to stand for election, once, as it could not give its vote to who stands in place of a leader that is missed.
    pub(super) fn is_to_stand(&self, silence: Duration) -> bool {
        let mut last = self.last.lock();
        let is_to = last.stood == 0 && (last.is_gone || last.heard.elapsed() >= silence);
        last.stood += u32::from(is_to);
        is_to
    }

    /// This member stands for election; how often it did before, since there was a leader.
    fn stand(&self) -> u32 {
        let mut last = self.last.lock();
        last.stood += 1;
        last.stood - 1
    }

    /// Whether no leader was heard of for so long, or it is known to be gone and none is being elected.
    fn is_missed(&self, silence: Duration) -> bool {
        let last = self.last.lock();
        last.heard.elapsed() >= silence || last.is_gone && !is_recent(last.voted)
    }

    /// Whether another may be about to be elected.
    fn is_to_wait(&self) -> bool {
        is_recent(self.last.lock().approved)
    }
}

/// Whether it happened so short a time ago that a leader may yet come of it.
fn is_recent(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at.elapsed() < Duration::from_millis(2 * ELECTION_MS))
}

/// Whether this member would have the asker elected.
pub(super) fn approves(
    question: &PreVote,
    metrics: &RaftMetrics<NodeId, BasicNode>,
    log: &Log,
    pulse: &Pulse,
    config: &Config,
) -> bool {
    let votes = !matches!(metrics.state, ServerState::Leader | ServerState::Shutdown);
    let missed = pulse.is_missed(Duration::from_millis(config.election_min_ms));
    let approves = votes && missed && question.last_log >= log.last();
    if approves {
        pulse.approve();
    }
    approves
}

/// What an election needs to know and to ask.
pub(super) struct Watchman<T> {
    pub(super) me: NodeId,
    pub(super) raft: Raft<Types>,
    pub(super) log: Log,
    pub(super) pulse: Pulse,
    pub(super) config: Config,
    pub(super) transport: T,
    pub(super) status: watch::Sender<Status>,
}

impl<T: Transport> Watchman<T> {
    /// Publishes how the group stands, and asks for elections, until the library stops.
    pub(super) async fn run(self) {
        let mut metrics = self.raft.metrics();
        let mut tick = interval(Duration::from_millis((self.config.heartbeat_ms / 2).max(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = self.patience();
        let mut not_before = Instant::now();
        let mut pause_ms = SOON_MS;
        let mut led = false;
        loop {
            let soon = not_before > Instant::now() && self.pulse.is_gone();
            tokio::select! {
                _ = tick.tick() => {}
                () = sleep_until(not_before), if soon => {}
                () = self.pulse.gone.notified() => {
                    // One after the other: votes would be split.
                    let turn = rank(self.me, &metrics.borrow());
                    not_before = Instant::now() + Duration::from_millis(SOON_MS + TURN_MS * turn);
                    pause_ms = SOON_MS;
                }
                changed = metrics.changed() => {
                    if changed.is_err() {
                        self.publish(|status| status.role = Role::Stopped);
                        return;
                    }
                }
            }
            let now = metrics.borrow_and_update().clone();
            self.publish(|status| *status = Status::of(&now, &self.config));
            if now.state == ServerState::Shutdown {
                return;
            }
            if now.state == ServerState::Leader {
                self.pulse.beat(Some(self.me));
            } else if led && now.current_leader.is_none() {
                // A voter that had stood for election as well has deposed it, and may itself not be elected: it is to stand again soon.
                self.pulse.stop();
            }
            led = now.state == ServerState::Leader;
            let is_free = Instant::now() >= not_before && !self.pulse.is_to_wait();
            let due = is_free && self.pulse.is_missed(patience);
            if due && is_voter(self.me, &now) {
                // Who is known to be gone does not come back meanwhile.
                let is_gone = self.pulse.is_gone();
                let wait_ms = if self.approved(&now).await && self.pulse.is_missed(patience) {
                    // An error means that the library has stopped: the next round sees it.
                    let _: Result<(), Fatal<NodeId>> = self.raft.trigger().elect().await;
                    if rank(self.me, &now) > 0 {
                        // In that term those who come before it may stand now: it is elected in the next.
                        let _: Result<(), Fatal<NodeId>> = self.raft.trigger().elect().await;
                    }
                    patience = self.patience();
                    let first_ms = if is_gone { ELECTION_MS } else { self.config.election_min_ms };
                    (first_ms << self.pulse.stand().min(8)).min(VOTES_MS)
                } else if is_gone {
                    // The others may be about to hear of it, too.
                    pause_ms = (2 * pause_ms).min(2 * ELECTION_MS);
                    pause_ms / 2
                } else {
                    self.config.election_min_ms / 8
                };
                not_before = Instant::now() + drawn(wait_ms);
            }
        }
    }

    fn publish(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let mut next = status.clone();
            change(&mut next);
            let changed = next != *status;
            *status = next;
            changed
        });
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(fastrand::u64(self.config.election_min_ms..=self.config.election_max_ms))
    }

    /// Whether a quorum of the voters would have this member elected.
    async fn approved(&self, now: &RaftMetrics<NodeId, BasicNode>) -> bool {
        let configs = now.membership_config.membership().get_joint_config().clone();
        let mut yes = BTreeSet::from([self.me]);
        let quorum = |yes: &BTreeSet<NodeId>| {
            configs.iter().all(|config| config.intersection(yes).count() > config.len() / 2)
        };
        let Ok(question) = encode(&PreVote { last_log: self.log.last() }) else { return false };
        let limit = Duration::from_millis(self.config.election_min_ms);
        let mut asked = JoinSet::new();
        for (id, node) in now.membership_config.nodes() {
            if *id == self.me || !configs.iter().any(|config| config.contains(id)) {
                continue;
            }
            let (id, address) = (*id, node.addr.clone());
            let (transport, question) = (self.transport.clone(), question.clone());
            asked.spawn(async move {
                let answer = timeout(limit, transport.call(id, &address, PRE_VOTE, question)).await;
                let approves = matches!(answer, Ok(Ok(answer)) if decode(&answer).unwrap_or(false));
                (id, approves)
            });
        }
        while !quorum(&yes) {
            match asked.join_next().await {
                None => return false,
                Some(Ok((id, true))) => drop(yes.insert(id)),
                Some(_) => {}
            }
        }
        true
    }
}

/// Between once and twice so long.
fn drawn(least_ms: u64) -> Duration {
    Duration::from_millis(fastrand::u64(least_ms..=2 * least_ms))
}

/// How many of those who may lead in place of the present leader come before `me`: of those who stand in one term the library prefers the
/// greatest.
fn rank(me: NodeId, now: &RaftMetrics<NodeId, BasicNode>) -> u64 {
    let membership = now.membership_config.membership();
    membership.voter_ids().filter(|id| *id > me && Some(*id) != now.current_leader).count() as u64
}

fn is_voter(me: NodeId, now: &RaftMetrics<NodeId, BasicNode>) -> bool {
    now.membership_config.membership().voter_ids().any(|id| id == me)
}
