//! The file of the Raft group: its log, its vote and its newest snapshot.
//!
//! Idea: one thread owns the file. It takes what is to be written in order, all that waits in one transaction, and tells
//! when the disk has it; so the runtime never waits for a disk. Nothing is read after the start: the log in memory is the
//! one that counts, and the metadata is small.
//!
//! Every record carries a checksum. Invariant: once a write has failed, nothing more is written, so the file never lacks
//! something in the middle.

use super::StoreError;
use super::wire::{Types, decode, encode};
use crate::cluster::metadata::NodeId;
use openraft::storage::LogFlushed;
use openraft::{BasicNode, Entry, LogId, SnapshotMeta, Vote};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of the file that are kept in memory besides.
const CACHE: usize = 1 << 20;

/// Writes that go into one transaction.
const BATCH: usize = 64;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const KEPT: TableDefinition<&str, &[u8]> = TableDefinition::new("kept");

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The cluster's name.
    pub cluster: u64,
    /// The member's name.
    pub node: NodeId,
}

impl Owner {
    /// Whether both are the same member, as far as the names of their clusters are known.
    fn is(&self, other: &Owner) -> bool {
        let same_cluster = self.cluster == other.cluster || self.cluster == 0 || other.cluster == 0;
        self.node == other.node && same_cluster
    }
}

/// The newest snapshot.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) meta: SnapshotMeta<NodeId, BasicNode>,
    pub(super) data: Vec<u8>,
}

/// What the file held.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) owner: Option<Owner>,
    pub(super) vote: Option<Vote<NodeId>>,
    pub(super) committed: Option<LogId<NodeId>>,
    pub(super) purged: Option<LogId<NodeId>>,
    pub(super) snapshot: Option<Stored>,
    pub(super) log: BTreeMap<u64, Entry<Types>>,
}

/// A change of the file.
pub(super) enum Write {
    Entry(u64, Vec<u8>),
    /// Entries from this on go.
    Truncate(u64),
    /// Entries up to this go.
    Purge(u64),
    Vote(Vec<u8>),
    Committed(Vec<u8>),
    Purged(Vec<u8>),
    Snapshot(Vec<u8>),
}

impl Write {
    pub(super) fn entry(entry: &Entry<Types>) -> io::Result<Write> {
        Ok(Write::Entry(entry.log_id.index, record(entry)?))
    }

    pub(super) fn vote(vote: &Vote<NodeId>) -> io::Result<Write> {
        Ok(Write::Vote(record(vote)?))
    }

    pub(super) fn committed(id: &Option<LogId<NodeId>>) -> io::Result<Write> {
        Ok(Write::Committed(record(id)?))
    }

    pub(super) fn purged(id: &LogId<NodeId>) -> io::Result<Write> {
        Ok(Write::Purged(record(id)?))
    }

    pub(super) fn snapshot(snapshot: &Stored) -> io::Result<Write> {
        Ok(Write::Snapshot(record(snapshot)?))
    }
}

/// Whom to tell that the disk has it.
enum Done {
    Flushed(LogFlushed<Types>),
    Told(oneshot::Sender<io::Result<()>>),
}

impl Done {
    fn tell(self, result: io::Result<()>) {
        match self {
            Done::Flushed(flushed) => flushed.log_io_completed(result),
            // Who does not wait any more need not know.
            Done::Told(told) => drop(told.send(result)),
        }
    }
}

enum Job {
    Write(Vec<Write>, Done),
    Stop(oneshot::Sender<()>),
}

/// The way to the thread that owns the file.
#[derive(Clone)]
pub(super) struct Disk {
    jobs: mpsc::Sender<Job>,
}

/// How the database is opened: another way than by its path only in tests.
type Open = Box<dyn FnOnce() -> io::Result<Database> + Send>;

impl Disk {
    /// Opens the file in `directory`, or creates it for `me`.
    pub(super) async fn open(directory: &Path, me: Owner) -> Result<(Disk, Contents), StoreError> {
        std::fs::create_dir_all(directory).map_err(|error| StoreError::at(directory, &error))?;
        let path = file_in(directory);
        let fresh = !path.exists();
        let opened = path.clone();
        let open: Open = Box::new(move || open_file(&opened));
        let result = Disk::with(open, path.clone(), me).await;
        let is_in_use = |error: &StoreError| matches!(error, StoreError::File { source, .. } if source.kind() == io::ErrorKind::ResourceBusy);
        if fresh && result.as_ref().is_err_and(|error| !is_in_use(error)) {
            // A file that was begun, on a full disk say, is none that could be opened again.
            let _ = std::fs::remove_file(&path);
        }
        let result = result?;
        if fresh {
            // The file's name lasts only once the directory is on the disk.
            let synced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(|error| StoreError::at(directory, &error))?;
        }
        Ok(result)
    }

