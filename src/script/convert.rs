//! Replies to Lua values, and Lua values to replies.
//!
//! A status or an error becomes a table with the field `ok` or `err`, and what only RESP3 knows a table named for its kind; the
//! other way round the same tables make such replies. Nothing is false in RESP2 and nil in RESP3.

use super::host;
use mlua::{Lua, Result, Table, Value};
use shoal_protocol::resp::{Output, Proto};

/// Nesting of a table beyond which it is not made a reply.
const MAX_DEPTH: usize = 1990;

/// Reads the reply at the head of `bytes`, which the node itself has written, and cuts it off.
pub fn reply_to_lua(lua: &Lua, bytes: &mut &[u8]) -> Result<Value> {
    let (kind, line) = take_line(bytes);
    let number = || crate::text::number::parse_i64(line).unwrap_or(0);
    let value = match kind {
        b':' => Value::Number(number() as f64),
        b'$' if number() < 0 => Value::Boolean(false),
        b'$' => Value::String(lua.create_string(take_bytes(bytes, number() as usize))?),
        b'+' => {
            let table = lua.create_table_with_capacity(0, 1)?;
            table.raw_set("ok", lua.create_string(line)?)?;
            Value::Table(table)
        }
        b'-' => {
            let table = error_table(lua, line)?;
            table.raw_set("ignore_error_stats_update", true)?;
            Value::Table(table)
        }
        b'*' if number() < 0 => Value::Boolean(false),
        b'*' | b'>' => {
            let len = number() as usize;
            let table = lua.create_table_with_capacity(len, 0)?;
            for at in 1..=len {
                table.raw_set(at, reply_to_lua(lua, bytes)?)?;
            }
            Value::Table(table)
        }
        b'_' => Value::Nil,
        b'#' => Value::Boolean(line == b"t"),
        b',' => {
            named(lua, "double", Value::Number(crate::text::number::parse_f64(line).unwrap_or(f64::NAN)))?
        }
        b'(' => named(lua, "big_number", Value::String(lua.create_string(line)?))?,
        b'=' => {
            let text = take_bytes(bytes, number() as usize);
            let (format, text) = text.split_at(text.len().min(4));
            let table = lua.create_table_with_capacity(0, 2)?;
            table.raw_set("format", lua.create_string(&format[..format.len().min(3)])?)?;
            table.raw_set("string", lua.create_string(text)?)?;
            named(lua, "verbatim_string", Value::Table(table))?
        }
        b'%' => {
            let table = lua.create_table()?;
            for _ in 0..number() {
                let key = reply_to_lua(lua, bytes)?;
                let value = reply_to_lua(lua, bytes)?;
                table.raw_set(key, value)?;
            }
            named(lua, "map", Value::Table(table))?
        }
        b'~' => {
            let table = lua.create_table()?;
            for _ in 0..number() {
                table.raw_set(reply_to_lua(lua, bytes)?, true)?;
            }
            named(lua, "set", Value::Table(table))?
        }
        b'|' => {
            for _ in 0..number() * 2 {
                reply_to_lua(lua, bytes)?;
            }
            reply_to_lua(lua, bytes)?
        }
        _ => Value::Nil,
    };
    Ok(value)
}

fn named(lua: &Lua, name: &str, value: Value) -> Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, value)?;
    Ok(Value::Table(table))
}

fn take_line<'a>(bytes: &mut &'a [u8]) -> (u8, &'a [u8]) {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    let (line, rest) = bytes.split_at(end);
    *bytes = rest;
    match line {
        [kind, line @ .., b'\r', b'\n'] => (*kind, line),
        _ => (0, &[]),
    }
}

fn take_bytes<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (text, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest.get(2..).unwrap_or(&[]);
    text
}

/// An error as scripts see it: its text, the code in front, in the field `err`.
pub fn error_table(lua: &Lua, text: &[u8]) -> Result<Table> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let table = lua.create_table_with_capacity(0, 4)?;
    let text = if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() };
    table.raw_set("err", lua.create_string(text)?)?;
    Ok(table)
}

