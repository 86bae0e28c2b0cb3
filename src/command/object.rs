//! OBJECT: what is known of a key's value besides the value.

use super::error::CmdError;
use super::keys::Keys;
use super::server::{container, write_help};
use super::{Command, Cx, Group, category, command, flag, flags, spec};
use crate::config::id;
use crate::state::access::AccessClock;
use crate::store::entry::{Entry, ValueRef};
use shoal_protocol::resp::Args;

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("object", -2, Group::Generic, container)
    .doc("2.2.3", "", "A container for object introspection commands.")
    .subcommands(&[
        sub("object|encoding", encoding).doc("2.2.3", "key", "Returns the internal encoding of an object."),
        sub("object|freq", freq).doc(
            "4.0.0",
            "key",
            "Returns the logarithmic access frequency counter of an object.",
        ),
        command("object|help", 2, Group::Generic, help)
            .flags(flags([flag::LOADING, flag::STALE]))
            .categories(category::KEYSPACE)
            .doc("6.2.0", "", "Returns helpful text about the different subcommands."),
        sub("object|idletime", idletime).doc(
            "2.2.3",
            "key",
            "Returns the time since the last access to an object.",
        ),
        sub("object|refcount", refcount).doc(
            "2.2.3",
            "key",
            "Returns the reference count of a value of a key.",
        ),
    ])];

const fn sub(name: &'static str, run: super::Run) -> Command {
    command(name, 3, Group::Generic, run)
        .flags(flag::READONLY)
        .keys(spec::SUB_READ_META)
        .categories(category::KEYSPACE)
        .tips(&["nondeterministic_output"])
}

/// What Redis says of a value that never goes: a small integer, shared by all who hold it.
const SHARED: i64 = i32::MAX as i64;
/// Integers below this are shared.
const SHARED_INTEGERS: i64 = 10_000;

/// The entry of `key`, its clock left alone and no miss reported.
fn look<'k>(keys: &'k mut Keys, key: &[u8]) -> Option<&'k Entry> {
    if keys.exists(key) { keys.peek(key) } else { None }
}

/// OBJECT ENCODING key
fn encoding(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match look(cx.keys, &args[2]) {
        Some(entry) => cx.out.bulk(entry.encoding().as_bytes()),
        None => cx.out.null(),
    }
    Ok(())
}

/// OBJECT REFCOUNT key
fn refcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    // A policy that looks at accesses needs a value of its own for each key.
    let policy = cx.state.config.choice(id::MAXMEMORY_POLICY);
    let by_access = policy.ends_with("lru") || policy.ends_with("lfu");
    let shares = cx.state.config.size(id::MAXMEMORY) == 0 || !by_access;
    match look(cx.keys, &args[2]).map(|entry| entry.value()) {
        Some(ValueRef::Int(0..SHARED_INTEGERS)) if shares => cx.out.int(SHARED),
        Some(_) => cx.out.int(1),
        None => cx.out.null(),
    }
    Ok(())
}

/// OBJECT IDLETIME key
fn idletime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now_ms = cx.keys.now_ms;
    match look(cx.keys, &args[2]).map(|entry| entry.clock()) {
        None => cx.out.null(),
        Some(_) if counts_accesses(cx) => {
            return Err(CmdError::new(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                 between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(clock) => cx.out.int(AccessClock::idle_seconds(clock, now_ms).into()),
    }
    Ok(())
}

/// OBJECT FREQ key
fn freq(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let now_ms = cx.keys.now_ms;
    match look(cx.keys, &args[2]).map(|entry| entry.clock()) {
        None => cx.out.null(),
        Some(clock) if counts_accesses(cx) => cx.out.int(cx.keys.clock().frequency(clock, now_ms).into()),
        Some(_) => {
            return Err(CmdError::new(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
    }
    Ok(())
}

fn counts_accesses(cx: &Cx) -> bool {
    cx.state.config.choice(id::MAXMEMORY_POLICY).ends_with("lfu")
}

/// OBJECT HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "OBJECT",
        &[
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return the access frequency index of the <key>. The returned integer is",
            "    proportional to the logarithm of the recent access frequency of the key.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of",
            "    seconds elapsed since the last access to the key.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
        ],
    );
    Ok(())
}
