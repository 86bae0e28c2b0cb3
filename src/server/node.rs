//! A running node: its state and its workers' threads.

use super::codec::Protocol;
use super::listeners::{self, Listeners, Unavailable};
use super::{ears, listen, member, participant, reconfigure, settings, unix};
use crate::config::{Config, id};
use crate::error::Error;
use crate::state::State;
use crate::store::hash;
use crate::worker::{Worker, tick};
use sha2::{Digest, Sha256};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

/// A node, running in threads of its own until it is stopped or dropped.
pub struct Node {
    state: Arc<State>,
    workers: Vec<JoinHandle<()>>,
    lazyfree: Option<JoinHandle<()>>,
    member: Option<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    memcached_addresses: Vec<SocketAddr>,
    /// The file of its Unix socket, to be removed at the end.
    unix_paths: Vec<String>,
}

/// A worker's listeners that stay where they are.
#[derive(Default)]
struct Sockets {
    memcached: Vec<std::net::TcpListener>,
    unix: Vec<(Protocol, String, std::os::unix::net::UnixListener)>,
}

impl Node {
    /// Starts a node as `config` says and returns once it accepts connections.
    pub fn start(mut config: Config) -> Result<Node, Error> {
        must_be_reached(&config)?;
        fit_descriptors(&mut config)?;
        if let Err(error) = reconfigure::follow_oom_score(&config) {
            tracing::warn!("cannot adjust the OOM score: {error}");
        }
        let workers = config.workers();
        let mut sockets: Vec<Sockets> = (0..workers).map(|_| Sockets::default()).collect();
        let mut unix_paths = Vec::new();
        for (protocol, id) in
            [(Protocol::Resp, id::UNIXSOCKET), (Protocol::Memcache, id::MEMCACHED_UNIXSOCKET)]
        {
            let Some(path) = config.path(id).map(|path| path.display().to_string()) else { continue };
            let fail = |source| Error::Listen { directive: id.name().into(), address: path.clone(), source };
            let listener = unix::listen(&config, &path).map_err(fail)?;
            for own in &mut sockets {
                own.unix.push((protocol, path.clone(), listener.try_clone().map_err(fail)?));
            }
            unix_paths.push(path);
        }
        let memcached_addresses = match config.int(id::MEMCACHED_PORT) as u16 {
            0 => Vec::new(),
            port => {
                let (addresses, opened) =
                    listeners::open_all(&config, (id::MEMCACHED_PORT, port), workers, &[])?;
                sockets.iter_mut().zip(opened).for_each(|(own, opened)| own.memcached = opened);
                addresses
            }
        };
        seed_hash(&config);
        let listeners = Arc::new(Listeners::new(workers));
        listeners.open(&config)?;
        let addresses = listeners.addresses();
        let state = Arc::new(State::new(config, workers, crate::command::acl::catalogue()));
        crate::command::acl::load_users(&state)?;
        crate::state::memcache::logins::load(&state)?;
        reconfigure::follow(&state, &listeners);
        state.clients.hang_up_with(super::stream::hang_up);
        let port_of = |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port);
        let ports = (port_of(&addresses), port_of(&memcached_addresses));
        let setup = member::set_up(&state)?;
        let mut hand_outs = Vec::with_capacity(workers);
        let spawn = |(index, sockets)| {
            let state = Arc::clone(&state);
            let listeners = Arc::clone(&listeners);
            let name = format!("worker-{index}");
            let (hand_out, jobs) = tokio::sync::mpsc::unbounded_channel();
            hand_outs.push(hand_out);
            let run = move || run_worker(state, (index, workers), listeners, sockets, jobs);
            std::thread::Builder::new().name(name).spawn(run).map_err(|source| Error::Thread { source })
        };
        let workers = sockets.into_iter().enumerate().map(spawn).collect::<Result<_, _>>()?;
        let member = {
            let state = Arc::clone(&state);
            let run = move || member::run(&state, setup, ports, hand_outs);
            let thread = std::thread::Builder::new().name("member".into()).spawn(run);
            Some(thread.map_err(|source| Error::Thread { source })?)
        };
        let lazyfree = {
            let state = Arc::clone(&state);
            let run = move || state.lazyfree.run();
            let thread = std::thread::Builder::new().name("lazyfree".into()).spawn(run);
            Some(thread.map_err(|source| Error::Thread { source })?)
        };
        Ok(Node { state, workers, lazyfree, member, addresses, memcached_addresses, unix_paths })
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

