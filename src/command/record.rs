//! What is noted of each command that was run: counters, the logs of COMMANDLOG, latency events, MONITOR.
//!
//! The idea: after a command a few numbers are compared with thresholds; only what passes one costs more.
//! Secrets never reach a log or a monitor: [`is_secret`] knows where they stand.

use super::call::Site;
use super::table::Row;
use super::{Command, flag};
use crate::config::{Config, id};
use crate::state::command_log::{CommandLog, Logged, shorten};
use crate::state::histogram::Histogram;
use shoal_protocol::resp::Args;
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
#[inline]
pub fn ran(site: &mut Site, row: &Row, args: Args, cost: Cost) {
    if site.client.blocked.is_none() {
        finished(site, row, args, cost);
    }
    if site.state.monitors.any() && !row.command.flags.any(HIDDEN_FROM_MONITOR) {
        monitor(site, row, args);
    }
}

const HIDDEN_FROM_MONITOR: super::Flags = flag::SKIP_MONITOR.or(flag::ADMIN);

/// Notes a command that has its reply.
#[inline]
pub fn finished(site: &Site, row: &Row, args: Args, cost: Cost) {
    let (config, stats) = (&site.state.config, site.stats);
    if config.flag(id::LATENCY_TRACKING) {
        let histogram = stats.commands[row.id].latency.get_or_init(Box::<Histogram>::default);
        histogram.record(cost.nanos);
    }
    if is_notable(config, args, cost) {
        note(site, row.command, args, cost);
    }
}

/// Whether the value of a directive that gives a threshold, negative for none, is passed.
#[inline]
fn passes(threshold: i64, unit: u64, value: u64) -> bool {
    threshold >= 0 && value >= (threshold as u64).saturating_mul(unit)
}

#[inline]
fn is_notable(config: &Config, args: Args, cost: Cost) -> bool {
    let latency_ms = config.int(id::LATENCY_MONITOR_THRESHOLD);
    passes(config.int(id::SLOWLOG_LOG_SLOWER_THAN), 1000, cost.nanos)
        || latency_ms > 0 && passes(latency_ms, 1_000_000, cost.nanos)
        || passes(config.int(id::COMMANDLOG_REQUEST_LARGER_THAN), 1, args.extent() as u64)
        || passes(config.int(id::COMMANDLOG_REPLY_LARGER_THAN), 1, cost.reply as u64)
}

#[cold]
fn note(site: &Site, command: &Command, args: Args, cost: Cost) {
    let (state, config) = (site.state, &site.state.config);
    let at = crate::state::unix_ms() / 1000;
    let latency_ms = config.int(id::LATENCY_MONITOR_THRESHOLD);
    if latency_ms > 0 && passes(latency_ms, 1_000_000, cost.nanos) {
        let cause = if command.flags.has(flag::FAST) { "fast-command" } else { "command" };
        state.latency.note(cause, at, cost.nanos / 1_000_000);
    }
    if command.flags.has(flag::SKIP_SLOWLOG) {
        return;
    }
    let shared = &site.client.shared;
    let log = |log: &CommandLog, cost: u64, max| {
        let args = shorten(args, |index| is_secret(command, args, index));
        let name = shared.labels.lock().name.clone();
        log.add(Logged { id: 0, at, cost, args, addr: shared.addr.clone(), name }, config.size(max));
    };
    if passes(config.int(id::SLOWLOG_LOG_SLOWER_THAN), 1000, cost.nanos) {
        log(&state.slow_commands, cost.nanos / 1000, id::SLOWLOG_MAX_LEN);
    }
    let request = args.extent() as u64;
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
pub fn monitor(site: &Site, row: &Row, args: Args) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let addr = if site.client.in_script { "lua" } else { &*site.client.shared.addr };
    let mut line =
        format!("+{}.{:06} [{} {addr}]", now.as_secs(), now.subsec_micros(), site.client.db).into_bytes();
    for (at, arg) in args.iter().enumerate() {
        line.extend_from_slice(b" \"");
        if is_secret(row.command, args, at) {
            line.extend_from_slice(b"(redacted)");
        } else {
            escape(arg, &mut line);
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"\r\n");
    site.state.monitors.tell(line);
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
    use shoal_protocol::resp::OwnedArgs;

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
