//! The time as a worker knows it: read once at the start of a batch and once after each command.

/// How often the wall clock is read anew, so that a change of it is followed; in ns.
const RESYNC_NS: u64 = 100_000_000;

/// A worker's clock: a reading of the monotonic clock, and the Unix time that goes with it.
pub struct Clock {
    /// The last reading as Unix time in ms.
    pub unix_ms: i64,
    now_ns: u64,
    base_ns: u64,
    base_unix_ms: i64,
}

impl Clock {
    /// A clock set by the system's.
    pub fn new() -> Clock {
        let (now_ns, unix_ms) = (monotonic_ns(), crate::state::unix_ms());
        Clock { unix_ms, now_ns, base_ns: now_ns, base_unix_ms: unix_ms }
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
        self.unix_ms = self.base_unix_ms + ((monotonic_ns() - self.base_ns) / 1_000_000) as i64;
    }

    /// Reads the clock and returns the ns since the last reading.
    #[inline]
    pub fn lap(&mut self) -> u64 {
        let now_ns = monotonic_ns();
        let passed = now_ns - self.now_ns;
        self.now_ns = now_ns;
        self.unix_ms = self.base_unix_ms + ((now_ns - self.base_ns) / 1_000_000) as i64;
        passed
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
}
