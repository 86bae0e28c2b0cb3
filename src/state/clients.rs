//! The connections of a node, as other connections and the housekeeping see them.
//!
//! A connection's own state belongs to its worker. What others may read is here as atomics, written by the worker
//! in passing; what others want of it (a push, a close) is put into its inbox, and its worker is woken.

use super::replication::Waits;
use super::waiting::Waiter;
use crossbeam::queue::SegQueue;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// Something for a connection to act on between commands.
pub enum Mail {
    /// Bytes to send, already in the client's protocol version.
    Push(Arc<[u8]>),
    /// The reply it waited for.
    Unblocked {
        /// The reply.
        reply: Vec<u8>,
        /// What has to arrive at other nodes before it may be sent.
        waits: Waits,
    },
    /// What it waits for is served elsewhere now, if anywhere: ask again.
    AskAgain,
    /// Stop waiting (CLIENT UNBLOCK).
    Unblock(Unblock),
    /// Close at once, whatever is due.
    Close,
}

/// What CLIENT UNBLOCK has who waits for a key hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    /// What it would if its time were up.
    TimeUp,
    /// The error.
    Error,
}

/// What a connection is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The name set by CLIENT SETNAME or HELLO; empty for none.
    pub name: Vec<u8>,
    /// The client library's name, which it tells by CLIENT SETINFO.
    pub lib_name: Vec<u8>,
    /// The client library's version, likewise.
    pub lib_version: Vec<u8>,
    /// The user it is authenticated as.
    pub user: Vec<u8>,
}

impl Default for Labels {
    fn default() -> Labels {
        Labels { name: Vec::new(), lib_name: Vec::new(), lib_version: Vec::new(), user: b"default".to_vec() }
    }
}

/// Names for what a connection may be, besides what follows from its counts.
pub mod client_flag {
    /// Its buffers may grow beyond `maxmemory-clients`.
    pub const NO_EVICT: u32 = 1;
    /// Its reads leave the access clock alone.
    pub const NO_TOUCH: u32 = 1 << 1;
    /// It reads from replicas (READONLY).
    pub const READONLY: u32 = 1 << 2;
    /// It came by a Unix socket.
    pub const UNIX: u32 = 1 << 3;
    /// It is closed once its replies are sent.
    pub const CLOSING: u32 = 1 << 4;
    /// It understands redirections (CLIENT CAPA redirect).
    pub const REDIRECT: u32 = 1 << 5;
    /// It carries data from another server (CLIENT IMPORT-SOURCE).
    pub const IMPORT_SOURCE: u32 = 1 << 6;
    /// CLIENT PAUSE holds its request.
    pub const HELD: u32 = 1 << 7;
    /// It monitors.
    pub const MONITOR: u32 = 1 << 8;
    /// Its request may be waiting for a key at other nodes.
    pub const WAITS_ELSEWHERE: u32 = 1 << 9;
}

/// Figures of a connection, told by its worker in passing. Sizes in bytes.
#[derive(Default)]
pub struct Figures {
    /// Commands queued by MULTI, plus 1; 0 outside a transaction.
    pub queued: AtomicUsize,
    /// Memory of those.
    pub queued_bytes: AtomicUsize,
    /// Keys watched.
    pub watched: AtomicUsize,
    /// Input not yet run.
    pub input: AtomicUsize,
    /// Spare room for input.
    pub input_spare: AtomicUsize,
    /// Replies the socket has not taken.
    pub output: AtomicUsize,
    /// Memory it uses in all.
    pub memory: AtomicUsize,
    /// Since when its replies are over the soft limit, as Unix time in ms; 0 if they are not.
    pub over_soft_limit_since_ms: AtomicI64,
    /// Bytes read.
    pub net_in: AtomicU64,
    /// Bytes written.
    pub net_out: AtomicU64,
    /// Commands run.
    pub commands: AtomicU64,
    /// The socket's number.
    pub fd: AtomicUsize,
}

