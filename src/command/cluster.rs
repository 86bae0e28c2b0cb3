//! CLUSTER: the cluster as cluster-aware clients know it from Redis, and as administrators want to see it.
//!
//! Redis has nodes that are primaries or replicas as a whole; here a node is both, of different partitions. So each serving node
//! counts as a primary with the slots it serves, and CLUSTER SLOTS and SHARDS name those who keep copies of a range as its replicas. A
//! node that is alone shows as a cluster of itself.

use super::error::CmdError;
use super::parse;
use super::server::{container, write_help};
use super::{Command, Cx, Flags, Group, category, command, flag, flags};
use crate::cluster::metadata::{Assignment, Member, Metadata, NodeId, Standing};
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
            sub("cluster|status", 2, status).tips(NONDETERMINISTIC).doc(
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

/// A node as clients see it.
struct Place {
    id: NodeId,
    /// 40 hexadecimal digits.
    name: String,
    host: String,
    port: i64,
    bus: i64,
    is_up: bool,
}

/// Consecutive slots held by the same nodes, the primary first.
struct Range {
    first: u16,
    last: u16,
    epoch: u64,
    holders: Vec<NodeId>,
}

/// The cluster at one moment.
struct View {
    me: NodeId,
    places: Vec<Place>,
    ranges: Vec<Range>,
}

impl View {
    fn of(cx: &Cx) -> View {
        let (host, port) = own_address(cx);
        let cluster = &cx.state.cluster;
        if !cluster.is_on() {
            let bus = cx.state.config.cluster_port().unwrap_or(0).into();
            let place = Place { id: 0, name: cx.state.run_id.clone(), host, port, bus, is_up: true };
            let range = Range { first: 0, last: SLOTS - 1, epoch: 1, holders: vec![0] };
            return View { me: 0, places: vec![place], ranges: vec![range] };
        }
        let (map, me) = (cluster.map(), cluster.me());
        let place = |member: &Member| {
            let (host, port) = if member.id == me {
                (host.clone(), port)
            } else {
                (member.host.clone(), member.port.into())
            };
            let is_up = member.standing != Standing::Down;
            Place {
                id: member.id,
                name: name_of(member.id),
                host,
                port,
                bus: member.cluster_port.into(),
                is_up,
            }
        };
        View { me, places: map.members.values().map(place).collect(), ranges: ranges(&map) }
    }

    fn place(&self, id: NodeId) -> Option<&Place> {
        self.places.iter().find(|place| place.id == id)
    }
}

/// What a node of a cluster is called.
fn name_of(id: NodeId) -> String {
    format!("{id:040x}")
}

fn ranges(map: &Metadata) -> Vec<Range> {
    let mut all: Vec<Range> = Vec::new();
    for (number, assignment) in map.numbered() {
        let first = u16::from(number) * SLOTS_PER_PARTITION;
        let last = first + SLOTS_PER_PARTITION - 1;
        match all.last_mut() {
            Some(range) if range.holders == assignment.in_sync => {
                range.last = last;
                range.epoch = range.epoch.max(assignment.epoch);
            }
            _ => {
                let holders = assignment.in_sync.clone();
                all.push(Range { first, last, epoch: assignment.epoch, holders });
            }
        }
    }
    all
}

/// Where clients reach this node: as announced, or where this one did.
fn own_address(cx: &Cx) -> (String, i64) {
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
    let view = View::of(cx);
    let is_up = |id: &NodeId| view.place(*id).is_some_and(|place| place.is_up);
    let served = |range: &&Range| range.holders.first().is_some_and(is_up);
    let slots: u32 = view.ranges.iter().filter(served).map(|r| u32::from(r.last - r.first) + 1).sum();
    let serving =
        view.places.iter().filter(|place| view.ranges.iter().any(|r| r.holders.first() == Some(&place.id)));
    let epoch = view.ranges.iter().map(|range| range.epoch).max().unwrap_or(0);
    let text = format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{slots}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\n\
         cluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        if slots == u32::from(SLOTS) { "ok" } else { "fail" },
        u32::from(SLOTS) - slots,
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
        let own = || view.ranges.iter().filter(|range| range.holders.first() == Some(&place.id));
        let myself = if place.id == view.me { "myself," } else { "" };
        let (fail, link) = if place.is_up { ("", "connected") } else { (",fail", "disconnected") };
        let Place { name, host, port, bus, .. } = place;
        let epoch = own().map(|range| range.epoch).max().unwrap_or(0);
        text += &format!("{name} {host}:{port}@{bus} {myself}master{fail} - 0 0 {epoch} {link}");
        own().for_each(|range| text += &format!(" {}-{}", range.first, range.last));
        text.push('\n');
    }
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER SLOTS
fn slots(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    cx.out.array(view.ranges.len());
    for range in &view.ranges {
        let holders: Vec<&Place> = range.holders.iter().filter_map(|id| view.place(*id)).collect();
        cx.out.array(2 + holders.len());
        cx.out.int(range.first.into());
        cx.out.int(range.last.into());
        for place in holders {
            cx.out.array(4);
            cx.out.bulk(place.host.as_bytes());
            cx.out.int(place.port);
            cx.out.bulk(place.name.as_bytes());
            cx.out.array(0);
        }
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
            let health = if place.is_up { "online" } else { "failed" };
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

/// CLUSTER STATUS: the cluster on one screen, for people.
fn status(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let cluster = &cx.state.cluster;
    if !cluster.is_on() {
        cx.out.verbatim(*b"txt", b"alone: no other node has joined this one; it serves all 256 partitions\n");
        return Ok(());
    }
    let map = cluster.map();
    let mut text = format!(
        "cluster {:016x}, version {} of its map; this is node {:016x}, whose lease lasts {} ms\n\n",
        map.cluster,
        map.version,
        cluster.me(),
        cluster.lease_left_ms(),
    );
    text += "node              address                zone        standing  serves  copies  joining\n";
    for member in map.members.values() {
        let count =
            |counts: &dyn Fn(&Assignment) -> bool| map.partitions.iter().filter(|a| counts(a)).count();
        let standing = match (member.witness, member.standing) {
            (true, Standing::Up) => "witness",
            (_, Standing::Up) => "up",
            (_, Standing::Down) => "DOWN",
            (_, Standing::Draining) => "draining",
        };
        text += &format!(
            "{:016x}  {:<21}  {:<10}  {:<8}  {:>6}  {:>6}  {:>7}\n",
            member.id,
            format!("{}:{}", member.host, member.port),
            if member.zone.is_empty() { "-" } else { &member.zone },
            standing,
            count(&|a| a.primary() == Some(member.id)),
            count(&|a| a.replicas().contains(&member.id)),
            count(&|a| a.joining.contains(&member.id)),
        );
    }
    let homes = map.members.values().filter(|m| m.standing != Standing::Down && !m.witness).count();
    let wanted = map.copies.min(homes.max(1));
    let short = map.partitions.iter().filter(|a| a.in_sync.len() < map.copies).count();
    let moving = map.partitions.iter().filter(|a| !a.joining.is_empty() || a.hand_over.is_some()).count();
    let silent = map.partitions.iter().filter(|a| a.primary().is_none_or(|p| !map.serves(p))).count();
    text += &format!(
        "\npartitions: 256, of {} copies each ({wanted} possible now); {short} with fewer, {moving} moving or being copied, \
         {silent} that nobody serves\n",
        map.copies
    );
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER LINKS
fn links(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.array(0);
    Ok(())
}

/// CLUSTER REPLICAS node-id
fn replicas(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let view = View::of(cx);
    if !view.places.iter().any(|place| place.name.as_bytes() == &args[2]) {
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
            "STATUS",
            "    Return the nodes and what they hold, for people to read.",
        ],
    );
    Ok(())
}
