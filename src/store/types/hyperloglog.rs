//! HyperLogLog: how many distinct elements were added, within about 0.8 %, in at most 12 KiB.
//!
//! A sketch is an ordinary string value laid out exactly as Redis lays it out, so that GET, DUMP and copies
//! of it are interchangeable:
//!
//! ```text
//! "HYLL" | encoding u8 (0 dense, 1 sparse) | 3 bytes | cached count u64 LE, top bit set: stale | registers
//! dense    16384 registers of 6 bits, four to three bytes, low bits first
//! sparse   00xxxxxx           x+1 registers at zero
//!          01xxxxxx yyyyyyyy  xy+1 registers at zero
//!          1vvvvvxx           x+1 registers at v+1
//! ```
//!
//! An element's hash picks a register by its low 14 bits; the register keeps the longest run of zeros, plus
//! one, seen in the other 50. A sketch starts sparse and turns dense for good when it outgrows a limit or a
//! register passes 32. The estimate is Ertl's (arXiv:1702.01284).
//!
//! This file knows bytes: not keys, and not the limit, which its callers configure.
//!
//! Invariant: the same additions in the same order give the same bytes as in Redis. Bytes of unknown origin
//! (a client may SET or RESTORE anything) are [`Corrupted`] where they make no sense, never a panic.

#[cfg(test)]
mod tests;

/// Number of registers of a sketch.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bytes of a dense sketch.
pub const DENSE_BYTES: usize = HEADER + REGISTERS * REGISTER_BITS / 8;

const INDEX_BITS: u32 = 14;
/// Bits of the hash a register's run of zeros is looked for in.
const RUN_BITS: u32 = 64 - INDEX_BITS;
const REGISTER_BITS: usize = 6;
const HEADER: usize = 16;
const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
/// The byte of the cached count whose top bit says that the count is stale.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
/// The largest register value, and the longest run of equal registers, a sparse opcode can tell.
const SPARSE_MAX_VALUE: u8 = 32;
const SPARSE_MAX_RUN: usize = 4;
const ZERO_MAX_RUN: usize = 64;

/// The layout of a sketch's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Six bits for each register.
    Dense,
    /// Runs of equal registers.
    Sparse,
}

impl Encoding {
    /// The word PFDEBUG ENCODING answers.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }
    }
}

/// The registers of a sketch make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupted;

/// A sketch nothing was added to.
pub fn empty() -> Vec<u8> {
    let mut hll = vec![0; HEADER];
    hll[..MAGIC.len()].copy_from_slice(MAGIC);
    hll[ENCODING_AT] = 1;
    push_zeros(&mut hll, REGISTERS);
    hll
}

/// The encoding of a sketch, or `None` where `bytes` do not even look like one. The registers of a sparse one
/// may still be corrupted.
pub fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[ENCODING_AT] {
        0 if bytes.len() == DENSE_BYTES => Some(Encoding::Dense),
        1 => Some(Encoding::Sparse),
        _ => None,
    }
}

/// Adds `element`; tells whether a register changed, and so perhaps the count. A sparse sketch that would
/// outgrow `sparse_max_bytes`, header included, turns dense.
pub fn add(hll: &mut Vec<u8>, element: &[u8], sparse_max_bytes: usize) -> Result<bool, Corrupted> {
    let (index, value) = place(element);
    raise(hll, index, value, sparse_max_bytes)
}

/// Whether [`add`]ing `element` would change a register. To most sketches most elements are no news; asking
/// first spares the caller a copy.
pub fn would_change(hll: &[u8], element: &[u8]) -> Result<bool, Corrupted> {
    let (index, value) = place(element);
    match encoding(hll).ok_or(Corrupted)? {
        Encoding::Dense => Ok(dense_register(&hll[HEADER..], index) < value),
        Encoding::Sparse => Ok(find(hll, index)?.op.value < value),
    }
}

