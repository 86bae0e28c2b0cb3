//! The Raft group that agrees on the [`Metadata`]: the library, its store, its elections, behind one handle.
//!
//! Idea: `openraft` decides, [`disk`] keeps, [`machine`] applies, [`election`] asks for elections in the library's place,
//! and a [`Transport`] carries messages. A [`Consensus`] lives on the tokio runtime it was opened on; only its
//! file has a thread of its own, so a slow disk never holds the runtime up.
//!
//! What callers may build on:
//! - What [`Consensus::propose`] answered with an outcome is committed, and never lost while a quorum of the voters' files is there.
//! - [`ProposeError::NotLeader`] means that it will never happen; [`ProposeError::Unknown`] that it may have happened or may
//!   yet happen, so a change must bear being proposed twice.
//! - [`Consensus::confirm_quorum`] answered: this node was the leader at some moment after the call.
//! - Changes of the members say whether they are done; any error but [`ProposeError::Refused`] leaves that open, and
//!   [`Status::voters`] and [`Status::learners`] tell. They may be done again.
//! - [`Status::leader`] is a hint. A node restarted, or cut off, may believe for a while that it leads.
//!
//! It must never be opened with the name of a node whose file was lost: such a node votes twice in one term. It takes a new
//! name instead.

mod disk;
mod election;
mod log;
mod machine;
mod network;
#[cfg(test)]
mod tests;
mod wire;

pub use disk::{Owner, file_in};
pub use network::Transport;

use crate::cluster::metadata::{Change, Metadata, NodeId, Outcome};
use disk::Disk;
use election::{Pulse, Watchman};
use log::Log;
use machine::Machine;
use network::Network;
use openraft::error::{CheckIsLeaderError, ClientWriteError, InitializeError, RaftError};
use openraft::{BasicNode, ChangeMembers, Raft, RaftMetrics, ServerState, Snapshot, SnapshotPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use wire::{APPEND, Install, Mark, PRE_VOTE, PreVote, Proposal, SNAPSHOT, Types, VOTE, decode, encode};

/// Times and bounds of the group, the same on all its members.
#[derive(Clone, Debug)]
pub struct Config {
    /// A leader is heard of at least every one and a half of this. Also how long it waits for an answer.
    pub heartbeat_ms: u64,
    /// A member that has heard of no leader for a time between this and [`Config::election_max_ms`] asks for an
    /// election. Must be more than twice the heartbeat.
    pub election_min_ms: u64,
    /// See [`Config::election_min_ms`].
    pub election_max_ms: u64,
    /// How long a proposal or a change of the members is waited for.
    pub propose_ms: u64,
    /// A snapshot is made after so many entries, and as many are kept behind it for those who lag.
    pub snapshot_after: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            heartbeat_ms: 75,
            election_min_ms: 300,
            election_max_ms: 600,
            propose_ms: 5000,
            snapshot_after: 1000,
        }
    }
}

/// Why the store could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be used.
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file belongs to another member or another cluster.
    Foreign {
        /// Its path.
        path: PathBuf,
        /// Whose it is.
        owner: Owner,
        /// Who wanted it.
        me: Owner,
    },
    /// The times do not fit together.
    Config(String),
    /// The library refused to start.
    Raft(String),
}

impl StoreError {
    fn at(path: &Path, source: &io::Error) -> StoreError {
        let source = io::Error::new(source.kind(), source.to_string());
        StoreError::File { path: path.to_path_buf(), source }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::File { path, source } => write!(f, "{}: {source}", path.display()),
            StoreError::Foreign { path, owner, me } => write!(
                f,
                "{} belongs to the node {:016x} of the cluster {:016x}, not to {:016x} of {:016x}",
                path.display(),
                owner.node,
                owner.cluster,
                me.node,
                me.cluster
            ),
            StoreError::Config(why) => write!(f, "settings of the cluster: {why}"),
            StoreError::Raft(why) => write!(f, "the cluster's metadata cannot be served: {why}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// This node does not lead: it was not proposed and never will be.
    NotLeader {
        /// Who may lead.
        leader: Option<NodeId>,
    },
    /// It cannot be done as the members are: it was not proposed.
    Refused(String),
    /// It may have been done, or may yet be.
    Unknown(String),
    /// The group has stopped on this node: it was not proposed.
    Stopped(String),
}

impl std::fmt::Display for ProposeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProposeError::NotLeader { leader: Some(leader) } => {
                write!(f, "not the leader, which is {leader:016x}")
            }
            ProposeError::NotLeader { leader: None } => f.write_str("not the leader, and none is known"),
            ProposeError::Refused(why) => write!(f, "refused: {why}"),
            ProposeError::Unknown(why) => write!(f, "outcome unknown: {why}"),
            ProposeError::Stopped(why) => write!(f, "stopped: {why}"),
        }
    }
}

