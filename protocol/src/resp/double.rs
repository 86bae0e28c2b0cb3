//! How floating point numbers are spelled on the wire: scores, coordinates, results of INCRBYFLOAT and the like.
//!
//! Two spellings, both Redis's: the shortest digits that read back as the same number, and the "human" one of 17
//! decimals with trailing zeros cut.

use std::io::Write;

/// Appends the shortest spelling that reads back as `value`, as replies with scores have it.
///
/// Whole numbers up to 2^62 have neither point nor exponent. Others are spelled plainly while the last digit is at most six
/// places behind the point or the number lies between 0.001 and 9999, or few zeros have to be made up, else with an
/// exponent. The rest is `inf`, `-inf`, `nan` and `-0`.
pub fn format_double(value: f64, out: &mut Vec<u8>) {
    /// 2^62. Beyond it Redis no longer tries an integer.
    const WHOLE: f64 = 4_611_686_018_427_387_904.0;
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    if value == 0.0 {
        return out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    }
    if value.abs() <= WHOLE && value == value.trunc() {
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    if value < 0.0 {
        out.push(b'-');
    }
    let (digits, exponent) = shortest(value.abs());
    write_digits(digits.as_slice(), exponent, out);
}

/// Appends `value` with up to 17 decimals, trailing zeros cut, never an exponent.
pub fn format_human_double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return format_double(value, out);
    }
    let start = out.len();
    write!(out, "{value:.17}").expect("writing to a Vec cannot fail");
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    if &out[start..] == b"-0" {
        out.remove(start);
    }
}

/// Decimal digits of a number, at most 17, neither the first nor the last of them 0.
struct Digits {
    bytes: [u8; 32],
    len: usize,
}

impl Digits {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The fewest digits that identify a positive finite number, and the power of ten of the first of them.
fn shortest(value: f64) -> (Digits, i32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    let (number, power) = match memchr::memchr(b'e', text) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let mut digits = Digits { bytes: [0; 32], len: 0 };
    // Places before the point, or minus the zeros right behind it.
    let mut whole = 0;
    let mut seen_point = false;
    for &byte in number {
        match byte {
            b'.' => seen_point = true,
            b'0' if digits.len == 0 => whole -= i32::from(seen_point),
            digit => {
                digits.bytes[digits.len] = digit;
                digits.len += 1;
                whole += i32::from(!seen_point);
            }
        }
    }
    while digits.len > 1 && digits.bytes[digits.len - 1] == b'0' {
        digits.len -= 1;
    }
    (digits, power + whole - 1)
}

/// The value of what follows the `e` of a number.
fn exponent(text: &[u8]) -> i32 {
    let value = text
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .fold(0, |sum, &byte| sum * 10 + i32::from(byte - b'0'));
    if text.first() == Some(&b'-') { -value } else { value }
}

/// Spells `digits`, the first of which stands for 10^`exponent`.
fn write_digits(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    let count = digits.len() as i32;
    // Power of ten of the last digit.
    let last = exponent - (count - 1);
    if last >= 0 && exponent.abs() < count + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + last as usize, b'0');
    } else if last < 0 && (last > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + (-exponent - 1) as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(exponent as usize + 1);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(value: f64) -> String {
        let mut out = Vec::new();
        format_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn human(value: f64) -> String {
        let mut out = Vec::new();
        format_human_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn short_spellings() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (3.0e-2, "0.03"),
            (1.5e-7, "1.5e-7"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (-1.23456789e-5, "-1.23456789e-5"),
            (0.0012345678901234567, "0.0012345678901234567"),
            (1234.5678901234567, "1234.5678901234567"),
            (12345.678901234567, "1.2345678901234567e+4"),
            (12345.678, "12345.678"),
            (1e18, "1000000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (9223372036854775807.0, "9223372036854776000"),
            (1e19, "1e+19"),
            (120.5, "120.5"),
            (1.5e16 + 0.0, "15000000000000000"),
            (6e22, "6e+22"),
            (6.02214076e23, "6.02214076e+23"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    /// They need not be those of the standard library, which rounds the other way where two are equally near.
    #[test]
    fn digits_are_the_shortest() {
        let mut bits: u64 = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for value in [f64::from_bits(bits >> 1), (bits >> 40) as f64 / 1000.0, 1e15 / (bits >> 30) as f64]
            {
                if !value.is_finite() || value == 0.0 {
                    continue;
                }
                let text = format!("{value:e}");
                let (mantissa, power) = text.split_once('e').unwrap();
                let (digits, exponent) = shortest(value);
                assert_eq!(digits.len, mantissa.replace('.', "").len(), "{value:e}");
                assert_eq!(exponent.to_string(), power, "{value:e}");
                assert_eq!(short(-value).parse::<f64>(), Ok(-value));
            }
        }
    }

    #[test]
    fn human_spellings() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (10.0, "10"),
            (1e20, "100000000000000000000"),
            (0.1, "0.10000000000000001"),
            (-2.5, "-2.5"),
            (2f64.powi(-18), "0.00000381469726562"),
            (-1e-30, "0"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(human(value), text);
        }
    }
}
