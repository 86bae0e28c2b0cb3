//! A node's membership: the thread that speaks of the cluster with the other nodes.
//!
//! It carries out what others decide: sockets, files and timers are here, and as few decisions as can be. What a leader wants is
//! `cluster/lead.rs`, what a node does about its partitions and their copies is `state/copies.rs`; the entries themselves go through
//! the feeds of `state/replication.rs`. It is a thread of its own so that no command, however long, lets a lease run out.
//!
//! A node listens for others from its start. It founds a cluster when the first of them joins.

mod joining;
mod news;

use super::feeder;
use super::listeners::{self, Unavailable};
use super::mesh::{Incoming, Mesh};
use super::peer;
use crate::cluster::consensus::{self, Consensus, Owner, StoreError};
use crate::cluster::joining::address_of;
use crate::cluster::lead::{Asker, Leader, choose_voters};
use crate::cluster::link::{Frame, Identity, Limits, Link, Sender, VERSIONS};
use crate::cluster::metadata::{Change, Member, Metadata, NodeId, Outcome, Standing};
use crate::config::id;
use crate::error::Error;
use crate::state::State;
use crate::state::copies::{self, Action, Copies, Pace, Position, Reason};
use crate::state::replication::Feed;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::spawn_local;
use tokio::time::{interval, sleep, timeout};

/// The kinds of frames on control links, besides those of the Raft group.
mod kind {
    /// Asks for the cluster's name; founds the cluster if there is none.
    pub const PREPARE: u8 = 0x10;
    /// Asks to be a member.
    pub const JOIN: u8 = 0x11;
    /// Asks for a lease.
    pub const LEASE: u8 = 0x12;
    /// Asks the leader for a change.
    pub const PROPOSE: u8 = 0x13;
    /// Asks what a replica has.
    pub const POSITIONS: u8 = 0x14;
}

/// How often a lease is asked for.
const BEAT: Duration = Duration::from_millis(75);
/// How often a leader looks at its members.
const LOOK: Duration = Duration::from_millis(25);
/// How often a primary looks after its replicas, when nothing else makes it.
const CARE: Duration = Duration::from_millis(2);
/// And how often when nothing is under way.
const IDLE: Duration = Duration::from_millis(100);
/// How long an answer is awaited.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a replica may take to say what it has.
const POSITION: Duration = Duration::from_millis(500);
/// How long a node that is stopped may take to hand over.
const LEAVE: Duration = Duration::from_secs(2);
/// And how long it tries to have it agreed on that it goes.
const GOODBYE: Duration = Duration::from_secs(2);

/// Work for a worker.
pub(super) enum Job {
    /// A peer has connected.
    Serve(std::net::TcpStream),
    /// A feed is to be sent.
    Feed(Arc<Feed>),
}

/// Why a member cannot do what it is asked to.
type Failure = Box<dyn std::error::Error>;

/// What a node says of itself before it speaks of the cluster.
pub(super) struct Setup {
    listeners: Vec<std::net::TcpListener>,
    port: u16,
    join: Vec<String>,
    dir: PathBuf,
    owner: Option<Owner>,
    node: NodeId,
}

