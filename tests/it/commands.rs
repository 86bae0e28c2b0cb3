//! Commands that a conversation cannot hold: they take long, or their reply must be looked into.

use std::time::Duration;

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
