//! Rows about the data: memory, encodings, what happens to keys, and files.

use super::super::value;
use super::{BOOL, BYTES, COUNT31, COUNT63, Group, INT32, Kind, Mutability, OR_NEVER, row};

pub(super) const MEMORY: Group = Group {
    title: "Memory and eviction",
    rows: &[
        row("maxmemory", BYTES, "0", "Bytes of data this node may hold; 0 sets no limit."),
        row(
            "maxmemory-policy",
            Kind::Enum(&[
                "volatile-lru",
                "volatile-lfu",
                "volatile-random",
                "volatile-ttl",
                "allkeys-lru",
                "allkeys-lfu",
                "allkeys-random",
                "noeviction",
            ]),
            "noeviction",
            "What to evict when maxmemory is reached: among all keys or only those with a time to live, and by \
             which order; noeviction refuses writes instead.",
        ).shared(),
        row("maxmemory-samples", Kind::Int { min: 1, max: 64 }, "5", "Keys looked at to find one to evict."),
        row(
            "maxmemory-eviction-tenacity",
            Kind::Int { min: 0, max: 100 },
            "10",
            "How much of a command's time eviction may take, from 0 to 100 (no bound).",
        )
        .inert(),
        row("lfu-log-factor", COUNT31, "10", "How slowly the frequency counter of an entry grows.").shared(),
        row("lfu-decay-time", COUNT31, "1", "Minutes after which an entry's frequency counter is lowered.").shared(),
        row(
            "active-expire-effort",
            Kind::Int { min: 1, max: 10 },
            "1",
            "How eagerly expired keys nobody asks for are removed, from 1 to 10.",
        )
        .inert(),
        row("activerehashing", BOOL, "yes", "Grow tables in idle moments too.").inert(),
        row("import-mode", BOOL, "no", "Do not expire or evict keys while another server's data comes in.").shared()
            .inert(),
    ],
};

pub(super) const LAZY_FREE: Group = Group {
    title: "Freeing memory in the background",
    rows: &[
        row(
            "lazyfree-lazy-eviction",
            BOOL,
            "yes",
            "Free evicted values in the background. Here whoever needs the memory frees it, holding no keys up.",
        )
        .inert(),
        row("lazyfree-lazy-expire", BOOL, "yes", "Free expired values in the background."),
        row("lazyfree-lazy-server-del", BOOL, "yes", "Free overwritten values in the background."),
        row("lazyfree-lazy-user-del", BOOL, "yes", "Make DEL free values as UNLINK does."),
        row("lazyfree-lazy-user-flush", BOOL, "yes", "Make FLUSHALL and FLUSHDB free in the background."),
        row("replica-lazy-flush", BOOL, "yes", "Free a copy's old data in the background.")
            .alias("slave-lazy-flush")
            .inert(),
    ],
};

const NO_DEFRAG: &str = "Active defragmentation cannot be enabled: it requires a server compiled with a \
                         modified Jemalloc, and this one uses another allocator";

pub(super) const DEFRAGMENTATION: Group = Group {
    title: "Defragmentation",
    rows: &[
        row("activedefrag", Kind::OnlyNo(NO_DEFRAG), "no", "Move data about to free memory pages.").inert(),
        row(
            "active-defrag-ignore-bytes",
            Kind::Memory { min: 1, max: i64::MAX },
            "100mb",
            "Waste below which nothing is moved.",
        )
        .inert(),
        row(
            "active-defrag-threshold-lower",
            Kind::Int { min: 0, max: 1000 },
            "10",
            "Percentage of waste to start at.",
        )
        .inert(),
        row(
            "active-defrag-threshold-upper",
            Kind::Int { min: 0, max: 1000 },
            "100",
            "Percentage of greatest effort.",
        )
        .inert(),
        row("active-defrag-cycle-min", Kind::Int { min: 1, max: 99 }, "1", "Least percentage of CPU to use.")
            .inert(),
        row(
            "active-defrag-cycle-max",
            Kind::Int { min: 1, max: 99 },
            "25",
            "Greatest percentage of CPU to use.",
        )
        .inert(),
        row(
            "active-defrag-cycle-us",
            Kind::Int { min: 0, max: 100_000 },
            "500",
            "Microseconds of one round.",
        )
        .inert(),
        row(
            "active-defrag-max-scan-fields",
            Kind::Int { min: 1, max: i64::MAX },
            "1000",
            "Fields above which a key is treated in parts.",
        )
        .inert(),
        row("jemalloc-bg-thread", BOOL, "yes", "Give memory back from a thread of the allocator.").inert(),
    ],
};

