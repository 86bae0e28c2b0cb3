//! Plays a sequence of requests to two servers side by side and finds the first reply that differs.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::time::{Duration, Instant};

use fastrand::Rng;
use shoal_testkit::notation::word;
use shoal_testkit::resp::{Client, PATIENCE, encode};
use shoal_testkit::{Server, Value};

use crate::commands::FAMILIES;
use crate::grammar::{Reply, Row};
use crate::judge::{agree, sorted_before};

/// Two servers. `reference` is right by definition.
pub struct Pair {
    /// What is compared with.
    pub reference: Server,
    /// What is tested.
    pub subject: Server,
}

/// A request on one of the connections.
#[derive(Clone, Debug)]
pub struct Step {
    connection: usize,
    row: &'static Row,
    request: Vec<Vec<u8>>,
}

impl Step {
    /// Whether nothing has to be looked at or undone between it and the next request.
    fn is_plain(&self) -> bool {
        !self.row.chooses && !matches!(self.row.reply, Reply::Scan(_)) && !self.is_refused_in_multi()
    }

    /// Whether a transaction takes it for a mistake, by which it is aborted since Valkey 9 and was not before.
    fn is_refused_in_multi(&self) -> bool {
        matches!(self.row.name, "MULTI" | "WATCH")
    }
}

/// A sequence with the protocol version it is played in.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// 2 or 3.
    pub resp: u8,
    /// The requests in order.
    pub steps: Vec<Step>,
}

/// Where and how the servers first differed.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The step; the sequence's length if only what it left behind differs.
    pub at: usize,
    /// The request that showed it.
    pub request: Vec<Vec<u8>>,
    /// What one said.
    pub reference: Value,
    /// What the other said.
    pub subject: Value,
}

impl Difference {
    /// Differences with the same text are taken for the same mistake.
    pub fn kind(&self) -> String {
        let name: Vec<_> =
            self.request.iter().take(2).map(|w| String::from_utf8_lossy(w).to_uppercase()).collect();
        let subcommands = ["OBJECT", "XGROUP", "XINFO", "SCRIPT", "DEBUG"];
        let name = if subcommands.contains(&name[0].as_str()) { name.join(" ") } else { name[0].clone() };
        format!("{name}: {} for {}", self.subject.sort(), self.reference.sort())
    }
}

/// What sort of reply it is, in a word or with its text where that is what matters.
trait Sort {
    fn sort(&self) -> String;
}

impl Sort for Value {
    fn sort(&self) -> String {
        match self {
            Value::Error(text) => String::from_utf8_lossy(text).chars().take(40).collect(),
            Value::Simple(text) => String::from_utf8_lossy(text).into_owned(),
            other => {
                let name = format!("{other:?}");
                name.split(['(', '{', ' ']).next().unwrap_or_default().to_string()
            }
        }
    }
}

/// Connections a sequence uses, and their names in a report.
const CONNECTIONS: [&str; 3] = ["", "b", "c"];

/// The one of them on which requests wait.
const WAITER: usize = 2;

/// After so many steps a request has waited long enough.
const WAITED: usize = 8;

/// Limits set low in both servers, so that a few elements make a collection change its encoding.
const TUNING: &[(&str, &str)] = &[
    ("hash-max-listpack-entries", "6"),
    ("hash-max-listpack-value", "20"),
    ("set-max-intset-entries", "6"),
    ("zset-max-listpack-entries", "6"),
    ("zset-max-listpack-value", "20"),
    ("list-max-listpack-size", "4"),
];

