//! Lists. The commands that wait for an element are in [`list_blocking`](super::list_blocking).

use super::blocking;
use super::error::{self, CmdError};
use super::parse::{self, is, operand};
use super::{Command, Cx, Flags, Group, command, flag, flags, reply, spec};
use crate::config::{id, notify};
use crate::state::State;
use crate::store::types::list::{End, List, ListLimits};
use shoal_protocol::resp::{Args, Output};
use std::ops::Range;

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const SLOW_READ: Flags = flag::READONLY;
const PUSH: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);
const POP: Flags = flags([flag::WRITE, flag::FAST]);
const GROW: Flags = flags([flag::WRITE, flag::DENYOOM]);
const REMOVE: Flags = flag::WRITE;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("lindex", 3, Group::List, lindex).flags(SLOW_READ).keys(spec::READ).doc(
        "1.0.0",
        "key index",
        "Returns an element from a list by its index.",
    ),
    command("linsert", 5, Group::List, linsert).flags(GROW).keys(spec::INSERT).doc(
        "2.2.0",
        "key <BEFORE | AFTER> pivot element",
        "Inserts an element before or after another element in a list.",
    ),
    command("llen", 2, Group::List, llen).flags(READ).keys(spec::READ_META).doc(
        "1.0.0",
        "key",
        "Returns the length of a list.",
    ),
    command("lmove", 5, Group::List, lmove).flags(GROW).keys(spec::MOVE).doc(
        "6.2.0",
        "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last element was moved.",
    ),
    command("lmpop", -4, Group::List, lmpop)
        .flags(flags([flag::WRITE, flag::MOVABLE_KEYS]))
        .keys(spec::ACCESS_DELETE_COUNTED)
        .doc(
            "7.0.0",
            "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
            "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped.",
        ),
    command("lpop", -2, Group::List, lpop).flags(POP).keys(spec::ACCESS_DELETE).doc(
        "1.0.0",
        "key [count]",
        "Returns and removes one or more elements from the beginning of a list. Deletes the list if the last element was popped.",
    ),
    command("lpos", -3, Group::List, lpos).flags(SLOW_READ).keys(spec::READ).doc(
        "6.0.6",
        "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        "Returns the index of matching elements in a list.",
    ),
    command("lpush", -3, Group::List, lpush).flags(PUSH).keys(spec::INSERT).doc(
        "1.0.0",
        "key element [element ...]",
        "Prepends one or more elements to a list. Creates the key if it doesn't exist.",
    ),
    command("lpushx", -3, Group::List, lpushx).flags(PUSH).keys(spec::INSERT).doc(
        "2.2.0",
        "key element [element ...]",
        "Prepends one or more elements to a list only when the list exists.",
    ),
    command("lrange", 4, Group::List, lrange).flags(SLOW_READ).keys(spec::READ).doc(
        "1.0.0",
        "key start stop",
        "Returns a range of elements from a list.",
    ),
    command("lrem", 4, Group::List, lrem).flags(REMOVE).keys(spec::DELETE).doc(
        "1.0.0",
        "key count element",
        "Removes elements from a list. Deletes the list if the last element was removed.",
    ),
    command("lset", 4, Group::List, lset).flags(GROW).keys(spec::UPDATE).doc(
        "1.0.0",
        "key index element",
        "Sets the value of an element in a list by its index.",
    ),
    command("ltrim", 4, Group::List, ltrim).flags(REMOVE).keys(spec::DELETE).doc(
        "1.0.0",
        "key start stop",
        "Removes elements from both ends a list. Deletes the list if all elements were trimmed.",
    ),
    command("rpop", -2, Group::List, rpop).flags(POP).keys(spec::ACCESS_DELETE).doc(
        "1.0.0",
        "key [count]",
        "Returns and removes one or more elements from the end of a list. Deletes the list if the last element was popped.",
    ),
    command("rpoplpush", 3, Group::List, rpoplpush).flags(GROW).keys(spec::MOVE).doc(
        "1.2.0",
        "source destination",
        "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the last element was popped.",
    ),
    command("rpush", -3, Group::List, rpush).flags(PUSH).keys(spec::INSERT).doc(
        "1.0.0",
        "key element [element ...]",
        "Appends one or more elements to a list. Creates the key if it doesn't exist.",
    ),
    command("rpushx", -3, Group::List, rpushx).flags(PUSH).keys(spec::INSERT).doc(
        "2.2.0",
        "key element [element ...]",
        "Appends an element to a list only when the list exists.",
    ),
];

