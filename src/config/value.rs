//! Values of directives: from words to a number or a text, and back to the words CONFIG GET prints.
//!
//! The idea: every kind reads words into a [`Value`] or says what is wrong in the words Redis uses, so a bad
//! CONFIG SET and a bad line of a file give the same reason. `print(parse(x))` is the canonical spelling, and
//! parsing that again gives the same value.
//!
//! It must never know: which directive it is working for, beyond the row it is given.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::notify;
use super::table::{Kind, Row};
use crate::text::number::{parse_i64, parse_memory, parse_yes_no};

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number, switch, place in a list of words, or bits.
    Number(i64),
    /// Anything else, in its canonical spelling.
    Text(Arc<str>),
}

/// What is wrong with a value, in the words of Redis.
pub(super) type Reason = Cow<'static, str>;

/// The words a shutdown directive takes. The first stands for none of the others; the rest are bits from 0 up.
pub const SHUTDOWN_WORDS: &[&str] = &["default", "save", "nosave", "now", "force", "safe", "failover"];

/// Reads the words given for a directive. `current` is its value so far, which output limits are merged into.
pub(super) fn parse(row: &Row, words: &[&str], current: &str) -> Result<Value, Reason> {
    if !row.kind.takes_words() && words.len() != 1 {
        return Err("wrong number of arguments".into());
    }
    let word = words.first().copied().unwrap_or_default();
    let number = match row.kind {
        Kind::Bool => yes_or_no(word)?,
        Kind::OnlyNo(reason) => match yes_or_no(word)? {
            0 => 0,
            _ => return Err(reason.into()),
        },
        Kind::Int { min, max } => {
            let number = parse_i64(word.as_bytes()).ok_or("argument couldn't be parsed into an integer")?;
            within(number, min, max)?
        }
        Kind::Memory { min, max } => {
            let bytes = match parse_i64(word.as_bytes()) {
                Some(negative @ ..0) if min < 0 => return Ok(Value::Number(within(negative, min, max)?)),
                _ => parse_memory(word.as_bytes()).ok_or("argument must be a memory value")?,
            };
            within(bytes.try_into().map_err(|_| out_of_range(min, max))?, min, max)?
        }
        Kind::MemoryOrPercent => memory_or_percent(word)?,
        Kind::Octal { max } => octal(word, max)?,
        Kind::Enum(names) => match names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            Some(place) => place as i64,
            None => return Err(one_of(names)),
        },
        Kind::ShutdownWords => shutdown_words(words)?,
        Kind::EventClasses => {
            notify::parse(word).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?
        }
        Kind::Text(check) => {
            check(word)?;
            return Ok(Value::Text(word.into()));
        }
        Kind::Directory => return directory(word),
        Kind::Words(check) => return Ok(Value::Text(check(words)?.into())),
        Kind::OutputLimits => {
            let limits = OutputLimits::from_canonical(current).merge(words)?;
            return Ok(Value::Text(limits.to_string().into()));
        }
    };
    Ok(Value::Number(number.clamp(row.clamp.0, row.clamp.1)))
}

/// The canonical spelling of a value: what CONFIG GET answers.
pub(super) fn print(kind: Kind, value: &Value) -> String {
    let number = match value {
        Value::Text(text) => return text.to_string(),
        Value::Number(number) => *number,
    };
    match kind {
        Kind::Bool | Kind::OnlyNo(_) => if number != 0 { "yes" } else { "no" }.into(),
        Kind::MemoryOrPercent if number < 0 => format!("{}%", number.unsigned_abs()),
        Kind::Octal { .. } => format!("{number:o}"),
        Kind::Enum(names) => names.get(number as usize).copied().unwrap_or_default().into(),
        Kind::ShutdownWords => print_shutdown_words(number),
        Kind::EventClasses => notify::print(number),
        _ => number.to_string(),
    }
}

/// A number of bytes in the largest unit that leaves it whole, for a file a person reads.
pub(super) fn print_memory(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}gb", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}mb", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}kb", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn yes_or_no(word: &str) -> Result<i64, Reason> {
    parse_yes_no(word.as_bytes()).map(i64::from).ok_or("argument must be 'yes' or 'no'".into())
}

fn within(number: i64, min: i64, max: i64) -> Result<i64, Reason> {
    if (min..=max).contains(&number) { Ok(number) } else { Err(out_of_range(min, max)) }
}

fn out_of_range(min: i64, max: i64) -> Reason {
    format!("argument must be between {min} and {max} inclusive").into()
}

