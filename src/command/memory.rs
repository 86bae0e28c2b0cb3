//! MEMORY: where memory goes.

use super::error::{self, CmdError};
use super::server::{container, write_help};
use super::{Command, Cx, Flags, Group, command, flag, parse, spec};
use crate::process;
use shoal_protocol::resp::Args;
use std::sync::atomic::Ordering;

const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

const fn sub(name: &'static str, arity: i32, run: super::Run) -> Command {
    command(name, arity, Group::Server, run)
}

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("memory", -2, Group::Server, container)
    .doc("4.0.0", "", "A container for memory diagnostics commands.")
    .subcommands(&[
        sub("memory|doctor", 2, doctor).tips(TIPS).flags(flag::WHOLE).doc(
            "4.0.0",
            "",
            "Outputs a memory problems report.",
        ),
        sub("memory|help", 2, help).flags(Flags(flag::LOADING.0 | flag::STALE.0)).doc(
            "4.0.0",
            "",
            "Returns helpful text about the different subcommands.",
        ),
        sub("memory|malloc-stats", 2, malloc_stats).tips(TIPS).doc(
            "4.0.0",
            "",
            "Returns the allocator statistics.",
        ),
        sub("memory|purge", 2, purge)
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
            .doc("4.0.0", "", "Asks the allocator to release memory."),
        sub("memory|stats", 2, stats).tips(TIPS).flags(flag::WHOLE).doc(
            "4.0.0",
            "",
            "Returns details about memory usage.",
        ),
        sub("memory|usage", -3, usage).flags(flag::READONLY).keys(spec::SUB_READ_META).doc(
            "4.0.0",
            "key [SAMPLES count]",
            "Estimates the memory usage of a key.",
        ),
    ])];

/// Where the memory of a node goes. All in bytes.
pub struct Usage {
    /// In use, as the allocator counts.
    pub used: usize,
    /// The most that ever was.
    pub peak: usize,
    /// In use when the node started.
    pub startup: usize,
    /// Of the process, as the system counts.
    pub resident: usize,
    /// Connections and their buffers.
    pub clients: usize,
    /// The tables that find keys, of each database.
    pub tables: Vec<usize>,
    /// Keys in all databases.
    pub keys: usize,
}

impl Usage {
    /// Looks around; the answer being written, with room for so many bytes, is not counted.
    pub fn of(cx: &mut Cx, writing: usize) -> Usage {
        let state = cx.state;
        let mut tables = vec![0; state.keyspace.databases()];
        let mut keys = 0;
        cx.keys.look_at_each(|partition| {
            for (sum, db) in tables.iter_mut().zip(&partition.dbs) {
                *sum += db.table_bytes();
                keys += db.len();
            }
        });
        let used = state.used_memory().saturating_sub(writing);
        Usage {
            used,
            peak: state.peak_memory.load(Ordering::Relaxed),
            startup: state.startup_memory,
            resident: process::resident(),
            clients: clients(cx),
            tables,
            keys,
        }
    }

    /// What is not keys and values.
    pub fn overhead(&self) -> usize {
        (self.startup + self.clients + self.tables.iter().sum::<usize>()).min(self.used)
    }

    /// Keys and values.
    pub fn dataset(&self) -> usize {
        self.used - self.overhead()
    }

    /// Which part of what came since the start is keys and values, in percent.
    pub fn dataset_percent(&self) -> f64 {
        100.0 * self.dataset() as f64 / self.used.saturating_sub(self.startup).max(1) as f64
    }

    /// Memory of the process for each byte in use.
    pub fn fragmentation(&self) -> f64 {
        self.resident as f64 / self.used.max(1) as f64
    }
}

/// Memory of all connections.
fn clients(cx: &Cx) -> usize {
    let memory = |client: &crate::state::clients::ClientShared| {
        client.figures.memory.load(Ordering::Relaxed) + client.inbox_bytes()
    };
    cx.state.clients.all().iter().map(|client| memory(client)).sum()
}

/// MEMORY USAGE key [SAMPLES count]. The size is known exactly, so there is nothing to sample.
fn usage(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let mut at = 3;
    while at < args.len() {
        if !parse::is(&args[at], "samples") || at + 1 == args.len() {
            return Err(error::SYNTAX);
        }
        if parse::int(&args[at + 1])? < 0 {
            return Err(error::SYNTAX);
        }
        at += 2;
    }
    match cx.keys.peek(&args[2]) {
        None => cx.out.null(),
        Some(entry) => cx.out.int(entry.memory_bytes() as i64),
    }
    Ok(())
}

