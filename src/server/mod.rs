//! Sockets: listeners, connections, the node as a whole.

mod codec;
pub mod connection;
pub mod listen;
pub mod listeners;
pub mod log;
mod mail;
pub mod node;
mod on_stack;
mod reconfigure;
mod run_memcache;
mod run_resp;
pub mod service;
pub mod stream;
pub mod unix;

pub use codec::Protocol;
