//! The x87 long double: what INCRBYFLOAT and HINCRBYFLOAT add in.
//!
//! Redis computes these in C's `long double`, on its usual machines an 80-bit float with 64 bits of mantissa,
//! and prints `%.17Lf` without trailing zeros. Clients compare the digits, so this is that format in software,
//! on every machine: parse, add and print, each rounded to nearest, ties to even.
//!
//! The idea: everything common fits 128 bits. Only literals beyond 19 digits or far from one, and printing
//! beyond 2^128, go through big integers; both ways are exact up to the single rounding.
//!
//! Invariant: a finite value's mantissa has its top bit set, unless the exponent is already the smallest.

use num_bigint::BigUint;

use super::float::{self, Binary, Decimal, Literal};

/// Exponent of the last mantissa bit of the smallest numbers, subnormal ones included.
const MIN_EXPONENT: i32 = -16445;
/// Values are below two to this power.
const LIMIT_EXPONENT: i64 = 16384;
/// Longer texts are refused unread, as Redis does.
const MAX_TEXT_LEN: usize = 5 * 1024 - 1;
/// Digits printed behind the point, before trailing zeros go.
const DECIMALS: u32 = 17;

/// An 80-bit extended-precision float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble {
    negative: bool,
    size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    /// mantissa x 2^exponent
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
    NotANumber,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: LongDouble =
        LongDouble { negative: false, size: Size::Finite { mantissa: 0, exponent: 0 } };

    /// The long double nearest to what `text` spells, in the grammar of
    /// [`parse_f64`](super::number::parse_f64). `None` for what that refuses, judged by the long double's far
    /// wider range, and for texts of 5 KiB and more.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_TEXT_LEN {
            return None;
        }
        let binary = match float::scan(text)? {
            Literal::Infinity { negative } => return Some(Self { negative, size: Size::Infinite }),
            Literal::Hex(hex) => hex,
            Literal::Decimal(decimal) => to_binary(&decimal)?,
        };
        let rounded = Self::round(&binary);
        let vanished = rounded.is_zero() && binary.mantissa != 0;
        (rounded.is_finite() && !vanished).then_some(rounded)
    }

    /// Whether the value is neither infinite nor NaN.
    pub fn is_finite(self) -> bool {
        matches!(self.size, Size::Finite { .. })
    }

    /// Appends the value as Redis shows it to people: in full, without exponent, with at most 17 digits behind
    /// the point and no trailing zeros. Not reversible for values below about 1e-17, which print as `0`.
    pub fn format(self, out: &mut Vec<u8>) {
        let start = out.len();
        if self.negative && self.size != Size::NotANumber {
            out.push(b'-');
        }
        match self.size {
            Size::NotANumber => out.extend_from_slice(b"nan"),
            Size::Infinite => out.extend_from_slice(b"inf"),
            Size::Finite { mantissa, exponent } if exponent > 64 => {
                out.extend_from_slice((BigUint::from(mantissa) << exponent).to_string().as_bytes());
            }
            Size::Finite { mantissa, exponent } if exponent >= 0 => {
                let whole = u128::from(mantissa) << exponent;
                out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
            }
            Size::Finite { mantissa, exponent } => format_fraction(mantissa, exponent.unsigned_abs(), out),
        }
        if out[start..] == *b"-0" {
            out.remove(start);
        }
    }

    fn is_zero(self) -> bool {
        matches!(self.size, Size::Finite { mantissa: 0, .. })
    }

    /// Rounds to the nearest long double, which is infinite beyond the largest.
    fn round(binary: &Binary) -> Self {
        let negative = binary.negative;
        let (mantissa, exponent) = binary.round(64, MIN_EXPONENT.into());
        if mantissa == 0 {
            return Self { negative, size: Size::Finite { mantissa: 0, exponent: MIN_EXPONENT } };
        }
        let spare = mantissa.leading_zeros();
        if exponent + i64::from(64 - spare) > LIMIT_EXPONENT {
            return Self { negative, size: Size::Infinite };
        }
        let shift = i64::from(spare).min(exponent - i64::from(MIN_EXPONENT));
        let size = Size::Finite { mantissa: mantissa << shift, exponent: (exponent - shift) as i32 };
        Self { negative, size }
    }
}

