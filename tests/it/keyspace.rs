//! What shows only over many keys, much time, or large values.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use shoal_testkit::resp::Client;

use crate::harness::{self, eventually};

fn text(client: &mut Client, line: &str) -> String {
    let reply = client.line(line).expect("a reply");
    String::from_utf8_lossy(reply.text().expect("a text")).into_owned()
}

fn info(client: &mut Client, field: &str) -> u64 {
    let info = text(client, "INFO everything");
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {field} in INFO"))
}

#[test]
fn a_scan_meets_every_key_that_stays_exactly_once_while_others_come_and_go() {
    const KEYS: usize = 20_000;
    let node = harness::node(&[]);
    let mut client = node.connect();
    let name = |n: usize| format!("key:{n}");
    for start in (0..KEYS).step_by(1000) {
        let pairs = (start..start + 1000).flat_map(|n| [name(n), "v".into()]);
        let words: Vec<String> = std::iter::once("MSET".into()).chain(pairs).collect();
        client.call(&words).expect("a reply");
    }
    let mut met: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut cursor, mut round) = ("0".to_owned(), 0);
    loop {
        let reply = client.line(&format!("SCAN {cursor} COUNT 50")).expect("a reply");
        let [next, keys] = reply.items() else { panic!("a cursor and keys") };
        cursor = String::from_utf8_lossy(next.text().expect("a cursor")).into_owned();
        for key in keys.items() {
            *met.entry(key.text().expect("a key").to_vec()).or_default() += 1;
        }
        if cursor == "0" {
            break;
        }
        round += 1;
        let pairs = (0..100).flat_map(|n| [format!("more:{round}:{n}"), "v".into()]);
        let words: Vec<String> = std::iter::once("MSET".into()).chain(pairs).collect();
        client.call(&words).expect("a reply");
        client.line(&format!("UNLINK more:{}:1 more:{}:2", round - 1, round - 1)).expect("a reply");
    }
    assert!((0..KEYS).all(|n| met.get(name(n).as_bytes()) == Some(&1)));
}

#[test]
fn large_values_are_freed_beside_the_commands() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let fill = |client: &mut Client, key: &str| {
        for start in (0..100_000).step_by(1000) {
            let members = (start..start + 1000).map(|n| format!("member:{n}"));
            let words: Vec<String> = ["SADD".into(), key.into()].into_iter().chain(members).collect();
            assert_eq!(client.call(&words).expect("a reply").int(), Some(1000));
        }
    };
    client.line("SADD small 1 2 3").expect("a reply");
    client.line("UNLINK small").expect("a reply");
    assert_eq!(info(&mut client, "lazyfreed_objects"), 0);
    let before = info(&mut client, "used_memory");
    let mut freed = 0;
    for remove in ["UNLINK k", "DEL k", "SET k v", "EXPIRE k -1", "RENAME other k", "FLUSHALL ASYNC"] {
        client.line("SET other v").expect("a reply");
        client.line("DEL k").expect("a reply");
        fill(&mut client, "k");
        assert!(info(&mut client, "used_memory") > before + 1_000_000);
        client.line(remove).expect("a reply");
        freed += if remove.starts_with("FLUSHALL") { 2 } else { 1 };
        eventually(remove, || {
            info(&mut client, "lazyfree_pending_objects") == 0
                && info(&mut client, "lazyfreed_objects") == freed
                && info(&mut client, "used_memory") < before + 1_000_000
        });
    }
    client.line("CONFIG SET lazyfree-lazy-user-del no").expect("a reply");
    fill(&mut client, "k");
    client.line("DEL k").expect("a reply");
    assert!(info(&mut client, "used_memory") < before + 1_000_000);
    client.line("CONFIG RESETSTAT").expect("a reply");
    assert_eq!(info(&mut client, "lazyfreed_objects"), 0);
}

#[test]
fn keys_that_nobody_touches_expire_and_everybody_is_told() {
    let node = harness::node(&[]);
    let (mut client, mut listener, mut watcher) = (node.connect(), node.connect(), node.connect());
    client.line("CONFIG SET notify-keyspace-events Ex").expect("a reply");
    listener.line("SUBSCRIBE __keyevent@0__:expired").expect("a reply");
    client.line("DEBUG SET-ACTIVE-EXPIRE 0").expect("a reply");
    client.line("SET k v PX 1").expect("a reply");
    thread::sleep(Duration::from_millis(400));
    assert_eq!(client.line("DBSIZE").expect("a reply").int(), Some(1));
    watcher.line("WATCH other").expect("a reply");
    client.line("SET other v PX 1").expect("a reply");
    client.line("DEBUG SET-ACTIVE-EXPIRE 1").expect("a reply");
    eventually("both expire", || client.line("DBSIZE").expect("a reply").int() == Some(0));
    assert_eq!(info(&mut client, "expired_keys"), 2);
    for _ in 0..2 {
        let message = listener.recv().expect("a message").to_string();
        assert!(message.contains("expired"), "{message}");
    }
    watcher.line("MULTI").expect("a reply");
    watcher.line("PING").expect("a reply");
    assert!(watcher.line("EXEC").expect("a reply").items().is_empty());
}

