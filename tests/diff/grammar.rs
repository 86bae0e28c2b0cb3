//! How the arguments of a command are drawn: a row describes them, a seed decides.
//!
//! Idea: few keys, few members, few values, so that commands meet each other's work; and among them the
//! values at which servers differ: empty, huge, almost a number, one past a limit. One request in twelve is
//! then broken on purpose.

use fastrand::Rng;

use crate::commands::FAMILIES;

/// A kind of key. Each has three names of its own, so most commands find the type they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Strings.
    Str,
    /// Strings used as bitmaps.
    Bits,
    /// Hashes.
    Hash,
    /// Lists.
    List,
    /// Sets.
    Set,
    /// Sorted sets.
    Zset,
    /// Sorted sets of places.
    Geo,
    /// HyperLogLogs.
    Hll,
    /// Streams.
    Stream,
    /// Any of these.
    Any,
}

const TYPES: &[(Type, &str)] = &[
    (Type::Str, "s"),
    (Type::Bits, "b"),
    (Type::Hash, "h"),
    (Type::List, "l"),
    (Type::Set, "t"),
    (Type::Zset, "z"),
    (Type::Geo, "g"),
    (Type::Hll, "p"),
    (Type::Stream, "x"),
];

/// A part of a command line.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A word of the syntax.
    Word(&'static str),
    /// A key.
    Key(Type),
    /// One of these texts.
    Of(&'static [&'static str]),
    /// Bytes to store.
    Value,
    /// A member of a set, an element of a list, a field of a hash.
    Member,
    /// An integer of any size, at times none.
    Int,
    /// A position in a short sequence, from either end.
    Index,
    /// A small count, at times negative or none.
    Count,
    /// A count that is only ever positive.
    Size,
    /// A number with a fraction, at times none.
    Float,
    /// A score.
    Score,
    /// A bound of a range of scores.
    ScoreBound,
    /// A bound of a range of members.
    LexBound,
    /// A position of a bit.
    BitOffset,
    /// A glob for keys.
    KeyGlob,
    /// A glob for members.
    MemberGlob,
    /// Seconds from now, far enough not to come while a sequence runs.
    Seconds,
    /// The same in milliseconds.
    Millis,
    /// Seconds since 1970, long gone or far ahead.
    Instant,
    /// The same in milliseconds.
    InstantMs,
    /// Degrees east.
    Longitude,
    /// Degrees north.
    Latitude,
    /// A database number.
    Db,
    /// An id of a stream's entry.
    StreamId,
    /// Present half of the time.
    Opt(&'static [Arg]),
    /// One of these.
    One(&'static [&'static [Arg]]),
    /// Some of these, each at most once, in any order. Each on its own is rare, so that clashes stay so.
    Some(&'static [&'static [Arg]]),
    /// Repeated between so many and so many times.
    Many(usize, usize, &'static [Arg]),
    /// A count and so many keys.
    Keys(Type),
    /// A whole request of another row, for a script to run.
    Request,
}

/// Rows whose known differences would not be known again in what a script makes of the reply.
/// Those that may wait are not for scripts in 7.0.
const NOT_IN_SCRIPTS: &[&str] = &[
    "OBJECT ENCODING",
    "BITCOUNT",
    "BITPOS",
    "LPOS",
    "ZRANK",
    "ZREVRANK",
    "BLPOP",
    "BRPOP",
    "BLMOVE",
    "BRPOPLPUSH",
    "BZPOPMIN",
    "BZPOPMAX",
    "XREAD",
    "XREADGROUP",
    "WAIT",
];

