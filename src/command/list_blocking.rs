//! The commands on lists that wait for an element: each does what its counterpart in [`list`](super::list) does, or waits.

use super::blocking::{self, Nothing, Timeout};
use super::client::Waiting;
use super::error::CmdError;
use super::list::{self, Several, limits, popped};
use super::{Command, Cx, Flags, Group, command, error, flag, flags, reply, spec};
use crate::store::types::list::{End, List};
use shoal_protocol::resp::Args;

const POP: Flags = flags([flag::WRITE, flag::BLOCKING]);
const MOVE: Flags = flags([flag::WRITE, flag::DENYOOM, flag::BLOCKING]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("blmove", 6, Group::List, blmove).flags(MOVE).keys(spec::MOVE).doc(
        "6.2.0",
        "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        "Pops an element from a list, pushes it to another list and returns it. Blocks until an element is available otherwise. Deletes the list if the last element was moved.",
    ),
    command("blmpop", -5, Group::List, blmpop)
        .flags(flags([flag::WRITE, flag::BLOCKING, flag::MOVABLE_KEYS]))
        .keys(spec::ACCESS_DELETE_COUNTED_SECOND)
        .doc(
            "7.0.0",
            "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
            "Pops the first element from one of multiple lists. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
        ),
    command("blpop", -3, Group::List, blpop).flags(POP).keys(spec::ACCESS_DELETE_BUT_LAST).doc(
        "2.0.0",
        "key [key ...] timeout",
        "Removes and returns the first element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
    ),
    command("brpop", -3, Group::List, brpop).flags(POP).keys(spec::ACCESS_DELETE_BUT_LAST).doc(
        "2.0.0",
        "key [key ...] timeout",
        "Removes and returns the last element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
    ),
    command("brpoplpush", 4, Group::List, brpoplpush).flags(MOVE).keys(spec::MOVE).doc(
        "2.2.0",
        "source destination timeout",
        "Pops an element from a list, pushes it to another list and returns it. Block until an element is available otherwise. Deletes the list if the last element was popped.",
    ),
];

/// BLPOP key [key ...] timeout
fn blpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Front)
}

/// BRPOP key [key ...] timeout
fn brpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Back)
}

fn pop(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    let last = args.len() - 1;
    let timeout = blocking::timeout(args, last)?;
    let limits = limits(cx.state);
    let keys = args.first(last).from(1);
    for key in keys {
        let Some(list) = blocking::one_of_several::<List>(cx.keys, cx.client.waiting, key)? else {
            continue;
        };
        cx.out.array(2);
        cx.out.bulk(key);
        list.pop(end, limits, |element| reply::element(cx.out, element));
        let empty = list.is_empty();
        popped(cx, key, end, empty);
        return Ok(());
    }
    blocking::wait(cx, args, keys, timeout, Nothing::Array);
    Ok(())
}

/// BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout
fn blmove(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (from, to) = (list::end(&args[3])?, list::end(&args[4])?);
    let timeout = blocking::timeout(args, 5)?;
    move_or_wait(cx, args, from, to, timeout)
}

/// BRPOPLPUSH source destination timeout
fn brpoplpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let timeout = blocking::timeout(args, 3)?;
    move_or_wait(cx, args, End::Back, End::Front, timeout)
}

fn move_or_wait(cx: &mut Cx, args: Args, from: End, to: End, timeout: Timeout) -> Result<(), CmdError> {
    let (source, destination) = (&args[1], &args[2]);
    match list::move_element(cx, source, destination, from, to) {
        Ok(true) => {}
        // Where it may not wait, Redis answers null, but with a null array once the time is up.
        Ok(false) if cx.client.waiting == Waiting::Denied => cx.out.null(),
        Ok(false) => blocking::wait(cx, args, [source], timeout, Nothing::Array),
        Err(wrong) => {
            // A waiting request goes on waiting where the source is no list, but not where only the destination is none.
            let served = cx.client.waiting.has_waited();
            if !served
                || wrong != error::WRONG_TYPE
                || !matches!(cx.keys.update_as::<List>(source), Ok(Some(_)))
            {
                return Err(wrong);
            }
            cx.out.error(wrong.text());
        }
    }
    Ok(())
}

/// BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]
fn blmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let several = Several::parse(args, 2)?;
    let timeout = blocking::timeout(args, 1)?;
    if !several.pop(cx)? {
        blocking::wait(cx, args, several.keys, timeout, Nothing::Array);
    }
    Ok(())
}
