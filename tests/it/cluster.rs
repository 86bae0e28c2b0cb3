//! Several nodes as one cache: real processes, plain clients.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shoal_testkit::resp::Client;
use shoal_testkit::server::{Place, free_port};
use shoal_testkit::{Server, Value};

use crate::harness;

/// How long a cluster may take to be as it should be.
const SETTLES: Duration = Duration::from_secs(60);

/// A cluster that has settled: every partition has two copies, and every node serves some.
pub struct Cluster {
    /// Its nodes; the first founded it.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// One of so many nodes that has settled.
    pub fn start(size: usize) -> Cluster {
        Cluster::start_with(size, &[])
    }

    /// The same, with further directives for each node.
    pub fn start_with(size: usize, directives: &[&str]) -> Cluster {
        let mut cluster = Cluster { nodes: vec![member_with(None, directives)] };
        for _ in 1..size {
            let node = member_with(Some(&cluster.nodes[0]), directives);
            cluster.nodes.push(node);
        }
        cluster.settle(size);
        cluster
    }

    /// Waits until `serving` nodes serve, every partition has two copies, and nothing moves.
    pub fn settle(&self, serving: usize) {
        let until = Instant::now() + SETTLES;
        let mut calm = 0;
        loop {
            // Between two steps of a move nothing moves for a while.
            calm = if self.is_spread(serving) && self.is_calm() { calm + 1 } else { 0 };
            if calm == 20 {
                return;
            }
            let status = self.status();
            assert!(Instant::now() < until, "the cluster does not settle:\n{status}{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether `serving` nodes serve and every partition has two copies.
    fn is_spread(&self, serving: usize) -> bool {
        let slots = self.nodes.iter().filter_map(|node| slots(node).ok()).find(|slots| !slots.is_empty());
        let holders = || slots.iter().flatten().map(|(holders, _)| holders);
        let primaries: std::collections::BTreeSet<&String> =
            holders().filter_map(|holders| holders.first()).collect();
        primaries.len() == serving && holders().all(|holders| holders.len() == 2.min(serving))
    }

    fn is_calm(&self) -> bool {
        self.status().contains(" 0 moving")
    }

    /// What CLUSTER STATUS says.
    pub fn status(&self) -> String {
        let ask = |node: &Server| {
            Client::connect(node.resp_addr()).and_then(|mut client| client.line("CLUSTER STATUS"))
        };
        let answer = self.nodes.iter().find_map(|node| ask(node).ok());
        answer.map_or_else(String::new, |answer| answer.to_string())
    }

    /// The logs of all nodes.
    pub fn logs(&self) -> String {
        let log = |node: &Server| std::fs::read_to_string(node.dir().join("log")).unwrap_or_default();
        self.nodes.iter().map(|node| format!("\n--- {}\n{}", node.resp_addr(), log(node))).collect()
    }
}

/// A node that founds a cluster, or joins that of `seed`.
pub fn member(seed: Option<&Server>) -> Server {
    member_with(seed, &[])
}

/// The same with further directives.
pub fn member_with(seed: Option<&Server>, directives: &[&str]) -> Server {
    joined(seed.map(|seed| seed.resp_addr().to_string()), directives)
}

/// One that joins though `seed` tells strangers nothing, as it has a password: it is told the port for other nodes as well.
pub fn member_without_password(seed: &Server) -> Server {
    joined(Some(format!("{}@{}", seed.resp_addr(), cluster_port(seed))), &[])
}

/// Where a node that was started by [`member`] and its kin speaks to others.
pub fn cluster_port(node: &Server) -> u16 {
    let port = std::fs::read_to_string(node.dir().join("cluster-port")).expect("written at its start");
    port.parse().expect("a port")
}

fn joined(seed: Option<String>, directives: &[&str]) -> Server {
    let cluster_port = free_port().expect("a free port").to_string();
    let mut args = vec!["--cluster-port", &cluster_port];
    if let Some(seed) = &seed {
        args.extend(["--join", seed]);
    }
    args.extend(directives);
    let node = harness::node(&args);
    std::fs::write(node.dir().join("cluster-port"), &cluster_port).expect("its directory is there");
    node
}

/// Who holds which slots, the primary first, and the first slot; in order.
pub fn slots(node: &Server) -> std::io::Result<Vec<(Vec<String>, i64)>> {
    let answer = Client::connect(node.resp_addr())?.line("CLUSTER SHARDS")?;
    let field = |pairs: &Value, name: &[u8]| {
        let at = pairs.items().chunks(2).find(|pair| pair[0].text() == Some(name));
        at.map_or(Value::NullBulk, |pair| pair[1].clone())
    };
    let mut all = Vec::new();
    for shard in answer.items() {
        let name = |node: &Value| {
            String::from_utf8_lossy(field(node, b"id").text().unwrap_or_default()).into_owned()
        };
        let holders: Vec<String> = field(shard, b"nodes").items().iter().map(name).collect();
        let firsts = field(shard, b"slots");
        let firsts = firsts.items().iter().step_by(2).map(|first| first.int().unwrap_or_default());
        all.extend(firsts.map(|first| (holders.clone(), first)));
    }
    all.sort_by_key(|(_, first)| *first);
    Ok(all)
}

/// Sends a signal to its process.
pub fn signal(node: &Server, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &node.pid().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn any_node_answers_for_all_keys() {
    let cluster = Cluster::start(3);
    let mut clients: Vec<Client> = cluster.nodes.iter().map(Server::connect).collect();
    for i in 0..300 {
        let reply = clients[i % 3].line(&format!("SET key:{i} {i}")).expect("a reply");
        assert_eq!(reply.to_string(), "+OK");
    }
    for (at, client) in clients.iter_mut().enumerate() {
        for i in 0..300 {
            assert_eq!(
                client.line(&format!("GET key:{i}")).expect("a reply").text(),
                Some(i.to_string().as_bytes()),
                "node {at}"
            );
        }
        let many: Vec<String> = (0..300).map(|i| format!("key:{i}")).collect();
        let all = client
            .call(&[&["MGET".to_string()], &many[..], &["nosuch".to_string()]].concat())
            .expect("a reply");
        assert_eq!(all.items().len(), 301, "{all}{}", cluster.logs());
        assert!((0..300).all(|i| all.items()[i].text() == Some(i.to_string().as_bytes())));
        assert!(matches!(all.items()[300], Value::NullBulk));
        assert_eq!(client.line("DBSIZE").expect("a reply").int(), Some(300));
        assert_eq!(client.line("KEYS key:*").expect("a reply").items().len(), 300);
        assert_eq!(scan(client), 300);
        assert_eq!(client.line("EXISTS key:1 key:2 key:3 nosuch").expect("a reply").int(), Some(3));
    }
    // Pipelined: replies come in the order of their requests, wherever they are from.
    let mut request = Vec::new();
    (0..300).for_each(|i| request.extend_from_slice(format!("GET key:{i}\r\nPING {i}\r\n").as_bytes()));
    clients[1].send_raw(&request).expect("sent");
    for i in 0..300 {
        for _ in 0..2 {
            assert_eq!(clients[1].recv().expect("a reply").text(), Some(i.to_string().as_bytes()));
        }
    }
    assert_eq!(clients[2].line("FLUSHALL").expect("a reply").to_string(), "+OK");
    assert_eq!(clients[0].line("DBSIZE").expect("a reply").int(), Some(0));
}

fn scan(client: &mut Client) -> usize {
    let (mut cursor, mut found) = ("0".to_string(), std::collections::BTreeSet::new());
    loop {
        let reply = client.line(&format!("SCAN {cursor} COUNT 50")).expect("a reply");
        for key in reply.items()[1].items() {
            assert!(found.insert(key.text().map(<[u8]>::to_vec)), "met twice");
        }
        cursor = String::from_utf8_lossy(reply.items()[0].text().unwrap_or_default()).into_owned();
        if cursor == "0" {
            return found.len();
        }
    }
}

#[test]
fn every_key_is_seen_once_while_partitions_move() {
    let mut cluster = Cluster { nodes: vec![member(None)] };
    let mut clients = vec![cluster.nodes[0].connect()];
    for i in 0..500 {
        assert_eq!(clients[0].line(&format!("SET k{i} {i}")).expect("a reply").to_string(), "+OK");
    }
    // Partitions spread over three nodes meanwhile.
    for _ in 0..2 {
        let node = member(Some(&cluster.nodes[0]));
        clients.push(node.connect());
        cluster.nodes.push(node);
    }
    let until = Instant::now() + SETTLES;
    while Instant::now() < until {
        let is_spread = cluster.is_spread(3);
        for client in &mut clients {
            assert_eq!(client.line("DBSIZE").expect("a reply").int(), Some(500), "{}", cluster.logs());
            assert_eq!(client.line("KEYS *").expect("a reply").items().len(), 500);
            assert!(!matches!(client.line("RANDOMKEY").expect("a reply"), Value::NullBulk));
        }
        if is_spread {
            break;
        }
    }
    assert_eq!(clients[1].line("FLUSHALL").expect("a reply").to_string(), "+OK");
    assert_eq!(clients[2].line("DBSIZE").expect("a reply").int(), Some(0));
}

#[test]
fn transactions_scripts_and_waits_run_where_their_keys_are() {
    let cluster = Cluster::start(3);
    let mut clients: Vec<Client> = cluster.nodes.iter().map(Server::connect).collect();
    for i in 0..12 {
        for client in &mut clients {
            client.line("MULTI").expect("a reply");
            client.line(&format!("INCR {{t{i}}}a")).expect("a reply");
            client.line(&format!("LPUSH {{t{i}}}b x")).expect("a reply");
            assert_eq!(client.line("EXEC").expect("a reply").items().len(), 2);
            let script = format!("EVAL \"return redis.call('incr', KEYS[1])\" 1 {{t{i}}}a");
            assert!(client.line(&script).expect("a reply").int().is_some());
        }
        assert_eq!(clients[0].line(&format!("GET {{t{i}}}a")).expect("a reply").text(), Some(&b"6"[..]));
        let (waiting, serving) = clients.split_at_mut(1);
        waiting[0].send(&["BLPOP", &format!("queue{i}"), "10"]).expect("sent");
        assert!(waiting[0].recv_within(Duration::from_millis(20)).expect("nothing yet").is_none());
        serving[0].line(&format!("RPUSH queue{i} job")).expect("a reply");
        let served = waiting[0].recv().expect("a reply");
        assert!(
            served.items().get(1).is_some_and(|job| job.text() == Some(b"job")),
            "{served}{}",
            cluster.logs()
        );
    }
}

/// Writes increasing numbers to keys of its own, through one node, and remembers what was acknowledged.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

/// What a writer remembers.
#[derive(Default)]
pub struct Written {
    /// The last acknowledged number of each key, and the last one that may have been written.
    pub acknowledged: Vec<(i64, i64)>,
    /// The longest time without an acknowledgement.
    pub longest: Duration,
    /// What was answered instead.
    pub errors: Vec<String>,
}

/// A writer at each node, each to so many keys of its own, and the names of their keys.
pub fn write_through_all(cluster: &Cluster, name: &str, keys: usize) -> (Vec<String>, Vec<Writer>) {
    let start = |(at, node): (usize, &Server)| {
        let name = format!("{name}{at}");
        (name.clone(), Writer::start(name, node.resp_addr(), keys))
    };
    cluster.nodes.iter().enumerate().map(start).unzip()
}

impl Writer {
    /// Begins to write.
    pub fn start(name: String, addr: std::net::SocketAddr, keys: usize) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut written = Written { acknowledged: vec![(0, 0); keys], ..Written::default() };
            let mut client = Client::connect(addr).expect("a running server accepts connections");
            let mut last = Instant::now();
            for turn in 1.. {
                if stopped.load(Ordering::Relaxed) {
                    return written;
                }
                let key = turn % keys;
                written.acknowledged[key].1 = turn as i64;
                match client.line(&format!("SET {name}:{key} {turn}")) {
                    Ok(reply) if reply.to_string() == "+OK" => {
                        written.acknowledged[key].0 = turn as i64;
                        written.longest = written.longest.max(last.elapsed());
                        last = Instant::now();
                    }
                    Ok(reply) => written.errors.push(reply.to_string()),
                    Err(error) => {
                        written.errors.push(error.to_string());
                        match Client::connect(addr) {
                            Ok(again) => client = again,
                            // Its own node is gone: it has nothing more to say.
                            Err(_) => return written,
                        }
                    }
                }
            }
            written
        });
        Writer { stop, thread }
    }

    /// Ends it.
    pub fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer ends")
    }
}

