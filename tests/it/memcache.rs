//! The memcached port beside the other: the same keys, awkward clients, limits.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use shoal_testkit::memcache_binary::{self, Packet};
use shoal_testkit::{Server, memcache, resp};

use crate::cluster::Cluster;
use crate::harness;

/// A node, and two clients of it, one for each protocol.
struct Both {
    node: Server,
    memcached: memcache::Client,
    redis: resp::Client,
}

impl Both {
    fn start(args: &[&str]) -> Both {
        let node = harness::node(args);
        Both { memcached: node.connect_memcached(), redis: node.connect(), node }
    }

    /// Sends lines to the memcached port, each ended here, and compares all that comes back.
    fn memcached(&mut self, lines: &str, expected: &str) {
        let got = self.memcached.line(&lines.replace('\n', "\r\n")).expect("an answer");
        assert_eq!(got.replace("\r\n", "\n").trim_end_matches('\n'), expected, "to {lines}");
    }

    fn redis(&mut self, line: &str, expected: &str) {
        let got = self.redis.line(line).expect("a reply");
        assert_eq!(got.to_string(), expected, "to {line}");
    }

    /// The version memcached clients see of `key`.
    fn version(&mut self, key: &str) -> u64 {
        let got = self.memcached.line(&format!("mg {key} c")).expect("an answer");
        let version = got.trim_end().strip_prefix("HD c").and_then(|rest| rest.split(' ').next());
        version.and_then(|version| version.parse().ok()).expect(&got)
    }

    /// One figure of `stats`.
    fn stat(&mut self, name: &str) -> u64 {
        let got = self.memcached.line("stats").expect("an answer");
        let value = got.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {got}"))
    }
}

/// A connection to the memcached port whose bytes are ours to count.
fn raw(node: &Server) -> TcpStream {
    let stream = TcpStream::connect(node.memcached_addr()).expect("a running node accepts connections");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a TCP socket");
    stream
}

#[test]
fn what_one_protocol_stores_the_other_reads() {
    let mut both = Both::start(&[]);
    both.memcached("set k 7 0 5\nhello", "STORED");
    both.redis("GET k", "\"hello\"");
    both.redis("APPEND k !", ":6");
    both.memcached("get k", "VALUE k 7 6\nhello!\nEND");
    both.redis("SET n 41", "+OK");
    both.memcached("incr n 1", "42");
    both.redis("INCR n", ":43");
    both.memcached("decr n 40\nget n", "3\nVALUE n 0 1\n3\nEND");
    both.redis("OBJECT ENCODING n", "\"int\"");
    both.redis("SET n -5", "+OK");
    both.memcached("incr n 1", "CLIENT_ERROR cannot increment or decrement non-numeric value");
    both.redis("EXPIRE k 100", ":1");
    both.memcached("mg k t f", "HD t100 f7");
    both.memcached("touch k 0", "TOUCHED");
    both.redis("TTL k", ":-1");
    both.memcached("ms YWIA 1 b\nx", "HD");
    both.redis("EXISTS \"ab\\x00\"", ":1");
}

#[test]
fn values_of_other_types_are_no_items() {
    const NO_STRING: &str = "SERVER_ERROR the key holds a value that is not a string";
    let mut both = Both::start(&[]);
    both.redis("RPUSH list a", ":1");
    both.memcached("set k 0 0 1\nv", "STORED");
    for line in ["get list", "gets list", "mg list v", "incr list 1", "ma list", "append list 0 0 1\nx"] {
        both.memcached(line, NO_STRING);
    }
    // One of several that are asked for is merely not there.
    both.memcached("get k list k", "VALUE k 0 1\nv\nVALUE k 0 1\nv\nEND");
    both.memcached("gat 0 list k", "VALUE k 0 1\nv\nEND");
    both.memcached("mg k v q\nmg list v q\nmn", "VA 1\nv\nMN");
    both.memcached("add list 0 0 1\nx", "NOT_STORED");
    both.memcached("touch list 100", "TOUCHED");
    both.redis("TTL list", ":100");
    both.memcached("replace list 0 0 1\nx\nget list", "STORED\nVALUE list 0 1\nx\nEND");
    both.redis("RPUSH list2 a", ":1");
    both.memcached("delete list2", "DELETED");
    both.redis("EXISTS list2", ":0");
}