/// Listens for other nodes, as far as `config` wants that.
pub(super) fn set_up(state: &State) -> Result<Setup, Error> {
    let config = &state.config;
    let dir = PathBuf::from(&*config.text(id::DIR));
    let join: Vec<String> = config.text(id::JOIN).split_whitespace().map(String::from).collect();
    // Whose it is must be known: one that belongs to a cluster must not serve as if it was alone.
    let owner = consensus::owner(&dir).map_err(|error| match error {
        StoreError::File { path, source } => Error::Read { path, source },
        error => Error::Failed(error.to_string()),
    })?;
    let is_wanted = config.int(id::CLUSTER_PORT) != 0 || !join.is_empty() || owner.is_some();
    let port = config.cluster_port();
    let listeners = match port.map(|port| listeners::open_all(config, (id::CLUSTER_PORT, port), 1, &[])) {
        Some(Ok((_, mut sockets))) => sockets.pop().unwrap_or_default(),
        Some(Err(unavailable)) if is_wanted => return Err(unavailable.into()),
        None if is_wanted => {
            return Err(Error::Conflict(
                "cluster-port must be set: it is port + 10000 otherwise, and there is no such port".into(),
            ));
        }
        // Others cannot join this node, which need not be wanted.
        Some(Err(Unavailable { directive, address, source })) => {
            tracing::warn!(
                "no other node can join this one: {directive}: cannot listen on {address}: {source}"
            );
            Vec::new()
        }
        None => Vec::new(),
    };
    let port = listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |addr| addr.port());
    let node = owner.map_or_else(|| fastrand::u64(1..), |owner| owner.node);
    if owner.is_some() || !join.is_empty() {
        // Before the first client: none may take this node for one that is alone.
        state.cluster.turn_on(node);
    }
    Ok(Setup { listeners, port, join, dir, owner, node })
}

/// Runs a node's membership until the node stops. `ports` are those of RESP and the memcached protocol.
pub(super) fn run(state: &Arc<State>, setup: Setup, ports: (u16, u16), jobs: Vec<UnboundedSender<Job>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let local = tokio::task::LocalSet::new();
    let thread = jobs.len() + 1;
    local.block_on(&runtime, async {
        let own = Rc::new(This::new(Arc::clone(state), &setup, ports, jobs));
        let body = Rc::clone(&own).live(setup);
        tokio::select! {
            () = body => {}
            () = std::future::poll_fn(|task| state.poll_leave(task)) => {
                own.leave().await;
                state.stop();
            }
            () = std::future::poll_fn(|task| state.poll_stop(thread, task)) => {}
        }
        let consensus = own.consensus.borrow_mut().take();
        if let Some(consensus) = consensus {
            let _ = timeout(Duration::from_secs(1), consensus.shutdown()).await;
        }
    });
}

/// This node, as the cluster's thread sees it.
struct This {
    state: Arc<State>,
    jobs: Vec<UnboundedSender<Job>>,
    dir: PathBuf,
    me: RefCell<Member>,
    secret: Vec<u8>,
    mesh: Mesh,
    incoming: RefCell<Option<UnboundedReceiver<Incoming>>>,
    consensus: RefCell<Option<Consensus>>,
    /// What it does where it leads.
    leader: RefCell<Leader>,
    /// What it does about its partitions and their copies.
    copies: RefCell<Copies>,
    /// Whether it says goodbye: it asks for no lease any more and follows no map.
    is_leaving: Cell<bool>,
    next_worker: Cell<usize>,
    founding: tokio::sync::Mutex<()>,
}

impl This {
    fn new(state: Arc<State>, setup: &Setup, ports: (u16, u16), jobs: Vec<UnboundedSender<Job>>) -> This {
        let (mesh, incoming) = Mesh::new(Arc::clone(&state));
        let config = &state.config;
        let me = Member {
            id: setup.node,
            incarnation: fastrand::u64(1..),
            host: config.text(id::CLUSTER_ANNOUNCE_IP).to_string(),
            port: ports.0,
            memcached_port: ports.1,
            cluster_port: setup.port,
            zone: config.text(id::AVAILABILITY_ZONE).to_string(),
            witness: config.flag(id::WITNESS),
            standing: Standing::Up,
        };
        let copies = Copies::new(me.id, me.incarnation, Pace::default());
        let secret = config.text(id::CLUSTER_SECRET).as_bytes().to_vec();
        This {
            jobs,
            dir: setup.dir.clone(),
            me: RefCell::new(me),
            secret,
            mesh,
            incoming: RefCell::new(Some(incoming)),
            consensus: RefCell::default(),
            leader: RefCell::default(),
            copies: RefCell::new(copies),
            is_leaving: Cell::new(false),
            next_worker: Cell::new(0),
            founding: tokio::sync::Mutex::default(),
            state,
        }
    }