/// How large the packs of lists may get, by the settings in force.
#[inline]
pub fn limits(state: &State) -> ListLimits {
    ListLimits { max_listpack_size: state.config.int(id::LIST_MAX_LISTPACK_SIZE) as i32 }
}

/// LEFT or RIGHT.
pub fn end(word: &[u8]) -> Result<End, CmdError> {
    match () {
        () if is(word, "left") => Ok(End::Front),
        () if is(word, "right") => Ok(End::Back),
        () => Err(error::SYNTAX),
    }
}

/// Says that an element was taken from `end` of the list of `key`, and removes the list if it is `empty` now.
pub fn popped(cx: &mut Cx, key: &[u8], end: End, empty: bool) {
    cx.keys.modified(notify::LIST, if end == End::Front { "lpop" } else { "rpop" }, key);
    remove_if(cx, key, empty);
}

fn remove_if(cx: &mut Cx, key: &[u8], empty: bool) {
    if empty {
        cx.keys.remove_emptied(key);
    }
}

/// The elements an inclusive range of indexes names, negative ones counting from the end; empty if there are none.
fn range(first: i64, last: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_front = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let first = from_front(first).max(0);
    let end = from_front(last).saturating_add(1).min(len);
    if first < end { first as usize..end as usize } else { 0..0 }
}

// Pushing.

/// LPUSH key element [element ...]
fn lpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push(cx, args, End::Front)
}

/// RPUSH key element [element ...]
fn rpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push(cx, args, End::Back)
}

/// LPUSHX key element [element ...]
fn lpushx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push_to_present(cx, args, End::Front)
}

/// RPUSHX key element [element ...]
fn rpushx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    push_to_present(cx, args, End::Back)
}

/// Refuses elements longer than a list can hold, which only a `proto-max-bulk-len` set that high lets come in.
pub fn check(state: &State, elements: Args) -> Result<(), CmdError> {
    let may_come = state.config.size(id::PROTO_MAX_BULK_LEN) > List::MAX_ELEMENT_BYTES;
    if may_come && elements.iter().any(|element| element.len() > List::MAX_ELEMENT_BYTES) {
        return Err(TOO_LONG);
    }
    Ok(())
}

/// An element is longer than a list can hold.
pub const TOO_LONG: CmdError = CmdError::new("ERR Element exceeds the maximum size of 1 GiB");

fn push(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    let (key, limits) = (&args[1], limits(cx.state));
    check(cx.state, args.from(2))?;
    let list = cx.keys.create_as::<List>(key)?;
    list.push(end, args.from(2), limits);
    let len = list.len();
    pushed(cx, key, end);
    cx.out.int(len as i64);
    Ok(())
}

fn push_to_present(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    let (key, limits) = (&args[1], limits(cx.state));
    check(cx.state, args.from(2))?;
    let Some(list) = cx.keys.update_as::<List>(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    list.push(end, args.from(2), limits);
    let len = list.len();
    pushed(cx, key, end);
    cx.out.int(len as i64);
    Ok(())
}

fn pushed(cx: &mut Cx, key: &[u8], end: End) {
    cx.keys.modified(notify::LIST, if end == End::Front { "lpush" } else { "rpush" }, key);
}

/// LINSERT key <BEFORE | AFTER> pivot element
fn linsert(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let after = match () {
        () if is(&args[2], "after") => true,
        () if is(&args[2], "before") => false,
        () => return Err(error::SYNTAX),
    };
    let (pivot, element, limits) = (&args[3], &args[4], limits(cx.state));
    check(cx.state, args.from(4))?;
    let Some(list) = cx.keys.update_as::<List>(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let found = if after {
        list.insert_after(pivot, element, limits)
    } else {
        list.insert_before(pivot, element, limits)
    };
    let len = list.len();
    if found {
        cx.keys.modified(notify::LIST, "linsert", key);
    }
    cx.out.int(if found { len as i64 } else { -1 });
    Ok(())
}

/// LSET key index element
fn lset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, limits) = (&args[1], limits(cx.state));
    check(cx.state, args.from(3))?;
    let list = cx.keys.update_as::<List>(key)?.ok_or(error::NO_SUCH_KEY)?;
    if !list.set(parse::int(&args[2])?, &args[3], limits) {
        return Err(error::OUT_OF_RANGE);
    }
    cx.keys.modified(notify::LIST, "lset", key);
    cx.out.ok();
    Ok(())
}

