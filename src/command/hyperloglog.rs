//! HyperLogLogs: sketches, kept in strings, of how many different elements were added.
//!
//! The format and the arithmetic are in `store/types/hyperloglog.rs`. Where a sketch need not change it is not copied, and
//! a dense one is changed where it lies.

use super::error::CmdError;
use super::keys::{Text, text};
use super::parse::is;
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::config::{id, notify};
use crate::store::entry::{Entry, Extras};
use crate::store::types::hyperloglog::{self as hll, Corrupted, Encoding, Union};
use shoal_protocol::resp::Args;

const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM]);

const fn row(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::HyperLogLog, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    row("pfadd", -2, pfadd).flags(flags([flag::WRITE, flag::DENYOOM, flag::FAST])).keys(spec::INSERT).doc(
        "2.8.9",
        "key [element [element ...]]",
        "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.",
    ),
    row("pfcount", -2, pfcount)
        .flags(flags([flag::READONLY, flag::MAY_REPLICATE]))
        .keys(spec::ACCESS_ALL)
        .doc(
            "2.8.9",
            "key [key ...]",
            "Returns the approximated cardinality of the set(s) observed by the HyperLogLog key(s).",
        ),
    row("pfdebug", 3, pfdebug)
        .flags(flags([flag::WRITE, flag::DENYOOM, flag::ADMIN]))
        .keys(spec::SUB_ACCESS)
        .doc("2.8.9", "subcommand key", "Internal commands for debugging HyperLogLog values."),
    row("pfmerge", -2, pfmerge).flags(WRITE).keys(spec::MERGE_ALL).doc(
        "2.8.9",
        "destkey [sourcekey [sourcekey ...]]",
        "Merges one or more HyperLogLog values into a single key.",
    ),
    row("pfselftest", 1, pfselftest).flags(flag::ADMIN).doc(
        "2.8.9",
        "",
        "An internal command for testing HyperLogLog values.",
    ),
];

const NOT_A_SKETCH: CmdError = CmdError::new("WRONGTYPE Key is not a valid HyperLogLog string value.");

fn corrupted(_: Corrupted) -> CmdError {
    CmdError::new("INVALIDOBJ Corrupted HLL object detected")
}

/// The sketch of an entry, and how it is encoded.
fn sketch(entry: &Entry) -> Result<(&[u8], Encoding), CmdError> {
    let Text::Bytes(bytes) = text(entry)? else { return Err(NOT_A_SKETCH) };
    let encoding = hll::encoding(bytes).ok_or(NOT_A_SKETCH)?;
    Ok((bytes, encoding))
}

fn sparse_max_bytes(cx: &Cx) -> usize {
    cx.state.config.size(id::HLL_SPARSE_MAX_BYTES)
}

/// PFADD key [element [element ...]]
fn pfadd(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, elements) = (&args[1], args.from(2));
    let max_bytes = sparse_max_bytes(cx);
    let add_all = |sketch: &mut Vec<u8>| -> Result<bool, Corrupted> {
        let mut changed = false;
        for element in elements {
            changed |= hll::add(sketch, element, max_bytes)?;
        }
        hll::invalidate_count(sketch);
        Ok(changed)
    };
    let changed = match cx.keys.find(key) {
        None => {
            let mut sketch = hll::empty();
            add_all(&mut sketch).map_err(corrupted)?;
            cx.keys.put_raw(key, sketch, Extras::default());
            true
        }
        Some(entry) => {
            let (bytes, _) = sketch(entry)?;
            let mut news = false;
            for element in elements {
                news = news || hll::would_change(bytes, element).map_err(corrupted)?;
            }
            news && cx.keys.edit(key, add_all).expect("the key holds a string").map_err(corrupted)?
        }
    };
    if changed {
        cx.keys.modified(notify::STRING, "pfadd", key);
    }
    cx.out.int(i64::from(changed));
    Ok(())
}

/// PFCOUNT key [key ...]
fn pfcount(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    if args.len() > 2 {
        let mut union = Union::default();
        for key in args.from(1) {
            if let Some(entry) = cx.keys.read(key) {
                union.merge(sketch(entry)?.0).map_err(corrupted)?;
            }
        }
        cx.out.int(union.count() as i64);
        return Ok(());
    }
    let key = &args[1];
    let Some(entry) = cx.keys.read(key) else {
        cx.out.int(0);
        return Ok(());
    };
    let (bytes, _) = sketch(entry)?;
    let count = match hll::cached_count(bytes) {
        Some(count) => count,
        None => {
            let count = hll::count(bytes).map_err(corrupted)?;
            note(cx, key, count);
            count
        }
    };
    cx.out.int(count as i64);
    Ok(())
}

