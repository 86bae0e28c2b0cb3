//! The `shoal` binary: arguments to exit code.

use shoal::config::{self, Startup};
use shoal::error::Error;
use shoal::{Node, Signals, memory};
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
    let signals = Signals::catch()?;
    let node = Node::start(config)?;
    announce(&node);
    node.run_until(signals);
    Ok(())
}

/// Says where the node can be reached, and how to see that it works.
fn announce(node: &Node) {
    let mut text = String::from("ready");
    let mut hints = Vec::new();
    for (name, addresses, hint) in [
        ("RESP", node.addresses(), "redis-cli -p PORT ping"),
        ("memcached", node.memcached_addresses(), "echo version | nc -q1 localhost PORT"),
    ] {
        let Some(first) = addresses.first() else { continue };
        let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        text.push_str(&format!("; {name} on {}", all.join(", ")));
        hints.push(hint.replace("PORT", &first.port().to_string()));
    }
    tracing::info!("{text}; try: {}", hints.join(" or: "));
}
