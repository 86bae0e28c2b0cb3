//! What slots hold: their keys, how many, and a walk over them.
//!
//! CLUSTERSCAN is SCAN for whoever knows where slots are: its cursor begins with a name of the slot it has come to, so that it can be sent
//! to the node that serves that. It walks over a partition at a time, and over the slots of it together.

use super::is_shown;
use crate::command::database::type_name;
use crate::command::error::{self, CmdError};
use crate::command::parse::{self, is, operand};
use crate::command::{Cx, scan};
use crate::state::partition::{SLOTS, SLOTS_PER_PARTITION, slot, slot_of};
use crate::store::table::Keyed;
use crate::store::types::pack::Element;
use crate::text::glob::slot_bytes;
use shoal_protocol::resp::{Args, Output};

const BAD_SLOT: CmdError = CmdError::new("ERR Invalid or out of range slot");
const DISABLED: CmdError = CmdError::new("ERR This instance has cluster support disabled");

/// CLUSTER COUNTKEYSINSLOT slot
pub fn countkeysinslot(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let wanted = parse::int(&args[2])?;
    let wanted = u16::try_from(wanted).ok().filter(|slot| *slot < SLOTS);
    let wanted = wanted.ok_or(CmdError::new("ERR Invalid slot"))?;
    let count = keys_of(cx, wanted, usize::MAX).len();
    cx.out.int(count as i64);
    Ok(())
}

/// CLUSTER GETKEYSINSLOT slot count
pub fn getkeysinslot(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (wanted, count) = (parse::int(&args[2])?, parse::int(&args[3])?);
    let wanted = u16::try_from(wanted).ok().filter(|slot| *slot < SLOTS);
    let (Some(wanted), Ok(count)) = (wanted, usize::try_from(count)) else {
        return Err(CmdError::new("ERR Invalid slot or number of keys"));
    };
    let keys = keys_of(cx, wanted, count);
    cx.out.array(keys.len());
    keys.iter().for_each(|key| cx.out.bulk(key));
    Ok(())
}

/// Up to `count` keys of a slot, in database 0.
fn keys_of(cx: &mut Cx, wanted: u16, count: usize) -> Vec<Box<[u8]>> {
    cx.keys.with_partition(partition_of_slot(wanted), |partition| {
        let found = partition.dbs[0].iter().filter(|entry| slot_of(entry) == wanted);
        found.take(count).map(|entry| entry.key().into()).collect()
    })
}

fn partition_of_slot(slot: u16) -> u8 {
    (slot / SLOTS_PER_PARTITION) as u8
}

/// A slot by its number.
fn parse_slot(arg: &[u8]) -> Result<u16, CmdError> {
    let number = parse::int(arg).ok().and_then(|number| u16::try_from(number).ok());
    number.filter(|slot| *slot < SLOTS).ok_or(BAD_SLOT)
}

/// Whether this node is to be taken for one of a cluster.
fn check_enabled(cx: &Cx) -> Result<(), CmdError> {
    if is_shown(cx.state) || cx.state.cluster.is_on() { Ok(()) } else { Err(DISABLED) }
}

/// CLUSTER SLOT-STATS SLOTSRANGE start-slot end-slot, or CLUSTER SLOT-STATS ORDERBY metric [LIMIT limit] [ASC | DESC]
pub fn slot_stats(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    check_enabled(cx)?;
    if is(&args[2], "slotsrange") && args.len() == 5 {
        let (first, last) = (parse_slot(&args[3])?, parse_slot(&args[4])?);
        if first > last {
            return Err(CmdError::with(format!(
                "ERR Start slot number {first} is greater than end slot number {last}"
            )));
        }
        let counts = key_counts(cx, first, last);
        write_stats(cx.out, &counts);
        return Ok(());
    }
    if !is(&args[2], "orderby") || args.len() < 4 {
        return Err(error::bad_subcommand("CLUSTER", &args[1]));
    }
    if !is(&args[3], "key-count") {
        return Err(CmdError::new("ERR Unrecognized sort metric for ORDERBY."));
    }
    let (limit, ascending) = parse_order(args)?;
    let mut counts = key_counts(cx, 0, SLOTS - 1);
    // Of slots with as many keys the lower one comes first either way.
    if ascending {
        counts.sort_by_key(|(_, count)| *count);
    } else {
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    }
    counts.truncate(limit);
    write_stats(cx.out, &counts);
    Ok(())
}

/// `[LIMIT limit] [ASC | DESC]` of CLUSTER SLOT-STATS: the limit, and whether ascending.
fn parse_order(args: Args) -> Result<(usize, bool), CmdError> {
    let (mut limit, mut ascending) = (None, None);
    let mut at = 4;
    while at < args.len() {
        let again = if is(&args[at], "limit") && at + 1 < args.len() {
            let number =
                parse::int(operand(&args, &mut at)?).ok().and_then(|number| usize::try_from(number).ok());
            let number = number.filter(|number| (1..=usize::from(SLOTS)).contains(number));
            limit
                .replace(number.ok_or(CmdError::new(
                    "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
                ))?)
                .is_some()
        } else if is(&args[at], "asc") || is(&args[at], "desc") {
            ascending.replace(is(&args[at], "asc")).is_some()
        } else {
            return Err(error::SYNTAX);
        };
        if again {
            return Err(CmdError::new("ERR Multiple filters of the same type are disallowed."));
        }
        at += 1;
    }
    Ok((limit.unwrap_or(usize::from(SLOTS)), ascending.unwrap_or(false)))
}

