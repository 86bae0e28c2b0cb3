//! The table against itself, against `conf/`, and against the names other servers' tests use.

use std::collections::HashSet;
use std::fs;

use super::super::{Config, value};
use super::*;

#[test]
fn every_row_is_well_formed() {
    let config = Config::default();
    let mut names = HashSet::new();
    for id in Id::all() {
        let row = id.row();
        for name in [row.name, row.alias].into_iter().filter(|name| !name.is_empty()) {
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(names.insert(name), "{name} stands twice");
        }
        assert!(row.doc.ends_with('.'), "{}: a sentence", row.name);
        let printed = config.print(id);
        let text = config.texts.read()[id.place()].clone();
        let words: Vec<&str> = match row.kind.takes_words() && !printed.is_empty() {
            true => printed.split(' ').collect(),
            false => vec![printed.as_str()],
        };
        if row.name == "replicaof" {
            continue;
        }
        let again = value::parse(row, &words, &text).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        assert_eq!(value::print(row.kind, &again), printed, "{}", row.name);
    }
}

#[test]
fn the_reference_file_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/shoal.conf");
    let right = reference();
    if std::env::var_os("SHOAL_WRITE_CONF").is_some() {
        fs::write(path, &right).expect("conf/shoal.conf can be written");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == right, "conf/shoal.conf is out of date: run this test with SHOAL_WRITE_CONF=1");
    let config = Config::load(path).expect("conf/shoal.conf is correct");
    assert_eq!(format!("{config:?}"), "{}", "conf/shoal.conf is not at the defaults");
}

#[test]
fn the_examples_are_correct() {
    for name in ["cluster.conf", "sessions.conf"] {
        let path = format!("{}/conf/{name}", env!("CARGO_MANIFEST_DIR"));
        Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn reference() -> String {
    let mut text = String::from(REFERENCE_HEAD);
    for Group { title, rows } in GROUPS {
        text.push_str(&format!("\n######## {title} ########\n"));
        for row in rows.iter().filter(|row| !row.hidden) {
            let mut says = row.doc.to_string();
            if let Kind::Enum(words) = row.kind {
                says.push_str(&format!(" One of: {}.", words.join(", ")));
            }
            if row.has_alias() {
                says.push_str(&format!(" Also named {}.", row.alias));
            }
            if row.inert {
                says.push_str(" Accepted, without effect.");
            }
            text.push('\n');
            text.push_str(&comment(&says));
            let id = Id::of(row.name);
            let lines = match row.kind {
                Kind::Directory => vec![format!("{} {}", row.name, row.default).into_bytes()],
                _ => Config::default().lines(id),
            };
            for line in lines {
                text.push_str(&String::from_utf8(line).expect("lines are text"));
                text.push('\n');
            }
        }
    }
    text
}

const REFERENCE_HEAD: &str = "\
# Every directive of Shoal at its default, made from the table in src/config/table.rs.
#
#   shoal /etc/shoal.conf                 reads a file
#   shoal /etc/shoal.conf --port 7000     overrides a line of it
#
# A line is a name and its words. Words with blanks stand in quotes: \"...\" knows \\n \\r \\t \\xHH, '...' only
# \\'. A later line wins; the lines of save and client-output-buffer-limit add up. Sizes are bytes, with a unit
# if wanted: 1k is 1000, 1kb is 1024, then m, mb, g, gb. CONFIG GET, SET and REWRITE use the same names.
#
# Lines that are no directives with a value, and may stand several times:
#
#   include /etc/shoal.d/*.conf           reads other files in this place
#   user alice on >secret ~app:* +@all    an ACL user, as ACL SETUSER takes it
#   cache sessions db=1 ttl=20m           a named cache: a policy bound to a database number
";

/// Text as comment lines of at most 100 columns.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split(' ') {
        if lines.last().is_some_and(|line| line.len() + 1 + word.len() > 100) {
            lines.push("#".into());
        }
        let line = lines.last_mut().expect("never empty");
        line.push(' ');
        line.push_str(word);
    }
    lines.join("\n") + "\n"
}

#[test]
fn names_that_test_suites_use_are_known() {
    for name in SUITE_NAMES.split_ascii_whitespace() {
        assert!(Id::find(name).is_some(), "{name}");
    }
}

