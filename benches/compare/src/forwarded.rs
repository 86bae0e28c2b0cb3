//! What it costs that another node answers, and that another node has a copy: processor time of all nodes together, and time.

use std::net::SocketAddr;

use crate::cost::{SERVER_CORE, median};
use crate::load::{self, Keys};
use crate::nodes::Cluster;
use crate::workload::{CONNECTIONS, KEYS, Op, RESP, Workload};
use crate::{Failure, Options, contender};

/// What a request may cost that another node answers, or has a copy of, relative to one that is answered here alone.
const ROWS: &[(&str, Workload, Option<f64>)] = &[
    ("forwarded GET", RESP, Some(2.2)),
    ("forwarded SET", Workload { op: Op::Set, ..RESP }, Some(2.2)),
    ("forwarded GET x16", Workload { pipeline: 16, ..RESP }, Some(2.5)),
    ("forwarded SET x16", Workload { pipeline: 16, op: Op::Set, ..RESP }, Some(2.5)),
    ("replicated SET", Workload { op: Op::Set, ..RESP }, Some(2.5)),
    ("replicated SET x16", Workload { pipeline: 16, op: Op::Set, ..RESP }, None),
];

/// The row on time.
const LATENCY: &str = "replicated SET, time";

/// A node of one cluster, and keys.
#[derive(Clone, Copy)]
struct Target<'c> {
    cluster: &'c Cluster,
    keys: &'static [u64],
}

impl<'c> Target<'c> {
    /// Keys that node `at` serves; it is always the first node that is asked.
    fn new(cluster: &'c Cluster, at: usize) -> Result<Target<'c>, Failure> {
        let keys = cluster.keys_by_node(KEYS)?.swap_remove(at);
        Ok(Target { cluster, keys: keys.leak() })
    }

    fn addr(&self) -> SocketAddr {
        self.cluster.nodes[0].addr()
    }

    /// Microseconds of processor time per request.
    fn cost(&self, workload: &Workload, requests: u64, seed: u64) -> Result<f64, Failure> {
        let before = self.cluster.cpu_ns()?;
        let outcome = load::run(self.addr(), workload, CONNECTIONS, requests, Keys::Among(self.keys, seed))?;
        Ok((self.cluster.cpu_ns()? - before) as f64 / outcome.requests as f64 / 1000.0)
    }

    /// Microseconds half of the requests of a single connection take at most.
    fn p50(&self, workload: &Workload, requests: u64) -> Result<f64, Failure> {
        let outcome = load::run(self.addr(), workload, 1, requests, Keys::Among(self.keys, 1))?;
        Ok(outcome.latency.value_at_quantile(0.5) as f64 / 1000.0)
    }
}

/// Measures and prints; whether every bound held.
pub fn report(options: &Options) -> Result<bool, Failure> {
    let rows: Vec<_> = ROWS.iter().filter(|(name, ..)| options.names(name)).collect();
    if rows.is_empty() && !options.names(LATENCY) {
        return Ok(true);
    }
    let is_wide = contender::cores() > 1;
    let cores = if is_wide { SERVER_CORE.to_string() } else { "0".into() };
    contender::pin(is_wide.then_some(SERVER_CORE + 1));
    let single = Cluster::start(2, 1, &cores, options)?;
    let copied = Cluster::start(2, 2, &cores, options)?;
    for cluster in [&single, &copied] {
        let fill = Workload { op: Op::Set, pipeline: 16, ..RESP };
        load::run(cluster.nodes[0].addr(), &fill, CONNECTIONS, 0, Keys::Each { from: 0, to: KEYS })?;
    }
    let local = Target::new(&single, 0)?;
    let (remote, replicated) = (Target::new(&single, 1)?, Target::new(&copied, 0)?);

    let mut held = true;
    println!(
        "\nServer processor time per request, two nodes on one core together, us (medians of {} rounds)\n",
        options.rounds
    );
    println!("| {:<22} |  here | there or copied | ratio         |", "");
    println!("|{:-<24}|------:|----------------:|:--------------|", "");
    for (name, workload, bound) in rows {
        let other = if name.starts_with("forwarded") { &remote } else { &replicated };
        let scale = if options.quick { 1 } else { 3 };
        let requests = scale * if workload.pipeline > 1 { 100_000 } else { 30_000 };
        let mut figures = Vec::new();
        // Round 0 warms caches and is not counted.
        for round in 0..=options.rounds as u64 {
            let pair = (local.cost(workload, requests, round)?, other.cost(workload, requests, round)?);
            if round > 0 {
                figures.push(pair);
            }
        }
        let middle =
            |of: fn(&(f64, f64)) -> f64| median(figures.iter().map(of).collect()).unwrap_or(f64::NAN);
        let (cell, is_below) = judged(middle(|(here, other)| other / here), *bound, "");
        held &= is_below;
        println!(
            "| {name:<22} | {:>5.2} | {:>15.2} | {cell:<13} |",
            middle(|pair| pair.0),
            middle(|pair| pair.1)
        );
    }
    drop((single, copied));
    if options.names(LATENCY) {
        held &= latency(options)?;
    }
    Ok(held)
}

/// What a copy adds to the time of a single request: it may be one more round trip.
fn latency(options: &Options) -> Result<bool, Failure> {
    contender::pin(None);
    let all = format!("0-{}", contender::cores() - 1);
    let (single, copied) = (Cluster::start(2, 1, &all, options)?, Cluster::start(2, 2, &all, options)?);
    let (alone, replicated) = (Target::new(&single, 0)?, Target::new(&copied, 0)?);
    let set = Workload { op: Op::Set, ..RESP };
    let requests = if options.quick { 5_000 } else { 20_000 };
    let mut figures = Vec::new();
    for round in 0..=options.rounds {
        let ping = alone.p50(&Workload { op: Op::Line("PING"), ..RESP }, requests)?;
        let figure = (ping, alone.p50(&set, requests)?, replicated.p50(&set, requests)?);
        if round > 0 {
            figures.push(figure);
        }
    }
    let middle =
        |of: fn(&(f64, f64, f64)) -> f64| median(figures.iter().map(of).collect()).unwrap_or(f64::NAN);
    let (cell, is_below) = judged(middle(|(ping, alone, copied)| (copied - alone) / ping), Some(1.0), "");
    println!("\nTime of one request of a single connection, us (p50)\n");
    println!("| {:<22} |  PING | SET here alone | SET with a copy | added : PING  |", "");
    println!("|{:-<24}|------:|---------------:|----------------:|:--------------|", "");
    println!(
        "| {LATENCY:<22} | {:>5.1} | {:>14.1} | {:>15.1} | {cell:<13} |",
        middle(|figure| figure.0),
        middle(|figure| figure.1),
        middle(|figure| figure.2),
    );
    Ok(is_below)
}

/// A figure with its bound, and whether it keeps it.
pub fn judged(figure: f64, bound: Option<f64>, unit: &str) -> (String, bool) {
    let Some(bound) = bound else { return (format!("{figure:.2}{unit}"), true) };
    let is_below = figure <= bound;
    (format!("{figure:.2}{unit} <={bound:.2}{}", if is_below { "" } else { " OVER" }), is_below)
}
