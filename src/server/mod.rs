//! Sockets: listeners, connections, the node as a whole.

mod across;
mod codec;
pub mod connection;
mod counting;
mod ears;
mod feeder;
mod forward;
mod items;
pub mod listen;
pub mod listeners;
pub mod log;
mod mail;
mod member;
mod mesh;
pub mod node;
mod on_stack;
mod participant;
mod peer;
mod reconfigure;
mod run_memcache;
mod run_resp;
pub mod service;
mod settings;
pub mod stream;
pub mod unix;

pub use codec::Protocol;