impl Pair {
    /// Makes both servers alike; the names of the limits left alone because one of them refuses.
    pub fn tune(&self) -> io::Result<Vec<&'static str>> {
        let mut left_alone = Vec::new();
        for (name, value) in TUNING {
            let refused = |server: &Server| -> io::Result<bool> {
                Ok(server.connect().call(&["CONFIG", "SET", name, value])?.is_error())
            };
            if refused(&self.reference)? || refused(&self.subject)? {
                left_alone.push(*name);
            }
        }
        Ok(left_alone)
    }

    /// The commands both have, in lower case.
    pub fn commands(&self) -> io::Result<BTreeSet<String>> {
        let of = |server: &Server| -> io::Result<BTreeSet<String>> {
            let reply = server.connect().call(&["COMMAND", "LIST"])?;
            let names =
                reply.items().iter().filter_map(|v| Some(String::from_utf8_lossy(v.text()?).to_lowercase()));
            Ok(names.collect())
        };
        Ok(of(&self.reference)?.intersection(&of(&self.subject)?).cloned().collect())
    }

    /// Plays `sequence` from empty servers.
    pub fn play(&self, sequence: &Sequence) -> io::Result<Option<Difference>> {
        let mut players = Vec::new();
        for server in [&self.reference, &self.subject] {
            players.push(Player::new(server, sequence.resp)?);
        }
        let [reference, subject] = players.as_mut_slice() else { unreachable!("two were pushed") };
        let mut queues = [const { None }; CONNECTIONS.len()];
        let (mut at, mut waiting) = (0, None);
        while let Some(step) = sequence.steps.get(at) {
            if step.connection == WAITER {
                if waiting.is_none() {
                    reference.begin_wait(step)?;
                    subject.begin_wait(step)?;
                    waiting = Some(at);
                }
                at += 1;
                continue;
            }
            let queue: &mut Option<Vec<&Step>> = &mut queues[step.connection];
            let scan = match step.row.reply {
                Reply::Scan(cursor) if queue.is_none() => Some(cursor),
                _ => None,
            };
            // What each server chooses cannot be undone before EXEC.
            if queue.is_some() && (step.row.chooses || step.is_refused_in_multi()) {
                at += 1;
                continue;
            }
            let rest = &sequence.steps[at..];
            let together =
                rest.iter().take_while(|s| s.connection == step.connection && s.is_plain()).count();
            let batch = &rest[..together.max(1)];
            reference.send(batch)?;
            let sent = subject.send(batch);
            for step in batch {
                let left = reference.reply(step, scan)?;
                let right = sent.as_ref().map_err(|e| io::Error::new(e.kind(), e.to_string()));
                let right = right.and_then(|()| subject.reply(step, scan)).unwrap_or_else(lost);
                let passed_by = sequence.sorts() && sorted_before(&step.request, &left, &right);
                if !same(step, scan.is_some(), queue, &left, &right) && !passed_by {
                    let request = step.request.clone();
                    return Ok(Some(Difference { at, request, reference: left, subject: right }));
                }
                at += 1;
            }
            if let (true, [_, key, ..]) = (step.row.chooses, step.request.as_slice()) {
                reference.undo(step.connection, key)?;
                subject.undo(step.connection, key)?;
            }
            if let Some(began) = waiting.take_if(|began| at >= *began + WAITED)
                && let Some(difference) = end_wait(reference, subject, sequence, began, at - 1)?
            {
                return Ok(Some(difference));
            }
        }
        if let Some(began) = waiting
            && let Some(difference) = end_wait(reference, subject, sequence, began, at - 1)?
        {
            return Ok(Some(difference));
        }
        compare_contents(reference, subject, sequence)
    }
}

/// Compares what the request that began to wait with step `began` heard by step `at`.
fn end_wait(
    reference: &mut Player,
    subject: &mut Player,
    sequence: &Sequence,
    began: usize,
    at: usize,
) -> io::Result<Option<Difference>> {
    let step = &sequence.steps[began];
    let left = reference.end_wait()?;
    let right = subject.end_wait().unwrap_or_else(lost);
    let same = agree(&step.request, step.row.reply, &left, &right);
    let request = step.request.clone();
    Ok((!same).then_some(Difference { at, request, reference: left, subject: right }))
}

