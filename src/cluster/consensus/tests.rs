use super::*;
use crate::cluster::link::{Identity, Limits, Link, Sender, VERSIONS};
use crate::cluster::metadata::Refusal;
use crate::cluster::metadata::tests::member;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const CLUSTER: u64 = 77;

/// A network within the process: whom it reaches, what is cut, what gets lost.
#[derive(Clone, Default)]
struct Net {
    state: Arc<Mutex<NetState>>,
}

#[derive(Default)]
struct NetState {
    nodes: HashMap<NodeId, Consensus>,
    killed: HashSet<NodeId>,
    /// From whom to whom nothing passes.
    cut: HashSet<(NodeId, NodeId)>,
    /// Messages of a hundred that get lost.
    lost: u32,
}

#[derive(Clone)]
struct Wire {
    net: Net,
    from: NodeId,
}

impl Net {
    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        let state = self.state.lock();
        !state.cut.contains(&(from, to)) && fastrand::u32(..100) >= state.lost
    }

    /// Nothing passes between `nodes` and the others any more.
    fn isolate(&self, nodes: &[NodeId]) {
        for other in 1..=9 {
            for node in nodes.iter().copied().filter(|_| !nodes.contains(&other)) {
                self.state.lock().cut.extend([(node, other), (other, node)]);
            }
        }
    }

    fn heal(&self) {
        self.state.lock().cut.clear();
    }
}

impl Transport for Wire {
    async fn call(&self, to: NodeId, _: &str, kind: u8, payload: Vec<u8>) -> io::Result<Vec<u8>> {
        tokio::time::sleep(Duration::from_micros(200)).await;
        let node = {
            let state = self.net.state.lock();
            // What a killed node sent is heard before its end is, or never.
            let node = state.nodes.get(&to).filter(|_| !state.killed.contains(&self.from));
            node.cloned().ok_or(io::ErrorKind::ConnectionRefused)?
        };
        if !self.net.passes(self.from, to) {
            return std::future::pending().await;
        }
        let answer = node.handle(kind, &payload).await;
        if !self.net.passes(to, self.from) {
            return std::future::pending().await;
        }
        answer
    }
}

/// A cluster in one process, with a directory for each node.
struct Cluster {
    net: Net,
    root: PathBuf,
    config: Config,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.net.state.lock().nodes.clear();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A directory of its own for each test.
fn directory() -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("shoal-raft-{}-{number}", std::process::id()))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.unwrap() })
}

async fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let patience = async {
        loop {
            if let Some(found) = holds() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), patience).await.unwrap_or_else(|_| panic!("not soon: {what}"))
}

impl Cluster {
    fn new() -> Cluster {
        Cluster { net: Net::default(), root: directory(), config: Config::default() }
    }

    fn directory(&self, id: NodeId) -> PathBuf {
        self.root.join(id.to_string())
    }

    async fn open(&self, id: NodeId) -> Result<Consensus, StoreError> {
        let me = Owner { cluster: CLUSTER, node: id };
        let wire = Wire { net: self.net.clone(), from: id };
        self.net.state.lock().killed.remove(&id);
        let node = Consensus::open(&self.directory(id), me, self.config.clone(), wire).await?;
        self.net.state.lock().nodes.insert(id, node.clone());
        Ok(node)
    }

    /// Node 1 founds a cluster, the others join and vote.
    async fn of(nodes: u64) -> (Cluster, Vec<Consensus>) {
        Cluster::new().found(nodes).await
    }

    async fn found(self, nodes: u64) -> (Cluster, Vec<Consensus>) {
        let first = self.open(1).await.unwrap();
        assert!(!first.is_initialised().await);
        first.initialise("1").await.unwrap();
        assert!(first.is_initialised().await);
        assert!(matches!(first.initialise("1").await, Err(ProposeError::Refused(_))));
        self.leader().await;
        let found = Change::Found { cluster: CLUSTER, member: member(1), copies: 2 };
        assert_eq!(first.propose(found).await, Ok(Outcome::Changed));
        let mut all = vec![first];
        for id in 2..=nodes {
            all.push(self.open(id).await.unwrap());
            all[0].add_learner(id, &id.to_string()).await.unwrap();
            all[0].add_learner(id, &id.to_string()).await.unwrap();
        }
        all[0].set_voters((1..=nodes).collect()).await.unwrap();
        assert_eq!(all[0].propose(Change::Join(member(2))).await, Ok(Outcome::Changed));
        (self, all)
    }

