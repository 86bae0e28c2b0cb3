//! The verbs of memcached, over the same keys as the commands of Redis.
//!
//! What one protocol stores the other reads: an item is a string; its client flags and its version travel with it
//! ([`Extras`](crate::store::entry::Extras)). Semantics and words are those of memcached 1.6, with three deviations that its
//! protocol allows or has no word for: `decr` does not pad a number that gets shorter, `watch` is refused, and a key that
//! holds anything but a string answers a server error to whoever wants its value.
//!
//! Invariant: a request that returns anything but [`Flow::Next`] has changed nothing it would not skip when it is called again.

mod admin;
mod binary;
mod dump;
mod forward;
mod item;
mod meta;
mod permission;
mod stats;

use super::call::{self, Flow, Site};
use super::keys::{Keys, Located, Routed};
use crate::state::keyspace::Held;
use crate::state::memcache::Count;
use crate::state::pause::Paused;
pub use binary::words;
pub use item::limits;
use item::{Outcome, Storing, Value, Version};
use shoal_protocol::memcache::binary::{Frame, Request as BinaryRequest, Status};
use shoal_protocol::memcache::{Fault, KeyScratch, Request, Tokens, WireKey, write};
use shoal_protocol::resp::Output;
use stats::Form;

/// The version of memcached whose behaviour clients may expect.
pub const MEMCACHED_VERSION: &str = "1.6.18";

/// Bytes of output at which a connection sends before it runs on.
const FULL: usize = 1 << 20;

/// Items of a `get` fetched at once.
const AHEAD: usize = 16;

/// How far a request has got that could not be finished.
#[derive(Default)]
pub enum Progress {
    /// Nothing was done yet.
    #[default]
    Fresh,
    /// So many keys are answered.
    Keys(usize),
    /// A walk over all keys is under way.
    Walk(dump::Walk),
}

/// Runs one request, or goes on with it as `progress` says. `raw` is what it was read from, for other nodes.
pub fn call(site: &mut Site, request: &Request, raw: &[u8], progress: &mut Progress) -> Flow {
    if site.out.len() >= FULL {
        return Flow::Full;
    }
    if !site.client.is_free() {
        if site.client.needs_login() {
            admin::authenticate(site, request);
            return Flow::Next;
        }
        if !permission::admits(site, request) {
            site.out.raw(Fault::Forbidden.line());
            return Flow::Next;
        }
    }
    // What a script is at must not be seen half done.
    if site.state.scripts.is_busy() && !matches!(request, Request::Ignored | Request::Quit) {
        site.out.raw(Fault::Busy.line());
        return Flow::Next;
    }
    if site.state.pause.begun() && is_held(site, || writes(request)) {
        return Flow::Paused;
    }
    if let Request::FlushAll { noreply, .. } = request
        && admin::keeps_items(site.state)
    {
        say(site.out, *noreply, Fault::FlushRefused.line());
        return Flow::Next;
    }
    if forward::text(site, request, raw) {
        return Flow::Next;
    }
    if site.client.is_owed {
        return Flow::Contended;
    }
    let flow = run(site, request, progress);
    ran(site, flow, progress)
}

/// The same, of a request of the binary protocol.
pub fn call_binary(site: &mut Site, frame: &Frame, raw: &[u8], progress: &mut Progress) -> Flow {
    if site.out.len() >= FULL {
        return Flow::Full;
    }
    // Users with limited rights have the text protocol: here all or nothing is allowed.
    if !site.client.is_free() && !binary::is_free(&frame.request) && !permission::is_unlimited(site) {
        binary::refuse(site, frame, Status::AuthFailure);
        return Flow::Next;
    }
    if site.state.scripts.is_busy() && !binary::is_free(&frame.request) {
        binary::refuse(site, frame, Status::Busy);
        return Flow::Next;
    }
    if site.state.pause.begun() && is_held(site, || binary::writes(&frame.request)) {
        return Flow::Paused;
    }
    if matches!(frame.request, BinaryRequest::FlushAll { .. }) && admin::keeps_items(site.state) {
        binary::decline(site, frame, Status::AuthFailure);
        return Flow::Next;
    }
    if forward::binary(site, frame, raw) {
        return Flow::Next;
    }
    if site.client.is_owed {
        return Flow::Contended;
    }
    let flow = binary::run(site, frame, progress);
    ran(site, flow, progress)
}

