//! Strings that are numbers: INCR and its kin.

use super::error::{self, CmdError};
use super::keys::text;
use super::{Command, Cx, Flags, Group, command, flag, flags, parse, spec};
use crate::config::notify;
use crate::store::entry::{Extras, Payload, ValueRef};
use crate::text::long_double::LongDouble;
use crate::text::number::parse_i64;
use shoal_protocol::resp::Args;

const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("decr", 2, Group::String, decr).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "1.0.0",
        "key",
        "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.",
    ),
    command("decrby", 3, Group::String, decrby).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "1.0.0",
        "key decrement",
        "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist.",
    ),
    command("incr", 2, Group::String, incr).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "1.0.0",
        "key",
        "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.",
    ),
    command("incrby", 3, Group::String, incrby).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "1.0.0",
        "key increment",
        "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
    ),
    command("incrbyfloat", 3, Group::String, incrbyfloat).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "2.6.0",
        "key increment",
        "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
    ),
];

/// INCR key
fn incr(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, &args[1], 1)
}

/// DECR key
fn decr(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, &args[1], -1)
}

/// INCRBY key increment
fn incrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, &args[1], parse::int(&args[2])?)
}

/// DECRBY key decrement
fn decrby(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    add(cx, &args[1], parse::int(&args[2])?.checked_neg().ok_or(error::DECR_OVERFLOW)?)
}

fn add(cx: &mut Cx, key: &[u8], delta: i64) -> Result<(), CmdError> {
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
    // Redis names both directions alike.
    cx.keys.modified(notify::STRING, "incrby", key);
    cx.out.int(sum);
    Ok(())
}

/// INCRBYFLOAT key increment
fn incrbyfloat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let (old, extras) = match cx.keys.find(key) {
        None => (LongDouble::ZERO, Extras::default()),
        Some(entry) => {
            let old = LongDouble::parse(text(entry)?.bytes()).ok_or(error::NOT_A_FLOAT)?;
            (old, entry.extras())
        }
    };
    let sum = old + LongDouble::parse(&args[2]).ok_or(error::NOT_A_FLOAT)?;
    if !sum.is_finite() {
        return Err(error::NAN_OR_INFINITY);
    }
    let mut digits = Vec::new();
    sum.format(&mut digits);
    cx.keys.put(key, Payload::text(&digits), extras);
    cx.keys.modified(notify::STRING, "incrbyfloat", key);
    cx.out.bulk(&digits);
    Ok(())
}
