//! The process: how it starts, refuses to start, and stops.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use shoal_testkit::Server;
use shoal_testkit::resp::Client;
use shoal_testkit::server::free_port;

use crate::harness;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn sigterm_stops_in_good_order() {
    let mut node = harness::node(&[]);
    let mut client = node.connect();
    assert_eq!(client.line("SET k v").expect("a reply").to_string(), "+OK");
    let kill = Command::new("kill").args(["-TERM", &node.pid().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    assert!(node.wait(PATIENCE).expect("the node ends").success());
    assert!(client.closes());
}

#[test]
fn shutdown_stops_in_good_order() {
    let mut node = harness::node(&[]);
    let mut client = node.connect();
    assert_eq!(client.line("SHUTDOWN WRONG").expect("a reply").to_string(), "-ERR syntax error");
    client.send(&["SHUTDOWN"]).expect("sent");
    assert!(node.wait(PATIENCE).expect("the node ends").success());
    assert!(client.closes());
}

#[test]
fn a_port_in_use_is_said_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output =
        harness::command().args(["--port", &port, "--memcached-port", "0"]).output().expect("shoal runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&port), "{said}");
}

/// The others went on alone, for a cluster that was not there or was another one.
#[test]
fn three_nodes_of_which_one_finds_its_port_in_use_end_and_say_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/three-nodes");
    let output = Command::new(script).args([harness::BINARY, &port]).output().expect("a script runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    assert!(said.contains(&format!("use ports {port} to ")), "{said}");
}

/// Workers share their port, so a second node on it started, and took half of the connections of the first.
#[test]
fn a_port_of_another_node_is_said_so_by_its_directive() {
    let (dir, other) = (Directory::new("ports"), free_port().expect("a free port").to_string());
    let node = harness::node(&["--cluster-port", &other]);
    let (resp, memcached) = (node.resp_addr().port().to_string(), node.memcached_addr().port().to_string());
    for (directive, taken) in [("port", resp), ("memcached-port", memcached), ("cluster-port", other)] {
        for bind in ["127.0.0.1", "*", "127.0.0.1 -::1"] {
            let mut command = harness::command();
            command.args([
                "--workers",
                "2",
                "--port",
                "0",
                "--memcached-port",
                "0",
                "--unixsocket",
                "socket",
            ]);
            command.args(["--bind", bind, &format!("--{directive}"), &taken]).arg("--dir").arg(&dir.0);
            let output = command.output().expect("shoal runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && said.contains(&format!("{directive}: cannot listen on")),
                "{said}"
            );
            assert!(said.contains(&taken) && said.contains("in use"), "{said}");
        }
    }
}

#[test]
fn of_two_nodes_that_start_at_once_on_a_port_one_does() {
    let dir = Directory::new("twins");
    let port = free_port().expect("a free port");
    let start = || {
        let mut command = harness::command();
        command.args(["--workers", "2", "--port", &port.to_string(), "--memcached-port", "0", "--dir"]);
        command.arg(&dir.0).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.spawn().expect("shoal runs")
    };
    let mut twins = [start(), start()];
    let mut ended = 0;
    eventually(|| {
        ended = twins.iter_mut().filter_map(|twin| twin.try_wait().expect("a child")).count();
        ended > 0
    });
    let is_there = || Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_ok();
    eventually(is_there);
    for _ in 0..50 {
        assert!(is_there());
    }
    ended = twins.iter_mut().filter_map(|twin| twin.try_wait().expect("a child")).count();
    for twin in &mut twins {
        // One is gone already.
        let _ = twin.kill();
        twin.wait().expect("a child");
    }
    assert_eq!(ended, 1);
}

#[test]
fn port_0_is_none() {
    let dir = Directory::new("no-port");
    let command = |args: &[&str]| {
        let mut command = harness::command();
        command
            .args(["--workers", "1", "--bind", "127.0.0.1", "--port", "0"])
            .args(args)
            .arg("--dir")
            .arg(&dir.0);
        command
    };
    let port = free_port().expect("a free port");
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let node = Server::other(command(&["--memcached-port", &port.to_string()]), None, Some(addr))
        .expect("it starts");
    assert!(!node.connect_memcached().line("version").expect("a reply").is_empty());
    let log = || fs::read_to_string(node.dir().join("log")).expect("its log");
    eventually(|| log().contains("memcached on"));
    assert!(!log().contains("RESP on"), "{}", log());

    let output = command(&["--memcached-port", "0"]).output().expect("shoal runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("port and memcached-port are both 0"), "{said}");
    let join = ["--memcached-port", &port.to_string(), "--join", "127.0.0.1:1"];
    let output = command(&join).output().expect("shoal runs");
    assert!(!output.status.success());
}

#[test]
fn a_directory_of_another_node_is_said_so() {
    let dir = Directory::new("shared");
    let path = dir.0.to_string_lossy().into_owned();
    let (join, port) = (free_port().expect("a free port"), free_port().expect("a free port"));
    // It opens its file once it is let in; a member that lost its cluster has it open from its start.
    let first = crate::cluster::member_with(None, &["--dir", &path]);
    let _second = crate::cluster::member(Some(&first));
    eventually(|| dir.0.join("shoal-cluster.redb").exists());
    let mut command = harness::command();
    command.args(["--workers", "1", "--port", &port.to_string(), "--memcached-port", "0", "--dir", &path]);
    let output = command.args(["--join", &format!("127.0.0.1:{join}")]).output().expect("shoal runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(&path), "{said}");
    assert!(said.contains(&format!("process {}", first.pid())) || said.contains("another node"), "{said}");
    assert!(said.contains("a dir of its own"), "{said}");
}

#[test]
fn a_directive_nobody_knows_is_said_so() {
    let output = harness::command().args(["--nosuch", "1"]).output().expect("shoal runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nosuch"), "{said}");
}

#[test]
fn a_node_moves_to_another_port() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let port = free_port().expect("a free port");
    assert_eq!(client.line(&format!("CONFIG SET port {port}")).expect("a reply").to_string(), "+OK");
    // The connection stays, and new ones are taken at the new port only.
    assert_eq!(client.line("SET k v").expect("a reply").to_string(), "+OK");
    let mut moved = Client::connect(at(port)).expect("listens there");
    assert_eq!(moved.line("GET k").expect("a reply").to_string(), "\"v\"");
    eventually(|| Client::connect(node.resp_addr()).is_err());

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let occupied = taken.local_addr().expect("an address").port();
    let refused = client.line(&format!("CONFIG SET port {occupied}")).expect("a reply").to_string();
    assert_eq!(
        refused,
        "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs."
    );
    let refused = client.line("CONFIG SET bind 203.0.113.7").expect("a reply").to_string();
    assert_eq!(
        refused,
        "-ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses."
    );
    let kept = client.line("CONFIG GET port").expect("a reply").to_string();
    assert!(kept.contains(&port.to_string()), "{kept}");
    assert!(Client::connect(at(port)).is_ok(), "still listens where it did");

    let wider = client.line("CONFIG SET bind *").expect("a reply").to_string();
    assert_eq!(wider, "+OK");
    assert_eq!(client.line("CONFIG SET port 0").expect("a reply").to_string(), "+OK");
    eventually(|| Client::connect(at(port)).is_err());
    assert_eq!(client.line("PING").expect("a reply").to_string(), "+PONG");
}

/// Waits for what happens soon, or fails.
fn eventually(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it did not come to be");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of its own for a test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_node_in_the_background_leaves_its_id_and_a_log_and_cleans_up() {
    let dir = Directory::new("background");
    let port = free_port().expect("a free port");
    let args = ["--port", &port.to_string(), "--memcached-port", "0", "--workers", "1", "--daemonize", "yes"];
    let files = ["--dir", &dir.0.to_string_lossy(), "--pidfile", "node.pid", "--logfile", "node.log"];
    let more = ["--appendonly", "yes", "--loglevel", "notice"];
    let begun = harness::command().args(args).args(files).args(more).status().expect("shoal runs");
    assert!(begun.success());

    // It is ready by the time the command returns.
    let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("listens");
    let pid = fs::read_to_string(dir.0.join("node.pid")).expect("the id is there");
    let log = || fs::read_to_string(dir.0.join("node.log")).expect("the log is there");
    assert!(log().contains(&format!("PID: {}", pid.trim())), "{}", log());
    assert!(log().contains("Ready to accept connections"), "{}", log());
    assert!(log().contains("have no effect here: appendonly"), "{}", log());

    // Nothing is said below the level, which can be changed; and a log that was moved away is begun anew.
    fs::rename(dir.0.join("node.log"), dir.0.join("old.log")).expect("moved");
    assert_eq!(client.line("CONFIG SET loglevel warning").expect("a reply").to_string(), "+OK");
    let bad_port = client.line("CONFIG SET bind 203.0.113.7").expect("a reply");
    assert!(bad_port.is_error());
    assert!(log().contains("cannot listen on 203.0.113.7"), "{}", log());
    client.send(&["SHUTDOWN"]).expect("sent");
    assert!(client.closes());
    eventually(|| !dir.0.join("node.pid").exists());
    assert!(!log().contains("SHUTDOWN"), "{}", log());
}

#[test]
fn a_node_that_cannot_start_in_the_background_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let args = ["--port", &port, "--memcached-port", "0", "--daemonize", "yes"];
    let output = harness::command().args(args).output().expect("shoal runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&port));
}
