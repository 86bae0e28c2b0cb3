//! `stats` and its kinds, by the names memcached gives them, which dashboards and exporters look for.
//!
//! Memory is not cut into slabs of classes here: where memcached tells of each class there is one, number 1, that
//! holds everything. What counts the work of machinery that is not there is 0.

use super::{MEMCACHED_VERSION, Progress, dump};
use crate::command::call::{Flow, Site};
use crate::config::id;
use crate::memory;
use crate::process::{self, CpuOf};
use crate::state::State;
use crate::state::clients::client_flag;
use crate::state::memcache::{Count, PrefixCounts};
use shoal_protocol::memcache::binary::{self, Status, Tag};
use shoal_protocol::memcache::{Fault, Tokens, write};
use shoal_protocol::resp::Output;
use std::sync::atomic::Ordering;

/// Classes memcached can have, number 0 included.
const SLAB_CLASSES: usize = 64;

/// How statistics are written: as lines, or as binary replies to the request with that opaque.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Text,
    Binary([u8; 4]),
}

impl Form {
    /// Writes one statistic.
    pub fn stat(self, out: &mut Output, name: &str, value: impl AsRef<[u8]>) {
        match self {
            Form::Text => write::stat(out, name, value),
            Form::Binary(opaque) => binary::write::stat(out, opaque, name, value),
        }
    }

    /// Says that there are no more; or, in text, something else instead of that.
    pub fn end(self, out: &mut Output, line: &[u8]) {
        match self {
            Form::Text => out.raw(line),
            Form::Binary(opaque) => binary::write::stats_end(out, opaque),
        }
    }

    /// Refuses, in text with that fault.
    fn refuse(self, out: &mut Output, fault: Fault) {
        match self {
            Form::Text => out.raw(fault.line()),
            Form::Binary(opaque) => {
                binary::write::error(out, Tag { opcode: STAT, opaque }, Status::NotFound);
            }
        }
    }
}

/// The opcode of `stat` in the binary protocol.
const STAT: u8 = 0x10;

/// `stats [reset|settings|items|slabs|sizes|conns|detail ..]`. Some can be had in text alone.
pub(super) fn stats(site: &mut Site, form: Form, mut words: Tokens, progress: &mut Progress) -> Flow {
    let (word, is_text) = (words.next(), matches!(form, Form::Text));
    match word {
        None => general(site, form),
        Some(b"settings") => settings(site, form),
        Some(b"items") => items(site, form),
        Some(b"slabs") => slabs(site, form),
        Some(b"sizes") => return dump::sizes(site, form, progress),
        Some(b"sizes_enable") => form.stat(site.out, "sizes_status", "enabled"),
        Some(b"sizes_disable") => form.stat(site.out, "sizes_status", "disabled"),
        Some(b"conns") if is_text => conns(site, form),
        Some(b"extstore") if is_text => {}
        Some(b"cachedump") if is_text => return cachedump(site, words, progress),
        Some(b"reset") => {
            site.state.stats.reset_memcache();
            site.state.memcache.prefixes.reset();
            form.end(site.out, write::RESET);
            return Flow::Next;
        }
        Some(b"detail") => {
            detail(site, form, words.next());
            return Flow::Next;
        }
        Some(_) => {
            form.refuse(site.out, Fault::Unknown);
            return Flow::Next;
        }
    }
    form.end(site.out, write::END);
    Flow::Next
}

/// `stats cachedump <class> <limit>`, where a limit of 0 is none.
fn cachedump(site: &mut Site, mut words: Tokens, progress: &mut Progress) -> Flow {
    let (Some(class), Some(limit)) = (words.next(), words.next()) else {
        site.out.raw(Fault::BadCommandLine.line());
        return Flow::Next;
    };
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<usize>().ok();
    match (number(class), number(limit)) {
        (Some(1), Some(limit)) => return dump::items(site, limit, progress),
        (Some(..SLAB_CLASSES), Some(_)) => site.out.raw(write::END),
        (Some(_), Some(_)) => site.out.raw(Fault::IllegalSlabId.line()),
        _ => site.out.raw(Fault::BadFormat.line()),
    }
    Flow::Next
}

/// Writes statistics one after the other.
struct Writer<'a> {
    state: &'a State,
    out: &'a mut Output,
    form: Form,
}

