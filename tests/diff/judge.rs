//! Whether two replies to one request are the same, and which differences are known.
//!
//! Invariant: everything let pass is written here: the order nobody promised, what comes from the clock or
//! from chance (as the command's row says), and the differences in [`KNOWN`] with their reasons.

use shoal_testkit::Value;

use crate::grammar::Reply;

/// A difference between redis-server 7.0 and what Shoal follows (Redis 7.2 and Valkey 8).
struct Known {
    /// Why it is there.
    #[expect(dead_code, reason = "kept as a field so that no entry can go without")]
    why: &'static str,
    /// Whether it is what was seen: the request, the reply of 7.0, Shoal's.
    seen: fn(&[Vec<u8>], &Value, &Value) -> bool,
}

/// Whether an encoding says no more than that `SORT`, which is somewhere in the sequence, has passed by.
///
/// Redis makes every sorted set a skiplist that SORT reads, and lets it stay one. Shoal only reads it.
pub fn sorted_before(request: &[Vec<u8>], reference: &Value, subject: &Value) -> bool {
    let asked = request.get(1).is_some_and(|w| w.eq_ignore_ascii_case(b"encoding"));
    let unpacked = |a: &Value, b: &Value| (a.text(), b.text()) == (Some(b"skiplist"), Some(b"listpack"));
    (asked || request[0].eq_ignore_ascii_case(b"exec")) && same(reference, subject, &unpacked)
}