/// A number as an integer reply: its fraction is cut off.
pub fn truncate(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

/// Writes `value` as a reply; `proto` is the version the script speaks.
pub fn lua_to_reply(value: &Value, proto: Proto, out: &mut Output) -> Result<()> {
    write(value, proto, out, 0)
}

fn write(value: &Value, proto: Proto, out: &mut Output, depth: usize) -> Result<()> {
    match value {
        Value::String(text) => out.bulk(&text.as_bytes()),
        Value::Integer(number) => out.int(*number),
        Value::Number(number) => out.int(truncate(*number)),
        Value::Boolean(yes) if proto == Proto::Resp3 => out.bool(*yes),
        Value::Boolean(true) => out.int(1),
        Value::Table(_) if depth >= MAX_DEPTH => out.error("ERR reached lua stack limit"),
        Value::Table(table) => write_table(table, proto, out, depth + 1)?,
        _ => out.null(),
    }
    Ok(())
}

fn write_table(table: &Table, proto: Proto, out: &mut Output, depth: usize) -> Result<()> {
    if let Some(written) = write_special(table, proto, out, depth) {
        return written;
    }
    let array = out.deferred_array();
    let mut len = 0;
    let mut value: Value = table.raw_get(1)?;
    while !value.is_nil() {
        write(&value, proto, out, depth)?;
        len += 1;
        value = table.raw_get(len + 1)?;
    }
    out.set_deferred(array, len);
    Ok(())
}

/// Writes a table that stands for a reply of a certain kind.
fn write_special(table: &Table, proto: Proto, out: &mut Output, depth: usize) -> Option<Result<()>> {
    let field = |name: &str| table.raw_get::<Value>(name).ok().filter(|value| !value.is_nil());
    if let Some(text) = field("err").as_ref().and_then(string) {
        let text = String::from_utf8_lossy(&text).into_owned();
        if field("ignore_error_stats_update").is_none() {
            host::with_script(|host| host.count_error(&text));
        }
        out.error(text);
    } else if let Some(status) = field("ok").as_ref().and_then(string) {
        out.simple(status);
    } else if let Some(number) = field("double").as_ref().and_then(number) {
        out.double(number);
    } else if let Some(map) = field("map").as_ref().and_then(Value::as_table) {
        let map_reply = out.deferred_map();
        let mut len = 0;
        for pair in map.pairs::<Value, Value>() {
            let written = pair.and_then(|(key, value)| {
                write(&key, proto, out, depth)?;
                write(&value, proto, out, depth)
            });
            if written.is_err() {
                return Some(written);
            }
            len += 1;
        }
        out.set_deferred(map_reply, len);
    } else if let Some(set) = field("set").as_ref().and_then(Value::as_table) {
        let set_reply = out.deferred_set();
        let mut len = 0;
        for pair in set.pairs::<Value, Value>() {
            let written = pair.and_then(|(key, _)| write(&key, proto, out, depth));
            if written.is_err() {
                return Some(written);
            }
            len += 1;
        }
        out.set_deferred(set_reply, len);
    } else if let Some(digits) = field("big_number").as_ref().and_then(string) {
        let digits: Vec<u8> =
            digits.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        out.big_number(&digits);
    } else if let Some(verbatim) = field("verbatim_string").as_ref().and_then(Value::as_table) {
        let part = |name: &str| verbatim.raw_get::<Value>(name).ok().as_ref().and_then(string);
        let (format, text) = (part("format")?, part("string")?);
        let mut kind = *b"txt";
        kind.iter_mut().zip(format).for_each(|(to, from)| *to = from);
        out.verbatim(kind, &text);
    } else {
        return None;
    }
    Some(Ok(()))
}

/// A string, and nothing that could be made one.
pub fn string(value: &Value) -> Option<Vec<u8>> {
    value.as_string().map(|text| text.as_bytes().to_vec())
}

/// A string, or a number as Lua spells it.
pub fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => {
            let mut out = Vec::new();
            crate::text::number::format_general(*number, 14, &mut out);
            Some(out)
        }
        _ => None,
    }
}

/// A number, and nothing that could be read as one.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// A number, or a string that is one, as functions of Lua take them.
pub fn to_number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            let text = text.trim_ascii();
            let (number, len) = super::number::parse_prefix(text);
            (len > 0 && len == text.len()).then_some(number)
        }
        other => number(other),
    }
}
