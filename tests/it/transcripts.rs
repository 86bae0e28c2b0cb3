//! The conversations in `transcripts/*.txt`, held with Shoal and with redis-server 7.0.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shoal_testkit::transcript::{Level, Transcript};
use shoal_testkit::{Server, Value};

use crate::cluster::Cluster;
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
    acl
    admin
    bitmap
    blocking
    cluster
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
    newer
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
    let transcript = read(name);
    verdict(&transcript.run(&node, Level::Full));
}

/// Commands that no transcript can hold, and where they are run instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("monitor", "tests/clients/tools/redis.sh"),
    ("pfselftest", "commands.rs"),
    ("shutdown", "lifecycle.rs"),
];

/// Every row of the command table is run by a transcript, or by the test named in [`ELSEWHERE`].
#[test]
fn every_command_is_run() {
    let node = harness::node(&[]);
    let mut client = node.connect();
    let mut run = BTreeSet::new();
    for transcript in NAMES.iter().map(|name| read(name)).filter(|t| !t.is_memcached()) {
        // What fails here fails in the file's own test.
        transcript.run(&node, Level::Full);
        // After each: CONFIG RESETSTAT is among what is run.
        let stats = client.line("INFO commandstats").expect("the node answers");
        let stats = String::from_utf8_lossy(stats.text().unwrap_or_default()).into_owned();
        let ran = |line: &str| Some(line.strip_prefix("cmdstat_")?.split_once(':')?.0.to_string());
        run.extend(stats.lines().filter_map(ran));
    }
    let list = client.line("COMMAND LIST").expect("the node answers");
    let names = list.items().iter().filter_map(Value::text).map(|n| String::from_utf8_lossy(n).into_owned());
    let elsewhere = |name: &str| ELSEWHERE.iter().any(|(command, _)| *command == name);
    // A container is run through its subcommands.
    let container = |name: &str| run.iter().any(|r| r.strip_prefix(name).is_some_and(|s| s.starts_with('|')));
    let left: Vec<String> = names.filter(|n| !run.contains(n) && !elsewhere(n) && !container(n)).collect();
    assert!(left.is_empty(), "no transcript runs {left:?}");
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

/// A client of any node of a cluster sees what it would see on one node.
#[test]
fn a_cluster_says_the_same() {
    let cluster = Cluster::start(3);
    let failures: Vec<String> =
        NAMES.iter().flat_map(|name| read(name).run_in_cluster(&cluster.nodes)).collect();
    verdict(&failures);
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
