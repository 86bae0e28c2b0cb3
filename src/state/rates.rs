//! How fast counters grow: sampled ten times a second, averaged over the last samples.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Samples kept.
const SAMPLES: usize = 16;

/// The counters whose growth is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands run.
    pub commands: u64,
    /// Bytes read.
    pub input: u64,
    /// Bytes written.
    pub output: u64,
    /// Rounds of the workers.
    pub rounds: u64,
    /// Time those took, in ns.
    pub nanos: u64,
}

/// Recent samples.
#[derive(Default)]
pub struct Rates {
    samples: Mutex<VecDeque<(i64, Counts)>>,
}

impl Rates {
    /// Takes a sample at the Unix time `now_ms`.
    pub fn sample(&self, now_ms: i64, counts: Counts) {
        let mut samples = self.samples.lock();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now_ms, counts));
    }

    /// Growth per second.
    pub fn per_second(&self) -> Counts {
        let samples = self.samples.lock();
        let (Some((began, first)), Some((ended, last))) = (samples.front(), samples.back()) else {
            return Counts::default();
        };
        // Counters may have been reset in between.
        let passed_ms = (ended - began).max(1) as u64;
        let rate = |first: u64, last: u64| last.saturating_sub(first) * 1000 / passed_ms;
        Counts {
            commands: rate(first.commands, last.commands),
            input: rate(first.input, last.input),
            output: rate(first.output, last.output),
            rounds: rate(first.rounds, last.rounds),
            nanos: rate(first.nanos, last.nanos),
        }
    }

    /// Forgets all samples.
    pub fn reset(&self) {
        self.samples.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_averaged_over_the_last_samples() {
        let rates = Rates::default();
        assert_eq!(rates.per_second(), Counts::default());
        for tick in 0..100u64 {
            let counts = Counts { commands: tick * tick, input: tick * 10, ..Counts::default() };
            rates.sample(tick as i64 * 100, counts);
        }
        let now = rates.per_second();
        assert_eq!((now.input, now.output), (100, 0));
        assert_eq!(now.commands, (99 * 99 - 84 * 84) * 1000 / 1500);
        rates.reset();
        assert_eq!(rates.per_second(), Counts::default());
    }
}
