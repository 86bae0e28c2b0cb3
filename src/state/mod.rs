//! What a node knows: everything that outlives a command and that any worker may reach.
//!
//! Each part guards itself; nothing here knows sockets, a runtime or what commands mean.

pub mod access;
pub mod acl;
pub mod across;
pub mod clients;
pub mod cluster;
pub mod command_log;
pub mod contact;
pub mod copies;
pub mod ears;
pub mod effect;
pub mod errors;
pub mod evict;
pub mod expiry;
pub mod fill;
pub mod histogram;
pub mod keyspace;
pub mod latency;
pub mod lazyfree;
pub mod limits;
pub mod lock;
pub mod memcache;
pub mod monitors;
pub mod partition;
pub mod pause;
pub mod pubsub;
pub mod rates;
pub mod replication;
pub mod scripts;
pub mod stats;
pub mod tracking;
pub mod version;
pub mod waiting;

use crate::config::table::Id;
use crate::config::{Change, Config, id, notify};
use atomic_waker::AtomicWaker;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Carries out a change of directives; on failure names one and says why, and nothing has changed.
pub type Reconfigure = Box<dyn Fn(&Config, &Change) -> Result<(), (Id, String)> + Send + Sync>;

/// One node's state.
pub struct State {
    /// The directives in force.
    pub config: Config,
    /// Who may do what.
    pub acl: acl::Acl,
    /// All entries, by partition.
    pub keyspace: keyspace::Keyspace,
    /// What eviction has its eye on.
    pub eviction: evict::Eviction,
    /// Large values on their way out.
    pub lazyfree: lazyfree::Lazyfree,
    /// Whether the housekeeping removes expired keys (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: AtomicBool,
    /// Whether RESTORE takes a value whatever its checksum (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub skip_checksums: AtomicBool,
    /// Whether no housekeeping is to be done (DEBUG PAUSE-CRON).
    pub housekeeping_paused: AtomicBool,
    /// Who caches what.
    pub tracking: tracking::Tracking,
    /// Who listens to what.
    pub pubsub: pubsub::PubSub,
    /// The connections.
    pub clients: clients::Clients,
    /// The nodes it shares its keys with.
    pub cluster: cluster::Cluster,
    /// What these are to hear of it, and it of them.
    pub ears: ears::Ears,
    /// Versions of values.
    pub versions: version::Versions,
    /// What only memcached clients care for.
    pub memcache: memcache::Memcache,
    /// Counters.
    pub stats: stats::Stats,
    /// How fast some of them grow.
    pub rates: rates::Rates,
    /// Error replies by code.
    pub errors: errors::Errors,
    /// Commands that took long.
    pub slow_commands: command_log::CommandLog,
    /// Requests that were long.
    pub large_requests: command_log::CommandLog,
    /// Commands that were answered at length.
    pub large_replies: command_log::CommandLog,
    /// Moments in which the node was slow.
    pub latency: latency::Latency,
    /// Who sees all requests.
    pub monitors: monitors::Monitors,
    /// Scripts and functions.
    pub scripts: scripts::Scripts,
    /// Whether requests are held.
    pub pause: pause::Pause,
    /// The random name of this incarnation of the node, 40 hexadecimal digits.
    pub run_id: String,
    /// When the node started.
    pub started: Instant,
    /// When the node started, as Unix time in seconds.
    pub started_unix: u64,
    /// The most memory ever used, in bytes, as far as it was seen.
    pub peak_memory: AtomicUsize,
    /// Memory used when it started, in bytes.
    pub startup_memory: usize,
    saved_unix: AtomicI64,
    changes_at_save: AtomicU64,
    reconfigure: OnceLock<Reconfigure>,
    failure: OnceLock<String>,
    stopping: AtomicBool,
    leaving: AtomicBool,
    leave_waker: AtomicWaker,
    stop_wakers: Box<[AtomicWaker]>,
}

