//! Memcached requests for items that other nodes hold.
//!
//! They go there as they stand, byte for byte. A `get` of several keys is taken apart by the nodes that hold them, and what finds the
//! whole cache in one node's hands (`flush_all`) is asked of all.

use crate::cluster::metadata::NodeId;
use crate::command::call::Site;
use crate::command::forward::{Caller, Forwarded, Merge, Part, Target, owes};
use crate::state::partition::partition_of;
use shoal_protocol::memcache::binary::{self, Frame, Status};
use shoal_protocol::memcache::{Fault, KeyScratch, Request, Tokens};
use shoal_protocol::resp::{OwnedArgs, Proto};

/// Has a request of the text protocol, which is `raw`, answered elsewhere, if it is not to be run here; says whether that is so.
#[inline]
pub(super) fn text(site: &mut Site, request: &Request, raw: &[u8]) -> bool {
    site.state.cluster.is_on() && !site.client.is_peer && route(site, request, raw)
}

#[cold]
fn route(site: &mut Site, request: &Request, raw: &[u8]) -> bool {
    let mut scratch = KeyScratch::default();
    match request {
        Request::Get { keys, with_cas } => {
            let verb = if *with_cas { "gets" } else { "get" };
            several(site, *keys, verb.to_string(), raw)
        }
        Request::Gat { exptime, keys, with_cas } => {
            several(site, *keys, format!("{} {exptime}", if *with_cas { "gats" } else { "gat" }), raw)
        }
        Request::Store { store, .. } => one(site, store.key, raw),
        Request::Arith { key, .. } | Request::Touch { key, .. } | Request::Delete { key, .. } => {
            one(site, key, raw)
        }
        Request::MetaGet(meta) | Request::MetaDelete(meta) => one(site, meta.key().decode(&mut scratch), raw),
        Request::MetaSet { meta, .. } | Request::MetaArith { meta, .. } => {
            one(site, meta.key().decode(&mut scratch), raw)
        }
        Request::MetaDebug(key) => one(site, key.decode(&mut scratch), raw),
        Request::TooLarge { key, evict, noreply } => {
            // Its data is not here to be sent on; only that the old item must go.
            let key = key.decode(&mut scratch);
            let line = [b"delete ", key, b" noreply\r\n"].concat();
            let gone = !evict || one(site, key, &line);
            if gone && !noreply {
                site.out.raw(Fault::TooLarge.line());
            }
            gone
        }
        Request::FlushAll { .. } => everywhere(site, raw),
        _ => false,
    }
}

/// The same for the binary protocol.
#[inline]
pub(super) fn binary(site: &mut Site, frame: &Frame, raw: &[u8]) -> bool {
    site.state.cluster.is_on() && !site.client.is_peer && route_binary(site, frame, raw)
}

#[cold]
fn route_binary(site: &mut Site, frame: &Frame, raw: &[u8]) -> bool {
    match (&frame.request, frame.request.key()) {
        (_, Some(key)) => one(site, key, raw),
        (binary::Request::FlushAll { .. }, None) => everywhere(site, raw),
        (binary::Request::TooLarge { key, evict: true }, None) => {
            let line = [b"delete ", *key, b" noreply\r\n"].concat();
            let gone = one(site, key, &line);
            if gone {
                super::binary::refuse(site, frame, Status::TooLarge);
            }
            gone
        }
        _ => false,
    }
}

/// Whether this node serves the partition at this moment.
fn is_served(site: &Site, partition: u8) -> bool {
    let guard = site.state.keyspace.try_enter(partition);
    // One that is taken may be served here: whoever enters it finds out.
    guard.is_none_or(|guard| guard.is_led())
        && site.state.cluster.leads(partition)
        && site.state.cluster.has_lease()
}

fn one(site: &mut Site, key: &[u8], raw: &[u8]) -> bool {
    let partition = partition_of(key);
    let elsewhere = !is_served(site, partition);
    if elsewhere {
        push(site, vec![part(Target::Partition(partition), raw, false)], Merge::Only);
    }
    elsewhere
}

fn several(site: &mut Site, keys: Tokens, verb: String, raw: &[u8]) -> bool {
    let map = site.state.cluster.map();
    let mut by_node: Vec<(NodeId, u8, Vec<u8>, Vec<usize>)> = Vec::new();
    let (mut count, mut all_here) = (0, true);
    for key in keys {
        let partition = partition_of(key);
        all_here &= is_served(site, partition);
        let node = map.primary(partition).unwrap_or_default();
        let at = by_node.iter().position(|(other, ..)| *other == node).unwrap_or_else(|| {
            by_node.push((node, partition, verb.clone().into_bytes(), Vec::new()));
            by_node.len() - 1
        });
        by_node[at].2.push(b' ');
        by_node[at].2.extend_from_slice(key);
        by_node[at].3.push(count);
        count += 1;
    }
    if all_here || count == 0 {
        return false;
    }
    let reads = verb.len() <= "gets".len();
    let is_one = by_node.len() == 1;
    let parts: Vec<Part> = by_node
        .into_iter()
        .map(|(_, partition, mut line, places)| {
            line.extend_from_slice(b"\r\n");
            let line = if is_one { raw } else { &line };
            Part { places, ..part(Target::Partition(partition), line, reads) }
        })
        .collect();
    let merge = if is_one { Merge::Only } else { Merge::Items };
    push(site, parts, merge);
    true
}

fn everywhere(site: &mut Site, raw: &[u8]) -> bool {
    let nodes = site.state.cluster.homes();
    let parts = nodes.into_iter().map(|node| part(Target::Node(node), raw, false)).collect();
    push(site, parts, Merge::Same);
    true
}

fn part(target: Target, raw: &[u8], is_repeatable: bool) -> Part {
    let requests = vec![OwnedArgs::from_iter([raw])];
    Part {
        target,
        requests,
        is_transaction: false,
        is_memcached: true,
        token: 0,
        is_repeatable,
        places: Vec::new(),
    }
}

fn push(site: &mut Site, parts: Vec<Part>, merge: Merge) {
    let (mark, db) = (site.out.mark(), site.client.db);
    site.client.is_owed |= owes(&site.state.cluster, &parts);
    site.client.forwarded.push(Forwarded {
        mark,
        db,
        proto: Proto::Resp2,
        parts,
        merge,
        is_silent: false,
        caller: Caller::default(),
        across: None,
    });
}