/// Whether the replies to `step` are the same; keeps `queue`, what its connection has queued since MULTI.
fn same<'a>(
    step: &'a Step,
    whole_scan: bool,
    queue: &mut Option<Vec<&'a Step>>,
    left: &Value,
    right: &Value,
) -> bool {
    let is = |name: &str| step.request[0].eq_ignore_ascii_case(name.as_bytes());
    match (left, &mut *queue) {
        (Value::Array(a), Some(steps)) if is("EXEC") => {
            let b = right.items();
            let each =
                |(step, (a, b)): (&&Step, (&Value, &Value))| agree(&step.request, step.row.reply, a, b);
            let same = a.len() == b.len() && steps.iter().zip(a.iter().zip(b)).all(each);
            *queue = None;
            return same;
        }
        (Value::Simple(t), Some(steps)) if t == b"QUEUED" => steps.push(step),
        (Value::Simple(_), None) if is("MULTI") => *queue = Some(Vec::new()),
        (Value::Error(text), Some(_)) if !text.starts_with(b"EXECABORT") => {}
        (_, Some(_)) if is("EXEC") || is("DISCARD") => *queue = None,
        _ => {}
    }
    let how = if whole_scan { Reply::Unordered } else { step.row.reply };
    agree(&step.request, how, left, right)
}

/// A connection that broke, as a reply.
fn lost(error: io::Error) -> Value {
    Value::Error(format!("(no reply: {error})").into())
}

/// One server's side of a sequence.
struct Player {
    connections: Vec<Client>,
    /// The number the server gave the connection on which requests wait.
    waiter_id: String,
    /// What the waiting request heard at once.
    heard: Option<Value>,
    /// Looks at what was left behind; no step is made on it.
    observer: Client,
}

impl Player {
    fn new(server: &Server, resp: u8) -> io::Result<Player> {
        let mut observer = Client::connect(server.resp_addr())?;
        observer.line("FLUSHALL")?;
        observer.line("SCRIPT FLUSH")?;
        observer.line("FUNCTION FLUSH")?;
        let connect = |_| Client::connect_resp(server.resp_addr(), resp);
        let mut connections = CONNECTIONS.iter().map(connect).collect::<io::Result<Vec<_>>>()?;
        let waiter_id = connections[WAITER].line("CLIENT ID")?.int().unwrap_or_default().to_string();
        Ok(Player { connections, waiter_id, heard: None, observer })
    }

    /// Sends a request and sees that it waits or is answered.
    fn begin_wait(&mut self, step: &Step) -> io::Result<()> {
        let Player { connections, waiter_id, heard, observer } = self;
        connections[WAITER].send(&step.request)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let list = observer.call(&["CLIENT", "LIST", "ID", waiter_id])?;
            let text = String::from_utf8_lossy(list.text().unwrap_or_default()).into_owned();
            let flags = text.split(' ').find_map(|word| word.strip_prefix("flags="));
            if flags.is_some_and(|flags| flags.contains('b')) {
                return Ok(());
            }
            *heard = connections[WAITER].recv_within(Duration::from_millis(1))?;
            if heard.is_some() {
                return Ok(());
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "a request neither waits nor is answered"))
    }

    /// Ends the wait, if nothing has; what the request heard.
    fn end_wait(&mut self) -> io::Result<Value> {
        match self.heard.take() {
            Some(reply) => Ok(reply),
            None => {
                self.observer.call(&["CLIENT", "UNBLOCK", &self.waiter_id])?;
                self.connections[WAITER].recv()
            }
        }
    }

    /// Sends the requests, all of one connection.
    fn send(&mut self, steps: &[Step]) -> io::Result<()> {
        let wire: Vec<u8> = steps.iter().flat_map(|step| encode(&step.request)).collect();
        self.connections[steps[0].connection].send_raw(&wire)
    }

    /// The reply to a request sent; with the place of a cursor, that of the whole iteration.
    fn reply(&mut self, step: &Step, cursor: Option<usize>) -> io::Result<Value> {
        let client = &mut self.connections[step.connection];
        let mut reply = client.recv()?;
        let Some(place) = cursor else { return Ok(reply) };
        let mut request = step.request.clone();
        let mut found = BTreeSet::new();
        for _ in 0..10_000 {
            let [next, items] = reply.items() else { return Ok(reply) };
            // Pairs stay pairs: a field must not be taken for another's value.
            let pairs =
                !request[0].eq_ignore_ascii_case(b"scan") && !request[0].eq_ignore_ascii_case(b"sscan");
            for item in items.items().chunks(if pairs { 2 } else { 1 }) {
                found.insert(Value::Array(item.to_vec()));
            }
            match next.text() {
                Some(b"0") => return Ok(Value::Array(found.into_iter().collect())),
                Some(next) if request.len() > place => request[place] = next.to_vec(),
                _ => return Ok(reply),
            }
            reply = client.call(&request)?;
        }
        Ok(Value::Error(b"(the iteration does not end)".to_vec()))
    }

    fn undo(&mut self, connection: usize, key: &[u8]) -> io::Result<()> {
        self.connections[connection].call(&[b"DEL", key]).map(drop)
    }
}

