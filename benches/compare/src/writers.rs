//! Clients that go on while something happens: each at a steady rate, noting what it was told and how long that took.
//!
//! Each has keys of its own and counts up what it writes, so that afterwards it is known whether anything acknowledged is lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use shoal_testkit::Value;
use shoal_testkit::resp::Client;

use crate::Failure;
use crate::workload::name;

/// Clients, and the time between two calls of one: 4,000 calls a second together.
pub const WRITERS: usize = 8;
const EVERY: Duration = Duration::from_millis(2);

/// What one client is to do.
#[derive(Clone)]
pub struct Orders {
    /// The nodes it may speak to: the first, and when that fails the next.
    pub addrs: Vec<SocketAddr>,
    /// The keys it writes, which nobody else does.
    pub keys: Vec<u64>,
    /// Bytes of a value.
    pub value: usize,
    /// Of how many calls one is a write; the others read.
    pub write_one_in: u64,
}

/// A client at work.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

/// What a client noted.
pub struct Written {
    /// When it began, and when it ended.
    began: Instant,
    ended: Instant,
    /// When each call was answered as it should be, and how long that took.
    pub answered: Vec<(Instant, Duration)>,
    /// When which calls failed, and how.
    pub failed: Vec<(Instant, String)>,
    /// The last number acknowledged of each key.
    acknowledged: HashMap<u64, u64>,
}

impl Writer {
    /// Begins.
    pub fn start(orders: Orders) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Writer { stop, thread: std::thread::spawn(move || write(orders, &stopped)) }
    }

    /// Ends it.
    pub fn stop(self) -> Result<Written, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a writer panicked".into())
    }
}

fn write(mut orders: Orders, stopped: &AtomicBool) -> Written {
    let began = Instant::now();
    let mut written = Written {
        began,
        ended: began,
        answered: Vec::new(),
        failed: Vec::new(),
        acknowledged: HashMap::new(),
    };
    let (mut rng, mut client, mut next) = (Rng::new(), None, began);
    let width = orders.value;
    for turn in 1u64.. {
        sleep(next.saturating_duration_since(Instant::now()));
        // Calls that could not be made in time are not made up for.
        next = next.max(Instant::now() - EVERY) + EVERY;
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let key = orders.keys[rng.usize(..orders.keys.len())];
        let is_write = turn.is_multiple_of(orders.write_one_in);
        let sent = Instant::now();
        let reply = match &mut client {
            Some(client) => call(client, key, is_write.then(|| format!("{turn:0>width$}"))),
            None => Client::connect(orders.addrs[0])
                .and_then(|new| call(client.insert(new), key, is_write.then(|| format!("{turn:0>width$}")))),
        };
        let answered = Instant::now();
        match reply {
            Ok(value) if !value.is_error() => {
                written.answered.push((answered, answered - sent));
                if is_write {
                    written.acknowledged.insert(key, turn);
                }
            }
            Ok(error) => written.failed.push((answered, error.to_string())),
            Err(error) => {
                written.failed.push((answered, error.to_string()));
                client = None;
                orders.addrs.rotate_left(1);
            }
        }
    }
    written.ended = Instant::now();
    written
}

fn call(client: &mut Client, key: u64, value: Option<String>) -> std::io::Result<Value> {
    match value {
        Some(value) => client.call(&[b"SET".as_slice(), &name(key), value.as_bytes()]),
        None => client.call(&[b"GET".as_slice(), &name(key)]),
    }
}

impl Written {
    /// The longest time without an answer after `from`.
    pub fn silence(&self, from: Instant) -> Duration {
        let mut last = from.max(self.began);
        let mut longest = Duration::ZERO;
        for &(at, _) in self.answered.iter().filter(|(at, _)| *at > from) {
            longest = longest.max(at - last);
            last = at;
        }
        longest.max(self.ended.saturating_duration_since(last)).saturating_sub(EVERY)
    }

    /// How many keys hold less than was acknowledged.
    pub fn lost(&self, addr: SocketAddr) -> Result<usize, Failure> {
        let mut client = Client::connect(addr)?;
        let mut lost = 0;
        for (key, acknowledged) in &self.acknowledged {
            let reply = client.call(&[b"GET".as_slice(), &name(*key)])?;
            let found = reply.text().and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
            lost += usize::from(found.unwrap_or(0) < *acknowledged);
        }
        Ok(lost)
    }
}