impl std::error::Error for ProposeError {}

/// Why it is not proven that this node leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmError {
    /// It does not.
    NotLeader {
        /// Who may.
        leader: Option<NodeId>,
    },
    /// Too few voters answered.
    NoQuorum,
    /// The group has stopped on this node.
    Stopped,
}

/// What a member is in the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It has the log and no vote.
    #[default]
    Learner,
    /// It follows.
    Follower,
    /// It asks to be elected.
    Candidate,
    /// It leads, or believes so.
    Leader,
    /// It has stopped, by a failure or as it was told to.
    Stopped,
}

/// How the group stands, as this member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What this member is.
    pub role: Role,
    /// The term it is in.
    pub term: u64,
    /// Who leads, as far as is known; not this member when no quorum has followed it for [`Config::election_max_ms`].
    pub leader: Option<NodeId>,
    /// Who votes; while that changes, who did or will.
    pub voters: BTreeSet<NodeId>,
    /// Who has the log and no vote.
    pub learners: BTreeSet<NodeId>,
    /// How many entries this member's log has had.
    pub last_log: Option<u64>,
    /// How many of them are in the metadata.
    pub applied: Option<u64>,
    /// What stopped it, if it was a failure.
    pub failure: Option<String>,
}

impl Status {
    fn of(now: &RaftMetrics<NodeId, BasicNode>, config: &Config) -> Status {
        let membership = now.membership_config.membership();
        let role = match now.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        };
        let followed = now.millis_since_quorum_ack.is_some_and(|ms| ms <= config.election_max_ms);
        let failure = match &now.running_state {
            Ok(()) | Err(openraft::error::Fatal::Stopped) => None,
            Err(fatal) => Some(fatal.to_string()),
        };
        Status {
            role,
            term: now.current_term,
            leader: now
                .current_leader
                .filter(|leader| *leader != now.id || (role == Role::Leader && followed)),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            last_log: now.last_log_index,
            applied: now.last_applied.map(|id| id.index),
            failure,
        }
    }
}

/// Whether frames of this kind are for [`Consensus::handle`].
pub fn is_own_kind(kind: u8) -> bool {
    matches!(kind, PRE_VOTE | VOTE | APPEND | SNAPSHOT)
}

/// Whose the file in `directory` is; `None` if there is none. The file must not be open.
pub fn owner(directory: &Path) -> Result<Option<Owner>, StoreError> {
    disk::owner(directory)
}

/// Removes the file in `directory`, which must not be open, if there is one: the node in it is gone, and its name must not be used
/// again in its cluster.
pub fn erase(directory: &Path) -> Result<(), StoreError> {
    let path = disk::file_in(directory);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::at(&path, &error)),
        _ => Ok(()),
    }
}

/// The handle of the Raft group on this node. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    me: NodeId,
    config: Config,
    raft: Raft<Types>,
    log: Log,
    disk: Disk,
    pulse: Pulse,
    metadata: watch::Receiver<Arc<Metadata>>,
    status: watch::Receiver<Status>,
    /// One change of the members at a time.
    changing: tokio::sync::Mutex<()>,
    watchman: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watchman.abort();
    }
}

impl Consensus {
    /// Opens the group's file in `directory` for `me`, or creates it, and takes part from then on. What the file held is in
    /// [`Consensus::metadata`] at once. A cluster named 0 has no name yet and fits any file of that node.
    pub async fn open(
        directory: &Path,
        me: Owner,
        config: Config,
        transport: impl Transport,
    ) -> Result<Consensus, StoreError> {
        let settings = settings(&config)?;
        let (disk, contents) = Disk::open(directory, me).await?;
        Consensus::start(disk, contents, directory, me.node, config, settings, transport).await
    }

    async fn start(
        disk: Disk,
        mut contents: disk::Contents,
        directory: &Path,
        me: NodeId,
        config: Config,
        settings: openraft::Config,
        transport: impl Transport,
    ) -> Result<Consensus, StoreError> {
        let log = Log::new(disk.clone(), &mut contents);
        let machine = Machine::new(disk.clone(), &mut contents);
        let machine = machine.map_err(|error| StoreError::at(&disk::file_in(directory), &error))?;
        let metadata = machine.watch();
        let pause = Duration::from_millis(config.heartbeat_ms);
        let network = Network { transport: transport.clone(), pause };
        let raft = Raft::new(me, Arc::new(settings), network, log.clone(), machine).await;
        let raft = raft.map_err(|error| StoreError::Raft(error.to_string()))?;
        let pulse = Pulse::new();
        let (told, status) = watch::channel(Status::of(&raft.metrics().borrow().clone(), &config));
        let watchman = Watchman {
            me,
            raft: raft.clone(),
            log: log.clone(),
            pulse: pulse.clone(),
            config: config.clone(),
            transport,
            status: told,
        };
        let watchman = tokio::spawn(watchman.run()).abort_handle();
        let changing = tokio::sync::Mutex::new(());
        let inner = Inner { me, config, raft, log, disk, pulse, metadata, status, changing, watchman };
        Ok(Consensus { inner: Arc::new(inner) })
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.inner.me
    }