/// While another server's data is brought in, what is past its time stays: its source sees it, nobody else does.
#[test]
fn while_data_is_brought_in_nothing_expires() {
    let node = harness::node(&["--import-mode", "yes"]);
    let (mut source, mut client) = (node.connect(), node.connect());
    assert_eq!(source.line("CLIENT IMPORT-SOURCE ON").expect("a reply").to_string(), "+OK");
    source.line("SET past 1 PXAT 1").expect("a reply");
    source.line("SET late 1").expect("a reply");
    source.line("EXPIREAT late 5").expect("a reply");
    source.line("HSETEX h PXAT 1 FIELDS 2 a 1 b 2").expect("a reply");
    source.line("HSET h c 3").expect("a reply");
    source.line("HSETEX gone PXAT 1 FIELDS 1 a 1").expect("a reply");
    let says = |client: &mut Client, line: &str| client.line(line).expect("a reply").to_string();
    for (line, seen, hidden) in [
        ("GET past", "\"1\"", "nil"),
        ("TTL late", ":0", ":-2"),
        ("DBSIZE", ":4", ":4"),
        ("EXISTS past late h gone", ":4", ":2"),
        ("HGET h a", "\"1\"", "nil"),
        ("HLEN h", ":3", ":3"),
        ("HEXISTS h b", ":1", ":0"),
        ("HVALS gone", "[\"1\"]", "[]"),
        ("HRANDFIELD gone", "\"a\"", "nil"),
        ("HRANDFIELD gone -2", "[\"a\" \"a\"]", "[]"),
        ("KEYS past", "[\"past\"]", "[]"),
        ("HGET h c", "\"3\"", "\"3\""),
    ] {
        assert_eq!(says(&mut client, line), hidden, "{line}");
        assert_eq!(says(&mut source, line), seen, "{line}");
    }
    assert_eq!(says(&mut source, "INCR past"), ":2");
    // What is hidden is as good as not there to who writes.
    assert_eq!(says(&mut client, "HKEYS h"), "[\"c\"]");
    assert_eq!(says(&mut client, "HRANDFIELD h 5"), "[\"c\"]");
    assert_eq!(says(&mut client, "HTTL h FIELDS 1 a"), "[:-2]");
    assert_eq!(says(&mut client, "HDEL h a"), ":0");
    assert_eq!(says(&mut client, "HINCRBY h b 1"), ":1");
    assert_eq!(says(&mut client, "HTTL h FIELDS 1 b"), "[:-1]");
    assert_eq!(says(&mut client, "HSET h a 5"), ":1");
    assert_eq!(says(&mut client, "HLEN h"), ":3");
    assert_eq!(says(&mut source, "RESET"), "+RESET");
    assert_eq!(says(&mut source, "GET past"), "nil");
    assert_eq!(says(&mut client, "CONFIG SET import-mode no"), "+OK");
    eventually("all that is past its time goes", || says(&mut client, "DBSIZE") == ":1");
}

/// During a pause nothing is removed, so that looking for a key that is not past its time could go on for as long as the pause.
#[test]
fn a_pause_keeps_keys_past_their_time() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    client.line("DEBUG SET-ACTIVE-EXPIRE 0").expect("a reply");
    client.line("SET k v PX 1").expect("a reply");
    client.line("CLIENT PAUSE 100000 WRITE").expect("a reply");
    let is_past = |client: &mut Client| client.line("EXISTS k").expect("a reply").int() == Some(0);
    eventually("the key is past its time", || is_past(&mut client));
    assert_eq!(text(&mut client, "RANDOMKEY"), "k");
    assert!(client.line("KEYS *").expect("a reply").items().is_empty());
    assert_eq!(client.line("DBSIZE").expect("a reply").int(), Some(1));
    client.line("CLIENT UNPAUSE").expect("a reply");
    assert_eq!(client.line("RANDOMKEY").expect("a reply").text(), None);
}