/// Whatever was acknowledged to `name` is there, or something that was written later.
pub fn assert_nothing_lost(client: &mut Client, name: &str, written: &Written) {
    for (key, (acknowledged, tried)) in written.acknowledged.iter().enumerate() {
        let reply = client.line(&format!("GET {name}:{key}")).expect("a reply");
        let found: i64 =
            reply.text().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
        assert!(
            (*acknowledged..=*tried).contains(&found),
            "{name}:{key} is {reply}, acknowledged was {acknowledged}, tried {tried}"
        );
    }
}

#[test]
fn a_killed_node_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start(3);
    let (names, writers) = write_through_all(&cluster, "w", 200);
    std::thread::sleep(Duration::from_millis(500));
    let victim = cluster.nodes.remove(2);
    signal(&victim, "KILL");
    std::thread::sleep(Duration::from_secs(3));
    let written: Vec<Written> = writers.into_iter().map(Writer::stop).collect();
    drop(victim);
    let mut client = cluster.nodes[0].connect();
    for (name, written) in names.iter().zip(&written) {
        println!("{name}: longest silence {:?}, errors {:?}", written.longest, written.errors);
        assert_nothing_lost(&mut client, name, written);
    }
    // Those who asked a living node saw a delay, and an error only where a write was under way to the dead one.
    assert!(written[..2].iter().all(|w| w.errors.len() <= 1), "{}", cluster.logs());
    cluster.settle(2);
}