/// Compares what the sequence left behind: keys, types, encodings, contents, times.
fn compare_contents(
    reference: &mut Player,
    subject: &mut Player,
    sequence: &Sequence,
) -> io::Result<Option<Difference>> {
    let (at, sorts) = (sequence.steps.len(), sequence.sorts());
    let differ = |reference: &mut Player,
                  subject: &mut Player,
                  request: &[&[u8]],
                  how: Reply|
     -> io::Result<(Value, Option<Difference>)> {
        let left = reference.observer.call(request)?;
        let right = subject.observer.call(request).unwrap_or_else(lost);
        let request: Vec<Vec<u8>> = request.iter().map(|w| w.to_vec()).collect();
        let same = agree(&request, how, &left, &right) || sorts && sorted_before(&request, &left, &right);
        Ok((left.clone(), (!same).then_some(Difference { at, request, reference: left, subject: right })))
    };
    for db in ["0", "1", "2", "15"] {
        differ(reference, subject, &[b"SELECT", db.as_bytes()], Reply::Exact)?;
        let (keys, difference) = differ(reference, subject, &[b"KEYS", b"*"], Reply::Unordered)?;
        if difference.is_some() {
            return Ok(difference);
        }
        for key in keys.items().iter().filter_map(Value::text) {
            let (kind, difference) = differ(reference, subject, &[b"TYPE", key], Reply::Exact)?;
            if difference.is_some() {
                return Ok(difference);
            }
            let content: (&[&[u8]], Reply) = match kind.text() {
                Some(b"string") => (&[b"GET", key], Reply::Exact),
                Some(b"list") => (&[b"LRANGE", key, b"0", b"-1"], Reply::Exact),
                Some(b"set") => (&[b"SMEMBERS", key], Reply::Unordered),
                Some(b"hash") => (&[b"HGETALL", key], Reply::Pairs),
                Some(b"zset") => (&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], Reply::Exact),
                Some(b"stream") => (&[b"XRANGE", key, b"-", b"+"], Reply::Exact),
                _ => continue,
            };
            let checks: [(&[&[u8]], Reply); 3] = [
                content,
                (&[b"OBJECT", b"ENCODING", key], Reply::Exact),
                (&[b"PTTL", key], Reply::Near(2000)),
            ];
            for (request, how) in checks {
                if let (_, Some(difference)) = differ(reference, subject, request, how)? {
                    return Ok(Some(difference));
                }
            }
            if let Some(difference) = compare_copy(reference, subject, key, content, at)? {
                return Ok(Some(difference));
            }
        }
    }
    Ok(None)
}

