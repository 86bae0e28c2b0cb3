//! Commands that a conversation cannot hold: they take long, or their reply must be looked into.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use shoal_testkit::Value;

use crate::harness;

#[test]
fn the_sketches_test_themselves() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    client.send(&["PFSELFTEST"]).expect("sent");
    let reply = client.recv_within(Duration::from_secs(60)).expect("a running node");
    assert_eq!(reply, Some(Value::Simple(b"OK".to_vec())));
}

/// What DUMP gives RESTORE takes, for every type, small and large, with its time to live.
#[test]
fn what_is_dumped_can_be_restored() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let long = "x".repeat(10_000);
    let numbers: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    let pairs: Vec<String> = (0..1000).flat_map(|i| [i.to_string(), format!("m{i}")]).collect();
    let fill =
        |command: &str, key: &str, rest: &[String]| [&[command.to_string(), key.to_string()], rest].concat();
    let owned = |words: &[&str]| words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
    let writes = [
        owned(&["SET", "string", "value"]),
        owned(&["SET", "number", "-12345"]),
        owned(&["SET", "long", &long]),
        owned(&["RPUSH", "list", "a", "1", ""]),
        fill("RPUSH", "longlist", &numbers),
        owned(&["SADD", "ints", "1", "2", "3"]),
        owned(&["SADD", "words", "a", "b"]),
        fill("SADD", "longset", &pairs),
        owned(&["HSET", "hash", "f", "v"]),
        fill("HSET", "longhash", &pairs),
        owned(&["ZADD", "zset", "1.5", "a", "-inf", "b"]),
        fill("ZADD", "longzset", &pairs),
        owned(&["XADD", "stream", "1-1", "f", "v"]),
        owned(&["PFADD", "sketch", "a", "b"]),
    ];
    for write in &writes {
        let reply = client.call(write).expect("a reply");
        assert!(!reply.is_error(), "{reply} to {write:?}");
        let key = &write[1];
        let dump = client.call(&["DUMP", key]).expect("a reply");
        let payload = dump.text().expect("a payload");
        let restore: [&[u8]; 4] = [b"RESTORE", b"copy", b"100000", payload];
        assert_eq!(client.call(&restore).expect("a reply").to_string(), "+OK", "{key}");
        let again = client.call(&["DUMP", "copy"]).expect("a reply");
        // Hash tables may be written in another order; all else comes back byte for byte.
        if !matches!(key.as_str(), "longset" | "longhash") {
            assert_eq!(again, dump, "{key}");
        }
        let same = |client: &mut shoal_testkit::resp::Client, command: &str| {
            let call = |client: &mut shoal_testkit::resp::Client, key: &str| {
                client.call(&[command, key]).expect("a reply")
            };
            assert_eq!(call(client, key), call(client, "copy"), "{command} {key}");
        };
        same(&mut client, "TYPE");
        let ttl = client.call(&["PTTL", "copy"]).expect("a reply").int().unwrap_or_default();
        assert!((90_000..=100_000).contains(&ttl), "{ttl}");
        assert_eq!(client.call(&["DEL", "copy"]).expect("a reply"), Value::Int(1));
    }
}

/// A library that is there already is called by its bare name by who restores, in quotes by who loads.
#[test]
fn functions_can_be_dumped_and_restored() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let mut say = |words: &[&[u8]]| client.call(words).expect("a reply");
    let library: &[u8] = b"#!lua name='one'\nredis.register_function('f', function() return 1 end)";
    assert_eq!(say(&[b"FUNCTION", b"LOAD", library]).to_string(), "\"one\"");
    let dump = say(&[b"FUNCTION", b"DUMP"]);
    let payload = dump.text().expect("a payload");
    assert_eq!(say(&[b"FUNCTION", b"RESTORE", payload]).to_string(), "-ERR Library one already exists");
    let again = say(&[b"FUNCTION", b"LOAD", library]);
    assert_eq!(again.to_string(), "-ERR Library 'one' already exists");
    assert_eq!(say(&[b"FUNCTION", b"RESTORE", payload, b"REPLACE"]).to_string(), "+OK");
    assert_eq!(say(&[b"FCALL", b"f", b"0"]).to_string(), ":1");
}