/// A list among the keys of one `get` had the client hear of an error in place of all items, from some nodes, and of some items, from others.
#[test]
fn of_several_keys_the_strings_are_told_whichever_nodes_have_them() {
    let cluster = Cluster::start(3);
    let mut client = cluster.nodes[0].connect();
    let names: Vec<String> = (0..30).map(|i| format!("s{i} l{i}")).collect();
    for i in 0..30 {
        client.line(&format!("SET s{i} v")).expect("a reply");
        client.line(&format!("RPUSH l{i} v")).expect("a reply");
    }
    for node in &cluster.nodes {
        let mut client = node.connect_memcached();
        for request in [format!("get {}", names.join(" ")), format!("get {}", names[0]), "get s1 l2".into()] {
            let asked = request.matches(" s").count();
            let answer = client.line(&request).expect("an answer");
            assert_eq!(answer.matches("VALUE s").count(), asked, "{request}: {answer}");
            assert!(answer.ends_with("END\r\n") && !answer.contains("ERROR"), "{request}: {answer}");
        }
        assert_eq!(client.line("get l1 l2 l3").expect("an answer"), "END\r\n");
        let alone = client.line("get l1").expect("an answer");
        assert_eq!(alone, "SERVER_ERROR the key holds a value that is not a string\r\n");
    }
}

#[test]
fn every_change_makes_another_version() {
    let mut both = Both::start(&[]);
    both.memcached("set k 0 0 1\n1", "STORED");
    let mut seen = BTreeSet::from([both.version("k")]);
    for change in ["SET k 2", "INCR k", "APPEND k 4", "SETRANGE k 0 9", "SETBIT k 0 1", "GETSET k 5"] {
        both.redis.line(change).expect("a reply");
        assert!(seen.insert(both.version("k")), "{change} left the version");
    }
    for change in ["set k 0 0 1\r\n1", "incr k 1", "append k 0 0 1\r\nx", "md k I", "ms k 1\r\n1", "ma k"] {
        both.memcached.line(change).expect("an answer");
        assert!(seen.insert(both.version("k")), "{change} left the version");
    }
    let version = both.version("k");
    both.redis("EXPIRE k 100", ":1");
    both.redis("GET k", "\"2\"");
    both.memcached("touch k 0", "TOUCHED");
    let after_touches = both.version("k");
    both.memcached(&format!("cas k 0 0 1 {after_touches}\na"), "STORED");
    both.memcached(&format!("cas k 0 0 1 {version}\nb"), "EXISTS");
    both.memcached("ms k 1 E77 c\nx", "HD c77");
    both.memcached("ms k 1 C77\ny", "HD");
}

#[test]
fn changes_are_seen_by_those_who_watch_or_listen() {
    let mut both = Both::start(&["--notify-keyspace-events", "KEA"]);
    let mut listener = both.node.connect();
    listener.line("PSUBSCRIBE __keyevent@0__:*").expect("a reply");
    both.redis("WATCH k", "+OK");
    both.redis("MULTI", "+OK");
    both.redis("PING", "+QUEUED");
    both.memcached("set k 0 100 1\nv", "STORED");
    let end = both.redis.line("EXEC").expect("a reply");
    assert!(end.items().is_empty() && !end.is_error(), "{end}");
    both.memcached(
        "incr nosuch 1\ntouch k 0\nappend k 0 0 1\nw\ndelete k",
        "NOT_FOUND\nTOUCHED\nSTORED\nDELETED",
    );
    for event in ["set", "expire", "persist", "append", "del"] {
        let message = listener.recv().expect("a message");
        assert_eq!(message.items()[2].to_string(), format!("\"__keyevent@0__:{event}\""));
    }
}

