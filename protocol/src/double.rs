//! Doubles as text: the spelling of sorted-set scores and of every double in a reply.
//!
//! The idea: the fewest digits that read back as the same double, laid out as Redis 7.2 lays them out. Whole
//! numbers within +-2^62 are written in full, the others as `0.0001`, `12.5` or `1.5e-9`.
//!
//! This file knows neither replies nor scores. Invariant: a finite double's text parses back to that double.

use std::io::Write;

/// Appends `value` to `out`: `3`, `-0`, `0.1`, `1e+20`, `inf`, `-inf`, `nan`.
pub fn format_double(value: f64, out: &mut Vec<u8>) {
    // Beyond these an integer gains nothing over scientific notation; the limits are Redis's.
    const WHOLE: f64 = (i64::MAX / 2) as f64;

    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= WHOLE && value == value.trunc() {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        format_digits(value, out);
    }
}

/// Lays out the shortest digits of a finite, non-zero `value`.
fn format_digits(value: f64, out: &mut Vec<u8>) {
    if value < 0.0 {
        out.push(b'-');
    }
    // `{:e}` gives the digits wanted: `d[.ddd]e[-]x`, at most 17 of them and three of exponent.
    let mut scratch = [0u8; 32];
    let mut rest = &mut scratch[..];
    write!(rest, "{:e}", value.abs()).expect("a double in scientific notation has at most 24 bytes");
    let unused = rest.len();
    let text = &scratch[..scratch.len() - unused];
    let e = text.iter().position(|&b| b == b'e').expect("scientific notation has an e");
    let mut digits = [0u8; 24];
    digits[0] = text[0];
    // Behind the first digit come a point and the others, or the `e` at once.
    let fraction = if e > 1 { &text[2..e] } else { &[] };
    digits[1..=fraction.len()].copy_from_slice(fraction);
    let digits = &digits[..=fraction.len()];
    let exponent = parse_exponent(&text[e + 1..]);

    // The value is digits x 10^scale.
    let scale = exponent - fraction.len() as i32;
    let size = exponent.unsigned_abs() as usize;
    if scale >= 0 && size < digits.len() + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if scale < 0 && (scale > -7 || size < 4) {
        if exponent >= 0 {
            let (whole, fraction) = digits.split_at(exponent as usize + 1);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        } else {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + size - 1, b'0');
            out.extend_from_slice(digits);
        }
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(itoa::Buffer::new().format(size).as_bytes());
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let size = digits.iter().fold(0, |n, d| n * 10 + i32::from(d - b'0'));
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        format_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_redis_lays_them_out() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (-0.1, "-0.1"),
            (3.1, "3.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (123456.789, "123456.789"),
            (0.001, "0.001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (0.00012345, "1.2345e-4"),
            (0.0012345678, "0.0012345678"),
            (1234567.12345678, "1.23456712345678e+6"),
            (0.000012345678, "1.2345678e-5"),
            (1e17, "100000000000000000"),
            (4e18, "4000000000000000000"),
            (1e19, "1e+19"),
            (1.2345678901234567e19, "12345678901234567000"),
            (1e300, "1e+300"),
            (-1.5e-9, "-1.5e-9"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn reads_back_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(value).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
