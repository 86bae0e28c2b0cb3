//! Float literals: what C's `strtod` and `strtold` accept, taken apart but not yet rounded.
//!
//! The idea: doubles and long doubles share one grammar and differ in rounding alone. A hexadecimal literal is
//! gathered into 128 bits and a sticky bit (whether anything non-zero was dropped), which is enough to round it
//! correctly to either width.
//!
//! Invariant: a literal is the whole text; leading blanks, trailing bytes and NaN are refused.

/// A float literal, unrounded.
#[derive(Debug, PartialEq)]
pub(super) enum Literal<'a> {
    /// `inf` or `infinity`.
    Infinity {
        /// Whether a minus sign stood before it.
        negative: bool,
    },
    /// Digits with a power of ten.
    Decimal(Decimal<'a>),
    /// `0x` digits with a power of two.
    Hex(Binary),
}

/// The value of `whole` followed by `fraction`, times 10^exponent.
#[derive(Debug, PartialEq)]
pub(super) struct Decimal<'a> {
    pub negative: bool,
    /// ASCII digits before the point.
    pub whole: &'a [u8],
    /// ASCII digits behind the point.
    pub fraction: &'a [u8],
    /// Saturated: no literal can be long enough to bring one back into range.
    pub exponent: i64,
}

impl Decimal<'_> {
    pub(super) fn is_zero(&self) -> bool {
        self.whole.iter().chain(self.fraction).all(|&b| b == b'0')
    }
}

/// mantissa x 2^exponent; the true value is a little more where `sticky`.
#[derive(Debug, PartialEq)]
pub(super) struct Binary {
    pub negative: bool,
    pub mantissa: u128,
    pub exponent: i64,
    pub sticky: bool,
}

impl Binary {
    /// Rounds to a mantissa of at most `bits` bits whose exponent is at least `min_exponent`, ties to even.
    /// Gives mantissa and exponent; the mantissa is zero where the value is too small.
    pub(super) fn round(&self, bits: u32, min_exponent: i64) -> (u64, i64) {
        if self.mantissa == 0 {
            return (0, min_exponent);
        }
        let length = i64::from(128 - self.mantissa.leading_zeros());
        let drop = (length - i64::from(bits)).max(min_exponent.saturating_sub(self.exponent));
        if drop <= 0 {
            return (self.mantissa as u64, self.exponent);
        }
        let exponent = self.exponent + drop;
        if drop > length {
            return (0, exponent);
        }
        let kept = self.mantissa.checked_shr(drop as u32).unwrap_or(0);
        let half = 1u128 << (drop - 1);
        let dropped = self.mantissa & (half - 1 + half);
        let up = dropped > half || (dropped == half && (self.sticky || kept & 1 == 1));
        let kept = kept + u128::from(up);
        // Rounding up may carry into one bit more, and that bit is then the only one.
        if kept >> bits != 0 { ((kept >> 1) as u64, exponent + 1) } else { (kept as u64, exponent) }
    }

    /// The nearest double; `None` on overflow, and where a value that is not zero would become zero.
    pub(super) fn to_f64(&self) -> Option<f64> {
        let (mantissa, exponent) = self.round(53, -1074);
        let length = i64::from(64 - mantissa.leading_zeros());
        if (mantissa == 0 && self.mantissa != 0) || exponent + length > 1024 {
            return None;
        }
        // Two exact steps: no power of two beyond the double's range is ever formed.
        let half = exponent / 2;
        let size = mantissa as f64 * power_of_two(half) * power_of_two(exponent - half);
        Some(if self.negative { -size } else { size })
    }
}

/// 2^exponent as a double, 0 <= |exponent| <= 1022; zero mantissas alone come with wilder exponents.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent.clamp(-1022, 1022) + 1023) as u64) << 52)
}

/// Takes a literal apart.
pub(super) fn scan(text: &[u8]) -> Option<Literal<'_>> {
    let (negative, body) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") {
        return Some(Literal::Infinity { negative });
    }
    if let [b'0', b'x' | b'X', digits @ ..] = body {
        return scan_hex(negative, digits).map(Literal::Hex);
    }
    let (whole, rest) = split_digits(body, u8::is_ascii_digit);
    let (fraction, rest) = split_fraction(rest, u8::is_ascii_digit);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let exponent = scan_exponent(rest, b'e')?;
    Some(Literal::Decimal(Decimal { negative, whole, fraction, exponent }))
}

fn scan_hex(negative: bool, text: &[u8]) -> Option<Binary> {
    let (whole, rest) = split_digits(text, u8::is_ascii_hexdigit);
    let (fraction, rest) = split_fraction(rest, u8::is_ascii_hexdigit);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut binary = Binary { negative, mantissa: 0, exponent: scan_exponent(rest, b'p')?, sticky: false };
    for (digits, behind_point) in [(whole, false), (fraction, true)] {
        for &b in digits {
            let digit = char::from(b).to_digit(16)?;
            let full = binary.mantissa >> 124 != 0;
            if full {
                binary.sticky |= digit != 0;
            } else {
                binary.mantissa = binary.mantissa << 4 | u128::from(digit);
            }
            // A digit kept behind the point, and one dropped before it, shift the others.
            binary.exponent += match (full, behind_point) {
                (false, true) => -4,
                (true, false) => 4,
                _ => 0,
            };
        }
    }
    Some(binary)
}

fn split_digits(text: &[u8], is_digit: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !is_digit(b)).unwrap_or(text.len()))
}

fn split_fraction(text: &[u8], is_digit: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    match text {
        [b'.', rest @ ..] => split_digits(rest, is_digit),
        _ => (&[], text),
    }
}

/// The exponent `text` consists of: nothing (zero), or `marker` in either case, a sign or none, digits.
fn scan_exponent(text: &[u8], marker: u8) -> Option<i64> {
    let [first, rest @ ..] = text else { return Some(0) };
    if first.to_ascii_lowercase() != marker {
        return None;
    }
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Far outside every format, far inside i64 whatever is added to it later.
    const LIMIT: i64 = 1 << 48;
    let size = digits.iter().fold(0i64, |n, &b| (n * 10 + i64::from(b - b'0')).min(LIMIT));
    Some(if negative { -size } else { size })
}
