//! What is asked of the servers: requests, how their replies are framed, and the bounds Shoal promises.

use fastrand::Rng;

use crate::collection::{self, Fill};

/// How client and server talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2.
    Resp,
    /// memcached's text protocol, classic and meta.
    Memcached,
}

/// One kind of request. Keys are 16 bytes, drawn evenly from the workload's key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read a value.
    Get,
    /// Write a value.
    Set,
    /// Write a value that expires in a day.
    SetExpiring,
    /// Write a hash of five fields of 12 bytes.
    HsetFive,
    /// Count up.
    Incr,
    /// Run a script of two commands on a key.
    Eval,
    /// Write one of 1000 fields of a hash.
    Hset,
    /// Put 16 bytes at the head of a list.
    Lpush,
    /// Put one of 1000 members into a set.
    Sadd,
    /// Put one of 1000 members into a sorted set.
    Zadd,
    /// Read ten values at once.
    GetTen,
    /// memcached's meta get.
    MetaGet,
    /// memcached's meta set.
    MetaSet,
    /// A line of words: see [`collection::request`].
    Line(&'static str),
}

/// A row of the report.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// What the row is called.
    pub name: &'static str,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it asks.
    pub op: Op,
    /// Length of the values, in bytes.
    pub value: usize,
    /// Requests sent before the first reply is read.
    pub pipeline: usize,
    /// Different keys.
    pub keys: u64,
    /// The most processor time per request Shoal may use, relative to the floor.
    pub floor_bound: Option<f64>,
    /// The same relative to redis-server or memcached.
    pub rival_bound: Option<f64>,
    /// Whether it is part of a quick look.
    pub quick: bool,
    /// What each key is given before the first request.
    pub fill: &'static [Fill],
    /// Whether the keys are removed and filled anew before every round.
    pub changes: bool,
}

/// Connections a load opens.
pub const CONNECTIONS: usize = 50;
/// Keys of most workloads.
pub const KEYS: u64 = 100_000;

/// A workload to start from.
pub const RESP: Workload = Workload {
    name: "",
    protocol: Protocol::Resp,
    op: Op::Get,
    value: 64,
    pipeline: 1,
    keys: KEYS,
    floor_bound: None,
    rival_bound: None,
    quick: false,
    fill: &[],
    changes: false,
};
const ONE: Workload = Workload { floor_bound: Some(1.10), rival_bound: Some(0.95), ..RESP };
const SIXTEEN: Workload = Workload { pipeline: 16, floor_bound: Some(2.1), rival_bound: Some(0.65), ..RESP };
/// Ten thousand collections that grow from nothing in every round.
const COLLECTION: Workload =
    Workload { pipeline: 16, keys: 10_000, rival_bound: Some(0.60), changes: true, ..RESP };
const MEMCACHED: Workload = Workload { protocol: Protocol::Memcached, rival_bound: Some(0.95), ..RESP };
const MEMCACHED16: Workload = Workload { pipeline: 16, rival_bound: Some(0.75), ..MEMCACHED };

/// Counts up, from 1.
const SCRIPT: &[u8] =
    b"local v = redis.call('get', KEYS[1])\nif v then return redis.call('incr', KEYS[1]) end\n\
      return redis.call('set', KEYS[1], 1)";

