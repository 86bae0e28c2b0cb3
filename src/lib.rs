//! Shoal: a distributed in-memory cache that speaks RESP and the memcached protocol.

pub mod cluster;
pub mod command;
pub mod config;
pub mod error;
pub mod memory;
pub mod process;
pub mod script;
pub mod server;
pub mod state;
pub mod store;
pub mod text;
pub mod worker;

pub use server::node::{Node, Signals};