impl Writer<'_> {
    fn text(&mut self, name: &str, value: &str) {
        self.form.stat(self.out, name, value);
    }

    fn number(&mut self, name: &str, value: impl itoa::Integer) {
        self.form.stat(self.out, name, itoa::Buffer::new().format(value));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.text(name, if value { "yes" } else { "no" });
    }

    fn count(&mut self, name: &str, count: Count) {
        self.number(name, self.state.stats.sum(|worker| worker.memcache.of(count)));
    }

    fn counts<const N: usize>(&mut self, all: [(&str, Count); N]) {
        for (name, count) in all {
            self.count(name, count);
        }
    }

    fn zeros(&mut self, prefix: &str, names: &[&str]) {
        for name in names {
            self.number(&format!("{prefix}{name}"), 0);
        }
    }
}

/// Bytes that may be used: what the machine has if no limit is set.
fn limit_bytes(state: &State) -> usize {
    match state.config.size(id::MAXMEMORY) {
        0 => process::machine_memory(),
        limit => limit,
    }
}

/// Bytes used beyond what an empty node needs; none where there are no items, whatever clients have had it take since.
fn of_items(state: &State) -> usize {
    if state.keyspace.is_empty() { 0 } else { memory::used().saturating_sub(state.startup_memory) }
}

fn workers(state: &State) -> usize {
    state.config.workers()
}

fn general(site: &mut Site, form: Form) {
    let state = site.state;
    let items = state.keyspace.len(site.client.db);
    let (system, user) = process::cpu_times(CpuOf::Process);
    let seconds = |time: std::time::Duration| format!("{}.{:06}", time.as_secs(), time.subsec_micros());
    memory::report();
    let mut w = Writer { state, out: site.out, form };
    w.number("pid", std::process::id());
    w.number("uptime", state.started.elapsed().as_secs());
    w.number("time", site.clock.unix_ms / 1000);
    w.text("version", MEMCACHED_VERSION);
    w.text("shoal_version", env!("CARGO_PKG_VERSION"));
    w.number("pointer_size", usize::BITS);
    w.text("rusage_user", &seconds(user));
    w.text("rusage_system", &seconds(system));
    w.number("max_connections", state.config.size(id::MAXCLIENTS));
    w.number("curr_connections", state.clients.len());
    w.number("total_connections", state.stats.sum(|worker| &worker.connections));
    w.number("rejected_connections", state.stats.sum(|worker| &worker.rejected_connections));
    w.number("connection_structures", state.clients.len());
    w.counts([
        ("cmd_get", Count::CmdGet),
        ("cmd_set", Count::CmdSet),
        ("cmd_flush", Count::CmdFlush),
        ("cmd_touch", Count::CmdTouch),
        ("cmd_meta", Count::CmdMeta),
        ("get_hits", Count::GetHits),
        ("get_misses", Count::GetMisses),
        ("get_expired", Count::GetExpired),
    ]);
    w.number("get_flushed", 0);
    w.counts([
        ("delete_misses", Count::DeleteMisses),
        ("delete_hits", Count::DeleteHits),
        ("incr_misses", Count::IncrMisses),
        ("incr_hits", Count::IncrHits),
        ("decr_misses", Count::DecrMisses),
        ("decr_hits", Count::DecrHits),
        ("cas_misses", Count::CasMisses),
        ("cas_hits", Count::CasHits),
        ("cas_badval", Count::CasBadval),
        ("touch_hits", Count::TouchHits),
        ("touch_misses", Count::TouchMisses),
        ("store_too_large", Count::StoreTooLarge),
        ("store_no_memory", Count::StoreNoMemory),
        ("auth_cmds", Count::AuthCmds),
        ("auth_errors", Count::AuthErrors),
    ]);
    w.number("bytes_read", state.stats.sum(|worker| &worker.input_bytes));
    w.number("bytes_written", state.stats.sum(|worker| &worker.output_bytes));
    w.number("limit_maxbytes", limit_bytes(state));
    w.number("accepting_conns", 1);
    w.zeros("", &["listen_disabled_num", "time_in_listen_disabled_us"]);
    w.number("threads", workers(state));
    w.zeros("", &["conn_yields", "hash_power_level", "hash_bytes", "hash_is_expanding", "slabs_moved"]);
    w.zeros("", &["lru_crawler_running", "lru_crawler_starts", "malloc_fails"]);
    w.number("bytes", of_items(state));
    w.number("curr_items", items);
    w.count("total_items", Count::TotalItems);
    w.zeros("", &["expired_unfetched", "evicted_unfetched", "evicted_active"]);
    w.number("evictions", state.stats.sum(|worker| &worker.evicted));
    w.number("reclaimed", state.stats.sum(|worker| &worker.expired));
    w.zeros("", &["crawler_reclaimed", "crawler_items_checked", "lrutail_reflocked", "moves_to_cold"]);
    w.zeros("", &["moves_to_warm", "moves_within_lru", "direct_reclaims", "lru_bumps_dropped"]);
    w.zeros("response_obj_", &["oom", "count", "bytes"]);
    w.zeros("read_buf_", &["count", "bytes", "bytes_free", "oom"]);
    w.zeros("slab_reassign_", &["rescues", "chunk_rescues", "evictions_nomem", "inline_reclaim"]);
    w.zeros("slab_reassign_", &["busy_items", "busy_deletes", "running"]);
    w.zeros("log_", &["worker_dropped", "worker_written", "watcher_skipped", "watcher_sent", "watchers"]);
    w.zeros("", &["reserved_fds", "lru_maintainer_juggles", "unexpected_napi_ids", "round_robin_fallback"]);
    w.zeros("", &["slab_global_page_pool"]);
    if state.config.int(id::TIMEOUT) > 0 {
        w.number("idle_kicks", state.stats.sum(|worker| &worker.idle_disconnections));
    }
}

