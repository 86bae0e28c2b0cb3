//! What clients asked and heard of one key, and whether some order explains it (linearizability, after Wing and Gong, 1993).
//!
//! A call took effect at some moment between being asked and being answered; one whose answer nobody heard at some moment after it
//! was asked, or never. Looked for is an order in which every answer is what the key's contents say.

use std::collections::HashSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Counter,
    List,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Surely not carried out.
    Nothing,
    Set(u64),
    Get,
    Del,
    Append(u64),
    Incr,
    Push(u64),
    Range,
    /// Adds it to a sum beside it, of which nothing is heard: the copies of that have to be alike.
    Sum,
    /// Copies it beside it.
    Copy,
}

#[derive(Clone, Debug)]
pub struct Op {
    pub call: Call,
    pub asked: u64,
    /// When an answer came, and which.
    pub heard: Option<(u64, Vec<u8>)>,
}

/// A key's contents.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Contents {
    None,
    Text(String),
    List(Vec<u64>),
}

impl Call {
    pub fn random(kind: Kind, number: u64, rng: &mut fastrand::Rng) -> Call {
        match (kind, rng.u32(..100)) {
            (_, 0..4) => Call::Del,
            (Kind::Text, 4..40) => Call::Get,
            (Kind::Text | Kind::Counter, 90..) => Call::Sum,
            (Kind::List, 90..) => Call::Copy,
            (Kind::Text, 40..75) => Call::Set(number),
            (Kind::Text, _) => Call::Append(number),
            (Kind::Counter, 4..40) => Call::Get,
            (Kind::Counter, _) => Call::Incr,
            (Kind::List, 4..40) => Call::Range,
            (Kind::List, _) => Call::Push(number),
        }
    }

    /// What reads a key.
    pub fn read(kind: Kind) -> Call {
        if kind == Kind::List { Call::Range } else { Call::Get }
    }

    /// What changes a key.
    pub fn write(kind: Kind) -> Call {
        match kind {
            Kind::Text => Call::Append(0),
            Kind::Counter => Call::Incr,
            Kind::List => Call::Push(0),
        }
    }

