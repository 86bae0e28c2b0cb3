//! What the codec costs per request: `cargo bench -p shoal-protocol --bench codec`.
//!
//! Pipelines of ordinary requests are parsed and answered as a connection does it, with our parser and writer and with
//! those of the `redis-protocol` crate. The ratio is the reason for having our own.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use redis_protocol::resp2::types::BorrowedFrame;
use redis_protocol::resp2::{decode, encode};
use shoal_protocol::resp::{Limits, Output, Proto, RequestParser, format_double, frame_len};

/// Requests per pipeline.
const DEPTH: usize = 16;

fn main() {
    let key = "key:000000001234";
    let value = "v".repeat(64);
    let get = request(&["GET", key]);
    let set = request(&["SET", key, &value]);
    let set_ex = request(&["SET", key, &value, "EX", "3600"]);
    let zadd = request(&["ZADD", key, "1.5", "member:1", "2", "member:2"]);
    let mset: Vec<&str> = ["MSET"].into_iter().chain([key, value.as_str()].repeat(50)).collect();
    let mset = request(&mset);

    println!(
        "ns per request, parse and answer    ours    crate   crate/ours    parse only: ours   per argument"
    );
    let bulk = value.as_bytes();
    compare("GET", &get, 2, |out| out.bulk(bulk), BorrowedFrame::BulkString(bulk));
    compare("SET", &set, 3, Output::ok, BorrowedFrame::SimpleString(b"OK"));
    compare("SET EX", &set_ex, 5, Output::ok, BorrowedFrame::SimpleString(b"OK"));
    compare("ZADD", &zadd, 6, |out| out.int(2), BorrowedFrame::Integer(2));
    compare("MSET of 50", &mset, 101, Output::ok, BorrowedFrame::SimpleString(b"OK"));

    println!("\nns per reply");
    reply("+OK", Output::ok);
    reply(":1", |out| out.int(1));
    reply(":123456", |out| out.int(123_456));
    reply("nil", Output::null);
    reply("bulk of 5 B", |out| out.bulk(b"hello"));
    reply("bulk of 64 B", |out| out.bulk(bulk));
    reply("bulk of 1 KB", |out| out.bulk(&[b'v'; 1024]));
    for len in [1024, 2048, 4096, 16384] {
        let long = vec![b'v'; len];
        reply(&format!("bulk of {len} B, copied"), |out| out.bulk(&long));
        let shared = Arc::new(long);
        reply(&format!("bulk of {len} B, shared from {}", Output::SHARE_MIN), |out| out.bulk_shared(&shared));
    }
    reply("double 3.25", |out| out.double(3.25));
    reply("double pi", |out| out.double(std::f64::consts::PI));
    reply("array of 100 bulks of 8 B", |out| {
        out.array(100);
        (0..100).for_each(|_| out.bulk(b"12345678"));
    });
    reply("the same, deferred", |out| {
        let array = out.deferred_array();
        (0..100).for_each(|_| out.bulk(b"12345678"));
        out.set_deferred(array, 100);
    });

    let mut out = Output::new(Proto::Resp2);
    out.array(100);
    (0..100).for_each(|_| out.bulk(b"12345678"));
    let frame = out.take_bytes();
    println!("{:<32}{:>8.1}", "frame_len of that array", time(1, || frame_len(black_box(&frame)).unwrap()));
    let mut text = Vec::with_capacity(64);
    let pi = time(1, || {
        text.clear();
        format_double(black_box(std::f64::consts::PI), &mut text);
    });
    println!("{:<32}{pi:>8.1}", "format_double of pi");
}

/// Parses and answers a pipeline of `wire`, both ways.
fn compare(name: &str, wire: &[u8], args: usize, answer: impl Fn(&mut Output), frame: BorrowedFrame) {
    let pipeline = wire.repeat(DEPTH);
    let limits = Limits::default();
    let mut parser = RequestParser::new();
    let mut out = Output::new(Proto::Resp2);
    let ours = time(DEPTH, || {
        let mut rest = black_box(&pipeline[..]);
        out.clear();
        while let Ok(Some(parsed)) = parser.parse(rest, &limits) {
            black_box(parser.args(rest)[0][0]);
            answer(&mut out);
            rest = &rest[parsed.consumed..];
        }
        out.len()
    });
    let parse_only = time(DEPTH, || {
        let mut rest = black_box(&pipeline[..]);
        while let Ok(Some(parsed)) = parser.parse(rest, &limits) {
            black_box(parser.args(rest)[0][0]);
            rest = &rest[parsed.consumed..];
        }
    });
    // The crate's cheapest decoder: offsets into the buffer, no copies of arguments.
    let mut encoded = BytesMut::with_capacity(4096);
    let theirs = time(DEPTH, || {
        let mut rest = black_box(&pipeline[..]);
        encoded.clear();
        while let Ok(Some((request, consumed))) = decode::decode_range(rest) {
            black_box(request);
            encode::extend_encode_borrowed(&mut encoded, &frame, false).expect("a valid frame");
            rest = &rest[consumed..];
        }
        encoded.len()
    });
    println!(
        "{name:<32}{ours:>8.1} {theirs:>8.1} {:>12.1} {parse_only:>20.1} {:>14.2}",
        theirs / ours,
        parse_only / args as f64
    );
}

fn reply(name: &str, write: impl Fn(&mut Output)) {
    let mut out = Output::new(Proto::Resp3);
    let cost = time(DEPTH, || {
        out.clear();
        (0..DEPTH).for_each(|_| write(black_box(&mut out)));
    });
    println!("{name:<32}{cost:>8.1}");
}

fn request(args: &[&str]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", args.len());
    for arg in args {
        wire.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    wire.into_bytes()
}

/// Nanoseconds per unit of a run of `units`: the best of many short rounds, as what else the machine does only adds.
fn time<T>(units: usize, mut run: impl FnMut() -> T) -> f64 {
    let begin = Instant::now();
    let mut runs = 0u32;
    while begin.elapsed() < Duration::from_millis(20) {
        black_box(run());
        runs += 1;
    }
    let per_round = (runs / 10).max(1);
    let mut best = f64::MAX;
    for _ in 0..100 {
        let begin = Instant::now();
        for _ in 0..per_round {
            black_box(run());
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / f64::from(per_round));
    }
    best / units as f64
}