/// The count the sketch carries, if it was not changed since [`cache_count`].
pub fn cached_count(hll: &[u8]) -> Option<u64> {
    let bytes = hll.get(CACHE_AT..HEADER)?.try_into().ok()?;
    let count = u64::from_le_bytes(bytes);
    (bytes[STALE_AT - CACHE_AT] & STALE == 0).then_some(count)
}

/// Writes `count` into the sketch.
pub fn cache_count(hll: &mut [u8], count: u64) {
    hll[CACHE_AT..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// Marks the cached count as stale. [`add`] does so for a sparse sketch it changes; commands that may have
/// changed a dense one, or have just made one, call this.
pub fn invalidate_count(hll: &mut [u8]) {
    hll[STALE_AT] |= STALE;
}

/// The estimated number of distinct elements, computed from the registers.
pub fn count(hll: &[u8]) -> Result<u64, Corrupted> {
    let mut histogram = [0u32; 1 << REGISTER_BITS];
    match encoding(hll).ok_or(Corrupted)? {
        Encoding::Dense => {
            for value in hll[HEADER..].as_chunks::<3>().0.iter().flat_map(unpack) {
                histogram[usize::from(value)] += 1;
            }
        }
        Encoding::Sparse => for_each_run(hll, |run| histogram[usize::from(run.value)] += run.len as u32)?,
    }
    Ok(estimate(&histogram))
}

/// Turns a sparse sketch dense, keeping its cached count; tells whether it was sparse.
pub fn to_dense(hll: &mut Vec<u8>) -> Result<bool, Corrupted> {
    if encoding(hll).ok_or(Corrupted)? == Encoding::Dense {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_BYTES];
    dense[..HEADER].copy_from_slice(&hll[..HEADER]);
    dense[ENCODING_AT] = 0;
    let mut index = 0;
    for_each_run(hll, |run| {
        if run.value > 0 {
            for i in index..index + run.len {
                set_dense_register(&mut dense[HEADER..], i, run.value);
            }
        }
        index += run.len;
    })?;
    *hll = dense;
    Ok(true)
}

/// The opcodes of a sparse sketch in words, as PFDEBUG DECODE answers them: `z:1 v:3,2 Z:16381`. `None` for a
/// dense one.
pub fn decode(hll: &[u8]) -> Option<String> {
    if encoding(hll)? != Encoding::Sparse {
        return None;
    }
    let mut words = Vec::new();
    let mut at = HEADER;
    while let Some(op) = Opcode::read(hll, at) {
        words.push(match (op.value, op.bytes) {
            (0, 1) => format!("z:{}", op.run),
            (0, _) => format!("Z:{}", op.run),
            (value, _) => format!("v:{value},{}", op.run),
        });
        at += op.bytes;
    }
    Some(words.join(" "))
}

/// The registers of a union of sketches, one byte each.
pub struct Union {
    registers: Box<[u8]>,
    any_dense: bool,
}

impl Default for Union {
    fn default() -> Self {
        Self { registers: vec![0; REGISTERS].into_boxed_slice(), any_dense: false }
    }
}

impl Union {
    /// Adds all elements of a sketch.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), Corrupted> {
        match encoding(hll).ok_or(Corrupted)? {
            Encoding::Dense => {
                self.any_dense = true;
                let groups = hll[HEADER..].as_chunks::<3>().0;
                for (ours, theirs) in self.registers.as_chunks_mut::<4>().0.iter_mut().zip(groups) {
                    for (own, value) in ours.iter_mut().zip(unpack(theirs)) {
                        *own = value.max(*own);
                    }
                }
                Ok(())
            }
            Encoding::Sparse => {
                let mut index = 0;
                for_each_run(hll, |run| {
                    for own in &mut self.registers[index..index + run.len] {
                        *own = run.value.max(*own);
                    }
                    index += run.len;
                })
            }
        }
    }

    /// The estimated number of distinct elements of the union.
    pub fn count(&self) -> u64 {
        let mut histogram = [0u32; 1 << REGISTER_BITS];
        for &value in &self.registers {
            histogram[usize::from(value)] += 1;
        }
        estimate(&histogram)
    }

    /// Every register, at most 63.
    pub fn registers(&self) -> &[u8] {
        &self.registers
    }

    /// Raises the registers of `hll` to those of the union, as PFMERGE does to its destination, and marks its
    /// count as stale. The result is dense where one of the merged was, or where it has to be.
    pub fn store(&self, hll: &mut Vec<u8>, sparse_max_bytes: usize) -> Result<(), Corrupted> {
        if self.any_dense {
            to_dense(hll)?;
        }
        for (index, &value) in self.registers.iter().enumerate() {
            if value > 0 {
                raise(hll, index, value, sparse_max_bytes)?;
            }
        }
        invalidate_count(hll);
        Ok(())
    }
}

/// The register an element belongs to and the value it asks for, 1 to 51.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element);
    // The extra bit ends a run of fifty zeros.
    let run = (hash >> INDEX_BITS | 1 << RUN_BITS).trailing_zeros();
    (hash as usize & (REGISTERS - 1), run as u8 + 1)
}

