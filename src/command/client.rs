//! A connection's own state, as commands see and change it.
//!
//! It belongs to the connection's worker; what other threads may know of it is in
//! [`ClientShared`].

use super::blocking::{Nothing, Timeout};
use super::forward::{Cover, Forwarded};
use super::tracking::Tracked;
use crate::command::table::Row;
use crate::state::acl::User;
use crate::state::across::Watched;
use crate::state::clients::{ClientShared, client_flag};
use crate::state::cluster::Asked;
use crate::state::partition::PartitionSet;
use crate::state::pubsub::Kind;
use crate::state::replication::Waits;
use crate::state::tracking::Author;
use crate::state::waiting::Waiter;
use shoal_protocol::resp::OwnedArgs;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A transaction being queued.
#[derive(Default)]
pub struct Multi {
    /// What EXEC will run.
    pub queue: Vec<(&'static Row, OwnedArgs)>,
    /// Memory that takes, in bytes.
    pub bytes: usize,
    /// Whether a command could not be queued, so that EXEC will refuse.
    pub aborted: bool,
    /// The database in which what is queued next will run.
    pub db: usize,
}

/// The keys a connection watches.
#[derive(Default)]
pub struct Watching {
    /// Raised when one of them changes.
    pub changed: Arc<AtomicBool>,
    /// The keys, by database.
    pub keys: HashSet<(usize, Box<[u8]>)>,
    /// Keys that other nodes serve, and what they were.
    pub elsewhere: Vec<Watched>,
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

/// What a connection listens to. In order, so that leaving all is told in one that clients can expect.
#[derive(Default)]
pub struct Subscriptions {
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shards: BTreeSet<Box<[u8]>>,
}

impl Subscriptions {
    fn of(&mut self, kind: Kind) -> &mut BTreeSet<Box<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// Adds a name; false if it is there already.
    pub fn insert(&mut self, kind: Kind, name: &[u8]) -> bool {
        self.of(kind).insert(name.into())
    }

    /// Removes a name; false if it is not there.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        self.of(kind).remove(name)
    }

    /// Removes all names of a kind.
    pub fn take(&mut self, kind: Kind) -> Vec<Box<[u8]>> {
        std::mem::take(self.of(kind)).into_iter().collect()
    }

    /// How many names of `kind` there are.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel => self.channels.len(),
            Kind::Pattern => self.patterns.len(),
            Kind::Shard => self.shards.len(),
        }
    }

    /// The count told in confirmations: channels and patterns are counted together.
    pub fn counted_with(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.shards.len(),
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shards.is_empty()
    }
}

/// A request that waits for a key.
pub struct Blocked {
    /// What stands in the queues.
    pub waiter: Arc<Waiter>,
    /// When its time is up; never, if there is none.
    pub deadline: Option<Instant>,
    /// What it hears then.
    pub nothing: Nothing,
    /// How long it said that it waits.
    pub timeout: Timeout,
}

/// That a request would wait.
pub struct WouldWait {
    /// What is to be run again.
    pub request: OwnedArgs,
    /// For how long; for ever, if that is not said.
    pub timeout: Option<Duration>,
    /// What it hears then.
    pub nothing: Nothing,
}

/// What a command does that finds nothing to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Waiting {
    /// It waits.
    #[default]
    Allowed,
    /// It answers at once, as in a transaction or a script.
    Denied,
    /// It says that it would wait (`Client::would_wait`), as it is somebody else who has it wait.
    Noted {
        /// Whether it has waited already.
        waited: bool,
    },
    /// It is waiting already, and this is an attempt to serve it.
    Served {
        /// Set if it found nothing again.
        again: bool,
    },
}

impl Waiting {
    /// Whether the request has waited already.
    pub fn has_waited(self) -> bool {
        matches!(self, Waiting::Served { .. } | Waiting::Noted { waited: true })
    }
}

/// A question of WAIT, for which the connection waits.
pub struct Counting {
    /// How many copies are waited for.
    pub wanted: usize,
    /// When the time is up.
    pub deadline: Option<Instant>,
}

/// One connection.
pub struct Client {
    /// What others see of it.
    pub shared: Arc<ClientShared>,
    /// The selected database.
    pub db: usize,
    /// Who it is: the default user until it logs in.
    pub user: Arc<User>,
    /// Whether it has logged in, or came when the default user had no password.
    pub authenticated: bool,
    /// The transaction being queued, if any.
    pub multi: Option<Multi>,
    /// The keys watched.
    pub watching: Watching,
    /// Which replies are wanted.
    pub replies: Replies,
    /// Whether its reads leave the access clock alone.
    pub no_touch: bool,
    /// Whether it brings in another server's data (CLIENT IMPORT-SOURCE).
    pub imports: bool,
    /// Channels, patterns and shard channels subscribed to.
    pub subscriptions: Subscriptions,
    /// What CLIENT TRACKING asked for.
    pub tracking: Option<Tracked>,
    /// The request that waits, during which no other is run.
    pub blocked: Option<Blocked>,
    /// Whether commands may wait.
    pub waiting: Waiting,
    /// What a request that found nothing would wait for.
    pub would_wait: Option<WouldWait>,
    /// The request that waited for what is served elsewhere now, to be run again before any other.
    pub again: Option<OwnedArgs>,
    /// Requests that other nodes are to answer, in the order of their replies.
    pub forwarded: Vec<Forwarded>,
    /// Whether any of them has a part that this node is to answer: what would be run here waits until that is done.
    pub is_owed: bool,
    /// Whether the requests behind the last one wait until it is answered.
    pub is_barred: bool,
    /// Whether its requests come from another node, which is not to be sent elsewhere.
    pub is_peer: bool,
    /// Of a request of a peer: the version of the map by which it was sent here. One that arrives late may be meant for an earlier time
    /// in which this node served its keys.
    pub known: u64,
    /// Of a request of a peer on the whole keyspace: the partitions it is about.
    pub cover: Option<Cover>,
    /// Set when a request of a peer was not run, as this node does not serve its keys.
    pub refused: bool,
    /// Whether something was read that counts only if this node still served it after that.
    pub is_unsettled: bool,
    /// The [`Cluster::tenure`](crate::state::cluster::Cluster::tenure) before that.
    pub tenure: u64,
    /// What has to arrive at other nodes before the replies written so far may be sent.
    pub waits: Waits,
    /// Who changes what its commands change.
    pub author: Author,
    /// The version of what this node's clients are interested in that other nodes have to know before the replies may be sent.
    pub interest: Option<u64>,
    /// What all nodes have to agree on before the replies written so far may be sent.
    pub asked: Vec<Arc<Asked>>,
    /// Set when what is asked for is to be read from copies.
    pub reads_copy: bool,
    /// The partitions it may have written to.
    pub written: PartitionSet,
    /// What its WAIT is to be told.
    pub counting: Option<Counting>,
    /// Commands run for it.
    pub commands: u64,
    /// Whether memory was used up when the present script began.
    pub script_oom: bool,
    /// Whether the present command is run by a script.
    pub in_script: bool,
    /// Close once the replies are sent.
    pub closing: bool,
    /// Close whatever is unsent.
    pub killed: bool,
}

