//! What the eviction policy remembers of each entry's accesses.

use crate::config::table::Kind;
use crate::config::{Config, id};
use crate::store::entry::Entry;

/// How accesses are remembered in an entry's 24 bits: the second of the last one, or Redis's logarithmic counter.
#[derive(Clone, Copy)]
pub struct AccessClock {
    lfu: bool,
    log_factor: i64,
    decay_minutes: i64,
}

/// The policies that count accesses, as bits by their place among the words of the directive: every access asks.
const LFU_POLICIES: u64 = {
    let Kind::Enum(words) = id::MAXMEMORY_POLICY.row().kind else {
        panic!("the policy is one of several words")
    };
    let (mut policies, mut at) = (0, 0);
    while at < words.len() {
        if let [.., b'l', b'f', b'u'] = words[at].as_bytes() {
            policies |= 1 << at;
        }
        at += 1;
    }
    policies
};

/// A new key's counter, so that it is not evicted at once.
const LFU_START: u32 = 5;

impl AccessClock {
    /// The clock the node's eviction policy wants.
    #[inline]
    pub fn of(config: &Config) -> AccessClock {
        let lfu = LFU_POLICIES >> config.int(id::MAXMEMORY_POLICY) & 1 != 0;
        if !lfu {
            return AccessClock { lfu, log_factor: 0, decay_minutes: 0 };
        }
        AccessClock {
            lfu,
            log_factor: config.int(id::LFU_LOG_FACTOR),
            decay_minutes: config.int(id::LFU_DECAY_TIME),
        }
    }

    /// The bits of a new key.
    #[inline]
    pub fn fresh(self, now_ms: i64) -> u32 {
        if self.lfu { minutes(now_ms) << 8 | LFU_START } else { seconds(now_ms) }
    }

    /// Notes an access.
    #[inline]
    pub fn touch(self, entry: &mut Entry, now_ms: i64) {
        let clock = entry.clock();
        let new = self.next(clock, now_ms);
        if new != clock {
            entry.set_clock(new);
        }
    }

    /// The bits of a key that had `clock` and is accessed.
    #[inline]
    pub fn next(self, clock: u32, now_ms: i64) -> u32 {
        if !self.lfu {
            return seconds(now_ms);
        }
        let count = self.frequency(clock, now_ms);
        let base = count.saturating_sub(LFU_START) as f64;
        let grows = count < 255 && fastrand::f64() < 1.0 / (base * self.log_factor as f64 + 1.0);
        minutes(now_ms) << 8 | (count + u32::from(grows))
    }

    /// The bits of a key last used `idle_seconds` ago, or counted to `frequency`, whichever this clock keeps.
    pub fn restored(self, idle_seconds: Option<u64>, frequency: Option<u8>, now_ms: i64) -> u32 {
        match (self.lfu, idle_seconds, frequency) {
            (true, _, Some(frequency)) => minutes(now_ms) << 8 | u32::from(frequency),
            // A key cannot look younger than it is for having been idle longer than the clock can tell.
            (false, Some(idle), _) => seconds(now_ms).wrapping_sub(idle.min(0x7F_FFFF) as u32) & 0xFF_FFFF,
            _ => self.fresh(now_ms),
        }
    }

    /// The access counter (0 to 255) that `clock` amounts to by now.
    pub fn frequency(self, clock: u32, now_ms: i64) -> u32 {
        let passed = minutes(now_ms).wrapping_sub(clock >> 8) & 0xFFFF;
        let decay = if self.decay_minutes > 0 { passed / self.decay_minutes as u32 } else { 0 };
        (clock & 0xFF).saturating_sub(decay)
    }

    /// Seconds since the last access that `clock` amounts to by now; only to the minute where it is a counter.
    pub fn idle_s(self, clock: u32, now_ms: i64) -> u64 {
        if self.lfu {
            return u64::from(minutes(now_ms).wrapping_sub(clock >> 8) & 0xFFFF) * 60;
        }
        u64::from(Self::idle_seconds(clock, now_ms))
    }

    /// Seconds since the last access that `clock` amounts to by now, where it is not a counter.
    pub fn idle_seconds(clock: u32, now_ms: i64) -> u32 {
        seconds(now_ms).wrapping_sub(clock) & 0xFF_FFFF
    }
}

fn seconds(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32 & 0xFF_FFFF
}

fn minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & 0xFFFF
}
