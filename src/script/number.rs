//! Numbers: at the head of a text, as C's `strtod` finds them, and random ones.

use super::shim::define;
use mlua::{Lua, Result, Table};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Replaces the random numbers of `math`: the C library's are not good, and one state for all threads.
pub fn define_random(lua: &Lua, math: &Table) -> Result<()> {
    let state = Arc::new(AtomicU64::new(fastrand::u64(..)));
    let seed = Arc::clone(&state);
    define(lua, math, "randomseed", move |_, args| {
        let wanted = args.front().and_then(super::convert::to_number);
        let wanted = wanted.ok_or("bad argument #1 to 'randomseed' (number expected, got no value)")?;
        seed.store(wanted as i64 as u64, Relaxed);
        Ok(())
    })?;
    define(lua, math, "random", move |_, args| {
        let mut rng = fastrand::Rng::with_seed(state.load(Relaxed));
        let fraction = rng.f64();
        state.store(rng.u64(..), Relaxed);
        let bound = |at: usize| {
            let bound = super::convert::to_number(&args[at]).ok_or_else(|| {
                let got = super::cjson::type_name(&args[at]);
                format!("bad argument #{} to 'random' (number expected, got {got})", at + 1)
            })?;
            Ok::<f64, String>(bound.trunc())
        };
        match args.len() {
            0 => Ok(fraction),
            1 => {
                let high = bound(0)?;
                if high < 1.0 {
                    return Err("bad argument #1 to 'random' (interval is empty)".into());
                }
                Ok((fraction * high).floor() + 1.0)
            }
            2 => {
                let (low, high) = (bound(0)?, bound(1)?);
                if low > high {
                    return Err("bad argument #2 to 'random' (interval is empty)".into());
                }
                Ok((fraction * (high - low + 1.0)).floor() + low)
            }
            _ => Err("wrong number of arguments".into()),
        }
    })
}

/// The number at the head of `text` and its length in bytes, 0 if there is none.
pub fn parse_prefix(text: &[u8]) -> (f64, usize) {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let body = &text[sign..];
    let signed = |value: f64| if negative { -value } else { value };
    let starts =
        |word: &str| body.len() >= word.len() && body[..word.len()].eq_ignore_ascii_case(word.as_bytes());
    if starts("infinity") {
        return (signed(f64::INFINITY), sign + 8);
    }
    if starts("inf") {
        return (signed(f64::INFINITY), sign + 3);
    }
    if starts("nan") {
        return (signed(f64::NAN), sign + 3);
    }
    if starts("0x") {
        let digits = body[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 0 {
            let value = body[2..2 + digits]
                .iter()
                .fold(0.0, |sum, &digit| sum * 16.0 + f64::from(char::from(digit).to_digit(16).unwrap_or(0)));
            return (signed(value), sign + 2 + digits);
        }
    }
    let digits = |from: usize| body[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    let mut any = whole > 0;
    if body.get(len) == Some(&b'.') {
        let fraction = digits(len + 1);
        any |= fraction > 0;
        if any {
            len += 1 + fraction;
        }
    }
    if !any {
        return (0.0, 0);
    }
    if matches!(body.get(len), Some(b'e' | b'E')) {
        let exponent_sign = usize::from(matches!(body.get(len + 1), Some(b'-' | b'+')));
        let from = len + 1 + exponent_sign;
        let exponent = if from <= body.len() { digits(from) } else { 0 };
        if exponent > 0 {
            len = from + exponent;
        }
    }
    let spelled = std::str::from_utf8(&body[..len]).unwrap_or("0");
    (signed(spelled.parse().unwrap_or(0.0)), sign + len)
}

#[cfg(test)]
mod tests {
    use super::parse_prefix;

    #[test]
    fn the_longest_head_that_is_a_number() {
        for (text, value, len) in [
            ("12,", 12.0, 2),
            ("-0.5e1x", -5.0, 6),
            ("1e", 1.0, 1),
            ("1e+", 1.0, 1),
            (".5", 0.5, 2),
            ("5.", 5.0, 2),
            ("0x1F", 31.0, 4),
            ("-inf", f64::NEG_INFINITY, 4),
            ("-", 0.0, 0),
            (".", 0.0, 0),
        ] {
            assert_eq!(parse_prefix(text.as_bytes()), (value, len), "{text}");
        }
    }
}
