//! Cut networks: nodes in network namespaces of their own, joined by a bridge, some of whose ways are closed for a while.
//!
//! Clients reach every node all the time, so those of the smaller side are there too. Each key has one writer, which writes
//! growing numbers, and readers at all nodes. A history of such keys is linearizable if no read returns less than what was
//! acknowledged, or read by anybody, before it began, nor more than what was written before it ended.
//!
//! This wants the right to make network namespaces (root); without it the tests say so and do nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shoal_testkit::resp::Client;
use shoal_testkit::{Server, Value};

use crate::cluster::Cluster;
use crate::harness;

const PORT: u16 = 6379;
const NODES: usize = 3;
/// Keys of each writer.
const KEYS: usize = 40;
/// How long ways stay closed: much longer than a lease.
const CUT: Duration = Duration::from_secs(3);

/// Nodes' namespaces and the bridge between them.
struct Network {
    name: String,
    subnet: [u8; 3],
}

fn ip(args: &[&str]) -> bool {
    let done = Command::new("ip").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

impl Network {
    /// A network of `NODES`; nothing if that is not allowed here.
    fn new() -> Option<Network> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() * 4 + NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sh{:x}", number % 0xfffff);
        let subnet = [10, 64 + (number >> 8 & 0x3f) as u8, number as u8];
        let network = Network { name, subnet };
        let bridge = &network.name;
        if !ip(&["link", "add", bridge, "type", "bridge"]) {
            return None;
        }
        let mut made = ip(&["address", "add", &format!("{}/24", network.at(1)), "dev", bridge])
            && ip(&["link", "set", bridge, "up"]);
        for node in 0..NODES {
            let (space, port) = (network.space(node), format!("{bridge}p{node}"));
            made = made
                && ip(&["netns", "add", &space])
                && ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space])
                && ip(&["link", "set", &port, "master", bridge, "up"])
                && ip(&[
                    "-n",
                    &space,
                    "address",
                    "add",
                    &format!("{}/24", network.node(node)),
                    "dev",
                    "eth0",
                ])
                && ip(&["-n", &space, "link", "set", "eth0", "up"])
                && ip(&["-n", &space, "link", "set", "lo", "up"]);
        }
        made.then_some(network)
    }

    fn at(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(self.subnet[0], self.subnet[1], self.subnet[2], host)
    }

    fn node(&self, node: usize) -> Ipv4Addr {
        self.at(10 + node as u8)
    }

    fn space(&self, node: usize) -> String {
        format!("{}n{node}", self.name)
    }

    /// Lets nothing of what `from` sends to `to` arrive.
    fn cut(&self, from: usize, to: usize) {
        let way = format!("{}/32", self.node(to));
        assert!(ip(&["-n", &self.space(from), "route", "add", "blackhole", &way]));
    }

    /// Opens the way again.
    fn heal(&self, from: usize, to: usize) {
        let way = format!("{}/32", self.node(to));
        assert!(ip(&["-n", &self.space(from), "route", "del", "blackhole", &way]));
    }

    /// A node in its namespace.
    fn start(&self, node: usize, seed: Option<usize>) -> Server {
        let addr = SocketAddr::new(IpAddr::V4(self.node(node)), PORT);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(node), harness::BINARY]);
        command.args(["--bind", &addr.ip().to_string(), "--port", &PORT.to_string()]);
        command.args(["--memcached-port", "0", "--workers", "2", "--protected-mode", "no"]);
        command.args(["--cluster-secret", "a secret of this test"]).env("NO_COLOR", "1");
        if let Some(seed) = seed {
            command.args(["--join", &format!("{}:{PORT}", self.node(seed))]);
        }
        Server::other(command, Some(addr), None).expect("a node starts in its namespace")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in 0..NODES {
            ip(&["netns", "del", &self.space(node)]);
        }
        ip(&["link", "del", &self.name]);
    }
}

/// A key as its writer and readers have seen it.
#[derive(Default)]
struct Register {
    /// The last number that may have been written.
    asked: AtomicI64,
    /// The greatest that was acknowledged, or that somebody has read.
    known: AtomicI64,
}

/// Threads that write and read until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    registers: Arc<Vec<Register>>,
    threads: Vec<JoinHandle<Outcome>>,
}

/// What one thread saw.
struct Outcome {
    /// The longest time without an answer.
    longest: Duration,
    answers: usize,
    wrong: Vec<String>,
}

