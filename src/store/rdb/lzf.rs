//! LZF, the compression inside Redis's serialised strings: fast, weak, and without a header of its own.
//!
//! ```text
//! 000LLLLL                       L+1 bytes as they are
//! LLLooooo oooooooo              L+2 bytes (L from 1 to 6) from o+1 bytes back
//! 111ooooo LLLLLLLL oooooooo     L+9 bytes from o+1 bytes back
//! ```
//!
//! Invariant: decompressing takes time and memory in proportion to the smaller of the input times 88 and the
//! length asked for, whatever the input.

const MAX_LITERALS: usize = 32;
const MAX_DISTANCE: usize = 1 << 13;
const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 264;
/// The most bytes one byte of input can turn into: three give a longest match.
const MAX_GROWTH: usize = MAX_MATCH / 3;
/// Bytes that must be saved to make compressing worth it.
const MIN_GAIN: usize = 4;

/// Compresses `input`; `None` where that would not save at least four bytes.
pub fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let limit = input.len().checked_sub(MIN_GAIN).filter(|&limit| limit > 0)?;
    // Positions are kept in 32 bits.
    u32::try_from(input.len()).ok()?;
    // The last position, plus one, at which each hash of three bytes was seen. Small for small inputs, as it
    // has to be cleared.
    let table_bits = input.len().ilog2().clamp(8, 16);
    let mut seen = vec![0u32; 1 << table_bits];
    let mut out = Vec::with_capacity(limit);
    let (mut at, mut literals_from) = (0, 0);
    while let Some(&next) = input.get(at..).and_then(|rest| rest.first_chunk::<MIN_MATCH>()) {
        let previous = std::mem::replace(&mut seen[hash(next, table_bits)], at as u32 + 1) as usize;
        let distance = at + 1 - previous;
        if previous == 0 || distance > MAX_DISTANCE || !input[previous - 1..].starts_with(&next) {
            // The longer nothing repeats, the less closely to look.
            at += 1 + ((at - literals_from) >> 7);
            continue;
        }
        let most = (input.len() - at).min(MAX_MATCH);
        let (here, there) = (&input[at..at + most], &input[previous - 1..]);
        let len = here.iter().zip(there).take_while(|(a, b)| a == b).count();
        push_literals(&mut out, &input[literals_from..at]);
        push_match(&mut out, len, distance);
        if out.len() > limit {
            return None;
        }
        // What follows a match often follows one of its last bytes again.
        for inside in at + len - 2..at + len {
            if let Some(&three) = input[inside..].first_chunk::<MIN_MATCH>() {
                seen[hash(three, table_bits)] = inside as u32 + 1;
            }
        }
        at += len;
        literals_from = at;
    }
    push_literals(&mut out, &input[literals_from..]);
    (out.len() <= limit).then_some(out)
}

/// The `len` bytes that `input` stands for, or `None` where it does not stand for just so many.
pub fn decompress(mut input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > input.len().saturating_mul(MAX_GROWTH) {
        return None;
    }
    let mut out: Vec<u8> = Vec::with_capacity(len);
    while let Some((&control, rest)) = input.split_first() {
        let control = usize::from(control);
        if control < MAX_LITERALS {
            let (literals, rest) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literals);
            input = rest;
        } else {
            let (extra, rest) = if control >> 5 == 7 { rest.split_first()? } else { (&0, rest) };
            let (&low, rest) = rest.split_first()?;
            let count = (control >> 5) + usize::from(*extra) + 2;
            let distance = ((control & 0x1f) << 8 | usize::from(low)) + 1;
            let from = out.len().checked_sub(distance)?;
            if count <= distance {
                out.extend_from_within(from..from + count);
            } else {
                // The source runs into what is being written: a repetition.
                out.extend_from_within(from..);
                for i in 0..count - distance {
                    out.push(out[from + distance + i]);
                }
            }
            input = rest;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

fn hash([a, b, c]: [u8; MIN_MATCH], bits: u32) -> usize {
    (u32::from_le_bytes([0, a, b, c]).wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(MAX_LITERALS) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn push_match(out: &mut Vec<u8>, len: usize, distance: usize) {
    let (len, offset) = (len - 2, distance - 1);
    let high = (offset >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.extend([7 << 5 | high, (len - 7) as u8]);
    }
    out.push(offset as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shrinks_what_repeats_and_refuses_what_does_not() {
        let text = b"the quick brown fox jumps over the lazy dog, the quick brown fox does".repeat(3);
        let packed = compress(&text).unwrap();
        assert!(packed.len() < text.len() / 2);
        assert_eq!(decompress(&packed, text.len()).unwrap(), text);

        let zeros = vec![0; 1_000_000];
        let packed = compress(&zeros).unwrap();
        assert!(packed.len() < 12_000);
        assert_eq!(decompress(&packed, zeros.len()).unwrap(), zeros);

        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz"), None);
        assert_eq!(compress(b""), None);
        assert_eq!(compress(b"aaaa"), None);
    }

    /// As redis-server writes it.
    #[test]
    fn a_string_of_one_letter() {
        let packed = [1, b'a', b'a', 0xe0, 0x2f, 0, 1, b'a', b'a'];
        assert_eq!(decompress(&packed, 60).unwrap(), [b'a'; 60]);
    }

    #[test]
    fn nonsense_is_refused() {
        for (input, len) in [
            (&b"\x05abc"[..], 6),   // literals missing
            (b"\x00a\x20", 4),      // offset missing
            (b"\x00a\xe0\x01", 12), // offset of a long match missing
            (b"\x00a\x20\x01", 4),  // before the beginning
            (b"\x00a\x20\x00", 3),  // longer than said
            (b"\x00a\x20\x00", 5),  // shorter than said
            (b"\x00a", usize::MAX), // longer than possible
        ] {
            assert_eq!(decompress(input, len), None);
        }
        assert_eq!(decompress(b"", 0), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn comes_back(pieces in prop::collection::vec((any::<u8>(), 0usize..400), 0..20), noise: Vec<u8>) {
            let mut input: Vec<u8> = pieces.iter().flat_map(|&(byte, len)| vec![byte; len]).collect();
            input.extend(&noise);
            input.extend_from_within(..);
            if let Some(packed) = compress(&input) {
                prop_assert!(packed.len() + MIN_GAIN <= input.len());
                prop_assert_eq!(decompress(&packed, input.len()), Some(input));
            }
        }

        #[test]
        fn never_panics(input: Vec<u8>, len in 0usize..5000) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
