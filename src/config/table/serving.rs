//! Rows about the process and its sockets: who may reach it, how, and with what limits.

use super::super::value;
use super::{BOOL, COUNT31, COUNT63, Group, Kind, Mutability, ONE31, PORT, TEXT, row};

const PROTECTION: Kind = Kind::Enum(&["no", "yes", "local"]);

pub(super) const NETWORK: Group = Group {
    title: "Network",
    rows: &[
        row(
            "bind",
            Kind::Words(value::addresses),
            "127.0.0.1 -::1",
            "Addresses to listen on, for every port below. A leading '-' allows an address to be missing on \
             this machine; '*' stands for all IPv4 and '::*' for all IPv6 addresses.",
        ),
        row("port", PORT, "6379", "TCP port of the Redis protocol; 0 turns it off."),
        row("memcached-port", PORT, "11211", "TCP port of the memcached protocol; 0 turns it off.")
            .change(Mutability::Startup),
        row(
            "memcached-unixsocket",
            TEXT,
            "",
            "Path of a Unix socket of the memcached protocol, with the permissions of the other one.",
        )
        .change(Mutability::Startup),
        row(
            "memcached-max-item-size",
            Kind::Memory { min: 1 << 10, max: 1 << 30 },
            "1mb",
            "Bytes an item stored through the memcached protocol may have, key and overhead included.",
        ),
        row(
            "memcached-auth-file",
            TEXT,
            "",
            "File of lines user:password. Whoever comes by the memcached protocol must know one of them then, whatever users there are \
             besides, and is the default user. Setting it reads it again.",
        )
        .reload(),
        row("memcached-flush-all", BOOL, "yes", "Whether flush_all may be used by the memcached protocol."),
        row("memcached-shutdown", BOOL, "no", "Whether shutdown may be used by the memcached protocol."),
        row(
            "admin-port",
            PORT,
            "0",
            "HTTP port for health checks, metrics and administration; 0 turns it off.",
        )
        .change(Mutability::Startup)
        .inert(),
        row(
            "protected-mode",
            BOOL,
            "yes",
            "Refuse connections from other machines while the default user has no password.",
        ),
        row("tcp-backlog", COUNT31, "511", "Length of the queue of connections not yet accepted.")
            .immutable(),
        row(
            "tcp-keepalive",
            COUNT31,
            "300",
            "Seconds between keep-alive probes of idle connections; 0 sends none.",
        ),
        row("timeout", COUNT31, "0", "Seconds after which an idle client is disconnected; 0 never does."),
        row("unixsocket", TEXT, "", "Path of a Unix socket to listen on as well.").immutable(),
        row(
            "unixsocketperm",
            Kind::Octal { max: 0o777 },
            "0",
            "Permissions of the Unix socket, in octal; 0 leaves them to the umask.",
        )
        .immutable(),
        row("unixsocketgroup", TEXT, "", "Group that owns the Unix socket.").immutable(),
        row("bind-source-addr", TEXT, "", "Local address of connections this node opens.").inert(),
        row(
            "socket-mark-id",
            Kind::Int { min: 0, max: u32::MAX as i64 },
            "0",
            "Mark put on the sockets' packets.",
        )
        .immutable()
        .inert(),
        row(
            "max-new-connections-per-cycle",
            Kind::Int { min: 1, max: 1000 },
            "10",
            "Connections accepted in one turn of the event loop.",
        )
        .inert(),
        row(
            "max-new-tls-connections-per-cycle",
            Kind::Int { min: 1, max: 1000 },
            "1",
            "TLS connections accepted in one turn of the event loop.",
        )
        .inert(),
        row("mptcp", Kind::OnlyNo(value::NO_MPTCP), "no", "Let clients use Multipath TCP.").immutable().inert(),
        row("rdma-bind", Kind::Words(value::addresses), "", "Addresses to listen on over RDMA.").inert(),
        row("rdma-port", PORT, "0", "Port to listen on over RDMA.").inert(),
        row(
            "rdma-rx-size",
            Kind::Int { min: 65536, max: 16777216 },
            "1048576",
            "Receive buffer of an RDMA connection.",
        )
        .immutable()
        .inert(),
        row(
            "rdma-completion-vector",
            Kind::Int { min: -1, max: 1024 },
            "-1",
            "Completion vector used by RDMA.",
        )
        .immutable()
        .inert(),
    ],
};

