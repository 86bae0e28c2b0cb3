//! The process: how it starts, refuses to start, and stops.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

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
