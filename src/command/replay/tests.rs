use super::*;
use crate::cluster::metadata::tests::member;
use crate::cluster::metadata::{Change, Metadata};
use crate::command::call::{Flow, Site, call};
use crate::command::follow::{Follower, Verdict};
use crate::command::forward::Cover;
use crate::config::Config;
use crate::state::partition::partition_of;
use crate::state::replication::{Feed, Head, Record, Replication, Role};
use crate::state::stats::Stats;
use crate::store::entry::Mark;
use crate::store::hash::hash;
use std::task::{Context, Poll, Waker};

/// A node whose every partition is copied to a feed, or is a copy.
fn node(role: Role, feed: Option<&Arc<Feed>>) -> State {
    let state = State::new(Config::default(), 1, crate::command::acl::catalogue());
    state.keyspace.each(|_, partition| {
        let mut own = Box::new(Replication::new(role, 1));
        if let Some(feed) = feed {
            own.attach(Arc::clone(feed), 0);
        }
        partition.replication = Some(own);
    });
    state.cluster.turn_on(1);
    let mut map = Metadata::default();
    map.apply(Change::Found { cluster: 1, member: member(1), copies: 2 });
    state.cluster.publish(Arc::new(map));
    state.cluster.extend_lease(u64::MAX);
    state
}

fn run(state: &State, client: &mut Client, line: &str) -> Vec<u8> {
    let mut args = OwnedArgs::new();
    line.split(' ').for_each(|word| args.push(word.as_bytes()));
    let (mut out, mut clock) = (Output::new(Proto::Resp2), Clock::new());
    let stats = state.stats.worker(0);
    let mut site = Site { state, stats, client, out: &mut out, clock: &mut clock, pause: Some(&|| {}) };
    assert_eq!(call(&mut site, args.as_args(), None), Flow::Next);
    out.take_bytes()
}

/// What stands for the clients of another node.
fn peer(state: &State) -> Client {
    let mut client = Client::new(state.clients.detached(), Arc::clone(state.acl.peer()));
    client.is_peer = true;
    client
}

/// A node had lost a partition and got it back before a frame reached it that was sent in its first time there. It ran what that asked
/// for, though the client had been told that nobody knew, and others had written since.
#[test]
fn what_was_sent_in_an_earlier_time_is_not_run() {
    let state = node(Role::Primary, None);
    let mut client = peer(&state);
    let lines = [
        "SET a 1",
        "MSET a 1",
        "EVAL return{redis.call('incr','a')} 0",
        "EVAL return{redis.call('incr','a')} 1 a",
    ];
    for (since, known) in [(7, 6), (7, 7), (7, 8)] {
        state.keyspace.each(|_, partition| {
            if let Some(own) = &mut partition.replication {
                own.since = since;
            }
        });
        client.known = known;
        for line in lines {
            let reply = run(&state, &mut client, line);
            let is_run = !std::mem::take(&mut client.refused) && !reply.starts_with(b"-");
            assert_eq!(is_run, known >= since, "{line}: {}", reply.escape_ascii());
        }
        let mut cover = Cover::default();
        cover.add(partition_of(b"a"));
        client.cover = Some(cover);
        drop(run(&state, &mut client, "FLUSHALL"));
        assert_eq!(std::mem::take(&mut client.refused), known < since);
        client.cover = None;
    }
}

/// Everything in all partitions, in some order of the keys.
fn contents(state: &State) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    state.keyspace.each(|_, partition| {
        for (number, db) in partition.dbs.iter().enumerate() {
            for entry in db.iter() {
                let dump = rdb::dump(entry.value());
                let sorted = if entry.type_name() == "set" { sorted(&dump) } else { dump };
                let expires = format!("{:?}", entry.expires_at());
                all.push([&[number as u8], entry.key(), b" ", &sorted, expires.as_bytes()].concat());
            }
        }
    });
    all.sort();
    all
}

/// The bytes of a set's dump in order: its members lie in another order elsewhere.
fn sorted(dump: &[u8]) -> Vec<u8> {
    let mut bytes = dump[..dump.len() - 10].to_vec();
    bytes.sort_unstable();
    bytes
}

fn apply(state: &State, feed: &Feed) {
    let own = Stats::new(0, table::len());
    let mut replayer = Replayer::new(state);
    let Poll::Ready(bytes) = feed.poll_unsent(&mut Context::from_waker(Waker::noop())) else { return };
    let mut rest = &bytes[..];
    while let Some((Record::Entry(head), effects)) = Record::read(&mut rest) {
        let guard = state.keyspace.enter(head.partition);
        assert_eq!(replayer.apply(state, own.worker(0), head.partition, guard, effects), Ok(()));
    }
    assert!(rest.is_empty());
}