    /// Hands over what this node serves, and says that it goes: nobody has to find out.
    async fn leave(&self) {
        let _ = timeout(LEAVE, self.hand_over()).await;
        // It is not to be taken back, and takes nothing over any more.
        self.is_leaving.set(true);
        // Others are about to serve what could not be handed over in time.
        if self.copies.borrow().leads_any(&self.state.cluster.map()) {
            self.state.cluster.end_lease();
        }
        match timeout(GOODBYE, self.propose(Change::Down(self.id()))).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!("the others have to find out that this node goes: {error}"),
            Err(_) => tracing::debug!("the others may have to find out that this node goes"),
        }
        // What a leader has committed others learn by what it says next.
        if let Some(consensus) = self.consensus()
            && consensus.confirm_quorum().await.is_ok()
        {
            sleep(CARE).await;
        }
    }

    async fn hand_over(&self) {
        let mut asked = false;
        loop {
            let map = self.state.cluster.map();
            let Some(left) = self.copies.borrow().hand_over_all(&map) else { return };
            if !asked {
                asked = self.propose(left).await.is_ok();
            }
            let newer = std::future::poll_fn(|task| self.state.cluster.poll_newer(map.version, task));
            let _ = timeout(CARE, newer).await;
        }
    }

    async fn live(self: Rc<Self>, setup: Setup) {
        self.identify(setup.owner.map_or(0, |owner| owner.cluster));
        if let Some(mut incoming) = self.incoming.borrow_mut().take() {
            let this = Rc::clone(&self);
            spawn_local(async move {
                while let Some(came) = incoming.recv().await {
                    let this = Rc::clone(&this);
                    // In tasks of their own, which begin in this order: what a node sent before it ended is no sign of life.
                    match came {
                        Incoming::Asked(sender, frame) => drop(spawn_local(this.answer(sender, frame))),
                        Incoming::Gone(node) => drop(spawn_local(async move {
                            if let Some(consensus) = this.consensus() {
                                consensus.note_gone(node);
                            }
                        })),
                    }
                }
            });
        }
        for listener in setup.listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(spawn_local(Rc::clone(&self).listen(listener))),
                Err(error) => tracing::error!(%error, "cannot listen for other nodes"),
            }
        }
        if let Some(owner) = setup.owner {
            if let Err(error) = self.open(owner).await {
                return self.state.fail(format!("cannot go on as a member of the cluster: {error}"));
            }
            // Whoever knows this node is told of its new process.
            spawn_local(Rc::clone(&self).tell());
        } else if !setup.join.is_empty() {
            self.join(&setup.join).await;
        }
        std::future::pending::<()>().await;
    }

    fn id(&self) -> NodeId {
        self.me.borrow().id
    }

    fn now_ns(&self) -> u64 {
        self.state.cluster.now_ns()
    }

    fn consensus(&self) -> Option<Consensus> {
        self.consensus.borrow().clone()
    }

    fn map(&self) -> Arc<Metadata> {
        self.consensus()
            .map_or_else(|| self.state.cluster.map(), |consensus| consensus.metadata().borrow().clone())
    }

    fn identify(&self, cluster: u64) {
        let me = self.me.borrow();
        let secret = self.secret.clone();
        let identity =
            Identity { cluster, node: me.id, incarnation: me.incarnation, secret, versions: VERSIONS };
        self.state.cluster.identify(identity);
    }

    // Peers.

    async fn listen(self: Rc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => drop(spawn_local(Rc::clone(&self).meet(stream, from))),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a link");
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// Finds out what a peer has connected for.
    async fn meet(self: Rc<Self>, mut stream: TcpStream, from: SocketAddr) {
        if self.secret.is_empty() && !from.ip().to_canonical().is_loopback() {
            return tracing::warn!(
                "refused a link from {from}: without a cluster-secret only nodes of this machine are let in"
            );
        }
        let Ok(Ok(purpose)) = timeout(peer::HANDSHAKE, stream.read_u8()).await else { return };
        match purpose {
            b'D' => {
                let Ok(stream) = stream.into_std() else { return };
                self.hand_out(Job::Serve(stream));
            }
            b'C' => {
                let Some(identity) = self.state.cluster.identity() else { return };
                let local = stream.local_addr().ok();
                match Link::accept(stream, &identity, Limits::default(), peer::HANDSHAKE).await {
                    Ok(link) => {
                        // The address by which the first peer found this node is a good one for all.
                        if let Some(local) = local.filter(|_| self.me.borrow().host.is_empty()) {
                            self.me.borrow_mut().host = local.ip().to_canonical().to_string();
                        }
                        let node = link.peer().node;
                        tracing::debug!("node {node:016x} at {from} has connected");
                        tokio::spawn(self.mesh.clone().carry(link));
                    }
                    Err(error) => tracing::warn!("refused a link from {from}: {error}"),
                }
            }
            other => tracing::warn!("refused a link from {from}, which begins with byte {other:#04x}"),
        }
    }

    /// Gives work to the workers in turn.
    fn hand_out(&self, job: Job) {
        let next = self.next_worker.get();
        self.next_worker.set(next + 1);
        let _ = self.jobs[next % self.jobs.len()].send(job);
    }

    async fn answer(self: Rc<Self>, sender: Sender, frame: Frame) {
        let (id, payload) = (frame.id, frame.payload);
        let answer: Result<Vec<u8>, Failure> = match frame.kind {
            kind if consensus::is_own_kind(kind) => match self.consensus() {
                Some(consensus) => consensus.handle(kind, &payload).await.map_err(Into::into),
                None => Err("not a member".into()),
            },
            kind::PREPARE => self.found().await.and_then(|cluster| encode(&cluster)),
            kind::JOIN => match decode::<(Member, u64)>(&payload) {
                Ok((member, replaces)) => self.admit(member, replaces).await,
                Err(error) => Err(error),
            },
            kind::LEASE => self.grant(&payload),
            kind::PROPOSE => match decode::<Change>(&payload) {
                Ok(change) => self.propose_here(change).await.and_then(|outcome| encode(&outcome)),
                Err(error) => Err(error),
            },
            kind::POSITIONS => self.positions(&payload).await,
            _ => Err("unknown kind of request".into()),
        };
        match answer {
            Ok(bytes) => sender.reply(id, &bytes),
            Err(why) => sender.refuse(id, &why.to_string()),
        }
    }

    /// Has the leader answer, or this node if it leads.
    async fn ask_leader(&self, kind: u8, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let consensus = self.consensus().ok_or("not a member")?;
        let leader = consensus.status().borrow().leader.ok_or("no leader is known")?;
        self.ask(leader, kind, payload).await
    }

    /// Has another member answer.
    async fn ask(&self, node: NodeId, kind: u8, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let address = address_of(&self.map(), node).ok_or("its address is unknown")?;
        Ok(self.mesh.ask(&address, Some(node), kind, payload).await?)
    }

    // Taking part.

    async fn open_store(&self, owner: Owner) -> Result<Consensus, Failure> {
        let config = consensus::Config::default();
        Ok(Consensus::open(&self.dir, owner, config, self.mesh.clone()).await?)
    }

    /// Takes part in the group from now on.
    async fn open(self: &Rc<Self>, owner: Owner) -> Result<(), Failure> {
        let consensus = self.open_store(owner).await?;
        self.begin(consensus);
        Ok(())
    }

    fn begin(self: &Rc<Self>, consensus: Consensus) {
        *self.consensus.borrow_mut() = Some(consensus);
        spawn_local(Rc::clone(self).follow());
        spawn_local(Rc::clone(self).beat());
        spawn_local(Rc::clone(self).lead());
        spawn_local(Rc::clone(self).care());
        spawn_local(Rc::clone(self).ask_for_clients());
        spawn_local(Rc::clone(self).fulfil());
    }

    /// Proposes what clients ask for, one after the other: their order is that of what they hear.
    async fn ask_for_clients(self: Rc<Self>) {
        loop {
            let asked = std::future::poll_fn(|task| self.state.cluster.poll_asked(task)).await;
            for asked in asked {
                // Those behind it have been waiting as well.
                let until_ns = asked.since_ns + PATIENCE.as_nanos() as u64;
                // While there is no leader nothing can be said to anyone; a setting that is set twice is set once.
                let outcome = loop {
                    let left = Duration::from_nanos(until_ns.saturating_sub(self.now_ns())).max(BEAT);
                    match timeout(left, self.propose(asked.change.clone())).await {
                        Ok(Ok(outcome)) => break Some(outcome),
                        _ if self.now_ns() > until_ns => break None,
                        _ => sleep(BEAT).await,
                    }
                };
                asked.answer(outcome);
            }
        }
    }

    /// Has the changes made that administrators ask for.
    async fn fulfil(self: Rc<Self>) {
        loop {
            let wish = std::future::poll_fn(|task| self.state.cluster.poll_wish(task)).await;
            let this = Rc::clone(&self);
            spawn_local(async move {
                let until_ns = this.now_ns() + PATIENCE.as_nanos() as u64;
                loop {
                    match this.propose(wish.change.clone()).await {
                        // Another leader may be on its way.
                        Err(_) if this.now_ns() < until_ns => sleep(BEAT).await,
                        outcome => break (wish.done)(outcome.map_err(|error| error.to_string())),
                    }
                }
            });
        }
    }

    // Leases.

    /// Asks for leases.
    async fn beat(self: Rc<Self>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let Some(consensus) = self.consensus() else { continue };
            if self.is_leaving.get() {
                return;
            }
            let (node, incarnation) = (self.id(), self.me.borrow().incarnation);
            let version = self.state.cluster.version();
            let asked_ns = self.now_ns();
            let leader = consensus.status().borrow().leader;
            self.state.cluster.note_leader(leader);
            let Ok(payload) = encode(&Asker { node, incarnation, version }) else { continue };
            let granted = if leader == Some(node) {
                self.grant(&payload)
            } else {
                let asking = self.ask_leader(kind::LEASE, &payload);
                timeout(BEAT * 3, asking).await.unwrap_or_else(|_| Err("the leader does not answer".into()))
            };
            match granted.and_then(|bytes| decode::<u64>(&bytes)) {
                Ok(left_ns) if !self.is_leaving.get() => {
                    self.state.cluster.extend_lease(asked_ns + left_ns);
                    self.state.cluster.wake();
                }
                Ok(_) => {}
                Err(why) => self.state.cluster.contact.refused(why.to_string()),
            }
        }
    }

    /// Grants a lease, if this node leads.
    fn grant(&self, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let (asker, now_ns) = (decode(payload)?, self.now_ns());
        encode(&self.leader.borrow_mut().grant(&self.map(), asker, now_ns)?)
    }

    // Leading.

    async fn lead(self: Rc<Self>) {
        let Some(consensus) = self.consensus() else { return };
        let mut statuses = consensus.status();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut led = 0;
        loop {
            // It counts from when it knows that it leads what others may still believe that they are granted.
            let is_new =
                |status: &consensus::Status| status.role == consensus::Role::Leader && status.term != led;
            tokio::select! {
                _ = look.tick() => {}
                Ok(_) = statuses.wait_for(is_new) => {}
            }
            let status = statuses.borrow().clone();
            if status.role == consensus::Role::Stopped {
                let why = status.failure.unwrap_or_else(|| "its metadata are kept no more".into());
                let file = consensus::file_in(&self.dir);
                return self.state.fail(format!(
                    "cannot go on as a member of the cluster (its file: {}): {why}",
                    file.display()
                ));
            }
            let (role, term) = (status.role, status.term);
            if role != consensus::Role::Leader {
                self.leader.borrow_mut().resign();
                continue;
            }
            led = term;
            self.leader.borrow_mut().lead(term);
            let asked_ns = self.now_ns();
            if self.leader.borrow().is_to_prove(asked_ns) {
                if consensus.confirm_quorum().await.is_err() {
                    continue;
                }
                // It may have lost an election and won another meanwhile.
                let term = consensus.status().borrow().term;
                self.leader.borrow_mut().proved(term, asked_ns, &self.map(), self.now_ns());
            }
            self.look_after_members(&consensus).await;
        }
    }

    async fn look_after_members(&self, consensus: &Consensus) {
        let map = consensus.metadata().borrow().clone();
        let changes = self.leader.borrow_mut().wants(&map, self.now_ns());
        for change in &changes {
            match change {
                Change::Down(node) => {
                    tracing::warn!("node {} is silent and serves no more", map.name(*node));
                }
                Change::Up { node, .. } => tracing::info!("node {} is back", map.name(*node)),
                Change::Leave(node) => {
                    tracing::info!("node {} is gone for good: another one has its address", map.name(*node));
                }
                _ => {}
            }
        }
        if !changes.is_empty()
            && let Err(error) = self.propose_here(Change::Several(changes)).await
        {
            return tracing::debug!("a change was not made: {error}");
        }
        let status = consensus.status().borrow().clone();
        let now_ns = self.now_ns();
        let voters = choose_voters(&map, &status.voters, &status.learners, |node| {
            self.leader.borrow().has_heard_of(node, now_ns)
        });
        let Some(voters) = voters else { return };
        let count = voters.len();
        match consensus.set_voters(voters).await {
            Ok(()) => tracing::info!("{count} members vote"),
            Err(error) => tracing::debug!("the voters were not changed: {error}"),
        }
    }

    async fn propose_here(&self, change: Change) -> Result<Outcome, Failure> {
        let consensus = self.consensus().ok_or("not a member")?;
        let gone = match &change {
            Change::Leave(node) => Some(*node),
            Change::Several(changes) => match changes.last() {
                Some(Change::Leave(node)) => Some(*node),
                _ => None,
            },
            _ => None,
        };
        let outcome = consensus.propose(change).await?;
        let is_gone = |node: &NodeId| !consensus.metadata().borrow().members.contains_key(node);
        if let Some(node) = gone.filter(is_gone) {
            consensus.remove(node).await?;
        }
        Ok(outcome)
    }

    /// Has the leader make a change.
    async fn propose(&self, change: Change) -> Result<Outcome, Failure> {
        match self.propose_here(change.clone()).await {
            Ok(outcome) => Ok(outcome),
            Err(_) => decode(&self.ask_leader(kind::PROPOSE, &encode(&change)?).await?),
        }
    }

    // Following.

    /// Gives partitions the roles that the map says, whenever it changes.
    async fn follow(self: Rc<Self>) {
        let Some(consensus) = self.consensus() else { return };
        let mut metadata = consensus.metadata();
        loop {
            let map = metadata.borrow_and_update().clone();
            // Before the cluster knows of this process, what the map says of this node is about one that is no more.
            let incarnation = self.me.borrow().incarnation;
            if self.is_leaving.get() {
                return;
            }
            if map.members.get(&self.id()).is_some_and(|me| me.incarnation == incarnation) {
                news::tell(&self.state.cluster.map(), &map);
                let actions = self.copies.borrow_mut().adopt(&self.state, map, self.now_ns());
                self.carry_out(actions);
            }
            if metadata.changed().await.is_err() {
                return;
            }
        }
    }

    // Being a primary.

    /// Looks after the replicas of the partitions that this node serves.
    async fn care(self: Rc<Self>) {
        let Some(consensus) = self.consensus() else { return };
        let mut status = consensus.status();
        let (mut seen, mut leader) = (0, None);
        loop {
            let cluster = &self.state.cluster;
            let is_busy = self.copies.borrow().is_busy(&cluster.map());
            let news = std::future::poll_fn(|task| match cluster.poll_broken(task) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => cluster.poll_newer(seen, task),
            });
            tokio::select! {
                () = news => {}
                // What was to be changed could not be, and is asked for again.
                Ok(_) = status.wait_for(|status| status.leader.is_some() && status.leader != leader) => {}
                () = sleep(if is_busy { CARE } else { IDLE }) => {}
            }
            seen = cluster.version();
            leader = status.borrow().leader.or(leader);
            let actions = self.copies.borrow_mut().look(&self.state, self.now_ns());
            self.carry_out(actions);
        }
    }

    fn carry_out(self: &Rc<Self>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(feed) => self.hand_out(Job::Feed(feed)),
                Action::Propose(reason, change) => {
                    drop(spawn_local(Rc::clone(self).propose_for(reason, change)));
                }
                Action::AskPositions { node, partitions } => {
                    drop(spawn_local(Rc::clone(self).ask_positions(node, partitions)));
                }
            }
        }
    }

    async fn propose_for(self: Rc<Self>, reason: Reason, change: Change) {
        // Its own end breaks its feeds: the copies they lead to are what is left of what it served, and must not be cut off for that.
        if self.state.is_stopping() {
            return;
        }
        let outcome = self.propose(change.clone()).await;
        if let Err(error) = &outcome {
            tracing::debug!("a change was not made: {error}");
        }
        if let (Change::Cut { replica, .. }, Ok(outcome)) = (&change, &outcome) {
            let name = self.map().name(*replica);
            match outcome {
                Outcome::Refused(why) => tracing::warn!("node {name} cannot be cut off: {why:?}"),
                _ => tracing::warn!("node {name} is cut off, as it does not follow"),
            }
        }
        let actions = self.copies.borrow_mut().proposed(reason, &change, outcome.ok());
        self.carry_out(actions);
    }

    async fn ask_positions(self: Rc<Self>, node: NodeId, partitions: Vec<(u8, u64)>) {
        let told = self.told_positions(node, &partitions).await;
        if let Err(error) = &told {
            tracing::debug!("node {} does not say what it has: {error}", self.map().name(node));
        }
        let (told, now_ns) = (told.ok(), self.now_ns());
        let mut copies = self.copies.borrow_mut();
        let actions = copies.told_positions(&self.state, (node, &partitions), told.as_deref(), now_ns);
        drop(copies);
        self.carry_out(actions);
    }

    async fn told_positions(&self, node: NodeId, asked: &[(u8, u64)]) -> Result<Vec<Position>, Failure> {
        let answer = timeout(POSITION, self.ask(node, kind::POSITIONS, &encode(&asked)?)).await??;
        decode(&answer)
    }

    /// What this node has as a replica, once it has the map by which that is asked.
    async fn positions(&self, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let asked: Vec<(u8, u64)> = decode(payload)?;
        let cluster = &self.state.cluster;
        // Whoever asks gives up later.
        let until_ns = self.now_ns() + POSITION.as_nanos() as u64 / 2;
        loop {
            let seen = cluster.version();
            let positions =
                asked.iter().map(|(number, epoch)| copies::positions(&self.state, *number, *epoch));
            match positions.collect::<Result<Vec<Position>, _>>() {
                Ok(positions) => return encode(&positions),
                Err(why) if self.now_ns() > until_ns => return Err(why.into()),
                Err(_) => {}
            }
            let newer = std::future::poll_fn(|task| cluster.poll_newer(seen, task));
            let _ = timeout(BEAT, newer).await;
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    Ok(postcard::to_stdvec(value)?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    Ok(postcard::from_bytes(bytes)?)
}

/// Does what the cluster's thread asks of `worker`, for ever.
pub(super) async fn work(worker: Rc<crate::worker::Worker>, mut jobs: UnboundedReceiver<Job>) {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Serve(stream) => drop(spawn_local(peer::serve(Rc::clone(&worker), stream))),
            Job::Feed(feed) => drop(spawn_local(feeder::run(Rc::clone(&worker), feed))),
        }
    }
}
