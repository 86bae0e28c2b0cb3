//! Requests and replies as people write them: how transcripts say what to send and what must come back.
//!
//! A request is words split at white space; `"..."` holds escapes (`\r \n \t \\ \" \xHH`), `'...'` none, and
//! `"x"*1000` repeats. An expected reply is one expression that fits both protocols:
//!
//! ```text
//! +OK          simple string              -ERR no such key   error, up to the end of the line
//! :5           integer                    -"ERR no"          error inside a collection
//! :90..100     integer within bounds      -WRONGTYPE*        error that begins so
//! "text"       bulk string                "text"*1000        the same, repeated
//! nil          missing value              nil[]              missing array          RESP3: null
//! [a b]        array                      *[a b]             array, in any order
//! ~[a b]       set, in any order                                                    RESP2: array
//! {k v k v}    map, in any order                                                    RESP2: flat array
//! ,1.5         double                                                               RESP2: bulk string
//! #t #f        boolean                                                              RESP2: 1 and 0
//! (123         big number                                                           RESP2: bulk string
//! txt"..."     verbatim text                                                        RESP2: bulk string
//! >[a b]       push                                                                 RESP2: array
//! ?            anything                   ?int ?str ?arr ?double     anything of that kind
//! g"a*c"       string, with `*` for any run of bytes
//! ```

use std::fmt::{self, Display, Write};

use crate::value::Value;

/// Splits a request line into arguments.
pub fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut cursor = Cursor::new(line);
    let mut words = Vec::new();
    while cursor.skip_space() {
        let word = match cursor.peek() {
            Some(b'"') => cursor.quoted()?,
            Some(b'\'') => cursor.literal()?,
            _ => cursor.bare().to_vec(),
        };
        words.push(word);
        if cursor.peek().is_some_and(|b| !b.is_ascii_whitespace()) {
            return Err(format!("a quoted word must end at white space: {line}"));
        }
    }
    Ok(words)
}

/// Bytes as one word that [`words`] reads back.
pub fn word(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\');
    match !bytes.is_empty() && bytes.iter().all(plain) {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => quote(bytes),
    }
}

/// Bytes between double quotes; long runs of one byte are written as a repetition.
pub fn quote(bytes: &[u8]) -> String {
    if let [first, rest @ ..] = bytes
        && rest.len() >= 64
        && rest.iter().all(|b| b == first)
    {
        return format!("{}*{}", quote(&[*first]), bytes.len());
    }
    let mut out = String::from("\"");
    for &b in bytes {
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(b)),
            _ => write!(out, "\\x{b:02x}").expect("a String takes everything"),
        }
    }
    out.push('"');
    out
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, items: &[Value], close: &str| {
            f.write_str(open)?;
            for (i, item) in items.iter().enumerate() {
                let space = if i == 0 { "" } else { " " };
                match item {
                    Value::Error(t) => write!(f, "{space}-{}", quote(t))?,
                    item => write!(f, "{space}{item}")?,
                }
            }
            f.write_str(close)
        };
        match self {
            Value::Simple(t) => write!(f, "+{}", line(t)),
            Value::Error(t) => write!(f, "-{}", line(t)),
            Value::Int(n) => write!(f, ":{n}"),
            Value::Bulk(t) => f.write_str(&quote(t)),
            Value::NullBulk | Value::Null => f.write_str("nil"),
            Value::NullArray => f.write_str("nil[]"),
            Value::Double(t) => write!(f, ",{}", t.escape_ascii()),
            Value::Bool(b) => f.write_str(if *b { "#t" } else { "#f" }),
            Value::BigNumber(t) => write!(f, "({}", t.escape_ascii()),
            Value::BlobError(t) => write!(f, "-{}", quote(t)),
            Value::Verbatim(t) => {
                write!(f, "{}{}", t[..t.len().min(3)].escape_ascii(), quote(t.get(4..).unwrap_or(&[])))
            }
            Value::Array(v) => list(f, "[", v, "]"),
            Value::Set(v) => list(f, "~[", v, "]"),
            Value::Push(v) => list(f, ">[", v, "]"),
            Value::Map(pairs) => {
                let flat: Vec<Value> = pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect();
                list(f, "{", &flat, "}")
            }
        }
    }
}

/// A line's text as it stands, what cannot be shown excepted.
fn line(text: &[u8]) -> String {
    let shown = text.iter().map(|&b| match b {
        b' '..=b'~' => char::from(b).to_string(),
        b => format!("\\x{b:02x}"),
    });
    shown.collect()
}