impl Load {
    fn start(nodes: &[Server]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let registers: Arc<Vec<Register>> =
            Arc::new((0..nodes.len() * KEYS).map(|_| Register::default()).collect());
        let mut threads = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            for writes in [true, false] {
                let (stop, registers, addr) = (Arc::clone(&stop), Arc::clone(&registers), node.resp_addr());
                threads.push(std::thread::spawn(move || run(at, writes, addr, &stop, &registers)));
            }
        }
        Load { stop, registers, threads }
    }

    fn stop(self) -> (Arc<Vec<Register>>, Vec<Outcome>) {
        self.stop.store(true, Ordering::Relaxed);
        let outcomes = self.threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        (self.registers, outcomes.collect())
    }
}

fn run(at: usize, writes: bool, addr: SocketAddr, stop: &AtomicBool, registers: &[Register]) -> Outcome {
    let mut outcome = Outcome { longest: Duration::ZERO, answers: 0, wrong: Vec::new() };
    let (mut client, mut last) = (None, Instant::now());
    for turn in 1.. {
        if stop.load(Ordering::Relaxed) {
            return outcome;
        }
        let Some(connected) = client.as_mut() else {
            client = Client::connect(addr).ok();
            continue;
        };
        let key = if writes { at * KEYS + turn % KEYS } else { turn % registers.len() };
        let register = &registers[key];
        let answered = if writes {
            register.asked.store(turn as i64, Ordering::SeqCst);
            let reply = connected.line(&format!("SET cut:{key} {turn}"));
            let is_ok = reply.is_ok_and(|reply| reply.to_string() == "+OK");
            if is_ok {
                register.known.fetch_max(turn as i64, Ordering::SeqCst);
            }
            is_ok
        } else {
            let least = register.known.load(Ordering::SeqCst);
            let number = match connected.line(&format!("GET cut:{key}")) {
                Ok(Value::NullBulk | Value::Null) => Some(0),
                Ok(reply) => reply.text().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()),
                Err(_) => None,
            };
            number.inspect(|number: &i64| {
                let most = register.asked.load(Ordering::SeqCst);
                if !(least..=most).contains(number) {
                    outcome.wrong.push(format!("cut:{key} at node {at}: {number}, not of {least}..={most}"));
                }
                register.known.fetch_max(*number, Ordering::SeqCst);
            });
            number.is_some()
        };
        if answered {
            outcome.longest = outcome.longest.max(last.elapsed());
            outcome.answers += 1;
            last = Instant::now();
        } else {
            // An error, or nothing at all: what became of it is unknown.
            client = None;
        }
    }
    outcome
}

#[test]
fn a_cut_network_loses_nothing_and_shows_nothing_stale() {
    let Some(network) = Network::new() else {
        return eprintln!("not tested: this user may not make network namespaces");
    };
    let mut cluster = Cluster { nodes: vec![network.start(0, None)] };
    for node in 1..NODES {
        cluster.nodes.push(network.start(node, Some(0)));
    }
    cluster.settle(NODES);
    let load = Load::start(&cluster.nodes);
    let others = |node: usize| (0..NODES).filter(move |other| *other != node);
    // Each node in turn is cut off from the others, then cannot send to one of them: whoever leads is among them.
    for node in 0..NODES {
        others(node).for_each(|other| {
            network.cut(node, other);
            network.cut(other, node);
        });
        std::thread::sleep(CUT);
        others(node).for_each(|other| {
            network.heal(node, other);
            network.heal(other, node);
        });
        cluster.settle(NODES);
        let other = (node + 1) % NODES;
        network.cut(node, other);
        std::thread::sleep(CUT);
        network.heal(node, other);
        cluster.settle(NODES);
    }
    let (registers, outcomes) = load.stop();
    for outcome in &outcomes {
        println!("{} answers, longest silence {:?}", outcome.answers, outcome.longest);
        assert!(outcome.wrong.is_empty(), "{:#?}\n{}", outcome.wrong, cluster.logs());
        assert!(outcome.answers > 0);
    }
    for node in &cluster.nodes {
        let mut client = node.connect();
        for (key, register) in registers.iter().enumerate() {
            let reply = client.line(&format!("GET cut:{key}")).expect("a reply");
            let number: i64 =
                reply.text().map_or(Ok(0), |text| String::from_utf8_lossy(text).parse()).expect("a number");
            let known = register.known.load(Ordering::SeqCst);
            let asked = register.asked.load(Ordering::SeqCst);
            assert!((known..=asked).contains(&number), "cut:{key} is {number}, {known} was acknowledged");
        }
    }
}
