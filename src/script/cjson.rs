//! `cjson`: JSON for scripts, with the limits and the texts of the library they know by that name.

use super::shim::{Raise, define};
use crate::text::number::format_general;
use mlua::{Lua, MultiValue, Result, Table, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// What scripts may set.
struct Settings {
    sparse_convert: AtomicBool,
    sparse_ratio: AtomicI64,
    sparse_safe: AtomicI64,
    encode_depth: AtomicI64,
    decode_depth: AtomicI64,
    precision: AtomicI64,
    keep_buffer: AtomicBool,
    /// 0: refused, 1: written, 2: null.
    encode_invalid: AtomicI64,
    decode_invalid: AtomicBool,
}

impl Settings {
    fn new() -> Settings {
        Settings {
            sparse_convert: AtomicBool::new(false),
            sparse_ratio: AtomicI64::new(2),
            sparse_safe: AtomicI64::new(10),
            encode_depth: AtomicI64::new(1000),
            decode_depth: AtomicI64::new(1000),
            precision: AtomicI64::new(14),
            keep_buffer: AtomicBool::new(true),
            encode_invalid: AtomicI64::new(0),
            decode_invalid: AtomicBool::new(true),
        }
    }
}

type Outcome<T> = std::result::Result<T, Raise>;

/// The table `cjson`.
pub fn table(lua: &Lua) -> Result<Table> {
    let json = lua.create_table()?;
    let settings = Arc::new(Settings::new());
    let with = Arc::clone(&settings);
    define(lua, &json, "encode", move |lua, args| {
        let value = single(args, "encode")?;
        let mut out = Vec::new();
        encode(&with, &value, 0, &mut out)?;
        Ok(lua.create_string(out)?)
    })?;
    let with = Arc::clone(&settings);
    define(lua, &json, "decode", move |lua, args| {
        let text = match single(args, "decode")? {
            Value::String(text) => text,
            Value::Integer(number) => lua.create_string(number.to_string())?,
            Value::Number(number) => {
                let mut out = Vec::new();
                format_general(number, 14, &mut out);
                lua.create_string(out)?
            }
            other => {
                return Err(bad_argument(
                    "decode",
                    1,
                    &format!("string expected, got {}", type_name(&other)),
                ));
            }
        };
        let text = text.as_bytes();
        if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
            return Err("JSON parser does not support UTF-16 or UTF-32".into());
        }
        let mut parser = Parser { lua, settings: &with, text: &text, at: 0, depth: 0 };
        let token = parser.token();
        let value = parser.value(token)?;
        let (token, start) = parser.token();
        match token {
            Token::End => Ok(value),
            _ => Err(parser.expected("the end", &token, start)),
        }
    })?;
    limits(lua, &json, &settings)?;
    define(lua, &json, "new", |lua, _| Ok(table(lua)?))?;
    json.raw_set("null", Value::NULL)?;
    json.raw_set("_NAME", "cjson")?;
    json.raw_set("_VERSION", "2.1.0")?;
    Ok(json)
}

/// The functions that read and set limits.
fn limits(lua: &Lua, json: &Table, settings: &Arc<Settings>) -> Result<()> {
    let with = Arc::clone(settings);
    define(lua, json, "encode_sparse_array", move |_, args| {
        set_flag(args.front(), &with.sparse_convert, 1, "encode_sparse_array")?;
        set_number(args.get(1), &with.sparse_ratio, 0..=i64::from(i32::MAX), 2, "encode_sparse_array")?;
        set_number(args.get(2), &with.sparse_safe, 0..=i64::from(i32::MAX), 3, "encode_sparse_array")?;
        Ok((
            with.sparse_convert.load(Relaxed),
            with.sparse_ratio.load(Relaxed),
            with.sparse_safe.load(Relaxed),
        ))
    })?;
    let with = Arc::clone(settings);
    define(lua, json, "encode_max_depth", move |_, args| {
        set_number(args.front(), &with.encode_depth, 1..=i64::from(i32::MAX), 1, "encode_max_depth")?;
        Ok(with.encode_depth.load(Relaxed))
    })?;
    let with = Arc::clone(settings);
    define(lua, json, "decode_max_depth", move |_, args| {
        set_number(args.front(), &with.decode_depth, 1..=i64::from(i32::MAX), 1, "decode_max_depth")?;
        Ok(with.decode_depth.load(Relaxed))
    })?;
    let with = Arc::clone(settings);
    define(lua, json, "encode_number_precision", move |_, args| {
        set_number(args.front(), &with.precision, 1..=14, 1, "encode_number_precision")?;
        Ok(with.precision.load(Relaxed))
    })?;
    let with = Arc::clone(settings);
    define(lua, json, "encode_keep_buffer", move |_, args| {
        set_flag(args.front(), &with.keep_buffer, 1, "encode_keep_buffer")?;
        Ok(with.keep_buffer.load(Relaxed))
    })?;
    let with = Arc::clone(settings);
    define(lua, json, "encode_invalid_numbers", move |lua, args| {
        match args.front() {
            Some(Value::String(word)) if word == "null" => with.encode_invalid.store(2, Relaxed),
            Some(Value::String(word)) if word == "on" => with.encode_invalid.store(1, Relaxed),
            Some(Value::String(word)) if word == "off" => with.encode_invalid.store(0, Relaxed),
            Some(Value::Boolean(on)) => with.encode_invalid.store((*on).into(), Relaxed),
            None | Some(Value::Nil) => {}
            Some(other) => return Err(bad_option("encode_invalid_numbers", 1, other)),
        }
        Ok(match with.encode_invalid.load(Relaxed) {
            2 => Value::String(lua.create_string("null")?),
            on => Value::Boolean(on == 1),
        })
    })?;
    let with = Arc::clone(settings);
    define(lua, json, "decode_invalid_numbers", move |_, args| {
        set_flag(args.front(), &with.decode_invalid, 1, "decode_invalid_numbers")?;
        Ok(with.decode_invalid.load(Relaxed))
    })
}