/// What a reply must look like.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// `?`
    Any,
    /// `?int`, `?str`, `?arr`, `?double`
    Kind(Kind),
    /// Exactly this reply; booleans, doubles and nulls as each protocol has them.
    Exact(Value),
    /// `:low..high`
    Between(i64, i64),
    /// `-text*`
    ErrorPrefix(Vec<u8>),
    /// `g"..."`
    Glob(Vec<u8>),
    /// `[...]`
    Array(Vec<Pattern>),
    /// `*[...]`
    AnyOrder(Vec<Pattern>),
    /// `~[...]`
    Set(Vec<Pattern>),
    /// `>[...]`
    Push(Vec<Pattern>),
    /// `{...}`
    Map(Vec<(Pattern, Pattern)>),
}

/// A kind of reply whose content does not matter.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An integer.
    Int,
    /// A simple, bulk or verbatim string.
    Str,
    /// An array, set or map.
    Arr,
    /// A double, or in RESP2 a bulk string that reads as one.
    Double,
}

impl Pattern {
    /// Reads the expression in `text`.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let text = text.trim();
        // A whole-line error is not quoted: error texts are the sentences clients see.
        if let Some(error) = text.strip_prefix('-').filter(|e| !e.starts_with('"')) {
            return Ok(match error.strip_suffix('*') {
                Some(prefix) => Pattern::ErrorPrefix(prefix.into()),
                None => Pattern::Exact(Value::Error(error.into())),
            });
        }
        if let Some(simple) = text.strip_prefix('+') {
            return Ok(Pattern::Exact(Value::Simple(simple.into())));
        }
        let mut cursor = Cursor::new(text);
        let pattern = cursor.pattern()?;
        match cursor.skip_space() {
            true => Err(format!("more than one reply in: {text}")),
            false => Ok(pattern),
        }
    }

    /// Whether `value`, received in protocol version `resp`, is what was expected.
    pub fn matches(&self, value: &Value, resp: u8) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Kind(kind) => kind.matches(value, resp),
            Pattern::Exact(expected) => exact(expected, value, resp),
            Pattern::Between(low, high) => value.int().is_some_and(|n| (*low..=*high).contains(&n)),
            Pattern::ErrorPrefix(prefix) => matches!(value, Value::Error(t) if t.starts_with(prefix)),
            Pattern::Glob(glob) => {
                let string = matches!(value, Value::Bulk(_) | Value::Simple(_) | Value::Verbatim(_));
                string && value.text().is_some_and(|text| fits(glob, text))
            }
            Pattern::Array(items) => match value {
                Value::Array(v) => in_order(items, v, resp),
                _ => false,
            },
            Pattern::AnyOrder(items) => match value {
                Value::Array(v) => any_order(items, v, |p, v| p.matches(v, resp)),
                _ => false,
            },
            Pattern::Set(items) => match value {
                Value::Array(v) if resp == 2 => any_order(items, v, |p, v| p.matches(v, resp)),
                Value::Set(v) => any_order(items, v, |p, v| p.matches(v, resp)),
                _ => false,
            },
            Pattern::Push(items) => match value {
                Value::Array(v) if resp == 2 => in_order(items, v, resp),
                Value::Push(v) => in_order(items, v, resp),
                _ => false,
            },
            Pattern::Map(pairs) => match value {
                Value::Array(v) if resp == 2 && v.len() % 2 == 0 => {
                    let got: Vec<(Value, Value)> =
                        v.chunks(2).map(|kv| (kv[0].clone(), kv[1].clone())).collect();
                    same_pairs(pairs, &got, resp)
                }
                Value::Map(got) => same_pairs(pairs, got, resp),
                _ => false,
            },
        }
    }
}

impl Kind {
    fn matches(self, value: &Value, resp: u8) -> bool {
        match self {
            Kind::Int => matches!(value, Value::Int(_)),
            Kind::Str => matches!(value, Value::Simple(_) | Value::Bulk(_) | Value::Verbatim(_)),
            Kind::Arr => matches!(value, Value::Array(_) | Value::Set(_) | Value::Map(_)),
            Kind::Double => match value {
                Value::Double(_) => true,
                Value::Bulk(t) if resp == 2 => std::str::from_utf8(t).is_ok_and(|t| t.parse::<f64>().is_ok()),
                _ => false,
            },
        }
    }
}

fn exact(expected: &Value, value: &Value, resp: u8) -> bool {
    match (expected, value) {
        (Value::NullBulk | Value::NullArray, got) if resp == 3 => *got == Value::Null,
        (Value::Bool(b), got) if resp == 2 => *got == Value::Int(i64::from(*b)),
        (Value::Double(t) | Value::BigNumber(t), got) if resp == 2 => *got == Value::Bulk(t.clone()),
        (Value::Verbatim(t), got) if resp == 2 => *got == Value::Bulk(t[4..].to_vec()),
        (expected, got) => expected == got,
    }
}

fn in_order(patterns: &[Pattern], values: &[Value], resp: u8) -> bool {
    patterns.len() == values.len() && patterns.iter().zip(values).all(|(p, v)| p.matches(v, resp))
}