fn memory_or_percent(word: &str) -> Result<i64, Reason> {
    if let Some(bytes) = parse_memory(word.as_bytes()) {
        return bytes.try_into().map_err(|_| out_of_range(-100, i64::MAX));
    }
    match word.strip_suffix('%').and_then(|digits| parse_i64(digits.as_bytes())) {
        Some(percent) if (0..=100).contains(&percent) => Ok(-percent),
        Some(percent) if percent > 100 => Err("percentage argument must be less or equal to 100".into()),
        _ => Err("argument must be a memory or percent value".into()),
    }
}

fn octal(word: &str, max: i64) -> Result<i64, Reason> {
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    match i64::from_str_radix(word, 8) {
        Ok(number) if digits && number <= max => Ok(number),
        Ok(_) if digits => Err(format!("argument must be between 0 and {max:o} inclusive").into()),
        _ => Err("argument couldn't be parsed as an octal number".into()),
    }
}

fn one_of(names: &[&str]) -> Reason {
    format!("argument(s) must be one of the following: {}", names.join(", ")).into()
}

fn shutdown_words(words: &[&str]) -> Result<i64, Reason> {
    let mut bits = 0;
    for word in words {
        match SHUTDOWN_WORDS.iter().position(|known| known.eq_ignore_ascii_case(word)) {
            Some(place) => bits |= (1 << place) >> 1,
            None => return Err(one_of(SHUTDOWN_WORDS)),
        }
    }
    match bits {
        _ if words.is_empty() => Err(one_of(SHUTDOWN_WORDS)),
        _ if bits & 0b11 == 0b11 => {
            Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into())
        }
        _ => Ok(bits),
    }
}

fn print_shutdown_words(bits: i64) -> String {
    if bits == 0 {
        return SHUTDOWN_WORDS[0].into();
    }
    let set = SHUTDOWN_WORDS.iter().enumerate().filter(|(place, _)| bits & ((1 << place) >> 1) != 0);
    set.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn directory(word: &str) -> Result<Value, Reason> {
    if word.is_empty() {
        return Err("dir can't be empty".into());
    }
    let path = std::fs::canonicalize(word).map_err(|error| Reason::from(error.to_string()))?;
    if !path.is_dir() {
        return Err("Not a directory".into());
    }
    match path.to_str() {
        Some(path) => Ok(Value::Text(path.into())),
        None => Err("the path is not valid UTF-8".into()),
    }
}

/// Why Multipath TCP cannot be turned on.
pub(super) const NO_MPTCP: &str = "MPTCP is not supported on this platform";

// Checks of texts.

pub(super) fn any_text(_: &str) -> Result<(), &'static str> {
    Ok(())
}

pub(super) fn db_file_name(name: &str) -> Result<(), &'static str> {
    base_name(name, "dbfilename can't be empty", "dbfilename can't be a path, just a filename")
}

pub(super) fn append_file_name(name: &str) -> Result<(), &'static str> {
    base_name(name, "appendfilename can't be empty", "appendfilename can't be a path, just a filename")
}

pub(super) fn append_dir_name(name: &str) -> Result<(), &'static str> {
    base_name(name, "appenddirname can't be empty", "appenddirname can't be a path, just a dirname")
}

fn base_name(name: &str, empty: &'static str, path: &'static str) -> Result<(), &'static str> {
    match name {
        "" => Err(empty),
        _ if name.contains(['/', '\\']) => Err(path),
        _ => Ok(()),
    }
}

pub(super) fn cluster_file_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() { Err("cluster-config-file can't be empty") } else { Ok(()) }
}

pub(super) fn host_name(name: &str) -> Result<(), &'static str> {
    match name {
        _ if name.len() >= 256 => Err("Hostnames must be less than 256 characters"),
        _ if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') => Ok(()),
        _ => Err("Hostnames may only contain alphanumeric characters, hyphens or dots"),
    }
}

pub(super) fn node_name(name: &str) -> Result<(), &'static str> {
    let bad = |b: u8| !b.is_ascii_graphic() || b"!#$%&()*+:;<>?@[]^{|}~".contains(&b);
    if name.bytes().any(bad) { Err("Announced human node name contained invalid character") } else { Ok(()) }
}

/// Text other nodes keep as it is: at most an address long, of characters their records leave unquoted.
pub(super) fn announced_ip(address: &str) -> Result<(), &'static str> {
    match address {
        _ if address.len() >= 46 => Err("cluster-announce-ip is too long"),
        _ if node_name(address).is_ok() || address.parse::<Ipv6Addr>().is_ok() => Ok(()),
        _ => Err("cluster-announce-ip contains invalid character"),
    }
}

