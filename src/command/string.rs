//! Strings: whole values, and parts of them.

use super::error::{self, CmdError};
use super::expire::expire_now;
use super::keys::text;
use super::parse::{self, Time, is, operand};
use super::{Command, Cx, Flags, Group, command, flag, flags, spec};
use crate::config::{id, notify};
use crate::store::entry::{Entry, Extras, Payload, ValueRef};
use shoal_protocol::resp::{Args, Output};

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const SLOW_READ: Flags = flag::READONLY;
const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM, flag::FAST]);
const SLOW_WRITE: Flags = flags([flag::WRITE, flag::DENYOOM]);

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("append", 3, Group::String, append).flags(WRITE).keys(spec::INSERT).doc(
        "2.0.0",
        "key value",
        "Appends a string to the value of a key. Creates the key if it doesn't exist.",
    ),
    command("delex", -2, Group::String, delex).flags(flags([flag::WRITE, flag::FAST])).keys(spec::REMOVE).doc(
        "8.4.0",
        "key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]",
        "Deletes a key if its string value or the value's digest meets a condition.",
    ),
    command("delifeq", 3, Group::String, delifeq)
        .flags(flags([flag::WRITE, flag::FAST]))
        .keys(spec::REMOVE)
        .doc("9.0.0", "key value", "Deletes a key if its string value equals the given one."),
    command("digest", 2, Group::String, digest).flags(READ).keys(spec::READ).doc(
        "8.4.0",
        "key",
        "Returns the XXH3 hash of a string value as hexadecimal digits.",
    ),
    command("get", 2, Group::String, get).flags(READ).keys(spec::READ).doc(
        "1.0.0",
        "key",
        "Returns the string value of a key.",
    ),
    command("getdel", 2, Group::String, getdel)
        .flags(flags([flag::WRITE, flag::FAST]))
        .keys(spec::ACCESS_DELETE)
        .doc("6.2.0", "key", "Returns the string value of a key after deleting the key."),
    command("getex", -2, Group::String, getex)
        .flags(flags([flag::WRITE, flag::FAST]))
        .keys(spec::ACCESS_UPDATE)
        .doc(
            "6.2.0",
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
            "Returns the string value of a key after setting its expiration time.",
        ),
    command("getrange", 4, Group::String, getrange).flags(SLOW_READ).keys(spec::READ).doc(
        "2.4.0",
        "key start end",
        "Returns a substring of the string stored at a key.",
    ),
    command("getset", 3, Group::String, getset).flags(WRITE).keys(spec::ACCESS_UPDATE).doc(
        "1.0.0",
        "key value",
        "Returns the previous string value of a key after setting it to a new value.",
    ),
    command("mget", -2, Group::String, mget).flags(READ).keys(spec::READ_ALL).doc(
        "1.0.0",
        "key [key ...]",
        "Atomically returns the string values of one or more keys.",
    ),
    command("mset", -3, Group::String, mset).flags(SLOW_WRITE).keys(spec::OVERWRITE_PAIRS).doc(
        "1.0.1",
        "key value [key value ...]",
        "Atomically creates or modifies the string values of one or more keys.",
    ),
    command("msetex", -4, Group::String, msetex).flags(SLOW_WRITE).keys(spec::OVERWRITE_COUNTED_PAIRS).doc(
        "8.4.0",
        "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        "Atomically sets the string values of several keys with a common expiration.",
    ),
    command("msetnx", -3, Group::String, msetnx).flags(SLOW_WRITE).keys(spec::INSERT_PAIRS).doc(
        "1.0.1",
        "key value [key value ...]",
        "Atomically modifies the string values of one or more keys only when all keys don't exist.",
    ),
    command("psetex", 4, Group::String, psetex).flags(SLOW_WRITE).keys(spec::OVERWRITE).doc(
        "2.6.0",
        "key milliseconds value",
        "Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist.",
    ),
    command("set", -3, Group::String, set).flags(SLOW_WRITE).keys(spec::SET).doc(
        "1.0.0",
        "key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
    ),
    command("setex", 4, Group::String, setex).flags(SLOW_WRITE).keys(spec::OVERWRITE).doc(
        "2.0.0",
        "key seconds value",
        "Sets the string value and expiration time of a key. Creates the key if it doesn't exist.",
    ),
    command("setnx", 3, Group::String, setnx).flags(WRITE).keys(spec::OVERWRITE_IF_ABSENT).doc(
        "1.0.0",
        "key value",
        "Set the string value of a key only when the key doesn't exist.",
    ),
    command("setrange", 4, Group::String, setrange).flags(SLOW_WRITE).keys(spec::UPDATE).doc(
        "2.2.0",
        "key offset value",
        "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist.",
    ),
    command("strlen", 2, Group::String, strlen).flags(READ).keys(spec::READ_META).doc(
        "2.2.0",
        "key",
        "Returns the length of a string value.",
    ),
    command("substr", 4, Group::String, getrange).flags(SLOW_READ).keys(spec::READ).doc(
        "1.0.0",
        "key start end",
        "Returns a substring from a string value.",
    ),
];

