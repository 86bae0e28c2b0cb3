//! What a node notices of the others, for people: why it has no lease, whom it cannot reach, whom it asks to be let in.
//!
//! The map says what members agreed on; where most of them are gone it goes on saying so. This is what the node itself found out, and
//! is never agreed on by anybody. Nothing is decided by it.

use crate::cluster::metadata::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// A failure that was not met again for so long says nothing of the present any more, in ns.
const RECENT_NS: u64 = 10_000_000_000;

/// What a node notices of the others.
#[derive(Default)]
pub struct Contact(Mutex<Noticed>);

#[derive(Default)]
struct Noticed {
    refusal: String,
    failures: BTreeMap<NodeId, Failure>,
    joining: Option<Joining>,
}

/// A node that could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Since when, by the node's clock.
    pub since_ns: u64,
    /// When that was found out last.
    seen_ns: u64,
    /// What went wrong.
    pub why: String,
}

/// A node's search for its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Whom it asks.
    pub asks: String,
    /// Since when, by the node's clock.
    pub since_ns: u64,
    /// What came of it last.
    pub why: String,
}

impl Contact {
    /// Notes why a lease was not granted.
    pub fn refused(&self, why: String) {
        self.0.lock().refusal = why;
    }

    /// Why no lease was granted the last time that none was.
    pub fn refusal(&self) -> String {
        self.0.lock().refusal.clone()
    }

    /// Notes that `node` was reached.
    pub fn reached(&self, node: NodeId) {
        self.0.lock().failures.remove(&node);
    }

    /// Notes that `node` could not be reached.
    pub fn failed(&self, node: NodeId, why: String, now_ns: u64) {
        let failures = &mut self.0.lock().failures;
        let since_ns = failures
            .get(&node)
            .filter(|known| now_ns - known.seen_ns < RECENT_NS)
            .map_or(now_ns, |known| known.since_ns);
        failures.insert(node, Failure { since_ns, seen_ns: now_ns, why });
    }

    /// Who cannot be reached.
    pub fn unreached(&self, now_ns: u64) -> BTreeMap<NodeId, Failure> {
        let mut failures = self.0.lock().failures.clone();
        failures.retain(|_, failure| now_ns.saturating_sub(failure.seen_ns) < RECENT_NS);
        failures
    }

    /// Notes whom the node asks to be let in, and what came of it. Says whether that is news.
    pub fn joining(&self, asks: &str, why: &str, now_ns: u64) -> bool {
        let joining = &mut self.0.lock().joining;
        let since_ns = joining.as_ref().map_or(now_ns, |joining| joining.since_ns);
        let is_news = joining.as_ref().is_none_or(|joining| joining.why != why);
        *joining = Some(Joining { asks: asks.to_string(), since_ns, why: why.to_string() });
        is_news
    }

    /// Notes that the node was let in.
    pub fn joined(&self) {
        self.0.lock().joining = None;
    }

    /// Whom the node asks to be let in, if it is not.
    pub fn search(&self) -> Option<Joining> {
        self.0.lock().joining.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lasts_while_it_is_met_again_and_no_longer() {
        let contact = Contact::default();
        contact.failed(2, "refused".into(), 1);
        contact.failed(2, "silent".into(), RECENT_NS);
        let found = contact.unreached(RECENT_NS + 1);
        assert_eq!((found[&2].since_ns, found[&2].why.as_str()), (1, "silent"));
        assert!(contact.unreached(2 * RECENT_NS).is_empty());
        contact.failed(2, "refused".into(), 3 * RECENT_NS);
        assert_eq!(contact.unreached(3 * RECENT_NS)[&2].since_ns, 3 * RECENT_NS);
        contact.reached(2);
        assert!(contact.unreached(3 * RECENT_NS).is_empty());
    }

    #[test]
    fn a_search_says_the_same_once() {
        let contact = Contact::default();
        assert!(contact.joining("a:1", "refused", 5));
        assert!(!contact.joining("a:1", "refused", 6));
        assert!(contact.joining("b:1", "silent", 7));
        let asks = "b:1".to_string();
        assert_eq!(contact.search(), Some(Joining { asks, since_ns: 5, why: "silent".into() }));
        contact.joined();
        assert_eq!(contact.search(), None);
    }
}
