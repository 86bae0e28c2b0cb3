//! `bit`: operations on the 32 lowest bits of numbers.

use super::shim::{Raise, define};
use mlua::{Lua, MultiValue, Result, Table};

type Outcome<T> = std::result::Result<T, Raise>;

/// The table `bit`.
pub fn table(lua: &Lua) -> Result<Table> {
    let bit = lua.create_table()?;
    define(lua, &bit, "tobit", |_, args| operand(&args, 0, "tobit"))?;
    define(lua, &bit, "bnot", |_, args| Ok(!operand(&args, 0, "bnot")?))?;
    define(lua, &bit, "bswap", |_, args| Ok(operand(&args, 0, "bswap")?.swap_bytes()))?;
    define(lua, &bit, "band", |_, args| fold(&args, "band", |a, b| a & b))?;
    define(lua, &bit, "bor", |_, args| fold(&args, "bor", |a, b| a | b))?;
    define(lua, &bit, "bxor", |_, args| fold(&args, "bxor", |a, b| a ^ b))?;
    define(lua, &bit, "lshift", |_, args| shift(&args, "lshift", |a, n| a << n))?;
    define(lua, &bit, "rshift", |_, args| shift(&args, "rshift", |a, n| ((a as u32) >> n) as i32))?;
    define(lua, &bit, "arshift", |_, args| shift(&args, "arshift", |a, n| a >> n))?;
    define(lua, &bit, "rol", |_, args| shift(&args, "rol", |a, n| a.rotate_left(n)))?;
    define(lua, &bit, "ror", |_, args| shift(&args, "ror", |a, n| a.rotate_right(n)))?;
    define(lua, &bit, "tohex", |_, args| {
        let value = operand(&args, 0, "tohex")? as u32;
        let digits = if args.len() < 2 { 8 } else { operand(&args, 1, "tohex")? };
        let hex = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
        let count = digits.unsigned_abs().min(8) as usize;
        Ok(hex[8 - count..].to_string())
    })?;
    Ok(bit)
}

/// An argument, its bits beyond the 32 lowest dropped and its fraction rounded.
fn operand(args: &MultiValue, at: usize, function: &str) -> Outcome<i32> {
    let number = args.get(at).and_then(super::convert::to_number);
    let Some(number) = number else {
        let got = args.get(at).map_or("no value", super::cjson::type_name);
        let text = format!("bad argument #{} to '{function}' (number expected, got {got})", at + 1);
        return Err(text.into());
    };
    // Adding 2^52 + 2^51 leaves the wanted bits lowest in the mantissa.
    Ok((number + 6_755_399_441_055_744.0).to_bits() as u32 as i32)
}

fn fold(args: &MultiValue, function: &str, join: fn(i32, i32) -> i32) -> Outcome<i32> {
    let mut result = operand(args, 0, function)?;
    for at in 1..args.len() {
        result = join(result, operand(args, at, function)?);
    }
    Ok(result)
}

fn shift(args: &MultiValue, function: &str, shift: fn(i32, u32) -> i32) -> Outcome<i32> {
    let value = operand(args, 0, function)?;
    Ok(shift(value, operand(args, 1, function)? as u32 & 31))
}
