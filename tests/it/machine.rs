//! Machines that misbehave: clocks that are set while nodes run, and disks that are slow to keep what they are given.
//!
//! Nodes run with a library before the system's own that does so. It is made by `cc`; without that the tests say so and do nothing.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use shoal_testkit::Server;
use shoal_testkit::resp::Client;
use shoal_testkit::server::Place;

use crate::cluster::{Cluster, Writer, Written, assert_nothing_lost, signal, slots};
use crate::harness;

/// How long anything may take that is to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a node's calls of the system go through. The two numbers lie in a file, which the test writes.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct whims { volatile long clock_s, sync_ms; };
static struct whims none, *whims = &none;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("MACHINE"), O_RDONLY);
    void *at = mmap(0, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) whims = at;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += whims->clock_s;
    return failed;
}

static void wait_long(void) { usleep(whims->sync_ms * 1000); }
int fsync(int file) { wait_long(); return syscall(SYS_fsync, file); }
int fdatasync(int file) { wait_long(); return syscall(SYS_fdatasync, file); }
"#;

/// The library, made once; nothing without a compiler.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{}", std::process::id()));
        let (source, library) = (place.with_extension("c"), place.with_extension("so"));
        std::fs::write(&source, SOURCE).ok()?;
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
        let _ = std::fs::remove_file(source);
        made.ok()?.success().then_some(library)
    };
    LIBRARY.get_or_init(make).as_deref()
}

/// A machine with one node.
struct Machine {
    whims: std::fs::File,
}

impl Machine {
    /// One whose node belongs to the cluster of `seed`, or founds one.
    fn start(library: &Path, seed: Option<&Server>) -> (Machine, Server) {
        let place = Place::new(PathBuf::from(".")).expect("free ports");
        let name = std::env::temp_dir().join(format!("shoal-whims-{}", place.addr.port()));
        std::fs::write(&name, [0; 16]).expect("a file is made");
        let mut command = harness::command();
        command.args(["--workers", "2"]).env("LD_PRELOAD", library).env("MACHINE", &name);
        if let Some(seed) = seed {
            command.args(["--join", &seed.resp_addr().to_string()]);
        }
        place.tell(&mut command);
        let node = Server::other(command, Some(place.addr), None).expect("a node starts");
        let whims = std::fs::OpenOptions::new().write(true).open(&name).expect("it is there");
        let _ = std::fs::remove_file(&name);
        (Machine { whims }, node)
    }

    /// Sets its clock, so many seconds from what it is.
    fn set_clock(&self, seconds: i64) {
        self.whims.write_all_at(&seconds.to_ne_bytes(), 0).expect("it is written");
    }

    /// Lets its disk take so long over each write that is to last.
    fn slow_down(&self, ms: i64) {
        self.whims.write_all_at(&ms.to_ne_bytes(), 8).expect("it is written");
    }
}

/// A cluster of three machines that has settled; nothing without a compiler.
fn three() -> Option<(Vec<Machine>, Cluster)> {
    let Some(library) = library() else {
        eprintln!("not tested: there is no `cc`");
        return None;
    };
    let (first, founder) = Machine::start(library, None);
    let (second, other) = Machine::start(library, Some(&founder));
    let (third, another) = Machine::start(library, Some(&founder));
    let cluster = Cluster { nodes: vec![founder, other, another] };
    cluster.settle(3);
    Some((vec![first, second, third], cluster))
}

/// A writer at each node.
fn write_through_all(cluster: &Cluster, name: &str) -> Vec<Writer> {
    let start = |(at, node): (usize, &Server)| Writer::start(format!("{name}{at}"), node.resp_addr(), 100);
    cluster.nodes.iter().enumerate().map(start).collect()
}

fn int(client: &mut Client, line: &str) -> i64 {
    let reply = client.line(line).expect("a reply");
    reply.int().unwrap_or_else(|| panic!("{line}: {reply}"))
}

