//! What clients feel when a node is killed or stopped: 8 writers through the other nodes, half of them to the victim's keys.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::cost::median;
use crate::forwarded::judged;
use crate::nodes::Cluster;
use crate::workload::KEYS;
use crate::writers::{Orders, WRITERS, Writer, Written};
use crate::{Failure, Options, contender};

/// A fault, with what of it clients may feel: seconds without an answer for the victim's keys, and for all others.
struct Fault {
    name: &'static str,
    signal: &'static str,
    victims: f64,
    others: f64,
    /// Calls that may fail: those under way when nobody can know any more what became of them.
    failed: usize,
    /// What valkey 8.0.1 was measured at, 3 primaries and 3 replicas, with a node timeout of 15 s (and of 2 s).
    rival: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "failover kill -9",
        signal: "KILL",
        victims: 1.5,
        others: 0.1,
        failed: WRITERS,
        rival: "victim's 19.7 / 21.6 (4.3 / 4.5), others' 0.99 / 1.20, failed 13,729 (2,831), lost 0 (0 to 4)",
    },
    Fault {
        name: "failover SIGTERM",
        signal: "TERM",
        victims: 0.05,
        others: 0.05,
        failed: 0,
        rival: "victim's 20.6 / 23.7, others' 0.94, failed 14,139, lost 0; planned hand-over 0.05 / 0.06, failed 0",
    },
];

/// What one fault did.
struct Felt {
    victims: f64,
    others: f64,
    failed: Vec<String>,
    lost: usize,
}

/// Measures and prints; whether every bound held.
pub fn report(options: &Options) -> Result<bool, Failure> {
    let faults: Vec<&Fault> = FAULTS.iter().filter(|fault| options.names(fault.name)).collect();
    if faults.is_empty() {
        return Ok(true);
    }
    contender::pin(None);
    let all = format!("0-{}", contender::cores() - 1);
    let times = if options.quick { 3 } else { 10 };
    let mut cluster = Cluster::start(3, 2, &all, options)?;
    let mut held = true;
    println!(
        "\nThree nodes, two copies, {WRITERS} writers at 4,000 calls/s, {times} times each: the longest silence, s (median / worst)\n"
    );
    println!("| {:<18} | victim's keys         | others' keys          | failed calls | lost writes |", "");
    println!("|{:-<20}|:----------------------|:----------------------|:-------------|:------------|", "");
    let mut how = BTreeSet::new();
    for fault in &faults {
        let mut felt = Vec::new();
        for turn in 0..times {
            // The one that leads, and two that do not.
            let leader = cluster.leader()?;
            felt.push(strike(&mut cluster, (leader + turn) % 3, fault)?);
        }
        let of = |figure: fn(&Felt) -> f64, bound| {
            let figures: Vec<f64> = felt.iter().map(figure).collect();
            let (worst, is_below) = judged(figures.iter().copied().fold(0.0, f64::max), Some(bound), "");
            (format!("{:.2} / {worst}", median(figures).unwrap_or_default()), is_below)
        };
        let (victims, first) = of(|felt| felt.victims, fault.victims);
        let (others, second) = of(|felt| felt.others, fault.others);
        let failed = felt.iter().map(|felt| felt.failed.len()).max().unwrap_or_default();
        let lost: usize = felt.iter().map(|felt| felt.lost).sum();
        how.extend(felt.into_iter().flat_map(|felt| felt.failed));
        let over = |is_over: bool| if is_over { " OVER" } else { "" };
        println!(
            "| {:<18} | {victims:<21} | {others:<21} | {:<12} | {:<11} |",
            fault.name,
            format!("{failed} <={}{}", fault.failed, over(failed > fault.failed)),
            format!("{lost} <=0{}", over(lost > 0)),
        );
        held &= first && second && failed <= fault.failed && lost == 0;
    }
    how.iter().for_each(|how| println!("  failed: {how}"));
    println!("\nvalkey 8.0.1, the same measured on another machine of the kind:");
    faults.iter().for_each(|fault| println!("  {}: {}", fault.name, fault.rival));
    Ok(held)
}

/// Strikes node `victim` while clients write, and has it back as it was.
fn strike(cluster: &mut Cluster, victim: usize, fault: &Fault) -> Result<Felt, Failure> {
    let by_node = cluster.keys_by_node(KEYS)?;
    let living: Vec<usize> = (0..cluster.nodes.len()).filter(|at| *at != victim).collect();
    let start = |at: usize| {
        let source = if at.is_multiple_of(2) { victim } else { living[at / 2 % 2] };
        let through = living[at / 2 % 2];
        let keys = by_node[source].iter().copied().skip(at / 2).step_by(WRITERS / 2).take(1000).collect();
        let addrs = [through, living[(at / 2 + 1) % 2]].map(|at| cluster.nodes[at].addr()).to_vec();
        Writer::start(Orders { addrs, keys, value: 100, write_one_in: 1 })
    };
    let writers: Vec<Writer> = (0..WRITERS).map(start).collect();
    std::thread::sleep(Duration::from_secs(1));
    let struck = Instant::now();
    cluster.nodes[victim].signal(fault.signal)?;
    cluster.nodes[victim].wait()?;
    std::thread::sleep(Duration::from_secs(4));
    let written = writers.into_iter().map(Writer::stop).collect::<Result<Vec<Written>, Failure>>()?;
    let silence = |of: usize| {
        let concerned = written.iter().skip(of).step_by(2);
        concerned.map(|written| written.silence(struck).as_secs_f64()).fold(0.0, f64::max)
    };
    let addr = cluster.nodes[living[0]].addr();
    let lost = written.iter().map(|written| written.lost(addr)).sum::<Result<usize, Failure>>()?;
    let failed = written.iter().flat_map(|written| &written.failed).map(|(_, how)| how.clone()).collect();
    let felt = Felt { victims: silence(0), others: silence(1), failed, lost };
    cluster.nodes[victim].start_again()?;
    cluster.settle()?;
    Ok(felt)
}
