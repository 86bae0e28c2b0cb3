//! Hearing of other nodes what concerns this one's clients: events and messages they subscribed to, and changes of keys they cache.
//!
//! A node keeps one link to each of the others for this. It says there what its clients are interested in, and hears of it in order
//! (`state/ears.rs`). When such a link ends, or a partition gets another primary, something may have been missed: then clients are told
//! to forget all that they cache of it.

use super::forward::{self, kind};
use crate::cluster::link::{Frame, Sender};
use crate::cluster::metadata::NodeId;
use crate::state::State;
use crate::state::ears::{Ear, Interest, Word};
use crate::state::partition::partition_of;
use crate::state::tracking::Author;
use crate::worker::Worker;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How soon it is tried again to listen to a node.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a client waits until other nodes know what it is interested in.
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens to whoever serves, for ever.
pub(super) async fn follow(worker: Rc<Worker>) {
    let cluster = &worker.state.cluster;
    let listening: Rc<RefCell<BTreeSet<NodeId>>> = Rc::default();
    let mut epochs: Vec<u64> = Vec::new();
    loop {
        let map = cluster.map();
        for node in cluster.homes() {
            if cluster.is_on() && node != cluster.me() && listening.borrow_mut().insert(node) {
                let (worker, listening) = (Rc::clone(&worker), Rc::clone(&listening));
                tokio::task::spawn_local(async move {
                    while worker.state.cluster.map().serves(node) {
                        listen_to(&worker, node).await;
                        sleep(AGAIN).await;
                    }
                    listening.borrow_mut().remove(&node);
                });
            }
        }
        if worker.state.tracking.is_active() {
            let moved = map.numbered().zip(&epochs).filter(|((_, now), before)| now.epoch != **before);
            forget(&worker.state, moved.map(|((partition, _), _)| partition));
        }
        epochs = map.partitions.iter().map(|assignment| assignment.epoch).collect();
        poll_fn(|task| cluster.poll_newer(map.version, task)).await;
    }
}

/// Has clients forget all that they read of partitions.
fn forget(state: &State, partitions: impl Iterator<Item = u8>) {
    for number in partitions {
        state.tracking.forget_all(&mut state.keyspace.enter(number));
    }
}

/// Listens to `node` until the link ends.
async fn listen_to(worker: &Rc<Worker>, node: NodeId) {
    let Some(link) = forward::connect(worker, node).await else { return };
    let (sender, ears) = (link.sender(), &worker.state.ears);
    let hearing = link.run(|_, frame| hear(&worker.state, &frame));
    let telling = async {
        let mut seen = None;
        loop {
            if let Some(seen) = seen {
                poll_fn(|task| ears.poll_wanted(seen, task)).await;
            }
            let (interest, version) = ears.wanted();
            let Ok(interest) = postcard::to_stdvec(&interest) else { return };
            if sender.request(kind::LISTEN, &interest).await.is_err() {
                return;
            }
            ears.note_told(node, Some(version));
            seen = Some(version);
        }
    };
    tokio::select! {
        end = hearing => tracing::debug!("nothing is heard of node {node:016x} any more: {end}"),
        () = telling => {}
    }
    ears.note_told(node, None);
    let state = &worker.state;
    if state.tracking.is_active() {
        let map = state.cluster.map();
        forget(state, (0..=u8::MAX).filter(|partition| map.primary(*partition) == Some(node)));
        state.tracking.missed();
    }
}

/// Tells this node's clients what another says.
fn hear(state: &State, frame: &Frame) {
    if frame.kind != kind::HEARD {
        return;
    }
    let Ok(words) = postcard::from_bytes::<Vec<Word>>(&frame.payload) else {
        return tracing::warn!("another node said something that cannot be understood");
    };
    for word in words {
        match word {
            Word::Message { channel, text, is_shard: false } => {
                state.pubsub.publish(&channel, &text);
            }
            Word::Message { channel, text, is_shard: true } => {
                state.pubsub.publish_shard(&channel, &text);
            }
            Word::Changed { key, by } => {
                let mut partition = state.keyspace.enter(partition_of(&key));
                state.tracking.forget(&mut partition, &key, Author { node: 0, client: by });
            }
            Word::Broadcast(keys) => {
                state.tracking.changed_elsewhere(keys.iter().map(|(key, by)| (key.as_slice(), *by)));
            }
        }
    }
}

/// Ready once the other nodes know what this one's clients are interested in.
pub(super) async fn told(worker: &Worker, version: u64) {
    let _ = timeout(PATIENCE, poll_fn(|task| worker.state.ears.poll_told(version, task))).await;
}

/// Opens an ear for a peer, or changes what is to be heard by it.
pub(super) fn listen(worker: &Rc<Worker>, ear: &mut Option<Arc<Ear>>, sender: &Sender, frame: &Frame) {
    let Ok(interest) = postcard::from_bytes::<Interest>(&frame.payload) else {
        return sender.refuse(frame.id, "a request that cannot be understood");
    };
    let state = &worker.state;
    let ear = ear.get_or_insert_with(|| {
        let ear = state.ears.open(sender.peer().node);
        tokio::task::spawn_local(speak(Arc::clone(&ear), sender.clone()));
        ear
    });
    let (stop, start) = state.ears.set(ear, &interest);
    stop.iter().for_each(|tracker| state.tracking.stop(tracker));
    start.iter().for_each(|tracker| state.tracking.start(tracker));
    sender.reply(frame.id, &[]);
}

/// Sends what is told to an ear.
async fn speak(ear: Arc<Ear>, sender: Sender) {
    while let Some(words) = poll_fn(|task| ear.poll(task)).await {
        // In pieces that fit into a frame.
        for words in words.chunks(1024) {
            let sent = match postcard::to_stdvec(words) {
                Ok(bytes) => sender.send(kind::HEARD, &bytes).await.is_ok(),
                Err(_) => false,
            };
            if !sent {
                return sender.close();
            }
        }
    }
    sender.close();
}

/// Closes an ear whose link is gone.
pub(super) fn close(worker: &Worker, ear: &Arc<Ear>) {
    worker.state.ears.close(ear).iter().for_each(|tracker| worker.state.tracking.stop(tracker));
}
