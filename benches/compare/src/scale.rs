//! What the size of a collection costs: processor time per request on one collection, from 10^3 to 10^6 items.

use crate::collection::Fill;
use crate::contender::{self, Contender, Kind};
use crate::load::{self, Keys};
use crate::workload::{CONNECTIONS, Op, Protocol, RESP, Workload};
use crate::{Failure, Options};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

const LIST: Fill = (1, "RPUSH c @run100");
const SET: Fill = (1, "SADD c @run100");
const HASH: Fill = (1, "HSET c @pairrun100");
const SORTED: Fill = (1, "ZADD c @scorerun100");
/// All of one score, so that the order is that of the members.
const LEXICAL: Fill = (1, "ZADD c @evenrun100");

/// What is asked (`SIZE` stands for the number of items) and of what. DEL takes all away at once, so it is sent once.
const ROWS: &[(&str, Fill, u64)] = &[
    ("LINDEX c @numSIZE", LIST, 20_000),
    ("LSET c @numSIZE value:0123456789", LIST, 20_000),
    ("LINSERT c BEFORE @midSIZE x", LIST, 200),
    ("HGET c @anySIZE", HASH, 20_000),
    ("HSET c @anySIZE other", HASH, 20_000),
    ("SISMEMBER c @anySIZE", SET, 20_000),
    ("SRANDMEMBER c", SET, 20_000),
    ("SPOP c", SET, 800),
    ("ZADD c @numSIZE @anySIZE", SORTED, 20_000),
    ("ZRANK c @anySIZE", SORTED, 20_000),
    ("ZRANGEBYSCORE c @num1000 +inf LIMIT 0 10", SORTED, 20_000),
    ("ZREVRANGE c 700 709", SORTED, 20_000),
    ("ZRANGEBYLEX c [element:00000500 + LIMIT 0 10", LEXICAL, 20_000),
    ("DEL c", LIST, 1),
    ("DEL c", HASH, 1),
    ("DEL c", SORTED, 1),
];

/// Measures and prints.
pub fn report(options: &Options) -> Result<(), Failure> {
    println!("\nProcessor time per request on one collection of so many items, us (redis / shoal)\n");
    println!("| {:<46} |            10^3 |            10^4 |            10^5 |            10^6 |", "");
    println!("|{:-<48}|----------------:|----------------:|----------------:|----------------:|", "");
    for &(line, fill, requests) in ROWS.iter().filter(|(line, ..)| options.names(line)) {
        let mut cells = Vec::new();
        for size in SIZES.into_iter().filter(|&size| !options.quick || size < 1_000_000) {
            let line: &'static str = line.replace("SIZE", &size.to_string()).leak();
            let redis = cost(Kind::Redis, line, fill, size, requests, options)?;
            let shoal = match options.shoal.exists() {
                true => cost(Kind::Shoal(1), line, fill, size, requests, options)?,
                false => f64::NAN,
            };
            cells.push(format!("{redis:>6.1} / {shoal:>6.1}"));
        }
        let what = format!("{line} ({})", fill.1.split(' ').next().unwrap_or_default());
        println!("| {what:<46} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// Microseconds per request.
fn cost(
    kind: Kind,
    line: &'static str,
    (_, fill): Fill,
    size: u64,
    requests: u64,
    options: &Options,
) -> Result<f64, Failure> {
    let of = |line, keys| Workload { op: Op::Line(line), pipeline: 16, keys, ..RESP };
    let (core, load_core) = if contender::cores() > 1 { ("0", Some(1)) } else { ("0", None) };
    let workload = of(line, 1);
    let contender = Contender::start(kind, core, &workload, options)?;
    contender::pin(load_core);
    let addr = contender.addr(Protocol::Resp);
    load::run(addr, &of(fill, size / 100), 1, 0, Keys::Each { from: 0, to: size / 100 })?;
    let before = contender.cpu_ns()?;
    let outcome = load::run(addr, &workload, CONNECTIONS.min(requests as usize), requests, Keys::Drawn(1))?;
    Ok((contender.cpu_ns()? - before) as f64 / outcome.requests as f64 / 1000.0)
}
