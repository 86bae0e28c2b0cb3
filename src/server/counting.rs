//! WAIT: how many nodes have copies of what a connection wrote.
//!
//! Who serves a partition knows what of it has arrived where; of partitions served elsewhere that node is asked, over the worker's link.
//! The count is the least of all partitions. The connection waits as for a key; a task beside it counts again until it is enough or
//! the time is up, and mails the answer.

use super::forward::{kind, link};
use crate::cluster::metadata::NodeId;
use crate::command::client::Counting;
use crate::state::State;
use crate::state::clients::Mail;
use crate::state::partition::PartitionSet;
use crate::state::replication::{Feed, Role, Waits};
use crate::state::waiting::Waiter;
use crate::worker::Worker;
use shoal_protocol::resp::Output;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long one node is asked at a time: then it is looked whether somebody still waits.
const SLICE: Duration = Duration::from_millis(50);
/// How often it is looked what has arrived.
const LOOK: Duration = Duration::from_millis(1);
/// How long an answer of another node may take beyond what it was given.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers `waiter`, who asks for `counting` about the partitions in `written`.
pub(super) async fn answer(
    worker: Rc<Worker>,
    waiter: Arc<Waiter>,
    counting: Counting,
    written: PartitionSet,
) {
    let cluster = &worker.state.cluster;
    // What has arrived has; who serves a partition that moves cannot tell for a moment.
    let mut most = 0;
    loop {
        let seen = cluster.version();
        let until = counting.deadline.map_or(Instant::now() + SLICE, |end| end.min(Instant::now() + SLICE));
        most = most.max(count(&worker, written, counting.wanted, until).await);
        let is_over = counting.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if most >= counting.wanted || is_over {
            return tell(&waiter, most);
        }
        if waiter.is_over() {
            return;
        }
        // Only a copy more helps now, or a link that was down.
        let newer = poll_fn(|task| cluster.poll_newer(seen, task));
        let _ = tokio::time::timeout_at((until.max(Instant::now() + LOOK)).into(), newer).await;
    }
}

fn tell(waiter: &Waiter, count: usize) {
    if waiter.begin() {
        let mut out = Output::new(waiter.proto);
        out.int(count as i64);
        waiter.served();
        waiter.client.send(Mail::Unblocked { reply: out.take_bytes(), waits: Waits::default() });
    }
}

/// How many copies have all that was written, once that is enough or `until` has come.
async fn count(worker: &Rc<Worker>, written: PartitionSet, wanted: usize, until: Instant) -> usize {
    let map = worker.state.cluster.map();
    if written.is_empty() {
        return map.partitions.iter().map(|assignment| assignment.replicas().len()).min().unwrap_or(0);
    }
    let mut by_node: BTreeMap<Option<NodeId>, Vec<u8>> = BTreeMap::new();
    for partition in written.iter() {
        by_node.entry(map.primary(partition)).or_default().push(partition);
    }
    let mut least = usize::MAX;
    for (node, partitions) in by_node {
        let count = match node {
            None => 0,
            Some(node) if node == worker.state.cluster.me() => {
                here(&worker.state, &partitions, wanted, until).await
            }
            Some(node) => there(worker, node, &partitions, wanted, until).await.unwrap_or(0),
        };
        least = least.min(count);
    }
    least
}

async fn there(
    worker: &Rc<Worker>,
    node: NodeId,
    partitions: &[u8],
    wanted: usize,
    until: Instant,
) -> Option<usize> {
    let sender = link(worker, node).await?;
    let left = until.saturating_duration_since(Instant::now());
    let mut question = Vec::with_capacity(8 + partitions.len());
    question.extend_from_slice(&u32::try_from(wanted).unwrap_or(u32::MAX).to_le_bytes());
    question.extend_from_slice(&(left.as_millis() as u32).to_le_bytes());
    question.extend_from_slice(partitions);
    let asked = sender.try_request(kind::COUNT, &question).ok()?;
    let answer = tokio::time::timeout(left + PATIENCE, asked).await.ok()?.ok()?;
    Some(u32::from_le_bytes(answer.first_chunk().copied()?) as usize)
}

/// What another node's [`there`] asks of this one.
pub(super) async fn asked(state: &State, question: &[u8]) -> Vec<u8> {
    let head =
        |at: usize| question.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let (Some(wanted), Some(left_ms)) = (head(0), head(4)) else { return Vec::new() };
    let until = Instant::now() + Duration::from_millis(left_ms.into()).min(SLICE);
    let count = here(state, &question[8..], wanted as usize, until).await;
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes().to_vec()
}

/// How many copies have all of `partitions`, which this node serves, as they were when this was asked.
async fn here(state: &State, partitions: &[u8], wanted: usize, until: Instant) -> usize {
    let mut goals: Vec<Vec<(Arc<Feed>, u64)>> = Vec::with_capacity(partitions.len());
    for number in partitions {
        let partition = state.keyspace.enter(*number);
        match partition.replication.as_ref().filter(|own| matches!(own.role, Role::Primary | Role::Falling)) {
            Some(own) => goals.push(own.goals()),
            None => return 0,
        }
    }
    // One that was given up has nothing, whatever it acknowledged.
    let has = |(feed, position): &&(Arc<Feed>, u64)| !feed.is_over() && feed.has(*position);
    loop {
        let count = goals.iter().map(|copies| copies.iter().filter(has).count()).min().unwrap_or(0);
        if count >= wanted || Instant::now() >= until {
            return count;
        }
        tokio::time::sleep(LOOK).await;
    }
}
