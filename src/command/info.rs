//! INFO: the figures that clients, exporters and dashboards read.
//!
//! A section is a row and a function that appends `name:value` lines; names are Redis's wherever a figure exists there.

use super::client_filter::{ClientKind, kind_of};
use super::error::CmdError;
use super::memory::Usage;
use super::{Command, Cx, Group, category, command, flag, flags, table};
use crate::cluster::metadata::{Assignment, Standing};
use crate::config::id;
use crate::process::{self, CpuOf};
use crate::script::REDIS_VERSION;
use crate::state::acl::log::Reason;
use crate::state::clients::ClientShared;
use crate::state::pause::Paused;
use crate::state::pubsub::Kind;
use crate::state::stats::WorkerStats;
use shoal_protocol::resp::Args;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The family's rows.
pub const COMMANDS: &[Command] = &[command("info", -1, Group::Server, info)
    .flags(flags([flag::LOADING, flag::STALE, flag::WHOLE]))
    .categories(category::DANGEROUS)
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
    .doc("1.0.0", "[section [section ...]]", "Returns information and statistics about the server.")];

/// A part of the answer.
struct Section {
    /// Its name in a request.
    name: &'static str,
    /// Its heading.
    title: &'static str,
    /// When it is shown without being named.
    shown: Shown,
    /// Writes its lines.
    write: fn(&mut Cx, &mut String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Default,
    All,
    Everything,
    Never,
}

const SECTIONS: &[Section] = &[
    section("server", "Server", Shown::Default, server),
    section("clients", "Clients", Shown::Default, clients),
    section("memory", "Memory", Shown::Default, memory),
    section("persistence", "Persistence", Shown::Default, persistence),
    section("stats", "Stats", Shown::Default, stats),
    section("replication", "Replication", Shown::Default, replication),
    section("cpu", "CPU", Shown::Default, cpu),
    section("modules", "Modules", Shown::Everything, |_, _| {}),
    section("commandstats", "Commandstats", Shown::All, commandstats),
    section("errorstats", "Errorstats", Shown::Default, errorstats),
    section("latencystats", "Latencystats", Shown::All, latencystats),
    section("cluster", "Cluster", Shown::Default, cluster),
    section("keyspace", "Keyspace", Shown::Default, keyspace),
    section("debug", "Debug", Shown::Never, debug),
];

const fn section(
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut Cx, &mut String),
) -> Section {
    Section { name, title, shown, write }
}

