//! Strings as integers of any width: BITFIELD and BITFIELD_RO. The arithmetic is in `store/types/bits.rs`.

use super::bitmap::{BAD_BIT_OFFSET, edit, max_bytes};
use super::error::{self, CmdError};
use super::keys::Text;
use super::parse::{self, is};
use super::{Command, Cx, Group, command, flag, flags, spec};
use crate::config::notify;
use crate::store::types::bits::{FieldType, Overflow};
use shoal_protocol::resp::{Args, Output};
use smallvec::SmallVec;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("bitfield", -2, Group::Bitmap, bitfield)
        .flags(flags([flag::WRITE, flag::DENYOOM]))
        .keys(spec::SET)
        .doc(
            "3.2.0",
            "key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>> [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>> ...]]",
            "Performs arbitrary bitfield integer operations on strings.",
        ),
    command("bitfield_ro", -2, Group::Bitmap, bitfield_ro)
        .flags(flags([flag::READONLY, flag::FAST]))
        .keys(spec::READ)
        .doc(
            "6.0.0",
            "key [GET encoding offset [GET encoding offset ...]]",
            "Performs arbitrary read-only bitfield integer operations on strings.",
        ),
];

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

#[derive(Clone, Copy)]
struct Step {
    field: FieldType,
    offset: u64,
    action: Action,
}

type Steps = SmallVec<[Step; 4]>;

fn parse_steps(args: Args, max_bytes: u64) -> Result<Steps, CmdError> {
    let mut steps = Steps::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let (word, left) = (&args[at], args.len() - at - 1);
        if is(word, "overflow") && left >= 1 {
            overflow =
                Overflow::parse(&args[at + 1]).ok_or(CmdError::new("ERR Invalid OVERFLOW type specified"))?;
            at += 2;
            continue;
        }
        let operands = match word {
            _ if is(word, "get") => 2,
            _ if is(word, "set") || is(word, "incrby") => 3,
            _ => return Err(error::SYNTAX),
        };
        if left < operands {
            return Err(error::SYNTAX);
        }
        let field = FieldType::parse(&args[at + 1]).ok_or(CmdError::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        let offset = field.parse_offset(&args[at + 2], max_bytes).ok_or(BAD_BIT_OFFSET)?;
        let action = match word {
            _ if operands == 2 => Action::Get,
            _ if is(word, "set") => Action::Set(parse::int(&args[at + 3])?, overflow),
            _ => Action::Add(parse::int(&args[at + 3])?, overflow),
        };
        steps.push(Step { field, offset, action });
        at += operands + 1;
    }
    Ok(steps)
}

/// BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET ... | INCRBY ...> ...]
fn bitfield(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, true)
}

/// BITFIELD_RO key [GET encoding offset ...]
fn bitfield_ro(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    run(cx, args, false)
}

fn run(cx: &mut Cx, args: Args, may_write: bool) -> Result<(), CmdError> {
    let steps = parse_steps(args, max_bytes(cx))?;
    let writes = steps.iter().filter(|step| !matches!(step.action, Action::Get));
    let Some(len) = writes.map(|step| step.field.bytes_needed(step.offset)).max() else {
        let mut text = cx.keys.read_text(&args[1])?.unwrap_or(Text::Bytes(b""));
        let bytes = text.bytes();
        cx.out.array(steps.len());
        steps.iter().for_each(|step| cx.out.int(step.field.get(bytes, step.offset)));
        return Ok(());
    };
    if !may_write {
        return Err(CmdError::new("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let mut replies = SmallVec::<[Option<i64>; 4]>::new();
    let perform_all = |bytes: &mut [u8]| {
        let (mut wrote, mut changed) = (false, false);
        for step in &steps {
            let before = step.field.get(bytes, step.offset);
            let reply = step.perform(bytes);
            replies.push(reply);
            wrote |= reply.is_some() && !matches!(step.action, Action::Get);
            changed |= step.field.get(bytes, step.offset) != before;
        }
        (wrote, changed)
    };
    let ((wrote, changed), longer) = edit(cx, &args[1], len as usize, perform_all)?;
    if changed || (longer && wrote) {
        cx.keys.modified(notify::STRING, "setbit", &args[1]);
    }
    cx.out.array(replies.len());
    replies.iter().for_each(|reply| reply_field(cx.out, *reply));
    Ok(())
}

impl Step {
    /// The value to answer with; nothing where a value would have overflowed that must not.
    fn perform(&self, bytes: &mut [u8]) -> Option<i64> {
        match self.action {
            Action::Get => Some(self.field.get(bytes, self.offset)),
            Action::Set(value, overflow) => self.field.set(bytes, self.offset, value, overflow),
            Action::Add(by, overflow) => self.field.increment(bytes, self.offset, by, overflow),
        }
    }
}

fn reply_field(out: &mut Output, value: Option<i64>) {
    match value {
        Some(value) => out.int(value),
        None => out.null(),
    }
}
