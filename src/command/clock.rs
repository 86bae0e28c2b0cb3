//! The time as a worker knows it: read once at the start of a batch and once after each command.
//!
//! The system's monotonic clock is read ten times a second. In between the processor counts: its counter is read in half the time,
//! and unlike the system's clock it does not have the processor finish first all it has begun. What a tick of it is worth is found
//! out anew at each reading of the system's clock.

use crate::state::{moved_ns, unix_ns};
use std::sync::LazyLock;

/// How often the system's clocks are read anew, so that changes are followed; in ns.
const RESYNC_NS: u64 = 100_000_000;
/// For how long the counter is believed, which may have jumped: a machine was moved, or the counters of two processors differ. In ns.
const BELIEVED_NS: u64 = 2 * RESYNC_NS;

/// A worker's clock: a reading of the monotonic clock, and the Unix time that goes with it.
pub struct Clock {
    /// The last reading as Unix time in ms.
    pub unix_ms: i64,
    now_ns: u64,
    base_ns: u64,
    /// Unix time at `base_ns`, in ns: whole milliseconds would have two workers disagree by one.
    base_unix_ns: i64,
    /// By how much `base_unix_ns` is not what the system says, in ns.
    moved_ns: i64,
    /// The processor's counter at `base_ns`, if it is of use.
    base_ticks: Option<u64>,
    /// What a tick is worth in 2^-32 ns; 0 while that is unknown.
    tick: u64,
}

impl Clock {
    /// A clock set by the system's.
    pub fn new() -> Clock {
        let ((now_ns, base_ticks), moved_ns, base_unix_ns) = (both(), moved_ns(), unix_ns());
        let unix_ms = base_unix_ns / 1_000_000;
        Clock { unix_ms, now_ns, base_ns: now_ns, base_unix_ns, moved_ns, base_ticks, tick: 0 }
    }

    /// Starts a batch: what passed since the last reading belongs to nobody.
    #[inline]
    pub fn sync(&mut self) {
        let _ = self.lap();
        if self.now_ns - self.base_ns > RESYNC_NS || self.moved_ns != moved_ns() {
            self.resync();
        }
    }

    #[cold]
    fn resync(&mut self) {
        let before = std::mem::take(self);
        let (Some(from), Some(to)) = (before.base_ticks, self.base_ticks) else { return };
        let (passed_ns, ticks) = (self.base_ns - before.base_ns, to.wrapping_sub(from));
        // One that stood still, or jumped, is not asked until it is known again what its ticks are worth.
        if (passed_ns / 10..=passed_ns.saturating_mul(10)).contains(&ticks) && ticks > 0 {
            self.tick = ((u128::from(passed_ns) << 32) / u128::from(ticks)) as u64;
        }
    }

    /// The last reading, in ns since some moment.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Brings `unix_ms` up to date in the midst of a command, whose lap goes on.
    pub fn look(&mut self) {
        self.unix_ms = self.unix_ms_at(self.read_ns());
    }

    /// Reads the clock and returns the ns since the last reading.
    #[inline]
    pub fn lap(&mut self) -> u64 {
        // Never back: counters of several processors may be a few ticks apart.
        let now_ns = self.read_ns().max(self.now_ns);
        let passed = now_ns - self.now_ns;
        self.now_ns = now_ns;
        self.unix_ms = self.unix_ms_at(now_ns);
        passed
    }

    #[inline]
    fn read_ns(&self) -> u64 {
        match self.base_ticks {
            Some(base) if self.tick > 0 => {
                let ticks = ticks().saturating_sub(base);
                let passed_ns = (u128::from(ticks) * u128::from(self.tick)) >> 32;
                if passed_ns < u128::from(BELIEVED_NS) {
                    self.base_ns + passed_ns as u64
                } else {
                    monotonic_ns()
                }
            }
            _ => monotonic_ns(),
        }
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

/// The processor's counter of its own time; 0 where it is not known how to read it.
#[inline]
fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every such processor has the counter, and Linux lets programs read it.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// The monotonic clock in ns and, if it is of use, the processor's counter of the same moment.
fn both() -> (u64, Option<u64>) {
    /// Ticks between which a reading of the clock is of one moment with them: about a microsecond.
    const MOMENT: u64 = 3000;
    for _ in 0..4 {
        let (before, now_ns, after) = (ticks(), monotonic_ns(), ticks());
        // Else the thread was held up in between.
        if after.wrapping_sub(before) < MOMENT && *IS_STEADY {
            return (now_ns, Some(before));
        }
    }
    (monotonic_ns(), None)
}

/// Whether the processor says that the counter goes on at the same pace whatever it does (CPUID 0x8000_0007, bit 8 of EDX).
static IS_STEADY: LazyLock<bool> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
});

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

    #[test]
    fn between_two_looks_at_the_system_the_processor_counts_on() {
        let mut clock = Clock::new();
        let spin = || {
            let from_ns = monotonic_ns();
            while monotonic_ns() - from_ns < 3_000_000 {}
        };
        spin();
        clock.resync();
        let begun_ns = monotonic_ns();
        let from_ns = clock.read_ns();
        let inner_ns = monotonic_ns();
        spin();
        let inner_ns = monotonic_ns() - inner_ns;
        let passed_ns = clock.read_ns() - from_ns;
        let outer_ns = monotonic_ns() - begun_ns;
        let off = outer_ns / 500;
        assert!((inner_ns - off..=outer_ns + off).contains(&passed_ns), "{inner_ns} {passed_ns} {outer_ns}");
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