pub(super) const TLS: Group = Group {
    title: "TLS",
    rows: &[
        row("tls-port", PORT, "0", "TCP port of the Redis protocol over TLS; 0 turns it off.").inert(),
        row("tls-cert-file", TEXT, "", "Certificate (PEM) this node presents.").reload().inert(),
        row("tls-key-file", TEXT, "", "Private key (PEM) of that certificate.").reload().inert(),
        row("tls-key-file-pass", TEXT, "", "Passphrase of the private key.").sensitive().inert(),
        row("tls-client-cert-file", TEXT, "", "Certificate presented on connections this node opens.")
            .reload()
            .inert(),
        row("tls-client-key-file", TEXT, "", "Private key of that certificate.").reload().inert(),
        row("tls-client-key-file-pass", TEXT, "", "Passphrase of that key.").sensitive().inert(),
        row("tls-ca-cert-file", TEXT, "", "Authorities (PEM) trusted to sign the peers' certificates.")
            .reload()
            .inert(),
        row("tls-ca-cert-dir", TEXT, "", "Directory of such authorities.").reload().inert(),
        row(
            "tls-auth-clients",
            Kind::Enum(&["no", "yes", "optional"]),
            "yes",
            "Whether clients must present a certificate.",
        )
        .inert(),
        row(
            "tls-auth-clients-user",
            Kind::Enum(&["CN", "URI", "off"]),
            "off",
            "Field of a certificate that names the client's user.",
        )
        .inert(),
        row(
            "tls-auto-reload-interval",
            COUNT31,
            "0",
            "Seconds between looks for new certificates; 0 never looks.",
        )
        .inert(),
        row("tls-replication", BOOL, "no", "Use TLS on links that carry copies.").inert(),
        row("tls-cluster", BOOL, "no", "Use TLS between the nodes of a cluster.").inert(),
        row("tls-protocols", TEXT, "", "Protocol versions to offer, such as \"TLSv1.2 TLSv1.3\".").inert(),
        row("tls-ciphers", TEXT, "", "Ciphers to offer up to TLS 1.2.").inert(),
        row("tls-ciphersuites", TEXT, "", "Cipher suites to offer in TLS 1.3.").inert(),
        row("tls-prefer-server-ciphers", BOOL, "no", "Prefer this node's order of ciphers to the client's.")
            .inert(),
        row("tls-session-caching", BOOL, "yes", "Let clients resume TLS sessions.").inert(),
        row("tls-session-cache-size", COUNT31, "20480", "TLS sessions remembered; 0 sets no limit.").inert(),
        row("tls-session-cache-timeout", COUNT31, "300", "Seconds a TLS session is remembered.").inert(),
        row("tls-dh-params-file", TEXT, "", "Diffie-Hellman parameters.").reload().inert(),
    ],
};

