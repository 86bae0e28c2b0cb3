//! Sockets: listeners, connections, the node as a whole.

mod codec;
pub mod connection;
pub mod listen;
pub mod log;
mod mail;
pub mod node;
mod on_stack;
mod run_memcache;
mod run_resp;
pub mod stream;
pub mod unix;

pub use codec::Protocol;