#[test]
fn a_replica_ends_up_as_its_primary_is() {
    let feed = Feed::new(2, 1);
    let (primary, replica) = (node(Role::Primary, Some(&feed)), node(Role::Replica, None));
    let mut client = peer(&primary);
    let lines = [
        "SET a 1 EX 100",
        "INCR a",
        "APPEND a xyz",
        "SETRANGE a 3 Q",
        "MSET b 1 c 2 d 3",
        "DEL c nosuch",
        "RENAME b renamed",
        "RPUSH l 1 2 3 4",
        "LPOP l",
        "LMOVE l other RIGHT LEFT",
        "SADD s 1 2 3 4 5 6 7 8 9",
        "SPOP s",
        "SPOP s 3",
        "SADD t x y z",
        "SUNIONSTORE u s t",
        "SMOVE t s x",
        "HSET h f 1 g 2",
        "HINCRBYFLOAT h f 0.5",
        "HEXPIRE h 100 FIELDS 1 g",
        "ZADD z 1 a 2 b 3 c",
        "ZINCRBY z 5 a",
        "ZPOPMIN z",
        "ZRANGESTORE zz z 0 -1",
        "XADD x * f 1",
        "XADD x MAXLEN 1 * f 2",
        "PFADD hll a b c",
        "SETBIT bits 7 1",
        "BITOP NOT notbits bits",
        "GETEX a PERSIST",
        "PEXPIRE d 100000",
        "COPY a copy",
        "SELECT 3",
        "SET in3 1",
        "MOVE in3 4",
        "SWAPDB 3 5",
        "SET in3 again",
        "FLUSHDB",
        "SET last 1",
        "SELECT 0",
        "MULTI",
        "INCR m",
        "RPUSH l2 a",
        "EXEC",
        "EVAL return\u{a0}redis.call('set',KEYS[1],'v')..redis.call('sadd',KEYS[2],'m').. 2 k1 k2",
    ];
    for line in lines {
        let line = line.replace("..redis.call('sadd',KEYS[2],'m')..", "");
        let words: Vec<u8> = run(&primary, &mut client, &line.replace('\u{a0}', "\t"));
        assert!(!words.starts_with(b"-"), "{line}: {}", words.escape_ascii());
        apply(&replica, &feed);
        assert_eq!(contents(&primary), contents(&replica), "after {line}");
    }
}

#[test]
fn contents_make_an_equal_partition() {
    let source = node(Role::Primary, None);
    let mut client = peer(&source);
    for line in
        ["SET a 1 PX 100000", "RPUSH l 1 2", "HSET h f v", "SADD s 1 2 x", "ZADD z 1 m", "XADD x 1-1 f v"]
    {
        run(&source, &mut client, line);
    }
    // What memcached's clients left on a value goes with it.
    source.keyspace.each(|_, partition| {
        if let Some(place) = partition.dbs[0].locate(hash(b"a"), b"a") {
            partition.dbs[0].at_mut(place).expect("just found").mark(Mark::Won, true);
        }
    });
    let copy = node(Role::Replica, None);
    let (own, mut replayer) = (Stats::new(0, table::len()), Replayer::new(&copy));
    source.keyspace.each(|number, partition| {
        for part in partition.contents(16) {
            let guard = copy.keyspace.enter(number);
            assert_eq!(replayer.apply(&copy, own.worker(0), number, guard, &part), Ok(()));
        }
    });
    assert_eq!(contents(&source), contents(&copy));
}

#[test]
fn bytes_that_are_no_effects_are_said_to_be_none() {
    let state = node(Role::Replica, None);
    let (own, mut replayer) = (Stats::new(0, table::len()), Replayer::new(&state));
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let mut bytes: Vec<u8> = (0..rng.usize(1..40)).map(|_| rng.u8(..)).collect();
        bytes[0] = rng.u8(..12);
        // Whatever it says, it neither panics nor asks for memory that is not there.
        let _ = replayer.apply(&state, own.worker(0), 0, state.keyspace.enter(0), &bytes);
    }
}

#[test]
fn what_is_prepared_and_decided_is_part_of_a_copy() {
    use crate::state::{across, effect};
    let id = TransactionId { node: 3, number: 4 };
    let mut effects = Vec::new();
    effect::write_command(&mut effects, 0, 1, [&b"SET"[..], b"a", b"1"].into_iter());
    let change = across::Change { effects, ..across::Change::default() };
    let (source, copy) = (node(Role::Primary, None), node(Role::Replica, None));
    let number = crate::state::partition::partition_of(b"a");
    source.keyspace.enter(number).with_ledger(|ledger| {
        ledger.keep(id, 7, change, 0);
        ledger.note_decision(TransactionId { node: 3, number: 5 }, vec![1, 2], 0);
    });
    let (own, mut replayer) = (Stats::new(0, table::len()), Replayer::new(&copy));
    let parts = source.keyspace.enter(number).contents(1 << 20);
    let mut finish = Vec::new();
    effect::write_finish(&mut finish, id, true);
    effect::write_forget(&mut finish, TransactionId { node: 3, number: 5 });
    for (effects, is_held) in [(&parts[0], true), (&finish, false)] {
        let guard = copy.keyspace.enter(number);
        assert_eq!(replayer.apply(&copy, own.worker(0), number, guard, effects), Ok(()));
        assert_eq!(copy.keyspace.enter(number).is_held(), is_held);
    }
    assert!(copy.keyspace.enter(number).ledger().is_none());
    assert_eq!(contents(&copy).len(), 1, "what was prepared is applied");
}

/// A replica that had been paused was sent a copy before it knew that its old one had been given up. It took the copy, said so, and
/// threw it away with the old one when it heard of that; as it had been counted, it served an empty partition later.
#[test]
fn a_copy_is_taken_only_under_the_map_by_which_it_was_sent() {
    let replica = node(Role::Replica, None);
    let version = replica.cluster.version() + 1;
    let head = Head { partition: 7, epoch: 1, sequence: 1, feed: 1, version };
    let mut follower = Follower::new(&replica, 1);
    for record in [Record::Part(head), Record::Last(head)] {
        assert_eq!(follower.apply(&replica, record, b""), Verdict::Early);
    }
    let mut map = Metadata::clone(&replica.cluster.map());
    map.version = version;
    replica.cluster.publish(Arc::new(map));
    assert_eq!(follower.apply(&replica, Record::Last(head), b""), Verdict::Applied);
    assert!(replica.keyspace.enter(7).replication.as_ref().is_some_and(|own| own.is_whole));
}
