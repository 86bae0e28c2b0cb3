//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`.
//!
//! Of several clients that find an item missing, old or stale, one is to renew it. What that takes lies in the item's marks:
//! whoever is first hears `W` (won) and leaves the item marked, the others hear `Z`; a value that was invalidated is served with
//! `X` until there is another.
//!
//! An answer gives flags in the order of the request, and a flag that changes something counts for those behind it.

use super::item::{self, Outcome, Storing, Uncounted, Version};
use super::on_key;
use crate::command::call::{Flow, Site, make_room};
use crate::command::keys::{Keys, text};
use crate::config::notify;
use crate::state::access::AccessClock;
use crate::state::evict;
use crate::state::memcache::Count;
use crate::store::entry::{Entry, Extras, Mark, Payload, ValueRef};
use shoal_protocol::memcache::write::{self, Code, ItemInfo, MetaLine};
use shoal_protocol::memcache::{Fault, KeyScratch, Meta, Verb, WireKey};
use shoal_protocol::resp::Output;

/// The version an item is to get if it is changed.
fn version_wanted(meta: &Meta) -> Version {
    match meta.new_cas() {
        Some(cas) => Version::Is(cas),
        None if meta.has(b'c') => Version::Now,
        None => Version::Later,
    }
}

/// Answers a fault, and counts the command.
fn end(site: &mut Site, result: Option<Result<(), Fault>>) -> Flow {
    let Some(result) = result else { return Flow::Contended };
    site.stats.memcache.add(Count::CmdMeta);
    if let Err(fault) = result {
        site.out.raw(fault.line());
    }
    Flow::Next
}

/// Seconds an item has to live, rounded up, `None` if for ever.
fn ttl_s(expires_at: Option<i64>, now_ms: i64) -> Option<u64> {
    // Less a millisecond, by which the worker that set the expiry may be ahead of this one.
    let left_s = |at_ms: i64| u64::try_from(at_ms.saturating_sub(now_ms + 1)).unwrap_or(0).div_ceil(1000);
    expires_at.map(|at_ms| left_s(at_ms).max(u64::from(at_ms > now_ms)))
}

/// `mg <key> <flags>*`
#[inline]
pub(super) fn get(site: &mut Site, meta: &Meta) -> Flow {
    let mut scratch = KeyScratch::default();
    let wire = meta.key();
    let key = wire.decode(&mut scratch);
    let has_room = has_room(site, meta);
    let result = on_key(site, key, |keys, out| match get_here(keys, out, key, meta, has_room) {
        // One of several that are asked for: no item, as for `get` of several.
        Err(Fault::WrongType) if meta.quiet() => Ok(()),
        result => result,
    });
    end(site, result)
}

/// Whether there is memory for an item that is made if it is missing; true where none is to be made.
#[inline]
fn has_room(site: &mut Site, meta: &Meta) -> bool {
    !meta.has(b'N') || !evict::is_over(site.state) || make_room(site)
}

fn get_here(keys: &mut Keys, out: &mut Output, key: &[u8], meta: &Meta, has_room: bool) -> Result<(), Fault> {
    let (now_ms, clock, counts) = (keys.now_ms, keys.clock(), &keys.stats().memcache);
    let touches = meta.has(b'T');
    if meta.has(b'c') {
        keys.version(key);
    }
    let (fetched, created) = match keys.fetch(key) {
        Some(entry) => (answer_hit(out, meta, entry, false, now_ms, clock)?, false),
        None if meta.has(b'N') && has_room => {
            item::create(keys, key, Payload::text(b""), version_wanted(meta));
            let Some(entry) = keys.find(key) else { return Err(Fault::OutOfMemory) };
            (answer_hit(out, meta, entry, true, now_ms, clock)?, true)
        }
        None => {
            [Count::CmdGet, Count::GetMisses].into_iter().for_each(|count| counts.add(count));
            if !meta.quiet() {
                let mut line = MetaLine::new(out, Code::En);
                line.echo_all(meta);
                line.end();
            }
            return Ok(());
        }
    };
    let hit = if touches { [Count::CmdTouch, Count::TouchHits] } else { [Count::CmdGet, Count::GetHits] };
    hit.into_iter().for_each(|count| counts.add(count));
    if touches || created {
        item::expire(keys, key, fetched);
    }
    Ok(())
}

