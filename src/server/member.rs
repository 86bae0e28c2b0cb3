//! A node's membership: the thread that speaks of the cluster with the other nodes.
//!
//! It takes part in the Raft group, asks for leases (and grants them, where it leads), gives partitions the roles the map says, and
//! does what a primary owes its replicas. It is a thread of its own so that no command, however long, lets a lease run out. What
//! decides is pure (`cluster/{metadata,plan,lease}.rs`); the entries themselves go through the feeds of `state/replication.rs`.
//!
//! A node listens for others from its start. It founds a cluster when the first of them joins.

use super::peer::{self, Purpose};
use super::{feeder, listeners};
use crate::cluster::consensus::{self, Consensus, Owner, ProposeError};
use crate::cluster::lease::Leases;
use crate::cluster::link::{Frame, Identity, Limits, Link, Sender, VERSIONS};
use crate::cluster::metadata::{Assignment, Change, Member, Metadata, NodeId, Outcome, Standing};
use crate::cluster::plan::plan;
use crate::config::id;
use crate::error::Error;
use crate::state::State;
use crate::state::replication::{Feed, Replication, Role};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
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

/// How often a lease is asked for, and a leader proves that it leads.
const BEAT: Duration = Duration::from_millis(75);
/// How often a leader looks at its members.
const LOOK: Duration = Duration::from_millis(50);
/// How often a primary looks after its replicas, when nothing else makes it.
const CARE: Duration = Duration::from_millis(10);
/// And how often when nothing is under way.
const IDLE: Duration = Duration::from_millis(100);
/// How long an answer is awaited.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a member is silent before what only it had is given up.
const LOST: Duration = Duration::from_secs(30);
/// A replica that acknowledges nothing for so long, while something is under way, is cut off.
const STUCK: Duration = Duration::from_millis(1500);
/// How long a node that is stopped may take to hand over.
const LEAVE: Duration = Duration::from_secs(2);
/// Bytes of a snapshot in one record.
const PART: usize = 256 << 10;
/// No further snapshot is begun while a feed has so many bytes before it.
const CROWDED: usize = 16 << 20;
/// Voters a cluster has at most.
const VOTERS: usize = 5;

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
}

/// Listens for other nodes, as far as `config` wants that.
pub(super) fn set_up(state: &State, client_port: u16) -> Result<Setup, Error> {
    let config = &state.config;
    let dir = PathBuf::from(&*config.text(id::DIR));
    let join: Vec<String> = config.text(id::JOIN).split_whitespace().map(String::from).collect();
    let owner = consensus::owner(&dir).unwrap_or_default();
    let told = config.int(id::CLUSTER_PORT) as u16;
    let port = if told != 0 { Some(told) } else { client_port.checked_add(10000) };
    let is_wanted = told != 0 || !join.is_empty() || owner.is_some();
    let listeners = match port.map(|port| listeners::open_all(config, port, 1, &[])) {
        Some(Ok((_, mut sockets))) => sockets.pop().unwrap_or_default(),
        Some(Err(unavailable)) if is_wanted => return Err(unavailable.into()),
        None if is_wanted => {
            let address = format!("port {client_port} + 10000");
            return Err(Error::Listen { address, source: io::ErrorKind::InvalidInput.into() });
        }
        // Others cannot join this node, which need not be wanted.
        Some(Err(_)) | None => Vec::new(),
    };
    let port = listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |addr| addr.port());
    Ok(Setup { listeners, port, join, dir, owner })
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

/// Links by which nodes speak of the cluster.
#[derive(Clone)]
struct Mesh {
    state: Arc<State>,
    links: Arc<Mutex<HashMap<String, Sender>>>,
    incoming: UnboundedSender<(Sender, Frame)>,
}

impl Mesh {
    /// The link to the node that listens at `address`.
    async fn link(&self, address: &str) -> io::Result<Sender> {
        if let Some(sender) = self.links.lock().get(address).filter(|sender| sender.closed().is_none()) {
            return Ok(sender.clone());
        }
        let identity = self.state.cluster.identity().ok_or(io::ErrorKind::NotConnected)?;
        let connected = timeout(peer::HANDSHAKE, peer::connect(address, Purpose::Control, &identity));
        let link = connected.await?.map_err(|error| io::Error::other(error.to_string()))?;
        let sender = link.sender();
        tokio::spawn(carry(link, self.incoming.clone()));
        self.links.lock().insert(address.to_string(), sender.clone());
        Ok(sender)
    }