impl State {
    /// The state of a node that starts now, with so many workers and these commands.
    pub fn new(config: Config, workers: usize, catalogue: acl::catalogue::Catalogue) -> State {
        let databases = config.size(id::DATABASES);
        let commands = catalogue.len();
        let acl = acl::Acl::new(catalogue, config.choice(id::ACL_PUBSUB_DEFAULT) == "allchannels");
        acl.set_default_password(&config.text(id::REQUIREPASS));
        let cluster = cluster::Cluster::default();
        cluster.acknowledge_at_once(config.acknowledged_at_once());
        State {
            acl,
            keyspace: keyspace::Keyspace::new(databases),
            eviction: evict::Eviction::default(),
            lazyfree: lazyfree::Lazyfree::default(),
            active_expire: AtomicBool::new(true),
            skip_checksums: AtomicBool::new(false),
            housekeeping_paused: AtomicBool::new(false),
            tracking: tracking::Tracking::default(),
            pubsub: pubsub::PubSub::default(),
            clients: clients::Clients::default(),
            cluster,
            ears: ears::Ears::default(),
            versions: version::Versions::new(unix_ms()),
            memcache: memcache::Memcache::default(),
            stats: stats::Stats::new(workers, commands),
            rates: rates::Rates::default(),
            errors: errors::Errors::default(),
            slow_commands: command_log::CommandLog::default(),
            large_requests: command_log::CommandLog::default(),
            large_replies: command_log::CommandLog::default(),
            latency: latency::Latency::default(),
            monitors: monitors::Monitors::default(),
            scripts: scripts::Scripts::default(),
            pause: pause::Pause::default(),
            run_id: (0..40).map(|_| char::from_digit(fastrand::u32(0..16), 16).unwrap_or('0')).collect(),
            started: Instant::now(),
            started_unix: unix_ms() as u64 / 1000,
            peak_memory: AtomicUsize::new(0),
            startup_memory: crate::memory::used(),
            saved_unix: AtomicI64::new(unix_ms() / 1000),
            changes_at_save: AtomicU64::new(0),
            reconfigure: OnceLock::new(),
            failure: OnceLock::new(),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            leave_waker: AtomicWaker::new(),
            stop_wakers: (0..workers + 2).map(|_| AtomicWaker::new()).collect(),
            config,
        }
    }

    /// Tells those who watch or cache `key` that `by` changed it.
    #[inline(always)]
    pub fn key_changed(
        &self,
        partition: &mut partition::Partition,
        db: usize,
        key: &[u8],
        by: tracking::Author,
    ) {
        partition.touch(db, key);
        partition.note_change(db, key);
        // Of what only follows another node, that node tells; and of what only may be done, who does it.
        if self.tracking.is_active() && !SILENT.get() && !is_recording() {
            self.tracking.changed(partition, key, by);
        }
    }

    /// Tells other nodes what the clients of this one are interested in, if that has changed; returns the version of it.
    pub fn note_interest(&self) -> u64 {
        self.ears.want(ears::Interest {
            events: self.pubsub.hears_events(),
            messages: !self.pubsub.is_empty(),
            prefixes: self.tracking.own_prefixes(),
        })
    }

    /// Sends what trackers are owed and keeps their table small. No partition is held.
    #[inline(always)]
    pub fn settle_tracking(&self) {
        if self.tracking.is_active() {
            self.settle_trackers();
        }
    }

    #[cold]
    fn settle_trackers(&self) {
        self.tracking.settle();
        let most = self.config.size(id::TRACKING_TABLE_MAX_KEYS);
        if self.tracking.is_over(most) {
            self.tracking.shrink(most, |number, visit| visit(&mut self.keyspace.enter(number)));
        }
    }

    /// Says who carries out changes of directives that reach beyond the configuration. Only the first call counts.
    pub fn set_reconfigure(&self, carry_out: Reconfigure) {
        let _ = self.reconfigure.set(carry_out);
    }

    /// Has a change of directives carried out.
    pub fn reconfigure(&self, change: &Change) -> Result<(), (Id, String)> {
        self.reconfigure.get().map_or(Ok(()), |carry_out| carry_out(&self.config, change))?;
        if change.touches(id::ACK) {
            self.cluster.acknowledge_at_once(self.config.acknowledged_at_once());
        }
        if change.touches(id::MEMCACHED_AUTH_FILE) {
            memcache::logins::load(self)
                .map_err(|error| (id::MEMCACHED_AUTH_FILE, crate::error::chain(&error)))?;
        }
        Ok(())
    }

    /// Notes that the data was "saved" now.
    pub fn note_save(&self) {
        self.saved_unix.store(unix_ms() / 1000, Ordering::Relaxed);
        self.changes_at_save.store(self.stats.sum(|worker| &worker.changes), Ordering::Relaxed);
    }

    /// When it last was, as Unix time in seconds; at first, when the node started.
    pub fn last_save(&self) -> i64 {
        self.saved_unix.load(Ordering::Relaxed)
    }

    /// Changes to keys since.
    pub fn changes_since_save(&self) -> u64 {
        let changes = self.stats.sum(|worker| &worker.changes);
        changes.saturating_sub(self.changes_at_save.load(Ordering::Relaxed))
    }

    /// Bytes of memory used now; keeps the peak.
    pub fn used_memory(&self) -> usize {
        crate::memory::report();
        let used = crate::memory::used();
        self.peak_memory.fetch_max(used, Ordering::Relaxed);
        used
    }

