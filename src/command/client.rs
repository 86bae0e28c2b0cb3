//! A connection's own state, as commands see and change it.
//!
//! It belongs to the connection's worker; what other threads may know of it is in
//! [`ClientShared`].

use crate::command::table::Row;
use crate::state::clients::ClientShared;
use shoal_protocol::resp::OwnedArgs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A transaction being queued.
#[derive(Default)]
pub struct Multi {
    /// What EXEC will run.
    pub queue: Vec<(&'static Row, OwnedArgs)>,
    /// Whether a command could not be queued, so that EXEC will refuse.
    pub aborted: bool,
}

/// The keys a connection watches.
#[derive(Default)]
pub struct Watching {
    /// Raised when one of them changes.
    pub changed: Arc<AtomicBool>,
    /// The keys, by database, and whether each was already expired when the watch began.
    pub keys: Vec<(usize, Box<[u8]>, bool)>,
}

/// Which replies a connection wants (CLIENT REPLY).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Replies {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// None for the command after this one.
    SkipNext,
    /// None for this command.
    Skip,
}

/// One connection.
pub struct Client {
    /// What others see of it.
    pub shared: Arc<ClientShared>,
    /// The selected database.
    pub db: usize,
    /// Whether it may run commands that want authentication.
    pub authenticated: bool,
    /// The transaction being queued, if any.
    pub multi: Option<Multi>,
    /// The keys watched.
    pub watching: Watching,
    /// Which replies are wanted.
    pub replies: Replies,
    /// Whether its reads leave the access clock alone.
    pub no_touch: bool,
    /// Channels, patterns and shard channels subscribed to.
    pub subscriptions: usize,
    /// Close once the replies are sent.
    pub closing: bool,
}

impl Client {
    /// A fresh connection.
    pub fn new(shared: Arc<ClientShared>, authenticated: bool) -> Client {
        Client {
            shared,
            db: 0,
            authenticated,
            multi: None,
            watching: Watching::default(),
            replies: Replies::On,
            no_touch: false,
            subscriptions: 0,
            closing: false,
        }
    }
}
