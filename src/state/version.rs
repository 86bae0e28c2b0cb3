//! Numbers for versions of values.
//!
//! A value is given a number when somebody first asks for one, and loses it when it changes, so whoever holds the number of
//! a value can tell whether it is still the same. Numbers grow, also from one life of the node to the next and from one primary to
//! the next, as long as a node gives out less than a million a second and clocks differ by less than a node has been up. They
//! stay below 2^53, which is as far as clients in some languages count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where the numbers come from.
pub struct Versions {
    last: AtomicU64,
}

impl Versions {
    /// The numbers of a node that starts at this Unix time in ms.
    pub fn new(unix_ms: i64) -> Versions {
        Versions { last: AtomicU64::new(least(unix_ms)) }
    }

    /// A number greater than all before.
    #[inline]
    pub fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes all further numbers greater than those that any other node has given until this Unix time in ms. For one that takes over
    /// values: whoever holds the number that a former primary gave must not find it at another value.
    pub fn pass(&self, unix_ms: i64) {
        self.last.fetch_max(least(unix_ms), Ordering::Relaxed);
    }
}

fn least(unix_ms: i64) -> u64 {
    (unix_ms.max(0) as u64) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_by_two_primaries() {
        // Started at once, as scripts do.
        let (first, second) = (Versions::new(1_700_000_000_000), Versions::new(1_700_000_000_000));
        let given: Vec<u64> = (0..1000).map(|_| first.next()).collect();
        second.pass(1_700_000_000_600);
        assert!(given.iter().all(|number| *number < second.next()));
        first.pass(1_700_000_000_100);
        let last = first.next();
        first.pass(0);
        assert!(given[999] < last && last < first.next() && last < 1 << 53);
    }
}
