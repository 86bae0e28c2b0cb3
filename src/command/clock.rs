//! The time as a worker knows it: read once at the start of a batch and once after each command.

use crate::state::unix_ns;

/// How often the wall clock is read anew, so that a change of it is followed; in ns.
const RESYNC_NS: u64 = 100_000_000;

/// A worker's clock: a reading of the monotonic clock, and the Unix time that goes with it.
pub struct Clock {
    /// The last reading as Unix time in ms.
    pub unix_ms: i64,
    now_ns: u64,
    base_ns: u64,
    /// Unix time at `base_ns`, in ns: whole milliseconds would have two workers disagree by one.
    base_unix_ns: i64,
}

impl Clock {
    /// A clock set by the system's.
    pub fn new() -> Clock {
        let (now_ns, base_unix_ns) = (monotonic_ns(), unix_ns());
        Clock { unix_ms: base_unix_ns / 1_000_000, now_ns, base_ns: now_ns, base_unix_ns }
    }

    /// Starts a batch: what passed since the last reading belongs to nobody.
    #[inline]
    pub fn sync(&mut self) {
        let _ = self.lap();
        if self.now_ns - self.base_ns > RESYNC_NS {
            *self = Clock::new();
        }
    }

    /// The last reading, in ns since some moment.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Brings `unix_ms` up to date in the midst of a command, whose lap goes on.
    pub fn look(&mut self) {
        self.unix_ms = self.unix_ms_at(monotonic_ns());
    }

    /// Reads the clock and returns the ns since the last reading.
    #[inline]
    pub fn lap(&mut self) -> u64 {
        let now_ns = monotonic_ns();
        let passed = now_ns - self.now_ns;
        self.now_ns = now_ns;
        self.unix_ms = self.unix_ms_at(now_ns);
        passed
    }

    #[inline]
    fn unix_ms_at(&self, now_ns: u64) -> i64 {
        (self.base_unix_ns + (now_ns - self.base_ns) as i64) / 1_000_000
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

/// The monotonic clock in ns. `std::time::Instant` reads the same, but its arithmetic costs as much as the reading, and
/// this is done for every command.
#[inline]
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; CLOCK_MONOTONIC always exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_agrees_with_the_wall() {
        let mut clock = Clock::new();
        let mut passed = 0;
        while passed < 3_000_000 {
            passed += clock.lap();
        }
        assert!((clock.unix_ms - crate::state::unix_ms()).abs() < 1000);
    }

    /// Two clocks that were set at different moments of a millisecond told times a millisecond apart, so a key given 100 s
    /// by one worker had 100,001 ms to live in the eyes of another.
    #[test]
    fn clocks_set_at_different_moments_agree() {
        let mut clocks: Vec<Clock> = Vec::new();
        let mut apart = 0;
        for _ in 0..50 {
            clocks.push(Clock::new());
            while clocks[0].lap() < 37_000 {}
            let now_ns = monotonic_ns();
            let (first, last) = (clocks[0].unix_ms_at(now_ns), clocks[clocks.len() - 1].unix_ms_at(now_ns));
            apart += u32::from(first != last);
        }
        // What lies between the two readings of a new clock may span the end of a millisecond.
        assert!(apart < 10, "{apart} of 50");
    }
}
