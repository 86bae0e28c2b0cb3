//! How long commands take, as counts in buckets.
//!
//! A bucket is 1/32 of a power of two of nanoseconds wide, so a percentile is off by 3 % at most, and counting is a
//! handful of instructions. One thread counts; others read along.

use super::stats::Counter;

/// Buckets of a power of two, as a power of two.
const BITS: u32 = 5;
/// Longer durations count as this one: a second, in ns.
const MAX: u64 = 1_000_000_000;
const BUCKETS: usize = bucket(MAX) + 1;

/// Durations counted by length.
pub struct Histogram {
    counts: Box<[Counter; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([const { Counter::zero() }; BUCKETS]) }
    }
}

/// The bucket of a duration in ns.
#[inline]
const fn bucket(nanos: u64) -> usize {
    if nanos < 1 << BITS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - BITS;
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

/// The longest duration of a bucket, in ns.
const fn longest(bucket: usize) -> u64 {
    if bucket < 1 << BITS {
        return bucket as u64;
    }
    let shift = (bucket >> BITS) - 1;
    let low = (bucket - (shift << BITS)) as u64;
    ((low + 1) << shift) - 1
}

impl Histogram {
    /// Counts a duration.
    #[inline]
    pub fn record(&self, nanos: u64) {
        self.counts[bucket(nanos.min(MAX))].add(1);
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.counts.iter().for_each(Counter::reset);
    }
}

/// The sum of several histograms.
#[derive(Clone, Default)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    /// Adds what `histogram` has counted.
    pub fn add(&mut self, histogram: &Histogram) {
        self.counts.resize(BUCKETS, 0);
        for (sum, counter) in self.counts.iter_mut().zip(histogram.counts.iter()) {
            let count = counter.get();
            *sum += count;
            self.total += count;
        }
    }

    /// How many durations there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The duration in ns that `percent` of all (0 to 100) do not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0 * self.total as f64 + 0.5) as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return longest(bucket);
            }
        }
        0
    }

    /// How many durations do not exceed a bound, for bounds of about 1, 2, 4, ... us as long as the number grows: pairs of
    /// bound in us and count.
    pub fn cumulative_usec(&self) -> Vec<(u64, u64)> {
        let mut pairs = Vec::new();
        let mut seen = 0;
        let mut next = 0;
        for bound in (10..=30).map(|bits| longest(bucket(1 << bits).min(BUCKETS - 1))) {
            let before = seen;
            while next < self.counts.len() && longest(next) <= bound {
                seen += self.counts[next];
                next += 1;
            }
            if seen > before {
                pairs.push((bound / 1000, seen));
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        for bucket_ in 0..BUCKETS - 1 {
            let end = longest(bucket_);
            assert_eq!(bucket(end), bucket_);
            assert_eq!(bucket(end + 1), bucket_ + 1);
        }
        for nanos in [31, 32, 33, 1000, 65_535, 65_536, 999_999_999] {
            let end = longest(bucket(nanos));
            assert!(end >= nanos && end as f64 <= nanos as f64 * 1.04, "{nanos} {end}");
        }
    }

    #[test]
    fn percentiles_and_bounds_follow_what_was_counted() {
        let histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(micros * 1000);
        }
        histogram.record(u64::MAX);
        let mut sum = Latencies::default();
        sum.add(&histogram);
        assert_eq!(sum.total(), 1001);
        let p50 = sum.percentile(50.0) as f64;
        assert!((500_000.0..520_000.0).contains(&p50), "{p50}");
        assert!(sum.percentile(100.0) >= MAX);
        let pairs = sum.cumulative_usec();
        assert_eq!(pairs[0], (1, 1));
        assert_eq!(pairs.last().map(|pair| pair.1), Some(1001));
        assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
        histogram.reset();
        let mut sum = Latencies::default();
        sum.add(&histogram);
        assert_eq!((sum.total(), sum.percentile(50.0)), (0, 0));
        assert!(sum.cumulative_usec().is_empty());
    }
}
