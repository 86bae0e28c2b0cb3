//! A set of integers in one block: sorted, and no wider than its widest member needs.
//!
//! The bytes are exactly Redis's *intset*, because DUMP and RESTORE ship them as they are:
//!
//! ```text
//! width u32 LE (2, 4 or 8) | members u32 LE | members, ascending, each `width` bytes LE
//! ```
//!
//! A member that does not fit widens all of them. Nothing narrows them again, as in Redis: a set that
//! once held a large number is likely to see another.
//!
//! It knows neither how many members are too many nor what text they stand for; both are its owner's.
//!
//! Invariant: `bytes` passes [`IntSet::validate`], or holds just the header of an empty set.

/// Bytes before the first member.
const HEADER: usize = 8;

/// A sorted set of `i64`.
#[derive(Clone)]
pub struct IntSet {
    bytes: Vec<u8>,
}

impl Default for IntSet {
    fn default() -> Self {
        IntSet::new()
    }
}

impl std::fmt::Debug for IntSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Bytes a member takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Two = 2,
    Four = 4,
    Eight = 8,
}

impl Width {
    fn of(member: i64) -> Width {
        if i16::try_from(member).is_ok() {
            Width::Two
        } else if i32::try_from(member).is_ok() {
            Width::Four
        } else {
            Width::Eight
        }
    }
}

impl IntSet {
    /// An empty set.
    pub fn new() -> Self {
        IntSet { bytes: vec![Width::Two as u8, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// A set from bytes of unknown origin; `None` unless [`IntSet::validate`] accepts them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        IntSet::validate(bytes).then(|| IntSet { bytes: bytes.to_vec() })
    }

    /// The set as it travels in DUMP.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `bytes` are one well-formed set with at least one member, strictly ascending.
    pub fn validate(bytes: &[u8]) -> bool {
        let Some((&[w0, w1, w2, w3, n0, n1, n2, n3], members)) = bytes.split_first_chunk::<HEADER>() else {
            return false;
        };
        let width = u32::from_le_bytes([w0, w1, w2, w3]) as usize;
        let len = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        matches!(width, 2 | 4 | 8)
            && len > 0
            && len.checked_mul(width) == Some(members.len())
            && members.chunks_exact(width).map(read).is_sorted_by(|a, b| a < b)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        u32::from_le_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]]) as usize
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// Adds `member`; whether it was new. The owner keeps the number of members below 2^32.
    pub fn add(&mut self, member: i64) -> bool {
        if Width::of(member) > self.width() {
            self.widen(member);
            return true;
        }
        let Err(at) = self.search(member) else { return false };
        self.grow_by_one();
        let (at, width) = (self.offset(at), self.width() as usize);
        let end = self.bytes.len();
        self.bytes.resize(end + width, 0);
        self.bytes.copy_within(at..end, at + width);
        write(&mut self.bytes[at..at + width], member);
        self.write_len(self.len() + 1);
        true
    }

    /// Removes `member`; whether it was there.
    pub fn remove(&mut self, member: i64) -> bool {
        let found = self.search(member);
        if let Ok(at) = found {
            self.remove_at(at);
        }
        found.is_ok()
    }

    /// Removes and returns the member at `index` of the ascending order.
    pub fn remove_at(&mut self, index: usize) -> Option<i64> {
        let member = self.get(index)?;
        let at = self.offset(index);
        self.bytes.drain(at..at + self.width() as usize);
        self.write_len(self.len() - 1);
        if self.bytes.capacity() > self.bytes.len() * 2 {
            self.bytes.shrink_to(self.bytes.len());
        }
        Some(member)
    }

    /// Whether `member` is in the set.
    pub fn contains(&self, member: i64) -> bool {
        Width::of(member) <= self.width() && self.search(member).is_ok()
    }