const KNOWN: &[Known] = &[
    Known {
        why: "7.0 writes a double with 17 digits, 7.2 with as few as read back to it",
        seen: |request, old, new| {
            let scores = request[0].first().is_some_and(|b| b"zbgZBGeE".contains(b));
            scores && same(old, new, &|old, new| numbers_equal(old, new))
        },
    },
    Known {
        why: "7.2 keeps short lists and sets in listpacks and says so; 7.0 has quicklists and hash tables",
        seen: |request, old, new| {
            let asked = request.get(1).is_some_and(|w| w.eq_ignore_ascii_case(b"encoding"));
            let pair = (old.text().unwrap_or_default(), new.text().unwrap_or_default());
            asked && matches!(pair, (b"quicklist" | b"hashtable", b"listpack"))
        },
    },
    Known {
        why: "7.2 makes a new set no intset when more members are added at once than an intset may hold",
        seen: |request, old, new| {
            let asked = request.get(1).is_some_and(|w| w.eq_ignore_ascii_case(b"encoding"));
            asked && (old.text(), new.text()) == (Some(b"intset"), Some(b"listpack"))
        },
    },
    Known {
        why: "7.2 refuses a rank of which there is no negative",
        seen: |request, _, new| {
            let lowest = request.iter().any(|word| word == b"-9223372036854775808");
            let refused = matches!(new, Value::Error(text) if text.starts_with(b"ERR value is out of range"));
            request[0].eq_ignore_ascii_case(b"lpos") && lowest && refused
        },
    },
    Known {
        why: "7.2 checks the arguments of BITCOUNT and BITPOS before it looks for the key",
        seen: |request, old, new| {
            let counts =
                [&b"bitcount"[..], b"bitpos"].iter().any(|name| request[0].eq_ignore_ascii_case(name));
            counts && matches!(old, Value::Int(-1 | 0)) && new.is_error()
        },
    },
    Known {
        why: "Valkey 8 takes a start alone in BITCOUNT",
        seen: |request, old, _| {
            let alone = request[0].eq_ignore_ascii_case(b"bitcount") && request.len() == 3;
            alone && old.is_error()
        },
    },
    Known {
        why: "Valkey 8 refuses a type nobody has in SCAN",
        seen: |_, _, new| matches!(new, Value::Error(text) if text.starts_with(b"ERR unknown type name")),
    },
    Known {
        why: "7.2 takes WITHSCORE in ZRANK and ZREVRANK, so one more word is no wrong number of them",
        seen: |request, old, new| {
            let rank = [&b"zrank"[..], b"zrevrank"].iter().any(|name| request[0].eq_ignore_ascii_case(name));
            rank && request.len() == 4 && old.is_error() && new.is_error()
        },
    },
    Known {
        why: "Redis sorts with strcoll, to which a text ends at its first NUL; what it takes for equal is in no order",
        seen: |request, old, new| {
            let sorts = request[0].to_ascii_lowercase().starts_with(b"sort");
            let nul = old.items().iter().filter_map(Value::text).any(|text| text.contains(&0));
            sorts && nul && canonical(Reply::Unordered, old) == canonical(Reply::Unordered, new)
        },
    },
    Known {
        why: "7.2 names the command in the error about an unbalanced list of streams",
        seen: |_, old, new| {
            let unbalanced =
                |v: &Value| matches!(v, Value::Error(text) if text.starts_with(b"ERR Unbalanced "));
            unbalanced(old) && unbalanced(new)
        },
    },
    Known {
        why: "7.4 has HSCAN NOVALUES",
        seen: |request, _, _| {
            let asked = request.iter().any(|word| word.eq_ignore_ascii_case(b"novalues"));
            request[0].eq_ignore_ascii_case(b"hscan") && asked
        },
    },
    Known {
        why: "7.2 says what is wrong with a timeout that overflows",
        seen: |_, old, new| {
            let told = matches!(new, Value::Error(text) if text == b"ERR timeout is out of range");
            told && matches!(old, Value::Error(text) if text.starts_with(b"ERR timeout is "))
        },
    },
    Known {
        why: "7.2 looks at the arguments of BITCOUNT and BITPOS before the key, Valkey 8 lets an end be left out",
        seen: |request, old, new| {
            let bits = [&b"bitcount"[..], b"bitpos"].iter().any(|name| request[0].eq_ignore_ascii_case(name));
            bits && (matches!(old, Value::Error(_)) || matches!(new, Value::Error(_)))
        },
    },
    Known {
        why: "7.2 has WITHSCORE behind the member",
        seen: |request, _, _| {
            let rank = [&b"zrank"[..], b"zrevrank"].iter().any(|name| request[0].eq_ignore_ascii_case(name));
            rank && request.len() == 4
        },
    },
    Known {
        why: "7.2 says since when a consumer has been given nothing",
        seen: |request, old, new| {
            let asked = request.get(1).is_some_and(|w| w.eq_ignore_ascii_case(b"consumers"));
            asked && !old.is_error() && !new.is_error() && old.items().len() <= new.items().len()
        },
    },
    Known {
        why: "7.2 says since when a consumer is idle, and knows consumers that got nothing",
        seen: |request, old, new| {
            let full = request.get(3).is_some_and(|w| w.eq_ignore_ascii_case(b"full"));
            full && matches!((old, new), (Value::Map(_), Value::Map(_)) | (Value::Array(_), Value::Array(_)))
        },
    },
    Known {
        why: "7.2 runs a request that has waited again, so it serves a stream named twice twice",
        seen: |request, old, new| {
            let at = request.iter().position(|word| word.eq_ignore_ascii_case(b"streams"));
            let names = at.map_or(&[][..], |at| &request[at + 1..]);
            let blocks = request.iter().any(|word| word.eq_ignore_ascii_case(b"block"));
            blocks && names.len() == 4 && names[0] == names[1] && !old.is_error() && !new.is_error()
        },
    },
    Known {
        why: "Redis takes an earlier command's number out of range for one that SORT met",
        seen: |request, old, new| {
            let refused = matches!(old, Value::Error(text) if text.starts_with(b"ERR One or more scores"));
            request[0].to_ascii_lowercase().starts_with(b"sort") && refused && !new.is_error()
        },
    },
    Known {
        why: "7.0 answers a request that waits for a stream even when what was added is gone again",
        seen: |request, old, new| {
            let blocks = request.iter().any(|word| word.eq_ignore_ascii_case(b"block"));
            let nothing = |stream: &Value| stream.items().last().is_some_and(|list| list.items().is_empty());
            let empty = match old {
                Value::Map(streams) => streams.iter().all(|(_, list)| list.items().is_empty()),
                _ => old.items().iter().all(nothing),
            };
            blocks && empty && !new.is_error()
        },
    },
    Known {
        why: "7.2 answers a request that waits for a group as if it came only now",
        seen: |_, old, new| {
            let gone = matches!(old, Value::Error(text) if text.starts_with(b"UNBLOCKED the stream key"));
            let now =
                |text: &[u8]| text.starts_with(b"NOGROUP No such key") || text.starts_with(b"WRONGTYPE");
            gone && matches!(new, Value::Error(text) if now(text))
        },
    },
    Known {
        why: "7.2 makes the consumer of an XREADGROUP, XCLAIM or XAUTOCLAIM that gets nothing",
        seen: |request, old, new| {
            let named = |name: &[u8]| request.get(1).is_some_and(|w| w.eq_ignore_ascii_case(name));
            let one_more = named(b"createconsumer") && (old.int(), new.int()) == (Some(1), Some(0));
            let few = |value: &Value| value.int().is_some_and(|n| n < 3);
            one_more || named(b"groups") && same(old, new, &|old, new| few(old) && few(new))
        },
    },
    Known {
        why: "Valkey 8 counts anew what a group has read where entries of its stream are missing",
        seen: |request, old, new| {
            let asked = [&b"xinfo"[..], b"exec"].iter().any(|name| request[0].eq_ignore_ascii_case(name));
            asked && without_read_counts(old) == without_read_counts(new)
        },
    },
    Known {
        why: "Valkey 9 names the member that has no place, and what GEOSEARCH needs one of",
        seen: |_, old, new| {
            let geo = |text: &[u8]| {
                text.starts_with(b"ERR could not decode requested zset member")
                    || text.starts_with(b"ERR exactly one of BYRADIUS and BYBOX")
            };
            let refused =
                |old: &Value, new: &Value| matches!(old, Value::Error(text) if geo(text)) && new.is_error();
            same(old, new, &refused)
        },
    },
    Known {
        why: "Valkey 9 looks at GETEX's time before it looks for the key",
        seen: |request, old, new| {
            let asked = [&b"getex"[..], b"exec"].iter().any(|name| request[0].eq_ignore_ascii_case(name));
            let time = |text: &[u8]| {
                text == b"ERR value is not an integer or out of range"
                    || text == b"ERR invalid expire time in 'getex' command"
            };
            let refused = |_: &Value, new: &Value| matches!(new, Value::Error(text) if time(text));
            asked && same(old, new, &refused)
        },
    },
    Known {
        why: "Valkey 9 does not name itself in the errors of scripts, and calls what they use `server`",
        seen: |_, old, new| {
            same(old, new, &|old, new| reworded(old).is_some_and(|old| reworded(new) == Some(old)))
        },
    },
    Known {
        why: "7.2 names the subcommand's help in lower and upper case alike, and lists more of it",
        seen: |request, old, new| {
            let help = request.get(1).is_some_and(|w| w.eq_ignore_ascii_case(b"help"));
            help && matches!((old, new), (Value::Array(_), Value::Array(_)))
        },
    },
];