fn ran(site: &mut Site, flow: Flow, progress: &mut Progress) -> Flow {
    if flow == Flow::Next {
        *progress = Progress::Fresh;
        site.stats.memcache.add(Count::Requests);
    }
    flow
}

/// Whether CLIENT PAUSE holds a request.
#[cold]
fn is_held(site: &Site, writes: impl FnOnce() -> bool) -> bool {
    match site.state.pause.at(site.clock.unix_ms) {
        None => false,
        Some((Paused::All, _)) => true,
        Some((Paused::Writes, _)) => writes(),
    }
}

/// Whether a request may change something.
fn writes(request: &Request) -> bool {
    match request {
        Request::MetaGet(meta) => meta.has(b'N') || meta.has(b'T'),
        Request::Store { .. }
        | Request::Arith { .. }
        | Request::Touch { .. }
        | Request::Delete { .. }
        | Request::Gat { .. }
        | Request::MetaSet { .. }
        | Request::MetaDelete(_)
        | Request::MetaArith { .. }
        | Request::FlushAll { .. }
        | Request::TooLarge { .. } => true,
        _ => false,
    }
}

fn run(site: &mut Site, request: &Request, progress: &mut Progress) -> Flow {
    match *request {
        Request::Get { keys, with_cas } => get(site, keys, with_cas, None, progress),
        Request::Gat { exptime, keys, with_cas } => get(site, keys, with_cas, Some(exptime), progress),
        Request::Store { store, data } => {
            let storing = Storing {
                verb: store.verb,
                data,
                client_flags: store.flags,
                exptime: store.exptime,
                compare: store.cas,
                version: Version::Later,
                invalidate: false,
                vivify: false,
            };
            match item::store(site, store.key, &storing) {
                None => return Flow::Contended,
                Some(Err(fault)) => say(site.out, store.noreply, fault.line()),
                Some(Ok(stored)) => say(site.out, store.noreply, line(stored.outcome)),
            }
            Flow::Next
        }
        Request::Arith { key, delta, decr, noreply } => {
            let outcome = on_key(site, key, |keys, _| item::count(keys, key, delta, decr, 0));
            match outcome {
                None => return Flow::Contended,
                Some(Err(fault)) => say(site.out, noreply, fault.line()),
                Some(Ok(Err(why))) => {
                    item::note_uncounted(site.stats, why, decr);
                    say(site.out, noreply, write::NOT_FOUND);
                }
                Some(Ok(Ok(_))) if noreply => {}
                Some(Ok(Ok(sum))) => write::number(site.out, sum),
            }
            Flow::Next
        }
        Request::Touch { key, exptime, noreply } => {
            let touched = on_key(site, key, |keys, _| item::touch(keys, key, exptime));
            finish(site, noreply, touched, write::TOUCHED)
        }
        Request::Delete { key, noreply } => {
            let deleted = on_key(site, key, |keys, _| item::delete(keys, key));
            finish(site, noreply, deleted, write::DELETED)
        }
        Request::MetaGet(ref meta) => meta::get(site, meta),
        Request::MetaSet { ref meta, verb, data } => meta::set(site, meta, verb, data),
        Request::MetaDelete(ref meta) => meta::delete(site, meta),
        Request::MetaArith { ref meta, decr } => meta::arith(site, meta, decr),
        Request::MetaDebug(ref key) => meta::debug(site, key),
        Request::TooLarge { ref key, evict, noreply } => too_large(site, key, evict, noreply),
        Request::Dump(format) => dump::keys(site, format, progress),
        Request::Stats(words) => stats::stats(site, Form::Text, words, progress),
        _ => {
            admin::run(site, request);
            Flow::Next
        }
    }
}

