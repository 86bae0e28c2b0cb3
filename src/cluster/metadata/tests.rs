use super::*;

/// A member for tests, here and elsewhere.
pub(crate) fn member(id: NodeId) -> Member {
    Member {
        id,
        incarnation: id * 100,
        host: format!("node{id}"),
        port: 6379,
        memcached_port: 11211,
        cluster_port: 16379,
        zone: String::new(),
        witness: false,
        standing: Standing::Up,
    }
}

fn two() -> Metadata {
    let mut metadata = Metadata::default();
    let founded = Change::Found { cluster: 7, member: member(1), copies: 2 };
    assert_eq!(metadata.apply(founded), Outcome::Changed);
    assert_eq!(metadata.apply(Change::Join(member(2))), Outcome::Changed);
    metadata
}

/// Two nodes, both holding partition 0, the first as its primary.
fn copied() -> Metadata {
    let mut metadata = two();
    assert_eq!(metadata.apply(Change::AddCopy { partition: 0, epoch: 1, node: 2 }), Outcome::Changed);
    let caught_up = vec![(0, metadata.partitions[0].turn(), 2)];
    assert_eq!(metadata.apply(Change::InSync { primary: 1, caught_up }), Outcome::Changed);
    metadata
}

#[test]
fn a_founder_holds_all_and_a_second_founding_is_refused() {
    let mut metadata = two();
    assert!(metadata.partitions.iter().all(|a| a.in_sync == [1] && a.epoch == 1));
    let again = Change::Found { cluster: 8, member: member(3), copies: 1 };
    assert_eq!(metadata.apply(again), Outcome::Refused(Refusal::Founded));
    assert_eq!(metadata.version, 2);
}

#[test]
fn a_silent_primary_is_followed_by_who_is_in_sync() {
    let mut metadata = copied();
    assert_eq!(metadata.apply(Change::Down(1)), Outcome::Changed);
    assert_eq!((metadata.primary(0), metadata.partitions[0].epoch), (Some(2), 2));
    // Of the others it has the only copy: they wait for it.
    assert_eq!((metadata.primary(1), metadata.partitions[1].epoch), (Some(1), 1));
    assert_eq!(metadata.apply(Change::Up { node: 1, incarnation: 100 }), Outcome::Changed);
    assert!(metadata.serves(1));
    assert!(!metadata.partitions[0].involves(1));
}

#[test]
fn a_joining_copy_is_never_promoted() {
    let mut metadata = two();
    metadata.apply(Change::AddCopy { partition: 3, epoch: 1, node: 2 });
    metadata.apply(Change::Down(1));
    assert_eq!(metadata.primary(3), Some(1));
}

#[test]
fn a_node_that_comes_back_empty_owns_nothing_that_others_have() {
    let mut metadata = copied();
    let reborn = Member { incarnation: 101, ..member(1) };
    assert_eq!(metadata.apply(Change::Join(reborn)), Outcome::Changed);
    assert_eq!((metadata.primary(0), metadata.partitions[0].replicas()), (Some(2), &[][..]));
    // What nobody else had begins anew, which a new epoch tells.
    assert_eq!((metadata.primary(1), metadata.partitions[1].epoch), (Some(1), 2));
    let stale = Change::Up { node: 1, incarnation: 100 };
    assert_eq!(metadata.apply(stale), Outcome::Refused(Refusal::OldIncarnation));
}

/// A node was started, killed and started again. The leader that the first of these processes had told of itself was cut off; what it had
/// been told was agreed on after the second process was let in, which was one of a dead process from then on and never came back.
#[test]
fn a_process_that_has_ended_replaces_none() {
    let mut metadata = copied();
    let admit =
        |incarnation, replaces| Change::Admit { member: Member { incarnation, ..member(1) }, replaces };
    assert_eq!(metadata.apply(admit(102, 100)), Outcome::Changed);
    assert_eq!(metadata.apply(admit(101, 100)), Outcome::Refused(Refusal::OldIncarnation));
    assert_eq!(metadata.apply(admit(102, 100)), Outcome::Unchanged);
    assert_eq!(metadata.members[&1].incarnation, 102);
    assert_eq!(metadata.apply(admit(103, 102)), Outcome::Changed);
    assert_eq!(metadata.apply(Change::Admit { member: member(3), replaces: 0 }), Outcome::Changed);
}

