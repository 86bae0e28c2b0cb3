//! A disk that is full under the file in which a node keeps what it knows of its cluster: a small file system of its own, in a mount
//! namespace.
//!
//! This wants the right to make mount namespaces (root); without it the tests say so and do nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shoal_testkit::Server;
use shoal_testkit::server::{Place, free_port};

use crate::cluster::{Cluster, Writer, assert_nothing_lost, member};
use crate::harness;

/// How long a node may take to find out, or to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A small file system that only those in its namespace see. A process keeps the namespace, as long as its input is open.
struct Disk {
    keeper: Child,
    directory: PathBuf,
}

impl Disk {
    /// One of so many KiB; nothing if that is not allowed here.
    fn new(kib: usize) -> Option<Disk> {
        let port = free_port().expect("a free port");
        let directory = std::env::temp_dir().join(format!("shoal-disk-{}-{port}", std::process::id()));
        let script = format!(
            "mkdir {0} && mount -t tmpfs -o size={kib}k tmpfs {0} && echo ready && cat",
            directory.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.stderr(Stdio::null()).spawn().ok()?;
        let mut said = String::new();
        let read = keeper.stdout.take().map(|out| BufReader::new(out).read_line(&mut said));
        let disk = Disk { keeper, directory };
        (read.is_some_and(|read| read.is_ok()) && said == "ready\n").then_some(disk)
    }

    /// A command in the namespace.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.keeper.id().to_string(), "-m", program]);
        command
    }

    fn resize(&self, kib: usize) {
        let mut mount = self.command("mount");
        mount.args(["-o", &format!("remount,size={kib}k")]).arg(&self.directory);
        assert!(mount.status().expect("mount runs").success());
    }

    /// A file on it, as others see it.
    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.directory.strip_prefix("/").expect("an absolute path")).join(name)
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut file = File::create(self.file("filler")).expect("a file is made");
        let block = [1; 4096];
        while file.write_all(&block).is_ok() {}
    }

    fn clear(&self) {
        std::fs::remove_file(self.file("filler")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// A node that keeps its file on `disk` and belongs to the cluster of `seed`.
struct Tenant<'d> {
    disk: &'d Disk,
    seed: SocketAddr,
    place: Place,
}

impl<'d> Tenant<'d> {
    fn new(disk: &'d Disk, seed: &Server) -> Tenant<'d> {
        let place = Place::new(disk.directory.clone()).expect("free ports");
        Tenant { disk, seed: seed.resp_addr(), place }
    }

    fn command(&self) -> Command {
        let mut command = self.disk.command(harness::BINARY);
        command.args(["--workers", "2", "--join", &self.seed.to_string()]);
        self.place.tell(&mut command);
        command
    }

    /// Starts it; it answers.
    fn start(&self) -> Server {
        Server::other(self.command(), Some(self.place.addr), None).expect("a node starts")
    }

    /// Starts it; whether it ever answers is not waited for.
    fn attempt(&self) -> Server {
        Server::other(self.command(), None, None).expect("a node is started")
    }
}

/// A node has ended because of the disk, and has said so.
fn assert_ended_for_want_of_space(node: &mut Server) {
    let status = node.wait(PATIENCE).expect("it ends");
    let log = std::fs::read_to_string(node.dir().join("log")).unwrap_or_default();
    assert_eq!(status.code(), Some(1), "{log}");
    let line = log.lines().find(|line| line.contains("ERROR")).unwrap_or_default();
    assert!(line.contains("shoal-cluster.redb") && line.contains("No space left on device"), "{log}");
}

/// Has users made by `cluster`, which has so many, until `node` has ended, as it has to keep them too; returns how many there are.
fn set_until_it_ends(cluster: &Cluster, node: &mut Server, mut users: usize) -> usize {
    let (until, mut client) = (Instant::now() + PATIENCE, cluster.nodes[0].connect());
    while node.wait(Duration::ZERO).is_err() {
        assert!(Instant::now() < until, "a full disk is not noticed\n{}", cluster.logs());
        let patterns = (0..200).map(|i| format!("~a-pattern-that-takes-room:{users}:{i}"));
        let request: Vec<String> = ["ACL", "SETUSER", &format!("user{users}"), "on", ">secret", "+get"]
            .into_iter()
            .map(String::from)
            .chain(patterns)
            .collect();
        // On a machine that stands still there may be nobody for a moment who could say so.
        users += usize::from(client.call(&request).expect("a reply").to_string() == "+OK");
    }
    users
}

#[test]
fn a_full_disk_takes_one_node_out_and_nothing_else() {
    let Some(disk) = Disk::new(4096) else {
        return eprintln!("not tested: this user may not make mount namespaces");
    };
    let mut cluster = Cluster { nodes: vec![member(None)] };
    let second = member(Some(&cluster.nodes[0]));
    let tenant = Tenant::new(&disk, &cluster.nodes[0]);
    cluster.nodes.extend([second, tenant.start()]);
    cluster.settle(3);
    let writers: Vec<Writer> =
        (0..2).map(|at| Writer::start(format!("d{at}"), cluster.nodes[at].resp_addr(), 100)).collect();
    let mut third = cluster.nodes.remove(2);
    disk.fill();
    let users = set_until_it_ends(&cluster, &mut third, 0);
    assert_ended_for_want_of_space(&mut third);
    // The others go on, and agree on more.
    let target = cluster.nodes[1].connect().line("CLUSTER MYID").expect("a reply");
    let target = String::from_utf8_lossy(target.text().expect("a name")).into_owned();
    let moved = cluster.nodes[0].connect().line(&format!("CLUSTER MOVE 0-63 {target}")).expect("a reply");
    assert_eq!(moved.to_string(), "+OK");
    cluster.settle(2);
    // Started again it ends again, at once or when there is more to be kept.
    let mut again = tenant.attempt();
    let users = set_until_it_ends(&cluster, &mut again, users);
    assert_ended_for_want_of_space(&mut again);
    disk.clear();
    cluster.nodes.push(tenant.start());
    cluster.settle(3);
    for node in &cluster.nodes {
        let mut client = node.connect();
        for user in 0..users {
            let known = client.line(&format!("ACL GETUSER user{user}")).expect("a reply");
            assert!(!known.items().is_empty(), "user{user}: {known}");
        }
    }
    for (at, writer) in writers.into_iter().enumerate() {
        let written = writer.stop();
        // As with any node that is gone, a write may have been under way to it.
        let only_unknown = written.errors.iter().all(|error| error.starts_with("-UNKNOWN"));
        assert!(only_unknown, "{:?}{}", written.errors, cluster.logs());
        assert!(written.errors.len() <= 10, "{:?}{}", written.errors, cluster.logs());
        for node in &cluster.nodes {
            assert_nothing_lost(&mut node.connect(), &format!("d{at}"), &written);
        }
    }
}

#[test]
fn a_node_that_finds_no_space_at_its_first_start_says_so_and_starts_later() {
    let Some(disk) = Disk::new(4) else {
        return eprintln!("not tested: this user may not make mount namespaces");
    };
    let mut cluster = Cluster { nodes: vec![member(None)] };
    let tenant = Tenant::new(&disk, &cluster.nodes[0]);
    for kib in [4, 32, 64] {
        disk.resize(kib);
        assert_ended_for_want_of_space(&mut tenant.attempt());
    }
    // What it had begun does not stand in its way.
    disk.resize(4096);
    cluster.nodes.push(tenant.start());
    cluster.settle(2);
}