#[test]
fn requests_may_be_cut_anywhere() {
    let node = harness::node(&[]);
    let wire =
        b"set k 0 0 22\r\na value of some length\r\nget k nosuch k\r\nms m 2 T0\r\nhi\r\nmg m v\r\nfoo\r\n\
        set k 0 0 2000000\r\n";
    let mut wire = wire.to_vec();
    // Too large: skipped, whatever it looks like.
    wire.extend(b"get k\r\n".repeat(2_000_000 / 7 + 1).iter().take(2_000_000));
    wire.extend(b"\r\nset k 0 0 1\r\nx\r\nget k\r\n");
    let mut whole = raw(&node);
    whole.write_all(&wire).expect("sent");
    whole.shutdown(Shutdown::Write).expect("half closed");
    let mut expected = Vec::new();
    whole.read_to_end(&mut expected).expect("replies, then the end");
    let text = String::from_utf8_lossy(&expected);
    assert!(
        text.ends_with("SERVER_ERROR object too large for cache\r\nSTORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n"),
        "{text}"
    );
    for cut in (1..150).chain([1_000_000, wire.len() - 20]) {
        let mut stream = raw(&node);
        stream.write_all(&wire[..cut]).expect("sent");
        thread::sleep(Duration::from_micros(300));
        stream.write_all(&wire[cut..]).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("replies, then the end");
        assert_eq!(String::from_utf8_lossy(&got), text, "cut at {cut}");
    }
}

/// More is asked for than the node will hold for a client that does not read.
#[test]
fn long_answers_wait_for_a_slow_client() {
    let mut both = Both::start(&[]);
    let value = "v".repeat(3000);
    for i in 0..1000 {
        both.memcached(&format!("set key{i} 0 0 3000\n{value}"), "STORED");
    }
    let keys: Vec<String> = (0..20_000).map(|i| format!("key{}", i % 1100)).collect();
    let mut slow = raw(&both.node);
    slow.write_all(format!("get {}\r\nget key7\r\nquit\r\n", keys.join(" ")).as_bytes()).expect("sent");
    thread::sleep(Duration::from_millis(300));
    both.memcached("get key1", &format!("VALUE key1 0 3000\n{value}\nEND"));
    assert!(both.stat("bytes") < 40 << 20, "the answer lies in memory");
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).expect("an answer, then the end");
    let there = |i: &usize| i % 1100 < 1000;
    let mut expected: String =
        (0..20_000).filter(there).map(|i| format!("VALUE key{} 0 3000\r\n{value}\r\n", i % 1100)).collect();
    expected.push_str(&format!("END\r\nVALUE key7 0 3000\r\n{value}\r\nEND\r\n"));
    assert!(answer == expected.as_bytes(), "{} bytes instead of {}", answer.len(), expected.len());
}

#[test]
fn counting_together_loses_nothing() {
    let mut both = Both::start(&[]);
    both.memcached("set n 0 0 1\n0", "STORED");
    thread::scope(|scope| {
        for _ in 0..4 {
            let (mut memcached, mut redis) = (both.node.connect_memcached(), both.node.connect());
            scope.spawn(move || {
                for _ in 0..100 {
                    memcached.line(&"incr n 1\r\n".repeat(49)).expect("answers");
                    redis.line("INCR n").expect("a reply");
                    memcached.line("get n a b c d e f g h i j k l").expect("an answer");
                }
            });
        }
    });
    both.memcached("get n", "VALUE n 0 5\n20000\nEND");
}

#[test]
fn every_key_is_listed_once() {
    let mut both = Both::start(&[]);
    for i in 0..5000 {
        both.memcached(&format!("set key:{i} 0 0 1 noreply\nv\nmg key:{i}"), "HD");
    }
    both.redis("RPUSH list a", ":1");
    both.memcached("set gone 0 -1 1\nx", "STORED");
    let all: BTreeSet<String> = (0..5000).map(|i| format!("key:{i}")).collect();
    let dump = both.memcached.line("lru_crawler metadump all").expect("an answer");
    let found: Vec<String> = dump
        .lines()
        .filter_map(|line| line.strip_prefix("key=")?.split(' ').next())
        .map(|key| key.replace("%3A", ":"))
        .collect();
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (5000, all.clone()));
    assert!(dump.ends_with("END\r\n"));
    let dump = both.memcached.line("lru_crawler mgdump all").expect("an answer");
    let found: BTreeSet<String> =
        dump.lines().filter_map(|line| line.strip_prefix("mg ")).map(String::from).collect();
    assert_eq!(found, all);
    let some = both.memcached.line("stats cachedump 1 10").expect("an answer");
    assert_eq!(some.lines().filter(|line| line.starts_with("ITEM key:")).count(), 10);
    let sizes = both.memcached.line("stats sizes").expect("an answer");
    let count = |line: &str| line.strip_prefix("STAT ")?.split(' ').nth(1)?.parse::<u64>().ok();
    assert_eq!(sizes.lines().filter_map(count).sum::<u64>(), 5000);
}