    /// The metadata as far as this node knows it, and whenever it changes.
    pub fn metadata(&self) -> watch::Receiver<Arc<Metadata>> {
        self.inner.metadata.clone()
    }

    /// How the group stands, and whenever that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// Whether this node has been a member of a group.
    pub async fn is_initialised(&self) -> bool {
        self.inner.raft.is_initialized().await.unwrap_or(false)
    }

    /// Founds a group of this node alone, reached by the others at `address`. Refused if it is in one already.
    pub async fn initialise(&self, address: &str) -> Result<(), ProposeError> {
        let members = BTreeMap::from([(self.inner.me, BasicNode::new(address))]);
        match self.inner.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(error @ InitializeError::NotAllowed(_))) => {
                Err(ProposeError::Refused(error.to_string()))
            }
            Err(error) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// Makes a change, on the leader; its outcome once it is committed.
    pub async fn propose(&self, change: Change) -> Result<Outcome, ProposeError> {
        let mark = Mark::new();
        let proposal = Proposal { change, mark: mark.clone() };
        let written = timeout(self.patience(), self.inner.raft.client_write(proposal)).await;
        let error = match written {
            Ok(Ok(written)) => {
                let nothing = || ProposeError::Unknown("committed without an outcome".into());
                return written.data.ok_or_else(nothing);
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(ProposeError::Unknown("no answer in time".into())),
        };
        // The library says the same to a proposal it never took and to one that a new leader cut off
        // this node's log: that one may live on elsewhere.
        if mark.is_set() {
            return Err(ProposeError::Unknown(error.to_string()));
        }
        Err(refusal(error))
    }

    /// Proves that this node leads: answered `Ok`, it was the leader, followed by a quorum, at some moment after
    /// the call, and all that was committed before that moment is in its metadata. Takes [`Config::election_min_ms`] at most.
    pub async fn confirm_quorum(&self) -> Result<(), ConfirmError> {
        let limit = Instant::now() + Duration::from_millis(self.inner.config.election_min_ms);
        loop {
            let confirmed = tokio::time::timeout_at(limit, self.inner.raft.ensure_linearizable()).await;
            let began = Instant::now();
            match confirmed {
                Ok(Ok(_)) => return Ok(()),
                Err(_) => return Err(ConfirmError::NoQuorum),
                Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)))) => {
                    return Err(ConfirmError::NotLeader { leader: to.leader_id });
                }
                Ok(Err(RaftError::Fatal(_))) => return Err(ConfirmError::Stopped),
                Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) => {}
            }
            // A peer that is not there fails at once.
            let pause = Duration::from_millis(self.inner.config.heartbeat_ms / 5);
            if began + pause >= limit {
                return Err(ConfirmError::NoQuorum);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Lets `node`, reached at `address`, have the log and no vote; of a member it changes the address. On the leader. Does not wait
    /// until it has the log. Done twice, it does no harm.
    pub async fn add_learner(&self, node: NodeId, address: &str) -> Result<(), ProposeError> {
        let known = self.node(node);
        let node = BTreeMap::from([(node, BasicNode::new(address))]);
        match known {
            Some(known) if known.addr == address => Ok(()),
            Some(_) => self.change(ChangeMembers::SetNodes(node)).await,
            None => self.change(ChangeMembers::AddNodes(node)).await,
        }
    }

    /// Makes `voters` the voters: all must have been learners or voters. Who voted before becomes a learner. On the leader, which
    /// may put itself out. Done twice, it does no harm.
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ProposeError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    /// Takes `node` out of the group, a voter or a learner. Its name must not be used again. On the leader; if that is `node`
    /// itself, it ends up a learner, and the next leader is to take it out.
    pub async fn remove(&self, node: NodeId) -> Result<(), ProposeError> {
        let status = self.inner.status.borrow().clone();
        if status.voters.contains(&node) {
            let rest = status.voters.iter().copied().filter(|other| *other != node).collect();
            self.set_voters(rest).await?;
        }
        match self.node(node) {
            Some(_) => self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node]))).await,
            None => Ok(()),
        }
    }

    /// Notes that the process of `node` has ended its links, by which this node heard of it: if it led, others need not wait until it has
    /// been silent for long.
    pub fn note_gone(&self, node: NodeId) {
        self.inner.pulse.end(node);
    }

    /// Answers a message from another member: a frame whose kind [is our own](is_own_kind). The error is for the log, and to be told to
    /// the sender as a refusal.
    pub async fn handle(&self, kind: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
        let raft = &self.inner.raft;
        match kind {
            PRE_VOTE => {
                let question: PreVote = decode(payload)?;
                let now = raft.metrics().borrow().clone();
                let Inner { log, pulse, config, .. } = &*self.inner;
                encode(&election::approves(&question, &now, log, pulse, config))
            }
            VOTE => {
                let request: openraft::raft::VoteRequest<NodeId> = decode(payload)?;
                let known = raft.metrics().borrow().vote;
                let silence = Duration::from_millis(self.inner.config.election_min_ms);
                let is_good = request.vote > known && request.last_log_id >= self.inner.log.last();
                if is_good && known.is_committed() && self.inner.pulse.is_to_stand(silence) {
                    // The library would refuse for a while yet: see [`election`].
                    raft.trigger().elect().await.map_err(io::Error::other)?;
                }
                let answer = raft.vote(request).await.map_err(io::Error::other)?;
                if answer.vote_granted {
                    self.inner.pulse.vote();
                }
                encode(&answer)
            }
            APPEND => {
                let request: openraft::raft::AppendEntriesRequest<Types> = decode(payload)?;
                self.note_message(&request.vote);
                let answer = raft.append_entries(request).await.map_err(io::Error::other)?;
                if !matches!(answer, openraft::raft::AppendEntriesResponse::HigherVote(_)) {
                    self.inner.pulse.refresh();
                }
                encode(&answer)
            }
            SNAPSHOT => {
                let Install { vote, meta, data } = decode(payload)?;
                self.note_message(&vote);
                // What cannot be read would stop the whole group on this node.
                wire::decode_metadata(&data)?;
                let snapshot = Snapshot { meta, snapshot: Box::new(data) };
                let answer = raft.install_full_snapshot(vote, snapshot).await.map_err(io::Error::other)?;
                if answer.vote == vote {
                    self.inner.pulse.refresh();
                }
                encode(&answer)
            }
            kind => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("kind {kind} is unknown"))),
        }
    }

    /// A leader of `vote` has sent something. To be noted before it is dealt with, for a slow disk may hold that up.
    fn note_message(&self, vote: &openraft::Vote<NodeId>) {
        if *vote >= self.inner.raft.metrics().borrow().vote {
            self.inner.pulse.beat(vote.leader_id().voted_for());
        }
    }

    /// Stops taking part and closes the file. Other handles get errors from then on.
    pub async fn shutdown(&self) {
        self.inner.watchman.abort();
        // An error means that it had stopped by a panic.
        let _ = self.inner.raft.shutdown().await;
        self.inner.disk.stop().await;
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.inner.config.propose_ms)
    }

    /// What the group knows of a member.
    fn node(&self, node: NodeId) -> Option<BasicNode> {
        let now = self.inner.raft.metrics().borrow().membership_config.clone();
        now.membership().get_node(&node).cloned()
    }

    async fn change(&self, change: ChangeMembers<NodeId, BasicNode>) -> Result<(), ProposeError> {
        let _one = self.inner.changing.lock().await;
        match timeout(self.patience(), self.inner.raft.change_membership(change, true)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(ProposeError::Unknown("no answer in time".into())),
        }
    }
}

