//! What the Raft group's members say to each other, and what the store keeps: serde's data in postcard's format, after
//! a byte that names the format.
//!
//! Invariant: what cannot be read is an error, never a panic and never something else.

use crate::cluster::metadata::{Change, Metadata, NodeId, Outcome, PARTITIONS};
use openraft::{BasicNode, LogId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The format written. Others are refused.
const FORMAT: u8 = 1;

/// Kinds of frames; the last two may carry much.
pub(super) const PRE_VOTE: u8 = 0x20;
pub(super) const VOTE: u8 = 0x21;
pub(super) const APPEND: u8 = 0xa0;
pub(super) const SNAPSHOT: u8 = 0xa1;

openraft::declare_raft_types!(
    /// The types of this Raft group.
    pub(super) Types:
        D = Proposal,
        R = Option<Outcome>,
        NodeId = NodeId,
        Node = BasicNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Vec<u8>,
);

/// A change on its way into the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Proposal {
    pub(super) change: Change,
    /// Where it was proposed: set once it is in the log of that node, from where it may reach others.
    #[serde(skip)]
    pub(super) mark: Mark,
}

/// See [`Proposal`].
#[derive(Clone, Debug, Default)]
pub(super) struct Mark(Option<Arc<AtomicBool>>);

impl Mark {
    pub(super) fn new() -> Mark {
        Mark(Some(Arc::default()))
    }

    /// Notes that the proposal is in the log.
    pub(super) fn set(&mut self) {
        if let Some(mark) = self.0.take() {
            mark.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|mark| mark.load(Ordering::Acquire))
    }
}

/// Asks whether an election would be won: raises no term and binds nobody.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PreVote {
    pub(super) last_log: Option<LogId<NodeId>>,
}

/// A state machine's snapshot, as it is sent.
#[derive(Serialize, Deserialize)]
pub(super) struct Install {
    pub(super) vote: openraft::Vote<NodeId>,
    pub(super) meta: openraft::SnapshotMeta<NodeId, BasicNode>,
    pub(super) data: Vec<u8>,
}

/// `value` as it is sent and kept.
pub(super) fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The value that [`encode`] wrote.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    match bytes.split_first() {
        Some((&FORMAT, body)) => match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            Ok(_) => refuse("more than one value".into()),
            Err(error) => refuse(error.to_string()),
        },
        Some((format, _)) => refuse(format!("format {format} is not known")),
        None => refuse("nothing there".into()),
    }
}

/// The metadata that is in a snapshot.
pub(super) fn decode_metadata(bytes: &[u8]) -> io::Result<Metadata> {
    // What was written before there were settings, pins or members being emptied ends where those are kept: with none.
    let with_none = |kinds| decode(&[bytes, &[0; 3][..kinds]].concat());
    let metadata: Metadata =
        decode(bytes).or_else(|error| (1..=3).find_map(|kinds| with_none(kinds).ok()).ok_or(error))?;
    if metadata.partitions.len() != PARTITIONS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not as many partitions as there are"));
    }
    Ok(metadata)
}
