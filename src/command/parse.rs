//! Arguments that many commands share: numbers, expiry times, option words.

use super::error::{self, CmdError};
use crate::text::number;
use shoal_protocol::resp::Args;

/// An integer.
pub fn int(arg: &[u8]) -> Result<i64, CmdError> {
    number::parse_i64(arg).ok_or(error::NOT_AN_INTEGER)
}

/// A float.
pub fn float(arg: &[u8]) -> Result<f64, CmdError> {
    number::parse_f64(arg).ok_or(error::NOT_A_FLOAT)
}

/// An integer that is not negative; anything else is the same error.
pub fn positive(arg: &[u8]) -> Result<usize, CmdError> {
    at_least(0, arg, error::NOT_POSITIVE)
}

/// An integer of at least `least`; anything else is `otherwise`.
pub fn at_least(least: usize, arg: &[u8], otherwise: CmdError) -> Result<usize, CmdError> {
    let number = number::parse_i64(arg).and_then(|n| usize::try_from(n).ok());
    number.filter(|&n| n >= least).ok_or(otherwise)
}

/// An integer whose negative is one as well.
pub fn symmetric(arg: &[u8]) -> Result<i64, CmdError> {
    match int(arg)? {
        i64::MIN => Err(error::NOT_SYMMETRIC),
        n => Ok(n),
    }
}

/// The most elements drawn at once where one may be drawn again, so that a small request cannot ask for endless work.
const MOST_DRAWS: u64 = 1 << 24;

/// How many elements to draw of `len` for a count as HRANDFIELD and SRANDMEMBER take it: negative, any element may come
/// more than once.
pub fn draws(count: i64, len: usize) -> Result<usize, CmdError> {
    match (count.unsigned_abs(), usize::try_from(count)) {
        (_, Ok(count)) => Ok(count.min(len)),
        (count, Err(_)) if count <= MOST_DRAWS => Ok(count as usize),
        _ => Err(error::VALUE_OUT_OF_RANGE),
    }
}

/// The number of one of `databases` databases.
pub fn database(arg: &[u8], databases: usize) -> Result<usize, CmdError> {
    let number = i32::try_from(int(arg)?).map_err(|_| error::NOT_AN_INT32)?;
    usize::try_from(number).ok().filter(|db| *db < databases).ok_or(error::BAD_DB)
}

/// Whether `arg` is `word` in any case.
#[inline]
pub fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// How an argument gives a point in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Unix time in seconds.
    UnixSeconds,
    /// Unix time in milliseconds.
    UnixMillis,
}

impl Time {
    /// The option word that announces such an argument (EX, PX, EXAT, PXAT).
    pub fn of_option(word: &[u8]) -> Option<Time> {
        [("ex", Time::Seconds), ("px", Time::Millis), ("exat", Time::UnixSeconds), ("pxat", Time::UnixMillis)]
            .into_iter()
            .find_map(|(name, time)| is(word, name).then_some(time))
    }

    /// The point in time as Unix time in ms. `command` is named in the error if it lies beyond 64 bits.
    pub fn to_unix_ms(self, amount: i64, now_ms: i64, command: &str) -> Result<i64, CmdError> {
        let in_ms = match self {
            Time::Seconds | Time::UnixSeconds => amount.checked_mul(1000),
            Time::Millis | Time::UnixMillis => Some(amount),
        };
        let at_ms = match self {
            Time::Seconds | Time::Millis => in_ms.and_then(|ms| ms.checked_add(now_ms)),
            Time::UnixSeconds | Time::UnixMillis => in_ms,
        };
        at_ms.ok_or_else(|| error::bad_expire(command))
    }

    /// As [`Time::to_unix_ms`], of an argument that must be above 0.
    pub fn positive_to_unix_ms(self, arg: &[u8], now_ms: i64, command: &str) -> Result<i64, CmdError> {
        match int(arg)? {
            ..=0 => Err(error::bad_expire(command)),
            amount => self.to_unix_ms(amount, now_ms, command),
        }
    }
}

/// The argument behind the option at `*at`, which moves on to it.
pub fn operand<'a>(args: &Args<'a>, at: &mut usize) -> Result<&'a [u8], CmdError> {
    *at += 1;
    args.get(*at).ok_or(error::SYNTAX)
}