/// The rows.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "GET", quick: true, ..ONE },
    Workload { name: "GET x16", quick: true, ..SIXTEEN },
    Workload { name: "SET", op: Op::Set, ..ONE },
    Workload { name: "SET x16", op: Op::Set, quick: true, ..SIXTEEN },
    Workload { name: "GET 16 KB", value: 16 * 1024, keys: 5_000, rival_bound: Some(1.0), ..RESP },
    Workload { name: "GET 16 KB x16", value: 16 * 1024, keys: 5_000, pipeline: 16, ..RESP },
    Workload { name: "MGET 10", op: Op::GetTen, ..RESP },
    Workload { name: "MGET 10 x16", op: Op::GetTen, pipeline: 16, ..RESP },
    Workload { name: "INCR", op: Op::Incr, ..RESP },
    Workload { name: "INCR x16", op: Op::Incr, pipeline: 16, ..RESP },
    Workload { name: "EVAL x16", op: Op::Eval, pipeline: 16, rival_bound: Some(1.0), ..RESP },
    Workload { name: "HSET", op: Op::Hset, pipeline: 1, rival_bound: None, ..COLLECTION },
    Workload { name: "HSET x16", op: Op::Hset, quick: true, ..COLLECTION },
    Workload { name: "LPUSH x16", op: Op::Lpush, ..COLLECTION },
    Workload { name: "SADD x16", op: Op::Sadd, ..COLLECTION },
    Workload { name: "ZADD x16", op: Op::Zadd, ..COLLECTION },
    Workload { name: "memcached get", ..MEMCACHED },
    Workload { name: "memcached get x16", quick: true, ..MEMCACHED16 },
    Workload { name: "memcached set", op: Op::Set, ..MEMCACHED },
    Workload { name: "memcached set x16", op: Op::Set, quick: true, ..MEMCACHED16 },
    Workload { name: "memcached mg", op: Op::MetaGet, ..MEMCACHED },
    Workload { name: "memcached mg x16", op: Op::MetaGet, ..MEMCACHED16 },
    Workload { name: "memcached ms", op: Op::MetaSet, ..MEMCACHED },
    Workload { name: "memcached ms x16", op: Op::MetaSet, ..MEMCACHED16 },
    Workload { name: "memcached get of 10", op: Op::GetTen, rival_bound: None, ..MEMCACHED },
    Workload { name: "memcached get of 10 x16", op: Op::GetTen, rival_bound: None, ..MEMCACHED16 },
];

impl Workload {
    /// What is sent for each key before the first request, and how often.
    pub fn filling(&self) -> Vec<(u32, Workload)> {
        let filling = |op| Workload { op, pipeline: 16, ..*self };
        match self.op {
            Op::Get | Op::GetTen | Op::MetaGet => vec![(1, filling(Op::Set))],
            _ => self.fill.iter().map(|&(times, line)| (times, filling(Op::Line(line)))).collect(),
        }
    }

    /// Appends a request for a key drawn from `rng`.
    pub fn request(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        self.request_for(rng.u64(..self.keys), rng, out);
    }

