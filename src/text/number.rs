//! Numbers as clients spell them: integers, doubles, amounts of memory, and back to text.
//!
//! The idea: strictness is a feature. An integer has exactly one spelling, so a value that parses can be kept as
//! a number and given back byte for byte. Doubles take whatever C's `strtod` takes, less leading blanks, NaN and
//! what does not fit.
//!
//! This file knows no command, key or directive. Invariant: bad input is `None`, never a panic or a wrapped
//! value.

pub use shoal_protocol::resp::format_double as format_f64;

use super::float::{self, Literal};

/// Longest text that can be an `i64`: `-9223372036854775808`.
const I64_LEN: usize = 20;

/// The integer `text` spells in its one canonical way: no `+`, no blanks, no leading zeros, no `-0`.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    if text.len() > I64_LEN {
        return None;
    }
    match text {
        [b'-', digits @ ..] => match parse_u64(digits)? {
            0 => None,
            size if size <= i64::MIN.unsigned_abs() => Some((size as i64).wrapping_neg()),
            _ => None,
        },
        _ => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// The unsigned integer `text` spells in its one canonical way: digits only, no leading zeros.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if text.len() <= 19 => {
            // Nineteen digits always fit.
            text.iter().try_fold(0u64, |n, &b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
        }
        [b'1'..=b'9', ..] if text.len() == 20 => text.iter().try_fold(0u64, |n, &b| {
            b.is_ascii_digit().then(|| n.checked_mul(10)?.checked_add(u64::from(b - b'0'))).flatten()
        }),
        _ => None,
    }
}

/// The unsigned integer `text` spells as C's `strtoull` reads it: behind blanks and a sign, with leading zeros; a
/// negative one wraps around, unless it is spelt in its canonical way. Redis reads the ids of streams so.
pub fn parse_u64_as_c(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let blank = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|b| !blank(b))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |n, &b| {
        b.is_ascii_digit().then(|| n.checked_mul(10)?.checked_add(u64::from(b - b'0'))).flatten()
    })?;
    Some(if negative { number.wrapping_neg() } else { number })
}

/// The double `text` spells, as a score or a float argument: decimal or hexadecimal (`0x1.8p3`), `inf` and
/// `infinity` in any case. Not: blanks, NaN, a finite number that overflows, or one that is not zero but too
/// small for a double.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    // Most scores are short integers, which convert exactly.
    if text.len() <= 15
        && let Some(whole) = parse_i64(text)
    {
        return Some(whole as f64);
    }
    match float::scan(text)? {
        Literal::Infinity { negative } => Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        Literal::Hex(hex) => hex.to_f64(),
        Literal::Decimal(decimal) => {
            let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            let vanished = value == 0.0 && !decimal.is_zero();
            (value.is_finite() && !vanished).then_some(value)
        }
    }
}

/// Appends `value` with as many as 17 significant digits, enough to tell it from every other, as C's `%.17g` spells it.
pub fn format_g17(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() || value == 0.0 {
        return format_f64(value, out);
    }
    let text = format!("{value:.16e}");
    let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let trim = |text: &str| text.trim_end_matches('0').trim_end_matches('.').len();
    if (-4..17).contains(&exponent) {
        let decimals = (16 - exponent) as usize;
        let text = format!("{value:.decimals$}");
        let len = if decimals > 0 { trim(&text) } else { text.len() };
        out.extend_from_slice(&text.as_bytes()[..len]);
    } else {
        let digits = &digits[..trim(digits)];
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{digits}e{sign}{:02}", exponent.abs()).as_bytes());
    }
}

/// Appends `value` with exactly `decimals` (1 to 17) digits behind the point: `190424.0000`.
///
/// Ties go to the even digit. Meant for magnitudes below 2^63 / 10^decimals; beyond, the text saturates.
pub fn format_fixed(value: f64, decimals: u32, out: &mut Vec<u8>) {
    let unit = 10u64.pow(decimals);
    let scaled = (value * unit as f64).round_ties_even() as i64;
    if scaled < 0 {
        out.push(b'-');
    }
    let size = scaled.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(size / unit).as_bytes());
    out.push(b'.');
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(size % unit);
    out.resize(out.len() + decimals as usize - digits.len(), b'0');
    out.extend_from_slice(digits.as_bytes());
}

/// Appends `value` as C's `%.<digits>g`: so many significant digits (1 to 17), no zeros at the end, an exponent where that is
/// shorter.
pub fn format_general(value: f64, digits: usize, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let sign = if value.is_sign_negative() { "-" } else { "" };
        let word = if value.is_nan() { "nan" } else { "inf" };
        out.extend_from_slice(sign.as_bytes());
        out.extend_from_slice(word.as_bytes());
        return;
    }
    let rounded = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = rounded.split_once('e').expect("an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("it is a small integer");
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if (-4..digits as i32).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent) as usize;
        out.extend_from_slice(trim(&format!("{value:.decimals$}")).as_bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let size = exponent.unsigned_abs();
        out.extend_from_slice(format!("{}e{sign}{size:02}", trim(mantissa)).as_bytes());
    }
}

/// An amount of memory in bytes, as configuration files write it: digits, then nothing or `b`, `k` (1000),
/// `kb` (1024), `m`, `mb`, `g`, `gb` in any case. `None` also where the amount passes 2^64.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let unit_at = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?.checked_mul(factor)
}

