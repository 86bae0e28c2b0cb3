//! DUMP and RESTORE: values as bytes, to be carried to another key or server.

use super::error::{self, CmdError};
use super::parse::{self, is, operand};
use super::{Command, Cx, Flags, Group, category, command, flag, flags, spec};
use crate::config::{id, notify};
use crate::state::State;
use crate::store::entry::{Entry, Extras, INLINE_MAX, Payload};
use crate::store::rdb::{self, Leniency, RestoreError, Value};
use crate::store::types::Limits;
use shoal_protocol::resp::Args;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const WRITE: Flags = flags([flag::WRITE, flag::DENYOOM]);
const RESTORE_SYNTAX: &str =
    "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]";

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    command("dump", 2, Group::Generic, dump)
        .flags(flag::READONLY)
        .keys(spec::READ)
        .categories(category::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .doc("2.6.0", "key", "Returns a serialized representation of the value stored at a key."),
    command("migrate", -6, Group::Generic, migrate)
        .flags(flag::WRITE)
        .keys(spec::MIGRATE)
        .categories(category::KEYSPACE.or(category::DANGEROUS))
        .tips(&["nondeterministic_output"])
        .doc(
            "2.6.0",
            "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] \
             [KEYS key [key ...]]",
            "Refuses: keys get to other servers by DUMP and RESTORE.",
        ),
    command("restore", -4, Group::Generic, restore)
        .flags(WRITE)
        .keys(spec::OVERWRITE)
        .categories(category::KEYSPACE.or(category::DANGEROUS))
        .doc("2.6.0", RESTORE_SYNTAX, "Creates a key from the serialized representation of a value."),
    command("restore-asking", -4, Group::Server, restore)
        .flags(flags([WRITE, flag::ASKING]))
        .keys(spec::OVERWRITE)
        .categories(category::KEYSPACE.or(category::DANGEROUS))
        .doc("3.0.0", RESTORE_SYNTAX, "An internal command for migrating keys in a cluster."),
];

/// DUMP key
fn dump(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    match cx.keys.read(&args[1]) {
        Some(entry) => cx.out.bulk(&rdb::dump(entry.value())),
        None => cx.out.null(),
    }
    Ok(())
}

/// MIGRATE host port <key | ""> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key ...]
///
/// A worker that talked to another server while it holds a key would keep all its connections waiting.
fn migrate(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut keys = args.from(3).first(1);
    let mut at = 6;
    while at < args.len() {
        let more = args.len() - at - 1;
        match &*args[at].to_ascii_lowercase() {
            b"copy" | b"replace" => {}
            b"auth" if more >= 1 => at += 1,
            b"auth2" if more >= 2 => at += 2,
            b"keys" if !args[3].is_empty() => {
                return Err(CmdError::new(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                ));
            }
            b"keys" => {
                keys = args.from(at + 1);
                break;
            }
            _ => return Err(error::SYNTAX),
        }
        at += 1;
    }
    parse::int(&args[5])?;
    parse::int(&args[4])?;
    if !keys.iter().any(|key| cx.keys.peek(key).is_some()) {
        cx.out.simple("NOKEY");
        return Ok(());
    }
    Err(CmdError::new("ERR MIGRATE is not supported: carry keys over by DUMP and RESTORE"))
}

/// The options of RESTORE.
#[derive(Default)]
struct Options {
    replace: bool,
    /// Whether the time is a point in time, not from now.
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args) -> Result<Options, CmdError> {
        let mut options = Options::default();
        let mut at = 4;
        while at < args.len() {
            let word = &args[at];
            if is(word, "replace") {
                options.replace = true;
            } else if is(word, "absttl") {
                options.absolute = true;
            } else if is(word, "idletime") && options.frequency.is_none() {
                let idle = parse::int(operand(&args, &mut at)?)?;
                let idle = u64::try_from(idle)
                    .map_err(|_| CmdError::new("ERR Invalid IDLETIME value, must be >= 0"));
                options.idle_seconds = Some(idle?);
            } else if is(word, "freq") && options.idle_seconds.is_none() {
                let frequency = parse::int(operand(&args, &mut at)?)?;
                let frequency = u8::try_from(frequency)
                    .map_err(|_| CmdError::new("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                options.frequency = Some(frequency?);
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency], RESTORE-ASKING
fn restore(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let options = Options::parse(args)?;
    let (key, now_ms) = (&args[1], cx.keys.now_ms);
    if !options.replace && cx.keys.exists(key) {
        return Err(CmdError::new("BUSYKEY Target key name already exists."));
    }
    let expires_at = match parse::int(&args[2])? {
        ..0 => return Err(CmdError::new("ERR Invalid TTL value, must be >= 0")),
        0 => None,
        at_ms if options.absolute => Some(at_ms),
        ttl_ms => Some(ttl_ms.saturating_add(now_ms)),
    };
    let leniency = Leniency {
        any_version: cx.state.config.choice(id::RDB_VERSION_CHECK) == "relaxed",
        any_checksum: cx.state.skip_checksums.load(Ordering::Relaxed),
    };
    let value = rdb::restore(&args[3], &limits(cx.state), leniency).map_err(|error| match error {
        RestoreError::Footer => CmdError::new("ERR DUMP payload version or checksum are wrong"),
        RestoreError::Format => CmdError::new("ERR Bad data format"),
    })?;
    cx.out.ok();
    if expires_at.is_some_and(|at_ms| cx.keys.is_past(at_ms)) {
        if cx.keys.remove(key) {
            cx.keys.modified(notify::GENERIC, "del", key);
        }
        return Ok(());
    }
    let text;
    let payload = match value {
        Value::String(long) if long.len() > INLINE_MAX => Payload::Shared(Arc::new(long)),
        Value::String(short) => {
            text = short;
            Payload::string(&text)
        }
        Value::Object(object) => Payload::Object(Box::new(object)),
    };
    let mut entry = Entry::new(key, payload, Extras { expires_at, ..Extras::default() });
    entry.set_clock(cx.keys.clock().restored(options.idle_seconds, options.frequency, now_ms));
    cx.keys.insert(cx.keys.db, entry);
    cx.keys.modified(notify::GENERIC, "restore", key);
    Ok(())
}

/// How large restored collections may be in their small forms.
pub(super) fn limits(state: &State) -> Limits {
    Limits {
        list: super::list::limits(state),
        hash: super::hash::limits(state),
        set: super::set::limits(state),
        zset: super::sorted_set::limits(state),
    }
}