pub(super) fn seed(text: &str) -> Result<(), &'static str> {
    if text.len() > 256 { Err("hash-seed must be less than or equal to 256 characters") } else { Ok(()) }
}

pub(super) fn ipv4(address: &str) -> Result<(), &'static str> {
    let fits = address.is_empty() || address.parse::<Ipv4Addr>().is_ok();
    if fits { Ok(()) } else { Err("Invalid IPv4 address") }
}

pub(super) fn ipv6(address: &str) -> Result<(), &'static str> {
    let fits = address.is_empty() || address.parse::<Ipv6Addr>().is_ok();
    if fits { Ok(()) } else { Err("Invalid IPv6 address") }
}

/// Texts are ordered by their bytes, so only the locales that do so are taken.
pub(super) fn locale(name: &str) -> Result<(), &'static str> {
    match name {
        "" | "C" | "POSIX" | "C.UTF-8" | "C.utf8" => Ok(()),
        _ => Err("Invalid locale name"),
    }
}

pub(super) fn title_template(template: &str) -> Result<(), &'static str> {
    const VARIABLES: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    const WRONG: &str = "template format is invalid or contains unknown variables";
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        if let Some(escaped) = after.strip_prefix('{') {
            rest = escaped;
            continue;
        }
        let (variable, after) = after.split_once('}').ok_or(WRONG)?;
        if !VARIABLES.contains(&variable) {
            return Err(WRONG);
        }
        rest = after;
    }
    if template.trim().is_empty() { Err(WRONG) } else { Ok(()) }
}

// Checks of words.

/// Addresses to bind to: at most 16; a single empty word stands for none.
pub(super) fn addresses(words: &[&str]) -> Result<String, &'static str> {
    match words {
        [""] => Ok(String::new()),
        _ if words.len() > 16 => Err("Too many bind addresses specified."),
        _ => Ok(words.join(" ")),
    }
}

/// Members of a cluster, `host:port` each, with `@cluster-port` behind it where that is not port + 10000; a single empty word stands
/// for none.
pub(super) fn peers(words: &[&str]) -> Result<String, &'static str> {
    if words == [""] {
        return Ok(String::new());
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let fits = |word: &&str| {
        let (client, cluster_port) = word.split_once('@').map_or((*word, None), |(c, p)| (c, Some(p)));
        let is_client = client.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port));
        is_client && cluster_port.is_none_or(is_port)
    };
    if words.iter().all(fits) {
        Ok(words.join(" "))
    } else {
        Err("each member must be given as host:port or host:port@cluster-port")
    }
}

/// When writes are acknowledged: `copy` or `primary`, and pairs of a database and one of these; kept as they are.
pub(super) fn acks(words: &[&str]) -> Result<String, &'static str> {
    let pairs = words.get(1..).unwrap_or_default().chunks(2);
    let is_known = |word: &str| word == "copy" || word == "primary";
    let is_pair = |pair: &[&str]| matches!(pair, [db, ack] if db.parse::<u32>().is_ok_and(|db| db < 63) && is_known(ack));
    if words.first().is_some_and(|word| is_known(word)) && pairs.clone().all(is_pair) {
        Ok(words.join(" "))
    } else {
        Err("must be copy or primary, which pairs of a database from 0 to 62 and one of these may follow")
    }
}

/// The databases in which writes are acknowledged at once, a bit each; the last bit stands for all from the 64th on.
pub(super) fn acknowledged_at_once(acks: &str) -> u64 {
    let mut words = acks.split_whitespace();
    let mut at_once = if words.next() == Some("primary") { u64::MAX } else { 0 };
    while let (Some(db), Some(ack)) = (words.next(), words.next()) {
        let bit = 1 << db.parse::<u32>().unwrap_or(0).min(62);
        at_once = if ack == "primary" { at_once | bit } else { at_once & !bit };
    }
    at_once
}

/// Where a primary is: host and port, or `no one`, kept as the empty text.
pub(super) fn primary_address(words: &[&str]) -> Result<String, &'static str> {
    match words {
        [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => Ok(String::new()),
        [host, port] => match port.parse::<u16>() {
            Ok(port) => Ok(format!("{host} {port}")),
            Err(_) => Err("Invalid primary port"),
        },
        _ => Err("wrong number of arguments"),
    }
}

