//! Shoal and redis-server, Shoal and memcached: the same requests, the same replies.
//!
//! Idea: sequences of commands are drawn from a table ([`commands`]) and sent to both servers; the first
//! reply that differs and is not known to ([`judge`]) is reported with the seed and the shortest sequence
//! that still shows it. Environment, for longer or narrower runs by hand:
//!
//! - `SHOAL_DIFF_SECONDS`: how long each test plays (10);
//! - `SHOAL_DIFF_SEED`: where the seeds begin (1), to play a reported sequence again;
//! - `SHOAL_DIFF_ONLY`, `SHOAL_DIFF_EXCEPT`: commands, separated by commas, in and out.

mod commands;
mod grammar;
mod judge;
mod memcached;
mod memcached_binary;
mod metadata;
mod play;

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use shoal_testkit::Server;

use crate::grammar::Row;
use crate::play::{Pair, Sequence, shrink};

/// Different mistakes after which a run stops looking for more.
const ENOUGH: usize = 25;

#[test]
fn shoal_answers_as_redis_does() {
    let Some(reference) = installed(Server::redis(&[])) else { return };
    compare(&Pair { reference, subject: shoal() }, seconds());
}

#[test]
fn shoal_answers_as_memcached_does() {
    let Some(reference) = installed(Server::memcached(CALM)) else { return };
    compare_memcached(&reference, &shoal(), seconds());
}

#[test]
fn shoal_answers_as_memcached_does_in_its_binary_protocol() {
    let Some(reference) = installed(Server::memcached(CALM)) else { return };
    compare_memcached_binary(&reference, &shoal(), seconds() / 2);
}

