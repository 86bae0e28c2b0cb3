//! `struct`: numbers and strings as bytes in a given layout, and back.

use super::shim::{Raise, define};
use super::{cjson::type_name, convert, vector};
use mlua::{Lua, Result, Table, Value};

/// The widest integer, in bytes.
const MAX_INTEGER: usize = 32;
/// What `!` aligns to when it names nothing.
const MAX_ALIGN: usize = 8;

type Outcome<T> = std::result::Result<T, Raise>;

/// The table `struct`.
pub fn table(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    define(lua, &table, "pack", |lua, args| {
        let args = vector(args);
        let format = string(&args, 0, "pack")?;
        Ok(lua.create_string(pack(&format, &args)?)?)
    })?;
    define(lua, &table, "unpack", |lua, args| {
        let args = vector(args);
        let (format, data) = (string(&args, 0, "unpack")?, string(&args, 1, "unpack")?);
        let from = match args.get(2) {
            None | Some(Value::Nil) => 1.0,
            Some(_) => number(&args, 2, "unpack")?,
        };
        if from < 1.0 {
            return Err(bad_argument(3, "unpack", "offset must be 1 or greater"));
        }
        let mut values = unpack(lua, &format, &data, from as usize - 1)?;
        let next = values.1;
        values.0.push(Value::Integer(next as i64 + 1));
        Ok(mlua::MultiValue::from_iter(values.0))
    })?;
    define(lua, &table, "size", |_, args| size(&string(&vector(args), 0, "size")?))?;
    Ok(table)
}

/// A layout being read.
struct Layout<'a> {
    rest: &'a [u8],
    function: &'static str,
    little: bool,
    align: usize,
}

impl<'a> Layout<'a> {
    fn new(format: &'a [u8], function: &'static str) -> Self {
        Layout { rest: format, function, little: cfg!(target_endian = "little"), align: 1 }
    }

    /// The next item and its size, what only sets the layout having been heeded.
    fn next(&mut self) -> Outcome<Option<(u8, usize)>> {
        while let [option, rest @ ..] = self.rest {
            self.rest = rest;
            let size = match option {
                b'b' | b'B' | b'x' => 1,
                b'h' | b'H' => 2,
                b'l' | b'L' | b'T' | b'd' => 8,
                b'f' => 4,
                b'c' => self.number()?.unwrap_or(1),
                b's' => 0,
                b'i' | b'I' => {
                    let size = self.number()?.unwrap_or(4);
                    if size > MAX_INTEGER {
                        let text = format!("integral size {size} is larger than limit of {MAX_INTEGER}");
                        return Err(text.into());
                    }
                    size
                }
                b' ' => continue,
                b'<' | b'>' => {
                    self.little = *option == b'<';
                    continue;
                }
                b'!' => {
                    let align = self.number()?.unwrap_or(MAX_ALIGN);
                    if !align.is_power_of_two() {
                        return Err(format!("alignment {align} is not a power of 2").into());
                    }
                    self.align = align;
                    continue;
                }
                other => {
                    let problem = format!("invalid format option '{}'", char::from(*other));
                    return Err(bad_argument(1, self.function, &problem));
                }
            };
            return Ok(Some((*option, size)));
        }
        Ok(None)
    }

    fn number(&mut self) -> Outcome<Option<usize>> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (text, rest) = self.rest.split_at(digits);
        if digits == 0 {
            return Ok(None);
        }
        self.rest = rest;
        let text = std::str::from_utf8(text).unwrap_or_default();
        match text.parse::<i32>() {
            Ok(number) => Ok(Some(number as usize)),
            Err(_) => Err("integral size overflow".into()),
        }
    }

    /// Bytes to pass over before an item of `size` bytes at `at`.
    fn padding(&self, at: usize, option: u8, size: usize) -> usize {
        let align = size.min(self.align);
        if option == b'c' || align <= 1 {
            return 0;
        }
        (align - (at & (align - 1))) & (align - 1)
    }
}

fn bad_argument(index: usize, function: &str, problem: &str) -> Raise {
    Raise::Message(format!("bad argument #{index} to '{function}' ({problem})"))
}

fn string(args: &[Value], at: usize, function: &str) -> Outcome<Vec<u8>> {
    let value = args.get(at);
    value.and_then(convert::text).ok_or_else(|| {
        let got = value.map_or("no value", type_name);
        bad_argument(at + 1, function, &format!("string expected, got {got}"))
    })
}

fn number(args: &[Value], at: usize, function: &str) -> Outcome<f64> {
    let value = args.get(at);
    value.and_then(convert::to_number).ok_or_else(|| {
        let got = value.map_or("nil", type_name);
        bad_argument(at + 1, function, &format!("number expected, got {got}"))
    })
}

