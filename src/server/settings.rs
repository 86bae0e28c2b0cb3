//! Settings that all nodes share: taken from the map, and waited for by whoever changed one.
//!
//! What they are and what they do is in `command/settings.rs`. Here is when: a node follows the map on its first worker, beside clients, as
//! a library may take a while to load. A client that changed something hears of it once every node that serves has followed; one
//! that cannot be reached does so before it serves again.

use super::forward::{self, kind};
use crate::cluster::link::{Frame, Sender};
use crate::cluster::metadata::{Change, Outcome};
use crate::command::client::Client;
use crate::command::settings;
use crate::state::cluster::Asked;
use crate::worker::Worker;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout, timeout_at};

/// How long the nodes that serve are waited for. One that is gone is out of the map long before.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon it is tried again while a script runs.
const AGAIN: Duration = Duration::from_millis(2);

/// Does as the map says, for ever.
pub(super) async fn follow(worker: Rc<Worker>) {
    let state = &*worker.state;
    let mut held = None;
    loop {
        let map = state.cluster.map();
        if state.cluster.take_founded() {
            let own = loop {
                match settings::own(state) {
                    Some(own) => break own,
                    None => sleep(AGAIN).await,
                }
            };
            // Before anything is taken from the map, which knows nothing of them yet.
            let asked = state.cluster.ask(Change::Set(own));
            poll_fn(|task| asked.poll(task)).await;
            continue;
        }
        if map.is_founded() && held.as_ref() != Some(&map.settings) {
            let was_open = state.acl.default_user().is_open();
            while !settings::adopt(state, &map.settings) {
                sleep(AGAIN).await;
            }
            // Who came before this node knew that there is a password has to come again.
            if held.is_none() && was_open && !state.acl.default_user().is_open() {
                state.clients.all().iter().for_each(|client| state.clients.kill(client));
            }
            held = Some(map.settings.clone());
        }
        if map.is_founded() {
            state.cluster.note_settled(map.version);
        }
        poll_fn(|task| state.cluster.poll_newer(map.version, task)).await;
    }
}

/// Ready once this node knows what is set in its cluster; false for a client that came before, and would have to log in now.
pub(super) async fn known(worker: &Worker, client: &Client, until: Instant) -> bool {
    let cluster = &worker.state.cluster;
    if cluster.is_settled() {
        return true;
    }
    // While there is no cluster to be found out about there is nobody to be asked either.
    let _ = timeout_at(until.into(), poll_fn(|task| cluster.poll_settled(1, task))).await;
    client.user.is_open()
}

/// Ready once all that was asked for is agreed on, and holds at every node; false if it may never be.
pub(super) async fn agreed(worker: &Rc<Worker>, asked: Vec<Arc<Asked>>) -> bool {
    let mut version = 0;
    for asked in asked {
        match poll_fn(|task| asked.poll(task)).await {
            Some(Outcome::Set(set)) => version = version.max(set),
            Some(_) => {}
            None => return false,
        }
    }
    let _ = timeout(PATIENCE, settled(worker, version)).await;
    true
}

/// Ready once the settings of the map's `version` hold at every node that serves.
async fn settled(worker: &Rc<Worker>, version: u64) {
    let cluster = &worker.state.cluster;
    let mut replies = Vec::new();
    for node in cluster.homes().into_iter().filter(|node| *node != cluster.me()) {
        let sender = forward::link(worker, node).await;
        replies
            .extend(sender.and_then(|sender| sender.try_request(kind::SETTLED, &version.to_le_bytes()).ok()));
    }
    poll_fn(|task| cluster.poll_settled(version, task)).await;
    for reply in replies {
        // A link that ended says that its node is gone.
        let _ = reply.await;
    }
}

/// Answers a peer that waits for settings to hold here.
pub(super) fn tell_settled(worker: &Rc<Worker>, sender: &Sender, frame: &Frame) {
    let Some(version) = frame.payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return sender.refuse(frame.id, "a request that cannot be understood");
    };
    let (worker, sender, id) = (Rc::clone(worker), sender.clone(), frame.id);
    tokio::task::spawn_local(async move {
        poll_fn(|task| worker.state.cluster.poll_settled(version, task)).await;
        sender.reply(id, &[]);
    });
}
