//! The conversations in `transcripts/*.txt`, held with Shoal and with redis-server 7.0.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shoal_testkit::transcript::{Level, Transcript};
use shoal_testkit::{Server, Value};

use crate::harness;

/// Names the files; each is a test.
macro_rules! transcripts {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                hold(stringify!($name));
            }
        )*
    };
}

transcripts! {
    bitmap
    blocking
    connection
    dump
    expire
    geo
    hash
    hash_expire
    hyperloglog
    keyspace
    list
    memcache_classic
    memcache_meta
    object
    protocol
    pubsub
    script
    server
    set
    sort
    sorted_set
    stream
    string
    transaction
}

fn hold(name: &str) {
    let node = harness::node(&[]);
    let mut transcript = read(name);
    if transcript.is_memcached() {
        return verdict(&transcript.run(&node, Level::Full));
    }
    let mut client = node.connect();
    let mut served = |name: &str| {
        let reply = client.call(&["COMMAND", "INFO", name]).expect("the node answers");
        reply.items().iter().any(|row| !matches!(row, Value::NullArray | Value::NullBulk))
    };
    // Without it there are no empty servers to begin with.
    if !served("flushall") {
        return;
    }
    transcript.retain_served(&mut served);
    verdict(&transcript.run(&node, Level::Full));
}

fn verdict(failures: &[String]) {
    assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures.join("\n"));
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts")
}

fn read(name: &str) -> Transcript {
    let file = format!("{name}.txt");
    let text = fs::read_to_string(directory().join(&file)).expect(&file);
    Transcript::parse(&file, &text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_file_is_a_test() {
    let files: BTreeSet<String> = fs::read_dir(directory())
        .expect("the directory of transcripts")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let names: BTreeSet<String> = NAMES.iter().map(|n| n.to_string()).collect();
    assert_eq!(files, names);
}

/// What the transcripts expect is what the servers do that clients know.
#[test]
fn redis_says_the_same() {
    said_by(Server::redis(&["--maxmemory-policy", "noeviction"]), Level::Redis70, false);
}

#[test]
fn memcached_says_the_same() {
    said_by(Server::memcached(&["-t", "1", "-o", "no_lru_maintainer,no_lru_crawler"]), Level::Redis70, true);
}

fn said_by(server: io::Result<Server>, level: Level, memcached: bool) {
    match server {
        Ok(server) => {
            let transcripts = NAMES.iter().map(|name| read(name)).filter(|t| t.is_memcached() == memcached);
            verdict(&transcripts.flat_map(|t| t.run(&server, level)).collect::<Vec<_>>());
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => eprintln!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    }
}