/// `yes` or `no` in any case, as configuration files write a switch.
pub fn parse_yes_no(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"yes") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"no") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_c_reads_numbers() {
        for (text, expected) in [
            ("1", Some(1)),
            ("007", Some(7)),
            (" \t+5", Some(5)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            (" -1", Some(u64::MAX)),
            ("-1", None),
            ("-0", Some(0)),
            ("", None),
            (" ", None),
            ("+-1", None),
            ("1 ", None),
            ("1x", None),
        ] {
            assert_eq!(parse_u64_as_c(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn general_spelling_is_c_s() {
        let spelled = |value, digits| {
            let mut out = Vec::new();
            format_general(value, digits, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(spelled(0.1, 17), "0.10000000000000001");
        assert_eq!(spelled(0.1, 14), "0.1");
        assert_eq!(spelled(1e15, 14), "1e+15");
        assert_eq!(spelled(1e15, 17), "1000000000000000");
        assert_eq!(spelled(-0.00001, 14), "-1e-05");
        assert_eq!(spelled(0.0001, 14), "0.0001");
        assert_eq!(spelled(99_999_999_999_999.9, 14), "1e+14");
        assert_eq!(spelled(1.5e300, 17), "1.5000000000000001e+300");
        assert_eq!(spelled(f64::NEG_INFINITY, 14), "-inf");
        assert_eq!(spelled(0.0, 14), "0");
    }
    use proptest::prelude::*;

    #[test]
    fn integers_have_one_spelling() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            ("-01", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
            ("--1", None),
            ("1\0", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"184467440737095516150"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    /// What redis-server takes as a score.
    #[test]
    fn doubles() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("+1", Some(1.0)),
            ("007", Some(7.0)),
            ("-1.5", Some(-1.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("+.5e1", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1E-3", Some(0.001)),
            ("0x10", Some(16.0)),
            ("-0X.8p1", Some(-1.0)),
            ("0x1.fffffffffffff8p0", Some(2.0)),
            ("0x1.fffffffffffff7p0", Some(1.9999999999999998)),
            ("0x1p-1074", Some(5e-324)),
            ("0x1p-1076", None),
            ("0x1p1024", None),
            ("0x1.fffffffffffffp1023", Some(f64::MAX)),
            ("0x0p99999999999", Some(0.0)),
            ("inf", Some(f64::INFINITY)),
            ("+Inf", Some(f64::INFINITY)),
            ("-INFINITY", Some(f64::NEG_INFINITY)),
            ("0e99999999999999999999", Some(0.0)),
            ("4.9e-324", Some(5e-324)),
            ("1e-400", None),
            ("1e400", None),
            ("-1e400", None),
            ("nan", None),
            ("-nan", None),
            ("nan(1)", None),
            ("infin", None),
            ("", None),
            ("-", None),
            (".", None),
            ("e5", None),
            ("1e", None),
            ("1e+", None),
            (" 1", None),
            ("1 ", None),
            ("1\0", None),
            ("0x", None),
            ("0x.", None),
            ("0x1p", None),
            ("1_0", None),
            ("1,5", None),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), expected, "{text}");
        }
        assert!(parse_f64(b"-0").unwrap().is_sign_negative());
    }

    #[test]
    fn fixed_point() {
        for (value, expected) in [
            (0.0, "0.0000"),
            (166274.15156960033, "166274.1516"),
            (0.00004, "0.0000"),
            (-0.00004, "0.0000"),
            (0.775, "0.7750"),
            (-1.5, "-1.5000"),
        ] {
            let mut out = Vec::new();
            format_fixed(value, 4, &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn seventeen_digits() {
        for (value, expected) in [
            (0.1, "0.10000000000000001"),
            (-2.5, "-2.5"),
            (100.0, "100"),
            (1e16, "10000000000000000"),
            (1.5e17, "1.5e+17"),
            (-1e-5, "-1.0000000000000001e-05"),
            (0.0001, "0.0001"),
            (f64::from_bits(20), "9.8813129168249309e-323"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
            (-0.0, "-0"),
        ] {
            let mut out = Vec::new();
            format_g17(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn amounts_and_switches() {
        for (text, expected) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("100b", Some(100)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("100mb", Some(100 << 20)),
            ("2m", Some(2_000_000)),
            ("1Gb", Some(1 << 30)),
            ("3g", Some(3_000_000_000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615k", None),
            ("", None),
            ("mb", None),
            ("-1", None),
            ("+1", None),
            ("1.5gb", None),
            ("1 kb", None),
            ("1tb", None),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(parse_yes_no(b"Yes"), Some(true));
        assert_eq!(parse_yes_no(b"no"), Some(false));
        assert_eq!(parse_yes_no(b"on"), None);
    }

    proptest! {
        #[test]
        fn every_integer_reads_back(n: i64) {
            prop_assert_eq!(parse_i64(n.to_string().as_bytes()), Some(n));
        }

        #[test]
        fn an_integer_that_parses_has_that_spelling(text in "[-+0-9 ]{0,22}") {
            if let Some(n) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(n.to_string(), text);
            }
        }

        #[test]
        fn every_double_reads_back(value: f64) {
            prop_assume!(!value.is_nan());
            let mut text = Vec::new();
            format_f64(value, &mut text);
            prop_assert_eq!(parse_f64(&text).map(f64::to_bits), Some(value.to_bits()));
        }
    }
}
