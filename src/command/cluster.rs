//! CLUSTER: the cluster as cluster-aware clients know it from Redis, and as administrators want to see it.
//!
//! Redis has nodes that are primaries or replicas as a whole; here a node is both, of different partitions. So each serving node
//! counts as a primary with the slots it serves, and CLUSTER SHARDS and REPLICAS name those who keep copies of them as its replicas. A
//! node that is alone shows as a cluster of itself.

mod admin;
mod status;
pub mod view;

use super::error::CmdError;
use super::parse;
use super::replication::Follower;
use super::server::{container, write_help};
use super::{Command, Cx, Flags, Group, category, command, flag, flags};
use crate::cluster::metadata::NodeId;
use crate::config::id;
use crate::state::State;
use crate::state::clients::client_flag;
use crate::state::partition::{SLOTS, SLOTS_PER_PARTITION, slot, slot_of};
use crate::store::table::Keyed;
use shoal_protocol::resp::Args;
use view::{Place, Range, View, name_of};

const STALE: Flags = flag::STALE;
const PLAIN: Flags = flags([flag::LOADING, flag::STALE, flag::FAST]);
const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

/// Of what changes the cluster.
const STEERING: Flags = flags([flag::ADMIN, flag::STALE, flag::NOSCRIPT, flag::NO_MULTI]);

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Cluster, run).flags(STALE)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("asking", 1, Group::Cluster, asking).flags(flag::FAST).categories(category::CONNECTION).doc(
        "3.0.0",
        "",
        "Signals that a cluster client is following an -ASK redirect.",
    ),
    command("cluster", -2, Group::Cluster, container)
        .doc("3.0.0", "", "A container for cluster commands.")
        .subcommands(&[
            sub("cluster|copies", 3, admin::copies).flags(STEERING).doc(
                "7.2.0",
                "count",
                "Sets how many nodes hold each partition.",
            ),
            sub("cluster|countkeysinslot", 3, countkeysinslot).flags(STALE.or(flag::WHOLE)).doc(
                "3.0.0",
                "slot",
                "Returns the number of keys in a hash slot.",
            ),
            sub("cluster|drain", -3, admin::drain).flags(STEERING).doc(
                "7.2.0",
                "node [DRYRUN | CANCEL]",
                "Empties a node, so that it can be stopped, and gives it nothing more.",
            ),
            sub("cluster|failover", -2, admin::failover).flags(STEERING).doc(
                "3.0.0",
                "[FORCE | TAKEOVER]",
                "Has this node take over what it keeps copies of.",
            ),
            sub("cluster|forget", -3, admin::forget).flags(STEERING).doc(
                "3.0.0",
                "node-id [FORCE]",
                "Takes a node that is gone for good out of the cluster.",
            ),
            sub("cluster|getkeysinslot", 4, getkeysinslot)
                .flags(STALE.or(flag::WHOLE))
                .tips(NONDETERMINISTIC)
                .doc("3.0.0", "slot count", "Returns the key names in a hash slot."),
            sub("cluster|help", 2, help).flags(flags([flag::LOADING, flag::STALE])).doc(
                "5.0.0",
                "",
                "Returns helpful text about the different subcommands.",
            ),
            sub("cluster|info", 2, info).tips(NONDETERMINISTIC).doc(
                "3.0.0",
                "",
                "Returns information about the state of a node.",
            ),
            sub("cluster|keyslot", 3, keyslot).doc("3.0.0", "key", "Returns the hash slot for a key."),
            sub("cluster|links", 2, links).flags(STALE.or(flag::WHOLE)).tips(NONDETERMINISTIC).doc(
                "7.0.0",
                "",
                "Returns a list of all TCP links to and from peer nodes.",
            ),
            sub("cluster|move", -4, admin::r#move).flags(STEERING).doc(
                "7.2.0",
                "first-last node [DRYRUN]",
                "Has a node serve a range of slots, until CLUSTER REBALANCE.",
            ),
            sub("cluster|myid", 2, myid).doc("3.0.0", "", "Returns the ID of a node."),
            sub("cluster|myshardid", 2, myid).tips(NONDETERMINISTIC).doc(
                "7.2.0",
                "",
                "Returns the shard ID of a node.",
            ),
            sub("cluster|nodes", 2, nodes).tips(NONDETERMINISTIC).doc(
                "3.0.0",
                "",
                "Returns the cluster configuration for a node.",
            ),
            sub("cluster|rebalance", -2, admin::rebalance).flags(STEERING).doc(
                "7.2.0",
                "[DRYRUN]",
                "Spreads evenly what was placed by hand.",
            ),
            sub("cluster|replicas", 3, replicas).flags(STALE.or(flag::ADMIN)).tips(NONDETERMINISTIC).doc(
                "5.0.0",
                "node-id",
                "Lists the replica nodes of a master node.",
            ),
            sub("cluster|reset", -2, admin::reset)
                .flags(flags([flag::ADMIN, flag::STALE, flag::NOSCRIPT]))
                .doc("3.0.0", "[HARD | SOFT]", "Resets a node."),
            sub("cluster|shards", 2, shards).tips(NONDETERMINISTIC).doc(
                "7.0.0",
                "",
                "Returns the mapping of cluster slots to shards.",
            ),
            sub("cluster|status", 2, status::status).flags(STALE.or(flag::WHOLE)).tips(NONDETERMINISTIC).doc(
                "7.2.0",
                "",
                "Returns the nodes of the cluster and what they hold, for people to read.",
            ),
            sub("cluster|slots", 2, slots).tips(NONDETERMINISTIC).doc(
                "3.0.0",
                "",
                "Returns the mapping of cluster slots to nodes.",
            ),
        ]),
    command("readonly", 1, Group::Cluster, readonly).flags(PLAIN).categories(category::CONNECTION).doc(
        "3.0.0",
        "",
        "Enables read-only queries for a connection to a replica node.",
    ),
    command("readwrite", 1, Group::Cluster, readwrite).flags(PLAIN).categories(category::CONNECTION).doc(
        "3.0.0",
        "",
        "Enables read-write queries for a connection to a replica node.",
    ),
];

