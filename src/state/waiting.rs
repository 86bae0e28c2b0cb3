//! Connections that wait for a key: BLPOP and its kin.
//!
//! A [`Waiter`] stands in the queue of each key it waits for, first come first served, and is entered and left under
//! the locks of those keys' partitions. Whoever changes such a key serves its queue: it runs the waiter's request in its
//! place and mails the reply.
//!
//! Invariant: a waiter is answered exactly once, by whoever moves its state away from `Waiting` for good.

use super::acl::User;
use super::clients::{ClientShared, Mail};
use shoal_protocol::resp::{OwnedArgs, Proto};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const SERVING: u8 = 1;
const DONE: u8 = 2;

/// A request that waits.
pub struct Waiter {
    /// The connection.
    pub client: Arc<ClientShared>,
    /// Who it is.
    pub user: Arc<User>,
    /// Its database.
    pub db: usize,
    /// Its protocol version.
    pub proto: Proto,
    /// The number of the request's row.
    pub row: usize,
    /// The request, to be run again when a key changes.
    pub request: OwnedArgs,
    /// The keys waited for.
    pub keys: Vec<Box<[u8]>>,
    state: AtomicU8,
}

impl Waiter {
    /// A request that begins to wait.
    pub fn new(
        (client, user): (Arc<ClientShared>, Arc<User>),
        db: usize,
        proto: Proto,
        row: usize,
        request: OwnedArgs,
        keys: Vec<Box<[u8]>>,
    ) -> Waiter {
        Waiter { client, user, db, proto, row, request, keys, state: AtomicU8::new(WAITING) }
    }

    /// Claims the waiter for an attempt to serve it; false if it waits no more or another is at it.
    pub fn begin(&self) -> bool {
        self.change(WAITING, SERVING)
    }

    /// Ends an attempt that found nothing: it waits on.
    pub fn wait_on(&self) {
        self.state.store(WAITING, Ordering::Release);
    }

    /// Ends an attempt that answered it.
    pub fn served(&self) {
        self.state.store(DONE, Ordering::Release);
    }

    /// Ends the wait from outside (time is up, the client is gone, CLIENT UNBLOCK). False if it was served already, or
    /// is just being: then look again.
    pub fn cancel(&self) -> bool {
        self.change(WAITING, DONE)
    }

    /// Has its client ask again, wherever its keys are served now; nothing if it waits no more, or is just being served: then who is at
    /// it finds out that they are not served here.
    pub fn send_on(&self) {
        if self.cancel() {
            self.client.send(Mail::AskAgain);
        }
    }

    /// Whether its reply is on the way, or may be: it is being served, or was.
    pub fn is_begun(&self) -> bool {
        self.state.load(Ordering::Acquire) != WAITING
    }

    /// Whether nobody waits any more.
    pub fn is_over(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