/// `value` without how many entries groups of streams have read, and have still to read.
fn without_read_counts(value: &Value) -> Value {
    let counts = |name: &Value| matches!(name.text(), Some(b"entries-read" | b"lag"));
    match value {
        Value::Array(items) => {
            let mut items = items.iter();
            let mut kept = Vec::new();
            while let Some(item) = items.next() {
                if counts(item) {
                    items.next();
                } else {
                    kept.push(without_read_counts(item));
                }
            }
            Value::Array(kept)
        }
        Value::Map(pairs) => {
            let kept = pairs.iter().filter(|(name, _)| !counts(name));
            Value::Map(kept.map(|(name, value)| (name.clone(), without_read_counts(value))).collect())
        }
        other => other.clone(),
    }
}

/// The text of an error of a script as Valkey 9 has it.
fn reworded(value: &Value) -> Option<String> {
    let text = String::from_utf8_lossy(value.text()?);
    let text = text.replace("Unknown Redis command called", "Unknown command called");
    Some(text.replace("calling Redis command", "calling command").replace("redis.", "server."))
}

/// The request that `request`, if it is a script that runs its arguments, runs.
fn inner(request: &[Vec<u8>]) -> &[Vec<u8>] {
    let runs = |script: &Vec<u8>| script.windows(12).any(|word| word == b"unpack(ARGV)");
    match request {
        [_, script, keys, rest @ ..] if runs(script) => &rest[usize::from(keys == b"1").min(rest.len())..],
        _ => request,
    }
}