/// Sends a request and reads one line of the answer.
fn ask(client: &mut TcpStream, request: &str) -> String {
    client.write_all(request.as_bytes()).expect("sent");
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an answer");
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).trim_end().to_string()
}

#[test]
fn a_password_is_wanted_here_too() {
    let node = harness::node(&["--requirepass", "secret"]);
    let mut client = raw(&node);
    let mut ask = |request: &str| ask(&mut client, request);
    assert_eq!(ask("get k\r\n"), "CLIENT_ERROR unauthenticated");
    assert_eq!(ask("set k 0 0 1\r\nx\r\n"), "CLIENT_ERROR bad authentication token format");
    assert_eq!(ask("set k 0 0 13\r\ndefault wrong\r\n"), "CLIENT_ERROR authentication failure");
    assert_eq!(ask("version\r\n"), "CLIENT_ERROR unauthenticated");
    assert_eq!(ask("set k 0 0 14\r\ndefault secret\r\n"), "STORED");
    assert_eq!(ask("get k\r\n"), "END");
}

/// A file of users keeps the memcached port, and only that: as memcached's option of the same purpose does.
#[test]
fn a_file_says_who_may_come_in() {
    let mut both = Both::start(&[]);
    // Who is let in later is asked for a password.
    both.memcached("version", "VERSION 1.6.18");
    let file = both.node.dir().join("users");
    let set = format!("CONFIG SET memcached-auth-file {}", file.display());
    let error = both.redis.line(&set).expect("a reply").to_string();
    assert!(error.contains("cannot read") || error.contains("No such file"), "{error}");
    std::fs::write(&file, "nonsense\n").expect("written");
    let error = both.redis.line(&set).expect("a reply").to_string();
    assert!(error.contains("line 1 is not user:password"), "{error}");
    both.redis("CONFIG GET memcached-auth-file", "[\"memcached-auth-file\" \"\"]");
    assert_eq!(ask(&mut raw(&both.node), "version\r\n"), "VERSION 1.6.18");

    std::fs::write(&file, "foo:bar\nbaz:q:x\n").expect("written");
    both.redis(&set, "+OK");
    both.memcached("get k", "END");
    let (mut foo, mut baz, mut other) = (raw(&both.node), raw(&both.node), raw(&both.node));
    assert_eq!(ask(&mut foo, "get k\r\n"), "CLIENT_ERROR unauthenticated");
    assert_eq!(ask(&mut foo, "version\r\n"), "CLIENT_ERROR unauthenticated");
    assert_eq!(ask(&mut foo, "set k 0 0 7\r\nfoo baz\r\n"), "CLIENT_ERROR authentication failure");
    assert_eq!(ask(&mut foo, "set k 0 0 11\r\ndefault any\r\n"), "CLIENT_ERROR authentication failure");
    assert_eq!(ask(&mut foo, "set k 0 0 7\r\nfoo bar\r\n"), "STORED");
    assert_eq!(ask(&mut foo, "set k 0 0 2\r\nhi\r\n"), "STORED");
    assert_eq!(ask(&mut baz, "set k 0 0 7\r\nbaz q:x\r\n"), "STORED");
    assert_eq!(ask(&mut baz, "mg k v\r\n"), "VA 2");
    both.redis("GET k", "\"hi\"");
    assert_eq!(both.stat("auth_errors"), 2);

    // Read again: who has come in stays.
    std::fs::write(&file, "new:one\n").expect("written");
    both.redis(&set, "+OK");
    assert_eq!(ask(&mut foo, "delete k\r\n"), "DELETED");
    assert_eq!(ask(&mut other, "set k 0 0 7\r\nfoo bar\r\n"), "CLIENT_ERROR authentication failure");
    assert_eq!(ask(&mut other, "set k 0 0 7\r\nnew one\r\n"), "STORED");
    both.redis("CONFIG SET memcached-auth-file \"\"", "+OK");
    assert_eq!(ask(&mut raw(&both.node), "version\r\n"), "VERSION 1.6.18");
}