/// Answers with the string of an entry.
#[inline]
pub fn reply_text(out: &mut Output, entry: &Entry) -> Result<(), CmdError> {
    match entry.value() {
        ValueRef::Inline(bytes) => out.bulk(bytes),
        ValueRef::Shared(bytes) => out.bulk_shared(bytes),
        ValueRef::Int(n) => out.bulk_int(n),
        ValueRef::Object(_) => return Err(error::WRONG_TYPE),
    }
    Ok(())
}

/// GET key
fn get(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.read(&args[1]) {
        Some(entry) => reply_text(cx.out, entry),
        None => {
            cx.out.null();
            Ok(())
        }
    }
}

/// When SET and its kin write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    Absent,
    Present,
    Equal(&'a [u8]),
    NotEqual(&'a [u8]),
    DigestEqual(&'a [u8]),
    DigestNotEqual(&'a [u8]),
}

impl<'a> Condition<'a> {
    /// The comparison that the option at `*at` asks for, with its operand.
    fn compare(args: &Args<'a>, at: &mut usize) -> Result<Option<Self>, CmdError> {
        let word = &args[*at];
        let make = if is(word, "ifeq") {
            Condition::Equal
        } else if is(word, "ifne") {
            Condition::NotEqual
        } else if is(word, "ifdeq") {
            Condition::DigestEqual
        } else if is(word, "ifdne") {
            Condition::DigestNotEqual
        } else {
            return Ok(None);
        };
        let value = operand(args, at)?;
        if matches!(make(value), Condition::DigestEqual(_) | Condition::DigestNotEqual(_))
            && value.len() != 16
        {
            return Err(CmdError::new("ERR must be exactly 16 hexadecimal characters"));
        }
        Ok(Some(make(value)))
    }

    /// Whether the entry meets it; comparing another type than a string is an error.
    fn holds(self, entry: Option<&Entry>) -> Result<bool, CmdError> {
        let same = |value: &[u8]| entry.map_or(Ok(false), |entry| Ok(text(entry)?.bytes() == value));
        let same_digest = |value: &[u8]| {
            entry.map_or(Ok(false), |entry| {
                Ok(hex_digest(text(entry)?.bytes()).as_bytes().eq_ignore_ascii_case(value))
            })
        };
        match self {
            Condition::Always => Ok(true),
            Condition::Absent => Ok(entry.is_none()),
            Condition::Present => Ok(entry.is_some()),
            Condition::Equal(value) => same(value),
            Condition::NotEqual(value) => Ok(!same(value)?),
            Condition::DigestEqual(value) => same_digest(value),
            Condition::DigestNotEqual(value) => Ok(!same_digest(value)?),
        }
    }
}

/// What becomes of the time to live.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ttl {
    Clear,
    Keep,
    At(i64),
}

/// The options of SET, MSETEX.
struct SetOptions<'a> {
    condition: Condition<'a>,
    get: bool,
    ttl: Ttl,
}

impl<'a> SetOptions<'a> {
    fn parse(args: Args<'a>, from: usize, now_ms: i64, command: &str) -> Result<Self, CmdError> {
        let mut options = SetOptions { condition: Condition::Always, get: false, ttl: Ttl::Clear };
        // The same unit may come again and then counts; another one may not.
        let mut expiry: Option<(Time, &[u8])> = None;
        let mut at = from;
        while at < args.len() {
            let word = &args[at];
            let condition = if is(word, "nx") {
                Some(Condition::Absent)
            } else if is(word, "xx") {
                Some(Condition::Present)
            } else {
                Condition::compare(&args, &mut at)?
            };
            if let Some(condition) = condition {
                // A repeated NX is as good as one.
                if options.condition != Condition::Always && options.condition != condition {
                    return Err(error::SYNTAX);
                }
                options.condition = condition;
            } else if is(word, "get") && command == "set" {
                options.get = true;
            } else if is(word, "keepttl") && expiry.is_none() {
                options.ttl = Ttl::Keep;
            } else if let Some(time) = Time::of_option(word)
                && expiry.is_none_or(|(before, _)| before == time)
                && options.ttl != Ttl::Keep
            {
                expiry = Some((time, operand(&args, &mut at)?));
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        if let Some((time, amount)) = expiry {
            options.ttl = Ttl::At(time.positive_to_unix_ms(amount, now_ms, command)?);
        }
        Ok(options)
    }
}

/// SET key value [NX | XX | IFEQ value | ...] [GET] [EX seconds | ... | KEEPTTL]
fn set(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, value) = (&args[1], &args[2]);
    if args.len() == 3 {
        store(cx, key, value, Ttl::Clear);
        cx.out.ok();
        return Ok(());
    }
    let options = SetOptions::parse(args, 3, cx.keys.now_ms, "set")?;
    if options.get {
        match cx.keys.read(key) {
            Some(entry) => reply_text(cx.out, entry)?,
            None => cx.out.null(),
        }
    }
    if !options.condition.holds(cx.keys.find(key).map(|entry| &*entry))? {
        if !options.get {
            cx.out.null();
        }
        return Ok(());
    }
    store(cx, key, value, options.ttl);
    if !options.get {
        cx.out.ok();
    }
    Ok(())
}

/// Gives `key` a string, with the events of SET.
#[inline]
fn store(cx: &mut Cx, key: &[u8], value: &[u8], ttl: Ttl) {
    let expires_at = match ttl {
        Ttl::Clear => None,
        Ttl::At(at_ms) if cx.keys.is_past(at_ms) => {
            if cx.keys.exists(key) {
                expire_now(cx, key);
            }
            return;
        }
        Ttl::At(at_ms) => Some(at_ms),
        Ttl::Keep => cx.keys.find(key).and_then(|entry| entry.expires_at()),
    };
    cx.keys.put(key, Payload::string(value), Extras { expires_at, ..Extras::default() });
    cx.keys.modified(notify::STRING, "set", key);
    if let Ttl::At(_) = ttl {
        cx.keys.event(notify::GENERIC, "expire", key);
    }
}

/// SETNX key value
fn setnx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let absent = !cx.keys.exists(&args[1]);
    if absent {
        store(cx, &args[1], &args[2], Ttl::Clear);
    }
    cx.out.int(i64::from(absent));
    Ok(())
}

/// SETEX key seconds value
fn setex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_for(cx, args, Time::Seconds)
}

