//! One RESP2 or RESP3 reply as a tree, read strictly.
//!
//! Idea: the tree keeps every spelling the server chose (doubles stay text, the two nulls of RESP2 stay
//! apart), and the reader refuses what is not canonical (`:05`, `$+3`). So two replies are equal byte for
//! byte exactly when their trees are equal.

use std::fmt;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+text`
    Simple(Vec<u8>),
    /// `-text`
    Error(Vec<u8>),
    /// `:n`
    Int(i64),
    /// `$len` and the bytes
    Bulk(Vec<u8>),
    /// `$-1`, RESP2's missing value
    NullBulk,
    /// `*-1`, RESP2's missing array
    NullArray,
    /// `_`, RESP3's null
    Null,
    /// `*n`
    Array(Vec<Value>),
    /// `,text`, kept as the server spelled it
    Double(Vec<u8>),
    /// `#t` or `#f`
    Bool(bool),
    /// `(digits`
    BigNumber(Vec<u8>),
    /// `!len` and the bytes
    BlobError(Vec<u8>),
    /// `=len`, the bytes with their `txt:` or `mkd:` prefix
    Verbatim(Vec<u8>),
    /// `%n`, pairs in the order sent
    Map(Vec<(Value, Value)>),
    /// `~n`, members in the order sent
    Set(Vec<Value>),
    /// `>n`, a message nobody asked for
    Push(Vec<Value>),
}

impl Value {
    /// The text of a simple string, bulk string, error, double or verbatim reply.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(t)
            | Value::Error(t)
            | Value::Bulk(t)
            | Value::Double(t)
            | Value::BigNumber(t)
            | Value::BlobError(t) => Some(t),
            Value::Verbatim(t) => Some(t.get(4..).unwrap_or(t)),
            _ => None,
        }
    }

    /// Elements of an array, set or push; nothing for any other reply.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(v) | Value::Set(v) | Value::Push(v) => v,
            _ => &[],
        }
    }

    /// Whether the reply is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_) | Value::BlobError(_))
    }

    /// The number in an integer reply.
    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }
}

/// Bytes that no RESP server may send.
#[derive(Debug)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed reply: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads one reply from the front of `input`: the reply and the bytes it took, or `None` if it is not complete.
pub fn decode(input: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
    let mut at = 0;
    let value = read(input, &mut at, 0)?;
    Ok(value.map(|v| (v, at)))
}

fn bad<T>(what: &str, line: &[u8]) -> Result<T, Malformed> {
    Err(Malformed(format!("{what}: {}", String::from_utf8_lossy(&line[..line.len().min(80)]))))
}

/// `Ok(None)`: the input ends before the reply does.
fn read(input: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, Malformed> {
    if depth > 64 {
        return bad("nested too deeply", &[]);
    }
    let Some(line) = line(input, at)? else { return Ok(None) };
    let Some((&kind, rest)) = line.split_first() else { return bad("empty line", line) };
    let value = match kind {
        b'+' => Value::Simple(rest.to_vec()),
        b'-' => Value::Error(rest.to_vec()),
        b':' => Value::Int(integer(rest)?),
        b',' => Value::Double(rest.to_vec()),
        b'(' => Value::BigNumber(rest.to_vec()),
        b'_' if rest.is_empty() => Value::Null,
        b'#' if rest == b"t" => Value::Bool(true),
        b'#' if rest == b"f" => Value::Bool(false),
        b'$' if rest == b"-1" => Value::NullBulk,
        b'*' if rest == b"-1" => Value::NullArray,
        b'$' | b'!' | b'=' => {
            let len = length(rest)?;
            let Some(body) = input.get(*at..*at + len + 2) else { return Ok(None) };
            let (text, end) = body.split_at(len);
            if end != b"\r\n" {
                return bad("a bulk without its line end", line);
            }
            *at += len + 2;
            match kind {
                b'$' => Value::Bulk(text.to_vec()),
                b'!' => Value::BlobError(text.to_vec()),
                _ => Value::Verbatim(text.to_vec()),
            }
        }
        b'*' | b'~' | b'>' => {
            let Some(items) = sequence(input, at, length(rest)?, depth)? else { return Ok(None) };
            match kind {
                b'*' => Value::Array(items),
                b'~' => Value::Set(items),
                _ => Value::Push(items),
            }
        }
        b'%' => {
            let Some(items) = sequence(input, at, 2 * length(rest)?, depth)? else { return Ok(None) };
            let mut items = items.into_iter();
            let mut pairs = Vec::new();
            while let (Some(k), Some(v)) = (items.next(), items.next()) {
                pairs.push((k, v));
            }
            Value::Map(pairs)
        }
        _ => return bad("unknown type", line),
    };
    Ok(Some(value))
}

fn sequence(
    input: &[u8],
    at: &mut usize,
    count: usize,
    depth: usize,
) -> Result<Option<Vec<Value>>, Malformed> {
    let mut items = Vec::new();
    for _ in 0..count {
        match read(input, at, depth + 1)? {
            Some(v) => items.push(v),
            None => return Ok(None),
        }
    }
    Ok(Some(items))
}

fn line<'a>(input: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Malformed> {
    let rest = &input[*at..];
    let Some(end) = rest.iter().position(|&b| b == b'\n') else { return Ok(None) };
    match rest[..end].split_last() {
        Some((b'\r', line)) => {
            *at += end + 1;
            Ok(Some(line))
        }
        _ => bad("a line that does not end in CR LF", &rest[..end]),
    }
}

fn integer(text: &[u8]) -> Result<i64, Malformed> {
    let n: Option<i64> = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    match n {
        Some(n) if n.to_string().as_bytes() == text => Ok(n),
        _ => bad("not an integer as it must be spelled", text),
    }
}

fn length(text: &[u8]) -> Result<usize, Malformed> {
    match usize::try_from(integer(text)?) {
        Ok(n) => Ok(n),
        Err(_) => bad("negative length", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_asks_for_more() {
        let wire = b"*3\r\n%1\r\n+k\r\n~2\r\n:-1\r\n#t\r\n$-1\r\n=5\r\ntxt:a\r\n";
        for cut in 0..wire.len() {
            assert!(decode(&wire[..cut]).expect("a prefix is not malformed").is_none(), "{cut}");
        }
        let (value, used) = decode(wire).expect("well formed").expect("complete");
        assert_eq!(used, wire.len());
        assert_eq!(value.items().len(), 3);
    }

    #[test]
    fn spellings_that_are_not_canonical_are_refused() {
        for wire in [&b":05\r\n"[..], b":+5\r\n", b"$-2\r\n", b"*03\r\n", b"_x\r\n", b"+a\n", b"?\r\n"] {
            assert!(decode(wire).is_err(), "{}", String::from_utf8_lossy(wire));
        }
    }
}