fn same_pairs(pairs: &[(Pattern, Pattern)], got: &[(Value, Value)], resp: u8) -> bool {
    any_order(pairs, got, |(pk, pv), (k, v)| pk.matches(k, resp) && pv.matches(v, resp))
}

/// Whether every pattern can be given a value of its own. Greedy: an open pattern should be written last.
fn any_order<P, V>(patterns: &[P], values: &[V], fits: impl Fn(&P, &V) -> bool) -> bool {
    let mut left: Vec<&V> = values.iter().collect();
    patterns.len() == values.len()
        && patterns.iter().all(|p| match left.iter().position(|v| fits(p, v)) {
            Some(i) => {
                left.swap_remove(i);
                true
            }
            None => false,
        })
}

/// Whether `text` is `glob`, where `*` stands for any run of bytes.
pub fn fits(glob: &[u8], text: &[u8]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| fits(rest, &text[skip..])),
        Some((b, rest)) => text.split_first().is_some_and(|(t, text)| t == b && fits(rest, text)),
    }
}

/// A place in a line being read.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text: text.as_bytes(), at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.text[self.at..].starts_with(prefix.as_bytes());
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// Moves to the next word; false at the end.
    fn skip_space(&mut self) -> bool {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.at < self.text.len()
    }

    fn bare(&mut self) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(|b| !b.is_ascii_whitespace()) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// A word that also ends where a collection does.
    fn token(&mut self) -> Result<&'a str, String> {
        let start = self.at;
        while self.peek().is_some_and(|b| !b.is_ascii_whitespace() && !b"[]{}".contains(&b)) {
            self.at += 1;
        }
        std::str::from_utf8(&self.text[start..self.at]).map_err(|e| e.to_string())
    }

    fn literal(&mut self) -> Result<Vec<u8>, String> {
        let rest = &self.text[self.at + 1..];
        let end = rest.iter().position(|&b| b == b'\'').ok_or("a quote is not closed")?;
        self.at += end + 2;
        Ok(rest[..end].to_vec())
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let b = self.peek().ok_or("a quote is not closed")?;
            self.at += 1;
            match b {
                b'"' => break,
                b'\\' => out.push(self.escape()?),
                b => out.push(b),
            }
        }
        if self.peek() == Some(b'*') {
            self.at += 1;
            let start = self.at;
            while self.peek().is_some_and(|b| b.is_ascii_digit()) {
                self.at += 1;
            }
            let times = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
            out = out.repeat(times.parse().map_err(|_| "a repetition needs a number")?);
        }
        Ok(out)
    }

    fn escape(&mut self) -> Result<u8, String> {
        let b = self.peek().ok_or("a quote is not closed")?;
        self.at += 1;
        Ok(match b {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'x' => {
                let digits = self.text.get(self.at..self.at + 2).unwrap_or_default();
                self.at += 2;
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                u8::from_str_radix(digits, 16).map_err(|_| "\\x needs two hexadecimal digits")?
            }
            b'"' | b'\\' => b,
            _ => return Err(format!("unknown escape \\{}", char::from(b))),
        })
    }

    fn pattern(&mut self) -> Result<Pattern, String> {
        if !self.skip_space() {
            return Err("an expression is missing".into());
        }
        // The brackets first: everything else is a token up to white space or a bracket.
        if self.take("*[") {
            return Ok(Pattern::AnyOrder(self.patterns(b']')?));
        }
        if self.take("~[") {
            return Ok(Pattern::Set(self.patterns(b']')?));
        }
        if self.take(">[") {
            return Ok(Pattern::Push(self.patterns(b']')?));
        }
        if self.take("[") {
            return Ok(Pattern::Array(self.patterns(b']')?));
        }
        if self.take("{") {
            let mut items = self.patterns(b'}')?.into_iter();
            let mut pairs = Vec::new();
            while let Some(key) = items.next() {
                pairs.push((key, items.next().ok_or("a map needs a value for each key")?));
            }
            return Ok(Pattern::Map(pairs));
        }
        if self.take("nil[]") {
            return Ok(Pattern::Exact(Value::NullArray));
        }
        if self.take("g\"") {
            self.at -= 1;
            return Ok(Pattern::Glob(self.quoted()?));
        }
        if self.take("-\"") {
            self.at -= 1;
            return Ok(Pattern::Exact(Value::Error(self.quoted()?)));
        }
        for prefix in ["txt", "mkd"] {
            if self.take(&format!("{prefix}\"")) {
                self.at -= 1;
                let text = [prefix.as_bytes(), b":", &self.quoted()?].concat();
                return Ok(Pattern::Exact(Value::Verbatim(text)));
            }
        }
        if self.peek() == Some(b'"') {
            return Ok(Pattern::Exact(Value::Bulk(self.quoted()?)));
        }
        scalar(self.token()?)
    }

    fn patterns(&mut self, close: u8) -> Result<Vec<Pattern>, String> {
        let mut items = Vec::new();
        loop {
            if !self.skip_space() {
                return Err("a bracket is not closed".into());
            }
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(items);
            }
            items.push(self.pattern()?);
        }
    }
}

