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
    Ok(held)
}

fn per_item(kind: Kind, op: Op, items: u64, options: &Options) -> Result<Option<f64>, Failure> {
    if matches!(kind, Kind::Shoal(_)) && !options.shoal.exists() {
        return Ok(None);
    }
    let protocol = if matches!(kind, Kind::Memcached(_)) { Protocol::Memcached } else { Protocol::Resp };
    let workload = Workload { protocol, op, pipeline: 64, keys: items, ..RESP };
    let all = format!("0-{}", crate::contender::cores() - 1);
    crate::contender::pin(None);
    let contender = Contender::start(kind, &all, &workload, options)?;
    let empty = contender.resident()?;
    load::run(contender.addr(protocol), &workload, 10, 0, Keys::Each { from: 0, to: items })?;
    // Tables still moving to their final size finish, and freed pages go back.
    thread::sleep(Duration::from_secs(2));
    Ok(Some((contender.resident()? - empty) as f64 / items as f64))
}