/// MurmurHash64A with the seed every sketch in the world uses.
fn murmur64a(text: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    const SEED: u64 = 0xadc8_3b19;

    let mut hash = SEED ^ (text.len() as u64).wrapping_mul(M);
    let (words, tail) = text.as_chunks::<8>();
    for &word in words {
        let mut k = u64::from_le_bytes(word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}

/// Sets a register to `value` unless it is that high already; tells whether it was not.
fn raise(hll: &mut Vec<u8>, index: usize, value: u8, sparse_max_bytes: usize) -> Result<bool, Corrupted> {
    if encoding(hll).ok_or(Corrupted)? == Encoding::Sparse {
        if let Some(changed) = raise_sparse(hll, index, value, sparse_max_bytes)? {
            return Ok(changed);
        }
        to_dense(hll)?;
    }
    let registers = &mut hll[HEADER..];
    let changed = dense_register(registers, index) < value;
    if changed {
        set_dense_register(registers, index, value);
    }
    Ok(changed)
}

/// [`raise`] for a sparse sketch; `None` where it has to turn dense for it.
fn raise_sparse(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max_bytes: usize,
) -> Result<Option<bool>, Corrupted> {
    if value > SPARSE_MAX_VALUE {
        return Ok(None);
    }
    let Found { op, at, first, previous } = find(hll, index)?;
    if op.value >= value {
        return Ok(Some(false));
    }
    // The opcode splits into what is before the register, the register, and what is behind it.
    let mut split = Vec::with_capacity(5);
    let behind = first + op.run - 1 - index;
    push_run(&mut split, op.value, index - first);
    push_run(&mut split, value, 1);
    push_run(&mut split, op.value, behind);
    if split.len() > op.bytes && hll.len() + split.len() - op.bytes > sparse_max_bytes {
        return Ok(None);
    }
    hll.splice(at..at + op.bytes, split);
    join_neighbours(hll, previous.unwrap_or(HEADER));
    invalidate_count(hll);
    Ok(Some(true))
}

/// Joins equal runs among the few opcodes from `at` on, where a change may have left some.
fn join_neighbours(hll: &mut Vec<u8>, mut at: usize) {
    // Redis looks at five opcodes, a joined pair counting again, and so does everybody.
    for _ in 0..5 {
        let Some(op) = Opcode::read(hll, at) else { return };
        if op.value > 0
            && let Some(next) = Opcode::read(hll, at + 1)
            && next.value == op.value
            && op.run + next.run <= SPARSE_MAX_RUN
        {
            hll[at] = value_opcode(op.value, op.run + next.run);
            hll.remove(at + 1);
            continue;
        }
        at += op.bytes;
    }
}

/// One opcode of a sparse sketch.
struct Opcode {
    /// The value of its registers.
    value: u8,
    /// How many registers it covers, at least one.
    run: usize,
    /// Its own length.
    bytes: usize,
}

impl Opcode {
    /// `None` at the end, and where a two-byte opcode lacks its second.
    fn read(hll: &[u8], at: usize) -> Option<Opcode> {
        let first = *hll.get(at)?;
        let low_bits = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => Opcode { value: 0, run: low_bits + 1, bytes: 1 },
            1 => Opcode { value: 0, run: (low_bits << 8 | usize::from(*hll.get(at + 1)?)) + 1, bytes: 2 },
            _ => Opcode { value: (first >> 2 & 0x1f) + 1, run: usize::from(first & 3) + 1, bytes: 1 },
        })
    }
}

