//! Names in code for the directives the program acts upon: `config.int(id::MAXMEMORY)`.
//!
//! A misspelt name fails the build. A directive kept only for compatibility needs no constant.
#![expect(missing_docs, reason = "the row of each directive documents it")]

use super::table::Id;

pub const BIND: Id = Id::of("bind");
pub const PORT: Id = Id::of("port");
pub const MEMCACHED_PORT: Id = Id::of("memcached-port");
pub const MEMCACHED_UNIXSOCKET: Id = Id::of("memcached-unixsocket");
pub const MEMCACHED_AUTH_FILE: Id = Id::of("memcached-auth-file");
pub const MEMCACHED_FLUSH_ALL: Id = Id::of("memcached-flush-all");
pub const MEMCACHED_SHUTDOWN: Id = Id::of("memcached-shutdown");
pub const MEMCACHED_MAX_ITEM_SIZE: Id = Id::of("memcached-max-item-size");
pub const ADMIN_PORT: Id = Id::of("admin-port");
pub const PROTECTED_MODE: Id = Id::of("protected-mode");
pub const TCP_BACKLOG: Id = Id::of("tcp-backlog");
pub const TCP_KEEPALIVE: Id = Id::of("tcp-keepalive");
pub const TIMEOUT: Id = Id::of("timeout");
pub const UNIXSOCKET: Id = Id::of("unixsocket");
pub const UNIXSOCKETPERM: Id = Id::of("unixsocketperm");
pub const UNIXSOCKETGROUP: Id = Id::of("unixsocketgroup");
pub const TLS_PORT: Id = Id::of("tls-port");
pub const WORKERS: Id = Id::of("workers");
pub const DATABASES: Id = Id::of("databases");
pub const DIR: Id = Id::of("dir");
pub const PIDFILE: Id = Id::of("pidfile");
pub const DAEMONIZE: Id = Id::of("daemonize");
pub const SUPERVISED: Id = Id::of("supervised");
pub const HZ: Id = Id::of("hz");
pub const AVAILABILITY_ZONE: Id = Id::of("availability-zone");
pub const OOM_SCORE_ADJ: Id = Id::of("oom-score-adj");
pub const OOM_SCORE_ADJ_VALUES: Id = Id::of("oom-score-adj-values");
pub const LOGLEVEL: Id = Id::of("loglevel");
pub const LOGFILE: Id = Id::of("logfile");
pub const REQUIREPASS: Id = Id::of("requirepass");
pub const ACLFILE: Id = Id::of("aclfile");
pub const ACLLOG_MAX_LEN: Id = Id::of("acllog-max-len");
pub const ACL_PUBSUB_DEFAULT: Id = Id::of("acl-pubsub-default");
pub const ENABLE_PROTECTED_CONFIGS: Id = Id::of("enable-protected-configs");
pub const ENABLE_DEBUG_COMMAND: Id = Id::of("enable-debug-command");
pub const MAXCLIENTS: Id = Id::of("maxclients");
pub const MAXMEMORY_CLIENTS: Id = Id::of("maxmemory-clients");
pub const CLIENT_QUERY_BUFFER_LIMIT: Id = Id::of("client-query-buffer-limit");
pub const CLIENT_OUTPUT_BUFFER_LIMIT: Id = Id::of("client-output-buffer-limit");
pub const PROTO_MAX_BULK_LEN: Id = Id::of("proto-max-bulk-len");
pub const TRACKING_TABLE_MAX_KEYS: Id = Id::of("tracking-table-max-keys");
pub const IMPORT_MODE: Id = Id::of("import-mode");
pub const MAXMEMORY: Id = Id::of("maxmemory");
pub const MAXMEMORY_POLICY: Id = Id::of("maxmemory-policy");
pub const MAXMEMORY_SAMPLES: Id = Id::of("maxmemory-samples");
pub const LFU_LOG_FACTOR: Id = Id::of("lfu-log-factor");
pub const LFU_DECAY_TIME: Id = Id::of("lfu-decay-time");
pub const LAZYFREE_LAZY_EXPIRE: Id = Id::of("lazyfree-lazy-expire");
pub const LAZYFREE_LAZY_SERVER_DEL: Id = Id::of("lazyfree-lazy-server-del");
pub const LAZYFREE_LAZY_USER_DEL: Id = Id::of("lazyfree-lazy-user-del");
pub const LAZYFREE_LAZY_USER_FLUSH: Id = Id::of("lazyfree-lazy-user-flush");
pub const HASH_MAX_LISTPACK_ENTRIES: Id = Id::of("hash-max-listpack-entries");
pub const HASH_MAX_LISTPACK_VALUE: Id = Id::of("hash-max-listpack-value");
pub const LIST_MAX_LISTPACK_SIZE: Id = Id::of("list-max-listpack-size");
pub const LIST_COMPRESS_DEPTH: Id = Id::of("list-compress-depth");
pub const SET_MAX_INTSET_ENTRIES: Id = Id::of("set-max-intset-entries");
pub const SET_MAX_LISTPACK_ENTRIES: Id = Id::of("set-max-listpack-entries");
pub const SET_MAX_LISTPACK_VALUE: Id = Id::of("set-max-listpack-value");
pub const ZSET_MAX_LISTPACK_ENTRIES: Id = Id::of("zset-max-listpack-entries");
pub const ZSET_MAX_LISTPACK_VALUE: Id = Id::of("zset-max-listpack-value");
pub const HLL_SPARSE_MAX_BYTES: Id = Id::of("hll-sparse-max-bytes");
pub const STREAM_NODE_MAX_BYTES: Id = Id::of("stream-node-max-bytes");
pub const STREAM_NODE_MAX_ENTRIES: Id = Id::of("stream-node-max-entries");
pub const BUSY_REPLY_THRESHOLD: Id = Id::of("busy-reply-threshold");
pub const SLOWLOG_LOG_SLOWER_THAN: Id = Id::of("slowlog-log-slower-than");
pub const SLOWLOG_MAX_LEN: Id = Id::of("slowlog-max-len");
pub const COMMANDLOG_REQUEST_LARGER_THAN: Id = Id::of("commandlog-request-larger-than");
pub const COMMANDLOG_LARGE_REQUEST_MAX_LEN: Id = Id::of("commandlog-large-request-max-len");
pub const COMMANDLOG_REPLY_LARGER_THAN: Id = Id::of("commandlog-reply-larger-than");
pub const COMMANDLOG_LARGE_REPLY_MAX_LEN: Id = Id::of("commandlog-large-reply-max-len");
pub const LATENCY_MONITOR_THRESHOLD: Id = Id::of("latency-monitor-threshold");
pub const LATENCY_TRACKING: Id = Id::of("latency-tracking");
pub const LATENCY_TRACKING_INFO_PERCENTILES: Id = Id::of("latency-tracking-info-percentiles");
pub const NOTIFY_KEYSPACE_EVENTS: Id = Id::of("notify-keyspace-events");
pub const RDB_VERSION_CHECK: Id = Id::of("rdb-version-check");
pub const SAVE: Id = Id::of("save");
pub const JOIN: Id = Id::of("join");
/// `copies`.
pub const COPIES: Id = Id::of("copies");
/// `redirect`.
pub const REDIRECT: Id = Id::of("redirect");
/// `cluster-view`.
pub const CLUSTER_VIEW: Id = Id::of("cluster-view");
/// `ack`.
pub const ACK: Id = Id::of("ack");
/// `witness`.
pub const WITNESS: Id = Id::of("witness");
/// `cluster-secret`.
pub const CLUSTER_SECRET: Id = Id::of("cluster-secret");
/// `cluster-port`.
pub const CLUSTER_PORT: Id = Id::of("cluster-port");
pub const CLUSTER_ENABLED: Id = Id::of("cluster-enabled");
pub const CLUSTER_ANNOUNCE_IP: Id = Id::of("cluster-announce-ip");
pub const CLUSTER_ANNOUNCE_PORT: Id = Id::of("cluster-announce-port");
pub const REPLICAOF: Id = Id::of("replicaof");
pub const REPL_BACKLOG_SIZE: Id = Id::of("repl-backlog-size");