/// Compares a value with what becomes of it by the reference's DUMP and the subject's RESTORE.
fn compare_copy(
    reference: &mut Player,
    subject: &mut Player,
    key: &[u8],
    (content, how): (&[&[u8]], Reply),
    at: usize,
) -> io::Result<Option<Difference>> {
    let copy: &[u8] = b"a copy";
    let payload = reference.observer.call(&[b"DUMP", key])?;
    let Some(payload) = payload.text() else { return Ok(None) };
    let request: [&[u8]; 5] = [b"RESTORE", copy, b"0", payload, b"REPLACE"];
    let restored = subject.observer.call(&request).unwrap_or_else(lost);
    let left = reference.observer.call(content)?;
    let mut same = content.to_vec();
    same[1] = copy;
    let right =
        if restored.is_error() { restored } else { subject.observer.call(&same).unwrap_or_else(lost) };
    let request: Vec<Vec<u8>> = content.iter().map(|w| w.to_vec()).collect();
    let agreed = agree(&request, how, &left, &right);
    let request = request.into_iter().chain([b"after RESTORE".to_vec()]).collect();
    Ok((!agreed).then_some(Difference { at, request, reference: left, subject: right }))
}

impl Sequence {
    /// Draws a sequence of commands `allowed` says yes to.
    pub fn draw(seed: u64, allowed: &dyn Fn(&Row) -> bool) -> Sequence {
        let mut rng = Rng::with_seed(seed);
        let mut families: Vec<_> = FAMILIES.iter().collect();
        rng.shuffle(&mut families);
        families.truncate(rng.usize(1..4));
        // Of several keys changed at once 7.0 serves a waiting request from the first changed, 7.2 from the first named.
        let at_once = families.iter().any(|(name, _)| ["transaction", "script"].contains(name));
        let rows: Vec<&'static Row> = families
            .iter()
            .flat_map(|(_, rows)| rows.iter())
            .filter(|r| allowed(r) && !(at_once && r.waits))
            .collect();
        let total: u32 = rows.iter().map(|row| row.weight).sum();
        let mut steps = Vec::new();
        for _ in 0..if total == 0 { 0 } else { rng.usize(20..80) } {
            let mut ticket = rng.u32(..total);
            let row = rows.iter().find(|row| match ticket.checked_sub(row.weight) {
                Some(rest) => {
                    ticket = rest;
                    false
                }
                None => true,
            });
            let row = row.expect("the ticket is below the total of the weights");
            let connection = if row.waits { WAITER } else { usize::from(rng.u32(..6) == 0) };
            steps.push(Step { connection, row, request: row.draw(&mut rng) });
        }
        Sequence { resp: if rng.bool() { 2 } else { 3 }, steps }
    }

    /// Whether SORT is among its commands.
    fn sorts(&self) -> bool {
        let is_sort = |word: &Vec<u8>| word.to_ascii_lowercase().starts_with(b"sort");
        self.steps.iter().any(|step| step.request.iter().any(is_sort))
    }

    /// The sequence as a transcript would have it, up to and with step `at`.
    pub fn text(&self, at: usize) -> String {
        let mut out = format!("RESP{}\n", self.resp);
        for step in self.steps.iter().take(at + 1) {
            let name = CONNECTIONS[step.connection];
            let words: Vec<String> = step.request.iter().map(|w| word(w)).collect();
            writeln!(out, "{name}> {}", words.join(" ")).expect("a String takes everything");
        }
        out
    }
}

/// The shortest sequence found that still shows a difference of the same kind as `found`.
///
/// Delta debugging: leave out halves, then quarters, down to single steps, each time from empty servers.
pub fn shrink(pair: &Pair, sequence: &Sequence, found: Difference) -> io::Result<(Sequence, Difference)> {
    let mut best = sequence.clone();
    best.steps.truncate(found.at + 1);
    let kind = found.kind();
    let mut difference = found;
    let mut chunk = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut removed = false;
        let mut from = 0;
        while from < best.steps.len() {
            let mut shorter = best.clone();
            shorter.steps.drain(from..(from + chunk).min(best.steps.len()));
            match pair.play(&shorter)? {
                Some(d) if d.kind() == kind => {
                    shorter.steps.truncate(d.at + 1);
                    (best, difference, removed) = (shorter, d, true);
                }
                _ => from += chunk,
            }
        }
        match (chunk, removed) {
            (1, false) => return Ok((best, difference)),
            (1, true) => {}
            _ => chunk /= 2,
        }
    }
}
