//! What a memcached request does, in the words of access rules.
//!
//! Rules name commands of Redis, so each verb is held to the command that does the same.

use crate::command::call::Site;
use crate::command::{permission, table};
use shoal_protocol::memcache::{KeyScratch, Request, Verb};
use shoal_protocol::resp::OwnedArgs;

/// Whether the connection's user may run a request.
#[cold]
pub(super) fn admits(site: &Site, request: &Request) -> bool {
    let mut scratch = KeyScratch::default();
    match request {
        Request::Get { keys, .. } => keys.clone().all(|key| may(site, &[b"get", key])),
        Request::Gat { keys, .. } => keys.clone().all(|key| may(site, &[b"getex", key])),
        Request::Store { store, .. } => may_store(site, store.verb, store.key),
        Request::MetaSet { meta, verb, .. } => may_store(site, *verb, meta.key().decode(&mut scratch)),
        Request::Arith { key, .. } => may(site, &[b"incrby", key, b"1"]),
        Request::MetaArith { meta, .. } => may(site, &[b"incrby", meta.key().decode(&mut scratch), b"1"]),
        Request::Touch { key, .. } => may(site, &[b"expire", key, b"1"]),
        Request::Delete { key, .. } => may(site, &[b"del", key]),
        Request::MetaDelete(meta) => may(site, &[b"del", meta.key().decode(&mut scratch)]),
        Request::TooLarge { key, .. } => may(site, &[b"del", key.decode(&mut scratch)]),
        // It may bring an item into being, or have it expire anew.
        Request::MetaGet(meta) => {
            let key = meta.key().decode(&mut scratch);
            let changes = meta.has(b'N') || meta.has(b'T');
            may(site, &[b"get", key]) && (!changes || may(site, &[b"set", key, b""]))
        }
        Request::MetaDebug(key) => may(site, &[b"object", b"encoding", key.decode(&mut scratch)]),
        Request::FlushAll { .. } => may(site, &[b"flushall"]),
        Request::Shutdown { .. } => may(site, &[b"shutdown"]),
        Request::MoveTime { .. } => may(site, &[b"debug", b"sleep", b"0"]),
        Request::Dump(_) => may(site, &[b"keys", b"*"]),
        Request::Stats(_) => may(site, &[b"info"]),
        Request::CacheMemlimit { .. } | Request::Tuning { .. } | Request::Verbosity { .. } => {
            may(site, &[b"config", b"set", b"maxmemory", b"0"])
        }
        _ => true,
    }
}

/// Whether the connection's user may do everything.
#[cold]
pub(super) fn is_unlimited(site: &Site) -> bool {
    !site.client.needs_login() && site.client.user.is_free()
}

fn may_store(site: &Site, verb: Verb, key: &[u8]) -> bool {
    match verb {
        Verb::Set | Verb::Replace => may(site, &[b"set", key, b""]),
        Verb::Add => may(site, &[b"setnx", key, b""]),
        Verb::Append | Verb::Prepend => may(site, &[b"append", key, b""]),
    }
}

fn may(site: &Site, words: &[&[u8]]) -> bool {
    let mut args = OwnedArgs::new();
    words.iter().for_each(|word| args.push(word));
    let args = args.as_args();
    table::find_any_count(args).is_some_and(|row| permission::admit(site, row, args).is_ok())
}
