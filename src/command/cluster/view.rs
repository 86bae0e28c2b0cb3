//! The cluster as its nodes tell of it: members with the addresses clients reach them at, and who holds which slots.

use crate::cluster::metadata::{Member, Metadata, NodeId, Standing};
use crate::command::Cx;
use crate::command::error::CmdError;
use crate::config::id;
use crate::state::partition::{SLOTS, SLOTS_PER_PARTITION};

/// A node as clients see it.
pub struct Place {
    /// Its name in the metadata; 0 for a node that is alone.
    pub id: NodeId,
    /// Its name: 40 hexadecimal digits.
    pub name: String,
    /// The host clients reach it at.
    pub host: String,
    /// The port for RESP.
    pub port: i64,
    /// The port for other nodes.
    pub bus: i64,
    /// Whether it is believed to serve.
    pub is_up: bool,
    /// Whether it cannot be reached, and nobody is there to agree on that.
    pub is_doubted: bool,
}

impl Place {
    /// Its flag and the state of the link to it, as CLUSTER NODES has them.
    pub fn health(&self) -> (&'static str, &'static str) {
        match (self.is_up, self.is_doubted) {
            (false, _) => (",fail", "disconnected"),
            (true, true) => (",fail?", "disconnected"),
            (true, false) => ("", "connected"),
        }
    }
}

/// Consecutive slots held by the same nodes.
#[derive(Clone)]
pub struct Range {
    /// The first slot.
    pub first: u16,
    /// The last slot, included.
    pub last: u16,
    /// The highest epoch of its partitions.
    pub epoch: u64,
    /// Those who have all of it, the primary first.
    pub holders: Vec<NodeId>,
}

/// The cluster at one moment.
pub struct View {
    /// The node that is asked.
    pub me: NodeId,
    /// All nodes.
    pub places: Vec<Place>,
    /// All slots.
    pub ranges: Vec<Range>,
    /// Whether the node that is asked serves anything: one that hears of no leader does not, whatever the map says.
    pub is_leased: bool,
}

impl View {
    /// The cluster as the node knows it that runs the command.
    pub fn of(cx: &Cx) -> View {
        let (host, port) = own_address(cx);
        let cluster = &cx.state.cluster;
        if !cluster.is_on() {
            let bus = cx.state.config.cluster_port().unwrap_or(0).into();
            let place = Place {
                id: 0,
                name: cx.state.run_id.clone(),
                host,
                port,
                bus,
                is_up: true,
                is_doubted: false,
            };
            let range = Range { first: 0, last: SLOTS - 1, epoch: 1, holders: vec![0] };
            return View { me: 0, places: vec![place], ranges: vec![range], is_leased: true };
        }
        let (map, me, is_leased) = (cluster.map(), cluster.me(), cluster.has_lease());
        let unreached =
            if is_leased { Default::default() } else { cluster.contact.unreached(cluster.now_ns()) };
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
                is_doubted: unreached.contains_key(&member.id),
            }
        };
        View { me, places: map.members.values().map(place).collect(), ranges: ranges(&map), is_leased }
    }

    /// What is known of a node.
    pub fn place(&self, id: NodeId) -> Option<&Place> {
        self.places.iter().find(|place| place.id == id)
    }

    /// The slots that `node` serves, as few ranges as possible: first, last, epoch.
    pub fn served_by(&self, node: NodeId) -> Vec<(u16, u16, u64)> {
        let mut served: Vec<(u16, u16, u64)> = Vec::new();
        for range in self.ranges.iter().filter(|range| range.holders.first() == Some(&node)) {
            match served.last_mut() {
                Some((_, last, epoch)) if *last + 1 == range.first => {
                    (*last, *epoch) = (range.last, range.epoch.max(*epoch));
                }
                _ => served.push((range.first, range.last, range.epoch)),
            }
        }
        served
    }
}

/// What a node of a cluster is called: 40 hexadecimal digits.
pub fn name_of(id: NodeId) -> String {
    format!("{id:040x}")
}

/// The member that an administrator names: by its name, with or without the zeros before it, or by its client address. One that lost its
/// `dir` comes back under another name at the same address: that is the one meant, unless `is_gone` asks for one that is down.
pub fn find_one(map: &Metadata, name: &[u8], is_gone: bool) -> Result<NodeId, CmdError> {
    let text = String::from_utf8_lossy(name);
    let by_address = |member: &&Member| format!("{}:{}", member.host, member.port) == text;
    let by_name = || match text.len() {
        16 | 40 => NodeId::from_str_radix(&text, 16).ok().filter(|id| map.members.contains_key(id)),
        _ => None,
    };
    let likely = |member: &&Member| (member.standing == Standing::Down) != is_gone;
    let found =
        by_name().or_else(|| map.members.values().filter(by_address).min_by_key(likely).map(|m| m.id));
    found.ok_or_else(|| CmdError::with(format!("ERR Unknown node {text}")))
}

/// The member that an administrator names, as [`find_one`] of those that are up.
pub fn find(map: &Metadata, name: &[u8]) -> Result<NodeId, CmdError> {
    find_one(map, name, false)
}

/// The first and the last slot of a partition.
pub fn slots_of(partition: u8) -> (u16, u16) {
    let first = u16::from(partition) * SLOTS_PER_PARTITION;
    (first, first + SLOTS_PER_PARTITION - 1)
}

/// Slots as few ranges as possible, like `0-127 256-319`; partitions come in ascending order.
pub fn slots_text(partitions: impl IntoIterator<Item = u8>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for (first, last) in partitions.into_iter().map(slots_of) {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => ranges.push((first, last)),
        }
    }
    let texts: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    texts.join(" ")
}

fn ranges(map: &Metadata) -> Vec<Range> {
    let mut all: Vec<Range> = Vec::new();
    for (number, assignment) in map.numbered() {
        let (first, last) = slots_of(number);
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
