//! The values a key can hold.

pub mod bits;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod lcs;
pub mod list;
mod member;
pub mod pack;
pub mod set;
pub mod zset;