/// The time was looked at after so many instructions, of which a script has few between commands that take long: nobody heard BUSY, and
/// nobody could end it.
#[test]
fn a_script_that_only_runs_commands_can_be_ended() {
    let node = harness::node(&["--busy-reply-threshold", "50"]);
    let mut client = node.connect();
    let elements: Vec<String> = (0..50_000).map(|i| format!("element {i}")).collect();
    let push = [vec!["RPUSH".to_string(), "l".to_string()], elements].concat();
    assert_eq!(client.call(&push).expect("a reply").to_string(), ":50000");
    let mut runner = node.connect();
    let script = "while true do pcall(redis.call, 'LRANGE', KEYS[1], 0, -1) end";
    runner.send(&["EVAL", script, "1", "l"]).expect("sent");
    let until = Instant::now() + Duration::from_secs(60);
    while !client.line("PING").expect("a reply").to_string().starts_with("-BUSY") {
        assert!(Instant::now() < until, "nobody hears that a script runs");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.line("SCRIPT KILL").expect("a reply").to_string(), "+OK");
    let ended = runner.recv_within(Duration::from_secs(60)).expect("a running node").expect("a reply");
    assert!(ended.to_string().starts_with("-ERR Script killed by user with SCRIPT KILL."), "{ended}");
    assert_eq!(client.line("PING").expect("a reply").to_string(), "+PONG");
}

/// Tables nested as deep as may be took more stack than there was, and the node with them.
#[test]
fn what_a_script_returns_may_be_deep() {
    let node = harness::node(&[]);
    let mut stream = TcpStream::connect(node.resp_addr()).expect("a running node");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP socket");
    stream.write_all(b"EVAL \"local a = {}; a[1] = a; return a\" 0\r\n").expect("sent");
    let mut line = String::new();
    let mut reply = BufReader::new(&stream);
    while line.is_empty() || line.starts_with('*') {
        line.clear();
        reply.read_line(&mut line).expect("a reply");
    }
    assert_eq!(line, "-ERR reached lua stack limit\r\n");
    assert_eq!(node.connect().line("PING").expect("a reply").to_string(), "+PONG");
}

/// Each evicted key was told to the clients that cache it, which took more memory than the key: all keys went.
#[test]
fn telling_of_evicted_keys_evicts_no_more() {
    let node = harness::node(&["--maxmemory-policy", "allkeys-lru"]);
    let mut caching: Vec<_> = (0..10).map(|_| node.connect()).collect();
    for client in &mut caching {
        client.line("HELLO 3").expect("a reply");
        assert_eq!(client.line("CLIENT TRACKING ON").expect("a reply").to_string(), "+OK");
    }
    let mut client = node.connect();
    for at in 0..300 {
        let key = format!("{at}{}", "x".repeat(1000));
        assert_eq!(client.call(&["SET", &key, "v"]).expect("a reply").to_string(), "+OK");
        for client in &mut caching {
            assert_eq!(client.call(&["GET", &key]).expect("a reply").to_string(), "\"v\"");
        }
    }
    let info = client.line("INFO memory").expect("a reply");
    let info = String::from_utf8_lossy(info.text().expect("text")).into_owned();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a figure");
    let limit = used.parse::<u64>().expect("a number") - 40_000;
    let set = client.call(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).expect("a reply");
    assert_eq!(set.to_string(), "+OK");
    client.line("PING").expect("a reply");
    client.line("CONFIG SET maxmemory 0").expect("a reply");
    let left = client.line("DBSIZE").expect("a reply");
    assert!(matches!(left, Value::Int(100..=300)), "{left} keys are left");
}

