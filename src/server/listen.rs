//! Listeners: one socket per worker and address, among which the kernel spreads new connections.

use super::codec::Protocol;
use super::connection::Connection;
use crate::command::client::Client;
use crate::config::id;
use crate::worker::Worker;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// A listening socket at `addr` that shares its port with the other workers' (SO_REUSEPORT).
pub fn bind(addr: SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Accepts connections of `worker`, which speak `protocol`, for ever.
pub async fn accept(worker: Rc<Worker>, protocol: Protocol, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(&worker, protocol, stream, peer),
            // Out of descriptors, or the client is gone already: others still wait, so go on, but not in a busy loop.
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn admit(worker: &Rc<Worker>, protocol: Protocol, stream: TcpStream, peer: SocketAddr) {
    let state = &worker.state;
    if state.clients.len() >= state.config.size(id::MAXCLIENTS) {
        worker.stats().rejected_connections.add(1);
        let _ = stream.try_write(match protocol {
            Protocol::Resp => b"-ERR max number of clients reached\r\n",
            Protocol::Memcache => b"ERROR Too many open connections\r\n",
        });
        return;
    }
    worker.stats().connections.add(1);
    let _ = stream.set_nodelay(true);
    let idle = state.config.int(id::TCP_KEEPALIVE);
    if idle > 0 {
        let idle = Duration::from_secs(idle as u64);
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(idle / 3).with_retries(3);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    }
    let local = stream.local_addr().map_or_else(|_| String::new(), |addr| addr.to_string());
    let shared = state.clients.add(peer.to_string(), local, crate::state::unix_ms());
    let client = Client::new(shared, state.config.text(id::REQUIREPASS).is_empty());
    tokio::task::spawn_local(Connection::new(Rc::clone(worker), stream, protocol, client).serve());
}
