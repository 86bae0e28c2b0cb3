//! What COMMAND says of each command: proxies and cluster clients route by it.

use std::collections::BTreeMap;
use std::io;

use shoal_testkit::{Server, Value};

/// The parts of a command's row that are compared, by their place in it.
const PARTS: &[(usize, &str)] = &[
    (1, "arity"),
    (2, "flags"),
    (3, "first key"),
    (4, "last key"),
    (5, "step"),
    (6, "categories"),
    (8, "key specifications"),
];

/// Where Shoal follows Redis 7.2, or does otherwise: the command, the part, and why it is not what 7.0 says.
const KNOWN: &[(&str, &str, &str)] = &[
    ("cluster|failover", "flags", "its answer waits for other nodes, which no transaction or script can"),
    ("cluster|forget", "arity", "it takes FORCE, for where most voters are gone"),
    ("cluster|forget", "flags", "its answer waits for other nodes, which no transaction or script can"),
    ("blmove", "flags", "7.2 lets scripts call what waits"),
    ("blpop", "flags", "7.2 lets scripts call what waits"),
    ("brpop", "flags", "7.2 lets scripts call what waits"),
    ("brpoplpush", "flags", "7.2 lets scripts call what waits"),
    ("bzpopmax", "flags", "7.2 lets scripts call what waits"),
    ("bzpopmin", "flags", "7.2 lets scripts call what waits"),
    ("client|caching", "flags", "Valkey 9 allows it while a script overruns its time"),
    ("client|getname", "flags", "Valkey 9 allows it while a script overruns its time"),
    ("client|getredir", "flags", "Valkey 9 allows it while a script overruns its time"),
    ("client|id", "flags", "Valkey 9 allows it while a script overruns its time"),
    ("client|no-evict", "flags", "Valkey 9 allows it while a script overruns its time"),
    (
        "client|reply",
        "flags",
        "Valkey 9 allows it while a script overruns its time, and not in a transaction",
    ),
    ("client|setname", "flags", "Valkey 9 allows it while a script overruns its time"),
    ("command|getkeys", "arity", "7.2 takes a command without arguments and says that it has no keys"),
    (
        "command|getkeysandflags",
        "arity",
        "7.2 takes a command without arguments and says that it has no keys",
    ),
    ("multi", "flags", "Valkey 9 has one text for all that a transaction takes no part in"),
    ("select", "flags", "Valkey 9 allows it while a script overruns its time"),
    ("wait", "flags", "7.2 says that it blocks"),
    ("wait", "categories", "7.2 says that it blocks"),
    ("watch", "flags", "Valkey 9 has one text for all that a transaction takes no part in"),
    ("zrank", "arity", "7.2 takes WITHSCORE"),
    ("zrevrank", "arity", "7.2 takes WITHSCORE"),
];

/// Differences, one line each.
pub fn compare(reference: &Server, subject: &Server) -> io::Result<Vec<String>> {
    let (reference, subject) = (rows(reference)?, rows(subject)?);
    let mut differences = Vec::new();
    for (name, theirs) in &reference {
        let Some(ours) = subject.get(name) else { continue };
        for (place, part) in PARTS {
            let (theirs, ours) = (theirs.get(*place), ours.get(*place));
            let known = KNOWN.iter().any(|(command, of, _)| command == name && of == part);
            if theirs != ours && !known {
                let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
                differences.push(format!("{name}: {part}: {} instead of {}", show(ours), show(theirs)));
            }
        }
    }
    Ok(differences)
}

/// The rows by name, subcommands among them as `config|get`.
fn rows(server: &Server) -> io::Result<BTreeMap<String, Vec<Value>>> {
    let reply = server.connect().line("COMMAND")?;
    let mut rows = BTreeMap::new();
    let mut left: Vec<&Value> = reply.items().iter().collect();
    while let Some(row) = left.pop() {
        let parts: Vec<Value> = row.items().iter().map(sorted).collect();
        left.extend(row.items().get(9).map_or(&[][..], Value::items));
        if let Some(name) = parts.first().and_then(Value::text) {
            rows.insert(String::from_utf8_lossy(name).to_lowercase(), parts);
        }
    }
    Ok(rows)
}

/// Lists of words in alphabetical order, key specifications without their notes.
fn sorted(part: &Value) -> Value {
    let Value::Array(items) = part else { return part.clone() };
    if items.iter().all(|w| matches!(w, Value::Simple(_))) {
        let mut words = items.clone();
        words.sort();
        return Value::Array(words);
    }
    let without_notes = |spec: &Value| match spec.items() {
        [Value::Bulk(notes), _, rest @ ..] if notes == b"notes" => Value::Array(rest.to_vec()),
        _ => spec.clone(),
    };
    Value::Array(items.iter().map(without_notes).collect())
}
