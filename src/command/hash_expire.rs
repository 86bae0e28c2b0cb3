//! When fields of hashes expire: HEXPIRE and its kin, after Redis 7.4 and Valkey 9.
//!
//! Where the two differ in what they say of wrong arguments, Valkey is followed. A field whose time is past goes at once,
//! with the event `hexpired`.

use super::error::{self, CmdError};
use super::expire::Condition;
use super::hash::{limits, remove_if, reply_value};
use super::parse::{self, Time, is, operand};
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::config::notify;
use crate::store::types::hash::Hash;
use shoal_protocol::resp::Args;

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const GROW: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);
const WRITE: Flags = flags([flag::WRITE, flag::FAST]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("hexpire", -6, Group::Hash, hexpire).flags(GROW).keys(spec::UPDATE).doc(
        "7.4.0",
        "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Sets the expiration time of fields of a hash in seconds.",
    ),
    command("hexpireat", -6, Group::Hash, hexpireat).flags(GROW).keys(spec::UPDATE).doc(
        "7.4.0",
        "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Sets the expiration time of fields of a hash to a Unix timestamp.",
    ),
    command("hexpiretime", -5, Group::Hash, hexpiretime).flags(READ).keys(spec::READ).doc(
        "7.4.0",
        "key FIELDS numfields field [field ...]",
        "Returns the expiration time of fields of a hash as a Unix timestamp.",
    ),
    command("hgetdel", -5, Group::Hash, hgetdel).flags(WRITE).keys(spec::ACCESS_DELETE).doc(
        "8.0.0",
        "key FIELDS numfields field [field ...]",
        "Returns the values of fields of a hash and deletes them.",
    ),
    command("hgetex", -5, Group::Hash, hgetex).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "8.0.0",
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        "Returns the values of fields of a hash after setting their expiration time.",
    ),
    command("hpersist", -5, Group::Hash, hpersist).flags(WRITE).keys(spec::UPDATE).doc(
        "7.4.0",
        "key FIELDS numfields field [field ...]",
        "Removes the expiration time of fields of a hash.",
    ),
    command("hpexpire", -6, Group::Hash, hpexpire).flags(GROW).keys(spec::UPDATE).doc(
        "7.4.0",
        "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Sets the expiration time of fields of a hash in milliseconds.",
    ),
    command("hpexpireat", -6, Group::Hash, hpexpireat).flags(GROW).keys(spec::UPDATE).doc(
        "7.4.0",
        "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Sets the expiration time of fields of a hash to a Unix milliseconds timestamp.",
    ),
    command("hpexpiretime", -5, Group::Hash, hpexpiretime).flags(READ).keys(spec::READ).doc(
        "7.4.0",
        "key FIELDS numfields field [field ...]",
        "Returns the expiration time of fields of a hash as a Unix milliseconds timestamp.",
    ),
    command("hpttl", -5, Group::Hash, hpttl).flags(READ).keys(spec::READ).doc(
        "7.4.0",
        "key FIELDS numfields field [field ...]",
        "Returns the time to live of fields of a hash in milliseconds.",
    ),
    command("hsetex", -6, Group::Hash, hsetex).flags(GROW).keys(spec::INSERT).doc(
        "8.0.0",
        "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
        "Sets the values of fields of a hash and their expiration time.",
    ),
    command("httl", -5, Group::Hash, httl).flags(READ).keys(spec::READ).doc(
        "7.4.0",
        "key FIELDS numfields field [field ...]",
        "Returns the time to live of fields of a hash in seconds.",
    ),
];

/// The number of fields is not above 0 or not that of the fields that follow.
const BAD_NUMFIELDS: CmdError =
    CmdError::new("ERR numfields should be greater than 0 and match the provided number of fields");

/// Splits the arguments from `from` on at the word FIELDS: options, and what follows the word.
fn split<'a>(args: Args<'a>, from: usize) -> Result<(Args<'a>, Args<'a>), CmdError> {
    let is_word = |&at: &usize| is(&args[at], "fields");
    let at = (from..args.len() - 1).find(is_word).ok_or(BAD_NUMFIELDS)?;
    Ok((args.first(at).from(from), args.from(at + 1)))
}