#[test]
fn memory_used_up() {
    let mut both = Both::start(&["--maxmemory", "24mb", "--maxmemory-policy", "noeviction"]);
    both.memcached("set old 0 0 1\nx", "STORED");
    let value = "v".repeat(100_000);
    let refused = (0..1000).find(|i| {
        let answer = both.memcached.line(&format!("set k{i} 0 0 100000\r\n{value}")).expect("an answer");
        assert!(
            ["STORED\r\n", "SERVER_ERROR out of memory storing object\r\n"].contains(&&*answer),
            "{answer}"
        );
        answer != "STORED\r\n"
    });
    assert!(refused.is_some_and(|i| i > 50), "{refused:?}");
    // A value that could not be replaced must not be read for the new one.
    let request = format!("set old 0 0 100000\n{value}\nget old");
    both.memcached(&request, "SERVER_ERROR out of memory storing object\nEND");
    assert_eq!(both.stat("store_no_memory"), 2);
    both.redis("CONFIG SET maxmemory 2mb", "+OK");
    both.memcached("mg new N60 v", "EN");
    both.memcached("ma new N60", "SERVER_ERROR Out of memory allocating new item");
    both.redis("CONFIG SET maxmemory 24mb", "+OK");
    both.memcached("delete k0", "DELETED");
    both.memcached("delete k1\nset old 0 0 1\ny", "DELETED\nSTORED");
}

#[test]
fn the_largest_item_is_a_setting() {
    let mut both = Both::start(&["--memcached-max-item-size", "4mb"]);
    let value = "v".repeat(3 << 20);
    both.memcached(&format!("set k 0 0 {}\n{value}\ntouch k 0", value.len()), "STORED\nTOUCHED");
    both.memcached(&format!("append k 0 0 {}\n{value}", value.len()), "NOT_STORED");
    both.redis("CONFIG SET memcached-max-item-size 1mb", "+OK");
    both.memcached(
        &format!("set k 0 0 {}\n{value}\nget k", value.len()),
        "SERVER_ERROR object too large for cache\nEND",
    );
}

#[test]
fn a_flush_can_be_put_off() {
    let mut both = Both::start(&[]);
    both.memcached("set a 0 0 1\nx\nflush_all 1\nget a", "STORED\nOK\nVALUE a 0 1\nx\nEND");
    both.redis("SELECT 1", "+OK");
    both.redis("SET other 1", "+OK");
    thread::sleep(Duration::from_millis(1500));
    both.memcached("get a", "END");
    both.redis("GET other", "\"1\"");
    both.memcached("set a 0 0 1\nx\nflush_all 1\nflush_all\nset a 0 0 1\ny", "STORED\nOK\nOK\nSTORED");
    thread::sleep(Duration::from_millis(1500));
    both.memcached("get a", "VALUE a 0 1\ny\nEND");
}

#[test]
fn items_expire_to_the_second() {
    let mut both = Both::start(&[]);
    both.redis("DEBUG SET-ACTIVE-EXPIRE 0", "+OK");
    both.memcached("set a 0 1 1\nx\nset b 0 1 1\nx\ngat 100 b", "STORED\nSTORED\nVALUE b 0 1\nx\nEND");
    thread::sleep(Duration::from_millis(700));
    both.memcached("mg a t", "HD t1");
    thread::sleep(Duration::from_millis(500));
    both.memcached("get a b", "VALUE b 0 1\nx\nEND");
    assert_eq!((both.stat("get_expired"), both.stat("touch_hits")), (1, 1));
}

