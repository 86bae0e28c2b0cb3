//! `redis.*`, also known as `server.*`: what scripts may ask for.

use super::convert::error_table;
use super::host;
use super::shim::{Raise, define};
use mlua::{Lua, MultiValue, Result, Table, Value};
use sha1::{Digest, Sha1};
use shoal_protocol::resp::{OwnedArgs, Proto};

/// The version of Redis whose behaviour clients and scripts may expect, as text and as the number of its parts. 7.4 brought the expiry of
/// hash fields, and is the least that redis-py wants to cache for.
pub const REDIS_VERSION: (&str, i64) = ("7.4.0", 0x0007_0400);

/// The SHA1 digest of `bytes`, 40 hexadecimal digits.
pub fn sha1_hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The table with all functions.
pub fn table(lua: &Lua) -> Result<Table> {
    let api = lua.create_table()?;
    super::stack::define_calls(lua, &api)?;
    define(lua, &api, "error_reply", |lua, args| match single_string(&args) {
        Some(text) => Ok(error_table(lua, &text.as_bytes())?),
        None => Ok(error_table(lua, WRONG_ARGUMENTS)?),
    })?;
    define(lua, &api, "status_reply", |lua, args| match single_string(&args) {
        Some(text) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            Ok(table)
        }
        None => Ok(error_table(lua, WRONG_ARGUMENTS)?),
    })?;
    define(lua, &api, "sha1hex", |lua, args| match args.len() {
        1 => Ok(sha1_hex(&super::convert::text(&args[0]).unwrap_or_default())),
        _ => Err(raise(lua, "wrong number of arguments")),
    })?;
    define(lua, &api, "log", log)?;
    define(lua, &api, "setresp", set_resp)?;
    define(lua, &api, "set_repl", set_repl)?;
    define(lua, &api, "acl_check_cmd", may_run)?;
    // There is no debugger, and effects are what is replicated.
    define(lua, &api, "breakpoint", |_, _| Ok(false))?;
    define(lua, &api, "debug", |_, _| Ok(()))?;
    define(lua, &api, "replicate_commands", |_, _| Ok(true))?;
    let constants = [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", REDIS_VERSION.1),
        ("VALKEY_VERSION_NUM", REDIS_VERSION.1),
    ];
    for (name, value) in constants {
        api.raw_set(name, value)?;
    }
    api.raw_set("REDIS_VERSION", REDIS_VERSION.0)?;
    api.raw_set("VALKEY_VERSION", REDIS_VERSION.0)?;
    api.raw_set("SERVER_NAME", "shoal")?;
    Ok(api)
}

const WRONG_ARGUMENTS: &[u8] = b"ERR wrong number or type of arguments";

/// An error table to be raised.
pub(super) fn raise(lua: &Lua, text: &str) -> Raise {
    match refusal(lua, text) {
        Ok(table) => Raise::Value(Value::Table(table)),
        Err(error) => error.into(),
    }
}

/// An error table with the code ERR in front of `text`.
fn refusal(lua: &Lua, text: &str) -> Result<Table> {
    error_table(lua, format!("ERR {text}").as_bytes())
}

fn single_string(args: &MultiValue) -> Option<mlua::LuaString> {
    match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => Some(text.clone()),
        _ => None,
    }
}

/// The arguments of a command, if all are strings or numbers.
fn command_args(args: &MultiValue) -> Option<OwnedArgs> {
    let mut owned = OwnedArgs::new();
    for arg in args {
        match arg {
            Value::String(text) => owned.push(&text.as_bytes()),
            Value::Integer(number) => {
                owned.push_with(|out| out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()));
            }
            Value::Number(number) => {
                owned.push_with(|out| crate::text::number::format_general(*number, 17, out));
            }
            _ => return None,
        }
    }
    Some(owned)
}

fn log(lua: &Lua, args: MultiValue) -> std::result::Result<(), Raise> {
    if args.len() < 2 {
        return Err(raise(lua, "server.log() requires two arguments or more."));
    }
    let Some(level) = super::convert::to_number(&args[0]) else {
        return Err(raise(lua, "First argument must be a number (log level)."));
    };
    if !(0.0..=3.0).contains(&level) {
        return Err(raise(lua, "Invalid log level."));
    }
    let words: Vec<Vec<u8>> = args.iter().skip(1).filter_map(super::convert::text).collect();
    let text = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
    host::with(|host| host.log(level as i64, &text));
    Ok(())
}

fn set_resp(lua: &Lua, args: MultiValue) -> std::result::Result<(), Raise> {
    if args.len() != 1 {
        return Err(raise(lua, "server.setresp() requires one argument."));
    }
    let proto = match super::convert::to_number(&args[0]).map(|version| version as i64) {
        Some(2) => Proto::Resp2,
        Some(3) => Proto::Resp3,
        _ => return Err(raise(lua, "RESP version must be 2 or 3.")),
    };
    host::with_script(|host| host.set_proto(proto))
        .ok_or_else(|| raise(lua, "server.setresp can only be called inside a script invocation"))
}

fn set_repl(lua: &Lua, args: MultiValue) -> std::result::Result<(), Raise> {
    if host::with_script(|_| ()).is_none() {
        return Err(raise(lua, "server.set_repl can only be called inside a script invocation"));
    }
    if args.len() != 1 {
        return Err(raise(lua, "server.set_repl() requires one argument."));
    }
    match super::convert::to_number(&args[0]) {
        Some(flags) if (0.0..4.0).contains(&flags) => Ok(()),
        _ => Err(raise(lua, "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")),
    }
}

fn may_run(lua: &Lua, args: MultiValue) -> std::result::Result<bool, Raise> {
    if args.is_empty() {
        return Err(raise(lua, "Please specify at least one argument for this redis lib call"));
    }
    let Some(args) = command_args(&args) else {
        return Err(raise(lua, "Lua redis lib command arguments must be strings or integers"));
    };
    match host::with_script(|host| host.may_run(args.as_args())) {
        None => Err(raise(lua, "server.acl_check_cmd can only be called inside a script invocation")),
        Some(None) => Err(raise(lua, "Invalid command passed to server.acl_check_cmd()")),
        Some(Some(may)) => Ok(may),
    }
}
