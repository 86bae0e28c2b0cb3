//! Requests that other nodes answer: which they are, how they are taken apart, and how one reply is made of several.
//!
//! A request whose keys one other node serves goes there as it stands. Commands on many keys that Redis defines key by key (MGET,
//! DEL, ...) are taken apart where several nodes serve the keys, and those on the whole keyspace are asked of all nodes that serve
//! anything. What cannot be taken apart without losing what it promises is refused.
//!
//! Nothing is sent here: [`Forwarded`] is left with the connection, which sends it, waits, and puts the reply in its place
//! (`server/forward.rs`).

use super::across::Across;
use super::call::{self, Flow, Needs, Site};
use super::client::{Client, Multi};
use super::database::told_of;
use super::error::CmdError;
use super::table::Row;
use super::{Command, Group, flag, record, table};
use crate::cluster::metadata::{Metadata, NodeId};
use crate::config::id;
use crate::state::State;
use crate::state::acl::User;
use crate::state::clients::client_flag;
use crate::state::cluster::{Cluster, Route};
use crate::state::keyspace::Held;
use crate::state::partition::{SLOTS, SLOTS_PER_PARTITION, partition_of, slot};
use crate::state::replication::Role;
use crate::state::tracking::Tracker;
use shoal_protocol::resp::{Args, Mark, OwnedArgs, Proto};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request being answered elsewhere.
pub struct Forwarded {
    /// Where among the replies its own belongs.
    pub mark: Mark,
    /// The database.
    pub db: usize,
    /// The version its reply is wanted in.
    pub proto: Proto,
    /// What is asked of whom.
    pub parts: Vec<Part>,
    /// How the answers become one reply.
    pub merge: Merge,
    /// Whether the client wants none (CLIENT REPLY).
    pub is_silent: bool,
    /// What runs here on keys that several nodes serve, in place of any parts.
    pub across: Option<Box<Across>>,
    /// On whose behalf it is asked.
    pub caller: Caller,
}

/// On whose behalf another node is asked.
#[derive(Clone, Default)]
pub struct Caller {
    /// The connection.
    pub client: u64,
    /// Whose rights hold for what the request runs in its turn; nobody in particular if the connection may do everything.
    pub user: Option<Arc<User>>,
    /// What is to remember the keys that are read.
    pub tracker: Option<Arc<Tracker>>,
    /// Whether reads leave the access clock alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// Whether it brings in another server's data (CLIENT IMPORT-SOURCE).
    pub imports: bool,
}

impl Caller {
    fn of(client: &Client) -> Caller {
        let tracked = client.tracking.as_ref().filter(|tracked| tracked.is_wanted());
        Caller {
            client: client.shared.id,
            user: (!client.is_free()).then(|| Arc::clone(&client.user)),
            tracker: tracked.map(|tracked| Arc::clone(&tracked.tracker)),
            no_touch: client.no_touch,
            imports: client.imports,
        }
    }
}

/// What is asked of one node.
pub struct Part {
    /// Who is asked.
    pub target: Target,
    /// The request; of a transaction those queued.
    pub requests: Vec<OwnedArgs>,
    /// Whether the requests are a transaction.
    pub is_transaction: bool,
    /// Whether it is a request of memcached's: bytes as they were sent.
    pub is_memcached: bool,
    /// What names it where it waits for a key, if it may; 0 if it may not.
    pub token: u64,
    /// Whether it may be asked again where it is unknown if it was carried out.
    pub is_repeatable: bool,
    /// Of the keys of the whole request: which ones this asks for, for [`Merge::Places`].
    pub places: Vec<usize>,
}

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Whoever serves this partition.
    Partition(u8),
    /// Whoever serves these partitions, about them alone.
    Cover(Cover),
    /// A node, whatever it serves.
    Node(NodeId),
}

/// A set of partitions: the share of one node in a request on the whole keyspace. Who asks says which ones, so that while partitions
/// move each is counted, or flushed, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cover([u64; 4]);

