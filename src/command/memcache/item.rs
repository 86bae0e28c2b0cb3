//! What can be done with one item, whichever verb asks for it.
//!
//! All but [`store`] work on the keys of a partition that is entered.

use super::on_key;
use crate::command::call::{Site, make_room};
use crate::command::keys::{Keys, text};
use crate::config::{id, notify};
use crate::state::memcache::{Count, PrefixCounts};
use crate::state::stats::WorkerStats;
use crate::state::{State, evict};
use crate::store::entry::{Entry, Extras, Mark, Marks, Payload, ValueRef};
use shoal_protocol::memcache::{Fault, Limits, Verb, expires_at};
use std::sync::Arc;

/// When a changed item gets its version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    /// When somebody asks for it.
    Later,
    /// At once, for it is part of the answer.
    Now,
    /// At once, and the client says which.
    Is(u64),
}

/// What a client wants stored.
pub(super) struct Storing<'a> {
    pub verb: Verb,
    pub data: &'a [u8],
    pub client_flags: u32,
    pub exptime: i64,
    /// The version the item must have now.
    pub compare: Option<u64>,
    pub version: Version,
    /// Store even over a newer version than `compare`, but mark the value as stale.
    pub invalidate: bool,
    /// Whether appending to nothing makes an item.
    pub vivify: bool,
}

/// How a store ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Stored,
    NotStored,
    Exists,
    NotFound,
}

/// What a meta answer tells of a store.
pub(super) struct Stored {
    pub outcome: Outcome,
    /// The item's version, 0 where none was asked for.
    pub version: u64,
    /// Length of the value, in bytes.
    pub len: usize,
}

/// Why [`count`] did not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Uncounted {
    NotFound,
    Exists,
}

/// When an item of this expiration time expires, as Unix time in ms.
pub(super) fn expiry_ms(exptime: i64, now_ms: i64) -> Option<i64> {
    let at_s = expires_at(exptime, now_ms.div_euclid(1000))?;
    let at_ms = at_s.saturating_mul(1000);
    // A time from now keeps its fraction of a second, else one second would mean anything from none to one.
    let is_relative = at_s != exptime && exptime > 0;
    Some(if is_relative { at_ms.saturating_add(now_ms.rem_euclid(1000)) } else { at_ms })
}

/// What a request may claim on this node.
pub fn limits(state: &State) -> Limits {
    Limits { max_item: state.config.size(id::MEMCACHED_MAX_ITEM_SIZE), ..Limits::default() }
}

/// What a client reads of an item.
pub(super) struct Found<'v> {
    pub client_flags: u32,
    /// Its version, 0 where none was asked for.
    pub cas: u64,
    pub value: Value<'v>,
}

