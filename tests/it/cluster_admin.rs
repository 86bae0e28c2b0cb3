//! How administrators and cluster-aware clients see and steer a cluster.

use std::time::{Duration, Instant};

use shoal_testkit::resp::Client;
use shoal_testkit::{Server, Value};

use crate::cluster::{Cluster, Writer, assert_nothing_lost, signal, slots};

/// How long what is asked for may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn ask(node: &Server, line: &str) -> String {
    let reply = node.connect().line(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    match &reply {
        Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        _ => reply.to_string(),
    }
}

fn id(node: &Server) -> String {
    ask(node, "CLUSTER MYID")
}

fn await_that(what: &str, cluster: &Cluster, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < until,
            "{what}: not so after long:\n{}\n{}",
            cluster.status(),
            cluster.logs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The primary of every slot in `range`, if it is one.
fn primary_of(node: &Server, range: std::ops::RangeInclusive<i64>) -> Option<String> {
    let slots = slots(node).ok()?;
    let ends = slots.iter().skip(1).map(|(_, first)| first - 1).chain([16383]);
    let mut primaries: Vec<&String> = slots
        .iter()
        .zip(ends)
        .filter(|((_, first), last)| first <= range.end() && last >= range.start())
        .filter_map(|((holders, _), _)| holders.first())
        .collect();
    primaries.dedup();
    match primaries[..] {
        [one] => Some(one.clone()),
        _ => None,
    }
}

#[test]
fn a_node_is_drained_under_load_stopped_and_forgotten() {
    let mut cluster = Cluster::start(3);
    let names = ["a", "b"];
    let writers: Vec<Writer> = names
        .iter()
        .zip(&cluster.nodes)
        .map(|(name, node)| Writer::start(name.to_string(), node.resp_addr(), 100))
        .collect();
    let third = id(&cluster.nodes[2]);
    let told = ask(&cluster.nodes[0], &format!("CLUSTER DRAIN {third} DRYRUN"));
    assert!(told.starts_with("dry run, nothing is changed: "), "{told}");
    assert!(!ask(&cluster.nodes[1], "CLUSTER STATUS").contains("draining"), "a dry run changes nothing");
    // Any node will do, and any way to name one.
    let address = cluster.nodes[2].resp_addr().to_string();
    assert_eq!(ask(&cluster.nodes[1], &format!("CLUSTER DRAIN {address}")), "+OK");
    await_that("a drained node is empty", &cluster, || {
        ask(&cluster.nodes[1], "CLUSTER STATUS").contains("drained: ")
            && slots(&cluster.nodes[0]).is_ok_and(|slots| {
                slots.iter().all(|(holders, _)| holders.len() == 2 && !holders.contains(&third))
            })
    });
    let refused = ask(&cluster.nodes[0], &format!("CLUSTER FORGET {third}"));
    assert!(refused.starts_with("-ERR that node is up"), "{refused}");
    let victim = cluster.nodes.remove(2);
    signal(&victim, "TERM");
    await_that("a stopped node is forgotten", &cluster, || {
        ask(&cluster.nodes[0], &format!("CLUSTER FORGET {third}")) == "+OK"
    });
    await_that("nobody speaks of it any more", &cluster, || {
        cluster.nodes.iter().all(|node| !ask(node, "CLUSTER NODES").contains(&third))
    });
    assert_eq!(
        ask(&cluster.nodes[0], &format!("CLUSTER FORGET {third}")),
        format!("-ERR Unknown node {third}")
    );
    drop(victim);
    for (name, writer) in names.iter().zip(writers) {
        let written = writer.stop();
        // Unless the machine stood still for so long that a node may have lost its lease.
        let stood_still =
            cluster.logs().contains("is silent") || written.longest > Duration::from_millis(500);
        assert!(written.errors.is_empty() || stood_still, "{:?}{}", written.errors, cluster.logs());
        assert_nothing_lost(&mut cluster.nodes[0].connect(), name, &written);
    }
}

#[test]
fn slots_go_where_they_are_moved_and_stay_until_the_plan_has_them_back() {
    let cluster = Cluster::start(3);
    let (asked, target) = (&cluster.nodes[0], id(&cluster.nodes[1]));
    for i in 0..200 {
        assert_eq!(ask(asked, &format!("SET key:{i} {i}")), "+OK");
    }
    let told = ask(asked, &format!("CLUSTER MOVE 0-2047 {target} DRYRUN"));
    assert!(told.contains("handed over by"), "{told}");
    assert!(!ask(asked, "CLUSTER STATUS").contains("placed by hand"), "a dry run changes nothing");
    assert_eq!(ask(asked, &format!("CLUSTER MOVE 0-2047 {target}")), "+OK");
    await_that("moved slots are served by their node", &cluster, || {
        primary_of(&cluster.nodes[2], 0..=2047).as_ref() == Some(&target)
    });
    cluster.settle(3);
    assert_eq!(primary_of(asked, 0..=2047), Some(target.clone()), "{}", cluster.status());
    assert!(ask(asked, "CLUSTER STATUS").contains("placed by hand: 32 partitions, 32 of them there"));
    assert_eq!(ask(asked, "DBSIZE"), ":200");
    for i in 0..200 {
        assert_eq!(ask(asked, &format!("GET key:{i}")), i.to_string());
    }
    // A node takes over what it keeps copies of.
    let me = &cluster.nodes[2];
    assert_eq!(ask(me, "CLUSTER FAILOVER"), "+OK");
    await_that("what was taken over by hand is there", &cluster, || {
        let status = ask(asked, "CLUSTER STATUS");
        let line = status.lines().find(|line| line.starts_with("placed by hand"));
        line.is_some_and(|line| {
            let numbers: Vec<&str> = line.split(' ').filter(|word| word.parse::<u16>().is_ok()).collect();
            numbers.len() == 2 && numbers[0] == numbers[1]
        })
    });
    assert_eq!(ask(asked, "CLUSTER REBALANCE"), "+OK");
    await_that("nothing is placed by hand", &cluster, || {
        !ask(asked, "CLUSTER STATUS").contains("placed by hand")
    });
    cluster.settle(3);
    assert_eq!(ask(asked, "CLUSTER COPIES 3"), "+OK");
    await_that("every partition has three copies", &cluster, || {
        slots(asked).is_ok_and(|slots| slots.iter().all(|(holders, _)| holders.len() == 3))
    });
    for (line, error) in [
        ("CLUSTER MOVE 0-100 ID", "-ERR slots move in whole partitions of 64: did you mean 0-127?"),
        ("CLUSTER MOVE 0-16384 ID", "-ERR Invalid or out of range slot"),
        ("CLUSTER MOVE 5 ID", "-ERR Invalid or out of range slot"),
        ("CLUSTER MOVE 0-63 nosuch", "-ERR Unknown node nosuch"),
        ("CLUSTER MOVE 0-63 ID SOON", "-ERR syntax error"),
        ("CLUSTER DRAIN nosuch", "-ERR Unknown node nosuch"),
        ("CLUSTER DRAIN ID SOON", "-ERR syntax error"),
        ("CLUSTER REBALANCE SOON", "-ERR syntax error"),
        ("CLUSTER FORGET nosuch", "-ERR Unknown node nosuch"),
        ("CLUSTER COPIES 0", "-ERR a partition has between 1 and 16 copies"),
        ("CLUSTER COPIES x", "-ERR value is not an integer"),
        ("CLUSTER FAILOVER SOON", "-ERR syntax error"),
    ] {
        let reply = ask(asked, &line.replace("ID", &target));
        assert!(reply.starts_with(error), "{line}: {reply}");
    }
    let myself = id(asked);
    assert!(ask(asked, &format!("CLUSTER FORGET {myself}")).starts_with("-ERR I tried hard"));
}

#[test]
fn who_waits_for_a_key_is_served_wherever_it_goes() {
    let cluster = Cluster::start(3);
    let blocked = || -> i64 {
        let count = |node| {
            let info = ask(node, "INFO clients");
            let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
            line.and_then(|count| count.parse::<i64>().ok()).expect("a count")
        };
        cluster.nodes.iter().map(count).sum()
    };
    for (i, to) in cluster.nodes.iter().cycle().take(4).enumerate() {
        let (key, stream, ranked, never) =
            (format!("q{i}"), format!("{{q{i}}}s"), format!("{{q{i}}}z"), format!("{{q{i}}}n"));
        let slot: i64 = ask(to, &format!("CLUSTER KEYSLOT {key}"))[1..].parse().expect("a slot");
        let range = slot / 64 * 64..=slot / 64 * 64 + 63;
        let mut waiting = Vec::new();
        for node in &cluster.nodes {
            for (line, answer) in [
                (format!("BLPOP other{{{key}}} {key} 50"), format!("[{key} job]")),
                (
                    format!("XREAD COUNT 1 BLOCK 50000 STREAMS {stream} $"),
                    format!("[[{stream} [[1-1 [a b]]]]]"),
                ),
                (format!("BZMPOP 50 1 {ranked} MIN"), format!("[{ranked} [[m 1]]]")),
                (format!("BRPOP {never} 2"), "nil[]".to_owned()),
            ] {
                let mut client = node.connect();
                client.send(&line.split(' ').collect::<Vec<_>>()).expect("sent");
                waiting.push((client, line, answer));
            }
        }
        await_that("all wait", &cluster, || blocked() == waiting.len() as i64);
        let target = id(to);
        assert_eq!(ask(to, &format!("CLUSTER MOVE {}-{} {target}", range.start(), range.end())), "+OK");
        await_that("a moved slot is served by its node", &cluster, || {
            primary_of(to, range.clone()).as_ref() == Some(&target)
        });
        // What they wait for comes at once, by whatever node.
        let mut client = cluster.nodes[i % 2].connect();
        for line in [format!("XADD {stream} 1-1 a b"), format!("RPUSH {key} job job job")] {
            client.line(&line).expect("a reply");
        }
        for _ in 0..3 {
            client.line(&format!("ZADD {ranked} 1 m")).expect("a reply");
            await_that("one is served", &cluster, || {
                client.line(&format!("ZCARD {ranked}")).is_ok_and(|left| left.int() == Some(0))
            });
        }
        for (client, line, answer) in &mut waiting {
            let reply = client
                .recv_within(PATIENCE)
                .expect("connected")
                .map(|reply| reply.to_string().replace('"', ""));
            assert_eq!(reply.as_ref(), Some(&*answer), "{line}{}", cluster.logs());
        }
        assert_eq!(client.line(&format!("EXISTS {key} {ranked}")).expect("a reply").int(), Some(0));
        await_that("nobody waits", &cluster, || blocked() == 0);
    }
}

#[test]
fn wait_counts_the_copies_of_what_was_written() {
    let cluster = Cluster::start(3);
    for (turn, ack) in ["copy", "primary", "copy 0 primary"].into_iter().enumerate() {
        for node in &cluster.nodes {
            assert_eq!(
                node.connect().call(&["CONFIG", "SET", "ack", ack]).expect("a reply").to_string(),
                "+OK"
            );
        }
        for node in &cluster.nodes {
            let mut client = node.connect();
            // Before anything is written, whatever there is counts.
            assert_eq!(client.line("WAIT 1 60000").expect("a reply").int(), Some(1), "{ack}");
            for i in 0..20 {
                client.line(&format!("SET {turn}:{i} x")).expect("a reply");
                assert_eq!(
                    client.line("WAIT 1 60000").expect("a reply").int(),
                    Some(1),
                    "{ack}\n{}",
                    cluster.status()
                );
            }
            assert!(client.line("WAIT 0 0").expect("a reply").int().is_some_and(|count| count < 2), "{ack}");
            if node.pid() == cluster.nodes[0].pid() {
                // No more copies are there, however long one waits.
                assert_eq!(client.line("WAIT 2 1500").expect("a reply").int(), Some(1), "{ack}");
            }
        }
    }
    let info = ask(&cluster.nodes[0], "INFO replication");
    assert!(info.contains("role:master") && info.contains("connected_slaves:2"), "{info}");
    assert!(info.contains("slave1:ip=127.0.0.1,port=") && info.contains("state=online"), "{info}");
    let role = cluster.nodes[0].connect().line("ROLE").expect("a reply");
    assert_eq!(role.items()[2].items().len(), 2, "{role}");
    let info = ask(&cluster.nodes[0], "INFO cluster");
    assert!(info.contains("cluster_enabled:0") && info.contains("shoal_cluster_nodes_up:3"), "{info}");
    let mut client = cluster.nodes[0].connect();
    // Who is gone is waited for by nobody.
    client.send(&["WAIT", "5", "0"]).expect("sent");
    drop(client);
    cluster.settle(3);
}

#[test]
fn readonly_connections_are_answered_out_of_copies() {
    let cluster = Cluster::start(3);
    let mut writer = cluster.nodes[0].connect();
    let mut readers: Vec<Client> = cluster.nodes.iter().map(Server::connect).collect();
    for reader in &mut readers {
        assert_eq!(reader.line("READONLY").expect("a reply").to_string(), "+OK");
    }
    for i in 0..300 {
        writer.line(&format!("SET k{i} {i}")).expect("a reply");
        for reader in &mut readers {
            // With `ack copy` a copy in sync has what was acknowledged.
            let reply = reader.line(&format!("GET k{i}")).expect("a reply");
            assert_eq!(reply.text(), Some(i.to_string().as_bytes()), "{reply}");
        }
    }
    let counted = |node: &Server| {
        let stats = ask(node, "INFO commandstats");
        let line =
            stats.lines().find(|line| line.starts_with("cmdstat_get:")).unwrap_or_default().to_string();
        line.split("calls=").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    // Two of three nodes have each key, so a third of the reads had to be forwarded; without copies it were two thirds.
    let before: Vec<u64> = cluster.nodes.iter().map(counted).collect();
    for i in 0..300 {
        readers[0].line(&format!("GET k{i}")).expect("a reply");
    }
    let own = counted(&cluster.nodes[0]) - before[0];
    assert!(own > 150, "{own} of 300 were read here\n{}", cluster.status());
    // Writes go to the primary as ever, and READWRITE takes it back.
    assert_eq!(readers[1].line("INCR n").expect("a reply").int(), Some(1));
    assert_eq!(readers[2].line("READWRITE").expect("a reply").to_string(), "+OK");
    assert_eq!(readers[2].line("INCR n").expect("a reply").int(), Some(2));
}

fn scan_of_one_node(client: &mut Client) -> usize {
    let (mut cursor, mut found) = ("0".to_string(), 0);
    loop {
        let reply = client.line(&format!("SCAN {cursor} COUNT 20")).expect("a reply");
        found += reply.items()[1].items().len();
        cursor = String::from_utf8_lossy(reply.items()[0].text().unwrap_or_default()).into_owned();
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn clients_are_sent_to_who_serves_a_key_where_that_is_wanted() {
    let cluster = Cluster::start(3);
    for node in &cluster.nodes {
        let mut client = node.connect();
        assert_eq!(
            client.line("CONFIG SET redirect moved cluster-view cluster").expect("a reply").to_string(),
            "+OK"
        );
    }
    let mut clients: Vec<Client> = cluster.nodes.iter().map(Server::connect).collect();
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.resp_addr().to_string()).collect();
    let mut moved = 0;
    for i in 0..100 {
        // As a client does: where it is sent, until it is answered. Who serves a key may change meanwhile.
        let (mut at, mut hops) = (0, 0);
        loop {
            let reply = clients[at].line(&format!("SET k{i} {i}")).expect("a reply").to_string();
            let Some(rest) = reply.strip_prefix("-MOVED ") else {
                assert_eq!(reply, "+OK");
                break;
            };
            let (slot, address) = rest.split_once(' ').expect("a slot and an address");
            assert_eq!(ask(&cluster.nodes[0], &format!("CLUSTER KEYSLOT k{i}")), format!(":{slot}"));
            at = addresses.iter().position(|known| known == address).expect("one of the nodes");
            hops += 1;
            assert!(hops < 1000, "k{i} is served nowhere");
        }
        moved += usize::from(hops > 0);
    }
    assert!((20..100).contains(&moved), "{moved} of 100");
    // What is queued is looked at as well.
    let queued: Vec<bool> = (0..100)
        .map(|i| {
            let mut client = cluster.nodes[0].connect();
            client.line("MULTI").expect("a reply");
            let queued = client.line(&format!("GET k{i}")).expect("a reply").to_string();
            let answer = client.line("EXEC").expect("a reply").to_string();
            assert_eq!(queued.starts_with("-MOVED "), answer.starts_with("-EXECABORT"), "{queued}, {answer}");
            queued == "+QUEUED"
        })
        .collect();
    assert!(queued.contains(&true) && queued.contains(&false));
    // Who is told of redirections asks each node for what it has. What moves is nobody's for a moment.
    await_that("the nodes have all keys together", &cluster, || {
        let sizes =
            clients.iter_mut().map(|client| client.line("DBSIZE").expect("a reply").int().unwrap_or(0));
        sizes.sum::<i64>() == 100
    });
    await_that("a scan of each node meets all keys", &cluster, || {
        clients.iter_mut().map(scan_of_one_node).sum::<usize>() == 100
    });
    let info = ask(&cluster.nodes[0], "INFO");
    assert!(info.contains("cluster_enabled:1") && info.contains("redis_mode:cluster"), "{info}");
    // A copy is read where READONLY was said.
    let mut reader = cluster.nodes[0].connect();
    reader.line("READONLY").expect("a reply");
    let sent_on = (0..100).filter(|i| reader.line(&format!("GET k{i}")).expect("a reply").is_error()).count();
    assert!(sent_on < 100 - queued.iter().filter(|own| **own).count(), "{sent_on} of 100 were not read here");
    // The primary of what the others keep copies of lists them.
    let second = id(&cluster.nodes[1]);
    await_that("the others keep copies", &cluster, || {
        reader.call(&["CLUSTER", "REPLICAS", &second]).expect("a reply").items().len() == 2
    });
}

#[test]
fn replies_nobody_wants_are_not_sent_wherever_they_are_from() {
    let cluster = Cluster::start(2);
    for node in &cluster.nodes {
        let mut client = node.connect();
        let mut lines = String::from("CLIENT REPLY OFF\r\n");
        (0..20).for_each(|i| lines += &format!("SET k{i} off\r\n"));
        lines += "CLIENT REPLY ON\r\n";
        (0..20).for_each(|i| lines += &format!("CLIENT REPLY SKIP\r\nSET k{i} skip\r\nGET k{i}\r\n"));
        client.send_raw(lines.as_bytes()).expect("sent");
        assert_eq!(client.recv().expect("a reply").to_string(), "+OK");
        for i in 0..20 {
            assert_eq!(client.recv().expect("a reply").text(), Some(&b"skip"[..]), "k{i}");
        }
    }
}
