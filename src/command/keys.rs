//! The keys a command may touch: the partitions entered for it, and the rules every access follows.
//!
//! The rules: an expired key is not there (and is removed by whoever would change it); a read counts as a hit or a miss and
//! moves the access clock; whatever changes a key says so through [`Keys::modified`], which raises WATCH flags and publishes
//! keyspace events. Functions that take a key look in the current database of the connection.
//!
//! Invariant: every key asked for lies in a held partition, as routing by the command's row ensures; for scripts, which
//! may name keys as they go, a missing partition is entered on the way.

mod effects;
mod fields;

use super::error::{CmdError, WRONG_TYPE};
use super::forward::Cover;
use crate::config::id;
use crate::state::State;
use crate::state::access::AccessClock;
use crate::state::expiry;
use crate::state::keyspace::Held;
use crate::state::lazyfree::Garbage;
use crate::state::partition::{Partition, partition_of};
use crate::state::replication::Waits;
use crate::state::stats::WorkerStats;
use crate::state::tracking::{Author, NOBODY, Tracker};
use crate::store::db::Met;
use crate::store::entry::{Entry, Extras, Payload, ValueRef};
use crate::store::hash::hash;
use crate::store::table::Place;
use crate::store::value::{Object, Stored};
use crate::text::glob::glob_match;
use hashbrown::HashSet;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;

/// A key with what routing found out about it.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// Its partition.
    pub partition: u8,
    /// Its hash.
    pub hash: u32,
    /// Where its partition stands among those held, once they are.
    pub held_at: u8,
    /// Where its entry seemed to be when it was last looked for.
    pub seen: Place,
    at: NonNull<u8>,
    len: usize,
}

impl Located {
    /// Finds out where `key` belongs.
    #[inline]
    pub fn new(key: &[u8]) -> Located {
        Located {
            partition: partition_of(key),
            hash: hash(key),
            held_at: 0,
            seen: Place::NOWHERE,
            at: NonNull::from(key).cast(),
            len: key.len(),
        }
    }

    /// Whether this was made of these very bytes (not equal ones elsewhere).
    #[inline]
    pub fn is(&self, key: &[u8]) -> bool {
        self.at == NonNull::from(key).cast() && self.len == key.len()
    }
}

/// The keys routing found in a request, in its order.
pub type Routed = SmallVec<[Located; 1]>;

/// The keys of one command, transaction or script.
pub struct Keys<'a> {
    /// The database they are looked for in.
    pub db: usize,
    /// Unix time in ms, the same for all of one command.
    pub now_ms: i64,
    /// What expires at this Unix time in ms or before is not there: that is `now_ms`, or before all time for a connection that brings
    /// in another server's data, and sees all.
    pub due_ms: i64,
    /// Changes made so far.
    pub dirty: u64,
    /// Whose command it is.
    pub author: Author,
    /// Whether reads leave the access clock alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// Whether copies are read, in which nothing may change: what is past its time is merely not there.
    pub looks_only: bool,
    state: &'a State,
    stats: &'a WorkerStats,
    held: Held<'a>,
    /// What routing found out about the keys, in the order commands mostly ask for them.
    routed: Routed,
    /// Which of these was asked for last.
    at: usize,
    grows: bool,
    /// The version of the map by which it is asked for.
    known: u64,
    /// What most commands have nothing of, so that it costs them nothing.
    rare: Option<Box<Rare>>,
}

/// What [`Keys`] of few commands have.
#[derive(Default)]
struct Rare {
    /// Keys whose waiters are to be served.
    ready: Vec<(usize, Box<[u8]>)>,
    /// Of a command on whole partitions that another node asked for: which ones it is about.
    cover: Option<Cover>,
    /// Whether one of these is not served here.
    is_uncovered: bool,
    /// What the answer has to wait for in partitions that were visited.
    waits: Waits,
    /// If the partitions held are scratch copies: what they are copies of.
    fetched: Option<Fetched>,
    /// What was removed and is too large to drop while partitions are held.
    dead: Vec<Garbage>,
}

/// What a run on scratch copies needs: keys, and all keys there are of some patterns.
#[derive(Clone, Default)]
pub struct Needed {
    /// The keys.
    pub keys: Vec<Box<[u8]>>,
    /// The patterns, as KEYS takes them.
    pub patterns: Vec<Box<[u8]>>,
}