// Reading.

/// LLEN key
fn llen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.read_as::<List>(&args[1])?.map_or(0, List::len);
    cx.out.int(len as i64);
    Ok(())
}

/// LINDEX key index
fn lindex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = match cx.keys.read_as::<List>(&args[1])? {
        Some(list) => list.get(parse::int(&args[2])?),
        None => None,
    };
    match found {
        Some(element) => reply::element(cx.out, element),
        None => cx.out.null(),
    }
    Ok(())
}

/// LRANGE key start stop
fn lrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (first, last) = (parse::int(&args[2])?, parse::int(&args[3])?);
    let Some(list) = cx.keys.read_as::<List>(&args[1])? else {
        cx.out.array(0);
        return Ok(());
    };
    let range = range(first, last, list.len());
    cx.out.array(range.len());
    list.visit(range, |element| reply::element(cx.out, element));
    Ok(())
}

/// LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]
fn lpos(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (mut rank, mut count, mut compared) = (1, None, 0);
    let mut at = 3;
    while at < args.len() {
        let word = &args[at];
        let value = operand(&args, &mut at)?;
        if is(word, "rank") {
            rank = parse::symmetric(value)?;
            if rank == 0 {
                return Err(RANK_ZERO);
            }
        } else if is(word, "count") {
            count = Some(parse::at_least(0, value, CmdError::new("ERR COUNT can't be negative"))?);
        } else if is(word, "maxlen") {
            compared = parse::at_least(0, value, CmdError::new("ERR MAXLEN can't be negative"))?;
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    // 0 stands for no limit in both.
    let unlimited = |n: usize| if n == 0 { usize::MAX } else { n };
    let list = cx.keys.read_as::<List>(&args[1])?;
    let most = count.map_or(1, unlimited);
    let found = list.map_or_else(Vec::new, |list| list.positions(&args[2], rank, most, unlimited(compared)));
    match count {
        Some(_) => {
            cx.out.array(found.len());
            found.iter().for_each(|&index| cx.out.int(index as i64));
        }
        None => match found.first() {
            Some(&index) => cx.out.int(index as i64),
            None => cx.out.null(),
        },
    }
    Ok(())
}

const RANK_ZERO: CmdError = CmdError::new(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
);

// Removing.

/// LPOP key [count]
fn lpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Front)
}

/// RPOP key [count]
fn rpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pop(cx, args, End::Back)
}

fn pop(cx: &mut Cx, args: Args, end: End) -> Result<(), CmdError> {
    let key = &args[1];
    let count = match args.len() {
        2 => None,
        3 => Some(parse::positive(&args[2])?),
        _ => return Err(error::wrong_arity(cx.command.name)),
    };
    let limits = limits(cx.state);
    let list = cx.keys.update_as::<List>(key)?;
    let Some(list) = list else {
        if count.is_some() {
            cx.out.null_array();
        } else {
            cx.out.null();
        }
        return Ok(());
    };
    let empty = match count {
        Some(0) => {
            cx.out.array(0);
            return Ok(());
        }
        Some(count) => pop_many(cx.out, list, end, count, limits),
        None => {
            list.pop(end, limits, |element| reply::element(cx.out, element));
            list.is_empty()
        }
    };
    popped(cx, key, end, empty);
    Ok(())
}

/// Takes up to `count` elements from `end` and answers with them as an array. Returns whether those were all, in which
/// case the list still holds them and is to be removed.
#[must_use]
fn pop_many(out: &mut Output, list: &mut List, end: End, count: usize, limits: ListLimits) -> bool {
    let len = list.len();
    let count = count.min(len);
    out.array(count);
    let (from, toward) = match end {
        End::Front => (0, End::Back),
        End::Back => (len - 1, End::Front),
    };
    list.iter_from(from, toward).take(count).for_each(|element| reply::element(out, element));
    if count < len {
        list.trim(if end == End::Front { count..len } else { 0..len - count }, limits);
    }
    count == len
}

/// LREM key count element
fn lrem(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, limits) = (&args[1], limits(cx.state));
    let count = parse::int(&args[2])?;
    let Some(list) = cx.keys.update_as::<List>(key)? else {
        cx.out.int(0);
        return Ok(());
    };
    let removed = list.remove(count, &args[3], limits);
    let empty = list.is_empty();
    if removed > 0 {
        cx.keys.modified(notify::LIST, "lrem", key);
        remove_if(cx, key, empty);
    }
    cx.out.int(removed as i64);
    Ok(())
}