fn bad_argument(function: &str, index: usize, problem: &str) -> Raise {
    Raise::Message(format!("bad argument #{index} to '{function}' ({problem})"))
}

fn bad_option(function: &str, index: usize, option: &Value) -> Raise {
    match super::convert::text(option) {
        Some(text) => {
            bad_argument(function, index, &format!("invalid option '{}'", String::from_utf8_lossy(&text)))
        }
        None => bad_argument(function, index, &format!("string expected, got {}", type_name(option))),
    }
}

fn set_flag(value: Option<&Value>, flag: &AtomicBool, index: usize, function: &str) -> Outcome<()> {
    match value {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(on)) => flag.store(*on, Relaxed),
        Some(Value::String(word)) if word == "on" => flag.store(true, Relaxed),
        Some(Value::String(word)) if word == "off" => flag.store(false, Relaxed),
        Some(other) => return Err(bad_option(function, index, other)),
    }
    Ok(())
}

fn set_number(
    value: Option<&Value>,
    number: &AtomicI64,
    range: std::ops::RangeInclusive<i64>,
    index: usize,
    function: &str,
) -> Outcome<()> {
    let Some(value) = value.filter(|value| !value.is_nil()) else { return Ok(()) };
    let Some(wanted) = super::convert::to_number(value) else {
        return Err(bad_argument(function, index, &format!("number expected, got {}", type_name(value))));
    };
    if !range.contains(&(wanted as i64)) {
        let problem = format!("expected integer between {} and {}", range.start(), range.end());
        return Err(bad_argument(function, index, &problem));
    }
    number.store(wanted as i64, Relaxed);
    Ok(())
}

fn single(mut args: MultiValue, function: &str) -> Outcome<Value> {
    match (args.len(), args.pop_front()) {
        (1, Some(value)) => Ok(value),
        _ => Err(bad_argument(function, 1, "expected 1 argument")),
    }
}

/// The name Lua has for the type of `value`.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => "userdata",
        other => other.type_name(),
    }
}

fn encode(settings: &Settings, value: &Value, depth: i64, out: &mut Vec<u8>) -> Outcome<()> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::LightUserData(pointer) if pointer.0.is_null() => out.extend_from_slice(b"null"),
        Value::Boolean(yes) => out.extend_from_slice(if *yes { b"true" } else { b"false" }),
        Value::Integer(number) => encode_number(settings, *number as f64, out)?,
        Value::Number(number) => encode_number(settings, *number, out)?,
        Value::String(text) => encode_text(&text.as_bytes(), out),
        Value::Table(table) => {
            let depth = depth + 1;
            if depth > settings.encode_depth.load(Relaxed) {
                return Err(format!("Cannot serialise, excessive nesting ({depth})").into());
            }
            match array_len(settings, table)? {
                Some(len) => encode_array(settings, table, len, depth, out)?,
                None => encode_object(settings, table, depth, out)?,
            }
        }
        other => return Err(unsupported(other, "type not supported")),
    }
    Ok(())
}

fn unsupported(value: &Value, why: &str) -> Raise {
    Raise::Message(format!("Cannot serialise {}: {why}", type_name(value)))
}