/// Pairs of seconds (from 1) and changes (from 0); a single empty word stands for none.
pub(super) fn save_points(words: &[&str]) -> Result<String, &'static str> {
    const WRONG: &str = "Invalid save parameters";
    if words == [""] {
        return Ok(String::new());
    }
    let mut points = Vec::with_capacity(words.len());
    for (place, word) in words.iter().enumerate() {
        let least = if place % 2 == 0 { 1 } else { 0 };
        let number = word.parse::<i64>().ok().filter(|number| *number >= least).ok_or(WRONG)?;
        points.push(number.to_string());
    }
    if points.len() % 2 == 0 { Ok(points.join(" ")) } else { Err(WRONG) }
}

/// Three scores from -2000 to 2000.
pub(super) fn oom_scores(words: &[&str]) -> Result<String, &'static str> {
    if words.len() != 3 {
        return Err("wrong number of arguments");
    }
    let mut scores = Vec::with_capacity(3);
    for word in words {
        match word.parse::<i32>() {
            Ok(score) if (-2000..=2000).contains(&score) => scores.push(score.to_string()),
            _ => return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000."),
        }
    }
    Ok(scores.join(" "))
}

/// Percentiles from 0 to 100; a single empty word stands for none.
pub(super) fn percentiles(words: &[&str]) -> Result<String, &'static str> {
    if words == [""] {
        return Ok(String::new());
    }
    let mut printed = Vec::with_capacity(words.len());
    for word in words {
        match word.parse::<f64>() {
            Ok(percentile) if (0.0..=100.0).contains(&percentile) => printed.push(percentile.to_string()),
            Ok(percentile) if !percentile.is_nan() => {
                return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
            }
            _ => return Err("Invalid latency-tracking-info-percentiles parameters"),
        }
    }
    Ok(printed.join(" "))
}

/// A class of client with its own output limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    /// A connection that sends commands.
    Normal,
    /// A connection that receives a copy's writes.
    Replica,
    /// A connection subscribed to channels.
    PubSub,
}

/// When a client of a class is closed because it does not read its replies. Zero sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes that may never be passed.
    pub hard_bytes: u64,
    /// Bytes that may not be passed for longer than [`OutputLimit::soft_seconds`].
    pub soft_bytes: u64,
    /// Seconds.
    pub soft_seconds: u64,
}

/// The limits of all classes, in the order of [`ClientClass`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OutputLimits(pub [OutputLimit; 3]);

impl OutputLimits {
    /// The classes as a person may write them.
    pub(super) const CLASSES: &str = "normal|replica|pubsub";

    /// Reads back what [`OutputLimits`] printed; anything else gives no limits.
    pub(super) fn from_canonical(text: &str) -> OutputLimits {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        OutputLimits::default().merge(&words).unwrap_or_default()
    }

    /// The groups of words that give them, a class each.
    pub(super) fn lines(&self) -> [String; 3] {
        let [normal, replica, pubsub] = &self.0;
        [("normal", normal), ("replica", replica), ("pubsub", pubsub)].map(|(name, limit)| {
            let [hard, soft] = [limit.hard_bytes, limit.soft_bytes].map(print_memory);
            format!("{name} {hard} {soft} {}", limit.soft_seconds)
        })
    }

    /// These limits with the given classes replaced.
    fn merge(mut self, words: &[&str]) -> Result<OutputLimits, Reason> {
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for group in words.chunks_exact(4) {
            let class = match group[0].to_ascii_lowercase().as_str() {
                "normal" => ClientClass::Normal,
                "replica" | "slave" => ClientClass::Replica,
                "pubsub" => ClientClass::PubSub,
                _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
            };
            let seconds = group[3].parse::<u32>().ok().filter(|seconds| *seconds <= i32::MAX as u32);
            let (Some(hard_bytes), Some(soft_bytes), Some(seconds)) =
                (parse_memory(group[1].as_bytes()), parse_memory(group[2].as_bytes()), seconds)
            else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()
                );
            };
            self.0[class as usize] = OutputLimit { hard_bytes, soft_bytes, soft_seconds: seconds.into() };
        }
        Ok(self)
    }
}

impl std::fmt::Display for OutputLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // "slave" is what clients of Redis parse.
        let [normal, replica, pubsub] = &self.0;
        for (name, limit) in [("normal", normal), (" slave", replica), (" pubsub", pubsub)] {
            write!(f, "{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)?;
        }
        Ok(())
    }
}
