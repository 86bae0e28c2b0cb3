//! Starting the Shoal this test run built.

use std::path::Path;

use shoal_testkit::Server;

/// A node of its own for one test, with further directives in `args`.
pub fn node(args: &[&str]) -> Server {
    let args = [&["--workers", "2"], args].concat();
    Server::shoal(Path::new(env!("CARGO_BIN_EXE_shoal")), &args).expect("shoal starts")
}