impl std::ops::Add for LongDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let ((mantissa_a, exponent_a), (mantissa_b, exponent_b)) = match (self.size, other.size) {
            (Size::Finite { mantissa: a, exponent: i }, Size::Finite { mantissa: b, exponent: j }) => {
                ((a, i), (b, j))
            }
            (Size::Infinite, Size::Infinite) if self.negative != other.negative => {
                return Self { negative: false, size: Size::NotANumber };
            }
            (Size::NotANumber, _) | (Size::Infinite, Size::Finite { .. }) => return self,
            _ => return other,
        };
        if exponent_a < exponent_b {
            return other + self;
        }
        // `self` now has its top bit set or both have the smallest exponent. Leave one bit for the carry and
        // put the rest of the 128 below the mantissas, so that cancellation loses nothing.
        let large = u128::from(mantissa_a) << 63;
        let shift = (exponent_a - exponent_b).unsigned_abs();
        let full = u128::from(mantissa_b) << 63;
        let small = full.checked_shr(shift).unwrap_or(0);
        let sticky = small.checked_shl(shift).unwrap_or(0) != full;
        let (negative, mantissa) = if self.negative == other.negative {
            (self.negative, large + small)
        } else if large >= small {
            // What was shifted out borrows from the last bit kept.
            (self.negative, large - small - u128::from(sticky))
        } else {
            (other.negative, small - large)
        };
        // An exact difference of zero is positive.
        let negative = negative && (mantissa != 0 || self.negative == other.negative);
        Self::round(&Binary { negative, mantissa, exponent: i64::from(exponent_a) - 63, sticky })
    }
}

/// Appends mantissa / 2^shift, rounded to 17 decimals, without trailing zeros.
fn format_fraction(mantissa: u64, shift: u32, out: &mut Vec<u8>) {
    const UNIT: u128 = 10u128.pow(DECIMALS);
    // At most 121 bits.
    let scaled = u128::from(mantissa) * UNIT;
    let rounded = if shift >= 128 {
        0
    } else {
        let (kept, dropped) = (scaled >> shift, scaled & ((1 << shift) - 1));
        let half = 1u128 << (shift - 1);
        kept + u128::from(dropped > half || (dropped == half && kept & 1 == 1))
    };
    out.extend_from_slice(itoa::Buffer::new().format(rounded / UNIT).as_bytes());
    let mut fraction = (rounded % UNIT) as u64;
    if fraction != 0 {
        let mut digits = DECIMALS as usize;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        out.push(b'.');
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(fraction).as_bytes();
        out.resize(out.len() + digits - text.len(), b'0');
        out.extend_from_slice(text);
    }
}

/// Converts to base two, exactly but for the sticky bit. `None` where it is certain not to fit the format.
fn to_binary(decimal: &Decimal<'_>) -> Option<Binary> {
    let all = decimal.whole.iter().chain(decimal.fraction);
    let digits: Vec<u8> = all.copied().skip_while(|&b| b == b'0').collect();
    let negative = decimal.negative;
    if digits.is_empty() {
        return Some(Binary { negative, mantissa: 0, exponent: 0, sticky: false });
    }
    let scale = decimal.exponent - decimal.fraction.len() as i64;
    // The value is in [10^(magnitude - 1), 10^magnitude).
    let magnitude = scale + digits.len() as i64;
    if !(-4951..=4933).contains(&magnitude) {
        return None;
    }
    if digits.len() <= 19 {
        let number = digits.iter().fold(0u128, |n, &b| n * 10 + u128::from(b - b'0'));
        if (0..=19).contains(&scale) {
            let mantissa = number * 10u128.pow(scale as u32);
            return Some(Binary { negative, mantissa, exponent: 0, sticky: false });
        }
        if (-18..0).contains(&scale) {
            // 128 bits over at most 60 leave more than the 66 rounding needs.
            let shift = number.leading_zeros();
            let (number, divisor) = (number << shift, 10u128.pow(scale.unsigned_abs() as u32));
            return Some(Binary {
                negative,
                mantissa: number / divisor,
                exponent: -i64::from(shift),
                sticky: number % divisor != 0,
            });
        }
    }
    Some(to_binary_big(negative, &digits, scale))
}

/// The general case of [`to_binary`]: any number of digits, times 10^scale.
fn to_binary_big(negative: bool, digits: &[u8], scale: i64) -> Binary {
    let number = BigUint::parse_bytes(digits, 10).expect("the scanner left ASCII digits only");
    let power = BigUint::from(10u32).pow(scale.unsigned_abs() as u32);
    if scale >= 0 {
        return top_bits(negative, &(number * power), 0, false);
    }
    let shift = (power.bits() + 120).saturating_sub(number.bits());
    let number = number << shift;
    let quotient = &number / &power;
    let sticky = &quotient * &power != number;
    top_bits(negative, &quotient, -(shift as i64), sticky)
}

/// The first 128 bits of `number` x 2^exponent; what follows them turns sticky.
fn top_bits(negative: bool, number: &BigUint, exponent: i64, sticky: bool) -> Binary {
    let drop = number.bits().saturating_sub(128);
    let top = number >> drop;
    let mantissa = top.iter_u64_digits().rev().fold(0u128, |n, digit| n << 64 | u128::from(digit));
    let sticky = sticky || number.trailing_zeros().is_some_and(|zeros| zeros < drop);
    Binary { negative, mantissa, exponent: exponent + drop as i64, sticky }
}

#[cfg(test)]
mod tests;
