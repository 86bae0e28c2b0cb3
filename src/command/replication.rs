//! Replication as Redis's commands see it. A node is never a replica as a whole: it counts as a primary, and the nodes that keep
//! copies of what it serves as its replicas. What copies there are is the cluster's business; nothing here changes it.

use super::blocking::{self, Nothing, Timeout};
use super::client::{Counting, Waiting};
use super::error::{self, CmdError};
use super::parse;
use super::{Command, Cx, Group, category, command, flag, flags};
use crate::cluster::metadata::NodeId;
use crate::state::replication::Feed;
use crate::text::number::parse_i64;
use shoal_protocol::resp::Args;
use std::sync::Arc;

const REPLICAOF: super::Flags = flags([flag::ADMIN, flag::NOSCRIPT, flag::STALE, flag::NO_ASYNC_LOADING]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("failover", -1, Group::Server, failover)
        .flags(flags([flag::ADMIN, flag::NOSCRIPT, flag::STALE]))
        .doc(
            "6.2.0",
            "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
            "Refuses: there are no replicas to hand over to.",
        ),
    command("replicaof", 3, Group::Server, replicaof).flags(REPLICAOF).doc(
        "5.0.0",
        "<host port | NO ONE>",
        "Accepts NO ONE; a node gets copies by joining a cluster.",
    ),
    command("role", 1, Group::Server, role)
        .flags(flags([flag::NOSCRIPT, flag::LOADING, flag::STALE, flag::FAST, flag::WHOLE]))
        .categories(category::ADMIN.or(category::DANGEROUS))
        .doc("2.8.12", "", "Returns the replication role."),
    command("slaveof", 3, Group::Server, replicaof).flags(REPLICAOF).doc(
        "1.0.0",
        "<host port | NO ONE>",
        "Accepts NO ONE; a node gets copies by joining a cluster.",
    ),
    command("wait", 3, Group::Generic, wait)
        .flags(flag::BLOCKING)
        .categories(category::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "3.0.0",
            "numreplicas timeout",
            "Blocks until so many replicas have all earlier writes of the connection, or the time is up.",
        ),
    command("waitaof", 4, Group::Generic, waitaof)
        .flags(flag::BLOCKING)
        .categories(category::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "7.2.0",
            "numlocal numreplicas timeout",
            "Blocks until all earlier writes of the connection are on so many disks, or the time is up.",
        ),
];

/// A node that keeps copies of what this one serves.
pub struct Follower {
    /// Which one.
    pub node: NodeId,
    /// The way there.
    pub feed: Arc<Feed>,
    /// Partitions that it has all of.
    pub in_sync: usize,
    /// Partitions that it is being given.
    pub joining: usize,
}

/// The nodes that keep copies of what this one serves. Visits all partitions.
pub fn followers(cx: &mut Cx) -> Vec<Follower> {
    let mut all: Vec<Follower> = Vec::new();
    if !cx.state.cluster.is_on() {
        return all;
    }
    cx.keys.look_at_each(|partition| {
        let sinks = partition.replication.as_ref().map_or(&[][..], |own| &own.sinks);
        for sink in sinks {
            let at = all.iter().position(|known| Arc::ptr_eq(&known.feed, &sink.feed)).unwrap_or_else(|| {
                let (node, feed) = (sink.feed.node, Arc::clone(&sink.feed));
                all.push(Follower { node, feed, in_sync: 0, joining: 0 });
                all.len() - 1
            });
            all[at].in_sync += usize::from(sink.in_sync);
            all[at].joining += usize::from(!sink.in_sync);
        }
    });
    all.sort_by_key(|follower| follower.node);
    all
}

/// A follower as Redis tells of a replica.
pub struct Replica {
    /// Where clients reach it.
    pub host: String,
    /// The port for RESP.
    pub port: u16,
    /// Whether it has all of every partition that it keeps.
    pub is_online: bool,
    /// Records that it has, on the scale of [`offset`].
    pub offset: u64,
    /// Whether records are under way to it.
    pub is_behind: bool,
}

