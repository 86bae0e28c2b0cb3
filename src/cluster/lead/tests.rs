use super::*;
use crate::cluster::lease::{LEASE_MS, MARGIN_MS};
use crate::cluster::metadata::{self, Outcome};

const MS: u64 = 1_000_000;
/// When a lease granted at 0 is over, in ms.
const OVER: u64 = LEASE_MS + MARGIN_MS;

fn member(id: NodeId) -> Member {
    Member { incarnation: id * 10, ..metadata::tests::member(id) }
}

/// `node`, which knows `map`.
fn asker(map: &Metadata, node: NodeId) -> Asker {
    Asker { node, incarnation: node * 10, version: map.version }
}

/// Lets the leader look again and again, for so many ms; returns the end of it in ns.
fn wait(map: &Metadata, leader: &mut Leader, from_ms: u64, to_ms: u64) -> u64 {
    (from_ms..to_ms).step_by(50).for_each(|ms| drop(leader.wants(map, ms * MS)));
    to_ms * MS
}

fn cluster(size: u64) -> Metadata {
    let mut map = Metadata::default();
    map.apply(Change::Found { cluster: 1, member: member(1), copies: 2 });
    for id in 2..=size {
        map.apply(Change::Join(member(id)));
    }
    map
}

#[test]
fn who_is_silent_is_taken_out_and_who_is_heard_again_taken_back() {
    let (mut map, mut leader) = (cluster(2), Leader::default());
    assert_eq!(leader.grant(&map, asker(&map, 2), MS), Err("not the leader"));
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1010 * MS);
    let other = Asker { incarnation: 21, ..asker(&map, 2) };
    assert_eq!(leader.grant(&map, other, 1020 * MS), Err("another process"));
    assert_eq!(leader.grant(&map, asker(&map, 3), 1020 * MS), Err("not a member"));
    assert_eq!(leader.grant(&map, asker(&map, 1), 1020 * MS), Ok((LEASE_MS - 20) * MS));
    let late = wait(&map, &mut leader, 1020, 1000 + OVER);
    leader.proved(1, late, &map, late);
    assert!(leader.grant(&map, asker(&map, 1), late).is_ok());
    let late = late + 50 * MS;
    assert_eq!(leader.wants(&map, late), [Change::Down(2)]);
    map.apply(Change::Down(2));
    assert!(!leader.wants(&map, late).contains(&Change::Up { node: 2, incarnation: 20 }));
    assert_eq!(leader.grant(&map, asker(&map, 2), late + MS), Err("down"));
    assert_eq!(leader.wants(&map, late + MS), [Change::Up { node: 2, incarnation: 20 }]);
}