fn settings(site: &mut Site, form: Form) {
    let state = site.state;
    let config = &state.config;
    let addresses: Vec<String> = config.bind_addresses().into_iter().map(|bind| bind.address).collect();
    let mut w = Writer { state, out: site.out, form };
    w.number("maxbytes", limit_bytes(state));
    w.number("maxconns", config.size(id::MAXCLIENTS));
    w.number("tcpport", config.int(id::MEMCACHED_PORT));
    w.number("udpport", 0);
    w.text("inter", &addresses.join(","));
    w.number("verbosity", 0);
    w.number("oldest", 0);
    w.text("evictions", if config.choice(id::MAXMEMORY_POLICY) == "noeviction" { "off" } else { "on" });
    let socket = config.text(id::MEMCACHED_UNIXSOCKET);
    w.text("domain_socket", if socket.is_empty() { "NULL" } else { &socket });
    w.number("num_threads", workers(state));
    w.flag("shutdown_command", config.flag(id::MEMCACHED_SHUTDOWN));
    w.text("stat_key_prefix", ":");
    w.flag("detail_enabled", state.memcache.prefixes.are_counted());
    w.flag("cas_enabled", true);
    w.number("tcp_backlog", config.int(id::TCP_BACKLOG));
    w.text("binding_protocol", "ascii");
    w.flag("auth_enabled_sasl", false);
    w.flag("auth_enabled_ascii", super::admin::wants_password(state));
    w.number("item_size_max", config.size(id::MEMCACHED_MAX_ITEM_SIZE));
    w.flag("flush_enabled", config.flag(id::MEMCACHED_FLUSH_ALL));
    w.flag("dump_enabled", true);
    w.text("hash_algorithm", "ahash");
    w.flag("lru_crawler", false);
    w.zeros("", &["lru_crawler_sleep", "lru_crawler_tocrawl"]);
    w.flag("lru_maintainer_thread", false);
    w.zeros("", &["hot_lru_pct", "warm_lru_pct", "hot_max_factor", "warm_max_factor"]);
    w.number("idle_timeout", config.int(id::TIMEOUT));
}

