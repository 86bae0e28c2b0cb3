//! Rows about other nodes: the cluster, its copies, and replication as Redis has it.

use super::super::value;
use super::{BOOL, BYTES, COUNT31, COUNT63, Group, Kind, Mutability, ONE31, PORT, TEXT, row};

pub(super) const CLUSTER: Group = Group {
    title: "Cluster",
    rows: &[
        row(
            "join",
            Kind::Words(value::peers),
            "",
            "Members to join at start, host:port each; any one of them is enough. One that wants a password is asked on its cluster-port: host:port@cluster-port, unless that is port + 10000.",
        )
        .change(Mutability::Startup),
        row("cluster-port", PORT, "0", "Port for the other nodes; 0 means port + 10000.").change(Mutability::Startup),
        row(
            "cluster-secret",
            TEXT,
            "",
            "What all nodes of the cluster know; without one only nodes of the same machine are let in.",
        )
        .change(Mutability::Startup)
        .sensitive(),
        row("copies", ONE31, "2", "Nodes that hold each key, where a cluster is founded by this node.")
            .change(Mutability::Startup),
        row("witness", BOOL, "no", "Vote in the cluster, and hold no data.").change(Mutability::Startup),
        row(
            "redirect",
            Kind::Enum(&["forward", "moved"]),
            "forward",
            "A request for a key of another node is forwarded to it, or answered with MOVED, for clients that know of the cluster: to \
             these SCAN, KEYS and DBSIZE are about one node.",
        ),
        row(
            "cluster-view",
            Kind::Enum(&["standalone", "cluster"]),
            "standalone",
            "What INFO and HELLO say of clustering; clients that believe in a cluster give up databases other than 0.",
        ),
        row(
            "ack",
            Kind::Words(value::acks),
            "copy",
            "When a write is acknowledged: once every copy in sync has it (copy), or at once (primary), which a crash may undo. Pairs of \
             a database and one of these may follow: copy 3 primary.",
        ),
        row("cluster-enabled", BOOL, "no", "Be a member of a cluster.").immutable().inert(),
        row(
            "cluster-config-file",
            Kind::Text(value::cluster_file_name),
            "nodes.conf",
            "File of the cluster's state.",
        )
        .immutable()
        .inert(),
        row(
            "cluster-config-save-behavior",
            Kind::Enum(&["sync", "best-effort"]),
            "sync",
            "What happens when that file cannot be written.",
        )
        .inert(),
        row("cluster-databases", ONE31, "1", "Databases a cluster has; see databases.").immutable().inert(),
        row(
            "cluster-node-timeout",
            COUNT63,
            "15000",
            "Milliseconds of silence after which a node counts as lost.",
        )
        .inert(),
        row(
            "cluster-announce-ip",
            Kind::Text(value::announced_ip),
            "",
            "Address other nodes and clients should use for this one.",
        ),
        row(
            "cluster-announce-client-ipv4",
            Kind::Text(value::ipv4),
            "",
            "IPv4 address clients should use, if another than nodes do.",
        )
        .inert(),
        row(
            "cluster-announce-client-ipv6",
            Kind::Text(value::ipv6),
            "",
            "IPv6 address clients should use, if another than nodes do.",
        )
        .inert(),
        row("cluster-announce-port", PORT, "0", "Port to announce; 0 means port."),
        row("cluster-announce-tls-port", PORT, "0", "TLS port to announce; 0 means tls-port.").inert(),
        row("cluster-announce-client-port", PORT, "0", "Port clients should use, if another than nodes do.").inert(),
        row("cluster-announce-client-tls-port", PORT, "0", "TLS port clients should use, if another than nodes do.")
            .inert(),
        row("cluster-announce-bus-port", PORT, "0", "Port for nodes to announce; 0 means cluster-port.")
            .inert(),
        row("cluster-announce-hostname", Kind::Text(value::host_name), "", "Host name to announce.").inert(),
        row(
            "cluster-announce-human-nodename",
            Kind::Text(value::node_name),
            "",
            "Name of this node in the log.",
        )
        .inert(),
        row(
            "cluster-preferred-endpoint-type",
            Kind::Enum(&["ip", "hostname", "unknown-endpoint"]),
            "ip",
            "What clients are told to connect to.",
        )
        .inert(),
        row("cluster-require-full-coverage", BOOL, "yes", "Stop serving when a slot has no node.").inert(),
        row("cluster-allow-reads-when-down", BOOL, "no", "Serve reads while the cluster is down.").inert(),
        row(
            "cluster-allow-pubsubshard-when-down",
            BOOL,
            "yes",
            "Serve sharded Pub/Sub while the cluster is down.",
        )
        .inert(),
        row("cluster-allow-replica-migration", BOOL, "yes", "Let replicas move to primaries that have none.")
            .inert(),
        row("cluster-migration-barrier", COUNT31, "1", "Replicas a primary keeps when one moves.").inert(),
        row("cluster-replica-no-failover", BOOL, "no", "Never promote this node by itself.")
            .alias("cluster-slave-no-failover")
            .inert(),
        row("cluster-replica-validity-factor", COUNT31, "10", "How old a copy may be that is promoted.")
            .alias("cluster-slave-validity-factor")
            .inert(),
        row("cluster-manual-failover-timeout", ONE31, "5000", "Milliseconds a planned hand-over may take.")
            .inert(),
        row(
            "cluster-link-sendbuf-limit",
            BYTES,
            "0",
            "Bytes that may wait on a link to a peer; 0 sets no limit.",
        )
        .inert(),
        row("cluster-slot-stats-enabled", BOOL, "no", "Keep statistics for every slot.").inert(),
        row("cluster-slot-migration-log-max-len", COUNT63, "1000", "Moves of slots kept for looking up.").inert(),
        row(
            "slot-migration-max-failover-repl-bytes",
            Kind::Memory { min: -1, max: i64::MAX },
            "0",
            "Bytes that may still be missing when a slot changes hands; -1 sets no limit.",
        )
        .inert(),
        row("cluster-blacklist-ttl", COUNT63, "60", "Seconds a forgotten node is not let in again.").inert(),
        row("cluster-message-gossip-perc", Kind::Int { min: 1, max: 100 }, "10", "Nodes a heartbeat tells of.")
            .hidden()
            .inert(),
        row("cluster-ping-interval", COUNT63, "0", "Milliseconds between heartbeats.").hidden().inert(),
        row(
            "auto-failover-on-shutdown",
            BOOL,
            "no",
            "Hand over before shutting down. Here that always happens.",
        )
        .inert(),
    ],
};

