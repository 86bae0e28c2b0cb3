//! Starting the Shoal this test run built.

use std::path::Path;
use std::process::Command;

use shoal_testkit::Server;

/// The program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_shoal");

/// A node of its own for one test, with further directives in `args`.
pub fn node(args: &[&str]) -> Server {
    let args = [&["--workers", "2"], args].concat();
    Server::shoal(Path::new(BINARY), &args).expect("shoal starts")
}

/// The program, to be run in another way.
pub fn command() -> Command {
    Command::new(BINARY)
}
