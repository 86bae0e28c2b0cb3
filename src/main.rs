//! The `shoal` binary: arguments to exit code.

use shoal::config::{self, Startup};
use shoal::error::Error;
use shoal::{Node, memory};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: memory::Counting<mimalloc::MiMalloc> = memory::Counting(mimalloc::MiMalloc);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shoal: {}", shoal::error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let config = match config::parse_command_line(std::env::args_os().skip(1))? {
        Startup::Print(text) => {
            print!("{text}");
            return Ok(());
        }
        Startup::Serve(config) => *config,
    };
    shoal::server::log::start(&config)?;
    let node = Node::start(config)?;
    let at = |addresses: &[std::net::SocketAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let port = node.addresses().first().map_or(0, |address| address.port());
    tracing::info!("ready: RESP on {}; try: redis-cli -p {port} ping", at(node.addresses()));
    node.run_until_signal()
}