#[test]
fn a_node_that_restarts_empty_wipes_nothing() {
    let mut cluster = Cluster::start(3);
    let mut client = cluster.nodes[0].connect();
    for i in 0..500 {
        assert_eq!(client.line(&format!("SET k{i} {i}")).expect("a reply").to_string(), "+OK");
    }
    let victim = &mut cluster.nodes[1];
    signal(victim, "KILL");
    // Until it is quite gone its ports are taken.
    victim.wait(SETTLES).expect("it ends");
    let (addr, cluster_port) = (victim.resp_addr(), cluster_port(victim));
    let mut again = harness::command();
    again.args(["--workers", "2"]);
    Place { addr, cluster_port, dir: victim.dir().to_owned() }.tell(&mut again);
    let reborn = Server::other(again, Some(addr), None).expect("it starts again");
    for i in 0..500 {
        let reply = client.line(&format!("GET k{i}")).expect("a reply");
        assert_eq!(reply.text(), Some(i.to_string().as_bytes()), "k{i}: {reply}\n{}", cluster.logs());
    }
    cluster.settle(3);
    let mut client = reborn.connect();
    for i in 0..500 {
        assert_eq!(
            client.line(&format!("GET k{i}")).expect("a reply").text(),
            Some(i.to_string().as_bytes())
        );
    }
}