/// The fields behind their number, with `width` arguments for each; if there are not so many, it is the error `mismatch`.
fn counted<'a>(rest: Args<'a>, width: usize, mismatch: CmdError) -> Result<Args<'a>, CmdError> {
    let count = usize::try_from(parse::int(&rest[0])?).ok().filter(|&count| count > 0);
    let given = rest.len() - 1;
    if count.and_then(|count| count.checked_mul(width)) != Some(given) {
        return Err(mismatch);
    }
    Ok(rest.from(1))
}

/// The fields of commands that take no options: `key FIELDS numfields field [field ...]`.
fn only_fields<'a>(args: Args<'a>, mismatch: CmdError) -> Result<Args<'a>, CmdError> {
    if !is(&args[2], "fields") {
        return Err(error::SYNTAX);
    }
    counted(args.from(3), 1, mismatch)
}

/// A point in time that a field expires at, as Unix time in ms; it may be past, but not be given as a negative number.
fn unix_ms(cx: &Cx, time: Time, amount: &[u8]) -> Result<i64, CmdError> {
    match parse::int(amount)? {
        ..0 => Err(error::bad_expire(cx.command.name)),
        amount => time.to_unix_ms(amount, cx.keys.now_ms, cx.command.name),
    }
}

/// When `field` expires, as Unix time in ms: as [`Hash::expiry`].
fn expiry(hash: &Hash, field: &[u8]) -> Option<Option<i64>> {
    Some(hash.expiry(field)?.map(|at_ms| at_ms as i64))
}

// Setting the time.

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hexpire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::Seconds)
}

/// HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hpexpire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::Millis)
}

/// HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hexpireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::UnixSeconds)
}

/// HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hpexpireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::UnixMillis)
}

fn set_time(cx: &mut Cx, args: Args, time: Time) -> Result<(), CmdError> {
    let (options, rest) = split(args, 3)?;
    let condition = Condition::parse(options)?;
    let fields = counted(rest, 1, BAD_NUMFIELDS)?;
    let at_ms = unix_ms(cx, time, &args[2])?;
    let (key, is_past) = (&args[1], cx.keys.is_past(at_ms));
    let out = &mut *cx.out;
    out.array(fields.len());
    let changed = cx.keys.change_hash(key, |hash| {
        let (mut set, mut gone) = (0, 0);
        for field in fields {
            out.int(match expiry(hash, field) {
                None => -2,
                Some(old) if !condition.holds(old, at_ms) => 0,
                Some(_) if is_past => {
                    gone += u64::from(hash.remove(field));
                    2
                }
                Some(_) => {
                    set += u64::from(hash.set_expiry(field, Some(at_ms as u64)));
                    1
                }
            });
        }
        (set, gone, hash.is_empty())
    })?;
    let Some((set, gone, empty)) = changed else {
        fields.iter().for_each(|_| cx.out.int(-2));
        return Ok(());
    };
    if gone > 0 {
        cx.stats.expired_fields.add(gone);
        cx.keys.modified(notify::HASH, "hexpired", key);
    } else if set > 0 {
        cx.keys.modified(notify::HASH, "hexpire", key);
    }
    remove_if(cx, key, empty);
    Ok(())
}

/// HPERSIST key FIELDS numfields field [field ...]
fn hpersist(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let fields = only_fields(args, BAD_NUMFIELDS)?;
    let key = &args[1];
    let out = &mut *cx.out;
    out.array(fields.len());
    let changed = cx.keys.change_hash(key, |hash| {
        let mut persisted = 0;
        for field in fields {
            out.int(match expiry(hash, field) {
                None => -2,
                Some(None) => -1,
                Some(Some(_)) => {
                    persisted += usize::from(hash.set_expiry(field, None));
                    1
                }
            });
        }
        persisted
    })?;
    match changed {
        None => fields.iter().for_each(|_| cx.out.int(-2)),
        Some(0) => {}
        Some(_) => cx.keys.modified(notify::HASH, "hpersist", key),
    }
    Ok(())
}