/// How two replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Byte for byte.
    Exact,
    /// As collections whose order nobody promised.
    Unordered,
    /// As pairs whose order nobody promised.
    Pairs,
    /// By kind and length: the content is chosen at random or from the clock.
    Shape,
    /// As integers at most so far apart: they come from the clock.
    Near(i64),
    /// As the union of what a whole iteration returns; the cursor is this argument.
    Scan(usize),
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, with its subcommand.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static [Arg],
    /// How its replies are compared.
    pub reply: Reply,
    /// How often it is drawn, relative to 10.
    pub weight: u32,
    /// Whether it changes its first key in a way each server chooses: the key is then deleted in both.
    pub chooses: bool,
    /// Whether it is never broken on purpose: other rows rely on what it leaves behind.
    pub sound: bool,
    /// Whether it waits, on a connection of its own, while others go on.
    pub waits: bool,
}

/// A row that is compared byte for byte.
pub const fn row(name: &'static str, args: &'static [Arg]) -> Row {
    Row { name, args, reply: Reply::Exact, weight: 10, chooses: false, sound: false, waits: false }
}

impl Row {
    /// The row, compared so.
    pub const fn reply(self, reply: Reply) -> Row {
        Row { reply, ..self }
    }

    /// The row, drawn so often.
    pub const fn weight(self, weight: u32) -> Row {
        Row { weight, ..self }
    }

    /// The row, of a command that leaves something else behind on each server.
    pub const fn chooses(self) -> Row {
        Row { chooses: true, ..self }
    }

    /// The row, never broken on purpose.
    pub const fn sound(self) -> Row {
        Row { sound: true, ..self }
    }

    /// The row, of a command that waits while others go on.
    pub const fn waits(self) -> Row {
        Row { waits: true, ..self }
    }

    /// Whether a script may run it and say what it heard.
    fn suits_scripts(&self) -> bool {
        self.reply == Reply::Exact && !self.chooses && !self.waits && !NOT_IN_SCRIPTS.contains(&self.name)
    }

    /// The first word of the name.
    pub fn command(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or_default()
    }

    /// Draws a request.
    pub fn draw(&self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = self.name.split(' ').map(Vec::from).collect();
        let named = out.len();
        for arg in self.args {
            arg.draw(rng, &mut out);
        }
        if !self.sound && rng.u32(..12) == 0 {
            break_arguments(rng, named, &mut out);
        }
        out
    }
}

/// Makes the request one its author did not mean.
fn break_arguments(rng: &mut Rng, named: usize, out: &mut Vec<Vec<u8>>) {
    let at = |rng: &mut Rng| rng.usize(named..out.len());
    match rng.u32(..5) {
        0 if out.len() > named => {
            let at = at(rng);
            out.remove(at);
        }
        1 if out.len() > named => {
            let at = at(rng);
            out[at] = text(rng, ODD);
        }
        2 if out.len() > named => {
            let at = at(rng);
            out.insert(at, out[at].clone());
        }
        3 => out.truncate(named),
        _ => out.push(text(rng, ODD)),
    }
}

const ODD: &[&str] =
    &["", "x", "-1", "0", "1", "NX", "LIMIT", "1.5", "nan", "18446744073709551616", " 1", "1 "];

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "", "a", "b", "c", "abc", "hello world", "0", "1", "-1", "2", "10", "007", "3.5", "1e3", "-0",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "\0\u{1}\r\n", "?", "%s",
];

#[rustfmt::skip]
const INTS: &[&str] = &[
    "0", "1", "-1", "2", "3", "7", "100", "-100", "65535", "2147483648", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "1.0", "abc", "", "+1", "01", " 1",
];

#[rustfmt::skip]
const FLOATS: &[&str] = &[
    "0", "1", "-1", "0.5", "-2.25", "3.0", "10.50", "1e3", "1e-3", "0.1", "0.2", "1.1", "5.0e3", "1e17",
    "123456789.123", "inf", "-inf", "nan", "abc", "", "1e400", "0x10", " 1", "1 ",
];

#[rustfmt::skip]
const SCORES: &[&str] = &[
    "0", "-0", "1", "2", "3", "4", "5", "-1", "-2.5", "1.5", "0.1", "0.3", "1e10", "1e-7",
    "100000000000000000000", "1e300", "3.3333333333333335", "17179869184", "inf", "-inf", "+inf",
    "4503599627370497.5",
];

