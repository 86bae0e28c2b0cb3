use super::*;
use crate::cluster::metadata::{self, Member, PARTITIONS};

fn cluster(nodes: u64, copies: usize) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.apply(Change::Found { cluster: 1, member: member(1, ""), copies });
    for id in 2..=nodes {
        metadata.apply(Change::Join(member(id, "")));
    }
    metadata
}

fn member(id: NodeId, zone: &str) -> Member {
    Member { zone: zone.into(), ..metadata::tests::member(id) }
}

/// Follows plans as primaries do that succeed in all they are asked, until there is nothing left to do.
fn settle(metadata: &mut Metadata) -> usize {
    for round in 0..2000 {
        let changes = plan(metadata, &BTreeSet::new());
        for change in &changes {
            assert_eq!(metadata.apply(change.clone()), Outcome::Changed, "{change:?}");
        }
        let before = metadata.version;
        finish(metadata);
        if changes.is_empty() && metadata.version == before {
            return round;
        }
    }
    panic!("plans do not come to an end");
}

fn assert_even(metadata: &Metadata, nodes: &[NodeId]) {
    let copies = metadata.copies.min(nodes.len());
    for assignment in &metadata.partitions {
        assert_eq!(assignment.in_sync.len(), copies, "{assignment:?}");
        assert!(assignment.joining.is_empty() && assignment.hand_over.is_none(), "{assignment:?}");
        assert!(assignment.in_sync.iter().all(|node| nodes.contains(node)), "{assignment:?}");
    }
    let spread = |counts: &dyn Fn(&Assignment, NodeId) -> bool| {
        let load: Vec<usize> = nodes
            .iter()
            .map(|node| metadata.partitions.iter().filter(|assignment| counts(assignment, *node)).count())
            .collect();
        (load.iter().max().copied().unwrap_or(0) - load.iter().min().copied().unwrap_or(0), load)
    };
    let (copies, load) = spread(&|assignment, node| assignment.involves(node));
    assert!(copies <= 2, "copies: {load:?}");
    let (primaries, load) = spread(&|assignment, node| assignment.primary() == Some(node));
    assert!(primaries <= 4 + PARTITIONS / 32, "primaries: {load:?}");
}