/// How many keys there are in each slot of a range that is served here, in all databases.
fn key_counts(cx: &mut Cx, first: u16, last: u16) -> Vec<(u16, i64)> {
    let mut counts = Vec::new();
    for number in partition_of_slot(first)..=partition_of_slot(last) {
        cx.keys.with_partition(number, |partition| {
            if !partition.is_led() {
                return;
            }
            let begin = u16::from(number) * SLOTS_PER_PARTITION;
            let mut of_slot = [0; SLOTS_PER_PARTITION as usize];
            for entry in partition.dbs.iter().flat_map(|db| db.iter()) {
                of_slot[usize::from(slot_of(entry) - begin)] += 1;
            }
            let numbered = (begin..).zip(of_slot);
            counts.extend(numbered.filter(|(slot, _)| (first..=last).contains(slot)));
        });
    }
    counts
}

fn write_stats(out: &mut Output, counts: &[(u16, i64)]) {
    out.array(counts.len());
    for (slot, count) in counts {
        out.array(2);
        out.int((*slot).into());
        out.map(1);
        out.bulk(b"key-count");
        out.int(*count);
    }
}

/// CLUSTERSCAN cursor [MATCH pattern] [COUNT count] [TYPE type] [SLOT slot]
pub fn clusterscan(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    check_enabled(cx)?;
    let (mut wanted_type, mut wanted_slot) = (None, None);
    let options = scan::Options::parse(args, 2, |args, at| {
        if is(&args[*at], "type") {
            wanted_type = Some(type_name(operand(args, at)?)?);
        } else if is(&args[*at], "slot") {
            wanted_slot = Some(parse_slot(operand(args, at)?)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    })?;
    let of_pattern = options.pattern().and_then(slot_bytes).map(slot);
    let is_void = wanted_slot.zip(of_pattern).is_some_and(|(wanted, matched)| wanted != matched);
    let nothing = |out: &mut Output, next: &str| {
        scan::Reply::new(out).send_with(out, next.as_bytes());
        Ok(())
    };
    if &args[1] == b"0" {
        let first = wanted_slot.or(of_pattern).unwrap_or(0);
        return nothing(cx.out, &if is_void { "0".to_string() } else { cursor_at(first, 0) });
    }
    let (first, cursor) = parse_cursor(&args[1]).ok_or(CmdError::new("ERR Invalid cursor"))?;
    if wanted_slot.is_some_and(|wanted| wanted != first) {
        return Err(CmdError::new("ERR Cursor slot mismatch with SLOT argument"));
    }
    if let Some(matched) = of_pattern.filter(|matched| *matched != first) {
        // On to the slot of the pattern, but not back to it.
        let is_ahead = !is_void && matched > first;
        return nothing(cx.out, &if is_ahead { cursor_at(matched, 0) } else { "0".to_string() });
    }
    let only = wanted_slot.or(of_pattern);
    let number = partition_of_slot(first);
    let end = only.map_or((u16::from(number) + 1) * SLOTS_PER_PARTITION, |only| only + 1);
    let (db, due_ms) = (cx.keys.db, cx.keys.due_ms);
    let mut reply = scan::Reply::new(cx.out);
    let mut expired: Vec<Box<[u8]>> = Vec::new();
    let cursor = cx.keys.with_partition(number, |partition| {
        partition.dbs[db].scan(cursor, options.count, |entry| {
            let wanted = wanted_type.is_none_or(|name| name == entry.type_name());
            if !wanted || !options.accepts(entry.key()) || !(first..end).contains(&slot_of(entry)) {
            } else if entry.is_expired(due_ms) {
                expired.push(entry.key().into());
            } else {
                reply.push(Element::Str(entry.key()));
            }
        })
    });
    expired.drain(..).for_each(|key| cx.keys.reap(number, &key));
    let next = match cursor {
        0 if only.is_some() || end == SLOTS => "0".to_string(),
        0 => cursor_at(end, 0),
        cursor => cursor_at(first, cursor),
    };
    reply.send_with(cx.out, next.as_bytes());
    Ok(())
}

/// The slot and the cursor within its partition of `mark-{name of the slot}-cursor`. Tables differ between nodes only where cursors of SCAN
/// have no meaning for another node either, so there is no mark to tell them by.
fn parse_cursor(text: &[u8]) -> Option<(u16, u64)> {
    let mut parts = text.splitn(3, |byte| *byte == b'-').skip(1);
    let (name, cursor) = (parts.next()?, parts.next()?);
    Some((slot(name), scan::cursor(cursor).ok()?))
}

/// The cursor of a walk that has come to a slot.
fn cursor_at(wanted: u16, cursor: u64) -> String {
    // A name for every slot is found within some 200,000 numbers.
    let mut digits = itoa::Buffer::new();
    let name = (0u32..).find(|number| slot(digits.format(*number).as_bytes()) == wanted);
    format!("0-{{{}}}-{cursor}", name.expect("numbers have all slots"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_name_their_slot() {
        for wanted in [0, 1, 63, 64, 5000, SLOTS - 1] {
            assert_eq!(parse_cursor(cursor_at(wanted, 77).as_bytes()), Some((wanted, 77)));
        }
        assert_eq!(parse_cursor(b"0-{06S}-0"), Some((0, 0)));
        for bad in ["", "1", "0-", "0-{0}", "abc-def-ghi", "0-{0}-x", "0-{0}-"] {
            assert_eq!(parse_cursor(bad.as_bytes()), None, "{bad}");
        }
    }
}
