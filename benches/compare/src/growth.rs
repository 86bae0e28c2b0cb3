//! What growing costs: processor time per request and the slowest replies, from 10^5 to 10^7 keys.

use crate::contender::{self, Contender, Kind};
use crate::load::{self, Keys};
use crate::workload::{Op, Protocol, RESP, Workload};
use crate::{Failure, Options};

/// Keys at the end of each stretch.
const STRETCHES: &[u64] = &[100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// Requests that read back after each stretch.
const READS: u64 = 300_000;

/// Measures and prints. Each stretch writes new keys in batches of 16 over 10 connections.
pub fn report(options: &Options) -> Result<(), Failure> {
    let last = if options.quick { 300_000 } else { 10_000_000 };
    println!("\nGrowing: us of processor time per request, and time for a batch of 16 SETs while growing\n");
    println!("| server     |     keys | SET us | GET us | median ms | 99.9 % ms | longest ms |");
    println!("|------------|---------:|-------:|-------:|----------:|----------:|-----------:|");
    let (core, load_core) = match contender::cores() {
        1 => ("0".to_string(), None),
        _ => ("0".to_string(), Some(1)),
    };
    for kind in [Kind::Redis, Kind::Memcached(1), Kind::Shoal(1)] {
        if matches!(kind, Kind::Shoal(_)) && !options.shoal.exists() {
            continue;
        }
        let memcached = matches!(kind, Kind::Memcached(_));
        let protocol = if memcached { Protocol::Memcached } else { Protocol::Resp };
        let write = Workload { protocol, op: Op::Set, pipeline: 16, ..RESP };
        let contender = Contender::start(kind, &core, &write, options)?;
        contender::pin(load_core);
        let addr = contender.addr(protocol);
        let mut from = 0;
        for &to in STRETCHES.iter().filter(|&&to| to <= last) {
            let before = contender.cpu_ns()?;
            let written = load::run(addr, &write, 10, 0, Keys::Each { from, to })?;
            let between = contender.cpu_ns()?;
            let read = Workload { op: Op::Get, keys: to, ..write };
            let reads = load::run(addr, &read, 10, READS, Keys::Drawn(to))?;
            let after = contender.cpu_ns()?;
            let us = |ns: u64, requests: u64| ns as f64 / requests as f64 / 1000.0;
            let ms = |ns: u64| ns as f64 / 1e6;
            println!(
                "| {:<10} | {to:>8} | {:>6.2} | {:>6.2} | {:>9.3} | {:>9.3} | {:>10.3} |",
                kind.name(),
                us(between - before, written.requests),
                us(after - between, reads.requests),
                ms(written.latency.value_at_quantile(0.5)),
                ms(written.latency.value_at_quantile(0.999)),
                ms(written.latency.max()),
            );
            from = to;
        }
    }
    Ok(())
}