pub(super) const REPLICATION: Group = Group {
    title: "Replication",
    rows: &[
        row(
            "replicaof",
            Kind::Words(value::primary_address),
            "no one",
            "Primary to copy: <host> <port>, or no one.",
        )
        .alias("slaveof")
        .immutable()
        .inert(),
        row("primaryauth", TEXT, "", "Password for the primary.").alias("masterauth").sensitive().inert(),
        row("primaryuser", TEXT, "", "User for the primary.").alias("masteruser").sensitive().inert(),
        row("replica-serve-stale-data", BOOL, "yes", "Serve a copy while its primary cannot be reached.")
            .alias("slave-serve-stale-data")
            .inert(),
        row("replica-read-only", BOOL, "yes", "Refuse writes to a copy.").alias("slave-read-only").inert(),
        row("replica-ignore-maxmemory", BOOL, "yes", "Leave eviction on a copy to its primary.")
            .alias("slave-ignore-maxmemory")
            .inert(),
        row("replica-ignore-disk-write-errors", BOOL, "no", "Go on after a copy could not write to disk.")
            .inert(),
        row("replica-priority", COUNT31, "100", "Lower numbers are promoted first; 0 never.")
            .alias("slave-priority")
            .inert(),
        row("replica-announced", BOOL, "yes", "Show this copy to those who list them.").inert(),
        row("replica-announce-ip", TEXT, "", "Address a copy announces to its primary.")
            .alias("slave-announce-ip")
            .inert(),
        row("replica-announce-port", PORT, "0", "Port a copy announces to its primary; 0 means port.")
            .alias("slave-announce-port")
            .inert(),
        row("min-replicas-to-write", COUNT31, "0", "Copies that must be in reach for a write to be taken.")
            .alias("min-slaves-to-write")
            .inert(),
        row("min-replicas-max-lag", COUNT31, "10", "Seconds a copy may lag and still count as in reach.")
            .alias("min-slaves-max-lag")
            .inert(),
        row("repl-timeout", ONE31, "60", "Seconds of silence after which a replication link is closed.")
            .inert(),
        row("repl-ping-replica-period", ONE31, "10", "Seconds between a primary's pings.")
            .alias("repl-ping-slave-period")
            .inert(),
        row(
            "repl-backlog-size",
            Kind::Memory { min: 1, max: i64::MAX },
            "10mb",
            "Bytes of writes kept for a copy that comes back; at least 16kb.",
        )
        .clamp(16 * 1024, i64::MAX)
        .inert(),
        row("repl-backlog-ttl", COUNT63, "3600", "Seconds they are kept without any copy; 0 means for ever.")
            .inert(),
        row(
            "repl-disable-tcp-nodelay",
            BOOL,
            "no",
            "Gather small packets to copies: less traffic, more delay.",
        )
        .inert(),
        row("repl-diskless-sync", BOOL, "yes", "Send a snapshot to a copy without writing a file first.")
            .inert(),
        row("repl-diskless-sync-delay", COUNT31, "5", "Seconds to wait for more copies to join in.").inert(),
        row("repl-diskless-sync-max-replicas", COUNT31, "0", "Copies that end the wait; 0 means none do.")
            .inert(),
        row(
            "repl-mptcp",
            Kind::OnlyNo(value::NO_MPTCP),
            "no",
            "Use Multipath TCP on links that carry copies.",
        )
        .immutable()
        .inert(),
        row(
            "repl-diskless-load",
            Kind::Enum(&["disabled", "on-empty-db", "swapdb", "flush-before-load"]),
            "disabled",
            "When a copy loads straight from the socket.",
        )
        .change(Mutability::NotWhileLoading)
        .inert(),
        row("dual-channel-replication-enabled", BOOL, "no", "Send snapshot and writes side by side.").inert(),
        row(
            "propagation-error-behavior",
            Kind::Enum(&["ignore", "panic", "panic-on-replicas"]),
            "ignore",
            "What to do when a write of the primary fails on a copy.",
        )
        .inert(),
    ],
};
