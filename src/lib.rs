//! Shoal: a distributed in-memory cache that speaks RESP and the memcached protocol.

pub mod store;
pub mod text;