impl Cover {
    /// Bytes it takes on links.
    pub const BYTES: usize = 32;

    /// Adds a partition.
    pub fn add(&mut self, partition: u8) {
        self.0[usize::from(partition >> 6)] |= 1 << (partition & 63);
    }

    /// Whether it holds a partition.
    pub fn has(&self, partition: u8) -> bool {
        self.0[usize::from(partition >> 6)] >> (partition & 63) & 1 == 1
    }

    /// Its partitions by who serves them according to `map`; under nobody those that nobody does.
    pub fn by_primary(&self, map: &Metadata) -> BTreeMap<Option<NodeId>, Cover> {
        let mut shares: BTreeMap<Option<NodeId>, Cover> = BTreeMap::new();
        for partition in (0..=u8::MAX).filter(|partition| self.has(*partition)) {
            shares.entry(map.primary(partition)).or_default().add(partition);
        }
        shares
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; Cover::BYTES] {
        let mut bytes = [0; Cover::BYTES];
        bytes.chunks_exact_mut(8).zip(self.0).for_each(|(at, word)| at.copy_from_slice(&word.to_le_bytes()));
        bytes
    }

    /// As [`Cover::to_bytes`] wrote it.
    pub fn from_bytes(bytes: &[u8; Cover::BYTES]) -> Cover {
        let mut cover = Cover::default();
        for (word, at) in cover.0.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*at);
        }
        cover
    }
}

/// How answers become a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// There is one.
    Only,
    /// Integers are added up.
    Sum,
    /// All answer the same.
    Same,
    /// Elements of arrays go to the places of their keys, of so many.
    Places(usize),
    /// Arrays are put behind each other.
    Concat,
    /// The first that is not null.
    Any,
    /// The first that is no error.
    Success,
    /// Elements of arrays of as many are put together: the greatest number, or for [`Merge::Counts`] the sum of the numbers.
    Greatest,
    /// See [`Merge::Greatest`].
    Counts,
    /// Each element of any of the arrays once.
    Union,
    /// A cursor, and elements: it is gone on from there until there are so many, as on one node.
    Scan(usize),
    /// Items of memcached, up to the last `END`.
    Items,
}

/// What is refused because several nodes serve its keys.
pub const SCATTERED: CmdError = CmdError::new(
    "CROSSSLOT A command on the whole keyspace cannot be part of a transaction or script on keys that different nodes serve",
);

/// How a request on keys of several partitions is taken apart: the arguments per key, and how the answers are merged.
fn split(command: &Command) -> Option<(usize, Merge)> {
    Some(match command.name {
        "mget" => (1, Merge::Places(0)),
        "del" | "unlink" | "exists" | "touch" => (1, Merge::Sum),
        "mset" => (2, Merge::Same),
        _ => return None,
    })
}

/// How a request on the whole keyspace, or on what every node has, is answered by all nodes together.
fn spread(command: &Command) -> Option<Merge> {
    Some(match command.name {
        "dbsize" | "publish" | "spublish" => Merge::Sum,
        "flushall" | "flushdb" | "swapdb" | "script|flush" | "script|load" => Merge::Same,
        "keys" => Merge::Concat,
        "randomkey" => Merge::Any,
        "script|exists" => Merge::Greatest,
        "script|show" | "script|kill" | "function|kill" => Merge::Success,
        "pubsub|channels" | "pubsub|shardchannels" => Merge::Union,
        "pubsub|numsub" | "pubsub|shardnumsub" => Merge::Counts,
        "pubsub|numpat" => Merge::Sum,
        _ => return None,
    })
}

/// Whether a request on the whole keyspace is about keys, each of which one node serves.
fn is_on_keys(command: &Command) -> bool {
    matches!(command.name, "dbsize" | "flushall" | "flushdb" | "swapdb" | "keys" | "randomkey")
}