    async fn ask(&self, address: &str, kind: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
        let sender = self.link(address).await?;
        let answer = timeout(PATIENCE, sender.request(kind, payload)).await?;
        answer.map(|bytes| bytes.to_vec()).map_err(|error| io::Error::other(error.to_string()))
    }
}

impl consensus::Transport for Mesh {
    async fn call(&self, _: NodeId, address: &str, kind: u8, payload: Vec<u8>) -> io::Result<Vec<u8>> {
        self.ask(address, kind, &payload).await
    }
}

async fn carry(link: Link, incoming: UnboundedSender<(Sender, Frame)>) {
    let node = link.peer().node;
    let end = link.run(move |sender, frame| drop(incoming.send((sender.clone(), frame)))).await;
    tracing::debug!("a link with node {node:016x} has ended: {end}");
}

#[derive(Serialize, Deserialize)]
struct LeaseRequest {
    node: NodeId,
    incarnation: u64,
}

/// What a replica has of a partition: the number of its last entry, if it is whole in that epoch.
type Positions = Vec<Option<u64>>;

/// This node, as the cluster's thread sees it.
struct This {
    state: Arc<State>,
    jobs: Vec<UnboundedSender<Job>>,
    dir: PathBuf,
    me: RefCell<Member>,
    secret: Vec<u8>,
    mesh: Mesh,
    incoming: RefCell<Option<UnboundedReceiver<(Sender, Frame)>>>,
    consensus: RefCell<Option<Consensus>>,
    /// Where this node leads: what it granted.
    leases: RefCell<Option<Leases>>,
    feeds: RefCell<BTreeMap<NodeId, Watched>>,
    /// Partitions that this node is to serve, and has to find out first what the replicas have; since when it tries.
    rising: RefCell<BTreeMap<u8, Rise>>,
    next_worker: Cell<usize>,
    founding: tokio::sync::Mutex<()>,
}

/// An attempt to become a primary.
struct Rise {
    epoch: u64,
    since_ns: u64,
    /// Whether the replicas are being asked.
    asks: bool,
}

/// A feed and when something arrived through it last.
struct Watched {
    feed: Arc<Feed>,
    acked: u64,
    since_ns: u64,
}

impl This {
    fn new(state: Arc<State>, setup: &Setup, ports: (u16, u16), jobs: Vec<UnboundedSender<Job>>) -> This {
        let (sender, incoming) = unbounded_channel();
        let mesh = Mesh { state: Arc::clone(&state), links: Arc::default(), incoming: sender };
        let config = &state.config;
        let me = Member {
            id: setup.owner.map_or_else(|| fastrand::u64(1..), |owner| owner.node),
            incarnation: fastrand::u64(1..),
            host: config.text(id::CLUSTER_ANNOUNCE_IP).to_string(),
            port: ports.0,
            memcached_port: ports.1,
            cluster_port: setup.port,
            zone: config.text(id::AVAILABILITY_ZONE).to_string(),
            witness: config.flag(id::WITNESS),
            standing: Standing::Up,
        };
        let secret = config.text(id::CLUSTER_SECRET).as_bytes().to_vec();
        This {
            jobs,
            dir: setup.dir.clone(),
            me: RefCell::new(me),
            secret,
            mesh,
            incoming: RefCell::new(Some(incoming)),
            consensus: RefCell::default(),
            leases: RefCell::default(),
            feeds: RefCell::default(),
            rising: RefCell::default(),
            next_worker: Cell::new(0),
            founding: tokio::sync::Mutex::default(),
            state,
        }
    }

