//! When keys are gone: setting, asking for and taking away their time.

use super::error::CmdError;
use super::parse::{self, Time, is};
use super::{Command, Cx, Flags, Group, category, command, flag, flags, spec};
use crate::config::{id, notify};
use shoal_protocol::resp::Args;

const READ: Flags = flags([flag::READONLY, flag::FAST]);
const WRITE: Flags = flags([flag::WRITE, flag::FAST]);
const CHANGING: &[&str] = &["nondeterministic_output"];

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    set("expire", expire).doc(
        "1.0.0",
        "key seconds [NX | XX | GT | LT]",
        "Sets the expiration time of a key in seconds.",
    ),
    set("expireat", expireat).doc(
        "1.2.0",
        "key unix-time-seconds [NX | XX | GT | LT]",
        "Sets the expiration time of a key to a Unix timestamp.",
    ),
    ask("expiretime", expiretime).doc(
        "7.0.0",
        "key",
        "Returns the expiration time of a key as a Unix timestamp.",
    ),
    command("persist", 2, Group::Generic, persist)
        .flags(WRITE)
        .keys(spec::UPDATE)
        .categories(category::KEYSPACE)
        .doc("2.2.0", "key", "Removes the expiration time of a key."),
    set("pexpire", pexpire).doc(
        "2.6.0",
        "key milliseconds [NX | XX | GT | LT]",
        "Sets the expiration time of a key in milliseconds.",
    ),
    set("pexpireat", pexpireat).doc(
        "2.6.0",
        "key unix-time-milliseconds [NX | XX | GT | LT]",
        "Sets the expiration time of a key to a Unix milliseconds timestamp.",
    ),
    ask("pexpiretime", pexpiretime).doc(
        "7.0.0",
        "key",
        "Returns the expiration time of a key as a Unix milliseconds timestamp.",
    ),
    ask("pttl", pttl).tips(CHANGING).doc(
        "2.6.0",
        "key",
        "Returns the expiration time in milliseconds of a key.",
    ),
    ask("ttl", ttl).tips(CHANGING).doc("1.0.0", "key", "Returns the expiration time in seconds of a key."),
];

const fn set(name: &'static str, run: super::Run) -> Command {
    command(name, -3, Group::Generic, run).flags(WRITE).keys(spec::UPDATE).categories(category::KEYSPACE)
}

const fn ask(name: &'static str, run: super::Run) -> Command {
    command(name, 2, Group::Generic, run).flags(READ).keys(spec::READ).categories(category::KEYSPACE)
}

/// EXPIRE key seconds [NX | XX | GT | LT]
fn expire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::Seconds)
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
fn pexpire(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::Millis)
}

/// EXPIREAT key unix-time-seconds [NX | XX | GT | LT]
fn expireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::UnixSeconds)
}

/// PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]
fn pexpireat(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    set_time(cx, args, Time::UnixMillis)
}

fn set_time(cx: &mut Cx, args: Args, time: Time) -> Result<(), CmdError> {
    let key = &args[1];
    let condition = Condition::parse(args.from(3))?;
    let at_ms = time.to_unix_ms(parse::int(&args[2])?, cx.keys.now_ms, cx.command.name)?;
    let fits = cx.keys.find(key).is_some_and(|entry| condition.holds(entry.expires_at(), at_ms));
    if fits && cx.keys.is_past(at_ms) {
        expire_now(cx, key);
    } else if fits {
        cx.keys.set_expiry(key, Some(at_ms));
        cx.keys.modified(notify::GENERIC, "expire", key);
    }
    cx.out.int(fits.into());
    Ok(())
}

/// Removes a key whose new time has passed already.
pub fn expire_now(cx: &mut Cx, key: &[u8]) {
    cx.keys.discard(key, cx.state.config.flag(id::LAZYFREE_LAZY_EXPIRE));
    cx.stats.expired.add(1);
    cx.keys.modified(notify::EXPIRED, "expired", key);
}

/// On what it depends whether a time is set.
#[derive(Clone, Copy, Default)]
pub struct Condition {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl Condition {
    /// Reads `[NX | XX | GT | LT]`, all of the arguments.
    pub fn parse(options: Args) -> Result<Condition, CmdError> {
        let mut condition = Condition::default();
        for word in options {
            let option = match () {
                () if is(word, "nx") => &mut condition.absent,
                () if is(word, "xx") => &mut condition.present,
                () if is(word, "gt") => &mut condition.greater,
                () if is(word, "lt") => &mut condition.less,
                () => return Err(CmdError::quoting(&[b"ERR Unsupported option ", word])),
            };
            *option = true;
        }
        let Condition { absent, present, greater, less } = condition;
        if absent && (present || greater || less) {
            return Err(CmdError::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if greater && less {
            return Err(CmdError::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// Whether `new` may follow `old`; no time at all counts as later than any.
    pub fn holds(self, old: Option<i64>, new: i64) -> bool {
        !(self.absent && old.is_some()
            || self.present && old.is_none()
            || self.greater && old.is_none_or(|old| new <= old)
            || self.less && old.is_some_and(|old| new >= old))
    }
}

/// TTL key
fn ttl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).max(0).saturating_add(500) / 1000)
}

/// PTTL key
fn pttl(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).max(0))
}

/// EXPIRETIME key
fn expiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, _| at_ms.saturating_add(500) / 1000)
}

/// PEXPIRETIME key
fn pexpiretime(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    tell_time(cx, args, |at_ms, _| at_ms)
}

fn tell_time(cx: &mut Cx, args: Args, as_asked: impl FnOnce(i64, i64) -> i64) -> Result<(), CmdError> {
    let now_ms = cx.keys.now_ms;
    let time = match cx.keys.inspect(&args[1]).map(|entry| entry.expires_at()) {
        None => -2,
        Some(None) => -1,
        // An entry that is there is due in the future, but for who brings in data.
        Some(Some(at_ms)) => as_asked(at_ms, now_ms),
    };
    cx.out.int(time);
    Ok(())
}

/// PERSIST key
fn persist(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let key = &args[1];
    let volatile = cx.keys.find(key).is_some_and(|entry| entry.expires_at().is_some());
    if volatile {
        cx.keys.set_expiry(key, None);
        cx.keys.modified(notify::GENERIC, "persist", key);
    }
    cx.out.int(volatile.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Condition;

    #[test]
    fn conditions_compare_with_no_time_as_with_the_latest() {
        let greater = Condition { greater: true, ..Condition::default() };
        let less = Condition { less: true, ..Condition::default() };
        let less_present = Condition { present: true, ..less };
        assert!(!greater.holds(None, 10) && !greater.holds(Some(10), 10) && greater.holds(Some(9), 10));
        assert!(less.holds(None, 10) && !less.holds(Some(10), 10) && less.holds(Some(11), 10));
        assert!(!less_present.holds(None, 10) && less_present.holds(Some(11), 10));
    }
}
