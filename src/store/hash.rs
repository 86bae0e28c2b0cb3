//! The one hash of keys, fields and members.
//!
//! Seeded per process, so a client cannot choose keys that collide. 32 bits are enough: tables
//! are split by some of them and each piece stays small.

use std::sync::LazyLock;

static SEED: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);

/// The hash by which a [`Table`](super::table::Table) files `key`.
#[inline]
pub fn hash(key: &[u8]) -> u32 {
    (SEED.hash_one(key) >> 32) as u32
}