/// Has a request answered elsewhere, if it is not to be run here; says whether that is so. The partitions it needs are `held`.
#[inline]
pub fn forward(site: &mut Site, row: &'static Row, args: Args, held: &Held<'_>) -> Option<Flow> {
    if !site.state.cluster.is_on() {
        return None;
    }
    let asked = site.client.forwarded.len();
    let flow = decide(site, row, args, held);
    // What is run across nodes is run, and shown, here.
    if site.client.forwarded.get(asked).is_some_and(|request| request.across.is_none()) {
        record::passed_on(site, row, args);
    }
    if flow.is_none() && site.client.is_owed {
        site.client.reads_copy = false;
        return Some(Flow::Contended);
    }
    flow
}

#[cold]
fn decide(site: &mut Site, row: &'static Row, args: Args, held: &Held<'_>) -> Option<Flow> {
    let command = row.command;
    if table::is_whole(command) || spread(command).is_some() {
        // In a script, or a transaction that runs, it is about this node.
        if !site.client.is_peer
            && let Some(parts) = whole(site, command, args)
        {
            let merge = spread(command).unwrap_or_else(|| Merge::Scan(super::scan::count(args)));
            push(site, parts, merge);
            return Some(Flow::Next);
        }
        // What changes everything at once changes nothing that a transaction across nodes is about to change.
        let waits = command.flags.has(flag::WRITE) && table::is_whole(command) && is_any_held(site, held);
        return waits.then_some(Flow::Held);
    }
    if !site.client.is_peer && Across::is_needed(site.state, row, args) {
        note_written(site, command, held);
        push_across(site, Across::single(row, args));
        return Some(Flow::Next);
    }
    if !site.client.is_peer && super::script::is_unknown(site.state, command, args) {
        // Another node may know it.
        let target =
            held.first().map_or(Target::Node(site.state.cluster.me()), |held| Target::Partition(held.0));
        let part = Part::new(target, command, args);
        push(site, vec![part], Merge::Only);
        return Some(Flow::Next);
    }
    if held.is_empty() {
        return None;
    }
    if is_late(site, held) {
        site.client.refused = true;
        return Some(Flow::Next);
    }
    note_written(site, command, held);
    let several = held.len() > 1 && Across::changes_several(row) && !site.client.is_peer;
    let route = site.state.cluster.route(held);
    if !matches!(route, Route::Here | Route::Held) && may_read_copies(site, command, held) {
        site.client.reads_copy = true;
        return None;
    }
    match route {
        Route::Here | Route::At(_) if several && site.state.cluster.is_any_copied(held) => {
            push_across(site, Across::single(row, args));
        }
        Route::Here => return None,
        Route::Held => return Some(Flow::Held),
        _ if site.client.is_peer => site.client.refused = true,
        Route::At(_) if let Some(error) = moved(site, command, args) => {
            site.out.error(error.text());
            site.state.count_error(site.stats, error.text());
        }
        // A shard channel is listened to where the client is, which hears of all nodes.
        _ if super::pubsub::answers_by_messages(command) => return None,
        _ if command.name == "watch" => {
            // Its function answers the error.
            if site.client.multi.is_some() {
                return None;
            }
            push_across(site, Across::watch(args));
        }
        Route::Nowhere if held.len() > 1 && split(command).is_none() => {
            push_across(site, Across::single(row, args));
        }
        Route::At(_) | Route::Nowhere => {
            let first = match call::needs(command, args, None) {
                Needs::Keys(routed) => routed[0].partition,
                Needs::Nothing | Needs::All => held[0].0,
            };
            let part = Part::new(Target::Partition(first), command, args);
            push(site, vec![part], Merge::Only);
        }
        Route::Scattered => match split(command) {
            Some((stride, merge)) if (args.len() - 1).is_multiple_of(stride) => {
                scatter(site, command, args, stride, merge);
            }
            _ => push_across(site, Across::single(row, args)),
        },
    }
    Some(Flow::Next)
}

/// Whether cluster-aware clients are sent to the node that serves a key, rather than answered for it.
pub fn redirects(state: &State) -> bool {
    state.cluster.is_on() && state.config.choice(id::REDIRECT) == "moved"
}