    /// Who leads and has a quorum behind it.
    async fn leader(&self) -> Consensus {
        until("a leader", || {
            let nodes: Vec<Consensus> = self.net.state.lock().nodes.values().cloned().collect();
            nodes.into_iter().find(|node| {
                let status = node.inner.status.borrow();
                status.role == Role::Leader && status.leader == Some(node.me())
            })
        })
        .await
    }

    /// Stops a node without a farewell.
    async fn kill(&self, id: NodeId) {
        let node = {
            let mut state = self.net.state.lock();
            state.killed.insert(id);
            state.nodes.remove(&id)
        };
        node.unwrap().shutdown().await;
    }
}

async fn copies(node: &Consensus, expected: usize) {
    let metadata = node.metadata();
    until("the metadata is there", || (metadata.borrow().copies == expected).then_some(())).await;
}

#[test]
fn three_nodes_agree_and_a_killed_leader_is_replaced_with_nothing_lost() {
    run(async {
        let (cluster, nodes) = Cluster::of(3).await;
        for number in 3..=30 {
            assert_eq!(nodes[0].propose(Change::Copies(number)).await, Ok(Outcome::Changed));
        }
        assert_eq!(nodes[0].propose(Change::Copies(30)).await, Ok(Outcome::Unchanged));
        let refused = nodes[0].propose(Change::Down(9)).await;
        assert_eq!(refused, Ok(Outcome::Refused(Refusal::Unknown)));
        for node in &nodes {
            copies(node, 30).await;
        }
        let status = nodes[1].status().borrow().clone();
        assert_eq!((status.role, status.leader), (Role::Follower, Some(1)));
        assert_eq!(status.voters, BTreeSet::from([1, 2, 3]));
        let asked = nodes[1].propose(Change::Copies(9)).await;
        assert_eq!(asked, Err(ProposeError::NotLeader { leader: Some(1) }));
        for round in 0..2 {
            let old = cluster.leader().await.me();
            cluster.kill(old).await;
            let begun = Instant::now();
            let next = cluster.leader().await;
            let took = begun.elapsed();
            println!("a new leader after {took:?}");
            assert_ne!(next.me(), old);
            assert_eq!(next.propose(Change::Copies(31 + round)).await, Ok(Outcome::Changed));
            assert_eq!(next.metadata().borrow().members.len(), 2);
            let back = cluster.open(old).await.unwrap();
            copies(&back, 31 + round).await;
            assert_eq!(*back.metadata().borrow(), *next.metadata().borrow());
        }
    });
}

/// While a killed leader was merely silent nobody could be taken out of what is in sync, and writes waited for copies that were gone.
#[test]
fn a_leader_whose_process_is_gone_is_replaced_before_patience_ends() {
    run(async {
        let mut cluster = Cluster::new();
        // Longer than the test may take.
        (cluster.config.election_min_ms, cluster.config.election_max_ms) = (90_000, 120_000);
        let (cluster, nodes) = cluster.found(3).await;
        let before = nodes[0].status().borrow().term;
        // One alone who believes so deposes nobody.
        nodes[1].note_gone(1);
        nodes[1].note_gone(3);
        assert_eq!(nodes[0].propose(Change::Copies(3)).await, Ok(Outcome::Changed));
        for node in &nodes {
            copies(node, 3).await;
        }
        assert_eq!(nodes[0].status().borrow().term, before);
        cluster.kill(1).await;
        nodes[1..].iter().for_each(|node| node.note_gone(1));
        let next = cluster.leader().await;
        assert_eq!(next.propose(Change::Copies(4)).await, Ok(Outcome::Changed));
    });
}

/// Votes were refused until the library's lease of the leader that was gone had ended, and writes waited for copies that were gone.
#[test]
fn a_leader_whose_process_is_gone_is_replaced_before_its_lease_has_ended() {
    run(async {
        let mut fastest = Duration::MAX;
        for (round, count) in [3, 5, 3, 5, 3].into_iter().enumerate() {
            let (cluster, nodes) = Cluster::of(count).await;
            // A quorum has just heard of it.
            assert_eq!(nodes[0].propose(Change::Copies(3 + round)).await, Ok(Outcome::Changed));
            let heard = Instant::now();
            cluster.kill(1).await;
            nodes[1..].iter().for_each(|node| node.note_gone(1));
            let next = cluster.leader().await;
            let took = heard.elapsed();
            println!("of {count}: node {} leads after {took:?}", next.me());
            assert_eq!(next.propose(Change::Copies(9)).await, Ok(Outcome::Changed));
            fastest = fastest.min(took);
        }
        assert!(fastest < Duration::from_millis(75), "{fastest:?}");
    });
}