    /// Appends a request for key number `key`.
    pub fn request_for(&self, key: u64, rng: &mut Rng, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::Resp => self.resp(key, rng, out),
            Protocol::Memcached => self.memcached(key, rng, out),
        }
    }

    fn resp(&self, key: u64, rng: &mut Rng, out: &mut Vec<u8>) {
        if let Op::Line(line) = self.op {
            return collection::request(line, key, rng, out);
        }
        let key = name(key);
        let drawn = |rng: &mut Rng| element(rng.u64(..1000));
        match self.op {
            Op::Get | Op::MetaGet => array(&[b"GET", &key], out),
            Op::Set | Op::MetaSet => {
                out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
                bulk(&key, out);
                value_header(b'$', self.value, out);
                value(self.value, out);
                out.extend_from_slice(b"\r\n");
            }
            Op::SetExpiring => {
                out.extend_from_slice(b"*5\r\n$3\r\nSET\r\n");
                bulk(&key, out);
                value_header(b'$', self.value, out);
                value(self.value, out);
                out.extend_from_slice(b"\r\n$2\r\nEX\r\n$5\r\n86400\r\n");
            }
            Op::HsetFive => {
                out.extend_from_slice(b"*12\r\n");
                bulk(b"HSET", out);
                bulk(&key, out);
                for field in [b"field1", b"field2", b"field3", b"field4", b"field5"] {
                    bulk(field, out);
                    bulk(&key[4..], out);
                }
            }
            Op::Incr => array(&[b"INCR", &key], out),
            Op::Eval => array(&[b"EVAL", SCRIPT, b"1", &key], out),
            Op::Hset => array(&[b"HSET", &key, &drawn(rng), b"value:0123456789"], out),
            Op::Lpush => array(&[b"LPUSH", &key, &drawn(rng)], out),
            Op::Sadd => array(&[b"SADD", &key, &drawn(rng)], out),
            Op::Zadd => {
                let score = rng.u32(..1_000_000).to_string();
                array(&[b"ZADD", &key, score.as_bytes(), &drawn(rng)], out);
            }
            Op::GetTen => {
                out.extend_from_slice(b"*11\r\n");
                bulk(b"MGET", out);
                bulk(&key, out);
                for _ in 0..9 {
                    bulk(&name(rng.u64(..self.keys)), out);
                }
            }
            Op::Line(_) => unreachable!("sent above"),
        }
    }

    fn memcached(&self, key: u64, rng: &mut Rng, out: &mut Vec<u8>) {
        let key = name(key);
        let text = |out: &mut Vec<u8>, before: &[u8], after: &[u8]| {
            out.extend_from_slice(before);
            out.extend_from_slice(&key);
            out.extend_from_slice(after);
        };
        match self.op {
            Op::GetTen => {
                text(out, b"get ", b"");
                for _ in 0..9 {
                    out.push(b' ');
                    out.extend_from_slice(&name(rng.u64(..self.keys)));
                }
            }
            Op::MetaGet => text(out, b"mg ", b" v"),
            Op::MetaSet => {
                text(out, b"ms ", format!(" {}\r\n", self.value).as_bytes());
                value(self.value, out);
            }
            Op::Set | Op::SetExpiring => {
                let time = if self.op == Op::Set { 0 } else { 86400 };
                text(out, b"set ", format!(" 0 {time} {}\r\n", self.value).as_bytes());
                value(self.value, out);
            }
            _ => text(out, b"get ", b""),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// What the floor answers: as long as the reply a server with these keys gives.
    pub fn constant_reply(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let one = |out: &mut Vec<u8>, header: &[u8]| {
            out.extend_from_slice(header);
            value(self.value, out);
            out.extend_from_slice(b"\r\n");
        };
        let resp = format!("${}\r\n", self.value).into_bytes();
        let classic = [&b"VALUE "[..], &name(0), format!(" 0 {}\r\n", self.value).as_bytes()].concat();
        match (self.protocol, self.op) {
            (Protocol::Resp, Op::Get | Op::MetaGet) => one(&mut out, &resp),
            (Protocol::Resp, Op::GetTen) => {
                out.extend_from_slice(b"*10\r\n");
                (0..10).for_each(|_| one(&mut out, &resp));
            }
            (Protocol::Resp, Op::Set | Op::MetaSet) => out.extend_from_slice(b"+OK\r\n"),
            (Protocol::Resp, _) => out.extend_from_slice(b":1\r\n"),
            (Protocol::Memcached, Op::MetaGet) => one(&mut out, format!("VA {}\r\n", self.value).as_bytes()),
            (Protocol::Memcached, Op::MetaSet) => out.extend_from_slice(b"HD\r\n"),
            (Protocol::Memcached, Op::Set) => out.extend_from_slice(b"STORED\r\n"),
            (Protocol::Memcached, op) => {
                (0..if op == Op::GetTen { 10 } else { 1 }).for_each(|_| one(&mut out, &classic));
                out.extend_from_slice(b"END\r\n");
            }
        }
        out
    }
}

/// Key number `n`: 16 bytes.
pub fn name(n: u64) -> [u8; 16] {
    number(*b"key:000000000000", n)
}

/// Element number `n` of a collection: 16 bytes.
pub fn element(n: u64) -> [u8; 16] {
    number(*b"element:00000000", n)
}

/// `text` with `n` written over its end.
pub fn number(mut text: [u8; 16], mut n: u64) -> [u8; 16] {
    for place in text.iter_mut().rev() {
        if n == 0 {
            break;
        }
        *place = b'0' + (n % 10) as u8;
        n /= 10;
    }
    text
}

fn value(len: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + len, b'x');
}

