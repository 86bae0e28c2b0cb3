//! Links by which nodes speak of the cluster: made when somebody is asked, kept, and watched for their end.
//!
//! Who a node is follows from its name, never from its address alone, at which another may listen by now.

use super::member::PATIENCE;
use super::peer::{self, Purpose};
use crate::cluster::consensus;
use crate::cluster::link::{Frame, Link, LinkError, Sender};
use crate::cluster::metadata::NodeId;
use crate::state::State;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// Bytes of an answer that are read by one who looks for its cluster.
const NODES_MAX: u64 = 1 << 20;

/// What comes by the links, in the order in which it came.
pub(super) enum Incoming {
    /// Another node asks, and is answered by this.
    Asked(Sender, Frame),
    /// A node's process has ended the last link with it.
    Gone(NodeId),
}

/// Links by which nodes speak of the cluster.
#[derive(Clone)]
pub(super) struct Mesh {
    state: Arc<State>,
    links: Arc<Mutex<HashMap<String, Sender>>>,
    incoming: UnboundedSender<Incoming>,
    /// How many links there are with whom.
    alive: Arc<Mutex<HashMap<NodeId, usize>>>,
}

impl Mesh {
    /// Links for a node, and what comes by them.
    pub(super) fn new(state: Arc<State>) -> (Mesh, UnboundedReceiver<Incoming>) {
        let (incoming, came) = unbounded_channel();
        (Mesh { state, links: Arc::default(), incoming, alive: Arc::default() }, came)
    }

    /// The link to the node that listens at `address`; to no other than `meant`, if that is known.
    async fn link(&self, address: &str, meant: Option<NodeId>) -> io::Result<Sender> {
        let is_of_use = |sender: &&Sender| {
            sender.closed().is_none() && meant.is_none_or(|node| node == sender.peer().node)
        };
        if let Some(sender) = self.links.lock().get(address).filter(is_of_use) {
            return Ok(sender.clone());
        }
        let identity = self.state.cluster.identity().ok_or(io::ErrorKind::NotConnected)?;
        let connected = timeout(peer::HANDSHAKE, peer::connect(address, meant, Purpose::Control, &identity));
        let link = connected.await?.map_err(|error| io::Error::other(error.to_string()))?;
        let sender = link.sender();
        tokio::spawn(self.clone().carry(link));
        self.links.lock().insert(address.to_string(), sender.clone());
        Ok(sender)
    }

    /// The answer of the node that listens at `address`; of no other than `meant`, if that is known.
    pub(super) async fn ask(
        &self,
        address: &str,
        meant: Option<NodeId>,
        kind: u8,
        payload: &[u8],
    ) -> io::Result<Vec<u8>> {
        let sender = match (self.link(address, meant).await, meant) {
            (Err(error), Some(node)) => {
                let cluster = &self.state.cluster;
                cluster.contact.failed(node, error.to_string(), cluster.now_ns());
                return Err(error);
            }
            (made, _) => made?,
        };
        let answer = timeout(PATIENCE, sender.request(kind, payload)).await?;
        answer.map(|bytes| bytes.to_vec()).map_err(|error| io::Error::other(error.to_string()))
    }

    /// Moves what goes over a link until it ends.
    pub(super) async fn carry(self, link: Link) {
        let node = link.peer().node;
        self.state.cluster.contact.reached(node);
        let incoming = self.incoming.clone();
        *self.alive.lock().entry(node).or_default() += 1;
        let asked = move |sender: &Sender, frame| drop(incoming.send(Incoming::Asked(sender.clone(), frame)));
        let end = link.run(asked).await;
        tracing::debug!("a link with node {node:016x} has ended: {end}");
        let mut alive = self.alive.lock();
        let left = alive.remove(&node).map_or(0, |count| count - 1);
        if left > 0 {
            alive.insert(node, left);
        } else if matches!(*end, LinkError::Ended) {
            // Nobody listens once this node stops.
            let _ = self.incoming.send(Incoming::Gone(node));
        }
    }
}

impl consensus::Transport for Mesh {
    async fn call(&self, to: NodeId, address: &str, kind: u8, payload: Vec<u8>) -> io::Result<Vec<u8>> {
        self.ask(address, Some(to), kind, &payload).await
    }
}

/// What the node with a client address answers to CLUSTER NODES, told this node's own `password` first, which may be that one's too.
pub(super) async fn nodes(seed: &str, password: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(seed).await?;
    if !password.is_empty() {
        let login = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len());
        stream.write_all(login.as_bytes()).await?;
    }
    stream.write_all(b"CLUSTER NODES\r\nQUIT\r\n").await?;
    let mut reply = String::new();
    stream.take(NODES_MAX).read_to_string(&mut reply).await?;
    Ok(reply)
}
