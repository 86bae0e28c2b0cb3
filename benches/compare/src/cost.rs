//! Processor time per request, in turns on one core, as ratios with the promised bounds beside.

use std::collections::BTreeMap;

use crate::collection;
use crate::contender::{self, Contender, Kind};
use crate::load::{self, Keys};
use crate::workload::{CONNECTIONS, Op, Protocol, WORKLOADS, Workload};
use crate::{Failure, Options};

/// The core the servers have to themselves; the load runs on the next one.
pub const SERVER_CORE: usize = 0;

/// What a second worker may add to the processor time of a request.
const SECOND_WORKER_BOUND: f64 = 1.1;

/// Measures and prints; whether every bound held.
pub fn report(options: &Options) -> Result<bool, Failure> {
    let chosen = |w: &&Workload| options.names(w.name) && (w.quick || !options.quick);
    let workloads: Vec<&Workload> = WORKLOADS.iter().chain(collection::WORKLOADS).filter(chosen).collect();
    let mut held = true;

    println!("\nServer processor time per request, one core, us (medians of {} rounds)\n", options.rounds);
    println!("| {:<22} | floor | redis / memcached | shoal | shoal : floor | shoal : rival |", "");
    println!("|{:-<24}|------:|------------------:|------:|:--------------|:--------------|", "");
    for workload in &workloads {
        let rival = match workload.protocol {
            Protocol::Resp => Kind::Redis,
            Protocol::Memcached => Kind::Memcached(1),
        };
        // The floor answers with one constant, which says little where replies differ.
        let kinds = match workload.op {
            Op::Line(_) => vec![rival, Kind::Shoal(1)],
            _ => vec![Kind::Floor, rival, Kind::Shoal(1)],
        };
        let figures = Figures::take(workload, &kinds, true, options)?;
        let shoal = Kind::Shoal(1);
        let (floor_cell, below_floor) = figures.judged(shoal, Kind::Floor, workload.floor_bound);
        let (rival_cell, below_rival) = figures.judged(shoal, rival, workload.rival_bound);
        held &= below_floor && below_rival;
        println!(
            "| {:<22} | {:>5} | {:>17} | {:>5} | {floor_cell:<13} | {rival_cell:<13} |",
            workload.name,
            figures.cell(Kind::Floor),
            figures.cell(rival),
            figures.cell(shoal),
        );
    }

    println!("\nThe same with a second worker, on all cores together with the load, us\n");
    println!("| {:<22} | memcached | memcached -t 2 | shoal | shoal x2 | x2 : x1       |", "");
    println!("|{:-<24}|----------:|---------------:|------:|---------:|:--------------|", "");
    let has_two = |w: &&&Workload| !w.changes && !matches!(w.op, Op::Line(_)) && w.value == 64;
    for workload in workloads.iter().filter(has_two) {
        let mut kinds = vec![Kind::Shoal(1), Kind::Shoal(2)];
        if workload.protocol == Protocol::Memcached {
            kinds.extend([Kind::Memcached(1), Kind::Memcached(2)]);
        }
        let figures = Figures::take(workload, &kinds, false, options)?;
        let (cell, below) = figures.judged(Kind::Shoal(2), Kind::Shoal(1), Some(SECOND_WORKER_BOUND));
        held &= below;
        println!(
            "| {:<22} | {:>9} | {:>14} | {:>5} | {:>8} | {cell:<13} |",
            workload.name,
            figures.cell(Kind::Memcached(1)),
            figures.cell(Kind::Memcached(2)),
            figures.cell(Kind::Shoal(1)),
            figures.cell(Kind::Shoal(2)),
        );
    }
    Ok(held)
}

/// Microseconds per request of each server, one figure per round.
struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// Runs `workload` against all of `kinds` in turns.
    fn take(workload: &Workload, kinds: &[Kind], apart: bool, options: &Options) -> Result<Figures, Failure> {
        let all = format!("0-{}", contender::cores() - 1);
        let (server_cores, load_core) = match apart && contender::cores() > 1 {
            true => (SERVER_CORE.to_string(), Some(SERVER_CORE + 1)),
            false => (all, None),
        };
        let mut contenders = Vec::new();
        for &kind in kinds {
            if matches!(kind, Kind::Shoal(_)) && !options.shoal.exists() {
                continue;
            }
            contenders.push(Contender::start(kind, &server_cores, workload, options)?);
        }
        contender::pin(load_core);
        let addr = |c: &Contender| c.addr(workload.protocol);
        let scale = if options.quick { 1 } else { 3 };
        let requests = match (workload.pipeline, workload.value) {
            (_, 1024..) => 20_000 * scale,
            _ if matches!(workload.op, Op::Line(_)) => 60_000 * scale,
            (1, _) => 30_000 * scale,
            _ => 150_000 * scale,
        };
        let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        // Round 0 warms caches and is not counted.
        for round in 0..=options.rounds {
            for contender in &contenders {
                if workload.changes {
                    contender.flush(workload.protocol)?;
                }
                if workload.changes || round == 0 {
                    fill(contender, workload)?;
                }
                let before = contender.cpu_ns()?;
                let keys = Keys::Drawn(round as u64);
                let outcome = load::run(addr(contender), workload, CONNECTIONS, requests, keys)?;
                let used = contender.cpu_ns()? - before;
                if round > 0 {
                    let us = used as f64 / outcome.requests as f64 / 1000.0;
                    figures.entry(contender.kind.name()).or_default().push(us);
                }
            }
        }
        Ok(Figures(figures))
    }

    fn of(&self, kind: Kind) -> &[f64] {
        self.0.get(&kind.name()).map_or(&[], Vec::as_slice)
    }

    fn cell(&self, kind: Kind) -> String {
        median(self.of(kind).to_vec()).map_or("-".into(), |us| format!("{us:.2}"))
    }

    /// The ratio of two servers (the median of each round's own ratio) and whether it keeps the bound.
    fn judged(&self, kind: Kind, to: Kind, bound: Option<f64>) -> (String, bool) {
        let ratios = self.of(kind).iter().zip(self.of(to)).map(|(a, b)| a / b).collect();
        let Some(ratio) = median(ratios) else { return ("-".into(), true) };
        match bound {
            None => (format!("{ratio:.2}"), true),
            Some(bound) => {
                let over = if ratio > bound { " OVER" } else { "" };
                (format!("{ratio:.2} <={bound:.2}{over}"), ratio <= bound)
            }
        }
    }
}

/// Sends what the keys of `workload` are to hold.
fn fill(contender: &Contender, workload: &Workload) -> Result<(), Failure> {
    let each = Keys::Each { from: 0, to: workload.keys };
    for (times, filling) in workload.filling() {
        for _ in 0..if contender.kind == Kind::Floor { 0 } else { times } {
            load::run(contender.addr(workload.protocol), &filling, CONNECTIONS, 0, each)?;
        }
    }
    Ok(())
}

/// The middle one, if there is any.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
