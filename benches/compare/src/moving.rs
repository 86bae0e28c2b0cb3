//! What clients feel while partitions move: steady calls, calm first, then until everything is where it belongs.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::forwarded::judged;
use crate::load::{self, Keys};
use crate::nodes::{Cluster, PARTITION};
use crate::workload::{CONNECTIONS, Op, RESP, Workload};
use crate::writers::{Orders, WRITERS, Writer, Written};
use crate::{Failure, Options, contender};

/// What is moved, and what of it clients may feel.
struct Move {
    name: &'static str,
    /// Keys of 100 bytes, and copies of each.
    keys: u64,
    copies: usize,
    /// What starts it.
    begin: fn(&mut Cluster, &Options) -> Result<(), Failure>,
    seconds: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

const MOVES: &[Move] = &[
    Move {
        name: "moving 4096 slots",
        keys: 500_000,
        copies: 1,
        begin: move_slots,
        seconds: Some(5.0),
        p99_ms: Some(1.0),
        max_ms: Some(10.0),
    },
    Move {
        name: "moving: third joins",
        keys: 1_000_000,
        copies: 2,
        begin: add_node,
        seconds: None,
        p99_ms: None,
        max_ms: None,
    },
];

/// What p99 may grow to.
const P99_BOUND: f64 = 3.0;

/// Moves a quarter of all slots: an eighth to the second node, as much as which the plan then gives back to the first.
fn move_slots(cluster: &mut Cluster, _: &Options) -> Result<(), Failure> {
    let target = cluster.nodes[1].ask("CLUSTER MYID")?;
    let first = cluster.nodes[0].addr().port();
    let served = cluster.holders()?.into_iter().enumerate().filter(|(_, ports)| ports[0] == first);
    for (partition, _) in served.take(32) {
        let slot = partition * PARTITION;
        let answer =
            cluster.nodes[0].ask(&format!("CLUSTER MOVE {slot}-{} {target}", slot + PARTITION - 1))?;
        if answer != "+OK" {
            return Err(answer.into());
        }
    }
    Ok(())
}

/// Adds a node, which is given its share.
fn add_node(cluster: &mut Cluster, options: &Options) -> Result<(), Failure> {
    let all = format!("0-{}", contender::cores() - 1);
    cluster.add(&all, options)
}

/// Measures and prints; whether every bound held.
pub fn report(options: &Options) -> Result<bool, Failure> {
    let moves: Vec<&Move> = MOVES.iter().filter(|row| options.names(row.name)).collect();
    if moves.is_empty() {
        return Ok(true);
    }
    println!("\nMoving keys of 100 B between nodes under 4,000 calls/s, half of them writes\n");
    println!(
        "| {:<20} | keys moved | seconds        | p99 calm, ms | p99 meanwhile   | to calm       | max, ms          | errors |",
        ""
    );
    println!(
        "|{:-<22}|-----------:|:---------------|-------------:|:----------------|:--------------|:-----------------|-------:|",
        ""
    );
    let mut held = true;
    for row in moves {
        held &= measure(row, options)?;
    }
    println!("\nvalkey 8.0.1, 4096 slots, 125 k keys: 13-17 s, p99 0.27 -> 1.2 ms, max 28-114 ms");
    Ok(held)
}

fn measure(row: &Move, options: &Options) -> Result<bool, Failure> {
    contender::pin(None);
    let all = format!("0-{}", contender::cores() - 1);
    let keys = if options.quick { row.keys / 4 } else { row.keys };
    let mut cluster = Cluster::start(2, row.copies, &all, options)?;
    let fill = Workload { op: Op::Set, value: 100, pipeline: 16, ..RESP };
    load::run(cluster.nodes[0].addr(), &fill, CONNECTIONS, 0, Keys::Each { from: 0, to: keys })?;
    let addrs: Vec<_> = cluster.nodes.iter().map(|node| node.addr()).collect();
    let start = |at: usize| {
        let mut addrs = addrs.clone();
        addrs.rotate_left(at % 2);
        let keys = (at as u64..keys).step_by(WRITERS).collect();
        Writer::start(Orders { addrs, keys, value: 100, write_one_in: 2 })
    };
    let writers: Vec<Writer> = (0..WRITERS).map(start).collect();
    let warm = Instant::now() + Duration::from_secs(1);
    std::thread::sleep(Duration::from_secs(if options.quick { 3 } else { 6 }));
    let before = cluster.holders()?;
    let begun = Instant::now();
    (row.begin)(&mut cluster, options)?;
    let ended = cluster.settle()?;
    let after = cluster.holders()?;
    let come =
        |(before, after): (&Vec<u16>, &Vec<u16>)| after.iter().filter(|port| !before.contains(port)).count();
    let come: usize = before.iter().zip(&after).map(come).sum();
    let moved = keys * come as u64 / before.len() as u64 / 1000;
    let written = writers.into_iter().map(Writer::stop).collect::<Result<Vec<Written>, Failure>>()?;
    let (calm, meanwhile) = (times(&written, warm, begun), times(&written, begun, ended));
    let lost = written.iter().map(|written| written.lost(addrs[0])).sum::<Result<usize, Failure>>()?;
    let errors = lost + written.iter().map(|written| written.failed.len()).sum::<usize>();
    let p99 = |times: &Histogram<u64>| times.value_at_quantile(0.99) as f64 / 1e6;
    let growth = p99(&meanwhile) / p99(&calm);
    let cells = [
        judged((ended - begun).as_secs_f64(), row.seconds, ""),
        judged(p99(&meanwhile), row.p99_ms, ""),
        judged(growth, Some(P99_BOUND), ""),
        judged(meanwhile.max() as f64 / 1e6, row.max_ms, ""),
    ];
    println!(
        "| {:<20} | {:>10} | {:<14} | {:>12.2} | {:<15} | {:<13} | {:<16} | {errors:>6} |",
        row.name,
        format!("{moved} k"),
        cells[0].0,
        p99(&calm),
        cells[1].0,
        cells[2].0,
        format!("{} ({:.2} calm)", cells[3].0, calm.max() as f64 / 1e6),
    );
    Ok(errors == 0 && cells.iter().all(|(_, is_below)| *is_below))
}

/// How long calls took that were answered between two moments, in nanoseconds.
fn times(written: &[Written], from: Instant, to: Instant) -> Histogram<u64> {
    let mut times = load::histogram();
    let within =
        written.iter().flat_map(|written| &written.answered).filter(|(at, _)| (from..to).contains(at));
    within.for_each(|(_, took)| times.saturating_record(took.as_nanos() as u64));
    times
}
