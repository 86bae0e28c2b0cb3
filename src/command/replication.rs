//! Replication as Redis's commands see it: this node is a primary without replicas of that kind. Copies are the
//! cluster's business and need none of this.

use super::blocking::{self, Nothing};
use super::error::{self, CmdError};
use super::parse;
use super::{Command, Cx, Group, category, command, flag, flags};
use crate::text::number::parse_i64;
use shoal_protocol::resp::Args;

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
        .flags(flags([flag::NOSCRIPT, flag::LOADING, flag::STALE, flag::FAST]))
        .categories(category::ADMIN.or(category::DANGEROUS))
        .doc("2.8.12", "", "Returns the replication role."),
    command("slaveof", 3, Group::Server, replicaof).flags(REPLICAOF).doc(
        "1.0.0",
        "<host port | NO ONE>",
        "Accepts NO ONE; a node gets copies by joining a cluster.",
    ),
    command("wait", 3, Group::Generic, wait)
        .flags(flags([flag::NOSCRIPT, flag::BLOCKING]))
        .categories(category::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "3.0.0",
            "numreplicas timeout",
            "Blocks until so many replicas have all earlier writes of the connection, or the time is up.",
        ),
    command("waitaof", 4, Group::Generic, waitaof)
        .flags(flags([flag::NOSCRIPT, flag::BLOCKING]))
        .categories(category::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .doc(
            "7.2.0",
            "numlocal numreplicas timeout",
            "Blocks until all earlier writes of the connection are on so many disks, or the time is up.",
        ),
];

/// ROLE
fn role(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.array(3);
    cx.out.bulk(b"master");
    cx.out.int(0);
    cx.out.array(0);
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
    let timeout = blocking::timeout_ms(&args[2])?;
    if replicas <= 0 {
        cx.out.int(0);
    } else {
        blocking::wait(cx, args, std::iter::empty(), timeout, Nothing::Zero);
    }
    Ok(())
}

/// WAITAOF numlocal numreplicas timeout
fn waitaof(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let local = parse_i64(&args[1]).filter(|local| (0..=1).contains(local));
    let local = local.ok_or(CmdError::new("ERR value is out of range, value must between 0 and 1"))?;
    let replicas = parse::positive(&args[2])?;
    let timeout = blocking::timeout_ms(&args[3])?;
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
