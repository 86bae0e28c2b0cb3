//! One partition's data: plain structures, no lock, no clock, no I/O.

pub mod db;
pub mod digest;
pub mod entry;
pub mod expire;
pub mod hash;
pub mod rdb;
pub mod table;
pub mod types;
pub mod value;