fn refusal(error: RaftError<NodeId, ClientWriteError<NodeId, BasicNode>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
            ProposeError::NotLeader { leader: to.leader_id }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            ProposeError::Refused(error.to_string())
        }
        RaftError::Fatal(fatal) => ProposeError::Stopped(fatal.to_string()),
    }
}

/// The library's settings. Its own elections are off. Its lease, within which a voter refuses another candidate, is as long as it waits
/// for votes: see [`election`].
fn settings(config: &Config) -> Result<openraft::Config, StoreError> {
    if config.election_min_ms <= 2 * config.heartbeat_ms
        || election::VOTES_MS <= config.heartbeat_ms + 1
        || config.election_max_ms < config.election_min_ms
    {
        return Err(StoreError::Config(format!(
            "a heartbeat of {} ms does not fit elections after {} to {} ms",
            config.heartbeat_ms, config.election_min_ms, config.election_max_ms
        )));
    }
    let settings = openraft::Config {
        cluster_name: "shoal".into(),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min: election::VOTES_MS - 1,
        election_timeout_max: election::VOTES_MS,
        enable_elect: false,
        install_snapshot_timeout: config.propose_ms,
        max_payload_entries: 64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_after.max(1)),
        replication_lag_threshold: config.snapshot_after.max(1) * 2,
        max_in_snapshot_log_to_keep: config.snapshot_after,
        ..openraft::Config::default()
    };
    settings.validate().map_err(|error| StoreError::Config(error.to_string()))
}