/// A node that was started without its disk left a member behind each time, which somebody had to forget.
#[test]
fn a_node_that_lost_its_disk_takes_its_own_place() {
    let mut cluster = Cluster::start(3);
    let mut client = cluster.nodes[0].connect();
    for i in 0..200 {
        assert_eq!(client.line(&format!("SET k{i} {i}")).expect("a reply").to_string(), "+OK");
    }
    let mut victim = cluster.nodes.remove(1);
    signal(&victim, "KILL");
    victim.wait(SETTLES).expect("it ends");
    let place =
        Place { addr: victim.resp_addr(), cluster_port: cluster_port(&victim), dir: victim.dir().to_owned() };
    std::fs::remove_file(place.dir.join("shoal-cluster.redb")).expect("it has been a member");
    let mut again = harness::command();
    again.args(["--workers", "2", "--join", &cluster.nodes[0].resp_addr().to_string()]);
    place.tell(&mut again);
    cluster.nodes.push(Server::other(again, Some(place.addr), None).expect("it starts again"));
    cluster.settle(3);
    assert!(cluster.status().contains("  DOWN  "), "{}", cluster.status());
    let until = Instant::now() + SETTLES;
    while cluster.status().contains("  DOWN  ") {
        assert!(Instant::now() < until, "{}{}", cluster.status(), cluster.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
    cluster.settle(3);
    assert!(cluster.logs().contains("another one has its address"), "{}", cluster.logs());
    for node in &cluster.nodes {
        let mut client = node.connect();
        for i in 0..200 {
            let reply = client.line(&format!("GET k{i}")).expect("a reply");
            assert_eq!(reply.text(), Some(i.to_string().as_bytes()), "k{i}: {reply}");
        }
    }
}

#[test]
fn a_paused_node_acknowledges_nothing_it_cannot_keep() {
    let cluster = Cluster::start(3);
    let (names, writers) = write_through_all(&cluster, "p", 100);
    std::thread::sleep(Duration::from_millis(300));
    signal(&cluster.nodes[1], "STOP");
    std::thread::sleep(Duration::from_secs(4));
    signal(&cluster.nodes[1], "CONT");
    std::thread::sleep(Duration::from_secs(1));
    let written: Vec<Written> = writers.into_iter().map(Writer::stop).collect();
    cluster.settle(3);
    for node in &cluster.nodes {
        let mut client = node.connect();
        for (name, written) in names.iter().zip(&written) {
            assert_nothing_lost(&mut client, name, written);
        }
    }
    for (name, written) in names.iter().zip(&written) {
        println!("{name}: longest silence {:?}, errors {:?}", written.longest, written.errors);
    }
}

#[test]
fn a_node_that_is_stopped_hands_over_first() {
    let mut cluster = Cluster::start(3);
    // It founded the cluster, so it is likely to lead it.
    let mut victim = cluster.nodes.remove(0);
    let (names, writers) = write_through_all(&cluster, "t", 100);
    std::thread::sleep(Duration::from_millis(300));
    signal(&victim, "TERM");
    assert_eq!(victim.wait(SETTLES).expect("it ends").code(), Some(0));
    cluster.settle(2);
    let written: Vec<Written> = writers.into_iter().map(Writer::stop).collect();
    // Unless the machine stood still for so long that a node may have lost its lease.
    let slow = Duration::from_millis(500);
    let stood_still = cluster.logs().contains("is silent") || written.iter().any(|w| w.longest > slow);
    for (name, written) in names.iter().zip(&written) {
        assert!(written.errors.is_empty() || stood_still, "{:?}{}", written.errors, cluster.logs());
        assert!(written.errors.iter().all(|error| error.starts_with("-UNKNOWN")), "{:?}", written.errors);
        for node in &cluster.nodes {
            assert_nothing_lost(&mut node.connect(), name, written);
        }
    }
}

#[test]
fn many_clients_of_a_paused_node_are_answered_by_what_lasts() {
    let cluster = Cluster::start(3);
    let mut clients: Vec<Client> = (0..64).map(|_| cluster.nodes[1].connect()).collect();
    signal(&cluster.nodes[1], "STOP");
    let state = format!("/proc/{}/stat", cluster.nodes[1].pid());
    while std::fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") T ")) {
        std::thread::yield_now();
    }
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(&["SET", &format!("c{i}"), "theirs"]).expect("sent");
    }
    let patiently = |node: &Server, request: &str, is_it: &dyn Fn(&Value) -> bool| {
        let until = Instant::now() + SETTLES;
        loop {
            let reply = Client::connect(node.resp_addr()).and_then(|mut client| client.line(request));
            match reply {
                Ok(reply) if is_it(&reply) => return reply,
                other => assert!(Instant::now() < until, "{request}: {other:?}{}", cluster.logs()),
            }
        }
    };
    // Others serve its keys, and what they acknowledge stays.
    for i in 0..clients.len() {
        let request = format!("SET c{i} ours");
        patiently(&cluster.nodes[2 * (i % 2)], &request, &|reply| reply.to_string() == "+OK");
    }
    signal(&cluster.nodes[1], "CONT");
    let answers: Vec<bool> = clients
        .iter_mut()
        .map(|client| {
            client.recv_within(SETTLES).ok().flatten().is_some_and(|reply| reply.to_string() == "+OK")
        })
        .collect();
    cluster.settle(3);
    for (i, is_ok) in answers.into_iter().enumerate() {
        let values: Vec<Value> = cluster
            .nodes
            .iter()
            .map(|node| patiently(node, &format!("GET c{i}"), &|reply| !matches!(reply, Value::Error(_))))
            .collect();
        // What was asked of it was asked before, and answered after the others had written; an error leaves it open.
        let first = values[0].text().unwrap_or_default();
        assert!(
            first == b"theirs" || first == b"ours" && !is_ok,
            "c{i} is {values:?}, its answer was OK: {is_ok}"
        );
        assert!(values.iter().all(|value| value.text() == Some(first)), "c{i} is {values:?}");
    }
}