/// Whether INFO and HELLO say that this is a node of a cluster.
pub fn is_shown(state: &State) -> bool {
    state.config.choice(id::CLUSTER_VIEW) == "cluster"
}

/// What INFO and HELLO call the mode.
pub fn mode(state: &State) -> &'static str {
    state.config.choice(id::CLUSTER_VIEW)
}

/// ASKING: any node answers for any key, so there is nothing to allow.
fn asking(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.ok();
    Ok(())
}

/// READONLY
fn readonly(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.client.shared.set_flag(client_flag::READONLY, true);
    cx.out.ok();
    Ok(())
}

/// READWRITE
fn readwrite(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.client.shared.set_flag(client_flag::READONLY, false);
    cx.out.ok();
    Ok(())
}

/// CLUSTER INFO
fn info(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    let slots = |is_so: &dyn Fn(&Place) -> bool| -> u32 {
        let primary =
            |range: &&Range| range.holders.first().and_then(|id| view.place(*id)).is_some_and(is_so);
        view.ranges.iter().filter(primary).map(|range| u32::from(range.last - range.first) + 1).sum()
    };
    let (served, doubted) = (slots(&|place| place.is_up), slots(&|place| place.is_up && place.is_doubted));
    let is_well = served == u32::from(SLOTS) && view.is_leased;
    let serving =
        view.places.iter().filter(|place| view.ranges.iter().any(|r| r.holders.first() == Some(&place.id)));
    let epoch = view.ranges.iter().map(|range| range.epoch).max().unwrap_or(0);
    let text = format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{}\r\n\
         cluster_slots_pfail:{doubted}\r\ncluster_slots_fail:{}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\n\
         cluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        if is_well { "ok" } else { "fail" },
        served - doubted,
        u32::from(SLOTS) - served,
        view.places.len(),
        serving.count(),
    );
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER MYID, CLUSTER MYSHARDID
fn myid(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    match view.place(view.me) {
        Some(me) => cx.out.bulk(me.name.as_bytes()),
        None => cx.out.bulk(name_of(view.me).as_bytes()),
    }
    Ok(())
}

