//! Sends a feed to the node it is for, and notes what has arrived there.
//!
//! One task per feed, on some worker. A feed has one life: when its link ends, or the other node refuses a record, it is
//! broken, and the control thread has that node taken out of what is in sync. A new feed begins anew, with a snapshot.

use super::forward::{self, kind};
use crate::cluster::link::{CallError, Reply, Sender};
use crate::state::replication::{Feed, Record};
use crate::worker::Worker;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of records in one frame, about.
const FRAME: usize = 1 << 20;
/// Frames under way.
const UNDER_WAY: usize = 64;
/// How soon it is tried again to connect, and how often.
const AGAIN: Duration = Duration::from_millis(50);
const TRIES: usize = 10;

/// Sends `feed` until it is over or broken.
pub(super) async fn run(worker: Rc<Worker>, feed: Arc<Feed>) {
    let mut link = None;
    for _ in 0..TRIES {
        link = forward::connect(&worker, feed.node).await;
        if link.is_some() || feed.is_over() {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    let Some(link) = link else { return break_off(&worker, &feed) };
    let sender = link.sender();
    let to = worker.state.cluster.map().name(feed.node);
    let mut feeding = Feeding {
        feed: Arc::clone(&feed),
        to,
        sender,
        under_way: VecDeque::new(),
        sent: 0,
        left: Vec::new(),
    };
    tokio::select! {
        end = link.run(|_, _| {}) => tracing::debug!("the feed to node {:016x} has ended: {end}", feed.node),
        () = poll_fn(|task| feeding.poll(task)) => {}
    }
    if !feed.is_over() {
        break_off(&worker, &feed);
    }
}

fn break_off(worker: &Worker, feed: &Feed) {
    feed.break_off();
    worker.state.cluster.note_broken();
}

struct Feeding {
    feed: Arc<Feed>,
    /// What people know the node by to which it leads.
    to: String,
    sender: Sender,
    /// Frames not yet answered, with the position behind each.
    under_way: VecDeque<(u64, Reply)>,
    /// The position up to which frames were made.
    sent: u64,
    /// Records taken from the feed that did not go into a frame yet.
    left: Vec<u8>,
}

impl Feeding {
    /// Ready when nothing more can come of it.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        loop {
            while let Some((position, reply)) = self.under_way.front_mut() {
                match Pin::new(reply).poll(task) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(_)) => self.feed.ack(*position),
                    Poll::Ready(Err(error)) => {
                        tracing::warn!("node {} does not follow: {error}", self.to);
                        return Poll::Ready(());
                    }
                }
                self.under_way.pop_front();
            }
            if self.feed.is_over() {
                return Poll::Ready(());
            }
            if self.under_way.len() >= UNDER_WAY {
                return Poll::Pending;
            }
            if self.left.is_empty() {
                match self.feed.poll_unsent(task) {
                    Poll::Ready(bytes) => self.left = bytes,
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self.send() {
                Ok(()) => {}
                // What was sent before makes room.
                Err(CallError::Full) if !self.under_way.is_empty() => return Poll::Pending,
                Err(error) => {
                    tracing::warn!("cannot send to node {}: {error}", self.to);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Sends a frame of what is left.
    fn send(&mut self) -> Result<(), CallError> {
        let mut rest = &self.left[..];
        let mut count = 0;
        while self.left.len() - rest.len() < FRAME && Record::read(&mut rest).is_some() {
            count += 1;
        }
        let len = self.left.len() - rest.len();
        let reply = self.sender.try_request(kind::FEED, &self.left[..len])?;
        self.sent += count;
        self.under_way.push_back((self.sent, reply));
        self.left.drain(..len);
        Ok(())
    }
}