/// Enters the partition of `key`, does `work`, leaves, and serves those who waited for what was changed. Nothing is done if the
/// partition is taken.
#[inline]
fn on_key<'s, R>(
    site: &mut Site<'s, '_>,
    key: &[u8],
    work: impl FnOnce(&mut Keys<'s>, &mut Output) -> R,
) -> Option<R> {
    let key = Located::new(key);
    let guard = site.state.keyspace.try_enter(key.partition)?;
    let cluster = &site.state.cluster;
    if cluster.is_on() && (!guard.is_led() || guard.is_newer_than(site.client.known) || !cluster.has_lease())
    {
        site.client.refused = site.client.is_peer;
        return None;
    }
    // A transaction across nodes holds it.
    if guard.is_held() {
        return None;
    }
    let mut held = Held::new();
    held.push((key.partition, guard));
    let (db, now_ms) = (site.client.db, site.clock.unix_ms);
    let mut keys = Keys::new(site.state, site.stats, held, Routed::from_buf([key]), db, now_ms);
    keys.author = site.client.author;
    let result = work(&mut keys, site.out);
    keys.note_states();
    call::settle(site, &mut keys);
    Some(result)
}

/// `get`, `gets`, `gat`, `gats`: key after key, so that a long list holds no lock for long.
#[inline]
fn get(site: &mut Site, keys: Tokens, with_cas: bool, exptime: Option<i64>, progress: &mut Progress) -> Flow {
    let done = if let Progress::Keys(done) = *progress { done } else { 0 };
    let several = { keys }.nth(1).is_some();
    let mut ahead = keys.skip(done);
    for (at, key) in keys.enumerate().skip(done) {
        if several && (at - done).is_multiple_of(AHEAD) {
            ahead.by_ref().take(AHEAD).for_each(|key| prefetch(site, key));
        }
        if site.out.len() >= FULL {
            *progress = Progress::Keys(at);
            return Flow::Full;
        }
        let sent = on_key(site, key, |keys, out| {
            let sent = item::read(keys, key, with_cas, exptime.is_some(), |found| {
                let (flags, cas) = (found.client_flags, with_cas.then_some(found.cas));
                match found.value {
                    Value::Bytes(data) => write::value(out, key, flags, cas, data),
                    Value::Shared(data) => write::value_shared(out, key, flags, cas, data),
                }
            })?;
            if let (true, Some(exptime)) = (sent, exptime) {
                item::expire(keys, key, item::expiry_ms(exptime, keys.now_ms));
            }
            Ok(())
        });
        match sent {
            None => {
                *progress = Progress::Keys(at);
                return Flow::Contended;
            }
            // Of several keys the others are wanted all the same.
            Some(Err(Fault::WrongType)) if several => {}
            Some(Err(fault)) => {
                let fault: Fault = fault;
                site.out.raw(fault.line());
                return Flow::Next;
            }
            Some(Ok(())) => {}
        }
    }
    site.out.raw(write::END);
    Flow::Next
}

/// Has the processor fetch the item of `key`: see [`Keys::prefetch`].
fn prefetch(site: &Site, key: &[u8]) {
    let key = Located::new(key);
    site.state.keyspace.prefetch(key.partition, site.client.db, key.hash);
}

/// A store of more than fits, whose old item must go (`evict`) if the client would take that for the new one.
fn too_large(site: &mut Site, key: &WireKey, evict: bool, noreply: bool) -> Flow {
    let mut scratch = KeyScratch::default();
    let key = key.decode(&mut scratch);
    if !refuse_large(site, key, evict) {
        return Flow::Contended;
    }
    say(site.out, noreply, Fault::TooLarge.line());
    Flow::Next
}

/// Does what is due when a store of more than fits is refused; false if that is not possible now.
fn refuse_large(site: &mut Site, key: &[u8], evict: bool) -> bool {
    if evict && on_key(site, key, |keys, _| item::discard(keys, key)).is_none() {
        return false;
    }
    site.stats.memcache.add(Count::StoreTooLarge);
    true
}

/// Answers whether there was such an item.
fn finish(site: &mut Site, noreply: bool, found: Option<bool>, line: &[u8]) -> Flow {
    let Some(found) = found else { return Flow::Contended };
    say(site.out, noreply, if found { line } else { write::NOT_FOUND });
    Flow::Next
}

/// Writes a line unless silence was asked for.
#[inline]
fn say(out: &mut Output, noreply: bool, line: &[u8]) {
    if !noreply {
        out.raw(line);
    }
}

fn line(outcome: Outcome) -> &'static [u8] {
    match outcome {
        Outcome::Stored => write::STORED,
        Outcome::NotStored => write::NOT_STORED,
        Outcome::Exists => write::EXISTS,
        Outcome::NotFound => write::NOT_FOUND,
    }
}
