//! `cmsgpack`: MessagePack for scripts.

use super::shim::{Raise, define};
use super::{cjson::type_name, convert, vector};
use mlua::{Lua, MultiValue, Result, Table, Value};

/// Nesting beyond which tables are packed as nil.
const MAX_NESTING: usize = 16;

type Outcome<T> = std::result::Result<T, Raise>;

/// The table `cmsgpack`.
pub fn table(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    define(lua, &table, "pack", |lua, args| {
        if args.is_empty() {
            return Err("bad argument #0 to 'pack' (MessagePack pack needs input.)".into());
        }
        let mut out = Vec::new();
        for value in &args {
            pack(value, 0, &mut out)?;
        }
        Ok(lua.create_string(out)?)
    })?;
    define(lua, &table, "unpack", |lua, args| unpack_some(lua, &vector(args), "unpack", 0, 0))?;
    define(lua, &table, "unpack_one", |lua, args| {
        let args = vector(args);
        let offset = integer(&args, 1, "unpack_one", Some(0))?;
        unpack_some(lua, &args, "unpack_one", 1, offset)
    })?;
    define(lua, &table, "unpack_limit", |lua, args| {
        let args = vector(args);
        let limit = integer(&args, 1, "unpack_limit", None)?;
        let offset = integer(&args, 2, "unpack_limit", Some(0))?;
        unpack_some(lua, &args, "unpack_limit", limit, offset)
    })?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    table.raw_set("_COPYRIGHT", "")?;
    Ok(table)
}

fn integer(args: &[Value], at: usize, function: &str, default: Option<i64>) -> Outcome<i64> {
    match (args.get(at), default) {
        (None | Some(Value::Nil), Some(default)) => Ok(default),
        (value, _) => value.and_then(convert::to_number).map(|number| number as i64).ok_or_else(|| {
            let got = value.map_or("no value", type_name);
            format!("bad argument #{} to '{function}' (number expected, got {got})", at + 1).into()
        }),
    }
}

