//! Faults planted on purpose, so that it is known what the checks would find. They are made here, around the parts that are simulated; those
//! know nothing of it.

use crate::world::{Setting, Trace};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What is done wrong, all the time or now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers do not wait for copies.
    AcknowledgesEarly,
    /// A node serves longer than its lease lasts.
    OutstaysItsLease,
    /// Somebody who is not in sync becomes primary.
    PromotesAnyone,
    /// A new primary goes on in the epoch of the one before.
    KeepsEpochs,
    /// A copy applies an entry twice.
    AppliesTwice,
    /// A copy leaves an entry out.
    LeavesOut,
    /// What was sent to a node is run though it has lost the partition since, and got it back.
    RunsLate,
}

/// Each by the seeds within which it has to be found, and words of what is found then.
const FAULTS: [(Fault, u64, &[&str]); 7] = [
    (Fault::AcknowledgesEarly, 60, &["no order explains"]),
    (Fault::OutstaysItsLease, 60, &["at once"]),
    (Fault::PromotesAnyone, 60, &["no order explains"]),
    (Fault::KeepsEpochs, 60, &["two nodes answer in epoch"]),
    (Fault::AppliesTwice, 60, &["partition", "no order explains"]),
    (Fault::LeavesOut, 60, &["partition", "no order explains"]),
    (Fault::RunsLate, 150, &["is run in epoch"]),
];

/// What is found in a run with `fault`, if anything is.
fn find(fault: Fault, seed: u64) -> Option<String> {
    let mut setting = Setting { planted: Some(fault), ..Setting::of(seed) };
    if let Fault::RunsLate = fault {
        // It takes several mishaps together, which happens now and then.
        setting = Setting {
            nodes: 4,
            copies: 3,
            partitions: 2,
            clients: 12,
            keys: 6,
            pause_ms: 500,
            trouble_ms: 20_000,
            ..setting
        };
    }
    let trace = Rc::new(RefCell::new(Trace::default()));
    let failure = catch_unwind(AssertUnwindSafe(|| crate::play(setting, trace))).err()?;
    let words = failure.downcast_ref::<String>().cloned();
    words.or_else(|| failure.downcast_ref::<&str>().map(ToString::to_string))
}

#[test]
fn planted_faults_are_found() {
    for (fault, within, words) in FAULTS {
        let found = (1..=within).find_map(|seed| Some((seed, find(fault, seed)?)));
        let Some((seed, what)) = found else { panic!("{fault:?} is not found by {within} seeds") };
        println!("{fault:?} is found by seed {seed}: {}", what.lines().next().unwrap_or_default());
        assert!(words.iter().any(|words| what.contains(words)), "{fault:?}, seed {seed}: {what}");
    }
}