impl Needed {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.patterns.is_empty()
    }

    /// Adds more, and puts it in order.
    pub fn extend(&mut self, more: Needed) {
        for (all, more) in [(&mut self.keys, more.keys), (&mut self.patterns, more.patterns)] {
            all.extend(more);
            all.sort_unstable();
            all.dedup();
        }
    }
}

/// The keys of which a scratch copy knows what they are, wherever they are served.
#[derive(Default)]
pub struct Fetched {
    known: HashSet<Box<[u8]>>,
    /// Whatever matches one of these is known too.
    patterns: Vec<Box<[u8]>>,
    missed: RefCell<Needed>,
    /// Whether what runs on them has taken too long.
    overran: Cell<bool>,
}

impl Fetched {
    /// This is known.
    pub fn new(needed: &Needed) -> Fetched {
        Fetched {
            known: needed.keys.iter().cloned().collect(),
            patterns: needed.patterns.clone(),
            ..Fetched::default()
        }
    }

    /// Whether what ran on them took too long. What was done is not to be kept.
    pub fn has_overrun(&self) -> bool {
        self.overran.get()
    }

    /// What was asked for and is not known. What was done without it is of no use.
    pub fn into_missed(self) -> Needed {
        self.missed.into_inner()
    }

    fn note(&self, key: &[u8]) {
        if self.known.contains(key) || self.patterns.iter().any(|pattern| matches(pattern, key)) {
            return;
        }
        let mut missed = self.missed.borrow_mut();
        if !missed.keys.iter().any(|other| **other == *key) {
            missed.keys.push(key.into());
        }
    }

    /// Whether all keys of a pattern are known.
    fn lists(&self, pattern: &[u8]) -> bool {
        let is_known = self.patterns.iter().any(|known| **known == *pattern);
        if !is_known {
            self.missed.borrow_mut().patterns.push(pattern.into());
        }
        is_known
    }
}

/// Whether KEYS with that pattern tells of a key. A lone star matches everything, the empty key too, which a glob would not.
pub fn matches(pattern: &[u8], key: &[u8]) -> bool {
    pattern == b"*" || glob_match(pattern, key, false)
}

/// A string value as bytes.
pub enum Text<'a> {
    /// Where it lies.
    Bytes(&'a [u8]),
    /// An integer, spelled out.
    Int(itoa::Buffer, i64),
}

impl Text<'_> {
    /// The bytes.
    pub fn bytes(&mut self) -> &[u8] {
        match self {
            Text::Bytes(bytes) => bytes,
            Text::Int(buffer, n) => buffer.format(*n).as_bytes(),
        }
    }

    /// Its length in bytes.
    pub fn len(&mut self) -> usize {
        self.bytes().len()
    }

    /// Whether it is empty.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }
}

/// The string of an entry, or the error that it holds something else.
pub fn text(entry: &Entry) -> Result<Text<'_>, CmdError> {
    match entry.value() {
        ValueRef::Inline(bytes) => Ok(Text::Bytes(bytes)),
        ValueRef::Shared(bytes) => Ok(Text::Bytes(bytes)),
        ValueRef::Int(n) => Ok(Text::Int(itoa::Buffer::new(), n)),
        ValueRef::Object(_) => Err(WRONG_TYPE),
    }
}

/// The object of an entry as one type, or the error that it holds something else.
fn object<T: Stored>(entry: &Entry) -> Result<&T, CmdError> {
    match entry.value() {
        ValueRef::Object(object) => T::of(object).ok_or(WRONG_TYPE),
        _ => Err(WRONG_TYPE),
    }
}

/// The object of an entry as one type, to change, or the error that it holds something else.
fn object_mut<T: Stored>(entry: &mut Entry) -> Result<&mut T, CmdError> {
    entry.object_mut().and_then(|object| T::of_mut(object)).ok_or(WRONG_TYPE)
}

impl<'a> Keys<'a> {
    /// The keys of the `held` partitions; `routed` is what routing already knows of them.
    #[inline(always)]
    pub fn new(
        state: &'a State,
        stats: &'a WorkerStats,
        held: Held<'a>,
        routed: Routed,
        db: usize,
        now_ms: i64,
    ) -> Self {
        Keys {
            db,
            now_ms,
            due_ms: now_ms,
            dirty: 0,
            author: NOBODY,
            no_touch: false,
            looks_only: false,
            state,
            stats,
            held,
            routed,
            at: 0,
            grows: false,
            known: u64::MAX,
            rare: None,
        }
    }

