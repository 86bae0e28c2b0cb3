//! When keys are due: a hierarchical timing wheel of key hashes.
//!
//! After Varghese and Lauck (1987), with two savings. A record is four bytes, the key's hash, so it never dangles:
//! what it means is looked up when it falls due. And a record is only a promise to look *no later* than the
//! expiry: a key whose time is put off, as a sliding session's is with every touch, keeps its old record and is filed
//! anew when that falls due. Deleted keys leave records behind, which the owner prunes once they outnumber the living.
//! A level takes kilobytes, so a few records are kept in a list as long as there are no others.
//!
//! Invariant: for every hash of a key with an expiry there is a record no later than the earliest such expiry.

/// A tick of the wheel in ms, as a power of two: 128 ms.
const TICK_BITS: u32 = 7;
/// Slots of a level, as a power of two.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 64^5 ticks of 128 ms are four years; what lies beyond is filed at the end and looked at then.
const LEVELS: usize = 5;

/// Records that make a list.
const FEW: usize = 32;
/// Records of a full block.
const BLOCK: usize = 64;

/// The records of one slot, in blocks: a slot of many records grows without being moved.
#[derive(Default)]
struct Slot {
    full: Vec<Box<[u32]>>,
    open: Vec<u32>,
}

impl Slot {
    fn push(&mut self, hash: u32) {
        self.open.push(hash);
        if self.open.len() == BLOCK {
            self.full.push(std::mem::take(&mut self.open).into());
        }
    }

    fn len(&self) -> usize {
        self.full.len() * BLOCK + self.open.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out a block of records.
    fn take(&mut self) -> Vec<u32> {
        self.full.pop().map_or_else(|| std::mem::take(&mut self.open), Vec::from)
    }

    fn get(&self, at: usize) -> Option<u32> {
        let block = self.full.get(at / BLOCK).map_or(&*self.open, |block| block);
        block.get(at % BLOCK).copied()
    }
}

/// Hashes of keys, filed by the time at which to look at them.
#[derive(Default)]
pub struct Wheel {
    /// The first tick not yet handed out.
    tick: u64,
    /// The records, each behind the tick it is due in, as long as they are few: then there is nothing in the levels.
    few: Vec<(u64, u32)>,
    levels: [Option<Box<[Slot; SLOTS]>>; LEVELS],
    /// Records of each level.
    counts: [usize; LEVELS],
    records: usize,
}

impl Wheel {
    /// How many records it holds, stale ones included.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Promises a look at the keys of `hash` once the clock has passed `at_ms`.
    pub fn add(&mut self, hash: u32, at_ms: i64, now_ms: i64) {
        if self.records == 0 {
            self.tick = tick(now_ms);
        }
        // A tick is due when it is over, so that a look finds the key expired.
        let due = tick(at_ms).max(self.tick);
        self.records += 1;
        if self.records <= FEW && self.few.len() == self.records - 1 {
            return self.few.push((due, hash));
        }
        for (due, hash) in std::mem::take(&mut self.few) {
            self.file(hash, due);
        }
        self.file(hash, due);
    }

