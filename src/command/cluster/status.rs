//! CLUSTER STATUS: the cluster on one screen, for people.

use super::view::slots_text;
use crate::cluster::metadata::{Assignment, Member, Metadata, NodeId, Standing};
use crate::command::Cx;
use crate::command::error::CmdError;
use crate::command::replication::{Follower, followers};
use shoal_protocol::resp::Args;

/// CLUSTER STATUS
pub fn status(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let cluster = &cx.state.cluster;
    if !cluster.is_on() {
        cx.out.verbatim(*b"txt", b"alone: no other node has joined this one; it serves all 256 partitions\n");
        return Ok(());
    }
    let (map, me, leader) = (cluster.map(), cluster.me(), cluster.leader());
    let lease_ms = cluster.lease_left_ms();
    let followers = followers(cx);
    let leader = leader.map_or_else(|| "nobody at present".to_string(), |leader| address(&map, leader));
    let mut text = format!(
        "cluster {:016x}, version {} of its map, led by {leader}; this is node {me:016x}, whose lease lasts {lease_ms} ms\n\n",
        map.cluster, map.version
    );
    members(&map, &followers, &mut text);
    partitions(&map, &mut text);
    placed(&map, &mut text);
    drained(&map, &mut text);
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
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
fn members(map: &Metadata, followers: &[Follower], text: &mut String) {
    *text += "node              address                zone        standing  serves  copies  joining  records under way\n";
    for member in map.members.values() {
        let standing = match (member.witness, member.standing) {
            (true, Standing::Up) => "witness",
            (_, Standing::Up) => "up",
            (_, Standing::Down) => "DOWN",
            (_, Standing::Draining) => "draining",
        };
        let behind = followers.iter().find(|follower| follower.node == member.id);
        *text += &format!(
            "{:016x}  {:<21}  {:<10}  {:<8}  {:>6}  {:>6}  {:>7}  {}\n",
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
    let homes = map.members.values().filter(|m| m.standing != Standing::Down && !m.witness).count();
    let wanted = map.copies.min(homes.max(1));
    let moving = count(map, |a| !a.joining.is_empty() || a.hand_over.is_some());
    *text += &format!(
        "\npartitions: 256, of {} copies each ({wanted} possible now); {} with fewer, {moving} moving or being copied, \
         {} that nobody serves\n",
        map.copies,
        count(map, |a| a.in_sync.len() < map.copies),
        count(map, |a| is_silent(map, a)),
    );
    let mut list = |what: &str, is: &dyn Fn(&Assignment) -> bool| {
        let numbers: Vec<u8> = map.numbered().filter(|(_, a)| is(a)).map(|(number, _)| number).collect();
        if !numbers.is_empty() {
            *text += &format!("{what}: slots {}\n", slots_text(numbers));
        }
    };
    list("degraded, with one copy left", &|a| map.copies > 1 && a.in_sync.len() == 1 && !is_silent(map, a));
    list("served by nobody", &|a| is_silent(map, a));
}

fn is_silent(map: &Metadata, assignment: &Assignment) -> bool {
    assignment.primary().is_none_or(|primary| !map.serves(primary))
}

fn placed(map: &Metadata, text: &mut String) {
    if map.pins.is_empty() {
        return;
    }
    let there = map.pins.iter().filter(|(number, node)| map.primary(**number) == Some(**node)).count();
    *text += &format!("placed by hand: {} partitions, {there} of them there by now\n", map.pins.len());
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
