//! A running node: its state and its workers' threads.

use super::codec::Protocol;
use super::listen;
use crate::config::{Config, id};
use crate::error::Error;
use crate::state::State;
use crate::worker::{Worker, tick};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A node, running in threads of its own until it is stopped or dropped.
pub struct Node {
    state: Arc<State>,
    workers: Vec<JoinHandle<()>>,
    lazyfree: Option<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    memcached_addresses: Vec<SocketAddr>,
}

/// A worker's listeners, and what is spoken there.
type Sockets = Vec<(Protocol, std::net::TcpListener)>;

impl Node {
    /// Starts a node as `config` says and returns once it accepts connections.
    pub fn start(config: Config) -> Result<Node, Error> {
        let workers = config.workers();
        let mut sockets: Vec<Sockets> = (0..workers).map(|_| Vec::new()).collect();
        let addresses = listen_on(&config, Protocol::Resp, config.int(id::PORT) as u16, &mut sockets)?;
        let memcached_addresses = match config.int(id::MEMCACHED_PORT) as u16 {
            0 => Vec::new(),
            port => listen_on(&config, Protocol::Memcache, port, &mut sockets)?,
        };
        let state = Arc::new(State::new(config, workers, crate::command::table::len()));
        let spawn = |(index, sockets)| {
            let state = Arc::clone(&state);
            let name = format!("worker-{index}");
            let run = move || run_worker(state, index, workers, sockets);
            std::thread::Builder::new().name(name).spawn(run).map_err(|source| Error::Thread { source })
        };
        let workers = sockets.into_iter().enumerate().map(spawn).collect::<Result<_, _>>()?;
        let lazyfree = {
            let state = Arc::clone(&state);
            let run = move || state.lazyfree.run();
            let thread = std::thread::Builder::new().name("lazyfree".into()).spawn(run);
            Some(thread.map_err(|source| Error::Thread { source })?)
        };
        Ok(Node { state, workers, lazyfree, addresses, memcached_addresses })
    }

    /// Where it speaks RESP.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it speaks the memcached protocol; empty if that is turned off.
    pub fn memcached_addresses(&self) -> &[SocketAddr] {
        &self.memcached_addresses
    }

    /// Its state.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.state.stop();
    }

    /// Waits until it has stopped.
    pub fn join(mut self) {
        self.join_workers();
    }

    /// Serves until SIGTERM, SIGINT or [`Node::stop`], then stops in good order.
    pub fn run_until_signal(self) -> Result<(), Error> {
        let thread = |source| Error::Thread { source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(thread)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(thread)?;
            let main = self.workers.len();
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
                () = poll_fn(|task| self.state.poll_stop(main, task)) => {}
            }
            Ok(())
        })?;
        self.stop();
        self.join();
        Ok(())
    }

    fn join_workers(&mut self) {
        for thread in self.workers.drain(..).chain(self.lazyfree.take()) {
            if thread.join().is_err() {
                tracing::error!("a thread ended by a panic");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.workers.is_empty() {
            self.stop();
            self.join_workers();
        }
    }
}

/// Listens on `port` at every address to bind to, and returns where it does.
fn listen_on(
    config: &Config,
    protocol: Protocol,
    port: u16,
    sockets: &mut [Sockets],
) -> Result<Vec<SocketAddr>, Error> {
    let mut found = Vec::new();
    for address in config.bind_addresses() {
        let backlog = config.int(id::TCP_BACKLOG) as i32;
        match listen_at(&address.address, port, backlog, protocol, sockets) {
            Ok(at) => found.push(at),
            Err(_) if address.optional => {}
            Err(source) => {
                let address = format!("{}:{port}", address.address);
                return Err(Error::Listen { address, source });
            }
        }
    }
    Ok(found)
}

/// Gives every worker a socket at the same address; port 0 becomes one free port for all.
fn listen_at(
    host: &str,
    port: u16,
    backlog: i32,
    protocol: Protocol,
    sockets: &mut [Sockets],
) -> io::Result<SocketAddr> {
    let host = match host {
        "*" => "0.0.0.0",
        "::*" => "::",
        host => host,
    };
    let mut at = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    for own in sockets {
        let socket = listen::bind(at, backlog)?;
        at = socket.local_addr()?;
        own.push((protocol, socket));
    }
    Ok(at)
}

fn run_worker(state: Arc<State>, index: usize, workers: usize, sockets: Sockets) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start a worker");
            return state.stop();
        }
    };
    let worker = Worker::new(Arc::clone(&state), index);
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        for (protocol, socket) in sockets {
            match TcpListener::from_std(socket) {
                Ok(listener) => {
                    drop(tokio::task::spawn_local(listen::accept(worker.clone(), protocol, listener)));
                }
                Err(error) => tracing::error!(%error, "cannot listen"),
            }
        }
        tokio::task::spawn_local(tick::run(worker.clone(), workers));
        poll_fn(|task| state.poll_stop(index, task)).await;
    });
}
