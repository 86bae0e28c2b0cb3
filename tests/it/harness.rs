//! Starting the Shoal this test run built.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use shoal_testkit::Server;

/// The program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_shoal");

/// A node of its own for one test, with further directives in `args`.
pub fn node(args: &[&str]) -> Server {
    let args = [&["--workers", "2"], args].concat();
    Server::shoal(Path::new(BINARY), &args).expect("shoal starts")
}

/// Waits until `holds`, for as long as a busy machine may need.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The program, to be run in another way.
pub fn command() -> Command {
    Command::new(BINARY)
}
