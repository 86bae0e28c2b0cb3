//! Keys as they stand on the wire: as they are, or in base64 when a meta command says so.
//!
//! A base64 key is checked when its line is parsed and decoded when it is used, into memory of whoever uses it. So a request
//! borrows from the read buffer alone and many of them can be held at once.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Longest key on the wire, in bytes.
pub const MAX_KEY: usize = 250;

/// Longest key that base64 of [`MAX_KEY`] bytes decodes to, rounded up to what the decoder asks for.
const MAX_DECODED: usize = MAX_KEY.div_ceil(4) * 3;

/// Standard base64 with padding. Bits left over in the last character are not looked at, as memcached does not.
pub(super) const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Where a base64 key is decoded to; see [`WireKey::decode`].
#[derive(Debug, Clone)]
pub struct KeyScratch([u8; MAX_DECODED]);

impl Default for KeyScratch {
    fn default() -> Self {
        KeyScratch([0; MAX_DECODED])
    }
}

/// A key as the client wrote it. Invariant: when `base64`, `token` decodes to 1 byte or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireKey<'a> {
    token: &'a [u8],
    base64: bool,
}

impl<'a> WireKey<'a> {
    #[inline]
    pub(super) fn plain(token: &'a [u8]) -> Self {
        WireKey { token, base64: false }
    }

    /// A key in base64; `None` when it is none.
    pub(super) fn encoded(token: &'a [u8]) -> Option<Self> {
        let mut scratch = KeyScratch::default();
        let len = BASE64.decode_slice(token, &mut scratch.0).ok()?;
        (len > 0).then_some(WireKey { token, base64: true })
    }

    /// The word that stands for the key.
    pub(super) fn token(&self) -> &'a [u8] {
        self.token
    }

    /// Whether the client wrote the key in base64 and so wants it back.
    #[inline]
    pub fn is_base64(&self) -> bool {
        self.base64
    }

    /// The key itself, 1 to [`MAX_KEY`] bytes.
    #[inline]
    pub fn decode<'k>(&self, scratch: &'k mut KeyScratch) -> &'k [u8]
    where
        'a: 'k,
    {
        if !self.base64 {
            return self.token;
        }
        let len = BASE64.decode_slice(self.token, &mut scratch.0).expect("checked when the line was parsed");
        &scratch.0[..len]
    }

    /// Length of the key itself, in bytes.
    #[inline]
    pub(super) fn decoded_len(&self) -> usize {
        if self.base64 { self.decode(&mut KeyScratch::default()).len() } else { self.token.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_keys() {
        let mut scratch = KeyScratch::default();
        assert_eq!(WireKey::plain(b"bg==").decode(&mut scratch), b"bg==");
        assert_eq!(WireKey::encoded(b"bg==").unwrap().decode(&mut scratch), b"n");
        assert_eq!(
            WireKey::encoded(b"bh==").unwrap().decode(&mut scratch),
            b"n",
            "left-over bits are ignored"
        );
        assert_eq!(WireKey::encoded(b"AAEC/w==").unwrap().decode(&mut scratch), b"\0\x01\x02\xff");
        for bad in [&b"n"[..], b"bg", b"bg=", b"====", b"=", b"b!==", b"bg==bg=="] {
            assert_eq!(WireKey::encoded(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_longest_base64_key() {
        let token = b"AAAA".repeat(MAX_KEY / 4);
        assert_eq!(WireKey::encoded(&token).unwrap().decoded_len(), MAX_KEY / 4 * 3);
    }
}