#[test]
fn a_minority_commits_nothing_and_is_corrected() {
    run(async {
        let (cluster, nodes) = Cluster::of(3).await;
        nodes[0].confirm_quorum().await.unwrap();
        assert!(matches!(nodes[1].confirm_quorum().await, Err(ConfirmError::NotLeader { leader: Some(1) })));
        cluster.net.isolate(&[1]);
        let begun = Instant::now();
        assert_eq!(nodes[0].confirm_quorum().await, Err(ConfirmError::NoQuorum));
        assert!(begun.elapsed() < Duration::from_millis(1000), "{:?}", begun.elapsed());
        let lost = {
            let node = nodes[0].clone();
            tokio::spawn(async move { node.propose(Change::Copies(50)).await })
        };
        let next = until("another leader", || {
            nodes[1..].iter().find(|node| node.status().borrow().leader == Some(node.me())).cloned()
        })
        .await;
        let mut status = nodes[0].status();
        timeout(Duration::from_secs(2), status.wait_for(|status| status.leader.is_none()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(next.propose(Change::Copies(3)).await, Ok(Outcome::Changed));
        next.confirm_quorum().await.unwrap();
        assert_ne!(nodes[0].metadata().borrow().copies, 3);
        cluster.net.heal();
        copies(&nodes[0], 3).await;
        // It was in the log of the old leader, from where it might have reached others.
        assert!(matches!(lost.await.unwrap(), Err(ProposeError::Unknown(_))));
        for node in &nodes {
            assert_eq!(node.metadata().borrow().copies, 3);
        }
    });
}

/// Without pre-votes a node that comes back from a cut has raised its term and deposes the leader.
#[test]
fn who_comes_back_from_a_cut_or_a_pause_deposes_nobody() {
    run(async {
        let (cluster, nodes) = Cluster::of(3).await;
        let before = nodes[0].status().borrow().clone();
        cluster.net.isolate(&[3]);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(nodes[2].status().borrow().term, before.term);
        cluster.net.heal();
        assert_eq!(nodes[0].propose(Change::Copies(3)).await, Ok(Outcome::Changed));
        copies(&nodes[2], 3).await;
        let after = nodes[0].status().borrow().clone();
        assert_eq!((after.term, after.leader), (before.term, Some(1)));
    });
}

#[test]
fn all_nodes_restart_from_their_files() {
    run(async {
        let (cluster, nodes) = Cluster::of(3).await;
        assert_eq!(nodes[0].propose(Change::Copies(3)).await, Ok(Outcome::Changed));
        assert_eq!(nodes[0].propose(Change::Copies(4)).await, Ok(Outcome::Changed));
        drop(nodes);
        for id in 1..=3 {
            cluster.kill(id).await;
            assert_eq!(owner(&cluster.directory(id)).unwrap(), Some(Owner { cluster: CLUSTER, node: id }));
        }
        for id in 1..=3 {
            let node = cluster.open(id).await.unwrap();
            assert!(node.is_initialised().await);
            // What is known to be committed may be one step behind.
            assert!(node.metadata().borrow().copies >= 2);
        }
        let leader = cluster.leader().await;
        leader.confirm_quorum().await.unwrap();
        copies(&leader, 4).await;
        assert_eq!(leader.propose(Change::Copies(5)).await, Ok(Outcome::Changed));
    });
}

#[test]
fn a_node_alone_serves_at_once_and_after_a_restart() {
    run(async {
        let (cluster, nodes) = Cluster::new().found(1).await;
        nodes[0].confirm_quorum().await.unwrap();
        drop(nodes);
        cluster.kill(1).await;
        let node = cluster.open(1).await.unwrap();
        assert_eq!(cluster.leader().await.me(), 1);
        node.confirm_quorum().await.unwrap();
        assert_eq!(node.metadata().borrow().cluster, CLUSTER);
        assert_eq!(node.propose(Change::Copies(3)).await, Ok(Outcome::Changed));
    });
}

/// Has the members changed: again where it is not known whether they were, or another such change is still under way.
async fn made<F: Future<Output = Result<(), ProposeError>>>(change: impl Fn() -> F) {
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = change().await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_learner_catches_up_by_a_snapshot_votes_and_is_removed() {
    run(async {
        let mut cluster = Cluster::new();
        cluster.config.snapshot_after = 10;
        let (cluster, mut nodes) = cluster.found(2).await;
        for number in 3..=60 {
            assert_eq!(nodes[0].propose(Change::Copies(number)).await, Ok(Outcome::Changed));
        }
        until("old entries are gone", || {
            nodes[0].inner.raft.metrics().borrow().purged.filter(|id| id.index > 20)
        })
        .await;
        nodes.push(cluster.open(3).await.unwrap());
        made(|| nodes[0].add_learner(3, "3")).await;
        copies(&nodes[2], 60).await;
        assert_eq!(nodes[2].status().borrow().role, Role::Learner);
        assert!(nodes[0].status().borrow().learners.contains(&3));
        let unknown = nodes[0].set_voters(BTreeSet::from([1, 9])).await;
        assert!(matches!(unknown, Err(ProposeError::Refused(_))), "{unknown:?}");
        let elsewhere = nodes[2].set_voters(BTreeSet::from([3])).await;
        assert!(matches!(elsewhere, Err(ProposeError::NotLeader { .. })), "{elsewhere:?}");
        made(|| nodes[0].set_voters(BTreeSet::from([1, 2, 3]))).await;
        made(|| nodes[0].add_learner(3, "elsewhere")).await;
        made(|| nodes[0].remove(2)).await;
        made(|| nodes[0].remove(2)).await;
        let mut status = nodes[2].status();
        status.wait_for(|status| status.voters == BTreeSet::from([1, 3])).await.unwrap();
        assert!(status.borrow().learners.is_empty());
        // A snapshot and what came after it, from the file.
        assert_eq!(nodes[0].propose(Change::Copies(61)).await, Ok(Outcome::Changed));
        assert_eq!(nodes[0].propose(Change::Copies(62)).await, Ok(Outcome::Changed));
        copies(&nodes[2], 62).await;
        drop(nodes);
        cluster.kill(3).await;
        let back = cluster.open(3).await.unwrap();
        assert!(back.metadata().borrow().copies >= 61);
        copies(&back, 62).await;
    });
}

/// A leader that puts itself out hands over.
#[test]
fn a_leader_can_leave() {
    run(async {
        let (cluster, nodes) = Cluster::of(3).await;
        nodes[0].set_voters(BTreeSet::from([2, 3])).await.unwrap();
        cluster.kill(1).await;
        let next = cluster.leader().await;
        next.remove(1).await.unwrap();
        assert_eq!(next.propose(Change::Copies(3)).await, Ok(Outcome::Changed));
    });
}

#[test]
fn a_lossy_network_delays_and_loses_nothing() {
    run(async {
        let (cluster, nodes) = Cluster::of(3).await;
        cluster.net.state.lock().lost = 10;
        for number in 3..=20 {
            loop {
                let leader = cluster.leader().await;
                match leader.propose(Change::Copies(number)).await {
                    Ok(Outcome::Changed | Outcome::Unchanged) => break,
                    Ok(outcome) => panic!("{outcome:?}"),
                    Err(ProposeError::NotLeader { .. } | ProposeError::Unknown(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        cluster.net.state.lock().lost = 0;
        for node in &nodes {
            copies(node, 20).await;
        }
    });
}

#[test]
fn a_file_of_another_is_refused() {
    run(async {
        let (cluster, nodes) = Cluster::new().found(1).await;
        let wire = Wire { net: cluster.net.clone(), from: 1 };
        let open = async |cluster_id, node| {
            let me = Owner { cluster: cluster_id, node };
            Consensus::open(&cluster.directory(1), me, Config::default(), wire.clone()).await.err()
        };
        // It is in use.
        let error = open(CLUSTER, 1).await.unwrap();
        assert!(matches!(error, StoreError::File { .. }), "{error}");
        drop(nodes);
        cluster.kill(1).await;
        for (cluster_id, node) in [(CLUSTER, 2), (CLUSTER + 1, 1)] {
            let error = open(cluster_id, node).await.unwrap();
            assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        }
        // A node that has forgotten its cluster's name finds it in the file.
        assert!(open(0, 1).await.is_none());
        let bad = Config { heartbeat_ms: 200, ..Config::default() };
        assert!(matches!(settings(&bad), Err(StoreError::Config(_))));
    });
}

/// Every damaged file is refused with an error, or what it held is there: nothing else, and never a panic.
#[test]
fn a_damaged_file_is_an_error_and_never_a_panic() {
    run(async {
        let (cluster, nodes) = Cluster::new().found(1).await;
        for number in 3..=12 {
            nodes[0].propose(Change::Copies(number)).await.unwrap();
        }
        drop(nodes);
        cluster.kill(1).await;
        let path = disk::file_in(&cluster.directory(1));
        let good = std::fs::read(&path).unwrap();
        let me = Owner { cluster: CLUSTER, node: 1 };
        let entries = {
            let (disk, contents) = Disk::open(&cluster.directory(1), me).await.unwrap();
            disk.stop().await;
            contents.log.len()
        };
        let mut random = fastrand::Rng::with_seed(7);
        let mut refused = 0;
        for round in 0..60 {
            let mut bytes = good.clone();
            match round {
                0 => bytes = b"this is no database at all, and has never been one".repeat(200),
                1 => bytes.truncate(good.len() / 2),
                2 => bytes.truncate(100),
                3 => bytes[..64].fill(0xff),
                _ => {
                    // Somewhere in what is used.
                    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
                    for _ in 0..random.usize(1..40) {
                        bytes[used[random.usize(..used.len())]] ^= 1 << random.u8(..8);
                    }
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            match Disk::open(&cluster.directory(1), me).await {
                Err(StoreError::File { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
                Ok((disk, contents)) => {
                    assert_eq!(contents.log.len(), entries, "round {round}");
                    disk.stop().await;
                }
            }
        }
        assert!(refused > 20, "{refused}");
        std::fs::write(&path, b"garbage").unwrap();
        assert!(owner(&cluster.directory(1)).is_err());
        let error = cluster.open(1).await.err().unwrap();
        assert!(error.to_string().contains("shoal-cluster.redb"), "{error}");
        erase(&cluster.directory(1)).unwrap();
        erase(&cluster.directory(1)).unwrap();
        assert_eq!(owner(&cluster.directory(1)).unwrap(), None);
    });
}

/// A disk that is full at a moment of the test's choice.
#[derive(Debug)]
struct Filling {
    file: redb::backends::InMemoryBackend,
    full: Arc<AtomicBool>,
}

impl Filling {
    fn check(&self) -> io::Result<()> {
        let full = self.full.load(Ordering::Relaxed);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl redb::StorageBackend for Filling {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
}

#[test]
fn a_full_disk_stops_the_group_on_that_node_and_says_so() {
    run(async {
        let cluster = Cluster::new();
        let full = Arc::new(AtomicBool::new(false));
        let backend = Filling { file: redb::backends::InMemoryBackend::new(), full: Arc::clone(&full) };
        let me = Owner { cluster: CLUSTER, node: 1 };
        let open = Box::new(move || {
            redb::Database::builder().create_with_backend(backend).map_err(std::io::Error::other)
        });
        let (disk, contents) = Disk::with(open, PathBuf::from("full"), me).await.unwrap();
        let (config, wire) = (Config::default(), Wire { net: cluster.net.clone(), from: 1 });
        let settings = settings(&config).unwrap();
        let node =
            Consensus::start(disk, contents, Path::new("full"), 1, config, settings, wire).await.unwrap();
        node.initialise("1").await.unwrap();
        cluster.net.state.lock().nodes.insert(1, node.clone());
        cluster.leader().await;
        node.propose(Change::Copies(3)).await.unwrap();
        full.store(true, Ordering::Relaxed);
        let error = node.propose(Change::Copies(4)).await.unwrap_err();
        assert!(matches!(error, ProposeError::Unknown(_)), "{error}");
        let mut status = node.status();
        let stopped = status.wait_for(|status| status.role == Role::Stopped).await.unwrap().clone();
        println!("{:?}", stopped.failure);
        assert!(stopped.failure.is_some());
        let error = node.propose(Change::Copies(5)).await.unwrap_err();
        assert!(matches!(error, ProposeError::Stopped(_)), "{error}");
        assert_eq!(node.confirm_quorum().await, Err(ConfirmError::Stopped));
        assert!(node.handle(PRE_VOTE, b"").await.is_err());
        node.shutdown().await;
    });
}

#[test]
fn messages_that_make_no_sense_are_refused() {
    run(async {
        let (_cluster, nodes) = Cluster::new().found(1).await;
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let kind = [PRE_VOTE, VOTE, APPEND, SNAPSHOT, 7][random.usize(..5)];
            let mut bytes: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
            if kind == PRE_VOTE {
                // A well-formed one is answered.
                bytes.truncate(1);
            } else if let Some(first) = bytes.first_mut() {
                *first = 9;
            }
            assert!(nodes[0].handle(kind, &bytes).await.is_err());
        }
        nodes[0].confirm_quorum().await.unwrap();
    });
}

/// As it is in earnest: messages travel over links.
#[derive(Clone)]
struct Links {
    me: Identity,
    addresses: Arc<Mutex<HashMap<NodeId, SocketAddr>>>,
    open: Arc<Mutex<HashMap<NodeId, Sender>>>,
}

impl Transport for Links {
    async fn call(&self, to: NodeId, _: &str, kind: u8, payload: Vec<u8>) -> io::Result<Vec<u8>> {
        let known = self.open.lock().get(&to).filter(|sender| sender.closed().is_none()).cloned();
        let sender = match known {
            Some(sender) => sender,
            None => {
                let address = self.addresses.lock().get(&to).copied();
                let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
                let limit = Duration::from_millis(500);
                let link = Link::connect(address, &self.me, Limits::default(), limit).await;
                let link = link.map_err(io::Error::other)?;
                let sender = link.sender();
                tokio::spawn(link.run(|_, _| {}));
                self.open.lock().insert(to, sender.clone());
                sender
            }
        };
        let answer = sender.request(kind, &payload).await;
        Ok(answer.map_err(io::Error::other)?.to_vec())
    }
}

/// Accepts links and has their requests answered, until it is aborted.
async fn listen(listener: tokio::net::TcpListener, me: Identity, node: Consensus) {
    // Aborted with this task.
    let mut links = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (me, node) = (me.clone(), node.clone());
        links.spawn(async move {
            let link = Link::accept(stream, &me, Limits::default(), Duration::from_secs(5)).await;
            let Ok(link) = link else { return };
            let answer = |sender: &Sender, frame: crate::cluster::link::Frame| {
                assert!(is_own_kind(frame.kind));
                let (sender, node) = (sender.clone(), node.clone());
                tokio::spawn(async move {
                    match node.handle(frame.kind, &frame.payload).await {
                        Ok(answer) => sender.reply(frame.id, &answer),
                        Err(error) => sender.refuse(frame.id, &error.to_string()),
                    }
                });
            };
            link.run(answer).await;
        });
    }
}

#[test]
fn three_nodes_agree_over_links_and_replace_a_leader() {
    run(async {
        let root = directory();
        let addresses = Arc::new(Mutex::new(HashMap::new()));
        let mut nodes = Vec::new();
        for id in 1..=3 {
            let secret = b"a secret".to_vec();
            let me = Identity { cluster: CLUSTER, node: id, incarnation: id, secret, versions: VERSIONS };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.lock().insert(id, listener.local_addr().unwrap());
            let links = Links { me: me.clone(), addresses: Arc::clone(&addresses), open: Arc::default() };
            let owner = Owner { cluster: CLUSTER, node: id };
            let directory = root.join(id.to_string());
            let node = Consensus::open(&directory, owner, Config::default(), links).await.unwrap();
            let task = tokio::spawn(listen(listener, me, node.clone()));
            nodes.push((node, task));
        }
        let first = nodes[0].0.clone();
        first.initialise("first").await.unwrap();
        first.status().wait_for(|status| status.leader == Some(1)).await.unwrap();
        for id in 2..=3 {
            first.add_learner(id, "other").await.unwrap();
        }
        first.set_voters(BTreeSet::from([1, 2, 3])).await.unwrap();
        let begun = Instant::now();
        for number in 3..=52 {
            assert_eq!(first.propose(Change::Copies(number)).await, Ok(Outcome::Changed));
        }
        println!("{:?} for a proposal", begun.elapsed() / 50);
        first.confirm_quorum().await.unwrap();
        nodes[0].1.abort();
        first.shutdown().await;
        let next = until("another leader", || {
            nodes[1..].iter().find(|(node, _)| node.status().borrow().leader == Some(node.me()))
        })
        .await;
        next.0.confirm_quorum().await.unwrap();
        assert_eq!(next.0.metadata().borrow().copies, 52);
        assert_eq!(next.0.propose(Change::Copies(53)).await, Ok(Outcome::Changed));
        for (node, task) in &nodes {
            task.abort();
            node.shutdown().await;
        }
        std::fs::remove_dir_all(&root).unwrap();
    });
}
