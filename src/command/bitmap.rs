//! Strings as bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP. The arithmetic is in `store/types/bits.rs`.

use super::error::{self, CmdError};
use super::keys::{Text, text};
use super::parse::{self, is};
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::config::{id, notify};
use crate::store::entry::Extras;
use crate::store::types::bits::{self, Operation, Unit};
use shoal_protocol::resp::Args;

const READ: Flags = flag::READONLY;
const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM]);

/// A bit's offset is none.
pub(super) const BAD_BIT_OFFSET: CmdError = CmdError::new("ERR bit offset is not an integer or out of range");

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Bitmap, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("bitcount", -2, bitcount).flags(READ).keys(spec::READ).doc(
        "2.6.0",
        "key [start [end [BYTE | BIT]]]",
        "Counts the number of set bits (population counting) in a string.",
    ),
    row("bitop", -4, bitop).flags(WRITE).keys(spec::STORE_ALL_SECOND).doc(
        "2.6.0",
        "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
        "Performs bitwise operations on multiple strings, and stores the result.",
    ),
    row("bitpos", -3, bitpos).flags(READ).keys(spec::READ).doc(
        "2.8.7",
        "key bit [start [end [BYTE | BIT]]]",
        "Finds the first set (1) or clear (0) bit in a string.",
    ),
    row("getbit", 3, getbit).flags(flags([flag::READONLY, flag::FAST])).keys(spec::READ).doc(
        "2.2.0",
        "key offset",
        "Returns a bit value by offset.",
    ),
    row("setbit", 4, setbit).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "2.2.0",
        "key offset value",
        "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.",
    ),
];

/// How many bytes a string may have.
pub(super) fn max_bytes(cx: &Cx) -> u64 {
    cx.state.config.size(id::PROTO_MAX_BULK_LEN) as u64
}

fn offset(cx: &Cx, arg: &[u8]) -> Result<u64, CmdError> {
    let offset = parse::int(arg).ok().and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset / 8 < max_bytes(cx)).ok_or(BAD_BIT_OFFSET)
}

/// Changes the bytes of the string of `key`, which gets zeros behind it to be at least `len` long, and is made if there is
/// none. Returns what `change` returns, and whether the string is new or longer than before.
pub(super) fn edit<R>(
    cx: &mut Cx,
    key: &[u8],
    len: usize,
    change: impl FnOnce(&mut [u8]) -> R,
) -> Result<(R, bool), CmdError> {
    let Some(entry) = cx.keys.find(key) else {
        let mut bytes = vec![0; len];
        let result = change(&mut bytes);
        cx.keys.put_raw(key, bytes, Extras::default());
        return Ok((result, true));
    };
    let grows = text(entry)?.len() < len;
    if let Some(bytes) = entry.inline_mut()
        && !grows
    {
        let result = change(bytes);
        entry.set_raw();
        return Ok((result, false));
    }
    let change = |bytes: &mut Vec<u8>| {
        if grows {
            bytes.resize(len, 0);
        }
        change(bytes)
    };
    let result = cx.keys.edit(key, change).expect("the key holds a string");
    Ok((result, grows))
}

/// SETBIT key offset value
fn setbit(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    const BAD_BIT: CmdError = CmdError::new("ERR bit is not an integer or out of range");
    let offset = offset(cx, &args[2])?;
    let on = match parse::int(&args[3]) {
        Ok(0) => false,
        Ok(1) => true,
        _ => return Err(BAD_BIT),
    };
    let set = |bytes: &mut [u8]| bits::set_bit(bytes, offset, on);
    let (before, longer) = edit(cx, &args[1], offset as usize / 8 + 1, set)?;
    if longer || before != on {
        cx.keys.modified(notify::STRING, "setbit", &args[1]);
    }
    cx.out.int(i64::from(before));
    Ok(())
}

/// GETBIT key offset
fn getbit(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let offset = offset(cx, &args[2])?;
    let bit = cx.keys.read_text(&args[1])?.is_some_and(|mut text| bits::bit(text.bytes(), offset));
    cx.out.int(i64::from(bit));
    Ok(())
}

/// A part of a string: `[start [end [BYTE | BIT]]]` from argument `at` on. Without an end it is the last byte.
struct Part {
    start: i64,
    end: Option<i64>,
    unit: Unit,
}

impl Part {
    fn parse(args: Args, at: usize) -> Result<Part, CmdError> {
        let start = args.get(at).map_or(Ok(0), parse::int)?;
        let unit = match args.get(at + 2) {
            _ if args.len() > at + 3 => return Err(error::SYNTAX),
            None => Unit::Byte,
            Some(word) if is(word, "byte") => Unit::Byte,
            Some(word) if is(word, "bit") => Unit::Bit,
            Some(_) => return Err(error::SYNTAX),
        };
        let end = args.get(at + 1).map(parse::int).transpose()?;
        Ok(Part { start, end, unit })
    }
}

/// BITCOUNT key [start [end [BYTE | BIT]]]
fn bitcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let Part { start, end, unit } = Part::parse(args, 2)?;
    let count = match cx.keys.read_text(&args[1])? {
        None => 0,
        Some(mut text) if args.len() == 2 => bits::count(text.bytes()),
        Some(mut text) => bits::count_range(text.bytes(), start, end.unwrap_or(-1), unit),
    };
    cx.out.int(count as i64);
    Ok(())
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
fn bitpos(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let wanted = match parse::int(&args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CmdError::new("ERR The bit argument must be 1 or 0.")),
    };
    let Part { start, end, unit } = Part::parse(args, 3)?;
    let position = match cx.keys.read_text(&args[1])? {
        Some(mut text) => bits::position(text.bytes(), wanted, start, end, unit),
        // Zeros without end.
        None => (!wanted).then_some(0),
    };
    cx.out.int(position.map_or(-1, |at| at as i64));
    Ok(())
}

/// BITOP <AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]
fn bitop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let operation = Operation::parse(&args[1]).ok_or(error::SYNTAX)?;
    let sources = args.from(3);
    match operation {
        Operation::Not if sources.len() > 1 => {
            return Err(CmdError::new("ERR BITOP NOT must be called with a single source key."));
        }
        Operation::Diff | Operation::Diff1 | Operation::AndOr if sources.len() < 2 => {
            let name = operation.name();
            return Err(CmdError::with(format!(
                "ERR BITOP {name} must be called with at least two source keys."
            )));
        }
        _ => {}
    }
    for key in sources {
        cx.keys.read_text(key)?;
    }
    // Held side by side, now that all are counted as read and known to be strings.
    let keys = &cx.keys;
    let mut texts: Vec<Text> = sources
        .iter()
        .map(|key| keys.peek(key).map_or(Ok(Text::Bytes(b"")), text))
        .collect::<Result<_, _>>()?;
    let texts: Vec<&[u8]> = texts.iter_mut().map(|text| text.bytes()).collect();
    let result = bits::combine(operation, &texts);
    let (key, len) = (&args[2], result.len());
    if len > 0 {
        cx.keys.put_raw(key, result, Extras::default());
        cx.keys.modified(notify::STRING, "set", key);
    } else if cx.keys.remove(key) {
        cx.keys.modified(notify::GENERIC, "del", key);
    }
    cx.out.int(len as i64);
    Ok(())
}
