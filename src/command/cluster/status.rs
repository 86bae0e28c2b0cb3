//! CLUSTER STATUS: the cluster on one screen, for people.
//!
//! It is answered at once from what this node knows. Where most voters are gone that is how things stood, which is said first, with
//! what the node found out since.

use super::view::slots_text;
use crate::cluster::metadata::{Assignment, Member, Metadata, NodeId, Standing};
use crate::command::Cx;
use crate::command::error::CmdError;
use crate::command::replication::{Follower, followers};
use crate::state::cluster::Cluster;
use crate::state::contact::Failure;
use shoal_protocol::resp::Args;
use std::collections::{BTreeMap, BTreeSet};

/// CLUSTER STATUS
pub fn status(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let cluster = &cx.state.cluster;
    if !cluster.is_on() {
        cx.out.verbatim(*b"txt", b"alone: no other node has joined this one; it serves all 256 partitions\n");
        return Ok(());
    }
    let (map, me, leader) = (cluster.map(), cluster.me(), cluster.leader());
    let mut text = String::new();
    if map.is_founded() {
        let leader = leader.map_or_else(|| "nobody at present".to_string(), |leader| address(&map, leader));
        text +=
            &format!("cluster {:016x}, version {} of its map, led by {leader}; ", map.cluster, map.version);
    }
    text += &format!("this is node {me:016x}");
    if cluster.has_lease() {
        text += &format!(", whose lease lasts {} ms", cluster.lease_left_ms());
    }
    text.push('\n');
    let mut unreached = cluster.contact.unreached(cluster.now_ns());
    unreached.retain(|node, _| map.members.contains_key(node));
    troubles(cluster, &map, &unreached, &mut text);
    if map.is_founded() {
        let is_leased = cluster.has_lease();
        let followers = followers(cx);
        text.push('\n');
        members(&map, &followers, |node| !is_leased && unreached.contains_key(&node), &mut text);
        partitions(&map, &mut text);
        placed(&map, &mut text);
        drained(&map, &mut text);
        gone(&map, &mut text);
    }
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// What keeps this node from serving, whom it cannot reach, and what can be done.
fn troubles(cluster: &Cluster, map: &Metadata, unreached: &BTreeMap<NodeId, Failure>, text: &mut String) {
    let since = |ns: u64| format!("{:.1} s", cluster.now_ns().saturating_sub(ns) as f64 / 1e9);
    if let Some(search) = cluster.contact.search() {
        *text += &format!(
            "\nWAITING TO BE LET IN for {}: it serves nothing until then. It asks {}\nthe last answer: {}\n",
            since(search.since_ns),
            if search.asks.is_empty() { "nobody: it knows no other member" } else { &search.asks },
            if search.why.is_empty() { "none yet" } else { &search.why },
        );
    } else if let Some(ms) = cluster.unleased_ms() {
        *text += &format!(
            "\nNO LEASE for {:.1} s: this node serves nothing, as it hears of no leader that most voters follow ({}).\n\
             It goes on by itself once most of them can be reached: start those again that ended, with the same dir. \
             What is below is how things stood.\n",
            ms as f64 / 1e3,
            cluster.contact.refusal(),
        );
    }
    for (node, failure) in unreached {
        *text += &format!(
            "not reached: node {}, for {}: {}\n",
            map.name(*node),
            since(failure.since_ns),
            failure.why
        );
    }
}

fn address(map: &Metadata, node: NodeId) -> String {
    map.members
        .get(&node)
        .map_or_else(|| format!("{node:016x}"), |member| format!("{}:{}", member.host, member.port))
}

fn count(map: &Metadata, counts: impl Fn(&Assignment) -> bool) -> usize {
    map.partitions.iter().filter(|assignment| counts(assignment)).count()
}

/// A line per member. What is under way is known of the copies that this node feeds.
fn members(map: &Metadata, followers: &[Follower], is_doubted: impl Fn(NodeId) -> bool, text: &mut String) {
    *text += "node              address                zone        standing   serves  copies  joining  records under way\n";
    for member in map.members.values() {
        let standing = match (member.witness, member.standing) {
            _ if is_doubted(member.id) => "unreached",
            (true, Standing::Up) => "witness",
            (_, Standing::Up) => "up",
            (_, Standing::Down) => "DOWN",
            (_, Standing::Draining) => "draining",
        };
        let behind = followers.iter().find(|follower| follower.node == member.id);
        *text += &format!(
            "{:016x}  {:<21}  {:<10}  {:<9}  {:>6}  {:>6}  {:>7}  {}\n",
            member.id,
            format!("{}:{}", member.host, member.port),
            if member.zone.is_empty() { "-" } else { &member.zone },
            standing,
            count(map, |a| a.primary() == Some(member.id)),
            count(map, |a| a.replicas().contains(&member.id)),
            count(map, |a| a.joining.contains(&member.id)),
            behind.map_or_else(|| "-".to_string(), |follower| follower.feed.behind().to_string()),
        );
    }
}

fn partitions(map: &Metadata, text: &mut String) {
    let homes = map.homes().count();
    *text += &format!(
        "\npartitions: 256, of {} copies each ({} possible now); {} with fewer, {} moving or being copied, \
         {} that nobody serves\n",
        map.copies,
        map.copies.min(homes.max(1)),
        count(map, |a| a.in_sync.len() < map.copies),
        map.moving(),
        (0..=u8::MAX).filter(|partition| map.is_unserved(*partition)).count(),
    );
    if map.copies > homes {
        *text += &format!(
            "{} copies are wanted of each partition, but {homes} nodes can hold any: {} are missing until more nodes join, or come back\n",
            map.copies,
            (map.copies - homes) * map.partitions.len(),
        );
    }
    let mut list = |what: &str, is: &dyn Fn(u8, &Assignment) -> bool| {
        let numbers: Vec<u8> =
            map.numbered().filter(|(number, a)| is(*number, a)).map(|(number, _)| number).collect();
        if !numbers.is_empty() {
            *text += &format!("{what}: slots {}\n", slots_text(numbers));
        }
    };
    list("degraded, with one copy left", &|number, a| {
        map.copies > 1 && a.in_sync.len() == 1 && !map.is_unserved(number)
    });
    let silent = || map.numbered().filter(|(number, _)| map.is_unserved(*number)).map(|(_, a)| &a.in_sync);
    for holders in silent().collect::<BTreeSet<_>>() {
        let names: Vec<String> = holders.iter().map(|node| map.name(*node)).collect();
        let what = format!("served by nobody, as all copies are at {}", names.join(" and "));
        list(&what, &|number, a| map.is_unserved(number) && a.in_sync == *holders);
    }
    if silent().next().is_some() {
        *text += "they are served again once such a node is back, and begin anew, empty, once all are silent for 30 seconds; \
                  CLUSTER FORGET node FORCE has them begin anew at once\n";
    }
}

fn placed(map: &Metadata, text: &mut String) {
    if map.pins.is_empty() {
        return;
    }
    let there = map.pins.iter().filter(|(number, node)| map.primary(**number) == Some(**node)).count();
    *text += &format!("placed by hand: {} partitions, {there} of them there by now\n", map.pins.len());
}

/// Those that are down and have nothing any more, as others have it: they may come back, but need not.
fn gone(map: &Metadata, text: &mut String) {
    let is_gone =
        |member: &&Member| member.standing == Standing::Down && count(map, |a| a.involves(member.id)) == 0;
    for member in map.members.values().filter(is_gone) {
        let again = |other: &&Member| {
            other.id != member.id && (&other.host, other.port) == (&member.host, member.port)
        };
        let successor = map.members.values().find(again).map_or_else(String::new, |other| {
            format!(", and {:016x} is at its address, as a node is that comes back without its dir", other.id)
        });
        *text += &format!(
            "down: node {} holds nothing any more{successor}; if it does not come back: CLUSTER FORGET {:016x}\n",
            member.name(),
            member.id
        );
    }
}

fn drained(map: &Metadata, text: &mut String) {
    let is_draining = |member: &&Member| member.standing == Standing::Draining;
    for member in map.members.values().filter(is_draining) {
        let serves = count(map, |a| a.primary() == Some(member.id));
        let holds = count(map, |a| a.involves(member.id)) - serves;
        let address = address(map, member.id);
        *text += &if serves + holds == 0 {
            format!("drained: {address} holds nothing any more and may be stopped\n")
        } else {
            format!(
                "draining: {address} has {serves} partitions to hand over and {holds} copies to give up\n"
            )
        };
    }
}