fn value_opcode(value: u8, run: usize) -> u8 {
    0x80 | (value - 1) << 2 | (run - 1) as u8
}

/// Appends the opcode of a run: none for an empty one.
fn push_run(out: &mut Vec<u8>, value: u8, run: usize) {
    match (value, run) {
        (_, 0) => {}
        (0, _) => push_zeros(out, run),
        _ => out.push(value_opcode(value, run)),
    }
}

fn push_zeros(out: &mut Vec<u8>, run: usize) {
    let rest = run - 1;
    if run > ZERO_MAX_RUN {
        out.extend([0x40 | (rest >> 8) as u8, rest as u8]);
    } else {
        out.push(rest as u8);
    }
}

/// Where a register of a sparse sketch is.
struct Found {
    op: Opcode,
    /// Offset of the opcode.
    at: usize,
    /// Index of the opcode's first register.
    first: usize,
    /// Offset of the opcode before it.
    previous: Option<usize>,
}

fn find(hll: &[u8], index: usize) -> Result<Found, Corrupted> {
    let (mut at, mut first, mut previous) = (HEADER, 0, None);
    loop {
        let op = Opcode::read(hll, at).ok_or(Corrupted)?;
        if index < first + op.run {
            return Ok(Found { op, at, first, previous });
        }
        previous = Some(at);
        first += op.run;
        at += op.bytes;
    }
}

/// A run of equal registers.
struct Run {
    value: u8,
    len: usize,
}

/// Calls `each` for the runs of a sparse sketch, never with more registers than there are. `Corrupted` in the
/// end where they are not all there.
fn for_each_run(hll: &[u8], mut each: impl FnMut(Run)) -> Result<(), Corrupted> {
    let (mut at, mut index) = (HEADER, 0);
    while let Some(op) = Opcode::read(hll, at) {
        if index + op.run > REGISTERS {
            return Err(Corrupted);
        }
        each(Run { value: op.value, len: op.run });
        index += op.run;
        at += op.bytes;
    }
    if index == REGISTERS && at == hll.len() { Ok(()) } else { Err(Corrupted) }
}

fn dense_register(registers: &[u8], index: usize) -> u8 {
    let [a, b, c] = registers.as_chunks::<3>().0[index / 4];
    (u32::from_le_bytes([a, b, c, 0]) >> (index % 4 * REGISTER_BITS)) as u8 & 0x3f
}

fn set_dense_register(registers: &mut [u8], index: usize, value: u8) {
    let group = &mut registers.as_chunks_mut::<3>().0[index / 4];
    let shift = index % 4 * REGISTER_BITS;
    let bits = u32::from_le_bytes([group[0], group[1], group[2], 0]);
    let [a, b, c, _] = (bits & !(0x3f << shift) | u32::from(value) << shift).to_le_bytes();
    *group = [a, b, c];
}

/// The four registers of a group.
fn unpack(&[a, b, c]: &[u8; 3]) -> [u8; 4] {
    [a & 0x3f, (a >> 6 | b << 2) & 0x3f, (b >> 4 | c << 4) & 0x3f, c >> 2]
}

/// Ertl's estimate from how many registers have which value.
fn estimate(histogram: &[u32; 1 << REGISTER_BITS]) -> u64 {
    /// 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let registers = REGISTERS as f64;
    let share = |n: u32| f64::from(n) / registers;

    let full = histogram[RUN_BITS as usize + 1];
    let mut z = registers * tau((registers - f64::from(full)) / registers);
    for &n in histogram[1..=RUN_BITS as usize].iter().rev() {
        z = (z + f64::from(n)) * 0.5;
    }
    z += registers * sigma(share(histogram[0]));
    (ALPHA * registers * registers / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