    /// Hands over what this node serves, and says that it goes: nobody has to find out.
    async fn leave(&self) {
        let me = self.id();
        let until_ns = self.now_ns() + LEAVE.as_nanos() as u64;
        let mut asked = false;
        while self.now_ns() < until_ns {
            let map = self.state.cluster.map();
            let heir = |a: &Assignment| a.replicas().iter().copied().find(|node| map.serves(*node));
            let led = map.numbered().filter(|(_, a)| a.primary() == Some(me));
            let left: Vec<Change> = led
                .filter_map(|(partition, a)| {
                    Some(Change::HandOver { partition, epoch: a.epoch, to: Some(heir(a)?) })
                })
                .collect();
            if left.is_empty() {
                break;
            }
            if !asked {
                asked = self.propose(Change::Several(left)).await.is_ok();
            }
            let newer = std::future::poll_fn(|task| self.state.cluster.poll_newer(map.version, task));
            let _ = timeout(CARE, newer).await;
        }
        if let Err(error) = self.propose(Change::Down(me)).await {
            tracing::debug!("the others have to find out that this node goes: {error}");
        }
    }

    async fn live(self: Rc<Self>, setup: Setup) {
        self.identify(setup.owner.map_or(0, |owner| owner.cluster));
        if let Some(mut incoming) = self.incoming.borrow_mut().take() {
            let this = Rc::clone(&self);
            spawn_local(async move {
                while let Some((sender, frame)) = incoming.recv().await {
                    spawn_local(Rc::clone(&this).answer(sender, frame));
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
            self.state.cluster.turn_on(owner.node);
            if let Err(error) = self.open(owner).await {
                tracing::error!("cannot go on as a member of the cluster: {error}");
                return self.state.stop();
            }
            // Whoever knows this node is told of its new process.
            spawn_local(Rc::clone(&self).tell());
        } else if !setup.join.is_empty() {
            self.state.cluster.turn_on(self.id());
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
                        tokio::spawn(carry(link, self.mesh.incoming.clone()));
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
            kind::JOIN => match decode::<Member>(&payload) {
                Ok(member) => self.admit(member).await,
                Err(error) => Err(error),
            },
            kind::LEASE => self.grant(&payload),
            kind::PROPOSE => match decode::<Change>(&payload) {
                Ok(change) => self.propose_here(change).await.and_then(|outcome| encode(&outcome)),
                Err(error) => Err(error),
            },
            kind::POSITIONS => self.positions(&payload),
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
        let address = address_of(&self.map(), leader).ok_or("the leader's address is unknown")?;
        Ok(self.mesh.ask(&address, kind, payload).await?)
    }

    // Joining.

    /// The cluster's name. A node that is alone founds one.
    async fn found(self: &Rc<Self>) -> Result<u64, Failure> {
        let _alone = self.founding.lock().await;
        if let Some(identity) = self.state.cluster.identity().filter(|identity| identity.cluster != 0) {
            return Ok(identity.cluster);
        }
        if self.state.cluster.is_on() {
            return Err("this node is about to join a cluster itself".into());
        }
        let cluster = fastrand::u64(1..);
        let me = self.me.borrow().clone();
        let consensus = self.open_store(Owner { cluster, node: me.id }).await?;
        consensus.initialise(&format!("{}:{}", me.host, me.cluster_port)).await?;
        let copies = self.state.config.int(id::COPIES).max(1) as usize;
        let change = Change::Found { cluster, member: me.clone(), copies };
        let mut status = consensus.status();
        timeout(PATIENCE, status.wait_for(|status| status.leader == Some(me.id))).await??;
        consensus.propose(change).await?;
        self.identify(cluster);
        // It goes on serving everything: first the right to, then the roles.
        let lease_ns = crate::cluster::lease::LEASE_MS * 1_000_000;
        self.state.cluster.extend_lease(self.now_ns() + lease_ns);
        self.state.cluster.turn_on(me.id);
        self.begin(consensus);
        tracing::info!("founded cluster {cluster:016x} as node {:016x}", me.id);
        Ok(cluster)
    }

    /// Joins the cluster of any of `seeds`, trying again until one lets it in.
    async fn join(self: &Rc<Self>, seeds: &[String]) {
        let mut last = String::new();
        loop {
            for seed in seeds {
                for address in candidates(seed) {
                    match self.join_at(&address).await {
                        Ok(()) => return,
                        Err(error) => {
                            let line = format!("cannot join at {address}: {error}");
                            if line != last {
                                tracing::warn!("{line}");
                                last = line;
                            }
                        }
                    }
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn join_at(self: &Rc<Self>, address: &str) -> Result<(), Failure> {
        let cluster: u64 = decode(&self.mesh.ask(address, kind::PREPARE, &[]).await?)?;
        if self.me.borrow().host.is_empty() {
            // The address by which this node reaches the other is one by which it is reached.
            let probe = std::net::UdpSocket::bind("0.0.0.0:0")?;
            probe.connect(address)?;
            self.me.borrow_mut().host = probe.local_addr()?.ip().to_string();
        }
        let me = self.me.borrow().clone();
        if self.consensus().is_none() {
            self.open(Owner { cluster, node: me.id }).await?;
        }
        self.identify(cluster);
        self.mesh.ask(address, kind::JOIN, &encode(&me)?).await?;
        tracing::info!("joined cluster {cluster:016x} as node {:016x}", me.id);
        Ok(())
    }

    /// Tells the cluster, again and again until it hears, that this node runs in a new process.
    async fn tell(self: Rc<Self>) {
        loop {
            let host = self.map().members.get(&self.id()).map(|member| member.host.clone());
            if let Some(host) = host.filter(|_| self.me.borrow().host.is_empty()) {
                self.me.borrow_mut().host = host;
            }
            let me = self.me.borrow().clone();
            if let Ok(payload) = encode(&me)
                && self.ask_leader(kind::JOIN, &payload).await.is_ok()
            {
                return tracing::info!("back in the cluster as node {:016x}", me.id);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Makes `member` one of the cluster.
    async fn admit(&self, member: Member) -> Result<Vec<u8>, Failure> {
        let consensus = self.consensus().ok_or("not a member")?;
        let address = format!("{}:{}", member.host, member.cluster_port);
        match consensus.add_learner(member.id, &address).await {
            Ok(()) => {}
            Err(ProposeError::NotLeader { leader: Some(leader) }) if leader != self.id() => {
                let address = address_of(&self.map(), leader).ok_or("the leader's address is unknown")?;
                return Ok(self.mesh.ask(&address, kind::JOIN, &encode(&member)?).await?);
            }
            Err(error) => return Err(error.into()),
        }
        consensus.propose(Change::Join(member)).await?;
        Ok(Vec::new())
    }

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
    }

    // Leases.

    /// Asks for leases.
    async fn beat(self: Rc<Self>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let Some(consensus) = self.consensus() else { continue };
            let (node, incarnation) = (self.id(), self.me.borrow().incarnation);
            let asked_ns = self.now_ns();
            let leader = consensus.status().borrow().leader;
            let Ok(payload) = encode(&LeaseRequest { node, incarnation }) else { continue };
            let granted = if leader == Some(node) {
                self.grant(&payload)
            } else {
                match timeout(BEAT * 3, self.ask_leader(kind::LEASE, &payload)).await {
                    Ok(answer) => answer,
                    Err(_) => continue,
                }
            };
            if let Ok(left_ns) = granted.and_then(|bytes| decode::<u64>(&bytes)) {
                self.state.cluster.extend_lease(asked_ns + left_ns);
                self.state.cluster.wake();
            }
        }
    }

    /// Grants a lease, if this node leads.
    fn grant(&self, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let LeaseRequest { node, incarnation } = decode(payload)?;
        let now_ns = self.now_ns();
        let known = self.map().members.get(&node).map(|member| (member.incarnation, member.standing));
        let mut leases = self.leases.borrow_mut();
        let leases = leases.as_mut().ok_or("not the leader")?;
        match known {
            Some((known, _)) if known != incarnation => Err("another process".into()),
            None => Err("not a member".into()),
            // Heard of, so that it is taken back; but what it had is not its any more.
            Some((_, Standing::Down)) => {
                leases.grant(node, now_ns);
                Err("down".into())
            }
            Some(_) => encode(&leases.grant(node, now_ns).ok_or("not the leader any more")?),
        }
    }

    // Leading.

    async fn lead(self: Rc<Self>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut confirmed_ns = 0;
        loop {
            look.tick().await;
            let Some(consensus) = self.consensus() else { continue };
            if consensus.status().borrow().role != consensus::Role::Leader {
                *self.leases.borrow_mut() = None;
                continue;
            }
            let asked_ns = self.now_ns();
            if self.leases.borrow().is_none() || asked_ns - confirmed_ns >= BEAT.as_nanos() as u64 {
                if consensus.confirm_quorum().await.is_err() {
                    continue;
                }
                confirmed_ns = asked_ns;
                let now_ns = self.now_ns();
                self.leases.borrow_mut().get_or_insert_with(|| Leases::new(now_ns)).confirm(asked_ns);
            }
            self.look_after_members(&consensus).await;
        }
    }

    async fn look_after_members(&self, consensus: &Consensus) {
        let map = consensus.metadata().borrow().clone();
        if !map.is_founded() {
            return;
        }
        let now_ns = self.now_ns();
        let (mut changes, mut lost) = (Vec::new(), BTreeSet::new());
        if let Some(leases) = &*self.leases.borrow() {
            for (node, member) in &map.members {
                let over = leases.is_over(*node, now_ns);
                match member.standing {
                    Standing::Up | Standing::Draining if over => changes.push(Change::Down(*node)),
                    Standing::Down if !over && leases.silent_ns(*node, now_ns) < 200_000_000 => {
                        changes.push(Change::Up { node: *node, incarnation: member.incarnation });
                    }
                    Standing::Down if leases.silent_ns(*node, now_ns) > LOST.as_nanos() as u64 => {
                        lost.insert(*node);
                    }
                    _ => {}
                }
            }
        }
        if changes.is_empty() {
            changes = plan(&map, &lost);
        }
        if !changes.is_empty()
            && let Err(error) = consensus.propose(Change::Several(changes)).await
        {
            return tracing::debug!("a change was not made: {error}");
        }
        self.choose_voters(consensus, &map).await;
    }

    /// Has an odd number of members vote, living ones first.
    async fn choose_voters(&self, consensus: &Consensus, map: &Metadata) {
        let status = consensus.status().borrow().clone();
        let living = |node: &NodeId| map.members.get(node).is_some_and(|m| m.standing != Standing::Down);
        let most = map.members.len().min(VOTERS);
        let wanted = if most.is_multiple_of(2) { most - 1 } else { most }.max(1);
        let known = |node: &NodeId| status.voters.contains(node) || status.learners.contains(node);
        if status.voters.len() == wanted && status.voters.iter().all(living) {
            return;
        }
        let mut order: Vec<NodeId> = map.members.keys().copied().filter(known).collect();
        order.sort_by_key(|node| (!living(node), !status.voters.contains(node), *node));
        let voters: BTreeSet<NodeId> = order.into_iter().take(wanted).collect();
        if voters.len() == wanted && voters.iter().all(living) && voters != status.voters {
            match consensus.set_voters(voters).await {
                Ok(()) => tracing::info!("{wanted} members vote"),
                Err(error) => tracing::debug!("the voters were not changed: {error}"),
            }
        }
    }

    async fn propose_here(&self, change: Change) -> Result<Outcome, Failure> {
        let consensus = self.consensus().ok_or("not a member")?;
        Ok(consensus.propose(change).await?)
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
            if map.members.get(&self.id()).is_some_and(|me| me.incarnation == incarnation) {
                self.adopt(map);
            }
            if metadata.changed().await.is_err() {
                return;
            }
        }
    }

    fn adopt(&self, map: Arc<Metadata>) {
        let me = self.id();
        let mut was_deposed = false;
        for (number, assignment) in map.numbered() {
            let mut partition = self.state.keyspace.enter(number);
            let old = partition.replication.take();
            // Of what has stopped serving, and arrived, nobody waits for anything.
            let led = old.as_ref().is_some_and(|old| {
                old.role == Role::Primary || (old.role == Role::Falling && !old.has_all_arrived())
            });
            let mut own = old.unwrap_or_else(|| Box::new(Replication::new(Role::Stranger, 0)));
            if assignment.primary() == Some(me) {
                if own.epoch != assignment.epoch || own.role == Role::Stranger || own.role == Role::Replica {
                    let begins_anew = !own.is_whole && own.epoch != 0;
                    own.sinks.clear();
                    own.epoch = assignment.epoch;
                    own.is_whole = true;
                    own.role = if assignment.replicas().is_empty() { Role::Primary } else { Role::Rising };
                    if own.role == Role::Rising {
                        let rise = Rise { epoch: own.epoch, since_ns: self.now_ns(), asks: false };
                        self.rising.borrow_mut().insert(number, rise);
                    }
                    if begins_anew {
                        drop(partition.empty());
                    }
                }
                if own.role == Role::Rising && assignment.replicas().is_empty() {
                    own.role = Role::Primary;
                    self.rising.borrow_mut().remove(&number);
                }
                if own.role == Role::Falling && assignment.hand_over.is_none() {
                    own.role = Role::Primary;
                }
                own.sinks.retain(|sink| assignment.involves(sink.feed.node));
            } else if assignment.involves(me) {
                let stays = assignment.in_sync.contains(&me);
                was_deposed |= led && !stays;
                if !stays && own.role != Role::Replica {
                    own.is_whole = false;
                }
                own.sinks.clear();
                if own.epoch != assignment.epoch {
                    own.feed = 0;
                }
                (own.role, own.epoch) = (Role::Replica, assignment.epoch);
            } else {
                was_deposed |= led;
                own.sinks.clear();
                (own.is_whole, own.feed) = (false, 0);
                (own.role, own.epoch) = (Role::Stranger, assignment.epoch);
                drop(partition.empty());
            }
            partition.replication = Some(own);
        }
        self.keep_feeds(&map, was_deposed);
        self.state.cluster.publish(map);
    }

    /// Ends the feeds nobody needs any more.
    fn keep_feeds(&self, map: &Metadata, was_deposed: bool) {
        let me = self.id();
        self.feeds.borrow_mut().retain(|node, watched| {
            if was_deposed {
                watched.feed.lose();
                return false;
            }
            let stays = map.partitions.iter().any(|a| a.primary() == Some(me) && a.involves(*node));
            if !stays {
                watched.feed.release();
            }
            stays
        });
    }

    /// The feed to `node`.
    fn feed(&self, node: NodeId) -> Arc<Feed> {
        let since_ns = self.now_ns();
        let mut feeds = self.feeds.borrow_mut();
        let watched = feeds.entry(node).or_insert_with(|| {
            let feed = Feed::new(node, since_ns);
            self.hand_out(Job::Feed(Arc::clone(&feed)));
            Watched { feed, acked: 0, since_ns }
        });
        Arc::clone(&watched.feed)
    }

    // Being a primary.

    /// Looks after the replicas of the partitions that this node serves.
    async fn care(self: Rc<Self>) {
        let mut seen = 0;
        loop {
            let cluster = &self.state.cluster;
            let newer = std::future::poll_fn(|task| cluster.poll_newer(seen, task));
            let _ = timeout(if self.is_busy() { CARE } else { IDLE }, newer).await;
            seen = cluster.version();
            let map = cluster.map();
            if !map.is_founded() {
                continue;
            }
            self.cut_stuck(&map).await;
            let (mut caught_up, mut handed_over) = (Vec::new(), Vec::new());
            for (number, assignment) in map.numbered() {
                if assignment.primary() != Some(self.id()) {
                    continue;
                }
                self.rise(number, assignment);
                self.bring_in(number, assignment, map.version, &mut caught_up);
                self.fall(number, assignment, &mut handed_over);
            }
            if !caught_up.is_empty() {
                let change = Change::InSync { primary: self.id(), caught_up };
                if let Err(error) = self.propose(change).await {
                    tracing::debug!("copies that have caught up were not counted: {error}");
                }
            }
            if !handed_over.is_empty()
                && let Err(error) = self.propose(Change::Several(handed_over)).await
            {
                tracing::debug!("partitions were not handed over: {error}");
            }
        }
    }

    /// Whether copies or partitions are under way.
    fn is_busy(&self) -> bool {
        let me = self.id();
        let moves =
            |a: &Assignment| a.primary() == Some(me) && (!a.joining.is_empty() || a.hand_over.is_some());
        !self.rising.borrow().is_empty() || self.state.cluster.map().partitions.iter().any(moves)
    }

    /// Has replicas cut off to which nothing gets through.
    async fn cut_stuck(&self, map: &Metadata) {
        let now_ns = self.now_ns();
        let mut stuck = Vec::new();
        for (node, watched) in self.feeds.borrow_mut().iter_mut() {
            let acked = watched.feed.acked();
            if acked != watched.acked || acked >= watched.feed.end() {
                (watched.acked, watched.since_ns) = (acked, now_ns);
            } else if now_ns - watched.since_ns > STUCK.as_nanos() as u64 && !watched.feed.is_broken() {
                tracing::warn!("node {node:016x} takes nothing any more");
                watched.feed.break_off();
            }
            if watched.feed.is_broken() {
                stuck.push(*node);
            }
        }
        let me = self.id();
        for replica in stuck {
            let involved = |a: &Assignment| a.primary() == Some(me) && a.involves(replica);
            if map.partitions.iter().any(involved) {
                let incarnation = self.me.borrow().incarnation;
                let change = Change::Cut { primary: me, incarnation, replica };
                match self.propose(change).await {
                    Ok(Outcome::Refused(why)) => {
                        tracing::warn!("node {replica:016x} cannot be cut off: {why:?}")
                    }
                    Ok(_) => {
                        tracing::warn!("node {replica:016x} is cut off, as it does not follow");
                        self.forget(replica);
                    }
                    Err(error) => tracing::debug!("node {replica:016x} was not cut off: {error}"),
                }
            }
        }
    }

    /// Goes on without `replica`, which the control plane has taken out of all that this node serves. It may be given copies anew.
    fn forget(&self, replica: NodeId) {
        for number in 0..=u8::MAX {
            if let Some(own) = &mut self.state.keyspace.enter(number).replication {
                own.detach(replica);
            }
        }
        if let Some(watched) = self.feeds.borrow_mut().remove(&replica) {
            watched.feed.release();
        }
    }

    /// A new primary finds out what its replicas have before it serves.
    fn rise(self: &Rc<Self>, number: u8, assignment: &Assignment) {
        let mut rising = self.rising.borrow_mut();
        let Some(rise) = rising.get_mut(&number) else { return };
        if rise.epoch != assignment.epoch || rise.asks {
            return;
        }
        rise.asks = true;
        let (this, replicas, epoch) = (Rc::clone(self), assignment.replicas().to_vec(), assignment.epoch);
        let since_ns = rise.since_ns;
        spawn_local(async move {
            if let Err(node) = this.settle_replicas(number, epoch, replicas).await
                && this.now_ns() - since_ns > STUCK.as_nanos() as u64
            {
                let (primary, incarnation) = (this.id(), this.me.borrow().incarnation);
                let cut = this.propose(Change::Cut { primary, incarnation, replica: node }).await;
                tracing::warn!("node {node:016x} does not say what it has: {cut:?}");
            }
            let mut rising = this.rising.borrow_mut();
            if let Some(rise) = rising.get_mut(&number) {
                rise.asks = false;
            }
        });
    }

    /// Asks `replicas` what they have, has them made alike, and begins to serve. Fails with who does not answer.
    async fn settle_replicas(&self, number: u8, epoch: u64, replicas: Vec<NodeId>) -> Result<(), NodeId> {
        let mut positions = Vec::new();
        for node in replicas {
            let address = address_of(&self.map(), node).ok_or(node)?;
            let question = encode(&vec![(number, epoch)]).map_err(|_| node)?;
            let asked = self.mesh.ask(&address, kind::POSITIONS, &question);
            let answer =
                timeout(Duration::from_millis(500), asked).await.map_err(|_| node)?.map_err(|_| node)?;
            let answer = decode::<Positions>(&answer).map_err(|_| node)?;
            positions.push((node, answer.first().copied().flatten()));
        }
        let map = self.state.cluster.map();
        let present = &map.partitions[usize::from(number)];
        if present.replicas().len() != positions.len()
            || positions.iter().any(|(n, _)| !present.replicas().contains(n))
        {
            return Ok(());
        }
        let mut partition = self.state.keyspace.enter(number);
        let Some(own) = &partition.replication else { return Ok(()) };
        if own.role != Role::Rising || own.epoch != epoch {
            return Ok(());
        }
        let sequence = own.sequence;
        let behind = positions.iter().any(|(_, has)| *has != Some(sequence));
        let contents = if behind { partition.contents(PART) } else { Vec::new() };
        if let Some(own) = &mut partition.replication {
            for (node, has) in positions {
                if has == Some(sequence) {
                    own.attach(self.feed(node), true);
                } else {
                    own.attach_with(number, self.feed(node), true, &contents, map.version);
                }
            }
            own.role = Role::Primary;
        }
        drop(partition);
        self.rising.borrow_mut().remove(&number);
        self.state.cluster.wake();
        Ok(())
    }

    /// What this node has as a replica.
    fn positions(&self, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let asked: Vec<(u8, u64)> = decode(payload)?;
        let mut answer = Positions::new();
        for (number, epoch) in asked {
            let partition = self.state.keyspace.enter(number);
            let own = partition.replication.as_ref().ok_or("not a member")?;
            // The map is on its way.
            if own.epoch < epoch {
                return Err("not yet".into());
            }
            let fits = own.epoch == epoch && own.role == Role::Replica && own.is_whole;
            answer.push(fits.then_some(own.sequence));
        }
        encode(&answer)
    }

    /// Gives a copy to those who join, and notes who has all of it.
    fn bring_in(
        &self,
        number: u8,
        assignment: &Assignment,
        version: u64,
        caught_up: &mut Vec<(u8, u64, NodeId)>,
    ) {
        for node in &assignment.joining {
            if self.feeds.borrow().get(node).is_some_and(|watched| watched.feed.is_broken()) {
                continue;
            }
            let feed = self.feed(*node);
            let mut partition = self.state.keyspace.enter(number);
            let Some(own) = &mut partition.replication else { continue };
            if own.role != Role::Primary || own.epoch != assignment.epoch {
                continue;
            }
            match own.sink(*node) {
                // From now on answers wait for it; so it may be counted on.
                Some(sink) if sink.has_caught_up() => {
                    sink.in_sync = true;
                    caught_up.push((number, assignment.epoch, *node));
                }
                Some(_) => {}
                None if feed.unsent_bytes() < CROWDED => {
                    let contents = partition.contents(PART);
                    if let Some(own) = &mut partition.replication {
                        own.attach_with(number, feed, false, &contents, version);
                    }
                }
                None => {}
            }
        }
    }

    /// Stops serving what is to be handed over; once everything has arrived, it is.
    fn fall(&self, number: u8, assignment: &Assignment, handed_over: &mut Vec<Change>) {
        let Some(to) = assignment.hand_over else { return };
        let mut partition = self.state.keyspace.enter(number);
        let Some(own) = &mut partition.replication else { return };
        if own.epoch != assignment.epoch {
            return;
        }
        if own.role == Role::Primary && own.sinks.iter().any(|sink| sink.feed.node == to && sink.in_sync) {
            own.role = Role::Falling;
        }
        if own.role == Role::Falling && own.has_all_arrived() {
            handed_over.push(Change::HandedOver { partition: number, epoch: assignment.epoch, to });
        }
    }
}

fn address_of(map: &Metadata, node: NodeId) -> Option<String> {
    map.members.get(&node).map(|member| format!("{}:{}", member.host, member.cluster_port))
}

/// Where the member may listen for others that `seed` names by its client address: by the usual rule, or by what follows an `@`.
fn candidates(seed: &str) -> Vec<String> {
    if let Some((client, cluster_port)) = seed.split_once('@') {
        let host = client.rsplit_once(':').map_or(client, |(host, _)| host);
        return vec![format!("{host}:{cluster_port}")];
    }
    let Some((host, port)) = seed.rsplit_once(':') else { return vec![format!("{seed}:16379")] };
    let port: u32 = port.parse().unwrap_or(0);
    let mut all = Vec::new();
    if port + 10000 <= 65535 {
        all.push(format!("{host}:{}", port + 10000));
    }
    all
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
