//! What is asked of collections: requests as lines of words, and rows of the report for each type.
//!
//! A word that begins with `@` stands for what differs from request to request; [`request`] lists them.

use fastrand::Rng;

use crate::workload::{Op, RESP, Workload, array, element, name, number};

/// Ten thousand collections, sixteen requests at once, all against what redis-server takes.
const COLLECTION: Workload = Workload { pipeline: 16, keys: 10_000, rival_bound: Some(0.60), ..RESP };

const LIST: &[Fill] = &[(1, "RPUSH @key @all100")];
const HASH: &[Fill] = &[(1, "HSET @key @pairs50")];
const BIG_HASH: &[Fill] = &[(1, "HSET @key @pairs1000")];
const COUNTERS: &[Fill] = &[(1, "HSET @key element:00000000 1 element:00000001 20 element:00000002 300")];
const SET: &[Fill] = &[(1, "SADD @key @all100")];
const BIG_SET: &[Fill] = &[(1, "SADD @key @all1000")];
const SORTED: &[Fill] = &[(1, "ZADD @key @scored100")];
const BIG_SORTED: &[Fill] = &[(1, "ZADD @key @scored1000")];
const STREAM: &[Fill] = &[(100, "XADD @key * field @any1000")];
const GROUP: &[Fill] = &[(300, "XADD @key * field @any1000"), (1, "XGROUP CREATE @key g 0")];
const SKETCH: &[Fill] = &[(1, "PFADD @key @all100")];
const BITS: &[Fill] = &[(1, "SETBIT @key 8000 1")];
const PLACES: &[Fill] = &[(100, "GEOADD @key @lon @lat @any1000000")];

