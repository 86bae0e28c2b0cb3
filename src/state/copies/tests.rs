use super::*;
use crate::cluster::metadata::{Member, Standing};
use crate::config::Config;
use crate::state::acl::catalogue::Catalogue;
use crate::state::replication::Role;

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

/// Node 1, which founded the cluster of nodes 1 and 2.
struct Fixture {
    state: State,
    copies: Copies,
    map: Metadata,
    now_ns: u64,
}

impl Fixture {
    fn new() -> Fixture {
        let mut map = Metadata::default();
        map.apply(Change::Found { cluster: 1, member: member(1), copies: 2 });
        map.apply(Change::Join(member(2)));
        let state = State::new(Config::default(), 1, Catalogue::default());
        Fixture { state, copies: Copies::new(1, 10), map, now_ns: MS }
    }

    fn apply(&mut self, change: Change) -> Vec<Action> {
        self.map.apply(change);
        self.copies.adopt(&self.state, Arc::new(self.map.clone()), self.now_ns)
    }

    fn look(&mut self) -> (Vec<Arc<Feed>>, Vec<Change>) {
        let (mut feeds, mut changes) = (Vec::new(), Vec::new());
        for action in self.copies.look(&self.state, self.now_ns) {
            match action {
                Action::Send(feed) => feeds.push(feed),
                Action::Propose(_, change) => changes.push(change),
                Action::AskPositions { .. } => panic!("nothing rises"),
            }
        }
        (feeds, changes)
    }

    fn role(&self, number: u8) -> Option<Role> {
        self.state.keyspace.enter(number).replication.as_ref().map(|own| own.role)
    }
}

#[test]
fn a_copy_is_counted_once_it_has_arrived_and_handed_over_to() {
    let mut one = Fixture::new();
    let epoch = one.map.partitions[3].epoch;
    one.apply(Change::AddCopy { partition: 3, epoch, node: 2 });
    assert_eq!(one.role(3), Some(Role::Primary));
    let (feeds, changes) = one.look();
    assert_eq!((feeds.len(), changes.len()), (1, 0));
    feeds[0].ack(feeds[0].end());
    let (_, changes) = one.look();
    let in_sync = Change::InSync { primary: 1, caught_up: vec![(3, epoch, 2)] };
    assert_eq!(changes, std::slice::from_ref(&in_sync));
    // Nothing is asked for while that is under way.
    assert!(one.look().1.is_empty());
    one.apply(in_sync.clone());
    let outcome = Some(Outcome::Changed);
    assert!(one.copies.proposed(&one.state, Reason::Care, &in_sync, outcome).is_empty());
    one.apply(Change::HandOver { partition: 3, epoch, to: Some(2) });
    let (_, changes) = one.look();
    assert_eq!(changes, [Change::Several(vec![Change::HandedOver { partition: 3, epoch, to: 2 }])]);
    assert_eq!(one.role(3), Some(Role::Falling));
    one.apply(changes[0].clone());
    assert_eq!(one.role(3), Some(Role::Replica));
}

#[test]
fn who_takes_nothing_any_more_is_cut_off() {
    let mut one = Fixture::new();
    let epoch = one.map.partitions[3].epoch;
    one.apply(Change::AddCopy { partition: 3, epoch, node: 2 });
    let (feeds, _) = one.look();
    one.now_ns += STUCK_NS + MS;
    let (_, changes) = one.look();
    let cut = Change::Cut { primary: 1, incarnation: 10, replica: 2 };
    assert_eq!(changes, std::slice::from_ref(&cut));
    assert!(feeds[0].is_broken() && !feeds[0].is_over());
    one.map.apply(cut.clone());
    drop(one.copies.proposed(&one.state, Reason::Care, &cut, Some(Outcome::Changed)));
    assert!(feeds[0].is_over());
}

#[test]
fn who_stops_hands_over_what_others_have() {
    let mut one = Fixture::new();
    assert_eq!(one.copies.hand_over_all(&one.map), None);
    let epoch = one.map.partitions[3].epoch;
    one.apply(Change::AddCopy { partition: 3, epoch, node: 2 });
    one.apply(Change::InSync { primary: 1, caught_up: vec![(3, epoch, 2)] });
    let hand_over = Change::HandOver { partition: 3, epoch, to: Some(2) };
    assert_eq!(one.copies.hand_over_all(&one.map), Some(Change::Several(vec![hand_over])));
}
