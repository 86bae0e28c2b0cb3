use super::*;
use crate::cluster::metadata::{self, Member};
use crate::config::Config;
use crate::state::State;
use crate::state::acl::catalogue::Catalogue;
use crate::state::replication::Role;
use crate::store::entry::{Entry, Extras, Payload};

const MS: u64 = 1_000_000;

fn member(id: NodeId) -> Member {
    Member { incarnation: id * 10, ..metadata::tests::member(id) }
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
        Fixture { state, copies: Copies::new(1, 10, Pace::default()), map, now_ns: MS }
    }

    fn apply(&mut self, change: Change) -> Vec<Action> {
        self.map.apply(change);
        self.copies.adopt(&self.state, Arc::new(self.map.clone()), self.now_ns)
    }

    /// Has node 2 given a copy of a partition; returns the partition's epoch.
    fn begin_copy(&mut self, partition: u8) -> u64 {
        let epoch = self.map.partitions[usize::from(partition)].epoch;
        self.apply(Change::AddCopy { partition, epoch, node: 2 });
        epoch
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
    let epoch = one.begin_copy(3);
    assert_eq!(one.role(3), Some(Role::Primary));
    let (feeds, changes) = one.look();
    assert_eq!((feeds.len(), changes.len()), (1, 0));
    feeds[0].ack(feeds[0].end());
    let (_, changes) = one.look();
    let turn = one.map.partitions[3].turn();
    let in_sync = Change::InSync { primary: 1, caught_up: vec![(3, turn, 2)] };
    assert_eq!(changes, std::slice::from_ref(&in_sync));
    // Nothing is asked for while that is under way.
    assert!(one.look().1.is_empty());
    one.apply(in_sync.clone());
    let outcome = Some(Outcome::Changed);
    assert!(one.copies.proposed(Reason::Care, &in_sync, outcome).is_empty());
    one.apply(Change::HandOver { partition: 3, epoch, to: Some(2) });
    let (_, changes) = one.look();
    assert_eq!(changes, [Change::Several(vec![Change::HandedOver { partition: 3, turn, to: 2 }])]);
    assert_eq!(one.role(3), Some(Role::Falling));
    one.apply(changes[0].clone());
    assert_eq!(one.role(3), Some(Role::Replica));
}

/// All copies were filled at once: changes that clients waited for came behind megabytes of them.
#[test]
fn copies_are_filled_one_after_the_other() {
    let mut one = Fixture::new();
    for number in [3, 4] {
        let value = Payload::Shared(Arc::new(vec![b'x'; Pace::default().window]));
        let extras = Extras { expires_at: None, client_flags: 0, cas: 0 };
        one.state.keyspace.enter(number).dbs[0].insert(Entry::new(b"k", value, extras), 0);
        one.begin_copy(number);
    }
    let ends = |one: &Fixture| {
        [3, 4].map(|number| {
            let mut partition = one.state.keyspace.enter(number);
            partition.replication.as_mut().and_then(|own| own.sink(2)).map(|sink| !sink.is_filling())
        })
    };
    let (feeds, _) = one.look();
    assert_eq!(ends(&one), [Some(false), None]);
    one.look();
    assert_eq!(ends(&one), [Some(false), None]);
    feeds[0].ack(feeds[0].end());
    one.look();
    assert_eq!(ends(&one), [Some(true), Some(false)]);
}

#[test]
fn who_takes_nothing_any_more_is_cut_off() {
    let mut one = Fixture::new();
    one.begin_copy(3);
    let (feeds, _) = one.look();
    one.now_ns += STUCK_NS + MS;
    let (_, changes) = one.look();
    let cut = Change::Cut { primary: 1, incarnation: 10, replica: 2 };
    assert_eq!(changes, std::slice::from_ref(&cut));
    assert!(feeds[0].is_broken() && !feeds[0].is_over());
    drop(one.copies.proposed(Reason::Care, &cut, Some(Outcome::Changed)));
    assert!(one.look().1.is_empty());
    one.apply(cut);
    assert!(feeds[0].is_over());
}

#[test]
fn who_stops_hands_over_what_others_have() {
    let mut one = Fixture::new();
    assert_eq!(one.copies.hand_over_all(&one.map), None);
    let epoch = one.begin_copy(3);
    let turn = one.map.partitions[3].turn();
    one.apply(Change::InSync { primary: 1, caught_up: vec![(3, turn, 2)] });
    let hand_over = Change::HandOver { partition: 3, epoch, to: Some(2) };
    let drain = Change::Drain { node: 1, drain: true };
    assert_eq!(one.copies.hand_over_all(&one.map), Some(Change::Several(vec![drain, hand_over])));
}