/// CLUSTERSCAN meets every key once, whichever node is asked, and can be kept to a slot; CLUSTER SLOT-STATS counts what each node serves.
#[test]
fn a_scan_by_slots_meets_every_key() {
    let cluster = Cluster::start(3);
    let mut client = cluster.nodes[0].connect();
    let mut wanted: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
    for key in &wanted {
        assert_eq!(client.call(&["SET", key, "v"]).expect("a reply").to_string(), "+OK");
    }
    let mut others: Vec<_> = cluster.nodes.iter().map(|node| node.connect()).collect();
    let mut asked = 0;
    let mut scan = |options: &[&str]| {
        let (mut cursor, mut keys) = ("0".to_string(), Vec::new());
        loop {
            asked += 1;
            let request = [&["CLUSTERSCAN", &*cursor], options].concat();
            let reply = others[asked % 3].call(&request).expect("a reply");
            let text = |value: &Value| String::from_utf8_lossy(value.text().expect("text")).into_owned();
            let [next, found] = reply.items() else { panic!("{reply}") };
            keys.extend(found.items().iter().map(text));
            cursor = text(next);
            if cursor == "0" {
                keys.sort();
                return keys;
            }
        }
    };
    wanted.sort();
    assert_eq!(scan(&[]), wanted);
    let slot = client.line("CLUSTER KEYSLOT k7").expect("a reply").to_string()[1..].to_string();
    assert_eq!(scan(&["SLOT", &slot]), ["k7"]);
    assert_eq!(scan(&["MATCH", "k7"]), ["k7"]);
    assert_eq!(scan(&["MATCH", "k7", "SLOT", "0"]), [""; 0]);
    assert_eq!(scan(&["TYPE", "list"]), [""; 0]);
    let mut count = 0;
    for node in &cluster.nodes {
        let reply = node.connect().line("CLUSTER SLOT-STATS ORDERBY key-count ASC").expect("a reply");
        let counts = reply.items().iter().map(|slot| slot.items()[1].items()[1].int().expect("a count"));
        count += counts.sum::<i64>();
    }
    assert_eq!(count, 500);
}

