//! Sockets: listeners, connections, the node as a whole.

pub mod connection;
pub mod listen;
pub mod log;
pub mod node;