/// PSETEX key milliseconds value
fn psetex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_for(cx, args, Time::Millis)
}

fn set_for(cx: &mut Cx, args: Args, time: Time) -> Result<(), CmdError> {
    let at_ms = time.positive_to_unix_ms(&args[2], cx.keys.now_ms, cx.command.name)?;
    store(cx, &args[1], &args[3], Ttl::At(at_ms));
    cx.out.ok();
    Ok(())
}

/// GETSET key value
fn getset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    get(cx, args)?;
    store(cx, &args[1], &args[2], Ttl::Clear);
    Ok(())
}

/// GETDEL key
fn getdel(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let found = cx.keys.exists(&args[1]);
    get(cx, args)?;
    if found {
        cx.keys.remove(&args[1]);
        cx.keys.modified(notify::GENERIC, "del", &args[1]);
    }
    Ok(())
}

/// GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]
fn getex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let mut change = None;
    let mut at = 2;
    while at < args.len() {
        let time = Time::of_option(&args[at]);
        // The same may be said twice, two different things not.
        let said: Option<Option<Time>> =
            change.map(|change: Option<(Time, &[u8])>| change.map(|(time, _)| time));
        if said.is_some_and(|said| said != time) || (time.is_none() && !is(&args[at], "persist")) {
            return Err(error::SYNTAX);
        }
        change = Some(match time {
            Some(time) => Some((time, operand(&args, &mut at)?)),
            None => None,
        });
        at += 1;
    }
    let change = match change {
        Some(Some((time, amount))) => {
            Some(Some(time.positive_to_unix_ms(amount, cx.keys.now_ms, cx.command.name)?))
        }
        Some(None) => Some(None),
        None => None,
    };
    let Some(entry) = cx.keys.read(key) else {
        cx.out.null();
        return Ok(());
    };
    let volatile = entry.expires_at().is_some();
    text(entry)?;
    if let Some(entry) = cx.keys.find(key) {
        reply_text(cx.out, entry)?;
    }
    match change {
        Some(Some(at_ms)) if cx.keys.is_past(at_ms) => {
            expire_now(cx, key);
        }
        Some(Some(at_ms)) => {
            cx.keys.set_expiry(key, Some(at_ms));
            cx.keys.modified(notify::GENERIC, "expire", key);
        }
        Some(None) if volatile => {
            cx.keys.set_expiry(key, None);
            cx.keys.modified(notify::GENERIC, "persist", key);
        }
        Some(None) | None => {}
    }
    Ok(())
}

