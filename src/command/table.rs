//! All rows, found by name.

use super::error::{CmdError, wrong_arity};
use super::{Command, flag};
use shoal_protocol::resp::Args;
use std::sync::LazyLock;

/// The families, each with its own rows.
const FAMILIES: &[&[Command]] = &[
    super::acl::COMMANDS,
    super::bitfield::COMMANDS,
    super::bitmap::COMMANDS,
    super::client_admin::COMMANDS,
    super::cluster::COMMANDS,
    super::config::COMMANDS,
    super::connection::COMMANDS,
    super::counter::COMMANDS,
    super::database::COMMANDS,
    super::debug::COMMANDS,
    super::dump::COMMANDS,
    super::expire::COMMANDS,
    super::geo::COMMANDS,
    super::geo_search::COMMANDS,
    super::hash::COMMANDS,
    super::hash_expire::COMMANDS,
    super::hyperloglog::COMMANDS,
    super::info::COMMANDS,
    super::introspect::COMMANDS,
    super::keyspace::COMMANDS,
    super::latency::COMMANDS,
    super::lcs::COMMANDS,
    super::list::COMMANDS,
    super::list_blocking::COMMANDS,
    super::object::COMMANDS,
    super::pubsub::COMMANDS,
    super::memory::COMMANDS,
    super::persistence::COMMANDS,
    super::replication::COMMANDS,
    super::function::COMMANDS,
    super::script::COMMANDS,
    super::server::COMMANDS,
    super::set::COMMANDS,
    super::set_algebra::COMMANDS,
    super::slowlog::COMMANDS,
    super::sort::COMMANDS,
    super::sorted_set::COMMANDS,
    super::sorted_set_combine::COMMANDS,
    super::sorted_set_pop::COMMANDS,
    super::sorted_set_range::COMMANDS,
    super::stream::COMMANDS,
    super::stream_group::COMMANDS,
    super::stream_info::COMMANDS,
    super::string::COMMANDS,
    super::transaction::COMMANDS,
];

/// A row and its number.
pub struct Row {
    /// The row.
    pub command: &'static Command,
    /// Its number, by which it is counted.
    pub id: usize,
    /// Which argument is its only key, where that is fixed; else 0.
    pub only_key: usize,
    /// The rows of its subcommands, if it is a container.
    pub subcommands: Vec<Row>,
}

/// Names up to this length are compared as one number.
const SHORT: usize = 16;

impl Row {
    fn new(command: &'static Command, id: usize, subcommands: Vec<Row>) -> Row {
        Row { command, id, only_key: super::spec::only_key(command.keys), subcommands }
    }
}

struct Table {
    rows: Vec<Row>,
    /// Rows by their short names, an open-addressing table of a power of two of places. No name is empty.
    short: Box<[(u128, usize)]>,
    /// Rows whose names are longer.
    long: Vec<usize>,
    len: usize,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut next = 0;
    let mut number = || {
        next += 1;
        next - 1
    };
    let mut rows: Vec<Row> = Vec::new();
    for command in FAMILIES.iter().copied().flatten() {
        let id = number();
        let subs = command.subcommands.iter();
        let subcommands = subs.map(|command| Row::new(command, number(), Vec::new())).collect();
        rows.push(Row::new(command, id, subcommands));
    }
    let mut short = vec![(0, 0); (rows.len() * 8).next_power_of_two()].into_boxed_slice();
    let mut long = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let name = row.command.name.as_bytes();
        match number_of_name(name) {
            Some(name) => {
                let mut place = place(name, short.len());
                while short[place].0 != 0 {
                    place = (place + 1) & (short.len() - 1);
                }
                short[place] = (name, at);
            }
            None => long.push(at),
        }
    }
    Table { rows, short, long, len: next }
});

/// How many rows there are, subcommands included.
pub fn len() -> usize {
    TABLE.len
}

/// All rows but the subcommands'.
pub fn rows() -> &'static [Row] {
    &TABLE.rows
}

/// All rows, each container's before its subcommands'.
pub fn all() -> impl Iterator<Item = &'static Row> {
    TABLE.rows.iter().flat_map(|row| std::iter::once(row).chain(&row.subcommands))
}

/// The row numbered `number`.
pub fn by_number(number: usize) -> &'static Row {
    all().find(|row| row.id == number).expect("numbers come from rows")
}

/// The number of a row of this table.
pub fn number_of(command: &Command) -> usize {
    by_name(command.name.as_bytes()).expect("commands come from this table").id
}

/// The row called `name` in any case; a subcommand is `container|name`.
pub fn by_name(name: &[u8]) -> Option<&'static Row> {
    if let Some(at) = memchr::memchr(b'|', name) {
        let container = by_name(&name[..at])?;
        return subcommand(container, &name[at + 1..]);
    }
    top_level(name)
}

/// The row called `name` in any case, of those that are no subcommands.
#[inline(always)]
fn top_level(name: &[u8]) -> Option<&'static Row> {
    let table = &*TABLE;
    let Some(number) = number_of_name(name) else { return long_name(table, name) };
    let mut place = place(number, table.short.len());
    loop {
        match table.short[place] {
            (found, at) if found == number => {
                // A name that ends with zero bytes, or has none at all, becomes the number of a shorter one.
                return table.rows.get(at).filter(|row| row.command.name.len() == name.len());
            }
            (0, _) => return None,
            _ => place = (place + 1) & (table.short.len() - 1),
        }
    }
}