    #[cold]
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What the partitions held are copies of, if they are scratch copies.
    #[inline]
    fn fetched(&self) -> Option<&Fetched> {
        self.rare.as_ref()?.fetched.as_ref()
    }

    /// Makes them those of scratch copies, which hold the `fetched` keys. At least one partition is held.
    pub fn copied(mut self, fetched: Fetched) -> Self {
        self.rare().fetched = Some(fetched);
        self
    }

    /// Whether they are those of scratch copies.
    pub fn is_copy(&self) -> bool {
        self.fetched().is_some()
    }

    /// Says that what runs on scratch copies takes too long; false if there are none.
    pub fn overrun(&self) -> bool {
        self.fetched().map(|fetched| fetched.overran.set(true)).is_some()
    }

    /// Whether a key was asked for that the scratch copies do not know.
    pub fn has_missed(&self) -> bool {
        self.fetched().is_some_and(|fetched| !fetched.missed.borrow().is_empty())
    }

    /// Whether all keys of a pattern can be told; scratch copies may have to be asked for anew, with them.
    pub fn lists(&self, pattern: &[u8]) -> bool {
        self.fetched().is_none_or(|fetched| fetched.lists(pattern))
    }

    /// The scratch copies, and what they are copies of.
    pub fn into_copies(self) -> (Held<'a>, Fetched) {
        (self.held, self.rare.and_then(|rare| rare.fetched).unwrap_or_default())
    }

