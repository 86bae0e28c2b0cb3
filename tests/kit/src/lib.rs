//! What the tests and the benchmarks share: starting servers, speaking to them, writing replies down.
//!
//! Everything here blocks and uses `std` alone, and nothing here is taken from the server under test: a
//! mistake in Shoal's own codec cannot hide behind the same mistake in the reader that checks it.

pub mod memcache;
pub mod memcache_binary;
pub mod notation;
pub mod resp;
pub mod server;
pub mod transcript;
pub mod value;

pub use server::Server;
pub use value::Value;