/// Answers `mg` of an item that is there, or was just `created`, and moves its marks. Returns when it is to expire.
fn answer_hit(
    out: &mut Output,
    meta: &Meta,
    entry: &mut Entry,
    created: bool,
    now_ms: i64,
    clock: AccessClock,
) -> Result<Option<i64>, Fault> {
    let mut value = text(entry).map_err(|_| Fault::WrongType)?;
    let len = value.len();
    let with_value = meta.has(b'v');
    let (has_won, is_stale) = (entry.is_marked(Mark::Won), entry.is_marked(Mark::Stale));
    let mut expires_at = entry.expires_at();
    let mut wins = created || is_stale && !has_won;
    let mut line = if with_value { MetaLine::with_value(out, len) } else { MetaLine::new(out, Code::Hd) };
    for letter in meta.letters() {
        match letter {
            b'T' => expires_at = meta.exptime().and_then(|at| item::expiry_ms(at, now_ms)),
            b'N' if created => expires_at = meta.vivify().and_then(|at| item::expiry_ms(at, now_ms)),
            b'R' if !has_won && !created => {
                let before = meta.recache().and_then(|at| item::expiry_ms(at, now_ms));
                wins |= expires_at.is_some_and(|at_ms| at_ms < before.unwrap_or(0));
            }
            b's' => line.number(b's', len as u64),
            b't' => line.ttl(ttl_s(expires_at, now_ms)),
            b'c' => line.number(b'c', entry.cas()),
            b'f' => line.number(b'f', u64::from(entry.client_flags())),
            b'l' => line.number(b'l', clock.idle_s(entry.clock(), now_ms)),
            b'h' => line.number(b'h', u64::from(entry.is_marked(Mark::Fetched))),
            _ => line.echo(meta, letter),
        }
    }
    if has_won {
        line.mark(b'Z');
    }
    if is_stale {
        line.mark(b'X');
    }
    if wins {
        line.mark(b'W');
    }
    match entry.value() {
        _ if !with_value => line.end(),
        ValueRef::Shared(data) => line.end_with_shared(data),
        _ => line.end_with(value.bytes()),
    }
    if wins {
        entry.mark(Mark::Won, true);
    }
    if !meta.has(b'u') {
        clock.touch(entry, now_ms);
        entry.mark(Mark::Fetched, true);
    }
    Ok(expires_at)
}

/// `ms <key> <datalen> <flags>*`
#[inline]
pub(super) fn set(site: &mut Site, meta: &Meta, verb: Verb, data: &[u8]) -> Flow {
    let mut scratch = KeyScratch::default();
    let wire = meta.key();
    let key = wire.decode(&mut scratch);
    let vivify = meta.vivify().filter(|_| matches!(verb, Verb::Append | Verb::Prepend));
    let storing = Storing {
        verb,
        data,
        client_flags: meta.client_flags(),
        exptime: vivify.or(meta.exptime()).unwrap_or(0),
        compare: meta.cas(),
        version: version_wanted(meta),
        invalidate: meta.has(b'I'),
        vivify: vivify.is_some(),
    };
    let result = item::store(site, key, &storing).map(|stored| {
        let stored = stored?;
        let code = match stored.outcome {
            Outcome::Stored if meta.quiet() => return Ok(()),
            Outcome::Stored => Code::Hd,
            Outcome::NotStored => Code::Ns,
            Outcome::Exists => Code::Ex,
            Outcome::NotFound => Code::Nf,
        };
        let mut line = MetaLine::new(site.out, code);
        for letter in meta.letters() {
            match letter {
                b'c' => line.number(b'c', stored.version),
                b's' => line.number(b's', stored.len as u64),
                _ => line.echo(meta, letter),
            }
        }
        line.end();
        Ok(())
    });
    end(site, result)
}

/// `md <key> <flags>*`
pub(super) fn delete(site: &mut Site, meta: &Meta) -> Flow {
    let mut scratch = KeyScratch::default();
    let wire = meta.key();
    let key = wire.decode(&mut scratch);
    let result = on_key(site, key, |keys, out| {
        let code = delete_here(keys, key, meta);
        if !(code == Code::Hd && meta.quiet()) {
            let mut line = MetaLine::new(out, code);
            line.echo_all(meta);
            line.end();
        }
        Ok(())
    });
    end(site, result)
}

