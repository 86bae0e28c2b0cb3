//! CLUSTER as a node answers that owns all slots by itself, and what cluster-aware clients send along.

use super::error::CmdError;
use super::parse;
use super::server::{container, write_help};
use super::{Command, Cx, Flags, Group, category, command, flag, flags};
use crate::config::id;
use crate::state::clients::client_flag;
use crate::state::partition::{SLOTS, SLOTS_PER_PARTITION, slot, slot_of};
use crate::store::table::Keyed;
use shoal_protocol::resp::Args;

const STALE: Flags = flag::STALE;
const PLAIN: Flags = flags([flag::LOADING, flag::STALE, flag::FAST]);
const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

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
            sub("cluster|countkeysinslot", 3, countkeysinslot).flags(STALE.or(flag::WHOLE)).doc(
                "3.0.0",
                "slot",
                "Returns the number of keys in a hash slot.",
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
            sub("cluster|links", 2, links).tips(NONDETERMINISTIC).doc(
                "7.0.0",
                "",
                "Returns a list of all TCP links to and from peer nodes.",
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
            sub("cluster|replicas", 3, replicas).flags(STALE.or(flag::ADMIN)).tips(NONDETERMINISTIC).doc(
                "5.0.0",
                "node-id",
                "Lists the replica nodes of a master node.",
            ),
            sub("cluster|shards", 2, shards).tips(NONDETERMINISTIC).doc(
                "7.0.0",
                "",
                "Returns the mapping of cluster slots to shards.",
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

/// Where clients reach this node: as announced, or where this one did.
fn address(cx: &Cx) -> (String, i64) {
    let config = &cx.state.config;
    let (host, port) = cx.client.shared.laddr.rsplit_once(':').unwrap_or(("127.0.0.1", "0"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let announced = config.text(id::CLUSTER_ANNOUNCE_IP);
    let host = if announced.is_empty() { host } else { &*announced };
    let port = match config.int(id::CLUSTER_ANNOUNCE_PORT) {
        0 => port.parse().ok().filter(|port| *port > 0).unwrap_or(config.int(id::PORT)),
        port => port,
    };
    (host.to_string(), port)
}

/// CLUSTER INFO
fn info(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let text = format!(
        "cluster_state:ok\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\n\
         cluster_current_epoch:1\r\ncluster_my_epoch:1\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n"
    );
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER MYID, CLUSTER MYSHARDID
fn myid(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.bulk(cx.state.run_id.as_bytes());
    Ok(())
}

/// CLUSTER NODES
fn nodes(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (host, port) = address(cx);
    let bus = cx.state.config.cluster_port().unwrap_or(0);
    let text =
        format!("{} {host}:{port}@{bus} myself,master - 0 0 1 connected 0-{}\n", cx.state.run_id, SLOTS - 1);
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER SLOTS
fn slots(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (host, port) = address(cx);
    cx.out.array(1);
    cx.out.array(3);
    cx.out.int(0);
    cx.out.int(i64::from(SLOTS) - 1);
    cx.out.array(4);
    cx.out.bulk(host.as_bytes());
    cx.out.int(port);
    cx.out.bulk(cx.state.run_id.as_bytes());
    cx.out.array(0);
    Ok(())
}

/// CLUSTER SHARDS
fn shards(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (host, port) = address(cx);
    let out = &mut *cx.out;
    out.array(1);
    out.map(2);
    out.bulk(b"slots");
    out.array(2);
    out.int(0);
    out.int(i64::from(SLOTS) - 1);
    out.bulk(b"nodes");
    out.array(1);
    out.map(7);
    let texts: [(&str, &str); 3] = [("id", &cx.state.run_id), ("ip", &host), ("endpoint", &host)];
    for (name, value) in texts.into_iter().chain([("role", "master"), ("health", "online")]) {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    out.bulk(b"port");
    out.int(port);
    out.bulk(b"replication-offset");
    out.int(0);
    Ok(())
}

/// CLUSTER LINKS
fn links(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.array(0);
    Ok(())
}

/// CLUSTER REPLICAS node-id
fn replicas(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args[2] != *cx.state.run_id.as_bytes() {
        let name = String::from_utf8_lossy(&args[2]);
        return Err(CmdError::with(format!("ERR Unknown node {name}")));
    }
    cx.out.array(0);
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
            "COUNTKEYSINSLOT <slot>",
            "    Return the number of keys in <slot>.",
            "GETKEYSINSLOT <slot> <count>",
            "    Return key names stored by current node in a slot.",
            "INFO",
            "    Return information about the cluster.",
            "KEYSLOT <key>",
            "    Return the hash slot for <key>.",
            "LINKS",
            "    Return information about all network links between this node and its peers.",
            "MYID",
            "    Return the node id.",
            "MYSHARDID",
            "    Return the node's shard id.",
            "NODES",
            "    Return cluster configuration seen by node. Output format:",
            "    <id> <ip:port@bus-port[,hostname]> <flags> <primary> <pings> <pongs> <epoch> <link> <slot> ...",
            "REPLICAS <node-id>",
            "    Return <node-id> replicas.",
            "SLOTS",
            "    Return information about slots range mappings. Each range is made of:",
            "    start, end, primary and replicas IP addresses, ports and ids",
            "SHARDS",
            "    Return information about slot range mappings and the nodes associated with them.",
        ],
    );
    Ok(())
}
