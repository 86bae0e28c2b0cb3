//! Raft's messages over whatever carries them.

use super::wire::{APPEND, Install, SNAPSHOT, Types, VOTE, decode, encode};
use crate::cluster::metadata::NodeId;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, Snapshot, Vote};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::time::Duration;

/// What carries messages to other members: links, or in tests a network within the process.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Sends `payload` to the member `to`, which was last known at `address`, hands it there to
    /// [`Consensus::handle`](super::Consensus::handle), and gives the answer. Kinds from 128 on may carry much. A message that
    /// cannot be delivered should fail soon; one that is delayed need not, the caller knows when to give up.
    fn call(
        &self,
        to: NodeId,
        address: &str,
        kind: u8,
        payload: Vec<u8>,
    ) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

pub(super) struct Network<T> {
    pub(super) transport: T,
    /// How long a member that cannot be reached is left alone.
    pub(super) pause: Duration,
}

pub(super) struct Route<T> {
    to: NodeId,
    address: String,
    transport: T,
    pause: Duration,
}

impl<T: Transport> RaftNetworkFactory<Types> for Network<T> {
    type Network = Route<T>;

    async fn new_client(&mut self, to: NodeId, node: &BasicNode) -> Route<T> {
        Route { to, address: node.addr.clone(), transport: self.transport.clone(), pause: self.pause }
    }
}

impl<T: Transport> Route<T> {
    async fn call<A: DeserializeOwned>(&self, kind: u8, message: &impl Serialize) -> io::Result<A> {
        let answer = self.transport.call(self.to, &self.address, kind, encode(message)?).await?;
        decode(&answer)
    }
}

type CallError = RPCError<NodeId, BasicNode, RaftError<NodeId>>;

fn unreachable(error: &io::Error) -> Unreachable {
    Unreachable::new(error)
}

impl<T: Transport> RaftNetwork<Types> for Route<T> {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, CallError> {
        self.call(APPEND, &request).await.map_err(|error| unreachable(&error).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, CallError> {
        self.call(VOTE, &request).await.map_err(|error| unreachable(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<NodeId>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<Types, Fatal<NodeId>>> {
        let install = Install { vote, meta: snapshot.meta, data: *snapshot.snapshot };
        let call = tokio::time::timeout(option.hard_ttl(), self.call(SNAPSHOT, &install));
        tokio::select! {
            answered = call => {
                let answered = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                answered.map_err(|error| StreamingError::Unreachable(unreachable(&error)))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.pause))
    }
}
