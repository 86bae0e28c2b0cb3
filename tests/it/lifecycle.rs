//! The process: how it starts, refuses to start, and stops.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use shoal_testkit::resp::Client;
use shoal_testkit::server::free_port;

use crate::harness;

const PATIENCE: Duration = Duration::from_secs(10);

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