pub(super) const ENCODINGS: Group = Group {
    title: "Compact encodings",
    rows: &[
        row("hash-max-listpack-entries", COUNT63, "512", "Fields a hash may have in its compact form.")
            .shared()
            .alias("hash-max-ziplist-entries"),
        row("hash-max-listpack-value", BYTES, "64", "Bytes a field or value may have there.")
            .shared()
            .alias("hash-max-ziplist-value"),
        row(
            "list-max-listpack-size",
            INT32,
            "-2",
            "Elements a list node may have; from -1 to -5 its bytes instead: 4, 8, 16, 32 or 64 kb.",
        )
        .shared()
        .alias("list-max-ziplist-size"),
        row(
            "list-compress-depth",
            COUNT31,
            "0",
            "Nodes left uncompressed at each end of a list; 0 compresses none.",
        )
        .shared(),
        row(
            "set-max-intset-entries",
            COUNT63,
            "512",
            "Members a set of integers may have in its compact form.",
        )
        .shared(),
        row("set-max-listpack-entries", COUNT63, "128", "Members a small set may have in its compact form.")
            .shared(),
        row("set-max-listpack-value", COUNT63, "64", "Bytes a member may have there.").shared(),
        row(
            "zset-max-listpack-entries",
            COUNT63,
            "128",
            "Members a sorted set may have in its compact form.",
        )
        .shared()
        .alias("zset-max-ziplist-entries"),
        row("zset-max-listpack-value", BYTES, "64", "Bytes a member may have there.")
            .shared()
            .alias("zset-max-ziplist-value"),
        row("hll-sparse-max-bytes", BYTES, "3000", "Bytes a HyperLogLog may have in its sparse form.")
            .shared(),
        row("stream-node-max-bytes", BYTES, "4096", "Bytes a stream node may have; 0 sets no limit.")
            .shared(),
        row("stream-node-max-entries", COUNT63, "100", "Entries a stream node may have; 0 sets no limit.")
            .shared(),
    ],
};

pub(super) const SCRIPTS_AND_EVENTS: Group = Group {
    title: "Scripts, slow log, latency, events",
    rows: &[
        row(
            "busy-reply-threshold",
            COUNT63,
            "5000",
            "Milliseconds after which others are told BUSY while a script runs; 0 never does.",
        )
        .alias("lua-time-limit"),
        row(
            "slowlog-log-slower-than",
            OR_NEVER,
            "10000",
            "Microseconds a command must take to be logged as slow; 0 logs all, -1 none.",
        )
        .alias("commandlog-execution-slower-than"),
        row("slowlog-max-len", COUNT63, "128", "Slow commands kept.")
            .alias("commandlog-slow-execution-max-len"),
        row(
            "commandlog-request-larger-than",
            OR_NEVER,
            "1048576",
            "Bytes a request must have to be logged as large; -1 logs none.",
        ),
        row("commandlog-large-request-max-len", COUNT63, "128", "Large requests kept."),
        row(
            "commandlog-reply-larger-than",
            OR_NEVER,
            "1048576",
            "Bytes a reply must have to be logged as large; -1 logs none.",
        ),
        row("commandlog-large-reply-max-len", COUNT63, "128", "Large replies kept."),
        row(
            "latency-monitor-threshold",
            COUNT63,
            "0",
            "Milliseconds an event must take for LATENCY; 0 turns it off.",
        ),
        row("latency-tracking", BOOL, "yes", "Keep a histogram of every command's latency."),
        row(
            "latency-tracking-info-percentiles",
            Kind::Words(value::percentiles),
            "50 99 99.9",
            "Percentiles INFO shows of them.",
        ),
        row(
            "notify-keyspace-events",
            Kind::EventClasses,
            "",
            "Classes of keyspace events to publish: K and E choose the channels, then g $ l s h z x e t d m n, or \
             A for most of them; empty publishes none.",
        ).shared(),
    ],
};

