//! What administrators read in the log when the map changes.

use crate::cluster::metadata::{Metadata, NodeId};

/// Logs what administrators have to know of a new map: what is not served, what was lost, and what cannot be as it is wanted.
pub(super) fn tell(old: &Metadata, new: &Metadata) {
    if !old.is_founded() {
        return;
    }
    let count = |is: &dyn Fn(u8) -> bool| (0..=u8::MAX).filter(|partition| is(*partition)).count();
    let (before, now) = (count(&|partition| old.is_unserved(partition)), count(&|p| new.is_unserved(p)));
    let lost = count(&|partition| is_lost(old, new, partition));
    if lost > 0 {
        tracing::warn!("{lost} partitions begin anew, empty: all nodes that had copies of them are gone");
    }
    if now > before {
        tracing::warn!(
            "{now} partitions are served by nobody, as all their copies are at nodes that are down: see CLUSTER STATUS"
        );
    } else if now == 0 && before > 0 {
        tracing::info!("all partitions are served again");
    }
    let homes = new.homes().count();
    if old.copies != new.copies && new.copies > homes {
        tracing::warn!(
            "{} copies are wanted of each partition, but only {homes} nodes can hold any",
            new.copies
        );
    }
}

/// Whether all that was in a partition is lost.
fn is_lost(old: &Metadata, new: &Metadata, partition: u8) -> bool {
    let had = &old.partitions[usize::from(partition)].in_sync;
    let process = |map: &Metadata, node: &NodeId| map.members.get(node).map(|member| member.incarnation);
    let is_gone = |node: &NodeId| !new.serves(*node) || process(old, node) != process(new, node);
    !had.is_empty() && !new.is_unserved(partition) && had.iter().all(is_gone) && {
        // Another that serves it may have been given a copy in between, by one who has gone since.
        old.is_unserved(partition) || new.primary(partition) == had.first().copied()
    }
}