fn scalar(token: &str) -> Result<Pattern, String> {
    let number = |t: &str| t.parse::<i64>().map_err(|_| format!("not an integer: {t}"));
    Ok(match token {
        "?" => Pattern::Any,
        "?int" => Pattern::Kind(Kind::Int),
        "?str" => Pattern::Kind(Kind::Str),
        "?arr" => Pattern::Kind(Kind::Arr),
        "?double" => Pattern::Kind(Kind::Double),
        "nil" => Pattern::Exact(Value::NullBulk),
        "#t" => Pattern::Exact(Value::Bool(true)),
        "#f" => Pattern::Exact(Value::Bool(false)),
        _ => match token.split_at_checked(1) {
            Some((":", n)) => match n.split_once("..") {
                Some((low, high)) => Pattern::Between(number(low)?, number(high)?),
                None => Pattern::Exact(Value::Int(number(n)?)),
            },
            Some((",", t)) => Pattern::Exact(Value::Double(t.into())),
            Some(("(", t)) => Pattern::Exact(Value::BigNumber(t.into())),
            Some(("+", t)) => Pattern::Exact(Value::Simple(t.into())),
            _ => return Err(format!("not a reply: {token}")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::decode;

    fn reply(wire: &str) -> Value {
        decode(wire.as_bytes()).expect("well formed").expect("complete").0
    }

    #[test]
    fn words_are_quoted_and_repeated() {
        let got = words(r#"SET k "a\x00\"" 'b c' "xy"*3 "" "#).expect("well formed");
        assert_eq!(got, [&b"SET"[..], b"k", b"a\0\"", b"b c", b"xyxyxy", b""]);
        assert!(words("\"open").is_err());
        assert!(words("\"a\"b").is_err());
    }

    #[test]
    fn words_survive_writing_and_reading() {
        for bytes in [&b"plain"[..], b"", b"a b", b"\r\n\t\\\"'", &[0, 255], &[b'x'; 100]] {
            assert_eq!(words(&word(bytes)).expect("well formed"), [bytes]);
        }
    }

    #[test]
    fn one_expression_fits_both_protocols() {
        let table = [
            ("nil", "$-1\r\n", "_\r\n"),
            ("nil[]", "*-1\r\n", "_\r\n"),
            (",1.5", "$3\r\n1.5\r\n", ",1.5\r\n"),
            ("#t", ":1\r\n", "#t\r\n"),
            (
                "{\"a\" :1 \"b\" :2}",
                "*4\r\n$1\r\nb\r\n:2\r\n$1\r\na\r\n:1\r\n",
                "%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n",
            ),
            ("~[\"a\" \"b\"]", "*2\r\n$1\r\nb\r\n$1\r\na\r\n", "~2\r\n$1\r\nb\r\n$1\r\na\r\n"),
            (">[:1 [?]]", "*2\r\n:1\r\n*1\r\n:9\r\n", ">2\r\n:1\r\n*1\r\n:9\r\n"),
            ("txt\"a\"", "$1\r\na\r\n", "=5\r\ntxt:a\r\n"),
            ("-ERR a b", "-ERR a b\r\n", "-ERR a b\r\n"),
            ("-ERR a*", "-ERR a b\r\n", "-ERR a b\r\n"),
            (
                "[:1..3 -\"E x\" g\"a*\"]",
                "*3\r\n:2\r\n-E x\r\n$2\r\nab\r\n",
                "*3\r\n:2\r\n-E x\r\n$2\r\nab\r\n",
            ),
        ];
        for (text, two, three) in table {
            let pattern = Pattern::parse(text).expect(text);
            assert!(pattern.matches(&reply(two), 2), "RESP2 {text}");
            assert!(pattern.matches(&reply(three), 3), "RESP3 {text}");
            let (two, three) = (reply(two), reply(three));
            assert!(two == three || !pattern.matches(&two, 3), "{text} must not take RESP2 for RESP3");
        }
    }

    #[test]
    fn a_reply_written_down_is_an_expression_for_it() {
        for wire in
            ["+OK\r\n", "-E x\r\n", "*3\r\n:1\r\n$-1\r\n*0\r\n", "%1\r\n+k\r\n,inf\r\n", "=5\r\ntxt:a\r\n"]
        {
            let value = reply(wire);
            let resp = 2 + u8::from(wire.starts_with(['%', '=']));
            assert!(Pattern::parse(&value.to_string()).expect(wire).matches(&value, resp), "{wire}");
        }
    }
}
