//! What is noted of each command that was run: counters, the logs of COMMANDLOG, latency events, MONITOR.
//!
//! The idea: after a command a few numbers are compared with thresholds; only what passes one costs more.
//! Secrets never reach a log or a monitor: [`is_secret`] knows where they stand.

use super::call::Site;
use super::client::Client;
use super::table::Row;
use super::{Command, flag};
use crate::config::{Config, id};
use crate::state::State;
use crate::state::clients::ClientShared;
use crate::state::command_log::{CommandLog, Logged, shorten};
use crate::state::histogram::Histogram;
use shoal_protocol::resp::{Args, OwnedArgs};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a command cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// How long it took, in ns.
    pub nanos: u64,
    /// Length of its reply in bytes.
    pub reply: usize,
}

/// Notes a command that ran. One that began to wait is noted once it is served, but monitors see it now.
#[inline(always)]
pub fn ran(site: &mut Site, row: &Row, args: Args, cost: Cost) {
    if site.client.blocked.is_none() {
        finished(site, row, args, cost);
    }
    if site.state.monitors.any() && !row.command.flags.any(HIDDEN_FROM_MONITOR) && !is_shown_elsewhere(site) {
        monitor(site.state, site.client, row.command, args);
    }
}

/// Shows a command to the monitors that another node runs for a client of this one.
#[inline]
pub fn passed_on(site: &Site, row: &Row, args: Args) {
    // Scripts are hidden where they run as they are shown before what they do.
    let flags = row.command.flags;
    if site.state.monitors.any() && (!flags.any(HIDDEN_FROM_MONITOR) || flags.has(flag::SCRIPT)) {
        monitor(site.state, site.client, row.command, args);
    }
}

/// Whether a request is shown where its client is. What a script does is shown where it runs.
fn is_shown_elsewhere(site: &Site) -> bool {
    site.client.is_peer && !site.client.in_script
}

/// Notes a request of the memcached protocol, of which `bytes` are all: it began at `began_ns` and its reply has so many bytes.
#[inline]
pub fn memcached(site: &mut Site, bytes: &[u8], began_ns: u64, reply: usize) {
    memcached_as(site, bytes.len(), began_ns, reply, || text_words(bytes));
}

/// The same of a request of so many bytes that `words` tells in words; without any it is not shown.
#[inline]
pub fn memcached_as(
    site: &mut Site,
    extent: usize,
    began_ns: u64,
    reply: usize,
    words: impl FnOnce() -> OwnedArgs,
) {
    site.clock.lap();
    let cost = Cost { nanos: site.clock.now_ns() - began_ns, reply };
    if site.state.monitors.any() || is_notable(&site.state.config, extent, cost) {
        note_memcached(site, words().as_args(), extent, cost);
    }
}

/// The words of the first line are the arguments, and so is the data behind it.
fn text_words(bytes: &[u8]) -> OwnedArgs {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let (line, data) = bytes.split_at(end);
    let mut args: OwnedArgs = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    if !data.is_empty() {
        args.push(data.strip_suffix(b"\r\n").unwrap_or(data));
    }
    args
}

#[cold]
fn note_memcached(site: &Site, args: Args, extent: usize, cost: Cost) {
    if args.is_empty() {
        return;
    }
    if is_notable(&site.state.config, extent, cost) {
        let noted = Noted { args, extent, cause: "fast-command", is_logged: true, hidden: &|_| false };
        note(site.state, &site.client.shared, &noted, cost);
    }
    if site.state.monitors.any() {
        show(site.state, site.client, args, &|_| false);
    }
}

const HIDDEN_FROM_MONITOR: super::Flags = flag::SKIP_MONITOR.or(flag::ADMIN);

/// Notes a command that has its reply.
#[inline(always)]
pub fn finished(site: &Site, row: &Row, args: Args, cost: Cost) {
    served(site, &site.client.shared, row, args, cost);
}

/// Notes a command of the connection `client` that has its reply, whoever's turn this is.
#[inline(always)]
pub fn served(site: &Site, client: &ClientShared, row: &Row, args: Args, cost: Cost) {
    let (config, stats) = (&site.state.config, site.stats);
    if config.flag(id::LATENCY_TRACKING) {
        let histogram = stats.commands[row.id].latency.get_or_init(Box::<Histogram>::default);
        histogram.record(cost.nanos);
    }
    if is_notable(config, args.extent(), cost) {
        note_command(site.state, client, row.command, args, cost);
    }
}

/// Whether the value of a directive that gives a threshold, negative for none, is passed.
#[inline(always)]
fn passes(threshold: i64, unit: u64, value: u64) -> bool {
    // A negative one becomes more than any value.
    value / unit >= threshold as u64
}

#[inline(always)]
fn is_notable(config: &Config, extent: usize, cost: Cost) -> bool {
    let latency_ms = config.int(id::LATENCY_MONITOR_THRESHOLD);
    passes(config.int(id::SLOWLOG_LOG_SLOWER_THAN), 1000, cost.nanos)
        || latency_ms > 0 && passes(latency_ms, 1_000_000, cost.nanos)
        || passes(config.int(id::COMMANDLOG_REQUEST_LARGER_THAN), 1, extent as u64)
        || passes(config.int(id::COMMANDLOG_REPLY_LARGER_THAN), 1, cost.reply as u64)
}

