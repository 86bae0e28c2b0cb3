//! Leaving: a node that is stopped has what it serves taken over first.

use super::Copies;
use crate::cluster::metadata::{Assignment, Change, Metadata};

impl Copies {
    /// The change that has everything handed over which this node serves and others could; `None` if there is no such thing.
    pub fn hand_over_all(&self, map: &Metadata) -> Option<Change> {
        let heir = |a: &Assignment| a.replicas().iter().copied().find(|node| map.serves(*node));
        let led = map.numbered().filter(|(_, a)| a.primary() == Some(self.me));
        let left: Vec<Change> = led
            .filter_map(|(partition, a)| {
                Some(Change::HandOver { partition, epoch: a.epoch, to: Some(heir(a)?) })
            })
            .collect();
        (!left.is_empty()).then_some(Change::Several(left))
    }
}