    /// Counts an error reply, by its code.
    pub fn count_error(&self, stats: &stats::WorkerStats, text: &[u8]) {
        stats.errors.add(1);
        self.errors.count(text, false);
    }

    /// The same of one whose code a script may have made up.
    pub fn count_made_up(&self, stats: &stats::WorkerStats, text: &[u8]) {
        stats.errors.add(1);
        self.errors.count(text, true);
    }

    /// Publishes an event of a key, if its `class` (of `config::notify`) is wanted.
    #[inline]
    pub fn notify(&self, class: i64, event: &str, db: usize, key: &[u8]) {
        if self.config.int(id::NOTIFY_KEYSPACE_EVENTS) & class != 0 {
            self.publish_event(class, event, db, key);
        }
    }

    #[cold]
    fn publish_event(&self, class: i64, event: &str, db: usize, key: &[u8]) {
        let elsewhere = self.ears.want_events();
        if record(class, event, db, key) || self.pubsub.is_empty() && !elsewhere || SILENT.get() {
            return;
        }
        let publish = |channel: &[u8], text: &[u8]| {
            self.pubsub.publish(channel, text);
            if elsewhere {
                self.ears.tell_event(channel, text);
            }
        };
        let wanted = self.config.int(id::NOTIFY_KEYSPACE_EVENTS);
        if wanted & notify::KEYSPACE != 0 {
            publish(&[format!("__keyspace@{db}__:").as_bytes(), key].concat(), event.as_bytes());
        }
        if wanted & notify::KEYEVENT != 0 {
            publish(format!("__keyevent@{db}__:{event}").as_bytes(), key);
        }
    }

    /// Asks all threads to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop_wakers.iter().for_each(AtomicWaker::wake);
        self.lazyfree.stop();
    }

    /// Ends the node, which cannot go on: says why, and asks all threads to end.
    pub fn fail(&self, why: String) {
        tracing::error!("{why}");
        let _ = self.failure.set(why);
        self.stop();
    }

    /// Whether its threads have been asked to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Why the node could not go on, if that is why it stops.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Asks the node to stop once it has handed over what it serves, where it is one of several.
    pub fn leave(&self) {
        if !self.cluster.is_on() {
            return self.stop();
        }
        self.leaving.store(true, Ordering::Release);
        self.leave_waker.wake();
    }

    /// Ready once the node is asked to hand over and stop.
    pub fn poll_leave(&self, task: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.leave_waker.register(task.waker());
        if self.leaving.load(Ordering::Acquire) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    }

    /// Ready once the node is asked to stop; `thread` is a worker's number, or their count for the main thread.
    pub fn poll_stop(&self, thread: usize, task: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.stop_wakers[thread].register(task.waker());
        if self.stopping.load(Ordering::Acquire) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    }
}

/// Unix time in ms.
pub fn unix_ms() -> i64 {
    unix_ns() / 1_000_000
}

/// The wall clock as Unix time in ns, moved as those wished who test the node.
pub fn unix_ns() -> i64 {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    now_ns.saturating_add(moved_ns())
}

/// By how much the process takes it to be later than it is, in ns.
static MOVED_NS: AtomicI64 = AtomicI64::new(0);

/// By how much the clock was moved, in ns.
#[inline]
pub fn moved_ns() -> i64 {
    MOVED_NS.load(Ordering::Relaxed)
}

/// Moves the clock of the process, on or back.
pub fn move_time(seconds: i64) {
    MOVED_NS.fetch_add(seconds.saturating_mul(1_000_000_000), Ordering::Relaxed);
}

thread_local! {
    /// Whether this thread does what another node has published already.
    static SILENT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

thread_local! {
    /// Events that are written down, if they are.
    static RECORD: std::cell::RefCell<Option<Vec<across::Event>>> = const { std::cell::RefCell::new(None) };
}

/// Writes an event down, if that is what is done with events.
fn record(class: i64, event: &str, db: usize, key: &[u8]) -> bool {
    RECORD.with_borrow_mut(|record| {
        let Some(events) = record else { return false };
        events.push(across::Event { class, name: event.to_string(), db, key: key.to_vec() });
        true
    })
}

/// Whether events are written down.
fn is_recording() -> bool {
    RECORD.with_borrow(Option::is_some)
}

/// Does `work`, writing its events of keys down in place of publishing them.
pub fn recording<R>(work: impl FnOnce() -> R) -> (R, Vec<across::Event>) {
    RECORD.set(Some(Vec::new()));
    let result = work();
    (result, RECORD.take().unwrap_or_default())
}

/// Does `work` without publishing events of keys.
pub fn silently<R>(work: impl FnOnce() -> R) -> R {
    SILENT.set(true);
    let result = work();
    SILENT.set(false);
    result
}