#[cold]
fn long_name(table: &'static Table, name: &[u8]) -> Option<&'static Row> {
    let named = |&&at: &&usize| table.rows[at].command.name.as_bytes().eq_ignore_ascii_case(name);
    table.long.iter().find(named).map(|&at| &table.rows[at])
}

/// A short name in lower case as a number.
#[inline(always)]
fn number_of_name(name: &[u8]) -> Option<u128> {
    // Loads of fixed size that overlap, as a copy of so few bytes would cost more than all the rest of the search.
    let byte = |at: usize| u64::from(name[at]) << (8 * at);
    let half = |at: usize| name.get(at..)?.first_chunk().map(|half| u64::from(u32::from_le_bytes(*half)));
    let word = |at: usize| name.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word));
    let (low, high) = match name.len() {
        0 => return Some(0),
        len @ 1..4 => (byte(0) | byte(len / 2) | byte(len - 1), 0),
        len @ 4..8 => (half(0)? | half(len - 4)? << (8 * (len - 4)), 0),
        8 => (word(0)?, 0),
        len @ 9..=SHORT => (word(0)?, lower_case(word(len - 8)? >> (8 * (SHORT - len)))),
        _ => return None,
    };
    Some(u128::from(lower_case(low)) | u128::from(high) << 64)
}

/// Eight bytes with the capital letters among them made small, all at once.
#[inline]
fn lower_case(bytes: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // Sums that reach a byte's highest bit from the letter named on; that bit itself is left out, so that none is carried on.
    let from = |letter: u8| (bytes & !HIGH) + ONES * u64::from(0x80 - letter);
    let capital = !bytes & (from(b'A') ^ from(b'Z' + 1)) & HIGH;
    bytes | capital >> 2
}

/// Where to look for a name first. Names come from the table, so nobody can choose them to collide.
#[inline]
fn place(name: u128, places: usize) -> usize {
    let mixed = (name as u64 ^ (name >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 48) as usize & (places - 1)
}

fn subcommand(container: &'static Row, name: &[u8]) -> Option<&'static Row> {
    let start = container.command.name.len() + 1;
    let mut subs = container.subcommands.iter();
    subs.find(|row| row.command.name.as_bytes()[start..].eq_ignore_ascii_case(name))
}

/// The row of a request, its number of arguments checked.
#[inline(always)]
pub fn find(args: Args<'_>) -> Result<&'static Row, CmdError> {
    let Some(name) = args.get(0) else { return Err(unknown(args)) };
    let Some(mut row) = top_level(name) else { return Err(unknown(args)) };
    if !row.subcommands.is_empty() && args.len() > 1 {
        row = subcommand(row, &args[1]).ok_or_else(|| unknown_subcommand(row, &args[1]))?;
    }
    if !row.command.takes(args.len()) {
        return Err(wrong_arity(row.command.name));
    }
    Ok(row)
}

/// The row of a request whatever its number of arguments; a container's own when no subcommand is given.
pub fn find_any_count(args: Args<'_>) -> Option<&'static Row> {
    let row = top_level(args.get(0)?)?;
    match args.get(1) {
        Some(name) if !row.subcommands.is_empty() => subcommand(row, name),
        _ => Some(row),
    }
}

#[cold]
fn unknown(args: Args<'_>) -> CmdError {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut len = 0;
    for arg in args.iter().skip(1) {
        if len >= 128 {
            break;
        }
        let arg = &arg[..arg.len().min(128 - len)];
        parts.extend([b"'", arg, b"' "]);
        len += arg.len() + 3;
    }
    let name = args.get(0).unwrap_or_default();
    let name = &name[..name.len().min(128)];
    let mut text: Vec<&[u8]> = vec![b"ERR unknown command '", name, b"', with args beginning with: "];
    text.append(&mut parts);
    CmdError::quoting(&text)
}

#[cold]
fn unknown_subcommand(container: &Row, name: &[u8]) -> CmdError {
    let name = &name[..name.len().min(128)];
    let container = container.command.name.to_ascii_uppercase();
    CmdError::quoting(&[b"ERR unknown subcommand '", name, b"'. Try ", container.as_bytes(), b" HELP."])
}

/// Whether EXEC must enter all partitions for this row.
pub fn is_whole(command: &Command) -> bool {
    command.flags.has(flag::WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_the_numbers_of_their_lower_case_letters() {
        for len in 0..=SHORT {
            let name: Vec<u8> = (0..len).map(|at| b"AbCdEfGhIjKlMnOp"[at]).collect();
            let mut bytes = [0; SHORT];
            bytes[..len].copy_from_slice(&name.to_ascii_lowercase());
            assert_eq!(number_of_name(&name), Some(u128::from_le_bytes(bytes)));
        }
        assert_eq!(number_of_name(&[b'a'; SHORT + 1]), None);
        for byte in 0..=u8::MAX {
            let alike = u64::from_le_bytes([byte; 8]);
            assert_eq!(lower_case(alike), u64::from_le_bytes([byte.to_ascii_lowercase(); 8]));
        }
    }

    #[test]
    fn only_whole_names_are_found() {
        for name in [
            &b""[..],
            b"\0",
            b"get\0",
            b"getget\0\0",
            b"ge",
            b"get ",
            b"subscribe\0",
            b"no-such-name-as-this",
        ] {
            assert!(by_name(name).is_none(), "{}", name.escape_ascii());
        }
        for name in
            [&b"gEt"[..], b"ZRANGEBYSCORE", b"zRevRangeByScore", b"Georadiusbymember_RO", b"client|ID"]
        {
            assert!(by_name(name).is_some(), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn every_row_is_found_and_documented() {
        for row in all() {
            let command = row.command;
            assert!(std::ptr::eq(by_name(command.name.to_ascii_uppercase().as_bytes()).unwrap(), row));
            assert!(!command.summary.is_empty() && command.summary.ends_with('.'), "{}", command.name);
            assert!(command.arity != 0, "{}", command.name);
        }
    }
}
