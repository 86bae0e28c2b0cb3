//! Requests about the connection or the node: authentication, version, flush, limits.

use super::item::expiry_ms;
use super::{MEMCACHED_VERSION, say};
use crate::command::call::Site;
use crate::command::{connection, debug, permission};
use crate::config::{Caller, id};
use crate::state::memcache::{Count, flush};
use crate::state::{self, State};
use shoal_protocol::memcache::{Fault, Request, Verb, write};
use std::sync::Arc;

/// Answers a connection that must authenticate first, which it does by a `set` of `user password` under any key.
pub(super) fn authenticate(site: &mut Site, request: &Request) {
    let (store, data) = match request {
        Request::Ignored => return,
        Request::Store { store, data } if store.verb == Verb::Set && store.cas.is_none() => (store, data),
        _ => return site.out.raw(Fault::Unauthenticated.line()),
    };
    let mut words = data.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (Some(user), Some(password)) = (words.next(), words.next()) else {
        return site.out.raw(Fault::BadCredentials.line());
    };
    if log_in(site, user, password) {
        say(site.out, store.noreply, write::STORED);
    } else {
        site.out.raw(Fault::AuthenticationFailure.line());
    }
}

/// Whether clients must say who they are.
pub(super) fn wants_password(state: &State) -> bool {
    !state.acl.default_user().is_open() || state.memcache.logins.are_wanted()
}

/// Lets a client in if it knows the password of that user; returns whether it does.
pub(super) fn log_in(site: &mut Site, user: &[u8], password: &[u8]) -> bool {
    let counts = &site.stats.memcache;
    counts.add(Count::AuthCmds);
    let logins = &site.state.memcache.logins;
    let known = if !logins.are_wanted() {
        connection::authenticate(site.state, site.client, b"set", user, password).is_ok()
    } else if logins.know(user, password) && site.state.acl.default_user().rules().enabled {
        site.client.log_in(Arc::clone(site.state.acl.default_user()));
        true
    } else {
        permission::note_wrong_password(site.state, site.client, b"set", user);
        false
    };
    if !known {
        counts.add(Count::AuthErrors);
    }
    known
}

/// Runs a request that is not about items.
pub(super) fn run(site: &mut Site, request: &Request) {
    match *request {
        Request::MetaNoop => site.out.raw(write::MN),
        Request::Version => write::version(site.out, MEMCACHED_VERSION),
        Request::Quit => site.client.closing = true,
        Request::FlushAll { delay, noreply } => {
            flush_all(site, delay);
            say(site.out, noreply, write::OK);
        }
        Request::CacheMemlimit { megabytes, noreply } => {
            let line = if limit_memory(site, megabytes) { write::OK } else { Fault::MemlimitRefused.line() };
            say(site.out, noreply, line);
        }
        Request::Verbosity { noreply, .. } | Request::Tuning { noreply } => say(site.out, noreply, write::OK),
        Request::Shutdown { valid } => shutdown(site, valid),
        Request::MoveTime { .. } if !debug::is_allowed(site.state, site.client) => {
            site.out.raw(Fault::Unknown.line());
        }
        Request::MoveTime { seconds } => {
            state::move_time(seconds);
            site.clock.sync();
            site.out.raw(write::OK);
        }
        Request::Watch(_) => site.out.raw(Fault::WatchRefused.line()),
        // There is no certificate here.
        Request::RefreshCerts { noreply } => say(site.out, noreply, Fault::Unknown.line()),
        Request::Invalid(fault) => site.out.raw(fault.line()),
        _ => {}
    }
}

/// `shutdown [graceful]`: both ways end what is under way first here.
fn shutdown(site: &mut Site, valid: bool) {
    if !site.state.config.flag(id::MEMCACHED_SHUTDOWN) {
        return site.out.raw(Fault::ShutdownRefused.line());
    }
    if !valid {
        return site.out.raw(Fault::ShutdownMode.line());
    }
    tracing::info!("shutdown: stopping");
    site.client.closing = true;
    site.state.stop();
}

/// Whether `flush_all` is switched off.
pub(super) fn keeps_items(state: &State) -> bool {
    !state.config.flag(id::MEMCACHED_FLUSH_ALL)
}

/// `flush_all [delay]`
pub(super) fn flush_all(site: &mut Site, delay: i64) {
    site.stats.memcache.add(Count::CmdFlush);
    let (now_ms, db) = (site.clock.unix_ms, site.client.db);
    let at_ms = expiry_ms(delay, now_ms).filter(|at_ms| *at_ms > now_ms);
    site.state.memcache.flush_at(db, at_ms);
    if at_ms.is_none() {
        flush(site.state, db);
    }
}

/// `cache_memlimit <megabytes>`
fn limit_memory(site: &mut Site, megabytes: u32) -> bool {
    let bytes = (u64::from(megabytes) << 20).to_string();
    let caller = Caller { local: site.client.is_local(), loading: false };
    site.state.config.change(&[(&b"maxmemory"[..], bytes.as_bytes())], caller).is_ok()
}