/// A node was taken out and back while it was paused: of two partitions it had lost one and kept the other, whose copies were
/// cut off from it with the first one's. Every write to the one it kept was answered with an error from then on.
#[test]
fn who_loses_a_partition_goes_on_with_the_others() {
    let mut one = Fixture::new();
    for partition in [3, 4] {
        one.begin_copy(partition);
        let (feeds, _) = one.look();
        feeds.iter().for_each(|feed| feed.ack(2));
        let turn = one.map.partitions[usize::from(partition)].turn();
        let in_sync = Change::InSync { primary: 1, caught_up: vec![(partition, turn, 2)] };
        one.copies.proposed(Reason::Care, &in_sync, None);
        one.apply(in_sync);
    }
    let turn = one.map.partitions[3].turn();
    one.map.apply(Change::HandOver { partition: 3, epoch: turn.epoch, to: Some(2) });
    one.apply(Change::HandedOver { partition: 3, turn, to: 2 });
    assert_eq!((one.role(3), one.role(4)), (Some(Role::Replica), Some(Role::Rising)));
    let epoch = one.map.partitions[4].epoch;
    let asked = one.copies.look(&one.state, one.now_ns);
    let [Action::AskPositions { node: 2, partitions }] = &asked[..] else { panic!("it is asked") };
    assert_eq!(partitions[..], [(4, epoch)]);
    let actions = one.copies.told_positions(&one.state, (2, partitions), Some(&[Some((0, 0))]), one.now_ns);
    assert!(matches!(&actions[..], [Action::Send(feed)] if !feed.is_over()));
    assert_eq!(one.role(4), Some(Role::Primary));
}

/// Two primaries, one after the other, had each made an entry of the same number, and each had died with it at one replica. The next
/// one asked for numbers only, took the replicas for alike, and they never were again.
#[test]
fn entries_of_one_number_may_differ() {
    let mut one = Fixture::new();
    let epoch = one.map.partitions[3].epoch;
    one.map.apply(Change::AddCopy { partition: 3, epoch, node: 2 });
    let turn = one.map.partitions[3].turn();
    one.apply(Change::InSync { primary: 1, caught_up: vec![(3, turn, 2)] });
    if let Some(own) = &mut one.state.keyspace.enter(3).replication {
        (own.sequence, own.made_in) = (12, 3);
    }
    assert_eq!(one.role(3), Some(Role::Rising));
    let told = [Some((4, 12))];
    let actions = one.copies.told_positions(&one.state, (2, &[(3, epoch)]), Some(&told), one.now_ns);
    let [Action::Send(feed)] = &actions[..] else { panic!("a feed begins") };
    assert_eq!(feed.end(), 3, "all there is, is sent");
}

/// A paused primary's replicas had been given to others and its own place to one of them. It asked for a replica to be cut off, which was
/// granted as it concerned nothing any more, and took that for leave to acknowledge what the replica never got.
#[test]
fn a_replica_is_done_without_only_once_the_map_says_so() {
    let mut one = Fixture::new();
    one.begin_copy(3);
    let (feeds, _) = one.look();
    feeds[0].break_off();
    let (_, cuts) = one.look();
    drop(one.copies.proposed(Reason::Care, &cuts[0], Some(Outcome::Unchanged)));
    assert!(!feeds[0].is_over(), "it is not known yet why nothing changed");
}

/// A primary had reported that a copy caught up, and had to feed it anew before it heard that this counted. What it acknowledged
/// meanwhile was not there, and would have been lost with it.
#[test]
fn answers_wait_for_who_was_reported_though_he_is_fed_anew() {
    let mut one = Fixture::new();
    one.begin_copy(3);
    let (feeds, _) = one.look();
    feeds[0].ack(feeds[0].end());
    let (_, changes) = one.look();
    assert!(matches!(changes[..], [Change::InSync { .. }]));
    if let Some(own) = &mut one.state.keyspace.enter(3).replication {
        own.detach(2);
    }
    drop(one.look());
    let mut waits = crate::state::replication::Waits::default();
    if let Some(own) = &one.state.keyspace.enter(3).replication {
        own.add_waits(&mut waits, false);
    }
    assert!(!waits.is_empty());
}
