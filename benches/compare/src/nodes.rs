//! Clusters of Shoal on this machine: started, watched, killed and started again.
//!
//! Invariant: a [`Cluster`] has settled when its constructor returns, and its processes and directories are gone when it is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shoal_testkit::resp::Client;
use shoal_testkit::server::Place;
use shoal_testkit::{Server, Value};

use crate::contender;
use crate::workload::name;
use crate::{Failure, Options};

/// How long a cluster may take to be as it should be.
const SETTLES: Duration = Duration::from_secs(120);
/// For so long nothing moves in a cluster that has settled: between two steps of a move nothing does for a moment.
const CALM: Duration = Duration::from_millis(700);
/// Slots of all keys, and of a partition.
const SLOTS: usize = 16384;
pub const PARTITION: usize = 64;

/// A member of a cluster.
pub struct Node {
    binary: PathBuf,
    directives: Vec<String>,
    cores: String,
    place: Place,
    server: Option<Server>,
}

impl Node {
    /// Starts one on `cores` that founds a cluster, or joins that of `seed`; with one worker, and further `directives`.
    pub fn start(
        seed: Option<&Node>,
        cores: &str,
        directives: &[&str],
        options: &Options,
    ) -> Result<Node, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("shoal-compare-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let place = Place::new(dir)?;
        let mut directives: Vec<String> = directives.iter().map(ToString::to_string).collect();
        if let Some(seed) = seed {
            directives.extend(["--join".into(), seed.addr().to_string()]);
        }
        let (binary, cores) = (options.shoal.clone(), cores.to_string());
        let mut node = Node { binary, directives, cores, place, server: None };
        node.start_again()?;
        Ok(node)
    }

    /// Starts it where it was, with what its directory holds.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.cores]).arg(&self.binary).args(["--workers", "1"]).args(&self.directives);
        self.place.tell(&mut command);
        // A directory of its own goes with each process; the node's is to last.
        self.server = Some(Server::other(command, Some(self.addr()), None)?);
        Ok(())
    }

    /// Where it speaks RESP.
    pub fn addr(&self) -> SocketAddr {
        self.place.addr
    }

    /// Its answer to a line, in one piece.
    pub fn ask(&self, line: &str) -> io::Result<String> {
        Ok(match Client::connect(self.addr())?.line(line)? {
            Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
            other => other.to_string(),
        })
    }

    /// Processor time it has used, in nanoseconds.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        self.server.as_ref().map_or(Ok(0), |server| contender::cpu_ns(server.pid()))
    }

    /// Sends a signal to its process.
    pub fn signal(&self, name: &str) -> Result<(), Failure> {
        let Some(server) = &self.server else { return Ok(()) };
        let sent = Command::new("kill").args([&format!("-{name}"), &server.pid().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(format!("kill -{name}: {sent}").into()) }
    }

    /// Waits until its process is gone.
    pub fn wait(&mut self) -> io::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.wait(SETTLES)?;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server = None;
        // It fails only if it is gone.
        let _ = fs::remove_dir_all(&self.place.dir);
    }
}

/// Nodes that are one cache.
pub struct Cluster {
    /// Its nodes; the first founded it.
    pub nodes: Vec<Node>,
    copies: usize,
}

impl Cluster {
    /// One of so many nodes on `cores` that keeps so many copies.
    pub fn start(size: usize, copies: usize, cores: &str, options: &Options) -> Result<Cluster, Failure> {
        let mut cluster = Cluster { nodes: Vec::new(), copies };
        for _ in 0..size {
            cluster.add(cores, options)?;
        }
        cluster.settle()?;
        Ok(cluster)
    }

