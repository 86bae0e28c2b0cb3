//! Every error text a client of RESP can see.
//!
//! The first word is the code that clients branch on; tests compare the whole text with redis-server's.

use std::borrow::Cow;
use std::fmt;

/// A command's refusal, as sent behind the `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmdError {
    text: Cow<'static, [u8]>,
    /// Whether it was counted where it arose: in a command that a script ran.
    counted: bool,
    /// Whether a script has raised it.
    of_script: bool,
}

impl CmdError {
    /// An error whose text is fixed.
    pub const fn new(text: &'static str) -> Self {
        CmdError { text: Cow::Borrowed(text.as_bytes()), counted: false, of_script: false }
    }

    /// An error whose text names what was wrong.
    pub fn with(text: String) -> Self {
        CmdError { text: Cow::Owned(text.into_bytes()), counted: false, of_script: false }
    }

    /// An error whose text quotes what the client sent, which need not be text: the `parts` in a row.
    ///
    /// Of a part that holds a zero byte, only what stands before it is shown, as Redis does.
    pub fn quoting(parts: &[&[u8]]) -> Self {
        let shown = |part: &&[u8]| part.iter().copied().take_while(|byte| *byte != 0).collect::<Vec<u8>>();
        CmdError {
            text: Cow::Owned(parts.iter().flat_map(shown).collect()),
            counted: false,
            of_script: false,
        }
    }

    /// An error of a script, `counted` if the command it ran has been counted with it.
    pub fn of_script(text: String, counted: bool) -> Self {
        CmdError { text: Cow::Owned(text.into_bytes()), counted, of_script: true }
    }

    /// Whether it has been counted before it is answered.
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    /// Whether a script has raised it, whose text may be anything.
    pub fn is_of_script(&self) -> bool {
        self.of_script
    }

    /// The text, its code first.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Display for CmdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

/// A key holds another type than the command works on.
pub const WRONG_TYPE: CmdError =
    CmdError::new("WRONGTYPE Operation against a key holding the wrong kind of value");
/// The arguments do not follow the command's syntax.
pub const SYNTAX: CmdError = CmdError::new("ERR syntax error");
/// A number was wanted that is a 64-bit integer.
pub const NOT_AN_INTEGER: CmdError = CmdError::new("ERR value is not an integer or out of range");
/// A number was wanted.
pub const NOT_A_FLOAT: CmdError = CmdError::new("ERR value is not a valid float");
/// An integer result does not fit.
pub const OVERFLOW: CmdError = CmdError::new("ERR increment or decrement would overflow");
/// A decrement cannot be negated.
pub const DECR_OVERFLOW: CmdError = CmdError::new("ERR decrement would overflow");
/// An index lies outside.
pub const OUT_OF_RANGE: CmdError = CmdError::new("ERR index out of range");
/// A key was expected to exist.
pub const NO_SUCH_KEY: CmdError = CmdError::new("ERR no such key");
/// A number must not be negative.
pub const NOT_POSITIVE: CmdError = CmdError::new("ERR value is out of range, must be positive");
/// A number is the one whose negative does not exist.
pub const NOT_SYMMETRIC: CmdError = CmdError::new(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);
/// A number is beyond what makes sense.
pub const VALUE_OUT_OF_RANGE: CmdError = CmdError::new("ERR value is out of range");
/// The number of keys in front of them is not above 0.
pub const BAD_NUMKEYS: CmdError = CmdError::new("ERR numkeys should be greater than 0");
/// A number of elements is not above 0.
pub const BAD_COUNT: CmdError = CmdError::new("ERR count should be greater than 0");
/// A cursor is not one that a scan gave out.
pub const BAD_CURSOR: CmdError = CmdError::new("ERR invalid cursor");
/// A float result cannot be represented.
pub const NAN_OR_INFINITY: CmdError = CmdError::new("ERR increment would produce NaN or Infinity");
/// A float is none of the numbers.
pub const VALUE_NAN_OR_INFINITY: CmdError = CmdError::new("ERR value is NaN or Infinity");
/// A field's value is not a 64-bit integer.
pub const HASH_VALUE_NOT_AN_INTEGER: CmdError = CmdError::new("ERR hash value is not an integer");
/// A field's value is not a number.
pub const HASH_VALUE_NOT_A_FLOAT: CmdError = CmdError::new("ERR hash value is not a float");
/// A string would outgrow proto-max-bulk-len.
pub const STRING_TOO_LONG: CmdError =
    CmdError::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
/// An offset is negative or too large.
pub const BAD_OFFSET: CmdError = CmdError::new("ERR offset is out of range");
/// A number is not of 32 bits.
pub const NOT_AN_INT32: CmdError =
    CmdError::new("ERR value is out of range, value must between -2147483648 and 2147483647");
/// Source and destination are one.
pub const SAME_OBJECT: CmdError = CmdError::new("ERR source and destination objects are the same");
/// A database number does not exist.
pub const BAD_DB: CmdError = CmdError::new("ERR DB index is out of range");
/// Memory is used up and nothing can be evicted.
pub const OOM: CmdError = CmdError::new("OOM command not allowed when used memory > 'maxmemory'.");
/// The connection has not authenticated.
pub const NO_AUTH: CmdError = CmdError::new("NOAUTH Authentication required.");
/// EXEC after a command that could not be queued.
pub const EXEC_ABORT: CmdError = CmdError::new("EXECABORT Transaction discarded because of previous errors.");

/// A timeout is not a number.
pub const BAD_TIMEOUT: CmdError = CmdError::new("ERR timeout is not a float or out of range");
/// A timeout in ms is not an integer.
pub const BAD_TIMEOUT_MS: CmdError = CmdError::new("ERR timeout is not an integer or out of range");
/// A timeout is below 0.
pub const NEGATIVE_TIMEOUT: CmdError = CmdError::new("ERR timeout is negative");
/// A timeout is longer than anyone lives.
pub const TIMEOUT_OUT_OF_RANGE: CmdError = CmdError::new("ERR timeout is out of range");
/// CLIENT UNBLOCK with ERROR ended the wait.
pub const UNBLOCKED: CmdError = CmdError::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");

/// A script is over its time.
pub const BUSY_SCRIPT: CmdError =
    CmdError::new("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
/// A function is over its time.
pub const BUSY_FUNCTION: CmdError =
    CmdError::new("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");

/// EXEC itself is refused, for this reason.
pub fn exec_refused(reason: &CmdError) -> CmdError {
    let reason = reason.text().strip_prefix(b"ERR ").unwrap_or(reason.text());
    CmdError::quoting(&[b"EXECABORT Transaction discarded because of: ", reason])
}

/// `command` was called with too few or too many arguments.
pub fn wrong_arity(command: &str) -> CmdError {
    CmdError::with(format!("ERR wrong number of arguments for '{command}' command"))
}

/// `command` cannot be queued by MULTI.
pub fn not_in_multi(command: &str) -> CmdError {
    CmdError::with(format!("ERR Command '{command}' not allowed inside a transaction"))
}

/// An expiry is zero, negative or beyond 64 bits.
pub fn bad_expire(command: &str) -> CmdError {
    CmdError::with(format!("ERR invalid expire time in '{command}' command"))
}

/// A subcommand was called with arguments it does not take.
pub fn bad_subcommand(container: &str, name: &[u8]) -> CmdError {
    let name = &name[..name.len().min(128)];
    CmdError::quoting(&[
        b"ERR unknown subcommand or wrong number of arguments for '",
        name,
        b"'. Try ",
        container.as_bytes(),
        b" HELP.",
    ])
}