/// CLUSTER NODES
fn nodes(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    let mut text = String::new();
    for place in &view.places {
        let own = view.served_by(place.id);
        let myself = if place.id == view.me { "myself," } else { "" };
        let (fail, link) = place.health();
        let Place { name, host, port, bus, .. } = place;
        let epoch = own.iter().map(|(_, _, epoch)| *epoch).max().unwrap_or(0);
        text += &format!("{name} {host}:{port}@{bus} {myself}master{fail} - 0 0 {epoch} {link}");
        own.iter().for_each(|(first, last, _)| text += &format!(" {first}-{last}"));
        text.push('\n');
    }
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER SLOTS: who serves which. Clients that read this take a node for a primary or for a replica, never for both, so copies are not
/// named here; CLUSTER SHARDS does.
fn slots(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    let mut served: Vec<(u16, u16, &Place)> = Vec::new();
    for range in &view.ranges {
        let Some(place) = range.holders.first().and_then(|id| view.place(*id)) else { continue };
        match served.last_mut() {
            Some((_, last, before)) if *last + 1 == range.first && before.id == place.id => {
                *last = range.last
            }
            _ => served.push((range.first, range.last, place)),
        }
    }
    cx.out.array(served.len());
    for (first, last, place) in served {
        cx.out.array(3);
        cx.out.int(first.into());
        cx.out.int(last.into());
        cx.out.array(4);
        cx.out.bulk(place.host.as_bytes());
        cx.out.int(place.port);
        cx.out.bulk(place.name.as_bytes());
        cx.out.array(0);
    }
    Ok(())
}

/// CLUSTER SHARDS
fn shards(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    let mut shards: Vec<(&[NodeId], Vec<&Range>)> = Vec::new();
    for range in &view.ranges {
        match shards.iter_mut().find(|(holders, _)| *holders == range.holders) {
            Some((_, ranges)) => ranges.push(range),
            None => shards.push((&range.holders, vec![range])),
        }
    }
    let idle = view.places.iter().filter(|place| !view.ranges.iter().any(|r| r.holders.contains(&place.id)));
    shards.extend(idle.map(|place| (std::slice::from_ref(&place.id), Vec::new())));
    let out = &mut *cx.out;
    out.array(shards.len());
    for (holders, ranges) in shards {
        out.map(2);
        out.bulk(b"slots");
        out.array(2 * ranges.len());
        for range in ranges {
            out.int(range.first.into());
            out.int(range.last.into());
        }
        out.bulk(b"nodes");
        let places: Vec<&Place> = holders.iter().filter_map(|id| view.place(*id)).collect();
        out.array(places.len());
        for (at, place) in places.into_iter().enumerate() {
            out.map(7);
            let role = if at == 0 { "master" } else { "replica" };
            let health = if place.is_up && !place.is_doubted { "online" } else { "failed" };
            let texts: [(&str, &str); 3] =
                [("id", &place.name), ("ip", &place.host), ("endpoint", &place.host)];
            for (name, value) in texts.into_iter().chain([("role", role), ("health", health)]) {
                out.bulk(name.as_bytes());
                out.bulk(value.as_bytes());
            }
            out.bulk(b"port");
            out.int(place.port);
            out.bulk(b"replication-offset");
            out.int(0);
        }
    }
    Ok(())
}

/// CLUSTER LINKS: those that carry copies from here to other nodes.
fn links(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (followers, cluster) = (super::replication::followers(cx), &cx.state.cluster);
    cx.out.array(followers.len());
    for Follower { node, feed, .. } in followers {
        // A feed is numbered by when it began.
        let age_ms = cluster.now_ns().saturating_sub(feed.number) / 1_000_000;
        let unsent = feed.unsent_bytes() as i64;
        cx.out.map(6);
        for (name, value) in [("direction", "to"), ("node", &name_of(node))] {
            cx.out.bulk(name.as_bytes());
            cx.out.bulk(value.as_bytes());
        }
        cx.out.bulk(b"create-time");
        cx.out.int(cx.clock.unix_ms - age_ms as i64);
        cx.out.bulk(b"events");
        cx.out.bulk(if unsent > 0 { b"rw" } else { b"r" });
        for name in ["send-buffer-allocated", "send-buffer-used"] {
            cx.out.bulk(name.as_bytes());
            cx.out.int(unsent);
        }
    }
    Ok(())
}

/// CLUSTER REPLICAS node-id
fn replicas(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    let Some(primary) = view.places.iter().find(|place| place.name.as_bytes() == &args[2]) else {
        let name = String::from_utf8_lossy(&args[2]);
        return Err(CmdError::with(format!("ERR Unknown node {name}")));
    };
    let of = |range: &&Range| range.holders.first() == Some(&primary.id);
    let holders = || view.ranges.iter().filter(of).flat_map(|range| &range.holders[1..]);
    let keepers: Vec<&Place> =
        view.places.iter().filter(|place| holders().any(|id| *id == place.id)).collect();
    cx.out.array(keepers.len());
    for place in keepers {
        let Place { id, name, host, port, bus, .. } = place;
        let myself = if *id == view.me { "myself," } else { "" };
        let (fail, link) = place.health();
        let of = &primary.name;
        let line = format!("{name} {host}:{port}@{bus} {myself}slave{fail} {of} 0 0 0 {link}");
        cx.out.bulk(line.as_bytes());
    }
    Ok(())
}

/// CLUSTER KEYSLOT key
fn keyslot(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.out.int(slot(&args[2]).into());
    Ok(())
}

/// CLUSTER COUNTKEYSINSLOT slot
fn countkeysinslot(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let wanted = parse::int(&args[2])?;
    let wanted = u16::try_from(wanted).ok().filter(|slot| *slot < SLOTS);
    let wanted = wanted.ok_or(CmdError::new("ERR Invalid slot"))?;
    let count = keys_of(cx, wanted, usize::MAX).len();
    cx.out.int(count as i64);
    Ok(())
}

/// CLUSTER GETKEYSINSLOT slot count
fn getkeysinslot(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (wanted, count) = (parse::int(&args[2])?, parse::int(&args[3])?);
    let wanted = u16::try_from(wanted).ok().filter(|slot| *slot < SLOTS);
    let (Some(wanted), Ok(count)) = (wanted, usize::try_from(count)) else {
        return Err(CmdError::new("ERR Invalid slot or number of keys"));
    };
    let keys = keys_of(cx, wanted, count);
    cx.out.array(keys.len());
    keys.iter().for_each(|key| cx.out.bulk(key));
    Ok(())
}

/// Up to `count` keys of a slot, in database 0.
fn keys_of(cx: &mut Cx, wanted: u16, count: usize) -> Vec<Box<[u8]>> {
    cx.keys.with_partition((wanted / SLOTS_PER_PARTITION) as u8, |partition| {
        let found = partition.dbs[0].iter().filter(|entry| slot_of(entry) == wanted);
        found.take(count).map(|entry| entry.key().into()).collect()
    })
}

/// CLUSTER HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "CLUSTER",
        &[
            "COPIES <count>",
            "    Have <count> nodes hold each partition, the one that serves it included.",
            "COUNTKEYSINSLOT <slot>",
            "    Return the number of keys in <slot>.",
            "DRAIN <node> [DRYRUN|CANCEL]",
            "    Empty <node>, or tell what that would move, or take it back.",
            "FAILOVER [FORCE|TAKEOVER]",
            "    Have this node take over what it keeps copies of, until REBALANCE.",
            "FORGET <node>",
            "    Take <node>, which is down for good, out of the cluster.",
            "GETKEYSINSLOT <slot> <count>",
            "    Return key names stored by current node in a slot.",
            "INFO",
            "    Return information about the cluster.",
            "KEYSLOT <key>",
            "    Return the hash slot for <key>.",
            "LINKS",
            "    Return information about all network links between this node and its peers.",
            "MOVE <first>-<last> <node> [DRYRUN]",
            "    Have <node> serve these slots until REBALANCE, or tell what that would move.",
            "MYID",
            "    Return the node id.",
            "MYSHARDID",
            "    Return the node's shard id.",
            "NODES",
            "    Return cluster configuration seen by node. Output format:",
            "    <id> <ip:port@bus-port[,hostname]> <flags> <primary> <pings> <pongs> <epoch> <link> <slot> ...",
            "REBALANCE [DRYRUN]",
            "    Spread evenly what was placed by MOVE and FAILOVER, or tell what that would move.",
            "REPLICAS <node-id>",
            "    Return <node-id> replicas.",
            "SLOTS",
            "    Return information about slots range mappings. Each range is made of:",
            "    start, end, and the IP address, port and id of the node that serves it",
            "SHARDS",
            "    Return information about slot range mappings and the nodes associated with them.",
            "STATUS",
            "    Return the nodes and what they hold, for people to read.",
        ],
    );
    Ok(())
}
