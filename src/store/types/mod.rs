//! The values a key can hold.

pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod list;
pub mod pack;