    pub(super) async fn with(open: Open, path: PathBuf, me: Owner) -> Result<(Disk, Contents), StoreError> {
        let (jobs, work) = mpsc::channel();
        let (told, opened) = oneshot::channel();
        let name = path.clone();
        let body = move || match guarded(|| start(open, me)) {
            Ok((database, contents)) => {
                let stop = if told.send(Ok(contents)).is_ok() { serve(&database, &work) } else { None };
                // Closing a damaged file can fail, too; whoever waits for it is told all the same.
                let _ = guarded(|| {
                    drop(database);
                    Ok(())
                });
                if let Some(told) = stop {
                    let _ = told.send(());
                }
            }
            Err(error) => drop(told.send(Err(StoreError::at(&path, &error)))),
        };
        let spawned = std::thread::Builder::new().name("shoal-raft-disk".into()).spawn(body);
        spawned.map_err(|error| StoreError::at(&name, &error))?;
        let contents = opened.await.map_err(|_| StoreError::at(&name, &gone()))??;
        if let Some(owner) = contents.owner
            && !owner.is(&me)
        {
            Disk { jobs }.stop().await;
            return Err(StoreError::Foreign { path: name, owner, me });
        }
        Ok((Disk { jobs }, contents))
    }

    /// Writes, and waits for the disk.
    pub(super) async fn write(&self, writes: Vec<Write>) -> io::Result<()> {
        let (told, done) = oneshot::channel();
        self.jobs.send(Job::Write(writes, Done::Told(told))).map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }

    /// Writes, and tells `flushed` when the disk has it.
    pub(super) fn write_later(&self, writes: Vec<Write>, flushed: LogFlushed<Types>) {
        if let Err(mpsc::SendError(Job::Write(_, done))) =
            self.jobs.send(Job::Write(writes, Done::Flushed(flushed)))
        {
            done.tell(Err(gone()));
        }
    }

    /// Closes the file after what was asked before.
    pub(super) async fn stop(&self) {
        let (told, stopped) = oneshot::channel();
        if self.jobs.send(Job::Stop(told)).is_ok() {
            // An error means that it has stopped already.
            let _ = stopped.await;
        }
    }
}

/// The file in `directory`.
pub fn file_in(directory: &Path) -> PathBuf {
    directory.join("shoal-cluster.redb")
}

/// Whose the file in `directory` is, if there is one that was used.
pub(super) fn owner(directory: &Path) -> Result<Option<Owner>, StoreError> {
    let path = file_in(directory);
    if !path.exists() {
        return Ok(None);
    }
    let read = || -> io::Result<Option<Owner>> {
        let database = open_file(&path)?;
        let transaction = database.begin_read().map_err(io::Error::other)?;
        match transaction.open_table(KEPT) {
            Ok(kept) => kept_record(&kept, "owner"),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    };
    guarded(read).map_err(|error| StoreError::at(&path, &error))
}

/// Opens or creates the file; says who has it open.
fn open_file(path: &Path) -> io::Result<Database> {
    builder().create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            let who =
                holder(path).map_or_else(|| "another node".into(), |process| format!("process {process}"));
            let why = format!("{who} uses this directory: each node needs a dir of its own");
            io::Error::new(io::ErrorKind::ResourceBusy, why)
        }
        error => io::Error::other(error),
    })
}

/// The process that has locked a file, if the system tells.
fn holder(path: &Path) -> Option<u32> {
    let inode = format!(":{}", std::fs::metadata(path).ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let mut fields = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lock = fields.find(|fields| fields.get(5).is_some_and(|file| file.ends_with(&inode)))?;
    lock[4].parse().ok()
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn gone() -> io::Error {
    io::Error::other("the store has been closed")
}

/// A damaged file makes the library below panic in places; here that is an error like others.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged: its structure makes no sense"))
    })
}

fn start(open: Open, me: Owner) -> io::Result<(Database, Contents)> {
    let database = open()?;
    let mut transaction = database.begin_write().map_err(io::Error::other)?;
    transaction.set_durability(Durability::Immediate).map_err(io::Error::other)?;
    let contents = {
        let mut kept = transaction.open_table(KEPT).map_err(io::Error::other)?;
        let log = transaction.open_table(LOG).map_err(io::Error::other)?;
        let contents = read(&kept, &log)?;
        // A new file, or a cluster that had no name yet.
        if contents.owner.is_none_or(|owner| owner.cluster == 0 && owner.is(&me)) {
            kept.insert("owner", record(&me)?.as_slice()).map_err(io::Error::other)?;
        }
        contents
    };
    transaction.commit().map_err(io::Error::other)?;
    Ok((database, contents))
}