/// A node that had been silent was heard of again while the change that took it out was under way, and was granted a lease. It served
/// what another served in its place.
#[test]
fn who_is_to_be_taken_out_is_granted_nothing() {
    let (map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    let late = wait(&map, &mut leader, 1000, 1100 + OVER);
    leader.proved(1, late, &map, late);
    assert!(leader.wants(&map, late).contains(&Change::Down(2)));
    assert_eq!(leader.grant(&map, asker(&map, 2), late + MS), Err("about to be taken out"));
    // Nobody knows what became of the change: it is asked for again.
    assert!(leader.wants(&map, late + 50 * MS).contains(&Change::Down(2)));
}

/// A node that was stopped had said so and ended; as it had been heard of a moment before it said so, it was taken back, given copies, and
/// found to be silent.
#[test]
fn who_goes_is_not_taken_back_for_what_it_said_before() {
    let (mut map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    assert!(leader.grant(&map, asker(&map, 2), 1001 * MS).is_ok());
    map.apply(Change::Down(2));
    assert!(leader.wants(&map, 1002 * MS).is_empty());
}

/// A node that had died was given copies until it counted as silent, and was cut off again and again.
#[test]
fn who_may_be_gone_is_given_no_copies() {
    let (map, mut leader) = (cluster(3), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    for node in 1..=2 {
        assert!(leader.grant(&map, asker(&map, node), 1001 * MS).is_ok());
    }
    assert_eq!(leader.wants(&map, 1002 * MS), []);
    assert!(leader.grant(&map, asker(&map, 3), 1003 * MS).is_ok());
    assert!(leader.wants(&map, 1004 * MS).iter().any(|change| matches!(change, Change::AddCopy { .. })));
    let late = 1004 * MS + RECENT_NS;
    assert_eq!(leader.wants(&map, late), []);
}

/// A node that was started again and again without its disk left a member behind each time, which somebody had to forget.
#[test]
fn who_is_gone_and_was_replaced_in_its_place_is_forgotten() {
    let (mut map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    let mut look = |map: &Metadata, from_ms: u64, to_ms: u64| {
        let mut changes = Vec::new();
        for ms in (from_ms..to_ms).step_by(50) {
            leader.proved(1, ms * MS, map, ms * MS);
            for (node, member) in map.members.iter().filter(|(_, member)| member.standing != Standing::Down) {
                let asker = Asker { node: *node, incarnation: member.incarnation, version: map.version };
                assert!(leader.grant(map, asker, ms * MS).is_ok());
            }
            changes = leader.wants(map, ms * MS);
        }
        changes
    };
    map.apply(Change::Down(2));
    let lost_ms = LOST_NS / MS;
    // Nobody is there in its place.
    assert!(!look(&map, 1000, 2000 + lost_ms).contains(&Change::Leave(2)));
    let reborn = Member { host: map.members[&2].host.clone(), ..member(3) };
    map.apply(Change::Join(reborn));
    let changes = look(&map, 2000 + lost_ms, 3000 + lost_ms);
    assert_eq!(changes, [Change::Leave(2)]);
    assert_eq!(map.apply(Change::Leave(2)), Outcome::Changed);
    assert!(!look(&map, 3000 + lost_ms, 3100 + lost_ms).contains(&Change::Leave(2)));
}

/// A leader that had been paused for longer than a lease lasts, and not been replaced, had heard nobody and took all members out.
#[test]
fn a_leader_that_was_paused_blames_nobody() {
    let (map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    leader.wants(&map, 1000 * MS);
    leader.proved(1, 9000 * MS, &map, 9000 * MS);
    assert!(!leader.wants(&map, 9000 * MS).iter().any(|change| matches!(change, Change::Down(_))));
    let late = wait(&map, &mut leader, 9000, 9000 + LEASE_MS);
    assert!(!leader.wants(&map, late).iter().any(|change| matches!(change, Change::Down(_))));
    let late = wait(&map, &mut leader, 9000 + LEASE_MS, 9100 + OVER);
    assert!(leader.wants(&map, late).contains(&Change::Down(2)));
}

/// A node that had been paused was taken out and, when it was heard of, taken back. It was granted a lease before it had heard of
/// either, and served once more what it had served before.
#[test]
fn who_was_out_is_granted_nothing_until_it_has_heard_of_it() {
    let (mut map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    let before = asker(&map, 2);
    map.apply(Change::Down(2));
    assert_eq!(leader.grant(&map, before, 1001 * MS), Err("down"));
    map.apply(Change::Up { node: 2, incarnation: 20 });
    assert_eq!(leader.grant(&map, before, 1002 * MS), Err("it has not heard of what has changed"));
    assert!(leader.grant(&map, asker(&map, 2), 1003 * MS).is_ok());
    // Another leader knows that it cannot know.
    let mut next = Leader::default();
    next.lead(2);
    next.proved(2, 1010 * MS, &map, 1010 * MS);
    assert_eq!(next.grant(&map, before, 1011 * MS), Err("it has not heard of what has changed"));
    assert!(next.grant(&map, asker(&map, 2), 1011 * MS).is_ok());
}

/// A leader that lost an election and won another between two looks went on with what it had known, though another had granted
/// leases meanwhile.
#[test]
fn another_term_is_another_start() {
    let (map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    leader.lead(3);
    leader.proved(1, 5000 * MS, &map, 5000 * MS);
    assert!(leader.is_to_prove(5000 * MS));
    leader.proved(3, 5000 * MS, &map, 5000 * MS);
    assert!(!leader.wants(&map, 5500 * MS).contains(&Change::Down(2)));
}

#[test]
fn a_leader_that_resigned_starts_over() {
    let (map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    leader.resign();
    assert!(leader.is_to_prove(1001 * MS));
    leader.lead(1);
    leader.proved(1, 5000 * MS, &map, 5000 * MS);
    // What its predecessor may have granted counts from now.
    assert!(!leader.wants(&map, 5500 * MS).contains(&Change::Down(2)));
}

#[test]
fn an_odd_number_votes_and_the_living_first() {
    let all = |_| true;
    let mut map = cluster(4);
    let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(choose_voters(&map, &set(&[1]), &set(&[2, 3, 4]), all), Some(set(&[1, 2, 3])));
    assert_eq!(choose_voters(&map, &set(&[1, 2, 3]), &set(&[4]), all), None);
    map.apply(Change::Down(2));
    assert_eq!(choose_voters(&map, &set(&[1, 2, 3]), &set(&[4]), all), Some(set(&[1, 3, 4])));
    // Nor does who has not been heard of lately, though nobody has missed him yet.
    assert_eq!(choose_voters(&map, &set(&[1, 2, 3]), &set(&[4]), |node| node != 4), None);
    // Who has no log yet cannot vote.
    assert_eq!(choose_voters(&map, &set(&[1, 2, 3]), &set(&[]), all), None);
}

/// Who had just joined was taken out at once, as it had not asked for anything since the leader was elected, and taken back.
#[test]
fn who_joins_or_comes_back_in_a_new_process_has_time_to_ask() {
    let (mut map, mut leader) = (cluster(2), Leader::default());
    leader.lead(1);
    leader.proved(1, 1000 * MS, &map, 1000 * MS);
    let late = wait(&map, &mut leader, 1000, 1600);
    leader.proved(1, late, &map, late);
    assert!(leader.grant(&map, asker(&map, 1), late).is_ok());
    let late = wait(&map, &mut leader, 1600, 1800);
    map.apply(Change::Down(2));
    leader.wants(&map, late);
    map.apply(Change::Join(member(3)));
    map.apply(Change::Join(Member { incarnation: 21, ..member(2) }));
    let changes = leader.wants(&map, late + MS);
    assert!(![2, 3].iter().any(|node| changes.contains(&Change::Down(*node))), "{changes:?}");
    // Not for ever.
    let late = wait(&map, &mut leader, 1801, 2600);
    let changes = leader.wants(&map, late);
    assert!([2, 3].iter().all(|node| changes.contains(&Change::Down(*node))), "{changes:?}");
}