pub(super) const PROCESS: Group = Group {
    title: "Process",
    rows: &[
        row(
            "workers",
            Kind::Int { min: 0, max: 1024 },
            "0",
            "Threads that serve clients, one per core; 0 means as many as there are cores.",
        )
        .change(Mutability::Startup),
        row("databases", ONE31, "16", "Number of databases a client can SELECT.").immutable(),
        row("dir", Kind::Directory, ".", "Where the relative paths of pidfile, logfile and unixsocket start.")
            .change(Mutability::ProtectedNotWhileLoading),
        row("pidfile", TEXT, "", "File that holds the process id while the node runs; empty writes none.").immutable(),
        row("daemonize", BOOL, "no", "Run in the background, unless supervised. The command returns once the node is ready.").immutable(),
        row(
            "supervised",
            Kind::Enum(&["upstart", "systemd", "auto", "no"]),
            "no",
            "Service manager to tell when this node is ready: systemd (auto asks it as well, if it is there). upstart is \
             accepted and told nothing.",
        )
        .immutable(),
        row("shutdown-timeout", COUNT31, "10", "Seconds a shutdown waits for the copies to catch up.")
            .inert(),
        row(
            "shutdown-on-sigint",
            Kind::ShutdownWords,
            "default",
            "How SIGINT shuts down: default, or any of save, nosave, now, force.",
        )
        .inert(),
        row(
            "shutdown-on-sigterm",
            Kind::ShutdownWords,
            "default",
            "How SIGTERM shuts down: default, or any of save, nosave, now, force, safe, failover.",
        )
        .inert(),
        row("hz", COUNT31, "10", "Rounds of housekeeping per second, from 1 to 500.").clamp(1, 500).inert(),
        row("dynamic-hz", BOOL, "yes", "Raise hz with the number of clients.").inert(),
        row("set-proc-title", BOOL, "yes", "Show the node's address in the process list.")
            .immutable()
            .inert(),
        row(
            "proc-title-template",
            Kind::Text(value::title_template),
            "{title} {listen-addr} {server-mode}",
            "What to show there.",
        )
        .inert(),
        row("always-show-logo", BOOL, "no", "Show a banner at start.").immutable().inert(),
        row(
            "locale-collate",
            Kind::Text(value::locale),
            "",
            "Order of texts in SORT ALPHA: always that of bytes.",
        )
        .inert(),
        row("ignore-warnings", TEXT, "", "Warnings to leave out at start.").inert(),
        row("availability-zone", TEXT, "", "Where this node runs; shown to clients by INFO and HELLO."),
        row(
            "extended-redis-compatibility",
            BOOL,
            "no",
            "Name the server 'redis' wherever a client might look at it.",
        )
        .inert(),
        row(
            "oom-score-adj",
            Kind::Enum(&["no", "yes", "relative", "absolute"]),
            "no",
            "How readily the kernel ends this process when memory is out: more readily by the first of the values below \
             (relative or yes), exactly that (absolute), or as it found it (no).",
        ),
        row(
            "oom-score-adj-values",
            Kind::Words(value::oom_scores),
            "0 200 800",
            "For a primary, a replica and a child that saves, from -1000 to 1000: only the first matters here.",
        ),
        row("disable-thp", BOOL, "yes", "Turn transparent huge pages off for this process.")
            .immutable()
            .inert(),
        row("server-cpulist", TEXT, "", "CPUs for the workers.").alias("server_cpulist").immutable().inert(),
        row("bio-cpulist", TEXT, "", "CPUs for background threads.").alias("bio_cpulist").immutable().inert(),
        row("aof-rewrite-cpulist", TEXT, "", "CPUs for rewriting the append-only file.")
            .alias("aof_rewrite_cpulist")
            .immutable()
            .inert(),
        row("bgsave-cpulist", TEXT, "", "CPUs for saving snapshots.")
            .alias("bgsave_cpulist")
            .immutable()
            .inert(),
        row("io-threads", Kind::Int { min: 1, max: 256 }, "1", "Threads for socket work; see workers.").inert(),
        row("io-threads-do-reads", BOOL, "no", "Read in those threads too.").immutable().hidden().inert(),
        row("io-threads-always-active", BOOL, "no", "Keep those threads busy, for tests.").hidden().inert(),
        row("min-io-threads-avoid-copy-reply", COUNT31, "7", "Threads from which on large texts are not copied.")
            .hidden()
            .inert(),
        row("min-string-size-avoid-copy-reply", COUNT31, "16384", "Bytes from which on a text is not copied.")
            .hidden()
            .inert(),
        row("min-string-size-avoid-copy-reply-threaded", COUNT31, "65536", "The same with threads for socket work.")
            .hidden()
            .inert(),
        row("events-per-io-thread", COUNT31, "2", "Events that wake one more of those threads.")
            .hidden()
            .inert(),
        row(
            "prefetch-batch-max-size",
            Kind::Int { min: 0, max: 128 },
            "16",
            "Keys fetched ahead in a batch.",
        )
        .inert(),
        row("watchdog-period", COUNT31, "0", "Milliseconds after which a stuck thread is reported.")
            .hidden()
            .inert(),
        row("use-exit-on-panic", BOOL, "no", "Exit instead of aborting on a failed check.").hidden().inert(),
        row("enable-debug-assert", BOOL, "no", "Check costly assertions.")
            .alias("debug-assert-enabled")
            .immutable()
            .hidden()
            .inert(),
        row("hash-seed", Kind::Text(value::seed), "", "Seed that orders SCAN alike on several nodes.")
            .immutable()
            .inert(),
        row("debug-context", TEXT, "", "A note for crash reports.").hidden().inert(),
    ],
};