/// The nodes that keep copies of what this one serves, as Redis tells of replicas. Visits all partitions.
pub fn replicas(cx: &mut Cx) -> Vec<Replica> {
    let mut followers = followers(cx);
    followers.retain(|follower| !follower.feed.is_broken());
    // Each has had records of its own; what they lack can be compared.
    let most = followers.iter().map(|follower| follower.feed.end()).max().unwrap_or(0);
    let map = cx.state.cluster.map();
    let known = followers.iter().filter_map(|follower| Some((follower, map.members.get(&follower.node)?)));
    let replica = |(follower, member): (&Follower, &crate::cluster::metadata::Member)| {
        let behind = follower.feed.behind();
        Replica {
            host: member.host.clone(),
            port: member.port,
            is_online: follower.joining == 0,
            offset: most - behind.min(most),
            is_behind: behind > 0,
        }
    };
    known.map(replica).collect()
}

/// How many records were made: what is not at a replica yet is the difference to its own.
pub fn offset(replicas: &[Replica]) -> u64 {
    replicas.iter().map(|replica| replica.offset).max().unwrap_or(0)
}

/// ROLE
fn role(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let replicas = replicas(cx);
    cx.out.array(3);
    cx.out.bulk(b"master");
    cx.out.int(offset(&replicas) as i64);
    cx.out.array(replicas.len());
    for replica in replicas {
        cx.out.array(3);
        cx.out.bulk(replica.host.as_bytes());
        cx.out.bulk_int(replica.port.into());
        cx.out.bulk_int(replica.offset as i64);
    }
    Ok(())
}

/// REPLICAOF host port | NO ONE
fn replicaof(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if parse::is(&args[1], "no") && parse::is(&args[2], "one") {
        cx.out.ok();
        return Ok(());
    }
    if !parse_i64(&args[2]).is_some_and(|port| (0..=65_535).contains(&port)) {
        return Err(CmdError::new("ERR Invalid master port"));
    }
    Err(CmdError::new("ERR REPLICAOF is not supported: start a node with --join host:port to give it copies"))
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
fn failover(_: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (mut at, mut abort, mut other) = (1, false, false);
    while let Some(option) = args.get(at) {
        match &*option.to_ascii_lowercase() {
            b"to" if at + 2 < args.len() => {
                parse::int(&args[at + 2])?;
                at += 2;
                other = true;
            }
            b"timeout" if at + 1 < args.len() => {
                if parse::int(&args[at + 1])? <= 0 {
                    return Err(CmdError::new("ERR FAILOVER timeout must be greater than 0"));
                }
                at += 1;
                other = true;
            }
            b"force" => other = true,
            b"abort" => abort = true,
            _ => return Err(error::SYNTAX),
        }
        at += 1;
    }
    match (abort, other) {
        (true, true) => Err(error::SYNTAX),
        (true, false) => Err(CmdError::new("ERR No failover in progress.")),
        _ => Err(CmdError::new("ERR FAILOVER requires connected replicas.")),
    }
}

/// WAIT numreplicas timeout
fn wait(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let replicas = parse::int(&args[1])?;
    let timeout = blocking::timeout_ms(args, 2)?;
    if cx.state.cluster.is_on() && cx.client.waiting == Waiting::Allowed {
        // Who counts answers, also when the time is up.
        blocking::wait(cx, args, std::iter::empty(), Timeout::NEVER, Nothing::Zero);
        let wanted = usize::try_from(replicas).unwrap_or(0);
        cx.client.counting = Some(Counting { wanted, deadline: timeout.deadline() });
    } else if replicas <= 0 {
        cx.out.int(0);
    } else {
        blocking::wait(cx, args, std::iter::empty(), timeout, Nothing::Zero);
    }
    Ok(())
}

/// WAITAOF numlocal numreplicas timeout
fn waitaof(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let local = Some(parse::int(&args[1])?).filter(|local| (0..=1).contains(local));
    let local = local.ok_or(CmdError::new("ERR value is out of range, value must between 0 and 1"))?;
    let replicas = parse::positive(&args[2])?;
    let timeout = blocking::timeout_ms(args, 3)?;
    if local > 0 {
        return Err(CmdError::new(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    if replicas == 0 {
        Nothing::Zeros.reply(cx.out);
    } else {
        blocking::wait(cx, args, std::iter::empty(), timeout, Nothing::Zeros);
    }
    Ok(())
}
