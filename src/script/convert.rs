//! Lua values to replies.
//!
//! A status or an error is a table with the field `ok` or `err`, and what only RESP3 knows a table named for its kind, as
//! [`stack`](super::stack) makes them of replies. Nothing is false in RESP2 and nil in RESP3.

use super::host;
use mlua::{Lua, Result, Table, Value};
use shoal_protocol::resp::{Output, Proto};

/// Nesting of a table beyond which it is not made a reply.
const MAX_DEPTH: usize = 1990;

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