    /// The member at `index` of the ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        if index >= self.len() {
            return None;
        }
        let at = self.offset(index);
        Some(read(&self.bytes[at..at + self.width() as usize]))
    }

    /// Any member, each as likely as another.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<i64> {
        if self.is_empty() { None } else { self.get(rng.usize(..self.len())) }
    }

    /// The members, ascending; from either end.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        self.bytes[HEADER..].chunks_exact(self.width() as usize).map(read)
    }

    /// Bytes allocated for the block.
    pub fn allocated_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn width(&self) -> Width {
        match self.bytes[0] {
            2 => Width::Two,
            4 => Width::Four,
            _ => Width::Eight,
        }
    }

    fn offset(&self, index: usize) -> usize {
        HEADER + index * self.width() as usize
    }

    fn write_len(&mut self, len: usize) {
        let len = u32::try_from(len).expect("owners convert long before 2^32 members");
        self.bytes[4..HEADER].copy_from_slice(&len.to_le_bytes());
    }

    /// Where `member` is, or where it belongs.
    fn search(&self, member: i64) -> Result<usize, usize> {
        let members = &self.bytes[HEADER..];
        match self.width() {
            Width::Two => search::<2>(members, member),
            Width::Four => search::<4>(members, member),
            Width::Eight => search::<8>(members, member),
        }
    }

    /// Makes room for one more member. An eighth is spare, where doubling would often leave half.
    fn grow_by_one(&mut self) {
        let (len, width) = (self.bytes.len(), self.width() as usize);
        if self.bytes.capacity() < len + width {
            self.bytes.reserve_exact((len / 8).next_multiple_of(width).max(width));
        }
    }

    /// Rewrites all members at the width of `member`, which is below or above all of them.
    fn widen(&mut self, member: i64) {
        let width = Width::of(member) as usize;
        let mut wide = Vec::with_capacity(HEADER + (self.len() + 1) * width);
        wide.extend_from_slice(&[0; HEADER]);
        wide[0] = width as u8;
        let (below, above) = if member < 0 { (Some(member), None) } else { (None, Some(member)) };
        for each in below.into_iter().chain(self.iter()).chain(above) {
            wide.extend_from_slice(&each.to_le_bytes()[..width]);
        }
        let len = self.len() + 1;
        self.bytes = wide;
        self.write_len(len);
    }
}

/// Binary search over members of `W` bytes; the width a constant, so that each probe is one load.
fn search<const W: usize>(members: &[u8], member: i64) -> Result<usize, usize> {
    let (members, _) = members.as_chunks::<W>();
    members.binary_search_by_key(&member, |raw| read(raw))
}

/// The integer of 2, 4 or 8 bytes that `raw` is.
#[inline]
fn read(raw: &[u8]) -> i64 {
    match *raw {
        [a, b] => i16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("members are 2, 4 or 8 bytes wide"),
    }
}