fn pack(format: &[u8], args: &[Value]) -> Outcome<Vec<u8>> {
    let mut layout = Layout::new(format, "pack");
    let mut out = Vec::new();
    let mut at = 1;
    while let Some((option, size)) = layout.next()? {
        let padding = layout.padding(out.len(), option, size);
        out.resize(out.len() + padding, 0);
        match option {
            b'x' => out.push(0),
            b'f' => {
                let bytes = (number(args, at, "pack")? as f32).to_le_bytes();
                append(&mut out, &bytes, layout.little);
                at += 1;
            }
            b'd' => {
                let bytes = number(args, at, "pack")?.to_le_bytes();
                append(&mut out, &bytes, layout.little);
                at += 1;
            }
            b'c' | b's' => {
                let text = string(args, at, "pack")?;
                let size = if size == 0 { text.len() } else { size };
                if text.len() < size {
                    return Err(bad_argument(at + 2, "pack", "string too short"));
                }
                out.extend_from_slice(&text[..size]);
                if option == b's' {
                    out.push(0);
                }
                at += 1;
            }
            _ => {
                let value = number(args, at, "pack")?;
                let bits = if value < 0.0 { value as i64 as u64 } else { value as u64 };
                let mut bytes = [0; MAX_INTEGER];
                bytes[..8].copy_from_slice(&bits.to_le_bytes());
                append(&mut out, &bytes[..size], layout.little);
                at += 1;
            }
        }
    }
    Ok(out)
}

fn append(out: &mut Vec<u8>, little_endian: &[u8], little: bool) {
    if little {
        out.extend_from_slice(little_endian);
    } else {
        out.extend(little_endian.iter().rev());
    }
}

fn unpack(lua: &Lua, format: &[u8], data: &[u8], mut at: usize) -> Outcome<(Vec<Value>, usize)> {
    let mut layout = Layout::new(format, "unpack");
    let mut values = Vec::new();
    let too_short = || bad_argument(2, "unpack", "data string too short");
    while let Some((option, mut size)) = layout.next()? {
        at = at.saturating_add(layout.padding(at, option, size));
        if size > data.len() || at > data.len() - size {
            return Err(too_short());
        }
        let ordered = |size: usize| {
            let mut bytes = data[at..at + size].to_vec();
            if !layout.little {
                bytes.reverse();
            }
            bytes
        };
        match option {
            b'x' => {}
            b'f' => {
                let bytes: [u8; 4] = ordered(4).try_into().unwrap_or_default();
                values.push(Value::Number(f32::from_le_bytes(bytes).into()));
            }
            b'd' => {
                let bytes: [u8; 8] = ordered(8).try_into().unwrap_or_default();
                values.push(Value::Number(f64::from_le_bytes(bytes)));
            }
            b'c' => {
                if size == 0 {
                    let wanted = values.pop().as_ref().and_then(convert::number);
                    let wanted = wanted.ok_or("format 'c0' needs a previous size")?;
                    size = wanted.max(0.0) as usize;
                    if wanted < 0.0 || size > data.len() || at > data.len() - size {
                        return Err(too_short());
                    }
                }
                values.push(Value::String(lua.create_string(&data[at..at + size])?));
            }
            b's' => {
                let end = memchr::memchr(0, &data[at..]).ok_or("unfinished string in data")?;
                values.push(Value::String(lua.create_string(&data[at..at + end])?));
                size = end + 1;
            }
            _ => {
                let bytes = ordered(size);
                let mut bits = [0; 8];
                let kept = size.min(8);
                bits[..kept].copy_from_slice(&bytes[..kept]);
                let mut value = u64::from_le_bytes(bits);
                let number = if option.is_ascii_lowercase() {
                    if (1..8).contains(&size) && value >> (size * 8 - 1) & 1 == 1 {
                        value |= !0 << (size * 8);
                    }
                    value as i64 as f64
                } else {
                    value as f64
                };
                values.push(Value::Number(number));
            }
        }
        at += size;
    }
    Ok((values, at))
}

fn size(format: &[u8]) -> Outcome<usize> {
    let mut layout = Layout::new(format, "size");
    let mut total: usize = 0;
    while let Some((option, size)) = layout.next()? {
        match (option, size) {
            (b's', _) => return Err(bad_argument(1, "size", "option 's' has no fixed size")),
            (b'c', 0) => return Err(bad_argument(1, "size", "option 'c0' has no fixed size")),
            _ => {}
        }
        total = total.saturating_add(layout.padding(total, option, size)).saturating_add(size);
    }
    Ok(total)
}