#[test]
fn figures() {
    let mut both = Both::start(&[]);
    both.memcached("set a 0 0 1\n1\nget a b\nincr a 1", "STORED\nVALUE a 0 1\n1\nEND\n2");
    both.memcached("cas a 0 0 1 5\nx\ncas b 0 0 1 5\nx\ndelete b", "EXISTS\nNOT_FOUND\nNOT_FOUND");
    both.memcached("ms m 1\nx\nmg m v\nmd m", "HD\nVA 1\nx\nHD");
    for (name, expected) in [
        ("curr_items", 1),
        ("total_items", 2),
        ("cmd_get", 3),
        ("cmd_set", 4),
        ("cmd_meta", 3),
        ("get_hits", 2),
        ("get_misses", 1),
        ("incr_hits", 1),
        ("cas_badval", 1),
        ("cas_misses", 1),
        ("delete_hits", 1),
        ("delete_misses", 1),
        ("threads", 2),
        ("evictions", 0),
    ] {
        assert_eq!(both.stat(name), expected, "{name}");
    }
    both.memcached("stats reset", "RESET");
    assert_eq!((both.stat("cmd_get"), both.stat("curr_items")), (0, 1));
    let info = both.redis.line("INFO stats").expect("a reply").to_string();
    assert!(info.contains("keyspace_hits:"), "{info}");
}

#[test]
fn a_pause_holds_writes() {
    let mut both = Both::start(&[]);
    both.redis("CLIENT PAUSE 400 WRITE", "+OK");
    both.memcached("get k", "END");
    let began = std::time::Instant::now();
    both.memcached("set k 0 0 1\nx", "STORED");
    assert!(began.elapsed() > Duration::from_millis(200));
}

/// A client of the binary protocol, and what it sees: status and value of each answer.
struct Binary(memcache_binary::Client);

impl Binary {
    fn connect(node: &Server) -> Binary {
        Binary(memcache_binary::Client::connect(node.memcached_addr()).expect("a running node"))
    }

    fn ask(&mut self, opcode: u8, extras: &[u8], key: &str, value: &[u8]) -> Vec<(u16, String)> {
        let request = Packet::request(opcode, extras, key.as_bytes(), value).bytes();
        let replies = self.0.exchange(&request).expect("an answer");
        let shown = |reply: Packet| (reply.status, String::from_utf8_lossy(&reply.value).into_owned());
        replies.into_iter().map(shown).collect()
    }
}

#[test]
fn the_first_byte_decides_on_the_binary_protocol() {
    let mut both = Both::start(&[]);
    let mut binary = Binary::connect(&both.node);
    let answer = |status, value: &str| vec![(status, value.to_owned())];
    assert_eq!(binary.ask(0x01, &[0, 0, 0, 7, 0, 0, 0, 0], "k", b"one"), answer(0, ""));
    both.memcached("get k", "VALUE k 7 3\none\nEND");
    both.redis("GET k", "\"one\"");
    both.redis("RPUSH list a", ":1");
    assert_eq!(
        binary.ask(0x00, b"", "list", b""),
        answer(0x84, "The key holds a value that is not a string")
    );
    assert_eq!(binary.ask(0x09, b"", "nosuch", b""), []);
    assert_eq!(binary.ask(0x09, b"", "list", b""), []);
    assert_eq!(binary.ask(0x0b, b"", "", b""), answer(0, "1.6.18"));
    assert_eq!(binary.ask(0x20, b"", "", b""), answer(0x81, "Unknown command"));
    // In text it is a byte like any other.
    both.memcached("\u{80}x", "ERROR");
    let large = vec![b'x'; 2 << 20];
    assert_eq!(binary.ask(0x01, &[0; 8], "k", &large), answer(3, "Too large."));
    both.memcached("get k", "END");
    let big = vec![b'x'; 1 << 19];
    assert_eq!(binary.ask(0x01, &[0; 8], "big", &big), answer(0, ""));
    assert_eq!(binary.ask(0x00, b"", "big", b""), answer(0, &"x".repeat(1 << 19)));
    let stats = binary.ask(0x10, b"", "", b"");
    assert!(stats.len() > 60 && stats[stats.len() - 1] == (0, String::new()));
    assert_eq!(binary.ask(0x10, b"", "nosuch", b""), answer(1, "Not found"));
    assert_eq!(binary.ask(0x18, b"", "", b""), []);
    both.redis("DBSIZE", ":0");
    let quit = Packet::request(0x07, b"", b"", b"").bytes();
    assert_eq!(binary.0.last_words(&quit).expect("closes").len(), 1);
    let broken = Packet::request(0x00, b"", b"", b"").bytes();
    let last = Binary::connect(&both.node).0.last_words(&broken).expect("closes");
    assert_eq!((last.len(), last[0].status), (1, 4));
}