fn value_header(kind: u8, n: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(n.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn bulk(text: &[u8], out: &mut Vec<u8>) {
    value_header(b'$', text.len(), out);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Appends a request of these arguments.
pub fn array(args: &[&[u8]], out: &mut Vec<u8>) {
    value_header(b'*', args.len(), out);
    args.iter().for_each(|arg| bulk(arg, out));
}

/// What the first reply in `input` is.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// So many bytes.
    Whole(usize),
    /// Not all of it is there.
    Partial,
    /// An error or a miss: the servers would not be doing the same work.
    Wrong,
}

impl Protocol {
    /// Finds the end of the first reply in `input`.
    pub fn reply(self, input: &[u8]) -> Reply {
        match self {
            Protocol::Resp => resp_reply(input),
            Protocol::Memcached => memcached_reply(input),
        }
    }
}

fn resp_reply(input: &[u8]) -> Reply {
    let Some(end) = line(input) else { return Reply::Partial };
    match input[0] {
        b'+' | b':' => Reply::Whole(end),
        b'$' if input[1] != b'-' => {
            let total = end + decimal(&input[1..end - 2]) + 2;
            if total <= input.len() { Reply::Whole(total) } else { Reply::Partial }
        }
        b'*' if input[1] != b'-' => {
            let mut at = end;
            for _ in 0..decimal(&input[1..end - 2]) {
                match resp_reply(&input[at..]) {
                    Reply::Whole(n) => at += n,
                    other => return other,
                }
            }
            Reply::Whole(at)
        }
        _ => Reply::Wrong,
    }
}

fn memcached_reply(input: &[u8]) -> Reply {
    let mut at = 0;
    loop {
        let rest = &input[at..];
        let Some(end) = line(rest) else { return Reply::Partial };
        let text = &rest[..end - 2];
        match text.get(..2) {
            Some(b"VA") if text.starts_with(b"VALUE ") => {
                let size = text.rsplit(|&b| b == b' ').next().map_or(0, decimal);
                at += end + size + 2;
                if at >= input.len() {
                    return Reply::Partial;
                }
            }
            Some(b"VA") => {
                let total = end + decimal(&text[3..]) + 2;
                return if total <= rest.len() { Reply::Whole(total) } else { Reply::Partial };
            }
            Some(b"EN") if text == b"END" && at > 0 => return Reply::Whole(at + end),
            Some(b"ST" | b"HD") => return Reply::Whole(end),
            _ => return Reply::Wrong,
        }
    }
}

/// Where the first line ends, its line end included.
fn line(input: &[u8]) -> Option<usize> {
    Some(input.iter().position(|&b| b == b'\n')? + 1)
}

/// The digits at the front of `text` as a number.
fn decimal(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + usize::from(b - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_replies_are_whole_at_their_end_alone() {
        for workload in WORKLOADS {
            let reply = workload.constant_reply();
            for cut in 0..reply.len() {
                assert_eq!(workload.protocol.reply(&reply[..cut]), Reply::Partial, "{workload:?} at {cut}");
            }
            assert_eq!(workload.protocol.reply(&reply), Reply::Whole(reply.len()), "{workload:?}");
        }
    }

    #[test]
    fn misses_and_errors_are_not_replies() {
        for wire in [&b"$-1\r\n"[..], b"-ERR\r\n", b"*1\r\n$-1\r\n"] {
            assert_eq!(Protocol::Resp.reply(wire), Reply::Wrong);
        }
        for wire in [&b"END\r\n"[..], b"EN\r\n", b"ERROR\r\n", b"SERVER_ERROR x\r\n"] {
            assert_eq!(Protocol::Memcached.reply(wire), Reply::Wrong);
        }
    }
}
