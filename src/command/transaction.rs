//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! EXEC itself is in [`call`](super::call), which enters the partitions of all queued commands at once.

use super::client::{Client, Multi, Watching};
use super::error::{self, CmdError};
use super::keys::Keys;
use super::spec;
use super::{Command, Cx, Group, command, flag, flags};
use crate::state::State;
use crate::state::partition::partition_of;
use shoal_protocol::resp::Args;
use std::sync::atomic::{AtomicBool, Ordering};

const CONTROL: super::Flags =
    flags([flag::NOSCRIPT, flag::LOADING, flag::STALE, flag::FAST, flag::ALLOW_BUSY]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("multi", 1, Group::Transactions, multi).flags(CONTROL.or(flag::NO_MULTI)).doc(
        "1.2.0",
        "",
        "Starts a transaction.",
    ),
    command("exec", 1, Group::Transactions, exec)
        .flags(flags([flag::NOSCRIPT, flag::LOADING, flag::STALE, flag::SKIP_SLOWLOG, flag::EXEC]))
        .doc("1.2.0", "", "Executes all commands in a transaction."),
    command("discard", 1, Group::Transactions, discard).flags(CONTROL).doc(
        "2.0.0",
        "",
        "Discards a transaction.",
    ),
    command("watch", -2, Group::Transactions, watch)
        .flags(CONTROL.or(flag::NO_MULTI))
        .keys(spec::READ_META_ALL)
        .doc(
            "2.2.0",
            "key [key ...]",
            "Monitors changes to keys to determine the execution of a transaction.",
        ),
    command("unwatch", 1, Group::Transactions, unwatch).flags(CONTROL).doc(
        "2.2.0",
        "",
        "Forgets about watched keys of a transaction.",
    ),
];

/// MULTI
fn multi(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.client.multi = Some(Multi { db: cx.client.db, ..Multi::default() });
    cx.out.ok();
    Ok(())
}

/// EXEC outside a transaction, or of one that cannot be run; otherwise `call` runs the queue.
fn exec(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    match cx.client.multi {
        Some(_) => Err(error::EXEC_ABORT),
        None => Err(CmdError::new("ERR EXEC without MULTI")),
    }
}

/// DISCARD
fn discard(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    if cx.client.multi.is_none() {
        return Err(CmdError::new("ERR DISCARD without MULTI"));
    }
    leave(cx.state, cx.client);
    cx.out.ok();
    Ok(())
}

/// WATCH key [key ...]
fn watch(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let db = cx.keys.db;
    for key in args.from(1) {
        let watching = &mut cx.client.watching;
        if !watching.keys.insert((db, key.into())) {
            continue;
        }
        // A key past its time goes now, so that its removal is not taken for a change.
        cx.keys.exists(key);
        let flag = &watching.changed;
        cx.keys.with_partition(partition_of(key), |partition| partition.watch(db, key, flag));
    }
    cx.out.ok();
    Ok(())
}

/// UNWATCH
fn unwatch(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    end_watches(cx.state, std::mem::take(&mut cx.client.watching));
    cx.out.ok();
    Ok(())
}

/// Ends the transaction being queued and all watches.
pub fn leave(state: &State, client: &mut Client) {
    client.multi = None;
    end_watches(state, std::mem::take(&mut client.watching));
}

/// Ends watches taken from a connection. The caller holds no partition.
pub fn end_watches(state: &State, watching: Watching) {
    for (db, key) in &watching.keys {
        state.keyspace.enter(partition_of(key)).unwatch(*db, key, &watching.changed);
    }
}

/// Whether nothing watched has changed, or expired since the watch began. The watched keys' partitions are held.
pub fn watches_hold(watching: &Watching, keys: &Keys<'_>) -> bool {
    let unchanged = |flag: &AtomicBool| !flag.load(Ordering::Relaxed);
    unchanged(&watching.changed) && watching.keys.iter().all(|(db, key)| !keys.is_expired_in(*db, key))
}
