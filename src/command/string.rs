//! Strings and counters.

use super::error::{self, CmdError};
use super::keys::text;
use super::spec;
use super::{Command, Cx, Group, command, flag, flags};
use crate::config::notify;
use crate::store::entry::{Entry, Extras, Payload, ValueRef};
use crate::text::number::parse_i64;
use shoal_protocol::resp::Args;

const READ: super::Flags = flags([flag::READONLY, flag::FAST]);
const GROW: super::Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("ping", -1, Group::Connection, ping).flags(flags([flag::FAST])).doc("1.0.0", "[message]", "Returns the server's liveliness response."),
    command("get", 2, Group::String, get)
        .flags(READ)
        .keys(spec::READ)
        .doc("1.0.0", "key", "Returns the string value of a key."),
    command("set", -3, Group::String, set)
        .flags(flags([flag::WRITE, flag::DENYOOM]))
        .keys(spec::ACCESS_UPDATE)
        .doc(
            "1.0.0",
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
            "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
        ),
    command("incr", 2, Group::String, incr)
        .flags(GROW)
        .keys(spec::ACCESS_UPDATE)
        .doc("1.0.0", "key", "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist."),
];

/// Answers with the string of an entry.
pub fn reply_text(cx_out: &mut shoal_protocol::resp::Output, entry: &Entry) -> Result<(), CmdError> {
    match entry.value() {
        ValueRef::Inline(bytes) => cx_out.bulk(bytes),
        ValueRef::Shared(bytes) => cx_out.bulk_shared(bytes),
        ValueRef::Int(n) => cx_out.bulk_int(n),
        ValueRef::Object(_) => return Err(error::WRONG_TYPE),
    }
    Ok(())
}

/// GET key
fn get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.read(&args[1]) {
        Some(entry) => reply_text(cx.out, entry),
        None => {
            cx.out.null();
            Ok(())
        }
    }
}

/// SET key value
fn set(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, value) = (&args[1], &args[2]);
    cx.keys.put(key, Payload::string(value), Extras::default());
    cx.keys.modified(notify::STRING, "set", key);
    cx.out.ok();
    Ok(())
}

/// INCR key
fn incr(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, &args[1], 1, "incrby")
}

fn add(cx: &mut Cx, key: &[u8], delta: i64, event: &'static str) -> Result<(), CmdError> {
    let sum = match cx.keys.find(key) {
        None => {
            cx.keys.put(key, Payload::Int(delta), Extras::default());
            delta
        }
        Some(entry) => {
            let old = match entry.value() {
                ValueRef::Int(n) => n,
                _ => parse_i64(text(entry)?.bytes()).ok_or(error::NOT_AN_INTEGER)?,
            };
            let sum = old.checked_add(delta).ok_or(error::OVERFLOW)?;
            if !entry.set_int(sum) {
                let extras = entry.extras();
                cx.keys.put(key, Payload::Int(sum), extras);
            }
            sum
        }
    };
    cx.keys.modified(notify::STRING, event, key);
    cx.out.int(sum);
    Ok(())
}

/// PING [message]
fn ping(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match args.get(1) {
        Some(message) => cx.out.bulk(message),
        None => cx.out.simple("PONG"),
    }
    Ok(())
}
