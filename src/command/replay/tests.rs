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
    let (feed, mut follower) = (Feed::new(2, 1), Follower::new(&copy, 1));
    source.keyspace.each(|number, partition| {
        partition.begin_fill(number, Arc::clone(&feed), 0, 0);
        while partition.fill_on(number, 2, 16).is_some() {}
    });
    follow(&copy, &mut follower, &feed);
    assert_eq!(contents(&source), contents(&copy));
}

/// Has a copy take all that its feed holds.
fn follow(copy: &State, follower: &mut Follower, feed: &Feed) {
    let Poll::Ready(bytes) = feed.poll_unsent(&mut Context::from_waker(Waker::noop())) else { return };
    let mut rest = &bytes[..];
    while let Some((record, effects)) = Record::read(&mut rest) {
        assert_eq!(follower.apply(copy, record, effects), Verdict::Applied, "{record:?}");
    }
}

/// Whatever is changed while a copy is filled, it ends up as its primary is.
#[test]
fn a_copy_is_filled_while_the_partition_changes() {
    let verbs = [
        "SET K 1",
        "INCR K",
        "APPEND K xy",
        "DEL K",
        "RENAME K K",
        "COPY K K REPLACE",
        "MSET K 1 K 2",
        "MSETNX K 1 K 2",
        "RPUSH {t}l1 a b c",
        "RPUSH {t}l2 x",
        "LMOVE {t}l1 {t}l2 LEFT RIGHT",
        "LMPOP 2 {t}l2 {t}l1 LEFT",
        "SADD {t}s1 1 2 3 4",
        "SADD {t}s2 3 4 5",
        "SPOP {t}s1",
        "SMOVE {t}s1 {t}s2 2",
        "SINTERSTORE {t}s1 {t}s2 {t}s1",
        "PEXPIRE K 100000",
        "SELECT 1",
        "SELECT 0",
        "MOVE K 1",
        "SWAPDB 0 1",
        "FLUSHDB",
        "EVAL return{redis.call('set',KEYS[1],'e'),redis.call('incr',KEYS[2])} 2 K K",
    ];
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (primary, replica) = (node(Role::Primary, None), node(Role::Replica, None));
        let (feed, mut follower) = (Feed::new(2, 1), Follower::new(&replica, 1));
        let mut client = peer(&primary);
        let number = partition_of(b"{t}");
        for key in 0..300 {
            drop(run(&primary, &mut client, &format!("SET {{t}}{key} {key}")));
        }
        // Flushes only now and then, or there is little to fill.
        let rare = |verb: &str| verb.starts_with("FLUSH") || verb.starts_with("SWAP");
        let mut is_whole = false;
        while !is_whole {
            let mut guard = primary.keyspace.enter(number);
            if guard.replication.as_mut().and_then(|own| own.sink(2)).is_none() {
                guard.begin_fill(number, Arc::clone(&feed), 0, 0);
            }
            is_whole = guard.fill_on(number, 2, 200).is_some() && !guard.is_filling();
            drop(guard);
            for _ in 0..rng.usize(..12) {
                let verb = verbs[rng.usize(..verbs.len())];
                if rare(verb) && rng.u8(..20) > 0 {
                    continue;
                }
                let named = verb.split(' ').map(|word| match word {
                    "K" => format!("{{t}}{}", rng.usize(..300)),
                    word => word.to_string(),
                });
                drop(run(&primary, &mut client, &named.collect::<Vec<_>>().join(" ")));
            }
            if rng.bool() {
                follow(&replica, &mut follower, &feed);
            }
        }
        follow(&replica, &mut follower, &feed);
        assert!(contents(&primary) == contents(&replica), "seed {seed}");
        let place = |state: &State| {
            let guard = state.keyspace.enter(number);
            guard.replication.as_ref().map(|own| (own.sequence, own.made_in, own.is_whole))
        };
        let (sequence, made_in, _) = place(&primary).expect("it has one");
        assert_eq!(place(&replica), Some((sequence, made_in, true)));
    }
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
    let feed = Feed::new(2, 1);
    source.keyspace.enter(number).begin_fill(number, Arc::clone(&feed), 0, 0);
    follow(&copy, &mut Follower::new(&copy, 1), &feed);
    assert!(copy.keyspace.enter(number).is_held());
    let mut finish = Vec::new();
    effect::write_finish(&mut finish, id, true);
    effect::write_forget(&mut finish, TransactionId { node: 3, number: 5 });
    let guard = copy.keyspace.enter(number);
    assert_eq!(replayer.apply(&copy, own.worker(0), number, guard, &finish), Ok(()));
    assert!(!copy.keyspace.enter(number).is_held());
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
    let epoch = 1u64.to_le_bytes();
    assert_eq!(follower.apply(&replica, Record::Begin(head), b""), Verdict::Early);
    let mut map = Metadata::clone(&replica.cluster.map());
    map.version = version;
    replica.cluster.publish(Arc::new(map));
    assert_eq!(follower.apply(&replica, Record::Begin(head), b""), Verdict::Applied);
    assert_eq!(follower.apply(&replica, Record::Last(head), &epoch), Verdict::Applied);
    assert!(replica.keyspace.enter(7).replication.as_ref().is_some_and(|own| own.is_whole));
}
