//! When to ask for an election: in place of the library's own timer.
//!
//! The library starts an election whenever it has heard of no leader for long enough. A member that was cut off or stood
//! still would so raise the term and depose, when it is back, a leader whom all others follow; and its wait, drawn once
//! for a process, begins only when the leader's lease has ended. Here a member first asks the others whether
//! they miss the leader, too ([`PreVote`]); only if a quorum does, and its log is good enough for them, an election begins. The wait
//! is drawn anew each time. A leader whose process has ended its links is missed at once, or as soon as the library gives votes.
//!
//! Invariant: who has heard of a leader lately, leads, or has stopped, approves of no election.

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

/// How long a voter refuses others than the leader it heard of; the library waits as long for votes. In ms.
pub(super) const LEASE_MS: u64 = 150;

/// When a leader was heard of last.
#[derive(Clone)]
pub(super) struct Pulse {
    last: Arc<Mutex<Last>>,
    gone: Arc<Notify>,
}

struct Last {
    heard: Instant,
    /// Whether its process has ended its links since.
    is_gone: bool,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        let last = Last { heard: Instant::now(), is_gone: false };
        Pulse { last: Arc::new(Mutex::new(last)), gone: Arc::default() }
    }

    /// A message of a leader has come.
    pub(super) fn beat(&self) {
        *self.last.lock() = Last { heard: Instant::now(), is_gone: false };
    }

    /// A vote was given, so that there may soon be a leader, or what one had sent has been dealt with. One that is gone stays so: a vote
    /// may arrive too late, and the leader's process may have ended while its message was written to the disk.
    pub(super) fn refresh(&self) {
        self.last.lock().heard = Instant::now();
    }

    /// The leader's process has ended its links.
    pub(super) fn stop(&self) {
        self.last.lock().is_gone = true;
        self.gone.notify_one();
    }

    /// When a leader that is gone is missed.
    fn stopped(&self) -> Option<Instant> {
        let last = self.last.lock();
        last.is_gone.then(|| last.heard + Duration::from_millis(LEASE_MS + 1))
    }

    /// Whether no leader was heard of for so long, or it is known to be gone.
    fn is_missed(&self, silence: Duration) -> bool {
        self.last.lock().heard.elapsed() >= silence || self.stopped().is_some_and(|at| Instant::now() >= at)
    }
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
    votes && missed && question.last_log >= log.last()
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
        let mut led = false;
        loop {
            let soon = not_before > Instant::now() && self.pulse.stopped().is_some();
            tokio::select! {
                _ = tick.tick() => {}
                () = sleep_until(not_before), if soon => {}
                () = self.pulse.gone.notified() => {
                    // One after the other: votes would be split.
                    not_before = self.pulse.stopped().map_or(not_before, |at| at.max(Instant::now()))
                        + Duration::from_millis(self.config.heartbeat_ms) * rank(self.me, &metrics.borrow());
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
                self.pulse.beat();
            } else if led && now.current_leader.is_none() {
                // A voter that had stood for election as well has deposed it, and may itself not be elected: it is to stand again soon.
                self.pulse.stop();
            }
            led = now.state == ServerState::Leader;
            let due = self.pulse.is_missed(patience) && Instant::now() >= not_before;
            if due && is_voter(self.me, &now) {
                // Who is known to be gone does not come back meanwhile.
                let is_gone = self.pulse.stopped().is_some();
                let wait = if self.approved(&now).await && self.pulse.is_missed(patience) {
                    // An error means that the library has stopped: the next round sees it.
                    let _: Result<(), Fatal<NodeId>> = self.raft.trigger().elect().await;
                    patience = self.patience();
                    if is_gone { drawn(LEASE_MS) } else { patience }
                } else {
                    // The others may be about to miss the leader, too.
                    if is_gone { drawn(LEASE_MS / 4) } else { self.patience() / 8 }
                };
                not_before = Instant::now() + wait;
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

/// How many of those who may lead in place of the present leader come before `me`.
fn rank(me: NodeId, now: &RaftMetrics<NodeId, BasicNode>) -> u32 {
    let membership = now.membership_config.membership();
    membership.voter_ids().filter(|id| *id < me && Some(*id) != now.current_leader).count() as u32
}

fn is_voter(me: NodeId, now: &RaftMetrics<NodeId, BasicNode>) -> bool {
    now.membership_config.membership().voter_ids().any(|id| id == me)
}