/// Whether `node` serves `key`.
fn serves(node: &Server, key: &str) -> bool {
    let mut client = node.connect();
    let slot = int(&mut client, &format!("CLUSTER KEYSLOT {key}"));
    let id = client.line("CLUSTER MYID").expect("a reply");
    let all = slots(node).expect("a map");
    let (holders, _) = all.iter().rev().find(|(_, first)| *first <= slot).expect("every slot is held");
    holders.first().map(String::as_bytes) == id.text()
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not soon: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clocks_that_are_set_touch_no_lease_and_end_keys_as_they_say() {
    let Some((machines, cluster)) = three() else { return };
    let mut client = cluster.nodes[0].connect();
    for i in 0..90 {
        assert_eq!(client.line(&format!("SET t{i} v EX 600")).expect("a reply").to_string(), "+OK");
    }
    let at = |node: usize| (0..90).filter(|i| serves(&cluster.nodes[node], &format!("t{i}"))).collect();
    let (ahead, behind): (Vec<usize>, Vec<usize>) = (at(1), at(2));
    assert!(!ahead.is_empty() && !behind.is_empty() && ahead.len() + behind.len() < 90);
    let writers = write_through_all(&cluster, "c");
    machines[1].set_clock(3600);
    machines[2].set_clock(-3600);
    // Those of the node that is ahead end at once, also at the others; those of the node that is behind live an hour longer.
    for node in &cluster.nodes {
        let mut client = node.connect();
        for i in 0..90 {
            await_that("a key that is past its time is gone", || {
                let left = int(&mut client, &format!("TTL t{i}"));
                match () {
                    () if ahead.contains(&i) => left == -2,
                    () if behind.contains(&i) => (4100..=4200).contains(&left),
                    () => (500..=600).contains(&left),
                }
            });
        }
    }
    // Whoever leads has had its clock set, and so has everybody else.
    machines[0].set_clock(3600);
    std::thread::sleep(Duration::from_secs(2));
    for machine in &machines {
        machine.set_clock(0);
    }
    std::thread::sleep(Duration::from_secs(2));
    for (at, written) in stop(writers).iter().enumerate() {
        assert!(written.errors.is_empty(), "{:?}{}", written.errors, cluster.logs());
        println!("c{at}: longest silence {:?}", written.longest);
        for node in &cluster.nodes {
            assert_nothing_lost(&mut node.connect(), &format!("c{at}"), written);
        }
    }
    // Times set from now on are as good as ever, whether a key is asked for or not.
    for i in 0..90 {
        assert_eq!(client.line(&format!("SET t{i} v PX 300")).expect("a reply").to_string(), "+OK");
        assert_eq!(client.line(&format!("SET u{i} v EX 600")).expect("a reply").to_string(), "+OK");
    }
    await_that("keys end", || int(&mut client, "DBSIZE") == 390);
    for i in 0..90 {
        assert!((500..=600).contains(&int(&mut client, &format!("TTL u{i}"))));
    }
}

fn stop(writers: Vec<Writer>) -> Vec<Written> {
    writers.into_iter().map(Writer::stop).collect()
}

/// With disks that took longer over a vote than it was waited for, there was no leader any more; and while changes took long, nobody was
/// taken out.
#[test]
fn slow_disks_delay_what_is_agreed_on() {
    let Some((machines, mut cluster)) = three() else { return };
    let set_user = |node: &Server, name: &str| {
        let made = node.connect().line(&format!("ACL SETUSER {name} on nopass ~* +@all")).expect("a reply");
        assert_eq!(made.to_string(), "+OK");
    };
    let slow = |ms| machines.iter().for_each(|machine| machine.slow_down(ms));
    let writers = write_through_all(&cluster, "s");
    slow(100);
    cluster.nodes.iter().for_each(|node| set_user(node, "user"));
    // Nothing else is delayed.
    for written in stop(writers) {
        println!("longest silence {:?}", written.longest);
        assert!(written.errors.is_empty(), "{:?}{}", written.errors, cluster.logs());
    }
    let writers = write_through_all(&cluster, "v");
    // Longer than who serves can do without a leader; still there is one in the end.
    slow(300);
    std::thread::sleep(Duration::from_millis(500));
    // It founded the cluster, so it is likely to lead it.
    let victim = cluster.nodes.remove(0);
    let id = victim.connect().line("CLUSTER MYID").expect("a reply");
    signal(&victim, "KILL");
    let begun = Instant::now();
    await_that("others serve what it served", || {
        let all = slots(&cluster.nodes[0]).expect("a map");
        all.iter().all(|(holders, _)| holders.first().map(String::as_bytes) != id.text())
    });
    println!("served by others after {:?}", begun.elapsed());
    drop(victim);
    slow(0);
    cluster.settle(2);
    set_user(&cluster.nodes[0], "another");
    for (at, written) in stop(writers).iter().enumerate() {
        println!("v{at}: longest silence {:?}, errors {:?}", written.longest, written.errors);
        for node in &cluster.nodes {
            assert_nothing_lost(&mut node.connect(), &format!("v{at}"), written);
        }
    }
}

/// What a node that is stopped cannot hand over in time others take over from its copies: it must not have them cut off as its own end
/// breaks the ways to them.
#[test]
fn a_node_that_has_no_time_to_hand_over_loses_nothing() {
    let Some((machines, mut cluster)) = three() else { return };
    let mut client = cluster.nodes[0].connect();
    let large = "v".repeat(100_000);
    for i in 0..300 {
        let set = client.call(&["SET", &format!("large{i}"), &large]).expect("a reply");
        assert_eq!(set.to_string(), "+OK");
    }
    for slow_ms in [100, 700] {
        machines.iter().for_each(|machine| machine.slow_down(slow_ms));
        let name = format!("e{slow_ms}-");
        let mut victim = cluster.nodes.remove(0);
        let writers = write_through_all(&cluster, &name);
        std::thread::sleep(Duration::from_millis(200));
        signal(&victim, "TERM");
        let begun = Instant::now();
        assert_eq!(victim.wait(PATIENCE).expect("it ends").code(), Some(0));
        // Whoever stops processes kills those that take 10 s and more.
        println!("{slow_ms} ms: it ended after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}{}", begun.elapsed(), cluster.logs());
        machines.iter().for_each(|machine| machine.slow_down(0));
        cluster.settle(cluster.nodes.len());
        for (at, written) in stop(writers).iter().enumerate() {
            println!("{name}{at}: longest silence {:?}, errors {:?}", written.longest, written.errors);
            let is_clear =
                |error: &String| error.starts_with("-UNKNOWN") || error.starts_with("-CLUSTERDOWN");
            // Who hears UNKNOWN in the place of all replies under way is then left by the node.
            let is_left = |at: usize| {
                written.errors[at].contains("the server closed")
                    && at > 0
                    && is_clear(&written.errors[at - 1])
            };
            let is_told = |at: usize| is_clear(&written.errors[at]) || is_left(at);
            assert!((0..written.errors.len()).all(is_told), "{:?}{}", written.errors, cluster.logs());
            for node in &cluster.nodes {
                assert_nothing_lost(&mut node.connect(), &format!("{name}{at}"), written);
            }
        }
        let mut client = cluster.nodes[0].connect();
        for i in 0..300 {
            let size = int(&mut client, &format!("STRLEN large{i}"));
            assert_eq!(size, 100_000, "large{i}{}", cluster.logs());
        }
        if slow_ms == 100 {
            let (machine, node) = Machine::start(library().expect("made before"), Some(&cluster.nodes[0]));
            cluster.nodes.push(node);
            cluster.settle(3);
            drop(machine);
        }
    }
}
