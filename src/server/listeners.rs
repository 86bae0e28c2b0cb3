//! Where a node listens for RESP; CONFIG SET may move it while the node runs.
//!
//! New sockets are opened for all workers before any old one is closed, so a move that fails changes nothing.

use super::codec::Protocol;
use super::listen;
use crate::config::table::Id;
use crate::config::{Config, id};
use crate::worker::Worker;
use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as Socket, ToSocketAddrs};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What one worker is to listen on next.
#[derive(Default)]
struct Slot {
    sockets: Mutex<Option<Vec<Socket>>>,
    waker: AtomicWaker,
}

/// The listeners of a node.
pub struct Listeners {
    slots: Box<[Slot]>,
    addresses: Mutex<Vec<SocketAddr>>,
}

/// Why an address cannot be listened on.
pub struct Unavailable {
    /// The directive that names the port.
    pub directive: &'static str,
    /// The address as it was written, and the port.
    pub address: String,
    /// What the system said.
    pub source: io::Error,
}

impl Listeners {
    /// Listeners of so many workers, on nothing yet.
    pub fn new(workers: usize) -> Listeners {
        let slots = (0..workers).map(|_| Slot::default()).collect();
        Listeners { slots, addresses: Mutex::default() }
    }

    /// Where they are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.lock().clone()
    }

    /// Moves them to where `config` says. Port 0 is none.
    pub fn open(&self, config: &Config) -> Result<(), Unavailable> {
        match config.int(id::PORT) as u16 {
            0 => self.hand_out(Vec::new(), (0..self.slots.len()).map(|_| Vec::new()).collect()),
            port => {
                let (found, sockets) =
                    open_all(config, (id::PORT, port), self.slots.len(), &self.addresses())?;
                self.hand_out(found, sockets);
            }
        }
        Ok(())
    }

    fn hand_out(&self, found: Vec<SocketAddr>, sockets: Vec<Vec<Socket>>) {
        *self.addresses.lock() = found;
        for (slot, sockets) in self.slots.iter().zip(sockets) {
            *slot.sockets.lock() = Some(sockets);
            slot.waker.wake();
        }
    }

    /// Accepts connections of `worker` for ever, wherever that is.
    pub async fn serve(&self, worker: Rc<Worker>) {
        let mut tasks: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let sockets = poll_fn(|task| self.slots[worker.index].poll_take(task)).await;
            tasks.drain(..).for_each(|task| task.abort());
            for socket in sockets {
                match TcpListener::from_std(socket) {
                    Ok(listener) => {
                        let accept = listen::accept(Rc::clone(&worker), Protocol::Resp, listener);
                        tasks.push(tokio::task::spawn_local(accept));
                    }
                    Err(error) => tracing::error!(%error, "cannot listen"),
                }
            }
        }
    }
}

impl Slot {
    fn poll_take(&self, task: &mut Context<'_>) -> Poll<Vec<Socket>> {
        self.waker.register(task.waker());
        self.sockets.lock().take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Opens sockets for `workers` workers on `port`, which a directive names, at every address to bind to. `own` are addresses this node has
/// already.
pub fn open_all(
    config: &Config,
    (directive, port): (Id, u16),
    workers: usize,
    own: &[SocketAddr],
) -> Result<(Vec<SocketAddr>, Vec<Vec<Socket>>), Unavailable> {
    let mut found = Vec::new();
    let mut sockets: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
    let backlog = config.int(id::TCP_BACKLOG) as i32;
    for address in config.bind_addresses() {
        match open_one(&address.address, port, backlog, own, &mut sockets) {
            Ok(at) => found.push(at),
            Err(error) if address.optional && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(source) => {
                let (directive, address) = (directive.name(), format!("{}:{port}", address.address));
                return Err(Unavailable { directive, address, source });
            }
        }
    }
    Ok((found, sockets))
}

/// Gives every worker a socket at the same address.
fn open_one(
    host: &str,
    port: u16,
    backlog: i32,
    own: &[SocketAddr],
    sockets: &mut [Vec<Socket>],
) -> io::Result<SocketAddr> {
    let host = match host {
        "*" => "0.0.0.0",
        "::*" => "::",
        host => host,
    };
    let at = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    // A port this node has somewhere is nobody else's.
    let is_own = own.iter().any(|own| own.port() == port);
    for (index, worker) in sockets.iter_mut().enumerate() {
        worker.push(listen::bind(at, backlog, is_own || index > 0)?);
    }
    Ok(at)
}
