//! Listeners: one socket per worker and address, among which the kernel spreads new connections.

use super::codec::Protocol;
use super::connection::Connection;
use super::stream::Stream;
use crate::command::client::Client;
use crate::config::id;
use crate::state::clients::{ClientShared, client_flag};
use crate::worker::Worker;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// A listening socket at `addr` that lets those of other workers share its port (SO_REUSEPORT). The first must not itself share
/// (`shares`): so it fails where another process listens, even one that starts at the same moment.
pub fn bind(addr: SocketAddr, backlog: i32, shares: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// Accepts connections of `worker`, which speak `protocol`, for ever.
pub async fn accept(worker: Rc<Worker>, protocol: Protocol, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit_tcp(&worker, protocol, stream, peer),
            Err(error) => pause(error).await,
        }
    }
}

/// As [`accept`], on a Unix socket at `path`.
pub async fn accept_unix(worker: Rc<Worker>, protocol: Protocol, path: String, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let addr = format!("{path}:0");
                let shared = admit(&worker, protocol, Stream::Unix(stream), addr.clone(), addr);
                if let Some(shared) = shared {
                    shared.set_flag(client_flag::UNIX, true);
                }
            }
            Err(error) => pause(error).await,
        }
    }
}

/// Out of descriptors, or the client is gone already: others still wait, so go on, but not in a busy loop.
async fn pause(error: io::Error) {
    tracing::debug!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(10)).await;
}

const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no password \
is set for the default user. In this mode connections are only accepted from the loopback interface. To connect from \
another machine, do one of these: 1) set a password for the default user (requirepass); 2) set 'protected-mode no' in \
the configuration file, with --protected-mode no at start, or with CONFIG SET from this machine, and MAKE SURE that the \
port cannot be reached from the internet.\r\n";

fn admit_tcp(worker: &Rc<Worker>, protocol: Protocol, stream: TcpStream, peer: SocketAddr) {
    let state = &worker.state;
    let guarded = state.config.flag(id::PROTECTED_MODE) && state.acl.default_user().rules().no_password;
    if guarded && !peer.ip().to_canonical().is_loopback() {
        worker.stats().rejected_connections.add(1);
        let _ = stream.try_write(match protocol {
            Protocol::Resp => PROTECTED,
            Protocol::Memcache => {
                b"ERROR protected mode: only connections from this machine are accepted\r\n"
            }
        });
        return;
    }
    let _ = stream.set_nodelay(true);
    let idle = state.config.int(id::TCP_KEEPALIVE);
    if idle > 0 {
        let idle = Duration::from_secs(idle as u64);
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(idle / 3).with_retries(3);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    }
    let local = stream.local_addr().map_or_else(|_| String::new(), |addr| addr.to_string());
    admit(worker, protocol, Stream::Tcp(stream), peer.to_string(), local);
}

/// Begins to serve a connection, unless there are too many.
fn admit(
    worker: &Rc<Worker>,
    protocol: Protocol,
    stream: Stream,
    addr: String,
    laddr: String,
) -> Option<Arc<ClientShared>> {
    let state = &worker.state;
    if state.clients.len() >= state.config.size(id::MAXCLIENTS) {
        worker.stats().rejected_connections.add(1);
        let text: &[u8] = match protocol {
            Protocol::Resp => b"-ERR max number of clients reached\r\n",
            Protocol::Memcache => b"ERROR Too many open connections\r\n",
        };
        let _ = stream.try_write_vectored(&[IoSlice::new(text)]);
        return None;
    }
    worker.stats().connections.add(1);
    let shared = state.clients.add(addr, laddr, crate::state::unix_ms());
    shared.figures.fd.store(stream.fd().try_into().unwrap_or(0), Ordering::Relaxed);
    let user = match protocol {
        Protocol::Memcache if state.memcache.logins.are_wanted() => state.acl.stranger(),
        _ => state.acl.default_user(),
    };
    let client = Client::new(Arc::clone(&shared), Arc::clone(user));
    tokio::task::spawn_local(Connection::new(Rc::clone(worker), stream, protocol, client).serve());
    Some(shared)
}
