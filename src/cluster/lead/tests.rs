use super::*;
use crate::cluster::lease::LEASE_MS;

const MS: u64 = 1_000_000;

fn member(id: NodeId) -> Member {
    Member {
        id,
        incarnation: id * 10,
        host: "h".into(),
        port: 1,
        memcached_port: 0,
        cluster_port: 2,
        zone: String::new(),
        witness: false,
        standing: Standing::Up,
    }
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
    assert_eq!(leader.grant(&map, (2, 20), MS), Err("not the leader"));
    leader.proved(1000 * MS, 1010 * MS);
    assert_eq!(leader.grant(&map, (2, 21), 1020 * MS), Err("another process"));
    assert_eq!(leader.grant(&map, (3, 30), 1020 * MS), Err("not a member"));
    assert_eq!(leader.grant(&map, (1, 10), 1020 * MS), Ok((LEASE_MS - 20) * MS));
    let late = 1800 * MS;
    leader.proved(late, late);
    assert!(leader.grant(&map, (1, 10), late).is_ok());
    assert_eq!(leader.wants(&map, late), [Change::Down(2)]);
    map.apply(Change::Down(2));
    assert_eq!(leader.grant(&map, (2, 20), late + MS), Err("down"));
    assert_eq!(leader.wants(&map, late + MS), [Change::Up { node: 2, incarnation: 20 }]);
}

#[test]
fn a_leader_that_resigned_starts_over() {
    let (map, mut leader) = (cluster(2), Leader::default());
    leader.proved(1000 * MS, 1000 * MS);
    leader.resign();
    assert!(leader.is_to_prove(1001 * MS));
    leader.proved(5000 * MS, 5000 * MS);
    // What its predecessor may have granted counts from now.
    assert!(!leader.wants(&map, 5500 * MS).contains(&Change::Down(2)));
}

#[test]
fn an_odd_number_votes_and_the_living_first() {
    let mut map = cluster(4);
    let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(choose_voters(&map, &set(&[1]), &set(&[2, 3, 4])), Some(set(&[1, 2, 3])));
    assert_eq!(choose_voters(&map, &set(&[1, 2, 3]), &set(&[4])), None);
    map.apply(Change::Down(2));
    assert_eq!(choose_voters(&map, &set(&[1, 2, 3]), &set(&[4])), Some(set(&[1, 3, 4])));
    // Who has no log yet cannot vote.
    assert_eq!(choose_voters(&map, &set(&[1, 2, 3]), &set(&[])), None);
}