/// LTRIM key start stop
fn ltrim(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, limits) = (&args[1], limits(cx.state));
    let (first, last) = (parse::int(&args[2])?, parse::int(&args[3])?);
    if let Some(list) = cx.keys.update_as::<List>(key)? {
        let kept = range(first, last, list.len());
        let empty = kept.is_empty();
        // What is to be removed as a whole is, and its memory given back where nobody waits.
        if !empty {
            list.trim(kept, limits);
        }
        cx.keys.modified(notify::LIST, "ltrim", key);
        remove_if(cx, key, empty);
    }
    cx.out.ok();
    Ok(())
}

// From one list to another.

/// LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>
fn lmove(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (from, to) = (end(&args[3])?, end(&args[4])?);
    move_or_null(cx, &args[1], &args[2], from, to)
}

/// RPOPLPUSH source destination
fn rpoplpush(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    move_or_null(cx, &args[1], &args[2], End::Back, End::Front)
}

fn move_or_null(cx: &mut Cx, source: &[u8], destination: &[u8], from: End, to: End) -> Result<(), CmdError> {
    if !move_element(cx, source, destination, from, to)? {
        cx.out.null();
    }
    Ok(())
}

/// Moves an element from one list's end to another's and answers with it; false, and no reply, if there is none.
pub fn move_element(
    cx: &mut Cx,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
) -> Result<bool, CmdError> {
    let limits = limits(cx.state);
    if cx.keys.update_as::<List>(source)?.is_none() {
        return Ok(false);
    }
    // Of the wrong type, the destination must be found so before the source has lost an element.
    cx.keys.update_as::<List>(destination)?;
    let Some(list) = cx.keys.update_as::<List>(source)? else { return Ok(false) };
    let Some(element) = list.pop(from, limits, |element| element.to_vec()) else { return Ok(false) };
    let target = cx.keys.create_as::<List>(destination)?;
    target.push(to, [&element[..]], limits);
    pushed(cx, destination, to);
    let empty = cx.keys.update_as::<List>(source)?.is_some_and(|list| list.is_empty());
    popped(cx, source, from, empty);
    // Both ends of a move are one change.
    cx.keys.dirty -= 1;
    cx.out.bulk(&element);
    Ok(true)
}

// From one of several lists.

/// Which lists LMPOP and BLMPOP take how many elements from.
pub struct Several<'a> {
    /// The lists, in the order they are tried.
    pub keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> Several<'a> {
    /// Reads `numkeys key [key ...] <LEFT | RIGHT> [COUNT count]` from argument `from` on.
    pub fn parse(args: Args<'a>, from: usize) -> Result<Self, CmdError> {
        let number = parse::at_least(1, &args[from], error::BAD_NUMKEYS)?;
        let rest = args.from(from + 1);
        let end = end(rest.get(number).ok_or(error::SYNTAX)?)?;
        let mut count = None;
        let mut at = number + 1;
        while at < rest.len() {
            if count.is_some() || !is(&rest[at], "count") {
                return Err(error::SYNTAX);
            }
            count = Some(parse::at_least(1, operand(&rest, &mut at)?, error::BAD_COUNT)?);
            at += 1;
        }
        Ok(Several { keys: rest.first(number), end, count: count.unwrap_or(1) })
    }

    /// Pops from the first list that is there and answers with its key and the elements; false, and no reply, if none is.
    pub fn pop(&self, cx: &mut Cx) -> Result<bool, CmdError> {
        let limits = limits(cx.state);
        for key in self.keys {
            let Some(list) = blocking::one_of_several::<List>(cx.keys, cx.client.waiting, key)? else {
                continue;
            };
            cx.out.array(2);
            cx.out.bulk(key);
            let empty = pop_many(cx.out, list, self.end, self.count, limits);
            popped(cx, key, self.end, empty);
            return Ok(true);
        }
        Ok(false)
    }
}

/// LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]
fn lmpop(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if !Several::parse(args, 1)?.pop(cx)? {
        cx.out.null_array();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        for (first, last, expected) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-2, -1, 3..5),
            (-100, 100, 0..5),
            (4, 4, 4..5),
            (5, 9, 0..0),
            (3, 2, 0..0),
            (-1, -2, 0..0),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
            (i64::MIN, i64::MIN, 0..0),
        ] {
            assert_eq!(range(first, last, 5), expected, "{first} {last}");
        }
        assert_eq!(range(0, -1, 0), 0..0);
    }
}