fn delete_here(keys: &mut Keys, key: &[u8], meta: &Meta) -> Code {
    let exptime = meta.exptime().map(|at| item::expiry_ms(at, keys.now_ms));
    let Some(entry) = keys.find(key) else {
        item::delete(keys, key);
        return Code::Nf;
    };
    if meta.cas().is_some_and(|given| given != entry.cas()) {
        keys.stats().memcache.add(Count::DeleteMisses);
        return Code::Ex;
    }
    let (invalidates, empties) = (meta.has(b'I'), meta.has(b'x'));
    if !invalidates && !empties {
        item::delete(keys, key);
        return Code::Hd;
    }
    if empties {
        let extras =
            Extras { expires_at: exptime.flatten(), client_flags: meta.client_flags(), cas: entry.cas() };
        keys.put(key, Payload::text(b""), extras);
        keys.announce(notify::STRING, "set", key);
    } else {
        // The value is the same, but who holds its version must not take it for the one he knew.
        keys.modified(notify::STRING, "set", key);
    }
    if invalidates && let Some(entry) = keys.find(key) {
        entry.mark(Mark::Stale, true);
        entry.mark(Mark::Won, false);
    }
    match meta.new_cas() {
        Some(cas) => drop(item::give_version(keys, key, Version::Is(cas))),
        None if invalidates => drop(item::give_version(keys, key, Version::Now)),
        None => {}
    }
    if let Some(expires_at) = exptime {
        item::expire(keys, key, expires_at);
    }
    Code::Hd
}

/// `ma <key> <flags>*`
pub(super) fn arith(site: &mut Site, meta: &Meta, decr: bool) -> Flow {
    let mut scratch = KeyScratch::default();
    let wire = meta.key();
    let key = wire.decode(&mut scratch);
    let has_room = has_room(site, meta);
    let result = on_key(site, key, |keys, out| arith_here(keys, out, key, meta, decr, has_room));
    end(site, result)
}

fn arith_here(
    keys: &mut Keys,
    out: &mut Output,
    key: &[u8],
    meta: &Meta,
    decr: bool,
    has_room: bool,
) -> Result<(), Fault> {
    let mut created = false;
    let number = match item::count(keys, key, meta.delta(), decr, meta.cas().unwrap_or(0))? {
        Ok(number) => {
            item::give_version(keys, key, version_wanted(meta));
            number
        }
        Err(Uncounted::NotFound) if meta.has(b'N') => {
            if !has_room {
                return Err(Fault::OutOfMemoryForNumber);
            }
            created = true;
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(meta.initial()).as_bytes();
            item::create(keys, key, Payload::string(digits), version_wanted(meta));
            meta.initial()
        }
        Err(why) => {
            item::note_uncounted(keys.stats(), why, decr);
            let code = if why == Uncounted::Exists { Code::Ex } else { Code::Nf };
            let mut line = MetaLine::new(out, code);
            line.echo_all(meta);
            line.end();
            return Ok(());
        }
    };
    let now_ms = keys.now_ms;
    let Some(entry) = keys.find(key) else { return Err(Fault::OutOfMemory) };
    let (mut expires_at, cas) = (entry.expires_at(), entry.cas());
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let (before, with_value) = (out.mark(), meta.has(b'v'));
    let mut line =
        if with_value { MetaLine::with_value(out, digits.len()) } else { MetaLine::new(out, Code::Hd) };
    for letter in meta.letters() {
        match letter {
            b'T' => expires_at = meta.exptime().and_then(|at| item::expiry_ms(at, now_ms)),
            b'N' if created => expires_at = meta.vivify().and_then(|at| item::expiry_ms(at, now_ms)),
            b'c' => line.number(b'c', cas),
            b't' => line.ttl(ttl_s(expires_at, now_ms)),
            _ => line.echo(meta, letter),
        }
    }
    if with_value {
        line.end_with(digits)
    } else {
        line.end()
    }
    if meta.quiet() {
        out.truncate(before);
    }
    if created || meta.has(b'T') {
        item::expire(keys, key, expires_at);
    }
    Ok(())
}

/// `me <key> [b]`
pub(super) fn debug(site: &mut Site, wire: &WireKey) -> Flow {
    let mut scratch = KeyScratch::default();
    let key = wire.decode(&mut scratch);
    let result = on_key(site, key, |keys, out| {
        keys.version(key);
        let (clock, now_ms) = (keys.clock(), keys.now_ms);
        match keys.find(key) {
            Some(entry) => write::debug(out, wire, &info(entry, clock, now_ms), now_ms.div_euclid(1000)),
            None => out.raw(write::EN),
        }
        Ok(())
    });
    end(site, result)
}

/// What is told of an entry to people and tools.
pub(super) fn info(entry: &Entry, clock: AccessClock, now_ms: i64) -> ItemInfo {
    ItemInfo {
        expires_at: entry.expires_at().map(|at_ms| at_ms.div_euclid(1000)),
        last_access: now_ms.div_euclid(1000) - clock.idle_s(entry.clock(), now_ms) as i64,
        cas: entry.cas(),
        fetched: entry.is_marked(Mark::Fetched),
        size: entry.memory_bytes() as u64,
        flags: entry.client_flags(),
    }
}
