//! The values a key can hold.

pub mod hyperloglog;
pub mod hash;
pub mod intset;
pub mod list;
pub mod pack;
