//! Leases: how a leader lets members serve, and when it may take their partitions away.
//!
//! A member asks for a lease again and again. A leader grants one from the moment at which it last proved that it leads, so
//! that one which was deposed without knowing grants nothing that reaches beyond [`LEASE_MS`] after that. Who was granted nothing for that long, and
//! a margin for clocks that run differently, serves nothing any more, and others may be promoted in its place. A new
//! leader knows nothing of what its predecessor granted: it takes it that all were granted a lease when it was elected.
//!
//! Time is given in ns of the leader's own monotonic clock; no two clocks are ever compared.

use super::metadata::NodeId;
use std::collections::BTreeMap;

/// How long a lease lasts.
pub const LEASE_MS: u64 = 500;
/// What clocks may differ by in that time, and then some.
pub(super) const MARGIN_MS: u64 = 50;
const MS: u64 = 1_000_000;

/// What a leader granted.
#[derive(Clone, Debug)]
pub struct Leases {
    elected_ns: u64,
    confirmed_ns: u64,
    heard_ns: BTreeMap<NodeId, u64>,
    /// The process of each member, and when it was first known of.
    met: BTreeMap<NodeId, (u64, u64)>,
}

impl Leases {
    /// The leases of one who found out at `now_ns` that it was elected.
    pub fn new(now_ns: u64) -> Leases {
        Leases { elected_ns: now_ns, confirmed_ns: 0, heard_ns: BTreeMap::new(), met: BTreeMap::new() }
    }

    /// Notes that this node was the leader at some moment after `asked_ns`.
    pub fn confirm(&mut self, asked_ns: u64) {
        self.confirmed_ns = self.confirmed_ns.max(asked_ns);
    }

    /// Grants `node` a lease: how many ns it lasts from the moment the node asked, at most. Nothing if this node may lead no more.
    pub fn grant(&mut self, node: NodeId, now_ns: u64) -> Option<u64> {
        let until_ns = self.confirmed_ns.checked_add(LEASE_MS * MS).filter(|_| self.confirmed_ns > 0)?;
        let left = until_ns.checked_sub(now_ns)?;
        self.heard_ns.insert(node, now_ns);
        Some(left)
    }

    /// Takes it that all were granted a lease at `now_ns`: this node heard nobody for a while, for reasons of its own.
    pub fn excuse(&mut self, now_ns: u64) {
        self.elected_ns = now_ns;
    }

    /// Notes the process of a member: a new one has had no time yet to ask for anything, and is not silent for that.
    pub fn meet(&mut self, node: NodeId, incarnation: u64, now_ns: u64) {
        let met = self.met.entry(node).or_insert((incarnation, now_ns));
        if met.0 != incarnation {
            *met = (incarnation, now_ns);
        }
    }

    /// Whether nothing that was granted to `node` is good any more.
    pub fn is_over(&self, node: NodeId, now_ns: u64) -> bool {
        self.silent_ns(node, now_ns) > (LEASE_MS + MARGIN_MS) * MS
    }

    /// Whether `node` itself asked for something within the last `within_ns`.
    pub fn heard_within(&self, node: NodeId, within_ns: u64, now_ns: u64) -> bool {
        self.heard_ns.get(&node).is_some_and(|heard_ns| now_ns.saturating_sub(*heard_ns) < within_ns)
    }

    /// For how long nothing was granted to `node`.
    pub fn silent_ns(&self, node: NodeId, now_ns: u64) -> u64 {
        let heard_ns = self.heard_ns.get(&node).copied().unwrap_or(0);
        let met_ns = self.met.get(&node).map_or(0, |met| met.1);
        now_ns.saturating_sub(heard_ns.max(met_ns).max(self.elected_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> u64 {
        ms * MS
    }

    #[test]
    fn a_lease_reaches_no_further_than_the_proof_of_leading() {
        let mut leases = Leases::new(ms(1000));
        assert_eq!(leases.grant(1, ms(1001)), None);
        leases.confirm(ms(1100));
        assert_eq!(leases.grant(1, ms(1100)), Some(ms(LEASE_MS)));
        assert_eq!(leases.grant(1, ms(1300)), Some(ms(LEASE_MS - 200)));
        assert_eq!(leases.grant(1, ms(1101 + LEASE_MS)), None);
    }

    #[test]
    fn who_is_heard_of_is_not_over_and_who_is_not_is() {
        let mut leases = Leases::new(ms(1000));
        assert!(!leases.is_over(2, ms(1000 + LEASE_MS + MARGIN_MS)));
        assert!(leases.is_over(2, ms(1001 + LEASE_MS + MARGIN_MS)));
        leases.confirm(ms(2000));
        leases.grant(2, ms(2000));
        assert!(!leases.is_over(2, ms(2500)));
    }
}
