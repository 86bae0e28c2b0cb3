//! The `shoal` binary: arguments to exit code.

use shoal::config::{self, Config, Startup, id};
use shoal::error::Error;
use shoal::server::service::{self, PidFile};
use shoal::{Node, Signals, memory};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: memory::Counting<mimalloc::MiMalloc> = memory::Counting(mimalloc::MiMalloc);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = shoal::error::chain(&error);
            // A terminal would show it twice; what ended a running node is in the log already.
            if shoal::server::log::is_in_a_file() && !matches!(error, Error::Failed(_)) {
                tracing::error!("cannot start: {text}");
            }
            eprintln!("shoal: {text}");
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
    let background = service::detach(&config)?;
    shoal::server::log::start(&config)?;
    introduce(&config);
    let signals = Signals::catch()?;
    let node = Node::start(config)?;
    let _pid_file = PidFile::write(&node.state().config);
    announce(&node);
    if let Some(background) = background {
        background.ready().map_err(|source| Error::Thread { source })?;
    }
    let state = std::sync::Arc::clone(node.state());
    service::notify(&state.config, "READY=1");
    node.run_until(signals);
    service::notify(&state.config, "STOPPING=1");
    state.failure().map_or(Ok(()), |why| Err(Error::Failed(why.to_string())))
}

/// Says who this is, and what was asked for in vain.
fn introduce(config: &Config) {
    let file = config.file().map_or("none".into(), |file| file.display().to_string());
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    tracing::info!("Shoal {version}, PID: {pid}, configuration file: {file}");
    let mut vain: Vec<&str> = config.set_in_vain().map(|id| id.name()).collect();
    if !config.caches().is_empty() {
        vain.push("cache");
    }
    if !vain.is_empty() {
        tracing::warn!("directives that have no effect here: {}", vain.join(", "));
    }
}

/// Says where the node can be reached, and how to see that it works.
fn announce(node: &Node) {
    let mut places = Vec::new();
    let mut hints = Vec::new();
    for (name, addresses, hint) in [
        ("RESP", node.addresses(), "redis-cli -p PORT ping"),
        ("memcached", node.memcached_addresses(), "echo version | nc -q1 localhost PORT"),
    ] {
        let Some(first) = addresses.first() else { continue };
        let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        places.push(format!("{name} on {}", all.join(", ")));
        hints.push(hint.replace("PORT", &first.port().to_string()));
    }
    if let Some(socket) = node.state().config.path(id::MEMCACHED_UNIXSOCKET) {
        places.push(format!("memcached on {}", socket.display()));
    }
    if let Some(socket) = node.state().config.path(id::UNIXSOCKET) {
        places.push(format!("RESP on {}", socket.display()));
        hints.push(format!("redis-cli -s {} ping", socket.display()));
    }
    hints.truncate(2);
    tracing::info!("Ready to accept connections: {}; try: {}", places.join("; "), hints.join(" or: "));
}