/// MGET key [key ...]
fn mget(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    cx.out.array(args.len() - 1);
    for key in args.from(1) {
        // Another type is as good as no key.
        if cx.keys.read(key).is_none_or(|entry| reply_text(cx.out, entry).is_err()) {
            cx.out.null();
        }
    }
    Ok(())
}

/// MSET key value [key value ...]
fn mset(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pairs(cx, args)?;
    store_pairs(cx, args.from(1), Ttl::Clear);
    cx.out.ok();
    Ok(())
}

/// MSETNX key value [key value ...]
fn msetnx(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    pairs(cx, args)?;
    let free = !args.from(1).iter().step_by(2).any(|key| cx.keys.exists(key));
    if free {
        store_pairs(cx, args.from(1), Ttl::Clear);
    }
    cx.out.int(i64::from(free));
    Ok(())
}

/// MSETEX numkeys key value [key value ...] [NX | XX] [EX seconds | ... | KEEPTTL]
fn msetex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let count = parse::int(&args[1]).ok().and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0);
    let count = count.ok_or(CmdError::new("ERR invalid numkeys value or out of range"))?;
    let end = Some(count as usize * 2 + 2).filter(|end| *end <= args.len()).ok_or(error::SYNTAX)?;
    let options = SetOptions::parse(args, end, cx.keys.now_ms, "msetex")?;
    let pairs = args.first(end).from(2);
    let free = |present: bool, cx: &mut Cx| pairs.iter().step_by(2).all(|key| cx.keys.exists(key) == present);
    let holds = match options.condition {
        Condition::Absent => free(false, cx),
        Condition::Present => free(true, cx),
        Condition::Always => true,
        _ => return Err(error::SYNTAX),
    };
    if holds {
        store_pairs(cx, pairs, options.ttl);
    }
    cx.out.int(i64::from(holds));
    Ok(())
}

fn pairs(cx: &Cx, args: Args) -> Result<(), CmdError> {
    if args.len().is_multiple_of(2) { Err(error::wrong_arity(cx.command.name)) } else { Ok(()) }
}

fn store_pairs(cx: &mut Cx, pairs: Args, ttl: Ttl) {
    let mut words = pairs.iter();
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        store(cx, key, value, ttl);
    }
}

/// STRLEN key
fn strlen(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let len = cx.keys.read_text(&args[1])?.map_or(0, |mut text| text.len());
    cx.out.int(len as i64);
    Ok(())
}

