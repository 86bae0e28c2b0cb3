//! The log as Raft sees it: in memory, and behind it on the [`Disk`].
//!
//! Invariant: what is in memory is what the file holds once all that was handed to the disk is written.

use super::disk::{Contents, Disk, Write};
use super::wire::Types;
use crate::cluster::metadata::NodeId;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{Entry, EntryPayload, LogId, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

type Result<T> = std::result::Result<T, StorageError<NodeId>>;

#[derive(Clone)]
pub(super) struct Log {
    state: Arc<Mutex<State>>,
    disk: Disk,
}

struct State {
    entries: BTreeMap<u64, Entry<Types>>,
    purged: Option<LogId<NodeId>>,
    vote: Option<Vote<NodeId>>,
    committed: Option<LogId<NodeId>>,
    /// The committed entry the disk knows of: told with the next entries, for it may be late.
    committed_written: Option<LogId<NodeId>>,
}

impl Log {
    pub(super) fn new(disk: Disk, contents: &mut Contents) -> Log {
        let state = State {
            entries: std::mem::take(&mut contents.log),
            purged: contents.purged,
            vote: contents.vote,
            committed: contents.committed,
            committed_written: contents.committed,
        };
        Log { state: Arc::new(Mutex::new(state)), disk }
    }

    /// The last entry there is or was.
    pub(super) fn last(&self) -> Option<LogId<NodeId>> {
        let state = self.state.lock();
        state.entries.last_key_value().map(|(_, entry)| entry.log_id).or(state.purged)
    }
}

fn failed(error: &io::Error) -> StorageError<NodeId> {
    StorageIOError::write_logs(error).into()
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>> {
        let state = self.state.lock();
        let from = range.start_bound().cloned();
        let to = range.end_bound().cloned();
        Ok(state.entries.range((from, to)).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>> {
        let last_log_id = self.last();
        Ok(LogState { last_purged_log_id: self.state.lock().purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<NodeId>) -> Result<()> {
        let write = Write::vote(vote).map_err(|error| failed(&error))?;
        self.disk.write(vec![write]).await.map_err(|error| StorageIOError::write_vote(&error))?;
        self.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<NodeId>>> {
        Ok(self.state.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId<NodeId>>) -> Result<()> {
        self.state.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<NodeId>>> {
        Ok(self.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Result<()>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state.lock();
        let mut writes = Vec::new();
        if state.committed != state.committed_written {
            writes.push(Write::committed(&state.committed).map_err(|error| failed(&error))?);
            state.committed_written = state.committed;
        }
        for mut entry in entries {
            if let EntryPayload::Normal(proposal) = &mut entry.payload {
                proposal.mark.set();
            }
            writes.push(Write::entry(&entry).map_err(|error| failed(&error))?);
            state.entries.insert(entry.log_id.index, entry);
        }
        drop(state);
        self.disk.write_later(writes, flushed);
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<NodeId>) -> Result<()> {
        drop(self.state.lock().entries.split_off(&from.index));
        self.disk.write(vec![Write::Truncate(from.index)]).await.map_err(|error| failed(&error))
    }

    async fn purge(&mut self, upto: LogId<NodeId>) -> Result<()> {
        {
            let mut state = self.state.lock();
            state.entries = state.entries.split_off(&(upto.index + 1));
            state.purged = state.purged.max(Some(upto));
        }
        let purged = Write::purged(&upto).map_err(|error| failed(&error))?;
        self.disk.write(vec![Write::Purge(upto.index), purged]).await.map_err(|error| failed(&error))
    }
}