const SUITE_NAMES: &str = "\
    acl-pubsub-default acllog-max-len active-defrag-cycle-max active-defrag-cycle-min \
    active-defrag-ignore-bytes active-defrag-max-scan-fields active-defrag-threshold-lower \
    active-defrag-threshold-upper active-expire-effort activedefrag activerehashing aof-load-truncated \
    aof-rewrite-incremental-fsync aof-timestamp-enabled aof-use-rdb-preamble appendfsync appendonly \
    auto-aof-rewrite-min-size auto-aof-rewrite-percentage availability-zone bind bind-source-addr \
    busy-reply-threshold client-output-buffer-limit client-query-buffer-limit \
    cluster-allow-pubsubshard-when-down cluster-allow-reads-when-down cluster-allow-replica-migration \
    cluster-announce-bus-port cluster-announce-client-ipv4 cluster-announce-client-ipv6 \
    cluster-announce-hostname cluster-announce-human-nodename cluster-announce-ip cluster-announce-port \
    cluster-announce-tls-port cluster-blacklist-ttl cluster-link-sendbuf-limit cluster-migration-barrier \
    cluster-node-timeout cluster-preferred-endpoint-type cluster-replica-no-failover \
    cluster-replica-validity-factor cluster-require-full-coverage cluster-slave-no-failover \
    cluster-slave-validity-factor cluster-slot-stats-enabled crash-log-enabled crash-memcheck-enabled \
    daemonize dynamic-hz events-per-io-thread extended-redis-compatibility hash-max-listpack-entries \
    hash-max-listpack-value hash-max-ziplist-entries hash-max-ziplist-value hide-user-data-from-log \
    hll-sparse-max-bytes hz ignore-warnings jemalloc-bg-thread key-load-delay latency-monitor-threshold \
    latency-tracking latency-tracking-info-percentiles lazyfree-lazy-eviction lazyfree-lazy-expire \
    lazyfree-lazy-server-del lazyfree-lazy-user-del lazyfree-lazy-user-flush lfu-decay-time \
    lfu-log-factor list-compress-depth list-max-listpack-size list-max-ziplist-size locale-collate \
    loglevel lua-time-limit masterauth masteruser max-new-connections-per-cycle \
    max-new-tls-connections-per-cycle maxclients maxmemory maxmemory-clients maxmemory-eviction-tenacity \
    maxmemory-policy maxmemory-samples min-replicas-max-lag min-replicas-to-write min-slaves-max-lag \
    min-slaves-to-write no-appendfsync-on-rewrite notify-keyspace-events port prefetch-batch-max-size \
    primaryauth primaryuser proc-title-template propagation-error-behavior protected-mode \
    proto-max-bulk-len rdb-del-sync-files rdb-key-save-delay rdb-save-incremental-fsync rdbcompression \
    repl-backlog-size repl-backlog-ttl repl-disable-tcp-nodelay repl-diskless-load repl-diskless-sync \
    repl-diskless-sync-delay repl-diskless-sync-max-replicas repl-ping-replica-period \
    repl-ping-slave-period repl-timeout replica-announce-ip replica-announce-port replica-announced \
    replica-ignore-disk-write-errors replica-ignore-maxmemory replica-lazy-flush replica-priority \
    replica-read-only replica-serve-stale-data requirepass sanitize-dump-payload save \
    set-max-intset-entries set-max-listpack-entries set-max-listpack-value shutdown-on-sigint \
    shutdown-on-sigterm shutdown-timeout slave-announce-ip slave-announce-port slave-ignore-maxmemory \
    slave-lazy-flush slave-priority slave-read-only slave-serve-stale-data slowlog-log-slower-than \
    slowlog-max-len stop-writes-on-bgsave-error stream-node-max-bytes stream-node-max-entries \
    tcp-keepalive timeout tls-auth-clients tls-client-key-file-pass tls-cluster tls-key-file-pass \
    tls-replication tracking-table-max-keys zset-max-listpack-entries zset-max-listpack-value \
    zset-max-ziplist-entries zset-max-ziplist-value cluster-announce-client-port \
    cluster-announce-client-tls-port cluster-config-save-behavior cluster-databases \
    cluster-message-gossip-perc cluster-slot-migration-log-max-len debug-context \
    enable-debug-assert hash-seed io-threads-always-active \
    min-io-threads-avoid-copy-reply min-string-size-avoid-copy-reply \
    min-string-size-avoid-copy-reply-threaded mptcp repl-mptcp \
    slot-migration-max-failover-repl-bytes tls-auth-clients-user tls-auto-reload-interval \
    use-exit-on-panic watchdog-period";

/// A directive that does nothing must say so: who sets it relies on it.
#[test]
fn what_has_an_effect_is_read_somewhere() {
    let read: String = sources(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref());
    let names =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/id.rs")).expect("readable");
    let constant = |name: &str| {
        let line = names.lines().find(|line| line.contains(&format!("(\"{name}\")")))?;
        line.strip_prefix("pub const ")?.split(':').next().map(str::to_string)
    };
    let idle: Vec<&str> = TABLE
        .iter()
        .filter(|row| !row.inert && !matches!(row.kind, Kind::OutputLimits))
        .filter(|row| !constant(row.name).is_some_and(|name| read.contains(&format!("::{name}"))))
        .map(|row| row.name)
        .collect();
    assert!(idle.is_empty(), "to be marked inert, or built: {idle:?}");
}

/// All sources below `dir` but the table itself and tests.
fn sources(dir: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "table" {
            text.push_str(&sources(&path));
        } else if name.to_string_lossy().ends_with(".rs") && name != "id.rs" && name != "tests.rs" {
            text.push_str(&fs::read_to_string(&path).expect("readable"));
        }
    }
    text
}