#[test]
fn a_password_is_wanted_in_the_binary_protocol() {
    let node = harness::node(&["--requirepass", "secret"]);
    let answer = |status, value: &str| vec![(status, value.to_owned())];
    let connect = || {
        // The no-op that delimits answers is not for strangers, so these are counted.
        let stream = raw(&node);
        move |packet: Packet| {
            (&stream).write_all(&packet.bytes()).expect("sent");
            let mut header = [0; 24];
            (&stream).read_exact(&mut header).expect("an answer");
            let mut body = vec![0; usize::from(header[11])];
            (&stream).read_exact(&mut body).expect("an answer");
            vec![(u16::from_be_bytes([header[6], header[7]]), String::from_utf8_lossy(&body).into_owned())]
        }
    };
    let ask = connect();
    assert_eq!(ask(Packet::request(0x0b, b"", b"", b"")), answer(0, "1.6.18"));
    assert_eq!(ask(Packet::request(0x20, b"", b"", b"")), answer(0, "PLAIN"));
    let refused = answer(0x20, "Auth failure.");
    for (mechanism, credentials) in
        [("PLAIN", &b"\0default\0wrong"[..]), ("PLAIN", b"default"), ("CRAM-MD5", b"\0default\0secret")]
    {
        assert_eq!(ask(Packet::request(0x21, b"", mechanism.as_bytes(), credentials)), refused);
    }
    assert_eq!(ask(Packet::request(0x22, b"", b"PLAIN", b"x")), refused);
    let right = Packet::request(0x21, b"", b"PLAIN", b"\0default\0secret");
    assert_eq!(ask(right), answer(0, "Authenticated"));
    assert_eq!(ask(Packet::request(0x01, &[0; 8], b"k", b"v")), answer(0, ""));
    let ask = connect();
    assert_eq!(ask(Packet::request(0x00, b"", b"k", b"")), refused);
}