/// APPEND key value
fn append(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, tail) = (&args[1], &args[2]);
    let len = match cx.keys.find(key) {
        None => {
            cx.keys.put(key, Payload::string(tail), Extras::default());
            tail.len()
        }
        Some(entry) => {
            let old = text(entry)?.len();
            check_len(cx, old, tail.len())?;
            cx.keys.edit(key, |value| value.extend_from_slice(tail));
            old + tail.len()
        }
    };
    cx.keys.modified(notify::STRING, "append", key);
    cx.out.int(len as i64);
    Ok(())
}

/// SETRANGE key offset value
fn setrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (key, value) = (&args[1], &args[3]);
    let offset = usize::try_from(parse::int(&args[2])?).map_err(|_| error::BAD_OFFSET)?;
    let old = cx.keys.find(key).map(|entry| text(entry).map(|mut text| text.len())).transpose()?;
    if value.is_empty() {
        cx.out.int(old.unwrap_or(0) as i64);
        return Ok(());
    }
    check_len(cx, offset, value.len())?;
    if old.is_none() {
        cx.keys.put(key, Payload::text(b""), Extras::default());
    }
    cx.keys.edit(key, |bytes| {
        let end = offset + value.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(value);
    });
    cx.keys.modified(notify::STRING, "setrange", key);
    cx.out.int(old.unwrap_or(0).max(offset + value.len()) as i64);
    Ok(())
}

/// GETRANGE key start end, SUBSTR key start end
fn getrange(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let (start, end) = (parse::int(&args[2])?, parse::int(&args[3])?);
    match cx.keys.read_text(&args[1])? {
        None => cx.out.bulk(b""),
        Some(mut text) => {
            let bytes = text.bytes();
            cx.out.bulk(range(bytes.len(), start, end).map_or(b"", |range| &bytes[range]));
        }
    }
    Ok(())
}

/// The part of `len` elements that Redis's inclusive `start` and `end` mean, negative ones counted from the end.
fn range(len: usize, start: i64, end: i64) -> Option<std::ops::Range<usize>> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let len = len as i64;
    let from_start = |at: i64| if at < 0 { at.saturating_add(len) } else { at }.max(0);
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    (start <= end && len > 0).then(|| start as usize..end as usize + 1)
}

/// Refuses a string that would become too long.
pub fn check_len(cx: &Cx, len: usize, more: usize) -> Result<(), CmdError> {
    let max = cx.state.config.size(id::PROTO_MAX_BULK_LEN);
    if len.checked_add(more).is_some_and(|len| len <= max) { Ok(()) } else { Err(error::STRING_TOO_LONG) }
}

/// DIGEST key
fn digest(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.read_text(&args[1])? {
        Some(mut text) => cx.out.bulk(hex_digest(text.bytes()).as_bytes()),
        None => cx.out.null(),
    }
    Ok(())
}

fn hex_digest(bytes: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(bytes))
}

/// DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]
fn delex(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let condition = match args.len() {
        2 => Condition::Always,
        4 => Condition::compare(&args, &mut 2)?
            .ok_or(CmdError::new("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?,
        _ => return Err(error::wrong_arity("delex")),
    };
    delete_if(cx, &args[1], condition)
}

/// DELIFEQ key value
fn delifeq(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    delete_if(cx, &args[1], Condition::Equal(&args[2]))
}

fn delete_if(cx: &mut Cx, key: &[u8], condition: Condition) -> Result<(), CmdError> {
    let entry = cx.keys.find(key).map(|entry| &*entry);
    let gone = entry.is_some() && condition.holds(entry)?;
    if gone {
        cx.keys.remove(key);
        cx.keys.modified(notify::GENERIC, "del", key);
    }
    cx.out.int(i64::from(gone));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_are_cut_as_redis_cuts_them() {
        let cases = [
            (5, 0, -1, Some(0..5)),
            (5, -3, -1, Some(2..5)),
            (5, -100, 100, Some(0..5)),
            (5, 3, 2, None),
            (5, -1, -3, None),
            (5, 5, 9, None),
            (0, 0, 0, None),
            (5, i64::MIN, i64::MAX, Some(0..5)),
            (5, 0, -100, Some(0..1)),
        ];
        for (len, start, end, expected) in cases {
            assert_eq!(range(len, start, end), expected, "{len} {start} {end}");
        }
    }
}