    pub fn request(&self, key: &str) -> Vec<Vec<u8>> {
        let line = match self {
            Call::Nothing => unreachable!("never asked"),
            Call::Set(n) => format!("SET {key} {n}"),
            Call::Get => format!("GET {key}"),
            Call::Del => format!("DEL {key}"),
            Call::Append(n) => format!("APPEND {key} ,{n}"),
            Call::Incr => format!("INCR {key}"),
            Call::Push(n) => format!("LPUSH {key} {n}"),
            Call::Range => format!("LRANGE {key} 0 -1"),
            Call::Sum => format!("BITOP XOR {{{key}}}:sum {{{key}}}:sum {key}"),
            Call::Copy => format!("COPY {key} {{{key}}}:copy REPLACE"),
        };
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    /// What it makes of the contents, and what is answered.
    fn apply(&self, contents: &Contents) -> (Contents, String) {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let text = if let Contents::Text(text) = contents { text.as_str() } else { "" };
        let list: &[u64] = if let Contents::List(list) = contents { list } else { &[] };
        match self {
            Call::Nothing | Call::Sum => (contents.clone(), String::new()),
            Call::Copy => (contents.clone(), format!(":{}\r\n", u8::from(*contents != Contents::None))),
            Call::Set(n) => (Contents::Text(n.to_string()), "+OK\r\n".into()),
            Call::Get if *contents == Contents::None => (Contents::None, "$-1\r\n".into()),
            Call::Get => (contents.clone(), bulk(text)),
            Call::Del => (Contents::None, format!(":{}\r\n", u8::from(*contents != Contents::None))),
            Call::Append(n) => {
                let text = format!("{text},{n}");
                let reply = format!(":{}\r\n", text.len());
                (Contents::Text(text), reply)
            }
            Call::Incr => {
                let next = text.parse().unwrap_or(0u64) + 1;
                (Contents::Text(next.to_string()), format!(":{next}\r\n"))
            }
            Call::Push(n) => {
                let list: Vec<u64> = std::iter::once(*n).chain(list.iter().copied()).collect();
                let reply = format!(":{}\r\n", list.len());
                (Contents::List(list), reply)
            }
            Call::Range => {
                let items: String = list.iter().map(|n| bulk(&n.to_string())).collect();
                (contents.clone(), format!("*{}\r\n{items}", list.len()))
            }
        }
    }

    /// Whether it leaves the key itself as it is.
    fn is_read(&self) -> bool {
        matches!(self, Call::Get | Call::Range | Call::Sum | Call::Copy | Call::Nothing)
    }
}

/// Whether some order explains what was heard; if not, how many calls the longest explanation has.
pub fn explain(history: &[Op]) -> Result<(), usize> {
    // What was read and not heard says nothing.
    let mut ops: Vec<&Op> = history.iter().filter(|op| op.heard.is_some() || !op.call.is_read()).collect();
    ops.sort_by_key(|op| op.asked);
    let answered = ops.iter().filter(|op| op.heard.is_some()).count();
    let mut seen = HashSet::new();
    let mut stack = vec![(vec![0u64; ops.len().div_ceil(64)], 0, 0, Contents::None)];
    let mut longest = 0;
    while let Some((done, mut first, explained, contents)) = stack.pop() {
        longest = longest.max(explained);
        if explained == answered {
            return Ok(());
        }
        let is_done = |at: usize| done[at / 64] >> (at % 64) & 1 == 1;
        while is_done(first) {
            first += 1;
        }
        // Whoever was asked after another's answer comes after it.
        let mut until = u64::MAX;
        let mut end = first;
        for (at, op) in ops.iter().enumerate().skip(first) {
            if op.asked > until {
                break;
            }
            end = at + 1;
            if !is_done(at)
                && let Some((heard, _)) = &op.heard
            {
                until = until.min(*heard);
            }
        }
        for (at, op) in ops.iter().enumerate().take(end).skip(first).rev() {
            if is_done(at) || op.asked > until {
                continue;
            }
            let (next, reply) = op.call.apply(&contents);
            if op.heard.as_ref().is_some_and(|(_, heard)| *heard != reply.as_bytes()) {
                continue;
            }
            let mut done = done.clone();
            done[at / 64] |= 1 << (at % 64);
            if seen.insert((done.clone(), next.clone())) {
                let explained = explained + usize::from(op.heard.is_some());
                stack.push((done, first, explained, next));
            }
        }
    }
    Err(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(call: Call, asked: u64, heard: Option<(u64, &str)>) -> Op {
        Op { call, asked, heard: heard.map(|(at, reply)| (at, reply.as_bytes().to_vec())) }
    }

    #[test]
    fn what_overlaps_may_have_happened_in_either_order() {
        let set = |n, asked, heard| op(Call::Set(n), asked, Some((heard, "+OK\r\n")));
        let get = |reply, asked, heard| op(Call::Get, asked, Some((heard, reply)));
        assert_eq!(explain(&[set(1, 0, 10), set(2, 5, 15), get("$1\r\n1\r\n", 20, 21)]), Ok(()));
        assert_eq!(explain(&[set(1, 0, 10), set(2, 11, 15), get("$1\r\n1\r\n", 20, 21)]), Err(2));
        assert_eq!(explain(&[set(1, 0, 10), get("$-1\r\n", 11, 12)]), Err(1));
    }

    #[test]
    fn what_nobody_heard_of_may_have_happened_late_or_never() {
        let lost = op(Call::Incr, 0, None);
        let incr = |asked, n: u64| {
            op(Call::Incr, asked, Some((asked + 1, [":1\r\n", ":2\r\n", ":3\r\n"][n as usize - 1])))
        };
        assert_eq!(explain(&[lost.clone(), incr(5, 1), incr(10, 2)]), Ok(()));
        assert_eq!(explain(&[lost.clone(), incr(5, 1), incr(10, 3)]), Ok(()));
        assert_eq!(explain(&[lost, incr(5, 3)]), Err(0));
    }
}
