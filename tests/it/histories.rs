//! Histories of lists, counters, queues and sets, as many clients see them while nodes are killed, lose their disks, pause, say goodbye
//! and are emptied, one after the other and again and again.
//!
//! Clients of any node append to lists and read them, count, push to queues and wait at them, and take from sets, some of it in scripts
//! over several nodes. What each heard is put beside what is there in the end: what was acknowledged happened once, what was refused did
//! not, what is unknown at most once; every read of a list is a beginning of it that has all that was acknowledged before.
//!
//! The faults follow from a seed, of which `SHOAL_HISTORY_SEED` names another one; how they meet what clients do does not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shoal_testkit::resp::Client;
use shoal_testkit::server::Place;
use shoal_testkit::{Server, Value};

use crate::cluster::signal;
use crate::harness;

const NODES: usize = 3;
const FAULTS: usize = 6;
const WORKERS: usize = 6;
const CONSUMERS: usize = 3;
/// Keys of each kind.
const KEYS: usize = 4;
/// How long a reply may take: more than a node holds a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the cluster may take to have all its copies again.
const HEALS: Duration = Duration::from_secs(60);

/// A node that can be started again.
struct Node {
    place: Place,
    server: Option<Server>,
    /// What its processes have logged that are gone.
    log: String,
}

impl Node {
    fn new(base: &std::path::Path, number: usize) -> Node {
        let place = Place::new(base.join(number.to_string())).expect("free ports");
        Node { place, server: None, log: String::new() }
    }

