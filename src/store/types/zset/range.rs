//! The ranges that commands name in a sorted set: of scores, and of members among equal scores.
//!
//! A range is asked where something lies, before, in or behind it; the zset turns that into ranks.
//! The spelling is Redis's, odd corners included, as the bounds of ZRANGEBYSCORE go through C's `strtod`.

use crate::text::number::parse_f64;

/// Scores from `min` to `max`. Empty if they are the wrong way round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lower bound. Never NaN.
    pub min: f64,
    /// The upper bound. Never NaN.
    pub max: f64,
    /// Whether `min` itself is left out.
    pub min_exclusive: bool,
    /// Whether `max` itself is left out.
    pub max_exclusive: bool,
}

impl ScoreRange {
    /// Every score.
    pub const ALL: ScoreRange =
        ScoreRange { min: f64::NEG_INFINITY, max: f64::INFINITY, min_exclusive: false, max_exclusive: false };

    /// Reads two bounds: a number or `-inf`, `+inf`, with `(` before it if it is exclusive.
    pub fn parse(min: &[u8], max: &[u8]) -> Option<ScoreRange> {
        let (min, min_exclusive) = parse_score_bound(min)?;
        let (max, max_exclusive) = parse_score_bound(max)?;
        Some(ScoreRange { min, max, min_exclusive, max_exclusive })
    }

    /// Whether `score` lies below the range.
    #[inline]
    pub fn is_after(&self, score: f64) -> bool {
        if self.min_exclusive { score <= self.min } else { score < self.min }
    }

    /// Whether `score` lies above the range.
    #[inline]
    pub fn is_before(&self, score: f64) -> bool {
        if self.max_exclusive { score >= self.max } else { score > self.max }
    }

    /// Whether `score` lies in the range.
    pub fn contains(&self, score: f64) -> bool {
        !self.is_after(score) && !self.is_before(score)
    }
}

fn parse_score_bound(text: &[u8]) -> Option<(f64, bool)> {
    let (text, exclusive) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    // `strtod` passes over blanks, and what it reads nothing from is 0 if there is nothing.
    if text.is_empty() {
        return Some((0.0, exclusive));
    }
    let blanks = text.iter().position(|b| !matches!(b, b' ' | b'\t'..=b'\r')).unwrap_or(text.len());
    let text = &text[blanks..];
    // It also takes what is too large or too small for a double.
    let bound = parse_f64(text).or_else(|| std::str::from_utf8(text).ok()?.parse::<f64>().ok())?;
    (!bound.is_nan()).then_some((bound, exclusive))
}

/// One end of a [`LexRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before every member: `-`.
    Lowest,
    /// This member and on: `[member`.
    Inclusive(&'a [u8]),
    /// From this member on without it: `(member`.
    Exclusive(&'a [u8]),
    /// Behind every member: `+`.
    Highest,
}

impl<'a> LexBound<'a> {
    /// Reads one bound.
    pub fn parse(text: &'a [u8]) -> Option<LexBound<'a>> {
        match text {
            b"-" => Some(LexBound::Lowest),
            b"+" => Some(LexBound::Highest),
            [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
            [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
            _ => None,
        }
    }
}

/// Members from `min` to `max` in byte order. Empty if they are the wrong way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The lower bound.
    pub min: LexBound<'a>,
    /// The upper bound.
    pub max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    /// Reads two bounds: `-`, `+`, `[member` or `(member`.
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<LexRange<'a>> {
        Some(LexRange { min: LexBound::parse(min)?, max: LexBound::parse(max)? })
    }

    /// Whether `member` lies below the range.
    pub fn is_after(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => false,
            LexBound::Inclusive(min) => member < min,
            LexBound::Exclusive(min) => member <= min,
            LexBound::Highest => true,
        }
    }

    /// Whether `member` lies above the range.
    pub fn is_before(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => true,
            LexBound::Inclusive(max) => member > max,
            LexBound::Exclusive(max) => member >= max,
            LexBound::Highest => false,
        }
    }

    /// Whether `member` lies in the range.
    pub fn contains(&self, member: &[u8]) -> bool {
        !self.is_after(member) && !self.is_before(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis-server 7.0.15 makes of the bounds of ZRANGEBYSCORE.
    #[test]
    fn score_bounds() {
        for (text, expected) in [
            ("1.5", Some((1.5, false))),
            ("(1.5", Some((1.5, true))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("+inf", Some((f64::INFINITY, false))),
            ("(Infinity", Some((f64::INFINITY, true))),
            ("+1", Some((1.0, false))),
            ("0x10", Some((16.0, false))),
            ("1e400", Some((f64::INFINITY, false))),
            ("-1e400", Some((f64::NEG_INFINITY, false))),
            ("1e-400", Some((0.0, false))),
            (" 1", Some((1.0, false))),
            ("( \t\n1", Some((1.0, true))),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            (" ", None),
            ("1 ", None),
            ("((1", None),
            ("[1", None),
            ("nan", None),
            ("(-NaN", None),
            ("1\0", None),
            ("one", None),
        ] {
            assert_eq!(parse_score_bound(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(ScoreRange::parse(b"-inf", b"+inf"), Some(ScoreRange::ALL));
        assert!(ScoreRange::parse(b"1", b"x").is_none() && ScoreRange::parse(b"x", b"1").is_none());
    }

    #[test]
    fn scores_in_and_out() {
        let range = ScoreRange::parse(b"1", b"(2").expect("two numbers");
        assert_eq!([0.5, 1.0, 1.5, 2.0, 2.5].map(|s| range.is_after(s)), [true, false, false, false, false]);
        assert_eq!([0.5, 1.0, 1.5, 2.0, 2.5].map(|s| range.is_before(s)), [false, false, false, true, true]);
        assert!(ScoreRange::ALL.contains(f64::NEG_INFINITY) && ScoreRange::ALL.contains(f64::INFINITY));
        let empty = ScoreRange::parse(b"(1", b"(1").expect("two numbers");
        assert!(!empty.contains(1.0));
        let zero = ScoreRange::parse(b"-0", b"0").expect("two numbers");
        assert!(zero.contains(0.0) && zero.contains(-0.0));
    }

    #[test]
    fn lex_bounds() {
        for (text, expected) in [
            ("-", Some(LexBound::Lowest)),
            ("+", Some(LexBound::Highest)),
            ("[a", Some(LexBound::Inclusive(b"a"))),
            ("(a", Some(LexBound::Exclusive(b"a"))),
            ("[", Some(LexBound::Inclusive(b""))),
            ("((", Some(LexBound::Exclusive(b"("))),
            ("", None),
            ("-a", None),
            ("+a", None),
            ("a", None),
        ] {
            assert_eq!(LexBound::parse(text.as_bytes()), expected, "{text:?}");
        }
        let range = LexRange::parse(b"[b", b"(d").expect("two bounds");
        assert_eq!(["a", "b", "c", "d"].map(|m| range.contains(m.as_bytes())), [false, true, true, false]);
        let none = LexRange::parse(b"+", b"-").expect("two bounds");
        assert!(!none.contains(b""));
    }
}