    /// Serves until one of `signals` comes or [`Node::stop`] is called, then stops in good order.
    pub fn run_until(self, signals: Signals) {
        let Signals { runtime, mut terminate, mut interrupt } = signals;
        let main = self.workers.len();
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
                () = poll_fn(|task| self.state.poll_stop(main, task)) => {}
            }
            // In a cluster it hands over first; another signal says not to wait for that.
            self.state.leave();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = poll_fn(|task| self.state.poll_stop(main, task)) => {}
            }
        });
        self.stop();
        self.join();
    }

    fn join_workers(&mut self) {
        for thread in self.workers.drain(..).chain(self.member.take()).chain(self.lazyfree.take()) {
            if thread.join().is_err() {
                tracing::error!("a thread ended by a panic");
            }
        }
        for path in self.unix_paths.drain(..) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// SIGTERM and SIGINT. From the moment this exists they ask the node to stop; before, they end the process.
pub struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches both. To be called before anybody can know that the node is there.
    pub fn catch() -> Result<Signals, Error> {
        let thread = |source| Error::Thread { source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
        let within = runtime.enter();
        let terminate = signal(SignalKind::terminate()).map_err(thread)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(thread)?;
        drop(within);
        Ok(Signals { runtime, terminate, interrupt })
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

/// Has the members of a cluster hash alike, if there is something that they alone know.
fn seed_hash(config: &Config) {
    let secret = config.text(id::CLUSTER_SECRET);
    if !secret.is_empty() {
        let digest =
            Sha256::new().chain_update(b"the hash of keys").chain_update(secret.as_bytes()).finalize();
        let mut seed = [0; 4];
        for (word, bytes) in seed.iter_mut().zip(digest.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        hash::seed(seed);
    }
}

/// Makes sure that clients can come by any way at all.
fn must_be_reached(config: &Config) -> Result<(), Error> {
    let has_port = [id::PORT, id::MEMCACHED_PORT].into_iter().any(|port| config.int(port) != 0);
    let has_socket =
        [id::UNIXSOCKET, id::MEMCACHED_UNIXSOCKET].into_iter().any(|path| config.path(path).is_some());
    if has_port || has_socket {
        return Ok(());
    }
    Err(Error::Conflict(
        "port and memcached-port are both 0, and neither unixsocket nor memcached-unixsocket is set: nobody could reach this node"
            .into(),
    ))
}

/// Makes sure that there are descriptors for `maxclients` connections, or lowers it to as many as there can be.
fn fit_descriptors(config: &mut Config) -> Result<(), Error> {
    let Err(clients) = reconfigure::reserve_descriptors(config) else { return Ok(()) };
    tracing::warn!("maxclients is lowered to {clients}: the system gives this process no more descriptors");
    config.set("maxclients", &clients.to_string()).map(|_| ())
}

impl From<Unavailable> for Error {
    fn from(Unavailable { directive, address, source }: Unavailable) -> Error {
        Error::Listen { directive: directive.into(), address, source }
    }
}

fn run_worker(
    state: Arc<State>,
    (index, workers): (usize, usize),
    listeners: Arc<Listeners>,
    sockets: Sockets,
    jobs: UnboundedReceiver<member::Job>,
) {
    let (begins, ends) = (Arc::clone(&state), Arc::clone(&state));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_unpark(move || begins.stats.worker(index).begin_round(Instant::now()))
        .on_thread_park(move || ends.stats.worker(index).end_round(Instant::now()))
        .build();
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
        for (protocol, path, socket) in sockets.unix {
            match UnixListener::from_std(socket) {
                Ok(listener) => {
                    let accept = listen::accept_unix(worker.clone(), protocol, path, listener);
                    drop(tokio::task::spawn_local(accept));
                }
                Err(error) => tracing::error!(%error, "cannot listen on the Unix socket"),
            }
        }
        for socket in sockets.memcached {
            match TcpListener::from_std(socket) {
                Ok(listener) => {
                    let accept = listen::accept(worker.clone(), Protocol::Memcache, listener);
                    drop(tokio::task::spawn_local(accept));
                }
                Err(error) => tracing::error!(%error, "cannot listen"),
            }
        }
        let own = worker.clone();
        tokio::task::spawn_local(async move { listeners.serve(own).await });
        tokio::task::spawn_local(member::work(worker.clone(), jobs));
        if index == 0 {
            tokio::task::spawn_local(settings::follow(worker.clone()));
            tokio::task::spawn_local(ears::follow(worker.clone()));
        }
        tokio::task::spawn_local(tick::run(worker.clone(), workers));
        if index == 0 {
            tokio::task::spawn_local(participant::keep(worker.clone()));
        }
        poll_fn(|task| state.poll_stop(index, task)).await;
    });
}