/// MEMORY STATS
fn stats(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let usage = Usage::of(cx, 0);
    let out = &mut *cx.out;
    let lut: usize = usage.tables.iter().sum();
    let map = out.deferred_map();
    let mut len = 0;
    let mut int = |out: &mut shoal_protocol::resp::Output, name: &str, value: i64| {
        out.bulk(name.as_bytes());
        out.int(value);
        len += 1;
    };
    int(out, "peak.allocated", usage.peak as i64);
    int(out, "total.allocated", usage.used as i64);
    int(out, "startup.allocated", usage.startup as i64);
    for name in ["replication.backlog", "clients.slaves"] {
        int(out, name, 0);
    }
    int(out, "clients.normal", usage.clients as i64);
    for name in ["cluster.links", "aof.buffer", "lua.caches", "functions.caches"] {
        int(out, name, 0);
    }
    for (db, bytes) in usage.tables.iter().enumerate().filter(|(_, bytes)| **bytes > 0) {
        out.bulk(format!("db.{db}").as_bytes());
        out.map(2);
        out.bulk(b"overhead.hashtable.main");
        out.int(*bytes as i64);
        out.bulk(b"overhead.hashtable.expires");
        out.int(0);
    }
    let databases = usage.tables.iter().filter(|bytes| **bytes > 0).count();
    int(out, "overhead.db.hashtable.lut", lut as i64);
    int(out, "overhead.db.hashtable.rehashing", 0);
    int(out, "db.dict.rehashing.count", 0);
    int(out, "overhead.total", usage.overhead() as i64);
    int(out, "keys.count", usage.keys as i64);
    let since = usage.used.saturating_sub(usage.startup);
    int(out, "keys.bytes-per-key", since.checked_div(usage.keys).unwrap_or(0) as i64);
    int(out, "dataset.bytes", usage.dataset() as i64);
    let percentages = [
        ("dataset.percentage", usage.dataset_percent()),
        ("peak.percentage", 100.0 * usage.used as f64 / usage.peak.max(1) as f64),
    ];
    for (name, value) in percentages {
        out.bulk(name.as_bytes());
        out.double(value);
    }
    int(out, "allocator.allocated", usage.used as i64);
    int(out, "allocator.active", usage.used as i64);
    int(out, "allocator.resident", usage.resident as i64);
    int(out, "allocator.muzzy", 0);
    let lost = usage.resident as i64 - usage.used as i64;
    let ratios = [
        ("allocator-fragmentation", 1.0, 0),
        ("allocator-rss", usage.fragmentation(), lost),
        ("rss-overhead", 1.0, 0),
    ];
    for (name, ratio, bytes) in ratios {
        out.bulk(format!("{name}.ratio").as_bytes());
        out.double(ratio);
        out.bulk(format!("{name}.bytes").as_bytes());
        out.int(bytes);
    }
    out.bulk(b"fragmentation");
    out.double(usage.fragmentation());
    int(out, "fragmentation.bytes", lost);
    out.set_deferred(map, len + databases + percentages.len() + 2 * ratios.len() + 1);
    Ok(())
}

/// MEMORY DOCTOR
fn doctor(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let usage = Usage::of(cx, 0);
    let mut text = String::new();
    if usage.used < 5 << 20 {
        text.push_str("This node holds next to nothing: there is nothing to say about its memory yet.\n");
    } else {
        if usage.peak > usage.used + usage.used / 2 {
            text.push_str(
                "At its peak it used half as much again as now: the allocator may hold memory back.\n",
            );
        }
        if usage.fragmentation() > 1.4 && usage.resident > usage.used + (10 << 20) {
            text.push_str("The process takes far more memory than is in use: it is fragmented.\n");
        }
        if usage.clients > usage.used / 4 {
            text.push_str(
                "Connections take a quarter of all memory or more: look for clients that do not read, and set \
                 maxmemory-clients.\n",
            );
        }
        if text.is_empty() {
            text.push_str("No memory problems found.\n");
        }
    }
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// MEMORY MALLOC-STATS
fn malloc_stats(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    let (used, resident) = (cx.state.used_memory(), process::resident());
    let text = format!("mimalloc: {used} bytes in use, {resident} bytes of the process in memory\n");
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// MEMORY PURGE: mimalloc gives memory back by itself, soon after it is freed.
fn purge(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    cx.out.ok();
    Ok(())
}

/// MEMORY HELP
fn help(cx: &mut Cx, _: Args) -> Result<(), CmdError> {
    write_help(
        cx.out,
        "MEMORY",
        &[
            "DOCTOR",
            "    Return memory problems reports.",
            "MALLOC-STATS",
            "    Return internal statistics report from the memory allocator.",
            "PURGE",
            "    Attempt to purge dirty pages for reclamation by the allocator.",
            "STATS",
            "    Return information about the memory usage of the server.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return memory in bytes used by <key> and its value.",
        ],
    );
    Ok(())
}
