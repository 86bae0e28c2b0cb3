//! Keys as such, whatever they hold: removing, counting, renaming, copying, moving.

use super::error::{self, CmdError};
use super::parse::{self, is, operand};
use super::{Command, Cx, Databases, Flags, Group, category, command, flag, flags, spec};
use crate::config::{id, notify};
use shoal_protocol::resp::Args;

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const WRITE: Flags = flags([flag::WRITE, flag::FAST]);
const SUMMED: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("copy", -3, copy).flags(flags([flag::WRITE, flag::DENYOOM])).keys(spec::COPY).databases(Databases::Behind("db", 4)).doc(
        "6.2.0",
        "source destination [DB destination-db] [REPLACE]",
        "Copies the value of a key to a new key.",
    ),
    row("del", -2, del).flags(flag::WRITE).keys(spec::DELETE_ALL).tips(SUMMED).doc(
        "1.0.0",
        "key [key ...]",
        "Deletes one or more keys.",
    ),
    row("exists", -2, exists).flags(READ).keys(spec::READ_META_ALL).tips(SUMMED).doc(
        "1.0.0",
        "key [key ...]",
        "Determines whether one or more keys exist.",
    ),
    row("move", 3, move_).flags(WRITE).keys(spec::ACCESS_UPDATE).databases(Databases::At(&[2])).doc(
        "1.0.0",
        "key db",
        "Moves a key to another database.",
    ),
    row("rename", 3, rename).flags(flag::WRITE).keys(spec::RENAME).doc(
        "1.0.0",
        "key newkey",
        "Renames a key and overwrites the destination.",
    ),
    row("renamenx", 3, renamenx).flags(WRITE).keys(spec::RENAME_IF_ABSENT).doc(
        "1.0.0",
        "key newkey",
        "Renames a key only when the target key name doesn't exist.",
    ),
    row("touch", -2, touch).flags(READ).keys(spec::READ_META_ALL).tips(SUMMED).doc(
        "3.2.1",
        "key [key ...]",
        "Returns the number of existing keys out of those specified after updating the time they were last accessed.",
    ),
    row("type", 2, type_).flags(READ).keys(spec::READ_META).doc(
        "1.0.0",
        "key",
        "Determines the type of value stored at a key.",
    ),
    row("unlink", -2, unlink).flags(WRITE).keys(spec::DELETE_ALL).tips(SUMMED).doc(
        "4.0.0",
        "key [key ...]",
        "Asynchronously deletes one or more keys.",
    ),
];

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Generic, run).categories(category::KEYSPACE)
}

/// DEL key [key ...]
fn del(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let in_thread = cx.state.config.flag(id::LAZYFREE_LAZY_USER_DEL);
    delete(cx, args, in_thread)
}

/// UNLINK key [key ...]
fn unlink(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    delete(cx, args, true)
}

fn delete(cx: &mut Cx, args: Args, in_thread: bool) -> Result<(), CmdError> {
    let mut gone = 0;
    for key in args.from(1) {
        if cx.keys.discard(key, in_thread) {
            cx.keys.modified(notify::GENERIC, "del", key);
            gone += 1;
        }
    }
    cx.out.int(gone);
    Ok(())
}

/// EXISTS key [key ...]
fn exists(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = args.from(1).iter().filter(|key| cx.keys.inspect(key).is_some()).count();
    cx.out.int(found as i64);
    Ok(())
}

/// TOUCH key [key ...]
fn touch(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = args.from(1).iter().filter(|key| cx.keys.touch(key)).count();
    cx.out.int(found as i64);
    Ok(())
}

/// TYPE key
fn type_(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.out.simple(cx.keys.inspect(&args[1]).map_or("none", |entry| entry.type_name()));
    Ok(())
}

/// RENAME key newkey
fn rename(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    rename_key(cx, &args[1], &args[2], false)?;
    cx.out.ok();
    Ok(())
}

/// RENAMENX key newkey
fn renamenx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let renamed = rename_key(cx, &args[1], &args[2], true)?;
    cx.out.int(renamed.into());
    Ok(())
}

/// Renames a key, if `only_new` only where no other is in the way; returns whether it did.
fn rename_key(cx: &mut Cx, from: &[u8], to: &[u8], only_new: bool) -> Result<bool, CmdError> {
    if !cx.keys.exists(from) {
        return Err(error::NO_SUCH_KEY);
    }
    if from == to || (only_new && cx.keys.exists(to)) {
        return Ok(false);
    }
    if let Some(entry) = cx.keys.take(from) {
        cx.keys.insert(cx.keys.db, entry.renamed(to));
    }
    cx.keys.modified(notify::GENERIC, "rename_from", from);
    cx.keys.modified(notify::GENERIC, "rename_to", to);
    Ok(true)
}

/// COPY source destination [DB destination-db] [REPLACE]
fn copy(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (from, to) = (&args[1], &args[2]);
    let (mut db, mut replace) = (cx.keys.db, false);
    let mut at = 3;
    while at < args.len() {
        if is(&args[at], "replace") {
            replace = true;
        } else if is(&args[at], "db") {
            db = parse::database(operand(&args, &mut at)?, cx.state.keyspace.databases())?;
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    if db == cx.keys.db && from == to {
        return Err(error::SAME_OBJECT);
    }
    let free = cx.keys.read(from).is_some() && (in_db(cx, db, |cx| !cx.keys.exists(to)) || replace);
    if free && let Some(entry) = cx.keys.peek(from) {
        let mut copy = entry.copy_as(to);
        copy.set_clock(cx.keys.clock().fresh(cx.keys.now_ms));
        cx.keys.insert(db, copy);
        in_db(cx, db, |cx| cx.keys.modified(notify::GENERIC, "copy_to", to));
    }
    cx.out.int(free.into());
    Ok(())
}

/// MOVE key db
fn move_(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let db = parse::database(&args[2], cx.state.keyspace.databases())?;
    if db == cx.keys.db {
        return Err(error::SAME_OBJECT);
    }
    let free = cx.keys.exists(key) && in_db(cx, db, |cx| !cx.keys.exists(key));
    if free && let Some(entry) = cx.keys.take(key) {
        cx.keys.insert(db, entry);
        cx.keys.modified(notify::GENERIC, "move_from", key);
        in_db(cx, db, |cx| cx.keys.modified(notify::GENERIC, "move_to", key));
    }
    cx.out.int(free.into());
    Ok(())
}

/// Does something with keys looked for in database `db`.
fn in_db<R>(cx: &mut Cx, db: usize, act: impl FnOnce(&mut Cx) -> R) -> R {
    let own = std::mem::replace(&mut cx.keys.db, db);
    let result = act(cx);
    cx.keys.db = own;
    result
}