#[test]
fn what_is_asked_in_an_old_epoch_is_refused() {
    let mut metadata = copied();
    metadata.apply(Change::HandOver { partition: 0, epoch: 1, to: Some(2) });
    let over = Change::HandedOver { partition: 0, turn: metadata.partitions[0].turn(), to: 2 };
    assert_eq!(metadata.apply(over.clone()), Outcome::Changed);
    assert_eq!(metadata.partitions[0].in_sync, [2, 1]);
    assert_eq!(metadata.apply(over), Outcome::Refused(Refusal::OldEpoch));
    let drop = Change::DropCopy { partition: 0, epoch: 1, node: 1 };
    assert_eq!(metadata.apply(drop), Outcome::Refused(Refusal::OldEpoch));
}

#[test]
fn only_a_living_primary_may_go_on_without_a_replica() {
    let mut metadata = copied();
    let cut = Change::Cut { primary: 1, incarnation: 100, replica: 2 };
    let mut down = metadata.clone();
    down.apply(Change::Down(1));
    assert_eq!(down.apply(cut.clone()), Outcome::Refused(Refusal::WrongRole));
    assert_eq!(metadata.apply(cut.clone()), Outcome::Changed);
    assert_eq!(metadata.partitions[0].in_sync, [1]);
    assert_eq!(metadata.apply(cut), Outcome::Unchanged);
}

#[test]
fn a_member_with_the_last_copy_cannot_leave() {
    let mut metadata = copied();
    assert_eq!(metadata.apply(Change::Leave(1)), Outcome::Refused(Refusal::LastCopy));
    assert_eq!(metadata.apply(Change::Leave(2)), Outcome::Changed);
    assert!(!metadata.partitions[0].involves(2));
}

/// A primary that was paused reported a copy to be whole, which it had made before it was paused. Meanwhile that copy had died, and an
/// empty one was begun at the same node, in the same epoch: it was counted as in sync, became primary, and the partition was empty.
#[test]
fn a_report_about_a_copy_that_was_given_up_is_refused() {
    let mut metadata = two();
    metadata.apply(Change::AddCopy { partition: 0, epoch: 1, node: 2 });
    let report = Change::InSync { primary: 1, caught_up: vec![(0, metadata.partitions[0].turn(), 2)] };
    metadata.apply(Change::Join(Member { incarnation: 201, ..member(2) }));
    metadata.apply(Change::AddCopy { partition: 0, epoch: 1, node: 2 });
    assert_eq!(metadata.apply(report), Outcome::Unchanged);
    assert_eq!(
        (&metadata.partitions[0].in_sync[..], &metadata.partitions[0].joining[..]),
        (&[1][..], &[2][..])
    );
}

/// A report that a partition is handed over came so late that the primary had been told to keep it, and served it again: for a
/// while there were two.
#[test]
fn what_is_not_to_be_handed_over_any_more_is_not() {
    let mut metadata = copied();
    metadata.apply(Change::HandOver { partition: 0, epoch: 1, to: Some(2) });
    let over = Change::HandedOver { partition: 0, turn: metadata.partitions[0].turn(), to: 2 };
    metadata.apply(Change::HandOver { partition: 0, epoch: 1, to: None });
    assert_eq!(metadata.apply(over.clone()), Outcome::Refused(Refusal::WrongRole));
    metadata.apply(Change::DropCopy { partition: 0, epoch: 1, node: 2 });
    metadata.apply(Change::AddCopy { partition: 0, epoch: 1, node: 2 });
    let caught_up = vec![(0, metadata.partitions[0].turn(), 2)];
    metadata.apply(Change::InSync { primary: 1, caught_up });
    metadata.apply(Change::HandOver { partition: 0, epoch: 1, to: Some(2) });
    assert_eq!(metadata.apply(over), Outcome::Refused(Refusal::WrongRole));
}

/// Random changes never break the invariants, nor promote who was not in sync.
#[test]
fn invariants_hold_whatever_is_asked() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut metadata = two();
        metadata.apply(Change::Join(member(3)));
        for _ in 0..300 {
            let (partition, node) = (rng.u8(..4), rng.u64(1..5));
            let epoch = metadata.partitions[usize::from(partition)].epoch - u64::from(rng.u8(..8) == 0);
            let turn = Turn { epoch, ..metadata.partitions[usize::from(partition)].turn() };
            let before = metadata.clone();
            let change = match rng.u8(..12) {
                0 => Change::Down(node),
                1 => Change::Up { node, incarnation: node * 100 },
                2 => Change::Join(Member { incarnation: rng.u64(..3), ..member(node) }),
                3 => Change::AddCopy { partition, epoch, node },
                4 => Change::DropCopy { partition, epoch, node },
                5 => Change::InSync { primary: rng.u64(1..5), caught_up: vec![(partition, turn, node)] },
                6 => Change::Cut { primary: rng.u64(1..5), incarnation: 100, replica: node },
                7 => Change::HandOver { partition, epoch, to: Some(node) },
                8 => Change::HandedOver { partition, turn, to: node },
                9 => Change::Leave(node),
                10 => Change::Pin { partitions: vec![partition], node: rng.bool().then_some(node) },
                _ => Change::Drain { node, drain: rng.bool() },
            };
            let outcome = metadata.apply(change.clone());
            if outcome != Outcome::Changed {
                assert_eq!(before, metadata, "seed {seed}: {change:?} was {outcome:?} and changed something");
            }
            for (now, then) in metadata.partitions.iter().zip(&before.partitions) {
                check(&metadata, now, then, &change, seed);
            }
        }
    }
}