    fn start(&mut self, seed: Option<SocketAddr>) {
        std::fs::create_dir_all(&self.place.dir).expect("a directory");
        let until = Instant::now() + HEALS;
        loop {
            let mut command = harness::command();
            command.args(["--workers", "2"]);
            self.place.tell(&mut command);
            if let Some(seed) = seed {
                command.args(["--join", &seed.to_string()]);
            }
            match Server::other(command, Some(self.place.addr), None) {
                Ok(server) => return self.server = Some(server),
                // Somebody else's connection may have its port for a while.
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn end(&mut self, how: &str) {
        let Some(mut server) = self.server.take() else { return };
        signal(&server, how);
        server.wait(PATIENCE).expect("it ends");
        self.log += &std::fs::read_to_string(server.dir().join("log")).unwrap_or_default();
    }

    fn ask(&self, line: &str) -> std::io::Result<Value> {
        Client::connect(self.place.addr)?.line(line)
    }

    fn all_logged(&self) -> String {
        let last = self.server.iter().map(|server| std::fs::read_to_string(server.dir().join("log")));
        let last: String = last.map(Result::unwrap_or_default).collect();
        format!("\n--- {}\n{}{last}", self.place.addr, self.log)
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Done,
    Refused,
    Unknown,
}

/// An element that was put somewhere.
struct Put {
    key: String,
    element: String,
    asked: Instant,
    answered: Instant,
    outcome: Outcome,
}

/// An element that was asked for.
struct Taken {
    element: Option<String>,
    outcome: Outcome,
}

struct Read {
    key: String,
    asked: Instant,
    elements: Vec<String>,
}

#[derive(Default)]
struct History {
    appended: Vec<Put>,
    read: Vec<Read>,
    /// Counters: what INCR answered, if that was heard.
    counted: Vec<(String, Outcome, Option<i64>)>,
    pushed: Vec<Put>,
    popped: Vec<Taken>,
    added: Vec<Put>,
    drawn: Vec<Taken>,
    /// Errors that say that nothing was done, and are no fault of a node that goes.
    wrong: Vec<String>,
}

fn text(value: &Value) -> Option<String> {
    value.text().map(|text| String::from_utf8_lossy(text).into_owned())
}

fn texts(value: &Value) -> Vec<String> {
    value.items().iter().filter_map(text).collect()
}

/// A client that goes on at another node when it loses its connection.
struct Caller {
    rng: fastrand::Rng,
    nodes: Vec<SocketAddr>,
    client: Option<Client>,
    history: Arc<Mutex<History>>,
}

impl Caller {
    fn call(&mut self, request: &[&str]) -> (Outcome, Value) {
        let nothing = Value::NullBulk;
        if self.client.is_none() || self.rng.u32(..500) == 0 {
            self.client = Client::connect(self.nodes[self.rng.usize(..self.nodes.len())]).ok();
        }
        let Some(client) = &mut self.client else {
            std::thread::sleep(Duration::from_millis(10));
            return (Outcome::Refused, nothing);
        };
        let reply = client.send(request).and_then(|()| client.recv_within(PATIENCE));
        let reply = match reply {
            Ok(Some(reply)) => reply,
            Ok(None) | Err(_) => {
                self.client = None;
                return (Outcome::Unknown, nothing);
            }
        };
        if !reply.is_error() {
            return (Outcome::Done, reply);
        }
        let said = reply.to_string();
        if said.starts_with("-UNKNOWN ") {
            return (Outcome::Unknown, nothing);
        }
        self.note(|history| history.wrong.push(format!("{request:?}: {said}")));
        (Outcome::Refused, nothing)
    }

    fn note(&self, what: impl FnOnce(&mut History)) {
        what(&mut self.history.lock().expect("nobody panics"));
    }

    fn key(&mut self, kind: &str) -> String {
        format!("{kind}{}", self.rng.usize(..KEYS))
    }

    /// Puts an element somewhere.
    fn put(&mut self, key: String, element: &str, request: &[&str]) -> Put {
        let asked = Instant::now();
        let (outcome, _) = self.call(request);
        Put { key, element: element.to_owned(), asked, answered: Instant::now(), outcome }
    }

    fn work(mut self, number: usize, stop: &AtomicBool) {
        for turn in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.act(&format!("{number}:{turn}"));
            std::thread::sleep(Duration::from_micros(self.rng.u64(..4000)));
        }
    }

    fn act(&mut self, element: &str) {
        match self.rng.u32(..100) {
            0..20 => {
                let key = self.key("list");
                let put = self.put(key.clone(), element, &["RPUSH", &key, element]);
                self.note(|history| history.appended.push(put));
            }
            20..35 => {
                // Mostly on two nodes.
                let (key, counter) = (self.key("list"), self.key("count"));
                let script = "redis.call('incr', KEYS[2]) return redis.call('rpush', KEYS[1], ARGV[1])";
                let put = self.put(key.clone(), element, &["EVAL", script, "2", &key, &counter, element]);
                self.note(|history| {
                    history.counted.push((counter, put.outcome, None));
                    history.appended.push(put);
                });
            }
            35..55 => {
                let (key, asked) = (self.key("list"), Instant::now());
                if let (Outcome::Done, reply) = self.call(&["LRANGE", &key, "0", "-1"]) {
                    let read = Read { key, asked, elements: texts(&reply) };
                    self.note(|history| history.read.push(read));
                }
            }
            55..70 => {
                let key = self.key("count");
                let (outcome, reply) = self.call(&["INCR", &key]);
                self.note(|history| history.counted.push((key, outcome, reply.int())));
            }
            70..85 => {
                let (key, how) = (self.key("queue"), if self.rng.bool() { "RPUSH" } else { "LPUSH" });
                let put = self.put(key.clone(), element, &[how, &key, element]);
                self.note(|history| history.pushed.push(put));
            }
            85..95 => {
                let key = self.key("set");
                let put = self.put(key.clone(), element, &["SADD", &key, element]);
                self.note(|history| history.added.push(put));
            }
            _ => {
                let key = self.key("set");
                let (outcome, reply) = self.call(&["SPOP", &key]);
                let element = text(&reply);
                self.note(|history| history.drawn.push(Taken { element, outcome }));
            }
        }
    }

    /// Waits at queues, of one node or of several.
    fn consume(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let first = self.rng.usize(..KEYS);
            let queues: Vec<String> =
                (0..=self.rng.usize(..KEYS)).map(|at| format!("queue{}", (first + at) % KEYS)).collect();
            let mut request = vec![if self.rng.bool() { "BLPOP" } else { "BRPOP" }];
            request.extend(queues.iter().map(String::as_str));
            request.push("0.4");
            let (outcome, reply) = self.call(&request);
            let element = texts(&reply).pop();
            self.note(|history| history.popped.push(Taken { element, outcome }));
        }
    }
}

/// Asks for something until it is agreed on.
fn have(node: &Node, line: &str) {
    let until = Instant::now() + HEALS;
    loop {
        match node.ask(line).map(|reply| reply.to_string()).as_deref() {
            Ok("+OK") => return,
            other => assert!(Instant::now() < until, "{line}: {other:?}"),
        }
    }
}

/// One fault, and what undoes it.
fn fault(rng: &mut fastrand::Rng, nodes: &mut [Node]) -> String {
    let victim = rng.usize(..nodes.len());
    let other = (victim + rng.usize(1..nodes.len())) % nodes.len();
    let seed = nodes[other].place.addr;
    let kind = ["kill", "kill", "wipe", "stop", "goodbye", "move", "drain"][rng.usize(..7)];
    match kind {
        "kill" | "wipe" | "goodbye" => {
            nodes[victim].end(if kind == "goodbye" { "TERM" } else { "KILL" });
            std::thread::sleep(Duration::from_millis(rng.u64(50..2000)));
            if kind == "wipe" {
                std::fs::remove_dir_all(&nodes[victim].place.dir).expect("it was there");
            }
            nodes[victim].start(Some(seed));
        }
        "stop" => {
            let server = nodes[victim].server.as_ref().expect("it runs");
            signal(server, "STOP");
            std::thread::sleep(Duration::from_millis(rng.u64(100..3000)));
            signal(server, "CONT");
        }
        "move" => {
            let me = nodes[victim].ask("CLUSTER MYID").ok().and_then(|id| text(&id)).expect("a name");
            let first = rng.u32(..128) * 64;
            // It may be refused while things move; then nothing moves.
            let _ = nodes[other].ask(&format!("CLUSTER MOVE {first}-{} {me}", first + 64 * 100 - 1));
        }
        _ => {
            let me = nodes[victim].ask("CLUSTER MYID").ok().and_then(|id| text(&id)).expect("a name");
            have(&nodes[other], &format!("CLUSTER DRAIN {me}"));
            std::thread::sleep(Duration::from_millis(rng.u64(500..2000)));
            have(&nodes[other], &format!("CLUSTER DRAIN {me} CANCEL"));
            have(&nodes[other], "CLUSTER REBALANCE");
        }
    }
    format!("{kind} {victim}")
}

/// Waits until every node knows that every partition has its copies and somebody who serves it.
fn await_whole(nodes: &[Node], faults: &[String]) {
    let until = Instant::now() + HEALS;
    let is_whole = |node: &Node| {
        let status = node.ask("CLUSTER STATUS").map(|status| status.to_string()).unwrap_or_default();
        let is_so = status.contains("(2 possible now); 0 with fewer, 0 moving")
            && status.contains(" 0 that nobody serves");
        is_so.then_some(()).ok_or(status)
    };
    loop {
        match nodes.iter().find_map(|node| is_whole(node).err()) {
            None => return,
            Some(status) => {
                let logs = || nodes.iter().map(Node::all_logged).collect::<String>();
                assert!(Instant::now() < until, "{faults:?}: copies are missing:\n{status}{}", logs());
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What is wrong with a history, beside what is there in the end.
fn judge(history: &History, end: &mut dyn FnMut(&[&str]) -> Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for number in 0..KEYS {
        judge_list(history, &format!("list{number}"), end, &mut wrong);
        judge_counter(history, &format!("count{number}"), end, &mut wrong);
    }
    let mut left: BTreeMap<&str, Vec<String>> = BTreeMap::from([("queue", Vec::new()), ("set", Vec::new())]);
    for number in 0..KEYS {
        left.entry("queue").or_default().extend(texts(&end(&[
            "LRANGE",
            &format!("queue{number}"),
            "0",
            "-1",
        ])));
        left.entry("set").or_default().extend(texts(&end(&["SMEMBERS", &format!("set{number}")])));
    }
    judge_taken("queues", &history.pushed, &history.popped, &left["queue"], &mut wrong);
    judge_taken("sets", &history.added, &history.drawn, &left["set"], &mut wrong);
    wrong
}

fn judge_list(history: &History, key: &str, end: &mut dyn FnMut(&[&str]) -> Value, wrong: &mut Vec<String>) {
    let all = texts(&end(&["LRANGE", key, "0", "-1"]));
    let places: HashMap<&str, usize> = all.iter().enumerate().map(|(at, element)| (&**element, at)).collect();
    if places.len() != all.len() {
        wrong.push(format!("{key}: something was appended twice"));
    }
    let mut acknowledged: Vec<(Instant, usize)> = Vec::new();
    for put in history.appended.iter().filter(|put| put.key == key) {
        match (put.outcome, places.get(&*put.element)) {
            (Outcome::Done, None) => wrong.push(format!("{key}: {} is lost", put.element)),
            (Outcome::Refused, Some(_)) => {
                wrong.push(format!("{key}: {} was refused and is there", put.element))
            }
            (Outcome::Done, Some(at)) => acknowledged.push((put.answered, *at)),
            _ => {}
        }
    }
    acknowledged.sort_unstable();
    // Of each moment: the last place that was acknowledged before it.
    let mut last = 0;
    let reached: Vec<(Instant, usize)> = acknowledged
        .into_iter()
        .map(|(at, place)| {
            last = last.max(place + 1);
            (at, last)
        })
        .collect();
    let known_before = |moment: Instant| {
        let before = reached.partition_point(|(at, _)| *at < moment);
        before.checked_sub(1).map_or(0, |at| reached[at].1)
    };
    for read in history.read.iter().filter(|read| read.key == key) {
        if !all.starts_with(&read.elements) {
            wrong.push(format!(
                "{key}: {} elements were read that are no beginning of it",
                read.elements.len()
            ));
        } else if read.elements.len() < known_before(read.asked) {
            wrong.push(format!("{key}: {} elements were read, more were acknowledged", read.elements.len()));
        }
    }
    for put in history.appended.iter().filter(|put| put.key == key && put.outcome == Outcome::Done) {
        if places.get(&*put.element).is_some_and(|at| *at < known_before(put.asked)) {
            wrong.push(format!("{key}: {} stands before what was acknowledged earlier", put.element));
        }
    }
}

fn judge_counter(
    history: &History,
    key: &str,
    end: &mut dyn FnMut(&[&str]) -> Value,
    wrong: &mut Vec<String>,
) {
    let count: i64 = text(&end(&["GET", key])).map_or(0, |count| count.parse().expect("a number"));
    let of = |wanted: Outcome| {
        history.counted.iter().filter(move |(other, outcome, _)| other == key && *outcome == wanted)
    };
    let (done, unknown) = (of(Outcome::Done).count() as i64, of(Outcome::Unknown).count() as i64);
    if !(done..=done + unknown).contains(&count) {
        wrong.push(format!("{key} is {count}: {done} were acknowledged, {unknown} are unknown"));
    }
    let mut seen = HashSet::new();
    if !of(Outcome::Done).filter_map(|(_, _, answer)| *answer).all(|answer| seen.insert(answer)) {
        wrong.push(format!("{key}: INCR has answered the same twice"));
    }
}

fn judge_taken(what: &str, put: &[Put], taken: &[Taken], left: &[String], wrong: &mut Vec<String>) {
    let mut times: HashMap<&str, usize> = HashMap::new();
    let found = taken.iter().filter_map(|taken| taken.element.as_deref());
    found.chain(left.iter().map(String::as_str)).for_each(|element| *times.entry(element).or_default() += 1);
    for (element, times) in times.iter().filter(|(_, times)| **times > 1) {
        wrong.push(format!("{what}: {element} was there {times} times"));
    }
    let is_there = |put: &&Put| times.contains_key(&*put.element);
    for put in put.iter().filter(|put| put.outcome == Outcome::Refused).filter(is_there) {
        wrong.push(format!("{what}: {} was refused and is there", put.element));
    }
    // Who asked and heard nothing may have got one.
    let unknown = taken.iter().filter(|taken| taken.outcome == Outcome::Unknown).count();
    let lost = put.iter().filter(|put| put.outcome == Outcome::Done).filter(|put| !is_there(put)).count();
    if lost > unknown {
        wrong.push(format!("{what}: {lost} elements are lost, {unknown} may have been taken unheard"));
    }
}

#[test]
fn what_clients_heard_is_what_happened_whatever_befalls_the_nodes() {
    let seed = std::env::var("SHOAL_HISTORY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = fastrand::Rng::with_seed(seed);
    let base = std::env::temp_dir().join(format!("shoal-histories-{}-{seed}", std::process::id()));
    let mut nodes: Vec<Node> = (0..NODES).map(|number| Node::new(&base, number)).collect();
    nodes[0].start(None);
    let first = nodes[0].place.addr;
    nodes[1..].iter_mut().for_each(|node| node.start(Some(first)));
    await_whole(&nodes, &[]);

    let (stop, history) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(History::default())));
    let addrs: Vec<SocketAddr> = nodes.iter().map(|node| node.place.addr).collect();
    let threads: Vec<_> = (0..WORKERS + CONSUMERS)
        .map(|number| {
            let rng = fastrand::Rng::with_seed(seed << 8 | number as u64);
            let (nodes, history) = (addrs.clone(), Arc::clone(&history));
            let caller = Caller { rng, nodes, client: None, history };
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                if number < WORKERS { caller.work(number, &stop) } else { caller.consume(&stop) }
            })
        })
        .collect();
    let mut faults = Vec::new();
    for _ in 0..FAULTS {
        std::thread::sleep(Duration::from_millis(rng.u64(300..1000)));
        faults.push(fault(&mut rng, &mut nodes));
        await_whole(&nodes, &faults);
    }
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));

    let history = history.lock().expect("nobody panics");
    let mut client = Client::connect(nodes[0].place.addr).expect("it runs");
    let mut wrong = judge(&history, &mut |request| client.call(request).expect("a reply"));
    wrong.extend(history.wrong.iter().cloned());
    println!("{faults:?}: {} appended, {} popped", history.appended.len(), history.popped.len());
    let logs = || nodes.iter().map(Node::all_logged).collect::<String>();
    assert!(
        wrong.is_empty(),
        "seed {seed}, {faults:?}: {} faults: {:#?}{}",
        wrong.len(),
        &wrong[..wrong.len().min(20)],
        logs()
    );
    assert!(history.popped.iter().any(|taken| taken.element.is_some()) && !history.read.is_empty());
    drop(nodes);
    let _ = std::fs::remove_dir_all(base);
}