impl Client {
    /// A fresh connection of `user`, who needs to log in unless that is open.
    pub fn new(shared: Arc<ClientShared>, user: Arc<User>) -> Client {
        Client {
            db: 0,
            authenticated: user.is_open(),
            user,
            multi: None,
            watching: Watching::default(),
            replies: Replies::On,
            no_touch: false,
            imports: false,
            subscriptions: Subscriptions::default(),
            tracking: None,
            blocked: None,
            waiting: Waiting::Allowed,
            would_wait: None,
            again: None,
            forwarded: Vec::new(),
            is_owed: false,
            is_barred: false,
            is_peer: false,
            known: u64::MAX,
            cover: None,
            refused: false,
            is_unsettled: false,
            tenure: 0,
            waits: Waits::default(),
            author: Author { node: 0, client: shared.id },
            interest: None,
            asked: Vec::new(),
            reads_copy: false,
            written: PartitionSet::default(),
            counting: None,
            commands: 0,
            script_oom: false,
            in_script: false,
            closing: false,
            killed: false,
            shared,
        }
    }

    /// Whether it has logged in and may do everything: nothing needs to be checked.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.authenticated && self.user.is_free()
    }

    /// Whether it must log in before it can do anything.
    pub fn needs_login(&self) -> bool {
        self.user.is_gone() || !self.authenticated && !self.user.is_open()
    }

    /// Makes it that of `user`.
    pub fn log_in(&mut self, user: Arc<User>) {
        self.shared.labels.lock().user = user.name.to_vec();
        self.user = user;
        self.authenticated = true;
    }

    /// Makes it that of nobody in particular, as it was at first.
    pub fn log_out(&mut self, default: &Arc<User>) {
        self.log_in(Arc::clone(default));
        self.authenticated = default.is_open();
    }

    /// Has other nodes know what this connection is interested in.
    pub fn note_interest(&mut self, state: &crate::state::State) {
        if state.cluster.is_on() {
            self.interest = Some(state.note_interest());
        }
    }

    /// Tells others how many subscriptions there are.
    pub fn note_subscriptions(&self) {
        let counts = &self.shared.subscriptions;
        for (kind, count) in [Kind::Channel, Kind::Pattern, Kind::Shard].into_iter().zip(counts) {
            count.store(self.subscriptions.len(kind), Ordering::Relaxed);
        }
    }

    /// Selects a database.
    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.shared.db.store(db, Ordering::Relaxed);
    }

    /// The database that its next request is about, which a transaction being queued may have left behind by a SELECT.
    pub fn present_db(&self) -> usize {
        self.multi.as_ref().map_or(self.db, |multi| multi.db)
    }

    /// Tells others what it is queueing, watching and doing.
    pub fn tell_figures(&self) {
        let figures = &self.shared.figures;
        let multi = self.multi.as_ref();
        figures.queued.store(multi.map_or(0, |multi| multi.queue.len() + 1), Ordering::Relaxed);
        figures.queued_bytes.store(multi.map_or(0, |multi| multi.bytes), Ordering::Relaxed);
        let watched = self.watching.keys.len() + self.watching.elsewhere.len();
        figures.watched.store(watched, Ordering::Relaxed);
        figures.commands.store(self.commands, Ordering::Relaxed);
    }

    /// Bytes of memory it uses besides its buffers, about.
    pub fn memory(&self) -> usize {
        /// What a name takes that is watched or listened to.
        const NAME: usize = 128;
        /// What a prefix takes that is listened to; they are short, and have much in common.
        const PREFIX: usize = 24;
        let multi = self.multi.as_ref().map_or(0, |multi| multi.bytes);
        let prefixes = self.tracking.as_ref().map_or(0, |tracked| tracked.tracker.prefixes.len());
        let subscriptions: usize =
            [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| self.subscriptions.len(kind)).iter().sum();
        multi + NAME * (self.watching.keys.len() + subscriptions) + PREFIX * prefixes
    }

    /// Whether it comes from this machine.
    pub fn is_local(&self) -> bool {
        let addr = &self.shared.addr;
        addr.starts_with("127.") || addr.starts_with("[::1]") || self.shared.has_flag(client_flag::UNIX)
    }
}