#[test]
fn administrators_see_memcached_requests_too() {
    let node = harness::node(&[]);
    let mut admin = node.connect();
    admin.line("CONFIG SET slowlog-log-slower-than 0").expect("a reply");
    let mut monitor = node.connect();
    monitor.line("MONITOR").expect("a reply");
    let mut client = node.connect_memcached();
    assert_eq!(client.exchange(b"set k 0 0 5\r\nh\"llo\r\n").expect("a reply"), b"STORED\r\n");
    let shown = monitor.recv().expect("a line").to_string();
    assert!(shown.contains(r#"] "set" "k" "0" "0" "5" "h\"llo""#), "{shown}");
    let slow = admin.line("SLOWLOG GET 5").expect("a reply").to_string();
    assert!(slow.contains(r#"["set" "k" "0" "0" "5""#), "{slow}");
    // Requests of the binary protocol in the same words, but for those that bear passwords.
    let mut client = memcache_binary::Client::connect(node.memcached_addr()).expect("a running node");
    let set = Packet::request(0x01, &[0, 0, 0, 7, 0, 0, 0, 60], b"b", b"value");
    let authenticate = Packet::request(0x21, &[], b"PLAIN", b"\0default\0secret");
    let get = Packet::request(0x00, &[], b"b", b"");
    for packet in [set, authenticate, get] {
        client.exchange(&packet.bytes()).expect("an answer");
    }
    let mut shown = String::new();
    while !shown.contains(r#"] "get" "b""#) {
        shown += &monitor.recv().expect("a line").to_string();
    }
    assert!(shown.contains(r#"] "set" "b" "7" "60" "5" "value""#) && !shown.contains("secret"), "{shown}");
    let slow = admin.line("SLOWLOG GET 20").expect("a reply").to_string();
    assert!(slow.contains(r#"["set" "b" "7" "60" "5" "value"]"#), "{slow}");
    assert!(slow.contains(r#"["get" "b"]"#) && !slow.contains("secret"), "{slow}");
}

#[test]
fn a_unix_socket_serves_memcached_too() {
    let path = std::env::temp_dir().join(format!("shoal-memcached-{}", std::process::id()));
    let mut both = Both::start(&["--memcached-unixsocket", &path.to_string_lossy(), "--timeout", "60"]);
    both.memcached("set k 0 0 1\nv", "STORED");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("the node listens there");
    stream.write_all(b"get k\r\nstats conns\r\nquit\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers, then closes");
    assert!(answer.starts_with("VALUE k 0 1\r\nv\r\nEND\r\n"), "{answer}");
    assert!(answer.contains(&format!(":addr unix:{}\r\n", path.display())), "{answer}");
    assert_eq!(both.stat("idle_kicks"), 0);
}

#[test]
fn flush_all_and_shutdown_are_settings() {
    let mut both = Both::start(&["--memcached-flush-all", "no"]);
    both.memcached("set k 0 0 1\nx", "STORED");
    both.memcached(
        "flush_all\nflush_all noreply\nget k",
        "CLIENT_ERROR flush_all not allowed\nVALUE k 0 1\nx\nEND",
    );
    let mut binary = Binary::connect(&both.node);
    assert_eq!(binary.ask(0x08, b"", "", b""), vec![(0x20, "Auth failure.".to_owned())]);
    both.memcached("shutdown\nshutdown x", "ERROR: shutdown not enabled\nERROR: shutdown not enabled");
    both.redis("CONFIG SET memcached-flush-all yes memcached-shutdown yes", "+OK");
    both.memcached("flush_all\nget k", "OK\nEND");
    let invalid = "CLIENT_ERROR invalid shutdown mode";
    both.memcached("shutdown x\nshutdown graceful now", &format!("{invalid}\n{invalid}"));
    assert!(both.memcached.closes_after(b"shutdown graceful\r\n").expect("no answer"));
    let ended = both.node.wait(Duration::from_secs(20)).expect("it ends");
    assert!(ended.success(), "{ended}");
}

/// memcached's own suite moves the clock of servers that are built for it, instead of waiting.
#[test]
fn the_clock_can_be_moved_where_debugging_is_allowed() {
    let mut both = Both::start(&["--enable-debug-command", "yes"]);
    both.memcached("set k 0 50 1\nx\ndebugtime 40\nget k", "STORED\nOK\nVALUE k 0 1\nx\nEND");
    both.memcached("debugtime 20\nget k", "OK\nEND");
    both.memcached("set k 0 50 1\nx\ndebugtime -60\nget k", "STORED\nOK\nVALUE k 0 1\nx\nEND");
    both.memcached("debugtime\ndebugtime x", "ERROR\nERROR");
    Both::start(&["--enable-debug-command", "no"]).memcached("debugtime 20", "ERROR");
}

/// It was told what was wrong, which memcached does not do: its suite wants the connection closed and no more.
#[test]
fn an_endless_line_closes_the_connection_without_a_word() {
    let mut both = Both::start(&[]);
    assert!(
        both.memcached.closes_after(format!("incr {} 1", "x".repeat(2100)).as_bytes()).expect("no answer")
    );
}

/// Bytes counted what the node itself needs, and a connection that was sending a value was said to read.
#[test]
fn an_empty_node_has_no_bytes_and_who_sends_a_value_is_seen() {
    let mut both = Both::start(&[]);
    assert_eq!(both.stat("bytes"), 0);
    let mut sending = raw(&both.node);
    assert_eq!(ask(&mut sending, "version\r\nset k 0 0 1\r\n").split(' ').next(), Some("VERSION"));
    // What is read is known to others a moment after it was answered.
    let mut looks = 0;
    let conns = loop {
        let conns = both.memcached.line("stats conns").expect("an answer");
        looks += 1;
        if conns.contains(":state conn_nread\r\n") || looks == 1000 {
            break conns;
        }
    };
    assert_eq!(conns.matches(":state conn_nread").count(), 1, "{conns}");
    assert_eq!(conns.matches(":state conn_parse_cmd").count(), 1, "{conns}");
    assert!(conns.contains(&format!(":listen_addr tcp:{}\r\n", both.node.memcached_addr())), "{conns}");
    assert_eq!(ask(&mut sending, "x\r\n"), "STORED");
    assert!(both.stat("bytes") > 0);
}