pub(super) const SNAPSHOTS: Group = Group {
    title: "Snapshots",
    rows: &[
        row(
            "save",
            Kind::Words(value::save_points),
            "",
            "Pairs of seconds and changes: snapshot after so many seconds if so many keys changed. Empty takes \
             none by itself: this is a cache.",
        ).inert(),
        row("dbfilename", Kind::Text(value::db_file_name), "dump.rdb", "Name of the snapshot in dir.")
            .change(Mutability::Protected)
            .inert(),
        row("rdbcompression", BOOL, "yes", "Compress texts in a snapshot.").inert(),
        row("rdbchecksum", BOOL, "yes", "Close a snapshot with a checksum.").immutable().inert(),
        row(
            "rdb-version-check",
            Kind::Enum(&["strict", "relaxed"]),
            "strict",
            "Refuse snapshots and dumps of later versions.",
        ),
        row("rdb-del-sync-files", BOOL, "no", "Remove snapshots made to bring a copy up to date.").inert(),
        row("rdb-save-incremental-fsync", BOOL, "yes", "Flush a snapshot to disk as it is written.").inert(),
        row("stop-writes-on-bgsave-error", BOOL, "yes", "Refuse writes after a snapshot could not be saved.")
            .inert(),
        row(
            "sanitize-dump-payload",
            Kind::Enum(&["no", "yes", "clients"]),
            "no",
            "Check dumped values in full before restoring them. Here they always are.",
        )
        .inert(),
        row("rdb-key-save-delay", INT32, "0", "Microseconds to wait after saving a key, for tests.")
            .hidden()
            .inert(),
        row("key-load-delay", INT32, "0", "Microseconds to wait after loading a key, for tests.")
            .hidden()
            .inert(),
        row(
            "loading-process-events-interval-bytes",
            Kind::Int { min: 1024, max: i32::MAX as i64 },
            "2097152",
            "Bytes loaded between two looks at the sockets.",
        )
        .hidden()
        .inert(),
    ],
};

pub(super) const APPEND_ONLY_FILE: Group = Group {
    title: "Append-only file",
    rows: &[
        row("appendonly", BOOL, "no", "Log every write to a file.")
            .change(Mutability::NotWhileLoading)
            .inert(),
        row(
            "appendfilename",
            Kind::Text(value::append_file_name),
            "appendonly.aof",
            "First part of its names.",
        )
        .immutable()
        .inert(),
        row(
            "appenddirname",
            Kind::Text(value::append_dir_name),
            "appendonlydir",
            "Directory of the files, in dir.",
        )
        .immutable()
        .inert(),
        row(
            "appendfsync",
            Kind::Enum(&["everysec", "always", "no"]),
            "everysec",
            "When to flush it to disk.",
        )
        .inert(),
        row(
            "no-appendfsync-on-rewrite",
            BOOL,
            "no",
            "Do not flush while the file is rewritten or a snapshot saved.",
        )
        .inert(),
        row(
            "auto-aof-rewrite-percentage",
            COUNT31,
            "100",
            "Growth in percent that starts a rewrite; 0 never does.",
        )
        .inert(),
        row("auto-aof-rewrite-min-size", BYTES, "64mb", "Size below which none starts.").inert(),
        row("aof-load-truncated", BOOL, "yes", "Start from a file that ends in the middle of a command.")
            .inert(),
        row("aof-use-rdb-preamble", BOOL, "yes", "Begin a rewritten file with a snapshot.").inert(),
        row("aof-rewrite-incremental-fsync", BOOL, "yes", "Flush a rewritten file as it is written.").inert(),
        row("aof-timestamp-enabled", BOOL, "no", "Write the time into the file, for recovery to a moment.")
            .inert(),
        row("aof-disable-auto-gc", BOOL, "no", "Keep files that are no longer needed.").hidden().inert(),
    ],
};