/// What can be known of a connection from outside.
pub struct ClientShared {
    /// Unique in this node's life, growing.
    pub id: u64,
    /// Whether it stands for connections of other nodes, and has none of its own.
    pub is_stand_in: bool,
    /// The client's address, `ip:port`.
    pub addr: String,
    /// The node's address it connected to.
    pub laddr: String,
    /// Unix time in ms of its start.
    pub created_ms: i64,
    /// Unix time in ms of its last request.
    pub active_ms: AtomicI64,
    /// What it is called.
    pub labels: Mutex<Labels>,
    /// The selected database.
    pub db: AtomicUsize,
    /// The number in the table of the last command.
    pub command: AtomicUsize,
    /// Whether pushes go out as RESP3.
    pub resp3: AtomicBool,
    /// Of `client_flag`.
    pub flags: AtomicU32,
    /// Its figures.
    pub figures: Figures,
    /// How many channels, patterns and shard channels it listens to.
    pub subscriptions: [AtomicUsize; 3],
    /// The request that waits for a key of this node, if one does.
    pub waiter: Mutex<Option<Arc<Waiter>>>,
    /// How a wait at other nodes is to end: one of [`Unblock`], plus 1; 0 while it may go on.
    unblock: AtomicU8,
    inbox: SegQueue<Mail>,
    inbox_bytes: AtomicUsize,
    mail: AtomicBool,
    closed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl ClientShared {
    /// Puts something into the connection's inbox and wakes its worker.
    pub fn send(&self, mail: Mail) {
        if let Mail::Push(bytes) = &mail {
            self.inbox_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        self.inbox.push(mail);
        if !self.mail.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Raises or lowers flags of `client_flag`.
    pub fn set_flag(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag, Ordering::Relaxed);
        }
    }

    /// Whether a flag of `client_flag` is raised.
    pub fn has_flag(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Whether it listens to anything.
    pub fn is_subscribed(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Whether its request waits for a key, wherever that is served.
    pub fn is_blocked(&self) -> bool {
        self.has_flag(client_flag::WAITS_ELSEWHERE) || self.waiter.lock().is_some()
    }

    /// Has it wait for a key no more; false if it does not.
    pub fn unblock(&self, how: Unblock) -> bool {
        if self.has_flag(client_flag::WAITS_ELSEWHERE) {
            self.unblock.store(how as u8 + 1, Ordering::Release);
            self.wake();
            return true;
        }
        let waits = self.waiter.lock().is_some();
        if waits {
            self.send(Mail::Unblock(how));
        }
        waits
    }

    /// How its wait at other nodes is to end; for the connection's own worker, which is woken when there is something.
    pub fn take_unblock(&self) -> Option<Unblock> {
        match self.unblock.swap(0, Ordering::Acquire) {
            0 => None,
            how if how == Unblock::TimeUp as u8 + 1 => Some(Unblock::TimeUp),
            _ => Some(Unblock::Error),
        }
    }

    /// Bytes waiting in the inbox.
    pub fn inbox_bytes(&self) -> usize {
        self.inbox_bytes.load(Ordering::Relaxed)
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether there is mail.
    #[inline]
    pub fn has_mail(&self) -> bool {
        self.mail.load(Ordering::Acquire)
    }

    /// Takes the next piece of mail; for the connection's own worker.
    pub fn receive(&self) -> Option<Mail> {
        // The flag goes down before the queue is looked at, so that mail put in meanwhile raises it again.
        self.mail.store(false, Ordering::Release);
        let mail = self.inbox.pop()?;
        if let Mail::Push(bytes) = &mail {
            self.inbox_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
        if !self.inbox.is_empty() {
            self.mail.store(true, Ordering::Release);
        }
        Some(mail)
    }

    /// Makes its worker look after it, mail or not.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Has `waker` called whenever mail comes.
    pub fn wake_with(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }
}

/// All connections by id.
#[derive(Default)]
pub struct Clients {
    /// How many wait for a key.
    pub blocked: AtomicUsize,
    /// Memory they use together, in bytes.
    pub memory: AtomicUsize,
    last_id: AtomicU64,
    /// What ends a socket, by its number.
    hang_up: OnceLock<fn(usize)>,
    /// Invariant: the socket of whoever is in here is open, and its number its own.
    by_id: Mutex<BTreeMap<u64, Arc<ClientShared>>>,
}

impl Clients {
    /// Registers a connection.
    pub fn add(&self, addr: String, laddr: String, now_ms: i64) -> Arc<ClientShared> {
        let client = self.create(false, addr, laddr, now_ms);
        self.by_id.lock().insert(client.id, Arc::clone(&client));
        client
    }

    /// What stands for a connection where there is none: requests of other nodes. Nobody sees it.
    pub fn detached(&self) -> Arc<ClientShared> {
        self.create(true, String::new(), String::new(), 0)
    }

    fn create(&self, is_stand_in: bool, addr: String, laddr: String, now_ms: i64) -> Arc<ClientShared> {
        Arc::new(ClientShared {
            is_stand_in,
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            addr,
            laddr,
            created_ms: now_ms,
            active_ms: AtomicI64::new(now_ms),
            labels: Mutex::default(),
            db: AtomicUsize::new(0),
            command: AtomicUsize::new(usize::MAX),
            resp3: AtomicBool::new(false),
            flags: AtomicU32::new(0),
            figures: Figures::default(),
            subscriptions: Default::default(),
            waiter: Mutex::default(),
            unblock: AtomicU8::new(0),
            inbox: SegQueue::new(),
            inbox_bytes: AtomicUsize::new(0),
            mail: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            waker: Mutex::default(),
        })
    }

    /// Says what ends a socket, given its number. Only the first call counts.
    pub fn hang_up_with(&self, hang_up: fn(usize)) {
        let _ = self.hang_up.set(hang_up);
    }

    /// Closes a connection and forgets it at once. Its client finds it closed before anybody is told so, and not only when its worker
    /// comes to it: clients look whether a connection is still open before they say something, which by then would be answered by a reset.
    pub fn kill(&self, client: &ClientShared) {
        let mut by_id = self.by_id.lock();
        if let Some(client) = by_id.remove(&client.id) {
            client.closed.store(true, Ordering::Relaxed);
            if let Some(hang_up) = self.hang_up.get() {
                hang_up(client.figures.fd.load(Ordering::Relaxed));
            }
        }
        drop(by_id);
        client.send(Mail::Close);
    }

    /// Forgets a connection.
    pub fn remove(&self, id: u64) {
        if let Some(client) = self.by_id.lock().remove(&id) {
            client.closed.store(true, Ordering::Relaxed);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connection `id`.
    pub fn get(&self, id: u64) -> Option<Arc<ClientShared>> {
        self.by_id.lock().get(&id).cloned()
    }

    /// All connections by age.
    pub fn all(&self) -> Vec<Arc<ClientShared>> {
        self.by_id.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static ENDED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    /// A client that was killed and looked before it said something found itself connected still: its worker had not come to it yet.
    #[test]
    fn who_is_killed_is_cut_off_at_once_and_nobody_in_its_place() {
        let clients = Clients::default();
        clients.hang_up_with(|fd| ENDED.with_borrow_mut(|ended| ended.push(fd)));
        let connect = |fd| {
            let client = clients.add(String::new(), String::new(), 0);
            client.figures.fd.store(fd, Ordering::Relaxed);
            client
        };
        let (killed, gone) = (connect(7), connect(8));
        clients.kill(&killed);
        assert_eq!(ENDED.take(), [7]);
        assert!(killed.is_closed() && matches!(killed.receive(), Some(Mail::Close)));
        // Their numbers may be those of others by now.
        clients.kill(&killed);
        clients.remove(gone.id);
        clients.kill(&gone);
        clients.kill(&clients.detached());
        assert!(ENDED.take().is_empty() && clients.is_empty());
    }
}