fn items(site: &mut Site, form: Form) {
    let state = site.state;
    let items = state.keyspace.len(site.client.db);
    if items == 0 {
        return;
    }
    memory::report();
    let mut w = Writer { state, out: site.out, form };
    w.number("items:1:number", items);
    w.zeros("items:1:", &["number_hot", "number_warm", "number_cold", "age_hot", "age_warm", "age"]);
    w.number("items:1:mem_requested", of_items(state));
    w.number("items:1:evicted", state.stats.sum(|worker| &worker.evicted));
    w.zeros("items:1:", &["evicted_nonzero", "evicted_time"]);
    w.count("items:1:outofmemory", Count::StoreNoMemory);
    w.zeros("items:1:", &["tailrepairs"]);
    w.number("items:1:reclaimed", state.stats.sum(|worker| &worker.expired));
    w.zeros("items:1:", &["expired_unfetched", "evicted_unfetched", "evicted_active"]);
    w.zeros("items:1:", &["crawler_reclaimed", "crawler_items_checked", "lrutail_reflocked"]);
    w.zeros("items:1:", &["moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims"]);
    w.zeros("items:1:", &["hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp"]);
}

fn slabs(site: &mut Site, form: Form) {
    let state = site.state;
    let items = state.keyspace.len(site.client.db);
    memory::report();
    let used = memory::used();
    let mut w = Writer { state, out: site.out, form };
    if let Some(mean) = used.checked_div(items) {
        w.number("1:chunk_size", mean);
        w.number("1:chunks_per_page", 1);
        w.number("1:total_pages", items);
        w.number("1:total_chunks", items);
        w.number("1:used_chunks", items);
        w.zeros("1:", &["free_chunks", "free_chunks_end"]);
        w.counts([
            ("1:get_hits", Count::GetHits),
            ("1:cmd_set", Count::CmdSet),
            ("1:delete_hits", Count::DeleteHits),
            ("1:incr_hits", Count::IncrHits),
            ("1:decr_hits", Count::DecrHits),
            ("1:cas_hits", Count::CasHits),
            ("1:cas_badval", Count::CasBadval),
            ("1:touch_hits", Count::TouchHits),
        ]);
    }
    w.number("active_slabs", usize::from(items > 0));
    w.number("total_malloced", used);
}

fn conns(site: &mut Site, form: Form) {
    let state = site.state;
    let (own, now_ms) = (site.client.shared.id, site.clock.unix_ms);
    let mut w = Writer { state, out: site.out, form };
    for client in state.clients.all() {
        // The socket's number, by which memcached names connections.
        let fd = client.figures.fd.load(Ordering::Relaxed);
        if client.has_flag(client_flag::UNIX) {
            w.text(&format!("{fd}:addr"), &format!("unix:{}", client.addr.trim_end_matches(":0")));
            w.text(&format!("{fd}:listen_addr"), &format!("unix:{}", client.laddr.trim_end_matches(":0")));
        } else {
            w.text(&format!("{fd}:addr"), &format!("tcp:{}", client.addr));
            w.text(&format!("{fd}:listen_addr"), &format!("tcp:{}", client.laddr));
        }
        let phase = match client.figures.input.load(Ordering::Relaxed) {
            _ if client.id == own => "conn_parse_cmd",
            0 => "conn_read",
            _ => "conn_nread",
        };
        w.text(&format!("{fd}:state"), phase);
        // Whole seconds of the clock, as memcached counts them.
        let idle_s = now_ms / 1000 - client.active_ms.load(Ordering::Relaxed) / 1000;
        w.number(&format!("{fd}:secs_since_last_cmd"), idle_s.max(0));
    }
}

/// `stats detail on|off|dump`
fn detail(site: &mut Site, form: Form, word: Option<&[u8]>) {
    let prefixes = &site.state.memcache.prefixes;
    match word {
        Some(b"on") => prefixes.switch(true),
        Some(b"off") => prefixes.switch(false),
        Some(b"dump") => {
            let mut text = Vec::new();
            for (prefix, counts) in prefixes.all() {
                let PrefixCounts { get, hit, set, del } = counts;
                text.extend_from_slice(b"PREFIX ");
                text.extend_from_slice(&prefix);
                text.extend_from_slice(format!(" get {get} hit {hit} set {set} del {del}\r\n").as_bytes());
            }
            text.extend_from_slice(write::END);
            if let Form::Binary(_) = form {
                form.stat(site.out, "detailed", &text);
            }
            return form.end(site.out, &text);
        }
        _ => return form.refuse(site.out, Fault::DetailUsage),
    }
    form.end(site.out, write::OK);
}