/// The redirection to the node that serves all keys of a request, if it is another one and that is how it is done here.
pub fn moved(site: &Site, command: &Command, args: Args) -> Option<CmdError> {
    if !redirects(site.state) || site.client.is_peer {
        return None;
    }
    let (mut first, mut partitions) = (None, Vec::new());
    for spec in command.keys {
        spec.visit(args, &mut |at| {
            first.get_or_insert(at);
            partitions.push(partition_of(&args[at]));
        });
    }
    let (first, map) = (first?, site.state.cluster.map());
    let node = map.primary(*partitions.first()?)?;
    let is_elsewhere = node != site.state.cluster.me() && map.serves(node);
    if !is_elsewhere || partitions.iter().any(|partition| map.primary(*partition) != Some(node)) {
        return None;
    }
    let member = map.members.get(&node)?;
    Some(CmdError::with(format!("MOVED {} {}:{}", slot(&args[first]), member.host, member.port)))
}

/// Whether a client that said READONLY is answered out of copies: all it asks for must be at this node, whole and in sync. One that caches
/// is not: it hears of a change from the primary, and would read and keep what was there before.
fn may_read_copies(site: &Site, command: &Command, held: &Held<'_>) -> bool {
    let changes = flag::WRITE | flag::MAY_REPLICATE | flag::SCRIPT;
    if !site.client.shared.has_flag(client_flag::READONLY)
        || site.client.tracking.is_some()
        || command.flags.any(changes | flag::BLOCKING)
        || !site.state.cluster.has_lease()
    {
        return false;
    }
    let (map, me) = (site.state.cluster.map(), site.state.cluster.me());
    held.iter().all(|(number, partition)| {
        partition.replication.as_ref().is_some_and(|own| match own.role {
            Role::Primary => true,
            Role::Replica => own.is_whole && map.partitions[usize::from(*number)].in_sync.contains(&me),
            Role::Rising | Role::Falling | Role::Stranger => false,
        })
    })
}

/// Whether a peer's request was sent here when somebody else was primary, or this node at an earlier time. Its client may have been told
/// that nobody knows what became of it, and does not expect it to be run now.
fn is_late(site: &Site, held: &Held<'_>) -> bool {
    let known = site.client.known;
    site.client.is_peer && held.iter().any(|(_, partition)| partition.is_newer_than(known))
}

/// Remembers for WAIT which partitions the connection may have written to.
fn note_written(site: &mut Site, command: &Command, held: &Held<'_>) {
    if command.flags.any(flag::WRITE | flag::MAY_REPLICATE | flag::SCRIPT) {
        held.iter().for_each(|(partition, _)| site.client.written.insert(*partition));
    }
}

/// Whether a transaction across nodes holds any partition.
fn is_any_held(site: &Site, held: &Held<'_>) -> bool {
    let keyspace = &site.state.keyspace;
    held.iter().any(|(_, partition)| partition.is_held())
        || held.is_empty()
            && (0..=u8::MAX).any(|number| keyspace.try_enter(number).is_none_or(|p| p.is_held()))
}