/// Writes `member`, which fits, over the whole of `out`.
fn write(out: &mut [u8], member: i64) {
    let width = out.len();
    out.copy_from_slice(&member.to_le_bytes()[..width]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn of(members: &[i64]) -> IntSet {
        let mut set = IntSet::new();
        members.iter().for_each(|&member| assert!(set.add(member)));
        set
    }

    #[test]
    fn bytes_are_those_of_redis() {
        // Taken from DUMP of redis 7.0.15 after SADD s 5 -1 300 / 70000 / -5000000000.
        assert_eq!(of(&[5, -1, 300]).as_bytes(), b"\x02\0\0\0\x03\0\0\0\xff\xff\x05\0\x2c\x01");
        assert_eq!(of(&[5, 70_000]).as_bytes(), b"\x04\0\0\0\x02\0\0\0\x05\0\0\0\x70\x11\x01\0");
        assert_eq!(
            of(&[5, -5_000_000_000]).as_bytes(),
            b"\x08\0\0\0\x02\0\0\0\x00\x0e\xfa\xd5\xfe\xff\xff\xff\x05\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn members_keep_the_widest_width_there_ever_was() {
        let mut set = of(&[1, i64::MAX, i64::MIN]);
        assert!(set.remove(i64::MAX) && set.remove(i64::MIN) && !set.remove(0));
        assert_eq!(set.as_bytes(), b"\x08\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0");
        assert!(set.remove(1) && set.is_empty() && set.random(&mut fastrand::Rng::new()).is_none());
    }

    #[test]
    fn foreign_bytes_are_checked() {
        let good = of(&[1, 2, 3]);
        assert_eq!(IntSet::from_bytes(good.as_bytes()).expect("valid").iter().collect::<Vec<_>>(), [1, 2, 3]);
        for (bytes, flaw) in [
            (&b""[..], "no header"),
            (b"\x02\0\0\0\0\0\0", "short header"),
            (b"\x02\0\0\0\0\0\0\0", "no member"),
            (b"\x03\0\0\0\x01\0\0\0\x01\0\x01", "width"),
            (b"\0\0\0\0\x01\0\0\0", "width 0"),
            (b"\x02\0\0\0\x02\0\0\0\x01\0", "a member missing"),
            (b"\x02\0\0\0\x01\0\0\0\x01\0\x02\0", "a member too many"),
            (b"\x08\0\0\0\xff\xff\xff\xff\x01\0", "a length past the end"),
            (b"\x02\0\0\0\x02\0\0\0\x02\0\x01\0", "descending"),
            (b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0", "twice the same"),
        ] {
            assert!(IntSet::from_bytes(bytes).is_none(), "{flaw}");
        }
    }

    #[test]
    fn draws_are_fair() {
        let set = of(&[-5, 0, 7, 100, 1 << 40]);
        let mut rng = fastrand::Rng::with_seed(3);
        let mut drawn = std::collections::BTreeMap::<i64, u32>::new();
        (0..10_000).for_each(|_| *drawn.entry(set.random(&mut rng).expect("not empty")).or_default() += 1);
        assert!(drawn.len() == 5 && drawn.values().all(|n| n.abs_diff(2_000) < 200), "{drawn:?}");
    }

    /// Integers crowded around the borders of the widths.
    fn member() -> impl Strategy<Value = i64> {
        prop_oneof![
            -40..40i64,
            any::<i16>().prop_map(i64::from),
            any::<i64>(),
            prop::sample::select(vec![
                -32_769,
                -32_768,
                32_767,
                32_768,
                i64::MIN,
                i64::MAX,
                1 << 31,
                -(1 << 31) - 1
            ]),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_an_ordered_set(steps in prop::collection::vec((member(), 0..4u8), 0..300)) {
            let (mut set, mut model) = (IntSet::new(), BTreeSet::new());
            for (member, what) in steps {
                match what {
                    0 => prop_assert_eq!(set.remove(member), model.remove(&member)),
                    1 if !model.is_empty() => {
                        let at = member.unsigned_abs() as usize % model.len();
                        let nth = *model.iter().nth(at).expect("below the length");
                        prop_assert_eq!(set.remove_at(at), Some(nth));
                        model.remove(&nth);
                    }
                    _ => prop_assert_eq!(set.add(member), model.insert(member)),
                }
                prop_assert_eq!(set.contains(member), model.contains(&member));
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.is_empty(), model.is_empty());
                prop_assert!(set.is_empty() || IntSet::validate(set.as_bytes()));
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.iter().rev().eq(model.iter().rev().copied()));
            prop_assert_eq!(set.get(usize::MAX), None);
            prop_assert!((0..=model.len()).map(|i| set.get(i)).eq(
                model.iter().copied().map(Some).chain([None])));
        }

        #[test]
        fn validate_never_panics(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(2), Just(1), any::<u8>()], 0..40)) {
            if let Some(set) = IntSet::from_bytes(&bytes) {
                prop_assert_eq!(set.iter().count(), set.len());
            }
        }
    }
}