#[test]
fn partitions_spread_over_those_who_join() {
    for (nodes, copies) in [(1, 2), (2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (7, 3)] {
        let mut metadata = cluster(nodes, copies);
        settle(&mut metadata);
        assert_even(&metadata, &(1..=nodes).collect::<Vec<_>>());
        metadata.apply(Change::Join(member(nodes + 1, "")));
        settle(&mut metadata);
        assert_even(&metadata, &(1..=nodes + 1).collect::<Vec<_>>());
    }
}

#[test]
fn lost_copies_are_made_anew() {
    let mut metadata = cluster(4, 2);
    settle(&mut metadata);
    metadata.apply(Change::Down(2));
    settle(&mut metadata);
    assert_even(&metadata, &[1, 3, 4]);
    let incarnation = metadata.members[&2].incarnation;
    metadata.apply(Change::Up { node: 2, incarnation });
    settle(&mut metadata);
    assert_even(&metadata, &[1, 2, 3, 4]);
}

#[test]
fn a_drained_node_ends_empty() {
    let mut metadata = cluster(3, 2);
    settle(&mut metadata);
    metadata.apply(Change::Drain { node: 1, drain: true });
    settle(&mut metadata);
    assert_even(&metadata, &[2, 3]);
    assert_eq!(metadata.apply(Change::Leave(1)), Outcome::Changed);
}

#[test]
fn copies_stand_in_different_zones_where_they_can() {
    let mut metadata = cluster(1, 2);
    metadata.apply(Change::Join(member(1, "a")));
    for (id, zone) in [(2, "a"), (3, "b"), (4, "b")] {
        metadata.apply(Change::Join(member(id, zone)));
    }
    settle(&mut metadata);
    let zone = |node: &NodeId| metadata.members[node].zone.clone();
    let shared = metadata.partitions.iter().filter(|a| zone(&a.in_sync[0]) == zone(&a.in_sync[1])).count();
    assert_eq!(shared, 0);
}

#[test]
fn what_is_lost_begins_anew_elsewhere_only_after_patience() {
    let mut metadata = cluster(2, 1);
    settle(&mut metadata);
    metadata.apply(Change::Down(2));
    assert_eq!(plan(&metadata, &BTreeSet::new()), []);
    for change in plan(&metadata, &BTreeSet::from([2])) {
        metadata.apply(change);
    }
    assert!(metadata.partitions.iter().all(|assignment| assignment.in_sync == [1]));
}

#[test]
fn a_witness_is_given_nothing() {
    let mut metadata = cluster(2, 2);
    metadata.apply(Change::Join(Member { witness: true, ..member(3, "") }));
    settle(&mut metadata);
    assert!(metadata.partitions.iter().all(|assignment| !assignment.involves(3)));
    assert_even(&metadata, &[1, 2]);
}

#[test]
fn what_is_placed_by_hand_goes_there_and_stays() {
    for copies in 1..=3 {
        let mut metadata = cluster(3, copies);
        settle(&mut metadata);
        let partitions: Vec<u8> = (10..60).collect();
        let pin = Change::Pin { partitions: partitions.clone(), node: Some(2) };
        let forecast = forecast(&metadata, pin.clone()).expect("can be done");
        assert_eq!(metadata.apply(pin.clone()), Outcome::Changed);
        settle(&mut metadata);
        assert_eq!(forecast.partitions, metadata.partitions, "a forecast comes true");
        let is_there = |metadata: &Metadata| partitions.iter().all(|p| metadata.primary(*p) == Some(2));
        assert!(is_there(&metadata));
        // The rest is spread around it.
        assert_even(&metadata, &[1, 2, 3]);
        assert_eq!(metadata.apply(pin), Outcome::Unchanged);
        // A new node takes none of it; one that is emptied gives it away, and has it back afterwards.
        metadata.apply(Change::Join(member(4, "")));
        settle(&mut metadata);
        assert!(is_there(&metadata));
        metadata.apply(Change::Drain { node: 2, drain: true });
        settle(&mut metadata);
        assert_even(&metadata, &[1, 3, 4]);
        metadata.apply(Change::Drain { node: 2, drain: false });
        settle(&mut metadata);
        assert!(is_there(&metadata));
        metadata.apply(Change::Pin { partitions: (0..=255).collect(), node: None });
        settle(&mut metadata);
        assert_even(&metadata, &[1, 2, 3, 4]);
    }
}

#[test]
fn more_placed_on_a_node_than_its_share_leaves_the_rest_to_the_others() {
    for copies in 1..=2 {
        let mut metadata = cluster(3, copies);
        settle(&mut metadata);
        metadata.apply(Change::Pin { partitions: (0..200).collect(), node: Some(1) });
        settle(&mut metadata);
        let serves = |node| metadata.partitions.iter().filter(|a| a.primary() == Some(node)).count();
        assert_eq!(serves(1), 200);
        assert!(serves(2).abs_diff(serves(3)) <= 12, "{} {}", serves(2), serves(3));
        let has = |node| metadata.partitions.iter().filter(|a| a.involves(node)).count();
        assert!(has(2).abs_diff(has(3)) <= 2, "{} {}", has(2), has(3));
    }
}

#[test]
fn what_nobody_can_copy_keeps_nothing_else_from_being_copied() {
    let mut metadata = cluster(3, 2);
    settle(&mut metadata);
    metadata.apply(Change::Copies(3));
    // The third is to give copies, and dies before it has given any; the second comes back without its own.
    for change in plan(&metadata, &BTreeSet::new()) {
        metadata.apply(change);
    }
    let reborn = Member { incarnation: 77, ..member(2, "") };
    metadata.apply(Change::Join(reborn));
    for change in plan(&metadata, &BTreeSet::new()) {
        metadata.apply(change);
    }
    metadata.apply(Change::Down(3));
    settle(&mut metadata);
    let (unserved, served): (Vec<u8>, Vec<u8>) =
        (0..=u8::MAX).partition(|partition| metadata.is_unserved(*partition));
    assert!(unserved.len() > 50, "{}", unserved.len());
    for partition in served {
        assert_eq!(metadata.partitions[usize::from(partition)].in_sync.len(), 2, "{partition}");
    }
}