/// Has a transaction run elsewhere, or across nodes, if it is not to be run here.
pub fn forward_transaction(site: &mut Site, multi: &Multi, held: &Held<'_>) -> Option<Flow> {
    if !site.state.cluster.is_on() {
        return None;
    }
    let state = site.state;
    let wanders = !site.client.is_peer
        && multi.queue.iter().any(|(row, args)| Across::is_needed(state, row, args.as_args()));
    if held.is_empty() && !wanders {
        return site.client.is_owed.then_some(Flow::Contended);
    }
    if is_late(site, held) {
        site.client.refused = true;
        return Some(Flow::Next);
    }
    for (row, _) in &multi.queue {
        note_written(site, row.command, held);
    }
    let watching = &site.client.watching;
    let route = state.cluster.route(held);
    let writes = |row: &Row| row.command.flags.any(flag::WRITE | flag::SCRIPT);
    let several = held.len() > 1
        && multi.queue.iter().any(|(row, _)| writes(row))
        && !multi.queue.iter().any(|(row, _)| table::is_whole(row.command))
        && !site.client.is_peer
        && state.cluster.is_any_copied(held);
    let stays = !wanders && !several && watching.elsewhere.is_empty();
    let sent = stays
        && watching.keys.is_empty()
        && !multi.queue.iter().any(|(row, _)| is_about_the_asker(row.command));
    match route {
        Route::Held => return Some(Flow::Held),
        Route::Here if stays => return site.client.is_owed.then_some(Flow::Contended),
        _ if site.client.is_peer => site.client.refused = true,
        Route::At(_) | Route::Nowhere if sent && (route != Route::Nowhere || held.len() == 1) => {
            let part = Part {
                target: Target::Partition(held[0].0),
                requests: multi.queue.iter().map(|(_, args)| args.clone()).collect(),
                is_transaction: true,
                is_memcached: false,
                token: 0,
                is_repeatable: false,
                places: Vec::new(),
            };
            push(site, vec![part], Merge::Only);
            multi.queue.iter().for_each(|(row, args)| record::passed_on(site, row, args.as_args()));
        }
        _ if multi.queue.iter().any(|(row, args)| {
            table::is_whole(row.command) && told_of(row.command, args.as_args()).is_none()
        }) =>
        {
            let error = super::error::exec_refused(&SCATTERED);
            site.out.error(error.text());
            site.state.count_error(site.stats, error.text());
        }
        _ => {
            let watching = std::mem::take(&mut site.client.watching);
            push_across(site, Across::transaction(&multi.queue, watching));
        }
    }
    Some(Flow::Next)
}

/// Whether a request is about the connection, or the node, that it came to: where it is sent in a transaction, whoever stands for the
/// connection there would be subscribed, named, or told its own number.
fn is_about_the_asker(command: &Command) -> bool {
    match command.group {
        Group::Connection | Group::Server => {
            let is_on_keys = !command.keys.is_empty() || table::is_whole(command);
            !is_on_keys && !matches!(command.name, "ping" | "echo" | "time")
        }
        Group::PubSub => super::pubsub::answers_by_messages(command),
        _ => false,
    }
}

impl Part {
    /// One request for one node.
    pub fn new(target: Target, command: &Command, args: Args) -> Part {
        Part {
            target,
            requests: vec![OwnedArgs::from(args)],
            is_transaction: false,
            is_memcached: false,
            token: if command.flags.has(flag::BLOCKING) { fastrand::u64(1..) } else { 0 },
            is_repeatable: !command.flags.any(flag::WRITE | flag::MAY_REPLICATE | flag::SCRIPT),
            places: Vec::new(),
        }
    }
}

fn push(site: &mut Site, parts: Vec<Part>, merge: Merge) {
    let (mark, db, proto) = (site.out.mark(), site.client.db, site.out.proto);
    let caller = Caller::of(site.client);
    let across = None;
    site.client.is_owed |= owes(&site.state.cluster, &parts);
    site.client.forwarded.push(Forwarded { mark, db, proto, parts, merge, is_silent: false, caller, across });
    // CLIENT CACHING is about the one command, or transaction, behind it.
    if let Some(tracked) = &mut site.client.tracking {
        tracked.caching = false;
    }
}

/// Whether any of these parts is this node's own. They are run in their turn, once the whole batch was looked at.
pub fn owes(cluster: &Cluster, parts: &[Part]) -> bool {
    parts.iter().any(|part| match part.target {
        Target::Partition(partition) => cluster.leads(partition),
        Target::Node(node) => node == cluster.me(),
        Target::Cover(cover) => {
            (0..=u8::MAX).any(|partition| cover.has(partition) && cluster.leads(partition))
        }
    })
}

fn push_across(site: &mut Site, across: Across) {
    push(site, Vec::new(), Merge::Only);
    if let Some(forwarded) = site.client.forwarded.last_mut() {
        forwarded.across = Some(Box::new(across));
    }
    // What comes behind it may depend on it.
    site.client.is_barred = true;
}