/// How often a line is sent for each key before a workload begins, and the line.
pub type Fill = (u32, &'static str);

/// The rows.
pub const WORKLOADS: &[Workload] = &[
    reading("HGET x16", "HGET @key @any50", HASH),
    reading("HGET big x16", "HGET @key @any1000", BIG_HASH).fewer(),
    reading("HMGET 10 x16", "HMGET @key @all10", HASH),
    reading("HGETALL 50 x16", "HGETALL @key", HASH),
    changing("HSET big x16", "HSET @key @any1000 value:0123456789", BIG_HASH).fewer(),
    changing("HINCRBY x16", "HINCRBY @key @any3 1", COUNTERS),
    changing("HDEL x16", "HDEL @key @any50", HASH),
    changing("RPUSH x16", "RPUSH @key @any1000", &[]),
    changing("LPOP x16", "LPOP @key", LIST),
    changing("RPOP x16", "RPOP @key", LIST),
    reading("LRANGE 10 x16", "LRANGE @key 0 9", LIST),
    reading("LRANGE 100 x16", "LRANGE @key 0 -1", LIST),
    reading("LINDEX x16", "LINDEX @key @num100", LIST),
    reading("LLEN x16", "LLEN @key", LIST),
    changing("LSET x16", "LSET @key @num100 @any1000", LIST),
    reading("SISMEMBER x16", "SISMEMBER @key @any200", SET),
    reading("SISMEMBER big x16", "SISMEMBER @key @any2000", BIG_SET).fewer(),
    changing("SADD ints x16", "SADD @key @num1000", &[]),
    changing("SADD big x16", "SADD @key @any1100", BIG_SET).fewer(),
    changing("SPOP x16", "SPOP @key", SET),
    changing("SREM x16", "SREM @key @any100", SET),
    reading("SRANDMEMBER x16", "SRANDMEMBER @key", SET),
    reading("SMEMBERS 100 x16", "SMEMBERS @key", SET),
    reading("SCARD x16", "SCARD @key", SET),
    reading("ZSCORE x16", "ZSCORE @key @any100", SORTED),
    reading("ZSCORE big x16", "ZSCORE @key @any1000", BIG_SORTED).fewer(),
    reading("ZRANK x16", "ZRANK @key @any100", SORTED),
    reading("ZRANK big x16", "ZRANK @key @any1000", BIG_SORTED).fewer(),
    reading("ZRANGE 10 x16", "ZRANGE @key 0 9 WITHSCORES", SORTED),
    reading("ZRANGEBYSCORE x16", "ZRANGEBYSCORE @key 200 300 LIMIT 0 10", SORTED),
    reading("ZCARD x16", "ZCARD @key", SORTED),
    changing("ZADD big x16", "ZADD @key @num100000 @any1100", BIG_SORTED).fewer(),
    changing("ZINCRBY x16", "ZINCRBY @key 1 @any100", SORTED),
    changing("ZREM x16", "ZREM @key @any100", SORTED),
    changing("ZPOPMIN x16", "ZPOPMIN @key", SORTED),
    changing("XADD x16", "XADD @key * field @any1000", &[]),
    reading("XRANGE 10 x16", "XRANGE @key - + COUNT 10", STREAM).fewer(),
    reading("XLEN x16", "XLEN @key", STREAM).fewer(),
    changing("XREADGROUP x16", "XREADGROUP GROUP g c COUNT 1 STREAMS @key >", GROUP).fewer(),
    changing("PFADD x16", "PFADD @key @any1000", &[]),
    reading("PFCOUNT x16", "PFCOUNT @key", SKETCH),
    changing("SETBIT x16", "SETBIT @key @num8000 1", &[]),
    reading("GETBIT x16", "GETBIT @key @num8000", BITS),
    reading("BITCOUNT x16", "BITCOUNT @key", BITS),
    reading("GEOSEARCH x16", "GEOSEARCH @key FROMLONLAT 10 45 BYRADIUS 200 km", PLACES).fewer(),
];

const fn reading(name: &'static str, line: &'static str, fill: &'static [Fill]) -> Workload {
    Workload { name, op: Op::Line(line), fill, ..COLLECTION }
}

/// A workload that is to find the same in every round, though it leaves something else behind.
const fn changing(name: &'static str, line: &'static str, fill: &'static [Fill]) -> Workload {
    Workload { changes: true, ..reading(name, line, fill) }
}

impl Workload {
    /// The workload on a tenth of the keys: for collections that take long to fill.
    const fn fewer(self) -> Workload {
        Workload { keys: self.keys / 10, ..self }
    }
}

/// Appends the request that `line` is for key number `key`. A word stands for itself, or
///
/// | word | for |
/// |---|---|
/// | `@key` | the key |
/// | `@big` | the key that a thousand numbers share; `@huge`, a hundred thousand |
/// | `@any9` | one of the first 9 elements, drawn; `@mid9`, the one in their middle |
/// | `@all9` | the first 9 elements; `@pairs9` with a value behind each, `@scored9` with a score before it |
/// | `@run9` | 9 elements that no other number has; so `@pairrun9`, `@scorerun9`, `@evenrun9` (all scores 0) |
/// | `@ints9` | 9 integers |
/// | `@num9` | a number below 9, drawn |
/// | `@lon`, `@lat` | a place in Europe |
pub fn request(line: &str, key: u64, rng: &mut Rng, out: &mut Vec<u8>) {
    let mut args: Vec<Vec<u8>> = Vec::with_capacity(8);
    for word in line.split(' ') {
        let Some(what) = word.strip_prefix('@') else {
            args.push(word.as_bytes().to_vec());
            continue;
        };
        let digits = what.trim_start_matches(|c: char| !c.is_ascii_digit());
        let count: u64 = digits.parse().unwrap_or(0);
        let first = key * count;
        match &what[..what.len() - digits.len()] {
            "key" => args.push(name(key).to_vec()),
            "big" => args.push(number(*b"big:000000000000", key / 1000).to_vec()),
            "huge" => args.push(number(*b"huge:00000000000", key / 100_000).to_vec()),
            "any" => args.push(element(rng.u64(..count)).to_vec()),
            "mid" => args.push(element(count / 2).to_vec()),
            "num" => args.push(rng.u64(..count).to_string().into_bytes()),
            "lon" => args.push(format!("{:.6}", rng.f64() * 20.0).into_bytes()),
            "lat" => args.push(format!("{:.6}", 40.0 + rng.f64() * 10.0).into_bytes()),
            "all" => args.extend((0..count).map(|n| element(n).to_vec())),
            "ints" => args.extend((0..count).map(|n| (n * 37).to_string().into_bytes())),
            "run" => args.extend((first..first + count).map(|n| element(n).to_vec())),
            "pairs" => (0..count).for_each(|n| pair(n, &mut args)),
            "pairrun" => (first..first + count).for_each(|n| pair(n, &mut args)),
            "scored" => (0..count).for_each(|n| scored(n, &mut args)),
            "scorerun" => (first..first + count).for_each(|n| scored(n, &mut args)),
            "evenrun" => {
                (first..first + count).for_each(|n| args.extend([b"0".to_vec(), element(n).to_vec()]))
            }
            _ => panic!("{word} stands for nothing"),
        }
    }
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    array(&args, out);
}

fn pair(n: u64, args: &mut Vec<Vec<u8>>) {
    args.push(element(n).to_vec());
    args.push(b"value:0123456789".to_vec());
}

fn scored(n: u64, args: &mut Vec<Vec<u8>>) {
    // In no order, as scores come.
    args.push((n * 7919 % 1009).to_string().into_bytes());
    args.push(element(n).to_vec());
}