// Telling the time.

/// HTTL key FIELDS numfields field [field ...]
fn httl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).max(0).saturating_add(500) / 1000)
}

/// HPTTL key FIELDS numfields field [field ...]
fn hpttl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).max(0))
}

/// HEXPIRETIME key FIELDS numfields field [field ...]
fn hexpiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, _| at_ms.saturating_add(500) / 1000)
}

/// HPEXPIRETIME key FIELDS numfields field [field ...]
fn hpexpiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, _| at_ms)
}

fn tell_time(cx: &mut Cx, args: Args, as_asked: fn(i64, i64) -> i64) -> Result<(), CmdError> {
    let fields = only_fields(args, error::SYNTAX)?;
    let now_ms = cx.keys.now_ms;
    let hash = cx.keys.read_hash(&args[1])?;
    cx.out.array(fields.len());
    for field in fields {
        cx.out.int(match hash.and_then(|hash| expiry(hash, field)) {
            None => -2,
            Some(None) => -1,
            Some(Some(at_ms)) => as_asked(at_ms, now_ms),
        });
    }
    Ok(())
}

// With values.

/// HGETDEL key FIELDS numfields field [field ...]
fn hgetdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let fields = only_fields(args, BAD_NUMFIELDS)?;
    let key = &args[1];
    let out = &mut *cx.out;
    out.array(fields.len());
    let changed = cx.keys.change_hash(key, |hash| {
        let mut removed = 0;
        for field in fields {
            reply_value(out, hash.get(field));
            removed += usize::from(hash.remove(field));
        }
        (removed, hash.is_empty())
    })?;
    let Some((removed, empty)) = changed else {
        fields.iter().for_each(|_| cx.out.null());
        return Ok(());
    };
    if removed > 0 {
        cx.keys.modified(notify::HASH, "hdel", key);
        remove_if(cx, key, empty);
    }
    Ok(())
}

/// What HGETEX does to the time of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Persist,
    Set(i64),
}

/// HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]
/// FIELDS numfields field [field ...]
fn hgetex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (options, rest) = split(args, 2)?;
    let mut time: Option<(Time, &[u8])> = None;
    let mut change = Change::Nothing;
    let mut at = 0;
    while at < options.len() {
        // The same may be said twice, two different things not.
        match Time::of_option(&options[at]) {
            Some(kind) if change == Change::Nothing && time.is_none_or(|(before, _)| before == kind) => {
                time = Some((kind, operand(&options, &mut at)?));
            }
            None if is(&options[at], "persist") && time.is_none() => change = Change::Persist,
            _ => return Err(error::SYNTAX),
        }
        at += 1;
    }
    let fields = counted(rest, 1, BAD_NUMFIELDS)?;
    let key = &args[1];
    let found = cx.keys.read_hash(key)?.is_some();
    if let Some((time, amount)) = time {
        change = Change::Set(unix_ms(cx, time, amount)?);
    }
    let is_past = matches!(change, Change::Set(at_ms) if cx.keys.is_past(at_ms));
    let out = &mut *cx.out;
    out.array(fields.len());
    if !found {
        fields.iter().for_each(|_| out.null());
        return Ok(());
    }
    let changed = cx.keys.change_hash(key, |hash| {
        let mut changes = 0;
        for field in fields {
            reply_value(out, hash.get(field));
            changes += u64::from(match change {
                Change::Nothing => false,
                Change::Persist => {
                    matches!(hash.expiry(field), Some(Some(_))) && hash.set_expiry(field, None)
                }
                Change::Set(_) if is_past => hash.remove(field),
                Change::Set(at_ms) => hash.set_expiry(field, Some(at_ms as u64)),
            });
        }
        (changes, hash.is_empty())
    })?;
    let (changes, empty) = changed.unwrap_or_default();
    if changes > 0 {
        let event = match change {
            Change::Nothing | Change::Persist => "hpersist",
            Change::Set(_) if is_past => {
                cx.stats.expired_fields.add(changes);
                "hexpired"
            }
            Change::Set(_) => "hexpire",
        };
        cx.keys.modified(notify::HASH, event, key);
        remove_if(cx, key, empty);
    }
    Ok(())
}