fn check(metadata: &Metadata, now: &Assignment, then: &Assignment, change: &Change, seed: u64) {
    let all: Vec<NodeId> = now.in_sync.iter().chain(&now.joining).copied().collect();
    let distinct: BTreeSet<NodeId> = all.iter().copied().collect();
    assert_eq!(all.len(), distinct.len(), "seed {seed}: {change:?} made {now:?}");
    assert!(all.iter().all(|node| metadata.members.contains_key(node)), "seed {seed}: {change:?}: {now:?}");
    assert!(!now.in_sync.is_empty(), "seed {seed}: {change:?} left nobody");
    assert!(now.epoch >= then.epoch);
    if now.primary() != then.primary() {
        assert!(now.epoch > then.epoch, "seed {seed}: {change:?}: {then:?} became {now:?}");
        let next = now.primary().expect("there is one");
        assert!(then.in_sync.contains(&next), "seed {seed}: {change:?} promoted {next} of {then:?}");
    }
}

#[test]
fn settings_are_kept_until_they_are_set_anew() {
    let mut metadata = Metadata::default();
    let user = Setting::User(b"ann".to_vec());
    let library = Setting::Library("lib".into());
    let on = |value: &str| Some(value.as_bytes().to_vec());
    let both = vec![(user.clone(), on("on +@all")), (library.clone(), on("code"))];
    assert_eq!(metadata.apply(Change::Set(both.clone())), Outcome::Set(1));
    // Said twice it is said once.
    assert_eq!(metadata.apply(Change::Set(both)), Outcome::Set(1));
    assert_eq!(metadata.settings[&user], on("on +@all"));
    // A user that is gone is remembered as such, as a node's own file may name it; a library is not.
    assert_eq!(
        metadata.apply(Change::Set(vec![(user.clone(), None), (library.clone(), None)])),
        Outcome::Set(2)
    );
    assert_eq!(metadata.settings.get(&user), Some(&None));
    assert_eq!(metadata.settings.get(&library), None);
}

#[test]
fn only_members_that_hold_data_are_given_something_by_hand() {
    let mut metadata = two();
    metadata.apply(Change::Join(Member { witness: true, ..member(3) }));
    let pin = |node| Change::Pin { partitions: vec![1, 2], node };
    assert_eq!(metadata.apply(pin(Some(9))), Outcome::Refused(Refusal::Unknown));
    assert_eq!(metadata.apply(pin(Some(3))), Outcome::Refused(Refusal::WrongRole));
    assert_eq!(metadata.apply(pin(Some(2))), Outcome::Changed);
    assert_eq!(metadata.apply(pin(Some(2))), Outcome::Unchanged);
    assert_eq!(metadata.apply(Change::Leave(2)), Outcome::Changed);
    assert!(metadata.pins.is_empty());
    assert_eq!(metadata.apply(pin(None)), Outcome::Unchanged);
}

#[test]
fn who_is_being_emptied_stays_so_though_it_is_silent_for_a_moment() {
    let mut metadata = copied();
    metadata.apply(Change::Drain { node: 2, drain: true });
    metadata.apply(Change::Down(2));
    metadata.apply(Change::Up { node: 2, incarnation: 200 });
    assert_eq!(metadata.members[&2].standing, Standing::Draining);
    metadata.apply(Change::Down(2));
    assert_eq!(metadata.apply(Change::Drain { node: 2, drain: false }), Outcome::Changed);
    metadata.apply(Change::Up { node: 2, incarnation: 200 });
    assert_eq!(metadata.members[&2].standing, Standing::Up);
    // Started anew it is there to serve.
    metadata.apply(Change::Drain { node: 2, drain: true });
    metadata.apply(Change::Join(Member { incarnation: 201, ..member(2) }));
    assert_eq!(metadata.members[&2].standing, Standing::Up);
    assert!(metadata.draining.is_empty());
}
