//! CLUSTER: the cluster as cluster-aware clients know it from Redis, and as administrators want to see it.
//!
//! Redis has nodes that are primaries or replicas as a whole; here a node is both, of different partitions. So each serving node
//! counts as a primary with the slots it serves, and CLUSTER SHARDS and REPLICAS name those who keep copies of them as its replicas. A
//! node that is alone shows as a cluster of itself.

mod admin;
mod slots;
mod status;
pub mod view;

use super::error::CmdError;
use super::replication::Follower;
use super::server::{container, write_help};
use super::{Command, Cx, Flags, Group, category, command, flag, flags, spec};
use crate::cluster::metadata::NodeId;
use crate::config::id;
use crate::state::State;
use crate::state::clients::client_flag;
use crate::state::partition::{SLOTS, slot};
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

/// What there is no need for.
const fn unused(name: &'static str, arity: i32, since: &'static str, syntax: &'static str) -> Command {
    const SUMMARY: &str = "Refuses: nodes agree on who serves what by themselves.";
    sub(name, arity, unsupported)
        .flags(flags([flag::ADMIN, STALE, flag::NO_ASYNC_LOADING]))
        .doc(since, syntax, SUMMARY)
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
            unused("cluster|addslots", -3, "3.0.0", "slot [slot ...]"),
            unused("cluster|addslotsrange", -4, "7.0.0", "start-slot end-slot [start-slot end-slot ...]"),
            unused("cluster|bumpepoch", 2, "3.0.0", "").tips(NONDETERMINISTIC),
            unused("cluster|cancelslotmigrations", 2, "9.0.0", ""),
            sub("cluster|copies", 3, admin::copies).flags(STEERING).doc(
                "7.2.0",
                "count",
                "Sets how many nodes hold each partition.",
            ),
            sub("cluster|count-failure-reports", 3, count_failure_reports)
                .flags(STALE.or(flag::ADMIN))
                .tips(NONDETERMINISTIC)
                .doc("3.0.0", "node-id", "Returns the number of active failure reports active for a node."),
            sub("cluster|countkeysinslot", 3, slots::countkeysinslot).flags(STALE.or(flag::WHOLE)).doc(
                "3.0.0",
                "slot",
                "Returns the number of keys in a hash slot.",
            ),
            unused("cluster|delslots", -3, "3.0.0", "slot [slot ...]"),
            unused("cluster|delslotsrange", -4, "7.0.0", "start-slot end-slot [start-slot end-slot ...]"),
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
            unused("cluster|flushslot", -3, "9.0.0", "slot [ASYNC | SYNC]"),
            unused("cluster|flushslots", 2, "3.0.0", ""),
            sub("cluster|forget", -3, admin::forget).flags(STEERING).doc(
                "3.0.0",
                "node-id [FORCE]",
                "Takes a node that is gone for good out of the cluster.",
            ),
            sub("cluster|getkeysinslot", 4, slots::getkeysinslot)
                .flags(STALE.or(flag::WHOLE))
                .tips(NONDETERMINISTIC)
                .doc("3.0.0", "slot count", "Returns the key names in a hash slot."),
            sub("cluster|getslotmigrations", 2, getslotmigrations)
                .flags(flags([flag::ADMIN, STALE, flag::NO_ASYNC_LOADING]))
                .doc("9.0.0", "", "Returns the slots that are on their way to another node."),
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
            unused("cluster|meet", -4, "3.0.0", "ip port [cluster-bus-port]"),
            unused(
                "cluster|migrateslots",
                -4,
                "9.0.0",
                "SLOTSRANGE start-slot end-slot [start-slot end-slot ...] NODE node-id",
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
            unused("cluster|replicate", 3, "3.0.0", "node-id"),
            sub("cluster|replicas", 3, replicas).flags(STALE.or(flag::ADMIN)).tips(NONDETERMINISTIC).doc(
                "5.0.0",
                "node-id",
                "Lists the replica nodes of a master node.",
            ),
            sub("cluster|reset", -2, admin::reset)
                .flags(flags([flag::ADMIN, flag::STALE, flag::NOSCRIPT]))
                .doc("3.0.0", "[HARD | SOFT]", "Resets a node."),
            sub("cluster|saveconfig", 2, saveconfig)
                .flags(flags([flag::ADMIN, STALE, flag::NO_ASYNC_LOADING]))
                .doc("3.0.0", "", "Forces a node to save the cluster configuration to disk."),
            unused("cluster|set-config-epoch", 3, "3.0.0", "config-epoch"),
            unused(
                "cluster|setslot",
                -4,
                "3.0.0",
                "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
            ),
            sub("cluster|shards", 2, shards).tips(NONDETERMINISTIC).doc(
                "7.0.0",
                "",
                "Returns the mapping of cluster slots to shards.",
            ),
            sub("cluster|slaves", 3, replicas).flags(STALE.or(flag::ADMIN)).tips(NONDETERMINISTIC).doc(
                "3.0.0",
                "node-id",
                "Lists the replica nodes of a master node.",
            ),
            sub("cluster|slot-stats", -4, slots::slot_stats)
                .flags(flags([flag::LOADING, STALE, flag::WHOLE]))
                .tips(&["nondeterministic_output", "request_policy:all_shards"])
                .doc(
                    "8.0.0",
                    "<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>",
                    "Returns how many keys the slots that a node serves have.",
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
            unused("cluster|syncslots", -3, "9.0.0", "argument [argument ...]"),
        ]),
    command("clusterscan", -2, Group::Cluster, slots::clusterscan)
        .flags(flag::READONLY)
        .keys(spec::NOT_KEYS)
        .categories(category::KEYSPACE)
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .doc(
            "9.1.0",
            "cursor [MATCH pattern] [COUNT count] [TYPE type] [SLOT slot]",
            "Iterates over the keys in the cluster.",
        ),
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

/// CLUSTER COUNT-FAILURE-REPORTS node-id: who is down is judged by one node, the leader, so there are none to count.
fn count_failure_reports(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    if !view.places.iter().any(|place| place.name.as_bytes() == &args[2]) {
        let name = String::from_utf8_lossy(&args[2]);
        return Err(CmdError::with(format!("ERR Unknown node {name}")));
    }
    cx.out.int(0);
    Ok(())
}

/// CLUSTER SAVECONFIG: what nodes agree on is on their disks before it holds.
fn saveconfig(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.ok();
    Ok(())
}

/// CLUSTER GETSLOTMIGRATIONS: partitions move, which CLUSTER STATUS tells of; slots by themselves never do.
fn getslotmigrations(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.array(0);
    Ok(())
}

/// What Redis' administrators do by hand and nodes here agree on by themselves.
fn unsupported(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let name = cx.command.name.replace('|', " ").to_ascii_uppercase();
    Err(CmdError::with(format!(
        "ERR {name} is not supported: nodes join by --join, and slots are placed by CLUSTER MOVE and CLUSTER FAILOVER"
    )))
}

/// CLUSTER HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "CLUSTER",
        &[
            "COPIES <count>",
            "    Have <count> nodes hold each partition, the one that serves it included.",
            "COUNT-FAILURE-REPORTS <node-id>",
            "    Return 0: who is down is judged by one node.",
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
            "GETSLOTMIGRATIONS",
            "    Return nothing: STATUS tells what moves.",
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
            "SAVECONFIG",
            "    Accepted; what nodes agree on is saved at once.",
            "SLAVES <node-id>",
            "    Like REPLICAS.",
            "SLOT-STATS SLOTSRANGE <start-slot> <end-slot>",
            "SLOT-STATS ORDERBY key-count [LIMIT <limit>] [ASC|DESC]",
            "    Return how many keys the slots served by this node have.",
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
