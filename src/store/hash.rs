//! The one hash of keys, fields and members.
//!
//! Seeded per process, so a client cannot choose keys that collide; the members of a cluster may share a [seed], by which a cursor means
//! the same to all of them. 32 bits are enough: tables are split by some of them and each piece stays small.

use ahash::RandomState;
use std::sync::{LazyLock, OnceLock};

static SHARED: OnceLock<[u64; 4]> = OnceLock::new();
static SEED: LazyLock<RandomState> = LazyLock::new(|| match SHARED.get() {
    Some([a, b, c, d]) => RandomState::with_seeds(*a, *b, *c, *d),
    None => RandomState::new(),
});

/// Seeds the hash of this process, before anything is hashed; later it is of no effect.
pub fn seed(seed: [u64; 4]) {
    let _ = SHARED.set(seed);
}

/// The hash by which a [`Table`](super::table::Table) files `key`.
#[inline]
pub fn hash(key: &[u8]) -> u32 {
    (SEED.hash_one(key) >> 32) as u32
}