/// Keeps the count in the sketch, which is a change of the key though no event.
fn note(cx: &mut Cx, key: &[u8], count: u64) {
    let Some(entry) = cx.keys.find(key) else { return };
    if let Some(bytes) = entry.inline_mut() {
        hll::cache_count(bytes, count);
    } else if let Some(bytes) = entry.shared_mut() {
        hll::cache_count(bytes, count);
    }
    cx.keys.modified(0, "", key);
}

/// PFMERGE destkey [sourcekey [sourcekey ...]]
fn pfmerge(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut union = Union::default();
    for key in args.from(1) {
        if let Some(entry) = cx.keys.read(key) {
            union.merge(sketch(entry)?.0).map_err(corrupted)?;
        }
    }
    let (key, max_bytes) = (&args[1], sparse_max_bytes(cx));
    let store = |sketch: &mut Vec<u8>| union.store(sketch, max_bytes);
    if cx.keys.exists(key) {
        cx.keys.edit(key, store).expect("the key holds a string").map_err(corrupted)?;
    } else {
        let mut sketch = hll::empty();
        store(&mut sketch).map_err(corrupted)?;
        cx.keys.put_raw(key, sketch, Extras::default());
    }
    // Redis calls it so: many elements were added.
    cx.keys.modified(notify::STRING, "pfadd", key);
    cx.out.ok();
    Ok(())
}

/// PFDEBUG <DECODE | ENCODING | GETREG | TODENSE> key
fn pfdebug(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (word, key) = (&args[1], &args[2]);
    if is(word, "simd") {
        // Registers are counted in one way here, whatever is said.
        let (on, off) = (is(key, "on"), is(key, "off"));
        if !on && !off {
            return Err(CmdError::new("ERR Argument must be ON or OFF"));
        }
        cx.out.simple(if on { "enabled" } else { "disabled" });
        return Ok(());
    }
    let entry = cx.keys.find(key).ok_or(CmdError::new("ERR The specified key does not exist"))?;
    let (bytes, encoding) = sketch(entry)?;
    if is(word, "decode") {
        let words = hll::decode(bytes).ok_or(CmdError::new("ERR HLL encoding is not sparse"))?;
        cx.out.bulk(words.as_bytes());
    } else if is(word, "encoding") {
        cx.out.simple(encoding.name());
    } else if is(word, "getreg") {
        let mut union = Union::default();
        union.merge(bytes).map_err(corrupted)?;
        to_dense(cx, key)?;
        cx.out.array(union.registers().len());
        union.registers().iter().for_each(|register| cx.out.int(i64::from(*register)));
    } else if is(word, "todense") {
        let changed = to_dense(cx, key)?;
        cx.out.int(i64::from(changed));
    } else {
        return Err(CmdError::quoting(&[b"ERR Unknown PFDEBUG subcommand '", word, b"'"]));
    }
    Ok(())
}

/// Turns the sketch of `key` dense; whether it was sparse.
fn to_dense(cx: &mut Cx, key: &[u8]) -> Result<bool, CmdError> {
    let sparse =
        cx.keys.find(key).map(|entry| sketch(entry).map(|found| found.1)) == Some(Ok(Encoding::Sparse));
    if sparse {
        cx.keys.edit(key, hll::to_dense).expect("the key holds a string").map_err(corrupted)?;
        cx.keys.modified(0, "", key);
    }
    Ok(sparse)
}

/// PFSELFTEST
fn pfselftest(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (mut sketch, limit) = (hll::empty(), sparse_max_bytes(cx));
    let mut checkpoint = 1;
    for number in 1..=100_000u64 {
        hll::add(&mut sketch, &number.to_le_bytes(), limit).map_err(corrupted)?;
        if number != checkpoint {
            continue;
        }
        checkpoint *= 10;
        // Five times the standard error, and room for the few of the first counts.
        let allowed = (number as f64 * 5.0 * 1.04 / (hll::REGISTERS as f64).sqrt()).ceil() as u64;
        let estimate = hll::count(&sketch).map_err(corrupted)?;
        if estimate.abs_diff(number) > allowed {
            return Err(CmdError::with(format!(
                "ERR TESTFAILED Too big error. card:{number} abserr:{}",
                estimate.abs_diff(number)
            )));
        }
    }
    cx.out.ok();
    Ok(())
}
