//! Resident bytes per item, keys and values included.

use std::thread;
use std::time::Duration;

use crate::contender::{Contender, Kind};
use crate::load::{self, Keys};
use crate::workload::{Op, Protocol, RESP, Workload};
use crate::{Failure, Options};

/// What is stored, and the most bytes one may take in Shoal.
const ITEMS: &[(&str, Op, Option<f64>)] = &[
    ("16 B key, 64 B value", Op::Set, Some(120.0)),
    ("the same with a time to live", Op::SetExpiring, Some(128.0)),
    ("hash of five 12 B fields", Op::HsetFive, None),
];

/// Measures and prints; whether every bound held.
pub fn report(options: &Options) -> Result<bool, Failure> {
    let items = if options.quick { 300_000 } else { 2_000_000 };
    println!("\nResident bytes per item, {items} items\n");
    println!("| {:<28} | redis | memcached | shoal        |", "");
    println!("|{:-<30}|------:|----------:|:-------------|", "");
    let mut held = true;
    for &(name, op, bound) in ITEMS.iter().filter(|(name, ..)| options.names(name)) {
        let redis = per_item(Kind::Redis, op, items, options)?;
        let memcached = match op {
            Op::HsetFive => None,
            _ => per_item(Kind::Memcached(1), op, items, options)?,
        };
        let shoal = per_item(Kind::Shoal(2), op, items, options)?;
        let over = shoal.zip(bound).is_some_and(|(shoal, bound)| shoal > bound);
        held &= !over;
        let cell = |bytes: Option<f64>| bytes.map_or("-".into(), |b| format!("{b:.0}"));
        let mut judged = cell(shoal);
        if let Some(bound) = bound {
            judged.push_str(&format!(" <={bound:.0}{}", if over { " OVER" } else { "" }));
        }
        println!("| {name:<28} | {:>5} | {:>9} | {judged:<12} |", cell(redis), cell(memcached));
    }
    Ok(held & report_collections(options)?)
}

fn per_item(kind: Kind, op: Op, items: u64, options: &Options) -> Result<Option<f64>, Failure> {
    let protocol = if matches!(kind, Kind::Memcached(_)) { Protocol::Memcached } else { Protocol::Resp };
    let workload = Workload { protocol, op, pipeline: 64, keys: items, ..RESP };
    Ok(taken(kind, &workload, 1, options)?.map(|bytes| bytes / items as f64))
}

/// Bytes that a server takes once each key of `workload` was written so many times.
fn taken(kind: Kind, workload: &Workload, times: u32, options: &Options) -> Result<Option<f64>, Failure> {
    if matches!(kind, Kind::Shoal(_)) && !options.shoal.exists() {
        return Ok(None);
    }
    let all = format!("0-{}", crate::contender::cores() - 1);
    crate::contender::pin(None);
    let contender = Contender::start(kind, &all, workload, options)?;
    let write =
        |to| load::run(contender.addr(workload.protocol), workload, 10, 0, Keys::Each { from: 0, to });
    // What connections and their buffers take is no item's.
    write(workload.keys.min(160))?;
    contender.flush(workload.protocol)?;
    let empty = contender.resident()?;
    for _ in 0..times {
        write(workload.keys)?;
    }
    // Tables still moving to their final size finish, and freed pages go back.
    thread::sleep(Duration::from_secs(2));
    Ok(Some((contender.resident()? - empty) as f64))
}

/// Collections of a million items together: what they are, the request, keys, how often it is sent for each, and items it adds.
const COLLECTIONS: &[(&str, &str, u64, u32, u64)] = &[
    ("lists of 10", "RPUSH @key @all10", 100_000, 1, 10),
    ("lists of 100", "RPUSH @key @all100", 10_000, 1, 100),
    ("lists of 100 k", "RPUSH @big @run100", 10_000, 1, 100),
    ("sets of 10", "SADD @key @all10", 100_000, 1, 10),
    ("sets of 100", "SADD @key @all100", 10_000, 1, 100),
    ("sets of 100 k", "SADD @big @run100", 10_000, 1, 100),
    ("sets of 100 integers", "SADD @key @ints100", 10_000, 1, 100),
    ("hashes of 10", "HSET @key @pairs10", 100_000, 1, 10),
    ("hashes of 100", "HSET @key @pairs100", 10_000, 1, 100),
    ("hashes of 100 k", "HSET @big @pairrun100", 10_000, 1, 100),
    ("sorted sets of 10", "ZADD @key @scored10", 100_000, 1, 10),
    ("sorted sets of 100", "ZADD @key @scored100", 10_000, 1, 100),
    ("sorted sets of 100 k", "ZADD @big @scorerun100", 10_000, 1, 100),
    ("streams of 10", "XADD @key * field value:0123456789", 100_000, 10, 1),
    ("streams of 100", "XADD @key * field value:0123456789", 10_000, 100, 1),
    ("streams of 100 k", "XADD @huge * field value:0123456789", 1_000_000, 1, 1),
];

/// What one item may take in Shoal, relative to redis-server.
const COLLECTION_BOUND: f64 = 1.0;

/// Measures collections and prints; whether the bound held for each.
fn report_collections(options: &Options) -> Result<bool, Failure> {
    println!("\nResident bytes per item of collections of 16 B elements (and 16 B values), keys included\n");
    println!("| {:<28} | redis | shoal | shoal : redis |", "");
    println!("|{:-<30}|------:|------:|:--------------|", "");
    let mut held = true;
    for &(name, line, keys, times, adds) in COLLECTIONS.iter().filter(|(name, ..)| options.names(name)) {
        let keys = if options.quick { keys / 10 } else { keys };
        let workload = Workload { op: Op::Line(line), pipeline: 16, keys, ..RESP };
        let items = (keys * u64::from(times) * adds) as f64;
        let redis = taken(Kind::Redis, &workload, times, options)?;
        let shoal = taken(Kind::Shoal(2), &workload, times, options)?;
        let cell = |bytes: Option<f64>| bytes.map_or("-".into(), |bytes| format!("{:.1}", bytes / items));
        let ratio = redis.zip(shoal).map(|(redis, shoal)| shoal / redis);
        let over = ratio.is_some_and(|ratio| ratio > COLLECTION_BOUND);
        held &= !over;
        let judged = ratio.map_or("-".into(), |ratio| {
            format!("{ratio:.2} <={COLLECTION_BOUND:.2}{}", if over { " OVER" } else { "" })
        });
        println!("| {name:<28} | {:>5} | {:>5} | {judged:<13} |", cell(redis), cell(shoal));
    }
    Ok(held)
}
