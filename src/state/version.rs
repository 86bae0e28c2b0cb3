//! Numbers for versions of values.
//!
//! A value is given a number when somebody first asks for one, and loses it when it changes, so whoever holds the number of
//! a value can tell whether it is still the same. Numbers grow, also from one life of the node to the next as long
//! as it gives out less than a million a second, and stay below 2^53, which is as far as clients in some languages count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where the numbers come from.
pub struct Versions {
    last: AtomicU64,
}

impl Versions {
    /// The numbers of a node that starts at this Unix time in seconds.
    pub fn new(unix_s: u64) -> Versions {
        Versions { last: AtomicU64::new(unix_s << 20) }
    }

    /// A number greater than all before.
    #[inline]
    pub fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}