fn encode_number(settings: &Settings, number: f64, out: &mut Vec<u8>) -> Outcome<()> {
    if !number.is_finite() {
        match settings.encode_invalid.load(Relaxed) {
            0 => return Err("Cannot serialise number: must not be NaN or Inf".into()),
            1 if number.is_nan() => return encode_word(b"nan", out),
            1 => {}
            _ => return encode_word(b"null", out),
        }
    }
    format_general(number, settings.precision.load(Relaxed) as usize, out);
    Ok(())
}

fn encode_word(word: &[u8], out: &mut Vec<u8>) -> Outcome<()> {
    out.extend_from_slice(word);
    Ok(())
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' | b'/' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The length of a table that is an array; nothing if it is an object.
fn array_len(settings: &Settings, table: &Table) -> Outcome<Option<i64>> {
    let (mut max, mut items) = (0i64, 0i64);
    for pair in table.pairs::<Value, Value>() {
        let index = match pair?.0 {
            Value::Integer(index) if index >= 1 => index,
            Value::Number(index) if index >= 1.0 && index.fract() == 0.0 => index as i64,
            _ => return Ok(None),
        };
        max = max.max(index);
        items += 1;
    }
    if items == 0 {
        return Ok(None);
    }
    let ratio = settings.sparse_ratio.load(Relaxed);
    if ratio > 0 && max > items.saturating_mul(ratio) && max > settings.sparse_safe.load(Relaxed) {
        if !settings.sparse_convert.load(Relaxed) {
            return Err("Cannot serialise table: excessively sparse array".into());
        }
        return Ok(None);
    }
    Ok(Some(max))
}

fn encode_array(settings: &Settings, table: &Table, len: i64, depth: i64, out: &mut Vec<u8>) -> Outcome<()> {
    out.push(b'[');
    for index in 1..=len {
        if index > 1 {
            out.push(b',');
        }
        encode(settings, &table.raw_get(index)?, depth, out)?;
    }
    out.push(b']');
    Ok(())
}

fn encode_object(settings: &Settings, table: &Table, depth: i64, out: &mut Vec<u8>) -> Outcome<()> {
    out.push(b'{');
    let mut first = true;
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        if !std::mem::replace(&mut first, false) {
            out.push(b',');
        }
        match &key {
            Value::String(text) => encode_text(&text.as_bytes(), out),
            Value::Integer(_) | Value::Number(_) => {
                out.push(b'"');
                encode_number(settings, super::convert::number(&key).unwrap_or_default(), out)?;
                out.push(b'"');
            }
            other => return Err(unsupported(other, "table key must be a number or string")),
        }
        out.push(b':');
        encode(settings, &value, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Colon,
    Comma,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    End,
    Wrong(&'static str),
}

impl Token {
    /// What errors call it.
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::Text(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::End => "T_END",
            Token::Wrong(what) => what,
        }
    }
}

struct Parser<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
    depth: i64,
}

impl Parser<'_> {
    fn expected(&self, what: &str, found: &Token, start: usize) -> Raise {
        Raise::Message(format!("Expected {what} but found {} at character {}", found.name(), start + 1))
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next token and where it starts.
    fn token(&mut self) -> (Token, usize) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let start = self.at;
        let Some(&byte) = self.text.get(start) else { return (Token::End, start) };
        let punctuation = match byte {
            b'{' => Some(Token::ObjectBegin),
            b'}' => Some(Token::ObjectEnd),
            b'[' => Some(Token::ArrayBegin),
            b']' => Some(Token::ArrayEnd),
            b':' => Some(Token::Colon),
            b',' => Some(Token::Comma),
            _ => None,
        };
        if let Some(token) = punctuation {
            self.at += 1;
            return (token, start);
        }
        let rest = &self.text[start..];
        match byte {
            b'"' => return self.string_token(start),
            b'-' | b'0'..=b'9' => {
                if !self.settings.decode_invalid.load(Relaxed) && is_invalid_number(rest) {
                    return (Token::Wrong("invalid number"), start);
                }
                return self.number_token(start);
            }
            _ => {}
        }
        for (word, token) in
            [("true", Token::Boolean(true)), ("false", Token::Boolean(false)), ("null", Token::Null)]
        {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return (token, start);
            }
        }
        if self.settings.decode_invalid.load(Relaxed) && is_invalid_number(rest) {
            return self.number_token(start);
        }
        (Token::Wrong("invalid token"), start)
    }

    fn number_token(&mut self, start: usize) -> (Token, usize) {
        let (value, len) = super::number::parse_prefix(&self.text[start..]);
        if len == 0 {
            return (Token::Wrong("invalid number"), start);
        }
        self.at += len;
        (Token::Number(value), start)
    }

    fn string_token(&mut self, start: usize) -> (Token, usize) {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return (Token::Wrong("unexpected end of string"), self.text.len());
            };
            match byte {
                b'"' => {
                    self.at += 1;
                    return (Token::Text(out), start);
                }
                b'\\' => {
                    let plain = match self.peek(1) {
                        b'"' => b'"',
                        b'\\' => b'\\',
                        b'/' => b'/',
                        b'b' => 0x08,
                        b'f' => 0x0c,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            let Some(len) = self.unicode(&mut out) else {
                                return (Token::Wrong("invalid unicode escape code"), self.at);
                            };
                            self.at += len;
                            continue;
                        }
                        _ => return (Token::Wrong("invalid escape code"), self.at),
                    };
                    out.push(plain);
                    self.at += 2;
                }
                _ => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// Decodes `\u` and four digits, or two of them that make one character; returns the bytes used up.
    fn unicode(&self, out: &mut Vec<u8>) -> Option<usize> {
        let hex = |from: usize| -> Option<u32> {
            let digits = self.text.get(self.at + from..self.at + from + 4)?;
            digits.iter().try_fold(0, |sum, &digit| Some(sum << 4 | char::from(digit).to_digit(16)?))
        };
        let first = hex(2)?;
        if first & 0xfc00 == 0xdc00 {
            return None;
        }
        let (code, len) = if first & 0xfc00 == 0xd800 {
            if (self.peek(6), self.peek(7)) != (b'\\', b'u') {
                return None;
            }
            let second = hex(8).filter(|second| second & 0xfc00 == 0xdc00)?;
            (((first & 0x3ff) << 10 | second & 0x3ff) + 0x10000, 12)
        } else {
            (first, 6)
        };
        let character = char::from_u32(code)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(len)
    }

    fn value(&mut self, (token, start): (Token, usize)) -> Outcome<Value> {
        Ok(match token {
            Token::Text(text) => Value::String(self.lua.create_string(text)?),
            Token::Number(number) => Value::Number(number),
            Token::Boolean(yes) => Value::Boolean(yes),
            Token::Null => Value::NULL,
            Token::ObjectBegin => {
                self.descend()?;
                let object = self.object()?;
                self.depth -= 1;
                object
            }
            Token::ArrayBegin => {
                self.descend()?;
                let array = self.array()?;
                self.depth -= 1;
                array
            }
            other => return Err(self.expected("value", &other, start)),
        })
    }

    fn descend(&mut self) -> Outcome<()> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth.load(Relaxed) {
            let text =
                format!("Found too many nested data structures ({}) at character {}", self.depth, self.at);
            return Err(text.into());
        }
        Ok(())
    }

    fn object(&mut self) -> Outcome<Value> {
        let table = self.lua.create_table()?;
        let (mut token, mut start) = self.token();
        if let Token::ObjectEnd = token {
            return Ok(Value::Table(table));
        }
        loop {
            let Token::Text(key) = token else {
                return Err(self.expected("object key string", &token, start));
            };
            (token, start) = self.token();
            let Token::Colon = token else { return Err(self.expected("colon", &token, start)) };
            let next = self.token();
            let value = self.value(next)?;
            table.raw_set(self.lua.create_string(key)?, value)?;
            (token, start) = self.token();
            match token {
                Token::ObjectEnd => return Ok(Value::Table(table)),
                Token::Comma => (token, start) = self.token(),
                _ => return Err(self.expected("comma or object end", &token, start)),
            }
        }
    }

    fn array(&mut self) -> Outcome<Value> {
        let table = self.lua.create_table()?;
        let mut next = self.token();
        if let Token::ArrayEnd = next.0 {
            return Ok(Value::Table(table));
        }
        for index in 1.. {
            let value = self.value(next)?;
            table.raw_set(index, value)?;
            let (token, start) = self.token();
            match token {
                Token::ArrayEnd => break,
                Token::Comma => next = self.token(),
                _ => return Err(self.expected("comma or array end", &token, start)),
            }
        }
        Ok(Value::Table(table))
    }
}

/// Whether this starts as a number that JSON does not know: hexadecimal, infinite, not a number, or with a 0 in front.
fn is_invalid_number(text: &[u8]) -> bool {
    let text = match text {
        [b'+', ..] => return true,
        [b'-', rest @ ..] => rest,
        _ => text,
    };
    match text {
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        [b'0'..=b'9', ..] => false,
        _ => {
            let starts = |word: &str| {
                text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word.as_bytes())
            };
            starts("inf") || starts("nan")
        }
    }
}
