//! Shoal's behaviour as its clients see it: the built binary, real sockets, every command.

mod across;
mod cluster;
mod cluster_admin;
mod commands;
mod connections;
mod cuts;
mod full_disk;
mod harness;
mod histories;
mod keyspace;
mod lifecycle;
mod machine;
mod memcache;
mod outage;
mod reach;
mod transcripts;