/// A node that is shown as a cluster of itself answers as one of Valkey's would.
#[test]
fn a_lone_node_can_be_scanned_by_slots() {
    let node = harness::node(&["--cluster-view", "cluster"]);
    let mut client = node.connect();
    let mut says = |line: &str| client.line(line).expect("a reply").to_string();
    says("MSET {06S}a v {06S}b v c v");
    assert_eq!(says("CLUSTERSCAN 0-{06S}-0 SLOT 0 MATCH *a"), r#"["0" ["{06S}a"]]"#);
    for (request, reply) in [
        ("CLUSTERSCAN 0-{0}", "-ERR Invalid cursor"),
        ("CLUSTERSCAN 0-{06S}-0 SLOT 5", "-ERR Cursor slot mismatch with SLOT argument"),
        ("CLUSTERSCAN 0 SLOT 16384", "-ERR Invalid or out of range slot"),
        ("CLUSTERSCAN 0 COUNT 0", "-ERR syntax error"),
        ("SCAN 0 SLOT 0", "-ERR syntax error"),
        ("CLUSTER SLOT-STATS SLOTSRANGE 0 1", r#"[[:0 ["key-count" :2]] [:1 ["key-count" :0]]]"#),
        ("CLUSTER SLOT-STATS SLOTSRANGE 2 1", "-ERR Start slot number 2 is greater than end slot number 1"),
        ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1", r#"[[:0 ["key-count" :2]]]"#),
        ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1 ASC", r#"[[:1 ["key-count" :0]]]"#),
        ("CLUSTER SLOT-STATS ORDERBY memory", "-ERR Unrecognized sort metric for ORDERBY."),
        (
            "CLUSTER SLOT-STATS ORDERBY key-count ASC DESC",
            "-ERR Multiple filters of the same type are disallowed.",
        ),
        (
            "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 0",
            "-ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
        ),
    ] {
        assert_eq!(says(request), reply, "{request}");
    }
}