/// A request that passes a threshold.
struct Noted<'a> {
    args: Args<'a>,
    /// Its length in bytes.
    extent: usize,
    /// What LATENCY calls it.
    cause: &'static str,
    /// Whether it may be in a log.
    is_logged: bool,
    /// Which arguments are secrets.
    hidden: &'a dyn Fn(usize) -> bool,
}

#[cold]
fn note_command(state: &State, shared: &ClientShared, command: &Command, args: Args, cost: Cost) {
    let noted = Noted {
        args,
        extent: args.extent(),
        cause: if command.flags.has(flag::FAST) { "fast-command" } else { "command" },
        is_logged: !command.flags.has(flag::SKIP_SLOWLOG),
        hidden: &|index| is_secret(command, args, index),
    };
    note(state, shared, &noted, cost);
}

fn note(state: &State, shared: &ClientShared, noted: &Noted, cost: Cost) {
    let config = &state.config;
    let at = crate::state::unix_ms() / 1000;
    let latency_ms = config.int(id::LATENCY_MONITOR_THRESHOLD);
    if latency_ms > 0 && passes(latency_ms, 1_000_000, cost.nanos) {
        state.latency.note(noted.cause, at, cost.nanos / 1_000_000);
    }
    if !noted.is_logged {
        return;
    }
    let log = |log: &CommandLog, cost: u64, max| {
        let args = shorten(noted.args, noted.hidden);
        let name = shared.labels.lock().name.clone();
        log.add(Logged { id: 0, at, cost, args, addr: shared.addr.clone(), name }, config.size(max));
    };
    if passes(config.int(id::SLOWLOG_LOG_SLOWER_THAN), 1000, cost.nanos) {
        log(&state.slow_commands, cost.nanos / 1000, id::SLOWLOG_MAX_LEN);
    }
    let request = noted.extent as u64;
    if passes(config.int(id::COMMANDLOG_REQUEST_LARGER_THAN), 1, request) {
        log(&state.large_requests, request, id::COMMANDLOG_LARGE_REQUEST_MAX_LEN);
    }
    let reply = cost.reply as u64;
    if passes(config.int(id::COMMANDLOG_REPLY_LARGER_THAN), 1, reply) {
        log(&state.large_replies, reply, id::COMMANDLOG_LARGE_REPLY_MAX_LEN);
    }
}

/// Shows a request to the monitors: `+<time> [<db> <addr>] "<arg>" ...`.
#[cold]
pub fn monitor(state: &State, client: &Client, command: &Command, args: Args) {
    show(state, client, args, &|index| is_secret(command, args, index));
}

fn show(state: &State, client: &Client, args: Args, hidden: &dyn Fn(usize) -> bool) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let addr = if client.in_script { "lua" } else { &*client.shared.addr };
    let mut line =
        format!("+{}.{:06} [{} {addr}]", now.as_secs(), now.subsec_micros(), client.db).into_bytes();
    for (at, arg) in args.iter().enumerate() {
        line.extend_from_slice(b" \"");
        if hidden(at) {
            line.extend_from_slice(b"(redacted)");
        } else {
            escape(arg, &mut line);
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"\r\n");
    state.monitors.tell(line);
}

/// Appends `bytes` as they stand between quotes in a configuration file or in MONITOR.
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

/// Whether the argument at `index` is a password or tells about access rights.
fn is_secret(command: &Command, args: Args, index: usize) -> bool {
    /// Whether `index` is one of the `count` arguments behind `word`.
    fn follows(args: Args, index: usize, word: &[u8], count: usize) -> bool {
        (1..=count).any(|back| {
            index.checked_sub(back).is_some_and(|at| at > 0 && args[at].eq_ignore_ascii_case(word))
        })
    }
    match command.name {
        "auth" => index > 0,
        "hello" => follows(args, index, b"auth", 2),
        "migrate" => follows(args, index, b"auth", 1) || follows(args, index, b"auth2", 2),
        "acl|setuser" | "acl|deluser" | "acl|getuser" => index > 1,
        "config|set" => index > 2 && index % 2 == 1 && Config::is_sensitive(&args[index - 1]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn secrets_are_known_by_their_place() {
        let hidden = |line: &str| -> Vec<usize> {
            let args: OwnedArgs = line.split(' ').collect();
            let args = args.as_args();
            let row = table::find(args).expect("a command");
            (0..args.len()).filter(|&at| is_secret(row.command, args, at)).collect()
        };
        assert_eq!(hidden("auth a b"), [1, 2]);
        assert_eq!(hidden("hello 3 AUTH user pass SETNAME x"), [3, 4]);
        assert_eq!(hidden("config set maxmemory 1 requirepass x"), [5]);
        assert_eq!(hidden("set auth x"), []);
    }

    #[test]
    fn control_bytes_are_escaped() {
        let mut out = Vec::new();
        escape(b"a\\\"\n\r\t\x07\x08\x7f\xffz", &mut out);
        assert_eq!(out, br#"a\\\"\n\r\t\a\b\x7f\xffz"#);
    }
}