/// The options of HSETEX.
#[derive(Default)]
struct SetOptions<'a> {
    /// Whether the key must exist, or must not.
    key: Option<bool>,
    /// Whether all fields must exist, or none may.
    fields: Option<bool>,
    keep: bool,
    time: Option<(Time, &'a [u8])>,
}

impl<'a> SetOptions<'a> {
    fn parse(options: Args<'a>) -> Result<Self, CmdError> {
        let mut parsed = SetOptions::default();
        let mut at = 0;
        while at < options.len() {
            let word = &options[at];
            // The same may be said twice, two different things not.
            let said = |before: Option<bool>, no: &str, yes: &str| {
                let now = if is(word, yes) {
                    true
                } else if is(word, no) {
                    false
                } else {
                    return None;
                };
                before.is_none_or(|before| before == now).then_some(now)
            };
            if let Some(time) = Time::of_option(word)
                && !parsed.keep
                && parsed.time.is_none_or(|(before, _)| before == time)
            {
                parsed.time = Some((time, operand(&options, &mut at)?));
            } else if is(word, "keepttl") && parsed.time.is_none() {
                parsed.keep = true;
            } else if let Some(exists) = said(parsed.key, "nx", "xx") {
                parsed.key = Some(exists);
            } else if let Some(exist) = said(parsed.fields, "fnx", "fxx") {
                parsed.fields = Some(exist);
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        Ok(parsed)
    }
}

/// HSETEX key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds |
/// KEEPTTL] FIELDS numfields field value [field value ...]
fn hsetex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (options, rest) = split(args, 2)?;
    let options = SetOptions::parse(options)?;
    let pairs = counted(rest, 2, BAD_NUMFIELDS)?;
    let key = &args[1];
    let names = || (0..pairs.len()).step_by(2).map(|at| &pairs[at]);
    let found = cx.keys.change_hash(key, |hash| match options.fields {
        Some(wanted) => names().all(|name| hash.contains(name) == wanted),
        None => true,
    })?;
    if options.key.is_some_and(|wanted| found.is_some() != wanted) {
        cx.out.int(0);
        return Ok(());
    }
    let at_ms = options.time.map(|(time, amount)| unix_ms(cx, time, amount)).transpose()?;
    if !found.unwrap_or(options.fields != Some(true)) {
        cx.out.int(0);
        return Ok(());
    }
    if at_ms.is_some_and(|at_ms| cx.keys.is_past(at_ms)) {
        let empty = cx.keys.change_hash(key, |hash| {
            names().for_each(|name| {
                hash.remove(name);
            });
            hash.is_empty()
        })?;
        // Fields that were not there have been set and have expired as well.
        cx.stats.expired_fields.add(pairs.len() as u64 / 2);
        for event in ["hset", "hexpire", "hexpired"] {
            cx.keys.modified(notify::HASH, event, key);
        }
        remove_if(cx, key, empty.unwrap_or(true));
    } else {
        let limits = limits(cx.state);
        cx.keys.create_hash(key, |hash| {
            hash.expect_fields(pairs.len() / 2, limits);
            for at in (0..pairs.len()).step_by(2) {
                if options.keep {
                    hash.set_keeping_expiry(&pairs[at], &pairs[at + 1], limits);
                } else {
                    hash.set(&pairs[at], &pairs[at + 1], limits);
                }
                if let Some(at_ms) = at_ms {
                    hash.set_expiry(&pairs[at], Some(at_ms as u64));
                }
            }
        })?;
        cx.keys.modified(notify::HASH, "hset", key);
        if at_ms.is_some() {
            cx.keys.event(notify::HASH, "hexpire", key);
        }
    }
    cx.out.int(1);
    Ok(())
}