    /// A further node, which has not been given anything yet.
    pub fn add(&mut self, cores: &str, options: &Options) -> Result<(), Failure> {
        let copies = self.copies.to_string();
        let node = Node::start(self.nodes.first(), cores, &["--copies", &copies], options)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Waits until all nodes serve, every partition has its copies, and nothing has moved for a moment. Returns when that began.
    pub fn settle(&self) -> Result<Instant, Failure> {
        let until = Instant::now() + SETTLES;
        let mut since = None;
        loop {
            since = if self.is_settled() { since.or(Some(Instant::now())) } else { None };
            if let Some(since) = since.filter(|since| since.elapsed() > CALM) {
                return Ok(since);
            }
            if Instant::now() > until {
                let status = self.nodes[0].ask("CLUSTER STATUS").unwrap_or_default();
                return Err(format!("the cluster does not settle:\n{status}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_settled(&self) -> bool {
        let Ok(holders) = self.holders() else { return false };
        let primaries: std::collections::BTreeSet<u16> =
            holders.iter().filter_map(|ports| ports.first().copied()).collect();
        let copies = self.copies.min(self.nodes.len());
        primaries.len() == self.nodes.len()
            && holders.iter().all(|ports| ports.len() == copies)
            && self.nodes[0].ask("CLUSTER STATUS").is_ok_and(|status| status.contains(" 0 moving"))
    }

    /// The ports of the nodes that hold each partition, the primary's first.
    pub fn holders(&self) -> Result<Vec<Vec<u16>>, Failure> {
        let mut answer = Err(io::Error::other("no node answers"));
        for node in self.nodes.iter().filter(|node| node.server.is_some()) {
            answer = Client::connect(node.addr()).and_then(|mut client| client.line("CLUSTER SHARDS"));
            if answer.is_ok() {
                break;
            }
        }
        let mut holders = vec![Vec::new(); SLOTS / PARTITION];
        for shard in answer?.items() {
            let nodes = field(shard, "nodes").ok_or("a shard without nodes")?;
            let port = |node| field(node, "port").and_then(Value::int).map(|port| port as u16);
            let ports: Vec<u16> = nodes.items().iter().filter_map(port).collect();
            let slots = field(shard, "slots").ok_or("a shard without slots")?;
            let slots: Vec<usize> =
                slots.items().iter().filter_map(|slot| Some(slot.int()? as usize)).collect();
            for range in slots.as_chunks::<2>().0 {
                holders[range[0] / PARTITION..=range[1] / PARTITION].fill(ports.clone());
            }
        }
        Ok(holders)
    }

    /// Which node leads.
    pub fn leader(&self) -> Result<usize, Failure> {
        let status = self.nodes[0].ask("CLUSTER STATUS")?;
        let leads = |node: &Node| status.contains(&format!("led by {};", node.addr()));
        Ok(self.nodes.iter().position(leads).ok_or("nobody leads")?)
    }

    /// Numbers of keys below `keys`, by the node that serves them.
    pub fn keys_by_node(&self, keys: u64) -> Result<Vec<Vec<u64>>, Failure> {
        let holders = self.holders()?;
        let at: BTreeMap<u16, usize> =
            self.nodes.iter().enumerate().map(|(at, node)| (node.addr().port(), at)).collect();
        let mut by_node = vec![Vec::new(); self.nodes.len()];
        for key in 0..keys {
            let primary = holders[slot(&name(key)) / PARTITION].first().and_then(|port| at.get(port));
            by_node[*primary.ok_or("a slot that nobody serves")?].push(key);
        }
        Ok(by_node)
    }

    /// Processor time all nodes together have used, in nanoseconds.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        self.nodes.iter().map(Node::cpu_ns).sum()
    }
}

/// What stands behind `name` in a list of names and values.
fn field<'v>(pairs: &'v Value, name: &str) -> Option<&'v Value> {
    let (pairs, _) = pairs.items().as_chunks::<2>();
    pairs.iter().find(|[found, _]| found.text() == Some(name.as_bytes())).map(|[_, value]| value)
}

/// The slot of a key without a hash tag: CRC16/XMODEM.
fn slot(key: &[u8]) -> usize {
    let crc = key.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| crc << 1 ^ if crc >> 15 == 1 { 0x1021 } else { 0 })
    });
    usize::from(crc) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // The check value of CRC16/XMODEM, and an example of Redis' documentation.
        assert_eq!(slot(b"123456789"), 0x31c3 % SLOTS);
        assert_eq!(slot(b"foo"), 12182);
    }
}