pub(super) const LOGGING: Group = Group {
    title: "Logging",
    rows: &[
        row(
            "loglevel",
            Kind::Enum(&["debug", "verbose", "notice", "warning", "nothing"]),
            "notice",
            "The least important message that is logged; nothing logs none.",
        ),
        row("logfile", TEXT, "", "File to log to, opened anew for each line; empty logs to standard output.")
            .immutable(),
        row("log-format", Kind::Enum(&["legacy", "logfmt", "json"]), "legacy", "Shape of a log line.")
            .inert(),
        row(
            "log-timestamp-format",
            Kind::Enum(&["legacy", "iso8601", "milliseconds"]),
            "legacy",
            "Shape of a log line's time.",
        )
        .inert(),
        row("hide-user-data-from-log", BOOL, "yes", "Keep keys, values and arguments out of the log.")
            .inert(),
        row("syslog-enabled", BOOL, "no", "Log to the system logger as well.").immutable().inert(),
        row("syslog-ident", TEXT, "shoal", "Name in the system log.").immutable().inert(),
        row(
            "syslog-facility",
            Kind::Enum(&[
                "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
            ]),
            "local0",
            "Facility of the system log.",
        )
        .immutable()
        .inert(),
        row("crash-log-enabled", BOOL, "yes", "Log the stack when the process crashes.").inert(),
        row("crash-memcheck-enabled", BOOL, "yes", "Check the memory after a crash.").inert(),
    ],
};

pub(super) const SECURITY: Group = Group {
    title: "Security",
    rows: &[
        row("requirepass", TEXT, "", "Password of the default user; empty asks for none.").sensitive(),
        row("aclfile", TEXT, "", "File of ACL users, instead of 'user' lines in this one.").immutable(),
        row("acllog-max-len", COUNT63, "128", "Entries kept in ACL LOG."),
        row(
            "acl-pubsub-default",
            Kind::Enum(&["allchannels", "resetchannels"]),
            "resetchannels",
            "Channels a new user may use: all of them or none.",
        ),
        row(
            "enable-protected-configs",
            PROTECTION,
            "no",
            "Who may change dir and dbfilename by CONFIG SET: no, yes, or local connections only.",
        )
        .immutable(),
        row(
            "enable-debug-command",
            PROTECTION,
            "no",
            "Who may use DEBUG: no, yes, or local connections only.",
        )
        .immutable(),
        row(
            "enable-module-command",
            PROTECTION,
            "no",
            "Who may use MODULE: no, yes, or local connections only.",
        )
        .immutable()
        .inert(),
    ],
};

pub(super) const CLIENTS: Group = Group {
    title: "Clients and their limits",
    rows: &[
        row(
            "maxclients",
            Kind::Int { min: 1, max: u32::MAX as i64 },
            "10000",
            "Connections accepted at a time, both protocols together.",
        ),
        row(
            "maxmemory-clients",
            Kind::MemoryOrPercent,
            "0",
            "Memory all connections' buffers may take, in bytes or as a percentage of maxmemory, before the \
             largest are closed; 0 sets no limit.",
        ),
        row(
            "client-query-buffer-limit",
            Kind::Memory { min: 1 << 20, max: i64::MAX },
            "1gb",
            "The most a connection may send without completing a request.",
        ),
        row(
            "client-output-buffer-limit",
            Kind::OutputLimits,
            "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
            "Close a client whose pending replies pass the hard limit, or stay over the soft limit for so many \
             seconds; 0 sets no limit.",
        ),
        row(
            "proto-max-bulk-len",
            Kind::Memory { min: 1 << 20, max: i64::MAX },
            "512mb",
            "The longest single argument or value.",
        )
        .shared(),
        row(
            "tracking-table-max-keys",
            COUNT63,
            "1000000",
            "Keys remembered for CLIENT TRACKING; past it some are invalidated early. 0 sets no limit.",
        ),
    ],
};
