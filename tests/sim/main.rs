//! The whole cluster in one thread, by one seed: real partitions, commands, metadata, leases and copies on a virtual clock and a
//! virtual network, while nodes pause, crash, join and leave and the network is cut.
//!
//! `SHOAL_SIM_SEEDS=n` runs n seeds, `SHOAL_SIM_SEED=s` that one alone, `SHOAL_SIM_TRACE=n` prints so many lines of what went
//! before a failure. `checks.rs` says what must hold.

mod checks;
mod clients;
mod consensus;
mod data;
mod faults;
mod history;
mod network;
mod node;
mod planted;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Setting, Trace, World};

/// How long a cluster may take until all is as it should be once nothing goes wrong any more, in ms. What is lost for good is given
/// up after 30 s.
const SETTLES_MS: u64 = 120_000;

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Report {
    digest: u64,
    lines: u64,
    answered: u64,
    unanswered: u64,
    excused: u64,
    settled_ms: u64,
}

/// Runs one seed; fails with what does not hold.
fn run(setting: Setting) -> Report {
    let trace = Rc::new(RefCell::new(Trace::default()));
    let seed = setting.seed;
    let told = setting.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| play(setting, Rc::clone(&trace))));
    match outcome {
        Ok(report) => report,
        Err(failure) => {
            eprintln!("{}", trace.borrow().tail());
            eprintln!("{told:?}\nrun it again by SHOAL_SIM_SEED={seed} cargo test --test sim");
            std::panic::resume_unwind(failure)
        }
    }
}

fn play(setting: Setting, trace: Rc<RefCell<Trace>>) -> Report {
    let trouble_ms = setting.trouble_ms;
    let mut w = World::new(setting, Rc::clone(&trace));
    node::found(&mut w);
    for _ in 1..w.setting.nodes {
        node::join(&mut w);
    }
    clients::begin(&mut w);
    // Some begin in a cluster that has settled, some in the midst of it.
    if w.chance(70) {
        let waited = settle(&mut w, SETTLES_MS);
        w.note(|| format!("settled after {waited} ms"));
    }
    faults::begin(&mut w);
    w.run_ms(trouble_ms);
    faults::end(&mut w);
    let settled_ms = settle(&mut w, SETTLES_MS);
    w.clients.is_over = true;
    let mut waits = 0;
    while !clients::is_idle(&w) {
        w.run_ms(100);
        waits += 1;
        assert!(waits < 200, "calls are not answered");
    }
    // Every key can be changed, and every node answers for every key.
    let unanswered = w.clients.unanswered;
    let living: Vec<usize> = (0..w.nodes.len()).filter(|at| w.nodes[*at].alive).collect();
    for key in 0..w.clients.keys.len() {
        let (at, call) =
            (living[w.rng.usize(..living.len())], history::Call::write(w.clients.keys[key].kind));
        clients::ask(&mut w, usize::MAX, at, key, call);
    }
    w.run_ms(1000);
    for at in living {
        for key in 0..w.clients.keys.len() {
            let call = history::Call::read(w.clients.keys[key].kind);
            clients::ask(&mut w, usize::MAX, at, key, call);
        }
    }
    w.run_ms(1000);
    assert!(
        clients::is_idle(&w) && w.clients.unanswered == unanswered,
        "not all is served: {:?}",
        clients::open(&w)
    );
    checks::copies_are_alike(&w);
    checks::histories(&w);
    let trace = trace.borrow();
    Report {
        digest: trace.digest,
        lines: trace.lines,
        answered: w.clients.answered,
        unanswered: w.clients.unanswered,
        excused: w.checks.excused.iter().filter(|excused| **excused).count() as u64,
        settled_ms,
    }
}

/// Lets time pass until all is as it should be; returns how long that took, in ms.
fn settle(w: &mut World, within_ms: u64) -> u64 {
    let (mut waited, mut calm) = (0, 0);
    loop {
        match checks::is_unsettled(w) {
            None => calm += 1,
            Some(why) => {
                calm = 0;
                assert!(waited < within_ms, "it does not settle: {why}");
            }
        }
        if calm == 5 {
            return waited;
        }
        if waited % 5000 == 0 {
            faults::settle(w);
        }
        w.run_ms(100);
        waited += 100;
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_goes_wrong_the_promises_hold() {
    if let Some(seed) = number("SHOAL_SIM_SEED") {
        println!("{:?}", run(Setting::of(seed)));
        return;
    }
    let first = number("SHOAL_SIM_FIRST").unwrap_or(1);
    let count = number("SHOAL_SIM_SEEDS").unwrap_or(200);
    let next = AtomicU64::new(first);
    let total = RefCell::new(Report::default());
    let total = std::sync::Mutex::new(total.take());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let report = run(Setting::of(seed));
                    let mut total = total.lock().expect("no other thread failed");
                    total.answered += report.answered;
                    total.unanswered += report.unanswered;
                    total.excused += report.excused;
                    total.settled_ms = total.settled_ms.max(report.settled_ms);
                }
            });
        }
    });
    println!("{count} seeds from {first}: {:?}", total.lock().expect("no thread failed"));
}

#[test]
fn one_seed_gives_one_run() {
    for seed in 1..=3 {
        let setting = Setting::of(seed);
        assert_eq!(run(setting.clone()), run(setting), "seed {seed}");
    }
}