fn pack(value: &Value, level: usize, out: &mut Vec<u8>) -> Outcome<()> {
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            match text.len() {
                len @ 0..32 => out.push(0xa0 | len as u8),
                len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
                len => head(0xda, len, out),
            }
            out.extend_from_slice(&text);
        }
        Value::Boolean(yes) => out.push(if *yes { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => pack_integer(*number, out),
        Value::Number(number) if is_integer(*number) => pack_integer(*number as i64, out),
        Value::Number(number) => {
            let short = *number as f32;
            if f64::from(short) == *number {
                out.push(0xca);
                out.extend_from_slice(&short.to_be_bytes());
            } else {
                out.push(0xcb);
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        Value::Table(table) if level < MAX_NESTING => pack_table(table, level, out)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn is_integer(number: f64) -> bool {
    number.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number)
}

/// The head of a string, array or map too long for a shorter one: 16 bits of length, or 32 under the next code.
fn head(code: u8, len: usize, out: &mut Vec<u8>) {
    if let Ok(len) = u16::try_from(len) {
        out.push(code);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(code + 1);
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }
}

fn pack_integer(number: i64, out: &mut Vec<u8>) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
        -32..0 => out.push(number as u8),
        -0x80..-32 => out.extend_from_slice(&[0xd0, number as u8]),
        -0x8000..-0x80 => {
            out.push(0xd1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn pack_table(table: &Table, level: usize, out: &mut Vec<u8>) -> Outcome<()> {
    let (mut count, mut max, mut is_array) = (0usize, 0i64, true);
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        match pair?.0 {
            Value::Integer(index) if index > 0 => max = max.max(index),
            Value::Number(index) if index > 0.0 && is_integer(index) => max = max.max(index as i64),
            _ => is_array = false,
        }
    }
    if is_array && max as usize == count {
        match count {
            0..16 => out.push(0x90 | count as u8),
            _ => head(0xdc, count, out),
        }
        for index in 1..=count {
            pack(&table.raw_get(index)?, level + 1, out)?;
        }
        return Ok(());
    }
    match count {
        0..16 => out.push(0x80 | count as u8),
        _ => head(0xde, count, out),
    }
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        pack(&key, level + 1, out)?;
        pack(&value, level + 1, out)?;
    }
    Ok(())
}

/// Unpacks up to `limit` values from `offset` on, and says first where it ended; or all, if both are 0.
fn unpack_some(lua: &Lua, args: &[Value], function: &str, limit: i64, offset: i64) -> Outcome<MultiValue> {
    let Some(text) = args.first().and_then(convert::text) else {
        let got = args.first().map_or("no value", type_name);
        return Err(format!("bad argument #1 to '{function}' (string expected, got {got})").into());
    };
    if offset < 0 || limit < 0 {
        let text = format!("Invalid request to unpack with offset of {offset} and limit of {}.", text.len());
        return Err(text.into());
    }
    if offset > text.len() as i64 {
        let text = format!("Start offset {offset} greater than input length {}.", text.len());
        return Err(text.into());
    }
    let all = limit == 0 && offset == 0;
    let limit = if all { usize::MAX } else { limit as usize };
    let mut cursor = Cursor { lua, rest: &text[offset as usize..] };
    let mut values = Vec::new();
    while !cursor.rest.is_empty() && values.len() < limit {
        values.push(cursor.value(0)?);
    }
    if !all {
        let left = cursor.rest.len();
        let end = if left == 0 { -1 } else { (text.len() - left) as i64 };
        values.insert(0, Value::Integer(end));
    }
    Ok(MultiValue::from_iter(values))
}

/// Nesting beyond which input is refused.
const MAX_DEPTH: usize = 1000;

struct Cursor<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn take(&mut self, len: usize) -> Outcome<&[u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err("Missing bytes in input.".into());
        };
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned integer of `len` bytes.
    fn number(&mut self, len: usize) -> Outcome<u64> {
        Ok(self.take(len)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    fn text(&mut self, len: usize) -> Outcome<Value> {
        let lua = self.lua;
        Ok(Value::String(lua.create_string(self.take(len)?)?))
    }

    fn array(&mut self, len: usize, depth: usize) -> Outcome<Value> {
        let table = self.lua.create_table()?;
        for index in 1..=len {
            table.raw_set(index, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> Outcome<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }

    fn value(&mut self, depth: usize) -> Outcome<Value> {
        if depth > MAX_DEPTH {
            return Err("Bad data format in input.".into());
        }
        let code = self.number(1)? as u8;
        Ok(match code {
            0..0x80 => Value::Number(code.into()),
            0x80..0x90 => self.map((code & 15).into(), depth)?,
            0x90..0xa0 => self.array((code & 15).into(), depth)?,
            0xa0..0xc0 => self.text((code & 31).into())?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xc4 | 0xd9 => {
                let len = self.number(1)?;
                self.text(len as usize)?
            }
            0xc5 | 0xda => {
                let len = self.number(2)?;
                self.text(len as usize)?
            }
            0xc6 | 0xdb => {
                let len = self.number(4)?;
                self.text(len as usize)?
            }
            0xca => Value::Number(f32::from_bits(self.number(4)? as u32).into()),
            0xcb => Value::Number(f64::from_bits(self.number(8)?)),
            0xcc => Value::Number(self.number(1)? as f64),
            0xcd => Value::Number(self.number(2)? as f64),
            0xce => Value::Number(self.number(4)? as f64),
            0xcf => Value::Number(self.number(8)? as f64),
            0xd0 => Value::Number((self.number(1)? as i8).into()),
            0xd1 => Value::Number((self.number(2)? as i16).into()),
            0xd2 => Value::Number((self.number(4)? as i32).into()),
            0xd3 => Value::Number(self.number(8)? as i64 as f64),
            0xdc => {
                let len = self.number(2)?;
                self.array(len as usize, depth)?
            }
            0xdd => {
                let len = self.number(4)?;
                self.array(len as usize, depth)?
            }
            0xde => {
                let len = self.number(2)?;
                self.map(len as usize, depth)?
            }
            0xdf => {
                let len = self.number(4)?;
                self.map(len as usize, depth)?
            }
            0xe0.. => Value::Number((code as i8).into()),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err("Bad data format in input.".into()),
        })
    }
}