#[test]
fn shoal_describes_its_commands_as_redis_does() {
    let Some(reference) = installed(Server::redis(&[])) else { return };
    let differences = metadata::compare(&reference, &shoal()).expect("both servers answer");
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

fn shoal() -> Server {
    Server::shoal(Path::new(env!("CARGO_BIN_EXE_shoal")), &["--workers", "2"]).expect("shoal starts")
}

/// What is left to chance must not look like a mistake.
#[test]
fn redis_agrees_with_itself() {
    let Some(reference) = installed(Server::redis(&[])) else { return };
    let subject = Server::redis(&[]).expect("it was just started once");
    compare(&Pair { reference, subject }, seconds() / 4);
}

#[test]
fn memcached_agrees_with_itself() {
    let Some(reference) = installed(Server::memcached(CALM)) else { return };
    let subject = Server::memcached(CALM).expect("it was just started once");
    compare_memcached(&reference, &subject, seconds() / 4);
}

/// memcached without the threads that hold on to items now and then: a counter held cannot be changed in
/// place, and its answer then has another length.
const CALM: &[&str] = &["-t", "1", "-o", "no_lru_maintainer,no_lru_crawler"];

/// How long to play.
fn seconds() -> Duration {
    Duration::from_secs(env::var("SHOAL_DIFF_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(10))
}

/// The server, or nothing where it is not installed.
fn installed(server: io::Result<Server>) -> Option<Server> {
    match server {
        Ok(server) => Some(server),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

fn compare(pair: &Pair, time: Duration) {
    let untuned = pair.tune().expect("both servers answer");
    let common = pair.commands().expect("both servers answer");
    let named = |variable: &str| -> Vec<String> {
        let names = env::var(variable).unwrap_or_default().to_lowercase();
        names.split(',').filter(|n| !n.is_empty()).map(String::from).collect()
    };
    let (only, except) = (named("SHOAL_DIFF_ONLY"), named("SHOAL_DIFF_EXCEPT"));
    let allowed = |row: &Row| {
        let name = row.command().to_lowercase();
        let unknown_on_purpose = name.starts_with("nosuch");
        let chosen = only.is_empty() || only.contains(&name);
        chosen && !except.contains(&name) && (common.contains(&name) || unknown_on_purpose)
    };
    let first = first_seed();

    let deadline = Instant::now() + time;
    let mut mistakes = Mistakes::new();
    let (mut seed, mut steps) = (first, 0);
    while mistakes.len() < ENOUGH && (seed == first || Instant::now() < deadline) {
        let sequence = Sequence::draw(seed, &allowed);
        steps += sequence.steps.len();
        if let Some(found) = pair.play(&sequence).expect("the reference answers") {
            if let Some((seen, _)) = mistakes.get_mut(&found.kind()) {
                *seen += 1;
            } else {
                let (shortest, found) = shrink(pair, &sequence, found).expect("the reference answers");
                let shown: Vec<String> =
                    found.request.iter().map(|w| shoal_testkit::notation::word(w)).collect();
                let text = format!(
                    "SHOAL_DIFF_SEED={seed}\n{}  to: {}\n  reference: {}\n  subject:   {}\n",
                    shortest.text(found.at),
                    shown.join(" "),
                    found.reference,
                    found.subject
                );
                mistakes.insert(found.kind(), (1, text));
            }
        }
        seed += 1;
    }
    println!("{} sequences, {steps} requests; limits not set: {untuned:?}", seed - first);
    verdict(&mistakes);
}

fn compare_memcached(reference: &Server, subject: &Server, time: Duration) {
    let deadline = Instant::now() + time;
    let first = first_seed();
    let mut mistakes = Mistakes::new();
    let (mut seed, mut steps) = (first, 0);
    while mistakes.len() < ENOUGH && (seed == first || Instant::now() < deadline) {
        let sequence = memcached::Sequence::draw(seed);
        steps += sequence.len();
        if let Some(found) = sequence.play(reference, subject).expect("the reference answers") {
            let kind = sequence.kind(&found);
            if let Some((seen, _)) = mistakes.get_mut(&kind) {
                *seen += 1;
            } else {
                let shortest = sequence.shrink(found, reference, subject).expect("the reference answers");
                let text = format!("SHOAL_DIFF_SEED={seed}\n{}", shortest.0.report(&shortest.1));
                mistakes.insert(kind, (1, text));
            }
        }
        seed += 1;
    }
    println!("{} sequences, {steps} requests", seed - first);
    verdict(&mistakes);
}

fn compare_memcached_binary(reference: &Server, subject: &Server, time: Duration) {
    let deadline = Instant::now() + time;
    let first = first_seed();
    let mut mistakes = Mistakes::new();
    let (mut seed, mut steps) = (first, 0);
    while mistakes.len() < ENOUGH && (seed == first || Instant::now() < deadline) {
        let sequence = memcached_binary::Sequence::draw(seed);
        steps += sequence.len();
        if let Some(found) = sequence.play(reference, subject).expect("the reference answers") {
            let kind = sequence.kind(&found);
            if let Some((seen, _)) = mistakes.get_mut(&kind) {
                *seen += 1;
            } else {
                let shortest = sequence.shrink(found, reference, subject).expect("the reference answers");
                let text = format!("SHOAL_DIFF_SEED={seed}\n{}", shortest.0.report(&shortest.1));
                mistakes.insert(kind, (1, text));
            }
        }
        seed += 1;
    }
    println!("{} sequences, {steps} requests", seed - first);
    verdict(&mistakes);
}

/// Where the seeds begin.
fn first_seed() -> u64 {
    env::var("SHOAL_DIFF_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

/// By kind: how often seen, and a report of the first.
type Mistakes = BTreeMap<String, (u64, String)>;

fn verdict(mistakes: &Mistakes) {
    let report: Vec<String> = mistakes
        .iter()
        .map(|(kind, (seen, text))| format!("--- {kind} (seen {seen} times)\n{text}"))
        .collect();
    assert!(mistakes.is_empty(), "{} different mistakes\n{}", mistakes.len(), report.join("\n"));
}
