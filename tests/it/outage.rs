//! What a cluster says and does while most of it is gone, and what administrators can do about it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use shoal_testkit::resp::Client;
use shoal_testkit::server::{Place, free_port};
use shoal_testkit::{Server, Value};

use crate::cluster::{Cluster, cluster_port, member_with, signal};
use crate::harness;

/// How long anything may take that should come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// One answer by a connection of its own.
fn ask(addr: SocketAddr, request: &str) -> String {
    let mut client = Client::connect(addr).expect("it listens");
    client.send_raw(format!("{request}\r\n").as_bytes()).expect("sent");
    let answer = client.recv_within(PATIENCE).expect("the connection stays");
    answer.unwrap_or_else(|| panic!("no answer to {request}")).to_string()
}

/// Asks until the answer is as it should be.
fn eventually(addr: SocketAddr, request: &str, is_it: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask(addr, request);
        if is_it(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{request}: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two of three nodes died at once. Who was left did not answer some requests at all, or after several deadlines, CLUSTER STATUS among them,
/// and said that all was well; when one came back, what only the other had kept the rest from being copied.
#[test]
fn who_is_left_alone_answers_and_says_so_and_goes_on_with_whom_comes_back() {
    let mut cluster = Cluster::start(3);
    let addr = cluster.nodes[0].resp_addr();
    let mut client = cluster.nodes[0].connect();
    for i in 0..100 {
        assert_eq!(client.line(&format!("SET k{i} {i}")).expect("a reply").to_string(), "+OK");
    }
    let mut gone = cluster.nodes.split_off(1);
    gone.iter().for_each(|node| signal(node, "KILL"));
    for node in &mut gone {
        node.wait(PATIENCE).expect("it ends");
    }

    // Whatever is asked is answered, whether it begins before anybody has noticed or after.
    let many: Vec<String> = (0..100).map(|i| format!("k{i}")).collect();
    let requests: Vec<String> =
        ["SET k1 v", "GET k2", "DBSIZE", "KEYS *", "MSET k1 a k2 b k3 c k4 d", "WATCH k1 k2"]
            .into_iter()
            .chain([
                "PUBLISH c m",
                "SCRIPT LOAD return",
                "FLUSHALL",
                "RANDOMKEY",
                "CONFIG SET requirepass \"\"",
            ])
            .map(String::from)
            .chain([format!("MGET {}", many.join(" "))])
            .collect();
    let asked = requests
        .iter()
        .cycle()
        .take(2 * requests.len())
        .cloned()
        .map(|request| std::thread::spawn(move || ask(addr, &request)));
    let asked: Vec<_> = asked.collect();
    let status = eventually(addr, "CLUSTER STATUS", |status| {
        status.contains("NO LEASE") && status.matches("not reached: node ").count() == 2
    });
    assert_eq!(status.matches("  unreached ").count(), 2, "{status}");
    assert!(ask(addr, "CLUSTER INFO").contains("cluster_state:fail"));
    assert!(ask(addr, "CLUSTER NODES").contains("master,fail? "));
    eventually(addr, "INFO replication", |info| info.contains("connected_slaves:0"));
    asked.into_iter().for_each(|asked| assert!(!asked.join().expect("answered").is_empty()));
    let refused = eventually(addr, "GET k1", |answer| answer.starts_with('-'));
    assert!(refused.starts_with("-CLUSTERDOWN") && refused.contains("hears of no leader"), "{refused}");

    // One comes back: with it all is served that the survivor has, and copied to it.
    let back = &gone[0];
    let place =
        Place { addr: back.resp_addr(), cluster_port: cluster_port(back), dir: back.dir().to_owned() };
    let mut again = harness::command();
    again.args(["--workers", "2"]);
    place.tell(&mut again);
    let back = Server::other(again, Some(place.addr), None).expect("it starts again");
    let lost = gone[1].resp_addr();
    let status = eventually(addr, "CLUSTER STATUS", |status| {
        status.contains("served by nobody, as all copies are at")
    });
    assert!(!status.contains("NO LEASE") && status.contains(&format!("({lost})")), "{status}");
    assert!(ask(addr, "CLUSTER INFO").contains("cluster_state:fail"));
    let refused = ask(addr, &format!("CLUSTER FORGET {lost}"));
    assert!(refused.contains("only copy of some partitions"), "{refused}");
    assert_eq!(ask(addr, &format!("CLUSTER FORGET {lost} FORCE")), "+OK");
    eventually(addr, "CLUSTER STATUS", |status| {
        status.contains(" 0 with fewer, 0 moving or being copied, 0 that nobody serves")
            && !status.contains(&lost.to_string())
    });
    assert!(ask(addr, "CLUSTER INFO").contains("cluster_state:ok"));
    for node in [addr, back.resp_addr()] {
        let mut client = Client::connect(node).expect("it listens");
        for i in 0..100 {
            assert_eq!(client.line(&format!("SET k{i} again")).expect("a reply").to_string(), "+OK");
        }
        assert_eq!(client.line("DBSIZE").expect("a reply"), Value::Int(100));
    }
}

/// A node whose `join` named nobody who was there showed a cluster without nodes.
#[test]
fn who_finds_nobody_to_join_says_whom_it_asks() {
    let nobody = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let port = free_port().expect("a free port").to_string();
    let node = member_with(None, &["--join", &nobody, "--cluster-port", &port]);
    let status = eventually(node.resp_addr(), "CLUSTER STATUS", |status| status.contains("refused"));
    assert!(
        status.contains("WAITING TO BE LET IN") && status.contains(&format!("It asks {nobody}")),
        "{status}"
    );
    assert!(ask(node.resp_addr(), "CLUSTER INFO").contains("cluster_state:fail"));
    let log = std::fs::read_to_string(node.dir().join("log")).expect("its log");
    assert!(log.contains(&format!("cannot join by {nobody}")), "{log}");
}

/// More copies than there are nodes were taken without a word.
#[test]
fn copies_that_no_node_can_hold_are_missed_aloud() {
    let cluster = Cluster::start(2);
    let addr = cluster.nodes[0].resp_addr();
    assert_eq!(ask(addr, "CLUSTER COPIES 3"), "+OK");
    let missing = "3 copies are wanted of each partition, but 2 nodes can hold any: 256 are missing";
    eventually(addr, "CLUSTER STATUS", |status| status.contains(missing));
    let until = Instant::now() + PATIENCE;
    while !cluster.logs().contains("3 copies are wanted of each partition, but only 2 nodes can hold any") {
        assert!(Instant::now() < until, "{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Logs name a node by where it is found, too.
    assert!(cluster.logs().contains(&format!("({})", cluster.nodes[1].resp_addr())), "{}", cluster.logs());
}

/// A node that lost its directory comes back under another name: there are two at its address then, and the one that is gone is forgotten by it.
#[test]
fn who_comes_back_without_its_directory_takes_the_place_of_one_that_may_be_forgotten() {
    let mut cluster = Cluster::start(3);
    let addr = cluster.nodes[0].resp_addr();
    let mut gone = cluster.nodes.remove(2);
    signal(&gone, "KILL");
    gone.wait(PATIENCE).expect("it ends");
    eventually(addr, "CLUSTER STATUS", |status| {
        status.contains("holds nothing any more; if it does not come back")
    });
    let (place, dir) = (gone.resp_addr(), gone.dir().join("new"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut again = harness::command();
    again.args(["--workers", "2", "--join", &addr.to_string()]);
    Place { addr: place, cluster_port: cluster_port(&gone), dir }.tell(&mut again);
    let again = Server::other(again, Some(place), None).expect("it starts again");
    eventually(addr, "CLUSTER STATUS", |status| status.contains("is at its address"));
    assert_eq!(ask(addr, &format!("CLUSTER FORGET {place}")), "+OK");
    eventually(addr, "CLUSTER STATUS", |status| !status.contains("DOWN") && !status.contains("not reached"));
    cluster.nodes.push(again);
    cluster.settle(3);
}