/// Whether the replies to `request` are the same as far as `how` asks.
pub fn agree(request: &[Vec<u8>], how: Reply, reference: &Value, subject: &Value) -> bool {
    let request = inner(request);
    let (left, right) = (canonical(how, reference), canonical(how, subject));
    let equal = match how {
        Reply::Shape => shape(&left) == shape(&right),
        // One call within a transaction: how far it gets is each server's own.
        Reply::Scan(_) => left == right || (left.items().len() == 2 && right.items().len() == 2),
        Reply::Near(slack) => match (left.int(), right.int()) {
            (Some(a), Some(b)) if a > 0 && b > 0 => (a - b).abs() <= slack,
            _ => left == right,
        },
        _ => left == right,
    };
    equal || KNOWN.iter().any(|known| (known.seen)(request, &left, &right))
}

/// `value` with the order taken out of it that nobody promised.
fn canonical(how: Reply, value: &Value) -> Value {
    match (how, value) {
        (Reply::Unordered, Value::Array(v) | Value::Set(v)) => {
            let mut items = v.clone();
            items.sort();
            match value {
                Value::Set(_) => Value::Set(items),
                _ => Value::Array(items),
            }
        }
        (Reply::Pairs, Value::Map(v)) => {
            let mut pairs = v.clone();
            pairs.sort();
            Value::Map(pairs)
        }
        (Reply::Pairs, Value::Array(v)) if v.len() % 2 == 0 => {
            let mut pairs: Vec<_> = v.chunks(2).collect();
            pairs.sort();
            Value::Array(pairs.concat())
        }
        // SORT, SINTER and others answer a set in RESP3.
        (_, Value::Set(v)) => {
            let mut items = v.clone();
            items.sort();
            Value::Set(items)
        }
        _ => value.clone(),
    }
}

/// Kind and length; errors in full.
fn shape(value: &Value) -> Value {
    match value {
        Value::Int(_) => Value::Int(0),
        Value::Bulk(_) => Value::Bulk(Vec::new()),
        Value::Double(_) => Value::Double(Vec::new()),
        Value::Array(v) => Value::Array(v.iter().map(shape).collect()),
        Value::Set(v) => Value::Set(v.iter().map(shape).collect()),
        Value::Map(v) => Value::Map(v.iter().map(|(k, v)| (shape(k), shape(v))).collect()),
        other => other.clone(),
    }
}

/// Whether two replies are the same where `leaf` decides about what is neither a collection nor equal.
fn same(left: &Value, right: &Value, leaf: &dyn Fn(&Value, &Value) -> bool) -> bool {
    let all = |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, leaf));
    match (left, right) {
        (Value::Array(a), Value::Array(b)) | (Value::Set(a), Value::Set(b)) => all(a, b),
        (Value::Map(a), Value::Map(b)) => {
            let pair = |((k, v), (l, w)): (&(Value, Value), &(Value, Value))| k == l && same(v, w, leaf);
            a.len() == b.len() && a.iter().zip(b).all(pair)
        }
        (a, b) => a == b || leaf(a, b),
    }
}

fn numbers_equal(left: &Value, right: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Bulk(t) | Value::Double(t) => std::str::from_utf8(t).ok()?.parse::<f64>().ok(),
        _ => None,
    };
    std::mem::discriminant(left) == std::mem::discriminant(right)
        && number(left).is_some_and(|n| Some(n) == number(right))
}