/// A value that is on its way to a client.
pub(super) enum Value<'v> {
    Bytes(&'v [u8]),
    Shared(&'v Arc<Vec<u8>>),
}

/// Reads the item of `key`, if there is one, and hands it to `send`; returns whether there is. `touches`: it is to be counted as
/// a touch.
#[inline]
pub(super) fn read(
    keys: &mut Keys,
    key: &[u8],
    with_cas: bool,
    touches: bool,
    send: impl FnOnce(Found),
) -> Result<bool, Fault> {
    let cas = if with_cas { keys.version(key).unwrap_or(0) } else { 0 };
    note_prefix(keys, key, |counts| counts.get += 1);
    let (clock, now_ms, counts) = (keys.clock(), keys.now_ms, &keys.stats().memcache);
    counts.add(if touches { Count::CmdTouch } else { Count::CmdGet });
    let expired = keys.stats().expired.get();
    let Some(entry) = keys.fetch(key) else {
        counts.add(if touches { Count::TouchMisses } else { Count::GetMisses });
        if keys.stats().expired.get() != expired {
            counts.add(Count::GetExpired);
        }
        return Ok(false);
    };
    let client_flags = entry.client_flags();
    let found = |value| Found { client_flags, cas, value };
    match entry.value() {
        ValueRef::Inline(data) => send(found(Value::Bytes(data))),
        ValueRef::Shared(data) => send(found(Value::Shared(data))),
        ValueRef::Int(n) => send(found(Value::Bytes(itoa::Buffer::new().format(n).as_bytes()))),
        ValueRef::Object(_) => return Err(Fault::WrongType),
    }
    clock.touch(entry, now_ms);
    entry.mark(Mark::Fetched, true);
    counts.add(if touches { Count::TouchHits } else { Count::GetHits });
    note_prefix(keys, key, |counts| counts.hit += 1);
    Ok(true)
}

/// Stores an item; nothing is done if its partition is taken.
#[inline]
pub(super) fn store(site: &mut Site, key: &[u8], storing: &Storing) -> Option<Result<Stored, Fault>> {
    if evict::is_over(site.state) && !make_room(site) {
        // Lest the client reads the old value for the new one.
        if storing.verb == Verb::Set && storing.compare.is_none() {
            on_key(site, key, |keys, _| discard(keys, key))?;
        }
        site.stats.memcache.add(Count::StoreNoMemory);
        return Some(Err(Fault::OutOfMemory));
    }
    on_key(site, key, |keys, _| {
        keys.stats().memcache.add(Count::CmdSet);
        note_prefix(keys, key, |counts| counts.set += 1);
        let stored = store_here(keys, key, storing)?;
        if stored.outcome == Outcome::Stored {
            keys.stats().memcache.add(Count::TotalItems);
        }
        Ok(stored)
    })
}

#[inline]
fn store_here(keys: &mut Keys, key: &[u8], storing: &Storing) -> Result<Stored, Fault> {
    let is_plain_set = storing.verb == Verb::Set && storing.compare.is_none();
    if is_plain_set {
        return Ok(put(keys, key, storing, expiry_ms(storing.exptime, keys.now_ms)));
    }
    let not = |outcome| Ok(Stored { outcome, version: 0, len: storing.data.len() });
    let is_cas = storing.compare.is_some() && matches!(storing.verb, Verb::Set | Verb::Replace);
    let counts = &keys.stats().memcache;
    let expires_at = expiry_ms(storing.exptime, keys.now_ms);
    let (clock, now_ms) = (keys.clock(), keys.now_ms);
    let Some(old) = keys.find(key) else {
        return match storing.verb {
            _ if is_cas => {
                counts.add(Count::CasMisses);
                not(Outcome::NotFound)
            }
            Verb::Set | Verb::Add => Ok(put(keys, key, storing, expires_at)),
            Verb::Append | Verb::Prepend if storing.vivify => Ok(put(keys, key, storing, expires_at)),
            Verb::Replace | Verb::Append | Verb::Prepend => not(Outcome::NotStored),
        };
    };
    let same_version = storing.compare.is_some_and(|given| given != 0 && given == old.cas());
    match storing.verb {
        Verb::Add => {
            clock.touch(old, now_ms);
            not(Outcome::NotStored)
        }
        Verb::Set | Verb::Replace if !is_cas || same_version => {
            if is_cas {
                counts.add(Count::CasHits);
            }
            Ok(put(keys, key, storing, expires_at))
        }
        Verb::Set | Verb::Replace => {
            let (given, version) = (storing.compare.unwrap_or(0), old.cas());
            let (expires_at, won) = (old.expires_at(), old.is_marked(Mark::Won));
            // A value without a number is newer than any number there is.
            let is_older =
                given != 0 && given < if version == 0 { keys.state().versions.next() } else { version };
            if !(storing.invalidate && is_older) {
                counts.add(Count::CasBadval);
                return not(Outcome::Exists);
            }
            let stored = put(keys, key, storing, expires_at);
            if let Some(entry) = keys.find(key) {
                entry.mark(Mark::Stale, true);
                entry.mark(Mark::Won, won);
            }
            Ok(stored)
        }
        Verb::Append | Verb::Prepend => {
            if storing.compare.is_some_and(|given| given != 0) && !same_version {
                return not(Outcome::Exists);
            }
            attach(keys, key, storing)
        }
    }
}

/// Gives `key` the new value in place of whatever it held.
#[inline]
fn put(keys: &mut Keys, key: &[u8], storing: &Storing, expires_at: Option<i64>) -> Stored {
    let version = match storing.version {
        Version::Later => 0,
        Version::Now => keys.state().versions.next(),
        Version::Is(version) => version,
    };
    let stored = Stored { outcome: Outcome::Stored, version, len: storing.data.len() };
    if expires_at.is_some_and(|at_ms| at_ms <= keys.now_ms) {
        discard(keys, key);
        return stored;
    }
    let extras = Extras { expires_at, client_flags: storing.client_flags, cas: version };
    keys.put(key, Payload::string(storing.data), extras);
    keys.announce(notify::STRING, "set", key);
    if expires_at.is_some() {
        keys.event(notify::GENERIC, "expire", key);
    }
    stored
}

/// Puts more behind or before the value there is.
fn attach(keys: &mut Keys, key: &[u8], storing: &Storing) -> Result<Stored, Fault> {
    let (old, client_flags) = match keys.find(key) {
        Some(entry) => (text(entry).map_err(|_| Fault::WrongType)?.len(), entry.client_flags()),
        None => (0, 0),
    };
    let len = old + storing.data.len();
    if !limits(keys.state()).item_fits(key.len(), client_flags, len) {
        return Ok(Stored { outcome: Outcome::NotStored, version: 0, len: storing.data.len() });
    }
    keys.edit(key, |value| match storing.verb {
        Verb::Prepend => drop(value.splice(..0, storing.data.iter().copied())),
        _ => value.extend_from_slice(storing.data),
    });
    if let Some(entry) = keys.find(key) {
        entry.set_marks(Marks::default());
    }
    let event = if storing.verb == Verb::Prepend { "prepend" } else { "append" };
    keys.modified(notify::STRING, event, key);
    Ok(Stored { outcome: Outcome::Stored, version: give_version(keys, key, storing.version), len })
}

/// Gives a value that has just changed its version; returns it, or 0 where it has none yet.
pub(super) fn give_version(keys: &mut Keys, key: &[u8], version: Version) -> u64 {
    match version {
        Version::Later => 0,
        Version::Now => keys.version(key).unwrap_or(0),
        Version::Is(cas) => {
            if let Some(extras) = keys.find(key).map(|entry| entry.extras()) {
                keys.set_extras(key, Extras { cas, ..extras });
            }
            cas
        }
    }
}

/// Counts up, where beyond 64 bits it begins at 0 again, or down to 0; only if the version is `compare`, unless that is 0.
pub(super) fn count(
    keys: &mut Keys,
    key: &[u8],
    delta: u64,
    decr: bool,
    compare: u64,
) -> Result<Result<u64, Uncounted>, Fault> {
    let counts = &keys.stats().memcache;
    let Some(entry) = keys.find(key) else { return Ok(Err(Uncounted::NotFound)) };
    if matches!(entry.value(), ValueRef::Object(_)) {
        return Err(Fault::WrongType);
    }
    let is_empty = matches!(entry.value(), ValueRef::Inline(b""));
    if compare != 0 && compare != entry.cas() && !is_empty {
        return Ok(Err(Uncounted::Exists));
    }
    let old = number(entry).ok_or(Fault::NonNumeric)?;
    let sum = if decr { old.saturating_sub(delta) } else { old.wrapping_add(delta) };
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(sum).as_bytes();
    // In memcached a number that needs more room is another item.
    let grows = text(entry).map_or(0, |mut text| text.len()) < digits.len();
    let marks = if grows { Marks::default() } else { entry.marks() };
    entry.set_marks(marks);
    if !i64::try_from(sum).is_ok_and(|n| entry.set_int(n)) {
        let extras = Extras { cas: 0, ..entry.extras() };
        keys.put(key, Payload::string(digits), extras);
        if let Some(entry) = keys.find(key) {
            entry.set_marks(marks);
        }
    }
    keys.modified(notify::STRING, "incrby", key);
    counts.add(if decr { Count::DecrHits } else { Count::IncrHits });
    Ok(Ok(sum))
}

/// Notes that there was nothing to count with.
pub(super) fn note_uncounted(stats: &WorkerStats, why: Uncounted, decr: bool) {
    if why == Uncounted::NotFound {
        stats.memcache.add(if decr { Count::DecrMisses } else { Count::IncrMisses });
    }
}

/// The number an item holds as memcached reads it: blanks may precede it, anything may follow it after a blank.
fn number(entry: &Entry) -> Option<u64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let ends = |byte: &u8| *byte == 0 || is_blank(byte);
    let bytes = match entry.value() {
        ValueRef::Int(n) => return u64::try_from(n).ok(),
        ValueRef::Inline(bytes) => bytes,
        ValueRef::Shared(bytes) => bytes,
        ValueRef::Object(_) => return None,
    };
    let start = bytes.iter().position(|byte| !is_blank(byte))?;
    let word = bytes[start..].split(ends).next()?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Has an item expire anew; false if there is none.
pub(super) fn touch(keys: &mut Keys, key: &[u8], exptime: i64) -> bool {
    let (clock, now_ms, counts) = (keys.clock(), keys.now_ms, &keys.stats().memcache);
    counts.add(Count::CmdTouch);
    let Some(entry) = keys.find(key) else {
        counts.add(Count::TouchMisses);
        return false;
    };
    counts.add(Count::TouchHits);
    clock.touch(entry, now_ms);
    entry.mark(Mark::Fetched, true);
    expire(keys, key, expiry_ms(exptime, now_ms));
    true
}

/// Sets or clears the time at which an existing item expires.
pub(super) fn expire(keys: &mut Keys, key: &[u8], expires_at: Option<i64>) {
    if expires_at.is_some_and(|at_ms| at_ms <= keys.now_ms) {
        discard(keys, key);
    } else if keys.set_expiry(key, expires_at) {
        let event = if expires_at.is_some() { "expire" } else { "persist" };
        keys.announce(notify::GENERIC, event, key);
    }
}

/// Makes an item that was missed.
pub(super) fn create(keys: &mut Keys, key: &[u8], payload: Payload, version: Version) {
    let cas = match version {
        Version::Later => 0,
        Version::Now => keys.state().versions.next(),
        Version::Is(cas) => cas,
    };
    keys.put(key, payload, Extras { cas, ..Extras::default() });
    keys.announce(notify::STRING, "set", key);
    keys.stats().memcache.add(Count::TotalItems);
}

/// Deletes an item for a client; false if there is none.
pub(super) fn delete(keys: &mut Keys, key: &[u8]) -> bool {
    note_prefix(keys, key, |counts| counts.del += 1);
    let deleted = discard(keys, key);
    keys.stats().memcache.add(if deleted { Count::DeleteHits } else { Count::DeleteMisses });
    deleted
}

/// The same, only if the item's version is `compare`, where one is given.
pub(super) fn delete_version(keys: &mut Keys, key: &[u8], compare: Option<u64>) -> Result<(), Uncounted> {
    let version = keys.find(key).map(|entry| entry.cas());
    if let (Some(given), Some(version)) = (compare, version)
        && given != version
    {
        return Err(Uncounted::Exists);
    }
    if delete(keys, key) { Ok(()) } else { Err(Uncounted::NotFound) }
}

/// Removes an item; false if there is none.
pub(super) fn discard(keys: &mut Keys, key: &[u8]) -> bool {
    let removed = keys.remove(key);
    if removed {
        keys.modified(notify::GENERIC, "del", key);
    }
    removed
}

/// Counts something by the key's prefix, if that is switched on.
#[inline]
fn note_prefix(keys: &Keys, key: &[u8], count: impl FnOnce(&mut PrefixCounts)) {
    let prefixes = &keys.state().memcache.prefixes;
    if prefixes.are_counted() {
        prefixes.count(key, count);
    }
}
