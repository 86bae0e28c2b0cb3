//! Many requests, many connections, and clients that do not behave as expected.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use shoal_testkit::resp::{Client, encode};
use shoal_testkit::{Server, Value};

use crate::harness;

/// A connection whose bytes are ours to count.
fn raw(node: &Server) -> TcpStream {
    let stream = TcpStream::connect(node.resp_addr()).expect("a running node accepts connections");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a TCP socket");
    stream
}

#[test]
fn requests_may_be_cut_anywhere() {
    let node = harness::node(&[]);
    let wire = [
        encode(&["SET", "k", "a value of some length"]),
        b"GET k\r\n".to_vec(),
        encode(&["GET", "k"]),
        encode(&["NOSUCH"]),
        encode(&["MGET", "k", "none", "k"]),
    ]
    .concat();
    let mut whole = raw(&node);
    whole.write_all(&wire).expect("sent");
    whole.shutdown(Shutdown::Write).expect("half closed");
    let mut expected = Vec::new();
    whole.read_to_end(&mut expected).expect("replies, then the end");
    assert!(expected.starts_with(b"+OK\r\n$22\r\n"));

    for cut in 1..wire.len() {
        let mut stream = raw(&node);
        stream.write_all(&wire[..cut]).expect("sent");
        // Long enough, most times, for the first piece to be read alone.
        thread::sleep(Duration::from_micros(300));
        stream.write_all(&wire[cut..]).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("replies, then the end");
        assert_eq!(got, expected, "cut at {cut}");
    }
}

#[test]
fn a_client_that_sends_everything_before_it_reads() {
    let node = harness::node(&[]);
    let count = 50_000;
    let mut stream = raw(&node);
    let mut reader = stream.try_clone().expect("a TCP socket");
    let replies = thread::spawn(move || {
        // Let the replies pile up first.
        thread::sleep(Duration::from_millis(200));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).map(|_| got)
    });
    for i in 0..count {
        stream.write_all(&encode(&["ECHO", &format!("number {i}")])).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("half closed");
    let got = replies.join().expect("no panic").expect("replies, then the end");
    let expected: Vec<u8> = (0..count)
        .flat_map(|i| {
            let text = format!("number {i}");
            format!("${}\r\n{text}\r\n", text.len()).into_bytes()
        })
        .collect();
    assert!(got == expected, "{} bytes instead of {}", got.len(), expected.len());
}

#[test]
fn big_values_come_back_whole() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    for size in [4095, 4096, 4097, 65_535, 65_536, 1 << 20, 20 << 20] {
        let value: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        assert_eq!(client.call(&[&b"SET"[..], b"k", &value]).expect("a reply").to_string(), "+OK");
        assert_eq!(client.call(&["GET", "k"]).expect("a reply"), Value::Bulk(value), "{size} bytes");
    }
}

#[test]
fn many_connections() {
    let node = harness::node(&[]);
    let mut clients: Vec<Client> = (0..1000).map(|_| node.connect()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(&["SET", &format!("k{i}"), &i.to_string()]).expect("sent");
    }
    for client in &mut clients {
        assert_eq!(client.recv().expect("a reply").to_string(), "+OK");
    }
    for (i, client) in clients.iter_mut().enumerate() {
        let got = client.call(&["GET", &format!("k{}", 999 - i)]).expect("a reply");
        assert_eq!(got, Value::Bulk((999 - i).to_string().into()));
    }
}

/// Money moves between accounts in transactions; whoever looks at all of them at once sees the same total.
#[test]
fn transactions_and_many_keys_are_seen_whole() {
    const ACCOUNTS: usize = 8;
    let node = harness::node(&[]);
    let name = |i: usize| format!("account:{i}");
    for i in 0..ACCOUNTS {
        node.connect().call(&["SET", &name(i), "1000"]).expect("a reply");
    }
    thread::scope(|scope| {
        for seed in 0..6_usize {
            let mut client = node.connect();
            scope.spawn(move || {
                for turn in 0..300 {
                    let (from, to) = ((seed + turn) % ACCOUNTS, (seed * 3 + turn * 5 + 1) % ACCOUNTS);
                    let amount = (turn % 7).to_string();
                    client.send(&["MULTI"]).expect("sent");
                    client.send(&["DECRBY", &name(from), &amount]).expect("sent");
                    client.send(&["INCRBY", &name(to), &amount]).expect("sent");
                    client.send(&["EXEC"]).expect("sent");
                    let exec = (0..4).map(|_| client.recv().expect("a reply")).last();
                    assert_eq!(exec.expect("four replies").items().len(), 2);
                }
            });
        }
        for _ in 0..2 {
            let mut client = node.connect();
            scope.spawn(move || {
                let mut request = vec!["MGET".to_string()];
                request.extend((0..ACCOUNTS).map(name));
                for _ in 0..500 {
                    let reply = client.call(&request).expect("a reply");
                    let number = |v: &Value| std::str::from_utf8(v.text()?).ok()?.parse::<i64>().ok();
                    let total: i64 = reply.items().iter().filter_map(number).sum();
                    assert_eq!(total, 1000 * ACCOUNTS as i64, "{reply}");
                }
            });
        }
    });
}

#[test]
fn counters_lose_nothing() {
    let node = harness::node(&[]);
    thread::scope(|scope| {
        for _ in 0..8 {
            let mut client = node.connect();
            scope.spawn(move || {
                for _ in 0..50 {
                    let batch = encode(&["INCR", "n"]).repeat(20);
                    client.send_raw(&batch).expect("sent");
                    (0..20).for_each(|_| assert!(client.recv().expect("a reply").int().is_some()));
                }
            });
        }
    });
    assert_eq!(node.connect().line("GET n").expect("a reply"), Value::Bulk(b"8000".to_vec()));
}