/// A popped element is one change, though its list goes with it; and who waits for a list is not told that a stream is gone.
#[test]
fn what_waiting_clients_change_and_wait_for_is_counted() {
    let node = harness::node(&[]);
    let (mut client, mut waiting, mut reading) = (node.connect(), node.connect(), node.connect());
    let mut figure = |section: &str, name: &str| {
        let info = client.call(&["INFO", section]).expect("a reply");
        let text = String::from_utf8_lossy(info.text().expect("a text")).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))?.parse::<u64>().ok());
        line.expect("a number")
    };
    let mut writer = node.connect();
    let before = figure("persistence", "rdb_changes_since_last_save");
    waiting.send(&["BLPOP", "k", "0"]).expect("sent");
    let began = Instant::now();
    while figure("clients", "total_blocking_keys") == 0 {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(figure("clients", "total_blocking_keys_on_nokey"), 0);
    writer.call(&["XGROUP", "CREATE", "stream", "g", "$", "MKSTREAM"]).expect("a reply");
    reading.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "stream", ">"]).expect("sent");
    while figure("clients", "total_blocking_keys") == 1 {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(figure("clients", "total_blocking_keys_on_nokey"), 1);
    writer.call(&["DEL", "stream"]).expect("a reply");
    assert!(reading.recv_within(Duration::from_secs(60)).expect("a reply").is_some());
    assert_eq!(figure("clients", "total_blocking_keys_on_nokey"), 0);
    let made = figure("persistence", "rdb_changes_since_last_save");
    assert!(made > before);
    writer.call(&["LPUSH", "k", "a"]).expect("a reply");
    assert!(waiting.recv_within(Duration::from_secs(60)).expect("a reply").is_some());
    assert_eq!(figure("persistence", "rdb_changes_since_last_save"), made + 2);
    writer.call(&["LPUSH", "k", "a"]).expect("a reply");
    writer.call(&["LMOVE", "k", "l", "LEFT", "LEFT"]).expect("a reply");
    assert_eq!(figure("persistence", "rdb_changes_since_last_save"), made + 4);
}

/// Who was held by CLIENT PAUSE is found waiting as soon as the pause is over. It had been found doing nothing, as it had yet to go on.
#[test]
fn who_waits_after_a_pause_can_be_unblocked_at_once() {
    let node = harness::node(&[]);
    let mut admin = node.connect();
    for _ in 0..20 {
        let mut held = [node.connect(), node.connect()];
        let ids: Vec<i64> = held
            .iter_mut()
            .map(|client| client.line("CLIENT ID").expect("a reply").int().expect("an id"))
            .collect();
        admin.line("CLIENT PAUSE 100000 WRITE").expect("a reply");
        held.iter_mut().for_each(|client| client.send(&["BLPOP", "nothing", "0"]).expect("sent"));
        harness::eventually("both are held", || {
            let info = admin.line("INFO clients").expect("a reply").to_string();
            info.contains("blocked_clients:2")
        });
        assert_eq!(admin.line(&format!("CLIENT UNBLOCK {}", ids[0])).expect("a reply").int(), Some(0));
        admin.line("CLIENT UNPAUSE").expect("a reply");
        for id in &ids {
            assert_eq!(admin.line(&format!("CLIENT UNBLOCK {id}")).expect("a reply").int(), Some(1));
        }
        for client in &mut held {
            assert!(client.recv_within(Duration::from_secs(10)).expect("a running node").is_some());
        }
    }
}

/// DEBUG RELOAD reads values as they would be after a restart: a list that has become short again is one piece.
#[test]
fn a_reload_reads_all_values_anew() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let mut says = |line: &str| client.line(line).expect("a reply").to_string();
    says("CONFIG SET list-max-listpack-size 3");
    says("RPUSH list a b c d");
    says("RPOP list");
    says("HSET hash f v g w");
    says("HPEXPIRE hash 100000 FIELDS 1 f");
    says("PEXPIRE hash 200000");
    says("SET past v PX 1");
    assert_eq!(says("OBJECT ENCODING list"), "\"quicklist\"");
    let digest = says("DEBUG DIGEST-VALUE list hash");
    assert_eq!(says("DEBUG RELOAD"), "+OK");
    assert_eq!(says("OBJECT ENCODING list"), "\"listpack\"");
    assert_eq!(says("DEBUG DIGEST-VALUE list hash"), digest);
    assert_eq!(says("INFO keyspace").matches("keys_with_volatile_items=1").count(), 1);
    assert_eq!(says("DEBUG RELOAD NOFLUSH"), "-ERR Error trying to load the RDB dump, check server logs.");
    assert_eq!(says("DEBUG RELOAD NOFLUSH MERGE"), "+OK");
}