/// The parts of a request on the whole keyspace.
fn whole(site: &mut Site, command: &Command, args: Args) -> Option<Vec<Part>> {
    let state = site.state;
    let cluster = &state.cluster;
    if command.name == "scan" {
        // Whoever serves the partition that the cursor is in, or the first behind it that may have what is wanted; what is no cursor is told so here.
        let cursor: u64 = std::str::from_utf8(args.get(1)?).ok()?.parse().ok()?;
        let partition = u8::try_from(cursor >> 32).ok()?.max(super::database::scan_begins(args));
        if redirects(state) {
            return None;
        }
        return Some(vec![Part::new(Target::Partition(partition), command, args)]);
    }
    if let "cluster|countkeysinslot" | "cluster|getkeysinslot" = command.name {
        let slot: u16 = std::str::from_utf8(args.get(2)?).ok()?.parse().ok().filter(|slot| *slot < SLOTS)?;
        let partition = (slot / SLOTS_PER_PARTITION) as u8;
        if redirects(state) || cluster.leads(partition) && cluster.has_lease() {
            return None;
        }
        return Some(vec![Part::new(Target::Partition(partition), command, args)]);
    }
    // Clients that know of the cluster ask every node, and put the answers together themselves.
    if redirects(state) && matches!(command.name, "dbsize" | "keys") {
        return None;
    }
    let merge = spread(command)?;
    if merge == Merge::Same {
        site.client.written.insert_all();
    }
    if is_on_keys(command) {
        let mut all = Cover::default();
        (0..=u8::MAX).for_each(|partition| all.add(partition));
        let part = |cover| {
            let part = Part::new(Target::Cover(cover), command, args);
            // Once more flushed is as good as flushed.
            Part { is_repeatable: part.is_repeatable || command.name.starts_with("flush"), ..part }
        };
        return Some(all.by_primary(&cluster.map()).into_values().map(part).collect());
    }
    let nodes = cluster.homes();
    if nodes == [cluster.me()] {
        return None;
    }
    Some(nodes.into_iter().map(|node| Part::new(Target::Node(node), command, args)).collect())
}

/// Takes a request apart by the nodes that serve its keys.
fn scatter(site: &mut Site, command: &Command, args: Args, stride: usize, merge: Merge) {
    let map = site.state.cluster.map();
    let mut parts: Vec<(NodeId, Part)> = Vec::new();
    let count = (args.len() - 1) / stride;
    for key in 0..count {
        let at = 1 + key * stride;
        let partition = partition_of(&args[at]);
        let node = map.primary(partition).unwrap_or_default();
        let found = parts.iter().position(|(other, _)| *other == node);
        let index = found.unwrap_or_else(|| {
            let mut part = Part::new(Target::Partition(partition), command, args.first(1));
            part.requests[0] = OwnedArgs::from(args.first(1));
            parts.push((node, part));
            parts.len() - 1
        });
        let part = &mut parts[index].1;
        (at..at + stride).for_each(|at| part.requests[0].push(&args[at]));
        part.places.push(key);
    }
    let merge = if let Merge::Places(_) = merge { Merge::Places(count) } else { merge };
    push(site, parts.into_iter().map(|(_, part)| part).collect(), merge);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cover_is_shared_out_and_sent_as_it_is() {
        let mut map = Metadata::default();
        for partition in [0, 63, 64, 255] {
            map.partitions[partition].in_sync = vec![1 + (partition as NodeId & 1)];
        }
        let mut cover = Cover::default();
        [0, 63, 64, 100, 255].into_iter().for_each(|partition| cover.add(partition));
        let shares = cover.by_primary(&map);
        let of = |node| (0..=u8::MAX).filter(|p| shares[&node].has(*p)).collect::<Vec<u8>>();
        assert_eq!((of(None), of(Some(1)), of(Some(2))), (vec![100], vec![0, 64], vec![63, 255]));
        assert_eq!(Cover::from_bytes(&cover.to_bytes()), cover);
    }
}