    /// The node.
    #[inline]
    pub fn state(&self) -> &'a State {
        self.state
    }

    /// The worker's counters.
    #[inline]
    pub fn stats(&self) -> &'a WorkerStats {
        self.stats
    }

    /// Lets accesses enter further partitions, waiting for them. Only for the one running script, asked for by the map of version `known`.
    pub fn grow_as_needed(&mut self, known: u64) {
        (self.grows, self.known) = (true, known);
    }

    /// Enters one more partition, waiting for it, if this node serves it and no transaction across nodes holds it. Only for the one
    /// running script.
    pub fn grow_to(&mut self, partition: u8) -> bool {
        let Err(at) = self.held.binary_search_by_key(&partition, |(held, _)| *held) else { return true };
        let guard = self.state.keyspace.enter(partition);
        let is_free = guard.is_led() && !guard.is_newer_than(self.known) && !guard.is_held();
        if is_free {
            self.forget_routed();
            self.held.insert(at, (partition, guard));
        }
        is_free
    }

    /// Whether it is a script that runs.
    pub fn is_script(&self) -> bool {
        self.grows
    }

    /// Leaves the partitions while `pause` lasts and enters them again. Only for the one running script, while all else is refused.
    pub fn pause(&mut self, pause: &dyn Fn()) {
        let partitions: Vec<u8> = self.held.drain(..).map(|(partition, _)| partition).collect();
        pause();
        self.held.extend(
            partitions.into_iter().map(|partition| (partition, self.state.keyspace.enter(partition))),
        );
    }

    /// Has the processor fetch the entries of all keys at once, where there are several: one after the other each would be
    /// waited for (MGET of 10 keys out of 100,000: 0.44 us a key without, 0.28 with).
    #[inline]
    pub fn prefetch(&self) {
        if self.routed.len() > 1 {
            for key in &self.routed {
                self.held[key.held_at as usize].1.dbs[self.db].prefetch(key.hash);
            }
        }
    }

    /// Forgets what routing found out: the next command, where these keys serve several, has others.
    pub fn forget_routed(&mut self) {
        self.routed.clear();
    }

    /// Says that keys of `db` may have appeared that are waited for, other than by [`Keys::modified`].
    pub fn appeared(&mut self, db: usize) {
        let mut ready = Vec::new();
        self.each_partition(|_, partition| ready.extend(partition.awaited(db).map(|key| (db, key.into()))));
        if !ready.is_empty() {
            self.rare().ready.append(&mut ready);
        }
    }

    /// Leaves the partitions; returns the keys whose waiters are to be served. What an answer has to wait for is added to `waits`.
    #[inline(always)]
    #[must_use]
    pub fn leave(&mut self, waits: &mut Waits) -> Vec<(usize, Box<[u8]>)> {
        if self.state.cluster.is_on() {
            self.commit(waits);
        }
        self.stats.changes.add(self.dirty);
        // Mostly it is one: to empty the list takes more than to take that.
        if self.held.pop().is_some() && !self.held.is_empty() {
            self.held.clear();
        }
        match self.rare.take() {
            None => Vec::new(),
            Some(rare) => {
                waits.append(rare.waits);
                // What was too large to be dropped while partitions were held goes with the rest.
                rare.ready
            }
        }
    }

    // Access.

    /// The entry of `key`, to be read: counted, and its clock moved.
    #[inline(always)]
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        self.look_up(key, !self.no_touch).map(|entry| &*entry)
    }

    /// The entry of `key`, of which something else than the value is told: counted, clock left alone.
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        self.look_up(key, false).map(|entry| &*entry)
    }

    /// Counts an access to `key` and moves its clock, whatever the connection wants; false if there is no such key.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        self.look_up(key, true).is_some()
    }

    /// The entry of `key`, to be read by somebody who moves its clock himself: counted.
    #[inline]
    pub fn fetch(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.look_up(key, false)
    }

    #[inline(always)]
    fn look_up(&mut self, key: &[u8], touch: bool) -> Option<&mut Entry> {
        self.alive(key, true, touch)
    }

    /// The entry of `key` if it is alive, its access clock moved if this is to `touch` it; `counted` as a hit or a miss if
    /// that is wanted. An expired one is removed.
    #[inline(always)]
    fn alive(&mut self, key: &[u8], counted: bool, touch: bool) -> Option<&mut Entry> {
        let (at, h) = self.enter_at(key);
        let (clock, now_ms, stats, seen) = (self.clock(), self.now_ms, self.stats, self.seen());
        let due_ms = self.due_ms;
        let db = &mut self.held[at].1.dbs[self.db];
        let place = db.locate_near(h, key, seen);
        if let Some(entry) = place.and_then(|place| db.at_mut(place)).map(std::ptr::from_mut) {
            // SAFETY: the entry lies in a held partition, borrowed from `self` for as long as what is returned, and is given up
            // before `self` is used again. The compiler does not see the latter; to look at the entry's place once more, which
            // it does see, took 60 instructions of every command.
            let entry = unsafe { &mut *entry };
            if !entry.is_expired(due_ms) {
                if counted {
                    stats.hits.add(1);
                }
                if touch {
                    clock.touch(entry, now_ms);
                }
                return Some(entry);
            }
            self.expire(key);
        }
        if counted {
            self.missed(key);
        }
        None
    }

    /// Counts a read of `key`, which was found there or not at all.
    #[inline(always)]
    fn count(&mut self, key: &[u8], found: Option<(usize, Place)>, touch: bool) -> Option<&mut Entry> {
        let Some((at, place)) = found else {
            self.missed(key);
            return None;
        };
        self.stats.hits.add(1);
        self.entry_at(at, place, touch)
    }

    #[cold]
    fn missed(&mut self, key: &[u8]) {
        self.stats.misses.add(1);
        self.event(crate::config::notify::KEY_MISS, "keymiss", key);
    }

    /// The entry of `key`, to be looked at beside others: not counted, clock left alone.
    pub fn peek(&self, key: &[u8]) -> Option<&Entry> {
        let (at, h) = self.held_at(key)?;
        self.held[at].1.dbs[self.db].find(h, key).filter(|entry| !entry.is_expired(self.due_ms))
    }

    /// The entry of `key`, to be changed in place; its clock moves. Say [`Keys::modified`] afterwards.
    #[inline]
    pub fn find(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.alive(key, false, !self.no_touch)
    }

    /// Whether `key` exists; not counted.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.place(key).is_some()
    }

    /// The string of `key`, to be read.
    pub fn read_text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, CmdError> {
        self.read(key).map(text).transpose()
    }

    /// The object of `key`, to be read.
    pub fn read_as<T: Stored>(&mut self, key: &[u8]) -> Result<Option<&T>, CmdError> {
        self.read(key).map(object).transpose()
    }

    /// The object of `key`, to be looked at beside others; counted as a read by the first key only.
    pub fn peek_as<T: Stored>(&self, key: &[u8]) -> Result<Option<&T>, CmdError> {
        self.peek(key).map(object).transpose()
    }

    /// The object of `key`, to be changed; say [`Keys::modified`] afterwards, and [`Keys::remove`] it when it is empty.
    pub fn update_as<T: Stored>(&mut self, key: &[u8]) -> Result<Option<&mut T>, CmdError> {
        match self.find(key) {
            None => Ok(None),
            Some(entry) => object_mut(entry).map(Some),
        }
    }

    /// The object of `key`, to be changed; an empty one is made if there is none (never leave it empty).
    pub fn create_as<T: Stored>(&mut self, key: &[u8]) -> Result<&mut T, CmdError> {
        self.create_with(key, T::default)
    }

    /// The object of `key`, to be changed; if there is none, the one `make` makes (never leave it empty).
    #[inline]
    pub fn create_with<T: Stored>(
        &mut self,
        key: &[u8],
        make: impl FnOnce() -> T,
    ) -> Result<&mut T, CmdError> {
        let (at, place) = match self.place(key) {
            Some(found) => found,
            None => self.create(key, make),
        };
        object_mut(self.entry_at(at, place, !self.no_touch).expect("nothing moved since"))
    }

    /// Gives `key`, which is not there, the object that `make` makes; returns where it lies.
    fn create<T: Stored>(&mut self, key: &[u8], make: impl FnOnce() -> T) -> (usize, Place) {
        self.put(key, Payload::Object(Box::new(make().into_object())), Extras::default());
        self.place(key).expect("just made")
    }

    // Change.

    /// Gives `key` a value in place of whatever it held.
    #[inline]
    pub fn put(&mut self, key: &[u8], payload: Payload<'_>, extras: Extras) {
        let (clock, now_ms, db) = (self.clock(), self.now_ms, self.db);
        let (partition, h) = self.enter(key);
        let clock = |old| match old {
            Some(old) => clock.next(old, now_ms),
            None => clock.fresh(now_ms),
        };
        match partition.dbs[db].put(h, key, payload, extras, clock, now_ms) {
            Met::Nothing => self.event(crate::config::notify::NEW_KEY, "new", key),
            Met::String => {}
            Met::Object(old) => {
                let in_thread = self.lazy_server_del();
                if let Some(dead) = self.state.lazyfree.dispose(old, in_thread) {
                    self.rare().dead.push(dead);
                }
            }
        }
    }

    /// Gives `key` an object in place of whatever it held.
    pub fn put_object(&mut self, key: &[u8], object: Object, expires_at: Option<i64>) {
        let extras = Extras { expires_at, ..Extras::default() };
        self.put(key, Payload::Object(Box::new(object)), extras);
    }

    /// Files an entry taken from elsewhere, under its own key, in database `db`.
    pub fn insert(&mut self, db: usize, entry: Entry) {
        use crate::store::table::Keyed;
        let (now_ms, state, in_thread) = (self.now_ms, self.state, self.lazy_server_del());
        let (at, h) = self.enter_at(entry.key());
        let table = &mut self.held[at].1.dbs[db];
        let old = table.remove(h, entry.key());
        state.notify(crate::config::notify::NEW_KEY, "new", db, entry.key());
        table.insert(entry, now_ms);
        if let Some(dead) = old.and_then(|old| state.lazyfree.dispose_entry(old, in_thread)) {
            self.rare().dead.push(dead);
        }
    }

    /// Removes `key`; false if there is no such key.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.discard(key, self.lazy_server_del())
    }

    /// Removes `key`, leaving a large value to the thread that frees if so wanted; false if there is no such key.
    pub fn discard(&mut self, key: &[u8], in_thread: bool) -> bool {
        let Some(entry) = self.take(key) else { return false };
        if let Some(dead) = self.state.lazyfree.dispose_entry(entry, in_thread) {
            self.rare().dead.push(dead);
        }
        true
    }

    /// Removes `key`, whose last element a change took that was already said.
    pub fn remove_emptied(&mut self, key: &[u8]) {
        self.remove(key);
        self.event(crate::config::notify::GENERIC, "del", key);
    }

    /// Has `garbage` dropped in the thread that frees, or here when the partitions are left.
    pub fn dispose(&mut self, garbage: Garbage, in_thread: bool) {
        if in_thread { self.state.lazyfree.add(garbage) } else { self.rare().dead.push(garbage) }
    }

    /// Takes out the entry of `key`.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.place(key)?;
        let db = self.db;
        let (partition, h) = self.enter(key);
        partition.dbs[db].remove(h, key)
    }

    /// Sets or clears the time at which `key` is gone; false if there is no such key.
    pub fn set_expiry(&mut self, key: &[u8], expires_at: Option<i64>) -> bool {
        let Some(extras) = self.find(key).map(|entry| entry.extras()) else { return false };
        self.set_extras(key, Extras { expires_at, ..extras })
    }

    /// Sets what travels with the value of `key`; false if there is no such key.
    pub fn set_extras(&mut self, key: &[u8], extras: Extras) -> bool {
        let (db, now_ms) = (self.db, self.now_ms);
        let (partition, h) = self.enter(key);
        partition.dbs[db].set_extras(h, key, extras, now_ms)
    }

    /// Changes the string of an existing `key` as bytes; what travels with it stays. It is `raw` from then on. Returns what
    /// `change` returns, or nothing if there is no such string.
    ///
    /// A long string is changed where it lies (unless a reply still holds it), a short one is built anew.
    pub fn edit<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let entry = self.find(key)?;
        if let Some(bytes) = entry.shared_mut() {
            return Some(change(bytes));
        }
        let mut bytes = text(entry).ok()?.bytes().to_vec();
        let extras = entry.extras();
        let result = change(&mut bytes);
        self.put_raw(key, bytes, extras);
        Some(result)
    }

    /// Gives `key` a string that is `raw` whatever its length and never an integer.
    pub fn put_raw(&mut self, key: &[u8], bytes: Vec<u8>, extras: Extras) {
        let payload = match bytes.len() {
            ..=crate::store::entry::INLINE_MAX => Payload::Inline(&bytes),
            _ => Payload::Shared(Arc::new(bytes)),
        };
        self.put(key, payload, extras);
        if let Some(entry) = self.find(key) {
            entry.set_raw();
        }
    }

    /// The version number of `key`, which is given one if it has none; nothing if there is no such key.
    pub fn version(&mut self, key: &[u8]) -> Option<u64> {
        let (db, state) = (self.db, self.state);
        let (partition, h) = self.enter(key);
        partition.dbs[db].version(h, key, || state.versions.next())
    }

    /// Says that `key` changed: counts it, voids its version number, tells its watchers, and reports `event` of `class`.
    #[inline]
    pub fn modified(&mut self, class: i64, event: &'static str, key: &[u8]) {
        self.note(class, event, key, true);
    }

    /// Says that something of `key` changed that neither its watchers nor those who wait for it are told of, as Redis has it for
    /// what consumers were given and acknowledge; copies are.
    pub fn noted(&mut self, changes: u64, key: &[u8]) {
        self.dirty += changes;
        let db = self.db;
        self.enter(key).0.note_change(db, key);
    }

    /// [`Keys::modified`] of a change that leaves the version number standing: the value is the same, or was put together
    /// with its number.
    #[inline]
    pub fn announce(&mut self, class: i64, event: &'static str, key: &[u8]) {
        self.note(class, event, key, false);
    }

    #[inline]
    fn note(&mut self, class: i64, event: &'static str, key: &[u8], voids_version: bool) {
        self.dirty += 1;
        let (state, db, by) = (self.state, self.db, self.author);
        let (at, h) = self.enter_at(key);
        let partition = &mut *self.held[at].1;
        state.key_changed(partition, db, key, by);
        if voids_version {
            partition.dbs[db].changed(h, key);
        }
        if partition.is_awaited(db, key) {
            self.rare().ready.push((db, key.into()));
        }
        self.event(class, event, key);
    }

    /// Reports an event that is not a change of its own.
    #[inline]
    pub fn event(&mut self, class: i64, event: &'static str, key: &[u8]) {
        self.state.notify(class, event, self.db, key);
    }

    /// Remembers that `tracker` has read `key`.
    pub fn remember(&mut self, key: &[u8], tracker: &Arc<Tracker>) {
        if self.is_copy() {
            return;
        }
        let state = self.state;
        let (partition, _) = self.enter(key);
        state.tracking.remember(partition, key, tracker);
    }

    /// Whether `key` of database `db` is there but past its time.
    pub fn is_expired_in(&self, db: usize, key: &[u8]) -> bool {
        let Some((at, h)) = self.held_at(key) else { return false };
        self.held[at].1.dbs[db].find(h, key).is_some_and(|entry| entry.is_expired(self.due_ms))
    }

    // Whole partitions.

    /// Whether any partition is entered.
    #[inline]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Restricts the command to some partitions, every one of which this node has to serve ([`Keys::is_uncovered`]).
    /// `known` is the version of the map by which they were chosen.
    pub fn cover(&mut self, cover: Cover, known: u64) {
        self.known = known;
        self.rare().cover = Some(cover);
    }

    /// Whether the command was to visit a partition that this node does not serve.
    pub fn is_uncovered(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_uncovered)
    }

    /// Visits every partition the command is about in order, those held and, one at a time, the others.
    pub fn each_partition(&mut self, mut visit: impl FnMut(u8, &mut Partition)) {
        for partition in 0..=u8::MAX {
            self.visit(partition, |found| visit(partition, found));
        }
    }

    /// Looks at every partition that is served here, for figures. An answer that tells of no key waits for no copy, so that it comes also
    /// where copies cannot be reached.
    pub fn look_at_each(&mut self, mut look: impl FnMut(&Partition)) {
        for partition in 0..=u8::MAX {
            match self.held.binary_search_by_key(&partition, |(held, _)| *held) {
                Ok(at) => {
                    Some(&*self.held[at].1).filter(|found| found.is_led()).into_iter().for_each(&mut look)
                }
                Err(_) => Some(&*self.state.keyspace.enter(partition))
                    .filter(|found| found.is_led())
                    .into_iter()
                    .for_each(&mut look),
            }
        }
    }

    /// Visits one partition, if the command is about it and it is served here.
    pub fn visit(&mut self, partition: u8, visit: impl FnOnce(&mut Partition)) {
        let cover = self.rare.as_ref().and_then(|rare| rare.cover);
        if cover.is_some_and(|cover| !cover.has(partition)) {
            return;
        }
        let known = self.known;
        let is_led = self.with_partition(partition, |found| {
            let is_led = found.is_led() && !found.is_newer_than(known);
            if is_led {
                visit(found);
            }
            is_led
        });
        if !is_led && cover.is_some() {
            self.rare().is_uncovered = true;
        }
    }

    /// Visits one partition, held or not, whoever serves it. Only for commands that hold all, or none.
    pub fn with_partition<R>(&mut self, partition: u8, visit: impl FnOnce(&mut Partition) -> R) -> R {
        if let Ok(at) = self.held.binary_search_by_key(&partition, |(held, _)| *held) {
            return visit(&mut self.held[at].1);
        }
        let mut entered = self.state.keyspace.enter(partition);
        let result = visit(&mut entered);
        if let Some(replication) = &mut entered.replication {
            replication.commit(partition);
            let at_once = self.state.cluster.acknowledges_at_once(self.db);
            replication.add_waits(&mut self.rare().waits, at_once);
        }
        result
    }

    /// Whether keys past their time are removed; during a pause nothing changes and while data is brought in nothing goes, and they are
    /// merely not there.
    pub fn may_expire(&self) -> bool {
        !self.looks_only
            && self.state.pause.at(self.now_ms).is_none()
            && !self.state.config.flag(id::IMPORT_MODE)
    }

    /// Whether what is told to expire at that Unix time in ms is gone at once: it stays while data is brought in, whose source says when
    /// it goes.
    pub fn is_past(&self, at_ms: i64) -> bool {
        at_ms <= self.now_ms && !self.state.config.flag(id::IMPORT_MODE)
    }

    /// Removes `key`, of partition `partition`, if it is past its time: for commands that met it visiting partitions.
    pub fn reap(&mut self, partition: u8, key: &[u8]) {
        if !self.may_expire() {
            return;
        }
        let (state, stats, db, now_ms) = (self.state, self.stats, self.db, self.now_ms);
        let mut dead = Vec::new();
        self.with_partition(partition, |partition| {
            let h = hash(key);
            if partition.dbs[db].find(h, key).is_some_and(|entry| entry.is_expired(now_ms)) {
                expiry::expire(state, stats, partition, (db, h, key), &mut dead);
            }
        });
        self.bury(dead);
    }

    /// Keeps what is to be dropped when the partitions are left.
    fn bury(&mut self, dead: Vec<Garbage>) {
        if !dead.is_empty() {
            self.rare().dead.extend(dead);
        }
    }

    /// The clock by which accesses are remembered.
    #[inline]
    pub fn clock(&self) -> AccessClock {
        AccessClock::of(&self.state.config)
    }

    // Helpers.

    fn lazy_server_del(&self) -> bool {
        self.state.config.flag(id::LAZYFREE_LAZY_SERVER_DEL)
    }

    /// Which of the routed keys `key` is: that asked for last, or the one behind it.
    #[inline(always)]
    fn routed_at(&self, key: &[u8]) -> Option<usize> {
        let is = |at: usize| self.routed.get(at).is_some_and(|routed| routed.is(key));
        if is(self.at) { Some(self.at) } else { is(self.at + 1).then_some(self.at + 1) }
    }

    /// Where the entry of the routed key that was asked for last seemed to be; of no meaning for any other key.
    #[inline(always)]
    fn seen(&self) -> Place {
        self.routed.get(self.at).map_or(Place::NOWHERE, |key| key.seen)
    }

    /// Which of the held partitions `key` lies in, and the key's hash.
    #[inline]
    fn held_at(&self, key: &[u8]) -> Option<(usize, u32)> {
        match self.routed_at(key) {
            Some(at) => Some((self.routed[at].held_at as usize, self.routed[at].hash)),
            None => self.search(key),
        }
    }

    fn search(&self, key: &[u8]) -> Option<(usize, u32)> {
        let partition = partition_of(key);
        let at = self.held.binary_search_by_key(&partition, |(held, _)| *held);
        if let Some(fetched) = self.fetched() {
            fetched.note(key);
            return Some((at.unwrap_or(0), hash(key)));
        }
        Some((at.ok()?, hash(key)))
    }

    /// The partition of `key` and the key's hash.
    #[inline]
    fn enter(&mut self, key: &[u8]) -> (&mut Partition, u32) {
        let (at, h) = self.enter_at(key);
        (&mut self.held[at].1, h)
    }

    /// Which of the held partitions `key` lies in, and the key's hash.
    #[inline(always)]
    fn enter_at(&mut self, key: &[u8]) -> (usize, u32) {
        if let Some(at) = self.routed_at(key) {
            self.at = at;
            return (self.routed[at].held_at as usize, self.routed[at].hash);
        }
        match self.search(key) {
            Some(found) => found,
            None => self.enter_more(key),
        }
    }

    #[cold]
    fn enter_more(&mut self, key: &[u8]) -> (usize, u32) {
        assert!(self.grows, "a command touched a key that its row does not name");
        // What is held moves.
        self.forget_routed();
        let (partition, h) = (partition_of(key), hash(key));
        let at = self.held.partition_point(|(held, _)| *held < partition);
        self.held.insert(at, (partition, self.state.keyspace.enter(partition)));
        (at, h)
    }

    /// Where `key` lies if it is alive: which held partition, and where in its table. An expired one is removed.
    #[inline(always)]
    fn place(&mut self, key: &[u8]) -> Option<(usize, Place)> {
        let (at, h) = self.enter_at(key);
        let db = &self.held[at].1.dbs[self.db];
        let place = db.locate_near(h, key, self.seen())?;
        if db.at(place)?.is_expired(self.due_ms) {
            self.expire(key);
            return None;
        }
        Some((at, place))
    }

    /// The entry at `place` of a held partition, its access clock moved if this is to `touch` it.
    #[inline(always)]
    fn entry_at(&mut self, at: usize, place: Place, touch: bool) -> Option<&mut Entry> {
        let (clock, now_ms) = (self.clock(), self.now_ms);
        let entry = self.held[at].1.dbs[self.db].at_mut(place)?;
        if touch {
            clock.touch(entry, now_ms);
        }
        Some(entry)
    }

    #[cold]
    fn expire(&mut self, key: &[u8]) {
        if !self.may_expire() {
            return;
        }
        let (at, h) = self.enter_at(key);
        let mut dead = Vec::new();
        let partition = &mut self.held[at].1;
        expiry::expire(self.state, self.stats, partition, (self.db, h, key), &mut dead);
        self.bury(dead);
    }
}