/// What connections kept for those that track no more is forgotten with all keys. It had been counted for ever.
#[test]
fn a_flush_forgets_what_was_remembered_for_those_who_are_gone() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let mut says = |line: &str| client.line(line).expect("a reply").to_string();
    says("HELLO 3");
    says("CLIENT TRACKING ON");
    says("GET k");
    says("CLIENT TRACKING OFF");
    says("FLUSHALL");
    assert!(says("INFO stats").contains("tracking_total_keys:0"));
}

/// INFO tells how workers pass their time.
#[test]
fn rounds_of_workers_are_counted() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let mut figure = |section: &str, name: &str| -> f64 {
        let info = client.line(&format!("INFO {section}")).expect("a reply");
        let info = String::from_utf8_lossy(info.text().expect("text")).into_owned();
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("there");
        line.parse().expect("a number")
    };
    harness::eventually("there are rounds", || figure("stats", "eventloop_cycles") > 0.0);
    let before = figure("stats", "eventloop_cycles");
    harness::eventually("there are more", || figure("stats", "eventloop_cycles") > before);
    assert!(figure("stats", "eventloop_duration_sum") > 0.0);
    assert!(figure("cpu", "used_active_time_main_thread") > 0.0);
    assert!(figure("debug", "eventloop_cmd_per_cycle_max") >= 1.0);
    harness::eventually("housekeeping is done", || figure("debug", "eventloop_duration_cron_sum") > 0.0);
}

/// Of a script that only reads, what it reads is cached, not all that it may read. A change of any key it named had been told.
#[test]
fn of_a_script_that_reads_only_what_it_read_is_tracked() {
    let node = harness::node(&[]);
    let (mut client, mut other) = (node.connect(), node.connect());
    client.line("HELLO 3").expect("a reply");
    client.line("CLIENT TRACKING ON").expect("a reply");
    client.call(&["EVAL_RO", "return redis.call('get', KEYS[2])", "2", "k1", "k2"]).expect("a reply");
    other.line("MSET k1 v k2 v").expect("a reply");
    client.send(&["PING"]).expect("sent");
    let mut heard =
        || client.recv_within(Duration::from_secs(10)).expect("a running node").expect("in time").to_string();
    assert_eq!(heard(), ">[\"invalidate\" [\"k2\"]]");
    assert_eq!(heard(), "+PONG");
}

/// Memory stays under `maxmemory` but for what one request takes. It was over it by up to twenty kilobytes: by what candidates for eviction
/// with long names took, by what a thread had not reported yet, and by what each partition kept for times to live.
#[test]
fn memory_stays_under_its_limit() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let mut rng = fastrand::Rng::with_seed(1);
    for policy in ["allkeys-lru", "volatile-ttl", "allkeys-random"] {
        let used = |client: &mut shoal_testkit::resp::Client| -> usize {
            let info = client.line("INFO memory").expect("a reply");
            let info = String::from_utf8_lossy(info.text().expect("text")).into_owned();
            let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("told");
            used.parse().expect("a number")
        };
        client.line("CONFIG SET maxmemory 0").expect("a reply");
        client.line("FLUSHALL").expect("a reply");
        let limit = used(&mut client) + 100 * 1024;
        client
            .call(&["CONFIG", "SET", "maxmemory", &limit.to_string(), "maxmemory-policy", policy])
            .expect("a reply");
        for n in 0..1500 {
            let key = format!("{n}{}", "x".repeat(rng.usize(..256)));
            assert_eq!(client.call(&["SETEX", &key, "10000", "x"]).expect("a reply").to_string(), "+OK");
            if n % 50 == 0 {
                let used = used(&mut client);
                assert!(used < limit + 4096, "{policy}: {used} of {limit} bytes after {n} keys");
            }
        }
    }
}