fn read(
    kept: &impl ReadableTable<&'static str, &'static [u8]>,
    log: &impl ReadableTable<u64, &'static [u8]>,
) -> io::Result<Contents> {
    let mut contents = Contents {
        owner: kept_record(kept, "owner")?,
        vote: kept_record(kept, "vote")?,
        committed: kept_record(kept, "committed")?.flatten(),
        purged: kept_record(kept, "purged")?,
        snapshot: kept_record(kept, "snapshot")?,
        log: BTreeMap::new(),
    };
    let mut next = contents.purged.map(|purged| purged.index + 1);
    for row in log.iter().map_err(io::Error::other)? {
        let (index, entry) = row.map_err(io::Error::other)?;
        let entry: Entry<Types> = checked(entry.value())?;
        let index = index.value();
        if entry.log_id.index != index || index != next.unwrap_or(0) {
            return Err(damaged("the log has a hole"));
        }
        next = Some(index + 1);
        contents.log.insert(index, entry);
    }
    let last = contents.log.last_key_value().map(|(_, entry)| entry.log_id).or(contents.purged);
    let snapshot = contents.snapshot.as_ref().and_then(|snapshot| snapshot.meta.last_log_id);
    if contents.purged > snapshot {
        return Err(damaged("the log begins after the snapshot's end"));
    }
    contents.committed = contents.committed.min(last.max(snapshot));
    Ok(contents)
}

fn kept_record<T: DeserializeOwned>(
    kept: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> io::Result<Option<T>> {
    let found = kept.get(key).map_err(io::Error::other)?;
    found.map(|bytes| checked(bytes.value())).transpose()
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the file is damaged: {why}"))
}

/// A value behind the checksum of its bytes.
fn record(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let bytes = encode(value)?;
    let mut record = Vec::with_capacity(8 + bytes.len());
    record.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    record.extend_from_slice(&bytes);
    Ok(record)
}

fn checked<T: DeserializeOwned>(record: &[u8]) -> io::Result<T> {
    match record.split_first_chunk() {
        Some((sum, bytes)) if u64::from_le_bytes(*sum) == xxh3_64(bytes) => {
            decode(bytes).map_err(|error| damaged(&error.to_string()))
        }
        _ => Err(damaged("a checksum does not match")),
    }
}

/// Serves until nobody is left, or somebody wants to be told when the file is closed.
fn serve(database: &Database, work: &mpsc::Receiver<Job>) -> Option<oneshot::Sender<()>> {
    let mut failure: Option<io::Error> = None;
    while let Ok(first) = work.recv() {
        let mut writes = Vec::new();
        let mut done = Vec::new();
        let mut stop = None;
        for job in std::iter::once(first).chain(work.try_iter()) {
            match job {
                Job::Write(more, whom) => {
                    writes.extend(more);
                    done.push(whom);
                }
                Job::Stop(told) => stop = Some(told),
            }
            if stop.is_some() || done.len() == BATCH {
                break;
            }
        }
        if failure.is_none() && !writes.is_empty() {
            failure = guarded(|| write(database, &writes)).err();
        }
        for whom in done {
            whom.tell(failure.as_ref().map_or(Ok(()), |error| Err(again(error))));
        }
        if stop.is_some() {
            return stop;
        }
    }
    None
}

fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn write(database: &Database, writes: &[Write]) -> io::Result<()> {
    let mut transaction = database.begin_write().map_err(io::Error::other)?;
    transaction.set_durability(Durability::Immediate).map_err(io::Error::other)?;
    {
        let mut log = transaction.open_table(LOG).map_err(io::Error::other)?;
        let mut kept = transaction.open_table(KEPT).map_err(io::Error::other)?;
        for write in writes {
            let kept_as = match write {
                Write::Entry(index, bytes) => {
                    log.insert(index, bytes.as_slice()).map_err(io::Error::other)?;
                    continue;
                }
                Write::Truncate(index) => {
                    log.retain_in::<u64, _>(index.., |_, _| false).map_err(io::Error::other)?;
                    continue;
                }
                Write::Purge(index) => {
                    log.retain_in::<u64, _>(..=index, |_, _| false).map_err(io::Error::other)?;
                    continue;
                }
                Write::Vote(bytes) => ("vote", bytes),
                Write::Committed(bytes) => ("committed", bytes),
                Write::Purged(bytes) => ("purged", bytes),
                Write::Snapshot(bytes) => ("snapshot", bytes),
            };
            kept.insert(kept_as.0, kept_as.1.as_slice()).map_err(io::Error::other)?;
        }
    }
    transaction.commit().map_err(io::Error::other)
}
