//! Frames between nodes: `length u32, kind u8, id u64` (little-endian), then `length` bytes of payload.
//!
//! Idea: a header of fixed size that is judged before its payload is waited for, so that a peer cannot make this node
//! set memory aside for more than its kind may carry. Pure: bytes in, frames out. Invariant: what was decoded is gone from
//! the input, whole; what is incomplete stays, whole.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes before the payload.
pub const HEADER: usize = 13;

/// Kinds from here on may carry [`BULK_LIMIT`] bytes, those below [`CONTROL_LIMIT`].
pub const FIRST_BULK_KIND: u8 = 128;

/// The largest payload of a control frame, in bytes.
pub const CONTROL_LIMIT: usize = 1 << 20;

/// The largest payload of a bulk frame, in bytes.
pub const BULK_LIMIT: usize = 64 << 20;

/// Kinds from here on belong to the link itself.
pub const FIRST_OWN_KIND: u8 = 0xf0;

/// Asks for a sign of life.
pub(super) const PING: u8 = 0xf0;
/// The sign of life.
pub(super) const PONG: u8 = 0xf1;
/// The request `id` was refused; the payload says why.
pub(super) const REFUSAL: u8 = 0xfe;
/// The answer to the request `id`.
pub(super) const REPLY: u8 = 0xff;

/// A frame that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is about; below [`FIRST_OWN_KIND`] for what a handler sees.
    pub kind: u8,
    /// What an answer must name; 0: none is wanted.
    pub id: u64,
    /// A slice of the input: whoever keeps it long keeps up to 64 KiB around it, so copy what is kept.
    pub payload: Bytes,
}

/// A frame whose header promises more than its kind may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Its kind.
    pub kind: u8,
    /// The bytes it promises.
    pub length: usize,
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a frame of kind {} of {} bytes: at most {} are allowed",
            self.kind,
            self.length,
            limit(self.kind)
        )
    }
}

impl std::error::Error for TooLarge {}

/// Bytes a frame of this kind may carry.
pub fn limit(kind: u8) -> usize {
    if kind >= FIRST_BULK_KIND { BULK_LIMIT } else { CONTROL_LIMIT }
}

/// Appends a frame whose payload `fill` appends. Refused, nothing is appended.
pub fn append(out: &mut Vec<u8>, kind: u8, id: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), TooLarge> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&id.to_le_bytes());
    fill(out);
    let length = out.len().saturating_sub(start + HEADER);
    if length > limit(kind) {
        out.truncate(start);
        return Err(TooLarge { kind, length });
    }
    // The limits fit in 32 bits.
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Takes the first frame of `input`; `None` while it is incomplete, with room made for the rest of it.
pub fn take(input: &mut BytesMut) -> Result<Option<Frame>, TooLarge> {
    let Some(mut header) = input.get(..HEADER) else { return Ok(None) };
    let length = header.get_u32_le() as usize;
    let kind = header.get_u8();
    let id = header.get_u64_le();
    if length > limit(kind) {
        return Err(TooLarge { kind, length });
    }
    let whole = HEADER + length;
    if input.len() < whole {
        input.reserve(whole - input.len());
        return Ok(None);
    }
    let mut frame = input.split_to(whole);
    frame.advance(HEADER);
    Ok(Some(Frame { kind, id, payload: frame.freeze() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Frame> {
        let frame = |kind, id, payload: &[u8]| Frame { kind, id, payload: Bytes::copy_from_slice(payload) };
        vec![
            frame(1, 0, b""),
            frame(2, 7, b"hello"),
            frame(200, u64::MAX, &[0xa5; 700]),
            frame(REPLY, 7, b"\0\0\0\0"),
            frame(PING, 0, b""),
        ]
    }

    fn written(frames: &[Frame]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames {
            append(&mut out, frame.kind, frame.id, |out| out.extend_from_slice(&frame.payload)).unwrap();
        }
        out
    }

    fn read(input: &mut BytesMut) -> Vec<Frame> {
        std::iter::from_fn(|| take(input).unwrap()).collect()
    }

    #[test]
    fn frames_survive_a_cut_at_every_byte() {
        let frames = sample();
        let bytes = written(&frames);
        for cut in 0..=bytes.len() {
            let mut input = BytesMut::from(&bytes[..cut]);
            let mut found = read(&mut input);
            input.extend_from_slice(&bytes[cut..]);
            found.extend(read(&mut input));
            assert_eq!(found, frames, "cut at {cut}");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_take_memory_beyond_the_limits() {
        let mut random = fastrand::Rng::with_seed(41);
        for _ in 0..20_000 {
            let mut input = BytesMut::new();
            let bytes: Vec<u8> = (0..random.usize(0..80)).map(|_| random.u8(..)).collect();
            // Half of them with small lengths, or hardly one would be a frame.
            input.extend_from_slice(&bytes);
            if random.bool() && input.len() >= 4 {
                input[1..4].copy_from_slice(&[0; 3]);
                input[0] %= 40;
            }
            let before = input.len();
            while let Ok(Some(frame)) = take(&mut input) {
                assert!(frame.payload.len() + HEADER <= before);
            }
            assert!(input.capacity() <= BULK_LIMIT + HEADER + 128);
        }
    }

    #[test]
    fn random_frames_survive_random_cuts() {
        let mut random = fastrand::Rng::with_seed(42);
        for _ in 0..300 {
            let mut frames = Vec::new();
            for _ in 0..random.usize(0..12) {
                let payload: Vec<u8> = (0..random.usize(0..300)).map(|_| random.u8(..)).collect();
                frames.push(Frame { kind: random.u8(..), id: random.u64(..), payload: payload.into() });
            }
            let bytes = written(&frames);
            let (mut input, mut found, mut at) = (BytesMut::new(), Vec::new(), 0);
            while at < bytes.len() {
                let end = (at + random.usize(1..90)).min(bytes.len());
                input.extend_from_slice(&bytes[at..end]);
                found.extend(read(&mut input));
                at = end;
            }
            assert_eq!(found, frames);
        }
    }

    #[test]
    fn a_header_is_judged_before_its_payload() {
        let mut input = BytesMut::new();
        input.extend_from_slice(&(CONTROL_LIMIT as u32 + 1).to_le_bytes());
        input.extend_from_slice(&[1; 9]);
        assert_eq!(take(&mut input), Err(TooLarge { kind: 1, length: CONTROL_LIMIT + 1 }));
        let mut out = vec![9];
        let refused = append(&mut out, 1, 1, |out| out.resize(out.len() + CONTROL_LIMIT + 1, 0));
        assert!(refused.is_err());
        assert_eq!(out, [9]);
        append(&mut out, FIRST_BULK_KIND, 1, |out| out.resize(out.len() + CONTROL_LIMIT + 1, 0)).unwrap();
    }
}