/// INFO [section [section ...]]
fn info(cx: &mut Cx, args: Args) -> Result<(), CmdError> {
    let named = |name: &str| args.from(1).iter().any(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
    let default = args.len() == 1 || named("default");
    let mut text = String::with_capacity(6 * 1024);
    for section in SECTIONS {
        let shown = match section.shown {
            Shown::Default => default || named("all") || named("everything"),
            Shown::All => named("all") || named("everything"),
            Shown::Everything => named("everything"),
            Shown::Never => false,
        };
        if shown || named(section.name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let _ = write!(text, "# {}\r\n", section.title);
            (section.write)(cx, &mut text);
        }
    }
    cx.out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Appends `name:value`.
fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(text, "{name}:{value}\r\n");
}

/// Appends a number of bytes, and once more for people.
fn bytes(text: &mut String, name: &str, value: usize) {
    line(text, name, value);
    let _ = write!(text, "{name}_human:{}\r\n", human(value));
}

/// A number of bytes with a unit.
fn human(bytes: usize) -> String {
    let units = [(1u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.iter().find(|(size, _)| bytes as u64 >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

fn server(cx: &mut Cx, text: &mut String) {
    let (state, config) = (cx.state, &cx.state.config);
    let uptime = state.started.elapsed().as_secs();
    let executable = std::env::current_exe().unwrap_or_default();
    let config_file = config.file().map(|path| path.display().to_string()).unwrap_or_default();
    line(text, "redis_version", REDIS_VERSION.0);
    line(text, "server_name", "shoal");
    line(text, "shoal_version", env!("CARGO_PKG_VERSION"));
    line(text, "redis_git_sha1", "00000000");
    line(text, "redis_git_dirty", 0);
    line(text, "redis_build_id", "0");
    line(text, "redis_mode", super::cluster::mode(state));
    line(text, "server_mode", super::cluster::mode(state));
    line(text, "os", process::system());
    line(text, "arch_bits", usize::BITS);
    line(text, "monotonic_clock", "POSIX clock_gettime");
    line(text, "multiplexing_api", "epoll");
    line(text, "atomicvar_api", "rust");
    line(text, "process_id", std::process::id());
    line(text, "process_supervised", "no");
    line(text, "run_id", &state.run_id);
    line(text, "tcp_port", config.int(id::PORT));
    line(text, "server_time_usec", crate::state::unix_ms() * 1000);
    line(text, "uptime_in_seconds", uptime);
    line(text, "uptime_in_days", uptime / 86_400);
    line(text, "hz", config.int(id::HZ));
    line(text, "configured_hz", config.int(id::HZ));
    line(text, "clients_hz", config.int(id::HZ));
    line(text, "lru_clock", (crate::state::unix_ms() / 1000) & 0xFF_FFFF);
    line(text, "executable", executable.display());
    line(text, "config_file", config_file);
    line(text, "io_threads_active", 0);
    line(text, "workers", config.workers());
    line(text, "availability_zone", config.text(id::AVAILABILITY_ZONE));
    line(text, "listener0", format!("name=tcp,bind={},port={}", config.text(id::BIND), config.int(id::PORT)));
}

fn clients(cx: &mut Cx, text: &mut String) {
    let state = cx.state;
    let all = state.clients.all();
    let count = |is: &dyn Fn(&ClientShared) -> bool| all.iter().filter(|client| is(client)).count();
    let largest = |figure: fn(&ClientShared) -> &AtomicUsize| {
        all.iter().map(|client| figure(client).load(Ordering::Relaxed)).max().unwrap_or(0)
    };
    // Whoever reads for a group hears at once that the stream is gone.
    let group_read = table::by_name(b"xreadgroup").map(|row| table::number_of(row.command));
    let (mut awaited, mut awaited_gone, mut watched) = (0, 0, 0);
    cx.keys.look_at_each(|partition| {
        awaited += partition.awaited_len();
        awaited_gone += group_read.map_or(0, |row| partition.awaited_by(row));
        watched += partition.watched_len();
    });
    line(text, "connected_clients", all.len());
    line(text, "cluster_connections", 0);
    line(text, "maxclients", state.config.int(id::MAXCLIENTS));
    line(text, "client_recent_max_input_buffer", largest(|client| &client.figures.input));
    line(text, "client_recent_max_output_buffer", largest(|client| &client.figures.output));
    line(text, "blocked_clients", state.clients.blocked.load(Ordering::Relaxed));
    line(text, "tracking_clients", state.tracking.clients());
    line(text, "pubsub_clients", count(&|client| kind_of(client) == ClientKind::PubSub));
    line(text, "watching_clients", count(&|client| client.figures.watched.load(Ordering::Relaxed) > 0));
    line(text, "clients_in_timeout_table", 0);
    line(text, "total_watched_keys", watched);
    line(text, "total_blocking_keys", awaited);
    line(text, "total_blocking_keys_on_nokey", awaited_gone);
    let now_ms = crate::state::unix_ms();
    let paused = state.pause.at(now_ms);
    let actions = paused.map(|(mode, _)| if mode == Paused::All { "all" } else { "write" });
    line(text, "paused_reason", if paused.is_some() { "client_pause" } else { "none" });
    line(text, "paused_actions", actions.unwrap_or("none"));
    line(text, "paused_timeout_milliseconds", paused.map_or(0, |(_, until_ms)| until_ms - now_ms));
}

fn memory(cx: &mut Cx, text: &mut String) {
    let usage = Usage::of(cx, text.capacity());
    let figures = &cx.state.scripts.figures;
    let figure = |figure: &AtomicUsize| figure.load(Ordering::Relaxed);
    let (config, lazyfree) = (&cx.state.config, &cx.state.lazyfree);
    let lost = usage.resident as i64 - usage.used as i64;
    bytes(text, "used_memory", usage.used);
    bytes(text, "used_memory_rss", usage.resident);
    bytes(text, "used_memory_peak", usage.peak);
    let peak = 100.0 * usage.used as f64 / usage.peak.max(1) as f64;
    line(text, "used_memory_peak_perc", format_args!("{peak:.2}%"));
    line(text, "used_memory_overhead", usage.overhead());
    line(text, "used_memory_startup", usage.startup);
    line(text, "used_memory_dataset", usage.dataset());
    line(text, "used_memory_dataset_perc", format_args!("{:.2}%", usage.dataset_percent()));
    line(text, "allocator_allocated", usage.used);
    line(text, "allocator_active", usage.used);
    line(text, "allocator_resident", usage.resident);
    line(text, "allocator_muzzy", 0);
    bytes(text, "total_system_memory", process::machine_memory());
    bytes(text, "used_memory_lua", figure(&figures.scripts_vm));
    line(text, "used_memory_vm_eval", figure(&figures.scripts_vm));
    line(text, "used_memory_scripts_eval", figure(&figures.scripts_memory));
    line(text, "number_of_cached_scripts", figure(&figures.scripts));
    line(text, "number_of_functions", figure(&figures.functions));
    line(text, "number_of_libraries", figure(&figures.libraries));
    line(text, "used_memory_vm_functions", figure(&figures.functions_vm));
    bytes(text, "used_memory_vm_total", figure(&figures.scripts_vm) + figure(&figures.functions_vm));
    line(text, "used_memory_functions", figure(&figures.functions_memory));
    bytes(text, "used_memory_scripts", figure(&figures.scripts_memory) + figure(&figures.functions_memory));
    bytes(text, "maxmemory", config.size(id::MAXMEMORY));
    line(text, "maxmemory_policy", config.choice(id::MAXMEMORY_POLICY));
    line(text, "allocator_frag_ratio", "1.00");
    line(text, "allocator_frag_bytes", 0);
    line(text, "allocator_rss_ratio", format_args!("{:.2}", usage.fragmentation()));
    line(text, "allocator_rss_bytes", lost);
    line(text, "rss_overhead_ratio", "1.00");
    line(text, "rss_overhead_bytes", 0);
    line(text, "mem_fragmentation_ratio", format_args!("{:.2}", usage.fragmentation()));
    line(text, "mem_fragmentation_bytes", lost);
    line(text, "mem_not_counted_for_evict", 0);
    line(text, "mem_replication_backlog", 0);
    line(text, "mem_total_replication_buffers", 0);
    line(text, "mem_clients_slaves", 0);
    line(text, "mem_replicas_repl_buffer", 0);
    line(text, "mem_clients_normal", usage.clients);
    line(text, "mem_cluster_links", 0);
    line(text, "mem_cluster_slot_import", 0);
    line(text, "mem_cluster_slot_export", 0);
    line(text, "mem_aof_buffer", 0);
    line(text, "mem_allocator", "mimalloc");
    line(text, "mem_overhead_db_hashtable_rehashing", 0);
    line(text, "active_defrag_running", 0);
    line(text, "lazyfree_pending_objects", lazyfree.pending());
    line(text, "lazyfreed_objects", lazyfree.freed());
}

fn persistence(cx: &mut Cx, text: &mut String) {
    for name in ["loading", "async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"] {
        line(text, name, 0);
    }
    line(text, "current_fork_perc", "0.00");
    line(text, "current_save_keys_processed", 0);
    line(text, "current_save_keys_total", 0);
    line(text, "rdb_changes_since_last_save", cx.state.changes_since_save());
    line(text, "rdb_bgsave_in_progress", 0);
    line(text, "rdb_last_save_time", cx.state.last_save());
    line(text, "rdb_last_bgsave_status", "ok");
    line(text, "rdb_last_bgsave_time_sec", -1);
    line(text, "rdb_current_bgsave_time_sec", -1);
    line(text, "rdb_saves", 0);
    line(text, "rdb_last_cow_size", 0);
    line(text, "rdb_last_load_keys_expired", 0);
    line(text, "rdb_last_load_keys_loaded", 0);
    line(text, "aof_enabled", 0);
    line(text, "aof_rewrite_in_progress", 0);
    line(text, "aof_rewrite_scheduled", 0);
    line(text, "aof_last_rewrite_time_sec", -1);
    line(text, "aof_current_rewrite_time_sec", -1);
    line(text, "aof_last_bgrewrite_status", "ok");
    line(text, "aof_rewrites", 0);
    line(text, "aof_rewrites_consecutive_failures", 0);
    line(text, "aof_last_write_status", "ok");
    line(text, "aof_last_cow_size", 0);
    line(text, "module_fork_in_progress", 0);
    line(text, "module_fork_last_cow_size", 0);
    line(text, "slot_migration_fork_in_progress", 0);
}

fn stats(cx: &mut Cx, text: &mut String) {
    let (stats, pubsub) = (&cx.state.stats, &cx.state.pubsub);
    let now = cx.state.rates.per_second();
    let kib = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    line(text, "total_connections_received", stats.sum(|worker| &worker.connections));
    line(text, "total_commands_processed", stats.commands_processed());
    line(text, "instantaneous_ops_per_sec", now.commands);
    line(text, "total_net_input_bytes", stats.sum(|worker| &worker.input_bytes));
    line(text, "total_net_output_bytes", stats.sum(|worker| &worker.output_bytes));
    line(text, "total_net_repl_input_bytes", 0);
    line(text, "total_net_repl_output_bytes", 0);
    line(text, "total_net_cluster_slot_import_bytes", 0);
    line(text, "total_net_cluster_slot_export_bytes", 0);
    line(text, "instantaneous_input_kbps", kib(now.input));
    line(text, "instantaneous_output_kbps", kib(now.output));
    line(text, "instantaneous_input_repl_kbps", "0.00");
    line(text, "instantaneous_output_repl_kbps", "0.00");
    line(text, "rejected_connections", stats.sum(|worker| &worker.rejected_connections));
    line(text, "sync_full", 0);
    line(text, "sync_partial_ok", 0);
    line(text, "sync_partial_err", 0);
    line(text, "expired_keys", stats.sum(|worker| &worker.expired));
    line(text, "expired_fields", stats.sum(|worker| &worker.expired_fields));
    line(text, "expired_stale_perc", "0.00");
    line(text, "expired_keys_with_volatile_items_stale_perc", "0.00");
    line(text, "expired_time_cap_reached_count", 0);
    line(text, "expire_cycle_cpu_milliseconds", 0);
    line(text, "evicted_keys", stats.sum(|worker| &worker.evicted));
    line(text, "evicted_clients", stats.sum(|worker| &worker.evicted_clients));
    line(text, "evicted_scripts", cx.state.scripts.figures.evicted.load(Ordering::Relaxed));
    line(text, "total_eviction_exceeded_time", 0);
    line(text, "current_eviction_exceeded_time", 0);
    line(text, "keyspace_hits", stats.sum(|worker| &worker.hits));
    line(text, "keyspace_misses", stats.sum(|worker| &worker.misses));
    line(text, "pubsub_channels", pubsub.len(Kind::Channel));
    line(text, "pubsub_patterns", pubsub.len(Kind::Pattern));
    line(text, "pubsubshard_channels", pubsub.len(Kind::Shard));
    line(text, "latest_fork_usec", 0);
    line(text, "total_forks", 0);
    line(text, "migrate_cached_sockets", 0);
    line(text, "slave_expires_tracked_keys", 0);
    line(text, "active_defrag_hits", 0);
    line(text, "active_defrag_misses", 0);
    line(text, "active_defrag_key_hits", 0);
    line(text, "active_defrag_key_misses", 0);
    line(text, "total_active_defrag_time", 0);
    line(text, "current_active_defrag_time", 0);
    line(text, "tracking_total_keys", cx.state.tracking.keys());
    line(text, "tracking_total_items", cx.state.tracking.keys());
    line(text, "tracking_total_prefixes", cx.state.tracking.prefixes());
    line(text, "unexpected_error_replies", 0);
    line(text, "total_error_replies", stats.sum(|worker| &worker.errors));
    line(text, "dump_payload_sanitizations", 0);
    line(text, "total_reads_processed", stats.sum(|worker| &worker.reads));
    line(text, "total_writes_processed", stats.sum(|worker| &worker.writes));
    line(text, "io_threaded_reads_processed", 0);
    line(text, "io_threaded_writes_processed", 0);
    line(text, "io_threaded_freed_objects", 0);
    line(text, "io_threaded_accept_processed", 0);
    line(text, "io_threaded_poll_processed", 0);
    line(text, "io_threaded_total_prefetch_batches", 0);
    line(text, "io_threaded_total_prefetch_entries", 0);
    line(
        text,
        "client_query_buffer_limit_disconnections",
        stats.sum(|worker| &worker.input_limit_disconnections),
    );
    line(
        text,
        "client_output_buffer_limit_disconnections",
        stats.sum(|worker| &worker.output_limit_disconnections),
    );
    line(text, "reply_buffer_shrinks", 0);
    line(text, "reply_buffer_expands", 0);
    let commands =
        |worker: &WorkerStats| worker.commands.iter().map(|command| command.nanos.get()).sum::<u64>();
    line(text, "eventloop_cycles", stats.sum(|worker| &worker.rounds.count));
    line(text, "eventloop_duration_sum", stats.sum(|worker| &worker.rounds.nanos) / 1000);
    line(text, "eventloop_duration_cmd_sum", stats.workers().map(commands).sum::<u64>() / 1000);
    line(text, "instantaneous_eventloop_cycles_per_sec", now.rounds);
    line(text, "instantaneous_eventloop_duration_usec", now.nanos / 1000 / now.rounds.max(1));
    for (name, reason) in [
        ("acl_access_denied_auth", Reason::Auth),
        ("acl_access_denied_cmd", Reason::Command),
        ("acl_access_denied_key", Reason::Key),
        ("acl_access_denied_channel", Reason::Channel),
        ("acl_access_denied_db", Reason::Database),
    ] {
        line(text, name, cx.state.acl.log.count(reason));
    }
    line(text, "acl_access_denied_tls_cert", 0);
}

fn replication(cx: &mut Cx, text: &mut String) {
    line(text, "role", "master");
    let replicas = super::replication::replicas(cx);
    let offset = super::replication::offset(&replicas);
    line(text, "connected_slaves", replicas.len());
    for (at, replica) in replicas.iter().enumerate() {
        let state = if replica.is_online { "online" } else { "send_bulk" };
        // Who acknowledges nothing for longer is cut off.
        let lag = u8::from(replica.is_behind);
        let _ = write!(
            text,
            "slave{at}:ip={},port={},state={state},offset={},lag={lag}\r\n",
            replica.host, replica.port, replica.offset
        );
    }
    line(text, "replicas_waiting_psync", 0);
    line(text, "master_failover_state", "no-failover");
    line(text, "master_replid", &cx.state.run_id);
    line(text, "master_replid2", "0".repeat(40));
    line(text, "master_repl_offset", offset);
    line(text, "second_repl_offset", -1);
    line(text, "repl_backlog_active", 0);
    line(text, "repl_backlog_size", cx.state.config.int(id::REPL_BACKLOG_SIZE));
    line(text, "repl_backlog_first_byte_offset", 0);
    line(text, "repl_backlog_histlen", 0);
}

fn cpu(cx: &mut Cx, text: &mut String) {
    let of = [
        (CpuOf::Process, "used_cpu_sys", "used_cpu_user"),
        (CpuOf::Children, "used_cpu_sys_children", "used_cpu_user_children"),
        (CpuOf::Thread, "used_cpu_sys_main_thread", "used_cpu_user_main_thread"),
    ];
    for (of, system, user) in of {
        let times = process::cpu_times(of);
        line(text, system, format_args!("{:.6}", times.0.as_secs_f64()));
        line(text, user, format_args!("{:.6}", times.1.as_secs_f64()));
    }
    let active = Duration::from_nanos(cx.state.stats.sum(|worker| &worker.rounds.nanos));
    line(text, "used_active_time_main_thread", format_args!("{:.6}", active.as_secs_f64()));
}

fn commandstats(cx: &mut Cx, text: &mut String) {
    for row in table::all() {
        let stats = &cx.state.stats;
        let sum = |of: fn(&crate::state::stats::CommandStats) -> &crate::state::stats::Counter| {
            stats.sum(|worker| of(&worker.commands[row.id]))
        };
        let (calls, nanos) = (sum(|counts| &counts.calls), sum(|counts| &counts.nanos));
        let (rejected, failed) = (sum(|counts| &counts.rejected), sum(|counts| &counts.failed));
        if calls + rejected + failed == 0 {
            continue;
        }
        let micros = nanos / 1000;
        let per_call = if calls == 0 { 0.0 } else { nanos as f64 / 1000.0 / calls as f64 };
        let _ = write!(
            text,
            "cmdstat_{}:calls={calls},usec={micros},usec_per_call={per_call:.2},rejected_calls={rejected},\
             failed_calls={failed}\r\n",
            row.command.name
        );
    }
}

fn errorstats(cx: &mut Cx, text: &mut String) {
    for (code, count) in cx.state.errors.all() {
        let _ = write!(text, "errorstat_{code}:count={count}\r\n");
    }
}

fn latencystats(cx: &mut Cx, text: &mut String) {
    let percentiles = cx.state.config.text(id::LATENCY_TRACKING_INFO_PERCENTILES);
    let percentiles: Vec<&str> = percentiles.split_ascii_whitespace().collect();
    for row in table::all() {
        let latencies = super::latency::latencies(cx, row);
        if latencies.total() == 0 {
            continue;
        }
        let _ = write!(text, "latency_percentiles_usec_{}:", row.command.name);
        for (at, percent) in percentiles.iter().enumerate() {
            let nanos = latencies.percentile(percent.parse().unwrap_or_default());
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(text, "{comma}p{percent}={:.3}", nanos as f64 / 1000.0);
        }
        text.push_str("\r\n");
    }
}

fn cluster(cx: &mut Cx, text: &mut String) {
    line(text, "cluster_enabled", u8::from(super::cluster::is_shown(cx.state)));
    let cluster = &cx.state.cluster;
    if !cluster.is_on() {
        return;
    }
    let map = cluster.map();
    let count = |counts: &dyn Fn(&Assignment) -> bool| map.partitions.iter().filter(|a| counts(a)).count();
    let me = cluster.me();
    line(text, "shoal_cluster_version", map.version);
    line(text, "shoal_cluster_nodes", map.members.len());
    line(
        text,
        "shoal_cluster_nodes_up",
        map.members.values().filter(|m| m.standing != Standing::Down).count(),
    );
    line(
        text,
        "shoal_cluster_leader",
        cluster.leader().map_or_else(String::new, super::cluster::view::name_of),
    );
    line(text, "shoal_lease_left_ms", cluster.lease_left_ms());
    line(text, "shoal_without_lease_ms", cluster.unleased_ms().unwrap_or(0));
    line(text, "shoal_cluster_nodes_unreached", cluster.contact.unreached(cluster.now_ns()).len());
    line(text, "shoal_partitions_served", count(&|a| a.primary() == Some(me)));
    line(text, "shoal_partitions_copied", count(&|a| a.replicas().contains(&me)));
    line(text, "shoal_partitions_moving", map.moving());
    line(text, "shoal_partitions_degraded", count(&|a| a.in_sync.len() < map.copies));
    line(text, "shoal_partitions_unserved", (0..=u8::MAX).filter(|p| map.is_unserved(*p)).count());
}

fn keyspace(cx: &mut Cx, text: &mut String) {
    for (db, figures) in databases(cx).into_iter().enumerate() {
        if figures.keys > 0 {
            let _ = write!(
                text,
                "db{db}:keys={},expires={},avg_ttl={},keys_with_volatile_items={}\r\n",
                figures.keys,
                figures.volatile,
                figures.left_ms.checked_div(figures.samples).unwrap_or(0),
                figures.fielded
            );
        }
    }
}

fn debug(cx: &mut Cx, text: &mut String) {
    let stats = &cx.state.stats;
    line(text, "eventloop_duration_aof_sum", 0);
    line(text, "eventloop_duration_cron_sum", stats.sum(|worker| &worker.rounds.housekeeping_nanos) / 1000);
    line(text, "eventloop_duration_max", stats.greatest(|worker| &worker.rounds.longest_nanos) / 1000);
    line(text, "eventloop_cmd_per_cycle_max", stats.greatest(|worker| &worker.rounds.most_commands));
    line(text, "io_threaded_reads_pending", 0);
    line(text, "io_threaded_writes_pending", 0);
}

/// What is told of a database.
#[derive(Clone, Copy, Default)]
struct DbFigures {
    keys: usize,
    /// Keys that expire.
    volatile: usize,
    /// Hashes of which fields expire.
    fielded: usize,
    /// Keys asked for their time to live, one of each partition.
    samples: u64,
    /// What they have left, together.
    left_ms: u64,
}

fn databases(cx: &mut Cx) -> Vec<DbFigures> {
    let now_ms = cx.keys.now_ms;
    let mut rng = fastrand::Rng::new();
    let mut all = vec![DbFigures::default(); cx.state.keyspace.databases()];
    cx.keys.look_at_each(|partition| {
        for (figures, db) in all.iter_mut().zip(&partition.dbs) {
            figures.keys += db.len();
            figures.volatile += db.volatile_len();
            figures.fielded += db.fielded_len();
            let sample = if db.volatile_len() > 0 { db.random_volatile(&mut rng) } else { None };
            if let Some(at) = sample.and_then(|entry| entry.expires_at()) {
                figures.samples += 1;
                figures.left_ms += u64::try_from(at - now_ms).unwrap_or(0);
            }
        }
    });
    all
}
