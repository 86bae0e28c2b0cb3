//! What the memcached protocol costs per request: `cargo bench -p shoal-protocol --bench memcache`.
//!
//! Pipelines of ordinary requests are parsed, and parsed and answered, as a connection does it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use shoal_protocol::memcache::write::{self, Code, MetaLine};
use shoal_protocol::memcache::{Limits, Meta, Request, RequestParser};
use shoal_protocol::resp::{Output, Proto};

/// Requests per pipeline.
const DEPTH: usize = 16;

fn main() {
    let value = "v".repeat(64);
    println!("ns per request            parse    parse and answer");
    for (name, request) in [
        ("get", "get key:000000001234\r\n".to_owned()),
        ("gets of 10", format!("gets{}\r\n", " key:000000001234".repeat(10))),
        ("set", format!("set key:000000001234 0 3600 64\r\n{value}\r\n")),
        ("cas", format!("cas key:000000001234 0 3600 64 123456789\r\n{value}\r\n")),
        ("incr", "incr key:000000001234 1\r\n".to_owned()),
        ("mg v", "mg key:000000001234 v\r\n".to_owned()),
        ("mg s v t f c k O q", "mg key:000000001234 s v t f c k O12345 q\r\n".to_owned()),
        ("ms T F", format!("ms key:000000001234 64 T3600 F1\r\n{value}\r\n")),
        ("ms T b", format!("ms a2V5OjAwMDAwMDAwMTIzNA== 64 T3600 b\r\n{value}\r\n")),
    ] {
        let pipeline = request.repeat(DEPTH).into_bytes();
        let (limits, mut parser) = (Limits::default(), RequestParser::new());
        let parse = time(|| {
            let mut rest = black_box(&pipeline[..]);
            while let Ok(Some((request, consumed))) = parser.parse(rest, &limits) {
                black_box(&request);
                rest = &rest[consumed..];
            }
        });
        let mut out = Output::new(Proto::Resp2);
        let both = time(|| {
            let mut rest = black_box(&pipeline[..]);
            out.clear();
            while let Ok(Some((request, consumed))) = parser.parse(rest, &limits) {
                answer(&mut out, &request, value.as_bytes());
                rest = &rest[consumed..];
            }
            black_box(&out);
        });
        println!("{name:<20}{parse:>11.1} {both:>19.1}");
    }
}

fn answer(out: &mut Output, request: &Request<'_>, data: &[u8]) {
    match request {
        Request::Get { keys, with_cas } => {
            for key in *keys {
                write::value(out, key, 0, with_cas.then_some(123_456_789), data);
            }
            out.raw(write::END);
        }
        Request::Store { .. } => out.raw(write::STORED),
        Request::Arith { delta, .. } => write::number(out, *delta),
        Request::MetaGet(meta) => meta_value(out, meta, data),
        _ => MetaLine::new(out, Code::Hd).end(),
    }
}

fn meta_value(out: &mut Output, meta: &Meta<'_>, data: &[u8]) {
    let mut line = MetaLine::with_value(out, data.len());
    for letter in meta.letters() {
        match letter {
            b's' | b'f' | b'c' => line.number(letter, 64),
            b't' => line.ttl(Some(3600)),
            _ => line.echo(meta, letter),
        }
    }
    line.end_with(data);
}

/// Nanoseconds per request of a pipeline: the best of many short rounds, as what else the machine does only adds.
fn time(mut run: impl FnMut()) -> f64 {
    const RUNS: u32 = 100;
    let round = |_| {
        let begin = Instant::now();
        (0..RUNS).for_each(|_| run());
        begin.elapsed()
    };
    let best = (0..2000).map(round).min().unwrap_or(Duration::ZERO);
    best.as_secs_f64() * 1e9 / f64::from(RUNS) / DEPTH as f64
}
