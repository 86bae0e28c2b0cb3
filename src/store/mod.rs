//! One partition's data: plain structures, no lock, no clock, no I/O.

pub mod hash;
pub mod table;
pub mod types;
