//! Leaving: a node that is stopped has what it serves taken over first.

use super::Copies;
use crate::cluster::metadata::{Assignment, Change, Metadata};

impl Copies {
    /// The change that has everything handed over which this node serves and others could, and nothing handed to it in turn; `None` if
    /// there is no such thing.
    pub fn hand_over_all(&self, map: &Metadata) -> Option<Change> {
        let heir = |a: &Assignment| a.replicas().iter().copied().find(|node| map.serves(*node));
        let led = map.numbered().filter(|(_, a)| a.primary() == Some(self.me));
        let left = led.filter_map(|(partition, a)| {
            Some(Change::HandOver { partition, epoch: a.epoch, to: Some(heir(a)?) })
        });
        let drain = Change::Drain { node: self.me, drain: true };
        let changes: Vec<Change> = std::iter::once(drain).chain(left).collect();
        (changes.len() > 1).then_some(Change::Several(changes))
    }

    /// Whether this node serves anything, which others may come to serve once it says that it goes: copies that it does not know to be
    /// in sync may be.
    pub fn leads_any(&self, map: &Metadata) -> bool {
        map.partitions.iter().any(|a| a.primary() == Some(self.me))
    }
}
