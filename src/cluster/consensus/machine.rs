//! The state machine: [`Metadata`], changed by committed entries alone, published to whoever watches.
//!
//! It is kept in memory; the file holds a snapshot of it and the entries after that.

use super::disk::{Contents, Disk, Stored, Write};
use super::wire::{Types, decode_metadata, encode};
use crate::cluster::metadata::{Metadata, NodeId};
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    BasicNode, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, SnapshotMeta, StorageError,
    StorageIOError, StoredMembership,
};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

type Result<T> = std::result::Result<T, StorageError<NodeId>>;

#[derive(Clone)]
pub(super) struct Machine {
    metadata: Arc<Metadata>,
    applied: Option<LogId<NodeId>>,
    membership: StoredMembership<NodeId, BasicNode>,
    /// The newest snapshot.
    snapshot: Arc<Mutex<Option<Stored>>>,
    published: watch::Sender<Arc<Metadata>>,
    disk: Disk,
}

impl Machine {
    pub(super) fn new(disk: Disk, contents: &mut Contents) -> io::Result<Machine> {
        let stored = contents.snapshot.take();
        let mut metadata = Arc::new(Metadata::default());
        let (mut applied, mut membership) = (None, StoredMembership::default());
        if let Some(stored) = &stored {
            metadata = Arc::new(decode_metadata(&stored.data)?);
            applied = stored.meta.last_log_id;
            membership = stored.meta.last_membership.clone();
        }
        let published = watch::Sender::new(Arc::clone(&metadata));
        Ok(Machine { metadata, applied, membership, snapshot: Arc::new(Mutex::new(stored)), published, disk })
    }

    /// Where the metadata is published.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Metadata>> {
        self.published.subscribe()
    }

    async fn store(&self, stored: Stored) -> io::Result<()> {
        self.disk.write(vec![Write::snapshot(&stored)?]).await?;
        *self.snapshot.lock() = Some(stored);
        Ok(())
    }
}

fn failed(error: &io::Error) -> StorageError<NodeId> {
    StorageIOError::write_snapshot(None, error).into()
}

impl RaftSnapshotBuilder<Types> for Machine {
    /// Of the state this copy of the machine was made in.
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>> {
        let data = encode(&*self.metadata).map_err(|error| failed(&error))?;
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: self.applied.map_or_else(|| "empty".into(), |id| id.to_string()),
        };
        let stored = Stored { meta: meta.clone(), data: data.clone() };
        self.store(stored).await.map_err(|error| failed(&error))?;
        Ok(Snapshot { meta, snapshot: Box::new(data) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, BasicNode>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<crate::cluster::metadata::Outcome>>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        let version = self.metadata.version;
        for entry in entries {
            self.applied = Some(entry.log_id);
            outcomes.push(match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(proposal) => {
                    Some(Arc::make_mut(&mut self.metadata).apply(proposal.change))
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            });
        }
        if self.metadata.version != version {
            self.published.send_replace(Arc::clone(&self.metadata));
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, BasicNode>,
        snapshot: Box<Vec<u8>>,
    ) -> Result<()> {
        let metadata = decode_metadata(&snapshot).map_err(|error| failed(&error))?;
        let stored = Stored { meta: meta.clone(), data: *snapshot };
        self.store(stored).await.map_err(|error| failed(&error))?;
        self.metadata = Arc::new(metadata);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.published.send_replace(Arc::clone(&self.metadata));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>> {
        let stored = self.snapshot.lock().clone();
        Ok(stored.map(|stored| Snapshot { meta: stored.meta, snapshot: Box::new(stored.data) }))
    }
}