    fn file(&mut self, hash: u32, due: u64) {
        let due = due.max(self.tick);
        let distance = due - self.tick;
        let level = (0..LEVELS).find(|&level| distance >> (SLOT_BITS * (level as u32 + 1)) == 0);
        let (level, due) = match level {
            Some(level) => (level, due),
            None => (LEVELS - 1, self.tick + (1 << (SLOT_BITS * LEVELS as u32)) - 1),
        };
        let slot = (due >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        let slots =
            self.levels[level].get_or_insert_with(|| Box::new(std::array::from_fn(|_| Slot::default())));
        slots[slot].push(hash);
        self.counts[level] += 1;
    }

    /// Takes out some records that are due by `now_ms`, or none when all is done.
    ///
    /// The caller looks at each and files it again where the key lives on.
    pub fn due(&mut self, now_ms: i64) -> Option<Vec<u32>> {
        if self.records == 0 {
            return None;
        }
        let end = tick(now_ms);
        if !self.few.is_empty() {
            self.tick = self.tick.max(end);
            let is_due = |(due, _): &mut (u64, u32)| *due < end;
            let records: Vec<u32> = self.few.extract_if(.., is_due).map(|(_, hash)| hash).collect();
            self.records -= records.len();
            return (!records.is_empty()).then_some(records);
        }
        while self.tick < end && self.records > 0 {
            // The slots of the higher levels that begin with this tick come first, as theirs may belong into it.
            for level in (0..LEVELS).rev() {
                let bits = SLOT_BITS * level as u32;
                if self.counts[level] == 0 || self.tick & ((1 << bits) - 1) != 0 {
                    continue;
                }
                let slot = (self.tick >> bits) as usize % SLOTS;
                if let Some(slots) = &mut self.levels[level]
                    && !slots[slot].is_empty()
                {
                    let records = slots[slot].take();
                    self.records -= records.len();
                    self.counts[level] -= records.len();
                    if self.records == 0 {
                        self.levels = Default::default();
                    }
                    return Some(records);
                }
            }
            // Where the low levels are empty, nothing happens before the next slot of the one above begins.
            let empty = self.counts.iter().take_while(|count| **count == 0).count() as u32;
            let step = SLOT_BITS * empty;
            self.tick = (((self.tick >> step) + 1) << step).min(end);
        }
        None
    }

    /// Any record, of a slot chosen at random.
    pub fn sample(&self, rng: &mut fastrand::Rng) -> Option<u32> {
        if !self.few.is_empty() {
            return Some(self.few[rng.usize(..self.few.len())].1);
        }
        let filled = |slot: &&Slot| !slot.is_empty();
        let slots = || self.levels.iter().flatten().flat_map(|slots| slots.iter()).filter(filled);
        let slot = slots().nth(rng.usize(..slots().count().max(1)))?;
        slot.get(rng.usize(..slot.len()))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Wheel::default();
    }
}

fn tick(at_ms: i64) -> u64 {
    (at_ms.max(0) as u64) >> TICK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_falls_due_at_its_time_and_not_before() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut wheel = Wheel::default();
        let start = 1_700_000_000_000i64;
        // Record n is due at times[n]; a look before that files it again, as the owner does.
        let times: Vec<i64> = (0..5000)
            .map(|_| {
                let bits = rng.u32(1..41);
                start + rng.i64(0..1 << bits)
            })
            .collect();
        for (n, &at_ms) in times.iter().enumerate() {
            wheel.add(n as u32, at_ms, start);
        }
        let (mut now, mut seen) = (start, 0);
        while seen < times.len() {
            now += rng.i64(1..2000 + (now - start) / 16);
            while let Some(records) = wheel.due(now) {
                for n in records {
                    let at_ms = times[n as usize];
                    if at_ms <= now {
                        seen += 1;
                    } else {
                        wheel.add(n, at_ms, now);
                    }
                }
            }
            assert_eq!(wheel.records(), times.len() - seen);
            let late = times.iter().filter(|&&at_ms| at_ms + 256 <= now).count();
            assert!(seen >= late, "{seen} of {late} due by {now}");
        }
    }

    #[test]
    fn few_records_take_no_levels() {
        let mut wheel = Wheel::default();
        let start = 1_700_000_000_000;
        let levels = |wheel: &Wheel| wheel.levels.iter().flatten().count();
        for n in 0..FEW as u32 {
            wheel.add(n, start + 1000 * i64::from(n), start);
        }
        assert_eq!((wheel.records(), levels(&wheel)), (FEW, 0));
        assert_eq!(wheel.due(start + 999), Some(vec![0]));
        assert_eq!(wheel.due(start + 999), None);
        for n in 0..2 {
            wheel.add(100 + n, start + 500, start + 999);
        }
        assert!(levels(&wheel) > 0);
        let mut seen = Vec::new();
        while let Some(records) = wheel.due(start + 10_000_000) {
            seen.extend(records);
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..FEW as u32).chain([100, 101]).collect::<Vec<_>>());
        assert_eq!((wheel.records(), levels(&wheel)), (0, 0));
    }
}
