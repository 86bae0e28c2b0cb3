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
pub mod stream;
pub mod zset;

/// How large collections may get in their small forms: the settings of all types together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Of lists.
    pub list: list::ListLimits,
    /// Of hashes.
    pub hash: hash::HashLimits,
    /// Of sets.
    pub set: set::SetLimits,
    /// Of sorted sets.
    pub zset: zset::ZSetLimits,
}