/// Members that keep a collection a set of integers come often enough to form one.
#[rustfmt::skip]
const MEMBERS: &[&str] = &[
    "a", "b", "c", "d", "e", "f", "1", "2", "3", "4", "5", "10", "-7", "32768", "-2147483649",
    "9223372036854775807", "", "01", "aa", "ab", "B", "é", "1.5",
];

fn text(rng: &mut Rng, texts: &[&str]) -> Vec<u8> {
    texts[rng.usize(..texts.len())].into()
}

impl Arg {
    fn draw(&self, rng: &mut Rng, out: &mut Vec<Vec<u8>>) {
        match self {
            Arg::Word(word) => out.push(match rng.u32(..10) {
                0 => word.to_lowercase().into(),
                _ => Vec::from(*word),
            }),
            Arg::Key(kind) => out.push(key(rng, *kind)),
            Arg::Of(texts) => out.push(text(rng, texts)),
            Arg::Value => out.push(value(rng)),
            Arg::Member => out.push(match rng.u32(..20) {
                0 => value(rng),
                _ => text(rng, MEMBERS),
            }),
            Arg::Int => out.push(text(rng, INTS)),
            Arg::Index => out.push(match rng.u32(..20) {
                0 => text(rng, INTS),
                _ => rng.i32(-7..8).to_string().into(),
            }),
            Arg::Count => out.push(match rng.u32(..20) {
                0 => text(rng, INTS),
                1..5 => rng.i32(-4..1).to_string().into(),
                _ => rng.i32(1..6).to_string().into(),
            }),
            Arg::Size => out.push(rng.u32(1..6).to_string().into()),
            Arg::Float => out.push(text(rng, FLOATS)),
            Arg::Score => out.push(match rng.u32(..40) {
                0 => text(rng, FLOATS),
                _ => text(rng, SCORES),
            }),
            Arg::ScoreBound => {
                let open = if rng.u32(..3) == 0 { "(" } else { "" };
                let bound = text(rng, &[SCORES, &["-inf", "+inf", "1", "2", "3"]].concat());
                out.push([open.as_bytes(), &bound].concat());
            }
            Arg::LexBound => out.push(match rng.u32(..8) {
                0 => b"-".to_vec(),
                1 => b"+".to_vec(),
                2 => text(rng, MEMBERS),
                3 | 4 => [b"(", text(rng, MEMBERS).as_slice()].concat(),
                _ => [b"[", text(rng, MEMBERS).as_slice()].concat(),
            }),
            Arg::BitOffset => out.push(match rng.u32(..20) {
                0 => text(rng, &["-1", "4294967296", "abc", "1.5", ""]),
                1 => rng.u32(..5000).to_string().into(),
                _ => rng.u32(..70).to_string().into(),
            }),
            Arg::KeyGlob => out
                .push(text(rng, &["*", "s*", "?1", "[a-l]?", "z[^1]", "*3", "none*", "", "\\*", "[", "**1"])),
            Arg::MemberGlob => {
                out.push(text(rng, &["*", "a*", "?", "[a-c]", "[^0-9]*", "*1", "none*", "", "1?"]))
            }
            // Drawn from a wide range: two equal ones a millisecond apart would decide GT and LT by luck.
            Arg::Seconds => out.push(match rng.u32(..12) {
                0 => text(
                    rng,
                    &[
                        "0",
                        "-1",
                        "9223372036854775807",
                        "9223372036854776",
                        "-9223372036854775808",
                        "abc",
                        "1.5",
                    ],
                ),
                _ => rng.u32(1000..1_000_000_000).to_string().into(),
            }),
            Arg::Millis => out.push(match rng.u32(..12) {
                0 => text(rng, &["0", "-1", "9223372036854775807", "-9223372036854775808", "abc"]),
                _ => rng.u64(1_000_000..1_000_000_000_000).to_string().into(),
            }),
            Arg::Instant => out.push(match rng.u32(..6) {
                0 => text(rng, &["0", "1", "-5", "9223372036854775807", "abc", "9223372036854776"]),
                _ => rng.u64(4_000_000_000..9_000_000_000).to_string().into(),
            }),
            Arg::InstantMs => out.push(match rng.u32(..6) {
                0 => text(rng, &["0", "1", "-5", "9223372036854775807", "abc"]),
                _ => rng.u64(4_000_000_000_000..9_000_000_000_000).to_string().into(),
            }),
            Arg::Longitude => out.push(match rng.u32(..15) {
                0 => text(rng, &["-180", "180", "180.1", "abc", "nan"]),
                1 => b"0".to_vec(),
                _ => format!("{:.4}", rng.f64() * 20.0 - 10.0).into(),
            }),
            Arg::Latitude => out.push(match rng.u32(..15) {
                0 => text(rng, &["-85.05112878", "85.05112878", "90", "abc", "inf"]),
                1 => b"0".to_vec(),
                _ => format!("{:.4}", rng.f64() * 20.0 - 10.0).into(),
            }),
            Arg::Db => out.push(text(rng, &["0", "0", "0", "1", "1", "2", "15", "16", "-1", "abc"])),
            Arg::StreamId => out.push(match rng.u32(..12) {
                0 => text(
                    rng,
                    &[
                        "0",
                        "0-0",
                        "abc",
                        "1-",
                        "18446744073709551615-18446744073709551615",
                        "1-2-3",
                        "",
                        "+1",
                        "-1",
                        "007-+1",
                    ],
                ),
                1..4 => rng.u32(1..30).to_string().into(),
                _ => format!("{}-{}", rng.u32(1..30), rng.u32(..4)).into(),
            }),
            Arg::Opt(args) => {
                if rng.bool() {
                    args.iter().for_each(|arg| arg.draw(rng, out));
                }
            }
            Arg::One(choices) => {
                choices[rng.usize(..choices.len())].iter().for_each(|arg| arg.draw(rng, out))
            }
            Arg::Some(choices) => {
                let mut choices: Vec<_> = choices.iter().filter(|_| rng.u32(..3) == 0).collect();
                rng.shuffle(&mut choices);
                choices.into_iter().flat_map(|args| args.iter()).for_each(|arg| arg.draw(rng, out));
            }
            Arg::Many(least, most, args) => {
                for _ in 0..rng.usize(*least..=*most) {
                    args.iter().for_each(|arg| arg.draw(rng, out));
                }
            }
            Arg::Request => {
                let rows = || {
                    let families =
                        FAMILIES.iter().filter(|(name, _)| !["script", "transaction"].contains(name));
                    families.flat_map(|(_, rows)| rows.iter()).filter(|row| row.suits_scripts())
                };
                let chosen = rng.usize(..rows().count());
                out.extend(rows().nth(chosen).expect("below their number").draw(rng));
            }
            Arg::Keys(kind) => {
                let count = rng.usize(1..4);
                let said = if rng.u32(..20) == 0 { text(rng, INTS) } else { count.to_string().into() };
                out.push(said);
                (0..count).for_each(|_| out.push(key(rng, *kind)));
            }
        }
    }
}

fn key(rng: &mut Rng, kind: Type) -> Vec<u8> {
    let kind = if rng.u32(..16) == 0 { Type::Any } else { kind };
    let prefix = match TYPES.iter().find(|(t, _)| *t == kind) {
        Some((_, prefix)) => prefix,
        None => TYPES[rng.usize(..TYPES.len())].1,
    };
    format!("{prefix}{}", rng.u32(1..4)).into()
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.u32(..12) {
        // About the lengths at which encodings change.
        0 => vec![b'x'; [20, 21, 43, 44, 45, 63, 64, 65, 300, 5000, 20_000][rng.usize(..11)]],
        1 => (0..rng.usize(..20)).map(|_| rng.u8(..)).collect(),
        2 | 3 => rng.i64(-20..200).to_string().into(),
        _ => text(rng, WORDS),
    }
}
